"""Which runs belong to a configuration: every row and seed, and the teacher they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from rlqkit.config import (
    CapConfig,
    CompatConfig,
    Config,
    EvaluationConfig,
    RecolouringConfig,
    dataset_settings,
    flatten,
    get,
)
from rlqkit.errors import RlqkitError
from rlqkit.method.rows import ROWS, Row, find_row
from rlqkit.runs.folder import run_id

NEVER = "epoch 1000000"


def planned_runs(config: Config) -> list[Config]:
    """Configurations of all runs: the teacher first where a row needs it, then rows by seed.

    Raises:
        RlqkitError: an unknown row, or no seed.
    """
    rows = [find_row(name) for name in (config.reproduce.rows or ROWS)]
    if not config.reproduce.seeds:
        raise RlqkitError("reproduce.seeds is empty; give at least one seed")
    plan = [
        replace(config, row=row.name, seed=seed) for seed in config.reproduce.seeds for row in rows
    ]
    taught = [run for run, row in zip(plan, rows, strict=False) if _has_shared_teacher(row)]
    return [teacher_config(taught[0]), *plan] if taught else plan


def _has_shared_teacher(row: Row) -> bool:
    """A row that begins with another one has that for its teacher."""
    return row.uses_tad and not row.begins_with


def teacher_config(config: Config) -> Config:
    """The configuration of the teacher's run: base model on the external set, with CAP or without.

    What the teacher does not see (attributes, recolouring, seeds of the student) is set to its
    default, so that all students of a profile share one teacher. A row that begins with another
    has that one, of the same seed, for its teacher.
    """
    if begins_with := find_row(config.row).begins_with:
        return replace(config, row=begins_with)
    teacher, row = config.teacher, find_row(config.teacher.row)
    training = replace(
        config.training, epochs=teacher.epochs, steps=teacher.steps, batch=teacher.batch,
        adversarial_from=config.training.adversarial_from if teacher.adversarial else NEVER,
    )  # fmt: skip
    selection = tuple(dict.fromkeys(("last", teacher.selection)))
    evaluation = replace(config.evaluation, selection=selection)
    if selection == ("last",):  # nothing is chosen
        evaluation = replace(evaluation, selection_by=EvaluationConfig.selection_by)
    return replace(
        config, row=row.name, seed=teacher.seed, training=training, evaluation=evaluation,
        cap=config.cap if row.uses_pose else CapConfig(),
        recolouring=config.recolouring if row.recolour else RecolouringConfig(),
        compat=CompatConfig(
            preset=config.compat.preset, worker_seeds=config.compat.worker_seeds,
            kl_reduction=config.compat.kl_reduction,
            triplet_gradient=config.compat.triplet_gradient,
            mask_overlap=config.compat.mask_overlap if row.recolour else "",
        ),
    )  # fmt: skip


def teacher_row(config: Config) -> Row:
    """The row of what teaches a run with TAD."""
    return find_row(find_row(config.row).begins_with or config.teacher.row)


def trained_config(config: Config) -> Config:
    """The configuration as a training takes it: a row that goes on has a length of its own.

    Raises:
        RlqkitError: that length is none.
    """
    if not find_row(config.row).begins_with:
        return config
    own = config.continuing
    if own.epochs < 1:
        raise RlqkitError(f"continuing.epochs = {own.epochs}; a row that goes on needs 1 or more")
    training = replace(
        config.training, epochs=own.epochs, steps=0, learning_rate=own.learning_rate,
        adversarial_from="epoch 0",
    )  # fmt: skip
    return replace(config, training=training)


def averaged_configs(config: Config) -> list[Config]:
    """The two runs whose weights a row averages; [] for every other row."""
    row = find_row(config.row)
    return [
        replace(config, row=name, seed=config.seed + shift)
        for name, shift in zip(row.mean_of, row.mean_seeds, strict=False)
    ]


def waits_for(config: Config) -> list[Config]:
    """The runs that one needs first: those it averages, what it begins with, its teacher."""
    teacher = [teacher_config(config)] if find_row(config.row).follows else []
    return [*averaged_configs(config), *teacher]


def with_all_before(configs: Iterable[Config]) -> list[Config]:
    """Runs, and before each whatever it waits for, directly or not; none twice."""
    found: dict[str, Config] = {}

    def add(config: Config) -> None:
        for other in waits_for(config):
            add(other)
        found.setdefault(run_id(config), config)

    for config in configs:
        add(config)
    return list(found.values())


def settings_lines(config: Config) -> list[str]:
    """What the paper profile sets because of the data set, and where the user decided otherwise."""
    settings = dataset_settings(config.data.dataset)
    if config.profile != "paper":
        return []
    if not settings:
        return [
            f"no settings of its own for data set {config.data.dataset}: the profile's hold, "
            f"quality.mix = {config.quality.mix} among them"
        ]
    lines = [f"set for data set {config.data.dataset}, any --set wins:"]
    for key, value in flatten(settings.get("set", {})).items():
        shown, mine = _text(value), _text(get(config, key))
        lines.append(f"  {key} = {mine}" + (f" (yours, instead of {shown})" * (mine != shown)))
    return lines + [f"  {reason}" for reason in settings.get("why", [])]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
