"""Run folders with untrained weights on the tiny data set, for the explorer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rlqkit.config import load_profile
from rlqkit.method.rows import find_row
from rlqkit.runs.backbone import build_network
from rlqkit.runs.folder import RunFolder
from rlqkit.runs.student import seed_everything


def untrained_run(data: Path, results: Path, row: str, **changes: Any) -> RunFolder:
    """A run folder with configuration and random weights, never evaluated.

    Args:
        data: the tiny data set.
        results: where runs go.
        row: of the ablation.
        **changes: configuration keys, ``__`` for the dot.
    """
    keys = {name.replace("__", "."): value for name, value in changes.items()}
    given = {
        "data.root": str(data),
        "data.external_root": str(data),
        "runtime.results": str(results),
    }
    config = load_profile("smoke", {"row": row, "training.precision": "32-true", **given, **keys})
    folder = RunFolder.of(config)
    seed_everything(config.seed)
    network = build_network(replace(config.model, weights="none"), find_row(row).branch_names)
    folder.start(config)
    folder.save_network(network.state_dict(), "last")
    return folder
