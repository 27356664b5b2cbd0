"""Synthetic low quality: pixelation, motion blur and out-of-focus blur of an image at native size.

Each function takes an RGB image as uint8 (H, W, 3) and returns a new uint8 image; what the model
sees is that image resized, so a pixelated image is simply a small one. The arithmetic follows the
paper's released code: Pillow's bicubic resize, a line kernel rotated by a bilinear affine warp,
and a Gaussian blur whose sigma does not depend on its kernel size. Both blurs mirror the border
without repeating the edge pixel and round half to even. Against the original libraries every
pixel is within one grey level (almost all are equal), since sums are taken in another order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rlqkit.errors import RlqkitError

ImageArray = NDArray[np.uint8]

KINDS = ("pixelation", "motion_blur", "out_of_focus")

MIXES: dict[str, tuple[float, float, float]] = {
    "ltcc": (0.33, 0.30, 0.37),
    "last": (0.33, 0.30, 0.37),
    "celeb": (0.33, 0.30, 0.37),
    "prcc": (0.5, 0.0, 0.5),
    "deepchange": (0.5, 0.0, 0.5),
    "unspecified": (0.5, 0.5, 0.0),
    "thirds": (1 / 3, 1 / 3, 1 / 3),
}
"""Shares of the three KINDS, in their order, by the name of the *target* data set."""

# A tap this small moves a pixel by less than 0.0003 grey levels; leaving it out saves a pass.
NEGLIGIBLE_TAP = 1e-6


@dataclass(frozen=True)
class Severity:
    """How strong the degradations are: the ranges that `degrade` draws from, both ends included.

    The defaults are the paper's. They are mild for images that the model sees at 128x64; for
    those, `SMALL_INPUT_SEVERITY` keeps the damage visible.
    """

    short_side: tuple[int, int] = (16, 63)
    """Pixelation: pixels along the short side after the resize (it may enlarge)."""
    motion_size: tuple[int, int] = (8, 19)
    """Motion blur: side of the kernel in native pixels."""
    motion_angle: tuple[int, int] = (0, 179)
    """Motion blur: direction in whole degrees, counter-clockwise from horizontal."""
    gaussian_kernel: tuple[int, int] | None = (5, 21)
    """Out of focus: odd side of the kernel. None: wide enough for sigma, 2 ceil(2.5 sigma) + 1."""
    gaussian_sigma: tuple[float, float] = (0.1, 2.0)
    """Out of focus: standard deviation in native pixels, drawn uniformly."""

    def __post_init__(self) -> None:
        least = {"short_side": 1, "motion_size": 2, "gaussian_kernel": 1, "gaussian_sigma": 0}
        names = ("short_side", "motion_size", "motion_angle", "gaussian_kernel", "gaussian_sigma")
        for name in names:
            value = getattr(self, name)
            if value is None and name == "gaussian_kernel":
                continue
            low, high = value
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise RlqkitError(f"severity.{name} = {value}: give (low, high) with low <= high")
            if low < least.get(name, -math.inf):
                raise RlqkitError(f"severity.{name} = {value}: must be at least {least[name]}")
        if self.gaussian_sigma[0] <= 0:
            raise RlqkitError(f"severity.gaussian_sigma = {self.gaussian_sigma}: must be above 0")
        if self.gaussian_kernel is not None and any(k % 2 == 0 for k in self.gaussian_kernel):
            raise RlqkitError(
                f"severity.gaussian_kernel = {self.gaussian_kernel}: both ends must be odd"
            )


PAPER_SEVERITY = Severity()
SMALL_INPUT_SEVERITY = Severity(
    short_side=(8, 24), motion_size=(8, 19), gaussian_kernel=None, gaussian_sigma=(1.0, 4.0)
)
SEVERITIES: dict[str, Severity] = {
    "paper": PAPER_SEVERITY,
    "small-input": SMALL_INPUT_SEVERITY,
}
"""Named ranges, as the configuration calls them."""

SEVERITY_FROM_HEIGHT = {256: "paper", 0: "small-input"}
"""Least input height, in pixels → name of the ranges that suit it, from large to small.

