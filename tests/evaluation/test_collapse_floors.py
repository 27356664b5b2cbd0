"""Floors: on networks that nobody trained every measure is what theory says; intervals hold."""

from __future__ import annotations

import numpy as np
import pytest

from rlqkit.errors import RlqkitError
from rlqkit.evaluation.collapse import MEASURES, collapse_intervals, person_sums
from rlqkit.evaluation.imaginary import IMAGINARY, perfect, random_features
from rlqkit.evaluation.metrics import Labels

PEOPLE, CAMERAS, SHOTS = 60, 3, 2


@pytest.fixture(scope="module")
def labels() -> Labels:
    """60 people × 3 cameras × 2 images."""
    grid = np.indices((PEOPLE, CAMERAS, SHOTS)).reshape(3, -1)
    return Labels(grid[0], grid[1], grid[2])


CHANCE = 1 / PEOPLE
"""Share of a person's images among all in other cameras: everyone has as many in each."""
LOST = (PEOPLE - 1) * (CAMERAS - 1) * SHOTS / ((PEOPLE - 1) * (1 + (CAMERAS - 1) * SHOTS))
"""P(LQ | stranger) where strangers are single random LQ directions and one HQ direction each."""
THEORY = {
    #                       P(LQ | stranger), purity, HQ-LQ, gap, LQ nearer, beside a stranger's LQ
    "random features": (0.5, CHANCE, 0, 0, 0.5, (1 - CHANCE) / 2),
    "all on one point": (0.5, CHANCE, 1, 0, 0.5, (1 - CHANCE) / 2),
    "one point a quality": (1, CHANCE, 0, 0, 1, 1 - CHANCE),
    "HQ perfect, LQ on one point": (1, CHANCE, 0, 1, 1, 1 - CHANCE),
    "HQ perfect, LQ at random": (LOST, CHANCE, 0, 0, 0.5, LOST * (1 - CHANCE)),
    "perfect": (float("nan"), 1, 1, 0, 0.5, 0),
}
"""Imaginary network → the measures, in the order of ``MEASURES``."""
RANDOM = {"random features": 0.08, "HQ perfect, LQ at random": 0.08}
"""What random draws may be off; everything else is exact but for HQ directions that are not quite
at right angles."""


@pytest.mark.parametrize("name", IMAGINARY)
def test_each_measure_is_what_theory_says(name: str, labels: Labels) -> None:
    sums = person_sums(*IMAGINARY[name](labels.identity, 512, seed=2), labels)
    found = [sums.value(measure) for measure in MEASURES]
    assert found == pytest.approx(THEORY[name], abs=RANDOM.get(name, 5e-3), nan_ok=True)


def test_order_of_images_decides_nothing(labels: Labels) -> None:
    """On one point all neighbours tie; shuffled images have the same values."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(labels.identity))
    shuffled = Labels(*(column[order] for column in labels))
    for name in ("all on one point", "one point a quality"):
        whole = person_sums(*IMAGINARY[name](labels.identity), labels)
        again = person_sums(*IMAGINARY[name](shuffled.identity), shuffled)
        for measure in MEASURES:
            assert again.value(measure) == pytest.approx(whole.value(measure), abs=1e-12)


def test_the_trivial_network_fools_those_that_are_said_to_be_fooled(labels: Labels) -> None:
    healthy = {"lq_given_stranger": 0.5, "same_image_cosine": 1, "between_gap": 0, "lq_nearer": 0.5}
    healthy["beside_strangers_lq"] = (1 - CHANCE) / 2  # half of its errors
    sums = person_sums(*IMAGINARY["all on one point"](labels.identity), labels)
    for measure, told in MEASURES.items():
        fooled = measure in healthy and abs(sums.value(measure) - healthy[measure]) < 1e-6
        assert fooled == told.fooled, measure


def test_damage_that_does_nothing_is_the_healthy_value(labels: Labels) -> None:
    """HQ features in both places: errors are half LQ whatever the network is worth."""
    rng = np.random.default_rng(3)
    hq, _ = random_features(labels.identity, 64)
    hq = hq + 0.15 * perfect(labels.identity, 64, seed=5)[0] + 0.01 * rng.normal(size=hq.shape)
    hq /= np.linalg.norm(hq, axis=1, keepdims=True)
    sums = person_sums(hq, hq, labels)
    assert sums.value("lq_given_stranger") == pytest.approx(0.5, abs=1e-9)
    assert sums.value("lq_nearer") == pytest.approx(0.5, abs=1e-9)
    assert sums.value("same_image_cosine") == pytest.approx(1, abs=1e-6)
    assert sums.value("between_gap") == pytest.approx(0, abs=1e-9)


def test_values_grow_with_the_strength_of_the_collapse(labels: Labels) -> None:
    """LQ = HQ + s on a common axis: strangers' cosine s² / (1 + s²) more, HQ-LQ 1 / √(1 + s²)."""
    hq, _ = perfect(labels.identity, 512)
    aside = np.zeros((1, 512), np.float32)
    aside[0, 0] = 1
    hq[:, 0] = 0
    hq /= np.linalg.norm(hq, axis=1, keepdims=True)
    for s in (0.5, 1.0, 2.0):
        lq = (hq + s * aside) / np.sqrt(1 + s * s)
        sums = person_sums(hq, lq.astype(np.float32), labels, neighbours=4)
        assert sums.value("between_gap") == pytest.approx(s * s / (1 + s * s), abs=5e-3)
        assert sums.value("same_image_cosine") == pytest.approx(1 / np.sqrt(1 + s * s), abs=1e-5)
        assert sums.value("lq_nearer") == 1 and sums.value("identity_purity") == 1


