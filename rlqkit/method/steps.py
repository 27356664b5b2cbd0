"""One optimiser step of RLQ: a CAP step on the target set, a TAD step on the external set.

A base step is a CAP step without the attribute terms. Which terms count is a list of names (see
``rows``); each name is one small function below, so an ablation never needs another train function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from rlqkit.method import losses
from rlqkit.method.network import Heads, Network, norms_of, statistics_move
from rlqkit.method.rows import GENDER_BRANCHES, Branch
from rlqkit.processes import TripletGradient, average_gradients, gathered

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class StepRules:
    """The switches of a step that are not terms (see ``config.CompatConfig``)."""

    kl_reduction: losses.Reduction = "element"
    disentangle: tuple[Branch, ...] = ("branch2",)
    disentangle_form: str = "absolute"
    keep_zero_gradients: bool = False
    triplet_gradient: TripletGradient = "local"


@dataclass
class Student:
    """What training moves: network, heads, and the two optimisers that own their parameters.

    Attributes:
        network: trunk and branches.
        heads: all classifiers.
        optimiser: Adam of everything but the clothes classifier.
        clothes_optimiser: Adam of the clothes classifier alone.
        positives: (identities, clothes) bool, the clothes classes of each identity.
        fabric: device, precision and backward pass.
        rules: switches.
        hold_statistics: whether batch statistics stay what they are while weights are trained.
        separate_statistics: whether LQ images of a TAD step leave them alone (see ``Row``).
    """

    network: Network
    heads: Heads
    optimiser: Optimizer
    clothes_optimiser: Optimizer
    positives: Tensor
    fabric: Fabric
    rules: StepRules = field(default_factory=StepRules)
    hold_statistics: bool = False
    separate_statistics: bool = False

    def train(self) -> None:
        """Sets network and heads to train mode, batch normalisation only where it may move."""
        self.network.train()
        self.heads.train()
        if self.hold_statistics:
            for norm in norms_of(self.network):
                norm.eval()

    def views(self, hq: Tensor, lq: Tensor) -> dict[str, Tensor]:
        """Features of a TAD step's images by branch, (2 n, D): HQ first, then LQ."""
        if not self.separate_statistics:
            features: dict[str, Tensor] = self.network(torch.cat([hq, lq]))
            return features
        f_hq = self.network(hq)
        with statistics_move(self.network, 0.0):  # LQ is normalised by its own batch
            f_lq = self.network(lq)
        return {name: torch.cat([f_hq[name], f_lq[name]]) for name in f_hq}

    def zero_grad(self) -> None:
        """Clears the main optimiser's gradients, as torch >= 2 does or as torch < 2 did."""
        self.optimiser.zero_grad(set_to_none=not self.rules.keep_zero_gradients)

    def descend(self, loss: Tensor, optimiser: Optimizer) -> None:
        """One backward pass and one step of an optimiser, gradients averaged over processes."""
        self.fabric.backward(loss)
        average_gradients(self.fabric, optimiser)
        optimiser.step()


@dataclass(frozen=True)
class CapOutputs:
    """What the terms of a CAP step may use: features, logits and labels of one batch (B images).

    f: features by branch (B, D); o1, o2: identity logits (B, identities); clothes_logits:
    cosines (B, clothes) from the attached f1 and the classifier as just updated.
    """

    f: Mapping[str, Tensor]
    o1: Tensor
    o2: Tensor | None
    clothes_logits: Tensor
    batch: Batch
    student: Student


@dataclass(frozen=True)
class TadOutputs:
    """What the terms of a TAD step may use; HQ and LQ halves of n images each.

    Keys of the mappings are branch names for features (n, D) and head names for logits (n, C).
    """

    teacher: Mapping[str, Tensor]
    f_hq: Mapping[str, Tensor]
    f_lq: Mapping[str, Tensor]
    o_hq: Mapping[str, Tensor]
    o_lq: Mapping[str, Tensor]
    rules: StepRules


def _kl(rules: StepRules, teacher: Tensor, student: Tensor) -> Tensor:
    return losses.logit_kl(teacher, student, reduction=rules.kl_reduction)


