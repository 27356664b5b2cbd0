"""The ledger of published figures: its file, its verdicts, and runs that were made up for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import rlqkit

from rlqkit.config import load_profile
from rlqkit.data.published.figures import published_images
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.intervals import Interval
from rlqkit.evaluation.protocol import HQ
from rlqkit.method.rows import find_row
from rlqkit.report.claims import (
    MEANING,
    NEEDS_DATA,
    NO_MEASURE,
    NO_RESULT,
    NOT_REPRODUCED,
    OTHERS,
    REPRODUCED,
    RULE,
    WITHIN,
    Ours,
    directions,
    ledger,
    verdict,
)
from rlqkit.report.studies import study_table
from rlqkit.runs.claims import best_other, read_claims
from rlqkit.runs.folder import RunFolder
from rlqkit.runs.published import published_runs
from rlqkit.runs.studies import find_study

CLAIM = '[[claim]]\nmethod = "RLQ"\ndataset = "ltcc"\nkind = "paper"\nsource = "x"\n'
PEOPLE, QUERIES = 75, 6


def ours(*rank1: float, low: float = 0.40, high: float = 0.50) -> Ours:
    return Ours(rank1, rank1, Interval(float(np.mean(rank1)) / 100, low, high, 75, 450))


@pytest.mark.parametrize(
    ("published", "runs", "expected"),
    [
        ((46.4, 46.4), ours(46.1, 46.2), REPRODUCED),  # half a point
        ((46.4, 46.4), ours(43.0, 48.0), WITHIN),  # the mean is 45.5
        ((52.0, 52.0), ours(30.0, 60.0), WITHIN),  # between the seeds, outside the interval
        ((46.4, 46.4), ours(44.0, 45.0), WITHIN),
        ((51.0, 51.0), ours(44.0, 45.0), NOT_REPRODUCED),
        ((38.0, 38.0), ours(44.0, 45.0), NOT_REPRODUCED),
        ((60.0, 62.0), ours(61.0), REPRODUCED),  # a range, for a gain
        ((49.0, 62.0), ours(45.0), WITHIN),
    ],
)
def test_verdicts(published: tuple[float, float], runs: Ours, expected: str) -> None:
    assert verdict(*published, runs) == expected


def test_seeds_are_quoted_as_the_source_does() -> None:
    runs = ours(40.0, 43.0, 45.0, 47.0)
    assert verdict(46.4, 46.4, runs) == WITHIN
    assert verdict(46.4, 46.4, runs, "best_2_of_4") == REPRODUCED  # 46.0
    assert verdict(47.4, 47.4, runs, "best_1") == REPRODUCED
    assert verdict(47.4, 47.4, runs, "one") == WITHIN


def test_the_file_holds_the_published_figures_and_their_runs() -> None:
    claims, runs = read_claims(), {run.name: run for run in published_runs()}
    named = {claim.run for claim in claims} - {""}
    assert len(claims) == 147 and named <= runs.keys()
    for claim in claims:  # a figure that has a run stands there with the same rank-1
        if claim.run and claim.rank1:
            assert claim.rank1 in {figure.rank1 for figure in runs[claim.run].figures}, claim
        if claim.run:  # of the method's own authors, who say how they chose
            assert claim.selection == RULE and claim.seeds != "not stated", claim
    assert {claim.run for claim in claims if claim.gain and claim.run} == {
        "last-rlq", "deepchange-rlq", "prcc-rlq",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[claims]]\n", "unknown key claims"),
        (CLAIM + "rank2 = 4.0\n", r"unknown configuration key claims.toml claim\[0\].rank2"),
        (CLAIM + "rank1 = 146.4\n", "must lie in 0..100"),
        (CLAIM + 'rank1 = "46.4"\n', "must be of type float"),
        (CLAIM + "gain = [2.9, 1.6]\n", r"must be \[least, most\]"),
        (CLAIM + 'run = "prcc-rlq"\n', "no run of paper_runs.toml on ltcc"),
        ('[[claim]]\nmethod = "RLQ"\n', "is incomplete"),
        ("[[claim\n", "not valid TOML"),
    ],
)
def test_a_faulty_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(RlqkitError, match=message):
        read_claims(text=text)


def test_a_gain_is_over_the_best_other_method() -> None:
    claims = read_claims("prcc")
    gain = next(claim for claim in claims if claim.gain and claim.run)
    rival = best_other(gain, claims)
    assert rival is not None and rival.protocol == "CC" and rival.venue != gain.venue
    others = [c for c in claims if c.backbone == "ResNet-50" and c.venue != gain.venue]
    stated = [c.rank1 for c in others if c.protocol == "CC" and c.protocol_stated]
    assert rival.rank1 == max(stated)


def test_without_runs_every_figure_says_what_it_takes() -> None:
    table = ledger("nowhere", "ltcc")
    waiting = table[table["verdict"] == NEEDS_DATA]
    assert set(table["verdict"]) == {NEEDS_DATA, NO_MEASURE, OTHERS} and len(waiting) >= 15
    assert waiting["command"].str.contains("rlqkit train --profile paper").all()
    rlq = waiting[waiting["command"].str.contains("--row rlq")]["hours"].astype(float)
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    of_page = next(line for line in page.splitlines() if line.startswith("| RLQ |")).split("|")[2]
    assert rlq.min() == pytest.approx(float(of_page), abs=0.5)  # ltcc, on the GPU of that page
    assert set(table["verdict"]) <= MEANING.keys()


def test_what_no_run_can_judge_says_so() -> None:
    table = ledger("nowhere").set_index(["dataset", "published"])
    assert table.loc[("last", "+1.6 to +2.9"), "verdict"] == NEEDS_DATA  # 77.9 − 75.0 = 2.9
    prcc = table.loc[("prcc", "+5.3 to +6.0")]
    assert prcc["verdict"] == NO_MEASURE and "65.1 is -0.4 over" in prcc["why"]
    assert prcc["command"]
    competitive = table.loc[("ltcc", "no figure")]
    assert competitive["verdict"] == NO_MEASURE and "no figure" in competitive["why"]


def made_up_run(results: Path, rank1: float, images: dict[str, int]) -> RunFolder:
    """A run of the published "ltcc-base" that finds so many percent."""
    published = next(run for run in published_runs("ltcc") if run.name == "ltcc-base")
    changes = {"data.dataset": "ltcc", "runtime.results": str(results)}
    config = published.config(load_profile("paper", changes))
    folder = RunFolder.of(config)
    folder.start(config)
    count = PEOPLE * QUERIES
    found = (np.arange(count) * 0.618 % 1) < rank1 / 100  # spread evenly over people
    exact = found.mean()
    folder.save_per_query(pd.DataFrame({
        "query": HQ, "gallery": HQ, "protocol": "CC", "file": [f"{i}.png" for i in range(count)],
        "identity": np.repeat(np.arange(PEOPLE), QUERIES), "average_precision": 0.2,
        "first_hit": np.where(found, 0, 7), "rule": RULE,
    }))  # fmt: skip
    figures = {f"{RULE}": 0.2, f"{RULE}_rank1": float(exact)}
    folder.save_json("history.json", [{"epoch": 3, "phase": "cap", "steps": 9} | figures])
    folder.save_json("environment.json", folder.environment() | {"images": images})
    folder.save_json("metrics.json", [])
    return folder


def line_of(results: Path) -> dict[str, object]:
    table = ledger(str(results), "ltcc")
    base = next(run for run in published_runs("ltcc") if run.name == "ltcc-base")
    lines = table[table["source"].str.endswith(base.figures[0].source)]
    assert len(lines) == 1
    return dict(lines.iloc[0])


@pytest.mark.parametrize(("rank1", "expected"), [(42.1, REPRODUCED), (30.0, NOT_REPRODUCED)])
def test_a_run_as_published_gets_its_verdict(tmp_path: Path, rank1: float, expected: str) -> None:
    made_up_run(tmp_path, rank1, published_images("ltcc"))
    line = line_of(tmp_path)
    assert line["verdict"] == expected, line["why"]
    assert str(line["ours"]).startswith(f"{rank1:.0f}"[:1]) and line["command"] == ""


def test_fewer_images_give_no_verdict(tmp_path: Path) -> None:
    images = published_images("ltcc")
    made_up_run(tmp_path, 42.1, images | {"train": images["train"] - 1})
    line = line_of(tmp_path)
    assert line["verdict"] == NO_RESULT and "train" in str(line["why"])


def test_a_history_without_measured_epochs_is_refused(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path, 42.1, published_images("ltcc"))
    folder.save_json("history.json", [{"epoch": 3, "phase": "cap", "steps": 9}])
    with pytest.raises(RlqkitError, match=r"history.json has no epoch measured by best_test"):
        ledger(str(tmp_path), "ltcc")


def test_directions_come_from_the_published_figures_and_the_runs() -> None:
    profile = load_profile("laptop", {"runtime.results": "nowhere"})
    table = directions(profile).set_index("row")
    assert set(table["agrees"]) <= {"yes", "no", "can't be told"} and len(table) == 9
    assert (table["seeds"] == 3).all() and table.loc["RLQ", "published"] > 0
    runs = study_table(find_study("rows"), profile).set_index(["variant", "condition"])
    rlq = runs.loc[("rlq", "HQ")]
    assert tuple(table.loc["RLQ", ["ours", "low", "high"]]) == tuple(
        rlq[["estimate", "low", "high"]]
    )
    corrected = {
        find_row(name).title: line["corrected"]
        for (name, condition), line in runs.iterrows()
        if condition == HQ
    }
    for title, line in table.iterrows():
        told = corrected[title] < 0.05
        same = (line["ours"] > 0) == (line["published"] > 0)
        assert line["agrees"] == (("yes" if same else "no") if told else "can't be told")


def test_directions_need_a_published_base() -> None:
    with pytest.raises(RlqkitError, match="no published run of base on last"):
        directions(load_profile("laptop"), "last")


def test_command(tmp_path: Path) -> None:
    outcome = rlqkit("claims", "--dataset", "last", "--results", str(tmp_path))
    assert outcome.code == 0 and "needs data" in outcome.out
    written = tmp_path / "paper" / "tables"
    page = (written / "claims_last.html").read_text()
    assert "<table" in page and "http-equiv" not in page and "<script" not in page
    assert len(pd.read_csv(written / "claims_last.csv")) == len(read_claims("last"))
    assert "SYNTHETIC" in page and "SYNTHETIC" in outcome.out
    assert len(pd.read_csv(written / "directions.csv")) == 9
    wrong = rlqkit("claims", "--dataset", "market", "--results", str(tmp_path))
    assert wrong.code == 2 and 'no published figure on data set "market"' in wrong.err
