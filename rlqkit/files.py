"""Files: one atomic writer, one digest, and folders that are checked against SHA256SUMS."""

from __future__ import annotations

import atexit
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlqkit.errors import RlqkitError

PARTIAL = ".partial"
"""How the name of a file ends that is still being written, or that a kill left behind."""


@contextmanager
def atomically(file: Path, durable: bool = False, shared: bool = False) -> Iterator[Path]:
    """A temporary path beside ``file`` to write to, which then takes its place, whole.

    A kill or a full disk at any moment leaves the old file or the new one. With `durable` that
    holds for a power cut too, at the price of waiting for the disk; `shared` is for files that
    several processes may write at a time, each by way of a temporary file of its own.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    own = f".{os.getpid()}" if shared else ""
    temporary = file.with_name(f"{file.name}{own}{PARTIAL}")
    try:
        yield temporary
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, Exception) and not isinstance(error, OSError) and _full(file.parent):
            # libraries that write tensors have errors of their own for a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error
        raise
    if durable:
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
    os.replace(temporary, file)


def _full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < 2**20


def write_bytes(file: Path, content: bytes, shared: bool = False) -> None:
    """Writes a file atomically; `shared` as above."""
    with atomically(file, shared=shared) as temporary:
        temporary.write_bytes(content)


def write_json(file: Path, value: Any) -> None:
    """Writes JSON atomically."""
    with atomically(file) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def cache_folder() -> Path:
    """Where what can be found out again is remembered: $RLQKIT_CACHE, or ~/.cache/rlqkit."""
    own = os.environ.get("RLQKIT_CACHE")
    return Path(own) if own else Path(os.path.expanduser("~")) / ".cache" / "rlqkit"


CACHES = {
    "NUMBA_CACHE_DIR": "numba", "MPLCONFIGDIR": "matplotlib", "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "jupyter/config", "JUPYTER_DATA_DIR": "jupyter/data",
    "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
}  # fmt: skip
"""Environment variables by which libraries are told where they may write."""


def use_writable_caches() -> None:
    """Gives libraries that write into the home folder a temporary one where they can't.

    Without it UMAP fails on import ("cannot cache function"), where there is no home folder and
    the packages are read only. What the user has set stays; processes started later inherit it.
    """
    missing = [name for name in CACHES if not os.environ.get(name)]
    home = Path(os.path.expanduser("~"))
    if not missing or (home.is_absolute() and _can_write(home / ".cache")):
        return
    folder = Path(tempfile.mkdtemp(prefix="rlqkit-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in missing:
        place = folder / CACHES[name]
        place.mkdir(parents=True)
        os.environ[name] = str(place)


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def digest(file: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


RENEW = "restore the folder as it was shipped (git checkout -- data)"


def verify_checksums(root: Path) -> list[str]:
    """Compare every file below `root` (but hidden ones) with its SHA256SUMS.

    Returns:
        What is wrong, one line a file ("images/train/x.webp has changed"); empty if nothing is.

    Raises:
        RlqkitError: there is no SHA256SUMS, or a line of it isn't "<64 hex digits>  <file>".
    """
    return [f"{file} {problem}" for file, problem in changed_files(root).items()]


def require_checksums(root: Path) -> None:
    """Raise RlqkitError naming the first file below `root` that isn't what SHA256SUMS says."""
    problems = verify_checksums(root)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise RlqkitError(f"{root}: {problems[0]}{more}: {RENEW}")


def changed_files(root: Path) -> dict[str, str]:
    """What is wrong with each file that isn't what SHA256SUMS says, sorted by file."""
    expected = _read_checksums(root)
    present = {
        path.relative_to(root).as_posix()
        for path in root.rglob("[!.]*")
        if path.is_file() and path != root / "SHA256SUMS"
    }
    problems = {}
    for file in sorted(expected.keys() | present):
        if file not in present:
            problems[file] = "is missing"
        elif file not in expected:
            problems[file] = "is not listed in SHA256SUMS"
        elif digest(root / file) != expected[file]:
            problems[file] = "has changed"
    return problems


def _read_checksums(root: Path) -> dict[str, str]:
    path = root / "SHA256SUMS"
    if not path.is_file():
        raise RlqkitError(f"data set folder {root} has no SHA256SUMS: {RENEW}")
    sums = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise RlqkitError(f"{path} is no text: {RENEW}") from None
    for number, line in enumerate(lines, start=1):
        sha256, file = line[:64], line[66:].removeprefix("./")
        if line[64:66] not in ("  ", " *") or set(sha256) - set("0123456789abcdef") or not file:
            raise RlqkitError(f"{path}: line {number} is not '<sha256>  <file>': {RENEW}")
        sums[file] = sha256
    return sums
