"""One table of samples behind every data set.

A `Benchmark` is a set of splits (train, val_query, val_gallery, query, gallery, external), each an
`ImageSet`: a table with one row an image (identity, camera, clothes, gender, native size) and,
where the data set has them, joints and clothes masks. Loading reads tables and lists folders; no
image is decoded before it is asked for. `check` is the thorough look at everything on disk.

The embedded data set ("wardrobe-v2") is a folder with `samples.csv`, `joints.csv`, `dataset.json`,
`SHA256SUMS`, `images/<split>/` and `masks/<split>/`. Another data set needs one function,
(root) -> Benchmark, in `LOADERS`; those of the published benchmarks are in `rlqkit.benchmarks`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from rlqkit.errors import RlqkitError

SPLITS = ("train", "val_query", "val_gallery", "query", "gallery", "external")
# Identities may be shared within a group, never between two: train, validation, test, external.
IDENTITY_GROUPS = {
    "train": ("train",),
    "validation": ("val_query", "val_gallery"),
    "test": ("query", "gallery"),
    "external": ("external",),
}
N_JOINTS = 17  # COCO order
UNKNOWN = -1  # a gender that nobody annotated
SHIRT, TROUSERS = 1, 2  # labels in the mask images; 0 is everything else
HEIGHT_BINS = (0, 48, 64, 96, 128, 192, 256)  # px, of the native-height histogram
Seen = TypeVar("Seen")  # what is taken from an opened image
RENEW = "restore the folder as it was shipped (git checkout -- data)"


# ---------------------------------------------------------------------------------- image sets


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one split and what is known of each.

    Attributes:
        name: data set and split, as in "wardrobe-v2/train"; error messages start with it.
        root: the data set's folder; files in the table are relative to it.
        table: n rows (index 0..n-1) with the columns file (str), identity, camera, clothes (ints;
            clothes ids are unique over the whole benchmark, so that query and gallery compare),
            gender (1 male, 0 female, -1 unknown), mask ("" if none) and, where they are known
            beforehand: height, width (native, px; see `sizes`), trousers (the second file of a
            mask pair), faulty (bool: shirt and trousers can't be told apart).
        joints: (n, 17, 3) float64, x and y in native pixels and visibility, COCO order, rows of
            NaN where an image has none; None if the data set has no joints.
        synthetic: rendered, not photographed: its numbers say nothing about a real benchmark.
        clothes_labelled: False if nobody labelled clothes; then each image is a class of its own.
        mask_format: how mask files are read, see `rlqkit.benchmarks.masks`.
        poses: n rows of given pose labels, one column a kind and K ("R_LA_15"), 0 = no pose found,
            -1 = not listed; None if nobody gives labels, then joints are clustered.
    """

    name: str
    root: Path
    table: pd.DataFrame
    joints: np.ndarray | None
    synthetic: bool
    clothes_labelled: bool = True
    mask_format: str = "wardrobe"
    poses: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def paths(self) -> list[Path]:
        """Image files, in the table's order."""
        return [self.root / file for file in self.table["file"]]

    @cached_property
    def mask_paths(self) -> list[Path]:
        """Mask files (palette PNG: 1 shirt, 2 trousers); raises RlqkitError if one is missing."""
        self.require_masks()
        return [self.root / mask for mask in self.table["mask"]]

    @cached_property
    def sizes(self) -> np.ndarray:
        """(n, 2) int64, native width and height in px; read from the files' headers, once, where
        the table hasn't got them (a real data set is too large to open at loading)."""
        if "height" in self.table:
            return self.table[["width", "height"]].to_numpy(dtype=np.int64)
        return read_sizes(self.paths, self.name)

    @cached_property
    def faulty(self) -> np.ndarray:
        """(n,) bool: images whose masks are listed as faulty; they get one colour all over."""
        if "faulty" in self.table:
            return self.table["faulty"].to_numpy(dtype=bool)
        return np.zeros(len(self), dtype=bool)

    @cached_property
    def identities(self) -> np.ndarray:
        """(n,) int64 identities as the data set numbers them."""
        return self.table["identity"].to_numpy(dtype=np.int64)

    @cached_property
    def identity_labels(self) -> np.ndarray:
        """(n,) int64 in 0..n_identities-1, in the order of the sorted identities."""
        return np.unique(self.identities, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def clothes_labels(self) -> np.ndarray:
        """(n,) int64 in 0..n_clothes-1: one class for each outfit of each identity."""
        pairs = np.stack([self.identities, self.table["clothes"].to_numpy(dtype=np.int64)], axis=1)
        return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)

    @cached_property
    def n_identities(self) -> int:
        return len(np.unique(self.identities))

    @cached_property
    def n_clothes(self) -> int:
        return len(np.unique(self.clothes_labels))

    def clothes_of_identity(self) -> np.ndarray:
        """(n_identities, n_clothes) bool: which clothes classes each identity wears."""
        worn = np.zeros((self.n_identities, self.n_clothes), dtype=bool)
        worn[self.identity_labels, self.clothes_labels] = True
        return worn

    def metric_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Identity, camera and clothes, (n,) int64 each, comparable between query and gallery."""
        camera = self.table["camera"].to_numpy(dtype=np.int64)
        clothes = self.table["clothes"].to_numpy(dtype=np.int64)
        return self.identities, camera, clothes

    def select(self, mask: np.ndarray) -> "ImageSet":
        """The images where `mask`, (n,) bool, is true, in the same order."""
        mask = np.asarray(mask)
        if mask.dtype != np.bool_ or mask.shape != (len(self),):
            raise ValueError(f"{self.name}: the mask must be {len(self)} booleans")
        chosen = replace(
            self,
            table=self.table[mask].reset_index(drop=True),
            joints=None if self.joints is None else self.joints[mask],
            poses=None if self.poses is None else self.poses[mask].reset_index(drop=True),
        )
        if "sizes" in self.__dict__:  # headers that were read stay read
            chosen.__dict__["sizes"] = self.sizes[mask]
        return chosen

    def first_identities(self, count: int) -> "ImageSet":
        """The images of the `count` smallest identities; RlqkitError if there are fewer."""
        if not 1 <= count <= self.n_identities:
            raise RlqkitError(
                f"{self.name} has {self.n_identities} identities, so {count} can't be taken: "
                f"ask for 1 to {self.n_identities}"
            )
        return self.select(np.isin(self.identities, np.unique(self.identities)[:count]))

    def require_masks(self) -> None:
        """Raise RlqkitError unless every image has clothes masks (recolouring needs them)."""
        lacking = self.table.loc[self.table["mask"] == "", "file"]
        if len(lacking):
            raise RlqkitError(
                f"{self.name}: {lacking.iloc[0]} has no clothes mask ({len(lacking)} of "
                f"{len(self)} images lack one): add the masks"
                f"{'' if self.synthetic else ' (labels/masks or labels/parsing-lip)'}, or choose "
                "rows without recolouring"
            )

    def require_joints(self) -> None:
        """Raise RlqkitError unless images have joints (pose clusters need them).

        On rendered images every one must have them; on photographs a pose estimator finds nobody
        in some, which get label 0, but not in all.
        """
        missing = (
            np.ones(len(self), dtype=bool)
            if self.joints is None
            else ~np.isfinite(self.joints[..., :2]).all(axis=(1, 2))
        )
        if missing.all() or (missing.any() and self.synthetic):
            source = "joints.csv" if self.synthetic else "labels/keypoints.csv or .json"
            labels = "" if self.synthetic else ", give pose labels (labels/pose_clusters.csv)"
            raise RlqkitError(
                f"{self.name}: {self.table['file'][int(missing.argmax())]} has no joints "
                f"({missing.sum()} of {len(self)} images lack them): add them to {source}{labels}, "
                "or choose rows without pose"
            )

    def require_gender(self) -> None:
        """Raise RlqkitError unless every identity has a gender label."""
        lacking = np.unique(self.identities[(self.table["gender"] == UNKNOWN).to_numpy()])
        if len(lacking):
            raise RlqkitError(
                f"{self.name}: identity {lacking[0]} has no gender label ({len(lacking)} of "
                f"{self.n_identities} identities lack one): add it"
                f"{'' if self.synthetic else ' to labels/gender.csv'}, or choose rows without "
                "gender"
            )


@dataclass(frozen=True)
class RetrievalTest:
    """One named evaluation: the images of one split search those of another.

    Attributes:
        name: what tables call it, such as "CC", "SC multi-shot" or "general (val)".
        query, gallery: splits; "query+gallery" = both together.
        rule: junk rule of `metrics.PROTOCOLS`: "general", "SC" or "CC".
        draws: 0 = the whole gallery (multi-shot); n > 0 = single-shot, n seeded galleries of one
            image an identity, reported as mean and standard deviation.
    """

    name: str
    query: str = "query"
    gallery: str = "gallery"
    rule: str = "general"
    draws: int = 0


EVERY_IMAGE = "CC, every image"
"""Name of the test in which each image of the test people is query and gallery."""
WARDROBE_TESTS = (
    RetrievalTest(EVERY_IMAGE, "query+gallery", "query+gallery", "CC"),
    *(RetrievalTest(rule, rule=rule) for rule in ("general", "SC", "CC")),
)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A data set: its splits by name, its folder, whether it is rendered, and how it is tested.

    Attributes:
        tests: every evaluation that the data set's papers report; the last one is the headline.
    """

    name: str
    root: Path
    sets: dict[str, ImageSet]
    synthetic: bool
    tests: tuple[RetrievalTest, ...] = WARDROBE_TESTS

    def __getitem__(self, split: str) -> ImageSet:
        """The images of a split, or of several ("query+gallery"), one after the other."""
        if "+" in split:
            return together([self[part] for part in split.split("+")])
        if split not in self.sets:
            raise RlqkitError(
                f"{self.name} has no split '{split}': choose one of {', '.join(self.sets)}"
            )
        return self.sets[split]


