"""Label files beside a data set: pose labels, gender, lists of faulty masks, joints, masks.

They lie in one folder, `labels` in the data set's (or `data.labels`), under the names that the
paper's authors published them with (`LTCC_Pose_Cluster.csv`) or under plain ones
(`pose_clusters.csv`), gzipped or not. Everything is optional: a row of the ablation that needs what
isn't there is refused before training. CAP and recolouring concern training images only, so poses,
joints and masks are read for those.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from rlqkit.data.imageset import UNKNOWN, Benchmark, ImageSet
from rlqkit.data.labels.keypoints import read_keypoints
from rlqkit.data.labels.masks import KINDS, find_masks
from rlqkit.data.labels.naming import Names, match, names_of
from rlqkit.data.labels.provenance import PROVENANCE
from rlqkit.data.labels.text import numbers, read_table, read_text, separator_of
from rlqkit.data.published.layouts import Layout
from rlqkit.errors import RlqkitError

POSE_FILES = (
    "{title}_Pose_Cluster.csv", "{title}_Pose_Cluster_w_val.csv", "pose_clusters.csv",
)  # fmt: skip
GENDER_FILES = ("{title}_Gender.csv", "{title}_test_Gender.csv", "gender.csv")
FAULTY_FILES = (
    "{title}_Shirt_faulty.csv", "{title}_Pant_faulty.csv", "shirt_faulty.csv",
    "trousers_faulty.csv",
)  # fmt: skip
KEYPOINT_FILES = ("keypoints.csv", "keypoints.json")
TRAINING = ("train", "external")
"""Splits that train. In a published gender file they are of category "train", others of theirs."""
_COLUMN = re.compile(r"[RN]_(LA|LAC|A)_\d+")


def attach_labels(benchmark: Benchmark, layout: Layout, folder: Path) -> Benchmark:
    """The benchmark with what a labels folder knows.

    Raises:
        RlqkitError: a label file that can't be read, contradicts itself or names none of the
            images, naming file, row and remedy.
    """
    sets = dict(benchmark.sets)
    if genders := _find(folder, layout, GENDER_FILES):
        sets = {name: _with_gender(images, genders, layout) for name, images in sets.items()}
    for split in [name for name in TRAINING if name in sets]:
        images = sets[split]
        kinds = (FAULTY_FILES, POSE_FILES, KEYPOINT_FILES)
        faulty, poses, points = (_find(folder, layout, names) for names in kinds)
        if faulty or poses or points:  # naming 200,000 images takes a second
            names = names_of(images, benchmark.sets.values())
            images = _with_faulty(images, faulty, names)
            if poses:
                images = replace(images, poses=read_poses(poses[0], images, names))
            if points:
                images = replace(images, joints=read_keypoints(points[0], images, names))
        sets[split] = find_masks(masks_folder(folder), images)
    return replace(benchmark, sets=sets, labels=folder)


def masks_folder(folder: Path) -> Path:
    """Where folders of masks lie: among the labels, or beside them."""
    return folder if any((folder / kind).is_dir() for kind in KINDS) else folder.parent


def pose_files(folder: Path, layout: Layout) -> list[Path]:
    """Files of pose labels or joints that a labels folder has."""
    return _find(folder, layout, (*POSE_FILES, *KEYPOINT_FILES))


def files_read(folder: Path, layout: Layout) -> set[Path]:
    """The files of a labels folder that `attach_labels` reads; of some kinds only the first is."""
    first = [_find(folder, layout, names)[:1] for names in (POSE_FILES, KEYPOINT_FILES)]
    every = [_find(folder, layout, names) for names in (GENDER_FILES, FAULTY_FILES)]
    return {folder / PROVENANCE} | {path for paths in (*first, *every) for path in paths}


def names_read(layout: Layout) -> list[str]:
    """Every name under which a label file of the data set is looked for."""
    kinds = (*POSE_FILES, *GENDER_FILES, *FAULTY_FILES, *KEYPOINT_FILES)
    return [name.format(title=layout.title) for name in kinds]


def read_poses(file: Path, images: ImageSet, names: Names) -> pd.DataFrame:
    """Pose labels of a CSV: (n, columns) int64, -1 for images that it doesn't list.

    Columns of the file: Image, one or more of KIND_K such as R_LA_15 (0 = no pose found, 1..K),
    and perhaps Category, of which only "train" counts.

    Raises:
        RlqkitError: a column or all images missing, a label that isn't a whole number in 0..K, an
            image that is listed twice with different labels, a name that may be several images.
    """
    table = read_table(file, ("Image",))
    if "Category" in table and (training := table["Category"].str.startswith("train")).any():
        table = table[training]
        names = replace(names, elsewhere={})  # the column says whose they are
    columns = [name for name in table.columns if _COLUMN.fullmatch(name)]
    if not columns:
        raise RlqkitError(
            f"{file} has no column of pose labels: name it by vector and clusters, such as R_LA_15"
        )
    values = numbers(table[columns])
    most = np.array([int(name.rpartition("_")[2]) for name in columns])
    bad = ~((values >= 0) & (values <= most) & (values % 1 == 0))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise RlqkitError(
            f"{file}: {columns[column]} of {table['Image'].iloc[row]} is "
            f"'{table[columns[column]].iloc[row]}': use 0 (no pose found) to {most[column]}"
        )
    found = match(file, table["Image"], names, images)
    if not (found >= 0).any():
        first = f" (its first: {table['Image'].iloc[0]})" if len(table) else ""
        raise RlqkitError(
            f"{file} lists no image of {images.name}{first}: it belongs to another data set, or "
            "names images in another way"
        )
    known = found >= 0
    listed = pd.DataFrame(values[known].astype(np.int64), index=table.index[known], columns=columns)
    _refuse_contradictions(file, found[known], listed, images)
    labels = np.full((len(images), len(columns)), -1, dtype=np.int64)
    labels[found[known]] = listed
    return pd.DataFrame(labels, columns=columns)


def _refuse_contradictions(
    file: Path, rows: np.ndarray, labels: pd.DataFrame, images: ImageSet
) -> None:
    """An image may be listed again, with the same labels; the index of `labels` is the lines."""
    again = pd.Series(rows).duplicated(keep=False).to_numpy()
    for row, lines in labels[again].groupby(rows[again]):
        differ = lines.ne(lines.iloc[0])
        if differ.to_numpy().any():
            other = differ.any(axis=1).idxmax()
            column = differ.loc[other].idxmax()
            raise RlqkitError(
                f"{file}: {images.table['file'][row]} is {lines.iloc[0][column]} of {column} in "
                f"line {lines.index[0]} and {lines.loc[other, column]} in line {other}: keep one"
            )


def given_pose_labels(images: ImageSet, kind: str, clusters: int) -> np.ndarray:
    """(n,) int64 labels of one column of the label file; see `read_poses`.

    Raises:
        RlqkitError: no such column (those that exist are named), or an image isn't listed.
    """
    assert images.poses is not None
    column = f"{kind}_{clusters}"
    if column not in images.poses:
        raise RlqkitError(
            f"{images.name}: the pose label file has no column {column}: set cap.pose_vector and "
            f"cap.clusters to one of {', '.join(images.poses.columns)}"
        )
    labels: np.ndarray = images.poses[column].to_numpy(dtype=np.int64)
    if (labels < 0).any():
        first = images.table["file"][int((labels < 0).argmax())]
        raise RlqkitError(
            f"{images.name}: {first} has no pose label ({(labels < 0).sum()} of {len(images)} "
            "images lack one): add it to the pose label file (0 = no pose found), give keypoints "
            "instead of it, or choose rows without pose"
        )
    return labels


def _with_faulty(images: ImageSet, files: list[Path], names: Names) -> ImageSet:
    """Marks images that a list names: one name a line, no header; other splits' names are fine."""
    if not files:
        return images
    faulty = np.zeros(len(images), dtype=bool)
    names = replace(names, elsewhere={})  # only training images are recoloured
    for file in files:
        text = read_text(file)
        separator = separator_of(text)
        lines = [line.split(separator)[0].strip('" ') for line in text.splitlines()]
        lines = [line for line in lines if line.strip()]
        found = match(file, lines, names, images)
        if lines and not (found >= 0).any():
            raise RlqkitError(
                f"{file} names no image of {images.name} (its first: {lines[0].strip()}): one "
                "image a line, as in the data set"
            )
        faulty[found[found >= 0]] = True
    return replace(images, table=images.table.assign(faulty=faulty))


