"""Notebooks in several jobs: each worker, and so each kernel, has a GPU of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import papermill
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, writes
from papermill.exceptions import PapermillExecutionError

from rlqkit.config import load_profile
from rlqkit.errors import RlqkitError
from rlqkit.report import execute
from rlqkit.report.execute import execute_notebooks
from rlqkit.runs import workers


class WorkersInOneProcess:
    """Stands in for the pool: tasks go round the workers, each with its own environment."""

    def __init__(
        self, jobs: int, mp_context: Any, initializer: Callable[..., None], initargs: tuple[Any]
    ) -> None:
        self.environments: list[dict[str, str]] = []
        before = dict(os.environ)
        for _ in range(jobs):
            initializer(*initargs)
            self.environments.append(dict(os.environ))
            os.environ.clear()
            os.environ.update(before)
        self.tasks = 0

    def __enter__(self) -> WorkersInOneProcess:
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, task: Callable[..., float], *arguments: Any) -> Future[float]:
        before = dict(os.environ)
        os.environ.update(self.environments[self.tasks % len(self.environments)])
        self.tasks += 1
        future: Future[float] = Future()
        try:
            future.set_result(task(*arguments))
        except Exception as error:
            future.set_exception(error)
        os.environ.clear()
        os.environ.update(before)
        return future


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three notebooks, two of them with nothing but a title."""
    folder = tmp_path / "kit" / "notebooks"
    (folder / "solutions").mkdir(parents=True)
    for name in ("00_one", "01_two", "02_three"):
        source = new_notebook(cells=[new_markdown_cell(f"# {name}")])
        (folder / f"{name}.ipynb").write_text(writes(source), encoding="utf-8")
    monkeypatch.setattr(execute, "NOTEBOOKS", folder)
    return folder


@pytest.fixture
def gpu_of(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """First title of each executed notebook → the GPU that its kernel would have inherited."""
    seen: dict[str, str | None] = {}

    def pretend(notebook: Any, output: str | None, *_: Any, **__: Any) -> Any:
        title = notebook.cells[0].source.removeprefix("# ")
        seen[title] = os.environ.get("CUDA_VISIBLE_DEVICES")
        notebook.metadata["papermill"] = {"output_path": output}
        return notebook

    monkeypatch.setattr(papermill, "execute_notebook", pretend)
    monkeypatch.setattr(workers, "ProcessPoolExecutor", WorkersInOneProcess)
    still = SimpleNamespace(Thread=lambda **_: SimpleNamespace(start=int))  # nobody waits to die
    monkeypatch.setattr(workers, "threading", still)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return seen


@pytest.mark.parametrize(
    ("gpus", "jobs", "seen"),
    [(2, 2, ["0", "1", "0"]), (2, 1, ["0", "0", "0"]), (0, 2, [None, None, None])],
)
def test_each_kernel_has_a_gpu_of_its_own(
    notebooks: Path, gpu_of: dict[str, str | None], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, gpus: int, jobs: int, seen: list[str | None],
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    config = load_profile("smoke", {"runtime.jobs": jobs, "runtime.results": str(tmp_path)})
    execute_notebooks(config, lambda line: None)
    assert gpu_of == dict(zip(("00_one", "01_two", "02_three"), seen, strict=True))


def executed(results: Path) -> dict[str, bytes]:
    """Every file of the executed notebooks, by name."""
    return {file.name: file.read_bytes() for file in (results / "smoke" / "notebooks").iterdir()}


def test_an_executed_copy_names_no_folder_of_this_machine(
    notebooks: Path, gpu_of: dict[str, str | None], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    config = load_profile("smoke", {"runtime.jobs": 1, "runtime.results": str(results)})
    (first, *_) = execute_notebooks(config, lambda line: None)
    assert str(tmp_path) not in first.read_text(encoding="utf-8")
    about = nbformat.read(first, as_version=4).metadata.papermill
    assert about.output_path == "../results/smoke/notebooks/00_one.ipynb"
    names = [f"{name}.{kind}" for name in ("00_one", "01_two", "02_three")
             for kind in ("html", "ipynb")]  # fmt: skip
    assert sorted(executed(results)) == names


def test_a_notebook_that_fails_leaves_the_copy_of_before(
    notebooks: Path, gpu_of: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Papermill writes what it has; a site would take the half notebook for a fresh one."""
    config = load_profile("smoke", {"runtime.jobs": 1, "runtime.results": str(tmp_path)})
    execute_notebooks(config, lambda line: None)
    before = executed(tmp_path)

    def half(notebook: Any, output: str | None, *_: Any, **__: Any) -> None:
        if output:
            Path(output).write_text(writes(notebook) + " ", encoding="utf-8")
        raise PapermillExecutionError(0, 1, "1 / 0", "ZeroDivisionError", "division by zero", [])

    monkeypatch.setattr(papermill, "execute_notebook", half)
    with pytest.raises(RlqkitError, match="00_one failed: cell 1: ZeroDivisionError: division"):
        execute_notebooks(config, lambda line: None)
    assert executed(tmp_path) == before


@pytest.mark.parametrize("kind", ["ipynb", "html"])
def test_an_interrupted_write_leaves_the_copy_of_before(
    notebooks: Path, gpu_of: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    kind: str,
) -> None:  # fmt: skip
    config = load_profile("smoke", {"runtime.jobs": 1, "runtime.results": str(tmp_path)})
    execute_notebooks(config, lambda line: None)
    file = tmp_path / "smoke" / "notebooks" / f"00_one.{kind}"
    file.write_bytes(b"mine")
    plain = os.replace

    def replaced(source: Path, target: Path) -> None:
        if Path(target) == file:
            raise OSError("the plug was pulled")
        plain(source, target)

    monkeypatch.setattr(os, "replace", replaced)
    with pytest.raises(RlqkitError, match="plug"):
        execute_notebooks(config, lambda line: None)
    assert file.read_bytes() == b"mine"


def test_solutions_that_do_not_fit_stop_before_anything_is_executed(
    notebooks: Path, gpu_of: dict[str, str | None], tmp_path: Path
) -> None:
    cells = [
        new_code_cell("# Exercise 1.1\nanswer = ...", metadata={"tags": ["exercise"]}),
        new_code_cell("check_answer(...)", metadata={"tags": ["check"]}),
    ]
    file = notebooks / "01_two.ipynb"
    file.write_text(writes(new_notebook(cells=cells)), encoding="utf-8")
    config = load_profile("smoke", {"runtime.jobs": 1, "runtime.results": str(tmp_path)})
    with pytest.raises(RlqkitError, match="01_two.py is missing"):
        execute_notebooks(config, lambda line: None)
    assert gpu_of == {}
    execute_notebooks(config, lambda line: None, exercises="blank")
    assert len(gpu_of) == 3
