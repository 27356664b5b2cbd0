"""What one optimiser step moves: parameters, gradients and batch statistics, module by module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from rlqkit.method.steps import Student
from rlqkit.method.training import Phase, Training

PARTS = {"branch1": "branch 1", "branch2": "branch 2", "pose": "pose branch"}
HEADS = {
    "identity_1": "identity head o1", "identity_2": "identity head o2", "gender": "gender head",
    "pose": "pose head", "clothes": "clothes classifier",
}  # fmt: skip


def step_changes(student: Student, step: Callable[[], Any]) -> pd.DataFrame:
    """Takes one step and tells what it did to every module of the student.

    Args:
        student: moved in place.
        step: a CAP or TAD step of this student, ready to be called.

    Returns:
        Index: modules from image to heads. Columns: parameters (count), gradient (whether the
        step sent one there), change (‖after − before‖ / ‖before‖ over all weights of the module;
        0 = not moved at all), batch_statistics (whether running means moved).
    """
    modules = dict(student_modules(student))
    before = {name: _snapshot(group) for name, group in modules.items()}
    step()
    return pd.DataFrame(
        {name: _compare(group, before[name]) for name, group in modules.items()}
    ).T.astype({"parameters": int, "gradient": bool, "change": float, "batch_statistics": bool})


def one_step(training: Training, kind: Phase) -> pd.DataFrame:
    """Takes one more step of a training, at its full learning rate, and tells what it moved.

    Args:
        training: of a row with that kind of step; its student is moved in place.
        kind: "tad" or "cap"; CAL counts in the latter.

    Returns:
        The table of ``step_changes``.
    """
    student = training.student
    data = training.external if kind == "tad" else training.target
    assert data is not None
    batch = next(iter(data.loader(training.phases[-1].epoch + 1)))
    batch = {name: tensor.to(student.fabric.device) for name, tensor in batch.items()}
    rate = training.config.training.learning_rate
    return step_changes(student, lambda: training.step(kind, batch, rate, adversarial=True))


def student_modules(student: Student) -> Iterator[tuple[str, list[nn.Module]]]:
    """Name and modules of each part, in the order in which an image passes them."""
    network, heads = student.network, student.heads
    yield "stem", [network.stem]
    for depth, stage in enumerate(network.trunk, start=1):
        yield f"trunk layer{depth}", [stage]
    for name, branch in network.branches.items():
        yield PARTS[name], [branch, network.pools[name]]
    for name, title in HEADS.items():
        if hasattr(heads, name):
            yield title, [getattr(heads, name)]


Snapshot = tuple[list[Tensor], list[Tensor | None], list[Tensor]]


def _snapshot(modules: list[nn.Module]) -> Snapshot:
    parameters = [p for module in modules for p in module.parameters()]
    return (
        [p.detach().clone() for p in parameters],
        [None if p.grad is None else p.grad.clone() for p in parameters],
        [b.clone() for module in modules for b in module.buffers()],
    )


def _compare(modules: list[nn.Module], before: Snapshot) -> dict[str, Any]:
    weights, gradients, buffers = before
    parameters = [p for module in modules for p in module.parameters()]
    now = [b for module in modules for b in module.buffers()]
    pairs = list(zip(parameters, weights, strict=True))
    moved = sum((p.detach() - old).double().square().sum().item() for p, old in pairs)
    size = sum(old.double().square().sum().item() for old in weights)
    return {
        "parameters": sum(p.numel() for p in parameters),
        "gradient": any(_is_new(p.grad, old) for p, old in zip(parameters, gradients, strict=True)),
        "change": (moved / size) ** 0.5 if size else 0.0,
        "batch_statistics": any(
            not torch.equal(b, old) for b, old in zip(now, buffers, strict=True)
        ),
    }


def _is_new(gradient: Tensor | None, before: Tensor | None) -> bool:
    """Whether this step wrote the gradient: it is there, not zero, and not what was there before.

    The clothes classifier keeps the gradient of its own last step, since the main optimiser
    doesn't clear it.
    """
    if gradient is None or not gradient.any():
        return False
    return before is None or not torch.equal(gradient, before)
