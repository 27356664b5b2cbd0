"""From a folder to a `Benchmark`: every published data set, by its layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from rlqkit.data.imageset import UNKNOWN, Benchmark, ImageSet, clothes_ids
from rlqkit.data.published import celeb_reid, deepchange, last, ltcc, prcc
from rlqkit.data.published.index import read_index
from rlqkit.data.published.layouts import JUNK, Layout
from rlqkit.errors import RlqkitError

LAYOUTS: dict[str, Layout] = {
    module.LAYOUT.name: module.LAYOUT for module in (ltcc, prcc, last, deepchange, celeb_reid)
}
TRAIN, TEST = ("train",), ("query", "query_sc", "query_cc", "gallery")


def load_published(name: str, root: Path, tolerant: bool = False) -> Benchmark:
    """Load a published data set from its folder, without any label file.

    Args:
        name: one of `LAYOUTS`.
        root: the folder, or one that holds it under its published name.
        tolerant: don't raise for people who are in train and in test.

    An exported set is rendered: it is marked synthetic, see :func:`is_export`.

    Raises:
        RlqkitError: folder, part or list missing; a name that isn't the data set's.
    """
    layout = LAYOUTS[name]
    folder = layout.find(Path(root))
    index = read_index(layout, folder)
    synthetic = is_export(folder)
    sets = _image_sets(layout, folder, index[index["identity"] >= JUNK], synthetic)
    benchmark = Benchmark(name, folder, sets, synthetic, layout.tests)
    shared = shared_identities(benchmark)
    if len(shared) and not tolerant:
        raise RlqkitError(
            f"{layout.title}: identity {shared[0]} is in train and in test ({len(shared)} are), "
            f"which would make the evaluation meaningless: run rlqkit data check {name}"
        )
    return benchmark


def is_export(folder: Path) -> bool:
    """Whether `rlqkit data export` wrote a data set, so that it is rendered.

    Args:
        folder: of the data set's parts, as ``Layout.find`` gives it.
    """
    return any((place / "export.json").is_file() for place in (folder, folder.parent))


def shared_identities(benchmark: Benchmark) -> np.ndarray:
    """(k,) identities that are in train and in test; none where both are numbered from 1."""
    if LAYOUTS[benchmark.name].numbered_apart:
        return np.empty(0, dtype=np.int64)
    train, test = (
        np.concatenate(
            [images.identities for name, images in benchmark.sets.items() if name in group]
        )
        for group in (TRAIN, TEST)
    )
    return np.intersect1d(train, test)


def labels_folder(given: Path | None, root: Path, found: Path) -> Path | None:
    """Where label files lie: the folder given, or `labels` in one of two places, if it is there.

    Raises RlqkitError if the folder given is missing.
    """
    if given is not None:
        if not given.is_dir():
            raise RlqkitError(f"labels folder {given} is missing: give an existing one, or none")
        return given
    return next((place for place in (found / "labels", root / "labels") if place.is_dir()), None)


def _image_sets(
    layout: Layout, root: Path, index: pd.DataFrame, synthetic: bool
) -> dict[str, ImageSet]:
    """Every split's images, in the order of the index."""
    index = index.reset_index(drop=True)
    table = index[["file", "part", "identity", "camera"]].assign(
        clothes=clothes_ids(index["identity"], index["outfit"]), gender=UNKNOWN, mask=""
    )
    if layout.running_camera:
        table["camera"] = np.arange(len(table))
    sets = {}
    for split in dict.fromkeys(index["split"]):
        rows = (index["split"] == split).to_numpy()
        sets[str(split)] = ImageSet(
            name=f"{layout.name}/{split}",
            root=root,
            table=table[rows].reset_index(drop=True),
            joints=None,
            synthetic=synthetic,
            clothes_labelled=bool((index.loc[rows, "outfit"] != "").all()),
        )
    if layout.external:
        train = sets["train"]
        sets["external"] = ImageSet(
            f"{layout.name}/external", root, train.table, None, synthetic, train.clothes_labelled
        )
    return sets
