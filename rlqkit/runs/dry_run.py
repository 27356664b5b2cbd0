"""The plan of a configuration as text, and a dry run: one step of every kind of run."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from rlqkit.config import Config, config_hash, get
from rlqkit.errors import RlqkitError, one_line
from rlqkit.method.rows import find_row
from rlqkit.method.training import PlannedPhase
from rlqkit.progress import Say
from rlqkit.runs.backbone import build_network
from rlqkit.runs.costs import THROUGHPUT, estimate, sizes_of
from rlqkit.runs.device import side_by_side
from rlqkit.runs.experiment import prepare, resolve
from rlqkit.runs.plan import planned_runs, settings_lines, teacher_row, with_all_before
from rlqkit.runs.published import PublishedRun, published_runs


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        name: what the table calls it.
        config: its configuration.
        teacher: who teaches TAD; "none" for rows without.
        published: the published run behind it, if there is one.
    """

    name: str
    config: Config
    teacher: str = "none"
    published: PublishedRun | None = None


def plan_of(config: Config) -> list[PlannedRun]:
    """What ``rlqkit reproduce`` trains with a configuration, with what its runs wait for."""
    return [
        PlannedRun(
            find_row(run.row).title, run,
            teacher=teacher_row(run).name if find_row(run.row).uses_tad else "none",
        )
        for run in with_all_before(planned_runs(config))
    ]  # fmt: skip


def published_plan(config: Config, own: Mapping[str, Any] | None = None) -> list[PlannedRun]:
    """The runs behind the published figures on a configuration's data set; [] if there are none.

    Args:
        config: the paper profile for a data set.
        own: the user's overrides by dotted key, which win over the published values.
    """
    return [
        PlannedRun(run.name, run.config(config, own), run.teacher, run)
        for run in published_runs(config.data.dataset)
    ]


def plan_table(plan: Sequence[PlannedRun], throughput: float = THROUGHPUT) -> pd.DataFrame:
    """One line per run: row, seed, K, batch, length, images, teacher, estimated hours, figures.

    Runs that differ in the seed alone share a line; its hours are those of one run.

    Raises:
        RlqkitError: sizes of the data sets are neither on disk nor published.
    """
    records = []
    alike: dict[str, list[PlannedRun]] = {}
    for run in plan:
        alike.setdefault(run.name, []).append(run)
    for run, *others in alike.values():
        config, row = run.config, find_row(run.config.row)
        cost = estimate(config, sizes_of(config), throughput)
        seeds = ", ".join(str(r.config.seed) for r in (run, *others))
        if run.published and not run.published.seed:
            seeds = "not stated"
        record: dict[str, Any] = {
            "run": run.name, "row": row.name, "seed": seeds,
            "K": config.cap.clusters if row.uses_pose else "",
            "batch": f"{config.training.batch} x {config.training.processes}",
            "epochs": cost.epochs, "steps": cost.steps, "images": cost.images,
            "teacher": run.teacher, "hours (est.)": round(cost.hours, 1 if cost.hours >= 1 else 3),
        }  # fmt: skip
        if run.published:
            first = run.published.figures[0]
            claimed = f"{first.rank1:.1f} / {first.mAP:.1f} {first.protocol}"
            record |= {"claimed rank-1 / mAP": claimed, "source": first.source}
        records.append(record)
    return pd.DataFrame(records)


def plan_parts(
    config: Config, own: Mapping[str, Any] | None = None, throughput: float = THROUGHPUT
) -> Iterator[str]:
    """The plan as text, part by part as it is found: settings, published runs, own runs, notes.

    Args:
        config: profile with its overrides.
        own: the user's overrides by dotted key, which win over the published values.
        throughput: images a second, see ``estimate``.

    Raises:
        RlqkitError: sizes of the data sets are neither on disk nor published.
    """
    if config.profile == "paper":
        yield "\n".join(settings_lines(config))
        yield from _published_parts(config, own, throughput)
    grid, sizes = plan_of(config), sizes_of(config)
    hours = sum(estimate(run.config, sizes, throughput).hours for run in grid)
    yield (
        f"Runs of `rlqkit reproduce` with this configuration: {len(grid)}, together about "
        f"{hours:.3g} hours (estimate; batch = images of a process x processes)\n"
        f"{_show(grid, throughput)}"
    )
    if gpus := side_by_side(config.runtime.jobs):
        yield gpus
    counted = "counted on disk" if sizes.exact else "as published (the data set isn't there)"
    measured = ", as measured on two CPU cores (bf16, channels_last); give your own with "
    measured = f"{measured}--throughput" if throughput == THROUGHPUT else ""
    yield (
        f"Sizes {counted}. Hours are an estimate: arithmetic of all passes (images forward and "
        f"backward, teacher and evaluations forward) at {throughput:g} images/s for one ResNet-50 "
        f"branch at 384 x 192{measured}. Small networks and images take longer than their "
        "arithmetic."
    )


