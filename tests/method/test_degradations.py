"""Degradations against golden results of the original libraries, and their edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlqkit.errors import RlqkitError
from rlqkit.method.degradations import (
    KINDS,
    MIXES,
    PAPER_SEVERITY,
    SMALL_INPUT_SEVERITY,
    Severity,
    degrade,
    draw_kind,
    gaussian_blur,
    motion_blur,
    motion_kernel,
    pixelate,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "images.npz")
IMAGE = GOLDEN["image"]


def assert_close(result: np.ndarray, expected: np.ndarray, share: float = 0.001) -> None:
    """At most one grey level anywhere, and equal nearly everywhere."""
    assert result.dtype == np.uint8 and result.shape == expected.shape
    difference = np.abs(result.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= share


@pytest.mark.parametrize("side", [16, 40])
def test_pixelation_equals_the_golden_images(side: int) -> None:
    np.testing.assert_array_equal(pixelate(IMAGE, side), GOLDEN[f"lowres/{side}"])


@pytest.mark.parametrize(("size", "angle"), [(8, 0), (13, 90)])
def test_motion_blur_matches_the_golden_kernels_and_images(size: int, angle: int) -> None:
    np.testing.assert_allclose(
        motion_kernel(size, angle), GOLDEN[f"motion_kernel/{size}_{angle}"], atol=1e-6
    )
    assert_close(motion_blur(IMAGE, size, angle)[::5], GOLDEN[f"motion/{size}_{angle}"])


@pytest.mark.parametrize(("kernel", "sigma"), [(5, 0.8), (21, 2.0)])
def test_gaussian_blur_matches_the_golden_images(kernel: int, sigma: float) -> None:
    result = gaussian_blur(IMAGE, kernel, sigma)
    assert_close(result[::5], GOLDEN[f"gblur_sigma/{kernel}_{sigma}"])


def test_gaussian_blur_with_a_small_drawn_sigma_changes_nothing() -> None:
    # The golden call gave a kernel only; the sigma it drew from U(0.1, 2) was below 0.27.
    np.testing.assert_array_equal(IMAGE[::5], GOLDEN["gblur/5"])
    np.testing.assert_array_equal(gaussian_blur(IMAGE, 5, 0.2), IMAGE)
    assert (gaussian_blur(IMAGE, 5, 0.3) != IMAGE).any()


def test_oblique_kernel_follows_the_affine_warp() -> None:
    # Rows 1 to 4 of an 8x8 line turned by 33 degrees by a bilinear warp, before normalisation.
    warped = np.array(
        [
            [0, 0, 0, 0, 0, 0.22028, 0.76492, 0.1402],
            [0, 0, 0, 0, 0.51431, 0.94105, 0.39641, 0],
            [0, 0, 0.26371, 0.80835, 0.64702, 0.10238, 0, 0],
            [0.0131, 0.55774, 0.89762, 0.35298, 0, 0, 0, 0],
        ]
    )
    kernel = motion_kernel(8, 33)
    np.testing.assert_allclose(kernel[1:5] / kernel[2, 5], warped / 0.94105, atol=3e-5)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)


def brute_force(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    size = len(kernel)
    before = size // 2
    around = (before, size - 1 - before)
    padded = np.pad(image.astype(float), (around, around, (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))
    return np.rint(np.einsum("hwcij,ij->hwc", windows, kernel)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(31, 17), (5, 40), (3, 2), (1, 1), (1, 9)])
@pytest.mark.parametrize("size", [2, 11, 18])
def test_motion_blur_is_a_mirrored_correlation_at_any_size(
    shape: tuple[int, int], size: int
) -> None:
    image = np.random.default_rng(size).integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = brute_force(image, motion_kernel(size, 25).astype(float))
    assert_close(motion_blur(image, size, 25), expected, share=0.01)


@pytest.mark.parametrize("shape", [(31, 17), (4, 3), (1, 1)])
def test_gaussian_blur_is_a_mirrored_correlation_at_any_size(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    taps = np.exp(-0.5 * (np.arange(-4, 5) / 1.7) ** 2)
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    assert_close(gaussian_blur(image, 9, 1.7), brute_force(image, kernel), share=0.01)


def test_pixelation_keeps_the_aspect_and_may_enlarge() -> None:
    image = IMAGE[:170, :75]
    assert pixelate(image, 16).shape == (36, 16, 3)  # 170 * 16 / 75 = 36.27
    assert pixelate(image.transpose(1, 0, 2).copy(), 16).shape == (16, 36, 3)
    assert pixelate(image[:30, :12], 40).shape == (100, 40, 3)


def test_inputs_stay_untouched_and_flat_images_stay_flat() -> None:
    flat = np.full((40, 20, 3), 201, np.uint8)
    before = flat.copy()
    for result in (motion_blur(flat, 19, 40), gaussian_blur(flat, 21, 2.0), pixelate(flat, 9)):
        assert (result == 201).all()
    np.testing.assert_array_equal(flat, before)


@pytest.mark.parametrize(
    "call",
    [
        lambda: pixelate(IMAGE, 0),
        lambda: pixelate(IMAGE, 8.5),  # type: ignore[arg-type]
        lambda: motion_blur(IMAGE, 1, 0),
        lambda: motion_blur(IMAGE, 9, float("nan")),
        lambda: motion_kernel(0, 0),
        lambda: gaussian_blur(IMAGE, 6, 1.0),
        lambda: gaussian_blur(IMAGE, -1, 1.0),
        lambda: gaussian_blur(IMAGE, 5, 0.0),
        lambda: gaussian_blur(IMAGE.astype(np.float32), 5, 1.0),
        lambda: pixelate(IMAGE[..., 0], 16),
        lambda: motion_blur(IMAGE[:0], 9, 0),
        lambda: degrade(IMAGE, "fog", PAPER_SEVERITY, np.random.default_rng(0)),
        lambda: draw_kind("market", np.random.default_rng(0)),
        lambda: draw_kind((0.5, 0.5), np.random.default_rng(0)),
        lambda: draw_kind((0.5, 0.6, 0.1), np.random.default_rng(0)),
        lambda: Severity(short_side=(0, 8)),
        lambda: Severity(motion_size=(1, 8)),
        lambda: Severity(gaussian_kernel=(4, 22)),
        lambda: Severity(gaussian_sigma=(0.0, 2.0)),
        lambda: Severity(short_side=(20, 8)),
    ],
)
def test_impossible_values_are_refused_in_one_line(call: object) -> None:
    with pytest.raises(RlqkitError) as error:
        call()  # type: ignore[operator]
    assert "\n" not in str(error.value)


def test_mixes_are_complete_and_drawn_with_their_shares() -> None:
    rng = np.random.default_rng(0)
    for name, shares in MIXES.items():
        assert sum(shares) == pytest.approx(1)
        drawn = [draw_kind(name, rng) for _ in range(4000)]
        for kind, share in zip(KINDS, shares, strict=True):
            assert drawn.count(kind) / 4000 == pytest.approx(share, abs=0.03)
            assert share > 0 or kind not in drawn


class Recorded:
    """A generator that answers with the end of each range, to see what is asked for."""

    def __init__(self, high: bool) -> None:
        self.high = high

    def integers(self, low: int, high: int, endpoint: bool) -> int:
        assert endpoint
        return high if self.high else low

    def uniform(self, low: float, high: float) -> float:
        return high if self.high else low


@pytest.mark.parametrize("high", [False, True])
def test_parameters_reach_both_ends_of_their_ranges(high: bool) -> None:
    rng: object = Recorded(high)

    def degraded(kind: str, severity: Severity) -> np.ndarray:
        return degrade(IMAGE, kind, severity, rng)  # type: ignore[arg-type]

    def equal(result: np.ndarray, expected: np.ndarray) -> None:
        np.testing.assert_array_equal(result, expected)

    pixelated = degraded("pixelation", PAPER_SEVERITY)
    equal(pixelated, pixelate(IMAGE, 63 if high else 16))
    moved = degraded("motion_blur", PAPER_SEVERITY)
    equal(moved, motion_blur(IMAGE, *((19, 179) if high else (8, 0))))
    blurred = degraded("out_of_focus", PAPER_SEVERITY)
    equal(blurred, gaussian_blur(IMAGE, *((21, 2.0) if high else (5, 0.1))))
    small = degraded("out_of_focus", SMALL_INPUT_SEVERITY)
    equal(small, gaussian_blur(IMAGE, *((21, 4.0) if high else (7, 1.0))))


def test_sigma_has_a_generator_of_its_own_on_request() -> None:
    def blurred(rng: int, sigma: int) -> np.ndarray:
        generators = np.random.default_rng(rng), np.random.default_rng(sigma)
        return degrade(IMAGE, "out_of_focus", Severity(gaussian_kernel=(21, 21)), *generators)

    np.testing.assert_array_equal(blurred(0, 5), blurred(1, 5))
    assert (blurred(0, 5) != blurred(0, 6)).any()
