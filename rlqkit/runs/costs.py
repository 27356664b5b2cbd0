"""What runs will cost before they start: steps, images, and an estimate of hours.

Steps and images follow from the sizes of the data set, the rule of the samplers and nothing else,
so they are exact when the data set is there; otherwise its published sizes stand in. Hours are an
estimate: arithmetic of all passes through the networks, divided by a measured throughput.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from rlqkit.config import Config, DataConfig, ModelConfig
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.loaders import load_benchmark, load_external
from rlqkit.data.published.figures import published, published_images
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.protocol import QUALITY_PAIRS, selection_test, watched_qualities
from rlqkit.method.rows import Branch, find_row
from rlqkit.method.training import plan_phases
from rlqkit.runs.backbone import build_network
from rlqkit.runs.plan import teacher_row, trained_config

THROUGHPUT = 14.0
"""Images a second, forward and backward, of one ResNet-50 branch at 384 x 192: measured on two CPU
cores with bf16 and channels_last. A GPU is faster by one or two orders of magnitude."""
REFERENCE = ModelConfig(), (384, 192)
"""Network and input (height, width) of that measurement, with a single branch."""
GPU_TERAFLOPS = 30.0
"""10^12 operations a second that a data centre's GPU is assumed to sustain in a training with 16
bits: an assumption, a tenth to a third of what such GPUs are sold with. An H200 sustained 100 to
136 in the steps alone (docs/gpu.md); preparing images, evaluations and lesser GPUs take from it."""
BACKWARD = 2.0
"""Arithmetic of a backward pass, in forward passes."""


@dataclass(frozen=True)
class Sizes:
    """How many images a configuration meets.

    Attributes:
        train: images of an epoch over the target set, by the identity sampler's rule.
        external: images of the external set.
        external_epoch: images of an epoch over it, for the teacher, by the same rule.
        validation: images described at each evaluation during the training, by selection rule.
        test: images described in a full evaluation, counted once for each quality.
        exact: counted on disk; False = the published numbers.
        identities, clothes: classes of the training set, before recolouring. Where nobody
            published the outfits, one for each identity stands in.
        external_identities: classes of the external set, which the teacher learns.
        splits: images of every split that a run may read, the external one among them.
    """

    train: int
    external: int
    external_epoch: int
    validation: Mapping[str, int]
    test: int
    exact: bool
    identities: int = 0
    clothes: int = 0
    external_identities: int = 0
    splits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What one run costs.

    Attributes:
        epochs, steps: of the main optimiser, in each process.
        images: forwarded and back-propagated over all processes, copies counted.
        tera: arithmetic of the whole run, training and evaluations, in 10^12 operations.
        hours: estimate.
    """

    epochs: int
    steps: int
    images: int
    tera: float
    hours: float


def count_sizes(config: Config) -> Sizes:
    """Sizes of a configuration's data sets, from disk; looked up once for all runs of a plan.

    Raises:
        RlqkitError: a data set isn't there or isn't complete.
    """
    return _count_sizes(config.data, config.training.instances)


@lru_cache(maxsize=8)
def _count_sizes(data: DataConfig, instances: int) -> Sizes:
    config = Config(data=data)
    benchmark = load_benchmark(config)
    external = _external_of(benchmark, config)
    validation = {}
    for rule in ("best_validation", "best_test"):
        test = selection_test(benchmark, rule)
        if test and {test.query, test.gallery} <= benchmark.sets.keys():
            validation[rule] = sum(len(benchmark[split]) for split in {test.query, test.gallery})
    described = {
        (split, quality)
        for qualities in QUALITY_PAIRS
        for test in benchmark.tests
        for splits, quality in zip((test.query, test.gallery), qualities, strict=True)
        for split in splits.split("+")
    }
    return Sizes(
        train=epoch_length(benchmark["train"].identities, instances),
        external=len(external),
        external_epoch=epoch_length(external.identities, instances),
        validation=validation,
        test=sum(len(benchmark[split]) for split, _ in described),
        exact=True,
        identities=benchmark["train"].n_identities,
        clothes=benchmark["train"].n_clothes,
        external_identities=external.n_identities,
        splits={name: len(images) for name, images in benchmark.sets.items()}
        | {"external": len(external)},
    )


def _external_of(benchmark: Benchmark, config: Config) -> ImageSet:
    """The external set, not loaded again where the target's folder holds it."""
    data = config.data
    if (data.external, data.external_root) != (data.dataset, data.root):
        return load_external(config)
    images, kept = benchmark["external"], data.external_identities
    return images.first_identities(min(kept, images.n_identities)) if kept else images


