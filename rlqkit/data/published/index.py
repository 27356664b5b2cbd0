"""The list of a data set's images: made once by walking its folders, then remembered.

Walking LaST's or DeepChange's 200,000 files takes seconds on a local disk and minutes on a network
drive, so the list is kept in a cache folder (`$RLQKIT_CACHE`, else `~/.cache/rlqkit`), never in
the data set's own. It is made anew when the modification time of any folder or list differs from
the remembered one (a file that was added, removed or renamed changes that of its folder), and when
an optional part has come that wasn't there. **What this cannot notice:** a file overwritten in
place (the list holds names, not contents; `rlqkit data check` reads contents), the target of a
symbolic link removed, and a folder whose time was set back by a copying tool. A folder changed
within two seconds before it was listed is never trusted, since a later change could bear the same
time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from rlqkit.data.published.layouts import Layout, Part
from rlqkit.errors import RlqkitError
from rlqkit.files import atomically, cache_folder

VERSION = 2
"""Raised when the table or the rules that make it change: older caches no longer count."""
COLUMNS = ("file", "part", "split", "identity", "camera", "outfit")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""What counts as an image, in any case; hidden files (._x.jpg) and all others are stray."""
UNSETTLED = 2_000_000_000
"""ns: coarsest step of a common file system's modification times (FAT: 2 s)."""

Times = dict[str, int]
"""Folder or list, relative to the root -> modification time in ns."""


def read_index(layout: Layout, root: Path) -> pd.DataFrame:
    """One row an image, junk included: `COLUMNS`, sorted by part and path.

    Args:
        layout: the data set's layout.
        root: its folder, as `Layout.find` gives it.

    Raises:
        RlqkitError: an image's name isn't the data set's; a part without images; a list that is
            missing, malformed or names files that aren't there.
    """
    file = cache_file(layout, root)
    cached = _read_cache(file)
    if cached is not None and _unchanged(root, cached):
        return cached
    started = time.time_ns()
    rows: list[tuple[str, str, str, int, int, str]] = []
    times: Times = {}
    absent: list[str] = []
    for part in layout.parts:
        if part.optional and not (root / part.folder).is_dir():
            absent.append(part.folder)
            continue
        inside, changed = list_images(root, part)
        files = _listed(layout, root, part, inside, changed)
        if not files:
            raise RlqkitError(
                f"{layout.title}: {root / part.folder} has no image: unpack the whole archive"
            )
        rows += layout.samples(part, files, root)
        times |= changed
    index = pd.DataFrame(rows, columns=list(COLUMNS))
    if max(times.values()) < started - UNSETTLED:
        index.attrs |= {"times": times, "absent": absent}
        _write_cache(file, index)
    return index


def cache_file(layout: Layout, root: Path) -> Path:
    """Where the index of a root is remembered."""
    key = hashlib.sha256(f"{VERSION}\n{root.resolve()}".encode(errors="surrogateescape"))
    return cache_folder() / f"index-{layout.name}-{key.hexdigest()[:16]}"


def list_images(root: Path, part: Part) -> tuple[list[str], Times]:
    """Paths of a part's images inside its folder, sorted, and when its folders changed last."""
    top = root / part.folder
    files: list[str] = []
    times: Times = {}
    for folder, inner in _folders(top):
        # the time comes first: a file added while we look makes the list invalid, not incomplete
        times[os.path.relpath(folder, root)] = os.stat(folder).st_mtime_ns
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
        files += [inner + name for name in names if _is_image(name)]
    return sorted(files), times


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def _folders(top: Path) -> Iterator[tuple[str, str]]:
    """Every folder below `top`, with the path inside it; links are followed, but not in circles."""
    waiting = [(str(top), "", frozenset[tuple[int, int]]())]
    while waiting:
        folder, inner, above = waiting.pop()
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            continue
        yield folder, inner
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _is_image(entry.name) and entry.name[0] != "." and entry.is_dir():
                    waiting.append((entry.path, f"{inner}{entry.name}/", above | {here}))


def _listed(
    layout: Layout, root: Path, part: Part, inside: list[str], times: Times
) -> list[tuple[str, str]]:
    """(path inside the part, tracklet) of the images that count; adds the list to `times`."""
    if not part.listing:
        return [(inner, "") for inner in inside]
    path = root / part.listing
    try:
        times[part.listing] = path.stat().st_mtime_ns
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise RlqkitError(
            f"{layout.title}: list {path} is missing or no text: it comes with the data set and "
            "says which images count"
        ) from None
    present = set(inside)
    files = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        file, comma, tracklet = line.strip().partition(",")
        if not comma or not tracklet.strip().isdecimal():
            raise RlqkitError(f"{path}: line {number} is not 'name.jpg,tracklet': restore the list")
        if file not in present:
            raise RlqkitError(
                f"{layout.title}: image {root / part.folder / file} is missing, though "
                f"{part.listing} (line {number}) names it: copy it anew from the archive"
            )
        files.append((file, tracklet.strip()))
    return files


def _unchanged(root: Path, index: pd.DataFrame) -> bool:
    """Whether every folder and list is as it was, and no part has come that was absent."""
    times, absent = index.attrs["times"], index.attrs["absent"]
    if any((root / folder).is_dir() for folder in absent):
        return False
    try:
        return all(os.stat(root / name).st_mtime_ns == at for name, at in times.items())
    except OSError:
        return False


def _read_cache(file: Path) -> pd.DataFrame | None:
    """The remembered index; None if there is none, or it isn't whole (a digest heads the file)."""
    try:
        digest, body = (content := file.read_bytes())[:32], content[32:]
        if hashlib.sha256(body).digest() != digest:
            return None
        index = pd.read_parquet(io.BytesIO(body))
    except (OSError, ValueError):
        return None
    return index if {"times", "absent"} <= index.attrs.keys() else None


def _write_cache(file: Path, index: pd.DataFrame) -> None:
    """Remember the index; a cache that can't be written costs time and nothing else."""
    body = io.BytesIO()
    with contextlib.suppress(OSError, UnicodeEncodeError):  # the latter: names that aren't UTF-8
        index.to_parquet(body, index=False)
        content = body.getvalue()
        with atomically(file, shared=True) as part:
            part.write_bytes(hashlib.sha256(content).digest() + content)
