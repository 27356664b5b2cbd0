"""Maps: what is fitted on what, planes that are known beforehand, how faithful a map is."""

from __future__ import annotations

import os
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rlqkit.errors import RlqkitError
from rlqkit.evaluation.imaginary import piled_up, random_features
from rlqkit.evaluation.maps import (
    faithfulness,
    joint_umap,
    umap_view,
    widest_plane,
)

IDENTITY = np.repeat(np.arange(6), 6)


def unit(features: NDArray[Any]) -> NDArray[np.float32]:
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def people_on_axes() -> NDArray[np.float32]:
    """36 images of 6 people, every image its person's axis."""
    return np.eye(8, dtype=np.float32)[IDENTITY]


class RecordingUmap:
    """Stands in for umap.UMAP, which takes half a minute to compile: records what it is asked."""

    calls: list[tuple[str, Any]] = []

    def __init__(self, **options: Any) -> None:
        self.calls.append(("options", options))

    def fit_transform(self, features: NDArray[Any]) -> NDArray[Any]:
        self.calls.append(("fit", features))
        return features[:, :2]

    def transform(self, features: NDArray[Any]) -> NDArray[Any]:
        self.calls.append(("transform", features))
        return features[:, :2]


def test_umap_is_fitted_on_hq_or_on_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=RecordingUmap))
    monkeypatch.setattr(RecordingUmap, "calls", [])
    hq = people_on_axes()
    lq = hq[::-1][:10].copy()
    hq_positions, lq_positions = umap_view(torch.from_numpy(hq), lq, seed=3, neighbours=100)
    assert hq_positions.shape == (36, 2) and lq_positions.shape == (10, 2)
    (_, options), (first, fitted), (second, placed) = RecordingUmap.calls
    assert (first, second) == ("fit", "transform")
    np.testing.assert_array_equal(fitted, hq)
    np.testing.assert_array_equal(placed, lq)
    assert options["random_state"] == options["transform_seed"] == 3
    assert options["n_neighbors"] == 35
    RecordingUmap.calls.clear()
    joint_hq, joint_lq = joint_umap(hq, lq, seed=4)
    assert joint_hq.shape == (36, 2) and joint_lq.shape == (10, 2)
    (_, options), (first, fitted) = RecordingUmap.calls
    assert first == "fit" and options["random_state"] == 4 and options["n_neighbors"] == 15
    np.testing.assert_array_equal(fitted, np.concatenate([hq, lq]))
    with pytest.raises(RlqkitError, match="same model"):
        umap_view(hq, hq[:, :6])
    with pytest.raises(RlqkitError, match="4 or more"):
        umap_view(hq[:3], hq[:3])


@pytest.mark.parametrize("fit", [joint_umap, umap_view])
def test_threads_are_put_back_though_the_layout_fails(
    fit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FailingUmap(RecordingUmap):
        def fit_transform(self, features: NDArray[Any]) -> NDArray[Any]:
            torch.set_num_threads(threads + 1)  # as numba's pool does
            raise MemoryError

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=FailingUmap))
    threads = torch.get_num_threads()
    try:
        with pytest.raises(MemoryError):
            fit(people_on_axes(), people_on_axes())
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(threads)  # or other tests would pay for a failure


@pytest.mark.skipif(
    "RLQKIT_SLOW_TESTS" not in os.environ,
    reason="UMAP compiles for half a minute; set RLQKIT_SLOW_TESTS=1 (the notebooks run it too)",
)
@pytest.mark.filterwarnings("error:n_jobs value:UserWarning")
def test_real_umap_gives_two_numbers_an_image() -> None:
    rng = np.random.default_rng(2)
    hq = unit(rng.normal(size=(40, 16)))
    lq = unit(hq + 0.1 * rng.normal(size=hq.shape))
    hq_positions, lq_positions = umap_view(hq, lq, seed=1)
    assert hq_positions.shape == lq_positions.shape == (40, 2)
    assert np.isfinite(hq_positions).all() and np.isfinite(lq_positions).all()


def test_a_heap_of_lq_is_the_first_direction_of_the_plane() -> None:
    """24 people on 24 directions and all LQ on one point: the widest spread parts HQ from LQ."""
    hq, lq = piled_up(np.repeat(np.arange(24), 4), width=64)
    plane = widest_plane(hq, lq)
    hq_positions, lq_positions = plane.place(hq), plane.place(lq)
    assert np.ptp(lq_positions, axis=0) == pytest.approx([0, 0], abs=1e-5)
    left, right = sorted((hq_positions[:, 0], lq_positions[:, 0]), key=lambda x: x.mean())
    assert left.max() < right.min()


def test_the_plane_is_that_of_the_widest_spread() -> None:
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(500, 6)) * [0.1, 3, 0.1, 1, 0.1, 0.1] + 9
    plane = widest_plane(unit(wide))
    assert np.abs(plane.axes).argmax(axis=0).tolist() == [1, 3]
    assert plane.axes.T @ plane.axes == pytest.approx(np.eye(2), abs=1e-9)
    assert 0.9 < plane.shares.sum() <= 1 and plane.shares[0] > plane.shares[1]
    few = widest_plane(unit(wide[:4]))  # fewer images than numbers
    singular = np.linalg.svd(unit(wide[:4]) - unit(wide[:4]).mean(axis=0))[1]
    assert few.shares == pytest.approx(singular[:2] ** 2 / (singular**2).sum(), abs=1e-5)
    assert few.axes.T @ few.axes == pytest.approx(np.eye(2), abs=1e-5)
    again = widest_plane(unit(wide[::-1]))
    assert again.place(unit(wide)) == pytest.approx(plane.place(unit(wide)), abs=1e-5)


def test_faithfulness_of_a_true_map_and_of_a_random_one() -> None:
    rng = np.random.default_rng(1)
    angles = np.sort(rng.uniform(0, 3, 80))
    features = unit(np.column_stack([np.cos(angles), np.sin(angles)]))
    true = np.column_stack([angles, np.zeros(80)]).astype(np.float32)
    whole = faithfulness(features[:40], features[40:], (true[:40], true[40:]))
    assert whole == pytest.approx((1, 1), abs=1e-3)
    hq, lq = random_features(np.arange(150), 32)
    flat = rng.normal(size=(2, 150, 2)).astype(np.float32)
    assert faithfulness(hq, lq, (flat[0], flat[1])) == pytest.approx((0.5, 0.5), abs=0.05)