def _with_gender(images: ImageSet, files: list[Path], layout: Layout) -> ImageSet:
    """Gender of each identity that the files list, UNKNOWN for the others."""
    genders: dict[int, tuple[int, str]] = {}
    training = images.name.rpartition("/")[2] in TRAINING
    for file in files:
        table = read_table(file, ("ID", "Gender"))
        if layout.numbered_apart and "Category" in table:
            table = table[table["Category"].str.startswith("train") == training]
        for line, person, gender in zip(table.index, table["ID"], table["Gender"], strict=True):
            number, value = _person(file, line, person, gender)
            first, place = genders.setdefault(number, (value, f"{file.name} line {line}"))
            if first != value:
                raise RlqkitError(
                    f"{file}: ID {person} has two genders: {first} ({place}) and {value} (line "
                    f"{line}): keep one"
                )
    labels = [genders.get(int(person), (UNKNOWN, ""))[0] for person in images.identities]
    return replace(images, table=images.table.assign(gender=np.array(labels, dtype=np.int64)))


def _person(file: Path, line: int, person: str, gender: str) -> tuple[int, int]:
    """Number and gender of a row."""
    digits = re.search(r"\d+", person)
    if digits is None or gender.strip() not in ("0", "1", "0.0", "1.0"):
        raise RlqkitError(
            f"{file}: line {line}: ID '{person}' has gender '{gender}': write a number, then 1 "
            "(male) or 0 (female)"
        )
    return int(digits[0]), int(float(gender))


def _find(folder: Path, layout: Layout, names: tuple[str, ...]) -> list[Path]:
    """Those of the files that are there, gzipped or not."""
    files = [name.format(title=layout.title) for name in names]
    candidates = [folder / f"{name}{ending}" for name in files for ending in ("", ".gz")]
    return [path for path in candidates if path.is_file()]