def together(parts: Sequence[ImageSet]) -> ImageSet:
    """The images of several splits of one data set, in their order."""
    first = parts[0]
    joints = [part.joints for part in parts if part.joints is not None]
    poses = [part.poses for part in parts if part.poses is not None]
    return replace(
        first,
        name="+".join([first.name, *(part.name.rpartition("/")[2] for part in parts[1:])]),
        table=pd.concat([part.table for part in parts], ignore_index=True),
        joints=np.concatenate(joints) if len(joints) == len(parts) else None,
        poses=pd.concat(poses, ignore_index=True) if len(poses) == len(parts) else None,
        clothes_labelled=all(part.clothes_labelled for part in parts),
    )


# ------------------------------------------------------------------------------------- loading


def load(
    name: str,
    root: Path | None = None,
    verify: bool = False,
    labels: Path | None = None,
    tolerant: bool = False,
) -> Benchmark:
    """Load the data set called `name`.

    Args:
        name: one of `LOADERS`, or custom-... as `rlqkit data render` names a set of your own.
        root: its folder; by default `default_root(name)`.
        verify: also compare every file with SHA256SUMS (reads all bytes).
        labels: folder of label files and masks of a published data set; by default `labels` in
            the data set's folder.
        tolerant: leave finding people who are in train and in test to `check`.

    Raises:
        RlqkitError: unknown name; folder missing, empty or incomplete; a table that contradicts
            itself or the files; with `verify`, a file that isn't the one that was shipped.
    """
    loader = LOADERS.get("wardrobe-v2" if name.startswith("custom-") else name)
    if loader is None:
        raise RlqkitError(f"unknown data set '{name}': choose one of {', '.join(sorted(LOADERS))}")
    folder = default_root(name) if root is None else Path(root)
    if name in PUBLISHED:
        benchmark = loader(folder, labels, tolerant)
    elif labels is not None:
        raise RlqkitError(f"{name} brings its own labels: leave data.labels empty")
    else:
        benchmark = loader(folder)
    if verify and (name not in PUBLISHED or (benchmark.root / "SHA256SUMS").is_file()):
        require_checksums(benchmark.root)
    return benchmark


