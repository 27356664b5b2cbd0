"""Augmentation of a training image (paper, implementation details): resize, crop, flip, erase.

Sizes are (height, width), as in the paper's 384x192. Every draw comes from a generator that the
caller gives, so a resumed run meets the same images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rlqkit.errors import RlqkitError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Normalised value of each of the 256 levels, by channel: (3, 256), in float32 throughout.
_LEVELS = (
    np.arange(256, dtype=np.float32) / np.float32(255)
    - np.array(IMAGENET_MEAN, np.float32)[:, None]
) / np.array(IMAGENET_STD, np.float32)[:, None]


def to_tensor(image: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """The test view: bilinear resize to (height, width), ImageNet-normalised.

    image: uint8 (H, W, 3). Returns float32 (3, height, width).
    """
    return torch.from_numpy(_normalised(_resized(image, size)))


def check_probability(name: str, value: float) -> None:
    """Refuses what is no probability.

    Raises:
        RlqkitError: ``value`` lies outside 0..1; ``name`` is what the message calls it.
    """
    if not 0 <= value <= 1:
        raise RlqkitError(f"{name} = {value}: give a probability from 0 to 1")


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image; the defaults are the paper's."""

    crop_probability: float = 0.5
    """Chance to enlarge the resized image and cut a random window of the input size."""
    crop_enlarge: float = 1.125
    """Factor of that enlargement."""
    flip_probability: float = 0.5
    """Chance to mirror left and right."""
    erase_probability: float = 0.5
    """Chance to fill a random rectangle."""
    erase_area: tuple[float, float] = (0.02, 0.4)
    """Share of the image that the rectangle covers."""
    erase_aspect: tuple[float, float] = (0.3, 1 / 0.3)
    """Height over width of the rectangle, drawn uniformly (so it is upright more often)."""
    erase_fill: tuple[float, float, float] = (0.4914, 0.4822, 0.4465)
    """What it is filled with, by channel. Filled after normalisation, as published, so it is a
    slightly bright grey and not the mean colour."""

    def __post_init__(self) -> None:
        for name in ("crop_probability", "flip_probability", "erase_probability"):
            check_probability(f"augmentation.{name}", getattr(self, name))
        if not 1 <= self.crop_enlarge < math.inf:
            raise RlqkitError(f"augmentation.crop_enlarge = {self.crop_enlarge}: give at least 1")
        for name in ("erase_area", "erase_aspect"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise RlqkitError(f"augmentation.{name} = {(low, high)}: give 0 < low <= high")


PAPER_AUGMENTATION = Augmentation()


def train_view(
    image: NDArray[np.uint8],
    size: tuple[int, int],
    augment: np.random.Generator,
    torch_draws: np.random.Generator,
    settings: Augmentation = PAPER_AUGMENTATION,
) -> Tensor:
    """One augmented view: resize, crop, flip, normalise, erase.

    image: uint8 (H, W, 3), size: (height, width). `augment` draws crop and erasing,
    `torch_draws` the flip (see `SeedPolicy`). Returns float32 (3, height, width).
    """
    pixels = _cropped(_resized(image, size), augment, settings)
    if torch_draws.random() < settings.flip_probability:
        pixels = pixels[:, ::-1]
    tensor = _normalised(pixels)
    _erase(tensor, augment, settings)
    return torch.from_numpy(tensor)


def _resized(image: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    height, width = size
    return Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)


def _cropped(
    image: Image.Image, rng: np.random.Generator, settings: Augmentation
) -> NDArray[np.uint8]:
    if rng.random() >= settings.crop_probability:
        return np.asarray(image)
    width, height = image.size
    wide, high = round(width * settings.crop_enlarge), round(height * settings.crop_enlarge)
    large = np.asarray(image.resize((wide, high), Image.Resampling.BILINEAR))
    # A rounded uniform draw, as published: the outermost windows are half as likely.
    left = round(rng.uniform(0, wide - width))
    top = round(rng.uniform(0, high - height))
    return large[top : top + height, left : left + width]


def _normalised(image: Image.Image | NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (H, W, 3) to ImageNet-normalised float32 (3, H, W)."""
    pixels = np.asarray(image)
    result = np.empty((3, *pixels.shape[:2]), np.float32)
    for channel in range(3):
        np.take(_LEVELS[channel], pixels[..., channel], out=result[channel], mode="clip")
    return result


def _erase(tensor: NDArray[np.float32], rng: np.random.Generator, settings: Augmentation) -> None:
    """Fill one random rectangle of a (3, H, W) tensor, in place; up to 100 tries to fit one."""
    if rng.random() >= settings.erase_probability:
        return
    _, height, width = tensor.shape
    for _ in range(100):
        area = rng.uniform(*settings.erase_area) * height * width
        aspect = rng.uniform(*settings.erase_aspect)
        high, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if high < height and wide < width:
            top = int(rng.integers(height - high, endpoint=True))
            left = int(rng.integers(width - wide, endpoint=True))
            fill = np.array(settings.erase_fill, np.float32)[:, None, None]
            tensor[:, top : top + high, left : left + wide] = fill
            return
