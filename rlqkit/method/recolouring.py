"""Clothes recolouring: every training image gets one copy in other colours, with its own class.

A shirt and a trouser colour are drawn, blended into the masked pixels, and the copy is labelled
with a clothes class that belongs to the same identity. To the clothes-based adversarial loss it
is one more outfit of that person, so colour alone no longer tells people apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rlqkit.errors import RlqkitError

RGB = tuple[int, int, int]
Overlap = Literal["wrap", "trousers"]
COLOURS: dict[str, RGB] = {
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "purple": (128, 0, 128),
    "red": (255, 0, 0),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "orange": (255, 165, 0),
    "yellow": (255, 255, 0),
    "pink": (255, 192, 203),
}
"""The paper's nine colours as RGB (matplotlib's values); their order numbers the classes."""
LAST_COLOURS: dict[str, RGB] = {
    name: COLOURS[name] for name in ("green", "blue", "purple", "red", "yellow", "pink")
}
"""The six colours used on LaST."""
ALPHA = 0.7
"""Share of the new colour in a recoloured pixel."""


@dataclass(frozen=True)
class Recolouring:
    """How the recoloured copies of a training set are made and labelled."""

    original_classes: int
    """Clothes classes of the training set before recolouring."""
    overlap: Overlap
    """Colour where shirt and trouser mask overlap; see `recolour`."""
    colours: tuple[str, ...] = tuple(COLOURS)
    """Names to draw from, in the order that numbers the classes."""
    groups: int | None = None
    """Groups of colours that share a class; None: each colour its own. See `colour_code`."""

    def __post_init__(self) -> None:
        _positions(self.colours, self.groups)
        for colour in self.colours:
            rgb(colour)


def recolour(
    image: NDArray[np.uint8],
    shirt_mask: NDArray[np.generic],
    trouser_mask: NDArray[np.generic],
    shirt: str | Sequence[int],
    trousers: str | Sequence[int],
    overlap: Overlap = "wrap",
) -> NDArray[np.uint8]:
    """Blend a shirt and a trouser colour into an image: 0.3 image + 0.7 colour, truncated.

    image: uint8 (H, W, 3). Masks: (H, W), bool or 0/1. Colours: names of COLOURS or RGB triples.
    overlap decides the pixels that lie in both masks: "wrap" adds the two colours modulo 256, as
    the released code's 8-bit sum does; "trousers" gives them the trouser colour.
    Returns uint8 (H, W, 3), a copy. Raises RlqkitError for a wrong shape or type, mask values
    other than 0 and 1, an unknown colour or an unknown overlap rule.
    """
    on_shirt = _region(shirt_mask, image, "shirt mask")
    on_trousers = _region(trouser_mask, image, "trouser mask")
    top, bottom = rgb(shirt), rgb(trousers)
    if overlap == "wrap":
        both = [(a + b) % 256 for a, b in zip(top, bottom, strict=True)]
    elif overlap == "trousers":
        both = list(bottom)
    else:
        raise RlqkitError(f"overlap rule {overlap!r} is unknown: use 'wrap' or 'trousers'")
    return _blend(image, on_shirt + 2 * on_trousers, [top, bottom, both])


def recolour_outfit(
    image: NDArray[np.uint8], mask: NDArray[np.generic], colour: str | Sequence[int]
) -> NDArray[np.uint8]:
    """One colour on the whole outfit, for images whose shirt or trouser mask is faulty.

    image: uint8 (H, W, 3); mask: (H, W), bool or 0/1. Returns uint8 (H, W, 3), a copy.
    """
    return _blend(image, _region(mask, image, "outfit mask"), [rgb(colour)])


def rgb(colour: str | Sequence[int]) -> RGB:
    """The RGB triple (0-255) of a colour's name or of a triple; RlqkitError for anything else."""
    if isinstance(colour, str):
        if colour not in COLOURS:
            raise RlqkitError(f"colour {colour!r} is unknown: use one of {', '.join(COLOURS)}")
        return COLOURS[colour]
    values = tuple(int(value) for value in colour)
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise RlqkitError(f"colour {colour!r}: give a name or three numbers from 0 to 255")
    return values[0], values[1], values[2]


