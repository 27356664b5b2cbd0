"""Every data set by name: the only room that knows all loaders.

A data set of your own is one function, (root) -> Benchmark, and one call of `register`
(docs/datasets/own.md shows it in ten lines).
"""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from rlqkit.data.imageset import Benchmark
from rlqkit.data.labels.tables import attach_labels
from rlqkit.data.published.load import LAYOUTS, is_export, labels_folder, load_published
from rlqkit.data.wardrobe import load_wardrobe
from rlqkit.errors import RlqkitError, one_line
from rlqkit.files import require_checksums

Loader = Callable[[Path], Benchmark]

LOADERS: dict[str, Loader] = dict.fromkeys(
    (
        "wardrobe-v1",  # rendered on demand: the first version, no longer shipped
        "wardrobe-v2",
        "wardrobe-v2-test2",  # fresh test people for it, see `data.test`
        "wardrobe-start",  # rendered on demand, see data/wardrobe-start
        "wardrobe-start-v2",  # the same, see data/wardrobe-start-v2
    ),
    load_wardrobe,
)
"""Data sets that bring their own labels; the published ones are in `LAYOUTS`."""


def register(name: str, loader: Loader) -> None:
    """Make a data set known under `name`, for `data.dataset` and every command.

    Args:
        name: letters, digits, "-" and "_"; its folder is $RLQKIT_DATA/<name> or `data.root`.
        loader: (root) -> Benchmark; raises RlqkitError for what is wrong with the folder.

    Raises:
        RlqkitError: the name is taken, or can't be a folder's name.
    """
    if name in LOADERS or name in LAYOUTS:
        raise RlqkitError(f"data set {name} is there already: register yours under another name")
    if not name.replace("-", "").replace("_", "").isalnum() or name.startswith("custom-"):
        raise RlqkitError(
            f"data set name {name!r}: use letters, digits, - and _, and not custom- in front"
        )
    LOADERS[name] = loader


def load(
    name: str,
    root: Path | None = None,
    verify: bool = False,
    labels: Path | None = None,
    tolerant: bool = False,
) -> Benchmark:
    """Load the data set called `name`.

    Args:
        name: one of `names()`, or custom-... as `rlqkit data render` names a set of your own.
        root: its folder; by default `default_root(name)`.
        verify: also compare every file with SHA256SUMS (reads all bytes).
        labels: folder of label files and masks of a published data set; by default `labels` in
            the data set's folder.
        tolerant: leave finding people who are in train and in test to `check_dataset`.

    Raises:
        RlqkitError: unknown name; folder missing, empty or incomplete; a table that contradicts
            itself or the files; with `verify`, a file that isn't the one that was shipped.
    """
    _import_own_loaders(os.environ.get("RLQKIT_LOADERS", ""))
    loader = _loader_of(name, labels, tolerant)
    benchmark = loader(default_root(name) if root is None else Path(root))
    if verify and (name not in LAYOUTS or (benchmark.root / "SHA256SUMS").is_file()):
        require_checksums(benchmark.root)
    return benchmark


def is_rendered(name: str) -> bool:
    """Whether a data set is in the embedded one's layout, which brings its SHA256SUMS."""
    return name.startswith("custom-") or LOADERS.get(name) is load_wardrobe


def is_synthetic(name: str, root: Path | None = None) -> bool:
    """Whether a data set's images are rendered, as it says itself, whatever its name.

    A published data set need not be there: what isn't there is taken for photographs.

    Raises:
        RlqkitError: unknown name; a folder that is there and holds something else.
    """
    if is_rendered(name):
        return True
    if name not in LAYOUTS:
        return load(name, root, tolerant=True).synthetic
    folder = default_root(name) if root is None else root
    return folder.is_dir() and is_export(LAYOUTS[name].find(folder))


def names() -> list[str]:
    """All data sets that `load` knows, sorted."""
    return sorted([*LOADERS, *LAYOUTS])


def default_root(name: str) -> Path:
    """$RLQKIT_DATA/<name> if there is such a folder, else data/<name> of the repository.

    A published data set is never in the repository, so for those it is $RLQKIT_DATA/<name> anyway.
    """
    own = os.environ.get("RLQKIT_DATA")
    if own:
        if not Path(own).is_dir():
            raise RlqkitError(
                f"RLQKIT_DATA names {own}, which is no folder: set it to the folder that holds "
                "your data sets, or unset it"
            )
        if name in LAYOUTS or (Path(own) / name).is_dir():
            return Path(own) / name
    return Path(__file__).resolve().parents[2] / "data" / name


@cache
def _import_own_loaders(files: str) -> None:
    """Runs the user's files of loaders, once in a process; workers inherit the variable."""
    for file in filter(None, files.split(os.pathsep)):
        if not Path(file).is_file():
            raise RlqkitError(f"RLQKIT_LOADERS names {file}, which is no file: mend or unset it")
        try:
            runpy.run_path(file)
        except RlqkitError:
            raise
        except Exception as error:
            raise RlqkitError(
                f"RLQKIT_LOADERS: {file} fails with {type(error).__name__}: {one_line(error)}"
            ) from error


def _loader_of(name: str, labels: Path | None, tolerant: bool) -> Loader:
    if name in LAYOUTS:
        return partial(_load_labelled, name, labels=labels, tolerant=tolerant)
    known = "wardrobe-v2" if name.startswith("custom-") else name
    if known not in LOADERS:
        raise RlqkitError(f"unknown data set '{name}': choose one of {', '.join(names())}")
    if labels is not None:
        raise RlqkitError(f"{name} brings its own labels: leave data.labels empty")
    return LOADERS[known]


def _load_labelled(name: str, root: Path, labels: Path | None, tolerant: bool) -> Benchmark:
    """A published data set with the label files that lie beside it."""
    benchmark = load_published(name, root, tolerant)
    given = labels_folder(labels, root, benchmark.root)
    return benchmark if given is None else attach_labels(benchmark, LAYOUTS[name], given)
