"""Retrieval metrics: CMC and mAP under the three protocols of clothes-changing ReID.

For one query the gallery images of its own identity fall into two sets, and every protocol is
one sentence about which of them are **junk**, i.e. taken out of the ranking as if absent:

=========  =========================================================================
protocol   junk among the gallery images of the query's identity
=========  =========================================================================
general    those of the query's camera
SC         those of the query's camera, and those in other clothes (same-clothes test)
CC         those of the query's camera, and those in the same clothes (clothes-changing)
=========  =========================================================================

All that is left of the identity is a correct match. A query without any is left out of the means
and counted (paper, section on evaluation; the CC and SC tests go back to LTCC and PRCC).

**Ties.** Images at equal distance rank in gallery order, on every machine and in every version.

**No argsort.** A match's rank is the number of gallery images ahead of it. Sorting the *values*
of a row gives that count for the few images of the query's identity by bisection; junk ahead is
then subtracted. This is exact and several times quicker than sorting indices of whole rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray

from rlqkit.errors import RlqkitError
from rlqkit.randomness import generator

PROTOCOLS = ("general", "SC", "CC")
MATCHES = {
    "general": "seen by another camera",
    "SC": "seen by another camera in the same clothes",
    "CC": "seen by another camera in other clothes",
}
"""Protocol → how a gallery image must show a query's identity to be a correct match."""

#: How far from 1 a feature's norm may be: wide enough for features stored in half precision.
NORM_TOLERANCE = 1e-2

Status = Literal["correct", "wrong", "junk"]
Features = TypeVar("Features", NDArray[Any], torch.Tensor)


class Labels(NamedTuple):
    """Labels of n images, three 1-D integer arrays of length n.

    ``clothes`` is only ever compared between images of one identity, so outfits may be numbered
    per identity or over the whole data set. A data set without clothes labels may give zeros and
    use the general protocol.
    """

    identity: NDArray[np.int64]
    camera: NDArray[np.int64]
    clothes: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Retrieval:
    """What one protocol says about one set of distances.

    Attributes:
        protocol: "general", "SC" or "CC".
        cmc: (n_gallery,) share of the valid queries whose first correct match is at rank ≤ k + 1,
            in [0, 1].
        mAP: mean of ``average_precision`` over the valid queries, in [0, 1].
        average_precision: (n_queries,) mean precision at the hits, in (0, 1]; NaN for a query
            without a valid match.
        first_hit: (n_queries,) 0-based rank of the first correct match once junk is taken out;
            −1 for a query without a valid match.
        n_queries: all queries, valid or not.
        n_skipped: those without a valid match, left out of ``cmc`` and ``mAP``.
    """

    protocol: str
    cmc: NDArray[np.float64]
    mAP: float
    average_precision: NDArray[np.float64]
    first_hit: NDArray[np.int64]
    n_queries: int
    n_skipped: int

    def rank(self, k: int) -> float:
        """Rank-k accuracy in [0, 1]; k counts from 1, and a k beyond the gallery is its end."""
        if k < 1:
            raise RlqkitError(f"rank({k}): ranks count from 1; ask for rank(1) or more")
        return float(self.cmc[min(k, len(self.cmc)) - 1])

    @property
    def rank1(self) -> float:
        """Rank-1 accuracy in [0, 1]."""
        return self.rank(1)

    def to_dict(self) -> dict[str, Any]:
        """The figures a table needs, as plain JSON values (no per-query arrays)."""
        ranks = {f"rank{k}": self.rank(k) for k in (1, 5, 10, 20)}
        counts = {"n_queries": self.n_queries, "n_skipped": self.n_skipped}
        return {"protocol": self.protocol, "mAP": self.mAP, **ranks, **counts}


@dataclass(frozen=True)
class RankedEntry:
    """One gallery image of a ranked list.

    Attributes:
        index: position in the gallery.
        distance: as given.
        status: "correct", "wrong" (another identity) or "junk" (dropped by the protocol).
        rank: 0-based rank once junk is taken out; None for junk.
    """

    index: int
    distance: float
    status: Status
    rank: int | None


# --------------------------------------------------------------------------- public functions


