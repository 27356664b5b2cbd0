"""Checkpoints: all that a training needs to go on with the same bits."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlqkit.config import Config, config_hash, flatten, from_dict, is_hashed, to_dict
from rlqkit.errors import RlqkitError
from rlqkit.files import atomically
from rlqkit.method.training import Training


@dataclass
class Saver:
    """Saves a training after a phase, but not more often than every ``interval`` seconds.

    The last phase is always saved: evaluation goes on from there.
    """

    file: Path
    interval: float = 0.0
    saved: float = field(default_factory=lambda: time.monotonic())

    def __call__(self, training: Training) -> None:
        last = training.next_phase == len(training.phases)
        if last or time.monotonic() - self.saved >= self.interval:
            save(training, self.file)
            self.saved = time.monotonic()


def save(training: Training, file: Path) -> None:
    """Writes all that a training needs to go on from its next phase."""
    student = training.student
    write_checkpoint(
        file,
        {
            "config": to_dict(training.config),
            "row": training.row.name,
            "next_phase": training.next_phase,
            "network": student.network.state_dict(),
            "heads": student.heads.state_dict(),
            "optimiser": student.optimiser.state_dict(),
            "clothes_optimiser": student.clothes_optimiser.state_dict(),
            "history": training.history,
            "kept": training.kept,
            "average": training.average.state_dict() if training.average else {},
            "precision": student.fabric.strategy.precision.state_dict(),
            "random": random_states(),
        },
    )


def restore(training: Training, file: Path) -> None:
    """Takes a training to where a checkpoint left it; nothing happens where there is none.

    Raises:
        RlqkitError: the checkpoint can't be read, or belongs to another architecture or arithmetic.
    """
    if not file.exists():
        return
    state, student = read_checkpoint(file), training.student
    _require_same_configuration(training.config, state["config"], file)
    scaled, scales = bool(state["precision"]), bool(student.fabric.strategy.precision.state_dict())
    if scaled != scales:  # the loss, as float16 alone does
        began, here = ("float16", "other") if scaled else ("other", "float16")
        raise RlqkitError(
            f"checkpoint {file} was begun in {began} arithmetic, and this machine would go on in "
            f"{here}: train on where it was begun, or delete it and train again"
        )
    load_weights(student.network, state["network"], file)
    load_weights(student.heads, state["heads"], file)
    if training.average:
        load_weights(training.average, state["average"], file)
    student.optimiser.load_state_dict(state["optimiser"])
    student.clothes_optimiser.load_state_dict(state["clothes_optimiser"])
    training.history[:] = state["history"]
    training.kept = state["kept"]
    training.next_phase = state["next_phase"]
    student.fabric.strategy.precision.load_state_dict(state["precision"])
    restore_random_states(state["random"])


def _require_same_configuration(config: Config, began: dict[str, Any], file: Path) -> None:
    """Nothing that can change the numbers of a run may change on its way."""
    try:
        other = from_dict(began)
    except RlqkitError as error:
        raise RlqkitError(
            f"checkpoint {file} is of another version of rlqkit ({error}); delete it and train "
            "again"
        ) from None
    if config_hash(other) == config_hash(config):
        return
    mine, theirs = flatten(to_dict(config)), flatten(to_dict(other))
    changed = [key for key, value in mine.items() if is_hashed(key) and theirs[key] != value]
    raise RlqkitError(
        f"checkpoint {file} is of another configuration: {changed[0]} was {theirs[changed[0]]} and "
        f"is {mine[changed[0]]}; use the one it began with, or delete it and train again"
    )


def write_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint so that a kill at any moment leaves the old or the new one, whole."""
    with atomically(file, durable=True) as temporary, open(temporary, "wb") as stream:
        torch.save(state, stream)


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Reads a checkpoint of this kit; nothing in the file is executed.

    Raises:
        RlqkitError: the file is missing, truncated or no checkpoint.
    """
    if not file.is_file():
        raise RlqkitError(f"checkpoint {file} does not exist; train the run first")
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RlqkitError(
            f"checkpoint {file} can't be read ({type(error).__name__}); delete it and train again"
        ) from error
    wanted = {
        "config", "row", "next_phase", "network", "heads", "optimiser", "clothes_optimiser",
        "history", "kept", "precision", "random",
    }  # fmt: skip
    if not isinstance(state, dict) or not wanted <= state.keys():
        raise RlqkitError(f"{file} is no checkpoint of rlqkit; give a run folder's checkpoint.pt")
    return state


def load_weights(module: nn.Module, given: dict[str, Tensor], file: Path) -> None:
    """Loads the weights of a network or of its heads, refusing those of another architecture.

    Raises:
        RlqkitError: names or shapes differ; the first difference is named.
    """
    own = module.state_dict()
    for name in sorted(own.keys() | given.keys()):
        if name not in given or name not in own or own[name].shape != given[name].shape:
            have = tuple(given[name].shape) if name in given else "absent"
            want = tuple(own[name].shape) if name in own else "absent"
            raise RlqkitError(
                f"checkpoint {file} is of another architecture: {name} is {have}, the "
                f"configuration wants {want}; use the configuration and data it was trained with, "
                "or delete it and train again"
            )
    module.load_state_dict(given)


def random_states() -> dict[str, Any]:
    """Where all global generators stand: torch's, CUDA's, Python's and NumPy's."""
    version, internal, gauss = random.getstate()
    numpy_state: Any = np.random.get_state()
    name, keys, *rest = numpy_state
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Sets all global generators to where ``random_states`` found them.

    CUDA's stay as they are where there are other GPUs than then.
    """
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
