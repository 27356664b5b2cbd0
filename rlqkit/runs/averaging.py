"""What a row that averages others needs: target images for its batch statistics, and its cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from rlqkit.config import Config
from rlqkit.data.imageset import ImageSet
from rlqkit.data.loaders import target_data
from rlqkit.method.averaging import mean_weights, renew_statistics
from rlqkit.method.network import Network
from rlqkit.method.rows import Row
from rlqkit.runs.folder import RunFolder, cost_of


def mean_network(
    first: Network, second: Network, share: float, images: ImageSet, row: Row, config: Config,
    fabric: Fabric,
) -> Network:  # fmt: skip
    """The mean of two networks, its batch statistics taken from HQ target images.

    Where the row holds them, the second network has those of the first, and they stay.

    Args:
        first, second: parents, on the fabric's device; the first becomes the mean.
        share: of the second, 0..1.
        images: the training split.
        row: that averages: which copies of an image there are.
        config: ``averaging.batches`` and everything about the images.
        fabric: device.
    """
    first.load_state_dict(mean_weights(first.state_dict(), second.state_dict(), share))
    if not row.hold_statistics:
        renew_statistics(first, _batches(images, row, config, fabric))
    return first


def _batches(images: ImageSet, row: Row, config: Config, fabric: Fabric) -> Iterator[Tensor]:
    layout = torch.channels_last if config.training.channels_last else torch.contiguous_format
    target, left, epoch = target_data(images, row, config), config.averaging.batches, 0
    while left:
        for batch in target.loader(epoch):
            if not left:
                break
            left -= 1
            yield batch["images"].to(fabric.device, memory_format=layout)
        epoch += 1


def history_of(paid: Sequence[RunFolder], measured: dict[str, float]) -> list[dict[str, Any]]:
    """One record: what was measured on validation people, and the cost of everything before.

    Args:
        paid: the runs whose weights are averaged and those that they begin with, each once.
        measured: figures of validation people.
    """
    costs = [cost_of(folder.history()) for folder in paid]
    record = {
        "epoch": sum(cost["epochs"] for cost in costs) - 1,
        "phase": "mean",
        "steps": sum(cost["steps"] for cost in costs),
        "images": sum(cost["images"] for cost in costs),
        "seconds": round(sum(cost["seconds"] for cost in costs), 3),
    }
    return [record | {name: round(value, 6) for name, value in measured.items()}]
