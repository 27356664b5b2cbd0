"""Machines that lack what libraries take for granted, or have what they talk about."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rlqkit.files import CACHES, cache_folder, use_writable_caches

NOWHERE = "/proc/nowhere"
"""A home that can't be made, not even by root."""
unix = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody can write")


def test_tests_remember_nothing_in_the_users_cache() -> None:
    """Neither here nor in a process that a test starts, though that may read conftest.py again."""
    assert cache_folder().name.startswith("rlqkit-tests-") and cache_folder().is_dir()
    show = "import conftest; from rlqkit.files import cache_folder; print(cache_folder())"
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(
        [sys.executable, "-c", show], capture_output=True, text=True, check=True, env=surroundings
    )
    assert told.stdout.strip() == str(cache_folder())
    assert cache_folder().is_dir()


@pytest.fixture
def no_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library has been told where to write; what a test sets is taken back after it."""
    for name in CACHES:
        monkeypatch.setenv(name, "")


@unix
def test_libraries_may_write_where_the_home_folder_is_none(
    no_caches: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", NOWHERE)
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    use_writable_caches()
    places = {name: Path(os.environ[name]) for name in CACHES}
    assert places["MPLCONFIGDIR"] == tmp_path  # the user's own stays
    assert len(set(places.values())) == len(CACHES)
    for place in places.values():
        with tempfile.TemporaryFile(dir=place):
            pass


def test_a_home_that_can_be_written_is_used(
    no_caches: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    use_writable_caches()
    assert not any(os.environ[name] for name in CACHES)


@unix
def test_compiled_functions_are_kept_though_packages_and_home_are_read_only(tmp_path: Path) -> None:
    """What UMAP does on import, with numba kept from the folders that would be read only."""
    module = "import numba\n\n@numba.njit(cache=True)\ndef double(x):\n    return 2 * x\n"
    (tmp_path / "compiled.py").write_text(module, encoding="utf-8")
    work = (
        "from rlqkit.files import use_writable_caches; use_writable_caches(); "
        "import compiled; print(compiled.double(21))"
    )
    surroundings = {k: v for k, v in os.environ.items() if k not in CACHES} | {
        "HOME": NOWHERE, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator,UserWideCacheLocator",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", work], env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "42", done.stderr[-500:]


def test_no_hint_about_srun_where_slurm_is_installed(tmp_path: Path) -> None:
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\n", encoding="utf-8")
    srun.chmod(0o755)
    work = (
        "from rlqkit.config import load_profile; from rlqkit.runs.device import launch_fabric; "
        "launch_fabric(load_profile('smoke', {'training.precision': '32-true'}))"
    )
    surroundings = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", work], env=surroundings, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
