"""The main job, ``rlqkit reproduce``: train everything, write tables, execute the notebooks."""

from __future__ import annotations

import time
from pathlib import Path

from rlqkit.config import Config
from rlqkit.progress import Say, minutes
from rlqkit.report.execute import execute_notebooks
from rlqkit.report.shipped import write_comparison
from rlqkit.report.tables import read_results, write_tables
from rlqkit.runs.folder import profile_folder
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
    folder.mkdir(parents=True, exist_ok=True)
    check_data(config, say)
    for line in settings_lines(config):
        say(line)
    train_all(planned_runs(config), config.runtime.jobs, say)
    results = read_results(config)
    tables = write_tables(config, results)
    compared, told = write_comparison(config, results)
    tables += [compared] if compared else []
    say(f"tables: {', '.join(str(file) for file in tables)}")
    if notebooks:
        execute_notebooks(config, say)
    for line in told:
        say(line)
    say(f"done in {minutes(time.perf_counter() - started)}; look into {folder}")
    return folder
