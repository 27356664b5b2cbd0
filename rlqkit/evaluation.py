"""What is measured of a trained network: protocols x image qualities, with every query kept.

HQ queries and LQ queries (one pass for each degradation) search the HQ gallery; a mix of all
degradations searches a gallery degraded likewise. The LQ copies depend on the image and on
``evaluation.degradation_seed`` only, so every row, seed and epoch meets the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from lightning_fabric import Fabric
from numpy.typing import NDArray

from rlqkit.config import Config
from rlqkit.datasets import Benchmark, ImageSet
from rlqkit.degradations import KINDS
from rlqkit.features import extract_descriptors
from rlqkit.metrics import Labels, Retrieval, evaluate_features
from rlqkit.model import Network
from rlqkit.tasks import evaluation_images

PROTOCOLS = ("general", "SC", "CC")
HQ, LQ, MIXED = "HQ", "LQ", "mixed LQ"
"""Image qualities: as shipped; the three degradations pooled; one degradation drawn per image."""
Features = Mapping[tuple[str, str], NDArray[np.float32]]
"""(role, quality) -> descriptors, role "query" or "gallery"."""

SINGLE_CONDITIONS = ((HQ, HQ), *((kind, HQ) for kind in KINDS), (MIXED, MIXED))


@dataclass(frozen=True)
class Evaluation:
    """Figures of one network on one test.

    Attributes:
        metrics: one row per (query quality, gallery quality, protocol): rank1, rank5, rank10, mAP
            in 0..1, queries, skipped.
        per_query: one row per query of those: file, identity, average_precision (NaN if skipped),
            first_hit (0-based, -1 if skipped).
        features: descriptors behind it.
    """

    metrics: pd.DataFrame
    per_query: pd.DataFrame
    features: Features


def evaluate_network(
    network: Network, benchmark: Benchmark, config: Config, fabric: Fabric
) -> Evaluation:
    """Every protocol under every image quality, on the test identities.

    Raises:
        RlqkitError: no query has a valid match in the gallery.
    """
    features: dict[tuple[str, str], NDArray[np.float32]] = {}
    for query_quality, gallery_quality in SINGLE_CONDITIONS:
        for role, quality in (("query", query_quality), ("gallery", gallery_quality)):
            if (role, quality) not in features:
                features[role, quality] = describe(
                    network, benchmark[role], quality, config, fabric
                )
    return measure(features, benchmark["query"], benchmark["gallery"])


def measure(features: Features, query: ImageSet, gallery: ImageSet) -> Evaluation:
    """The figures behind descriptors that were extracted before."""
    tables = []
    for query_quality, gallery_quality in SINGLE_CONDITIONS:
        results = evaluate_features(
            features["query", query_quality],
            features["gallery", gallery_quality],
            Labels(*query.metric_arrays()),
            Labels(*gallery.metric_arrays()),
            PROTOCOLS,
        )
        tables += [
            _query_table(result, query, query_quality, gallery_quality)
            for result in results.values()
        ]
    per_query = pd.concat(tables, ignore_index=True)
    pooled = per_query[per_query["query"].isin(KINDS)].assign(query=LQ)
    metrics = summarise(pd.concat([per_query, pooled], ignore_index=True))
    return Evaluation(metrics, per_query, features)


def summarise(per_query: pd.DataFrame) -> pd.DataFrame:
    """CMC and mAP from a per-query table, one row per query quality, gallery quality, protocol."""
    records = []
    order = ["query", "gallery", "protocol"]
    for keys, group in per_query.groupby(order, sort=False):
        valid = group[group["first_hit"] >= 0]
        records.append(
            dict(zip(order, keys, strict=True))
            | {f"rank{k}": float((valid["first_hit"] < k).mean()) for k in (1, 5, 10)}
            | {"mAP": float(valid["average_precision"].mean())}
            | {"queries": len(group), "skipped": len(group) - len(valid)}
        )
    return pd.DataFrame(records)


def describe(
    network: Network, images: ImageSet, quality: str, config: Config, fabric: Fabric
) -> NDArray[np.float32]:
    """Descriptors of an image set in one quality: "HQ", "mixed LQ" or a degradation's name."""
    return extract_descriptors(
        network,
        evaluation_images(images, quality, config),
        fabric,
        batch=config.evaluation.batch,
        workers=config.data.workers,
        channels_last=config.training.channels_last,
    )


def clothes_changing_map(
    network: Network, query: ImageSet, gallery: ImageSet, config: Config, fabric: Fabric
) -> dict[str, float]:
    """Rank-1 and mAP of HQ images under the CC protocol: what epochs are chosen by."""
    result = evaluate_features(
        describe(network, query, HQ, config, fabric),
        describe(network, gallery, HQ, config, fabric),
        Labels(*query.metric_arrays()),
        Labels(*gallery.metric_arrays()),
        "CC",
    )
    return {"rank1": result.rank1, "mAP": result.mAP}


def _query_table(
    result: Retrieval, query: ImageSet, query_quality: str, gallery_quality: str
) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "query": query_quality,
        "gallery": gallery_quality,
        "protocol": result.protocol,
        "file": query.table["file"].to_numpy(),
        "identity": query.identities,
        "average_precision": result.average_precision,
        "first_hit": result.first_hit,
    }
    return pd.DataFrame(columns)
