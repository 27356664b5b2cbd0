"""Intervals over people and seeds together: covered as often as promised, floors, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlqkit.errors import RlqkitError
from rlqkit.evaluation.intervals import clustered_interval, crossed_interval

PEOPLE, QUERIES = 40, 2


def table(values: np.ndarray) -> pd.DataFrame:
    """Queries with these average precisions, QUERIES of each person."""
    return pd.DataFrame({
        "identity": np.repeat(np.arange(len(values) // QUERIES), QUERIES), "query": "HQ",
        "file": [f"{i}.png" for i in range(len(values))],
        "first_hit": 0, "average_precision": values,
    })  # fmt: skip


def drawn(rng: np.random.Generator, seeds: int, of_seed: float, rest: float) -> list[pd.DataFrame]:
    """Differences whose true mean is 0: people vary by .3, seeds and the rest as said."""
    people = np.repeat(rng.normal(0, 0.3, PEOPLE), QUERIES)
    return [
        table(people + rng.normal(0, of_seed) + rng.normal(0, rest, PEOPLE * QUERIES))
        for _ in range(seeds)
    ]


@pytest.mark.parametrize(
    ("seeds", "of_seed"), [(1, 0.0), (2, 0.0), (3, 0.0), (3, 0.03), (3, 0.06), (4, 0.06)]
)
def test_it_covers_the_truth_as_often_as_it_says(seeds: int, of_seed: float) -> None:
    rng, tries, hits = np.random.default_rng(3), 400, 0
    for _ in range(tries):
        found, p = crossed_interval(drawn(rng, seeds, of_seed, 0.2), None, "mAP")
        hits += found.low <= 0 <= found.high
        assert found.excludes_zero == (p < 0.05)
    assert 0.93 <= hits / tries <= 0.97


def test_people_alone_would_promise_too_much() -> None:
    """Where seeds differ, the bootstrap over people of their mean misses the truth too often."""
    rng, tries = np.random.default_rng(5), 150
    crossed = alone = 0
    for _ in range(tries):
        tables = drawn(rng, 3, 0.1, 0.1)
        found = clustered_interval(pd.concat(tables), None, "mAP", draws=400)
        alone += found.low <= 0 <= found.high
        both = crossed_interval(tables, None, "mAP")[0]
        crossed += both.low <= 0 <= both.high
    assert alone / tries < 0.85 < crossed / tries


def test_with_one_seed_it_is_the_people_s() -> None:
    rng = np.random.default_rng(0)
    mine = drawn(rng, 1, 0.0, 0.2)
    both, people = crossed_interval(mine, None, "mAP")[0], clustered_interval(mine[0], None, "mAP")
    assert both.estimate == pytest.approx(people.estimate)
    assert both.high - both.low == pytest.approx(people.high - people.low, rel=0.1)
    assert (both.identities, both.queries) == (PEOPLE, PEOPLE * QUERIES)


def test_a_pair_is_the_difference_query_by_query() -> None:
    rng = np.random.default_rng(1)
    mine, other = drawn(rng, 2, 0.1, 0.2), drawn(rng, 2, 0.1, 0.2)
    differences = [
        table((a["average_precision"] - b["average_precision"]).to_numpy())
        for a, b in zip(mine, other, strict=True)
    ]
    paired, p = crossed_interval(mine, other, "mAP")
    direct, same_p = crossed_interval(differences, None, "mAP")
    assert (paired.estimate, paired.low, p) == pytest.approx((direct.estimate, direct.low, same_p))
    equal, p = crossed_interval(mine, mine, "mAP")
    assert (equal.low, equal.high, p) == (0, 0, 1)


def test_other_queries_and_single_people_are_refused() -> None:
    rng = np.random.default_rng(2)
    mine = drawn(rng, 2, 0.0, 0.2)
    shorter = [part.iloc[:-2] for part in mine]
    with pytest.raises(RlqkitError, match="different queries"):
        crossed_interval(mine, shorter, "mAP")
    with pytest.raises(RlqkitError, match="only a part of the queries"):
        crossed_interval([mine[0], shorter[1]], None, "mAP")
    with pytest.raises(RlqkitError, match="1 test identity"):
        crossed_interval([part.iloc[:2] for part in mine], None, "mAP")
