"""p values, their correction and the power of a comparison."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlqkit.evaluation.intervals import (
    Interval,
    crossed_interval,
    holm,
    smallest_difference,
)

PEOPLE, QUERIES = 60, 6


def found(share: float, seed: int) -> pd.DataFrame:
    """Queries of which about a share are right, with people who are easier than others."""
    rng = np.random.default_rng(seed)
    ease = np.repeat(rng.normal(0, 0.1, PEOPLE), QUERIES)
    right = rng.random(PEOPLE * QUERIES) < share + ease
    return pd.DataFrame({
        "identity": np.repeat(np.arange(PEOPLE), QUERIES), "query": "HQ",
        "file": [f"{i}.png" for i in range(PEOPLE * QUERIES)],
        "first_hit": np.where(right, 0, 5), "average_precision": 0.5,
    })  # fmt: skip


def p_value(mine: pd.DataFrame, other: pd.DataFrame) -> float:
    return crossed_interval([mine], [other])[1]


def test_no_difference_has_a_large_p_and_a_large_one_a_small_p() -> None:
    assert p_value(found(0.4, 1), found(0.4, 1)) == 1.0
    assert p_value(found(0.6, 1), found(0.4, 2)) <= 0.001
    back, forth = p_value(found(0.4, 2), found(0.6, 1)), p_value(found(0.6, 1), found(0.4, 2))
    assert back == pytest.approx(forth)


def test_p_is_below_five_percent_where_the_interval_excludes_zero() -> None:
    for seed in range(12):
        interval, p = crossed_interval([found(0.45, seed)], [found(0.4, 100 + seed)])
        assert interval.excludes_zero == (p < 0.05)


def test_nothing_true_is_told_in_five_of_a_hundred() -> None:
    told = [p_value(found(0.4, s), found(0.4, 500 + s)) < 0.05 for s in range(200)]
    assert 0.01 <= np.mean(told) <= 0.10


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0.01], [0.01]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([], []),
    ],
)
def test_holm(given: list[float], expected: list[float]) -> None:
    assert holm(given) == pytest.approx(expected)


def test_holm_tells_something_untrue_in_at_most_five_of_a_hundred_tables() -> None:
    rng = np.random.default_rng(0)
    wrong = [min(holm(list(rng.random(8)))) < 0.05 for _ in range(2000)]
    assert 0.03 <= np.mean(wrong) <= 0.065


def test_a_difference_of_that_size_is_told_in_four_of_five_tests() -> None:
    rng, error = np.random.default_rng(0), 0.01
    half = 1.959964 * error
    size = smallest_difference(Interval(0.0, -half, half, PEOPLE, QUERIES))
    told = rng.normal(size, error, 20_000) > half
    assert np.mean(told) == pytest.approx(0.8, abs=0.01)
