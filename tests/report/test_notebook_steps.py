"""The steps that notebooks 05 and 07 write out equal the library's, and would fail if they didn't.

The notebooks' own cells are run, up to the assert that is tested, on tiny images. Then one
constant is changed, in the notebook's source or in the library, and the assert must say what
differs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib import pyplot as plt

from rlqkit.method import losses, network, steps, training
from rlqkit.report.execute import NOTEBOOKS

BY_HAND, METHOD = "05_network_and_base_model", "07_cap_and_tad"
UNTIL = {BY_HAND: "step-check", METHOD: "tad-check"}
PICTURES = {"drawing", "moved", "moved-figure"}
"""Cells that no assert needs."""

Run = Callable[..., str]


@pytest.fixture
def run(
    tiny_wardrobe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:  # fmt: skip
    """Runs a notebook's code up to a cell, with a piece of its source exchanged; what it prints."""
    threads = torch.get_num_threads()
    parameters = {
        "profile": "smoke",
        "results": str(tmp_path),
        "overrides": {"data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe)},
    }

    def run_until(stem: str, old: str = "", new: str = "", until: str = "") -> str:
        source = json.loads((NOTEBOOKS / f"{stem}.ipynb").read_text(encoding="utf-8"))
        cells = [cell for cell in source["cells"] if cell["cell_type"] == "code"]
        assert sum("".join(cell["source"]).count(old) for cell in cells) == 1 or not old, old
        namespace: dict[str, Any] = {}
        with torch.random.fork_rng():
            for cell in cells:
                if cell["id"] in PICTURES:
                    continue
                code = "".join(cell["source"]).replace(old or "\0", new)
                exec(compile(code, cell["id"], "exec"), namespace)
                if "parameters" in cell["metadata"].get("tags", []):
                    namespace |= parameters
                if cell["id"] == (until or UNTIL[stem]):
                    return capsys.readouterr().out
        raise AssertionError(f"{stem} has no cell {until or UNTIL[stem]}")

    monkeypatch.setattr(torch.backends.cudnn, "deterministic", torch.backends.cudnn.deterministic)
    yield run_until
    plt.close("all")
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("stem", "checks"),
    [
        (BY_HAND, ("values", "gradients", "network after", "heads after")),
        (METHOD, tuple(f"{step}, {what}" for step in ("CAP", "TAD")
                       for what in ("values", "gradients", "weights after"))),
    ],
)  # fmt: skip
def test_the_notebooks_steps_are_the_librarys(run: Run, stem: str, checks: tuple[str, ...]) -> None:
    said = run(stem)
    for name in checks:
        (line,) = [line for line in said.splitlines() if line.startswith(f"{name}: all ")]
        assert "agree" in line


def test_thirty_steps_end_at_the_librarys_weights(run: Run) -> None:
    said = run(METHOD, until="train-check")
    assert "weights after 30 steps: all " in said


