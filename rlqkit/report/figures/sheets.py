"""Sheets of pictures: tiles with captions, masks and skeletons drawn over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from rlqkit.data.images import MASK_COLOURS
from rlqkit.data.imageset import ImageSet
from rlqkit.method.attributes import LIMBS
from rlqkit.method.augmentation import IMAGENET_MEAN, IMAGENET_STD, to_tensor

Picture = NDArray[np.uint8]
Joints = NDArray[np.float64]
LEFT, RIGHT, MIDDLE = "#dd8452", "#4c72b0", "#3a3a3a"
"""Limbs of the person's left side, right side, and those that join the two."""
SMOOTH_FROM = 110
"""Images higher than this, in pixels, are drawn smoothly."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Tile:
    """One image of a sheet."""

    image: Picture
    """(H, W, 3) uint8."""
    caption: str = ""
    """Below the image; may have several lines."""
    frame: str = ""
    """Colour of a frame; none if empty."""
    faded: bool = False
    """Drawn pale."""


def sheet(
    rows: Sequence[Sequence[Tile | None]],
    title: str,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    legend: Mapping[str, str] | None = None,
    tile: tuple[float, float] = (1.35, 0.6),
) -> Figure:
    """A page of images in rows and columns.

    Args:
        rows: tiles from left to right; None leaves a place empty.
        title: of the whole page, one or more lines.
        row_labels, column_labels: texts at the left and above, or nothing.
        legend: text -> colour of the frames.
        tile: height and width of a place in inches; an image keeps its shape inside it.
    """
    high, wide = tile
    left = 0.1 + 0.075 * max((len(part) for r in row_labels for part in r.split("\n")), default=0)
    head = 0.12 + 0.2 * (title.count("\n") + 1)
    head += 0.16 * max((text.count("\n") + 1 for text in column_labels), default=0)
    x = left + _starts([wide + 0.08 if used else 0.2 for used in _used_columns(rows)])
    y = head + _starts([high + 0.13 * _caption_lines(row) + 0.1 for row in rows])
    width = max(x[-1] + 0.05, 0.1 * max(map(len, title.split("\n"))) + 0.3)
    figure, axes = _page(width, y[-1] + (0.3 if legend else 0.05))
    axes.text(0.1, 0.1, title, va="top", fontsize=11, weight="bold")
    for j, text in enumerate(column_labels):
        axes.text(x[j] + wide / 2, head - 0.05, text, ha="center", fontsize=8)
    for i, text in enumerate(row_labels):
        axes.text(left - 0.08, y[i] + high / 2, text, ha="right", va="center", fontsize=8)
    for i, row in enumerate(rows):
        for j, entry in enumerate(row):
            if entry:
                _draw_tile(axes, entry, (x[j], y[i]), tile)
    if legend:
        handles = [Patch(facecolor=colour, label=text) for text, colour in legend.items()]
        axes.legend(
            handles=handles, loc="lower left", ncols=len(handles), fontsize=8, frameon=False
        )
    return figure


def _used_columns(rows: Sequence[Sequence[Tile | None]]) -> list[bool]:
    """Which columns hold a tile; the others are gaps."""
    columns = range(max(map(len, rows)))
    return [any(row[j] is not None for row in rows if j < len(row)) for j in columns]


def _caption_lines(row: Sequence[Tile | None]) -> int:
    return max((t.caption.count("\n") + 1 for t in row if t and t.caption), default=0)


def _starts(steps: Sequence[float]) -> NDArray[np.float64]:
    """Where things of these sizes begin, and where the last one ends."""
    return np.concatenate([[0.0], np.cumsum(steps)])


def _page(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose only axes are measured in inches from the upper left corner."""
    figure = plt.figure(figsize=(width, height), layout="constrained")
    figure.set_layout_engine("none")  # leaves a placeholder, so that saving can't bring one back
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.axis("off")
    return figure, axes


def _draw_tile(
    axes: Axes, tile: Tile, corner: tuple[float, float], place: tuple[float, float]
) -> None:
    (x, y), (high, wide) = corner, place
    scale = min(high / tile.image.shape[0], wide / tile.image.shape[1])
    h, w = tile.image.shape[0] * scale, tile.image.shape[1] * scale
    x0, y0 = x + (wide - w) / 2, y + (high - h) / 2
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(
        tile.image,
        extent=(x0, x0 + w, y0 + h, y0),
        alpha=0.4 if tile.faded else 1.0,
        # pixels of small images are meant to be seen, those of large ones would only flicker
        interpolation="antialiased" if len(tile.image) > SMOOTH_FROM else "nearest",
    )
    axes.set(xlim=limits[0], ylim=limits[1])  # imshow moves them
    if tile.frame:
        axes.add_patch(Rectangle((x0, y0), w, h, fill=False, edgecolor=tile.frame, linewidth=2.5))
    axes.text(x + wide / 2, y + high + 0.04, tile.caption, ha="center", va="top", fontsize=7)


