"""In what a configuration differs from the paper's: every field that can change a number.

A configuration may agree with either of two: the paper profile, or a published run of the same row
and data set (``paper_runs.toml``), as it was trained or in one process.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from rlqkit.config import Config, flatten, is_hashed, load_profile, to_dict
from rlqkit.method.rows import find_row
from rlqkit.runs.folder import what_counts
from rlqkit.runs.plan import planned_runs
from rlqkit.runs.published import published_runs

Difference = tuple[Any, Any]
"""A value and the paper's."""
NO_SETTINGS = ("row", "seed")
"""What a table lists side by side."""


def differences_from_paper(config: Config) -> dict[str, Difference]:
    """Dotted key → (value, the paper's) over all rows that a configuration plans.

    The configuration is compared with what comes nearest to it of the paper's, the profile or,
    where every row has one, the published runs. Fields that a row doesn't use don't count; the
    teacher's stand in ``teacher`` of the rows that it teaches.
    """
    paper = load_profile("paper", {"data.dataset": config.data.dataset})
    planned = {run.row: run for run in planned_runs(config) if not find_row(run.row).external}
    profile = {row: [replace(paper, row=row)] for row in planned}
    ways: list[Mapping[str, list[Config]]] = [profile]
    for one_device in (False, True):
        trained = _published(paper, planned, one_device)
        if planned.keys() <= trained.keys():
            ways.append(trained)
    found = []
    for way in ways:
        together: dict[str, Difference] = {}
        for row, run in planned.items():
            nearest: dict[str, Difference] = min(
                (_differences(run, wanted) for wanted in way[row]), key=len
            )
            together |= nearest
        found.append(together)
    return min(found, key=len)  # the profile, of equals


def in_words(differences: Mapping[str, Difference]) -> list[str]:
    """One phrase a difference, such as "training: 2 epochs instead of 200 epochs"."""
    return [
        WORDS.get(key, f"{key} = {{}} instead of {{}}").format(_text(mine), _text(theirs))
        if (key, mine) != ("model.weights", "none")
        else "no pretrained weights"
        for key, (mine, theirs) in differences.items()
    ]


WORDS = {
    "training": "training: {} instead of {}",
    "teacher": "teacher: {} instead of {}",
    "size": "images of {} instead of {} px",
    "model.backbone": "another network than {1}",
}
"""How differences are told that have a better phrase than key and values."""


def _published(paper: Config, rows: Container[str], one_device: bool) -> dict[str, list[Config]]:
    """Row → configurations of its published runs, for those of the rows that have any."""
    found: dict[str, list[Config]] = {}
    for run in published_runs(paper.data.dataset):
        if run.row not in rows:
            continue
        found.setdefault(run.row, []).append(run.config(paper, one_device=one_device))
    return found


def _differences(config: Config, reference: Config) -> dict[str, Difference]:
    mine, theirs = _readable(config), _readable(reference)
    return {key: (value, theirs[key]) for key, value in mine.items() if value != theirs[key]}


def _readable(config: Config) -> dict[str, Any]:
    """Whatever can change a run's numbers, by dotted key; lengths and image size are one each."""
    values = flatten(to_dict(what_counts(config)))
    found = {}
    for section in ("training", "teacher"):
        epochs, steps = (values.pop(f"{section}.{name}") for name in ("epochs", "steps"))
        found[section] = f"{epochs} epochs" if epochs else f"{steps} steps"
    found["size"] = f"{values.pop('data.height')} x {values.pop('data.width')}"
    counted = {k: v for k, v in values.items() if is_hashed(k) and k not in NO_SETTINGS}
    return found | counted


def _text(value: Any) -> str:
    return (", ".join(map(str, value)) if isinstance(value, list) else str(value)) or '""'
