"""Studies: read strictly, planned as ordinary runs, trained, tabled and shipped."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from command_line import rlqkit, smoke_options

from rlqkit.config import Config, load_profile, with_overrides
from rlqkit.data.imageset import Benchmark
from rlqkit.data.loaders import external_data
from rlqkit.errors import RlqkitError
from rlqkit.method.rows import find_row
from rlqkit.method.sampling import Draw
from rlqkit.report import studies
from rlqkit.report.studies import (
    as_markdown,
    in_words,
    runs_of,
    ship_study,
    study_table,
    validation_as_markdown,
    validation_table,
    write_study,
)
from rlqkit.runs.folder import RunFolder, run_id
from rlqkit.runs.jobs import scheduled_runs
from rlqkit.runs.plan import waits_for
from rlqkit.runs.studies import Study, find_study, read_studies

SMALL = """
[parts]
question = "What does it?"
row = "tad"
seeds = [1, 2]
[[parts.variant]]
name = "hq-pairs"
title = "HQ pairs only"
row = "tad-hq"
[[parts.variant]]
name = "two"
title = "two bases"
row = "mean-base"
against = "hq-pairs"
"""


def test_the_shipped_studies_name_runs_that_are_all_different() -> None:
    quick = load_profile("quick")
    for study in read_studies().values():
        for seed in study.seeds:
            configs = [study.config(quick, v, seed) for v in (None, *study.variants)]
            assert len({run_id(config) for config in configs}) == len(configs), study.name
            assert {config.seed for config in configs} == {seed}


@pytest.mark.parametrize("profile", ["smoke", "quick", "laptop"])
def test_every_study_can_be_asked_in_every_profile(profile: str) -> None:
    config = load_profile(profile)
    for study in read_studies().values():
        few = 1 if len(study.rules) > 1 else 3  # where rules are compared, rows are few
        assert study.runs(config) and len(study.asked(config)) >= few
    half, twice = (
        study.config(config, next(v for v in study.variants if v.name == name), 1).training
        for study, name in ((find_study("lengths"), "base-half"), (find_study("own"), "twice"))
    )
    assert (4 * half.epochs, 4 * half.steps) == (twice.epochs, twice.steps)


def test_a_plan_holds_teachers_and_parents_before_what_needs_them() -> None:
    study, quick = read_studies(SMALL)["parts"], load_profile("quick")
    planned = study.runs(quick)
    assert [(config.row, config.seed) for config in planned] == [
        ("teacher", 100), ("tad", 1), ("tad-hq", 1), ("base", 1), ("base", 2), ("mean-base", 1),
        ("tad", 2), ("tad-hq", 2), ("base", 3), ("mean-base", 2),
    ]  # fmt: skip
    require_order(planned)


def require_order(planned: list[Config]) -> None:
    """Whatever a run waits for stands before it."""
    done: set[str] = set()
    for config in planned:
        assert {run_id(other) for other in waits_for(config)} <= done, config.row
        done.add(run_id(config))


def test_what_a_run_waits_for_waits_too() -> None:
    """RLQ that goes on needs RLQ, which needs the teacher: three runs, and a scheduler has them."""
    config = load_profile("quick", {"reproduce.rows": ["rlq-on", "mean-taught"]})
    planned = scheduled_runs(config)
    rows = {"rlq-on", "rlq", "teacher", "mean-taught", "self-taught", "lq-on", "base"}
    assert {run.row for run in planned} == rows and len(planned) == len(rows)
    require_order(planned)


def test_a_teacher_with_cap_counts_what_cap_counts() -> None:
    """Runs whose teachers differ are different runs, whatever their own row leaves out."""
    for row, same in (("tad", False), ("base", True)):
        ids = set()
        for clusters in (5, 15):
            config = load_profile("quick", {"row": row, "teacher.row": "teacher-cap"})
            ids.add(run_id(with_overrides(config, {"cap.clusters": clusters})))
        assert (len(ids) == 1) == same
    usual = {run_id(load_profile("quick", {"row": "tad", "cap.clusters": k})) for k in (5, 15)}
    assert len(usual) == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[[parts.variant]]", "[[parts.variant", "not valid TOML"),
        ('row = "tad"', 'row = "tat"', 'no row "tat"'),
        ('row = "tad-hq"', 'row = "tad-h"', 'no row "tad-h"'),
        ('title = "HQ pairs only"', 'titel = "HQ"', "titel"),
        ('name = "hq-pairs"', "", "incomplete"),
        ('title = "two bases"\nrow = "mean-base"', "", "needs a title"),
        ('name = "two"', 'name = "hq-pairs"', "twice"),
        ('name = "two"', 'name = "two"\nlength = 0.0', "length is 0.0"),
        ('against = "hq-pairs"', 'against = "none"', "no variant none"),
        ('name = "hq-pairs"', 'name = "hq-pairs"\nprofiles = ["laptop"]', "profiles without"),
        ("seeds = [1, 2]", 'seeds = ["1"]', "seeds"),
        ("seeds = [1, 2]", "seeds = []", "needs a seed"),
        ("[parts]", "parts = 3\n[others]", "not a value"),
    ],
)
def test_a_broken_file_is_one_line(old: str, new: str, said: str) -> None:
    assert old in SMALL
    text = SMALL.replace(old, new, 1)
    with pytest.raises(RlqkitError, match=said):
        read_studies(text if "others" not in new else "parts = 3")


def test_an_unknown_study_lists_the_known() -> None:
    with pytest.raises(RlqkitError, match="autopsy"):
        find_study("autopsi")
    outcome = rlqkit("study")
    assert [line.split()[0] for line in outcome.out.splitlines()] == list(read_studies())


def test_hq_pairs_are_two_views_without_damage(tiny_benchmark: Benchmark) -> None:
    config = load_profile("smoke")
    damaged, clean = (
        external_data(tiny_benchmark["external"], config, damaged=flag).images
        for flag in (True, False)
    )
    draws = [Draw(i, 0, i) for i in range(4)]
    for draw in draws:
        one, two = damaged[draw], clean[draw]
        assert (one["hq"] == two["hq"]).all()
        assert not (one["lq"] == two["lq"]).all() and not (two["hq"] == two["lq"]).all()
    assert find_row("tad").damaged_pairs and not find_row("tad-hq").damaged_pairs


@pytest.fixture(scope="module")
def study() -> Study:
    return read_studies(SMALL)["parts"]


@pytest.fixture(scope="module")
def trained(study: Study, tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its runs on the tiny set, through the rows' own command."""
    results = tmp_path_factory.mktemp("study")
    short = {"training__steps": 4, "teacher__steps": 2, "averaging__batches": 1}
    for row in ("tad", "tad-hq", "mean-base"):
        for seed in study.seeds:
            options = smoke_options(tiny_wardrobe, results, **short)
            outcome = rlqkit("train", *options, "--row", row, "--seed", str(seed))
            assert outcome.code == 0, outcome.err
    return results


