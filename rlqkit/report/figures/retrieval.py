"""Pictures of retrieval: ranked lists, CMC, precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlqkit.data.images import read_image
from rlqkit.data.imageset import ImageSet
from rlqkit.data.loaders import evaluation_images
from rlqkit.evaluation.metrics import PROTOCOLS, Labels, Retrieval, evaluate_features, ranked_list
from rlqkit.evaluation.protocol import HQ, LQ, Features, headline_name
from rlqkit.method.degradations import KINDS
from rlqkit.report.figures.people import outfit_letters
from rlqkit.report.figures.sheets import Picture, Tile, headline_of, name_below, sheet
from rlqkit.report.style import (
    CORRECT_COLOUR,
    HQ_COLOUR,
    JUNK_COLOUR,
    KIND_TITLES,
    LQ_COLOUR,
    PROTOCOL_COLOURS,
    STATUS_COLOURS,
    WRONG_COLOUR,
)
from rlqkit.runs.folder import RunFolder


@dataclass(frozen=True)
class Search:
    """One row of a ranked-list picture."""

    label: str
    picture: Picture
    """The query, as the network got it."""
    distances: NDArray[np.float32]
    """(n_gallery,)"""
    protocol: str


def searches_by_protocol(
    features: Features, query: ImageSet, gallery: ImageSet, index: int
) -> list[Search]:
    """The same HQ query and the same distances, once for each protocol."""
    distances = cosine_distances(features, index, HQ)
    picture = read_image(query.paths[index])
    return [Search(protocol, picture, distances, protocol) for protocol in PROTOCOLS]


def searches_by_quality(
    runs: Mapping[str, RunFolder], query: ImageSet, index: int, kind: str
) -> list[Search]:
    """The same query as HQ and with one degradation, for each run, under CC."""
    searches = []
    for title, run in runs.items():
        features = run.features()
        for quality in (HQ, kind):
            picture = evaluation_images(query, quality, run.config()).source(index)
            distances = cosine_distances(features, index, quality)
            label = f"{title}\n{KIND_TITLES.get(quality, quality)}"
            searches.append(Search(label, picture, distances, "CC"))
    return searches


def cosine_distances(features: Features, index: int, quality: str) -> NDArray[np.float32]:
    """(n_gallery,) cosine distances of one query, in one quality, to the HQ gallery."""
    query, gallery = features["query", quality][index], features["gallery", HQ]
    distances: NDArray[np.float32] = 1 - gallery @ query
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
            rank = "junk" if entry.rank is None else f"rank {entry.rank + 1}"
            below = name_below(gallery, entry.index, letters)
            caption = f"{rank} · cos {1 - entry.distance:.2f}\n{below}"
            image = read_image(gallery.paths[entry.index])
            faded = entry.status == "junk"
            row.append(Tile(image, caption, STATUS_COLOURS[entry.status], faded))
        rows.append(row)
    return sheet(
        rows,
        headline_of(title, query.synthetic),
        [search.label for search in searches],
        legend={"correct": CORRECT_COLOUR, "wrong": WRONG_COLOUR, "junk": JUNK_COLOUR},
        tile=(1.5, 0.84),
    )


def instructive_query(features: Features, query: ImageSet, gallery: ImageSet, k: int = 10) -> int:
    """The query on whose first k images the protocols differ most.

    Counted: images of the query's identity that some protocols call correct and others junk, with
    a bonus for queries whose list holds every status under CC. The first of equals wins.
    """
    galleries = Labels(*gallery.metric_arrays())
    best, chosen = -1, 0
    for i in range(len(query)):
        labels = [[values[i]] for values in query.metric_arrays()]
        distances = cosine_distances(features, i, HQ)
        lists = {p: ranked_list(distances, labels, galleries, p, k) for p in PROTOCOLS}
        columns = zip(*([e.status for e in entries] for entries in lists.values()), strict=True)
        score = sum(len(set(column)) > 1 for column in columns)
        score += k * (len({entry.status for entry in lists["CC"]}) == 3)
        if score > best:
            best, chosen = score, i
    return chosen


def best_found_by_all(runs: Mapping[str, RunFolder]) -> int:
    """The HQ query that the runs answer best in the headline test (CC where clothes are labelled).

    Its worst first match comes earliest.

    The first of equals wins; a query without a valid match is never chosen.
    """
    tests = {title: headline_name(run.per_query()) for title, run in runs.items()}
    hits = np.stack(
        [_per_query(run, tests[title], HQ)["first_hit"].to_numpy() for title, run in runs.items()]
    )
    worst = np.where(hits >= 0, hits, np.iinfo(np.int64).max).max(axis=0)
    return int(worst.argmin())


def _per_query(run: RunFolder, protocol: str, quality: str) -> pd.DataFrame:
    """Per-query figures of the last epoch against the HQ gallery; quality "LQ" pools the kinds."""
    table = run.per_query()
    table = table[(table["rule"] == "last") & (table["protocol"] == protocol)]
    kinds = KINDS if quality == LQ else (quality,)
    return table[table["query"].isin(kinds) & (table["gallery"] == HQ)]


def retrievals(
    features: Features, query: ImageSet, gallery: ImageSet, quality: str
) -> dict[str, Retrieval]:
    """Every protocol for queries of one quality on the HQ gallery."""
    labels = Labels(*query.metric_arrays()), Labels(*gallery.metric_arrays())
    return evaluate_features(
        features["query", quality], features["gallery", HQ], *labels, PROTOCOLS
    )


def cmc_figure(
    runs: Mapping[str, RunFolder], query: ImageSet, gallery: ImageSet, ranks: int = 20
) -> Figure:
    """CMC curves of every protocol, HQ queries and LQ queries (mean of the three kinds)."""
    styles = dict(zip(runs, ("--", "-", ":", "-."), strict=False))
    ranks = min(ranks, len(gallery))
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    for axes, (name, qualities) in zip(panels, {HQ: (HQ,), LQ: KINDS}.items(), strict=True):
        for title, run in runs.items():
            features = run.features()
            found = [retrievals(features, query, gallery, quality) for quality in qualities]
            for protocol in PROTOCOLS:
                curve = 100 * np.mean([f[protocol].cmc[:ranks] for f in found], axis=0)
                colour, label = PROTOCOL_COLOURS[protocol], f"{title}, {protocol}"
                axes.plot(np.arange(1, ranks + 1), curve, styles[title], color=colour, label=label)
        axes.set(title=f"{name} queries, HQ gallery", xlabel="rank k", ylim=(0, 100))
        axes.set_xticks([1, *range(5, ranks + 1, 5)])
    panels[0].set_ylabel("first match within k, %")
    panels[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    title = headline_of("CMC: how soon does the first correct match come?", query.synthetic)
    figure.suptitle(title, weight="bold")
    return figure


def precision_figure(run: RunFolder, title: str, synthetic: bool) -> Figure:
    """Histogram of every query's average precision, HQ beside LQ, for each test of a run."""
    tests = run.per_query()["protocol"].unique()
    figure, grid = plt.subplots(
        1, len(tests), figsize=(1 + 10 / 3 * len(tests), 3.4), layout="constrained", sharey=True,
        squeeze=False,
    )  # fmt: skip
    panels = grid[0]
    bins = np.geomspace(1e-3, 1, 25)
    for axes, protocol in zip(panels, tests, strict=True):
        for quality, colour in ((HQ, HQ_COLOUR), (LQ, LQ_COLOUR)):
            values = _per_query(run, protocol, quality)["average_precision"].dropna().to_numpy()
            shown = np.maximum(values, bins[0])
            weights = np.full(len(values), 100 / len(values))
            label = f"{quality}, mAP {100 * values.mean():.1f}"
            axes.hist(shown, bins, weights=weights, histtype="stepfilled", alpha=0.35, color=colour)
            axes.hist(
                shown, bins, weights=weights, histtype="step", lw=1.5, color=colour, label=label
            )
            axes.axvline(values.mean(), color=colour, ls="--")
        axes.set(title=protocol, xlabel="average precision of a query")
        axes.set(xscale="log", xlim=(1e-3, 1))
        axes.set_xticks([0.001, 0.01, 0.1, 1], [".001", ".01", ".1", "1"])
        axes.legend(fontsize=8)
    panels[0].set_ylabel("queries, %")
    text = f"{title}: one mAP (dashed) stands for very different queries"
    figure.suptitle(headline_of(text, synthetic), weight="bold")
    return figure
