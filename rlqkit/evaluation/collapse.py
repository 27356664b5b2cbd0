"""LQ feature collapse: do low-quality images of different people share one cluster?

Every measure compares the features of HQ images with those of LQ versions *of the same images*,
row by row, and comes with an interval over people and with floors: what random features and other
networks that learnt nothing score (:mod:`rlqkit.evaluation.imaginary`), and what the same network
would score if the damage did nothing (``person_sums(hq, hq, labels)``).

Three steps, each with plain arrays or tables:

1. ``person_sums(hq, lq, labels)`` asks every image and adds the answers up person by person;
2. ``collapse_intervals({name: sums, …})`` draws people again: a value with its interval for each
   name and measure, or, with a reference, the paired differences;
3. ``measure_collapse`` gives the point estimates alone, in one record.

Positions on maps are in :mod:`rlqkit.evaluation.maps`: pictures to look at, not to measure on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from rlqkit.errors import RlqkitError
from rlqkit.evaluation.metrics import Labels, as_labels, unit_features

#: Rows of the similarity matrix held in memory at a time.
CHUNK = 256
#: Cosines that agree to so many decimals are ties; float32 can't tell them apart.
DECIMALS = 6
#: Neighbours of an LQ image that identity purity looks at.
NEIGHBOURS = 5
#: Measures that ask each image by itself, no pairs of people: what a run keeps (``to_json``).
SINGLE = ("lq_given_stranger", "identity_purity", "same_image_cosine", "beside_strangers_lq")
ENDS = ("estimate", "low", "high")
"""Columns of ``collapse_intervals`` that hold a value and its interval."""
Matrix = NDArray[np.floating[Any]]
Parts = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Measure:
    """One way to see collapse.

    Attributes:
        title: for tables and axes.
        percent: a share, told in percent; otherwise a cosine or a difference of cosines.
        healthy: its value where quality plays no part.
        meaning: one sentence for a reader.
        fooled: whether a network that puts all images on one point gets the healthy value.
    """

    title: str
    percent: bool
    healthy: str
    meaning: str
    fooled: bool


MEASURES = {
    "lq_given_stranger": Measure(
        "P(LQ | stranger)", True, "50 %",
        "of the LQ images whose nearest neighbour is a stranger: how many strangers are LQ",
        fooled=True,
    ),
    "identity_purity": Measure(
        "identity purity", True, "that of HQ",
        "share of an LQ image's nearest neighbours that show its person",
        fooled=False,
    ),
    "same_image_cosine": Measure(
        "cosine HQ-LQ of one image", False, "1",
        "how near an LQ image stays to its own HQ original",
        fooled=True,
    ),
    "between_gap": Measure(
        "cosine of strangers, LQ - HQ", False, "0",
        "how much more alike two people look in LQ than in HQ",
        fooled=True,
    ),
    "lq_nearer": Measure(
        "P(a stranger is nearer in LQ)", True, "50 %",
        "a stranger's image in two versions: how often an LQ image lies nearer to the LQ one",
        fooled=True,
    ),
    "beside_strangers_lq": Measure(
        "beside a stranger's LQ image", True, "about half of all errors",
        "share of LQ images whose nearest neighbour is another person's LQ image",
        fooled=True,
    ),
}  # fmt: skip
"""Measures of collapse by key, the most telling first. A neighbour comes from the pool of all HQ
and LQ images, without those of the image's own camera, hence without itself and its original."""


