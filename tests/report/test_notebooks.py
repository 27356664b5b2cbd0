"""Sources of the notebooks: stripped, parameterised, short cells, a figure and an exercise each."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlqkit.config import Config, load_profile
from rlqkit.report.execute import NOTEBOOKS, execute_notebooks
from rlqkit.runs.folder import run_id
from rlqkit.runs.plan import planned_runs
from rlqkit.runs.reproduce import train_all

NAMES = (
    "00_tour", "02_data", "03_degradations", "04_losses_from_scratch",
    "05_network_and_base_model", "06_evaluation", "07_ablation", "07_cap_and_tad",
    "12_feature_collapse", "09_audit",
    "10_real_data",
)  # fmt: skip
LONGEST_CELL = 40


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


def test_the_notebooks_are_all_there() -> None:
    assert sorted(file.stem for file in NOTEBOOKS.glob("*.ipynb")) == sorted(NAMES)


def test_stripped(notebook: dict[str, Any]) -> None:
    for cell in cells(notebook, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]
        assert set(cell["metadata"]) <= {"tags", "jupyter"}, cell["id"]


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


def test_starts_with_title_claim_and_versions(notebook: dict[str, Any]) -> None:
    first = notebook["cells"][0]
    assert first["cell_type"] == "markdown" and text(first).startswith("# ")
    assert len(text(first).split()) > 15  # a claim below the title
    second = text(cells(notebook, "code")[1])
    assert "notebook.start(profile, results, seed, overrides)" in second


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
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "notebook.save_figure"
    ]
    names = [ast.unparse(call.args[1]).lstrip("f").strip("'\"") for call in calls]
    assert names and len(set(names)) == len(names)
    assert all(name.startswith(f"{notebook['name'][:2]}_") for name in names), names
    prose = "\n".join(text(cell) for cell in cells(notebook, "markdown"))
    assert len(re.findall(r"what to look for", prose, re.IGNORECASE)) >= 1


def test_one_exercise_that_a_cell_checks(notebook: dict[str, Any]) -> None:
    (exercise,) = cells(notebook, "code", "exercise")
    assert re.search(r"^answer\b", text(exercise), re.MULTILINE)
    code = cells(notebook, "code")
    place = code.index(exercise)
    checks = [i for i, cell in enumerate(code) if "notebook.check_answer(" in text(cell)]
    assert checks and all(i > place for i in checks)
    assert "answer" in "".join(text(code[i]) for i in checks)
    assert any("xercise" in text(cell) for cell in cells(notebook, "markdown"))


# ------------------------------------------------------------------------------------ executed


@pytest.fixture(scope="module")
def prepared(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The smoke profile on the tiny data set with every run of the ablation done."""
    changes = {
        "data.root": str(tiny_wardrobe),
        "data.external_root": str(tiny_wardrobe),
        "runtime.results": str(tmp_path_factory.mktemp("results")),
        "training.steps": 8,
    }
    config = load_profile("smoke", changes)
    train_all(planned_runs(config), 2, lambda line: None)
    return config


def executed(config: Config, names: tuple[str, ...]) -> None:
    said: list[str] = []
    files = execute_notebooks(config, said.append, only=names, exercises="tried")
    assert [file.stem for file in files] == list(names) and len(said) == len(names)
    folder = Path(config.runtime.results) / "smoke"
    for file in files:
        notebook = json.loads(file.read_text(encoding="utf-8"))
        code = cells(notebook, "code")
        assert all(cell["execution_count"] for cell in code if text(cell).strip())
        printed = json.dumps([cell["outputs"] for cell in code])
        assert "Right. " in printed and "image/png" in printed
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
