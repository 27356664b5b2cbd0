"""The mean of two networks' weights: not the paper's, a row of this kit's own.

Networks that began with the same weights and were trained on from there often lie in one basin: on
the way from one to the other the loss hardly rises, so a point between them keeps something of what
either has learnt (Wortsman et al., *Model soups* and *Robust fine-tuning of zero-shot models*,
2022). Here one has seen HQ alone, the other LQ as well. Batch statistics are no weights and mean
nothing between two networks, so they are taken anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from rlqkit.errors import RlqkitError
from rlqkit.method.network import norms_of, statistics_move


def mean_weights(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """(1 − share) · first + share · second, tensor by tensor.

    Args:
        first, second: state dicts of one architecture; counters and other whole numbers are those
            of the first.
        share: of the second, 0..1.

    Raises:
        RlqkitError: other names or shapes, or a share outside 0..1.
    """
    if not 0 <= share <= 1:
        raise RlqkitError(f"a share of {share} is none; give a number in 0..1")
    if first.keys() != second.keys():
        other = sorted(first.keys() ^ second.keys())[0]
        raise RlqkitError(f"the two networks differ: only one has {other}")
    for name, tensor in first.items():
        if tensor.shape != second[name].shape:
            raise RlqkitError(f"the two networks differ in the shape of {name}")
    return {
        name: torch.lerp(tensor, second[name], share) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }


@torch.no_grad()
def renew_statistics(network: nn.Module, batches: Iterable[Tensor]) -> int:
    """Takes the batch statistics of every batch normalisation anew, in place.

    Args:
        network: left in eval mode; its weights don't move.
        batches: images (B, 3, H, W), normalised, on the network's device; each counts the same.

    Returns:
        How many batches there were.

    Raises:
        RlqkitError: there was none.
    """
    for norm in norms_of(network):
        norm.reset_running_stats()
    network.train()
    count = 0
    with statistics_move(network, None):
        for images in batches:
            network(images)
            count += 1
    network.eval()
    if not count:
        raise RlqkitError("batch statistics need at least one batch of images")
    return count
