"""The runs behind the paper's published figures, as data: ``profiles/paper_runs.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from rlqkit.config import Config, build_section, parse_override, with_overrides
from rlqkit.errors import RlqkitError
from rlqkit.method.rows import find_row


@dataclass(frozen=True)
class PublishedFigure:
    """One figure claimed for a run, in percent; epoch 0 = not stated."""

    protocol: str
    rank1: float
    mAP: float
    source: str
    epoch: int = 0


@dataclass(frozen=True)
class PublishedRun:
    """One training of the paper's authors.

    Attributes:
        name: unique, starts with the data set.
        dataset: as the kit names it.
        row: row of the ablation that comes nearest.
        batch: source images of a batch in one process; 0 = not stated.
        seed: training seed; 0 = not stated.
        processes: that shared the training.
        teacher: run that teaches TAD.
        set: what differs from the paper profile besides, as ``key=value``.
        missing: what the kit lacks to train it; "" = nothing.
        note: what a reader should know.
        figures: claimed for it.
    """

    name: str
    dataset: str
    row: str
    batch: int = 0
    seed: int = 0
    processes: int = 2
    teacher: Literal["none", "celeb-base", "celeb-cap"] = "none"
    set: tuple[str, ...] = ()
    missing: str = ""
    note: str = ""
    figures: tuple[PublishedFigure, ...] = ()

    def overrides(self) -> dict[str, Any]:
        """What the run changes in the paper profile, by dotted key."""
        stated = {"seed": self.seed, "training.batch": self.batch}
        changes: dict[str, Any] = {"row": self.row} | {k: v for k, v in stated.items() if v}
        return changes | dict(parse_override(text) for text in self.set)

    def config(self, config: Config, own: Mapping[str, Any] | None = None) -> Config:
        """The run's configuration on top of a paper profile.

        Args:
            config: the profile for the run's data set.
            own: the user's overrides by dotted key, which win over the published values.
        """
        changes = {k: v for k, v in self.overrides().items() if k not in (own or {})}
        return with_overrides(config, changes)

    def command(self) -> str:
        """The command that trains it."""
        changes = {"data.dataset": self.dataset} | self.overrides()
        named = [f"--{key} {changes[key]}" for key in ("row", "seed") if key in changes]
        sets = [f"--set {k}={v}" for k, v in changes.items() if k not in ("row", "seed")]
        return " ".join(["rlqkit train --profile paper", *named, *sets])


def published_runs(dataset: str | None = None, text: str | None = None) -> list[PublishedRun]:
    """The published runs, in the order of the file.

    Args:
        dataset: only those of this data set.
        text: TOML in place of the shipped file.

    Raises:
        RlqkitError: the file has an unknown key, a wrong type, a name twice, an unknown row, a run
            without a figure, or TAD without a teacher (or the reverse).
    """
    if text is None:
        text = (resources.files("rlqkit") / "profiles" / "paper_runs.toml").read_text("utf-8")
    try:
        entries = tomllib.loads(text).get("run", [])
    except tomllib.TOMLDecodeError as error:
        raise RlqkitError(f"paper_runs.toml is not valid TOML: {error}") from None
    runs = [_read_run(entry, f"paper_runs.toml run[{i}].") for i, entry in enumerate(entries)]
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise RlqkitError(f"paper_runs.toml holds run {name} twice; give each its own name")
    return [run for run in runs if dataset in (None, run.dataset)]


def _read_run(entry: dict[str, Any], prefix: str) -> PublishedRun:
    values = dict(entry)
    figures = tuple(
        _section(PublishedFigure, figure, f"{prefix}figure[{i}].")
        for i, figure in enumerate(values.pop("figure", []))
    )
    run: PublishedRun = _section(PublishedRun, values | {"figures": ()}, prefix)
    if not figures:
        raise RlqkitError(f"{prefix}figure is missing: {run.name} needs a published figure")
    if find_row(run.row).uses_tad != (run.teacher != "none"):
        raise RlqkitError(f"{prefix}teacher = {run.teacher} does not go with row {run.row}")
    return PublishedRun(**(vars(run) | {"figures": figures}))


def _section(cls: type, values: dict[str, Any], prefix: str) -> Any:
    try:
        return build_section(cls, values, prefix)
    except TypeError as error:  # a field without a default is not there
        raise RlqkitError(f"{prefix.rstrip('.')} is incomplete: {error}") from None
