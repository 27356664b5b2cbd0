"""Solutions of the notebooks' exercises: read from ``notebooks/solutions``, pasted, tried.

A notebook's exercises are blank. ``notebooks/solutions/<notebook>.py`` is a file of percent cells
with two of them for each exercise, the answer and a wrong one that the check must refuse::

    # %% Exercise 4.1
    answer = 0.5

    # %% Exercise 4.1 wrong
    answer = 2.0
"""

from __future__ import annotations

import ast
import re
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from rlqkit.errors import RlqkitError

HEADER = re.compile(r"# %% Exercise (\d+\.\d+)( wrong)?")
FIRST_LINE = re.compile(r"# Exercise (\d+\.\d+)")
EXERCISE, CHECK = "exercise", "check"
"""Tags of a cell that the reader fills in, and of the cell after it, which calls check_answer."""
MARK = " (solution)"
"""What the first line of a pasted solution ends with."""


@dataclass(frozen=True)
class Solution:
    """Code for one exercise cell.

    Attributes:
        right: sets ``answer`` so that the check accepts it.
        wrong: sets ``answer`` so that the check refuses it.
    """

    right: str
    wrong: str


def solutions_file(notebook: Path) -> Path:
    """Where the solutions of a notebook lie."""
    return notebook.parent / "solutions" / f"{notebook.stem}.py"


def read_solutions(file: Path) -> dict[str, Solution]:
    """Number of the exercise, as in "4.1", → its solution.

    Raises:
        RlqkitError: there is no such file; a header that is none of the two; an exercise that
            stands twice, lacks one of its two blocks, holds no Python or never sets ``answer``.
    """
    if not file.is_file():
        raise RlqkitError(f"{file} is missing: it holds the solutions of {file.stem}'s exercises")
    blocks: dict[tuple[str, bool], list[str]] = {}
    lines: list[str] = []  # those above the first header belong to no exercise
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# %%"):
            lines.append(line)
            continue
        found = HEADER.fullmatch(line.rstrip())
        if not found:
            raise RlqkitError(
                f'{file}: the header "{line}" should read "# %% Exercise 4.1" or '
                '"# %% Exercise 4.1 wrong"'
            )
        key = (found[1], bool(found[2]))
        if key in blocks:
            raise RlqkitError(f'{file}: "{line}" stands twice; keep one of them')
        lines = blocks[key] = []
    numbers = dict.fromkeys(number for number, _ in blocks)
    return {
        number: Solution(*(_block(file, blocks, number, wrong) for wrong in (False, True)))
        for number in numbers
    }


def _block(file: Path, blocks: dict[tuple[str, bool], list[str]], number: str, wrong: bool) -> str:
    name = f"Exercise {number}" + " wrong" * wrong
    if (number, wrong) not in blocks:
        raise RlqkitError(f'{file}: exercise {number} lacks its block "# %% {name}"; add it')
    code = "\n".join(blocks[number, wrong]).strip("\n")
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        raise RlqkitError(
            f"{file}: {name} is no Python ({error.msg}, line {error.lineno})"
        ) from None
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    if not any(node.id == "answer" and isinstance(node.ctx, ast.Store) for node in names):
        raise RlqkitError(f"{file}: {name} never sets answer; it must, as its check reads it")
    return code


def exercises_of(notebook: NotebookNode, name: str) -> dict[str, int]:
    """Number of each exercise, as in "4.1", → place of its cell; the check is the cell after it.

    Args:
        notebook: nbformat 4.
        name: file name without suffix; it begins with the notebook's number.

    Raises:
        RlqkitError: an exercise cell has another first line than "# Exercise <notebook>.<number>",
            the number stands twice, or the next cell is not tagged as its check.
    """
    places: dict[str, int] = {}
    for place, cell in enumerate(notebook.cells):
        if EXERCISE not in cell.metadata.get("tags", []):
            continue
        found = FIRST_LINE.fullmatch(cell.source.partition("\n")[0].rstrip())
        own = f"{int(name[:2])}."
        if not found or not found[1].startswith(own):
            raise RlqkitError(
                f"{name}: the exercise in cell {cell.get('id', place)} should begin with a line "
                f'like "# Exercise {own}1"'
            )
        if found[1] in places:
            raise RlqkitError(f"{name}: exercise {found[1]} stands twice; give one another number")
        after = notebook.cells[place + 1 : place + 2]
        if not after or CHECK not in after[0].metadata.get("tags", []):
            raise RlqkitError(
                f'{name}: the cell after exercise {found[1]} should be its check, tagged "{CHECK}"'
            )
        places[found[1]] = place
    return places


def paste_solutions(notebook: NotebookNode, file: Path, tried: bool = False) -> NotebookNode:
    """A copy of a notebook with the solutions in its exercise cells.

    Args:
        notebook: with blank exercises; it is not changed. Without exercises it needs no file.
        file: its solutions; the notebook has the same name.
        tried: also put cells in front of each solution that see the check go on at the blank
            exercise and refuse the wrong answer; they fail if it doesn't.

    Raises:
        RlqkitError: an exercise has no solution, or a solution no exercise; or as
            ``read_solutions`` and ``exercises_of``.
    """
    copy = deepcopy(notebook)
    places = exercises_of(copy, file.stem)
    solutions = read_solutions(file) if places or file.is_file() else {}
    for number in sorted(places.keys() - solutions.keys()):
        raise RlqkitError(f"{file}: exercise {number} of {file.stem} has no solution; add it")
    for number in sorted(solutions.keys() - places.keys()):
        raise RlqkitError(f"{file}: {file.stem} has no exercise {number}; take its two blocks out")
    for number, place in reversed(places.items()):  # from the end, so that places stay true
        cell, check = copy.cells[place : place + 2]
        trials = _trials(number, cell, check, solutions[number]) if tried else []
        cell.source = f"# Exercise {number}{MARK}\n{solutions[number].right}"
        copy.cells[place:place] = trials
    return copy


def _trials(
    number: str, cell: NotebookNode, check: NotebookNode, solution: Solution
) -> list[NotebookNode]:
    """Cells that fail unless the check goes on at the blank and refuses the wrong answer."""
    refused = ast.parse(
        f"try:\n    pass\nexcept AssertionError as refusal:\n"
        f"    print(f'Exercise {number} refused: {{refusal}}')\n"
        f"else:\n    raise RuntimeError('exercise {number}: its check accepts the wrong answer')"
    )
    refused.body[0].body = ast.parse(check.source).body  # type: ignore[attr-defined]
    sources = {
        "blank": cell.source,
        "blank-check": check.source,
        "wrong": f"# Exercise {number} wrong\n{solution.wrong}",
        "wrong-check": ast.unparse(refused),
    }
    return [
        new_code_cell(source, id=f"trial-{number.replace('.', '-')}-{name}", metadata={})
        for name, source in sources.items()
    ]
