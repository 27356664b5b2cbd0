"""Ctrl-C: the whole command ends at once, with all that it started, and begins nothing new."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from command_line import smoke_options
from nbformat.v4 import new_code_cell, new_notebook, writes

from rlqkit.runs.checkpoint import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "tests" / "support" / "interrupted_work.py"
PATIENCE = 240.0
"""Seconds for a command to get going, on a machine that does other things too."""
AT_ONCE = 40.0
"""Seconds in which an interrupted command must have ended: one or two where nothing else runs,
minutes if anything waits for the work to end."""
MARK = "RLQKIT_TEST_FAMILY"
"""Variable that everything inherits which an interrupted command starts, so it can be found."""
PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python", "language": "python"}}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux's processes")


class Started:
    """A command in a process group of its own, as a terminal gives it, and all below it."""

    def __init__(self, command: list[str], mark: str) -> None:
        self.mark = mark
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {MARK: mark, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,
        )  # fmt: skip

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Waits until a condition holds; fails if the command ends before."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, f"never: {what}"
            time.sleep(0.05)

    def interrupt(self) -> tuple[int, str, str]:
        """What Ctrl-C in a terminal does; gives exit code and output."""
        os.killpg(self.process.pid, signal.SIGINT)
        out, err = self.process.communicate(timeout=AT_ONCE)
        return self.process.returncode, out, err

    def family(self) -> list[psutil.Process]:
        """All that live and come from the command, in whatever session and under whatever name."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get(MARK) == self.mark:
                    found.append(process)
        return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts commands; whatever of them is still there after the test is killed."""
    begun: list[Started] = []

    def begin(*command: object) -> Started:
        begun.append(Started([sys.executable, *map(str, command)], str(tmp_path)))
        return begun[-1]

    yield begin
    for started in begun:
        for process in started.family():
            with contextlib.suppress(psutil.Error):
                process.kill()
        started.process.communicate()


def imports_torch(process: psutil.Process) -> bool:
    """Whether it is a worker whose code is being loaded, or was a moment ago."""
    with contextlib.suppress(psutil.Error):
        loaded = any("libtorch" in room.path for room in process.memory_maps())
        return loaded and "spawn_main" in " ".join(process.cmdline())
    return False


def test_no_queued_task_begins_and_nothing_is_left(
    start: Callable[..., Started], tmp_path: Path
) -> None:
    """Four tasks for two workers, each with a process of its own below it."""
    work = start(WORK, "tasks", tmp_path)
    both = {"begun-0", "begun-1"}
    work.wait_for(lambda: both <= {f.name for f in tmp_path.iterdir()}, "two tasks at work")
    assert len(work.family()) >= 5  # the command, two workers, what each of them started
    assert work.interrupt() == (3, "interrupted\n", "")
    assert work.family() == []
    assert {file.name for file in tmp_path.iterdir()} == both


def test_workers_that_are_just_starting_say_nothing(
    start: Callable[..., Started], tmp_path: Path
) -> None:
    """Interrupted while they import: no traceback of theirs among the command's own words."""
    work = start(WORK, "tasks", tmp_path)

    work.wait_for(lambda: any(map(imports_torch, work.family())), "a worker that imports torch")
    assert work.interrupt() == (3, "interrupted\n", "")
    assert work.family() == [] and list(tmp_path.iterdir()) == []


def test_kernels_of_notebooks_end_too(start: Callable[..., Started], tmp_path: Path) -> None:
    """Three notebooks, two side by side; a kernel lives in a session of its own."""
    (tmp_path / "notebooks").mkdir()
    for name in ("00_one", "01_two", "02_three"):
        cell = f"import pathlib, time; pathlib.Path('{name}').touch(); time.sleep(300)"
        source = new_notebook(cells=[new_code_cell(cell)], metadata=PYTHON)
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text(writes(source), encoding="utf-8")
    begun = [tmp_path / "notebooks" / name for name in ("00_one", "01_two")]
    work = start(WORK, "notebooks", tmp_path)
    work.wait_for(lambda: all(file.exists() for file in begun), "two notebooks at work")
    code, out, err = work.interrupt()  # papermill has remarked on notebooks without parameters
    assert (code, out) == (3, "interrupted\n") and "Traceback" not in err, err
    assert work.family() == []
    assert not (tmp_path / "notebooks" / "02_three").exists()


@pytest.mark.slow
def test_reproduce_stops_with_its_line_and_whole_checkpoints(
    start: Callable[..., Started], tiny_wardrobe: Path, tmp_path: Path
) -> None:
    """Two trainings at work, each with processes that prepare its images, one more in the queue."""
    options = smoke_options(
        tiny_wardrobe, tmp_path, reproduce__rows="['base','cal','pose']", runtime__jobs=2,
        training__steps=100_000, training__batch=4, data__workers=1,
        runtime__checkpoint_minutes=0,
    )  # fmt: skip
    work = start("-m", "rlqkit", "reproduce", *options, "--no-notebooks")
    folder = tmp_path / "smoke" / "runs"
    work.wait_for(lambda: len([*folder.glob("*/checkpoint.pt")]) == 2, "checkpoints of two runs")
    code, _, err = work.interrupt()
    assert code == 130 and "Traceback" not in err, err
    last = err.strip().splitlines()[-1]
    assert last == "stopped; run the same command again to go on from the last checkpoint"
    assert work.family() == []
    assert len([*folder.iterdir()]) == 2  # the third run was never begun
    for file in folder.glob("*/checkpoint.pt"):
        assert read_checkpoint(file)["next_phase"] >= 1
