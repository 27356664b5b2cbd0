"""Small machines and other systems: no CUDA where there is no GPU, nothing that only POSIX has."""

from __future__ import annotations

import ast
import os
import pickle
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rlqkit.config import load_profile
from rlqkit.data import loaders
from rlqkit.data.imageset import Benchmark
from rlqkit.method.rows import find_row

ROOT = Path(__file__).resolve().parents[1]
LOCKED = {
    canonicalize_name(requirement.name): requirement
    for requirement in (
        Requirement(line)
        for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
}
INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of CPU builds."""


# ------------------------------------------------------------------------------- without CUDA


def test_cuda_is_what_torch_asks_for_on_linux_and_nothing_else_needs() -> None:
    """So leaving torch's CUDA requirements out leaves exactly the marked lines of the lock out."""
    marked = {name for name, requirement in LOCKED.items() if requirement.marker}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    without = needed_for(map(Requirement, asked), leave_out=marked)
    assert without == LOCKED.keys() - marked
    assert {"triton", "nvidia-cudnn-cu13"} <= marked < LOCKED.keys()


def needed_for(asked: Iterable[Requirement], leave_out: set[str]) -> set[str]:
    """Names of all that packages need, but for some names and what only those need."""
    waiting = [(requirement, frozenset[str]()) for requirement in asked]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement, extras = waiting.pop()
        marker = requirement.marker
        applies = marker is None or any(marker.evaluate({"extra": one}) for one in ("", *extras))
        wanted = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if not applies or wanted in seen or wanted[0] in leave_out:
            continue
        seen.add(wanted)
        needed = map(Requirement, metadata.requires(wanted[0]) or [])
        waiting += [(one, wanted[1]) for one in needed]
    return {name for name, _ in seen}


@pytest.fixture
def bare_copy(tmp_path: Path) -> Path:
    """A folder with what `make install` reads, in which nothing is installed."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("requirements.lock", "pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def dry_make(folder: Path, *arguments: str) -> str:
    own = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "CPU", "EXTRAS", "PYTHON", "CI"}
    surroundings = {name: value for name, value in os.environ.items() if name not in own}
    command = ["make", "--no-print-directory", "-n", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings)
    return done.stdout


def test_make_without_cuda(bare_copy: Path) -> None:
    installs = [line for line in dry_make(bare_copy, "install", "CPU=1").splitlines()
                if "pip install" in line]  # fmt: skip
    setuptools, torch, rest = installs
    pins = f"torch{LOCKED['torch'].specifier} torchvision{LOCKED['torchvision'].specifier}"
    assert torch.endswith(f"--index-url {INDEX} --no-deps {pins}")
    assert setuptools.endswith("-c requirements.lock setuptools")
    assert rest.endswith("-c requirements.lock --no-build-isolation -e '.[dev]'")
    assert not any("-r requirements.lock" in line for line in installs)
    extra = dry_make(bare_copy, "install", "CPU=1", "EXTRAS=label")
    assert "-e '.[dev,label]'" in extra


def test_an_environment_without_cuda_stays_so(bare_copy: Path) -> None:
    """After an update of the lock `make test` installs again; CPU=1 needs saying only once."""
    assert "-r requirements.lock" in dry_make(bare_copy, "test")
    (bare_copy / ".venv").mkdir()
    (bare_copy / ".venv" / ".cpu").write_text("1\n", encoding="utf-8")
    again = dry_make(bare_copy, "test")
    assert INDEX in again and "-r requirements.lock" not in again
    assert INDEX not in dry_make(bare_copy, "test", "CPU=")


def test_make_installs_extras_at_the_versions_of_the_lock(bare_copy: Path) -> None:
    lines = dry_make(bare_copy, "install", "EXTRAS=label")
    assert "-c requirements.lock --no-build-isolation -e '.[label]'" in lines
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (pinned,) = map(Requirement, extras["optional-dependencies"]["label"])
    assert pinned.name == "transformers" and str(pinned.specifier).startswith("==")


def test_both_conda_environments_agree_with_the_lock() -> None:
    whole, small = (yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
                    for name in ("environment.yml", "environment-cpu.yml"))  # fmt: skip
    assert small["name"] == whole["name"] and small["channels"] == whole["channels"]
    *conda, pip = small["dependencies"]
    assert conda == whole["dependencies"][:-1]
    index, constraints, torch, torchvision, kit = pip["pip"]
    assert index == f"--extra-index-url {INDEX}"
    assert (constraints, kit) == ("-c requirements.lock", "-e .[dev]")
    for line in map(Requirement, (torch, torchvision)):
        (pin,) = line.specifier
        assert pin.version == f"{str(LOCKED[line.name].specifier)[2:]}+cpu"
        assert LOCKED[line.name].specifier.contains(pin.version)


def test_readme_says_what_replaces_make() -> None:
    """Its commands for Windows are what the Makefile runs."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in (
        "-m venv", "-r requirements.lock", "--no-deps --no-build-isolation -e .",
        "-m rlqkit reproduce --profile", "-m pytest",
    ):  # fmt: skip
        assert command in makefile and command in readme, command
    assert "make install CPU=1" in readme and "environment-cpu.yml" in readme


