"""What a configuration makes of a data set: images, labels, order. Pieces meet here and only here.

``TargetData`` is the labelled set that base and CAP steps see; ``ExternalData`` the unlabelled one
of TAD. Both know how many steps an epoch has and give a loader for each epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from rlqkit.config import Config, DataConfig
from rlqkit.data import registry
from rlqkit.data.images import ImageStore
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.labels.masks import READERS, mask_files
from rlqkit.data.labels.tables import given_pose_labels
from rlqkit.data.torch_sets import (
    EvaluationImages,
    ExternalImages,
    TargetImages,
    collate_external,
    collate_target,
)
from rlqkit.data.validation import carve_validation
from rlqkit.errors import RlqkitError
from rlqkit.method.attributes import (
    PoseClusters,
    check_pose_labels,
    fit_pose_clusters,
    published_clusters,
)
from rlqkit.method.degradations import SEVERITIES, Severity, mix_shares
from rlqkit.method.recolouring import COLOURS, LAST_COLOURS, Recolouring, positive_classes
from rlqkit.method.rows import Row
from rlqkit.method.sampling import IdentitySampler, ShuffleSampler
from rlqkit.randomness import SeedPolicy


def load_benchmark(config: Config) -> Benchmark:
    """The target data set of a configuration, cut to ``data.identities`` where that is set.

    With ``data.validation_identities``, that many training people validate instead.
    """
    data = config.data
    benchmark = whole_benchmark(config)
    if data.validation_identities:
        benchmark = carve_validation(benchmark, data.validation_identities, data.validation_seed)
    sets = {
        name: images if name == "external" else _first(images, data.identities)
        for name, images in benchmark.sets.items()
    }
    return replace(benchmark, sets=sets)


def data_places(config: Config) -> list[tuple[str, str, str]]:
    """Name, folder and label files of each data set that a configuration reads, none twice."""
    data = config.data
    places = [
        (data.dataset, data.root, data.labels),
        (data.external, data.external_root, _external_labels(data)),
    ]
    places += [(data.test, data.test_root, "")] if data.test else []
    return list(dict.fromkeys(places))


def _external_labels(data: DataConfig) -> str:
    """Folder of the external set's label files: the target's, where it is the same data set."""
    same = data.external == data.dataset and _folder(data.external_root) == _folder(data.root)
    return data.labels if same else ""


def _folder(name: str) -> Path | None:
    """The folder of that name; None for an empty one, which leaves the choice to the kit."""
    return Path(name) if name else None


def whole_benchmark(config: Config, tolerant: bool = False) -> Benchmark:
    """The target data set as it lies on disk; `tolerant` as in ``registry.load``."""
    data = config.data
    root, labels = _folder(data.root), _folder(data.labels)
    benchmark = registry.load(data.dataset, root, labels=labels, tolerant=tolerant)
    return _with_fresh_people(benchmark, config) if data.test else benchmark


def _with_fresh_people(benchmark: Benchmark, config: Config) -> Benchmark:
    """The benchmark with query and gallery of ``data.test``, whom its own people must not meet."""
    data = config.data
    other = registry.load(data.test, _folder(data.test_root))
    fresh = {split: other[split] for split in ("query", "gallery")}
    for split, images in benchmark.sets.items():
        both = [np.intersect1d(images.identities, them.identities) for them in fresh.values()]
        shared = np.concatenate(both)
        if len(shared) and split not in fresh:
            raise RlqkitError(
                f"data.test = {data.test}: identity {shared[0]} is in the {split} images of "
                f"{benchmark.name} too: choose a data set of other people"
            )
    if benchmark.synthetic != other.synthetic:
        kinds = ("rendered", "real") if other.synthetic else ("real", "rendered")
        raise RlqkitError(
            f"data.test = {data.test} shows {kinds[0]} people, {benchmark.name} {kinds[1]} ones: "
            f"choose a {kinds[1]} set, or --set data.test= for the set's own test people"
        )
    return replace(benchmark, sets=benchmark.sets | fresh)


def load_external(config: Config) -> ImageSet:
    """The external set of a configuration, cut to ``data.external_identities``."""
    data = config.data
    root, labels = _folder(data.external_root), _folder(_external_labels(data))
    images = registry.load(data.external, root, labels=labels)["external"]
    return _first(images, data.external_identities)


@dataclass(frozen=True, eq=False)
class TargetData:
    """The labelled training set as one row of the ablation sees it.

    Attributes:
        config: batch, workers.
        images: source and recoloured copies.
        sampler: order of the images.
        identities: number of identities.
        clothes: number of clothes classes, recoloured ones included.
        positives: (identities, clothes) bool, which clothes belong to whom.
        poses: pose clusters of the training images, for rows with pose.
    """

    config: Config
    images: TargetImages
    sampler: IdentitySampler
    identities: int
    clothes: int
    positives: Tensor
    poses: PoseClusters | None

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""
        return _whole_batches(len(self.sampler), self.config.training.batch)

    def loader(self, epoch: int) -> DataLoader[Any]:
        """Batches of one epoch, from 0."""
        self.sampler.set_epoch(epoch)
        return self._loader

    @cached_property
    def _loader(self) -> DataLoader[Any]:
        return _loader(self.images, self.sampler, collate_target, self.config)


@dataclass(frozen=True, eq=False)
class ExternalData:
    """The unlabelled external set of TAD; an epoch's images are those of one process."""

    config: Config
    images: ExternalImages
    sampler: ShuffleSampler
    images_per_epoch: int

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""
        return _whole_batches(self.images_per_epoch, self.config.training.batch)

    def loader(self, epoch: int) -> DataLoader[Any]:
        """Batches of one epoch, from 0."""
        self.sampler.set_epoch(epoch)
        return self._loader

    @cached_property
    def _loader(self) -> DataLoader[Any]:
        return _loader(self.images, self.sampler, collate_external, self.config)


