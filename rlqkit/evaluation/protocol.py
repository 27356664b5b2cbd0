"""What is measured of a trained network: retrieval tests x image qualities, every query kept.

A benchmark names its tests (``imageset.RetrievalTest``): the images of one split search those of
another under one junk rule, in the whole gallery (multi-shot) or in seeded galleries of one image
an identity (single-shot). Every split is described once in each quality, and all tests are
computed from that one dump, so PRCC's two query sets and both its shots cost one extraction.

HQ queries and LQ queries (one pass for each degradation) search the HQ gallery; a mix of all
degradations searches a gallery degraded likewise. The LQ copies depend on the image and on
``evaluation.degradation_seed`` only, so every row, seed and epoch meets the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from lightning_fabric import Fabric
from numpy.typing import NDArray

from rlqkit.config import Config
from rlqkit.data.imageset import Benchmark, ImageSet, RetrievalTest
from rlqkit.data.loaders import evaluation_images
from rlqkit.evaluation.collapse import (
    NEIGHBOURS,
    PersonSums,
    fewest_candidates,
    person_sums,
)
from rlqkit.evaluation.descriptors import extract_descriptors
from rlqkit.evaluation.metrics import (
    Labels,
    Retrieval,
    evaluate_features,
    has_match,
    single_shot_galleries,
)
from rlqkit.method.degradations import KINDS
from rlqkit.method.network import Network

HQ, LQ, MIXED = "HQ", "LQ", "mixed LQ"
"""Image qualities: as shipped; the three degradations pooled; one degradation drawn per image."""
Features = Mapping[tuple[str, str], NDArray[np.float32]]
"""(split, quality) -> descriptors."""
QUALITY_PAIRS = ((HQ, HQ), *((kind, HQ) for kind in KINDS), (MIXED, MIXED))


@dataclass(frozen=True)
class Evaluation:
    """Figures of one network on one benchmark.

    Attributes:
        metrics: one row per (query quality, gallery quality, protocol), protocol being the test's
            name: rank1, rank5, rank10, mAP in 0..1, queries, skipped. Single-shot tests give means
            over their galleries, and draws, rank1_sd, mAP_sd (standard deviation over the
            galleries, n − 1) beside them; those are absent elsewhere.
        per_query: one row per query of those: file, identity, average_precision (NaN if skipped),
            first_hit (0-based, -1 if skipped). If the benchmark has single-shot tests, a column
            draw: 0 for the whole gallery, 1, 2, … for their galleries, each with its own rows.
        features: descriptors behind it.
    """

    metrics: pd.DataFrame
    per_query: pd.DataFrame
    features: Features


def headline(benchmark: Benchmark) -> RetrievalTest:
    """The test that a benchmark is known by, its last: CC where clothes are labelled."""
    return benchmark.tests[-1]


def headline_name(table: pd.DataFrame) -> str:
    """The headline's name from a metrics or per-query table.

    Tables of one run keep the benchmark's order, in which it comes last; tables of several runs,
    which may have had different tests, have it as a column, and the first run's counts.
    """
    if "headline" in table:
        return str(table["headline"].iloc[0])
    return str(table["protocol"].unique()[-1])


def evaluate_network(
    network: Network, benchmark: Benchmark, config: Config, fabric: Fabric
) -> Evaluation:
    """Every test of the benchmark under every image quality.

    Raises:
        RlqkitError: no query of a test has a valid match in its gallery.
    """
    features: dict[tuple[str, str], NDArray[np.float32]] = {}
    for query_quality, gallery_quality in QUALITY_PAIRS:
        for test in benchmark.tests:
            for split, quality in (
                *((part, query_quality) for part in test.query.split("+")),
                *((part, gallery_quality) for part in test.gallery.split("+")),
            ):
                if (split, quality) not in features:
                    features[split, quality] = describe_images(
                        network, benchmark[split], quality, config, fabric
                    )
    return measure(features, benchmark, config.evaluation.gallery_seed)


def measure(features: Features, benchmark: Benchmark, gallery_seed: int = 1) -> Evaluation:
    """The figures behind descriptors that were extracted before.

    Args:
        features: every (split, quality) that the benchmark's tests need.
        benchmark: labels and tests.
        gallery_seed: of the single-shot galleries.

    Raises:
        RlqkitError: no query of a test has a valid match in its gallery.
    """
    tables = []
    for qualities in QUALITY_PAIRS:
        whole = _whole_galleries(features, benchmark, qualities)
        for test in benchmark.tests:
            shots = {0: whole[test.name]} if not test.draws else {}
            chosen = single_shot_galleries(
                benchmark[test.gallery].identities, test.draws, gallery_seed
            )
            for draw, images in enumerate(chosen, start=1):
                found = _retrieve(features, benchmark, test, qualities, (test.rule,), images)
                shots[draw] = found[test.rule]
            tables += [
                _query_table(result, test, draw, benchmark[test.query], qualities)
                for draw, result in shots.items()
            ]
    per_query = pd.concat(tables, ignore_index=True)
    if not any(test.draws for test in benchmark.tests):
        per_query = per_query.drop(columns="draw")
    pooled = per_query[per_query["query"].isin(KINDS)].assign(query=LQ)
    metrics = summarise(pd.concat([per_query, pooled], ignore_index=True))
    return Evaluation(metrics, per_query, features)


def summarise(per_query: pd.DataFrame) -> pd.DataFrame:
    """CMC and mAP from a per-query table, one row per query quality, gallery quality, protocol."""
    records = []
    order = ["query", "gallery", "protocol"]
    for keys, group in per_query.groupby(order, sort=False):
        named = dict(zip(order, keys, strict=True))
        if "draw" in group and group["draw"].iloc[0] > 0:
            shots = pd.DataFrame([_figures(shot) for _, shot in group.groupby("draw")])
            records.append(named | _over_draws(shots))
        else:
            records.append(named | _figures(group))
    return pd.DataFrame(records)


def metric_records(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """A metrics table as JSON records; a figure that a test hasn't got is absent, not NaN."""
    records = metrics.to_dict(orient="records")
    optional = ("draws", "rank1_sd", "mAP_sd")
    for record in records:
        for name in optional:
            if name in record and pd.isna(record[name]):
                del record[name]
        if "draws" in record:
            record["draws"] = int(record["draws"])  # pandas made it a float beside absent ones
    return [{str(name): value for name, value in record.items()} for record in records]


