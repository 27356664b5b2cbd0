"""Executing the notebooks headlessly with papermill."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, Literal

import nbformat

from rlqkit.config import Config, flatten, load_profile, to_dict
from rlqkit.errors import RlqkitError
from rlqkit.files import use_writable_caches, write_bytes
from rlqkit.progress import Say, minutes
from rlqkit.report.page import NOTEBOOKS, page_of
from rlqkit.report.solutions import paste_solutions, solutions_file
from rlqkit.runs.folder import profile_folder
from rlqkit.runs.workers import workers

Exercises = Literal["solved", "tried", "blank"]


def execute_notebooks(
    config: Config,
    say: Say = print,
    only: Sequence[str] = (),
    exercises: Exercises = "solved",
) -> list[Path]:
    """Executes the numbered notebooks with papermill into ``results/<profile>/notebooks``.

    Args:
        config: gives profile, results folder and jobs; the notebooks take ``profile``,
            ``results`` and ``overrides`` as parameters.
        say: receives one line per notebook.
        only: names (without suffix) to execute; empty = all.
        exercises: "solved" pastes the solutions over the exercise cells; "tried" also sees each
            check go on at the blank exercise and refuse a wrong answer; "blank" leaves them.

    Raises:
        RlqkitError: a notebook failed; the message names it, its cell and the reason. Solutions
            that don't fit their exercises are refused before anything is executed.
    """
    sources = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if only:
        sources = [source for source in sources if source.stem in only]
    if not sources:
        raise RlqkitError(f"no notebook in {NOTEBOOKS}; the kit runs from its repository")
    prepared = {source: _prepare(source, exercises) for source in sources}
    use_writable_caches()
    target = profile_folder(config) / "notebooks"
    target.mkdir(parents=True, exist_ok=True)
    parameters = {
        "profile": config.profile,
        "results": str(Path(config.runtime.results).resolve()),
        "overrides": _differences(config),
    }
    failures: list[str] = []
    with workers(config.runtime.jobs) as pool:
        futures = {
            pool.submit(_execute_notebook, str(source), notebook, str(target), parameters): source
            for source, notebook in prepared.items()
        }
        for future in as_completed(futures):
            name = futures[future].stem
            error = future.exception()
            if error is None:
                say(f"notebook {name}: {minutes(future.result())}")
            else:
                failures.append(f"notebook {name} failed: {error}")
                say(failures[-1])
    if failures:
        raise RlqkitError("; ".join(failures))
    return [target / source.name for source in sources]


def _prepare(source: Path, exercises: Exercises) -> str:
    """The notebook to execute, as JSON."""
    notebook = nbformat.read(source, as_version=4)
    if exercises != "blank":
        notebook = paste_solutions(notebook, solutions_file(source), tried=exercises == "tried")
    return str(nbformat.writes(notebook))


def _execute_notebook(source: str, notebook: str, target: str, parameters: dict[str, Any]) -> float:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    started = time.perf_counter()
    output = Path(target) / Path(source).name
    # The kernel inherits these: figures inside the notebook, whatever a headless machine has set,
    # and no warning about a debugger that nobody uses.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    try:
        # Papermill would write after every cell, and a notebook that fails as well; ours is written
        # when it is whole.
        executed = papermill.execute_notebook(
            nbformat.reads(notebook, as_version=4), None, parameters,
            kernel_name="python3", progress_bar=False, cwd=str(Path(source).parent),
            extra_arguments=["--log-level=CRITICAL"], coalesce_streams=True,
        )  # fmt: skip
    except PapermillExecutionError as error:
        reason = " ".join(error.evalue.split())
        raise RuntimeError(f"cell {error.exec_count}: {error.ename}: {reason}") from None
    executed.metadata.papermill["output_path"] = str(output)
    text = _without_folders(str(nbformat.writes(executed)), parameters)
    write_bytes(output, text.encode())
    write_bytes(output.with_suffix(".html"), page_of(nbformat.reads(text, as_version=4)).encode())
    return time.perf_counter() - started


def _without_folders(text: str, parameters: dict[str, Any]) -> str:
    """An executed notebook, which is meant to be shared, without this machine's folders."""
    results, home = Path(parameters["results"]), NOTEBOOKS.parent
    for folder, short in ((results, f"../{results.name}"), (home, "..")):
        text = re.sub(rf"(?<![\w.]){re.escape(str(folder))}(?!\w)", short, text)
    return text


def _differences(config: Config) -> dict[str, Any]:
    """What a configuration changes in its profile, as dotted overrides."""
    mine = flatten(to_dict(config))
    dataset = {"data.dataset": config.data.dataset}  # a profile's settings may depend on it
    profile = flatten(to_dict(load_profile(config.profile, dataset)))
    ours = ("row", "seed", "runtime.results")  # parameters of their own
    changed = {k: v for k, v in mine.items() if v != profile[k] and k not in ours}
    named = load_profile(config.profile).data.dataset
    return changed if config.data.dataset == named else dataset | changed