def _second(out: CapOutputs) -> Tensor:
    if out.o2 is None:
        raise ValueError("this term needs branch 2; rows with one branch can't name it")
    return out.o2


def _agreement(out: CapOutputs) -> Tensor:
    return _kl(out.student.rules, _second(out), out.o1)


def _triplet(out: CapOutputs) -> Tensor:
    """Anchors are this process's images, their positives and negatives those of all."""
    student, f2, labels = out.student, out.f["branch2"], out.batch["identity"]
    gallery = gathered(student.fabric, f2, labels, student.rules.triplet_gradient)
    return losses.batch_hard_triplet(f2, labels, gallery=gallery)


def _clothes_adversarial(out: CapOutputs) -> Tensor:
    positives = out.student.positives[out.batch["identity"]]
    return losses.clothes_adversarial_loss(out.clothes_logits, out.batch["clothes"], positives)


def _pose(out: CapOutputs) -> Tensor:
    return losses.smoothed_cross_entropy(out.student.heads.pose(out.f["pose"]), out.batch["pose"])


def _gender(out: CapOutputs, term: str) -> Tensor:
    seen = [out.f[name] for name in GENDER_BRANCHES[term]]
    features = torch.cat(seen, dim=1) if len(seen) > 1 else seen[0]
    return losses.smoothed_cross_entropy(out.student.heads.gender(features), out.batch["gender"])


def _disentangling(out: CapOutputs) -> Tensor:
    rules = out.student.rules
    parts = [
        losses.pose_disentangling(out.f[name], out.f["pose"], rules.disentangle_form)  # type: ignore[arg-type]
        for name in rules.disentangle
    ]
    return torch.stack(parts).sum()


def _consistency(out: CapOutputs, branch: str) -> Tensor:
    """The recoloured copies, which are LQ, are pulled to the images that they were made from."""
    images, copies = out.f[branch][0::2], out.f[branch][1::2]
    return losses.feature_mse(images.detach(), copies)


CAP_TERMS: dict[str, Callable[[CapOutputs], Tensor]] = {
    "identity_1": lambda out: losses.smoothed_cross_entropy(out.o1, out.batch["identity"]),
    "identity_2": lambda out: losses.smoothed_cross_entropy(_second(out), out.batch["identity"]),
    "agreement": _agreement,
    "triplet": _triplet,
    "clothes_adversarial": _clothes_adversarial,
    "pose": _pose,
    **{term: partial(_gender, term=term) for term in GENDER_BRANCHES},
    "disentangling": _disentangling,
    "consistency_1": partial(_consistency, branch="branch1"),
    "consistency_2": partial(_consistency, branch="branch2"),
}
"""Loss terms of a step on the target set, all with weight 1."""

TAD_TERMS: dict[str, Callable[[TadOutputs], Tensor]] = {
    "distil_hq_1": lambda out: losses.feature_mse(out.teacher["branch1"], out.f_hq["branch1"]),
    "distil_lq_1": lambda out: losses.feature_mse(out.teacher["branch1"], out.f_lq["branch1"]),
    "distil_hq_2": lambda out: losses.feature_mse(out.teacher["branch2"], out.f_hq["branch2"]),
    "distil_lq_2": lambda out: losses.feature_mse(out.teacher["branch2"], out.f_lq["branch2"]),
    "self_identity_2": lambda out: _kl(out.rules, out.o_hq["identity_2"], out.o_lq["identity_2"]),
    "self_identity_1": lambda out: _kl(out.rules, out.o_hq["identity_1"], out.o_lq["identity_1"]),
    "self_clothes": lambda out: _kl(out.rules, out.o_hq["clothes"], out.o_lq["clothes"]),
}
"""Loss terms of a step on the external set, with weight 1 unless a row says otherwise."""


