"""Fixtures of the explorer's tests: one exploration of two untrained networks, computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_runs import untrained_run

from rlqkit.evaluation.maps import widest_plane
from rlqkit.report.explorer import maps
from rlqkit.report.explorer.gather import Exploration, explore
from rlqkit.runs.folder import RunFolder


@pytest.fixture(scope="session")
def untrained_runs(
    tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[RunFolder]:
    """Runs of base and RLQ with random weights on the tiny data set; read only."""
    results = tmp_path_factory.mktemp("explorer")
    return [untrained_run(tiny_wardrobe, results, row) for row in ("base", "rlq")]


def plane(features: Any, start: Any, seed: int = 0) -> np.ndarray:
    """Stands for ``maps.lay_out`` where any map will do: UMAP has to be compiled first."""
    return widest_plane(features).place(features).astype(np.float64)


@pytest.fixture
def quick_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps without UMAP."""
    monkeypatch.setattr(maps, "lay_out", plane)


@pytest.fixture(scope="session")
def exploration(untrained_runs: list[RunFolder]) -> Exploration:
    """What both networks make of every test image, two levels a degradation; read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "lay_out", plane)
        return explore(untrained_runs, levels=2)
