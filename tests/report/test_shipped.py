"""Yours and shipped: two small results folders, one of which plays the shipped one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from rlqkit.config import Config, load_profile, with_overrides
from rlqkit.errors import RlqkitError
from rlqkit.main_job import reproduce
from rlqkit.report import shipped
from rlqkit.report.shipped import (
    compare,
    gain_in_words,
    in_words,
    shipped_results,
    write_comparison,
)
from rlqkit.report.tables import Results, difference_table, read_results
from rlqkit.runs.experiment import load_network, train_and_evaluate
from rlqkit.runs.folder import RunFolder, profile_folder

ROWS = ("cal", "base")


@pytest.fixture(scope="module")
def trained(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Two rows of the smoke profile, trained: read only."""
    changes = {
        "data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe),
        "runtime.results": str(tmp_path_factory.mktemp("results")), "training.steps": 4,
        "reproduce.rows": list(ROWS),
    }  # fmt: skip
    config = load_profile("smoke", changes)
    for row in ROWS:
        train_and_evaluate(with_overrides(config, {"row": row}), progress=False)
    return config


@pytest.fixture
def config(trained: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A copy of the runs that may be changed, and another beside it that is the shipped one."""
    for name in ("mine", "shipped"):
        shutil.copytree(trained.runtime.results, tmp_path / name)
    monkeypatch.setattr(shipped, "reference_folder", lambda profile: tmp_path / "shipped" / profile)
    return with_overrides(trained, {"runtime.results": str(tmp_path / "mine")})


def run_of(config: Config, row: str, of: str) -> RunFolder:
    folder = RunFolder.of(with_overrides(config, {"row": row}))
    return RunFolder(Path(str(folder.path).replace("/mine/", f"/{of}/")))


def change_queries(run: RunFolder, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    run.save_per_query(change(run.per_query()))


def compared(config: Config) -> pd.DataFrame:
    table = compare(read_results(config), shipped_results(config))
    assert list(table.columns) == list(shipped.COLUMNS)
    return table


def test_the_same_runs_agree_in_every_cell_to_the_bit(config: Config) -> None:
    table = compared(config)
    assert len(table) == 2 * 5  # HQ, LQ → HQ, LQ → LQ, and two other tests on HQ
    assert set(table["within"]) == {"yes"} and set(table["bits"]) == {"same"}
    assert table["yours"].equals(table["shipped"])
    summary = read_results(config).metrics.query("rule == 'last' and query == gallery == 'HQ'")
    cc = summary[summary["protocol"] == "CC"].set_index("title")["rank1"]
    mine = table[table["condition"] == "HQ"].set_index("row")["yours"]
    assert mine.to_dict() == pytest.approx((100 * cc).to_dict())
    assert in_words(table)[-1].startswith("10 of 10 cells lie within the shipped intervals, 10")


def test_other_figures_are_told_from_other_bits(config: Config) -> None:
    # one query's precision changes: other bits, the same rank-1
    change_queries(
        run_of(config, "cal", "mine"),
        lambda t: t.assign(average_precision=t["average_precision"] * (1 - 1e-12)),
    )
    # everything is found: another rank-1
    change_queries(run_of(config, "base", "mine"), lambda t: t.assign(first_hit=0))
    table = compared(config).set_index("row")
    assert set(table.loc["CAL", "bits"]) == {"other"}
    assert set(table.loc["CAL", "within"]) == {"yes"}
    outside = table.loc["base"]
    assert set(outside["yours"]) == {100.0}
    assert (outside["within"] == "no").equals(outside["high"] < 100)
    assert (outside["within"] == "no").any()
    assert (outside["bits"] == "same").equals(outside["shipped"] == 100)
    assert "OUTSIDE" in "\n".join(in_words(table.reset_index()))


def test_a_row_that_one_side_lacks(config: Config) -> None:
    shutil.rmtree(run_of(config, "cal", "mine").path)
    shutil.rmtree(run_of(config, "base", "shipped").path)
    table = compared(config).set_index("row")
    assert table["within"].to_dict() == {"CAL": "not run here", "base": "not shipped"}
    assert table["yours"].isna().all() and table["shipped"].isna().all()
    file, lines = write_comparison(config, read_results(config))
    assert file is not None and len(pd.read_csv(file)) == 2
    assert "  CAL: not run here" in lines and "  base: not shipped" in lines


def test_a_test_that_was_not_run_here(config: Config) -> None:
    change_queries(run_of(config, "base", "mine"), lambda t: t[t["protocol"] != "SC"])
    table = compared(config).set_index(["row", "condition"])
    assert table.loc[("base", "SC, HQ"), "within"] == "not run here"
    assert table.loc[("base", "HQ"), "within"] == "yes"


def test_seeds_that_both_have_are_compared(config: Config) -> None:
    both = with_overrides(config, {"reproduce.seeds": [1, 2]})
    second = run_of(with_overrides(config, {"seed": 2}), "base", "mine")
    shutil.copytree(run_of(config, "base", "mine").path, second.path)
    change_queries(second, lambda t: t.assign(first_hit=0))
    base = compared(both).query("row == 'base'")
    assert set(base["seeds"]) == {1} and set(base["bits"]) == {"same"}


def test_nothing_to_compare_with(config: Config) -> None:
    other = with_overrides(config, {"training.steps": 5})
    file, lines = write_comparison(other, read_results(config))
    assert file is None and "nothing to compare with" in lines[0]
    assert not (profile_folder(config) / "tables" / "compared.csv").exists()


def test_the_gain_is_told_in_a_line() -> None:
    quick = shipped_results(load_profile("quick"))
    (line,) = gain_in_words(quick, "shipped")
    table = difference_table(quick)
    mine = table[(table["reference"] == "base") & (table["row"] == "rlq")]
    for condition, estimate in zip(mine["condition"], mine["estimate"], strict=True):
        assert f"{condition} {estimate:+.1f} [" in line
    assert "one seed" in line
    assert "3 seeds" in gain_in_words(shipped_results(load_profile("laptop")), "shipped")[0]
    assert gain_in_words(Results(load_profile("quick"), (), ()), "yours") == []


def test_the_main_job_tells_and_writes_it(config: Config) -> None:
    said: list[str] = []
    reproduce(config, notebooks=False, say=said.append)
    written = pd.read_csv(profile_folder(config) / "tables" / "compared.csv")
    assert set(written["within"]) == {"yes"} and len(written) == 10
    (start,) = (i for i, line in enumerate(said) if line.startswith("yours | shipped"))
    assert said[start + 1].startswith("  CAL: HQ ") and said[start + 1].endswith("; same bits")
    assert any("compared.csv" in line for line in said)


def test_the_comparison_is_written_whole_or_not_at_all(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = write_comparison(config, read_results(config))
    assert file is not None
    table = compare(read_results(config), shipped_results(config)).round(2)
    assert file.read_bytes() == table.to_csv(index=False, lineterminator="\n").encode()
    file.write_bytes(b"mine")

    def replaced(*_: object) -> None:
        raise OSError("the plug was pulled")

    monkeypatch.setattr(os, "replace", replaced)
    with pytest.raises(OSError, match="plug"):
        write_comparison(config, read_results(config))
    assert file.read_bytes() == b"mine"


def test_shipping_copies_what_readers_need(config: Config, tmp_path: Path) -> None:
    target = tmp_path / "reference" / "smoke"
    (target / "old").mkdir(parents=True)
    shipped.write_comparison(config, read_results(config))
    paths = shipped.ship(config, target)
    assert {path.name for path in paths} == {
        RunFolder.of(with_overrides(config, {"row": row})).path.name for row in ROWS
    }
    assert not (target / "old").exists() and not list(target.rglob("compared.csv"))
    base, own = (run_of(config, "base", "mine"), RunFolder(target / "runs"))
    copy = RunFolder(own.path / base.path.name)
    files = {file.name for file in copy.path.iterdir()}
    heavy = {"weights-last.safetensors", "features.safetensors"}
    assert files == {*shipped.SMALL, shipped.COLLAPSE, *heavy}
    cal = own.path / run_of(config, "cal", "mine").path.name
    assert {file.name for file in cal.iterdir()} == {*shipped.SMALL, shipped.COLLAPSE}
    assert set(copy.features()) == set(shipped.SHIPPED_FEATURES["base"])
    weights, half = (load_network(folder).state_dict() for folder in (base, copy))
    assert all(half[k].dtype == v.dtype for k, v in weights.items())
    near = {"rtol": 1e-3, "atol": 1e-4}
    assert all(torch.allclose(half[k].float(), v.float(), **near) for k, v in weights.items())


def test_an_unfinished_run_is_not_shipped(config: Config, tmp_path: Path) -> None:
    (run_of(config, "base", "mine").path / "metrics.json").unlink()
    kept = tmp_path / "reference"
    kept.mkdir()
    with pytest.raises(RlqkitError, match="is not finished"):
        shipped.ship(config, kept)
    assert kept.is_dir()