def cap_step(
    student: Student, batch: Batch, terms: Sequence[str], adversarial: bool
) -> dict[str, Tensor]:
    """One step on the target set (paper, section on CAP; a base step where no attribute counts).

    Args:
        student: moved in place.
        batch: images (B, 3, H, W) in the order s0, s0-recoloured, s1, …; identity, clothes and,
            where a term needs them, pose and gender: (B,) each.
        terms: names in ``CAP_TERMS``.
        adversarial: whether the clothes classifier trains and the term ``clothes_adversarial``
            counts (from epoch 25 in the paper).

    Returns:
        Value of every counted term, of the clothes classifier's loss, of the total, and the share
        of images whose identity o1 names: scalar tensors without a gradient, on the device. To
        read one waits for the device, so a training reads them once a phase.
    """
    student.train()
    with student.fabric.autocast():
        f = student.network(batch["images"])
    values = {"clothes": _clothes_classifier_step(student, f["branch1"], batch, adversarial)}
    heads = student.heads
    out = CapOutputs(
        f=f,
        o1=heads.identity_1(f["branch1"]),
        o2=heads.identity_2(f["branch2"]) if "branch2" in f else None,
        clothes_logits=heads.clothes(f["branch1"]),
        batch=batch,
        student=student,
    )
    counted = [name for name in terms if adversarial or name != "clothes_adversarial"]
    values |= _descend(student, {name: CAP_TERMS[name](out) for name in counted})
    values["accuracy"] = (out.o1.argmax(dim=1) == batch["identity"]).float().mean()
    return values


def tad_step(
    student: Student, teacher: nn.Module, batch: Batch, terms: Sequence[str],
    weights: Sequence[float] = (),
) -> dict[str, Tensor]:  # fmt: skip
    """One step of task-agnostic distillation on external images, whose identities are not used.

    The frozen teacher sees HQ only. The student sees HQ and LQ in one batch, in train mode, so
    unless it holds them its batch statistics move too, those of the pose branch included (with
    separate statistics it sees them apart, and only HQ moves them).
    Gradients reach trunk, branches 1 and 2 and the identity heads; the clothes term sees detached
    features, and its classifier belongs to the other optimiser, so it trains nothing.

    Args:
        student: moved in place.
        teacher: base model in eval mode.
        batch: hq and lq, (n, 3, H, W) each, augmented independently.
        terms: names in ``TAD_TERMS``.
        weights: of the terms in the total; () = 1 each, as in the paper.

    Returns:
        Value of every term, without its weight, and of the total, as ``cap_step`` gives them.
    """
    student.train()
    hq, lq = batch["hq"], batch["lq"]
    with student.fabric.autocast():
        with torch.no_grad():
            taught = teacher(hq)
        f = student.views(hq, lq)
    halves = {name: feature.split(len(hq)) for name, feature in f.items()}
    logits = {
        name: o.split(len(hq)) for name, o in _identity_and_clothes_logits(student, f).items()
    }
    out = TadOutputs(
        teacher=taught,
        f_hq={name: half[0] for name, half in halves.items()},
        f_lq={name: half[1] for name, half in halves.items()},
        o_hq={name: half[0] for name, half in logits.items()},
        o_lq={name: half[1] for name, half in logits.items()},
        rules=student.rules,
    )
    return _descend(student, {name: TAD_TERMS[name](out) for name in terms}, weights)


def _identity_and_clothes_logits(student: Student, f: Mapping[str, Tensor]) -> dict[str, Tensor]:
    heads = student.heads
    return {
        "identity_1": heads.identity_1(f["branch1"]),
        "identity_2": heads.identity_2(f["branch2"]),
        "clothes": heads.clothes(f["branch1"].detach()),
    }


def _clothes_classifier_step(
    student: Student, f1: Tensor, batch: Batch, adversarial: bool
) -> Tensor:
    """Loss of the clothes classifier on detached f1; its optimiser steps once CAL counts."""
    logits = student.heads.clothes(f1.detach())
    loss = losses.cosine_cross_entropy(logits, batch["clothes"])
    if adversarial:
        student.clothes_optimiser.zero_grad()
        student.descend(loss, student.clothes_optimiser)
    return loss.detach()


def _descend(
    student: Student, terms: Mapping[str, Tensor], weights: Sequence[float] = ()
) -> dict[str, Tensor]:
    """Sums the terms, one backward pass, one step of the main optimiser."""
    values = list(terms.values())
    if weights:
        values = [weight * value for weight, value in zip(weights, values, strict=True)]
    total = torch.stack(values).sum()
    student.zero_grad()
    student.descend(total, student.optimiser)
    return {name: term.detach() for name, term in {**terms, "total": total}.items()}
