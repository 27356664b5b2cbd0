"""The runs behind the paper's published figures, as data: ``profiles/paper_runs.toml``.

A published run is trained as its authors trained it: with the released code's habits, their number
of processes and their choice of the best epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from rlqkit.config import (
    Config,
    TrainingConfig,
    build_section,
    load_profile,
    packaged_table,
    parse_override,
    with_overrides,
)
from rlqkit.errors import RlqkitError
from rlqkit.method.rows import find_row

TEACHERS_PROCESSES = 2
"""That trained the published teachers. A student's processes train its teacher too, with a batch
of the same size over all of them, or the next smaller one that they can share."""
INSTANCES = TrainingConfig.instances


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
        row: what is trained: a row of the ablation or a published variant.
        batch: source images of a batch in one process; 0 = not stated.
        seed: training seed; 0 = not stated.
        processes: that shared the training.
        teacher: run that teaches TAD.
        usual: what every published run, or every one with this teacher, sets, as ``key=value``.
        set: what differs from the paper profile besides, as ``key=value``.
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
    usual: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    note: str = ""
    figures: tuple[PublishedFigure, ...] = ()

    def overrides(self, one_device: bool = False) -> dict[str, Any]:
        """What the run changes in the paper profile, by dotted key.

        Args:
            one_device: in one process that takes the batches of all of them at once. Each of its
                steps sees the images that the processes see together; batch statistics and the
                triplet's gradient are then those of the joined batch.
        """
        stated = {"seed": self.seed, "training.batch": self.batch}
        changes: dict[str, Any] = {"row": self.row} | {k: v for k, v in stated.items() if v}
        changes |= dict(parse_override(text) for text in (*self.usual, *self.set))
        usual = _profile(self.dataset)
        processes = 1 if one_device else self.processes
        if one_device:
            batch = changes.get("training.batch", usual.training.batch)
            changes["training.batch"] = self.processes * batch
        else:
            changes["training.processes"] = processes
        if self.teacher != "none":
            whole = TEACHERS_PROCESSES * changes.get("teacher.batch", usual.teacher.batch)
            changes["teacher.batch"] = whole // processes // INSTANCES * INSTANCES
        return changes

    def config(
        self, config: Config, own: Mapping[str, Any] | None = None, one_device: bool = False
    ) -> Config:
        """The run's configuration on top of a paper profile.

        Args:
            config: the profile for the run's data set.
            own: the user's overrides by dotted key, which win over the published values.
            one_device: as in ``overrides``.
        """
        changes = {k: v for k, v in self.overrides(one_device).items() if k not in (own or {})}
        return with_overrides(config, changes)

    def command(self, one_device: bool = False) -> str:
        """The command that trains it, by torchrun in its processes, or in one (``overrides``)."""
        changes = {"data.dataset": self.dataset} | self.overrides(one_device)
        named = [f"--{key} {changes[key]}" for key in ("row", "seed") if key in changes]
        sets = [f"--set {k}={v}" for k, v in changes.items() if k not in ("row", "seed")]
        start = f"torchrun --standalone --nproc-per-node {self.processes} -m "
        program = "rlqkit train --profile paper"
        return " ".join([("" if one_device else start) + program, *named, *sets])


@dataclass(frozen=True)
class Quoted:
    """A pair of figures as the paper's authors quote them: each from the epoch that had the best.

    rank1, mAP: 0..1. Epochs count from 1, as in their logs; of equals the first.
    """

    rank1: float
    rank1_epoch: int
    mAP: float
    mAP_epoch: int

    def __str__(self) -> str:
        where = f"and mAP of epoch {self.mAP_epoch}" * (self.rank1_epoch != self.mAP_epoch)
        return (
            f"rank-1 {100 * self.rank1:.1f}, mAP {100 * self.mAP:.1f}: the best of any epoch on "
            f"the test set itself, rank-1 of epoch {self.rank1_epoch} {where}".rstrip()
        )


def as_quoted(history: Iterable[Mapping[str, Any]], rule: str = "best_test") -> Quoted | None:
    """What the authors would quote of a run; None if its epochs weren't measured by the rule.

    Args:
        history: records of a run, see ``Training.history``.
        rule: selection rule whose test counts.
    """
    measured = [record for record in history if not math.isnan(record.get(rule, math.nan))]
    if not measured:
        return None
    rank1 = max(measured, key=lambda record: record[f"{rule}_rank1"])  # the first of equals
    mean = max(measured, key=lambda record: record[rule])
    return Quoted(rank1[f"{rule}_rank1"], rank1["epoch"] + 1, mean[rule], mean["epoch"] + 1)


def published_runs(dataset: str | None = None, text: str | None = None) -> list[PublishedRun]:
    """The published runs, in the order of the file.

    Args:
        dataset: only those of this data set.
        text: TOML in place of the shipped file.

    Raises:
        RlqkitError: the file has an unknown key, a wrong type, a name twice, an unknown row, a run
            without a figure, or TAD without a teacher (or the reverse).
    """
    table = packaged_table("paper_runs.toml", text)
    usual = _read_usual(table)
    runs = [
        _read_run(entry, usual, f"paper_runs.toml run[{i}].")
        for i, entry in enumerate(table.get("run", []))
    ]
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise RlqkitError(f"paper_runs.toml holds run {name} twice; give each its own name")
    return [run for run in runs if dataset in (None, run.dataset)]


@cache
def _profile(dataset: str) -> Config:
    return load_profile("paper", {"data.dataset": dataset})


def _read_usual(table: dict[str, Any]) -> dict[str, list[str]]:
    """Teacher's name, or "all" → what such runs set."""
    usual: dict[str, list[str]] = table.get("usual", {})
    unknown = [key for key in table if key not in ("usual", "run")]
    unknown += [f"usual.{key}" for key in usual if key not in ("all", "celeb-base", "celeb-cap")]
    if unknown:
        raise RlqkitError(f"paper_runs.toml has an unknown key {unknown[0]}; mend or remove it")
    for name, settings in usual.items():
        if not isinstance(settings, list) or not all(isinstance(text, str) for text in settings):
            raise RlqkitError(f'paper_runs.toml usual.{name} must be a list such as ["key=value"]')
    return usual


def _read_run(entry: dict[str, Any], usual: dict[str, list[str]], prefix: str) -> PublishedRun:
    if "usual" in entry:
        raise RlqkitError(f"{prefix}usual is told apart, in [usual]; write {prefix}set")
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
    shared = (*usual.get("all", ()), *usual.get(run.teacher, ()))
    return PublishedRun(**(vars(run) | {"figures": figures, "usual": shared}))


def _section(cls: type, values: dict[str, Any], prefix: str) -> Any:
    try:
        return build_section(cls, values, prefix)
    except TypeError as error:  # a field without a default is not there
        raise RlqkitError(f"{prefix.rstrip('.')} is incomplete: {error}") from None
