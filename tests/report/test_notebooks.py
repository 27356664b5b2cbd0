"""Sources of the notebooks: one form, one chain, exercises with solutions; then executed."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from fresh_people import write_fresh_people

from rlqkit.config import Config, load_profile
from rlqkit.report.execute import execute_notebooks
from rlqkit.report.page import NOTEBOOKS
from rlqkit.report.site import neighbours, reading_order
from rlqkit.report.solutions import CHECK, EXERCISE, exercises_of, paste_solutions, solutions_file
from rlqkit.runs.folder import run_id
from rlqkit.runs.plan import planned_runs
from rlqkit.runs.reproduce import train_all

NAMES = (
    "00_tour", "01_reid_in_ten_minutes", "02_data", "03_degradations", "04_losses_from_scratch",
    "05_network_and_base_model", "06_coarse_attributes", "07_cap_and_tad", "08_evaluation",
    "09_ablation", "10_paper_tables", "11_autopsy", "12_feature_collapse",
    "13_audit", "14_real_data",
)  # fmt: skip
LONGEST_CELL = 40
WAY = re.compile(r"\*\*(?P<where>Previous|Next):\*\* \[[^\]]+\]\((?P<name>\w+)\.ipynb\)")
"""A link to the notebook before or after, in the last cell."""


@pytest.fixture(params=NAMES)
def notebook(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One notebook as its JSON."""
    file = NOTEBOOKS / f"{request.param}.ipynb"
    source: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    source["name"] = request.param
    return source


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def cells(notebook: dict[str, Any], kind: str, tag: str = "") -> list[dict[str, Any]]:
    return [
        cell
        for cell in notebook["cells"]
        if cell["cell_type"] == kind and (not tag or tag in cell["metadata"].get("tags", []))
    ]


def test_the_notebooks_are_all_there_in_the_order_of_the_index() -> None:
    assert tuple(reading_order(NOTEBOOKS)) == NAMES


def test_the_index_calls_each_as_its_title_does() -> None:
    """Up to a colon, where a title goes on."""
    index = json.loads((NOTEBOOKS / "index.ipynb").read_text(encoding="utf-8"))
    named = dict(re.findall(r"\[(\d\d · [^\]]+)\]\((\w+)\.ipynb\)", text(index["cells"][0])))
    assert tuple(named.values()) == NAMES
    for title, name in named.items():
        source = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
        first = text(source["cells"][0]).splitlines()[0]
        assert first.partition(":")[0] == f"# {title}"


def test_they_form_one_chain(notebook: dict[str, Any]) -> None:
    """Each ends with the way to the one before and the one after, and with no other."""
    before, after = neighbours(notebook["name"], NAMES)
    ways = {found["where"]: found["name"] for found in WAY.finditer(text(notebook["cells"][-1]))}
    assert ways.get("Previous", "") == before and ways.get("Next", "") == after


def test_links_to_notebooks_and_files_lead_somewhere(notebook: dict[str, Any]) -> None:
    for cell in cells(notebook, "markdown"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text(cell)):
            assert (NOTEBOOKS / target).exists(), target


def test_stripped(notebook: dict[str, Any]) -> None:
    for cell in cells(notebook, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]
        assert set(cell["metadata"]) <= {"tags"}, cell["id"]


def test_kernel_and_format(notebook: dict[str, Any]) -> None:
    kernel = notebook["metadata"]["kernelspec"]
    assert kernel["name"] == "python3" and kernel["language"] == "python"
    assert set(notebook["metadata"]["language_info"]) <= {"name"}  # no version of anyone's Python
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)


def test_parameters(notebook: dict[str, Any]) -> None:
    """One tagged cell of plain assignments, the four that every notebook takes among them."""
    (cell,) = cells(notebook, "code", "parameters")
    assert cell is cells(notebook, "code")[0]
    values = {}
    for statement in ast.parse(text(cell)).body:
        assert isinstance(statement, ast.Assign), text(cell)
        (target,) = statement.targets
        assert isinstance(target, ast.Name)
        values[target.id] = ast.literal_eval(statement.value)
    ours = {"profile": "quick", "results": "../results", "seed": 1, "overrides": {}}
    assert {key: values.get(key) for key in ours} == ours
    assert all(isinstance(v, str | int | float) for k, v in values.items() if k != "overrides")


def test_title_claim_start_words_and_findings(notebook: dict[str, Any]) -> None:
    first = notebook["cells"][0]
    assert text(first).startswith(f"# {notebook['name'][:2]} · ")
    assert "**Claim.**" in text(first) and len(text(first).split()) > 20
    assert "start(profile, results, seed, overrides)" in text(cells(notebook, "code")[1])
    assert any("<details>" in text(cell) for cell in notebook["cells"][:6])  # words explained
    assert any("hat we found" in text(cell) for cell in notebook["cells"])


def test_cells_are_short(notebook: dict[str, Any]) -> None:
    for cell in cells(notebook, "code"):
        lines = text(cell).splitlines()
        assert 0 < len(lines) <= LONGEST_CELL, cell["id"]
        assert max(map(len, lines)) <= 100, cell["id"]
        ast.parse(text(cell))


