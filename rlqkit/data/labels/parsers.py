"""Human parsers: what their labels mean, the colours they are drawn in, and which one made a map.

Each parser numbers parts of people in its own way, and a map of one is a valid map of another:
ATR's left shoe is LIP's trousers. Where a part lies on a person and how much of the person it
covers tells them apart, over many images.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlqkit.errors import RlqkitError

LEAST_USE = 0.05
"""Share of images that must show a label before it counts as evidence."""
LEAST_AREA = 0.001
"""Share of a person's pixels from which on a label is seen in an image."""
REACH = 0.4
"""Share of a person's height by which a part may lie off before it is certainly another."""

FRAYED = 0.05
"""Share of a person's pixels that agree with at most one neighbour, from which on maps were JPEGs:
clean ones have 0 to 3 %, at 20 x 40 px; saved as JPEG once, 6 to 60 %."""

PLACES: dict[str, tuple[float, float]] = {
    "hat": (0.05, 0.10), "hair": (0.08, 0.15), "sunglasses": (0.10, 0.02), "face": (0.11, 0.12),
    "head": (0.08, 0.25), "neck": (0.19, 0.06), "scarf": (0.20, 0.12), "upper": (0.35, 0.60),
    "coat": (0.40, 0.70), "dress": (0.45, 0.75), "jumpsuit": (0.50, 0.80), "torso": (0.35, 0.60),
    "skirt": (0.62, 0.40), "trousers": (0.70, 0.60), "belt": (0.48, 0.05), "bag": (0.45, 0.30),
    "glove": (0.50, 0.04), "arm": (0.40, 0.15), "upper arm": (0.33, 0.15), "skin": (0.40, 0.40),
    "lower arm": (0.45, 0.12), "leg": (0.78, 0.20), "upper leg": (0.62, 0.40),
    "lower leg": (0.85, 0.30), "socks": (0.88, 0.08), "shoe": (0.95, 0.08), "shoes": (0.95, 0.14),
}  # fmt: skip
"""Part -> height of its middle on a person (0 = top, 1 = bottom), and the most that it covers of
the person. Typical figures of upright people, wide enough for bags, coats and half figures."""

_LIP = (
    "hat", "hair", "glove", "sunglasses", "upper", "dress", "coat", "socks", "trousers", "jumpsuit",
    "scarf", "skirt", "face", "arm", "arm", "leg", "leg", "shoe", "shoe",
)  # fmt: skip
PARTS: dict[str, tuple[str, ...]] = {
    "LIP": _LIP,
    "ATR": (
        "hat", "hair", "sunglasses", "upper", "skirt", "trousers", "dress", "belt", "shoe", "shoe",
        "face", "leg", "leg", "arm", "arm", "bag", "scarf",
    ),
    "CIHP": (*_LIP[:9], "neck", *_LIP[10:]),
    "Pascal-Person-Part": ("head", "torso", "upper arm", "lower arm", "upper leg", "lower leg"),
    "a parser of clothes alone (upper, lower, whole)": ("upper", "trousers", "dress"),
    "this kit's own masks": ("upper", "trousers", "skin", "hair", "shoes", "face", "bag"),
}  # fmt: skip
"""Parser -> part of each label from 1 on."""

_LIP_COLOURS = (
    (0, 0, 0), (128, 0, 0), (255, 0, 0), (0, 85, 0), (170, 0, 51), (255, 85, 0), (0, 0, 85),
    (0, 119, 221), (85, 85, 0), (0, 85, 85), (85, 51, 0), (52, 86, 128), (0, 128, 0), (0, 0, 255),
    (51, 170, 221), (0, 255, 255), (85, 255, 170), (170, 255, 85), (255, 255, 0), (255, 170, 0),
)  # fmt: skip


def pascal_colour(label: int) -> tuple[int, int, int]:
    """The colour of a label in the palette of Pascal VOC, in which most parsers draw.

    The bits of a label go to red, green and blue in turn, the lowest to the highest bit of each.
    """
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (label >> bit & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]


def labels_of_colours(colours: NDArray[np.uint8], last: int, file: Path) -> NDArray[np.uint8]:
    """A map that was saved in colours, (H, W, 3), as labels (H, W) up to `last`.

    Raises:
        RlqkitError: colours of no palette that we know, or of two that disagree; `file` is named.
    """
    packed = colours.astype(np.int64) @ np.array([65536, 256, 1])
    used, places = np.unique(packed, return_inverse=True)
    readings = []
    for palette in ([pascal_colour(label) for label in range(last + 1)], _LIP_COLOURS[: last + 1]):
        number = {(r << 16) + (g << 8) + b: label for label, (r, g, b) in enumerate(palette)}
        if all(int(colour) in number for colour in used):
            readings.append([number[int(colour)] for colour in used])
    what = "of no palette that is known" if not readings else "of two palettes that disagree"
    if not readings or any(reading != readings[0] for reading in readings):
        raise RlqkitError(
            f"{file} has colour channels, {what}: save the labels themselves as a grey or palette "
            "PNG"
        )
    return np.array(readings[0], dtype=np.uint8)[places.reshape(packed.shape)]


