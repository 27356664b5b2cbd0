"""Recolouring against golden pixels and class labels."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from rlqkit.errors import RlqkitError
from rlqkit.method.recolouring import (
    COLOURS,
    LAST_COLOURS,
    Recolouring,
    colour_code,
    draw_colours,
    positive_classes,
    recolour,
    recolour_outfit,
    recoloured_class,
)

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = np.load(FOLDER / "images.npz")
LABELS = json.loads((FOLDER / "images.json").read_text())
IMAGE = GOLDEN["image"]
SHIRT, TROUSERS = GOLDEN["recolour/shirt_mask"], GOLDEN["recolour/trouser_mask"]
PAIRS = [(case["shirt"], case["trousers"]) for case in LABELS["cases"]]


def test_colours_are_the_golden_ones() -> None:
    assert {name: list(value) for name, value in COLOURS.items()} == LABELS["rgb"]
    assert list(LAST_COLOURS) == ["green", "blue", "purple", "red", "yellow", "pink"]


@pytest.mark.parametrize(("shirt", "trousers"), PAIRS)
def test_recoloured_pixels_equal_the_golden_ones(shirt: str, trousers: str) -> None:
    expected = GOLDEN[f"recolour/{shirt}_{trousers}"]
    before = IMAGE.copy()
    result = recolour(IMAGE, SHIRT, TROUSERS, shirt, trousers)
    np.testing.assert_array_equal(result[::5], expected)
    by_value = recolour(IMAGE, SHIRT > 0, TROUSERS > 0, COLOURS[shirt], COLOURS[trousers], "wrap")
    np.testing.assert_array_equal(by_value, result)
    np.testing.assert_array_equal(IMAGE, before)


@pytest.mark.parametrize("colour", [shirt for shirt, _ in PAIRS])
def test_one_colour_outfit_equals_the_golden_pixels(colour: str) -> None:
    result = recolour_outfit(IMAGE, SHIRT, colour)
    np.testing.assert_array_equal(result[::5], GOLDEN[f"recolour_faulty/{colour}"])


def test_overlap_rules_differ_only_where_the_masks_overlap() -> None:
    both = (SHIRT & TROUSERS) > 0
    assert both.any()
    published = recolour(IMAGE, SHIRT, TROUSERS, "orange", "pink", overlap="wrap")
    clean = recolour(IMAGE, SHIRT, TROUSERS, "orange", "pink", overlap="trousers")
    np.testing.assert_array_equal(published[~both], clean[~both])
    whole = recolour_outfit(IMAGE, TROUSERS, "pink")
    np.testing.assert_array_equal(clean[both], whole[both])
    # 255 + 255 = 254 modulo 256 in red, 165 + 192 = 101 in green, 0 + 203 in blue.
    wrapped = recolour_outfit(IMAGE, TROUSERS, (254, 101, 203))
    np.testing.assert_array_equal(published[both], wrapped[both])


@pytest.mark.parametrize("case", LABELS["cases"], ids=str)
def test_class_labels_equal_the_golden_ones(case: dict) -> None:
    shirt, trousers = case["shirt"], case["trousers"]
    assert colour_code(trousers, shirt, list(COLOURS)) == case["code"]
    assert colour_code(shirt, shirt, list(COLOURS)) == case["outfit_code"]
    original, identity = LABELS["original_classes"], LABELS["identity"]
    label = recoloured_class(original, identity, trousers, shirt, list(COLOURS))
    assert label == case["class"]


def test_identities_own_disjoint_golden_blocks_of_classes() -> None:
    golden, names = LABELS["classes_of_identities"], list(COLOURS)
    how = Recolouring(golden["original"], "wrap", tuple(names))
    worn = np.zeros((golden["identities"], golden["original"]), dtype=bool)
    assert positive_classes(worn, how).shape == (golden["identities"], golden["all"])
    for identity, (first, last) in enumerate(golden["recoloured"]):
        labels = {
            recoloured_class(golden["original"], identity, *pair, names)
            for pair in itertools.product(names, names)
        }
        assert labels == set(range(first, last + 1))


@pytest.mark.parametrize(("colours", "groups"), [(COLOURS, 3), (COLOURS, 2), (LAST_COLOURS, None)])
def test_groups_share_classes_and_fill_every_class(colours: dict, groups: int | None) -> None:
    names = list(colours)
    count = groups or len(names)
    how = Recolouring(10, "wrap", tuple(names), groups)
    labels = {
        recoloured_class(10, identity, *pair, names, groups)
        for identity in range(2)
        for pair in itertools.product(names, names)
    }
    assert labels == set(range(10, positive_classes(np.ones((2, 10), bool), how).shape[1]))
    assert len(labels) == 2 * count**2


def test_three_groups_are_neighbours_in_the_papers_order() -> None:
    names = list(COLOURS)
    for i, j in itertools.product(range(9), range(9)):
        assert colour_code(names[i], names[j], names, groups=3) == 3 * (i // 3) + j // 3


def test_shirt_is_drawn_first_and_uniformly_over_sorted_names() -> None:
    names = sorted(COLOURS)
    drawn = [draw_colours(np.random.default_rng(seed), list(COLOURS)) for seed in range(300)]
    for seed, (shirt, trousers) in enumerate(drawn[:20]):
        rng = np.random.default_rng(seed)
        assert (shirt, trousers) == (names[rng.integers(9)], names[rng.integers(9)])
    assert {shirt for shirt, _ in drawn} == {trousers for _, trousers in drawn} == set(names)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: recolour(IMAGE, SHIRT[:9], TROUSERS, "red", "red"), "shirt mask"),
        (lambda: recolour(IMAGE, SHIRT, TROUSERS * 255, "red", "red"), "trouser mask"),
        (lambda: recolour(IMAGE, SHIRT * 0.5, TROUSERS, "red", "red"), "shirt mask"),
        (lambda: recolour(IMAGE, SHIRT, TROUSERS, "mauve", "red"), "mauve"),
        (lambda: recolour(IMAGE, SHIRT, TROUSERS, (1, 2, 300), "red"), "300"),
        (lambda: recolour(IMAGE, SHIRT, TROUSERS, "red", "red", "mean"), "mean"),
        (lambda: recolour(IMAGE / 255, SHIRT, TROUSERS, "red", "red"), "float64"),
        (lambda: recolour_outfit(IMAGE, SHIRT + 1, "red"), "outfit mask"),
        (lambda: colour_code("black", "red", list(LAST_COLOURS)), "black"),
        (lambda: Recolouring(1, "wrap", tuple(COLOURS), 10), "colour_groups"),
        (lambda: Recolouring(1, "wrap", tuple(COLOURS), 0), "colour_groups"),
        (lambda: Recolouring(4, "wrap", colours=("red", "red")), "twice"),
        (lambda: Recolouring(4, "wrap", colours=("mauve",)), "mauve"),
    ],
)
def test_mistakes_are_named(call: object, word: str) -> None:
    with pytest.raises(RlqkitError, match=word):
        call()  # type: ignore[operator]
