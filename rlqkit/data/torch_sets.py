"""The data sets that training and evaluation draw tensors from.

A training image goes through: degradation (if any, at native size) - recolouring (if any) -
resize - random crop - flip - normalise - random erasing. An image to be evaluated goes through
resize and normalise only. All draws come from `SeedPolicy`, so the tensors do not depend on the
number of workers. Sizes are (height, width), as in the paper's 384x192.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from rlqkit.data.images import SHIRT, TROUSERS, ImageStore
from rlqkit.errors import RlqkitError
from rlqkit.method.augmentation import (
    PAPER_AUGMENTATION,
    Augmentation,
    check_probability,
    to_tensor,
    train_view,
)
from rlqkit.method.degradations import (
    KINDS,
    PAPER_SEVERITY,
    Severity,
    degrade,
    draw_kind,
    mix_shares,
)
from rlqkit.method.recolouring import (
    Recolouring,
    draw_colours,
    recolour,
    recolour_outfit,
    recoloured_class,
)
from rlqkit.method.sampling import Draw
from rlqkit.randomness import SeedPolicy, generator

# Copies of an image that have their own random draws; external copies share none with target
# copies of the same index.
AS_IT_IS, RECOLOURED, EXTERNAL_HQ, EXTERNAL_LQ, SOURCE = range(5)


class TargetImages(Dataset[dict[str, Tensor]]):
    """Labelled training images, each as it is and, with `recolouring`, once recoloured.

    Indexed by a `Draw`; an item is a dict of tensors, V = 2 with recolouring, else 1:
    images (V, 3, height, width) float32; clothes (V,); identity, index and, where given, gender
    and pose: scalars. All labels int64.
    """

    def __init__(
        self,
        store: ImageStore,
        identity: ArrayLike,
        clothes: ArrayLike,
        *,
        size: tuple[int, int],
        policy: SeedPolicy,
        gender: ArrayLike | None = None,
        pose: ArrayLike | None = None,
        recolouring: Recolouring | None = None,
        masks: ImageStore | None = None,
        faulty: ArrayLike | None = None,
        lq_augmentation: float = 0.0,
        lq_copy_alone: bool = False,
        severity: Severity = PAPER_SEVERITY,
        mix: str | Sequence[float] = "unspecified",
        augmentation: Augmentation = PAPER_AUGMENTATION,
    ) -> None:
        """identity, clothes, gender, pose: (n,) integer labels. masks: (H, W) of the bits SHIRT
        and TROUSERS for each image. faulty: (n,) bool; such an image gets one colour wherever
        its mask is not 0. lq_augmentation: probability that the source image is degraded first
        (with `severity` and `mix`), so that both copies show the same damage, or with
        lq_copy_alone only the recoloured one.
        Raises RlqkitError if numbers of entries differ or recolouring has no masks.
        """
        self.store, self.masks, self.size, self.policy = store, masks, size, policy
        self.identity = _labels("identity", identity, store)
        self.clothes = _labels("clothes", clothes, store)
        self.shared = {"identity": self.identity}
        if gender is not None:
            self.shared["gender"] = _labels("gender", gender, store)
        if pose is not None:
            self.shared["pose"] = _labels("pose", pose, store)
        self.recolouring = recolouring
        if recolouring is not None and masks is None:
            raise RlqkitError("recolouring needs clothes masks: give them, or set it off")
        if masks is not None and len(masks) != len(store):
            raise RlqkitError(f"{len(masks)} masks for {len(store)} images: give one each")
        none_faulty = np.zeros(len(store), np.int64)
        self.faulty = none_faulty if faulty is None else _labels("faulty", faulty, store)
        check_probability("lq_augmentation", lq_augmentation)
        self.lq_augmentation, self.lq_copy_alone = lq_augmentation, lq_copy_alone
        self.severity, self.mix = severity, mix_shares(mix)
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        index = draw.index
        source = self._source(draw)
        image = self.store[index] if self.lq_copy_alone else source
        views, clothes = [self._view(image, draw, AS_IT_IS)], [int(self.clothes[index])]
        if self.recolouring is not None:
            augment = _draws(self.policy, "augment", draw, RECOLOURED)
            copy, label = self._recoloured(source, index, augment, self.recolouring)
            views.append(self._view(copy, draw, RECOLOURED, augment))
            clothes.append(label)
        item = {name: torch.tensor(labels[index]) for name, labels in self.shared.items()}
        item |= {"images": torch.stack(views), "clothes": torch.tensor(clothes)}
        return item | {"index": torch.tensor(index)}

    def _source(self, draw: Draw) -> NDArray[np.uint8]:
        image = self.store[draw.index]
        if self.lq_augmentation == 0:
            return image
        rng = _draws(self.policy, "augment", draw, SOURCE)
        if rng.random() >= self.lq_augmentation:
            return image
        sigma = _draws(self.policy, "torch", draw, SOURCE)
        return degrade(image, draw_kind(self.mix, rng), self.severity, rng, sigma)

    def _view(
        self,
        image: NDArray[np.uint8],
        draw: Draw,
        view: int,
        augment: np.random.Generator | None = None,
    ) -> Tensor:
        augment = augment or _draws(self.policy, "augment", draw, view)
        flip = _draws(self.policy, "torch", draw, view)
        return train_view(image, self.size, augment, flip, self.augmentation)

    def _recoloured(
        self,
        image: NDArray[np.uint8],
        index: int,
        rng: np.random.Generator,
        how: Recolouring,
    ) -> tuple[NDArray[np.uint8], int]:
        """The image in other colours, and its clothes class."""
        mask = self._mask(index, image.shape[:2])
        shirt, trousers = draw_colours(rng, how.colours)
        if self.faulty[index]:
            trousers = shirt
            copy = recolour_outfit(image, mask > 0, shirt)
        else:
            on_shirt, on_trousers = mask & SHIRT > 0, mask & TROUSERS > 0
            copy = recolour(image, on_shirt, on_trousers, shirt, trousers, how.overlap)
        person = int(self.identity[index])
        label = recoloured_class(
            how.original_classes, person, trousers, shirt, how.colours, how.groups
        )
        return copy, label

    def _mask(self, index: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        assert self.masks is not None  # checked when the data set was made
        mask = self.masks[index]
        name = self.masks.files[index]
        if mask.max(initial=0) > SHIRT + TROUSERS:
            raise RlqkitError(f"{name} has mask values above 3: use 0, 1 shirt, 2 trousers, 3 both")
        native = self.store[index].shape[:2]
        if mask.shape != native:
            raise RlqkitError(f"{name} is {mask.shape}, its image {native}: sizes must agree")
        if mask.shape != shape:  # the source was pixelated
            size = (shape[1], shape[0])
            resized = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
            mask = np.asarray(resized)
        return mask


class ExternalImages(Dataset[dict[str, Tensor]]):
    """External images without labels: an HQ view and an independently augmented LQ view.

    Indexed by a `Draw`; an item is a dict of hq and lq, float32 (3, height, width), and index.
    The LQ view is degraded at native size, then cropped, flipped and erased with its own draws,
    so the two are not aligned.
    """

    def __init__(
        self,
        store: ImageStore,
        *,
        size: tuple[int, int],
        policy: SeedPolicy,
        severity: Severity = PAPER_SEVERITY,
        mix: str | Sequence[float] = "unspecified",
        augmentation: Augmentation = PAPER_AUGMENTATION,
        damaged: bool = True,
    ) -> None:
        """mix: by the name of the *target* data set, see `degradations.MIXES`; damaged: whether
        the LQ view is LQ, or a second HQ view."""
        self.store, self.size, self.policy, self.damaged = store, size, policy, damaged
        self.severity, self.mix, self.augmentation = severity, mix_shares(mix), augmentation

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        image = self.store[draw.index]
        views = {}
        for name, view in (("hq", EXTERNAL_HQ), ("lq", EXTERNAL_LQ)):
            augment = _draws(self.policy, "augment", draw, view)
            torch_draws = _draws(self.policy, "torch", draw, view)
            if name == "lq" and self.damaged:
                kind = draw_kind(self.mix, augment)
                image = degrade(image, kind, self.severity, augment, torch_draws)
            views[name] = train_view(image, self.size, augment, torch_draws, self.augmentation)
        return views | {"index": torch.tensor(draw.index)}


class EvaluationImages(Dataset[dict[str, Tensor]]):
    """Images to be described: resized and normalised, as they are or degraded, never augmented.

    Indexed by an int; an item is a dict of images (3, height, width) float32, and index. The
    damage to image i depends on (seed, i, degradation) alone, so every model sees the same.
    """

    def __init__(
        self,
        store: ImageStore,
        *,
        size: tuple[int, int],
        degradation: str | None = None,
        severity: Severity = PAPER_SEVERITY,
        mix: str | Sequence[float] = "unspecified",
        seed: int = 0,
    ) -> None:
        """degradation: None, one of `degradations.KINDS`, or "mixed" for kinds drawn by `mix`.
        Raises RlqkitError for anything else."""
        if degradation not in (None, "mixed", *KINDS):
            raise RlqkitError(
                f"degradation {degradation!r} is unknown: use none, mixed, {', '.join(KINDS)}"
            )
        self.store, self.size, self.degradation = store, size, degradation
        self.severity, self.mix, self.seed = severity, mix_shares(mix), seed

    def __len__(self) -> int:
        return len(self.store)

    def source(self, index: int) -> NDArray[np.uint8]:
        """Image `index` at native size, degraded as configured: uint8 (H, W, 3)."""
        image = self.store[index]
        if self.degradation is None:
            return image
        number = ("mixed", *KINDS).index(self.degradation)
        rng = generator(self.seed, "evaluation", index, number)
        kind = draw_kind(self.mix, rng) if self.degradation == "mixed" else self.degradation
        return degrade(image, kind, self.severity, rng)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"images": to_tensor(self.source(index), self.size), "index": torch.tensor(index)}


def collate_target(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Batch B items of `TargetImages`: all entries have B * V rows, in the order
    s0, s0-recoloured, s1, s1-recoloured, ...; identity, gender, pose and index are repeated.
    """
    images = torch.stack([item["images"] for item in items])  # (B, V, 3, H, W)
    batch = {"images": images.flatten(0, 1)}
    batch["clothes"] = torch.stack([item["clothes"] for item in items]).flatten()
    for name in items[0].keys() - batch.keys():
        labels = torch.stack([item[name] for item in items])
        batch[name] = labels.repeat_interleave(images.shape[1])
    return batch


def collate_external(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Batch B items of `ExternalImages`: hq and lq (B, 3, H, W), index (B,)."""
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def _draws(policy: SeedPolicy, stream: str, draw: Draw, view: int) -> np.random.Generator:
    return policy.draws(stream, draw.epoch, draw.position, draw.index, view, draw.repeat)


def _labels(name: str, values: ArrayLike, store: ImageStore) -> NDArray[np.int64]:
    labels = np.asarray(values)
    if labels.shape != (len(store),):
        raise RlqkitError(
            f"{name} labels have shape {labels.shape}: give one for each of the {len(store)} images"
        )
    return labels.astype(np.int64)