def profile_of(trained: Path) -> object:
    config = next(RunFolder(p).config() for p in trained.glob("smoke/runs/tad-s1-*"))
    return replace(config, runtime=replace(config.runtime, results=str(trained)))


def test_the_table_compares_over_the_seeds_that_both_have(study: Study, trained: Path) -> None:
    table = study_table(study, profile_of(trained))  # type: ignore[arg-type]
    assert list(table["variant"]) == ["hq-pairs"] * 3 + ["two"] * 3
    assert list(table["condition"]) == ["HQ", "LQ → HQ", "LQ → LQ"] * 2
    assert (table["seeds"] == 2).all() and (table["corrected"] >= table["p"]).all()
    assert (table["low"] <= table["estimate"]).all() and (table["estimate"] <= table["high"]).all()
    difference = table["value"] - table["other"]
    assert table["estimate"].to_numpy() == pytest.approx(difference.to_numpy())
    two = table[table["variant"] == "two"].iloc[0]
    assert two["other"] == table[table["variant"] == "hq-pairs"].iloc[0]["value"]
    assert len(in_words(table)) == 6 and "against hq-pairs" in in_words(table)[3]


def test_validation_people_are_shown_without_the_test(study: Study, trained: Path) -> None:
    profile = profile_of(trained)
    table = validation_table(study, profile)  # type: ignore[arg-type]
    assert list(table["variant"]) == ["", "hq-pairs", "two"]
    assert set(table["seeds"]) == {len(study.seeds)}
    last = [
        RunFolder.of(study.config(profile, None, seed)).history().iloc[-1]  # type: ignore[arg-type]
        for seed in study.seeds
    ]
    wanted = 100 * sum(record["best_validation_lq_rank1"] for record in last) / len(last)
    assert table["LQ"].iloc[0] == pytest.approx(wanted)
    text = validation_as_markdown(table)
    assert f"| {table['HQ'].iloc[1]:.1f} | {table['LQ'].iloc[1]:.1f} |" in text


