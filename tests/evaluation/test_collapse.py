"""Collapse measures on features built so that the answer is known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rlqkit.errors import RlqkitError
from rlqkit.evaluation.collapse import (
    MEASURES,
    SINGLE,
    PersonSums,
    added_up,
    between_identity_cosine,
    effective_rank,
    lq_neighbours,
    measure_collapse,
    person_sums,
)
from rlqkit.evaluation.metrics import Labels

PEOPLE, CAMERAS, OUTFITS = 6, 3, 2


@pytest.fixture
def labels() -> Labels:
    """6 people × 3 cameras × 2 outfits, one image each."""
    grid = np.indices((PEOPLE, CAMERAS, OUTFITS)).reshape(3, -1)
    return Labels(grid[0], grid[1], grid[2])


def people_on_axes(labels: Labels, width: int = 8) -> NDArray[np.float32]:
    """Every image is its person's axis: the perfect HQ feature."""
    return np.eye(width, dtype=np.float32)[labels.identity]


def unit(features: NDArray[Any]) -> NDArray[np.float32]:
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def test_perfectly_aligned_lq(labels: Labels) -> None:
    """LQ equals HQ: no trace of quality, every neighbour right."""
    hq = people_on_axes(labels)
    measured = measure_collapse(hq, torch.from_numpy(hq), labels, neighbours=8)
    assert measured.same_image_cosine == pytest.approx(1)
    assert measured.hq_between_cosine == pytest.approx(0, abs=1e-7)
    assert measured.lq_between_cosine == pytest.approx(0, abs=1e-7)
    assert measured.hq_effective_rank == pytest.approx(PEOPLE - 1)
    assert measured.lq_effective_rank == pytest.approx(PEOPLE - 1)
    assert measured.nearest_hq_right == measured.nearest_lq_right == 0.5  # HQ and LQ tie
    assert np.isnan(measured.lq_given_stranger)  # there is no stranger
    # the 8 neighbours are the person's 4 images in the other 2 cameras, HQ and LQ
    assert measured.identity_purity == 1
    assert measured.outfit_purity == 0.5
    assert measured.quality_purity == 0.5
    assert measured.n_images == len(hq)


def test_fully_collapsed_lq(labels: Labels) -> None:
    """All LQ images on one point at right angles to HQ."""
    hq = people_on_axes(labels)
    lq = np.tile(np.eye(8, dtype=np.float32)[7], (len(hq), 1))
    measured = measure_collapse(hq, lq, labels)
    assert measured.same_image_cosine == 0
    assert measured.lq_between_cosine == pytest.approx(1)
    assert measured.lq_effective_rank == 0
    assert measured.quality_purity == 1
    assert measured.nearest_hq_right == measured.nearest_hq_wrong == 0
    # all LQ images of the other cameras are equally near, and one of six people is the right one
    assert measured.nearest_lq_right == pytest.approx(1 / PEOPLE)
    assert measured.nearest_lq_wrong == pytest.approx(1 - 1 / PEOPLE)
    assert measured.identity_purity == pytest.approx(1 / PEOPLE)
    assert measured.lq_given_stranger == 1


def test_lq_that_turns_into_the_next_person(labels: Labels) -> None:
    """LQ of person i lies near HQ of person i + 1 but nearer to its own kind, or the reverse."""
    axes = np.eye(8)
    hq = people_on_axes(labels)
    swapped = axes[(labels.identity + 1) % PEOPLE]
    on_hq = measure_collapse(hq, swapped, labels)
    # on the axis of person i + 1 tie that stranger's HQ images and the person's own LQ images
    assert on_hq.nearest_hq_wrong == on_hq.nearest_lq_right == 0.5
    assert on_hq.lq_given_stranger == 0
    assert on_hq.same_image_cosine == 0
    own_cluster = measure_collapse(hq, unit(swapped + 0.5 * axes[6]), labels)
    assert own_cluster.nearest_lq_right == 1
    assert own_cluster.lq_between_cosine == pytest.approx(0.25 / 1.25)