# -------------------------------------------------------------------------------- other systems

NOWHERE_ELSE = {
    "os": {
        "chown", "fork", "forkpty", "geteuid", "getgid", "getloadavg", "getpgid", "getppid",
        "getuid", "killpg", "link", "mkfifo", "nice", "pipe2", "rename", "sched_getaffinity",
        "setpgid", "setsid", "spawnlp", "statvfs", "symlink", "sync", "uname", "wait", "waitpid",
    },
    "signal": {
        "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "alarm", "pause",
        "setitimer", "sigwait",
    },
}  # fmt: skip
"""What a module has on POSIX only, or what means something else on Windows: os.getppid names a
parent that ended long ago, os.rename fails where the target exists (os.replace doesn't)."""
MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
METHODS = {"hardlink_to", "symlink_to", "mkfifo"}
OPTIONS = {"preexec_fn", "process_group", "start_new_session"}
PLACES = ("/bin/", "/dev/", "/etc/", "/proc/", "/tmp", "/usr/", "/var/")
FALLS_BACK = {("rlqkit/runs/environment.py", "/proc/cpuinfo")}
"""Read if it is there; elsewhere `platform.processor` answers."""


def posix_only(source: str) -> Iterator[tuple[int, str]]:
    """(line, what) of everything in a module that other systems haven't got."""
    for node in ast.walk(ast.parse(source)):
        what = _posix_only(node)
        if what:
            yield getattr(node, "lineno", 0), what


def _posix_only(node: ast.AST) -> str:
    if isinstance(node, ast.Import):
        return next((a.name for a in node.names if a.name in MODULES), "")
    if isinstance(node, ast.ImportFrom):
        taken = NOWHERE_ELSE.get(node.module or "", set())
        wrong = [alias.name for alias in node.names if alias.name in taken]
        return str(node.module) if node.module in MODULES else next(iter(wrong), "")
    if isinstance(node, ast.Attribute):
        holder = node.value.id if isinstance(node.value, ast.Name) else ""
        if node.attr in METHODS or node.attr in NOWHERE_ELSE.get(holder, set()):
            return f"{holder}.{node.attr}"
    if isinstance(node, ast.Call):
        return _posix_only_call(node)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if node.value.startswith(PLACES) else ""
    return ""


def _posix_only_call(node: ast.Call) -> str:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    given = {word.arg: word.value for word in node.keywords}
    options = [option for option in OPTIONS if option in given]
    if options:
        return options[0]
    values = [*node.args, *given.values()]
    texts = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
    if name in ("get_context", "set_start_method") and {"fork", "forkserver"} & set(texts):
        return f"{name}: fork"
    if name in ("read_text", "write_text", "open") and _is_text_without_encoding(node, name):
        return f"{name} without an encoding, which is cp1252 on Windows"
    return ""


def _is_text_without_encoding(node: ast.Call, name: str) -> bool:
    """Whether text is read or written in whatever encoding the system has."""
    given = {word.arg for word in node.keywords}
    if "encoding" in given or (name == "open" and not isinstance(node.func, ast.Name)):
        return False  # Image.open, tarfile.open and the like
    if name != "open":  # read_text of ours takes a path; Path's takes the encoding first
        return isinstance(node.func, ast.Attribute) and len(node.args) == (name == "write_text")
    mode = node.args[1] if len(node.args) > 1 else None
    return not (isinstance(mode, ast.Constant) and "b" in str(mode.value))