ONE_PROCESS = (
    "Two commands a run: with the processes that it had, or in one process with the whole batch. "
    "One process sees the same images in every step; its batch statistics, the triplet's gradient "
    "and the draws of the augmentation are not those of separate processes."
)
SELECTION = (
    "best_test is chosen as the authors chose: by rank-1 on the test set itself; the best mAP is "
    "quoted beside it from whichever epoch had it."
)


def _published_parts(
    config: Config, own: Mapping[str, Any] | None, throughput: float
) -> Iterator[str]:
    published = published_plan(config, own)
    if not published:
        yield f"No published figure is known for {config.data.dataset}."
        return
    yield (
        f"Runs behind the published figures on {config.data.dataset} "
        f"(batch = images of a process x processes):\n{_show(published, throughput)}"
    )
    yield f"{SELECTION}\n{ONE_PROCESS}"
    yield "\n".join(_notes(run.published, run.config) for run in published if run.published)


def dry_run(plan: Sequence[PlannedRun], say: Say = print) -> int:
    """Builds model and loaders and takes one step of each kind of run; writes nothing.

    Runs that differ in the seed alone are rehearsed once. An untrained network stands in for the
    teacher. Of a run of several processes, one process's step is taken.

    Args:
        plan: runs to rehearse.
        say: receives one line per run as it is done.

    Returns:
        Number of runs that failed.
    """
    failed = 0
    seen: set[str] = set()
    for run in plan:
        key = config_hash(replace(run.config, seed=1))
        if key in seen:
            continue
        seen.add(key)
        started = time.perf_counter()
        try:
            done = rehearse(run.config)
        except (RlqkitError, OSError, RuntimeError) as error:
            failed += 1
            say(f"FAILED    {run.name}: {one_line(error)}")
        else:
            say(f"ok        {run.name}: {done}, {time.perf_counter() - started:.1f} s")
        gc.collect()  # a network of ResNet-50 size shouldn't outlive its turn
    return failed


def rehearse(config: Config) -> str:
    """One step of every kind that a run takes; returns what was done.

    Raises:
        RlqkitError: data, labels, weights or configuration don't fit.
    """
    row = find_row(config.row)
    data = replace(config.data, cache_megabytes=0)  # a step needs a batch, not the data set
    processes = config.training.processes
    config = replace(config, data=data, training=replace(config.training, processes=1))
    teacher = None
    if row.uses_tad:
        model = replace(config.model, weights="none")
        branches = teacher_row(config).branch_names
        teacher = build_network(model, branches).eval().requires_grad_(False)
    training = prepare(resolve(config), teacher)
    training.validate = None
    kinds = dict.fromkeys(phase.kind for phase in training.phases)
    training.phases = [PlannedPhase(0, kind, 1) for kind in kinds]
    training.total_steps = len(training.phases)
    history = training.run(progress=False)
    done = ", ".join(f"{r['phase']} step of {r['images']} images" for r in history)
    return done + f" (one of {processes} processes)" * (processes > 1)


def _notes(run: PublishedRun, config: Config) -> str:
    """The commands of a published run, what they set, and its further figures."""
    lines = [f"{run.name}: {run.command()}"]
    if run.processes > 1:
        lines.append(f"one process: {run.command(one_device=True)}")
    for key, value in run.overrides().items():
        if get(config, key) != value:
            lines.append(f"yours: {key} = {get(config, key)}, instead of {value}")
    lines += [run.note] if run.note else []
    lines += [
        f"also claimed: {f.rank1:.1f} / {f.mAP:.1f} {f.protocol}, {f.source}"
        for f in run.figures[1:]
    ]
    return "\n    ".join(lines)


def _show(plan: Sequence[PlannedRun], throughput: float) -> str:
    return str(plan_table(plan, throughput).to_string(index=False))
