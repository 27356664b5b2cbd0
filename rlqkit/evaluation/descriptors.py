"""From images to descriptors: the image and its mirror, summed and normalised."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from rlqkit.config import Config
from rlqkit.data.loaders import preparation
from rlqkit.data.torch_sets import EvaluationImages
from rlqkit.evaluation.metrics import flip_descriptor
from rlqkit.method.network import Network


def extract_descriptors(
    network: Network,
    images: EvaluationImages,
    fabric: Fabric,
    config: Config,
) -> NDArray[np.float32]:
    """Test descriptors of a data set, in its order.

    Args:
        network: moved to the device if it isn't there; put into eval mode for the extraction, then
            back into the mode it was in.
        images: what to describe, already degraded where it should be.
        fabric: device and precision.
        config: images of a forward pass, processes that prepare them, their memory layout.

    Returns:
        (n, D) float32, rows of norm 1, D over all descriptor branches.
    """
    fabric.to_device(network)
    was_training = network.training
    network.eval()
    parts = []
    try:
        with torch.inference_mode(), fabric.autocast():
            for x in image_batches(images, fabric, config):
                plain, mirrored = network.descriptor(x), network.descriptor(x.flip(3))
                parts.append(flip_descriptor(plain.float(), mirrored.float()).cpu())
    finally:
        network.train(was_training)
    descriptors: NDArray[np.float32] = torch.cat(parts).numpy()
    return descriptors


def image_batches(images: EvaluationImages, fabric: Fabric, config: Config) -> Iterator[Tensor]:
    """A data set's images in its order, (B, 3, H, W) on the device, ``evaluation.batch`` each."""
    layout = torch.channels_last if config.training.channels_last else torch.contiguous_format
    loader: DataLoader[dict[str, Tensor]] = DataLoader(
        images, batch_size=config.evaluation.batch, **preparation(config)
    )
    for items in loader:
        yield items["images"].to(
            fabric.device, memory_format=layout, non_blocking=fabric.device.type == "cuda"
        )
