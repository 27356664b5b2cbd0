"""The workflow's commands for tests: a very small matrix of the smoke profile."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = ROOT / "workflow" / "Snakefile"
SETTINGS = {
    # three runs, each of several phases of a second or so, so that one can be killed in its middle
    "reproduce.rows": ["base", "tad"], "training.steps": 150, "training.batch": 4,
    "teacher.steps": 8, "teacher.batch": 8, "training.evaluations": 1,
    "data.height": 96, "data.width": 48, "model.channels": [16, 16, 16, 16],
    "evaluation.selection": ["last"], "teacher.selection": "last",
}  # fmt: skip


def have_snakemake() -> bool:
    """Whether snakemake and its Slurm executor are installed beside this Python."""
    needed = ("snakemake", "snakemake_executor_plugin_slurm")
    return all(importlib.util.find_spec(name) is not None for name in needed)


def overrides(data: Path, **changes: object) -> list[str]:
    """`key=value` of the matrix on a data set's folder."""
    roots = {"data.root": str(data), "data.external_root": str(data)}
    return [f"{key}={json.dumps(value)}" for key, value in (SETTINGS | roots | changes).items()]


def options(results: Path, sets: list[str]) -> list[str]:
    """Options of `rlqkit reproduce` and `rlqkit plan`."""
    pairs = [option for text in sets for option in ("--set", text)]
    return ["--profile", "smoke", "--results", str(results), *pairs]


def write_settings(file: Path, results: Path, sets: list[str]) -> Path:
    """The same as a file for the workflow; no notebooks."""
    settings = {"profile": "smoke", "results": str(results), "set": sets, "notebooks": False}
    file.write_text(json.dumps(settings), encoding="utf-8")
    return file


def snakemake(folder: Path, settings: Path, *more: str) -> list[str]:
    """A call of the workflow that works in `folder`."""
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--directory",
        str(folder), "--configfile", str(settings), *more,
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """This process's, with the kit on the path for everything that a job starts."""
    path = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *([path] if path else [])])}