def target_data(images: ImageSet, row: Row, config: Config, rank: int = 0) -> TargetData:
    """Builds the labelled training set of a row, or the share of one of several processes.

    Args:
        images: the training split.
        row: says which labels and copies it needs.
        config: ``training.processes`` processes share an epoch.
        rank: this process among them.

    Raises:
        RlqkitError: the row needs masks, joints or gender labels that the data set lacks, or more
            pose clusters than there are poses.
    """
    recolouring = _recolouring(images, config) if row.recolour else None
    poses = pose_clusters(images, config) if row.uses_pose else None
    if row.uses_gender:
        images.require_gender()
    labels: dict[str, Any] = {}
    if poses:
        labels["pose"] = check_pose_labels(poses.labels.tolist(), config.cap.clusters)
    if row.uses_gender:
        labels["gender"] = images.table["gender"].to_numpy(np.int64)
    data_set = TargetImages(
        image_store(tuple(images.paths), config.data.cache_megabytes),
        images.identity_labels,
        images.clothes_labels,
        size=(config.data.height, config.data.width),
        policy=_policy(config),
        recolouring=recolouring,
        masks=_mask_store(mask_files(images), images.mask_format, config.data.cache_megabytes)
        if recolouring
        else None,
        faulty=images.faulty,
        lq_augmentation=row.lq_augmentation,
        lq_copy_alone=row.lq_copy_alone,
        severity=severity(config),
        mix=degradation_mix(config),
        **labels,
    )
    positives = positive_classes(images.clothes_of_identity(), recolouring)
    return TargetData(
        config=config,
        images=data_set,
        sampler=IdentitySampler(
            images.identity_labels,
            config.training.instances,
            config.seed,
            rank,
            config.training.processes,
        ),
        identities=images.n_identities,
        clothes=positives.shape[1],
        positives=torch.from_numpy(positives),
        poses=poses,
    )