def test_half_collapsed_moves_between_the_extremes(labels: Labels) -> None:
    hq = people_on_axes(labels)
    strengths = (0.0, 0.5, 1.0, 2.0)
    measured = [measure_collapse(hq, unit(hq + s * np.eye(8)[7]), labels) for s in strengths]
    for key in ("lq_between_cosine", "same_image_cosine"):
        values = np.array([getattr(m, key) for m in measured])
        s2 = np.square(strengths)
        want = s2 / (1 + s2) if key == "lq_between_cosine" else 1 / np.sqrt(1 + s2)
        np.testing.assert_allclose(values, want, atol=1e-6)


def test_against_brute_force() -> None:
    """Random features: every measure once more from the whole similarity matrix."""
    rng = np.random.default_rng(0)
    n, k = 300, 5  # more rows than one chunk
    labels = Labels(rng.integers(0, 20, n), rng.integers(0, 4, n), rng.integers(0, 3, n))
    hq = unit(rng.normal(size=(n, 12)) + np.eye(20, 12)[labels.identity])
    lq = unit(hq + 0.3 * rng.normal(size=(n, 12)) + 0.2)
    measured = measure_collapse(hq, lq, labels, neighbours=k)
    sums = person_sums(hq, lq, labels, neighbours=k)

    pool, double = np.concatenate([hq, lq]), [np.tile(a, 2) for a in labels]
    nearest_kinds, same, outfit, low = {"lw": 0, "hw": 0, "lr": 0, "hr": 0}, 0, 0, 0
    for i in range(n):
        allowed = [j for j in range(2 * n) if double[1][j] != labels.camera[i]]
        near = sorted(allowed, key=lambda j: -float(lq[i] @ pool[j]))[:k]  # noqa: B023
        right = [bool(double[0][j] == labels.identity[i]) for j in near]
        nearest_kinds[("l" if near[0] >= n else "h") + ("r" if right[0] else "w")] += 1
        same += sum(right)
        outfit += sum(
            r and bool(double[2][j] == labels.clothes[i]) for r, j in zip(right, near, strict=True)
        )
        low += sum(j >= n for j in near)
    assert measured.nearest_lq_wrong == pytest.approx(nearest_kinds["lw"] / n)
    assert measured.nearest_hq_wrong == pytest.approx(nearest_kinds["hw"] / n)
    assert measured.nearest_lq_right == pytest.approx(nearest_kinds["lr"] / n)
    assert measured.nearest_hq_right == pytest.approx(nearest_kinds["hr"] / n)
    assert measured.identity_purity == pytest.approx(same / (n * k))
    assert measured.outfit_purity == pytest.approx(outfit / (n * k))
    assert measured.quality_purity == pytest.approx(low / (n * k))

    strangers = labels.identity[:, None] != labels.identity
    errors = nearest_kinds["lw"] + nearest_kinds["hw"]
    gap = ((lq @ lq.T) - (hq @ hq.T))[strangers].mean()
    wanted = {
        "lq_given_stranger": nearest_kinds["lw"] / errors,
        "identity_purity": same / (n * k),
        "same_image_cosine": (hq * lq).sum(1).mean(),
        "between_gap": gap,
        "lq_nearer": (lq @ lq.T > lq @ hq.T)[strangers].mean(),
        "beside_strangers_lq": nearest_kinds["lw"] / n,
    }
    assert {name: sums.value(name) for name in MEASURES} == pytest.approx(wanted, abs=1e-6)
    assert measured.lq_given_stranger == pytest.approx(wanted["lq_given_stranger"])
    assert measured.hq_between_cosine == pytest.approx((hq @ hq.T)[strangers].mean(), abs=1e-6)
    assert measured.lq_between_cosine == pytest.approx((lq @ lq.T)[strangers].mean(), abs=1e-6)
    assert measured.same_image_cosine == pytest.approx((hq * lq).sum(1).mean(), abs=1e-6)


def test_between_identity_cosine_ignores_pairs_within() -> None:
    features = np.array([[1.0, 0], [1, 0], [0, 1], [0.6, 0.8]])
    got = between_identity_cosine(features, np.array([5, 5, 9, 9]))
    assert got == pytest.approx((0 + 0.6 + 0 + 0.6) / 4)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_effective_rank_counts_even_dimensions(rank: int) -> None:
    axes = np.eye(8)[:rank]
    assert effective_rank(np.concatenate([axes, -axes])) == pytest.approx(rank)


