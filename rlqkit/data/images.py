"""Reading image and mask files, and keeping decoded ones in memory.

Everything is upright: a camera's EXIF orientation is applied to pixels, sizes and masks alike.
A clothes mask is uint8 (H, W) of two bits: 0 neither, SHIRT (1), TROUSERS (2), 3 where both lie.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base

from rlqkit.errors import RlqkitError
from rlqkit.progress import bar

NOBODY, SHIRT, TROUSERS, SKIN, HAIR, SHOES, FACE, BAG = range(8)
"""Labels of the embedded set's mask images; NOBODY is all that isn't the person. SHIRT and
TROUSERS are the bits of every clothes mask as well."""
MASK_COLOURS = (
    "#000000", "#dc3c3c", "#3c5adc", "#f0c8a0", "#784614", "#f0f03c", "#ff96c8", "#3cc85a",
)  # fmt: skip
"""By label, the palette that mask images are shipped with and figures are drawn in."""
BACKGROUND = (128, 128, 128)
"""RGB under transparent pixels. Mid-grey, not white or black: a cut-out gets no bright or dark
surroundings that a network could tell it by, and no colour of the recolouring palette."""
LEAST_SIDE = 4
"""px; below it no image shows anybody."""
CONVERTIBLE = (
    "1",
    "L",
    "P",
    "LA",
    "PA",
    "La",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
)
KINDS_BY_NAME = {
    ".jpg": ("JPEG", "MPO"), ".jpeg": ("JPEG", "MPO"), ".png": ("PNG",), ".bmp": ("BMP", "DIB"),
    ".webp": ("WEBP",),
}  # fmt: skip
TAGGED = "EXIF orientation"
"""How `oddities` names an image that isn't stored upright."""
UPRIGHT = 1
_METADATA = frozenset({"exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp"})
_SIDEWAYS = (5, 6, 7, 8)
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}
"""EXIF orientation -> stored pixels (H, W, ...) to upright ones."""
Seen = TypeVar("Seen")  # what is taken from an opened image


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright: EXIF orientation is applied.

    What is transparent lies over BACKGROUND; of 16 bits the upper 8 are kept; of an animation the
    first picture counts. RlqkitError naming the file if it is missing, truncated, no image, or of
    a kind whose range of values nobody states.
    """
    return _open_image(path, lambda image: upright_rgb(image, path))


def read_mask(path: Path) -> np.ndarray:
    """(H, W) uint8 labels, upright; (H, W, 3) if the mask is in colour; errors as above.

    Of a palette image the indices count, three equal channels are one, opaque alpha is dropped,
    and 16-bit labels may be scaled (label x 256 or x 257) or not.
    """
    return _open_image(path, lambda image: _labels(_plain_values(image, path), path))


def read_sizes(paths: Sequence[Path], name: str) -> np.ndarray:
    """(n, 2) int64 width and height of upright images, from their headers; a bar if there are many.

    Raises RlqkitError naming the first file that is missing or no image.
    """
    sizes = np.empty((len(paths), 2), dtype=np.int64)
    quiet = len(paths) < 5000
    for row, path in enumerate(bar(paths, f"{name}: sizes", unit="image", disable=quiet)):
        sizes[row] = _open_image(path, _upright_size)
    return sizes


def read_mask_pair(paths: tuple[Path, Path]) -> NDArray[np.uint8]:
    """Read separate (shirt, trousers) masks, values above half of a file's largest being "inside".

    So a mask that was a JPEG once, with its ringing around edges, keeps its outline. Grey masks may
    be stored in three equal channels, as the released scripts do. Returns uint8 (H, W) of the bits
    SHIRT and TROUSERS. Raises RlqkitError for unreadable files, masks in colour, palettes whose
    colours contradict their indices, or sizes that differ.
    """
    shirt, trousers = (_open_image(path, partial(_inside, path=path)) for path in paths)
    if shirt.shape != trousers.shape:
        raise RlqkitError(
            f"{paths[0]} is {shirt.shape}, {paths[1]} is {trousers.shape}: sizes must agree"
        )
    return SHIRT * shirt.astype(np.uint8) + TROUSERS * trousers.astype(np.uint8)


def mask_is_smeared(path: Path) -> bool:
    """Whether a binary mask has values between nothing and its largest, so that half decides."""
    values = _open_image(path, lambda image: _plain_values(image, path))
    return bool(((values > 0) & (values < values.max(initial=0))).any())


def read_oddities(path: Path) -> list[str]:
    """`oddities` of an image file, from its header; RlqkitError as `read_image`."""
    return _open_image(path, lambda image: oddities(image, path))


def upright_rgb(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """An opened image as `read_image` gives it; `path` is for errors."""
    if image.mode == "RGB" and "transparency" not in image.info:  # nearly every image there is
        deep = _has_deep_colours(image)
        pixels = np.array(image)
        if deep and not pixels.any():
            raise RlqkitError(
                f"image {path} has 8-bit values in 16 bits (or is all black), so its brightness "
                "can't be told: save it with 8 bits"
            )
        return _turned(pixels, image)
    if image.mode.startswith("I"):
        return _turned(_from_16_bits(np.asarray(image), path), image)
    if image.mode not in CONVERTIBLE:
        raise RlqkitError(f"image {path} has mode {image.mode}: save it as RGB with 8 bits")
    if image.has_transparency_data:
        under = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image_over = Image.alpha_composite(under, image.convert("RGBA"))
        return _turned(np.array(image_over.convert("RGB")), image)
    return _turned(np.array(image.convert("RGB")), image)


def oddities(image: Image.Image, path: Path) -> list[str]:
    """What is unusual about an opened image that can be read all the same; [] for most.

    An ordinary one is 8-bit RGB or grey, upright, one picture, of the kind that its name says, and
    large enough to show anybody.
    """
    found = []
    turn = orientation(image)
    if turn != UPRIGHT:
        found.append(f"{TAGGED} {turn}, turned upright")
    if image.has_transparency_data:
        found.append("transparent pixels, over grey")
    elif image.mode not in ("RGB", "L"):
        found.append(f"mode {image.mode}")
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a camera's preview
        found.append("several pictures, the first counts")
    if image.format not in KINDS_BY_NAME.get(path.suffix.lower(), (image.format,)):
        found.append(f"{image.format} by content, not by name")
    if min(image.size) < LEAST_SIDE:
        found.append(f"{image.width} x {image.height} px")
    return found


def orientation(image: Image.Image) -> int:
    """EXIF orientation of an opened image, 1 (upright) to 8; 1 if it has none that can be read."""
    if image.info.keys().isdisjoint(_METADATA):  # nearly always: parsing takes time
        return UPRIGHT
    try:
        value = image.getexif().get(Base.Orientation, UPRIGHT)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return UPRIGHT
    return int(value) if value in _TURNS else UPRIGHT


def _has_deep_colours(image: Image.Image) -> bool:
    """Whether several channels have 16 bits each, of which decoding keeps the upper 8."""
    # how the pixels are stored, until they are decoded
    tiles: list[Any] = getattr(image, "tile", [])
    return bool(tiles) and ";16" in str(tiles[0][3])


def _turned(pixels: NDArray[Any], image: Image.Image) -> NDArray[Any]:
    """Pixels of an image, upright. After decoding, so that late metadata of a PNG are known."""
    turn = orientation(image)
    return pixels if turn == UPRIGHT else np.ascontiguousarray(_TURNS[turn](pixels))


def _upright_size(image: Image.Image) -> tuple[int, int]:
    if image.format == "PNG" and image.info.keys().isdisjoint(_METADATA) and _has_late_exif(image):
        image.load()
    width, height = image.size
    return (height, width) if orientation(image) in _SIDEWAYS else (width, height)


def _has_late_exif(image: Image.Image) -> bool:
    """Whether a PNG has EXIF behind its pixels, where opening doesn't look; pixels are skipped."""
    stream, place = image.fp, 8  # type: ignore[attr-defined]
    back = stream.tell()
    stream.seek(place)
    found = False
    while not found and len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        found = kind == b"eXIf"
        place += length + 12
        stream.seek(place)
    stream.seek(back)
    return found


