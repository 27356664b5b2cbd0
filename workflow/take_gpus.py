"""Runs a command on GPUs of this machine that nobody else took by this script.

    python take_gpus.py [--given] 2 -- COMMAND ...

It waits until that many of the GPUs in CUDA_VISIBLE_DEVICES (default: all) are free, and sets
CUDA_VISIBLE_DEVICES for the command. What is taken is a lock that ends with this process, however
that ends. Where there is no GPU, or 0 are wanted, the command runs at once; with --given as well: a
scheduler has chosen its GPUs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

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


def take(count: int, names: Sequence[str], folder: Path) -> dict[str, FileLock]:
    """So many GPUs by name with their locks, or none: never some, which others would wait for."""
    taken: dict[str, FileLock] = {}
    for name in names:
        if len(taken) == count:
            break
        lock = FileLock(folder / f"{name.replace('/', '-')}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        taken[name] = lock
    if len(taken) == count:
        return taken
    for lock in taken.values():
        lock.release()
    return {}


def main(arguments: Sequence[str]) -> int:
    """Takes, runs, gives back; returns the command's exit code."""
    given = arguments[:1] == ["--given"]
    arguments = arguments[1:] if given else arguments
    if len(arguments) < 3 or arguments[1] != "--" or not arguments[0].isdigit():
        print("usage: take_gpus.py [--given] COUNT -- COMMAND ...", file=sys.stderr)
        return 2
    count, command = int(arguments[0]), list(arguments[2:])
    names = [] if given or not count else visible()
    if not names:
        return subprocess.run(command).returncode
    if count > len(names):
        print(f"error: {count} GPUs are wanted, this machine has {len(names)}", file=sys.stderr)
        return 2
    folder = Path(tempfile.gettempdir()) / f"rlqkit-gpus-{os.environ.get('USER', os.getuid())}"
    folder.mkdir(exist_ok=True)
    while not (locks := take(count, names, folder)):
        time.sleep(WAIT)
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(locks)}
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
