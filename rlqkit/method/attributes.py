"""Coarse attributes: pose clusters from body joints, and one gender label per identity.

Both are training labels of CAP only. The gender label is coarse, binary and appearance-based
(1 male, 0 female, annotated by hand by the paper's authors, or the renderer's own setting in the
embedded data set); it says nothing about how a person identifies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlqkit.errors import RlqkitError

LIMBS = (
    (0, 1), (0, 2), (1, 3), (2, 4),  # nose, eyes, ears
    (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),  # shoulders and arms
    (11, 13), (12, 14), (13, 15), (14, 16),  # legs
)  # fmt: skip
"""The 13 limbs as pairs of COCO-17 joints. The released list has two more pairs, which name a
joint that does not exist and so never count."""
FRAME = (192, 384)
"""Width and height in pixels of the frame that joints are scaled to."""
VECTOR_LENGTHS = {"R_LA": 26, "R_LAC": 60, "R_A": 13}
"""Kinds of pose vector: limb lengths, angles and joint coordinates, by initial."""


def scale_joints(joints: NDArray[np.floating], image_size: tuple[int, int]) -> NDArray[np.int64]:
    """Joints in the 192x384 frame: (17, 2 or more) in native pixels (x, y) to int64 (17, 2).

    image_size is (width, height) of the native image. Coordinates are truncated to whole pixels
    before and after scaling, as published. Raises RlqkitError for a wrong shape, an impossible
    size or joints that are not finite.
    """
    points = np.asarray(joints, np.float64)
    if points.ndim != 2 or points.shape[0] != 17 or points.shape[1] not in (2, 3):
        raise RlqkitError(f"joints have shape {points.shape}: give (17, 2), COCO order, in pixels")
    points = points[:, :2]
    if not np.isfinite(points).all():
        raise RlqkitError("joints hold NaN or infinity: leave images without a pose at label 0")
    width, height = (int(side) for side in image_size)
    if width < 1 or height < 1:
        raise RlqkitError(f"image_size = {(width, height)}: give (width, height) in pixels")
    scale = np.array([FRAME[0] / width, FRAME[1] / height])
    return np.trunc(np.trunc(points) * scale).astype(np.int64)


def pose_vector(
    joints: NDArray[np.floating], image_size: tuple[int, int], kind: str = "R_LA"
) -> NDArray[np.float64]:
    """The pose vector that is clustered: float64, 26 (R_LA), 60 (R_LAC) or 13 (R_A) numbers.

    In this order: the 34 coordinates x0, y0, x1, ... (C), the 13 limb lengths in pixels (L), the
    13 limb angles atan2(dy, dx) in degrees, y pointing down (A). joints, image_size: see
    `scale_joints`. Raises RlqkitError for an unknown kind.
    """
    _check_kind(kind)
    frame = scale_joints(joints, image_size).astype(np.float64)
    first, second = np.array(LIMBS).T
    difference = frame[first] - frame[second]  # from the second joint to the first
    parts = {
        "C": frame.ravel(),
        "L": np.sqrt((difference**2).sum(1)),
        "A": np.degrees(np.arctan2(difference[:, 1], difference[:, 0])),
    }
    letters = kind.removeprefix("R_")
    return np.concatenate([parts[letter] for letter in "CLA" if letter in letters])


def pick_person(joints: NDArray[np.floating], scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of several detected people, the best-scoring one: (P, 17, 2) and (P,) to float64 (17, 2).

    All NaN when nobody was found (P = 0), which `fit_pose_clusters` labels 0. Ties go to
    the first. Raises RlqkitError if there are not as many scores as people.
    """
    if len(joints) == 0:
        return np.full((17, 2), np.nan)
    if len(joints) != len(scores):
        raise RlqkitError(f"{len(joints)} people but {len(scores)} scores: give one score each")
    return np.asarray(joints[int(np.argmax(scores))], np.float64)[:, :2]


@dataclass(frozen=True)
class PoseClusters:
    """K-means clusters of poses; cluster k (1..K) is row k - 1 of the arrays."""

    kind: str
    """Which pose vector was clustered."""
    labels: NDArray[np.int64]
    """(n,): 1..K, and 0 for images without a pose."""
    centres: NDArray[np.float64]
    """(K, vector length)."""
    skeletons: NDArray[np.float64]
    """(K, 17, 2): mean joints of each cluster in the 192x384 frame, for pictures."""
    counts: NDArray[np.int64]
    """(K,): images in each cluster."""
    inertia: float
    """Sum of squared distances to the nearest centre."""


def published_clusters(labels: NDArray[np.int64], kind: str, clusters: int) -> PoseClusters:
    """Clusters of which only the labels were published: centres and skeletons are NaN.

    labels: (n,), 0 = no pose found, 1..clusters.
    """
    length = VECTOR_LENGTHS["R" + kind[1:]]
    return PoseClusters(
        kind=kind,
        labels=labels,
        centres=np.full((clusters, length), np.nan),
        skeletons=np.full((clusters, 17, 2), np.nan),
        counts=np.bincount(labels, minlength=clusters + 1)[1:],
        inertia=math.nan,
    )