Ranges are in pixels of the native image (pixelation: of the small image), but a network sees the
image after the resize, and what it can't show can't be damaged. At 384x192 the paper's short side
of 16 to 63 leaves blocks of 3 to 12 input pixels. At 128x64 the same range leaves blocks of 1 to
4, and its sigma of up to 2 native pixels shrinks with the image: most draws hardly show.
"small-input" comes nearest to the same damage *in input pixels* (see `damage_in_input`): blocks of
2.7 to 8 at 128x64, and twice the sigma. Motion kernels stay, so at small inputs they are shorter
than the paper's at 384x192. At 64x32 it does half of that, yet more than the paper's ranges would;
stronger ones would leave nothing of the person. This equates the finest detail that is left,
not the change in grey levels, which notebook 03 measures. What each costs a model is measured, not
argued: see the severity curves in notebook 13. The paper's ranges remain the default by name, and
what the paper's own size, 384x192, gets.
"""


def severity_for(height: int) -> str:
    """Name of the ranges (see SEVERITIES) that suit a network input of this height in pixels.

    Raises RlqkitError if height < 1.
    """
    height = _whole("input height", height, least=1)
    return next(name for least, name in SEVERITY_FROM_HEIGHT.items() if height >= least)


def damage_in_input(
    severity: Severity, native_height: float, size: tuple[int, int]
) -> dict[str, tuple[float, float]]:
    """What a severity's ranges amount to in pixels of the network's input: kind -> (mild, strong).

    native_height: of the image, px. size: (height, width) of the input. Pixelation: side of a
    block; motion blur: length of the kernel; out of focus: sigma.
    """
    height, width = size
    scale = height / native_height
    mild, strong = severity.short_side[1], severity.short_side[0]
    return {
        "pixelation": (width / mild, width / strong),
        "motion_blur": (severity.motion_size[0] * scale, severity.motion_size[1] * scale),
        "out_of_focus": (severity.gaussian_sigma[0] * scale, severity.gaussian_sigma[1] * scale),
    }


def pixelate(image: ImageArray, short_side: int) -> ImageArray:
    """Resize (Pillow bicubic) so that the short side is `short_side` pixels; may enlarge.

    image: uint8 (H, W, 3). Returns uint8 (h, w, 3) with min(h, w) = short_side; the long side
    keeps the aspect ratio, rounded half to even. Raises RlqkitError if short_side < 1.
    """
    _check_image(image)
    short_side = _whole("short_side", short_side, least=1)
    height, width = image.shape[:2]
    ratio = short_side / min(height, width)
    size = (round(width * ratio), round(height * ratio))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def motion_kernel(size: int, angle: float) -> NDArray[np.float32]:
    """A line of one pixel's width through the middle of a (size, size) kernel, turned by `angle`.

    angle is in degrees, counter-clockwise. The horizontal line lies in row (size - 1) // 2, so
    for an even size it is half a pixel above the centre it is rotated about. Bilinear, nothing
    outside the line; float32, sum 1. Raises RlqkitError if size < 2.
    """
    size = _whole("size", size, least=2)
    if not math.isfinite(angle):
        raise RlqkitError(f"angle = {angle}: give the motion blur a finite angle in degrees")
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    centre, row = (size - 1) / 2, (size - 1) // 2
    y, x = np.mgrid[:size, :size] - centre
    # Where each cell of the turned kernel lies in the unturned one, whose row `row` is all ones.
    along = cosine * x - sine * y + centre
    across = sine * x + cosine * y + centre
    in_row = np.clip(1 - np.abs(across - row), 0, 1)
    in_line = np.clip(np.minimum(along + 1, size - along), 0, 1)
    kernel = (in_row * in_line).astype(np.float32)
    kernel[kernel < NEGLIGIBLE_TAP] = 0  # rounding noise of the sine at right angles
    return kernel / kernel.sum()


def motion_blur(image: ImageArray, size: int, angle: float) -> ImageArray:
    """Correlate with `motion_kernel(size, angle)`, anchored at (size // 2, size // 2).

    image: uint8 (H, W, 3); returns the same shape. Raises RlqkitError if size < 2.
    """
    _check_image(image)
    kernel = motion_kernel(size, angle)
    size = len(kernel)
    height, width = image.shape[:2]
    padded = _mirror_pad(image, size // 2, size - 1 - size // 2)
    width = padded.shape[1]
    cells = np.argwhere(kernel)
    flat = _shifted_sum(
        padded.ravel(), [(i * width + j) * 3 for i, j in cells], [kernel[i, j] for i, j in cells]
    )
    return _cut(flat, width, image.shape)


def gaussian_blur(image: ImageArray, kernel: int, sigma: float) -> ImageArray:
    """Gaussian blur with an odd `kernel` side and standard deviation `sigma`, both in pixels.

    The kernel is the Gaussian at whole pixels, cut at its side and normalised to sum 1; below
    about sigma 0.27 nothing changes. image: uint8 (H, W, 3); returns the same shape. Raises
    RlqkitError if kernel is even or below 1, or sigma is not above 0.
    """
    _check_image(image)
    kernel = _whole("kernel", kernel, least=1)
    if kernel % 2 == 0:
        raise RlqkitError(f"kernel = {kernel}: the Gaussian blur needs an odd kernel size")
    if not (math.isfinite(sigma) and sigma > 0):
        raise RlqkitError(f"sigma = {sigma}: the Gaussian blur needs a sigma above 0")
    distance = np.abs(np.arange(kernel) - kernel // 2)
    taps = np.exp(-0.5 * (distance / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    taps = taps[taps >= NEGLIGIBLE_TAP]
    radius = len(taps) // 2
    padded = _mirror_pad(image, radius, radius)
    width = padded.shape[1]
    flat = _shifted_sum(padded.ravel(), [i * width * 3 for i in range(len(taps))], taps)
    flat = _shifted_sum(flat, [j * 3 for j in range(len(taps))], taps)
    return _cut(flat, width, image.shape)


def draw_kind(mix: str | Sequence[float], rng: np.random.Generator) -> str:
    """Draw one of KINDS with the shares of a named mix (see MIXES) or of three given numbers.

    Takes exactly one draw of `rng`. Raises RlqkitError for an unknown name, a wrong number of
    shares, a negative share or shares that do not sum to 1.
    """
    shares = mix_shares(mix)
    draw = rng.random()
    for kind, limit in zip(KINDS[:-1], np.cumsum(shares[:-1]), strict=True):
        if draw < limit:
            return kind
    # Rounding may leave the last limit just under 1, so the last kind with a share takes the rest.
    return next(kind for kind, share in zip(KINDS[::-1], shares[::-1], strict=True) if share > 0)


def mix_shares(mix: str | Sequence[float]) -> tuple[float, float, float]:
    """The shares (pixelation, motion_blur, out_of_focus) of a mix, checked; see `draw_kind`."""
    if isinstance(mix, str):
        if mix not in MIXES:
            raise RlqkitError(f"degradation mix {mix!r} is unknown: use one of {', '.join(MIXES)}")
        return MIXES[mix]
    shares = tuple(float(share) for share in mix)
    if len(shares) != len(KINDS) or not all(share >= 0 for share in shares):
        raise RlqkitError(f"degradation mix {shares}: give three shares of at least 0")
    if not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise RlqkitError(f"degradation mix {shares} sums to {sum(shares):g}: make it 1")
    return shares[0], shares[1], shares[2]


def degrade(
    image: ImageArray,
    kind: str,
    severity: Severity,
    rng: np.random.Generator,
    sigma_rng: np.random.Generator | None = None,
) -> ImageArray:
    """Apply one of KINDS with parameters drawn from `rng` within the ranges of `severity`.

    sigma_rng: where the Gaussian sigma is drawn from (by default `rng`). The released code takes
    sigma from another generator than all other parameters, which matters to `SeedPolicy`.
    Raises RlqkitError for an unknown kind or an image that is not uint8 (H, W, 3).
    """
    if kind == "pixelation":
        return pixelate(image, _draw_integer(severity.short_side, rng))
    if kind == "motion_blur":
        size = _draw_integer(severity.motion_size, rng)
        return motion_blur(image, size, _draw_integer(severity.motion_angle, rng))
    if kind == "out_of_focus":
        kernel = None
        if severity.gaussian_kernel is not None:
            low, high = severity.gaussian_kernel
            kernel = low + 2 * _draw_integer((0, (high - low) // 2), rng)
        sigma = float((sigma_rng or rng).uniform(*severity.gaussian_sigma))
        return gaussian_blur(image, kernel or 2 * math.ceil(2.5 * sigma) + 1, sigma)
    raise RlqkitError(f"degradation kind {kind!r} is unknown: use one of {', '.join(KINDS)}")


def _draw_integer(ends: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.integers(ends[0], ends[1], endpoint=True))


def _shifted_sum(
    flat: NDArray[np.float32], offsets: Sequence[int], weights: Sequence[float] | np.ndarray
) -> NDArray[np.float32]:
    """sum_t weights[t] * flat[offsets[t] + i], for each i at which every tap lies inside `flat`.

    A correlation on the flattened image: one contiguous pass a tap, several times faster than a
    two-dimensional loop. Values near the right border wrap into the next row; `_cut` drops them.
    """
    length = len(flat) - max(offsets)
    total = np.zeros(length, np.float32)
    product = np.empty_like(total)
    for offset, weight in zip(offsets, weights, strict=True):
        np.multiply(flat[offset : offset + length], np.float32(weight), out=product)
        np.add(total, product, out=total)
    return total


def _cut(flat: NDArray[np.float32], width: int, shape: tuple[int, ...]) -> ImageArray:
    """Rows of `width` pixels, possibly without the end of the last one, to uint8 of `shape`."""
    complete = np.zeros(shape[0] * width * 3, np.float32)
    complete[: len(flat)] = flat[: len(complete)]
    pixels = complete.reshape(shape[0], width, 3)[:, : shape[1]]
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _mirror_pad(image: ImageArray, before: int, after: int) -> NDArray[np.float32]:
    """Pad both image axes by reflection about the edge pixels (c b | a b c), as often as needed."""
    for axis in (0, 1):
        image = image.take(_mirrored(image.shape[axis], before, after), axis)
    return image.astype(np.float32)


def _mirrored(length: int, before: int, after: int) -> NDArray[np.intp]:
    period = max(2 * (length - 1), 1)
    index = np.abs(np.arange(-before, length + after)) % period
    return np.minimum(index, period - index) if length > 1 else np.zeros_like(index)


def _check_image(image: ImageArray) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise RlqkitError(f"image is {kind}: give a uint8 array with values 0-255")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise RlqkitError(f"image has shape {image.shape}: give (height, width, 3), RGB")


def _whole(name: str, value: float, least: int) -> int:
    if value != int(value) or value < least:
        raise RlqkitError(f"{name} = {value}: give a whole number of pixels, at least {least}")
    return int(value)
