"""Flat maps of features: where HQ and LQ images lie, and how far such a map can be believed.

Maps of the same features, all given as HQ and LQ positions, row i of both from image i:

- ``joint_umap`` fits UMAP on HQ and LQ together: does LQ gather?
- ``umap_view`` fits it on HQ and places LQ afterwards: on the map of the clean features, where
  does each image go? LQ can hardly form a cluster of its own there, by construction.
- ``widest_plane`` is the plane in which they spread most (PCA): no seed, no neighbourhoods,
  distances as they are, but only what fits into two directions.

``faithfulness`` says how many neighbourhoods of the features a map keeps. Positions depend on
seed and library version: look at them, measure with :mod:`rlqkit.evaluation.collapse`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.manifold import trustworthiness

from rlqkit.errors import RlqkitError
from rlqkit.evaluation.metrics import unit_features
from rlqkit.files import use_writable_caches

Features = NDArray[Any] | torch.Tensor
Positions = NDArray[np.float32]


class Plane(NamedTuple):
    """A flat projection, to be used for other features too.

    Attributes:
        centre: (d,), what is subtracted.
        axes: (d, 2), orthonormal columns, the first the direction of the widest spread.
        shares: (2,) share of the spread along each axis, in [0, 1].
    """

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    shares: NDArray[np.float64]

    def place(self, features: Features) -> Positions:
        """Positions (n, 2) of features (n, d)."""
        moved = unit_features(features, "features").astype(np.float64) - self.centre
        return np.asarray(moved @ self.axes, np.float32)


def umap_reducer(points: int, seed: int, neighbours: int, **settings: Any) -> Any:
    """The kit's UMAP, seeded: two dimensions, cosine, in one thread.

    Args:
        points: how many images it will lay out; neighbours are at most one less.
        seed: of the layout and of what is placed into it later.
        neighbours: UMAP's ``n_neighbors``.
        settings: further ones of ``umap.UMAP``.
    """
    use_writable_caches()  # numba, below umap, keeps what it compiles
    import umap  # here, since importing it compiles for seconds and only pictures need it

    # A seeded layout runs in one thread, and umap warns when it has to set that itself: asking
    # for one thread says the same thing without the warning.
    return umap.UMAP(
        n_components=2,
        n_neighbors=min(neighbours, points - 1),
        metric="cosine",
        random_state=seed,
        transform_seed=seed,
        n_jobs=1,
        **settings,
    )


def joint_umap(
    hq: Features, lq: Features, seed: int = 0, neighbours: int = 15
) -> tuple[Positions, Positions]:
    """UMAP fitted on HQ and LQ together.

    Args:
        hq: (n, d) L2-normalised features.
        lq: (m, d) likewise.
        seed: of the layout.
        neighbours: size of UMAP's neighbourhoods; a smaller data set gets n + m − 1.

    Returns:
        HQ positions (n, 2) and LQ positions (m, 2).

    Raises:
        RlqkitError: as ``umap_view``.
    """
    hq_features, lq_features = _checked(hq, lq)
    together = np.concatenate([hq_features, lq_features])
    with _threads_kept():
        positions = umap_reducer(len(together), seed, neighbours).fit_transform(together)
    whole = np.asarray(positions, np.float32)
    return whole[: len(hq_features)], whole[len(hq_features) :]


def umap_view(
    hq: Features, lq: Features, seed: int = 0, neighbours: int = 15
) -> tuple[Positions, Positions]:
    """UMAP fitted on HQ, LQ transformed into it.

    LQ takes no part in the fit, so the map is that of the clean features and the picture shows
    where degradation moves an image on it.

    Args:
        hq: (n, d) L2-normalised features.
        lq: (m, d) likewise; for arrows HQ → LQ, the same images in the same order.
        seed: of the layout, for the fit and for placing LQ.
        neighbours: size of UMAP's neighbourhoods; a smaller data set gets n − 1.

    Returns:
        HQ positions (n, 2) and LQ positions (m, 2).

    Raises:
        RlqkitError: features that aren't finite or not normalised, differing widths, n < 4.
    """
    hq_features, lq_features = _checked(hq, lq)
    with _threads_kept():
        reducer = umap_reducer(len(hq_features), seed, neighbours)
        hq_positions = reducer.fit_transform(hq_features)
        lq_positions = reducer.transform(lq_features)
    return np.asarray(hq_positions, np.float32), np.asarray(lq_positions, np.float32)


def widest_plane(*features: Features) -> Plane:
    """The plane in which given features, (n, d) each, spread most together (PCA).

    The signs of the axes are such that their largest number is positive, so they stay the same
    wherever they are computed.
    """
    together = np.concatenate([unit_features(f, "features") for f in features]).astype(np.float64)
    centre = together.mean(axis=0)
    moved = together - centre
    wide = moved.shape[1] > len(moved)  # the smaller of the two products has the same spreads
    spread, directions = np.linalg.eigh(moved @ moved.T if wide else moved.T @ moved)
    axes = directions[:, [-1, -2]]  # they come in rising order
    if wide:
        axes = moved.T @ axes / np.sqrt(np.maximum(spread[[-1, -2]], np.finfo(float).tiny))
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    whole = max(float(spread.sum()), np.finfo(float).tiny)
    return Plane(centre, axes, spread[[-1, -2]] / whole)


def faithfulness(
    hq: Features, lq: Features, positions: tuple[Positions, Positions], neighbours: int = 15
) -> tuple[float, float]:
    """Trustworthiness and continuity of a map (Venna & Kaski, 2001), both in [0, 1].

    Trustworthiness: how few strangers a neighbourhood of the map contains that are no neighbours
    in the features. Continuity: how few of the features' neighbours the map tears away. A random
    map has about .5 of each.

    Args:
        hq, lq: (n, d) and (m, d) L2-normalised features.
        positions: of a map of them.
        neighbours: size of the neighbourhoods looked at, below (n + m) / 2.
    """
    features = np.concatenate(_checked(hq, lq))
    flat = np.concatenate(positions)
    count = min(neighbours, (len(flat) - 1) // 2)
    # among vectors of norm 1 the nearest by cosine are the nearest by distance
    return (
        float(trustworthiness(features, flat, n_neighbors=count)),
        float(trustworthiness(flat, features, n_neighbors=count)),
    )


def _checked(hq: Features, lq: Features) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    hq_features = unit_features(hq, "HQ features")
    lq_features = unit_features(lq, "LQ features")
    if hq_features.shape[1] != lq_features.shape[1]:
        raise RlqkitError(
            f"HQ features have {hq_features.shape[1]} numbers, LQ features "
            f"{lq_features.shape[1]}; extract both with the same model"
        )
    if len(hq_features) < 4:
        raise RlqkitError(f"HQ features hold {len(hq_features)} images; a map needs 4 or more")
    return hq_features, lq_features


@contextmanager
def _threads_kept() -> Iterator[None]:
    """numba's pool of threads, which UMAP starts, changes torch's."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
