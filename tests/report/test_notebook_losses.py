"""Notebook 04 notices when a constant changes, in the notebook or in the library."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import numpy as np
import pytest
import torch

import rlqkit.method
from rlqkit.method import losses
from rlqkit.report.page import NOTEBOOKS

CELLS = nbformat.read(NOTEBOOKS / "04_losses_from_scratch.ipynb", as_version=4).cells
START = "config = notebook.start(profile, results, seed, overrides)"
COMPARED = (
    "ce-function", "triplet-function", "cal-function", "kl-function", "mse-function",
    "dis-function",
)  # fmt: skip
MUTATIONS = (
    ("SMOOTHING = 0.1", "SMOOTHING = 0.11", "ce-function"),
    ("MARGIN = 0.3", "MARGIN = 0.31", "triplet-function"),
    ("SCALE, EPSILON = 16.0, 0.1", "SCALE, EPSILON = 15.0, 0.1", "cal-function"),
    ("SCALE, EPSILON = 16.0, 0.1", "SCALE, EPSILON = 16.0, 0.2", "cal-function"),
    ("TAU, LAMBDA = 0.8, 0.64", "TAU, LAMBDA = 0.9, 0.64", "kl-function"),
    ("TAU, LAMBDA = 0.8, 0.64", "TAU, LAMBDA = 0.8, 0.63", "kl-function"),
    ("difference.square().sum(dim=1).mean()", "difference.abs().sum(dim=1).mean()", "mse-function"),
    ("(cosine.abs() if form", "(cosine if form", "dis-function"),
    ("cosine.clamp(min=0)).mean()", "cosine.abs()).mean()", "dis-function"),
)
CONSTANTS = {
    "LABEL_SMOOTHING": "ce-function",
    "TRIPLET_MARGIN": "triplet-function",
    "COSINE_SCALE": "cal-function",
    "CLOTHES_EPSILON": "cal-function",
    "KL_TEMPERATURE": "kl-function",
    "KL_WEIGHT": "kl-function",
}


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    """The notebook asks for float64 and for short prints; no other test should inherit that."""
    dtype, prints = torch.get_default_dtype(), np.get_printoptions()
    yield
    torch.set_default_dtype(dtype)
    np.set_printoptions(**prints)


def first_failure(change: tuple[str, str] = ("", "")) -> str:
    """Runs imports, tools, toy tensors and comparisons; name of the cell that fails, "" if none.

    change: text of the notebook, and what it becomes.
    """
    space: dict[str, Any] = {}
    changed = 0
    for cell in CELLS:
        wanted = cell.id in ("start", "tools", *COMPARED) or cell.id.endswith("-steps")
        if cell.cell_type != "code" or not wanted:
            continue
        source = cell.source.replace(START, "")
        if change[0]:
            changed += source.count(change[0])
            source = source.replace(*change)
        try:
            exec(compile(source, cell.id, "exec"), space)
        except AssertionError:
            return str(cell.id)
    assert changed or not change[0], f"{change[0]} stands nowhere in the notebook"
    return ""


def test_every_loss_of_the_notebook_is_the_librarys(capsys: pytest.CaptureFixture[str]) -> None:
    assert first_failure() == ""
    assert capsys.readouterr().out.count("equal to the library") == len(COMPARED) + 2
    tagged = [cell.id for cell in CELLS if "library" in cell.metadata.get("tags", [])]
    assert tuple(tagged) == COMPARED


@pytest.mark.parametrize(("old", "new", "cell"), MUTATIONS)
def test_a_changed_notebook_fails(old: str, new: str, cell: str) -> None:
    assert first_failure((old, new)) == cell


def library_with(constant: str) -> ModuleType:
    """``rlqkit.method.losses`` with one constant a tenth larger, default arguments included."""
    file = Path(losses.__file__)
    text = file.read_text(encoding="utf-8")
    value = getattr(losses, constant)
    text, count = re.subn(
        rf"^{constant} = .+$", f"{constant} = {1.1 * value!r}", text, flags=re.MULTILINE
    )
    assert count == 1
    spec = importlib.util.spec_from_loader("rlqkit.method.losses", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    exec(compile(text, str(file), "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("constant", CONSTANTS)
def test_a_changed_library_fails(constant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = library_with(constant)
    monkeypatch.setattr(rlqkit.method, "losses", other)
    monkeypatch.setitem(sys.modules, "rlqkit.method.losses", other)
    assert first_failure() == CONSTANTS[constant]
