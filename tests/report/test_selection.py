"""What selection rules add: on queries whose answers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlqkit.config import load_profile
from rlqkit.evaluation.intervals import QUALITIES
from rlqkit.report import selection
from rlqkit.runs.studies import find_study

PEOPLE, QUERIES = 40, 4


def queries(hits: dict[str, float], seed: int) -> pd.DataFrame:
    """Per-query results whose first ``hits[rule]`` of all queries are found at rank 1."""
    lines = []
    for rule, share in hits.items():
        for query, gallery, protocol in QUALITIES.values():
            for number in range(PEOPLE * QUERIES):
                found = (number * 7 + seed) % (PEOPLE * QUERIES) < share * PEOPLE * QUERIES
                lines.append(
                    {
                        "query": query, "gallery": gallery, "protocol": protocol or "CC",
                        "file": f"{number:03}.png", "identity": number // QUERIES,
                        "average_precision": float(found), "first_hit": 0 if found else 3,
                        "rule": rule,
                    }
                )  # fmt: skip
    return pd.DataFrame(lines)


@pytest.fixture
def measured() -> selection.Queries:
    """base and rlq with two seeds: choosing on test adds 5 points to base and 10 to rlq."""
    base = {"last": 0.30, "best_validation": 0.30, "best_test": 0.35}
    rlq = {"last": 0.25, "best_validation": 0.20, "best_test": 0.35}
    return {
        "base": {seed: queries(base, seed) for seed in (1, 2)},
        "rlq": {seed: queries(rlq, seed) for seed in (1, 2)},
    }


def test_a_rule_is_read_against_the_last_epoch(measured: selection.Queries) -> None:
    table = selection.rules_table(measured).set_index(["row", "rule", "condition"])
    assert table.loc[("base", "best_test", "HQ"), "value"] == pytest.approx(35)
    added = table["estimate"]
    assert added[("base", "last", "HQ")] == 0
    assert added[("base", "best_test", "HQ")] == pytest.approx(5)
    assert added[("rlq", "best_validation", "LQ → HQ")] == pytest.approx(-5)
    line = table.loc[("rlq", "best_test", "HQ")]
    assert line["low"] < 10 < line["high"] and line["seeds"] == 2


def test_a_claim_depends_on_the_rule(measured: selection.Queries) -> None:
    table = selection.claim_by_rule(measured, "rlq", "base").set_index(["rule", "condition"])
    assert table.loc[("last", "HQ"), "estimate"] == pytest.approx(-5)
    assert table.loc[("best_test", "HQ"), "estimate"] == pytest.approx(0)
    assert selection.claim_by_rule({"base": measured["base"]}, "rlq", "base").empty


def test_a_rule_that_a_run_did_not_keep_is_left_out(measured: selection.Queries) -> None:
    table = measured["base"][2]
    measured["base"][2] = table[table["rule"] != "best_test"]
    found = selection.rules_table(measured)
    assert set(found[found["row"] == "base"]["rule"]) == {"last", "best_validation"}
    assert set(found[found["row"] == "rlq"]["rule"]) == set(selection.RULES)
    assert "base, HQ" not in selection.as_markdown(measured, "rlq", "base")


def test_the_best_two_of_four_seeds() -> None:
    shares = {1: 0.30, 2: 0.40, 3: 0.20, 4: 0.35}
    mine = {seed: queries({"best_test": share}, seed) for seed, share in shares.items()}
    few = dict(list(mine.items())[:2])
    (line,) = selection.best_seeds({"base": mine, "rlq": few}).to_dict("records")
    assert line["row"] == "base" and line["values"] == [40, 35, 30, 20]
    assert line["best"] == pytest.approx(37.5) and line["mean"] == pytest.approx(31.25)
    assert line["added"] == pytest.approx(6.25)
    spread = np.std([30, 40, 20, 35], ddof=1)
    assert line["luck"] == pytest.approx(0.663 * spread, rel=0.01)  # (1.029 + 0.297) / 2


def test_luck_of_the_best_of_some() -> None:
    """Known means of order statistics of the normal."""
    assert selection.best_of_luck(2, 1) == pytest.approx(1 / np.sqrt(np.pi), abs=0.01)
    assert selection.best_of_luck(3, 3) == pytest.approx(0, abs=0.01)


def test_in_words_and_on_a_page(measured: selection.Queries) -> None:
    words = selection.in_words(measured, "rlq", "base")
    assert any("best on the test people: 35.0 %, +5.0 [" in line for line in words)
    page = selection.as_markdown(measured, "rlq", "base").splitlines()
    assert page[2].startswith("| base, HQ | 30.0 | 30.0, +0.0 [")
    assert page[-2].startswith("| RLQ − base, HQ | -5.0 [")
    assert all(line.count("|") == page[0].count("|") for line in page)


def test_the_study_keeps_what_it_compares() -> None:
    study, profile = find_study("selection"), load_profile("laptop")
    assert set(study.rules) == set(selection.RULES)
    for config in study.runs(profile):
        assert config.evaluation.selection == study.rules or config.row == "teacher"
        assert config.evaluation.selection_by == "rank1"
    assert set(selection.measured(study, profile)) == {"base", "rlq"}