def default_root(name: str) -> Path:
    """$RLQKIT_DATA/<name> if there is such a folder, else data/<name> of the repository.

    A published data set is never in the repository, so for those it is $RLQKIT_DATA/<name> anyway.
    """
    own = os.environ.get("RLQKIT_DATA")
    if own:
        if not Path(own).is_dir():
            raise RlqkitError(
                f"RLQKIT_DATA names {own}, which is no folder: set it to the folder that holds "
                "your data sets, or unset it"
            )
        if name in PUBLISHED or (Path(own) / name).is_dir():
            return Path(own) / name
    return Path(__file__).resolve().parent.parent / "data" / name


def load_wardrobe(root: Path) -> Benchmark:
    """Load the embedded data set (or one in its layout) from its folder; see `load`."""
    _require_folder(root)
    card = read_card(root)
    name = str(card.get("name", root.name))
    samples = _read_samples(root)
    _check_identities(root, samples)
    _check_files_exist(root, samples)
    samples["mask"] = _masks_of(root, samples)
    samples["clothes"] = _clothes_ids(root, samples)
    joints = _read_joints(root, samples)
    sets = {}
    for split in SPLITS:
        rows = (samples["split"] == split).to_numpy()
        columns = ["file", "identity", "camera", "clothes", "gender", "height", "width", "mask"]
        sets[split] = ImageSet(
            name=f"{name}/{split}",
            root=root,
            table=samples.loc[rows, columns].reset_index(drop=True),
            joints=None if joints is None else joints[rows],
            synthetic=True,
            clothes_labelled=bool((samples.loc[rows, "outfit"] != "").all()),
        )
    return Benchmark(name, root, sets, synthetic=True)