@dataclass(frozen=True, eq=False)
class PersonSums:
    """What one model scores, added up person by person, so that people can be drawn again.

    Attributes:
        identity: (P,) int64, sorted.
        images: images behind the sums, each with an HQ and an LQ version.
        parts: measure → numerator and denominator, both (P,) sums over a person's images, or both
            (P, P) sums over pairs of an image of one person and one of another (0 on the diagonal).
    """

    identity: NDArray[np.int64]
    images: int
    parts: Mapping[str, Parts]

    def value(self, measure: str) -> float:
        """The measure over all people; NaN if nothing counts, as strangers of a perfect model."""
        return float(self.resampled(measure, np.ones((1, len(self.identity))))[0])

    def resampled(self, measure: str, times: NDArray[Any]) -> NDArray[np.float64]:
        """(draws,) values with each person counted ``times`` (draws, P)."""
        above, below = (_total(part, times) for part in self.parts[measure])
        values = np.full(len(times), np.nan)
        return np.divide(above, below, out=values, where=below > 0)

    def to_json(self) -> dict[str, Any]:
        """The sums as plain values, to six decimals: ``from_json`` takes them."""
        parts = {
            name: [np.round(side, 6).tolist() for side in both] for name, both in self.parts.items()
        }
        return {"identity": self.identity.tolist(), "images": self.images, "parts": parts}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PersonSums:
        """Sums that ``to_json`` wrote.

        Raises:
            KeyError, TypeError, ValueError: they are something else, or a measure is missing.
        """
        identity = np.array(values["identity"], np.int64)
        parts = {}
        for name in SINGLE:
            above, below = (np.array(side, np.float64) for side in values["parts"][name])
            if not above.shape == below.shape == identity.shape:
                raise ValueError(f"{name} is not of {len(identity)} people")
            parts[name] = above, below
        return cls(identity, int(values["images"]), parts)


def added_up(seeds: Sequence[PersonSums]) -> PersonSums:
    """The sums of several seeds' networks on the same people, added up.

    Raises:
        RlqkitError: other people, or other images.
    """
    first = seeds[0]
    for other in seeds[1:]:
        if other.images != first.images or not np.array_equal(other.identity, first.identity):
            raise RlqkitError("seeds were measured on different people; compare the same images")
    parts = {
        name: (
            np.sum([sums.parts[name][0] for sums in seeds], axis=0),
            np.sum([sums.parts[name][1] for sums in seeds], axis=0),
        )
        for name in first.parts
    }
    return PersonSums(first.identity, first.images, parts)


