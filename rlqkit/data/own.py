"""A data set of your own: from one record an image to a `Benchmark`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from rlqkit.data.imageset import (
    IDENTITY_GROUPS,
    SPLITS,
    UNKNOWN,
    Benchmark,
    ImageSet,
    RetrievalTest,
    clothes_ids,
)
from rlqkit.data.wardrobe import shared_identity
from rlqkit.errors import RlqkitError

STANDARD_TESTS = tuple(RetrievalTest(rule, rule=rule) for rule in ("general", "SC", "CC"))


class Sample(NamedTuple):
    """What is known of one image.

    file: relative to the data set's folder. split: one of `imageset.SPLITS`. identity, camera:
    numbers. outfit: its name within the identity, "" if nobody labelled it (in the whole split).
    gender: 1 male, 0 female, -1 unknown. mask: clothes mask beside it ("" = none), a palette PNG
    of 0 other, 1 shirt, 2 trousers.
    """

    file: str
    split: str
    identity: int
    camera: int
    outfit: str = ""
    gender: int = UNKNOWN
    mask: str = ""


def benchmark_of(
    name: str,
    root: Path,
    samples: Iterable[Sample],
    tests: tuple[RetrievalTest, ...] = STANDARD_TESTS,
) -> Benchmark:
    """A benchmark of photographs from its samples.

    Args:
        name: what errors and tables call it.
        root: its folder.
        samples: at least one each of train, query and gallery.
        tests: what is evaluated; the last one is the headline.

    Raises:
        RlqkitError: no sample, an unknown split, a split missing, an image that isn't there, a
            split of which only some images have an outfit, or a test person who is in train or in
            validation too.
    """
    table = pd.DataFrame(list(samples), columns=list(Sample._fields))
    if table.empty:
        raise RlqkitError(f"{name}: no image found in {root}; check the folder and the loader")
    _check(name, root, table)
    table["clothes"] = clothes_ids(table["identity"], table["outfit"])
    sets = {}
    for split in dict.fromkeys(table["split"]):
        rows = table[table["split"] == split].reset_index(drop=True)
        labelled = bool((rows["outfit"] != "").all())
        rows = rows.drop(columns=["split", "outfit"])
        sets[str(split)] = ImageSet(f"{name}/{split}", root, rows, None, False, labelled)
    return Benchmark(name, root, sets, synthetic=False, tests=tests)


def _check(name: str, root: Path, table: pd.DataFrame) -> None:
    unknown = sorted(set(table["split"]) - set(SPLITS))
    if unknown:
        raise RlqkitError(f"{name}: split '{unknown[0]}' is unknown; use {', '.join(SPLITS)}")
    for split in ("train", "query", "gallery"):
        if split not in set(table["split"]):
            raise RlqkitError(f"{name}: no image of split '{split}'; a run needs some")
    for file in table["file"]:
        if not (root / file).is_file():
            raise RlqkitError(f"{name}: image {root / file} is missing")
    for split, rows in table.groupby("split"):
        blank = rows["outfit"] == ""
        if blank.any() and not blank.all():
            file = rows.loc[blank, "file"].iloc[0]
            raise RlqkitError(f"{name}: {file} has no outfit, though others of {split} do")
    _check_identities(name, table)


def _check_identities(name: str, table: pd.DataFrame) -> None:
    """Test people are nobody's training or validation people.

    Validation may show training people, as PRCC's does; external people needn't be numbered as
    the others are, since TAD never looks at their numbers.
    """
    of = {
        group: table.loc[table["split"].isin(splits), "identity"].to_numpy()
        for group, splits in IDENTITY_GROUPS.items()
    }
    for group in ("train", "validation"):
        shared = shared_identity({group: of[group], "test": of["test"]})
        if shared is not None:
            raise RlqkitError(
                f"{name}: identity {shared[0]} is in the {group} and in the test images, which "
                "would make the evaluation meaningless: keep it in one of them, or number the "
                "test people otherwise if they are others"
            )