@dataclass(frozen=True)
class LabelUse:
    """How a set of label maps uses its labels; entry l of each array is label l, 0..255.

    Attributes:
        images: maps that show anybody.
        share: of those, the share that has the label.
        height: mean height of the label's middle on the person, 0 top to 1 bottom; NaN if unused.
        area: mean share of the person's pixels, where it is used; NaN if unused.
        frayed: mean share of the person's pixels that agree with at most one of four neighbours.
    """

    images: int
    share: NDArray[np.float64]
    height: NDArray[np.float64]
    area: NDArray[np.float64]
    frayed: float

    def used(self) -> list[int]:
        """Labels of enough images, background left out."""
        return [label for label in range(1, 256) if self.share[label] >= LEAST_USE]


def label_use(maps: Iterable[NDArray[np.uint8]]) -> LabelUse:
    """Counts labels over maps of any sizes, (H, W) uint8 each."""
    images, seen, heights, areas, frayed = 0, np.zeros(256), np.zeros(256), np.zeros(256), 0.0
    for labels in maps:
        counts = np.bincount(labels.ravel(), minlength=256).astype(np.float64)
        counts[0] = 0
        person = counts.sum()
        if not person:
            continue
        images += 1
        inside = np.flatnonzero((labels > 0).any(axis=1))
        rows = np.broadcast_to(np.arange(len(labels))[:, None], labels.shape)
        sums = np.bincount(labels.ravel(), weights=rows.ravel(), minlength=256)
        here = counts >= LEAST_AREA * person
        seen += here
        middle = sums[here] / counts[here] - inside[0] + 0.5
        heights[here] += middle / (inside[-1] - inside[0] + 1)
        areas[here] += counts[here] / person
        frayed += _frayed(labels) / person
    with np.errstate(invalid="ignore", divide="ignore"):
        return LabelUse(
            images, seen / max(images, 1), heights / seen, areas / seen, frayed / max(images, 1)
        )


def _frayed(labels: NDArray[np.uint8]) -> int:
    """Pixels of a person that agree with at most one of their four neighbours."""
    around = np.pad(labels, 1, mode="edge")
    neighbours = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    alike = sum((labels == neighbour).astype(np.uint8) for neighbour in neighbours)
    return int(((alike <= 1) & (labels > 0)).sum())


def suspicion(use: LabelUse, stated: str) -> str:
    """What is wrong with a set of label maps as a whole: "look like ATR's, ..."; "" if nothing."""
    found = looks_like(use, stated)
    if found:
        return f"look like {found}'s, not like {stated}'s"
    if use.frayed > FRAYED:
        return "look as if they had been JPEGs, which smears labels"
    return ""


def looks_like(use: LabelUse, stated: str) -> str:
    """The parser that a set of maps looks like; "" if it is the stated one, or none fits better.

    Args:
        use: see `label_use`.
        stated: one of `PARTS`.
    """
    labels = use.used()
    if not labels:
        return ""
    misfits = {parser: [_misfit(use, parser, label) for label in labels] for parser in PARTS}
    weights = use.share[labels]
    cost = {
        parser: float(np.average(values, weights=weights)) for parser, values in misfits.items()
    }
    best = min(cost, key=lambda parser: (cost[parser], parser != stated))
    doubtful = any(misfit > 0.5 for misfit in misfits[stated])
    return best if doubtful and cost[best] < cost[stated] else ""


def described(use: LabelUse, stated: str) -> str:
    """The histogram in a line: "5 upper 98 %, 9 trousers 95 %, ..."."""
    parts = PARTS[stated]
    names = {label: parts[label - 1] if label <= len(parts) else "?" for label in use.used()}
    return ", ".join(f"{label} {name} {use.share[label]:.0%}" for label, name in names.items())


def _misfit(use: LabelUse, parser: str, label: int) -> float:
    """0 (as it should be) to 1 (certainly another part)."""
    parts = PARTS[parser]
    if label > len(parts):
        return 1.0
    height, most = PLACES[parts[label - 1]]
    off = abs(float(use.height[label]) - height) / REACH
    large = (float(use.area[label]) / most - 1) / 2
    return min(1.0, max(off, large, 0.0))
