"""Training: a TAD epoch over the external set, then a CAP epoch over the target set, in turn.

The plan of a training is a list of phases, known before it starts. After each phase everything is
written to a checkpoint (weights, both optimisers, position, history, random states), so a killed
training starts again at the last phase and ends with the same bits: every random draw is keyed by
seed, epoch and image, never by what ran before. Of several processes, process 0 alone validates,
writes and shows progress; the others wait for it at the end of a phase.
"""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from rlqkit.config import Config, Moment, TrainingConfig, to_dict
from rlqkit.errors import RlqkitError, one_line
from rlqkit.model import Network
from rlqkit.processes import (
    PATIENCE,
    mean_over_processes,
    on_first,
    processes_started,
    share_statistics,
)
from rlqkit.rows import Row
from rlqkit.steps import Student, cap_step, tad_step
from rlqkit.tasks import ExternalTask, TargetTask

Phase = Literal["tad", "cap"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Record = dict[str, Any]


@dataclass(frozen=True)
class PlannedPhase:
    """Part of an epoch: ``steps`` optimiser steps on the external (tad) or target (cap) set."""

    epoch: int
    kind: Phase
    steps: int


def plan_phases(training: TrainingConfig, cap_steps: int, tad_steps: int = 0) -> list[PlannedPhase]:
    """The phases of a training, TAD before CAP in every epoch.

    With a budget in epochs every epoch is whole. With a budget in steps the sum over all phases
    is exactly that budget, whatever the row: the last epoch is shortened, TAD and CAP in
    proportion, so rows can be compared at equal optimiser steps.

    Args:
        training: ``epochs`` or ``steps`` is the budget.
        cap_steps: steps of a whole epoch over the target set.
        tad_steps: steps of a whole epoch over the external set; 0 for rows without TAD.
    """
    whole = cap_steps + tad_steps
    if training.epochs:
        lengths = [(tad_steps, cap_steps)] * training.epochs
    else:
        count, rest = divmod(training.steps, whole)
        lengths = [(tad_steps, cap_steps)] * count
        if rest:
            tad_rest = round(rest * tad_steps / whole)
            lengths.append((tad_rest, rest - tad_rest))
    phases = []
    for epoch, (tad, cap) in enumerate(lengths):
        phases += [PlannedPhase(epoch, "tad", tad), PlannedPhase(epoch, "cap", cap)]
    return [phase for phase in phases if phase.steps]


def learning_rate(training: TrainingConfig, epoch: int, progress: float) -> float:
    """Learning rate of the main optimiser.

    Args:
        training: schedule, its moments and the base rate.
        epoch: counted from 0.
        progress: 0..1, steps done of all steps.
    """
    rate = training.learning_rate
    if training.schedule == "milestones":
        moments = [Moment.parse(text, "training.milestones") for text in training.milestones]
        passed = sum(moment.reached(epoch, progress) for moment in moments)
        return float(rate * 0.1**passed)
    if progress < training.warmup:
        return rate * (progress + 0.02 * training.warmup) / training.warmup
    fall = max(0.0, progress - training.cosine_from) / (1 - training.cosine_from)
    return rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))


