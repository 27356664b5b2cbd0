"""Notebooks on a fresh clone, where nothing has been trained: those that take a network apart.

The weights and features that are shipped have to be enough for them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlqkit.config import load_profile
from rlqkit.report.execute import execute_notebooks
from rlqkit.runs.folder import reference_folder

NAMES = ("05_network_and_base_model", "06_coarse_attributes", "07_cap_and_tad", "08_evaluation")
LARGEST = 25e6
"""Bytes of all weights and features that are shipped for notebooks."""


def test_what_is_shipped_for_notebooks_is_small() -> None:
    files = list(reference_folder("quick").rglob("*.safetensors"))
    assert files and sum(file.stat().st_size for file in files) <= LARGEST


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_shipped_runs_are_enough(name: str, tmp_path: Path) -> None:
    config = load_profile("quick", {"runtime.results": str(tmp_path), "runtime.jobs": 1})
    (file,) = execute_notebooks(config, only=[name])
    assert "the shipped one is shown" in json.dumps(json.loads(file.read_text(encoding="utf-8")))
    assert not list(tmp_path.rglob("metrics.json"))  # nothing was trained
