"""One run from configuration to figures: prepare, train (or resume), evaluate, write."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file

from rlqkit.config import Config
from rlqkit.datasets import Benchmark
from rlqkit.errors import RlqkitError
from rlqkit.evaluation import (
    Evaluation,
    evaluate_network,
    metric_records,
    selection_figures,
    selection_test,
)
from rlqkit.model import Branch, Heads, Network, backbone_state
from rlqkit.plan import teacher_config
from rlqkit.processes import adopt_processes, on_first, share_state, with_others
from rlqkit.rows import Row, find_row
from rlqkit.runs import RunFolder
from rlqkit.steps import StepRules, Student
from rlqkit.tasks import (
    ExternalTask,
    TargetTask,
    external_task,
    load_benchmark,
    load_external,
    target_task,
)
from rlqkit.training import (
    Record,
    Training,
    launch_fabric,
    precision_in_force,
    seed_everything,
)


def run(
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
    config = adopt_processes(config)
    folder = RunFolder.of(config)
    fabric = launch_fabric(config)
    with with_others(fabric):
        if on_first(fabric, lambda: folder.finished):
            return folder
        use_threads(config)
        row = find_row(config.row)
        if row.uses_tad and not on_first(
            fabric, lambda: RunFolder.of(teacher_config(config)).finished
        ):
            prepare(config)  # what the student lacks should show before its teacher is trained
        teacher = load_teacher(config, progress) if row.uses_tad else None
        started = time.perf_counter()
        training = prepare(config, folder, teacher)
        training.on_phase = on_phase
        on_first(fabric, lambda: folder.start(config))
        training.run(progress)
        on_first(fabric, lambda: _write_results(training, folder, started))
    return folder


def _write_results(training: Training, folder: RunFolder, started: float) -> None:
    config = training.config
    folder.save_json("history.json", training.history)
    benchmark = load_benchmark(config)
    _evaluate_rules(training, folder, benchmark)
    images = {split: len(images) for split, images in benchmark.sets.items()}
    if training.row.external or training.row.uses_tad:
        images["external"] = len(load_external(config))
    made_with = {
        "images": images,
        "precision": precision_in_force(config),
        "seconds": round(time.perf_counter() - started, 1),
    }
    folder.save_json("environment.json", folder.environment() | made_with)


def prepare(
    config: Config, folder: RunFolder | None = None, teacher: Network | None = None
) -> Training:
    """Everything that a training needs, checked before the first step.

    Args:
        config: the run's configuration.
        folder: receives the checkpoint; None = nothing is written.
        teacher: frozen base model, for rows with TAD.
    """
    config = adopt_processes(config)
    row = find_row(config.row)
    fabric = launch_fabric(config)
    benchmark = load_benchmark(config)
    _require_splits(benchmark, config)
    external = load_external(config) if row.external or row.uses_tad else None
    source = external if row.external else benchmark["train"]
    assert source is not None
    target = target_task(source, row, config, fabric.global_rank)
    unlabelled: ExternalTask | None = None
    if row.uses_tad:
        assert external is not None
        unlabelled = external_task(external, config, fabric.global_rank)
    if teacher is not None:
        teacher = fabric.to_device(teacher)  # type: ignore[assignment]
    return Training(
        config=config,
        row=row,
        student=build_student(config, row, target, fabric),
        target=target,
        external=unlabelled,
        teacher=teacher,
        folder=folder.path if folder else None,
        validate=lambda network: _validate(network, benchmark, config, fabric),
    )


def build_student(config: Config, row: Row, target: TargetTask, fabric: Fabric) -> Student:
    """Network, heads and the two Adam optimisers of a row, seeded by ``config.seed``."""
    seed_everything(config.seed)
    branches = branches_of(row)
    network = Network(config.model, branches)
    heads = Heads(
        network.dimensions,
        target.identities,
        target.clothes,
        branches,
        config.cap.clusters,
        gender=row.uses_gender,
    )
    if config.training.channels_last:
        network = network.to(memory_format=torch.channels_last)
    network, heads = fabric.to_device(network), fabric.to_device(heads)  # type: ignore[assignment]
    share_state(fabric, network, heads)
    adam = {
        "lr": config.training.learning_rate,
        "weight_decay": config.training.weight_decay,
        "fused": True,  # same arithmetic in one pass over the weights; several times faster
    }
    others = [p for name, p in heads.named_parameters() if not name.startswith("clothes.")]
    main = torch.optim.Adam([*network.parameters(), *others], **adam)  # type: ignore[arg-type]
    clothes = torch.optim.Adam(heads.clothes.parameters(), **adam)  # type: ignore[arg-type]
    optimisers: Any = fabric.setup_optimizers(main, clothes)
    optimiser, clothes_optimiser = optimisers
    return Student(
        network=network,
        heads=heads,
        optimiser=optimiser,
        clothes_optimiser=clothes_optimiser,
        positives=target.positives.to(fabric.device),
        fabric=fabric,
        rules=step_rules(config),
    )


def branches_of(row: Row) -> tuple[Branch, ...]:
    """Branches of a row's network."""
    if row.branches == 1:
        return ("clothes",)
    return ("clothes", "identity", "pose") if row.uses_pose else ("clothes", "identity")


