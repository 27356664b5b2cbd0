"""Pictures of retrieval: ranked lists under protocols, image qualities and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlqkit.config import Config
from rlqkit.data.images import read_image
from rlqkit.data.imageset import ImageSet
from rlqkit.data.loaders import evaluation_images
from rlqkit.evaluation.metrics import PROTOCOLS, Labels, ranked_list
from rlqkit.evaluation.protocol import HQ, Described
from rlqkit.report.figures.people import outfit_letters
from rlqkit.report.figures.sheets import Picture, Tile, headline_of, name_below, sheet
from rlqkit.report.style import (
    CORRECT_COLOUR,
    JUNK_COLOUR,
    KIND_TITLES,
    STATUS_COLOURS,
    WRONG_COLOUR,
)

WORDS = {"correct": "right", "wrong": "wrong"}
"""Verdicts as captions say them, so that nobody needs the colours."""


@dataclass(frozen=True)
class Search:
    """One row of a ranked-list picture."""

    label: str
    picture: Picture
    """The query, as the network got it."""
    distances: NDArray[np.float32]
    """(n_gallery,)"""
    protocol: str


def searches_by_protocol(described: Described, query: ImageSet, index: int) -> list[Search]:
    """The same HQ query and the same distances, once for each protocol."""
    distances = cosine_distances(described, index, HQ)
    picture = read_image(query.paths[index])
    return [Search(protocol, picture, distances, protocol) for protocol in PROTOCOLS]


def searches_by_quality(
    described: Mapping[str, Described], query: ImageSet, index: int, kind: str, config: Config
) -> list[Search]:
    """The same query as HQ and with one degradation, for each run, under CC."""
    searches = []
    for title, found in described.items():
        for quality in (HQ, kind):
            picture = evaluation_images(query, quality, config).source(index)
            distances = cosine_distances(found, index, quality)
            label = f"{title}\n{KIND_TITLES.get(quality, quality)}"
            searches.append(Search(label, picture, distances, "CC"))
    return searches


def cosine_distances(described: Described, index: int, quality: str) -> NDArray[np.float32]:
    """(n_gallery,) cosine distances of one query, in one quality, to the HQ gallery."""
    distances: NDArray[np.float32] = 1 - described.gallery @ described.queries[quality][index]
    return distances


def ranked_sheet(
    query: ImageSet,
    gallery: ImageSet,
    index: int,
    searches: Sequence[Search],
    title: str,
    k: int = 10,
) -> Figure:
    """A query's nearest k gallery images, junk included and marked, a row for each search."""
    letters = outfit_letters([query, gallery])
    galleries = Labels(*gallery.metric_arrays())
    rows: list[list[Tile | None]] = []
    for search in searches:
        named = name_below(query, index, letters)
        row: list[Tile | None] = [Tile(search.picture, f"query\n{named}", "#222222"), None]
        labels = [[values[index]] for values in query.metric_arrays()]
        entries = ranked_list(search.distances, labels, galleries, search.protocol, k)
        for entry in entries:
            verdict = "junk" if entry.rank is None else f"{entry.rank + 1}: {WORDS[entry.status]}"
            below = name_below(gallery, entry.index, letters)
            caption = f"{verdict}\ncos {1 - entry.distance:.2f}\n{below}"
            image = read_image(gallery.paths[entry.index])
            faded = entry.status == "junk"
            row.append(Tile(image, caption, STATUS_COLOURS[entry.status], faded))
        rows.append(row)
    return sheet(
        rows,
        headline_of(title, query.synthetic),
        [search.label for search in searches],
        legend={"right": CORRECT_COLOUR, "wrong": WRONG_COLOUR, "junk": JUNK_COLOUR},
        tile=(1.5, 0.95),
    )
