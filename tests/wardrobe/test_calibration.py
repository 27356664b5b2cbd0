"""Calibration from run folders whose figures are known; severities that suit an input size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import rlqkit

from rlqkit.config import Config, load_profile, with_overrides
from rlqkit.data.imageset import EVERY_IMAGE
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.intervals import Interval, over_seeds
from rlqkit.evaluation.protocol import HQ
from rlqkit.method.degradations import (
    KINDS,
    PAPER_SEVERITY,
    SEVERITIES,
    SEVERITY_FROM_HEIGHT,
    damage_in_input,
    severity_for,
)
from rlqkit.runs.experiment import train_and_evaluate
from rlqkit.runs.folder import RunFolder
from rlqkit.runs.plan import teacher_config
from wardrobe import calibration
from wardrobe.calibration import MET, MISSED, OPEN, calibration_table

PEOPLE = 1000


def measured(config: Config, rule: str, **rank1: float) -> RunFolder:
    """A run folder whose CC and SC rank-1 are as given.

    rank1: of "CC", "SC" and each kind of degradation (CC), in 0..1.
    """
    folder = RunFolder.of(config)
    folder.start(config)
    tables = []
    for name, share in (*rank1.items(), (EVERY_IMAGE, rank1["CC"])):
        quality, protocol = (HQ, name) if name in ("CC", "SC", EVERY_IMAGE) else (name, "CC")
        hits = np.diff(np.floor(np.arange(PEOPLE + 1) * share + 1e-9)) > 0  # spread evenly
        tables.append(
            pd.DataFrame({
                "query": quality, "gallery": HQ, "protocol": protocol, "rule": rule,
                "identity": np.arange(PEOPLE), "file": [f"{k}.png" for k in range(PEOPLE)],
                "first_hit": np.where(hits, 0, 9), "average_precision": np.where(hits, 1.0, 0.1),
            })
        )  # fmt: skip
    folder.save_per_query(pd.concat(tables, ignore_index=True))
    return folder


@pytest.fixture
def config(tiny_wardrobe: Path, tmp_path: Path) -> Config:
    changes = {"row": "base", "data.root": str(tiny_wardrobe), "runtime.results": str(tmp_path)}
    return load_profile("smoke", changes)


def lines(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index(["row", "measured"])


# -------------------------------------------------------------------------------------- table


def test_a_well_calibrated_set_meets_every_target(config: Config) -> None:
    """Chance on the tiny set is a quarter, so LQ lies between a quarter and HQ."""
    damage = dict(zip(KINDS, (0.31, 0.32, 0.33), strict=True))
    folder = measured(config, "last", CC=0.42, SC=0.9, **damage)
    table = lines(calibration_table([folder]))
    assert len(table) == 3 + 2 * 4
    assert table.loc[("base", "CC rank-1, HQ"), "estimate"] == pytest.approx(42)
    assert table.loc[("base", "CC rank-1, HQ"), "verdict"] == MET
    assert table.loc[("base", "SC − CC rank-1, HQ"), "estimate"] == pytest.approx(48)
    assert table.loc[("base", "all LQ − HQ, CC rank-1"), "estimate"] == pytest.approx(-10, abs=0.5)
    assert table.loc[("base", "CC rank-1, motion blur → HQ"), "estimate"] == pytest.approx(32)
    gaps = [name for name in table.index if "−" in name[1]]
    assert (table.loc[gaps, "verdict"] == MET).all()
    assert (table["low"] <= table["estimate"]).all() and (table["estimate"] <= table["high"]).all()
    assert table["seed_low"].isna().all() and (table["seeds"] == 1).all()


def test_a_set_that_is_too_easy_misses(config: Config) -> None:
    folder = measured(config, "last", CC=0.8, SC=0.8, **dict.fromkeys(KINDS, 0.8))
    table = lines(calibration_table([folder]))
    assert table.loc[("base", "CC rank-1, HQ"), "verdict"] == MISSED
    assert table.loc[("base", "SC − CC rank-1, HQ"), "verdict"] == MISSED
    assert table.loc[("base", "all LQ − HQ, CC rank-1"), "verdict"] == MISSED
    assert table.loc[("base", "CC rank-1, all LQ → HQ"), "verdict"] == MET


def test_seeds_have_an_interval_of_their_own(config: Config) -> None:
    folders = [
        measured(with_overrides(config, {"seed": seed}), "last", CC=share, SC=0.9,
                 **dict.fromkeys(KINDS, 0.1))
        for seed, share in ((1, 0.30), (2, 0.40))
    ]  # fmt: skip
    line = lines(calibration_table(folders)).loc[("base", "CC rank-1, HQ")]
    assert line["seeds"] == 2 and line["estimate"] == pytest.approx(35)
    half = 12.7062 * 5  # Student's t of one degree of freedom, standard error 5 points
    assert [line["seed_low"], line["seed_high"]] == pytest.approx([35 - half, 35 + half], abs=0.01)
    assert np.isnan(over_seeds([0.3])).all()


def test_teacher_is_measured_at_the_epoch_that_is_used(config: Config) -> None:
    folder = measured(teacher_config(config), "best_validation", CC=0.5, SC=0.7)
    table = lines(calibration_table([folder]))
    assert list(table.index.get_level_values(1)) == [
        "CC rank-1, HQ", "CC mAP, HQ", "SC rank-1, HQ", "SC mAP, HQ"
    ]  # fmt: skip
    row = "teacher, unseen people"
    assert table.loc[(row, "CC rank-1, HQ"), "estimate"] == pytest.approx(50)
    assert table.loc[(row, "CC mAP, HQ"), "estimate"] == pytest.approx(55)
    assert table.loc[(row, "CC rank-1, HQ"), "verdict"] == MET
    assert table.loc[(row, "SC mAP, HQ"), "verdict"] == ""


@pytest.mark.parametrize(
    ("low", "high", "band", "above", "below"),
    [
        (0.30, 0.40, MET, MET, MISSED),
        (0.20, 0.24, MISSED, OPEN, OPEN),
        (0.10, 0.20, MISSED, MISSED, MET),
        (0.24, 0.40, OPEN, MET, MISSED),
        (0.45, 0.51, OPEN, MET, MISSED),
        (0.51, 0.60, MISSED, MET, MISSED),
    ],
)
def test_verdicts(low: float, high: float, band: str, above: str, below: str) -> None:
    interval = Interval((low + high) / 2, low, high, 10, 10)
    assert calibration.within_band(interval) == band
    limit = 0.22
    assert calibration.above(limit)(interval) == above
    assert calibration.below(limit)(interval) == below


def test_other_runs_are_refused(config: Config) -> None:
    rates = {"CC": 0.4, "SC": 0.9, **dict.fromkeys(KINDS, 0.3)}
    base = measured(config, "last", **rates)
    other = measured(with_overrides(config, {"row": "rlq"}), "last", **rates)
    with pytest.raises(RlqkitError, match=f"{other.path.name} is a run of another row"):
        calibration_table([base, other])
    with pytest.raises(RlqkitError, match="no run was given"):
        calibration_table([])
    small = measured(with_overrides(config, {"data.height": 64}), "last", **rates)
    older = measured(with_overrides(config, {"data.test": "wardrobe-v2-test2"}), "last", **rates)
    for different in (small, older):
        with pytest.raises(RlqkitError, match="differ in data set, test people or input size"):
            calibration_table([base, different])


def test_command_and_curves(config: Config, tmp_path: Path) -> None:
    folder = train_and_evaluate(with_overrides(config, {"training.steps": 2}), progress=False)
    outcome = rlqkit("data", "calibrate", folder.path, "--output", tmp_path / "out")
    assert outcome.code == 0 and "25 to 50" in outcome.out
    written = pd.read_csv(tmp_path / "out" / "calibration.csv")
    metrics = folder.metrics().query("rule == 'last' and query == 'HQ' and protocol == 'CC'")
    assert written["estimate"][0] == pytest.approx(100 * metrics["rank1"].item(), abs=1e-3)
    curves = pd.read_csv(tmp_path / "out" / "severity_curves.csv")
    assert set(curves["model"]) == {"32 × 16"} and set(curves["kind"]) == set(KINDS)
    assert (curves.groupby("kind").size() == 5).all()
    clean = curves[curves["level"] == 0]
    assert clean["cosine"].to_numpy() == pytest.approx(1, abs=1e-3)


def test_base_runs_of_other_sizes(config: Config, tmp_path: Path) -> None:
    small = with_overrides(config, {"training.steps": 2})
    folder = train_and_evaluate(small, progress=False)
    large = replace(small, profile="laptop", data=replace(small.data, height=64, width=32))
    assert calibration.base_runs_by_size(large) == []  # smoke doesn't count
    other = replace(small, profile="quick")
    train_and_evaluate(other, progress=False)
    assert calibration.base_runs_by_size(large) == [RunFolder.of(other)]
    assert calibration.base_runs_by_size(small) == [folder]


def test_one_older_run_in_the_folder_is_left_out_and_named(config: Config) -> None:
    """Whatever another version wrote there, the other runs count."""
    quick = replace(config, profile="quick")
    mine = with_weights(measured(quick, "last", CC=0.4))
    older = with_weights(measured(with_overrides(quick, {"seed": 2}), "last", CC=0.4))
    for damage in ('{"row": "base", "flavour": 1}', "not JSON", "[]"):
        (older.path / "config.json").write_text(damage, encoding="utf-8")
        said: list[str] = []
        assert calibration.base_runs_by_size(quick, said.append) == [mine]
        assert len(said) == 1 and "left out: " in said[0] and older.path.name in said[0]


def test_a_run_that_is_not_finished_is_no_base_run(config: Config) -> None:
    quick = replace(config, profile="quick")
    folder = RunFolder.of(quick)
    folder.start(quick)
    assert calibration.base_runs_by_size(quick) == []
    assert calibration.base_runs_by_size(replace(quick, seed=2)) == []


def with_weights(folder: RunFolder) -> RunFolder:
    """Makes a run folder look finished, with features."""
    for name in ("metrics.json", "weights-last.safetensors", "features.safetensors"):
        (folder.path / name).touch()
    return folder


# ------------------------------------------------------------------------------------ severity


def test_severity_for_an_input_height() -> None:
    assert severity_for(384) == severity_for(256) == "paper"
    assert severity_for(255) == severity_for(128) == severity_for(64) == "small-input"
    assert set(SEVERITY_FROM_HEIGHT.values()) == set(SEVERITIES)
    with pytest.raises(RlqkitError, match="input height = 0"):
        severity_for(0)


def test_profiles_use_what_suits_their_input() -> None:
    for name in ("smoke", "quick", "laptop", "paper"):
        config = load_profile(name)
        assert config.quality.severity == severity_for(config.data.height), name


@pytest.mark.parametrize("size", [(128, 64), (64, 32)])
def test_the_damage_is_nearer_to_the_papers_after_the_resize(size: tuple[int, int]) -> None:
    """Than that of the paper's own ranges would be; for motion blur the ranges are the same."""
    wanted = damage_in_input(PAPER_SEVERITY, 160, (384, 192))
    chosen = damage_in_input(SEVERITIES[severity_for(size[0])], 160, size)
    papers = damage_in_input(PAPER_SEVERITY, 160, size)
    for kind in ("pixelation", "out_of_focus"):
        for end in (0, 1):
            assert papers[kind][end] < chosen[kind][end]
        miss, alternative = (abs(np.log(d[kind][1] / wanted[kind][1])) for d in (chosen, papers))
        assert miss < alternative, kind
    assert chosen["motion_blur"] == papers["motion_blur"]


def test_damage_by_hand() -> None:
    """384 x 192 from a native height of 192: blocks of 192/63..192/16, blurs doubled."""
    found = damage_in_input(PAPER_SEVERITY, 192, (384, 192))
    assert found["pixelation"] == pytest.approx((192 / 63, 12))
    assert found["motion_blur"] == (16, 38) and found["out_of_focus"] == pytest.approx((0.2, 4))