POSIX_LINES = {
    "os.fork()": "os.fork",
    "os.symlink(a, b)": "os.symlink",
    "os.rename(a, b)": "os.rename",
    "os.getppid()": "os.getppid",
    "from os import uname": "uname",
    "import fcntl": "fcntl",
    "from resource import getrusage": "resource",
    "os.kill(number, signal.SIGKILL)": "signal.SIGKILL",
    "path.symlink_to(other)": "path.symlink_to",
    "get_context('fork')": "get_context: fork",
    "multiprocessing.set_start_method(method='fork')": "set_start_method: fork",
    "Popen(command, start_new_session=True)": "start_new_session",
    "open('/dev/null', 'rb')": "/dev/null",
    "path.read_text()": "read_text without an encoding",
    "path.write_text(text)": "write_text without an encoding",
    "open(file)": "open without an encoding",
    "open(file, 'w')": "open without an encoding",
}
COMMON_LINES = (
    "get_context('spawn')",
    "os.replace(a, b)",
    "os.kill(number, 0)",
    "path.read_text(encoding='utf-8')",
    "file.read_text('utf-8')",
    "read_text(file)",
    "path.write_text(text, encoding='utf-8')",
    "open(file, 'rb')",
    "Image.open(file)",
    "table.rename(columns=names)",
    "'a/dev/b'",
)


@pytest.mark.parametrize("line", POSIX_LINES)
def test_the_search_finds_what_only_posix_has(line: str) -> None:
    assert any(what.startswith(POSIX_LINES[line]) for _, what in posix_only(line))


@pytest.mark.parametrize("line", COMMON_LINES)
def test_the_search_lets_pass_what_every_system_has(line: str) -> None:
    assert not list(posix_only(line))


def test_the_kit_calls_nothing_that_only_posix_has() -> None:
    found = [
        f"{name}:{line}: {what}"
        for path in sorted((ROOT / "rlqkit").rglob("*.py"))
        for name in (path.relative_to(ROOT).as_posix(),)
        for line, what in posix_only(path.read_text(encoding="utf-8"))
        if (name, what) not in FALLS_BACK
    ]
    assert found == []


def committed() -> list[tuple[str, str]]:
    """(mode, path) of each file in the repository's index."""
    command = ["git", "-C", str(ROOT), "ls-files", "-s", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not in a git checkout")
    return [(line.split()[0], line.partition("\t")[2]) for line in listed.split("\0") if line]


def test_every_file_can_be_checked_out_on_every_system() -> None:
    """No links, no name that Windows refuses, none that differs in case alone, none too long."""
    files = committed()
    paths = [path for _, path in files]
    assert len(paths) > 1000
    assert [path for mode, path in files if mode == "120000"] == []
    reserved = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
    refused = [
        path
        for path in paths
        if re.search(r'[<>:"\\|?*\x00-\x1f]', path)
        or any(part.endswith((".", " ")) or reserved.fullmatch(part) for part in path.split("/"))
    ]
    assert refused == []
    assert len({path.lower() for path in paths}) == len(paths)
    assert max(map(len, paths)) < 150  # of the 260 that Windows allows, home folder included


def test_images_can_be_handed_to_spawned_workers(
    tiny_wardrobe: Path, tiny_benchmark: Benchmark
) -> None:
    """Where processes are not forked, data sets are pickled: all of each must survive that."""
    root = str(tiny_wardrobe)
    config = load_profile("smoke", {"data.root": root, "data.external_root": root})
    target = loaders.target_data(tiny_benchmark["train"], find_row("cap"), config)
    external = loaders.external_data(tiny_benchmark["external"], config)
    shown = loaders.evaluation_images(tiny_benchmark["query"], "mixed LQ", config)
    for images, sampler in ((target.images, target.sampler), (external.images, external.sampler),
                            (shown, range(len(shown)))):  # fmt: skip
        copy = pickle.loads(pickle.dumps(images))
        draw = next(iter(sampler))
        same(images[draw], copy[draw])


def same(one: object, other: object) -> None:
    """Both are alike, whatever they are made of."""
    if isinstance(one, dict):
        assert isinstance(other, dict) and one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert isinstance(other, list | tuple) and len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            same(mine, theirs)
    else:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
