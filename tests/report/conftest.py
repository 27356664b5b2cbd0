"""Fixtures of the report's tests: one exploration of two untrained networks, computed once."""

from __future__ import annotations

from pathlib import Path

import pytest
from explorer_runs import untrained_run

from rlqkit.report.explorer.gather import Exploration, explore
from rlqkit.runs.folder import RunFolder


@pytest.fixture(scope="session")
def untrained_runs(
    tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[RunFolder]:
    """Runs of base and RLQ with random weights on the tiny data set; read only."""
    results = tmp_path_factory.mktemp("explorer")
    return [untrained_run(tiny_wardrobe, results, row) for row in ("base", "rlq")]


@pytest.fixture(scope="session")
def exploration(untrained_runs: list[RunFolder]) -> Exploration:
    """What both networks make of every test image, two levels a degradation; read only."""
    return explore(untrained_runs, levels=2)
