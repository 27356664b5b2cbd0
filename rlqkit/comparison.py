"""Rows side by side: which runs are there, what chance would give, who agrees with the teacher."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlqkit.config import Config, with_overrides
from rlqkit.datasets import ImageSet
from rlqkit.experiment import run
from rlqkit.runs import RunFolder

Matrix = NDArray[np.floating[Any]]


def measured_runs(config: Config, rows: Iterable[str], train: bool) -> dict[str, list[RunFolder]]:
    """Runs of each row that have figures, by the configuration's seeds; weights aren't asked for.

    Args:
        config: everything but row and seed, which must fit exactly.
        rows: names, in the order wanted.
        train: whether a row without any run is trained now (with ``config.seed``) or left out.
    """
    seeds = sorted({config.seed, *config.reproduce.seeds})
    found = {}
    for row in rows:
        folders = [RunFolder.of(with_overrides(config, {"row": row, "seed": s})) for s in seeds]
        present = [folder for folder in folders if has_figures(folder)]
        if not present and train:
            present = [run(with_overrides(config, {"row": row}))]
        if present:
            found[row] = present
    return found


def has_figures(folder: RunFolder) -> bool:
    """Whether metrics and per-query table are there, all that a comparison needs."""
    return all((folder.path / name).is_file() for name in ("metrics.json", "per_query.parquet"))


def per_query_tables(runs: Mapping[str, Iterable[RunFolder]]) -> dict[str, pd.DataFrame]:
    """Row → per-query table, the seeds of a row stacked (column seed)."""
    return {
        row: pd.concat(
            [folder.per_query().assign(seed=folder.config().seed) for folder in folders],
            ignore_index=True,
        )
        for row, folders in runs.items()
    }


def chance_rank1(query: ImageSet, gallery: ImageSet, protocol: str = "CC") -> float:
    """Rank-1 of a gallery in random order: mean share of correct images among the valid ones.

    Args:
        query, gallery: image sets of a benchmark.
        protocol: "general", "SC" or "CC".
    """
    (q_id, q_cam, q_clothes), (g_id, g_cam, g_clothes) = (
        query.metric_arrays(), gallery.metric_arrays()
    )  # fmt: skip
    same = q_id[:, None] == g_id
    same_clothes = q_clothes[:, None] == g_clothes
    keep = {"general": True, "SC": same_clothes, "CC": ~same_clothes}[protocol]
    correct = same & (q_cam[:, None] != g_cam) & keep
    valid = correct | ~same
    has_match = correct.any(axis=1)
    return float((correct.sum(axis=1) / valid.sum(axis=1))[has_match].mean())


def teacher_agreement(teacher: Matrix, features: Mapping[str, Matrix]) -> pd.DataFrame:
    """Mean cosine between a teacher's descriptor and other models', image by image.

    Distillation asks for just this cosine, in each branch by itself: ‖t − s‖² = 2 − 2 cos.

    Args:
        teacher: (n, 2 D) descriptors f1 | f2 of HQ images.
        features: name → (n, 2 D) descriptors of the same images, HQ or LQ.

    Returns:
        Index: names. Columns: "branch 1", "branch 2", in −1..1; about 0 for unrelated networks.
    """
    return pd.DataFrame(
        {
            name: {
                f"branch {number}": float(np.einsum("nd,nd->n", t, s).mean())
                for number, (t, s) in enumerate(
                    zip(_branches(teacher), _branches(other), strict=True), start=1
                )
            }
            for name, other in features.items()
        }
    ).T


def _branches(descriptors: Matrix) -> list[Matrix]:
    """The halves f1 and f2, each normalised by itself."""
    halves = np.split(descriptors, 2, axis=1)
    return [half / np.linalg.norm(half, axis=1, keepdims=True) for half in halves]
