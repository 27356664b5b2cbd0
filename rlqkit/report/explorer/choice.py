"""Which images the explorer shows, in which qualities: bounded, and the same for every network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlqkit.config import Config
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.loaders import evaluation_images, severity
from rlqkit.data.torch_sets import EvaluationImages
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.protocol import HQ, MIXED, headline
from rlqkit.evaluation.severity import DIALS, damaged_images, dial_settings
from rlqkit.method.degradations import KINDS

MOST_IMAGES = 240
"""Images of one page if nothing else is asked for; each is there in HQ and in every LQ setting."""
PER_PERSON = 12
"""Most images of one person: more people are worth more than more images of one."""
FEWEST_IMAGES = 8
"""A map of fewer says nothing, and every image is to have five neighbours."""
LEVELS = 4
"""Settings of each degradation, from the mild to the strong end of the configured range."""
UNTOUCHED = "untouched"


@dataclass(frozen=True, eq=False)
class Setting:
    """One stop of the explorer's dials.

    Attributes:
        kind: "untouched", "mixed LQ" or a degradation.
        level: 0 = untouched, 1 = mildest; 1 for "mixed LQ".
        text: what it amounts to, such as "kernel 12 px".
        images: the chosen images in that quality.
    """

    kind: str
    level: int
    text: str
    images: EvaluationImages


def choose_images(benchmark: Benchmark, most: int = MOST_IMAGES, seed: int = 0) -> ImageSet:
    """Test images of some people, the same for a data set, a bound and a seed.

    People are drawn at random among those who are both in the headline's query and in its gallery,
    whole people until the bound is reached. Of each at most ``PER_PERSON`` images are taken,
    spread over cameras and clothes.

    Args:
        benchmark: the target data set.
        most: bound on the number of images.
        seed: of the draws.

    Raises:
        RlqkitError: the bound is too low for two people, or the data set has none to choose.
    """
    if most < FEWEST_IMAGES:
        raise RlqkitError(f"--images {most} is too few for a map; give {FEWEST_IMAGES} or more")
    test, known = headline(benchmark), people_of_test(benchmark)
    parts = dict.fromkeys([*test.query.split("+"), *test.gallery.split("+")])
    images = benchmark["+".join(parts)]
    table, rng = images.table, np.random.default_rng(seed)
    candidates = table[table["identity"].isin(known) & ~table["file"].duplicated()]
    chosen: list[int] = []
    people = 0
    for person in rng.permutation(np.array(known, dtype=np.int64)):
        own = _spread(candidates[candidates["identity"] == person], rng)
        if len(chosen) + len(own) <= most:
            chosen += own
            people += 1
    if people < 2 or len(chosen) < FEWEST_IMAGES:
        raise RlqkitError(
            f"{benchmark.name}: {people} people with {len(chosen)} images are no map; give "
            "--images a higher number, or take a data set with more test images"
        )
    found = images.select(np.isin(np.arange(len(table)), chosen))
    order = found.table.sort_values(["identity", "clothes", "camera", "file"]).index.to_numpy()
    return _in_order(found, order)


def people_of_test(benchmark: Benchmark) -> list[int]:
    """Everybody who is in the headline's query and in its gallery, in order."""
    test = headline(benchmark)
    query, gallery = benchmark[test.query], benchmark[test.gallery]
    return sorted(set(query.identities.tolist()) & set(gallery.identities.tolist()))


def _spread(own: pd.DataFrame, rng: np.random.Generator) -> list[int]:
    """Positions of a person's images, at most ``PER_PERSON``, taken in turn from each camera and
    clothes."""
    shuffled = own.loc[rng.permutation(own.index.to_numpy())]
    turn = shuffled.groupby(["camera", "clothes"]).cumcount().to_numpy()
    return [int(i) for i in shuffled.index[np.argsort(turn, kind="stable")][:PER_PERSON]]


def _in_order(images: ImageSet, order: NDArray[np.int64]) -> ImageSet:
    return ImageSet(
        images.name, images.root, images.table.loc[order].reset_index(drop=True), None,
        images.synthetic, images.clothes_labelled,
    )  # fmt: skip


def describe_people(images: ImageSet) -> pd.DataFrame:
    """What the page says of each image: person, outfit (1, 2, … within the person), camera.

    The outfit is 0 where nobody labelled clothes.
    """
    table = images.table
    outfit = table.groupby("identity")["clothes"].rank(method="dense").astype(int)
    if not images.clothes_labelled:
        outfit = outfit * 0
    return pd.DataFrame(
        {"person": table["identity"], "outfit": outfit, "camera": table["camera"]}
    ).astype(int)


def settings(images: ImageSet, config: Config, levels: int = LEVELS) -> list[Setting]:
    """Every stop of the dials: untouched, the mix that tests use, each degradation by level.

    Args:
        images: the chosen ones.
        config: gives the ranges, the mix and the seed of the draws.
        levels: of each degradation.
    """
    return list(_settings(images, config, levels))


def _settings(images: ImageSet, config: Config, levels: int) -> Iterator[Setting]:
    yield Setting(UNTOUCHED, 0, "no damage", evaluation_images(images, HQ, config))
    mixed = evaluation_images(images, MIXED, config)
    yield Setting(MIXED, 1, "one degradation an image, drawn as in the tests", mixed)
    for kind in KINDS:
        unit = DIALS[kind][1].split(", ")
        for level, (value, setting) in enumerate(dial_settings(severity(config), kind, levels), 1):
            text = f"{unit[0]} {value:.3g} {unit[1]}"
            yield Setting(kind, level, text, damaged_images(images, kind, setting, config))