def test_effective_rank_of_one_point_is_zero_despite_rounding() -> None:
    rng = np.random.default_rng(1)
    point = unit(rng.normal(size=(1, 64)))
    jitter = point * (1 + rng.uniform(-3e-8, 3e-8, (50, 64)))
    assert effective_rank(np.repeat(point, 50, axis=0)) == 0
    assert effective_rank(jitter.astype(np.float32)) == 0
    assert effective_rank(unit(point + 1e-3 * rng.normal(size=(50, 64)))) > 20


def test_neighbours_leave_out_the_own_camera_and_break_ties_in_pool_order() -> None:
    features = np.ones((4, 1), dtype=np.float32)
    camera = np.array([0, 0, 1, 2])
    found = lq_neighbours(features, features, camera, 4)
    assert found.tolist() == [[2, 3, 6, 7], [2, 3, 6, 7], [0, 1, 3, 4], [0, 1, 2, 4]]
    # the own camera stays out even where all that is left points the other way
    opposed = lq_neighbours(features[:2], -features[:2], np.array([0, 1]), 2)
    assert opposed.tolist() == [[3, 1], [2, 0]]


def test_dictionary_survives_json(labels: Labels) -> None:
    hq = people_on_axes(labels)
    measured = measure_collapse(hq, people_on_axes(labels)[::-1], labels._asdict())
    again = json.loads(json.dumps(measured.to_dict()))
    assert again == measured.to_dict() and again["neighbours"] == 5


def test_errors(labels: Labels) -> None:
    hq = people_on_axes(labels)

    def message(*arguments: Any, **more: Any) -> str:
        with pytest.raises(RlqkitError) as caught:
            measure_collapse(*arguments, **more)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "row i of both" in message(hq, hq[:5], labels)
    assert "LQ features, row 0: norm 3" in message(hq, 3 * hq, labels)
    assert "collapse identity has 36" in message(hq[:9], hq[:9], labels)
    assert "fewer than 2 identities" in message(hq[:6], hq[:6], [a[:6] for a in labels])
    assert "neighbours is 0" in message(hq, hq, labels, neighbours=0)
    one_camera = labels._replace(camera=np.full(36, 4))
    assert "camera 4: its images have 0 neighbours" in message(hq, hq, one_camera)
    assert "48 neighbours" in message(hq, hq, labels, neighbours=49)
    assert measure_collapse(hq, hq, labels, neighbours=48).neighbours == 48


def test_sums_survive_json(labels: Labels) -> None:
    hq = people_on_axes(labels)
    rng = np.random.default_rng(0)
    sums = person_sums(hq, unit(rng.normal(size=hq.shape)), labels, pairs=False)
    again = PersonSums.from_json(json.loads(json.dumps(sums.to_json())))
    assert again.images == sums.images and (again.identity == sums.identity).all()
    for measure in SINGLE:
        assert again.value(measure) == pytest.approx(sums.value(measure), abs=1e-5)
    with pytest.raises(KeyError):
        PersonSums.from_json({"identity": [1]})


def test_sums_of_seeds_are_added_up(labels: Labels) -> None:
    """A share over seeds counts every seed's images, a mean of means where all have as many."""
    hq = people_on_axes(labels)
    rng = np.random.default_rng(0)
    seeds = [person_sums(hq, unit(rng.normal(size=hq.shape)), labels) for _ in range(3)]
    both = added_up(seeds)
    purity = [sums.value("identity_purity") for sums in seeds]
    assert both.value("identity_purity") == pytest.approx(np.mean(purity))
    above, below = np.sum([s.parts["lq_given_stranger"] for s in seeds], axis=(0, 2))
    assert both.value("lq_given_stranger") == pytest.approx(above / below)
    few = person_sums(hq[:-1], hq[:-1], Labels(*(column[:-1] for column in labels)))
    with pytest.raises(RlqkitError, match="different people"):
        added_up([seeds[0], few])
