"""Training: a TAD epoch over the external set, then a CAP epoch over the target set, in turn.

The plan of a training is a list of phases, known before it starts. After each phase everything is
written to a checkpoint (weights, both optimisers, position, history, random states), so a killed
training starts again at the last phase and ends with the same bits: every random draw is keyed by
seed, epoch and image, never by what ran before. Of several processes, process 0 alone validates,
writes and shows progress; the others wait for it at the end of a phase.
"""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from rlqkit.config import Config, Moment, TrainingConfig
from rlqkit.errors import RlqkitError
from rlqkit.method.network import Network
from rlqkit.method.rows import Row
from rlqkit.method.steps import Student, cap_step, tad_step
from rlqkit.processes import mean_over_processes, on_first, share_statistics
from rlqkit.progress import bar

Phase = Literal["tad", "cap"]
Record = dict[str, Any]
SELECTED_BY = {"mAP": "", "rank1": "_rank1"}
"""``evaluation.selection_by`` → what follows a rule's name in a record of the history."""


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


class EpochData(Protocol):
    """What a training draws its batches from: whole epochs, in an order of their own."""

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""

    def loader(self, epoch: int) -> Iterable[dict[str, Tensor]]:
        """Batches of one epoch, from 0 (see ``cap_step`` and ``tad_step`` for what they hold)."""


