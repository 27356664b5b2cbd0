"""One run from configuration to figures: resolve, prepare, train (or resume), evaluate, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from tqdm import tqdm

from rlqkit.config import Config
from rlqkit.data.fingerprint import fingerprint
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.loaders import (
    TargetData,
    external_data,
    load_benchmark,
    load_external,
    target_data,
)
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.metrics import MATCHES
from rlqkit.evaluation.protocol import (
    HQ,
    Described,
    Evaluation,
    Features,
    can_be_measured,
    describe_images,
    evaluate_network,
    headline,
    headline_collapse,
    metric_records,
    selection_figures,
    selection_test,
    validation_figures,
)
from rlqkit.files import atomically, digest
from rlqkit.method.network import Network, backbone_state
from rlqkit.method.rows import Row, find_row
from rlqkit.method.training import Record, Training
from rlqkit.processes import on_first, with_others
from rlqkit.progress import Say
from rlqkit.runs import checkpoint
from rlqkit.runs.averaging import history_of, mean_network
from rlqkit.runs.backbone import build_network, weights_file
from rlqkit.runs.device import Precision, adopt_processes, alone, machine, precision_in_force
from rlqkit.runs.folder import BEFORE, RunFolder, cost_of, parts_in_use
from rlqkit.runs.plan import averaged_configs, teacher_config, trained_config
from rlqkit.runs.student import build_student


@dataclass(frozen=True, eq=False)
class Run:
    """One run, resolved once: what everything below is handed and nothing asks for again.

    Attributes:
        config: with the number of processes that were started.
        row: of the ablation.
        fabric: device, precision and processes.
        folder: where its numbers go.
        precision: the arithmetic in force, which a run keeps from its begin to its end.
    """

    config: Config
    row: Row
    fabric: Fabric
    folder: RunFolder
    precision: Precision

    @cached_property
    def benchmark(self) -> Benchmark:
        """The target data set, loaded when it is first asked for."""
        return load_benchmark(self.config)

    @cached_property
    def external(self) -> ImageSet | None:
        """The external set, for rows that train on it."""
        needed = self.row.external or self.row.uses_tad
        return load_external(self.config) if needed else None

    @cached_property
    def read(self) -> dict[str, dict[str, str]]:
        """Digests of what the run reads: target, external, weights → part in use → digits."""
        used = parts_in_use(self.config)
        found = {"target": fingerprint(self.benchmark.sets, used["target"])}
        if self.external is not None:
            found["external"] = fingerprint({"external": self.external}, used["external"])
        weights = weights_file(self.config.model)
        if weights is not None:
            found["model.weights"] = {"weights": digest(weights)[:16]}
        return found

    def teacher(self) -> Run:
        """The run of this run's teacher, which shares its machine and its data."""
        config = teacher_config(self.config)
        run = _resolved(config, RunFolder.of(config))
        shared: dict[str, Any] = {"benchmark": self.benchmark}
        if run.row.external:  # a teacher that sees target images alone has no part in the others
            shared["external"] = self.external
        run.__dict__.update({name: data for name, data in shared.items() if data is not None})
        return run


def resolve(config: Config) -> Run:
    """Row, machine and folder of a configuration.

    Raises:
        RlqkitError: an unknown row, or other processes than the configuration asks for.
    """
    config = adopt_processes(config)
    return _resolved(config, RunFolder.of(config))


def _resolved(config: Config, folder: RunFolder) -> Run:
    began = folder.precision()
    fabric, precision = machine(config, began), precision_in_force(config, began)
    return Run(config, find_row(config.row), fabric, folder, precision)


def train_and_evaluate(
    config: Config,
    progress: bool = True,
    on_phase: Callable[[list[Record]], None] | None = None,
) -> RunFolder:
    """Trains and evaluates one row with one seed; a finished run is returned as it is.

    A row with TAD first makes sure that its teacher's run is there. Under torchrun all processes
    train; process 0 alone evaluates and writes.

    Args:
        config: the run's configuration.
        progress: whether to show a bar.
        on_phase: called with the history after every phase.

    Raises:
        RlqkitError: configuration, data or checkpoint don't fit; nothing computed before is lost.
    """
    return complete(resolve(config), progress, on_phase)