def published_sizes(config: Config) -> Sizes | None:
    """Sizes from the published counts, identities of fewer than four images left out of account.

    None if one of the two data sets has no published counts.
    """
    target = published_images(config.data.dataset)
    external = published_images(config.data.external)
    if not target or not external:
        return None
    trained = published(config.data.dataset)["splits"]["train"]
    queries = sum(n for split, n in target.items() if split.startswith("query"))
    headline = target.get("query_cc", queries) + target["gallery"]
    validation = {"best_test": headline}
    if "val_query" in target:
        validation["best_validation"] = target["val_query"] + target["val_gallery"]
    query_qualities = len({q for q, _ in QUALITY_PAIRS})
    gallery_qualities = len({g for _, g in QUALITY_PAIRS})
    return Sizes(
        train=target["train"],
        external=external["train"],
        external_epoch=external["train"],
        validation=validation,
        test=queries * query_qualities + target["gallery"] * gallery_qualities,
        exact=False,
        identities=trained["identities"],
        clothes=trained.get("outfits", trained["identities"]),
        external_identities=published(config.data.external)["splits"]["train"]["identities"],
        splits={**target, "external": external["train"]},
    )


def sizes_of(config: Config) -> Sizes:
    """Sizes on disk, or the published ones where a data set isn't there.

    Raises:
        RlqkitError: neither is to be had.
    """
    try:
        return count_sizes(config)
    except RlqkitError:  # not kept: the data set may be there the next time
        published = published_sizes(config)
        if published is None:
            raise
        return published


def estimate(config: Config, sizes: Sizes, throughput: float = THROUGHPUT) -> Cost:
    """Steps, images, arithmetic and hours of one run.

    Args:
        config: of the run; a batch is one of its processes', which share an epoch.
        sizes: of its data sets.
        throughput: images a second, forward and backward, of one ResNet-50 branch at 384 x 192.

    Raises:
        RlqkitError: an epoch holds no whole batch.
    """
    row, training = find_row(config.row), trained_config(config).training
    processes = training.processes
    source = sizes.external_epoch if row.external else sizes.train
    chunks = source // training.instances // processes
    cap_steps = chunks * training.instances // training.batch
    tad_steps = 0
    if row.uses_tad:
        external = min(config.data.external_images or sizes.external, sizes.external)
        tad_steps = external // processes // training.batch
    if not cap_steps or (row.uses_tad and not tad_steps):
        raise RlqkitError(
            f"training.batch = {training.batch} in {processes} processes is more than an epoch "
            "holds; lower it"
        )
    phases = plan_phases(training, cap_steps if row.terms else 0, tad_steps)
    steps = {kind: sum(p.steps for p in phases if p.kind == kind) for kind in ("cap", "tad")}
    if row.mean_of:  # it trains nothing; its parents are runs of their own
        steps = dict.fromkeys(steps, 0)
    copies = processes * training.batch
    target_images = steps["cap"] * copies * (2 if row.recolour else 1)
    external_images = 2 * steps["tad"] * copies  # HQ and LQ

    size = (config.data.height, config.data.width)
    branches = row.branch_names
    own = forward_operations(config.model, size, branches)
    work = (target_images + external_images) * (1 + BACKWARD) * own
    if row.uses_tad:  # the teacher sees the HQ images, forward only
        taught_by = teacher_row(config).branch_names
        work += external_images / 2 * forward_operations(config.model, size, taught_by)
    described = _described(config, sizes, phases[-1].epoch + 1)
    at_test = tuple(name for name in branches if name != "pose")
    work += 2 * described * forward_operations(config.model, size, at_test)  # and the mirror
    reference = (1 + BACKWARD) * forward_operations(*REFERENCE, ("branch1",))
    return Cost(
        epochs=phases[-1].epoch + 1,
        steps=sum(steps.values()),
        images=target_images + external_images,
        tera=work / 1e12,
        hours=work / reference / throughput / 3600,
    )


def gpu_throughput(teraflops: float = GPU_TERAFLOPS) -> float:
    """Images a second of one ResNet-50 branch on a GPU that sustains so many 10^12 operations."""
    return teraflops * 1e12 / ((1 + BACKWARD) * forward_operations(*REFERENCE, ("branch1",)))


def epoch_length(identities: np.ndarray, instances: int) -> int:
    """Images of an epoch over a labelled set: whole chunks of ``instances`` of each identity."""
    counts = np.unique(identities, return_counts=True)[1]
    return int((np.maximum(counts // instances, 1) * instances).sum())


def forward_operations(
    model: ModelConfig, size: tuple[int, int], branches: tuple[Branch, ...]
) -> float:
    """Multiplications and additions of one image's forward pass; nothing is computed or loaded."""
    return _forward_operations(replace(model, weights="none"), size, branches)


@lru_cache(maxsize=64)
def _forward_operations(
    model: ModelConfig, size: tuple[int, int], branches: tuple[Branch, ...]
) -> float:
    with torch.device("meta"):
        network = build_network(model, branches).eval()
        image = torch.empty(1, 3, *size)
    _leave_out_norms(network)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return float(counter.get_total_flops())


def _leave_out_norms(module: torch.nn.Module) -> None:
    """Norms count no operations and are half of the time that counting takes."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            setattr(module, name, torch.nn.Identity())
        else:
            _leave_out_norms(child)


def _described(config: Config, sizes: Sizes, epochs: int) -> int:
    """Images that all evaluations of a run describe."""
    rules = config.evaluation.selection
    times = 1 if find_row(config.row).mean_of else min(config.training.evaluations, epochs)
    watched = sum(len(watched_qualities(rule)) * sizes.validation.get(rule, 0) for rule in rules)
    return times * watched + len(rules) * sizes.test
