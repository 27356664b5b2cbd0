"""Work in two processes that a test interrupts: a queue of tasks, or the kit's notebooks.

    python interrupted_work.py tasks FOLDER
    python interrupted_work.py notebooks FOLDER

Each piece of work writes a file into FOLDER when it begins and would go on for minutes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import as_completed
from pathlib import Path

from rlqkit.config import load_profile
from rlqkit.report import execute
from rlqkit.runs.workers import workers

LONG = 300.0
"""Seconds of one piece of work, far more than a test waits."""


def task(folder: str, number: int) -> None:
    """Leaves its mark once a process of its own is under way, then works on."""
    program = f"import time; print(flush=True); time.sleep({LONG})"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as below:
        assert below.stdout is not None
        below.stdout.readline()
        (Path(folder) / f"begun-{number}").touch()
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            time.sleep(0.1)


def tasks(folder: Path) -> None:
    """Four tasks for two workers."""
    with workers(2) as pool:
        for future in as_completed([pool.submit(task, str(folder), n) for n in range(4)]):
            future.exception()


def notebooks(folder: Path) -> None:
    """Those of FOLDER/notebooks, two side by side."""
    execute.NOTEBOOKS = folder / "notebooks"
    options = {"runtime.jobs": 2, "runtime.results": str(folder / "results")}
    execute.execute_notebooks(load_profile("smoke", options), exercises="blank")


if __name__ == "__main__":
    work = {"tasks": tasks, "notebooks": notebooks}[sys.argv[1]]
    try:
        work(Path(sys.argv[2]))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(3)