def _figures(group: pd.DataFrame) -> dict[str, float | int]:
    """Means over the valid queries of one ranking."""
    valid = group[group["first_hit"] >= 0]
    return (
        {f"rank{k}": float((valid["first_hit"] < k).mean()) for k in (1, 5, 10)}
        | {"mAP": float(valid["average_precision"].mean())}
        | {"queries": len(group), "skipped": len(group) - len(valid)}
    )


def _over_draws(shots: pd.DataFrame) -> dict[str, float | int]:
    """Mean and spread over single-shot galleries; skipped is the most that a gallery left out."""
    figures: dict[str, float | int] = {
        name: float(shots[name].mean()) for name in ("rank1", "rank5", "rank10", "mAP")
    }
    figures |= {"queries": int(shots["queries"].iloc[0]), "skipped": int(shots["skipped"].max())}
    figures |= {"draws": len(shots)}
    return figures | {f"{name}_sd": float(shots[name].std(ddof=1)) for name in ("rank1", "mAP")}


class Described(NamedTuple):
    """Descriptors of a test's images, float32, rows of norm 1.

    Attributes:
        queries: quality of the queries → (n_query, d).
        gallery: (n_gallery, d) of the HQ gallery.
    """

    queries: dict[str, NDArray[np.float32]]
    gallery: NDArray[np.float32]


def describe_images(
    network: Network, images: ImageSet, quality: str, config: Config, fabric: Fabric
) -> NDArray[np.float32]:
    """Descriptors of an image set in one quality: "HQ", "mixed LQ" or a degradation's name."""
    return extract_descriptors(network, evaluation_images(images, quality, config), fabric, config)


def selection_test(benchmark: Benchmark, rule: str) -> RetrievalTest | None:
    """What a selection rule chooses epochs by: the headline on validation or on the test itself.

    Always in the whole gallery; None for "last", which measures nothing.
    """
    test = replace(headline(benchmark), draws=0)
    if rule == "best_validation":
        return replace(test, query="val_query", gallery="val_gallery")
    return test if rule == "best_test" else None


def can_be_measured(benchmark: Benchmark, test: RetrievalTest) -> bool:
    """Whether some query of a test has a valid match in its whole gallery."""
    query, gallery = (benchmark[split].metric_arrays() for split in (test.query, test.gallery))
    return has_match(query, gallery, test.rule)


def watched_qualities(rule: str) -> tuple[str, ...]:
    """Image qualities in which a rule's people are looked at while a network trains."""
    return (HQ, MIXED) if rule == "best_validation" else (HQ,)


def selection_figures(
    network: Network, benchmark: Benchmark, test: RetrievalTest, config: Config, fabric: Fabric
) -> dict[str, float]:
    """Rank-1 and mAP of HQ images under one test: what epochs are chosen by."""
    return _figures_of(network, benchmark, test, config, fabric, watched_qualities("best_test"))


