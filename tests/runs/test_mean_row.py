"""A row that averages two others: trained parents, one folder, the same bits again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_line import rlqkit, smoke_options

from rlqkit.config import load_profile, with_overrides
from rlqkit.method.averaging import mean_weights
from rlqkit.runs.experiment import load_network
from rlqkit.runs.folder import RunFolder, cost_of, run_id

SHORT = {"training__steps": 4, "averaging__batches": 2}


def run_of(results: Path, row: str) -> RunFolder:
    return RunFolder(next(results.glob(f"smoke/runs/{row}-s*")))


@pytest.fixture(scope="module")
def trained(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("mean")
    outcome = rlqkit("train", *smoke_options(tiny_wardrobe, results, **SHORT), "--row", "mean")
    assert outcome.code == 0, outcome.err
    return results


def test_parents_are_trained_and_their_weights_averaged(trained: Path) -> None:
    mean, *parents = (run_of(trained, row) for row in ("mean", "base", "base-lq"))
    assert mean.finished and all(parent.finished for parent in parents)
    states = [load_network(parent).state_dict() for parent in parents]
    wanted, found = mean_weights(*states, 0.6), load_network(mean).state_dict()
    for name, tensor in wanted.items():
        if "running_" not in name and "num_batches" not in name:
            assert torch.equal(found[name], tensor), name
    assert any(not torch.equal(found[n], t) for n, t in wanted.items() if "running_" in n)


def test_its_cost_is_that_of_both_parents(trained: Path) -> None:
    mean, *parents = (run_of(trained, row).history() for row in ("mean", "base", "base-lq"))
    assert list(mean["phase"]) == ["mean"]
    assert mean["steps"].iloc[0] == sum(parent["steps"].iloc[-1] for parent in parents)
    assert mean["images"].iloc[0] == sum(parent["images"].sum() for parent in parents)
    costs = [cost_of(history) for history in (mean, *parents)]
    assert costs[0]["epochs"] == costs[1]["epochs"] + costs[2]["epochs"]


def test_it_enters_the_tables(trained: Path, tiny_wardrobe: Path) -> None:
    rows = {**SHORT, "reproduce__rows": "['base','base-lq','mean']"}
    options = smoke_options(tiny_wardrobe, trained, **rows)
    before = (run_of(trained, "mean").path / "metrics.json").read_bytes()
    outcome = rlqkit("reproduce", *options, "--no-notebooks")
    assert outcome.code == 0, outcome.err
    assert "mean of base and base + LQ" in (trained / "smoke/tables/summary.md").read_text()
    assert (run_of(trained, "mean").path / "metrics.json").read_bytes() == before


def test_the_same_bits_again(trained: Path, tiny_wardrobe: Path, tmp_path: Path) -> None:
    for row in ("base", "base-lq"):
        source = run_of(trained, row).path
        copy = tmp_path / "smoke" / "runs" / source.name
        copy.mkdir(parents=True)
        for file in source.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
    options = smoke_options(tiny_wardrobe, tmp_path, **SHORT)
    assert rlqkit("train", *options, "--row", "mean").code == 0
    for name in ("metrics.json", "per_query.parquet", "weights-last.safetensors"):
        one, two = (run_of(where, "mean").path / name for where in (trained, tmp_path))
        assert one.read_bytes() == two.read_bytes(), name
    assert json.loads((run_of(tmp_path, "mean").path / "history.json").read_text())


def test_the_share_counts_for_this_row_alone() -> None:
    config = load_profile("smoke")
    other = with_overrides(config, {"averaging.weight": 0.3})
    for row, same in (("mean", False), ("base", True), ("rlq", True)):
        ids = {run_id(with_overrides(c, {"row": row})) for c in (config, other)}
        assert (len(ids) == 1) == same, row


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_that_is_none(tiny_wardrobe: Path, tmp_path: Path, share: float) -> None:
    options = smoke_options(tiny_wardrobe, tmp_path, averaging__weight=share)
    outcome = rlqkit("train", *options, "--row", "mean")
    assert outcome.code == 2 and "averaging.weight" in outcome.err
