"""Label files beside a data set: pose labels, gender, lists of faulty masks, joints, masks.

They lie in one folder, `labels` in the data set's (or `data.labels`), under the names that the
paper's authors published them with (`LTCC_Pose_Cluster.csv`) or under plain ones
(`pose_clusters.csv`), gzipped or not. Everything is optional: a row of the ablation that needs what
isn't there is refused before training. CAP and recolouring concern training images only, so poses,
joints and masks are read for those.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from rlqkit.data.imageset import UNKNOWN, Benchmark, ImageSet
from rlqkit.data.labels.keypoints import read_keypoints
from rlqkit.data.labels.masks import KINDS, find_masks
from rlqkit.data.labels.naming import key_of, rows_by_key
from rlqkit.data.published.layouts import Layout
from rlqkit.errors import RlqkitError

POSE_FILES = ("{title}_Pose_Cluster.csv", "pose_clusters.csv")
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
        rows = rows_by_key(images)
        images = _with_faulty(images, _find(folder, layout, FAULTY_FILES), rows)
        if pose := _find(folder, layout, POSE_FILES):
            images = replace(images, poses=read_poses(pose[0], images, rows))
        if points := _find(folder, layout, KEYPOINT_FILES):
            images = replace(images, joints=read_keypoints(points[0], images, rows))
        holder = folder if any((folder / kind).is_dir() for kind in KINDS) else folder.parent
        sets[split] = find_masks(holder, images)
    return replace(benchmark, sets=sets)


def read_poses(file: Path, images: ImageSet, rows: dict[str, int]) -> pd.DataFrame:
    """Pose labels of a CSV: (n, columns) int64, -1 for images that it doesn't list.

    Columns of the file: Image, one or more of KIND_K such as R_LA_15 (0 = no pose found, 1..K),
    and perhaps Category, of which only "train" counts.

    Raises:
        RlqkitError: a column or all images missing, a label that isn't a whole number in 0..K.
    """
    table = _read(file, ("Image",))
    if "Category" in table and (training := table["Category"].str.startswith("train")).any():
        table = table[training]
    columns = [name for name in table.columns if _COLUMN.fullmatch(name)]
    if not columns:
        raise RlqkitError(
            f"{file} has no column of pose labels: name it by vector and clusters, such as R_LA_15"
        )
    values = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    most = np.array([int(name.rpartition("_")[2]) for name in columns])
    bad = ~((values >= 0) & (values <= most) & (values % 1 == 0))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise RlqkitError(
            f"{file}: {columns[column]} of {table['Image'].iloc[row]} is "
            f"'{table[columns[column]].iloc[row]}': use 0 (no pose found) to {most[column]}"
        )
    found = _match(file, table["Image"], rows, images)
    labels = np.full((len(images), len(columns)), -1, dtype=np.int64)
    known = found >= 0
    labels[found[known]] = values[known]
    return pd.DataFrame(labels, columns=columns)


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


def _with_faulty(images: ImageSet, files: list[Path], rows: dict[str, int]) -> ImageSet:
    """Marks images that a list names: one name a line, no header; other splits' names are fine."""
    if not files:
        return images
    faulty = np.zeros(len(images), dtype=bool)
    for file in files:
        lines = [line for line in _text(file).splitlines() if line.strip()]
        known = [rows[key] for line in lines if (key := key_of(line.split(",")[0])) in rows]
        if lines and not known:
            raise RlqkitError(
                f"{file} names no image of {images.name} (its first: {lines[0].strip()}): one "
                "image a line, as in the data set"
            )
        faulty[known] = True
    return replace(images, table=images.table.assign(faulty=faulty))


def _with_gender(images: ImageSet, files: list[Path], layout: Layout) -> ImageSet:
    """Gender of each identity that the files list, UNKNOWN for the others."""
    genders: dict[int, int] = {}
    training = images.name.rpartition("/")[2] in TRAINING
    for file in files:
        table = _read(file, ("ID", "Gender"))
        if layout.numbered_apart and "Category" in table:
            table = table[table["Category"].str.startswith("train") == training]
        for person, gender in zip(table["ID"], table["Gender"], strict=True):
            digits = re.search(r"\d+", person)
            if digits is None or gender.strip() not in ("0", "1", "0.0", "1.0"):
                raise RlqkitError(
                    f"{file}: ID '{person}' has gender '{gender}': write a number, then 1 (male) "
                    "or 0 (female)"
                )
            value = int(float(gender))
            if genders.setdefault(int(digits[0]), value) != value:
                raise RlqkitError(f"{file}: ID {person} has two genders: keep one")
    labels = [genders.get(int(person), UNKNOWN) for person in images.identities]
    return replace(images, table=images.table.assign(gender=np.array(labels, dtype=np.int64)))


def _match(file: Path, names: Iterable[str], rows: dict[str, int], images: ImageSet) -> np.ndarray:
    """(k,) row of each listed image, -1 if it isn't in the split; none at all is an error."""
    names = list(names)
    found = np.array([rows.get(key_of(name), -1) for name in names], dtype=np.int64)
    if not (found >= 0).any():
        first = f" (its first: {names[0]})" if names else ""
        raise RlqkitError(
            f"{file} lists no image of {images.name}{first}: it belongs to another data set, or "
            "names images in another way"
        )
    return found


def _find(folder: Path, layout: Layout, names: tuple[str, ...]) -> list[Path]:
    """Those of the files that are there, gzipped or not."""
    files = [name.format(title=layout.title) for name in names]
    candidates = [folder / f"{name}{ending}" for name in files for ending in ("", ".gz")]
    return [path for path in candidates if path.is_file()]


def _read(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """All cells as text, as they stand."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (ValueError, OSError, EOFError) as error:  # parser errors; a broken gzip file
        reason = (str(error).strip() or "it ends too early").splitlines()[0]
        raise RlqkitError(f"{file} can't be read as a table ({reason}): restore it") from None
    for column in columns:
        if column not in table.columns:
            raise RlqkitError(f"{file} has no column '{column}': its header must name it")
    return table


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
        return (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError):
        raise RlqkitError(f"{file} is no text file that can be read: restore it") from None