def _load_published(
    name: str, root: Path, labels: Path | None = None, tolerant: bool = False
) -> Benchmark:
    from rlqkit.benchmarks import load_published  # which builds on this module

    return load_published(name, root, labels, tolerant)


PUBLISHED = ("ltcc", "prcc", "last", "deepchange", "celeb-reid")
LOADERS: dict[str, Callable[..., Benchmark]] = {
    "wardrobe-v1": load_wardrobe,  # rendered on demand: the first version, no longer shipped
    "wardrobe-v2": load_wardrobe,
    "wardrobe-start": load_wardrobe,  # rendered on demand, see data/wardrobe-start
    "wardrobe-start-v2": load_wardrobe,  # the same, see data/wardrobe-start-v2
    **{name: partial(_load_published, name) for name in PUBLISHED},
}


def read_card(root: Path) -> dict[str, object]:
    """The contents of dataset.json (name, version, seed, counts, ...); {} if there is none."""
    path = root / "dataset.json"
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RlqkitError(f"{path} is not valid JSON ({error}): {RENEW}") from None
    if not isinstance(card, dict):
        raise RlqkitError(f"{path} must hold one JSON object: {RENEW}")
    return card


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise RlqkitError(
            f"data set folder {root} is missing: restore it (git checkout -- data), or set "
            "RLQKIT_DATA to the folder that holds your data sets"
        )
    if not any(root.iterdir()):
        raise RlqkitError(f"data set folder {root} is empty: {RENEW}")
    if not (root / "samples.csv").is_file():
        raise RlqkitError(f"data set folder {root} has no samples.csv: {RENEW}")