def test_no_machine_is_named(notebook: dict[str, Any]) -> None:
    source = json.dumps(notebook["cells"])
    assert not re.search(r"/(home|root|Users|tmp|work)/", source)


def test_figures_are_saved_under_the_notebooks_number(notebook: dict[str, Any]) -> None:
    calls = [
        node
        for cell in cells(notebook, "code")
        for node in ast.walk(ast.parse(text(cell)))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("save_figure")
    ]
    names = [ast.unparse(call.args[1]).lstrip("f").strip("'\"") for call in calls]
    assert names and len(set(names)) == len(names)
    assert all(name.startswith(f"{notebook['name'][:2]}_") for name in names), names


def test_three_to_five_exercises_with_solutions(notebook: dict[str, Any]) -> None:
    name = notebook["name"]
    source = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    places = exercises_of(source, name)
    assert list(places) == [f"{int(name[:2])}.{k}" for k in range(1, len(places) + 1)]
    assert 3 <= len(places) <= 5
    paste_solutions(source, solutions_file(NOTEBOOKS / f"{name}.ipynb"))
    for place in places.values():
        assert "..." in source.cells[place].source, "it should be blank"
        assert "check_answer(" in source.cells[place + 1].source


def test_sections_and_exercises_have_headings_of_one_form(notebook: dict[str, Any]) -> None:
    prose = "\n\n".join(text(cell) for cell in cells(notebook, "markdown"))
    sections = re.findall(r"^## (?!Exercises$|What we found)(.*)$", prose, re.MULTILINE)
    assert [section.split()[0] for section in sections] == [
        f"{number}." for number in range(1, len(sections) + 1)
    ]
    assert prose.count("## Exercises\n") == 1
    headings = re.findall(r"^\*\*(\d+\.\d+) \((\w+)\)\.\*\*", prose, re.MULTILINE)
    exercises = [text(cell).partition("\n")[0] for cell in cells(notebook, "code", EXERCISE)]
    assert [f"# Exercise {number}" for number, _ in headings] == exercises
    assert {kind for _, kind in headings} <= {"predict", "implement", "break", "explain"}


def test_nothing_after_an_exercise_depends_on_it(notebook: dict[str, Any]) -> None:
    """So that a notebook with blank exercises runs to its end."""
    known: set[str] = set()
    theirs: set[str] = set()
    for cell in cells(notebook, "code"):
        tags = cell["metadata"].get("tags", [])
        stored, loaded = names_in(text(cell))
        if EXERCISE in tags:
            theirs |= stored - known
        elif CHECK not in tags:
            assert not (loaded - stored) & (theirs - known), cell["id"]
            known |= stored


def names_in(code: str) -> tuple[set[str], set[str]]:
    """Names that a cell binds, and names that it reads."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    stored |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return stored, {node.id for node in names if isinstance(node.ctx, ast.Load)}


# ------------------------------------------------------------------------------------ executed


@pytest.fixture(scope="module")
def prepared(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The smoke profile on the tiny data set with every run of the ablation done.

    Test people are those of another folder, as in the main job.
    """
    fresh = write_fresh_people(tiny_wardrobe, tmp_path_factory.mktemp("fresh"))
    changes = {
        "data.root": str(tiny_wardrobe),
        "data.test": "wardrobe-v2-test2",
        "data.test_root": str(fresh),
        "data.external_root": str(tiny_wardrobe),
        "runtime.results": str(tmp_path_factory.mktemp("results")),
        "training.steps": 8,
    }
    config = load_profile("smoke", changes)
    train_all(planned_runs(config), 2, lambda line: None)
    return config


def executed(config: Config, names: tuple[str, ...]) -> None:
    """Each to its end: blank exercises go on, wrong answers are refused, right ones are not."""
    said: list[str] = []
    files = execute_notebooks(config, said.append, only=names, exercises="tried")
    assert [file.stem for file in files] == list(names) and len(said) == len(names)
    folder = Path(config.runtime.results) / "smoke"
    for file in files:
        notebook = json.loads(file.read_text(encoding="utf-8"))
        code = cells(notebook, "code")
        assert all(cell["execution_count"] for cell in code if text(cell).strip())
        printed = json.dumps([cell["outputs"] for cell in code])
        count = len(cells(notebook, "code", EXERCISE))
        for words in ("Not answered yet", " refused: Not yet", "Right. "):
            assert printed.count(words) >= count, (file.stem, words)
        assert "image/png" in printed
        assert "SYNTHETIC" in printed and "Warning" not in printed
        assert str(NOTEBOOKS.parent) not in json.dumps(notebook)
        assert config.runtime.results not in json.dumps(notebook)
        assert file.with_suffix(".html").stat().st_size > 10_000
        figures = list((folder / "figures").glob(f"{file.stem[:2]}_*.png"))
        assert figures and all(figure.stat().st_size > 2_000 for figure in figures)


def test_executed_in_smoke(prepared: Config) -> None:
    executed(prepared, NAMES)
    runs = Path(prepared.runtime.results) / "smoke" / "runs"
    planned = {run_id(config) for config in planned_runs(prepared)}
    assert {path.name for path in runs.iterdir()} == planned  # none trained anew
