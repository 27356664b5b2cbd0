"""LQ feature collapse: do low-quality images of different people share one cluster?

Every measure compares the features of HQ images with those of LQ versions *of the same images*,
row by row. Numbers first (``measure_collapse``), picture second (``umap_view``): a UMAP layout
shows where to look and proves nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlqkit.errors import RlqkitError
from rlqkit.evaluation.metrics import Labels, as_labels, unit_features
from rlqkit.files import use_writable_caches

#: Rows of the similarity matrix held in memory at a time.
CHUNK = 256
Matrix = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Collapse:
    """How far LQ features have left their identities and gathered in a cluster of their own.

    Cosines are in [−1, 1], shares and purities in [0, 1]. "Neighbours" are those of an LQ image
    in the pool of all HQ and LQ images, without the images of its own camera, hence without
    itself and its HQ original.

    Attributes:
        n_images: images, each with an HQ and an LQ version.
        neighbours: how many the purities look at.
        same_image_cosine: mean HQ–LQ cosine of one image; 1 = the degradation leaves no trace.
        hq_between_cosine: mean cosine of two HQ images of different identities.
        lq_between_cosine: the same among LQ images; well above the HQ figure = collapse.
        hq_effective_rank: dimensions the HQ features spread over (see ``effective_rank``).
        lq_effective_rank: the same for LQ.
        nearest_lq_wrong: share of LQ images whose nearest neighbour is an LQ image of another
            identity, the collapse in one number.
        nearest_hq_wrong: … an HQ image of another identity.
        nearest_lq_right: … an LQ image of the same identity.
        nearest_hq_right: … an HQ image of the same identity. The four sum to 1.
        identity_purity: share of the neighbours with the image's identity.
        outfit_purity: share with its identity and clothes.
        quality_purity: share that are LQ; .5 = qualities are mixed, 1 = LQ keeps to itself.
    """

    n_images: int
    neighbours: int
    same_image_cosine: float
    hq_between_cosine: float
    lq_between_cosine: float
    hq_effective_rank: float
    lq_effective_rank: float
    nearest_lq_wrong: float
    nearest_hq_wrong: float
    nearest_lq_right: float
    nearest_hq_right: float
    identity_purity: float
    outfit_purity: float
    quality_purity: float

    def to_dict(self) -> dict[str, float]:
        """All measures as plain JSON values."""
        return asdict(self)


def measure_collapse(
    hq: NDArray[Any] | torch.Tensor,
    lq: NDArray[Any] | torch.Tensor,
    labels: Any,
    neighbours: int = 5,
) -> Collapse:
    """All collapse measures of one model on one degradation.

    Args:
        hq: (n, d) L2-normalised features of the HQ images, numpy or torch.
        lq: (n, d) those of their LQ versions, in the same order.
        labels: labels of the n images, in any form ``evaluate_distances`` takes.
        neighbours: neighbours per LQ image for the purities.

    Raises:
        RlqkitError: shapes that differ, features that aren't finite or not normalised, fewer than
            two identities, or an image with too few images from other cameras.
    """
    hq_features = unit_features(hq, "HQ features")
    lq_features = unit_features(lq, "LQ features")
    if hq_features.shape != lq_features.shape:
        raise RlqkitError(
            f"HQ features have shape {hq_features.shape}, LQ features {lq_features.shape}; "
            "row i of both must be image i"
        )
    known = as_labels(labels, "collapse", len(hq_features))
    if len(np.unique(known.identity)) < 2:
        raise RlqkitError("collapse labels hold fewer than 2 identities; measure more people")
    nearest = lq_neighbours(hq_features, lq_features, known.camera, neighbours)
    return Collapse(
        n_images=len(hq_features),
        neighbours=neighbours,
        same_image_cosine=float(np.einsum("nd,nd->n", hq_features, lq_features).mean()),
        hq_between_cosine=between_identity_cosine(hq_features, known.identity),
        lq_between_cosine=between_identity_cosine(lq_features, known.identity),
        hq_effective_rank=effective_rank(hq_features),
        lq_effective_rank=effective_rank(lq_features),
        **_neighbour_shares(nearest, known),
    )


def between_identity_cosine(features: Matrix, identity: NDArray[np.int64]) -> float:
    """Mean cosine over all ordered pairs of images of different identities.

    The cosines of all pairs sum to ‖Σ f‖², and those within an identity to ‖Σ_id f‖², so the
    mean needs no n × n matrix.

    Args:
        features: (n, d), rows of norm 1.
        identity: (n,), two identities at least.
    """
    _, codes, counts = np.unique(identity, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), features.shape[1]))
    np.add.at(sums, codes, features.astype(np.float64))
    all_pairs = np.square(sums.sum(axis=0)).sum()
    within = np.square(sums).sum()
    n_pairs = counts.sum() ** 2 - np.square(counts).sum()
    return float((all_pairs - within) / n_pairs)


def effective_rank(features: Matrix) -> float:
    """Effective rank (Roy & Vetterli, 2007) of the centred features.

    exp of the entropy of the singular values divided by their sum: r when the features spread
    evenly over r dimensions, 1 when on a line, 0 by our convention when all are one point.

    Args:
        features: (n, d).

    Returns:
        A number in {0} ∪ [1, min(n − 1, d)].
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    singular = np.linalg.svd(centred, compute_uv=False)
    # what is left of identical rows is float32 rounding, and rounding has no direction
    if singular[0] <= np.finfo(np.float32).eps * np.linalg.norm(features):
        return 0.0
    share = singular[singular > 0] / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def lq_neighbours(
    hq: Matrix, lq: Matrix, camera: NDArray[np.int64], neighbours: int
) -> NDArray[np.int64]:
    """Nearest neighbours of each LQ image in the pool HQ + LQ, images of its camera left out.

    Args:
        hq, lq: (n, d), rows of norm 1, row i of both from image i.
        camera: (n,).
        neighbours: how many, k.

    Returns:
        (n, k) pool positions, nearest first: i < n is HQ image i, n + i is LQ image i. Ties are
        in pool order, so HQ comes before LQ.

    Raises:
        RlqkitError: k < 1, or an image with fewer than k pool images from other cameras.
    """
    if neighbours < 1:
        raise RlqkitError(f"neighbours is {neighbours}; ask for 1 or more")
    cameras, counts = np.unique(camera, return_counts=True)
    candidates = 2 * (len(camera) - counts.max())
    if candidates < neighbours:
        raise RlqkitError(
            f"camera {cameras[counts.argmax()]}: its images have {candidates} neighbours in other "
            f"cameras where {neighbours} are needed; add cameras or lower neighbours"
        )
    pool = np.concatenate([hq, lq])
    pool_camera = np.tile(camera, 2)
    found = np.empty((len(lq), neighbours), dtype=np.int64)
    for start in range(0, len(lq), CHUNK):
        rows = slice(start, start + CHUNK)
        distance = -lq[rows] @ pool.T
        distance[camera[rows, None] == pool_camera] = np.inf
        found[rows] = np.argsort(distance, axis=1, kind="stable")[:, :neighbours]
    return found


