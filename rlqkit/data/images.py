"""Reading image and mask files, and keeping decoded ones in memory.

A clothes mask is uint8 (H, W) of two bits: 0 neither, SHIRT (1), TROUSERS (2), 3 where both lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from rlqkit.errors import RlqkitError

SHIRT, TROUSERS, SKIN, HAIR, SHOES, FACE, BAG = range(1, 8)
"""Labels of the embedded set's mask images; 0 is everything else. SHIRT and TROUSERS are the bits
of every clothes mask as well."""
Seen = TypeVar("Seen")  # what is taken from an opened image


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB; RlqkitError naming the file if it is missing, truncated or no image."""
    return _decode(path, "RGB")


def read_mask(path: Path) -> np.ndarray:
    """(H, W) uint8 labels of a palette PNG (0 other, 1 shirt, 2 trousers); errors as above."""
    return _decode(path, None)


def read_sizes(paths: Sequence[Path], name: str) -> np.ndarray:
    """(n, 2) int64 width and height of image files, from their headers; a bar if there are many.

    Raises RlqkitError naming the first file that is missing or no image.
    """
    sizes = np.empty((len(paths), 2), dtype=np.int64)
    quiet = len(paths) < 5000
    for row, path in enumerate(tqdm(paths, f"{name}: sizes", unit="image", disable=quiet or None)):
        sizes[row] = _open_image(path, lambda image: image.size)
    return sizes


def _decode(path: Path, mode: str | None) -> np.ndarray:
    # converting loads all pixels, so a truncated file is found here
    return _open_image(
        path, lambda image: np.array(image.convert(mode) if mode else image, dtype=np.uint8)
    )


def _open_image(path: Path, look: Callable[[Image.Image], Seen]) -> Seen:
    try:
        with Image.open(path) as image:
            return look(image)
    except FileNotFoundError:
        raise RlqkitError(f"image {path} is missing: restore it from the data set") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RlqkitError(
            f"image {path} is truncated or not an image ({reason}): restore it from the data set"
        ) from None


"""Labels of the embedded masks beyond ``datasets.SHIRT`` and ``TROUSERS``; 0 is background."""


def read_mask_pair(paths: tuple[Path, Path]) -> NDArray[np.uint8]:
    """Read separate (shirt, trousers) masks, any value above 0 meaning "inside", as one mask.

    Grey masks may be stored in three equal channels, as the released scripts do. Returns uint8
    (H, W) of the bits SHIRT and TROUSERS. Raises RlqkitError for unreadable files, masks in colour,
    or sizes that differ.
    """
    shirt, trousers = (_one_channel(path, read_mask(path)) for path in paths)
    if shirt.shape != trousers.shape:
        raise RlqkitError(
            f"{paths[0]} is {shirt.shape}, {paths[1]} is {trousers.shape}: sizes must agree"
        )
    return SHIRT * (shirt > 0).astype(np.uint8) + TROUSERS * (trousers > 0).astype(np.uint8)


def _one_channel(path: Path, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if mask.ndim == 3 and (mask == mask[..., :1]).all():
        return mask[..., 0]
    if mask.ndim != 2:
        raise RlqkitError(f"{path} has colour channels: save the mask as a grey image")
    return mask


class ImageStore:
    """A list of image files as arrays; decoded images stay in memory up to a budget.

    The budget is filled once, when the store is made, in the order of the files: worker
    processes that are forked later share that memory. Other images are read when asked for.
    """

    def __init__(
        self,
        files: Sequence[Any],
        cache_megabytes: float = 1024,
        read: Callable[[Any], NDArray[np.uint8]] = read_image,
    ) -> None:
        """files: what `read` takes: paths for `read_image` and `read_mask`, (shirt, trousers)
        pairs for `read_mask_pair`. cache_megabytes: budget in 10^6 bytes, 0 for none. Raises
        RlqkitError for an unreadable file, now if it is to be kept, otherwise when it is read.
        """
        self.files = list(files)
        self.read = read
        self.kept: list[NDArray[np.uint8]] = []
        budget = cache_megabytes * 1e6
        for file in self.files if budget > 0 else []:
            image = read(file)
            budget -= image.nbytes
            if budget < 0:
                break
            image.flags.writeable = False
            self.kept.append(image)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.kept[index] if index < len(self.kept) else self.read(self.files[index])