def test_a_table_says_what_each_row_finds_under_sc(study: Study, trained: Path) -> None:
    profile = profile_of(trained)
    table = study_table(study, profile)  # type: ignore[arg-type]
    name = table["variant"].iloc[0]
    variant = next(v for v in study.variants if v.name == name)
    found = [
        line["rank1"]
        for folder in runs_of(study, profile, variant).values()  # type: ignore[arg-type]
        for line in folder.metrics().to_dict("records")
        if (line["rule"], line["protocol"], line["query"], line["gallery"])
        == ("last", "SC", "HQ", "HQ")
    ]
    assert len(found) == table["seeds"].iloc[0]
    own = 100 * sum(found) / len(found)
    assert table["same_clothes"].iloc[0] == pytest.approx(own)
    assert f"| {own:.1f} | {len(found)} |" in as_markdown(table)


def test_a_table_is_written_whole_or_not_at_all(
    study: Study, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "profile_folder", lambda _: tmp_path)
    table, file = write_study(study, profile_of(trained))  # type: ignore[arg-type]
    whole = file.read_bytes()
    assert whole == table.round(4).to_csv(index=False, lineterminator="\n").encode()
    file.write_bytes(b"mine")

    def replaced(*_: object) -> None:
        raise OSError("the plug was pulled")

    monkeypatch.setattr(os, "replace", replaced)
    with pytest.raises(OSError, match="plug"):
        write_study(study, profile_of(trained))  # type: ignore[arg-type]
    assert file.read_bytes() == b"mine"


def test_shipped_runs_give_the_same_table(study: Study, trained: Path, tmp_path: Path) -> None:
    profile = profile_of(trained)
    folders = ship_study(study, profile, tmp_path)  # type: ignore[arg-type]
    assert len(folders) == 10 and not any(tmp_path.rglob("*.safetensors"))
    assert ship_study(study, profile, tmp_path) == []  # type: ignore[arg-type]
    whole = RunFolder(trained / "smoke" / "runs" / folders[-1].name).per_query()
    kept = RunFolder(folders[-1]).per_query()
    assert len(kept) < len(whole) and set(kept["rule"]) == {"last"}

    (tmp_path / "other" / "smoke").mkdir(parents=True)
    (tmp_path / "runs").rename(tmp_path / "other" / "smoke" / "runs")
    for folder in (tmp_path / "other" / "smoke" / "runs").iterdir():
        (folder / "weights-last.safetensors").touch()  # now it counts as finished
    moved = replace(profile, runtime=replace(profile.runtime, results=str(tmp_path / "other")))  # type: ignore
    pd.testing.assert_frame_equal(
        study_table(study, moved),
        study_table(study, profile),  # type: ignore[arg-type]
    )