def evaluate_distances(
    distances: NDArray[Any] | torch.Tensor, query: Any, gallery: Any, protocol: str
) -> Retrieval:
    """CMC and mAP of a distance matrix.

    Args:
        distances: (n_query, n_gallery), smaller = nearer, any sign and scale; no NaN.
        query: ``Labels`` of the queries, or a mapping or table with the columns ``identity``,
            ``camera`` and ``clothes``, or those three in this order; numpy, torch or lists.
            Whole numbers stored as floats are fine.
        gallery: the same for the gallery.
        protocol: "general", "SC" or "CC", in any case.

    Raises:
        RlqkitError: unknown protocol, shapes that don't fit, labels that aren't whole numbers, NaN
            among the distances, or no query with a valid match.
    """
    name = protocol_name(protocol)
    matrix = _to_numpy(distances)
    if matrix.ndim != 2:
        raise RlqkitError(
            f"distances have shape {matrix.shape}; give a matrix of (n_query, n_gallery)"
        )
    if matrix.dtype not in (np.float32, np.float64):
        matrix = matrix.astype(np.float32 if matrix.dtype == np.float16 else np.float64)
    query_labels = as_labels(query, "query", len(matrix))
    gallery_labels = as_labels(gallery, "gallery", matrix.shape[1])
    _refuse_nan(matrix, "distances")
    return _evaluate(matrix, query_labels, gallery_labels, (name,))[name]


@overload
def evaluate_features(
    query_features: NDArray[Any] | torch.Tensor,
    gallery_features: NDArray[Any] | torch.Tensor,
    query: Any,
    gallery: Any,
    protocol: str,
    chunk: int = ...,
) -> Retrieval: ...


@overload
def evaluate_features(
    query_features: NDArray[Any] | torch.Tensor,
    gallery_features: NDArray[Any] | torch.Tensor,
    query: Any,
    gallery: Any,
    protocol: list[str] | tuple[str, ...],
    chunk: int = ...,
) -> dict[str, Retrieval]: ...


def evaluate_features(
    query_features: NDArray[Any] | torch.Tensor,
    gallery_features: NDArray[Any] | torch.Tensor,
    query: Any,
    gallery: Any,
    protocol: str | list[str] | tuple[str, ...],
    chunk: int = 256,
) -> Retrieval | dict[str, Retrieval]:
    """CMC and mAP of L2-normalised features under the cosine distance −(q · g).

    Distances are made in float32 for ``chunk`` queries at a time, so memory holds the features
    and chunk × n_gallery numbers, never the whole matrix. Features on a GPU are brought to the
    CPU, where an autocast or reduced matmul precision set elsewhere can't change the result.

    Args:
        query_features: (n_query, d), rows of norm 1 (see ``flip_descriptor``).
        gallery_features: (n_gallery, d), likewise.
        query, gallery: labels, as in ``evaluate_distances``.
        protocol: one name, or a list or tuple of names, measured in one pass over the distances.
        chunk: queries per block.

    Returns:
        One ``Retrieval`` for one name; for several, a dict by canonical protocol name.

    Raises:
        RlqkitError: as ``evaluate_distances``; features that aren't finite or not normalised.
    """
    if chunk < 1:
        raise RlqkitError(f"chunk is {chunk}; give the queries per block, 1 or more")
    wanted = protocol if isinstance(protocol, list | tuple) else [protocol]
    names = tuple(protocol_name(name) for name in wanted)
    if not names:
        raise RlqkitError(f"protocol is empty; give one or more of {', '.join(PROTOCOLS)}")
    queries = unit_features(query_features, "query features")
    galleries = unit_features(gallery_features, "gallery features")
    if queries.shape[1] != galleries.shape[1]:
        raise RlqkitError(
            f"query features have {queries.shape[1]} numbers, gallery features "
            f"{galleries.shape[1]}; extract both with the same model"
        )
    query_labels = as_labels(query, "query", len(queries))
    gallery_labels = as_labels(gallery, "gallery", len(galleries))
    rows = _distance_rows(queries, galleries, chunk)
    results = _evaluate(rows, query_labels, gallery_labels, names)
    return results if wanted is protocol else results[names[0]]


def has_match(query: Any, gallery: Any, protocol: str) -> bool:
    """Whether some query has a valid match in the gallery, without which nothing is measured.

    Args:
        query, gallery: labels, as in ``evaluate_distances``.
        protocol: "general", "SC" or "CC".

    Raises:
        RlqkitError: unknown protocol, or labels that aren't whole numbers.
    """
    queries, galleries = as_labels(query, "query"), as_labels(gallery, "gallery")
    positions_of = _positions_by_identity(galleries.identity)
    return _has_match(protocol_name(protocol), queries, galleries, positions_of)