@dataclass
class Training:
    """A training that can be stopped after any phase and taken up again.

    Attributes:
        config: the run's configuration.
        row: its row of the ablation.
        student: network, heads and optimisers, moved in place.
        target: images and labels of the target set.
        external: images of the external set, for rows with TAD.
        teacher: frozen base model in eval mode, for rows with TAD.
        save: called after every phase with this training, whose ``next_phase`` says where it
            stands; None = nothing is kept.
        validate: measures the network for every selection rule (higher is better): mAP under the
            rule's name, rank-1 under ``<rule>_rank1``; called at ``training.evaluations`` evenly
            spread epochs.
        on_phase: called with the history after every phase (live pictures).
        history: one record per finished phase.
        next_phase: number of the phase to begin with; more than 0 after a restored checkpoint.
        kept: weights of the epochs that selection rules chose so far.
        average: moving average of the network, for rows that are measured by it.
    """

    config: Config
    row: Row
    student: Student
    target: EpochData
    external: EpochData | None = None
    teacher: Network | None = None
    save: Callable[[Training], None] | None = None
    validate: Callable[[Network], dict[str, float]] | None = None
    on_phase: Callable[[list[Record]], None] | None = None
    history: list[Record] = field(default_factory=list)
    next_phase: int = 0
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    average: AveragedModel | None = None

    def __post_init__(self) -> None:
        training = self.config.training
        tad_steps = self.external.steps_per_epoch if self.external else 0
        cap_steps = self.target.steps_per_epoch if self.row.terms else 0
        self.phases = plan_phases(training, cap_steps, tad_steps)
        self.total_steps = sum(phase.steps for phase in self.phases)
        self.adversarial_from = Moment.parse(training.adversarial_from, "training.adversarial_from")
        if not self.phases:
            raise RlqkitError("training.steps leaves no step to train; raise it")
        if self.row.average_decay:
            self.average = AveragedModel(
                self.student.network, use_buffers=True,
                multi_avg_fn=get_ema_multi_avg_fn(self.row.average_decay),
            )  # fmt: skip

    @property
    def measured(self) -> Network:
        """The network that is validated, tested and kept: the student's, or its average."""
        return cast(Network, self.average.module) if self.average else self.student.network

    def run(self, progress: bool = True) -> list[Record]:
        """Trains to the end, from ``next_phase`` on.

        Returns:
            The history.

        Raises:
            RlqkitError: the losses stopped being finite, or processes stand at different phases.
        """
        fabric = self.student.fabric
        start = self.next_phase
        if on_first(fabric, lambda: start) != start:
            raise RlqkitError(
                f"process {fabric.global_rank} sees another checkpoint than process 0; all "
                "processes need the same results folder (runtime.results)"
            )
        done = sum(phase.steps for phase in self.phases[:start])
        progress_bar = bar(
            total=self.total_steps, initial=done, mininterval=1.0,
            disable=not (progress and fabric.is_global_zero),
            desc=f"{self.row.title} (seed {self.config.seed})", unit="step",
            position=_bar_position(), leave=False,
        )  # fmt: skip
        with progress_bar:
            for index in range(start, len(self.phases)):
                done = self._run_phase(self.phases[index], done, progress_bar)
                share_statistics(fabric, self.student.network)
                self.history[-1] = on_first(fabric, partial(self._close_phase, index))
        return self.history

    def _close_phase(self, index: int) -> Record:
        self._validate_if_due(index)
        self.next_phase = index + 1
        if self.save:
            self.save(self)
        if self.on_phase:
            self.on_phase(self.history)
        return self.history[-1]

    def _run_phase(self, phase: PlannedPhase, done: int, progress_bar: tqdm[Any]) -> int:
        started, images, rate = time.perf_counter(), 0, 0.0
        taken: dict[str, list[Tensor]] = defaultdict(list)  # a term may begin to count in mid-phase
        for number, batch in enumerate(self._batches(phase)):
            share = (done + number) / self.total_steps
            rate = learning_rate(self.config.training, phase.epoch, share)
            values = self._step(phase, batch, rate, share)
            if self.average:
                self.average.update_parameters(self.student.network)
            images += sum(len(batch[key]) for key in ("images", "hq", "lq") if key in batch)
            for name, value in values.items():
                taken[name].append(value)
            progress_bar.update()
        fabric = self.student.fabric
        means = mean_over_processes(fabric, {name: _mean(v) for name, v in taken.items()})
        images *= fabric.world_size
        if not all(math.isfinite(value) for value in means.values()):
            worst = next(name for name, value in means.items() if not math.isfinite(value))
            raise RlqkitError(
                f"{self.row.name}: loss {worst} is not finite in epoch {phase.epoch} "
                f"({phase.kind}); lower training.learning_rate or use training.precision=32-true"
            )
        progress_bar.set_postfix(phase=phase.kind, loss=f"{means['total']:.3f}")
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
        data = self.target if phase.kind == "cap" else self.external
        assert data is not None
        device = self.student.fabric.device
        layout = (
            torch.channels_last if self.config.training.channels_last else torch.contiguous_format
        )
        for number, batch in enumerate(data.loader(phase.epoch)):
            if number == phase.steps:
                return
            yield {
                key: value.to(
                    device,
                    memory_format=layout if value.ndim == 4 else torch.preserve_format,
                    non_blocking=device.type == "cuda",  # they come from pinned memory then
                )
                for key, value in batch.items()
            }

    def _step(
        self, phase: PlannedPhase, batch: dict[str, Tensor], rate: float, share: float
    ) -> dict[str, Tensor]:
        adversarial = self.adversarial_from.reached(phase.epoch, share)
        return self.step(phase.kind, batch, rate, adversarial)

    def step(
        self, kind: Phase, batch: dict[str, Tensor], rate: float, adversarial: bool
    ) -> dict[str, Tensor]:
        """One step of the row: ``tad_step`` or ``cap_step``, with its terms and their weights.

        Args:
            kind: "tad" or "cap".
            batch: on the student's device.
            rate: learning rate of the main optimiser.
            adversarial: whether CAL counts in a CAP step.
        """
        for group in self.student.optimiser.param_groups:
            group["lr"] = rate
        if kind == "cap":
            return cap_step(self.student, batch, self.row.terms, adversarial)
        assert self.teacher is not None
        terms, weights = self.row.tad_terms, self.row.tad_weights
        return tad_step(self.student, self.teacher, batch, terms, weights)

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
        measured = self.validate(self.measured)
        self.history[-1] |= {name: round(value, 6) for name, value in measured.items()}
        for name in self.config.evaluation.selection:
            value = measured.get(name + SELECTED_BY[self.config.evaluation.selection_by], -math.inf)
            if value > self.kept.get(name, {}).get("value", -math.inf):
                state = {k: v.clone() for k, v in self.measured.state_dict().items()}
                self.kept[name] = {
                    "value": value, "epoch": epoch, "network": state,
                }  # fmt: skip


def _mean(values: list[Tensor]) -> float:
    """Mean in Python's floats, which are double; only here does a phase wait for its device."""
    return float(sum(torch.stack(values).cpu().tolist())) / len(values)


def _bar_position() -> int:
    """Line of this process's progress bar, so that parallel trainings don't overwrite another."""
    return int(os.environ.get("RLQKIT_BAR", "0"))
