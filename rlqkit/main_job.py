"""The main job, ``rlqkit reproduce``: train everything, write tables, execute the notebooks."""

from __future__ import annotations

import time
from pathlib import Path

from rlqkit.config import Config
from rlqkit.errors import RlqkitError
from rlqkit.progress import Say, minutes
from rlqkit.report.execute import execute_notebooks
from rlqkit.report.shipped import write_comparison
from rlqkit.report.tables import read_results, write_tables
from rlqkit.runs.folder import profile_folder
from rlqkit.runs.jobs import notebook_names
from rlqkit.runs.plan import planned_runs, settings_lines
from rlqkit.runs.reproduce import check_data, train_all


def reproduce(config: Config, notebooks: bool = True, say: Say = print) -> Path:
    """Trains and evaluates a whole profile, writes tables, executes the notebooks.

    Args:
        config: profile with its overrides; ``reproduce.rows`` and ``reproduce.seeds`` say what.
        notebooks: whether to execute them.
        say: receives one line per finished piece of work.

    Returns:
        The profile's results folder.

    Raises:
        RlqkitError: the data set is not as shipped, a run or a notebook failed. Finished runs stay.
    """
    started = time.perf_counter()
    folder = profile_folder(config)
    check(config, say)
    train_all(planned_runs(config), config.runtime.jobs, say)
    told = tables(config, say)
    if notebooks:
        execute_notebooks(config, say)
    for line in told:
        say(line)
    say(f"done in {minutes(time.perf_counter() - started)}; look into {folder}")
    return folder


def reproduce_part(config: Config, part: str, say: Say = print) -> None:
    """One part of the main job by itself, for those who train the runs elsewhere, as on a cluster.

    Args:
        config: as for ``reproduce``.
        part: "data" (checks it), "tables", "notebooks", or the name of one notebook.
        say: receives one line per finished piece of work.

    Raises:
        RlqkitError: no such part, or the part failed.
    """
    if part == "data":
        check(config, say)
    elif part == "tables":
        for line in tables(config, say):
            say(line)
    elif part == "notebooks" or part in notebook_names():
        execute_notebooks(config, say, only=() if part == "notebooks" else (part,))
    else:
        known = ", ".join(["data", "tables", "notebooks", *notebook_names()])
        raise RlqkitError(f'there is no part "{part}"; give one of {known}')


def check(config: Config, say: Say) -> None:
    """Makes the results folder, checks the data, says what is set because of it."""
    profile_folder(config).mkdir(parents=True, exist_ok=True)
    check_data(config, say)
    for line in settings_lines(config):
        say(line)


def tables(config: Config, say: Say) -> list[str]:
    """Writes all tables of the runs that are there; returns what is to be told at the end."""
    results = read_results(config)
    written = write_tables(config, results)
    compared, told = write_comparison(config, results)
    written += [compared] if compared else []
    say(f"tables: {', '.join(str(file) for file in written)}")
    return told
