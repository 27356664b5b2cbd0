"""Imports point down: the order of the rooms, and no circle of files.

A room may use the rooms above it in ``ROOMS`` and nothing below; ``wardrobe`` may use all of
rlqkit, and rlqkit uses it in the command line alone, inside functions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "errors", "randomness", "files", "progress", "processes", "config", "method", "data",
    "evaluation", "runs", "report", "main_job", "cli", "__main__",
)  # fmt: skip
"""From the ground up; a module of rlqkit may import its own room and those to its left."""
NEVER = {
    "rlqkit.method": ("pandas", "matplotlib", "seaborn", "timm", "safetensors", "PIL.ImageDraw"),
    "rlqkit.evaluation": ("matplotlib", "seaborn", "timm"),
    "rlqkit.data": ("matplotlib", "seaborn", "timm"),
    "rlqkit.report": ("rlqkit.method.training", "rlqkit.runs.reproduce"),
}
"""Room → what it doesn't know, whatever the order says."""
Import = tuple[str, str, bool]  # importing module, imported module, inside a function


def modules(root: Path) -> dict[str, Path]:
    """Name → file of every module of the two packages below a folder."""
    found = {}
    for package in ("rlqkit", "wardrobe"):
        for file in (root / package).rglob("*.py"):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(root: Path) -> Iterator[Import]:
    """Every import of every module, those of names resolved to the module that holds them."""
    known = modules(root)
    for name, file in known.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        at_top = {id(node) for node in tree.body}
        for node in ast.walk(tree):
            inside = id(node) not in at_top
            if isinstance(node, ast.Import):
                yield from ((name, alias.name, inside) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                module = ".".join(filter(None, [_package(name, file, node.level), node.module]))
                for alias in node.names:
                    full = f"{module}.{alias.name}"
                    yield name, full if full in known else module, inside


def _package(name: str, file: Path, level: int) -> str:
    """The package that so many leading dots of an import mean; "" without any."""
    own = name.split(".")[: None if file.name == "__init__.py" else -1]
    return ".".join(own[: len(own) - level + 1]) if level else ""


def breaches(root: Path) -> list[str]:
    """Imports that point up or into a room that must not be known, by file."""
    found = []
    for name, used, inside in imports(root):
        where = f"{name} imports {used}"
        if name.startswith("rlqkit") and used.startswith("wardrobe"):
            if not (name == "rlqkit.cli" and inside):
                found.append(f"{where}: only the command line may, inside a function")
        elif name.startswith("rlqkit.") and used.startswith("rlqkit."):
            own, other = (module.split(".")[1] for module in (name, used))
            if ROOMS.index(other) > ROOMS.index(own):
                found.append(f"{where}: {other} lies above {own}")
        for room, unknown in NEVER.items():
            if name.startswith(room):
                found += [
                    f"{where}: {room} knows no {never}"
                    for never in unknown
                    if used == never or used.startswith(never + ".")
                ]
    return found


def circle(root: Path) -> list[str]:
    """One circle of files, imports inside functions included; [] if there is none."""
    known = modules(root)
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, used, _ in imports(root):
        if used in known and used != name:
            graph[name].add(used)
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def test_imports_point_down() -> None:
    assert breaches(ROOT) == []


def test_no_circle() -> None:
    assert circle(ROOT) == []


def test_every_room_has_its_place() -> None:
    rooms = {name.split(".")[1] for name in modules(ROOT) if name.startswith("rlqkit.")}
    assert rooms <= set(ROOMS)


@pytest.mark.parametrize(
    ("file", "line", "says"),
    [
        ("method/losses.py", "import pandas", "rlqkit.method.losses imports pandas"),
        (
            "data/images.py",
            "from rlqkit.runs import plan",
            "images imports rlqkit.runs",
        ),
        ("data/images.py", "from ..runs import plan", "images imports rlqkit.runs"),
        ("evaluation/metrics.py", "from wardrobe import audit", "imports wardrobe.audit"),
        ("report/tables.py", "from rlqkit.method.training import Training", "method.training"),
    ],
)
def test_a_breach_is_named(tmp_path: Path, file: str, line: str, says: str) -> None:
    for name, source in modules(ROOT).items():
        target = tmp_path / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8")
        if source == ROOT / "rlqkit" / file:
            text = text.replace("from __future__ import annotations", f"{line}", 1)
            assert line in text, name
        target.write_text(text, encoding="utf-8")
    assert any(says in breach for breach in breaches(tmp_path))


def test_a_circle_is_named(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "three"), ("three", "one")):
        file = tmp_path / "rlqkit" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"def later():\n    from rlqkit import {other}\n", encoding="utf-8")
    assert set(circle(tmp_path)) == {"rlqkit.one", "rlqkit.two", "rlqkit.three"}