def person_sums(
    hq: NDArray[Any] | torch.Tensor,
    lq: NDArray[Any] | torch.Tensor,
    labels: Any,
    neighbours: int = NEIGHBOURS,
    pairs: bool = True,
) -> PersonSums:
    """Every measure of one model on one kind of damage, person by person.

    Where neighbours tie, as all do if every image is one point, each counts with its share; so
    the order of the images decides nothing.

    Args:
        hq: (n, d) L2-normalised features of the HQ images, numpy or torch.
        lq: (n, d) those of their LQ versions, in the same order; ``hq`` again asks what the
            measures say where damage does nothing.
        labels: labels of the n images, in any form ``evaluate_distances`` takes.
        neighbours: neighbours per LQ image for identity purity; P(LQ | stranger) looks at one.
        pairs: whether measures of pairs of people are taken too, or those of ``SINGLE`` alone.

    Raises:
        RlqkitError: shapes that differ, features that aren't finite or not normalised, fewer than
            two identities, or an image with too few images from other cameras.
    """
    hq_features, lq_features, known = _checked(hq, lq, labels)
    scores = _image_scores(hq_features, lq_features, known, neighbours)
    identity, code, count = np.unique(known.identity, return_inverse=True, return_counts=True)
    people = len(identity)

    def summed(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(code, weights=values, minlength=people).astype(np.float64)

    stranger = scores["nearest_lq_wrong"] + scores["nearest_hq_wrong"]
    images = count.astype(np.float64)
    cosine = np.einsum("nd,nd->n", hq_features, lq_features)
    parts = {
        "lq_given_stranger": (summed(scores["nearest_lq_wrong"]), summed(stranger)),
        "identity_purity": (summed(scores["identity_purity"]), images),
        "same_image_cosine": (summed(cosine), images),
        "beside_strangers_lq": (summed(scores["nearest_lq_wrong"]), images),
    }
    if pairs:
        both = np.outer(count, count).astype(np.float64)
        np.fill_diagonal(both, 0)
        gap = _cosine_sums(lq_features, code, people) - _cosine_sums(hq_features, code, people)
        np.fill_diagonal(gap, 0)
        parts["between_gap"] = gap, both
        parts["lq_nearer"] = _lq_nearer(hq_features, lq_features, code, people), both
    return PersonSums(identity, len(hq_features), parts)


def collapse_intervals(
    models: Mapping[str, PersonSums],
    measures: Iterable[str] = tuple(MEASURES),
    reference: str | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Values with bootstrap intervals over people, or paired differences to one of the models.

    People are drawn with replacement, all their images with them; the images that they are
    compared with stay. Every model meets the same draws, so a difference is that of one and the
    same drawing. The pair measures draw both people of a pair.

    Args:
        models: name → sums, of the same people.
        measures: keys of ``MEASURES``.
        reference: a name of ``models``; all others are then given as differences to it.
        level: coverage aimed at.
        draws: bootstrap samples.
        seed: of the drawing.

    Returns:
        One line a model and measure: model, measure, estimate, low, high (shares and cosines as
        they are, not in percent; NaN where nothing counts), people, images, and excludes_zero
        where there is a reference.

    Raises:
        RlqkitError: an unknown reference or measure, or models of different people.
    """
    first = next(iter(models.values()))
    if reference is not None and reference not in models:
        raise RlqkitError(f'reference "{reference}" is not there; have {", ".join(models)}')
    for name, sums in models.items():
        if not np.array_equal(sums.identity, first.identity):
            raise RlqkitError(f"{name} was measured on other people; compare the same images")
    people = len(first.identity)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(people, np.full(people, 1 / people), size=draws)
    times = np.concatenate([np.ones((1, people), dtype=times.dtype), times])  # all people first
    tails = [(1 - level) / 2, (1 + level) / 2]
    records = []
    for measure in measures:
        if measure not in MEASURES:
            raise RlqkitError(f'measure "{measure}" is unknown; use {", ".join(MEASURES)}')
        values = {name: sums.resampled(measure, times) for name, sums in models.items()}
        for name, sums in models.items():
            if name == reference:
                continue
            drawn = values[name] if reference is None else values[name] - values[reference]
            known = drawn[1:][np.isfinite(drawn[1:])]
            low, high = np.quantile(known, tails) if len(known) else (np.nan, np.nan)
            record: dict[str, Any] = {"model": name, "measure": measure}
            record |= {"estimate": float(drawn[0]), "low": float(low), "high": float(high)}
            record |= {"people": people, "images": sums.images}
            if reference is not None:
                record["excludes_zero"] = bool(low > 0 or high < 0)
            records.append(record)
    return pd.DataFrame(records)


@dataclass(frozen=True)
class Collapse:
    """How far LQ features have left their identities and gathered in a cluster of their own.

    Cosines are in [−1, 1], shares and purities in [0, 1]. "Neighbours" are those of an LQ image
    in the pool of all HQ and LQ images, without the images of its own camera, hence without
    itself and its HQ original.

    Attributes:
        n_images: images, each with an HQ and an LQ version.
        neighbours: how many the purities look at.
        lq_given_stranger: of the LQ images whose nearest neighbour is a stranger, those where it
            is LQ; .5 = errors don't cluster by quality. NaN if there are none.
        same_image_cosine: mean HQ–LQ cosine of one image; 1 = the degradation leaves no trace.
        hq_between_cosine: mean cosine of two HQ images of different identities.
        lq_between_cosine: the same among LQ images; well above the HQ figure = collapse.
        hq_effective_rank: dimensions the HQ features spread over (see ``effective_rank``).
        lq_effective_rank: the same for LQ.
        nearest_lq_wrong: share of LQ images whose nearest neighbour is an LQ image of another
            identity. Half of the pool is LQ, so random features score about .5 here.
        nearest_hq_wrong: … an HQ image of another identity.
        nearest_lq_right: … an LQ image of the same identity.
        nearest_hq_right: … an HQ image of the same identity. The four sum to 1.
        identity_purity: share of the neighbours with the image's identity.
        outfit_purity: share with its identity and clothes.
        quality_purity: share that are LQ; .5 = qualities are mixed, 1 = LQ keeps to itself.
    """

    n_images: int
    neighbours: int
    lq_given_stranger: float
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
    """All point estimates of one model on one degradation; arguments as ``person_sums``.

    Raises:
        RlqkitError: as ``person_sums``.
    """
    hq_features, lq_features, known = _checked(hq, lq, labels)
    scores = _image_scores(hq_features, lq_features, known, neighbours)
    shares = {name: float(values.mean()) for name, values in scores.items()}
    strangers = shares["nearest_lq_wrong"] + shares["nearest_hq_wrong"]
    return Collapse(
        n_images=len(hq_features),
        neighbours=neighbours,
        lq_given_stranger=shares["nearest_lq_wrong"] / strangers if strangers else float("nan"),
        same_image_cosine=float(np.einsum("nd,nd->n", hq_features, lq_features).mean()),
        hq_between_cosine=between_identity_cosine(hq_features, known.identity),
        lq_between_cosine=between_identity_cosine(lq_features, known.identity),
        hq_effective_rank=effective_rank(hq_features),
        lq_effective_rank=effective_rank(lq_features),
        **shares,
    )


def between_identity_cosine(features: Matrix, identity: NDArray[np.int64]) -> float:
    """Mean cosine over all ordered pairs of images of different identities.

    The cosines of all pairs of two people sum to the product of their summed features, so the
    mean needs no n × n matrix.

    Args:
        features: (n, d), rows of norm 1.
        identity: (n,), two identities at least.
    """
    _, codes, counts = np.unique(identity, return_inverse=True, return_counts=True)
    sums = _cosine_sums(features, codes, len(counts))
    n_pairs = counts.sum() ** 2 - np.square(counts).sum()
    return float((sums.sum() - np.trace(sums)) / n_pairs)


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
        in pool order, so HQ comes before LQ: for pictures; the measures share ties out.

    Raises:
        RlqkitError: k < 1, or an image with fewer than k pool images from other cameras.
    """
    found = np.empty((len(lq), neighbours), dtype=np.int64)
    for rows, cosine in _pool_cosines(hq, lq, camera, neighbours):
        found[rows] = np.argsort(-cosine, axis=1, kind="stable")[:, :neighbours]
    return found


# --------------------------------------------------------------------------- how it is computed


def _checked(hq: Any, lq: Any, labels: Any) -> tuple[Matrix, Matrix, Labels]:
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
    return hq_features, lq_features, known


def fewest_candidates(camera: NDArray[Any]) -> int:
    """Images of other cameras, HQ and LQ, that the worst-off image may have for neighbours."""
    return int(2 * (len(camera) - np.unique(camera, return_counts=True)[1].max()))


def _pool_cosines(
    hq: Matrix, lq: Matrix, camera: NDArray[np.int64], neighbours: int
) -> Iterator[tuple[slice, Matrix]]:
    """Rows of LQ images and their cosines with the pool HQ + LQ, −inf for their own camera."""
    if neighbours < 1:
        raise RlqkitError(f"neighbours is {neighbours}; ask for 1 or more")
    cameras, counts = np.unique(camera, return_counts=True)
    if (candidates := fewest_candidates(camera)) < neighbours:
        raise RlqkitError(
            f"camera {cameras[counts.argmax()]}: its images have {candidates} neighbours in other "
            f"cameras where {neighbours} are needed; add cameras or lower neighbours"
        )
    pool = np.concatenate([hq, lq])
    pool_camera = np.tile(camera, 2)
    for start in range(0, len(lq), CHUNK):
        rows = slice(start, start + CHUNK)
        cosine = np.round(lq[rows] @ pool.T, DECIMALS)
        cosine[camera[rows, None] == pool_camera] = -np.inf
        yield rows, cosine


def _image_scores(
    hq: Matrix, lq: Matrix, labels: Labels, neighbours: int
) -> dict[str, NDArray[np.float64]]:
    """(n,) shares of each LQ image: who its nearest neighbour is, what the k nearest are."""
    n = len(lq)
    identity, clothes = np.tile(labels.identity, 2), np.tile(labels.clothes, 2)
    is_lq = np.arange(2 * n) >= n
    names = ("nearest_lq_wrong", "nearest_hq_wrong", "nearest_lq_right", "nearest_hq_right",
             "identity_purity", "outfit_purity", "quality_purity")  # fmt: skip
    scores = {name: np.empty(n) for name in names}
    for rows, cosine in _pool_cosines(hq, lq, labels.camera, neighbours):
        first = _neighbour_weights(cosine, 1)
        several = _neighbour_weights(cosine, neighbours) / neighbours
        right = identity == labels.identity[rows, None]
        outfit = right & (clothes == labels.clothes[rows, None])
        for name, weights, counted in (
            ("nearest_lq_wrong", first, is_lq & ~right),
            ("nearest_hq_wrong", first, ~is_lq & ~right),
            ("nearest_lq_right", first, is_lq & right),
            ("nearest_hq_right", first, ~is_lq & right),
            ("identity_purity", several, right),
            ("outfit_purity", several, outfit),
            ("quality_purity", several, np.broadcast_to(is_lq, right.shape)),
        ):
            scores[name][rows] = np.where(counted, weights, 0).sum(axis=1)
    return scores


def _neighbour_weights(cosine: Matrix, neighbours: int) -> NDArray[np.float64]:
    """(rows, pool) shares of the k nearest, summing to k; the last places are shared by ties."""
    last = -np.partition(-cosine, neighbours - 1, axis=1)[:, neighbours - 1 : neighbours]
    nearer, tied = cosine > last, cosine == last
    left = neighbours - nearer.sum(axis=1, keepdims=True)
    weights: NDArray[np.float64] = nearer + tied * (left / tied.sum(axis=1, keepdims=True))
    return weights


def _cosine_sums(features: Matrix, code: NDArray[np.int64], people: int) -> NDArray[np.float64]:
    """(P, P) sums of the cosines of all pairs of an image of one person and one of another."""
    sums = np.zeros((people, features.shape[1]))
    np.add.at(sums, code, features.astype(np.float64))
    together: NDArray[np.float64] = sums @ sums.T
    return together


def _lq_nearer(hq: Matrix, lq: Matrix, code: NDArray[np.int64], people: int) -> NDArray[np.float64]:
    """(P, P) pairs where i's LQ image is nearer to j's LQ than to j's HQ version, ties half."""
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], np.arange(people))
    hq, lq = hq[order], lq[order]
    total = np.zeros((people, people))
    for start in range(0, len(lq), CHUNK):
        rows = slice(start, start + CHUNK)
        more = np.round(lq[rows] @ lq.T, DECIMALS) - np.round(lq[rows] @ hq.T, DECIMALS)
        by_person = np.add.reduceat((1 + np.sign(more)) / 2, starts, axis=1)
        np.add.at(total, code[order][rows], by_person)
    np.fill_diagonal(total, 0)
    return total


def _total(part: NDArray[np.float64], times: NDArray[Any]) -> NDArray[np.float64]:
    """(draws,) sums over people, or over pairs of people, each as often as it was drawn."""
    if part.ndim == 1:
        return np.asarray(times @ part, np.float64)
    return np.einsum("dp,dp->d", times @ part, times)
