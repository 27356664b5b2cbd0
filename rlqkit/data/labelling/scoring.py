"""What an estimator is worth: its labels against a data set's own, on HQ and on LQ images.

Only rendered people have labels that are known exactly, so a score says how an estimator does on
these; on photographs it may do better (it was trained on some) or worse.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from rlqkit.data.images import SHIRT, TROUSERS, read_image, read_mask
from rlqkit.data.imageset import ImageSet
from rlqkit.data.labelling.models import ClothesParser, PoseEstimator
from rlqkit.data.labels.masks import PARSERS
from rlqkit.errors import RlqkitError
from rlqkit.method.degradations import KINDS, SEVERITIES, degrade
from rlqkit.progress import bar

REACH = 0.2
"""PCK@0.2: a joint is right if it lies within this share of the torso's length."""
TORSO = ((5, 12), (6, 11))
"""COCO joints of a torso's diagonals, left shoulder to right hip and right to left."""
HQ = "HQ"
LEAST_TORSO = 1.0
"""px; a shorter one gives no measure, and its image is left out of PCK."""


def score_estimators(
    images: ImageSet,
    pose: PoseEstimator | None = None,
    clothes: ClothesParser | None = None,
    limit: int = 200,
    severity: str = "small-input",
    batch: int = 16,
    seed: int = 0,
) -> pd.DataFrame:
    """PCK of joints and IoU of clothes against the data set's own labels.

    Args:
        images: with joints in pixels (for `pose`) and clothes masks (for `clothes`).
        pose, clothes: what is measured; None leaves its columns out.
        limit: images, evenly spread over the set.
        severity: of the degradations; the embedded images are small, hence the stronger ranges.
        batch: images at a time.
        seed: of the degradations.

    Returns:
        One row an image quality (HQ and each degradation): images, severity, then, each in 0..1,
        PCK@0.2 of visible joints, of covered ones, and mean IoU of shirts and of trousers (over
        images that have some, in truth or by the estimator); NaN where nothing could be measured.

    Raises:
        RlqkitError: labels, or an image's, are missing.
    """
    some = np.zeros(len(images), dtype=bool)
    some[np.linspace(0, len(images) - 1, min(limit, len(images))).astype(int)] = True
    images = images.select(some)
    if pose is not None:
        images.require_joints()
    if clothes is not None:
        images.require_masks()
    rows = []
    with bar(total=len(images) * (1 + len(KINDS)), desc="score", unit="image") as progress:
        for quality in (HQ, *KINDS):
            joints, overlaps = [], []
            for places, shown, sizes in _shown(images, quality, severity, batch, seed):
                if pose is not None:
                    joints.append(_at_size(pose(shown), shown, sizes))
                if clothes is not None:
                    maps = clothes(shown)
                    overlaps += [_overlap(images, row, labels)
                                 for row, labels in zip(places, maps, strict=True)]  # fmt: skip
                progress.update(len(places))
            row = {"quality": quality, "images": len(images),
                   "severity": "" if quality == HQ else severity}  # fmt: skip
            if pose is not None:
                row |= _pck_columns(images, np.concatenate(joints))
            if clothes is not None:
                shirt, trousers = np.array(overlaps).T
                row |= {"IoU shirt": _mean(shirt), "IoU trousers": _mean(trousers)}
            rows.append(row)
    return pd.DataFrame(rows)


def pck(
    found: NDArray[np.float64], truth: NDArray[np.float64], reach: float = REACH
) -> NDArray[np.float64]:
    """Which joints are right: (n, 17) of 1, 0, and NaN where that can't be told.

    Args:
        found: (n, 17, 2 or more) in pixels.
        truth: the same; NaN for joints that nobody labelled.
        reach: share of the torso's length (the longer of its diagonals) that a joint may be off.
    """
    diagonals = [np.linalg.norm(truth[:, a, :2] - truth[:, b, :2], axis=1) for a, b in TORSO]
    torso = np.max(diagonals, axis=0)
    gap = np.linalg.norm(found[..., :2] - truth[..., :2], axis=2)
    right = (gap <= reach * torso[:, None]).astype(np.float64)
    known = np.isfinite(truth[..., :2]).all(axis=2) & (torso >= LEAST_TORSO)[:, None]
    return np.where(known, right, np.nan)


def iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks of one shape; NaN if both are empty."""
    union = int((found | truth).sum())
    return float((found & truth).sum() / union) if union else float("nan")


def _shown(
    images: ImageSet, quality: str, severity: str, batch: int, seed: int
) -> Iterator[tuple[range, list[NDArray[np.uint8]], list[tuple[int, int]]]]:
    """Rows, images as the estimator sees them, and their native (height, width)."""
    if severity not in SEVERITIES:
        raise RlqkitError(f'severity "{severity}" is unknown: use one of {", ".join(SEVERITIES)}')
    for start in range(0, len(images), batch):
        places = range(start, min(start + batch, len(images)))
        native = [read_image(images.paths[row]) for row in places]
        shown = native
        if quality != HQ:
            shown = [
                degrade(image, quality, SEVERITIES[severity], np.random.default_rng((seed, row)))
                for row, image in zip(places, native, strict=True)
            ]
        yield places, shown, [(image.shape[0], image.shape[1]) for image in native]


def _at_size(
    joints: NDArray[np.float64], shown: list[NDArray[np.uint8]], sizes: list[tuple[int, int]]
) -> NDArray[np.float64]:
    """Joints in native pixels: a pixelated image is a smaller one."""
    scale = np.array([(width / image.shape[1], height / image.shape[0])
                      for image, (height, width) in zip(shown, sizes, strict=True)])  # fmt: skip
    places: NDArray[np.float64] = joints[..., :2] * scale[:, None]
    places[joints[..., 2] <= 0] = np.inf  # not found is wrong, wherever it was put
    return places


def _pck_columns(images: ImageSet, found: NDArray[np.float64]) -> dict[str, float]:
    assert images.joints is not None
    right, visible = pck(found, images.joints), images.joints[..., 2] > 0
    return {
        f"PCK@{REACH} visible": _mean(right[visible]),
        f"PCK@{REACH} covered": _mean(right[~visible]),
    }


def _overlap(images: ImageSet, row: int, labels: NDArray[np.uint8]) -> tuple[float, float]:
    """IoU of shirt and of trousers of one image; its label map may have another size."""
    truth = read_mask(images.mask_paths[row])
    if labels.shape != truth.shape:
        size = (truth.shape[1], truth.shape[0])
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    parser = PARSERS["atr"]
    return (
        iou(np.isin(labels, parser.shirt), truth == SHIRT),
        iou(np.isin(labels, parser.trousers), truth == TROUSERS),
    )


def _mean(values: NDArray[np.float64]) -> float:
    """Mean of what could be measured; NaN if nothing could."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
