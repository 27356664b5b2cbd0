"""Who lies next to whom: the nearest images of every image, and what they say about collapse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlqkit.evaluation.collapse import (
    DECIMALS,
    Matrix,
    collapse_intervals,
    measure_collapse,
    person_sums,
)
from rlqkit.evaluation.metrics import Labels

NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class Nearest:
    """Nearest images of every point of a pool: HQ images (0..n−1), then LQ images (n..2n−1).

    Attributes:
        images: (pool, NEIGHBOURS) positions in the pool, nearest first.
        cosines: (pool, NEIGHBOURS), in −1..1.
    """

    images: NDArray[np.int64]
    cosines: NDArray[np.float32]


def separable(labels: Labels) -> tuple[Labels, bool]:
    """Labels by which an image's neighbours come from other cameras, as in every measure.

    Where that leaves an image fewer than ``NEIGHBOURS`` others (a test seen by one camera), each
    image counts as a camera of its own, so that it is only kept from itself.

    Returns:
        The labels, and whether their cameras are those of the data set.
    """
    others = (labels.camera[:, None] != labels.camera).sum(axis=1)
    if (others >= NEIGHBOURS).all():
        return labels, True
    return labels._replace(camera=np.arange(len(labels.camera))), False


def nearest_images(hq: Matrix, lq: Matrix | None, camera: NDArray[np.int64]) -> Nearest:
    """Nearest images of every HQ and every LQ image in the pool of both, from other cameras.

    Args:
        hq: (n, d), rows of norm 1.
        lq: likewise, the same images; None = there are none, and the pool is HQ.
        camera: (n,).

    Returns:
        Of 2n points, HQ first; of n without LQ. Ties are in pool order.
    """
    qualities = [hq] if lq is None else [hq, lq]
    pool, cameras = np.concatenate(qualities), np.tile(camera, len(qualities))
    cosine = np.round(pool @ pool.T, DECIMALS)
    cosine[cameras[:, None] == cameras] = -np.inf
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBOURS]
    return Nearest(order, np.take_along_axis(cosine, order, axis=1).astype(np.float32))


def figures(hq: Matrix, lq: Matrix, labels: Labels) -> dict[str, float]:
    """What the page tells of one network in one setting, all in 0..1 but the cosine.

    Args:
        hq: (n, d), rows of norm 1.
        lq: likewise; HQ again where nothing is damaged.
        labels: of the n images, see ``separable``.

    Returns:
        lq_given_stranger with low and high (95 % over people; NaN if no image lies next to a
        stranger), strangers_lq, right (next to the right person), same_image (mean cosine).
    """
    found = measure_collapse(hq, lq, labels, NEIGHBOURS)
    sums = {"this": person_sums(hq, lq, labels, NEIGHBOURS, pairs=False)}
    interval = collapse_intervals(sums, ["lq_given_stranger"]).iloc[0]
    return {
        "lq_given_stranger": found.lq_given_stranger,
        "low": float(interval["low"]),
        "high": float(interval["high"]),
        "strangers_lq": found.nearest_lq_wrong,
        "right": found.nearest_lq_right + found.nearest_hq_right,
        "same_image": found.same_image_cosine,
    }


def figures_by_chance(labels: Labels) -> dict[str, float]:
    """What random features give on average: any image of another camera, in either quality."""
    allowed = labels.camera[:, None] != labels.camera
    same = labels.identity[:, None] == labels.identity
    right = float(((same & allowed).sum(axis=1) / allowed.sum(axis=1)).mean())
    return {"lq_given_stranger": 0.5, "right": right}