def complete(
    run: Run,
    progress: bool = True,
    on_phase: Callable[[list[Record]], None] | None = None,
    say: Say = tqdm.write,
) -> RunFolder:
    """``train_and_evaluate`` of a run that was resolved before.

    One process at a time works in a run's folder: a second one waits, says so by ``say``, and
    then returns the finished run or goes on where the first was stopped.
    """
    fabric, folder = run.fabric, run.folder
    lock = folder.locked(say) if fabric.is_global_zero and not folder.finished else nullcontext()
    with lock, with_others(fabric):
        on_first(fabric, lambda: folder.require_same(run.config, run.read))
        if on_first(fabric, lambda: folder.finished):
            return folder
        if run.row.mean_of:
            on_first(fabric, lambda: _average(run, progress, say))
            return folder
        teacher = None
        if run.row.follows:
            if not on_first(fabric, lambda: run.teacher().folder.finished):
                prepare(run)  # what the student lacks should show before its teacher is trained
            teacher = load_teacher(run, progress)
        started = time.perf_counter()
        training = prepare(run, teacher)
        training.on_phase = on_phase
        training.save = checkpoint.Saver(
            folder.path / "checkpoint.pt", 60 * run.config.runtime.checkpoint_minutes
        )
        checkpoint.restore(training, folder.path / "checkpoint.pt")
        started -= sum(record["seconds"] for record in training.history)  # of earlier sessions
        on_first(fabric, lambda: _start(run, training))
        training.run(progress)
        on_first(fabric, lambda: _write_results(run, training, started))
    return folder


def _average(run: Run, progress: bool, say: Say) -> None:
    """A row that averages two others: their runs first, then the mean and its figures."""
    configs = averaged_configs(run.config)
    for config in configs:
        if run.fabric.world_size > 1 and not RunFolder.of(config).finished:
            raise RlqkitError(
                f"row {run.row.name} averages {config.row}, which isn't trained; with several "
                f"processes train it first: --row {config.row}"
            )
    parents = [RunFolder.of(config) for config in configs]
    if run.fabric.world_size == 1:
        for config, folder in zip(configs, parents, strict=True):
            complete(_resolved(config, folder), progress, say=say)
    started = time.perf_counter()
    run.folder.start(run.config, run.read, run.precision)
    networks: list[Any] = [run.fabric.to_device(load_network(parent)) for parent in parents]
    first, second = networks
    share, images = run.config.averaging.weight, run.benchmark["train"]
    mean = mean_network(first, second, share, images, run.row, run.config, run.fabric)
    begun = [teacher_config(config) for config in configs if find_row(config.row).begins_with]
    paid = {folder.path: folder for folder in (*parents, *map(RunFolder.of, begun))}
    run.folder.save_json("history.json", history_of([*paid.values()], _validate(mean, run)))
    measured = evaluate_network(mean, run.benchmark, run.config, run.fabric)
    run.folder.save_network(mean.state_dict(), "last")
    _save_features(run.folder, measured.features, run.benchmark)
    run.folder.save_per_query(measured.per_query.assign(rule="last"))
    epoch = int(run.folder.history()["epoch"].iloc[-1])
    _finish(run, measured.metrics.assign(rule="last", epoch=epoch), started)


def _start(run: Run, training: Training) -> None:
    run.folder.start(run.config, run.read, run.precision)
    if run.row.begins_with:
        paid = {BEFORE: cost_of(run.teacher().folder.history())}
        run.folder.save_json("environment.json", run.folder.environment() | paid)
    target = training.target
    if isinstance(target, TargetData) and target.poses is not None:
        run.folder.save_poses(target.poses)


def _write_results(run: Run, training: Training, started: float) -> None:
    folder = run.folder
    folder.save_json("history.json", training.history)
    metrics = _evaluate_rules(run, training)
    _finish(run, metrics, started)


def _finish(run: Run, metrics: pd.DataFrame, started: float) -> None:
    folder = run.folder
    images = {split: len(images) for split, images in run.benchmark.sets.items()}
    if run.external is not None:
        images["external"] = len(run.external)
    made_with = {
        "images": images,
        "precision": run.precision,
        "seconds": round(time.perf_counter() - started, 1),
    }
    folder.save_json("environment.json", folder.environment() | made_with)
    folder.save_json("metrics.json", metric_records(metrics))  # last: now the run is finished