def ranked_list(
    distances: NDArray[Any] | torch.Tensor, query: Any, gallery: Any, protocol: str, k: int = 10
) -> list[RankedEntry]:
    """The nearest k gallery images of one query, for pictures.

    Junk stays in the list, in its place and marked, and counts towards k: a picture can show what
    the protocol takes out. Ties are in gallery order, as in the metrics.

    Args:
        distances: (n_gallery,) or (1, n_gallery), the query's row.
        query: labels of this one query (numbers, or arrays of length 1).
        gallery: labels of the gallery.
        protocol: "general", "SC" or "CC".
        k: entries wanted; fewer come back from a smaller gallery.

    Raises:
        RlqkitError: as ``evaluate_distances``, and for k < 1.
    """
    name = protocol_name(protocol)
    if k < 1:
        raise RlqkitError(f"k is {k}; ask for 1 entry or more")
    row = np.atleast_1d(np.squeeze(_to_numpy(distances)))
    if row.ndim != 1:
        raise RlqkitError(f"distances have shape {row.shape}; give one query's row of the matrix")
    query_labels = as_labels(query, "query", 1)
    gallery_labels = as_labels(gallery, "gallery", len(row))
    _refuse_nan(row, "distances")
    same_identity = gallery_labels.identity == query_labels.identity[0]
    junk = same_identity & _junk(name, query_labels, 0, gallery_labels, np.arange(len(row)))
    entries: list[RankedEntry] = []
    rank = 0
    for index in np.argsort(row, kind="stable")[:k]:
        status: Status = "correct" if same_identity[index] else "wrong"
        if junk[index]:
            status = "junk"
        entries.append(
            RankedEntry(int(index), float(row[index]), status, None if junk[index] else rank)
        )
        rank += not junk[index]
    return entries


def single_shot_galleries(
    identity: NDArray[np.int64], draws: int, seed: int
) -> list[NDArray[np.int64]]:
    """Galleries of one image an identity, drawn at random: the single-shot protocol of PRCC.

    Args:
        identity: (n_gallery,) identity of each gallery image.
        draws: galleries wanted (the field takes 10 and averages).
        seed: of the draws. A gallery depends on the seed, its number and the labels alone, so
            every model, row and image quality meets the same ones.

    Returns:
        For each draw the chosen positions, (identities,), ascending.
    """
    groups = list(_positions_by_identity(identity).values())
    sizes = np.array([len(group) for group in groups])
    galleries = []
    for draw in range(draws):
        places = generator(seed, "gallery", draw).integers(sizes)
        chosen = [group[place] for group, place in zip(groups, places, strict=True)]
        galleries.append(np.sort(np.array(chosen, dtype=np.int64)))
    return galleries


def chance_rank1(query: Any, gallery: Any, protocol: str, other_cameras: bool = False) -> float:
    """Rank-1 of a gallery in random order: mean share of correct images among those not junk.

    Args:
        query, gallery: labels, as in ``evaluate_distances``.
        protocol: "general", "SC" or "CC".
        other_cameras: whether strangers seen by the query's own camera are left out too.

    Raises:
        RlqkitError: as ``evaluate_distances``.
    """
    name = protocol_name(protocol)
    queries, galleries = as_labels(query, "query"), as_labels(gallery, "gallery")
    positions_of = _positions_by_identity(galleries.identity)
    _require_a_match(name, queries, galleries, positions_of)
    shares = []
    for i, identity in enumerate(queries.identity):
        positions = positions_of.get(int(identity))
        if positions is None:
            continue
        correct = len(positions) - int(_junk(name, queries, i, galleries, positions).sum())
        strangers = len(galleries.identity) - len(positions)
        if other_cameras:
            own_camera = galleries.camera == queries.camera[i]
            strangers -= int((own_camera & (galleries.identity != identity)).sum())
        if correct:
            shares.append(correct / (correct + strangers))
    return float(np.mean(shares))


def flip_descriptor(plain: Features, mirrored: Features) -> Features:
    """Test descriptor: sum of an image's features and its mirror's, L2-normalised.

    The norm runs over the whole vector, i.e. over both branches together, not over each branch.

    Args:
        plain: (n, d) features of the images, numpy or torch.
        mirrored: (n, d) features of the same images flipped left to right.

    Returns:
        (n, d) of the same kind as the input, rows of norm 1 (a zero row stays zero).

    Raises:
        RlqkitError: the two shapes differ.
    """
    if plain.shape != mirrored.shape:
        raise RlqkitError(
            f"plain features have shape {tuple(plain.shape)}, mirrored ones "
            f"{tuple(mirrored.shape)}; extract both from the same images in the same order"
        )
    if isinstance(plain, torch.Tensor):
        return torch.nn.functional.normalize(plain + mirrored, dim=-1)
    total = plain + mirrored
    return total / np.maximum(np.linalg.norm(total, axis=-1, keepdims=True), 1e-12)


