"""Label audit: joints, masks, gender and pose clusters against one another and the renderer.

Nobody can look at ten thousand skeletons, but labels of one image constrain each other: what is
marked visible lies inside the picture and on the person, heads are above tops above bottoms above
shoes, shoulders and hips turn the same way, a face is seen from the front only. Each check gives
every image a number, by how much it fails, so the worst offenders can be looked at. A few failures
are people in unusual poses; each check therefore says what share it allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from rlqkit.data.images import FACE, HAIR, NOBODY, SHIRT, SHOES, TROUSERS, read_mask
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.wardrobe import read_card
from rlqkit.errors import RlqkitError
from rlqkit.method.attributes import FRAME, PoseClusters, fit_pose_clusters
from rlqkit.progress import bar

Scores = NDArray[np.float64]
"""(n,) by how much each image fails a check: above 0 it fails, NaN where it can't be asked."""

PAIRS = ((5, 11), (6, 12), (11, 13), (12, 14), (13, 15), (14, 16))
"""Joints of which the first is above the second: shoulder, hip, knee, ankle of either side."""
ON_PERSON = 0.02
"""How far from the mask a visible joint may lie, in heights of the image."""
OVER = 0.02
"""By how much a joint may be on the wrong side of another, in heights of the image."""
TURNED = 0.05
"""Shoulders (half of it: hips) wider apart than this, in heights, show which way a person faces."""
LEAST_PIXELS = 20
"""Parts of a mask with fewer pixels are hidden and not asked."""
AREAS = {"person": (0.15, 0.75), "clothes": (0.08, 0.60), "head": (0.002, 0.15)}
"""Shares of the image that the mask of a person and its parts may take."""
OUTSIDE, HEAD, TOP, BOTTOM, FEET, OTHER = range(6)
PART_OF_LABEL = np.full(256, OTHER)
"""Label of the embedded masks → part of the person, as the checks know parts."""
PART_OF_LABEL[[NOBODY, HAIR, FACE, SHIRT, TROUSERS, SHOES]] = OUTSIDE, HEAD, HEAD, TOP, BOTTOM, FEET
ALLOWED = {
    "visible joints are in the picture": 0.0,
    "visible joints are on the person": 0.01,
    "joints from head to foot": 0.01,
    "shoulders and hips face one way": 0.01,
    "nose seen from the front, not both eyes from behind": 0.02,
    "head above top above bottom above shoes": 0.01,
    "areas of person, clothes and head": 0.01,
}
"""Check of an image's labels → share of the images that may fail it."""
CLUSTERS = 15
"""Pose clusters that are checked, the paper's default."""


def audit_labels(benchmark: Benchmark, progress: bool = False) -> pd.DataFrame:
    """Every check on every split of a data set that has the labels it needs.

    Args:
        benchmark: a data set with joints; splits without masks are asked about joints only.
        progress: show a bar.

    Returns:
        One row per check and split: asked (images, people or clusters), failures, share and
        allowed (percent), ok, and worst: up to three that fail most, the worst first.

    Raises:
        RlqkitError: an image has no joints or its mask can't be read.
    """
    rows = []
    for split, images in benchmark.sets.items():
        for check, scores in image_scores(images, progress).items():
            names = images.table["file"].to_numpy(dtype=object)
            rows.append(_row(check, split, scores, names, ALLOWED[check]))
    rows += [_one_gender(benchmark), *_renderer_gender(benchmark)]
    if "train" in benchmark.sets:  # a set of test people has no clusters of its own
        rows.append(_poses(benchmark))
    return pd.DataFrame(rows)


def image_scores(images: ImageSet, progress: bool = False) -> dict[str, Scores]:
    """Check → by how much each image fails it; the checks of masks only where there are masks."""
    found = joint_scores(images)
    if (images.table["mask"] != "").all():
        masks = bar(images.mask_paths, desc=f"labels, {images.name}", disable=not progress)
        lines = [
            mask_scores(read_mask(path), joints)
            for path, joints in zip(masks, _joints(images), strict=True)
        ]
        found |= {name: np.array([line[name] for line in lines]) for name in lines[0]}
    return found


def joint_scores(images: ImageSet) -> dict[str, Scores]:
    """The checks that need nothing but joints and sizes."""
    joints = _joints(images)
    x, y, visible = np.moveaxis(joints, 2, 0)
    width, height = images.table[["width", "height"]].to_numpy(float).T[:, :, None]
    outside = np.max([-x, x - width, -y, y - height], axis=0)
    order = [(y[:, a] - y[:, b]) / height[:, 0] for a, b in PAIRS]
    order.append((y[:, 0] - (y[:, 5] + y[:, 6]) / 2) / height[:, 0])  # nose above shoulders
    shoulders, hips = (x[:, 5] - x[:, 6]) / height[:, 0], (x[:, 11] - x[:, 12]) / height[:, 0]
    plain = np.abs(shoulders) > TURNED
    against = np.where(np.abs(hips) > TURNED / 2, -np.sign(shoulders) * hips, -1.0)
    # From behind a turned head may show its nose and one eye, never both eyes.
    both_eyes = visible[:, 1] * visible[:, 2]
    face = np.where(shoulders > 0, 1 - visible[:, 0], both_eyes) * np.abs(shoulders)
    return {
        "visible joints are in the picture": np.where(visible > 0, outside, -np.inf).max(axis=1),
        "joints from head to foot": np.max(order, axis=0) - OVER,
        "shoulders and hips face one way": np.where(plain, against, np.nan),
        "nose seen from the front, not both eyes from behind": np.where(plain, face, np.nan),
    }