def prepare(run: Run, teacher: Network | None = None) -> Training:
    """Everything that a training needs, checked before the first step; writes nothing.

    Args:
        run: what to train.
        teacher: frozen base model, for rows with TAD.
    """
    config, row, fabric = trained_config(run.config), run.row, run.fabric
    _require_selection(run)
    source = run.external if row.external else run.benchmark["train"]
    assert source is not None
    target = target_data(source, row, config, fabric.global_rank)
    external = None
    if row.uses_tad:
        assert run.external is not None
        external = external_data(run.external, config, fabric.global_rank, row.damaged_pairs)
    if teacher is not None:
        teacher = fabric.to_device(teacher)  # type: ignore[assignment]
        if config.training.compile:
            teacher.compile()
    student = build_student(config, row, target, fabric)
    if row.begins_with and teacher is not None:
        student.network.load_state_dict(teacher.state_dict())
    return Training(
        config=config,
        row=row,
        student=student,
        target=target,
        external=external,
        teacher=teacher if row.uses_tad else None,  # what a row only begins with is done with
        validate=lambda network: _validate(network, run),
    )


def load_teacher(run: Run, progress: bool = True) -> Network:
    """The frozen teacher of a run, trained first (with a bar) if it isn't there.

    The epoch is the one that ``teacher.selection`` says; of a row that the run begins with, the
    last.
    """
    folder = complete(run.teacher(), progress)
    rule = "last" if run.row.begins_with else run.config.teacher.selection
    network = load_network(folder, rule)
    return network.requires_grad_(False)


def load_network(folder: RunFolder, rule: str = "last") -> Network:
    """The network of a finished run, in eval mode."""
    config = folder.config()
    model = replace(config.model, weights="none")  # the run's own weights replace them
    network = build_network(model, find_row(config.row).branch_names)
    if config.training.channels_last:
        network = network.to(memory_format=torch.channels_last)
    return folder.load_network(network, rule)


def machine_of(folder: RunFolder) -> Fabric:
    """One process on this machine, in the arithmetic that a run was made in."""
    return machine(alone(folder.config()), folder.precision())


def described_test(folder: RunFolder, benchmark: Benchmark, qualities: Sequence[str]) -> Described:
    """Descriptors of the headline's images by a finished run's last weights.

    What the run kept is read; of shipped runs, which keep less, the rest is made anew, and that
    takes some seconds a quality.

    Args:
        folder: with weights.
        benchmark: the run's.
        qualities: of the queries: "HQ", "mixed LQ" or a degradation's name. The gallery is HQ.
    """
    config, test, kept = folder.config(), headline(benchmark), folder.features()
    wanted = [*((test.query, quality) for quality in qualities), (test.gallery, HQ)]
    if missing := [key for key in wanted if key not in kept]:
        fabric = machine_of(folder)
        network: Any = fabric.to_device(load_network(folder))
        kept |= {
            (name, quality): describe_images(network, benchmark[name], quality, config, fabric)
            for name, quality in missing
        }
    found = {key: kept[key].astype(np.float32) for key in wanted}
    queries = {quality: found[test.query, quality] for quality in qualities}
    return Described(queries, found[test.gallery, HQ])


def export_backbone(folder: RunFolder, file: Path, rule: str = "last") -> None:
    """Writes a finished run's backbone, for other runs to start from (``model.weights``).

    Args:
        folder: a run with branch 2.
        file: receives stem, trunk and branch 2's stages, 16 bits, as safetensors.
        rule: selection rule.

    Raises:
        RlqkitError: the run's row has no branch 2, or its weights can't be read.
    """
    row = find_row(folder.config().row)
    if "branch2" not in row.branch_names:
        raise RlqkitError(
            f"{folder.path} is a run of row {row.name}, whose network has no branch 2 to export; "
            "give a run of a row with both branches, such as base"
        )
    state = backbone_state(load_network(folder, rule))
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    with atomically(file) as temporary:
        save_file(half, temporary)


