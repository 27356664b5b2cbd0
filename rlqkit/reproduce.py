"""The main job: every row and seed of a profile, then tables, then the notebooks.

Trainings run side by side in ``runtime.jobs`` processes. The teacher goes first, rows without TAD
fill the other processes meanwhile, rows with TAD follow. Finished runs are skipped and killed
ones resumed, so the command can be repeated at any time.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd

from rlqkit import datasets
from rlqkit.config import Config, dataset_settings, flatten, from_dict, load_profile, to_dict
from rlqkit.errors import RlqkitError, one_line
from rlqkit.evaluation import headline_name
from rlqkit.experiment import run
from rlqkit.plan import planned_runs, settings_lines
from rlqkit.rows import find_row
from rlqkit.runs import RunFolder, profile_folder
from rlqkit.tables import write_tables

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
Say = Callable[[str], None]


def reproduce(config: Config, notebooks: bool = True, say: Say = print) -> Path:
    """Trains and evaluates everything of a profile, writes tables, executes the notebooks.

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
    _check_data(config, say)
    for line in settings_lines(config):
        say(line)
    plan = planned_runs(config)
    run_all(plan, config.runtime.jobs, say)
    tables = write_tables(config)
    say(f"tables: {', '.join(str(file) for file in tables)}")
    if notebooks:
        execute_notebooks(config, say)
    say(f"done in {_minutes(time.perf_counter() - started)}; look into {folder}")
    return folder


def run_all(plan: Sequence[Config], jobs: int, say: Say = print) -> list[RunFolder]:
    """Runs configurations in ``jobs`` processes; rows with TAD wait for their teacher.

    Raises:
        RlqkitError: a run failed; the others were finished first.
    """
    todo = [config for config in plan if not RunFolder.of(config).finished]
    skipped = len(plan) - len(todo)
    if skipped:
        say(f"{skipped} of {len(plan)} runs are finished already")
    if not todo:
        return [RunFolder.of(config) for config in plan]
    independent = [config for config in todo if not find_row(config.row).uses_tad]
    dependent = [config for config in todo if find_row(config.row).uses_tad]
    say(f"{len(todo)} runs to do, {jobs} side by side")
    context = multiprocessing.get_context("spawn")
    numbers = context.Queue()
    for number in range(jobs):
        numbers.put(number)
    failures: list[str] = []
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_start_worker, initargs=(numbers,)
    ) as pool:
        futures = {pool.submit(_run_in_worker, to_dict(c)): c for c in independent}
        if _teachers_are_there(futures):
            futures |= {pool.submit(_run_in_worker, to_dict(c)): c for c in dependent}
        for future in as_completed(futures):
            _report(future, futures[future], say, failures)
    if failures:
        raise RlqkitError("; ".join(failures))
    return [RunFolder.of(config) for config in plan]


def execute_notebooks(config: Config, say: Say = print, only: Sequence[str] = ()) -> list[Path]:
    """Executes the numbered notebooks with papermill into ``results/<profile>/notebooks``.

    Args:
        config: gives profile, results folder and jobs; the notebooks take ``profile``,
            ``results`` and ``overrides`` as parameters.
        say: receives one line per notebook.
        only: names (without suffix) to execute; empty = all.

    Raises:
        RlqkitError: a notebook failed; the message names it, its cell and the reason.
    """
    sources = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if only:
        sources = [source for source in sources if source.stem in only]
    if not sources:
        raise RlqkitError(f"no notebook in {NOTEBOOKS}; the kit runs from its repository")
    target = profile_folder(config) / "notebooks"
    target.mkdir(parents=True, exist_ok=True)
    parameters = {
        "profile": config.profile,
        "results": str(Path(config.runtime.results).resolve()),
        "overrides": _differences(config),
    }
    context = multiprocessing.get_context("spawn")
    failures: list[str] = []
    with ProcessPoolExecutor(config.runtime.jobs, mp_context=context) as pool:
        futures = {
            pool.submit(_execute_notebook, str(source), str(target), parameters): source
            for source in sources
        }
        for future in as_completed(futures):
            name = futures[future].stem
            error = future.exception()
            if error is None:
                say(f"notebook {name}: {_minutes(future.result())}")
            else:
                failures.append(f"notebook {name} failed: {error}")
                say(failures[-1])
    if failures:
        raise RlqkitError("; ".join(failures))
    return [target / source.name for source in sources]