def _neighbour_shares(nearest: NDArray[np.int64], labels: Labels) -> dict[str, float]:
    """Who the nearest neighbour is, and what the k nearest are made of."""
    n = len(nearest)
    image = nearest % n
    is_lq = nearest >= n
    same_identity = labels.identity[image] == labels.identity[:, None]
    same_outfit = same_identity & (labels.clothes[image] == labels.clothes[:, None])
    first_lq, first_right = is_lq[:, 0], same_identity[:, 0]
    return {
        "nearest_lq_wrong": float((first_lq & ~first_right).mean()),
        "nearest_hq_wrong": float((~first_lq & ~first_right).mean()),
        "nearest_lq_right": float((first_lq & first_right).mean()),
        "nearest_hq_right": float((~first_lq & first_right).mean()),
        "identity_purity": float(same_identity.mean()),
        "outfit_purity": float(same_outfit.mean()),
        "quality_purity": float(is_lq.mean()),
    }


def umap_view(
    hq: NDArray[Any] | torch.Tensor,
    lq: NDArray[Any] | torch.Tensor,
    seed: int = 0,
    neighbours: int = 15,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two-dimensional picture: UMAP fitted on HQ, LQ transformed into it.

    LQ takes no part in the fit, so the map is that of the clean features and the picture shows
    where degradation moves an image on it. Positions depend on seed and library version:
    look at them, don't measure on them.

    Args:
        hq: (n, d) L2-normalised features.
        lq: (m, d) likewise; for arrows HQ → LQ, the same images in the same order.
        seed: of the layout, for the fit and for placing LQ.
        neighbours: size of UMAP's neighbourhoods; a smaller data set gets n − 1.

    Returns:
        HQ positions (n, 2) and LQ positions (m, 2).

    Raises:
        RlqkitError: features that aren't finite or not normalised, differing widths, n < 4.
    """
    hq_features = unit_features(hq, "HQ features")
    lq_features = unit_features(lq, "LQ features")
    if hq_features.shape[1] != lq_features.shape[1]:
        raise RlqkitError(
            f"HQ features have {hq_features.shape[1]} numbers, LQ features "
            f"{lq_features.shape[1]}; extract both with the same model"
        )
    if len(hq_features) < 4:
        raise RlqkitError(f"HQ features hold {len(hq_features)} images; a map needs 4 or more")
    use_writable_caches()  # numba, below umap, keeps what it compiles
    import umap  # here, since importing it compiles for seconds and only pictures need it

    # A seeded layout runs in one thread, and umap warns when it has to set that itself: asking
    # for one thread says the same thing without the warning.
    reducer = umap.UMAP(
        n_components=2,
        n_neighbors=min(neighbours, len(hq_features) - 1),
        metric="cosine",
        random_state=seed,
        transform_seed=seed,
        n_jobs=1,
    )
    hq_positions = reducer.fit_transform(hq_features)
    lq_positions = reducer.transform(lq_features)
    return np.asarray(hq_positions, np.float32), np.asarray(lq_positions, np.float32)


def collapsed_images(hq: Matrix, lq: Matrix, labels: Labels) -> NDArray[np.bool_]:
    """(n,) bool: whether an LQ image's nearest neighbour is another person's LQ image."""
    nearest = lq_neighbours(hq, lq, labels.camera, 1)[:, 0]
    wrong = labels.identity[nearest % len(hq)] != labels.identity
    found: NDArray[np.bool_] = (nearest >= len(hq)) & wrong
    return found