def step_rules(config: Config) -> StepRules:
    """The switches of a step, from ``compat`` and ``cap``."""
    compat, side = config.compat, config.cap.disentangle
    return StepRules(
        kl_reduction="element" if compat.switch("kl_reduction") == "official" else "batch",
        disentangle=("identity", "clothes") if side == "both" else (side,),
        disentangle_form=config.cap.disentangle_form,
        keep_zero_gradients=compat.switch("zero_grad") == "official",
        triplet_gradient="local" if compat.switch("triplet_gradient") == "official" else "joined",
    )


def load_teacher(config: Config, progress: bool = True) -> Network:
    """The frozen teacher of a configuration, trained first (with a bar) if it isn't there.

    The epoch is the one that ``teacher.selection`` says.
    """
    folder = run(teacher_config(config), progress)
    network = load_network(folder, config.teacher.selection)
    return network.requires_grad_(False)


def load_network(folder: RunFolder, rule: str = "last") -> Network:
    """The network of a finished run, in eval mode."""
    config = folder.config()
    model = replace(config.model, weights="none")  # the run's own weights replace them
    network = Network(model, branches_of(find_row(config.row)))
    if config.training.channels_last:
        network = network.to(memory_format=torch.channels_last)
    return folder.load_network(network, rule)


def export_backbone(folder: RunFolder, file: Path, rule: str = "last") -> None:
    """Writes a finished run's backbone, for other runs to start from (``model.weights``).

    Args:
        folder: a run with branch 2.
        file: receives stem, trunk and branch 2's stages, 16 bits, as safetensors.
        rule: selection rule.
    """
    state = backbone_state(load_network(folder, rule))
    file.parent.mkdir(parents=True, exist_ok=True)
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file(half, file)


def evaluate(folder: RunFolder, rule: str = "last") -> Evaluation:
    """Evaluates the network of a finished run anew, from its weights.

    An imported run, which was never evaluated here before, keeps what is measured, so that it is
    finished afterwards; a trained run keeps what its training wrote.
    """
    config = folder.config()
    use_threads(config)
    fabric = launch_fabric(config)
    network = fabric.to_device(load_network(folder, rule))
    measured = evaluate_network(network, load_benchmark(config), config, fabric)  # type: ignore[arg-type]
    if folder.imported:
        epoch = folder.provenance()["claimed"]["epoch"]
        metrics = measured.metrics.assign(rule=rule, epoch=epoch)
        folder.save_per_query(measured.per_query.assign(rule=rule))
        folder.save_features(measured.features)
        folder.save_json("metrics.json", metrics.to_dict(orient="records"))
    return measured


def use_threads(config: Config) -> None:
    """Gives torch the number of threads that the configuration asks for."""
    if config.runtime.threads:
        torch.set_num_threads(config.runtime.threads)


def _require_splits(benchmark: Benchmark, config: Config) -> None:
    for rule in config.evaluation.selection:
        test = selection_test(benchmark, rule)
        splits = () if test is None else (test.query, test.gallery)
        missing = [split for split in splits if split not in benchmark.sets]
        if missing:
            raise RlqkitError(
                f"evaluation.selection names {rule}, but {benchmark.name} has no {missing[0]} "
                "split; leave it out" + _teachers_remedy(config, rule)
            )


def _teachers_remedy(config: Config, rule: str) -> str:
    """A teacher's rules don't come from evaluation.selection but from a key of its own."""
    is_teacher = find_row(config.row).external and rule == config.teacher.selection
    return " (for the teacher: teacher.selection=last)" if is_teacher else ""


def _validate(
    network: Network, benchmark: Benchmark, config: Config, fabric: Fabric
) -> dict[str, float]:
    """Headline mAP on validation identities, and on the test if the field's habit is wanted."""
    measured: dict[str, float] = {}
    for rule in config.evaluation.selection:
        test = selection_test(benchmark, rule)
        if test is None:
            continue
        figures = selection_figures(network, benchmark, test, config, fabric)
        measured |= {rule: figures["mAP"], f"{rule}_rank1": figures["rank1"]}
    return measured


def _evaluate_rules(training: Training, folder: RunFolder, benchmark: Benchmark) -> None:
    """Full evaluation of the last epoch and of every epoch that a selection rule chose.

    Rules often choose the last epoch; the same weights are measured once.
    """
    config, student = training.config, training.student
    last = {name: value.clone() for name, value in student.network.state_dict().items()}
    tables, per_query = [], []
    done: list[tuple[dict[str, torch.Tensor], Evaluation]] = []
    for rule in config.evaluation.selection:
        kept = training.kept.get(rule)
        if rule != "last" and kept is None:
            continue
        state = kept["network"] if kept else last
        student.network.load_state_dict(state)
        measured = next((found for other, found in done if _same_weights(state, other)), None)
        if measured is None:
            measured = evaluate_network(student.network, benchmark, config, student.fabric)
            done.append((state, measured))
        epoch = kept["epoch"] if kept else training.phases[-1].epoch
        tables.append(measured.metrics.assign(rule=rule, epoch=epoch))
        per_query.append(measured.per_query.assign(rule=rule))
        folder.save_network(student.network.state_dict(), rule)
        if rule == "last":
            folder.save_features(measured.features)
    folder.save_per_query(pd.concat(per_query, ignore_index=True))
    folder.save_json("metrics.json", metric_records(pd.concat(tables, ignore_index=True)))


def _same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value.to(other[name].device), other[name]) for name, value in one.items()
    )