def _execute_notebook(source: str, target: str, parameters: dict[str, Any]) -> float:
    import nbformat
    import papermill
    from nbconvert import HTMLExporter
    from papermill.exceptions import PapermillExecutionError

    started = time.perf_counter()
    output = Path(target) / Path(source).name
    # The kernel inherits these: figures inside the notebook, whatever a headless machine has set,
    # and no warning about a debugger that nobody uses.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    try:
        papermill.execute_notebook(
            source, str(output), parameters, kernel_name="python3", progress_bar=False,
            cwd=str(Path(source).parent), extra_arguments=["--log-level=ERROR"],
        )  # fmt: skip
    except PapermillExecutionError as error:
        reason = " ".join(error.evalue.split())
        raise RuntimeError(f"cell {error.exec_count}: {error.ename}: {reason}") from None
    _forget_paths(output, parameters)
    page, _ = HTMLExporter().from_notebook_node(nbformat.read(output, as_version=4))
    output.with_suffix(".html").write_text(page, encoding="utf-8")
    return time.perf_counter() - started


def _forget_paths(notebook: Path, parameters: dict[str, Any]) -> None:
    """Takes this machine's folders out of an executed notebook, which is meant to be shared."""
    text = notebook.read_text(encoding="utf-8")
    results, home = Path(parameters["results"]), NOTEBOOKS.parent
    for folder, short in ((results, f"../{results.name}"), (home, "..")):
        text = re.sub(rf"(?<![\w.]){re.escape(str(folder))}(?!\w)", short, text)
    notebook.write_text(text, encoding="utf-8")


def _differences(config: Config) -> dict[str, Any]:
    """What a configuration changes in its profile, as dotted overrides."""
    mine = flatten(to_dict(config))
    dataset = {"data.dataset": config.data.dataset}  # a profile's settings may depend on it
    profile = flatten(to_dict(load_profile(config.profile, dataset)))
    ours = ("row", "seed", "runtime.results")  # parameters of their own
    changed = {k: v for k, v in mine.items() if v != profile[k] and k not in ours}
    named = load_profile(config.profile).data.dataset
    return changed if config.data.dataset == named else dataset | changed


def _check_data(config: Config, say: Say) -> None:
    """Data sets must be there before anything is trained, the shipped ones byte for byte.

    Nobody publishes checksums of the real ones; `rlqkit data check` looks at those.
    """
    data = config.data
    places = [(data.dataset, data.root), (data.external, data.external_root)]
    for name, root in dict.fromkeys(places):
        shipped = not dataset_settings(name)
        benchmark = datasets.load(name, Path(root) if root else None, verify=shipped)
        images = sum(len(images) for images in benchmark.sets.values())
        say(f"data set {name}: {images} images" + ", checksums agree" * shipped)


def _start_worker(numbers: Any) -> None:
    """Gives a worker its own line for progress bars, and ends it when its parent is gone."""
    os.environ["RLQKIT_BAR"] = str(numbers.get())
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()


def _die_with(parent: int) -> None:
    """A killed command must not leave trainings behind that its repetition would meet."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _run_in_worker(values: dict[str, Any]) -> float:
    started = time.perf_counter()
    run(from_dict(values))
    return time.perf_counter() - started


def _teachers_are_there(futures: dict[Future[float], Config]) -> bool:
    """Waits for them; a failure is reported with the others, and rows with TAD stay undone."""
    teachers = [f for f, config in futures.items() if find_row(config.row).external]
    return all([future.exception() is None for future in teachers])


def _report(future: Future[float], config: Config, say: Say, failures: list[str]) -> None:
    name = f"{find_row(config.row).title}, seed {config.seed}"
    error = future.exception()
    if error is None:
        metrics = pd.DataFrame(RunFolder.of(config).metrics())
        test = headline_name(metrics)
        chosen = metrics[(metrics["protocol"] == test) & (metrics["rule"] == "last")]
        rank1 = chosen.set_index(["query", "gallery"])["rank1"]
        say(
            f"{name}: {_minutes(future.result())}, {test} rank-1 "
            f"{100 * rank1['HQ', 'HQ']:.1f} on HQ, {100 * rank1['LQ', 'HQ']:.1f} on LQ queries"
        )
    else:
        own = isinstance(error, RlqkitError)
        text = one_line(error) if own else f"{type(error).__name__}: {one_line(error)}"
        failures.append(f"{name} failed: {text}")
        say(failures[-1])


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