def validation_figures(
    network: Network, benchmark: Benchmark, test: RetrievalTest, config: Config, fabric: Fabric
) -> dict[str, float]:
    """Figures of validation people while a network trains; epochs are chosen by the first two.

    Returns:
        rank1, mAP of HQ queries; lq_rank1, lq_mAP of queries with one degradation each in the HQ
        gallery; lq_given_stranger, the collapse measure (``collapse.MEASURES``) of query and
        gallery together, where there are several people, several cameras and wrong neighbours.
    """
    qualities = watched_qualities("best_validation")
    return _figures_of(network, benchmark, test, config, fabric, qualities)


def _figures_of(
    network: Network, benchmark: Benchmark, test: RetrievalTest, config: Config, fabric: Fabric,
    qualities: tuple[str, ...],
) -> dict[str, float]:  # fmt: skip
    features = {
        (split, quality): describe_images(network, benchmark[split], quality, config, fabric)
        for quality in qualities
        for split in (test.query, test.gallery)
    }
    figures: dict[str, float] = {}
    for quality in qualities:
        result = _retrieve(features, benchmark, test, (quality, HQ), (test.rule,))[test.rule]
        prefix = "" if quality == HQ else "lq_"
        figures |= {f"{prefix}rank1": result.rank1, f"{prefix}mAP": result.mAP}
    both = "+".join((test.query, test.gallery))
    labels = Labels(*benchmark[both].metric_arrays())
    several = all(len(np.unique(column)) > 1 for column in (labels.identity, labels.camera))
    if MIXED in qualities and several:
        hq, lq = (_features_of(features, both, quality) for quality in (HQ, MIXED))
        sums = person_sums(hq, lq, labels, neighbours=1, pairs=False)
        share = sums.value("lq_given_stranger")
        figures |= {"lq_given_stranger": share} if math.isfinite(share) else {}
    return figures


def headline_collapse(features: Features, benchmark: Benchmark) -> PersonSums | None:
    """Person by person, how far LQ versions of the headline's queries have collapsed.

    Args:
        features: of the queries, HQ and mixed LQ.
        benchmark: whose headline.

    Returns:
        The measures of ``collapse.SINGLE``; None where they can't be asked: fewer than two people,
        or an image with too few images from other cameras.
    """
    split = headline(benchmark).query
    labels = Labels(*benchmark[split].metric_arrays())
    people = len(np.unique(labels.identity))
    if people < 2 or fewest_candidates(labels.camera) < NEIGHBOURS:
        return None
    hq, lq = (_features_of(features, split, quality) for quality in (HQ, MIXED))
    return person_sums(hq, lq, labels, pairs=False)


def _whole_galleries(
    features: Features, benchmark: Benchmark, qualities: tuple[str, str]
) -> dict[str, Retrieval]:
    """Name → result of each multi-shot test; one pass over a pair of splits for all its rules."""
    found: dict[str, Retrieval] = {}
    multi = [test for test in benchmark.tests if not test.draws]
    for pair in dict.fromkeys((test.query, test.gallery) for test in multi):
        tests = [test for test in multi if (test.query, test.gallery) == pair]
        rules = tuple(dict.fromkeys(test.rule for test in tests))
        results = _retrieve(features, benchmark, tests[0], qualities, rules)
        found |= {test.name: results[test.rule] for test in tests}
    return found


def _retrieve(
    features: Features,
    benchmark: Benchmark,
    test: RetrievalTest,
    qualities: tuple[str, str],
    rules: tuple[str, ...],
    chosen: NDArray[np.int64] | None = None,
) -> dict[str, Retrieval]:
    """Results of a test's splits by rule; ``chosen`` are the gallery images, None = all."""
    gallery = _features_of(features, test.gallery, qualities[1])
    labels = Labels(*benchmark[test.gallery].metric_arrays())
    if chosen is not None:
        gallery, labels = gallery[chosen], Labels(*(column[chosen] for column in labels))
    return evaluate_features(
        _features_of(features, test.query, qualities[0]),
        gallery,
        Labels(*benchmark[test.query].metric_arrays()),
        labels,
        rules,
    )


def _features_of(features: Features, splits: str, quality: str) -> NDArray[np.float32]:
    """Descriptors of a split, or of several ("query+gallery") in the order of ``Benchmark``."""
    parts = [features[split, quality] for split in splits.split("+")]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _query_table(
    result: Retrieval, test: RetrievalTest, draw: int, query: ImageSet, qualities: tuple[str, str]
) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "query": qualities[0],
        "gallery": qualities[1],
        "protocol": test.name,
        "draw": draw,
        "file": query.table["file"].to_numpy(),
        "identity": query.identities,
        "average_precision": result.average_precision,
        "first_hit": result.first_hit,
    }
    return pd.DataFrame(columns)