def external_data(
    images: ImageSet, config: Config, rank: int = 0, damaged: bool = True
) -> ExternalData:
    """Builds the unlabelled external set of TAD, or the share of one of several processes.

    Args:
        images: the external split.
        config: ``training.processes`` processes share an epoch.
        rank: this process among them.
        damaged: whether the second view of a pair is LQ.
    """
    data_set = ExternalImages(
        image_store(tuple(images.paths), config.data.cache_megabytes),
        size=(config.data.height, config.data.width),
        policy=_policy(config),
        severity=severity(config),
        mix=degradation_mix(config),
        damaged=damaged,
    )
    order = config.compat.switch("external_order")
    limit = min(config.data.external_images or len(images), len(images))
    processes = config.training.processes
    sampler = ShuffleSampler(len(images), config.seed, order, rank, processes)
    return ExternalData(config, data_set, sampler, limit // processes)


def evaluation_images(images: ImageSet, quality: str, config: Config) -> EvaluationImages:
    """An image set to be described, in one quality: "HQ", "mixed LQ" or a degradation's name."""
    damage = {"HQ": None, "mixed LQ": "mixed"}.get(quality, quality)
    return EvaluationImages(
        image_store(tuple(images.paths), config.data.cache_megabytes),
        size=(config.data.height, config.data.width),
        degradation=damage,
        severity=severity(config),
        mix=degradation_mix(config),
        seed=config.evaluation.degradation_seed,
    )


def pose_clusters(images: ImageSet, config: Config) -> PoseClusters:
    """Pose clusters of an image set as ``cap`` says: the labels given with it, or from its joints.

    Raises:
        RlqkitError: neither labels (of that vector and K, for every image) nor joints are there.
    """
    kind, clusters = config.cap.pose_vector, config.cap.clusters
    if images.poses is not None:
        return published_clusters(given_pose_labels(images, kind, clusters), kind, clusters)
    images.require_joints()
    assert images.joints is not None
    return fit_pose_clusters(images.joints, images.sizes, kind, clusters)


def severity(config: Config) -> Severity:
    """Ranges of the degradations.

    Raises:
        RlqkitError: no such name.
    """
    if config.quality.severity not in SEVERITIES:
        raise RlqkitError(
            f'quality.severity = "{config.quality.severity}" is unknown: use one of '
            f"{', '.join(SEVERITIES)}"
        )
    return SEVERITIES[config.quality.severity]


def degradation_mix(config: Config) -> tuple[float, float, float]:
    """Shares of the degradations, mended to thirds where the clean switch asks for it."""
    shares = mix_shares(config.quality.mix)
    if config.compat.switch("lq_thresholds") == "clean" and all(shares):
        return mix_shares("thirds")
    return shares


@lru_cache(maxsize=16)
def image_store(files: tuple[Path, ...], cache_megabytes: int) -> ImageStore:
    """Decoded images of a list of files, shared by all who ask in this process."""
    return ImageStore(files, cache_megabytes)


@lru_cache(maxsize=4)
def _mask_store(files: tuple[Any, ...], mask_format: str, cache_megabytes: int) -> ImageStore:
    return ImageStore(files, cache_megabytes, read=READERS[mask_format])


def _recolouring(images: ImageSet, config: Config) -> Recolouring:
    images.require_masks()
    colours = COLOURS if config.recolouring.palette == "nine" else LAST_COLOURS
    overlap = config.compat.switch("mask_overlap")
    return Recolouring(
        original_classes=images.n_clothes,
        overlap="wrap" if overlap == "official" else "trousers",
        colours=tuple(colours),
        groups=config.recolouring.colour_groups or None,
    )


def _policy(config: Config) -> SeedPolicy:
    return SeedPolicy(config.seed, config.compat.switch("worker_seeds"))


def _first(images: ImageSet, count: int) -> ImageSet:
    return images.first_identities(min(count, images.n_identities)) if count else images


def _whole_batches(images: int, batch: int) -> int:
    if images < batch:
        raise RlqkitError(
            f"training.batch = {batch} is more than the {images} images of an epoch; lower it"
        )
    return images // batch


def preparation(config: Config) -> dict[str, Any]:
    """How images are prepared, as options of a ``DataLoader``: in which processes and memory.

    Where there is a GPU, batches lie in pinned memory, from which they are copied to it while it
    computes. Nothing here changes a number.
    """
    return {
        "num_workers": config.data.workers,
        "worker_init_fn": _start_worker,
        "pin_memory": torch.cuda.is_available(),
    }


def _start_worker(number: int) -> None:
    """Workers that are spawned, not forked, don't inherit how subnormal numbers are treated."""
    torch.set_flush_denormal(True)


def _loader(images: Any, sampler: Any, collate: Any, config: Config) -> DataLoader[Any]:
    """One loader for all epochs: workers and the images that they have decoded stay.

    The sampler says what an epoch is, in this process; workers see nothing but its draws.
    """
    return DataLoader(
        images,
        batch_size=config.training.batch,
        sampler=sampler,
        collate_fn=collate,
        drop_last=True,
        persistent_workers=config.data.workers > 0,
        **preparation(config),
    )
