"""Where in the network LQ collapses: the measures after each stage, from the stem to f1 and f2.

A stage's output is a map; pooled as the network pools its last one (global maximum and average
side by side) it becomes a feature like any other. Pooled maps are not negative and share a large
mean, so that all their cosines are near 1; each is therefore moved and scaled, channel by channel,
by mean and deviation of the HQ images, which is what the batch norm before f1 and f2 does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from rlqkit.config import Config
from rlqkit.data.torch_sets import EvaluationImages
from rlqkit.evaluation.collapse import SINGLE, collapse_intervals, person_sums
from rlqkit.evaluation.descriptors import image_batches
from rlqkit.method.network import STAGES, Network

Matrix = NDArray[np.floating[Any]]
Stages = Mapping[str, Matrix]
"""Stage → (n, C) features. Stages are named "stem", "layer1", … as long as the branches share
them, then "branch1/layer3", …, "branch1/f1", "branch2/layer3", …, "branch2/f2"."""
LAST = {"branch1": "f1", "branch2": "f2", "pose": "f3"}


def pooled_stages(network: Network, images: Tensor) -> dict[str, Tensor]:
    """Stage → pooled features (B, 2 C) of images (B, 3, H, W), in the network's order.

    f1 and f2 are the two halves of ``network.descriptor``; pose is not looked at.
    """
    found: dict[str, Tensor] = {}
    maps = images
    if network.split:
        maps = network.stem(maps)
        found["stem"] = _pooled(maps)
    for name, stage in zip(STAGES, network.trunk, strict=False):
        maps = stage(maps)
        found[name] = _pooled(maps)
    names = STAGES[network.split :] if network.split else ("stem", *STAGES)
    for branch in network.descriptor_branches:
        own = maps
        stages: Any = network.branches[branch]
        for name, stage in zip(names, stages, strict=True):
            own = stage(own)
            found[f"{branch}/{name}"] = _pooled(own)
        found[f"{branch}/{LAST[branch]}"] = network.pools[branch](own)
    return found


def stage_features(
    networks: Mapping[str, Network], images: EvaluationImages, fabric: Fabric, config: Config
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Name → stage → (n, C) features of a data set in its order, not normalised.

    Every image is prepared once for all networks, and seen without its mirror image, which costs
    half as much as a descriptor.

    Args:
        networks: name → network in eval mode; moved to the device if it isn't there.
        images: what to describe, already degraded where it should be.
        fabric: device and precision.
        config: images of a forward pass and how they are prepared.
    """
    parts: dict[str, dict[str, list[Tensor]]] = {name: {} for name in networks}
    for network in networks.values():
        fabric.to_device(network)
    with torch.inference_mode(), fabric.autocast():
        for x in image_batches(images, fabric, config):
            for name, network in networks.items():
                for stage, features in pooled_stages(network, x).items():
                    parts[name].setdefault(stage, []).append(features.float().cpu())
    return {
        name: {stage: torch.cat(part).numpy() for stage, part in found.items()}
        for name, found in parts.items()
    }


def comparable(hq: Stages, lq: Stages) -> dict[str, tuple[Matrix, Matrix]]:
    """Stage → HQ and LQ features with rows of norm 1, ready for ``person_sums``.

    All but f1 and f2 are first standardised, channel by channel, by the HQ images' mean and
    deviation; channels that never move are left out by their deviation of 0.
    """
    found = {}
    for name in hq:
        one, other = hq[name].astype(np.float64), lq[name].astype(np.float64)
        if name.split("/")[-1] not in LAST.values():
            mean, spread = one.mean(axis=0), one.std(axis=0)
            moving = spread > 1e-6 * max(float(spread.max()), np.finfo(float).tiny)
            one, other = ((x[:, moving] - mean[moving]) / spread[moving] for x in (one, other))
        found[name] = _unit(one), _unit(other)
    return found


def collapse_by_stage(
    models: Mapping[str, Mapping[str, tuple[Matrix, Matrix]]],
    labels: Any,
    measures: Iterable[str] = ("lq_given_stranger", "identity_purity"),
    reference: str | None = None,
) -> pd.DataFrame:
    """Collapse measures after each stage of several models.

    Args:
        models: name → stage → HQ and LQ features (``comparable``), the same stages for all.
        labels: of the images, as ``person_sums`` takes them.
        measures: keys of ``collapse.MEASURES``.
        reference: a model; all others are then given as paired differences to it.

    Returns:
        ``collapse_intervals``' table with the columns stage (as named in ``Stages``), branch ("" in
        the shared trunk) and depth (0 = stem) in front.
    """
    measures = tuple(measures)
    pairs = not set(measures) <= set(SINGLE)
    tables = []
    depths = {name: depth for depth, name in enumerate(("stem", *STAGES))}
    for stage in next(iter(models.values())):
        sums = {
            name: person_sums(*stages[stage], labels, pairs=pairs)
            for name, stages in models.items()
        }
        table = collapse_intervals(sums, measures, reference)
        branch, _, last = stage.rpartition("/")
        for column, value in enumerate((stage, branch, depths.get(last, len(depths)))):
            table.insert(column, ("stage", "branch", "depth")[column], value)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _pooled(maps: Tensor) -> Tensor:
    """(B, 2 C): global maximum and global average side by side, in 32 bits or more."""
    maps = maps if maps.dtype == torch.float64 else maps.float()
    return torch.cat([maps.amax(dim=(2, 3)), maps.mean(dim=(2, 3))], dim=1)


def _unit(features: Matrix) -> Matrix:
    norms = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return (features / norms).astype(np.float32)
