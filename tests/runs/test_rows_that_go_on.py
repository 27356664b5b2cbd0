"""Rows that go on from base: weights, statistics, teacher, cost, names; and their mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_line import rlqkit, smoke_options

from rlqkit.config import load_profile, with_overrides
from rlqkit.method.averaging import mean_weights
from rlqkit.method.rows import all_rows, find_row
from rlqkit.runs.experiment import load_network, load_teacher, prepare, resolve
from rlqkit.runs.folder import RunFolder, metrics_of, run_id
from rlqkit.runs.plan import teacher_config

SHORT = {"training__steps": 4}


def run_of(results: Path, row: str) -> RunFolder:
    return RunFolder(next(results.glob(f"smoke/runs/{row}-s*")))


@pytest.fixture(scope="module")
def trained(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("taught")
    options = smoke_options(tiny_wardrobe, results, **SHORT)
    outcome = rlqkit("train", *options, "--row", "self-taught")
    assert outcome.code == 0, outcome.err
    return results


def test_base_is_trained_first_and_nothing_else(trained: Path) -> None:
    rows = sorted(RunFolder(path).config().row for path in trained.glob("smoke/runs/*-s*"))
    assert rows == ["base", "self-taught"]
    assert all(run_of(trained, row).finished for row in rows)


def test_weights_move_and_statistics_stay(trained: Path) -> None:
    base, taught = (load_network(run_of(trained, row)) for row in ("base", "self-taught"))
    found = taught.state_dict()
    for name, tensor in base.state_dict().items():
        held = "running_" in name or "num_batches" in name
        assert torch.equal(found[name], tensor) == held, name


def test_it_begins_with_the_weights_of_base(trained: Path) -> None:
    folder = run_of(trained, "self-taught")
    run = resolve(with_overrides(folder.config(), {"runtime.results": str(trained)}))
    training = prepare(run, load_teacher(run, progress=False))
    begun, base = training.student.network.state_dict(), load_network(run_of(trained, "base"))
    assert all(torch.equal(begun[name], tensor) for name, tensor in base.state_dict().items())


def test_tad_and_cap_take_turns_and_the_teacher_is_met_at_first(trained: Path) -> None:
    history = run_of(trained, "self-taught").history()
    assert list(history["phase"]) == ["tad", "cap"]
    assert history["distil_hq_2"].iloc[0] < history["distil_lq_2"].iloc[0]
    assert history["clothes_adversarial"].notna().iloc[-1]  # it counts from the first


def test_what_holds_hq_counts_twice(trained: Path) -> None:
    row = find_row("self-taught")
    assert dict(zip(row.tad_terms, row.tad_weights, strict=True)) == {
        "distil_hq_1": 2, "distil_lq_1": 1, "distil_hq_2": 2, "distil_lq_2": 1,
    }  # fmt: skip
    history = run_of(trained, "self-taught").history()
    for record in history[history["phase"] == "tad"].to_dict("records"):
        parts = zip(row.tad_terms, row.tad_weights, strict=True)
        assert record["total"] == pytest.approx(sum(w * record[t] for t, w in parts), abs=1e-4)


def test_its_cost_holds_that_of_base(trained: Path) -> None:
    base, taught = (metrics_of(run_of(trained, row)).iloc[0] for row in ("base", "self-taught"))
    own = run_of(trained, "self-taught").history()
    assert taught["steps"] == base["steps"] + own["steps"].iloc[-1]
    assert taught["images"] == base["images"] + own["images"].sum()
    assert taught["train_seconds"] > base["train_seconds"]
    begun = run_of(trained, "self-taught").before()
    assert begun["steps"] == base["steps"] and begun["epochs"] == base["epochs"]
    assert set(run_of(trained, "base").before().values()) == {0}


def test_base_is_the_same_run_with_or_without_a_pupil(
    trained: Path, tiny_wardrobe: Path, tmp_path: Path
) -> None:
    options = smoke_options(tiny_wardrobe, tmp_path, **SHORT)
    assert rlqkit("train", *options, "--row", "base").code == 0
    alone, taught = run_of(tmp_path, "base"), run_of(trained, "base")
    assert alone.path.name == taught.path.name
    for name in ("metrics.json", "per_query.parquet", "weights-last.safetensors"):
        assert (alone.path / name).read_bytes() == (taught.path / name).read_bytes(), name
    read = [json.loads((run.path / "config.json").read_text())["read"] for run in (alone, taught)]
    assert read[0] == read[1] and "external" not in read[0]


def test_the_same_bits_again(trained: Path, tiny_wardrobe: Path, tmp_path: Path) -> None:
    options = smoke_options(tiny_wardrobe, tmp_path, **SHORT)
    assert rlqkit("train", *options, "--row", "self-taught").code == 0
    for name in ("metrics.json", "per_query.parquet", "weights-last.safetensors"):
        one, two = (run_of(where, "self-taught").path / name for where in (trained, tmp_path))
        assert one.read_bytes() == two.read_bytes(), name


@pytest.mark.parametrize(
    ("key", "value", "taught", "base", "rlq"),
    [
        ("continuing.epochs", 3, False, True, True),
        ("continuing.learning_rate", 1e-4, False, True, True),
        ("teacher.steps", 7, True, True, False),
        ("training.steps", 7, False, False, False),
        ("data.external_images", 32, False, True, False),
    ],
)
def test_what_counts_for_its_name(
    key: str, value: float, taught: bool, base: bool, rlq: bool
) -> None:
    config = load_profile("smoke")
    other = with_overrides(config, {key: value})
    for row, same in (("self-taught", taught), ("base", base), ("rlq", rlq)):
        ids = {run_id(with_overrides(c, {"row": row})) for c in (config, other)}
        assert (len(ids) == 1) == same, row


def test_its_teacher_is_base_of_the_same_seed() -> None:
    config = with_overrides(load_profile("smoke"), {"row": "self-taught", "seed": 3})
    assert teacher_config(config) == with_overrides(config, {"row": "base"})


def test_rows_that_go_on_have_the_network_of_what_they_begin_with() -> None:
    going_on = [row for row in all_rows().values() if row.begins_with]
    assert going_on
    for row in going_on:
        assert row.terms or row.tad_terms
        assert all_rows()[row.begins_with].branch_names == row.branch_names


@pytest.mark.parametrize("row", ["base-on", "self-taught-tad", "self-taught-free"])
def test_its_parts(tiny_wardrobe: Path, trained: Path, row: str) -> None:
    options = smoke_options(tiny_wardrobe, trained, **SHORT)
    outcome = rlqkit("train", *options, "--row", row)
    assert outcome.code == 0, outcome.err
    base, own = (load_network(run_of(trained, name)).state_dict() for name in ("base", row))
    moved = any(not torch.equal(base[n], own[n]) for n in base if "running_mean" in n)
    assert moved == (row == "self-taught-free")
    wanted = {"base-on": ["cap"], "self-taught-tad": ["tad"], "self-taught-free": ["tad", "cap"]}
    assert list(run_of(trained, row).history()["phase"]) == wanted[row]


def test_the_mean_with_what_base_was_tuned_to_keeps_the_statistics(
    tiny_wardrobe: Path, trained: Path
) -> None:
    options = smoke_options(tiny_wardrobe, trained, **SHORT)
    outcome = rlqkit("train", *options, "--row", "mean-on")
    assert outcome.code == 0, outcome.err
    base, tuned, mean = (
        load_network(run_of(trained, name)).state_dict() for name in ("base", "lq-on", "mean-on")
    )
    wanted = mean_weights(base, tuned, load_profile("smoke").averaging.weight)
    assert all(torch.equal(mean[name], tensor) for name, tensor in wanted.items())
    assert all(torch.equal(mean[name], base[name]) for name in base if "running_" in name)
    own = [run_of(trained, name).history() for name in ("base", "lq-on", "mean-on")]
    assert own[2]["steps"].iloc[-1] == own[0]["steps"].iloc[-1] + own[1]["steps"].iloc[-1]


def test_the_mean_of_two_that_go_on_pays_base_once(tiny_wardrobe: Path, trained: Path) -> None:
    options = smoke_options(tiny_wardrobe, trained, **SHORT)
    outcome = rlqkit("train", *options, "--row", "mean-taught")
    assert outcome.code == 0, outcome.err
    own = [run_of(trained, n).history() for n in ("base", "lq-on", "self-taught", "mean-taught")]
    *paid, mean = [(table["steps"].iloc[-1], table["images"].sum()) for table in own]
    assert mean == tuple(map(sum, zip(*paid, strict=True)))


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [("continuing.epochs", 3, False), ("averaging.weight", 0.3, False), ("teacher.steps", 7, True)],
)
def test_what_counts_for_the_mean(key: str, value: float, same: bool) -> None:
    config = with_overrides(load_profile("smoke"), {"row": "mean-on"})
    assert (run_id(config) == run_id(with_overrides(config, {key: value}))) == same


def test_no_length_is_refused_by_name(tiny_wardrobe: Path, tmp_path: Path) -> None:
    options = smoke_options(tiny_wardrobe, tmp_path, continuing__epochs=0)
    outcome = rlqkit("train", *options, "--row", "self-taught")
    assert outcome.code == 2 and "continuing.epochs" in outcome.err
