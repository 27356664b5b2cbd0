"""Networks that nobody trained: what each measure of collapse says of them is known beforehand.

A measure without its floor says little. Here are the features of networks whose answer is clear
without any image: random ones, one point for everything, one point for each quality, LQ piled up
on one point beside perfect HQ, LQ scattered at random beside perfect HQ, and perfect ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlqkit.randomness import generator

Matrix = NDArray[np.float32]
Identity = NDArray[np.int64]


def random_features(identity: Identity, width: int = 256, seed: int = 0) -> tuple[Matrix, Matrix]:
    """HQ and LQ features (n, width) that know nothing: independent random directions."""
    rng = generator(seed, "evaluation")
    return _directions(rng, len(identity), width), _directions(rng, len(identity), width)


def one_point(identity: Identity, width: int = 256, seed: int = 0) -> tuple[Matrix, Matrix]:
    """All images, HQ and LQ, on one point: the trivial network."""
    return _everywhere(0, len(identity), width), _everywhere(0, len(identity), width)


def one_point_a_quality(
    identity: Identity, width: int = 256, seed: int = 0
) -> tuple[Matrix, Matrix]:
    """HQ on one point, LQ on another at right angles: the quality is all that is known."""
    return _everywhere(0, len(identity), width), _everywhere(1, len(identity), width)


def piled_up(identity: Identity, width: int = 256, seed: int = 0) -> tuple[Matrix, Matrix]:
    """Perfect HQ, every LQ image on one point: collapse, pure."""
    perfect_hq, _ = perfect(identity, width, seed)
    middle = perfect_hq[np.unique(identity, return_index=True)[1]].sum(axis=0)
    aside = _directions(generator(seed, "evaluation"), 1, width)[0]
    aside -= (aside @ middle) / (middle @ middle) * middle
    return perfect_hq, np.tile(aside / np.linalg.norm(aside), (len(identity), 1))


def scattered(identity: Identity, width: int = 256, seed: int = 0) -> tuple[Matrix, Matrix]:
    """Perfect HQ, every LQ image in a random direction: lost, but not gathered."""
    perfect_hq, _ = perfect(identity, width, seed)
    return perfect_hq, _directions(generator(seed + 1, "evaluation"), len(identity), width)


def perfect(identity: Identity, width: int = 256, seed: int = 0) -> tuple[Matrix, Matrix]:
    """One random direction a person, for HQ and LQ alike."""
    people, code = np.unique(identity, return_inverse=True)
    of_person = _directions(generator(seed, "evaluation"), len(people), width)
    return of_person[code], of_person[code].copy()


IMAGINARY: dict[str, Callable[..., tuple[Matrix, Matrix]]] = {
    "random features": random_features,
    "all on one point": one_point,
    "one point a quality": one_point_a_quality,
    "HQ perfect, LQ on one point": piled_up,
    "HQ perfect, LQ at random": scattered,
    "perfect": perfect,
}
"""Name → function of identities (n,), width and seed to HQ and LQ features (n, width)."""


def _directions(rng: np.random.Generator, count: int, width: int) -> Matrix:
    vectors: NDArray[Any] = rng.normal(size=(count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _everywhere(axis: int, count: int, width: int) -> Matrix:
    return np.tile(np.eye(width, dtype=np.float32)[axis], (count, 1))