@pytest.mark.parametrize(
    ("stem", "old", "new", "says"),
    [
        (BY_HAND, "SMOOTHING = 0.1", "SMOOTHING = 0.2", "values: identity"),
        (BY_HAND, "MARGIN = 0.3", "MARGIN = 0.31", "values: triplet"),
        (BY_HAND, "EPSILON = 16.0, 0.1", "EPSILON = 17.0, 0.1", "values: clothes"),
        (BY_HAND, "EPSILON = 16.0, 0.1", "EPSILON = 16.0, 0.12", "values: clothes_adversarial"),
        (BY_HAND, "LAMBDA = 0.8,", "LAMBDA = 0.7,", "values: agreement"),
        (BY_HAND, "LAMBDA = 0.8, 0.64", "LAMBDA = 0.8, 0.63", "values: agreement"),
        (BY_HAND, "BN_SPREAD, HEAD_SPREAD = 0.02,", "BN_SPREAD, HEAD_SPREAD = 0.03,", "starting"),
        (BY_HAND, '"lr": plain.training.learning_rate', '"lr": 2e-3', "clothes_adversarial"),
        (METHOD, "SMOOTHING = 0.1", "SMOOTHING = 0.2", "CAP, values: (identity|pose|gender)"),
        (METHOD, "MARGIN = 0.3", "MARGIN = 0.31", "CAP, values: triplet"),
        (METHOD, "EPSILON = 16.0, 0.1", "EPSILON = 17.0, 0.1", "CAP, values: clothes"),
        (METHOD, "EPSILON = 16.0, 0.1", "EPSILON = 16.0, 0.12", "CAP, values: clothes_adversarial"),
        (METHOD, "LAMBDA = 0.8,", "LAMBDA = 0.7,", "CAP, values: agreement"),
        (METHOD, "LAMBDA = 0.8, 0.64", "LAMBDA = 0.8, 0.63", "CAP, values: agreement"),
        (METHOD, "HEAD_SPREAD, BN_SPREAD = 0.001", "HEAD_SPREAD, BN_SPREAD = 0.002", "starting"),
        (METHOD, 'teacher(batch["hq"])', 'teacher(batch["lq"])', "TAD, values: distil"),
        (METHOD, "distance(t1, f1[n:])", "distance(t1, f1[:n])", "TAD, values: distil_lq_1"),
        (METHOD, "kl(o1[:n], o1[n:])", "kl(o1[n:], o1[:n])", "TAD, values: self_identity_1"),
    ],
)  # fmt: skip
def test_a_change_in_the_notebook_is_noticed(
    run: Run, stem: str, old: str, new: str, says: str
) -> None:
    with pytest.raises(AssertionError, match=says):
        run(stem, old, new)


def in_defaults(function: Any, *defaults: Any) -> Callable[[pytest.MonkeyPatch], None]:
    """Changes constants that a function of the library keeps as its defaults."""
    assert len(defaults) == len(function.__defaults__) and defaults != function.__defaults__
    return lambda patch: patch.setattr(function, "__defaults__", defaults)


LIBRARY: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "smoothing": (lambda p: p.setattr(losses, "LABEL_SMOOTHING", 0.2), "identity"),
    "margin": (in_defaults(losses.batch_hard_triplet, 0.4, None), "triplet"),
    "scale": (in_defaults(losses.cosine_cross_entropy, 15.0), "clothes"),
    "epsilon": (
        in_defaults(losses.clothes_adversarial_loss, 16.0, 0.3), "clothes_adversarial",
    ),
    "temperature": (in_defaults(losses.logit_kl, 0.9, 0.64, "element"), "agreement"),
    "weight": (in_defaults(losses.logit_kl, 0.8, 0.6, "element"), "agreement"),
}  # fmt: skip


@pytest.mark.parametrize("stem", [BY_HAND, METHOD])
@pytest.mark.parametrize("name", LIBRARY)
def test_a_change_in_the_library_is_noticed(
    run: Run, monkeypatch: pytest.MonkeyPatch, stem: str, name: str
) -> None:
    change, says = LIBRARY[name]
    change(monkeypatch)
    with pytest.raises(AssertionError, match=f"values: {says}"):
        run(stem)


def test_changes_of_the_librarys_step_and_network_are_noticed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match="values: disent"):
        patch.setitem(steps.CAP_TERMS, "disentangling", lambda out: 0.9 * steps._disentangling(out))
        run(METHOD)
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match="values: distil_lq_2"):
        seen = steps.TAD_TERMS["distil_hq_2"]
        patch.setitem(steps.TAD_TERMS, "distil_lq_2", seen)
        run(METHOD)
    with monkeypatch.context() as patch, pytest.raises(AssertionError):
        patch.setattr(network, "_set_last_stride_to_one", lambda stage: None)
        run(BY_HAND)


@pytest.mark.parametrize("where", ["notebook", "library"])
def test_changes_of_the_schedule_are_noticed(
    run: Run, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    old, new = ("0.02 * how.warmup", "0.2 * how.warmup") if where == "notebook" else ("", "")
    if where == "library":
        rate = training.learning_rate
        monkeypatch.setattr(training, "learning_rate", lambda *a: 1.01 * rate(*a))
    with pytest.raises(AssertionError, match="weights after 30 steps"):
        run(METHOD, old, new, until="train-check")
