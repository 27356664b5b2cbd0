"""The plan of a configuration as jobs for a scheduler: one a run, what it waits for and needs.

``workflow/Snakefile`` reads it through ``rlqkit plan --json``. The runs and their folders are those
of ``rlqkit reproduce``, so either may finish what the other began.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from rlqkit.config import Config
from rlqkit.data import loaders, registry
from rlqkit.errors import RlqkitError
from rlqkit.runs.costs import Sizes, estimate, gpu_throughput, sizes_of
from rlqkit.runs.folder import RunFolder, profile_folder, run_id
from rlqkit.runs.plan import planned_runs, waits_for, with_all_before
from rlqkit.runs.space import GPU_ALLOWANCE, space_of

Device = Literal["gpu", "cpu"]
MARGIN = 2.0
"""Time asked for, in estimates; a run that needs more goes on from its checkpoint in a new job."""
START_MINUTES = 30.0
"""Added for starting, reading the data set and evaluating."""
MEGABYTE = 1e6
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def job_plan(
    config: Config, device: Device | None = None, throughput: float = 0.0
) -> dict[str, Any]:
    """What a scheduler has to know, as plain values.

    Args:
        config: profile with its overrides.
        device: where runs compute; default: a GPU for the paper profile, else processors.
        throughput: images a second as in ``costs.estimate``; 0 = the device's default.

    Returns:
        ``folder`` (the profile's results), ``device``, ``datasets`` (what is checked first),
        ``runs``: see :func:`job_of`, teacher first; then ``claims`` (whether the paper's published
        figures are compared, which its own profile is for) and ``notebooks``, by name.

    Raises:
        RlqkitError: sizes of the data sets are neither on disk nor published.
    """
    device = device or ("gpu" if config.profile == "paper" else "cpu")
    sizes = sizes_of(config)
    throughput = throughput or gpu_throughput() if device == "gpu" else throughput
    return {
        "folder": profile_folder(config).as_posix(),
        "device": device,
        "datasets": data_sets(config),
        "runs": [job_of(run, sizes, device, throughput) for run in scheduled_runs(config)],
        "claims": config.profile == "paper",
        "notebooks": notebook_names(),
    }


def scheduled_runs(config: Config) -> list[Config]:
    """The planned runs, and before them what they wait for and the plan itself leaves out."""
    return with_all_before(planned_runs(config))


def notebook_names() -> list[str]:
    """Names of the numbered notebooks, without suffix; [] where only the package is installed."""
    return [source.stem for source in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))]


def job_of(config: Config, sizes: Sizes, device: Device, throughput: float) -> dict[str, Any]:
    """One run as a job.

    Returns:
        ``id``, ``row``, ``seed``, ``finished``; ``after`` (ids of runs that it waits for);
        ``processes``, ``gpus``, ``cpus``; ``memory_mb`` and ``gpu_memory_mb`` (10^6 bytes, the
        latter of each GPU); ``minutes``; ``disk_mb``.
    """
    training, space = config.training, space_of(config, sizes)
    cost = estimate(config, sizes, throughput) if throughput else estimate(config, sizes)
    on_gpu = device == "gpu"
    host = space.host + (0 if on_gpu else space.device)
    threads = max(1, config.runtime.threads) + config.data.workers
    return {
        "id": run_id(config),
        "row": config.row,
        "seed": config.seed,
        "finished": RunFolder.of(config).finished,
        "after": [run_id(other) for other in waits_for(config)],
        "processes": training.processes,
        "gpus": training.processes if on_gpu else 0,
        "cpus": training.processes * threads,
        "memory_mb": math.ceil(training.processes * host / MEGABYTE),
        "gpu_memory_mb": math.ceil((space.device + GPU_ALLOWANCE) / MEGABYTE) if on_gpu else 0,
        "minutes": math.ceil(START_MINUTES + MARGIN * 60 * cost.hours),
        "disk_mb": math.ceil(space.disk / MEGABYTE),
    }


def data_sets(config: Config) -> list[dict[str, Any]]:
    """Name, folders and kind of each data set that a configuration reads."""
    return [
        {"name": name, "root": root, "labels": labels, "rendered": registry.is_rendered(name)}
        for name, root, labels in loaders.data_places(config)
    ]


def planned_run(config: Config, name: str) -> Config:
    """The configuration of one run of a plan.

    Args:
        config: profile with its overrides, as the plan was made with.
        name: the run's id.

    Raises:
        RlqkitError: the plan has no such run.
    """
    for run in scheduled_runs(config):
        if run_id(run) == name:
            return run
    raise RlqkitError(
        f"the plan of this configuration has no run {name}; `rlqkit plan --json` with the same "
        "options names them"
    )