def mask_scores(mask: NDArray[np.uint8], joints: NDArray[np.float64]) -> dict[str, float]:
    """The checks of one image that need its mask (H, W), with its joints (17, 3)."""
    height, width = mask.shape
    x, y = (
        np.clip(joints[joints[:, 2] > 0, axis].astype(int), 0, side - 1)
        for axis, side in ((0, width), (1, height))
    )
    off = 0.0
    if (mask[y, x] == NOBODY).any():  # the distances are slow, and mostly not needed
        off = distance_transform_edt(mask == NOBODY)[y, x].max() / height
    parts = PART_OF_LABEL[mask]
    sizes = np.bincount(parts.ravel(), minlength=int(PART_OF_LABEL.max()) + 1) / mask.size
    levels = [
        np.median(np.nonzero(parts == part)[0]) / height
        for part in (HEAD, TOP, BOTTOM, FEET)
        if sizes[part] * mask.size >= LEAST_PIXELS
    ]
    shares = {
        "person": 1 - sizes[OUTSIDE],
        "clothes": sizes[TOP] + sizes[BOTTOM],
        "head": sizes[HEAD],
    }
    beyond = [max(low - shares[k], shares[k] - high) for k, (low, high) in AREAS.items()]
    return {
        "visible joints are on the person": float(off) - ON_PERSON,
        "head above top above bottom above shoes": float(-np.diff(levels).min(initial=1)),
        "areas of person, clothes and head": float(max(beyond)),
    }


def upright(skeleton: NDArray[np.float64]) -> float:
    """By how much a mean skeleton, (17, 2) in the 192 × 384 frame, isn't head over heels: > 0 no.

    In heights of the frame; an empty cluster's NaN gives NaN.
    """
    y = skeleton[:, 1] / FRAME[1]
    levels = np.array([y[:5].mean(), *(y[k : k + 2].mean() for k in (5, 11, 13, 15))])
    return float(-np.diff(levels).min())


def _poses(benchmark: Benchmark) -> dict[str, Any]:
    clusters = train_clusters(benchmark)
    scores = np.array([upright(skeleton) for skeleton in clusters.skeletons])
    names = np.array([f"cluster {k + 1}" for k in range(len(scores))], dtype=object)
    return _row("mean skeletons of pose clusters stand", "train", scores, names, 0.0)


def train_clusters(benchmark: Benchmark) -> PoseClusters:
    """Pose clusters of the training images: ``CLUSTERS``, or one an image if there are fewer."""
    train = benchmark["train"]
    sizes = train.table[["width", "height"]].to_numpy()
    return fit_pose_clusters(_joints(train), sizes, clusters=min(CLUSTERS, len(train)))


def _one_gender(benchmark: Benchmark) -> dict[str, Any]:
    people = _people(benchmark.sets.values())
    labels = people.groupby("identity")["gender"].nunique()
    scores = labels.to_numpy(float) - 1
    return _row("one gender a person", "all", scores, _identity_names(labels.index), 0.0)


def _renderer_gender(benchmark: Benchmark) -> list[dict[str, Any]]:
    """Gender labels against those that the renderer drew; nothing for a set it didn't render.

    Fresh test people come from a data set of their own, with settings of their own.
    """
    folders = dict.fromkeys(images.root for images in benchmark.sets.values())
    settings = {root: read_card(root).get("generator") for root in folders}
    rendered = {root: dict(v) for root, v in settings.items() if isinstance(v, Mapping)}
    if len(rendered) < len(settings):
        return []
    try:
        from wardrobe.render.custom import spec_from_settings
        from wardrobe.render.people import sample_identity
    except (ImportError, RlqkitError):  # the extra isn't installed: say that nothing was asked
        return [_row("gender as the renderer drew it", "all", np.array([]), np.array([]), 0.0)]
    labels, drawn = [], []
    for root, values in rendered.items():
        spec = spec_from_settings(values)
        mine = [images for images in benchmark.sets.values() if images.root == root]
        people = _people(mine).drop_duplicates()
        labels.append(people)
        drawn += [
            sample_identity(spec.seed_of(number), number, spec.shape_spread).gender
            for number in map(int, people["identity"])
        ]
    together = pd.concat(labels, ignore_index=True)
    scores = np.abs(together["gender"].to_numpy(float) - drawn)
    names = _identity_names(together["identity"])
    return [_row("gender as the renderer drew it", "all", scores, names, 0.0)]


def _people(sets: Iterable[ImageSet]) -> pd.DataFrame:
    tables = [images.table[["identity", "gender"]] for images in sets]
    return pd.concat(tables, ignore_index=True)


def _identity_names(identities: Any) -> NDArray[np.object_]:
    return np.array([f"identity {identity}" for identity in identities], dtype=object)


def _row(
    check: str, split: str, scores: Scores, names: NDArray[np.object_], allowed: float
) -> dict[str, Any]:
    asked = int(np.isfinite(scores).sum())
    failing = np.flatnonzero(np.nan_to_num(scores, nan=-1.0) > 0)
    worst = failing[np.argsort(-scores[failing], kind="stable")][:3]
    share = len(failing) / asked if asked else 0.0
    return {
        "check": check,
        "split": split,
        "asked": asked,
        "failures": len(failing),
        "share": 100 * share,
        "allowed": 100 * allowed,
        "ok": share <= allowed,
        "worst": ", ".join(str(name) for name in names[worst]),
    }


def _joints(images: ImageSet) -> NDArray[np.float64]:
    images.require_joints()
    assert images.joints is not None
    return images.joints