def _from_16_bits(values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """(H, W) grey of 16 bits to (H, W, 3) of 8: the upper half of each value."""
    largest = int(values.max(initial=0))
    if not 256 <= largest < 65536 and largest != 0:
        what = "8-bit values in 16 bits" if largest < 256 else "more than 16 bits"
        raise RlqkitError(
            f"image {path} has {what} (largest {largest}), so its brightness can't be told: "
            "save it with 8 bits"
        )
    grey = (values >> 8).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _plain_values(image: Image.Image, path: Path) -> NDArray[Any]:
    """(H, W) values of a mask as they are stored, of any type; (H, W, 3) if they are colours."""
    if image.mode != "I;16" and _has_deep_colours(image):
        raise RlqkitError(f"mask {path} has channels of 16 bits: save it with 8 bits")
    values = np.asarray(image)
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "La", "RGBa", "RGBX"):
        raise RlqkitError(f"mask {path} has mode {image.mode}: save it as a grey or palette PNG")
    if image.mode in ("LA", "PA", "RGBA"):
        if (values[..., -1] < 255).any():
            raise RlqkitError(
                f"mask {path} has transparent pixels: save it as a grey PNG without alpha"
            )
        values = values[..., :-1]
    if values.ndim == 3 and (values == values[..., :1]).all():
        values = values[..., 0]
    return _turned(values, image)


def _labels(values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Values as 8-bit labels; a whole factor of 256 or 257 is a writer's scaling."""
    if values.dtype == np.uint8:
        return np.array(values)
    largest = values.max(initial=0)
    for factor in (1, 257, 256):
        whole = (values % factor == 0).all() if largest > 1 or factor == 1 else True
        if whole and values.min(initial=0) >= 0 and largest // factor <= 255:
            return np.array(values // factor, dtype=np.uint8)
    raise RlqkitError(
        f"mask {path} has values up to {largest}, which are no 8-bit labels: save it with 8 bits"
    )


def _inside(image: Image.Image, path: Path) -> NDArray[np.bool_]:
    values = _plain_values(image, path)
    if values.ndim != 2:
        raise RlqkitError(f"{path} has colour channels: save the mask as a grey image")
    inside: NDArray[np.bool_] = values > values.max(initial=0) / 2
    if image.mode == "P":
        shown = _turned(np.asarray(image.convert("L")), image)
        if ((shown > shown.max(initial=0) / 2) != inside).any():
            raise RlqkitError(
                f"mask {path} has a palette whose colours contradict its indices, so it can't be "
                "told what is inside: save the mask as a grey image"
            )
    return inside


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
