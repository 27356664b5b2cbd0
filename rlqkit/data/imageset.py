"""One table of samples behind every data set.

A `Benchmark` is a set of splits (train, val_query, val_gallery, query, gallery, external), each an
`ImageSet`: a table with one row an image (identity, camera, clothes, gender, native size) and,
where the data set has them, joints and clothes masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from rlqkit.data.images import read_sizes
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
_MASKS = " (labels/masks or labels/parsing-lip; rlqkit data label makes some)"
_JOINTS = (
    "labels/keypoints.csv or .json (rlqkit data label makes some), give pose labels "
    "(labels/pose_clusters.csv)"
)
UNKNOWN = -1  # a gender that nobody annotated


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
        joints: (n, 17, 3) float64, x and y in native pixels (of the upright image) and visibility,
            COCO order, rows of NaN where an image has none; None if the data set has no joints.
        synthetic: rendered, not photographed: its numbers say nothing about a real benchmark.
        clothes_labelled: False if nobody labelled clothes; then each image is a class of its own.
        mask_format: how mask files are read, see `rlqkit.data.labels.masks`.
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
        """How many people."""
        return len(np.unique(self.identities))

    @cached_property
    def n_clothes(self) -> int:
        """How many outfits, each identity's counted by itself."""
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

    def select(self, mask: np.ndarray) -> ImageSet:
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

    def first_identities(self, count: int) -> ImageSet:
        """The images of the `count` smallest identities; RlqkitError if there are fewer."""
        if not 1 <= count <= self.n_identities:
            raise RlqkitError(
                f"{self.name} has {self.n_identities} identities, so {count} can't be taken: "
                f"ask for 1 to {self.n_identities}"
            )
        return self.select(np.isin(self.identities, np.unique(self.identities)[:count]))

    @property
    def embedded(self) -> bool:
        """In the embedded set's layout, which brings its labels; an export in another doesn't."""
        return self.synthetic and "part" not in self.table

    def require_masks(self) -> None:
        """Raise RlqkitError unless every image has clothes masks (recolouring needs them)."""
        lacking = self.table.loc[self.table["mask"] == "", "file"]
        if len(lacking):
            raise RlqkitError(
                f"{self.name}: {lacking.iloc[0]} has no clothes mask ({len(lacking)} of "
                f"{len(self)} images lack one): add the masks"
                f"{'' if self.embedded else _MASKS}, or choose rows without recolouring"
            )

    def require_joints(self) -> None:
        """Raise RlqkitError unless images have joints (pose clusters need them).

        In the embedded layout every image must have them; a pose estimator finds nobody in some,
        which get label 0, but not in all.
        """
        missing = (
            np.ones(len(self), dtype=bool)
            if self.joints is None
            else ~np.isfinite(self.joints[..., :2]).all(axis=(1, 2))
        )
        if missing.all() or (missing.any() and self.embedded):
            source = "joints.csv" if self.embedded else _JOINTS
            raise RlqkitError(
                f"{self.name}: {self.table['file'][int(missing.argmax())]} has no joints "
                f"({missing.sum()} of {len(self)} images lack them): add them to {source}, "
                "or choose rows without pose"
            )

    def require_gender(self) -> None:
        """Raise RlqkitError unless every identity has a gender label."""
        lacking = np.unique(self.identities[(self.table["gender"] == UNKNOWN).to_numpy()])
        if len(lacking):
            raise RlqkitError(
                f"{self.name}: identity {lacking[0]} has no gender label ({len(lacking)} of "
                f"{self.n_identities} identities lack one): add it"
                f"{'' if self.embedded else ' to labels/gender.csv'}, or choose rows without "
                "gender"
            )


def clothes_ids(identities: pd.Series, outfits: pd.Series) -> np.ndarray:
    """Clothes ids of a data set's images, unique over all its splits.

    Images share an id if they show the same identity in the same outfit; an image without an
    outfit has an id of its own.

    Args:
        identities: (n,) of all splits.
        outfits: (n,) names within the identity, "" where nobody labelled one.

    Returns:
        (n,) int64, numbered as they first appear.
    """
    # A bare number is never equal to "outfit <text>", so own classes and outfits can't meet.
    blank = outfits.to_numpy() == ""
    own = np.arange(len(outfits)).astype(str)
    worn = np.where(blank, own, "outfit " + outfits.to_numpy(dtype=object))
    keys = identities.astype(str).to_numpy(dtype=object) + "/" + worn
    return pd.factorize(keys)[0].astype(np.int64)


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
        labels: folder of the label files that were read, if any were.
    """

    name: str
    root: Path
    sets: dict[str, ImageSet]
    synthetic: bool
    tests: tuple[RetrievalTest, ...] = WARDROBE_TESTS
    labels: Path | None = None

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
