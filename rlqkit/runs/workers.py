"""Worker processes of the main job: what each is given when it starts, and how it ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any

from rlqkit.runs.device import visible_gpus


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes, each with its own line for bars and, where there are some, GPU."""
    context = get_context("spawn")
    numbers = context.Queue()
    for number in range(jobs):
        numbers.put(number)
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=start_worker, initargs=(numbers,)
    ) as pool:
        yield pool


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
