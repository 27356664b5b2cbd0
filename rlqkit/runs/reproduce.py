"""Training of a whole profile: every row and seed, and what they wait for.

Trainings run side by side in ``runtime.jobs`` processes. The teacher goes first, rows without TAD
fill the other processes meanwhile, rows with TAD follow. Finished runs are skipped and killed
ones resumed, so the command can be repeated at any time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

import pandas as pd

from rlqkit.config import Config, from_dict, to_dict
from rlqkit.data import registry
from rlqkit.data.loaders import data_places
from rlqkit.errors import RlqkitError, one_line
from rlqkit.evaluation.protocol import headline_name
from rlqkit.method.rows import find_row
from rlqkit.progress import Say, minutes
from rlqkit.runs.device import precision_in_force
from rlqkit.runs.experiment import train_and_evaluate
from rlqkit.runs.folder import RunFolder, run_id
from rlqkit.runs.plan import with_all_before
from rlqkit.runs.workers import workers


def train_all(plan: Sequence[Config], jobs: int, say: Say = print) -> list[RunFolder]:
    """Runs configurations in ``jobs`` processes; rows that an external teacher has a part in wait.

    Raises:
        RlqkitError: a run failed; the others were finished first.
    """
    todo = [config for config in plan if not RunFolder.of(config).finished]
    skipped = len(plan) - len(todo)
    if skipped:
        say(f"{skipped} of {len(plan)} runs are finished already")
    if not todo:
        return [RunFolder.of(config) for config in plan]
    means = [config for config in todo if find_row(config.row).mean_of]  # last: of other rows
    trained = [config for config in todo if config not in means]
    independent = [config for config in trained if not find_row(config.row).follows]
    dependent = [config for config in trained if find_row(config.row).follows] + means
    say(f"{len(todo)} runs to do, {jobs} side by side")
    for config in todo:
        precision_in_force(config)  # found out here, undisturbed, for all workers
    failures: list[str] = []
    with workers(jobs) as pool:
        futures = {pool.submit(_run_in_worker, to_dict(c)): c for c in independent}
        missing = _failed_teachers(futures)
        ready = [c for c in dependent if missing.isdisjoint(map(run_id, with_all_before([c])))]
        futures |= {pool.submit(_run_in_worker, to_dict(c)): c for c in ready}
        for future in as_completed(futures):
            _report(future, futures[future], say, failures)
    if failures:
        raise RlqkitError("; ".join(failures))
    return [RunFolder.of(config) for config in plan]


def check_data(config: Config, say: Say) -> None:
    """Data sets must be there before anything is trained, the shipped ones byte for byte.

    Nobody publishes checksums of the real ones; `rlqkit data check` looks at those.
    """
    for name, root in dict.fromkeys(place[:2] for place in data_places(config)):
        shipped = registry.is_rendered(name)
        benchmark = registry.load(name, Path(root) if root else None, verify=shipped)
        images = sum(len(images) for images in benchmark.sets.values())
        say(f"data set {name}: {images} images" + ", checksums agree" * shipped)


def _run_in_worker(values: dict[str, Any]) -> float:
    started = time.perf_counter()
    train_and_evaluate(from_dict(values))
    return time.perf_counter() - started


def _failed_teachers(futures: dict[Future[float], Config]) -> set[str]:
    """Waits for teachers; a failure is reported with the others, and what needs it stays undone."""
    teachers = {f: config for f, config in futures.items() if find_row(config.row).external}
    return {run_id(config) for future, config in teachers.items() if future.exception()}


def _report(future: Future[float], config: Config, say: Say, failures: list[str]) -> None:
    name = f"{find_row(config.row).title}, seed {config.seed}"
    error = future.exception()
    if error is None:
        metrics = pd.DataFrame(RunFolder.of(config).metrics())
        test = headline_name(metrics)
        chosen = metrics[(metrics["protocol"] == test) & (metrics["rule"] == "last")]
        rank1 = chosen.set_index(["query", "gallery"])["rank1"]
        say(
            f"{name}: {minutes(future.result())}, {test} rank-1 "
            f"{100 * rank1['HQ', 'HQ']:.1f} on HQ, {100 * rank1['LQ', 'HQ']:.1f} on LQ queries"
        )
    else:
        own = isinstance(error, RlqkitError)
        text = one_line(error) if own else f"{type(error).__name__}: {one_line(error)}"
        failures.append(f"{name} failed: {text}")
        say(failures[-1])
