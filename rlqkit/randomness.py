"""Every random draw of the image side comes from a generator named by what it is for.

There is no global random state: a generator is made on the spot from the seed, the epoch, the
image and the copy it serves. So a training image looks the same whether one process or eight
workers prepare it, in whatever order, and a run resumed at epoch 30 continues exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rlqkit.errors import RlqkitError

STREAMS = {
    "augment": 1,  # crop, erasing, recolouring, kind and size of a degradation
    "torch": 2,  # flip, sigma of the Gaussian blur
    "sampler": 3,  # order of the images
    "evaluation": 4,  # degradation of evaluation images
    "gallery": 5,  # which image of an identity stands in a single-shot gallery
    "validation identities": 6,  # who leaves the training set for validation
}
"""Streams never overlap: the number is part of the generator's key. "augment" and "torch" are
apart because the released code draws them from two generators that are seeded differently."""


@dataclass(frozen=True)
class SeedPolicy:
    """How seeds reach the augmentation of training images.

    "clean": every draw depends on the seed, the epoch, the image and its copy.
    "official" reproduces the structure of the released code, whose worker processes reseed
    Python's generator with the worker's index: the "augment" stream depends only on the place in
    the epoch and the copy, so it repeats in every epoch and for every seed; "torch" varies.
    The official draws have the same structure, not the same values, as the released code's.
    """

    seed: int
    worker_seeds: Literal["clean", "official"]

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise RlqkitError(f"seed = {self.seed}: give a whole number from 0 to 2^63 - 1")
        if self.worker_seeds not in ("clean", "official"):
            raise RlqkitError(f"worker_seeds = {self.worker_seeds!r}: use 'clean' or 'official'")

    def draws(
        self, stream: str, epoch: int, position: int, index: int, view: int, repeat: int = 0
    ) -> np.random.Generator:
        """The generator for one copy of one training image.

        stream: "augment" or "torch". epoch: from 0. position: place in this process's epoch.
        index: of the image. view: number of the copy (0 as it is, 1 recoloured or LQ). repeat:
        how often this image came before in the epoch (an identity with fewer than four images is
        drawn with replacement, and its copies should differ).
        """
        if stream == "augment" and self.worker_seeds == "official":
            return generator(0, stream, position, view)
        return generator(self.seed, stream, epoch, index, (repeat << 8) + view)


def generator(
    seed: int, stream: str, first: int = 0, second: int = 0, third: int = 0
) -> np.random.Generator:
    """A generator that is its own for each (seed, stream, first, second, third), all >= 0.

    Philox is a counter-based generator: the seed and stream are its key, the three numbers the
    upper words of its counter, so two different generators can never overlap, and making one
    takes a few microseconds. The values are the same on every platform.
    """
    if stream not in STREAMS:
        raise RlqkitError(f"random stream {stream!r} is unknown: use one of {', '.join(STREAMS)}")
    key = np.array([seed, STREAMS[stream]], np.uint64)
    counter = np.array([0, first, second, third], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