def _read_csv(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """All cells as text, so that what is wrong with one can be said in the file's own words."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        reason = str(error).strip().splitlines()[0]
        raise RlqkitError(f"{path} can't be read as a table ({reason}): {RENEW}") from None
    for column in columns:
        if column not in table.columns:
            raise RlqkitError(f"{path} has no column '{column}': {RENEW}")
    return table


def _whole_numbers(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    text = table[column]
    bad = ~text.str.fullmatch(r"\d{1,18}").to_numpy(dtype=bool)
    if bad.any():
        row = int(bad.argmax())
        raise RlqkitError(
            f"{path}: {column} of {table['file'][row]} is '{text[row]}', not a whole number: "
            f"{RENEW}"
        )
    return text.to_numpy(dtype=object).astype(np.int64)


def _read_samples(root: Path) -> pd.DataFrame:
    """samples.csv with typed columns; outfit stays text ("" if unlabelled)."""
    path = root / "samples.csv"
    numbers = ("identity", "camera", "height", "width")
    samples = _read_csv(path, ("file", "split", "outfit", "gender", *numbers))
    if samples.empty:
        raise RlqkitError(f"{path} lists no image: {RENEW}")
    twice = samples["file"].duplicated().to_numpy()
    if twice.any():
        raise RlqkitError(f"{path} lists {samples['file'][int(twice.argmax())]} twice: {RENEW}")
    unknown = ~samples["split"].isin(SPLITS).to_numpy()
    if unknown.any():
        row = int(unknown.argmax())
        raise RlqkitError(
            f"{path}: {samples['file'][row]} is of unknown split '{samples['split'][row]}': "
            f"use one of {', '.join(SPLITS)}"
        )
    for split in SPLITS:
        if split not in set(samples["split"]):
            raise RlqkitError(f"{path} has no image of split '{split}': {RENEW}")
    for column in numbers:
        samples[column] = _whole_numbers(path, samples, column)
    samples["gender"] = _genders(path, samples)
    return samples


def _genders(path: Path, samples: pd.DataFrame) -> np.ndarray:
    """(n,) int64, 1 male or 0 female; every identity must have exactly one of them."""
    bad = ~samples["gender"].isin(["0", "1"]).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        value = samples["gender"][row]
        what = f"gender '{value}'" if value else "no gender label"
        raise RlqkitError(
            f"{path}: identity {samples['identity'][row]} ({samples['file'][row]}) has {what}: "
            "write 1 (male) or 0 (female), or restore the file (git checkout -- data)"
        )
    genders = samples["gender"].to_numpy(dtype=object).astype(np.int64)
    per_identity = samples.assign(gender=genders).groupby("identity")["gender"].nunique()
    two = per_identity.index[per_identity > 1]
    if len(two):
        raise RlqkitError(
            f"{path}: identity {two[0]} has two genders: give all its images the same label"
        )
    return genders


def _check_identities(root: Path, samples: pd.DataFrame) -> None:
    shared = _shared_identity(
        {
            group: samples.loc[samples["split"].isin(splits), "identity"].to_numpy()
            for group, splits in IDENTITY_GROUPS.items()
        }
    )
    if shared is not None:
        identity, first, second = shared
        raise RlqkitError(
            f"{root / 'samples.csv'}: identity {identity} is in the {first} and in the {second} "
            "images, which would make the evaluation meaningless: keep it in one of them"
        )


def _shared_identity(groups: dict[str, np.ndarray]) -> tuple[int, str, str] | None:
    """The first identity found in two groups, and their names."""
    names = list(groups)
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            shared = np.intersect1d(groups[first], groups[second])
            if len(shared):
                return int(shared[0]), first, second
    return None


def _listing(root: Path, files: Iterable[str]) -> set[str]:
    """Every file in the folders of `files`, relative to root: one listing a folder."""
    present: set[str] = set()
    for folder in sorted({os.path.dirname(file) for file in files}):
        if (root / folder).is_dir():
            prefix = f"{folder}/" if folder else ""
            with os.scandir(root / folder) as entries:
                present.update(prefix + entry.name for entry in entries)
    return present


def _check_files_exist(root: Path, samples: pd.DataFrame) -> None:
    present = _listing(root, samples["file"])
    missing = [file for file in samples["file"] if file not in present]
    if missing:
        raise RlqkitError(
            f"image {root / missing[0]} is missing ({len(missing)} of {len(samples)} images of "
            f"samples.csv are): {RENEW}"
        )


def _masks_of(root: Path, samples: pd.DataFrame) -> list[str]:
    """images/<split>/x.webp -> masks/<split>/x.png where that exists, else ""."""
    expected = [
        os.path.splitext("masks/" + file.removeprefix("images/"))[0] + ".png"
        for file in samples["file"]
    ]
    present = _listing(root, expected)
    return [mask if mask in present else "" for mask in expected]


def _clothes_ids(root: Path, samples: pd.DataFrame) -> np.ndarray:
    """(n,) int64 clothes ids, unique over all splits.

    Images share an id if they show the same identity in the same outfit; an image without an
    outfit label has an id of its own. A split is labelled as a whole or not at all: a forgotten
    label would silently make a new outfit.
    """
    blank = (samples["outfit"] == "").to_numpy()
    partly = samples.assign(blank=blank).groupby("split")["blank"].transform("mean").to_numpy()
    forgotten = blank & (partly < 1)
    if forgotten.any():
        raise RlqkitError(
            f"{root / 'samples.csv'}: {samples['file'][int(forgotten.argmax())]} has no outfit, "
            f"though others of its split do: {RENEW}"
        )
    # A bare number is never equal to "outfit <text>", so own classes and outfits can't meet.
    own = np.arange(len(samples)).astype(str)
    outfit = np.where(blank, own, "outfit " + samples["outfit"].to_numpy(dtype=object))
    keys = samples["identity"].astype(str) + "/" + pd.Series(outfit, index=samples.index)
    return pd.factorize(keys)[0].astype(np.int64)


def _read_joints(root: Path, samples: pd.DataFrame) -> np.ndarray | None:
    """(n, 17, 3) in the order of `samples`, NaN where joints.csv has no row for an image."""
    path = root / "joints.csv"
    if not path.is_file():
        return None
    columns = [f"{part}{joint}" for joint in range(N_JOINTS) for part in "xyv"]
    table = _read_csv(path, ("file", *columns))
    row_of = {file: row for row, file in enumerate(samples["file"])}
    rows = np.empty(len(table), dtype=np.int64)
    for position, file in enumerate(table["file"]):
        if file not in row_of:
            raise RlqkitError(f"{path} lists {file}, which samples.csv doesn't: {RENEW}")
        rows[position] = row_of[file]
    if table["file"].duplicated().any():
        file = table["file"][int(table["file"].duplicated().to_numpy().argmax())]
        raise RlqkitError(f"{path} lists {file} twice: {RENEW}")
    values = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        file = table["file"][int(bad.argmax())]
        raise RlqkitError(f"{path}: the joints of {file} are not all numbers: {RENEW}")
    joints = np.full((len(samples), N_JOINTS, 3), np.nan)
    joints[rows] = values.reshape(-1, N_JOINTS, 3)
    return joints


# ------------------------------------------------------------------------------------- reading


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB; RlqkitError naming the file if it is missing, truncated or no image."""
    return _decode(path, "RGB")


def read_mask(path: Path) -> np.ndarray:
    """(H, W) uint8 labels of a palette PNG (0 other, 1 shirt, 2 trousers); errors as above."""
    return _decode(path, None)


def read_sizes(paths: Sequence[Path], name: str) -> np.ndarray:
    """(n, 2) int64 width and height of image files, from their headers; a bar if there are many.

    Raises RlqkitError naming the first file that is missing or no image.
    """
    sizes = np.empty((len(paths), 2), dtype=np.int64)
    quiet = len(paths) < 5000
    for row, path in enumerate(tqdm(paths, f"{name}: sizes", unit="image", disable=quiet or None)):
        sizes[row] = _open_image(path, lambda image: image.size)
    return sizes


def _decode(path: Path, mode: str | None) -> np.ndarray:
    # converting loads all pixels, so a truncated file is found here
    return _open_image(
        path, lambda image: np.array(image.convert(mode) if mode else image, dtype=np.uint8)
    )


def _open_image(path: Path, look: Callable[[Image.Image], Seen]) -> Seen:
    try:
        with Image.open(path) as image:
            return look(image)
    except FileNotFoundError:
        raise RlqkitError(f"image {path} is missing: restore it from the data set") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RlqkitError(
            f"image {path} is truncated or not an image ({reason}): restore it from the data set"
        ) from None


# ------------------------------------------------------------------------------------ checksums


def verify_checksums(root: Path) -> list[str]:
    """Compare every file below `root` (but hidden ones) with its SHA256SUMS.

    Returns:
        What is wrong, one line a file ("images/train/x.webp has changed"); empty if nothing is.

    Raises:
        RlqkitError: there is no SHA256SUMS, or a line of it isn't "<64 hex digits>  <file>".
    """
    return [f"{file} {problem}" for file, problem in _changed_files(root).items()]


def require_checksums(root: Path) -> None:
    """Raise RlqkitError naming the first file below `root` that isn't what SHA256SUMS says."""
    problems = verify_checksums(root)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise RlqkitError(f"{root}: {problems[0]}{more}: {RENEW}")


def _changed_files(root: Path) -> dict[str, str]:
    """What is wrong with each file that isn't what SHA256SUMS says, sorted by file."""
    expected = _read_checksums(root)
    present = {
        path.relative_to(root).as_posix()
        for path in root.rglob("[!.]*")
        if path.is_file() and path != root / "SHA256SUMS"
    }
    problems = {}
    for file in sorted(expected.keys() | present):
        if file not in present:
            problems[file] = "is missing"
        elif file not in expected:
            problems[file] = "is not listed in SHA256SUMS"
        elif hashlib.sha256((root / file).read_bytes()).hexdigest() != expected[file]:
            problems[file] = "has changed"
    return problems


def _read_checksums(root: Path) -> dict[str, str]:
    path = root / "SHA256SUMS"
    if not path.is_file():
        raise RlqkitError(f"data set folder {root} has no SHA256SUMS: {RENEW}")
    sums = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        digest, file = line[:64], line[66:].removeprefix("./")
        if line[64:66] not in ("  ", " *") or set(digest) - set("0123456789abcdef") or not file:
            raise RlqkitError(f"{path}: line {number} is not '<sha256>  <file>': {RENEW}")
        sums[file] = digest
    return sums


# --------------------------------------------------------------------------- report and summary


def check(benchmark: Benchmark, progress: bool = False) -> pd.DataFrame:
    """Look at everything on disk: decode every image and mask, compare with the tables.

    Args:
        benchmark: what `load` gave.
        progress: show a bar for each split.

    Returns:
        A report, one row a finding, with the columns check, subject (split, file or identity),
        found, expected, ok. Rows with ok = False are problems, one for each image concerned; the
        others say what was looked at.
    """
    if benchmark.name in PUBLISHED:
        from rlqkit.benchmarks.check import check_published  # which builds on this module

        return check_published(benchmark, progress)
    rows = [*_check_counts(benchmark), *_check_shared(benchmark)]
    seen: dict[str, tuple[str, str]] = {}
    last_label = _last_label(benchmark.root)
    for split, images in benchmark.sets.items():
        problems = []
        for row in tqdm(
            range(len(images)), desc=split, unit="image", disable=None if progress else True
        ):
            problems += _check_image(images, row, split, seen, last_label)
        rows += problems or [finding("images are whole", split, len(images), len(images))]
        rows += _count_labels(images, split)
        rows += _height_histogram(images, split)
    if (benchmark.root / "SHA256SUMS").is_file():
        changed = _changed_files(benchmark.root)
        rows += [finding("SHA-256", *item, "as shipped", ok=False) for item in changed.items()]
        rows += [] if changed else [finding("SHA-256", "all files", "as shipped", "as shipped")]
    return pd.DataFrame(rows)


def require_check(benchmark: Benchmark, progress: bool = False) -> pd.DataFrame:
    """`check`, and RlqkitError naming the first problem if there is one."""
    report = check(benchmark, progress)
    bad = report[~report["ok"]]
    if len(bad):
        first = bad.iloc[0]
        more = f" (and {len(bad) - 1} more problems)" if len(bad) > 1 else ""
        raise RlqkitError(
            f"{benchmark.name}: {first['check']}: {first['subject']}: {first['found']}, expected "
            f"{first['expected']}{more}: {remedy(benchmark)}"
        )
    return report


def remedy(benchmark: Benchmark) -> str:
    """What mends a data set with problems: the shipped one is restored, a user's own fetched."""
    if benchmark.name in PUBLISHED:
        return (
            "copy the files named in the table anew from the archive that the data set's authors "
            f"sent you (docs/datasets/{benchmark.name}.md)"
        )
    return RENEW


def finding(
    check: str, subject: str, found: object, expected: object, ok: bool = True
) -> dict[str, object]:
    """One row of the report; found and expected as text, so that the columns stay plain."""
    values = {"found": str(found), "expected": str(expected)}
    return {"check": check, "subject": subject, **values, "ok": ok}


def _check_counts(benchmark: Benchmark) -> list[dict[str, object]]:
    """Images and identities of each split against the "counts" of dataset.json, if it has them."""
    counts = read_card(benchmark.root).get("counts")
    rows = []
    for split, expected in counts.items() if isinstance(counts, dict) else ():
        wanted = expected if isinstance(expected, dict) else {"images": expected}
        images = benchmark[split]
        for key, found in (("images", len(images)), ("identities", images.n_identities)):
            if key in wanted:
                rows.append(
                    finding(f"{key} in all", split, found, wanted[key], found == wanted[key])
                )
    return rows


def _check_shared(benchmark: Benchmark) -> list[dict[str, object]]:
    """No identity in two of train, validation, test and external."""
    groups = {
        group: np.concatenate([benchmark.sets[split].identities for split in present])
        for group, splits in IDENTITY_GROUPS.items()
        if (present := [split for split in splits if split in benchmark.sets])
    }
    shared = _shared_identity(groups)
    if shared is None:
        return [finding("identities apart", ", ".join(groups), "none shared", "none shared")]
    identity, first, second = shared
    found = f"in {first} and in {second}"
    return [finding("identities apart", f"identity {identity}", found, "none shared", ok=False)]


def _check_image(
    images: ImageSet, row: int, split: str, seen: dict[str, tuple[str, str]], last_label: int
) -> list[dict[str, object]]:
    """Problems of one image: unreadable, another size, the bytes of another split's image, mask.

    `seen` maps the SHA-256 of every image so far to its file and split; this image is added.
    `last_label` is the highest that masks may have.
    """
    sample = images.table.iloc[row]
    file, mask = sample["file"], sample["mask"]
    try:
        pixels = read_image(images.root / file)
        labels = read_mask(images.root / mask) if mask else None
    except RlqkitError as error:
        return [finding("images are whole", file, error, "a whole image", ok=False)]
    rows = []
    size = (int(sample["height"]), int(sample["width"]))
    if pixels.shape[:2] != size:
        rows.append(finding("height and width", file, pixels.shape[:2], size, ok=False))
    digest = hashlib.sha256((images.root / file).read_bytes()).hexdigest()
    twin, twin_split = seen.setdefault(digest, (file, split))
    if twin_split != split:
        rows.append(finding("duplicate", file, f"the bytes of {twin}", "its own", ok=False))
    if labels is not None and labels.shape != pixels.shape[:2]:
        rows.append(finding("size of mask", mask, labels.shape, pixels.shape[:2], ok=False))
    if labels is not None and labels.max(initial=0) > last_label:
        rows.append(finding("labels of mask", mask, labels.max(), f"0..{last_label}", ok=False))
    return rows


def _last_label(root: Path) -> int:
    """The highest label of the masks: dataset.json may name more parts than shirt and trousers."""
    named = read_card(root).get("labels")
    numbers = [int(label) for label in named] if isinstance(named, dict) else []
    return max(numbers, default=TROUSERS)


def _count_labels(images: ImageSet, split: str) -> list[dict[str, object]]:
    """How many labels there are; incomplete ones are no problem as long as no row needs them."""
    n_joints = 0 if images.joints is None else np.isfinite(images.joints).all(axis=(1, 2)).sum()
    counts = {
        "images with clothes label": len(images) if images.clothes_labelled else 0,
        "images with gender": (images.table["gender"] != UNKNOWN).sum(),
        "images with joints": n_joints,
        "images with masks": (images.table["mask"] != "").sum(),
    }
    return [finding(name, split, count, f"up to {len(images)}") for name, count in counts.items()]


def _height_histogram(images: ImageSet, split: str) -> list[dict[str, object]]:
    """How many images there are in each of HEIGHT_BINS."""
    edges = np.array([*HEIGHT_BINS, np.inf])
    counts = np.histogram(images.sizes[:, 1].astype(np.float64), bins=edges)[0]
    names = [f"{low} to {high - 1}" for low, high in pairwise(HEIGHT_BINS)]
    return [
        finding(f"native height {name} px", split, count, "any")
        for name, count in zip([*names, f"from {HEIGHT_BINS[-1]}"], counts, strict=True)
        if count
    ]


def describe(benchmark: Benchmark) -> pd.DataFrame:
    """One row a split: images, identities (men, women), outfits, cameras, native heights (px).

    outfits is <NA> where clothes aren't labelled; men and women count identities.
    """
    rows = {}
    for split, images in benchmark.sets.items():
        people = images.table.drop_duplicates("identity")["gender"]
        heights = images.sizes[:, 1]
        rows[split] = {
            "images": len(images),
            "identities": images.n_identities,
            "men": int((people == 1).sum()),
            "women": int((people == 0).sum()),
            "outfits": images.n_clothes if images.clothes_labelled else pd.NA,
            "cameras": images.table["camera"].nunique(),
            "height_min": int(heights.min()),
            "height_median": float(np.median(heights)),
            "height_max": int(heights.max()),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").astype({"outfits": "Int64"})
    return table.rename_axis("split")