@dataclass
class Training:
    """A training that can be stopped anywhere and taken up again.

    Attributes:
        config: the run's configuration.
        row: its row of the ablation.
        student: network, heads and optimisers, moved in place.
        target: images and labels of the target set.
        external: images of the external set, for rows with TAD.
        teacher: frozen base model in eval mode, for rows with TAD.
        folder: run folder that receives the checkpoint; None = keep nothing on disk.
        validate: measures the network on validation identities (higher is better); called at
            ``training.evaluations`` evenly spread epochs.
        on_phase: called with the history after every phase (live pictures).
        history: one record per finished phase.
    """

    config: Config
    row: Row
    student: Student
    target: TargetTask
    external: ExternalTask | None = None
    teacher: Network | None = None
    folder: Path | None = None
    validate: Callable[[Network], dict[str, float]] | None = None
    on_phase: Callable[[list[Record]], None] | None = None
    history: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        training = self.config.training
        tad_steps = self.external.steps_per_epoch(training.batch) if self.external else 0
        self.phases = plan_phases(training, self.target.steps_per_epoch(training), tad_steps)
        self.total_steps = sum(phase.steps for phase in self.phases)
        self.adversarial_from = Moment.parse(training.adversarial_from, "training.adversarial_from")
        self.kept: dict[str, dict[str, Any]] = {}
        if not self.phases:
            raise RlqkitError("training.steps leaves no step to train; raise it")

    def run(self, progress: bool = True) -> list[Record]:
        """Trains to the end, from the checkpoint in the run folder if there is one.

        Returns:
            The history.

        Raises:
            RlqkitError: the checkpoint belongs to another configuration or architecture, or the
                losses stopped being finite.
        """
        fabric = self.student.fabric
        start = self._resume()
        if on_first(fabric, lambda: start) != start:
            raise RlqkitError(
                f"process {fabric.global_rank} sees another checkpoint than process 0; all "
                "processes need the same results folder (runtime.results)"
            )
        done = sum(phase.steps for phase in self.phases[:start])
        bar = tqdm(
            total=self.total_steps, initial=done, mininterval=1.0,
            disable=not (progress and fabric.is_global_zero),
            desc=f"{self.row.title} (seed {self.config.seed})", unit="step",
            position=_bar_position(), leave=False,
        )  # fmt: skip
        with bar:
            for index in range(start, len(self.phases)):
                done = self._run_phase(self.phases[index], done, bar)
                share_statistics(fabric, self.student.network)
                self.history[-1] = on_first(fabric, partial(self._close_phase, index))
        return self.history

    def _close_phase(self, index: int) -> Record:
        self._validate_if_due(index)
        self._save(index + 1)
        if self.on_phase:
            self.on_phase(self.history)
        return self.history[-1]

    def _run_phase(self, phase: PlannedPhase, done: int, bar: tqdm[Any]) -> int:
        started, images, rate = time.perf_counter(), 0, 0.0
        sums: Counter[str] = Counter()
        counts: Counter[str] = Counter()  # a term may begin to count in mid-phase
        for number, batch in enumerate(self._batches(phase)):
            share = (done + number) / self.total_steps
            rate = learning_rate(self.config.training, phase.epoch, share)
            values = self._step(phase, batch, rate, share)
            images += sum(len(batch[key]) for key in ("images", "hq", "lq") if key in batch)
            sums.update(values)
            counts.update(values.keys())
            bar.update()
        fabric = self.student.fabric
        means = mean_over_processes(fabric, {name: sums[name] / counts[name] for name in sums})
        images *= fabric.world_size
        if not all(math.isfinite(value) for value in means.values()):
            worst = next(name for name, value in means.items() if not math.isfinite(value))
            raise RlqkitError(
                f"{self.row.name}: loss {worst} is not finite in epoch {phase.epoch} "
                f"({phase.kind}); lower training.learning_rate or use training.precision=32-true"
            )
        bar.set_postfix(phase=phase.kind, loss=f"{means['total']:.3f}")
        done += phase.steps
        self.history.append(
            {
                "epoch": phase.epoch, "phase": phase.kind, "steps": done, "images": images,
                "learning_rate": rate, "seconds": round(time.perf_counter() - started, 3),
                **{name: round(value, 6) for name, value in means.items()},
            }
        )  # fmt: skip
        return done

    def _batches(self, phase: PlannedPhase) -> Iterator[dict[str, Tensor]]:
        task: TargetTask | ExternalTask | None
        task = self.target if phase.kind == "cap" else self.external
        assert task is not None
        loader: DataLoader[Any] = task.loader(phase.epoch, self.config)
        device = self.student.fabric.device
        layout = (
            torch.channels_last if self.config.training.channels_last else torch.contiguous_format
        )
        for number, batch in enumerate(loader):
            if number == phase.steps:
                return
            yield {
                key: value.to(device, memory_format=layout) if value.ndim == 4 else value.to(device)
                for key, value in batch.items()
            }

    def _step(
        self, phase: PlannedPhase, batch: dict[str, Tensor], rate: float, share: float
    ) -> dict[str, float]:
        for group in self.student.optimiser.param_groups:
            group["lr"] = rate
        if phase.kind == "tad":
            assert self.teacher is not None
            return tad_step(self.student, self.teacher, batch, self.row.tad_terms)
        adversarial = self.adversarial_from.reached(phase.epoch, share)
        return cap_step(self.student, batch, self.row.terms, adversarial)

    def _validate_if_due(self, index: int) -> None:
        """Validates after the epochs that split the training into equal parts."""
        epoch, last = self.phases[index].epoch, index == len(self.phases) - 1
        if self.validate is None or not (last or self.phases[index + 1].epoch > epoch):
            return
        epochs = self.phases[-1].epoch + 1
        count = min(self.config.training.evaluations, epochs)
        due = {math.ceil(epochs * (i + 1) / count) - 1 for i in range(count)}
        if epoch not in due:
            return
        measured = self.validate(self.student.network)
        self.history[-1] |= {name: round(value, 6) for name, value in measured.items()}
        for name in self.config.evaluation.selection:
            value = measured.get(name, -math.inf)
            if value > self.kept.get(name, {}).get("value", -math.inf):
                state = {k: v.clone() for k, v in self.student.network.state_dict().items()}
                self.kept[name] = {
                    "value": value, "epoch": epoch, "network": state,
                }  # fmt: skip

    def _save(self, next_phase: int) -> None:
        if self.folder is None:
            return
        write_checkpoint(
            self.folder / "checkpoint.pt",
            {
                "config": to_dict(self.config),
                "row": self.row.name,
                "next_phase": next_phase,
                "network": self.student.network.state_dict(),
                "heads": self.student.heads.state_dict(),
                "optimiser": self.student.optimiser.state_dict(),
                "clothes_optimiser": self.student.clothes_optimiser.state_dict(),
                "history": self.history,
                "kept": self.kept,
                "precision": self.student.fabric.strategy.precision.state_dict(),
                "random": _random_states(),
            },
        )

    def _resume(self) -> int:
        if self.folder is None or not (self.folder / "checkpoint.pt").exists():
            return 0
        file = self.folder / "checkpoint.pt"
        state = read_checkpoint(file)
        load_weights(self.student.network, state["network"], file)
        load_weights(self.student.heads, state["heads"], file)
        self.student.optimiser.load_state_dict(state["optimiser"])
        self.student.clothes_optimiser.load_state_dict(state["clothes_optimiser"])
        self.history[:] = state["history"]
        self.kept = state["kept"]
        self.student.fabric.strategy.precision.load_state_dict(state["precision"])
        _restore_random_states(state["random"])
        next_phase: int = state["next_phase"]
        return next_phase