def draw_colours(rng: np.random.Generator, colours: Sequence[str]) -> tuple[str, str]:
    """Draw (shirt, trousers): the shirt first, each uniform over the sorted names."""
    names = sorted(colours)
    shirt = names[int(rng.integers(len(names)))]
    return shirt, names[int(rng.integers(len(names)))]


def colour_code(
    trousers: str, shirt: str, colours: Sequence[str], groups: int | None = None
) -> int:
    """Number the pair (trousers, shirt): n * position(trousers) + position(shirt), below n^2.

    Positions count in the given order of `colours` (that of COLOURS in the paper), n is their
    number. With `groups`, neighbouring colours share a position and n is the number of groups:
    three groups of the nine colours give 9 classes an identity instead of 81.
    Raises RlqkitError for a colour that is not among `colours` or an impossible `groups`.
    """
    count = _positions(colours, groups)
    return count * _position(trousers, colours, count) + _position(shirt, colours, count)


def recoloured_class(
    original_classes: int,
    identity: int,
    trousers: str,
    shirt: str,
    colours: Sequence[str],
    groups: int | None = None,
) -> int:
    """Clothes class of a recoloured image: original classes + identity * n^2 + colour code.

    identity is the training label, from 0. A faulty mask's single colour is both trousers and
    shirt. See `colour_code` for n and `groups`.
    """
    codes = _positions(colours, groups) ** 2
    return original_classes + identity * codes + colour_code(trousers, shirt, colours, groups)


def positive_classes(
    worn: NDArray[np.bool_], recolouring: Recolouring | None = None
) -> NDArray[np.bool_]:
    """Which clothes classes are an identity's own: the P of CAL (METHOD 3 and 7).

    worn: (identities, original classes) bool, who wears what. Returns (identities, classes) bool:
    `worn` itself without recolouring; with it, n^2 more classes for each identity, all its own.
    """
    if recolouring is None:
        return worn
    people, originals = worn.shape
    extra = _positions(recolouring.colours, recolouring.groups) ** 2
    # filled in place: LaST's 5,000 people make this a gigabyte, which needn't be held twice
    positives = np.zeros((people, originals + people * extra), dtype=bool)
    positives[:, :originals] = worn
    for person in range(people):
        start = originals + person * extra
        positives[person, start : start + extra] = True
    return positives


def _positions(colours: Sequence[str], groups: int | None) -> int:
    if len(set(colours)) != len(colours) or not colours:
        raise RlqkitError(f"colours {list(colours)}: give at least one, none of them twice")
    if groups is None:
        return len(colours)
    if not 1 <= groups <= len(colours):
        raise RlqkitError(f"colour_groups = {groups}: give 1 to {len(colours)}, or none")
    return groups


def _position(colour: str, colours: Sequence[str], count: int) -> int:
    names = list(colours)
    if colour not in names:
        raise RlqkitError(f"colour {colour!r} is not in use here: use one of {', '.join(names)}")
    return names.index(colour) * count // len(names)


def _region(mask: NDArray[np.generic], image: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise RlqkitError(f"image is {image.dtype} {image.shape}: give uint8 (height, width, 3)")
    if mask.shape != image.shape[:2]:
        raise RlqkitError(f"{name} is {mask.shape}, its image {image.shape[:2]}: sizes must agree")
    region = mask.astype(np.uint8)
    if mask.dtype != np.bool_ and (region.max(initial=0) > 1 or (region != mask).any()):
        raise RlqkitError(f"{name} has values other than 0 and 1: threshold it first")
    return region


def _blend(
    image: NDArray[np.uint8], region: NDArray[np.uint8], colours: Sequence[Sequence[int]]
) -> NDArray[np.uint8]:
    """Recolour region k (1, 2, ...) with colours[k - 1]; region 0 stays as it is."""
    pixels = image.reshape(-1, 3).copy()
    flat = region.ravel()
    for number, colour in enumerate(colours, start=1):
        where = np.flatnonzero(flat == number)
        # Double precision, cut to a whole number on assignment, as published.
        pixels[where] = pixels.take(where, 0) * (1 - ALPHA) + ALPHA * np.asarray(colour)
    return pixels.reshape(image.shape)
