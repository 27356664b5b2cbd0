"""Shirt and trouser masks: two binary images, or one label map of a human parser.

In the labels folder or beside it, `<part>` and the path in it being the image's own
(docs/datasets/labels.md):

    pair   masks/shirt/<part>/NAME.png and masks/trousers/<part>/NAME.png
           or masks/<part>/NAME_shirt.png and masks/<part>/NAME_pant.png, as released scripts write
    lip    parsing-lip/<part>/NAME.png, labels 0..19 of LIP
    atr    parsing-atr/<part>/NAME.png, labels 0..17 of ATR

A mask has its image's size (upright) and is a PNG, since JPEG smears labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlqkit.data.images import SHIRT, TROUSERS, read_mask, read_mask_pair
from rlqkit.data.imageset import ImageSet
from rlqkit.data.labels.parsers import LabelUse, described, label_use, labels_of_colours, suspicion
from rlqkit.data.published.index import list_images
from rlqkit.data.published.layouts import Part
from rlqkit.errors import RlqkitError

SAMPLE = 64
"""Label maps that are looked at before training; `rlqkit data check` reads all."""


@dataclass(frozen=True)
class Parser:
    """Labels of a human parser: which are recoloured as shirt, which as trousers, and the last."""

    shirt: tuple[int, ...]
    trousers: tuple[int, ...]
    last: int


PARSERS = {
    # upper clothes, dress, coat, jumpsuit | trousers, skirt. A scarf, gloves, socks and shoes stay.
    "lip": Parser(shirt=(5, 6, 7, 10), trousers=(9, 12), last=19),
    # upper clothes, dress | skirt, trousers. A belt, a bag, a scarf and shoes stay.
    "atr": Parser(shirt=(4, 7), trousers=(5, 6), last=17),
}
"""A garment in one piece (dress, jumpsuit) counts as shirt: it gets one colour. The released
scripts leave dresses out of both masks; list such images as faulty to get the same."""


def read_wardrobe_mask(file: Path) -> NDArray[np.uint8]:
    """Shirt (1) and trousers (2); the embedded masks also tell skin, hair, shoes and bags."""
    mask = read_mask(file)
    clothes: NDArray[np.uint8] = np.where(mask <= TROUSERS, mask, 0).astype(np.uint8)
    return clothes


def parsed_clothes(labels: NDArray[np.uint8], parser: str, file: Path) -> NDArray[np.uint8]:
    """Label map, (H, W) or in colours (H, W, 3), to (H, W) of the bits SHIRT and TROUSERS.

    Raises:
        RlqkitError: colours of no known palette, or a label that the parser hasn't got; `file` is
            named.
    """
    known = PARSERS[parser]
    labels = parsed_labels(labels, parser, file)
    shirt = np.isin(labels, known.shirt).astype(np.uint8)
    return SHIRT * shirt + TROUSERS * np.isin(labels, known.trousers).astype(np.uint8)


def parsed_labels(labels: NDArray[np.uint8], parser: str, file: Path) -> NDArray[np.uint8]:
    """Labels (H, W) of a parser's map, which may be saved in three channels or in colours.

    Raises:
        RlqkitError: as `parsed_clothes`.
    """
    known = PARSERS[parser]
    if labels.ndim == 3 and (labels == labels[..., :1]).all():
        labels = labels[..., 0]
    if labels.ndim == 3:
        labels = labels_of_colours(labels, known.last, file)
    if labels.max(initial=0) > known.last:
        raise RlqkitError(
            f"{file} has label {labels.max()}, but {parser.upper()} ends at {known.last}: use the "
            "folder of the parser that made it"
        )
    return labels


def _read_lip(file: Path) -> NDArray[np.uint8]:
    return parsed_clothes(read_mask(file), "lip", file)


def _read_atr(file: Path) -> NDArray[np.uint8]:
    return parsed_clothes(read_mask(file), "atr", file)


KINDS = ("masks", "parsing-lip", "parsing-atr")
"""Folders that may hold masks, of which a data set has one."""
READERS: dict[str, Callable[[Any], NDArray[np.uint8]]] = {
    "wardrobe": read_wardrobe_mask,
    "pair": read_mask_pair,
    "lip": _read_lip,
    "atr": _read_atr,
}
"""Mask format -> what reads an entry of `mask_files`."""


def mask_files(images: ImageSet) -> tuple[Any, ...]:
    """Files of each image's clothes mask, for `READERS[images.mask_format]`.

    Raises:
        RlqkitError: an image has none, or the maps look like another parser's (told from a sample).
    """
    shirts = images.mask_paths
    if images.mask_format in PARSERS:
        _refuse_another_parser(shirts, images.mask_format)
    if images.mask_format != "pair":
        return tuple(shirts)
    trousers = [images.root / file for file in images.table["trousers"]]
    return tuple(zip(shirts, trousers, strict=True))


def parser_use(files: Sequence[Path], parser: str) -> LabelUse:
    """How label maps use their labels; raises RlqkitError for a file that can't be read."""
    return label_use(parsed_labels(read_mask(file), parser, file) for file in files)


def _refuse_another_parser(files: Sequence[Path], parser: str) -> None:
    """Reads some of the maps, evenly spread."""
    some = files[:: max(1, len(files) // SAMPLE)]
    use = parser_use(some, parser)
    wrong = suspicion(use, parser.upper())
    if wrong:
        holder = next((p for p in files[0].parents if p.name == f"parsing-{parser}"), files[0])
        raise RlqkitError(
            f"{holder}: the label maps {wrong} ({described(use, parser.upper())}): use the folder "
            "of the parser that made them, and its own PNG files, or write two binary masks"
        )


def find_masks(folder: Path, images: ImageSet) -> ImageSet:
    """The images with the masks that lie in a folder; "" where an image has none.

    Raises:
        RlqkitError: masks of two formats.
    """
    kinds = [name for name in KINDS if (folder / name).is_dir()]
    if len(kinds) > 1:
        raise RlqkitError(f"{folder} has both {kinds[0]} and {kinds[1]}: keep one of them")
    if not kinds:
        return images
    parts = sorted(set(images.table["part"]))
    present = {
        f"{inside}/{part}/{file}"
        for inside in (kinds[0], "masks/shirt", "masks/trousers")
        for part in parts
        if (folder / inside / part).is_dir()
        for file in list_images(folder, Part(f"{inside}/{part}", ""))[0]
    }
    places = zip(images.table["file"], images.table["part"], strict=True)
    files = [_mask_of(kinds[0], file, part, present) for file, part in places]
    table = images.table.assign(mask=[str(folder / one) if one else "" for one, _ in files])
    if kinds[0] == "masks":
        table = table.assign(trousers=[str(folder / two) if two else "" for _, two in files])
        return replace(images, table=table, mask_format="pair")
    return replace(images, table=table, mask_format=kinds[0].removeprefix("parsing-"))


def _mask_of(kind: str, file: str, part: str, present: set[str]) -> tuple[str, str]:
    """Mask file of an image and, of a pair, the second; ("", "") unless all are there."""
    inner = file.removeprefix(f"{part}/").rpartition(".")[0]
    for name in (inner, inner.replace("/", "_")):  # the second is how the authors write PRCC's
        choices = [(f"{kind}/{part}/{name}.png", f"{kind}/{part}/{name}.png")]
        if kind == "masks":
            choices = [
                (f"masks/shirt/{part}/{name}.png", f"masks/trousers/{part}/{name}.png"),
                (f"masks/{part}/{name}_shirt.png", f"masks/{part}/{name}_pant.png"),
            ]
        for first, second in choices:
            if first in present and second in present:
                return first, second
    return "", ""