def protocol_name(protocol: str) -> str:
    """Canonical spelling of a protocol ("cc" → "CC"); RlqkitError for an unknown one."""
    canonical = {name.lower(): name for name in PROTOCOLS}
    if not isinstance(protocol, str) or protocol.lower() not in canonical:
        raise RlqkitError(f"unknown protocol {protocol!r}; choose from {', '.join(PROTOCOLS)}")
    return canonical[protocol.lower()]


def as_labels(labels: Any, name: str, length: int | None = None) -> Labels:
    """Any of the accepted forms (see ``evaluate_distances``) as ``Labels``.

    Args:
        labels: Labels, mapping or table, or a triple (identity, camera, clothes).
        name: what to call them in an error, e.g. "query".
        length: number of images they must cover; None to take the identity's length.

    Raises:
        RlqkitError: a column is missing, not whole numbers, not 1-D or of the wrong length.
    """
    if hasattr(labels, "keys"):
        missing = [key for key in Labels._fields if key not in labels]
        if missing:
            raise RlqkitError(f"{name} labels lack {', '.join(missing)}; add that column")
        columns = [labels[key] for key in Labels._fields]
    else:
        columns = list(labels)
        if len(columns) != 3:
            raise RlqkitError(
                f"{name} labels hold {len(columns)} columns; give identity, camera, clothes"
            )
    arrays = [
        _whole_numbers(column, f"{name} {key}")
        for key, column in zip(Labels._fields, columns, strict=True)
    ]
    expected = len(arrays[0]) if length is None else length
    for key, array in zip(Labels._fields, arrays, strict=True):
        if len(array) != expected:
            raise RlqkitError(
                f"{name} {key} has {len(array)} labels for {expected} images; give one for each"
            )
    return Labels(*arrays)


def unit_features(features: NDArray[Any] | torch.Tensor, name: str) -> NDArray[np.float32]:
    """Features as a float32 matrix on the CPU, checked to be finite with rows of norm 1.

    Args:
        features: (n, d), numpy or torch, any floating type.
        name: what to call them in an error, e.g. "query features".

    Raises:
        RlqkitError: not a matrix, NaN or infinite values, or rows that aren't normalised.
    """
    matrix = np.ascontiguousarray(_to_numpy(features), dtype=np.float32)
    if matrix.ndim != 2:
        raise RlqkitError(f"{name} have shape {matrix.shape}; give a matrix of (images, numbers)")
    norms = np.sqrt(np.einsum("nd,nd->n", matrix, matrix))
    if not np.isfinite(norms).all():
        bad = int(np.flatnonzero(~np.isfinite(norms))[0])
        raise RlqkitError(f"{name}, row {bad}: NaN or infinite; check the model that made them")
    off = np.flatnonzero(np.abs(norms - 1) > NORM_TOLERANCE)
    if len(off):
        bad = int(off[0])
        raise RlqkitError(
            f"{name}, row {bad}: norm {norms[bad]:.4g} where 1 is needed; L2-normalise them first"
        )
    return matrix


# --------------------------------------------------------------------------- how it is computed


def _evaluate(
    rows: Iterable[NDArray[Any]], query: Labels, gallery: Labels, protocols: tuple[str, ...]
) -> dict[str, Retrieval]:
    """One pass over the queries' distance rows, for any number of protocols."""
    positions_of = _positions_by_identity(gallery.identity)
    for protocol in protocols:
        _require_a_match(protocol, query, gallery, positions_of)
    n_queries, n_gallery = len(query.identity), len(gallery.identity)
    precision = {p: np.full(n_queries, np.nan) for p in protocols}
    first_hit = {p: np.full(n_queries, -1, dtype=np.int64) for p in protocols}
    for i, row in enumerate(rows):
        positions = positions_of.get(int(query.identity[i]))
        if positions is None:
            continue
        ranks = _stable_ranks(row, positions)
        for p in protocols:
            hits = _ranks_without_junk(ranks, _junk(p, query, i, gallery, positions))
            if len(hits):
                # precision at the j-th hit = j / its rank, both counted from 1
                precision[p][i] = np.mean(np.arange(1, len(hits) + 1) / (hits + 1))
                first_hit[p][i] = hits[0]
    return {p: _retrieval(p, precision[p], first_hit[p], n_gallery) for p in protocols}