# ----------------------------------------------------------------------------------- intervals


def test_intervals_hold_what_they_promise() -> None:
    """Of many small worlds about 95 % of the intervals hold the value that all worlds have."""
    people, shots, width, worlds = 40, 4, 24, 120
    identity, camera = np.indices((people, shots)).reshape(2, -1)
    labels = Labels(identity, camera, np.zeros_like(identity))
    inside = {"between_gap": 0, "same_image_cosine": 0}
    values: dict[str, list[tuple[float, float, float]]] = {name: [] for name in inside}
    for world in range(worlds):
        rng = np.random.default_rng(world)
        person = rng.normal(size=(people, width))[identity]
        hq = person + 0.5 * rng.normal(size=person.shape)
        lq = hq + 0.8 * rng.normal(size=person.shape) + 0.8
        hq, lq = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (hq, lq))
        table = collapse_intervals({"m": person_sums(hq, lq, labels)}, inside, draws=300)
        for name, line in table.set_index("measure").iterrows():
            values[str(name)].append((line["estimate"], line["low"], line["high"]))
    for name, found in values.items():
        truth = np.mean([estimate for estimate, _, _ in found])
        inside[name] = sum(low <= truth <= high for _, low, high in found)
    assert all(0.87 * worlds <= count <= worlds for count in inside.values()), inside


def test_differences_are_paired(labels: Labels) -> None:
    """Two models that differ by the same step for everyone: the difference is sure, they aren't."""
    rng = np.random.default_rng(0)
    hq, _ = perfect(labels.identity, 64)
    own = rng.uniform(0.2, 2, PEOPLE)[labels.identity, None]
    noise = random_features(labels.identity, 64, seed=4)[0]
    models = {}
    for name, more in (("weak", 1.0), ("strong", 1.15)):
        lq = hq + more * own * noise
        lq /= np.linalg.norm(lq, axis=1, keepdims=True)
        models[name] = person_sums(hq, lq, labels)
    alone = collapse_intervals(models, ["same_image_cosine"]).set_index("model")
    paired = collapse_intervals(models, ["same_image_cosine"], reference="weak")
    (line,) = paired.to_dict("records")
    assert line["model"] == "strong" and line["excludes_zero"]
    step = alone.loc["strong", "estimate"] - alone.loc["weak", "estimate"]
    assert line["estimate"] == pytest.approx(step)
    assert line["high"] - line["low"] < 0.3 * (alone.loc["weak", "high"] - alone.loc["weak", "low"])
    assert alone.loc["weak", "low"] < alone.loc["strong", "high"]  # unpaired they overlap


def test_a_perfect_model_has_no_stranger_to_ask_about(labels: Labels) -> None:
    sums = person_sums(*perfect(labels.identity), labels)
    (line,) = collapse_intervals({"perfect": sums}, ["lq_given_stranger"]).to_dict("records")
    assert np.isnan([line["estimate"], line["low"], line["high"]]).all()
    assert line["people"] == PEOPLE and line["images"] == len(labels.identity)


def test_a_line_a_model_and_measure(labels: Labels) -> None:
    models = {
        name: person_sums(*IMAGINARY[name](labels.identity), labels) for name in list(IMAGINARY)[:2]
    }
    table = collapse_intervals(models, draws=50)
    assert len(table) == 2 * len(MEASURES)
    assert (table["low"] <= table["estimate"] + 1e-12).all()
    assert (table["estimate"] <= table["high"] + 1e-12).all()
    again = collapse_intervals(models, draws=50)
    assert again.equals(table)


def test_errors_of_intervals(labels: Labels) -> None:
    sums = person_sums(*perfect(labels.identity), labels)
    fewer = Labels(*(column[:60] for column in labels))
    other = person_sums(*perfect(fewer.identity), fewer)
    with pytest.raises(RlqkitError, match="other people"):
        collapse_intervals({"a": sums, "b": other})
    with pytest.raises(RlqkitError, match="have a"):
        collapse_intervals({"a": sums}, reference="b")
    with pytest.raises(RlqkitError, match="lq_given_stranger"):
        collapse_intervals({"a": sums}, ["spread"])
