"""Small pictures of the images, all of one setting on one sheet: a page holds each sheet once."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rlqkit.data.torch_sets import EvaluationImages

HEIGHT = 96
"""Of a thumbnail, px."""
WIDTHS = (32, 96)
QUALITY = 62
GROUND = (236, 238, 241)
"""Beside images that are narrower than their cell."""


def cell_size(sizes: NDArray[np.int64]) -> tuple[int, int]:
    """Width and height of every thumbnail, px.

    Args:
        sizes: (n, 2) native width and height of the images.
    """
    shape = float(np.median(sizes[:, 0] / sizes[:, 1]))
    low, high = WIDTHS
    return min(max(round(HEIGHT * shape), low), high), HEIGHT


def columns(count: int, cell: tuple[int, int]) -> int:
    """Thumbnails in a line of the sheet, so that it is about square."""
    return max(1, min(count, round(math.sqrt(count * cell[1] / cell[0]))))


def sheet(images: EvaluationImages, cell: tuple[int, int]) -> str:
    """A WebP of all images, line by line, as a data URI."""
    across = columns(len(images), cell)
    lines = math.ceil(len(images) / across)
    canvas = Image.new("RGB", (across * cell[0], lines * cell[1]), GROUND)
    for number in range(len(images)):
        small = fitted(images.source(number), cell)
        x, y = number % across * cell[0], number // across * cell[1]
        canvas.paste(small, (x + (cell[0] - small.width) // 2, y + (cell[1] - small.height) // 2))
    stream = io.BytesIO()
    canvas.save(stream, format="webp", quality=QUALITY, method=5)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def fitted(image: NDArray[np.uint8], cell: tuple[int, int]) -> Image.Image:
    """An image as large as fits its cell; a pixelated one, which is small, shows its pixels."""
    height, width = image.shape[:2]
    scale = min(cell[0] / width, cell[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return Image.fromarray(image).resize(size, way)