def _retrieval(
    protocol: str, precision: NDArray[np.float64], first_hit: NDArray[np.int64], n_gallery: int
) -> Retrieval:
    """Means over the valid queries."""
    valid = first_hit >= 0
    hits_per_rank = np.bincount(first_hit[valid], minlength=n_gallery)
    return Retrieval(
        protocol=protocol,
        cmc=np.cumsum(hits_per_rank) / valid.sum(),
        mAP=float(precision[valid].mean()),
        average_precision=precision,
        first_hit=first_hit,
        n_queries=len(first_hit),
        n_skipped=int((~valid).sum()),
    )


def _stable_ranks(row: NDArray[Any], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """0-based ranks of some gallery images in the whole row, ties in gallery order.

    ``row`` (n_gallery,), ``positions`` (m,) → (m,).
    """
    values = np.sort(row)
    wanted = row[positions]
    ranks = np.searchsorted(values, wanted, side="left")  # = number of images strictly nearer
    tied = np.searchsorted(values, wanted, side="right") - ranks > 1
    for value in np.unique(wanted[tied]):
        here = wanted == value
        ranks[here] += np.searchsorted(np.flatnonzero(row == value), positions[here])
    return ranks


def _ranks_without_junk(ranks: NDArray[np.int64], junk: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Ranks of the correct matches once junk is gone, ascending: each moves up by junk ahead."""
    hits = np.sort(ranks[~junk])
    return hits - np.searchsorted(np.sort(ranks[junk]), hits)


def _junk(
    protocol: str, query: Labels, i: int, gallery: Labels, positions: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of the gallery images at ``positions``, all of query i's identity, are junk."""
    same_camera = gallery.camera[positions] == query.camera[i]
    if protocol == "general":
        return same_camera
    same_clothes = gallery.clothes[positions] == query.clothes[i]
    return same_camera | (same_clothes if protocol == "CC" else ~same_clothes)


def _positions_by_identity(identity: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Identity → its gallery positions, ascending."""
    order = np.argsort(identity, kind="stable")
    names, starts = np.unique(identity[order], return_index=True)
    groups = np.split(order, starts[1:])
    return {int(name): group for name, group in zip(names, groups, strict=False)}


def _require_a_match(
    protocol: str, query: Labels, gallery: Labels, positions_of: Mapping[int, NDArray[np.int64]]
) -> None:
    """Raise unless some query has a valid match."""
    if not _has_match(protocol, query, gallery, positions_of):
        raise RlqkitError(
            f"protocol {protocol}: no query has a valid match in the gallery; it needs images of "
            f"the query's identity {MATCHES[protocol]}: check the labels or choose another protocol"
        )


def _has_match(
    protocol: str, query: Labels, gallery: Labels, positions_of: Mapping[int, NDArray[np.int64]]
) -> bool:
    """Whether some query has a valid match; stops at the first one that has."""
    for i, identity in enumerate(query.identity):
        positions = positions_of.get(int(identity))
        if positions is not None and not _junk(protocol, query, i, gallery, positions).all():
            return True
    return False


def _distance_rows(
    queries: NDArray[np.float32], galleries: NDArray[np.float32], chunk: int
) -> Iterator[NDArray[np.float32]]:
    """Rows of −(q · g), made a block at a time; negating q is exact and spares a copy."""
    for start in range(0, len(queries), chunk):
        yield from -queries[start : start + chunk] @ galleries.T


def _to_numpy(values: Any) -> NDArray[Any]:
    """numpy view of an array, tensor (any device, bfloat16 too) or list."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def _refuse_nan(distances: NDArray[Any], name: str) -> None:
    # min() hands a NaN on and, unlike isnan(), needs no second matrix
    if distances.size and np.isnan(distances.min()):
        where = tuple(int(j) for j in np.argwhere(np.isnan(distances))[0])
        raise RlqkitError(
            f"{name} hold NaN at {where}; a NaN has no rank, check the features they came from"
        )


def _whole_numbers(values: Any, name: str) -> NDArray[np.int64]:
    """1-D integer array from whole numbers of any numeric type."""
    array = np.atleast_1d(_to_numpy(values))
    if array.ndim != 1:
        raise RlqkitError(f"{name} labels have shape {array.shape}; give a flat list")
    if array.dtype.kind not in "iubf" and array.size:
        raise RlqkitError(f"{name} labels are not numbers; number them from 0")
    fractional = array.dtype.kind == "f" and not np.array_equal(array, np.round(array))
    if fractional or not np.isfinite(array).all():
        raise RlqkitError(f"{name} labels are not all whole numbers; number them from 0")
    return array.astype(np.int64)
