"""Runs a command on GPUs of this machine that nobody else took by this script.

    python take_gpus.py [--given] 2 -- COMMAND ...

It waits until that many of the GPUs in CUDA_VISIBLE_DEVICES (default: all) are free, sets
CUDA_VISIBLE_DEVICES, and becomes the command: what a scheduler sends to this process, SIGTERM or
SIGKILL, the command gets. What is taken is a lock that the command inherits and that ends with it,
however that ends. Where there is no GPU, or 0 are wanted, the command runs at once; with --given as
well: a scheduler has chosen its GPUs.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

WAIT = 2.0
"""Seconds between two looks."""
LIST_LIMIT = 60.0
"""Seconds that the driver may take to name its GPUs."""


def visible() -> list[str]:
    """GPUs as CUDA_VISIBLE_DEVICES writes them; without it, as the driver counts them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=LIST_LIMIT
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = listed.stdout.splitlines() if listed.returncode == 0 else []
    return [str(number) for number, _ in enumerate(lines)]


def take(count: int, names: Sequence[str], folder: Path) -> dict[str, int]:
    """So many GPUs by name with their locks, or none: never some, which others would wait for.

    A lock is an open file, by its number; closing it, here and in whoever inherits it, frees it.
    """
    taken: dict[str, int] = {}
    for name in names:
        if len(taken) == count:
            break
        lock = os.open(folder / f"{name.replace('/', '-')}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        taken[name] = lock
    if len(taken) == count:
        return taken
    for lock in taken.values():
        os.close(lock)
    return {}


def become(command: list[str]) -> int:
    """Runs the command in place of this process; returns, 127, only if there is none such."""
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
    return 127


def main(arguments: Sequence[str]) -> int:
    """Takes GPUs and becomes the command; returns an exit code if it comes to neither."""
    given = arguments[:1] == ["--given"]
    arguments = arguments[1:] if given else arguments
    if len(arguments) < 3 or arguments[1] != "--" or not arguments[0].isdigit():
        print("usage: take_gpus.py [--given] COUNT -- COMMAND ...", file=sys.stderr)
        return 2
    count, command = int(arguments[0]), list(arguments[2:])
    names = [] if given or not count else visible()
    if not names:
        return become(command)
    if count > len(names):
        print(f"error: {count} GPUs are wanted, this machine has {len(names)}", file=sys.stderr)
        return 2
    folder = Path(tempfile.gettempdir()) / f"rlqkit-gpus-{os.environ.get('USER', os.getuid())}"
    folder.mkdir(exist_ok=True)
    while not (locks := take(count, names, folder)):
        time.sleep(WAIT)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(locks)
    for lock in locks.values():
        os.set_inheritable(lock, True)
    return become(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
