"""A dial for each degradation: how fast features and rank-1 give way as the damage grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from rlqkit.config import Config
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.loaders import degradation_mix, evaluation_images, image_store, severity
from rlqkit.data.torch_sets import EvaluationImages
from rlqkit.evaluation.descriptors import extract_descriptors, image_batches
from rlqkit.evaluation.metrics import Labels, evaluate_features
from rlqkit.evaluation.protocol import HQ, Features, headline
from rlqkit.method.degradations import KINDS, Severity
from rlqkit.method.network import Network

DIALS = {
    "pixelation": ("short_side", "short side, px"),
    "motion_blur": ("motion_size", "kernel, px"),
    "out_of_focus": ("gaussian_sigma", "σ, px"),
}
"""Degradation → the range in ``Severity`` that its dial turns, and the label of its axis."""


def dial_settings(full: Severity, kind: str, levels: int) -> list[tuple[float, Severity]]:
    """Settings of one dial from mild to strong, evenly spread over the range of ``full``.

    Returns:
        (value, severity) pairs; each severity allows that one value. Pixelation grows stronger
        as its value falls, the blurs as theirs grow.
    """
    name, _ = DIALS[kind]
    low, high = getattr(full, name)
    values = np.linspace(low, high, levels)
    if kind == "pixelation":
        values = values[::-1]
    if kind != "out_of_focus":  # whole pixels
        values = np.rint(values).astype(int)
    return [(v, replace(full, **{name: (v, v)})) for v in values.tolist()]


def some_queries(query: ImageSet, count: int, seed: int = 0) -> np.ndarray:
    """(n,) bool: ``count`` queries spread over the identities as evenly as it goes."""
    order = np.random.default_rng(seed).permutation(len(query))
    turn = pd.Series(query.identities[order]).groupby(query.identities[order]).cumcount()
    chosen = order[np.argsort(turn.to_numpy(), kind="stable")[:count]]
    return np.isin(np.arange(len(query)), chosen)


def turn_dials(
    networks: Mapping[str, tuple[Features, Network]],
    benchmark: Benchmark,
    config: Config,
    fabric: Fabric,
    levels: int = 4,
    queries: int = 150,
) -> pd.DataFrame:
    """HQ–LQ cosine and headline rank-1 (CC; HQ gallery) at each level of each degradation.

    Args:
        networks: title → (descriptors of the HQ images, the network in eval mode).
        benchmark: the target data set.
        config: gives sizes, arithmetic and the range of each dial.
        fabric: device and precision.
        levels: settings a dial, besides the untouched image.
        queries: size of the sample of queries.

    Returns:
        One row per model, kind and level (0 = untouched): value (NaN at level 0), cosine in
        −1..1, rank1 in 0..1, test (the headline's name).
    """
    test = headline(benchmark)
    mask = some_queries(benchmark[test.query], queries)
    some = benchmark[test.query].select(mask)
    gallery_labels = Labels(*benchmark[test.gallery].metric_arrays())
    records = []
    for model, (features, network) in networks.items():
        clean, gallery = features[test.query, HQ][mask], features[test.gallery, HQ]
        for kind in KINDS:
            settings: list[tuple[float, Severity | None]] = [(float("nan"), None)]
            settings += dial_settings(severity(config), kind, levels)
            for level, (value, setting) in enumerate(settings):
                found = clean
                if setting is not None:
                    found = extract_descriptors(
                        network, damaged_images(some, kind, setting, config), fabric, config
                    )
                result = evaluate_features(
                    found, gallery, Labels(*some.metric_arrays()), gallery_labels, test.rule
                )
                cosine = float(np.einsum("nd,nd->n", clean, found).mean())
                records.append(
                    {"model": model, "kind": kind, "level": level, "value": value,
                     "cosine": cosine, "rank1": result.rank1, "test": test.name}
                )  # fmt: skip
    return pd.DataFrame(records)


def dial_descriptors(
    networks: Mapping[str, Network],
    images: ImageSet,
    config: Config,
    fabric: Fabric,
    levels: int = 4,
    kinds: Sequence[str] = KINDS,
) -> dict[tuple[str, int, float], dict[str, np.ndarray]]:
    """Descriptors of all images, untouched and at each level of each degradation.

    Every image is damaged once for all networks, and described without its mirror image: half the
    work, and all levels are described alike.

    Args:
        networks: name → network in eval mode.
        images: to be damaged.
        config: gives sizes, arithmetic and the range of each dial.
        fabric: device and precision; the networks are moved to it.
        levels: settings a dial, from mild (1) to strong (``levels``).
        kinds: degradations.

    Returns:
        (kind, level, value of the dial) → name → (n, D) descriptors, rows of norm 1; the untouched
        images come first, as ("HQ", 0, NaN).
    """
    steps = [((HQ, 0, float("nan")), evaluation_images(images, HQ, config))]
    for kind in kinds:
        settings = dial_settings(severity(config), kind, levels)
        steps += [
            ((kind, level, float(value)), damaged_images(images, kind, setting, config))
            for level, (value, setting) in enumerate(settings, start=1)
        ]
    for network in networks.values():
        fabric.to_device(network)
    found = {}
    for key, seen in steps:
        parts: dict[str, list[torch.Tensor]] = {name: [] for name in networks}
        with torch.inference_mode(), fabric.autocast():
            for x in image_batches(seen, fabric, config):
                for name, network in networks.items():
                    described = torch.nn.functional.normalize(network.descriptor(x).float(), dim=1)
                    parts[name].append(described.cpu())
        found[key] = {name: torch.cat(part).numpy() for name, part in parts.items()}
    return found


def damaged_images(
    images: ImageSet, kind: str, setting: Severity, config: Config
) -> EvaluationImages:
    """An image set with one degradation at one setting of its dial."""
    return EvaluationImages(
        image_store(tuple(images.paths), config.data.cache_megabytes),
        size=(config.data.height, config.data.width),
        degradation=kind,
        severity=setting,
        mix=degradation_mix(config),
        seed=config.evaluation.degradation_seed,
    )
