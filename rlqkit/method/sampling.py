"""The order of training images in an epoch, for the target set and for the external set.

Samplers yield `Draw`s, not bare indices: a draw carries its epoch and its place in the epoch, so
that a data set can make the random generators of exactly this occurrence of the image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from rlqkit.errors import RlqkitError
from rlqkit.randomness import generator


class Draw(NamedTuple):
    """One image of one epoch."""

    epoch: int
    """From 0."""
    position: int
    """Place in this process's epoch, from 0."""
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    """Of the image in its data set."""
    repeat: int = 0
    """How often this image came before in this process's epoch."""


class IdentitySampler(Sampler[Draw]):
    """Chunks of `instances` images of one identity, in random order, new in every epoch.

    Each identity's images are shuffled and cut into chunks; what does not fill a chunk is left
    out this time, and an identity with too few images gets one chunk drawn with replacement. So
    an epoch has sum over identities of max(n, 4) rounded down to a multiple of 4 images. The
    chunks are shuffled, so a batch may hold one identity twice. With several processes each
    takes every world_size-th chunk; chunks that cannot be shared equally are left out.

    The order depends on (seed, epoch) alone. Call `set_epoch` before each epoch.
    """

    def __init__(
        self,
        identities: Sequence[int] | NDArray[np.integer],
        instances: int = 4,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """identities: (n,), label of each image. Raises RlqkitError if no batch can be made."""
        _check_rank(rank, world_size)
        if instances < 1:
            raise RlqkitError(f"images per identity = {instances}: give at least 1")
        labels = np.asarray(identities)
        self.images = [np.flatnonzero(labels == identity) for identity in np.unique(labels)]
        self.instances, self.seed, self.rank, self.world_size = instances, seed, rank, world_size
        self.epoch = 0
        chunks = sum(max(len(images) // instances, 1) for images in self.images)
        self.chunks_per_rank = chunks // world_size
        if self.chunks_per_rank == 0:
            raise RlqkitError(
                f"{chunks} chunks of {instances} images for {world_size} processes: "
                "add identities or use fewer processes"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.chunks_per_rank * self.instances

    def __iter__(self) -> Iterator[Draw]:
        rng = generator(self.seed, "sampler", self.epoch, 0)
        chunks: list[NDArray[np.intp]] = []
        for images in self.images:
            if len(images) < self.instances:
                chunks.append(rng.choice(images, self.instances, replace=True))
                continue
            shuffled = rng.permutation(images)
            starts = range(0, len(images) - self.instances + 1, self.instances)
            chunks += [shuffled[start : start + self.instances] for start in starts]
        order = rng.permutation(len(chunks))[: self.chunks_per_rank * self.world_size]
        mine = order[self.rank :: self.world_size]
        return _draws(self.epoch, np.concatenate([chunks[chunk] for chunk in mine]))


class ShuffleSampler(Sampler[Draw]):
    """All n images of the external set once an epoch, in random order.

    order: "clean" shuffles anew in every epoch; "official" keeps the order of the first epoch
    for the whole run, as the released code does, whose TAD sampler never learns the epoch (the
    draws still carry it). With several processes each takes every world_size-th image; what
    cannot be shared equally is left out.
    """

    def __init__(
        self,
        n: int,
        seed: int,
        order: Literal["clean", "official"],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _check_rank(rank, world_size)
        if n < world_size:
            raise RlqkitError(f"{n} images for {world_size} processes: give at least one each")
        if order not in ("clean", "official"):
            raise RlqkitError(f"order = {order!r}: use 'clean' or 'official'")
        self.n, self.seed, self.order = n, seed, order
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n // self.world_size

    def __iter__(self) -> Iterator[Draw]:
        shuffled_in = self.epoch if self.order == "clean" else 0
        order = generator(self.seed, "sampler", shuffled_in, 1).permutation(self.n)
        return _draws(self.epoch, order[self.rank :: self.world_size][: len(self)])


def _draws(epoch: int, indices: NDArray[np.intp]) -> Iterator[Draw]:
    seen: Counter[int] = Counter()
    for position, index in enumerate(indices.tolist()):
        yield Draw(epoch, position, index, seen[index])
        seen[index] += 1


def _check_rank(rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise RlqkitError(f"rank {rank} of {world_size} processes: ranks count from 0")
