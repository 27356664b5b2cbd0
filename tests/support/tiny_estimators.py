"""Tiny ViTPose and SegFormer models, built from their configurations and saved as real ones are.

Untrained they say nothing; `teach` fits them to a few rendered people in seconds, so that label
maps look like clothes and joints like people.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy, interpolate, mse_loss

from rlqkit.data.images import BAG, FACE, HAIR, SHIRT, SHOES, SKIN, TROUSERS, read_image, read_mask
from rlqkit.data.imageset import ImageSet
from rlqkit.data.labelling.models import (
    ClothesParser,
    PoseEstimator,
    clothes_parser,
    pose_estimator,
)

SIZE = {"height": 64, "width": 32}
ATR_OF_OURS = {SHIRT: 4, TROUSERS: 6, SKIN: 14, HAIR: 2, SHOES: 9, FACE: 11, BAG: 16}
"""The embedded set's labels as ATR's; skin is mostly arms."""


def save_pose(folder: Path, joints: int = 17, seed: int = 0) -> Path:
    """A ViTPose of 29,000 parameters, heatmaps 32 x 16."""
    import transformers as library

    torch.manual_seed(seed)
    backbone = library.VitPoseBackboneConfig(
        image_size=[SIZE["height"], SIZE["width"]], patch_size=[8, 8], hidden_size=32,
        num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, out_indices=[2],
    )  # fmt: skip
    config = library.VitPoseConfig(backbone_config=backbone, num_labels=joints)
    _save(library.VitPoseForPoseEstimation(config), folder)
    library.VitPoseImageProcessor(size=SIZE).save_pretrained(folder)
    return folder


def save_clothes(folder: Path, labels: int = 18, seed: int = 0, **more: Any) -> Path:
    """A SegFormer of 50,000 parameters, logits 16 x 8."""
    import transformers as library

    torch.manual_seed(seed)
    config = library.SegformerConfig(
        num_labels=labels, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=32, **more,
    )  # fmt: skip
    _save(library.SegformerForSemanticSegmentation(config), folder)
    library.SegformerImageProcessor(size=SIZE).save_pretrained(folder)
    return folder


def teach(pose: Path, clothes: Path, images: ImageSet, steps: int = 60) -> None:
    """Fits saved models to an image set's own joints and masks, and saves them again."""
    pixels = [read_image(path) for path in images.paths]
    _teach_pose(pose_estimator(str(pose), "cpu"), pixels, images, steps).save_pretrained(pose)
    parser = clothes_parser(str(clothes), "cpu")
    _teach_clothes(parser, pixels, images, steps).save_pretrained(clothes)


def _teach_pose(
    estimator: PoseEstimator, pixels: list[np.ndarray], images: ImageSet, steps: int
) -> Any:
    """Heatmaps with a bump at each joint; the crop that the processor takes is 1.25 x as large."""
    assert images.joints is not None
    boxes = [[[0.0, 0.0, image.shape[1], image.shape[0]]] for image in pixels]
    given = estimator.processor(pixels, boxes=boxes, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        height, width = estimator.network(given[:1]).heatmaps.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    targets = []
    for image, joints in zip(pixels, images.joints, strict=True):
        tall, wide = image.shape[:2]
        seen = 1.25 * max(tall, wide * height / width)  # height of the crop in pixels
        y = torch.tensor((joints[:, 1] - tall / 2) / seen + 0.5)[:, None, None] * (height - 1)
        x = (joints[:, 0] - wide / 2) / (seen * width / height) + 0.5
        x = torch.tensor(x)[:, None, None] * (width - 1)
        targets.append(torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 4).float())
    wanted = torch.stack(targets)
    return _fit(
        estimator.network,
        lambda: mse_loss(estimator.network(given).heatmaps, wanted),
        steps,
    )


def _teach_clothes(
    parser: ClothesParser, pixels: list[np.ndarray], images: ImageSet, steps: int
) -> Any:
    given = parser.processor(pixels, return_tensors="pt")["pixel_values"]
    wanted = []
    for path in images.mask_paths:
        ours = read_mask(path)
        labels = np.zeros(ours.shape, np.float32)
        for mine, theirs in ATR_OF_OURS.items():
            labels[ours == mine] = theirs
        size = (SIZE["height"], SIZE["width"])
        wanted.append(interpolate(torch.tensor(labels)[None, None], size)[0, 0].long())
    truth = torch.stack(wanted)

    def loss() -> torch.Tensor:
        logits = parser.network(given).logits
        return cross_entropy(interpolate(logits, truth.shape[1:], mode="bilinear"), truth)

    return _fit(parser.network, loss, steps)


def _fit(network: Any, loss: Callable[[], torch.Tensor], steps: int) -> Any:
    adam = torch.optim.Adam(network.train().parameters(), lr=5e-3)
    for _ in range(steps):
        adam.zero_grad()
        loss().backward()
        adam.step()
    return network.eval()


def _save(network: Any, folder: Path) -> None:
    network.eval().save_pretrained(folder)