def fit_pose_clusters(
    joints: NDArray[np.floating],
    sizes: NDArray[np.integer],
    kind: str = "R_LA",
    clusters: int = 15,
    seed: int = 0,
) -> PoseClusters:
    """Cluster poses with K-means on raw pose vectors (pixels and degrees mixed, as published).

    joints: (n, 17, 2 or 3) in native pixels, a row with any NaN in x or y has no pose, nor has one
    of zeros alone, as unlabelled people are stored; a third column (a score) is ignored. sizes:
    (n, 2), width and height of each image.
    Raises RlqkitError if `clusters` is below 1 or above the number of poses, for an unknown kind
    or shapes that do not agree.
    """
    from sklearn.cluster import KMeans  # slow to import, and only label making needs it

    _check_kind(kind)
    points, found = _poses(joints, sizes)
    if not 1 <= clusters <= len(found):
        raise RlqkitError(
            f"pose clusters = {clusters}: give 1 to {len(found)}, the number of poses found"
        )
    frames = np.stack([scale_joints(points[i], tuple(sizes[i])) for i in found])
    vectors = np.stack([pose_vector(points[i], tuple(sizes[i]), kind) for i in found])
    # Everything else at scikit-learn's defaults: k-means++, n_init="auto", Lloyd.
    fitted = KMeans(n_clusters=clusters, random_state=seed, max_iter=1000).fit(vectors)
    nearest = fitted.predict(vectors)
    labels = np.zeros(len(points), np.int64)
    labels[found] = nearest + 1
    return PoseClusters(
        kind=kind,
        labels=labels,
        centres=fitted.cluster_centers_,
        skeletons=np.stack(
            [
                # Identical poses can leave a cluster without members: it has no skeleton.
                frames[nearest == k].mean(0) if (nearest == k).any() else np.full((17, 2), np.nan)
                for k in range(clusters)
            ]
        ),
        counts=np.bincount(nearest, minlength=clusters),
        inertia=float(fitted.inertia_),
    )


def nearest_clusters(
    clusters: PoseClusters, joints: NDArray[np.floating], sizes: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Clusters that were fitted on other images, applied to these: (n,) int64, 0 = no pose.

    An image with a pose gets the cluster, 1..K, whose centre is nearest to its pose vector, as
    K-means predicts. joints, sizes: see `fit_pose_clusters`. Raises RlqkitError for published
    clusters, which have no centres, and for shapes that do not agree.
    """
    if not np.isfinite(clusters.centres).all():
        raise RlqkitError(
            "pose clusters of a label file have no centres, so no other image can be given one: "
            "give joints (labels/keypoints.csv or .json) instead of pose labels"
        )
    points, found = _poses(joints, sizes)
    labels = np.zeros(len(points), np.int64)
    for i in found:
        vector = pose_vector(points[i], tuple(sizes[i]), clusters.kind)
        labels[i] = ((clusters.centres - vector) ** 2).sum(1).argmin() + 1
    return labels


def _poses(
    joints: NDArray[np.floating], sizes: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Joints as float64 and the rows that have a pose; RlqkitError unless shapes agree."""
    points = np.asarray(joints, np.float64)
    if points.ndim != 3 or points.shape[1] != 17 or np.shape(sizes) != (len(points), 2):
        raise RlqkitError(
            f"joints {points.shape} and sizes {np.shape(sizes)}: give (n, 17, 2) and (n, 2)"
        )
    places = points[:, :, :2]
    found = ~np.isnan(places).any((1, 2)) & (places != 0).any((1, 2))
    return points, np.flatnonzero(found)


def images_with_pose(joints: NDArray[np.floating], sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Rows of the images in which somebody was found. joints, sizes: see `fit_pose_clusters`."""
    return _poses(joints, sizes)[1]


def check_pose_labels(labels: Iterable[int], clusters: int) -> NDArray[np.int64]:
    """The pose labels as int64 (n,), each a whole number in 0..clusters (0 = no pose).

    Raises RlqkitError naming the first label that is not, and its row.
    """
    checked = []
    for row, label in enumerate(labels):
        if not 0 <= label <= clusters or label != int(label):
            raise RlqkitError(
                f"pose label {label} in row {row} is not in 0..{clusters}: "
                f"use labels made with {clusters} clusters, or set the number of clusters to fit"
            )
        checked.append(int(label))
    return np.array(checked, np.int64)


def _check_kind(kind: str) -> None:
    if kind.startswith("N_"):
        raise RlqkitError(
            f"pose vector {kind!r} is not offered: normalised coordinates lie in -0.5..0.5 and "
            "truncating them leaves every limb at length 0; use R_LA, R_LAC or R_A, or a label "
            "file with it"
        )
    if kind not in VECTOR_LENGTHS:
        raise RlqkitError(
            f"pose vector {kind!r} is unknown: use one of {', '.join(VECTOR_LENGTHS)}"
        )
