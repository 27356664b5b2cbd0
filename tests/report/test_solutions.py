"""Exercises: blank ones go on, wrong answers are refused, solutions must fit the notebook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from rlqkit.errors import RlqkitError
from rlqkit.report.notebook import check_answer
from rlqkit.report.solutions import paste_solutions, read_solutions

SOLUTIONS = """'''Solutions of notebook 04.'''

# %% Exercise 4.1
answer = 2

# %% Exercise 4.1 wrong
answer = 3

# %% Exercise 4.2
def double(x):
    return 2 * x


answer = double

# %% Exercise 4.2 wrong
def double(x):
    return x


answer = double
"""


def todo(x: int) -> int: ...  # type: ignore[empty-body]


def documented(x: int) -> int:
    """What it should give."""
    ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    "answer",
    [..., todo, documented, (1, ...), [...], {"a": ..., "b": 2}],
    ids=["dots", "todo", "documented", "tuple", "list", "dict"],
)
def test_a_blank_exercise_says_so_and_goes_on(
    answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    check_answer(answer, lambda a: 1 / 0, "praise", "hint")
    assert "Not answered yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer",
    [2, np.float32(2), [2], lambda x: 2, None],
    ids=["int", "float", "list", "function", "none"],
)
def test_answers_are_right_or_raise_with_the_hint(
    answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    check_answer(answer, lambda a: True, "It is even.", "hint")
    assert capsys.readouterr().out == "Right. It is even.\n"
    with pytest.raises(AssertionError, match="Not yet. Think of pairs"):
        check_answer(answer, lambda a: np.bool_(False), "praise", "Think of pairs.")


def test_an_answer_that_breaks_the_check_is_wrong_and_says_why() -> None:
    with pytest.raises(AssertionError, match=r"Not yet \(TypeError: .*\). A number, please"):
        check_answer("two", lambda a: abs(a - 2) < 1, "praise", "A number, please.")


def notebook_with(*numbers: str) -> NotebookNode:
    cells = [new_code_cell("start = 1")]
    for number in numbers:
        blank = f"# Exercise {number}\nanswer = ..."
        check = f"check_answer(answer, lambda a: right('{number}', a), 'praise', 'hint')"
        cells += [
            new_code_cell(blank, metadata={"tags": ["exercise"]}),
            new_code_cell(check, metadata={"tags": ["check"]}),
        ]
    return new_notebook(cells=cells)


def right(number: str, answer: Any) -> bool:
    return bool(answer == 2 if number == "4.1" else answer(3) == 6)


def written(tmp_path: Path, text: str = SOLUTIONS) -> Path:
    file = tmp_path / "04_losses.py"
    file.write_text(text, encoding="utf-8")
    return file


def run(notebook: NotebookNode, verdict: Callable[[str, Any], bool] = right) -> None:
    namespace: dict[str, Any] = {"check_answer": check_answer, "right": verdict}
    for cell in notebook.cells:
        exec(compile(cell.source, cell.id, "exec"), namespace)


def test_solutions_are_pasted_over_the_exercises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = notebook_with("4.1", "4.2")
    solved = paste_solutions(blank, written(tmp_path))
    assert len(solved.cells) == len(blank.cells) and blank == notebook_like(blank)
    assert solved.cells[1].source == "# Exercise 4.1 (solution)\nanswer = 2"
    assert "return 2 * x" in solved.cells[3].source
    run(blank)
    assert capsys.readouterr().out.count("Not answered yet") == 2
    run(solved)
    assert capsys.readouterr().out.count("Right. ") == 2


def notebook_like(notebook: NotebookNode) -> NotebookNode:
    """The same notebook made anew, with the ids of the first."""
    other = notebook_with("4.1", "4.2")
    for cell, twin in zip(other.cells, notebook.cells, strict=True):
        cell.id = twin.id
    return other


def test_tried_exercises_see_blank_wrong_and_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = paste_solutions(notebook_with("4.1", "4.2"), written(tmp_path), tried=True)
    run(tried)
    said = capsys.readouterr().out
    for words in ("Not answered yet", "refused: Not yet", "Right. "):
        assert said.count(words) == 2, words


@pytest.mark.parametrize("lenient", ["4.1", "4.2"])
def test_a_check_that_accepts_the_wrong_answer_fails(tmp_path: Path, lenient: str) -> None:
    tried = paste_solutions(notebook_with("4.1", "4.2"), written(tmp_path), tried=True)
    with pytest.raises(RuntimeError, match=f"exercise {lenient}: its check accepts the wrong"):
        run(tried, lambda number, answer: number == lenient or right(number, answer))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("# %% Exercise 4.2", "# %% Exercise 4.3", "exercise 4.3 lacks its block"),
        ("# %% Exercise 4.2 wrong", "", 'exercise 4.2 lacks its block "# %% Exercise 4.2 wrong"'),
        ("# %% Exercise 4.1\n", "# %% Exercise 4.1 again\n", 'header "# %% Exercise 4.1 again"'),
        ("# %% Exercise 4.2 wrong", "# %% Exercise 4.1", "stands twice"),
        ("answer = 3", "an answer", "Exercise 4.1 wrong is no Python"),
        ("answer = 3", "print(3)", "Exercise 4.1 wrong never sets answer"),
        (SOLUTIONS, "", "exercise 4.1 of 04_losses has no solution"),
        (SOLUTIONS, SOLUTIONS.replace("4.2", "4.3"), "exercise 4.2 of 04_losses has no solution"),
        (SOLUTIONS, SOLUTIONS + SOLUTIONS.replace("4.", "4.9"), "has no exercise 4.9"),
    ],
)
def test_solutions_that_do_not_fit_are_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in SOLUTIONS
    file = written(tmp_path, SOLUTIONS.replace(old, new, 1))
    with pytest.raises(RlqkitError) as caught:
        paste_solutions(notebook_with("4.1", "4.2"), file)
    assert says in str(caught.value) and str(file) in str(caught.value)


def test_a_missing_file_of_solutions_is_named_where_there_are_exercises(tmp_path: Path) -> None:
    missing = tmp_path / "04_losses.py"
    with pytest.raises(RlqkitError, match="04_losses.py is missing"):
        paste_solutions(notebook_with("4.1"), missing)
    with pytest.raises(RlqkitError, match="is missing"):
        read_solutions(missing)
    assert len(paste_solutions(notebook_with(), missing).cells) == 1


@pytest.mark.parametrize(
    ("first_line", "says"),
    [
        ("# Exercise 4.1", "exercise 4.1 stands twice"),
        ("# Exercise 5.1", 'should begin with a line like "# Exercise 4.1"'),
        ("answer = ...", 'should begin with a line like "# Exercise 4.1"'),
    ],
)
def test_exercise_cells_are_numbered(tmp_path: Path, first_line: str, says: str) -> None:
    notebook = notebook_with("4.1", "4.2")
    notebook.cells[3].source = f"{first_line}\nanswer = ..."
    with pytest.raises(RlqkitError) as caught:
        paste_solutions(notebook, written(tmp_path))
    assert says in str(caught.value)


def test_an_exercise_without_its_check_is_named(tmp_path: Path) -> None:
    notebook = notebook_with("4.1", "4.2")
    del notebook.cells[2]
    with pytest.raises(RlqkitError, match="the cell after exercise 4.1 should be its check"):
        paste_solutions(notebook, written(tmp_path))
