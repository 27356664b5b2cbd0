"""Worker processes of the main job: what each is given when it starts, and how it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import active_children, parent_process, resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

import psutil

from rlqkit.runs.device import visible_gpus

PATIENCE = 5.0
"""Seconds that what a worker has started may take to end when it is asked to."""
LEFT_BEHIND = "ignore:resource_tracker:UserWarning"
"""Filter of the remark that killed processes left semaphores, which are removed all the same."""


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes, each with its own line for bars and, where there are some, GPU.

    Left by an exception, Ctrl-C above all, it ends its processes wherever they are and begins
    nothing that still waits: a pool by itself would work through its whole queue first. What they
    were writing is whole, as after any kill.
    """
    _start_tracker()
    context = _Context()
    numbers = context.Queue()
    for number in range(jobs):
        numbers.put(number)
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=start_worker, initargs=(numbers,)
    ) as pool:
        try:
            yield pool
        except BaseException:
            _end_workers()
            raise


class _Worker(SpawnProcess):
    """A process that leaves Ctrl-C, which a terminal sends to all, to the one that started it.

    It would take it as an error of its task, and go on with the next.
    """

    def start(self) -> None:
        with _ctrl_c_waits():  # inherited, so that it holds while the process imports
            super().start()

    def run(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # forgets what has waited, too
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        super().run()


class _Context(SpawnContext):
    Process = _Worker


def _start_tracker() -> None:
    """Starts the process that removes what killed ones leave, so that it does so without a word.

    Otherwise multiprocessing starts it, and its warning is the last thing said after Ctrl-C.
    """
    if os.name != "posix":  # elsewhere nothing is left that must be removed
        return
    given = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = f"{given},{LEFT_BEHIND}" if given else LEFT_BEHIND
    try:
        resource_tracker.ensure_running()
    finally:
        if given is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = given


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Puts Ctrl-C off until the end of the block, where the system can do that (not Windows)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_workers() -> None:
    """Ends this process's workers and what they have started: a notebook's kernel, loaders."""
    with _ctrl_c_waits():  # a second one would leave some alive
        alive = [worker for worker in active_children() if isinstance(worker, _Worker)]
        family = []
        for worker in alive:
            with suppress(psutil.NoSuchProcess):
                family += psutil.Process(worker.pid).children(recursive=True)
        for worker in alive:  # first, or they would see their children end and go on
            worker.kill()
        for process in family:  # asked, not killed: those that clean up after the others don't hear
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(family, PATIENCE)[1]:
            process.kill()


BAR = "RLQKIT_BAR"
"""Variable that holds a worker's number, from 0, which is also the line of its progress bars."""


def is_worker() -> bool:
    """Whether this process, or one that it was started by, is one of several side by side."""
    return BAR in os.environ


def start_worker(numbers: Any) -> None:
    """Gives a worker its own line for progress bars and its own GPU, where there are some.

    What it starts itself, such as a notebook's kernel, inherits both. It ends when its parent is
    gone.

    Args:
        numbers: a queue that holds one number for each worker.
    """
    number = numbers.get()
    os.environ[BAR] = str(number)
    gpus = visible_gpus()
    if gpus:  # before anything in this process has touched CUDA
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A killed command must not leave trainings behind that its repetition would meet.

    Every system tells the end of a process that was spawned from here; the parent's number alone
    wouldn't do, since Windows keeps it when the parent is gone.
    """
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
