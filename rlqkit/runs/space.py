"""How much memory and disk a run needs, found by arithmetic before it starts.

Weights, gradients, moments and what a forward pass keeps for the backward pass are counted, on
networks without numbers; what surrounds them (libraries, a GPU's own share) is a round allowance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rlqkit.config import Config, ModelConfig
from rlqkit.method.network import Heads, Network
from rlqkit.method.recolouring import COLOURS, LAST_COLOURS, Recolouring, positive_classes
from rlqkit.method.rows import Branch, Row, find_row
from rlqkit.runs.backbone import build_network
from rlqkit.runs.costs import Sizes
from rlqkit.runs.plan import teacher_row

GB = 10**9
NUMBER = 4
"""Bytes of a float32: weights, gradients, moments, descriptors and logits."""
COPIES = 4
"""A trained weight, its gradient and Adam's two moments."""
LOGITS = 4
"""Copies of a classifier's logits in a step: themselves, normalised, two gradients."""
GPU_ALLOWANCE = 3 * GB
"""What a GPU needs before a network lies on it, and for convolutions' workspaces; not counted. On
an H200 the paper's steps took up to 2.1 GB more than is counted, torch's own share not among it."""
HOST_ALLOWANCE = 1.5 * GB
"""Python with torch, pandas and matplotlib loaded; not counted."""
WORKER_ALLOWANCE = 0.5 * GB
"""A process that prepares images; those of the store are shared. Not counted."""
TYPICAL_IMAGE = 256 * 128 * 3
"""Bytes of a decoded image; most published ones are 64 to 128 pixels wide."""


@dataclass(frozen=True)
class Space:
    """What one run needs, in bytes.

    Attributes:
        device: memory of each process where it computes, a GPU's or the machine's.
        host: memory of each process on its machine, without ``device``.
        checkpoint: on disk while it trains and after.
        kept: on disk for good, the checkpoint left out: weights of every rule and descriptors.
    """

    device: float
    host: float
    checkpoint: float
    kept: float

    @property
    def disk(self) -> float:
        """Bytes of the run folder, a second checkpoint included while one replaces the other."""
        return 2 * self.checkpoint + self.kept


def space_of(config: Config, sizes: Sizes) -> Space:
    """Memory and disk of one run.

    Args:
        config: of the run; its batch is one process's.
        sizes: of its data sets.
    """
    row = find_row(config.row)
    weights, heads, length = _sizes_of_networks(config, row, sizes)
    rules = len(config.evaluation.selection)
    moved = COPIES * NUMBER * (weights + heads)
    kept = NUMBER * weights * (rules - 1)  # one network for every rule but the last epoch's
    width = length * (1 if row.branches == 1 else 2)
    descriptors = sizes.test * width * NUMBER
    caches = sum(_cached(config, images) for images in _read(row, sizes).values())
    in_store = 2 * caches if row.recolour else caches  # masks lie beside images
    positives = _people(row, sizes) * clothes_classes(config, sizes)
    averaged = NUMBER * weights if row.average_decay else 0
    return Space(
        device=moved + kept + _of_a_step(config, row, sizes) + positives + averaged,
        host=HOST_ALLOWANCE + in_store + 2 * descriptors + config.data.workers * WORKER_ALLOWANCE,
        checkpoint=3 * NUMBER * (weights + heads) + kept + averaged,
        kept=NUMBER * weights * rules + descriptors / 2,
    )


def clothes_classes(config: Config, sizes: Sizes) -> int:
    """Classes of the clothes head, recoloured ones included."""
    row = find_row(config.row)
    originals = sizes.external if row.external else sizes.clothes  # external: a class an image
    if not row.recolour:
        return originals
    palette = COLOURS if config.recolouring.palette == "nine" else LAST_COLOURS
    groups = config.recolouring.colour_groups or None
    pairs = positive_classes(np.zeros((1, 0), bool), Recolouring(0, "wrap", tuple(palette), groups))
    return int(originals + _people(row, sizes) * pairs.shape[1])


def _people(row: Row, sizes: Sizes) -> int:
    """Identities that a row trains on."""
    return sizes.external_identities if row.external else sizes.identities


def _of_a_step(config: Config, row: Row, sizes: Sizes) -> float:
    """Bytes that the largest step keeps for its backward pass, the teacher included."""
    images = config.training.batch * (2 if row.recolour or row.uses_tad else 1)
    size = (config.data.height, config.data.width)
    half = config.training.precision != "32-true"
    found = images * kept_numbers(config.model, size, row.branch_names) * (2 if half else NUMBER)
    classes = clothes_classes(config, sizes) + 2 * _people(row, sizes)
    found += images * classes * NUMBER * LOGITS
    if row.uses_tad:
        branches = teacher_row(config).branch_names
        found += NUMBER * _parameters(config.model, branches)
    return found


def _read(row: Row, sizes: Sizes) -> dict[str, int]:
    """Splits that a run of a row reads → images."""
    external = row.external or row.uses_tad
    return {
        split: images
        for split, images in sizes.splits.items()
        if (split != "external" or external) and (split != "train" or not row.external)
    }


def _cached(config: Config, images: int) -> float:
    return min(1e6 * config.data.cache_megabytes, images * TYPICAL_IMAGE)


def _sizes_of_networks(config: Config, row: Row, sizes: Sizes) -> tuple[int, int, int]:
    """Numbers in the network, numbers in the heads, length of a branch's feature."""
    network = _network(config.model, row.branch_names)
    with torch.device("meta"):
        heads = Heads(
            network.dimensions, _people(row, sizes), clothes_classes(config, sizes),
            row.branch_names, config.cap.clusters, len(row.gender_branches),
        )  # fmt: skip
    return _numbers(network), _numbers(heads), network.dimensions


def _parameters(model: ModelConfig, branches: tuple[Branch, ...]) -> int:
    return _numbers(_network(model, branches))


def _numbers(module: torch.nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.state_dict().values())


def _network(model: ModelConfig, branches: tuple[Branch, ...]) -> Network:
    return _empty_network(replace(model, weights="none"), branches)


@lru_cache(maxsize=16)
def _empty_network(model: ModelConfig, branches: tuple[Branch, ...]) -> Network:
    with torch.device("meta"):
        return build_network(model, branches)


def kept_numbers(model: ModelConfig, size: tuple[int, int], branches: tuple[Branch, ...]) -> int:
    """Numbers that a forward pass keeps for the backward pass, for one image; nothing is computed.

    Counted as the difference between two images and three, so that weights fall out.
    """
    return _kept_numbers(replace(model, weights="none"), size, branches)


@lru_cache(maxsize=64)
def _kept_numbers(model: ModelConfig, size: tuple[int, int], branches: tuple[Branch, ...]) -> int:
    network = _empty_network(model, branches).train()
    return _saved(network, 3, size) - _saved(network, 2, size)


def _saved(network: Network, images: int, size: tuple[int, int]) -> int:
    """Numbers in the tensors that a forward pass of some images saves, each storage once."""
    found: dict[int, Tensor] = {}  # tensors themselves, so that no identity is given out again

    def keep(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = network(torch.empty(images, 3, *size, device="meta"))
    del outputs
    return sum(t.untyped_storage().nbytes() // t.element_size() for t in found.values())