def evaluate(folder: RunFolder, rule: str = "last") -> Evaluation:
    """Evaluates the network of a finished run anew, from its weights.

    An imported run, which was never evaluated here before, keeps what is measured, so that it is
    finished afterwards; a trained run keeps what its training wrote.
    """
    run = _resolved(alone(folder.config()), folder)
    network: Any = run.fabric.to_device(load_network(folder, rule))
    measured = evaluate_network(network, run.benchmark, run.config, run.fabric)
    if folder.imported:
        epoch = folder.provenance()["claimed"]["epoch"]
        metrics = measured.metrics.assign(rule=rule, epoch=epoch)
        folder.save_per_query(measured.per_query.assign(rule=rule))
        _save_features(folder, measured.features, run.benchmark)
        folder.save_json("metrics.json", metric_records(metrics))
    return measured


def _require_selection(run: Run) -> None:
    """Refuses rules whose test isn't there or can't be measured, before anything is trained."""
    benchmark, config = run.benchmark, run.config
    for rule in config.evaluation.selection:
        test = selection_test(benchmark, rule)
        if test is None:
            continue
        missing = [split for split in (test.query, test.gallery) if split not in benchmark.sets]
        if missing:
            raise RlqkitError(
                f"evaluation.selection names {rule}, but {benchmark.name} has no {missing[0]} "
                "split; leave it out" + _teachers_remedy(config, rule)
            )
        if not can_be_measured(benchmark, test):
            carved = rule == "best_validation" and config.data.validation_identities
            other = "draw more or other people (data.validation_identities, validation_seed), or "
            raise RlqkitError(
                f"evaluation.selection names {rule}, but no image of {benchmark.name}'s "
                f"{test.query} has a match in its {test.gallery}, of the same person "
                f"{MATCHES[test.rule]}; {other if carved else ''}leave it out"
                + _teachers_remedy(config, rule)
            )


def _teachers_remedy(config: Config, rule: str) -> str:
    """A teacher's rules don't come from evaluation.selection but from a key of its own."""
    is_teacher = find_row(config.row).external and rule == config.teacher.selection
    return " (for the teacher: teacher.selection=last)" if is_teacher else ""


def _validate(network: Network, run: Run) -> dict[str, float]:
    """Figures on validation identities, and on the test if the field's habit is wanted.

    mAP under the rule's name, the others behind it: "best_validation_rank1" and so on.
    """
    measured: dict[str, float] = {}
    for rule in run.config.evaluation.selection:
        test = selection_test(run.benchmark, rule)
        if test is None:
            continue
        figures_of = validation_figures if rule == "best_validation" else selection_figures
        figures = figures_of(network, run.benchmark, test, run.config, run.fabric)
        measured |= {rule: figures.pop("mAP")}
        measured |= {f"{rule}_{name}": value for name, value in figures.items()}
    return measured


def _evaluate_rules(run: Run, training: Training) -> pd.DataFrame:
    """Full evaluation of the last epoch and of every epoch that a selection rule chose.

    Rules often choose the last epoch; the same weights are measured once.
    """
    network, folder = training.measured, run.folder
    last = {name: value.clone() for name, value in network.state_dict().items()}
    tables, per_query = [], []
    done: list[tuple[dict[str, torch.Tensor], Evaluation]] = []
    for rule in run.config.evaluation.selection:
        kept = training.kept.get(rule)
        if rule != "last" and kept is None:
            continue
        state = kept["network"] if kept else last
        network.load_state_dict(state)
        measured = next((found for other, found in done if _same_weights(state, other)), None)
        if measured is None:
            measured = evaluate_network(network, run.benchmark, run.config, run.fabric)
            done.append((state, measured))
        epoch = kept["epoch"] if kept else training.phases[-1].epoch
        tables.append(measured.metrics.assign(rule=rule, epoch=epoch))
        per_query.append(measured.per_query.assign(rule=rule))
        folder.save_network(network.state_dict(), rule)
        if rule == "last":
            _save_features(folder, measured.features, run.benchmark)
    folder.save_per_query(pd.concat(per_query, ignore_index=True))
    return pd.concat(tables, ignore_index=True)


def _save_features(folder: RunFolder, features: Features, benchmark: Benchmark) -> None:
    """Descriptors, and what tables need of them as they are kept, which takes less room."""
    folder.save_features(features)
    sums = headline_collapse(folder.features(), benchmark)
    if sums is not None:
        folder.save_collapse(sums)


def _same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value.to(other[name].device), other[name]) for name, value in one.items()
    )
