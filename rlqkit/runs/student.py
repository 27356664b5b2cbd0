"""What a training moves, built from a configuration: network, heads, two Adam optimisers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from rlqkit.config import Config
from rlqkit.data.loaders import TargetData
from rlqkit.method.network import Heads
from rlqkit.method.rows import Branch, Row
from rlqkit.method.steps import StepRules, Student
from rlqkit.processes import share_state
from rlqkit.runs.backbone import build_network

DISENTANGLED: dict[str, tuple[Branch, ...]] = {
    "identity": ("branch2",),
    "clothes": ("branch1",),
    "both": ("branch2", "branch1"),
}
"""``cap.disentangle`` → the branches that are pushed away from the pose branch."""


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch: initial weights are drawn from torch's generator."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def build_student(config: Config, row: Row, target: TargetData, fabric: Fabric) -> Student:
    """Network, heads and the two Adam optimisers of a row, seeded by ``config.seed``."""
    seed_everything(config.seed)
    branches = row.branch_names
    network = build_network(config.model, branches)
    heads = Heads(
        network.dimensions,
        target.identities,
        target.clothes,
        branches,
        config.cap.clusters,
        gender=len(row.gender_branches),
    )
    if config.training.channels_last:
        network = network.to(memory_format=torch.channels_last)
    network, heads = fabric.to_device(network), fabric.to_device(heads)  # type: ignore[assignment]
    share_state(fabric, network, heads)
    if config.training.compile:
        network.compile()  # in place: names and classes stay, and so do checkpoints
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
        hold_statistics=row.hold_statistics,
        separate_statistics=row.separate_statistics,
    )


def step_rules(config: Config) -> StepRules:
    """The switches of a step, from ``compat`` and ``cap``."""
    compat = config.compat
    return StepRules(
        kl_reduction="element" if compat.switch("kl_reduction") == "official" else "batch",
        disentangle=DISENTANGLED[config.cap.disentangle],
        disentangle_form=config.cap.disentangle_form,
        keep_zero_gradients=compat.switch("zero_grad") == "official",
        triplet_gradient="local" if compat.switch("triplet_gradient") == "official" else "joined",
    )