def write_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint so that a kill at any moment leaves the old or the new one, whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".partial")
    with open(temporary, "wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)


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


def launch_fabric(config: Config) -> Fabric:
    """Device, precision and processes of a training, by Lightning Fabric, which announces none.

    One process on one device; under torchrun its processes, each on its own GPU where there are
    GPUs, on the CPU otherwise.

    Raises:
        RlqkitError: more processes than GPUs, or the processes don't find each other.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    precision, processes = precision_in_force(config), processes_started()
    if processes == 1:
        return Fabric(accelerator="auto", devices=1, precision=precision)
    here, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if 0 < gpus < here:
        raise RlqkitError(
            f"torchrun started {here} processes on a machine with {gpus} GPUs; use "
            f'--nproc-per-node {gpus}, or set CUDA_VISIBLE_DEVICES="" to train on the CPU'
        )
    strategy = DDPStrategy(timeout=PATIENCE)
    fabric = Fabric(
        accelerator="auto", devices=here, num_nodes=processes // here, strategy=strategy,
        precision=precision,
    )  # fmt: skip
    try:
        fabric.launch()
    except RuntimeError as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise RlqkitError(
            f"{processes} processes don't find each other at {where} ({one_line(error)[:120]}); "
            "on one machine, torchrun --standalone finds a free port"
        ) from error
    return fabric


def precision_in_force(config: Config) -> Precision:
    """The arithmetic that a configuration means on this machine.

    "auto" is bf16-mixed where the processor multiplies bf16 in hardware (there it is two to three
    times faster than float32; elsewhere it is emulated and slower), and 32-true otherwise.
    """
    if config.training.precision != "auto":
        return config.training.precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if in_hardware else "32-true"


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch: initial weights are drawn from torch's generator."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _random_states() -> dict[str, Any]:
    version, internal, gauss = random.getstate()
    numpy_state: Any = np.random.get_state()
    name, keys, *rest = numpy_state
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
    }


def _restore_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))


def _bar_position() -> int:
    """Line of this process's progress bar, so that parallel trainings don't overwrite another."""
    return int(os.environ.get("RLQKIT_BAR", "0"))
