"""The numbers of a smoke run and the shipped tables, against digests of before the move.

On the kind of processor that the digests were recorded on, bytes must be equal; elsewhere
convolutions round differently, so losses are compared with a tolerance.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import rlqkit

from rlqkit.config import load_profile
from rlqkit.report.tables import write_tables
from rlqkit.runs.environment import environment
from rlqkit.runs.folder import reference_folder

RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "same_bytes.json").read_text())


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def machine() -> str:
    """What decides how a convolution rounds, as far as a program can tell."""
    kind = torch.backends.cpu.get_cpu_capability()
    return f"{environment()['processor']}, {kind}, {platform.machine()}"


@pytest.mark.slow
@pytest.mark.parametrize("row", ["rlq", "base-lq"])
def test_a_smoke_run_gives_the_recorded_numbers(row: str, tmp_path: Path) -> None:
    options = ["--profile", "smoke", "--results", str(tmp_path)]
    precision = ["--set", "training.precision=32-true"]
    assert rlqkit("train", "--row", row, *options, *precision).code == 0
    (run,) = tmp_path.glob(f"smoke/runs/{row}-*")
    recorded = RECORDED["smoke"][row]
    totals = [record["total"] for record in json.loads((run / "history.json").read_text())]
    np.testing.assert_allclose(totals, recorded["totals"], rtol=2e-3)
    if machine() == RECORDED["machine"]:
        for name in ("metrics.json", "per_query.parquet"):
            assert sha256(run / name) == recorded[name], name


@pytest.mark.parametrize("profile", ["quick", "laptop"])
def test_shipped_tables_made_anew_are_the_same_bytes(profile: str, tmp_path: Path) -> None:
    shutil.copytree(reference_folder(profile) / "runs", tmp_path / profile / "runs")
    written = write_tables(load_profile(profile, {"runtime.results": str(tmp_path)}))
    made = {file.name: sha256(file) for file in written}
    assert RECORDED["tables"][profile].items() <= made.items()