def boxes(
    axes: Axes,
    groups: Mapping[str, NDArray[np.float64]],
    colour: str,
    shift: float = 0.0,
    wide: float = 0.6,
) -> None:
    """One box a group; the middle line is the median, whiskers reach 1.5 box heights."""
    axes.boxplot(
        list(groups.values()),
        positions=np.arange(len(groups)) + shift,
        widths=wide,
        patch_artist=True,
        boxprops={"facecolor": colour},
        medianprops={"color": "black"},
        flierprops={"markersize": 2},
    )
    axes.set_xticks(range(len(groups)), list(groups))


def headline_of(text: str, synthetic: bool) -> str:
    """A title that says where the images come from."""
    return f"{text}  ·  synthetic data" if synthetic else text


def seen_by_network(image: Picture, size: tuple[int, int]) -> Picture:
    """What enters the network, before normalisation: uint8 (height, width, 3)."""
    return to_picture(to_tensor(image, size))


def to_picture(tensor: Tensor) -> Picture:
    """Normalised (3, H, W) back to uint8 (H, W, 3)."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    pixels = tensor.permute(1, 2, 0) * std + mean
    picture: Picture = (pixels * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    return picture


def mask_overlay(image: Picture, mask: Picture) -> Picture:
    """The image with every labelled region tinted in its mask's colour."""
    palette = np.array([rgb_of(colour) for colour in MASK_COLOURS])
    tinted = 0.35 * image + 0.65 * palette[np.minimum(mask, len(palette) - 1)]
    mixed: Picture = np.where(mask[..., None] > 0, tinted, image).astype(np.uint8)
    return mixed


def skeleton_on(image: Picture, joints: Joints, scale: int = 6) -> Picture:
    """The 13 limbs drawn on an enlarged image; joints (17, 2 or 3) in the image's pixels."""
    large = Image.fromarray(image).resize((image.shape[1] * scale, image.shape[0] * scale))
    draw = ImageDraw.Draw(large)
    points = [(float(x) * scale, float(y) * scale) for x, y in joints[:, :2]]
    thick = max(2, large.width // 45)
    for (a, b), colour in zip(LIMBS, limb_colours(), strict=True):
        draw.line([points[a], points[b]], fill=colour, width=thick)
    visible = joints[:, 2] > 0 if joints.shape[1] > 2 else np.ones(17, dtype=bool)
    for (x, y), shown in zip(points, visible, strict=True):
        box = [x - thick, y - thick, x + thick, y + thick]
        draw.ellipse(
            box, fill="#f5f5f5" if shown else None, outline="#f5f5f5", width=max(2, thick // 3)
        )
    return np.asarray(large)


def limb_colours() -> list[str]:
    """Colour of each of the 13 limbs: left, right or across."""
    sides = []
    for a, b in LIMBS:
        outer = {a % 2, b % 2} if a else {b % 2}  # odd joints are the person's left, even right
        sides.append(MIDDLE if len(outer) == 2 else LEFT if outer == {1} else RIGHT)
    return sides


def rgb_of(colour: str) -> tuple[int, int, int]:
    """Three numbers in 0..255 of "#rrggbb"."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def skeleton_picture(points: NDArray[np.float64]) -> Picture:
    """A skeleton in the 192x384 frame on white; points (17, 2), NaN gives an empty frame."""
    blank = np.full((384, 192, 3), 250, np.uint8)
    if not np.isfinite(points).all():
        return blank
    drawing = Image.fromarray(blank)
    pen = ImageDraw.Draw(drawing)
    for (a, b), colour in zip(LIMBS, limb_colours(), strict=True):
        pen.line([tuple(points[a]), tuple(points[b])], fill=colour, width=10)
    return np.asarray(drawing)


def name_below(images: ImageSet, index: int, letters: Mapping[tuple[int, int], str]) -> str:
    """Identity, outfit and camera of an image; ``letters`` names each identity's outfits."""
    sample = images.table.iloc[index]
    outfit = letters[sample["identity"], sample["clothes"]]
    return f"id {sample['identity']}\noutfit {outfit} · cam {sample['camera']}"
