"""Retrieval metrics against recorded figures of the released evaluation and a naive reference.

``golden/eval.npz`` holds two cases (0: no ties, 1: thirteen distinct distances, so nearly every
distance is tied) and the flip descriptor; case 1 stores its distances in eighths, and the order
that an unstable argsort happened to give.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rlqkit.errors import RlqkitError
from rlqkit.evaluation.metrics import (
    PROTOCOLS,
    Labels,
    evaluate_distances,
    evaluate_features,
    flip_descriptor,
    ranked_list,
)

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN / "eval.npz") as stored:
        arrays = dict(stored)
    arrays["1/distmat"] = (arrays["1/distmat_eighths"] / 8).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def figures() -> dict[str, dict[str, float]]:
    return json.loads((GOLDEN / "eval.json").read_text())


def golden_labels(golden: dict[str, NDArray[Any]], case: str) -> tuple[Labels, Labels]:
    names = ("pids", "camids", "clothes")
    query, gallery = (Labels(*(golden[f"{case}/{s}_{n}"] for n in names)) for s in "qg")
    return query, gallery


def order_as_distances(order: NDArray[Any]) -> NDArray[np.float64]:
    """(n, m) permutations → tie-free distances that sort into them."""
    distances = np.empty(order.shape)
    places = np.broadcast_to(np.arange(order.shape[1], dtype=float), order.shape)
    np.put_along_axis(distances, order.astype(np.int64), places, axis=1)
    return distances


def status_of(i: int, j: int, query: Labels, gallery: Labels, protocol: str) -> str:
    """The protocols said once more, one pair at a time, independently of the library."""
    if query.identity[i] != gallery.identity[j]:
        return "wrong"
    other_camera = query.camera[i] != gallery.camera[j]
    same_clothes = query.clothes[i] == gallery.clothes[j]
    wanted = {"general": True, "SC": same_clothes, "CC": not same_clothes}[protocol]
    return "correct" if other_camera and wanted else "junk"


def naive(
    distances: NDArray[Any], query: Labels, gallery: Labels, protocol: str
) -> tuple[NDArray[np.float64], float, list[float], list[int]]:
    """CMC, mAP, AP and first hit by sorting whole lists, ties by gallery index."""
    precisions, first_hits = [], []
    for i, row in enumerate(distances.tolist()):
        order = sorted(range(len(row)), key=lambda j: (row[j], j))  # noqa: B023
        kept = [s for j in order if (s := status_of(i, j, query, gallery, protocol)) != "junk"]
        hits = [place for place, status in enumerate(kept) if status == "correct"]
        precisions.append(
            sum((n + 1) / (place + 1) for n, place in enumerate(hits)) / len(hits)
            if hits
            else float("nan")
        )
        first_hits.append(hits[0] if hits else -1)
    valid = [hit for hit in first_hits if hit >= 0]
    cmc = np.array([np.mean([hit <= k for hit in valid]) for k in range(distances.shape[1])])
    return cmc, float(np.nanmean(precisions)), precisions, first_hits


def random_labels(rng: np.random.Generator, n: int, identities: int, cameras: int) -> Labels:
    return Labels(
        rng.integers(0, identities, n), rng.integers(0, cameras, n), rng.integers(0, 3, n)
    )


def unit(rng: np.random.Generator, n: int, d: int) -> NDArray[np.float32]:
    features = rng.standard_normal((n, d)).astype(np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


# ------------------------------------------------------------------------------ golden figures


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_golden_without_ties(
    golden: dict[str, Any], figures: dict[str, Any], protocol: str
) -> None:
    query, gallery = golden_labels(golden, "0")
    result = evaluate_distances(golden["0/distmat"], query, gallery, protocol)
    assert result.mAP == pytest.approx(figures["0"][f"mAP_{protocol}"], abs=1e-9)
    np.testing.assert_allclose(result.cmc, golden[f"0/cmc_{protocol}"], rtol=0, atol=1e-9)
    assert result.n_skipped == figures["0"][f"queries_without_gt_{protocol}"]
    assert result.n_queries == len(query.identity)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_golden_with_ties_in_the_recorded_order(
    golden: dict[str, Any], figures: dict[str, Any], protocol: str
) -> None:
    """With the ties broken as the recorded argsort broke them, the figures agree exactly."""
    query, gallery = golden_labels(golden, "1")
    order = golden["1/argsort"].astype(np.int64)
    along = np.take_along_axis(golden["1/distmat"], order, axis=1)
    assert (np.diff(along, axis=1) >= 0).all(), "the recorded order must sort the distances"
    result = evaluate_distances(order_as_distances(order), query, gallery, protocol)
    assert result.mAP == pytest.approx(figures["1"][f"mAP_{protocol}"], abs=1e-9)
    np.testing.assert_allclose(result.cmc, golden[f"1/cmc_{protocol}"], rtol=0, atol=1e-9)
    assert result.n_skipped == figures["1"][f"queries_without_gt_{protocol}"]


# What the ties are worth in case 1: figure under our rule minus the recorded one.
TIE_SHIFT = {
    "general": (-0.003730176544748, -7 / 188),
    "SC": (-0.001692620744074, -1 / 151),
    "CC": (-0.006592933982144, -8 / 187),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_golden_with_ties_under_our_rule(
    golden: dict[str, Any], figures: dict[str, Any], protocol: str
) -> None:
    """Gallery order moves rank-1 by up to 4.3 points and mAP by up to .7 in this extreme case.

    Both the recorded figures and ours lie between the orders that put a tie's correct matches
    last and first; ours equal the naive reference exactly.
    """
    query, gallery = golden_labels(golden, "1")
    distances = golden["1/distmat"]
    ours = evaluate_distances(distances, query, gallery, protocol)
    cmc, mean_precision, _, _ = naive(distances, query, gallery, protocol)
    np.testing.assert_allclose(ours.cmc, cmc, rtol=0, atol=1e-12)
    assert ours.mAP == pytest.approx(mean_precision, abs=1e-12)

    recorded_map, recorded_cmc = figures["1"][f"mAP_{protocol}"], golden[f"1/cmc_{protocol}"]
    map_shift, rank1_shift = TIE_SHIFT[protocol]
    assert ours.mAP - recorded_map == pytest.approx(map_shift, abs=1e-9)
    assert ours.rank1 - recorded_cmc[0] == pytest.approx(rank1_shift, abs=1e-9)

    correct = np.array(
        [
            [status_of(i, j, query, gallery, protocol) == "correct" for j in range(300)]
            for i in range(200)
        ]
    )
    worst, best = (
        evaluate_distances(
            order_as_distances(np.lexsort((sign * correct, distances), axis=1)),
            query,
            gallery,
            protocol,
        )
        for sign in (1, -1)
    )
    for mean, curve in ((recorded_map, recorded_cmc), (ours.mAP, ours.cmc)):
        assert worst.mAP < mean < best.mAP
        assert (worst.cmc <= curve + 1e-12).all() and (curve <= best.cmc + 1e-12).all()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_golden_flip_descriptor(golden: dict[str, Any], kind: str) -> None:
    plain, mirrored = golden["protocol/feat_plain"], golden["protocol/feat_flip"]
    if kind == "torch":
        features = flip_descriptor(torch.from_numpy(plain), torch.from_numpy(mirrored)).numpy()
    else:
        features = flip_descriptor(plain, mirrored)
    np.testing.assert_allclose(features, golden["protocol/features"], rtol=0, atol=1e-6)
    distances = -(features[:4] @ features[4:].T)
    np.testing.assert_allclose(distances, golden["protocol/distmat_q0to4_g4to10"], atol=1e-6)


# ---------------------------------------------------------------------------- naive reference


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("levels", [None, 40, 5, 1], ids=lambda v: f"levels={v}")
def test_equals_the_naive_reference(protocol: str, levels: int | None) -> None:
    """levels = distinct distances: None for no ties, 1 for nothing but ties."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        query = random_labels(rng, 15, identities=8, cameras=3)
        gallery = random_labels(rng, 60, identities=7, cameras=3)  # identity 7 has no match
        distances = rng.normal(size=(15, 60))
        if levels is not None:
            distances = rng.integers(0, levels, (15, 60)) / 8 - 1
        result = evaluate_distances(distances, query, gallery, protocol)
        cmc, mean_precision, precisions, first_hits = naive(distances, query, gallery, protocol)
        np.testing.assert_allclose(result.cmc, cmc, rtol=0, atol=1e-12)
        assert result.mAP == pytest.approx(mean_precision, abs=1e-12)
        np.testing.assert_allclose(result.average_precision, precisions, rtol=0, atol=1e-12)
        assert result.first_hit.tolist() == first_hits
        assert result.n_skipped == first_hits.count(-1)


def test_small_case_by_hand() -> None:
    """One query; gallery in distance order: junk, wrong, correct, wrong, correct."""
    query = Labels(*(np.array([v]) for v in (7, 0, 1)))
    gallery = Labels(
        np.array([7, 3, 7, 4, 7]), np.array([0, 1, 1, 1, 2]), np.array([2, 2, 2, 2, 1])
    )
    distances = np.array([[0.1, 0.2, 0.3, 0.4, 0.5]])
    general = evaluate_distances(distances, query, gallery, "general")
    assert general.mAP == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert general.cmc.tolist() == [0, 1, 1, 1, 1]
    assert evaluate_distances(distances, query, gallery, "CC").mAP == pytest.approx(1 / 2)
    assert evaluate_distances(distances, query, gallery, "SC").mAP == pytest.approx(1 / 3)
    assert general.rank(1) == general.rank1 == 0
    assert general.rank(2) == general.rank(99) == 1


def test_ties_rank_in_gallery_order() -> None:
    query = Labels(*(np.array([v]) for v in (1, 0, 0)))
    clothes = np.zeros(3, dtype=int)
    distances = np.array([[0.0, -0.0, 0.0]])  # the two zeros are equal too
    for place in range(3):
        identity = np.zeros(3, dtype=int)
        identity[place] = 1
        gallery = Labels(identity, np.ones(3, dtype=int), clothes)
        result = evaluate_distances(distances, query, gallery, "general")
        assert result.first_hit.tolist() == [place]


def test_skipped_queries_are_marked() -> None:
    query = Labels(np.array([1, 2]), np.array([0, 0]), np.array([0, 0]))
    gallery = Labels(np.array([1, 2]), np.array([1, 0]), np.array([0, 0]))
    result = evaluate_distances(np.eye(2), query, gallery, "general")
    assert result.first_hit.tolist() == [1, -1]
    assert np.isnan(result.average_precision).tolist() == [False, True]
    assert (result.n_queries, result.n_skipped) == (2, 1)
    assert result.mAP == pytest.approx(0.5)
    assert json.loads(json.dumps(result.to_dict()))["rank5"] == 1


# --------------------------------------------------------------------------------- input forms


def test_every_form_of_labels_and_distances_gives_the_same() -> None:
    rng = np.random.default_rng(3)
    query, gallery = random_labels(rng, 10, 4, 3), random_labels(rng, 30, 4, 3)
    distances = rng.integers(-4, 4, (10, 30)).astype(np.float32)
    want = evaluate_distances(distances, query, gallery, "CC")
    floats = [[torch.from_numpy(a).float() for a in labels] for labels in (query, gallery)]
    forms: list[tuple[Any, Any, Any, str]] = [
        (torch.from_numpy(distances), query._asdict(), gallery._asdict(), "cc"),
        (torch.from_numpy(distances).bfloat16(), floats[0], tuple(floats[1]), "Cc"),
        (distances.astype(np.float16), tuple(query), gallery, "CC"),
        (distances.astype(np.int64), query, [a.tolist() for a in gallery], "CC"),
    ]
    for form in forms:
        got = evaluate_distances(*form)
        assert got.mAP == want.mAP and got.protocol == "CC"
        np.testing.assert_array_equal(got.cmc, want.cmc)


def test_features_equal_distances_for_every_chunk() -> None:
    rng = np.random.default_rng(4)
    query, gallery = random_labels(rng, 50, 9, 4), random_labels(rng, 200, 9, 4)
    # signs / sqrt(64): products are exact in float32 and heavily tied, so order must agree too
    q, g = (rng.choice([-1, 1], (n, 64)).astype(np.float32) / 8 for n in (50, 200))
    for protocol in PROTOCOLS:
        want = evaluate_distances(-(q @ g.T), query, gallery, protocol)
        for chunk in (1, 7, 50, 256):
            got = evaluate_features(torch.from_numpy(q), g, query, gallery, protocol, chunk=chunk)
            np.testing.assert_array_equal(got.cmc, want.cmc)
            np.testing.assert_array_equal(got.average_precision, want.average_precision)


def test_several_protocols_in_one_pass_and_twice_the_same() -> None:
    rng = np.random.default_rng(5)
    query, gallery = random_labels(rng, 40, 6, 3), random_labels(rng, 120, 6, 3)
    q, g = unit(rng, 40, 32), unit(rng, 120, 32)
    results = evaluate_features(q, g, query, gallery, ("general", "cc", "sc"))
    assert list(results) == ["general", "CC", "SC"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = evaluate_features(
            torch.from_numpy(q), torch.from_numpy(g), query, gallery, PROTOCOLS
        )
    for name, result in results.items():
        alone = evaluate_distances(-(q @ g.T), query, gallery, name)
        assert result.mAP == again[name].mAP == pytest.approx(alone.mAP, abs=1e-9)
        np.testing.assert_array_equal(result.first_hit, again[name].first_hit)


def test_flip_descriptor_normalises_the_whole_vector() -> None:
    rng = np.random.default_rng(6)
    plain, mirrored = rng.normal(size=(2, 5, 8))
    got = flip_descriptor(plain, mirrored)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1)
    total = plain + mirrored
    np.testing.assert_allclose(got * np.linalg.norm(total, axis=1, keepdims=True), total)
    assert not flip_descriptor(np.zeros((1, 4)), np.zeros((1, 4))).any()


# --------------------------------------------------------------------------------- ranked list


def test_ranked_list_keeps_junk_in_its_place() -> None:
    query = {"identity": 7, "camera": 0, "clothes": 1}
    gallery = Labels(
        np.array([7, 3, 7, 4, 7]), np.array([0, 1, 1, 1, 2]), np.array([2, 2, 2, 2, 1])
    )
    distances = np.array([0.5, 0.1, 0.2, 0.5, 0.3])
    entries = ranked_list(distances, query, gallery, "CC", k=5)
    assert [e.index for e in entries] == [1, 2, 4, 0, 3]
    assert [e.status for e in entries] == ["wrong", "correct", "junk", "junk", "wrong"]
    assert [e.rank for e in entries] == [0, 1, None, None, 2]
    assert [e.distance for e in entries] == [0.1, 0.2, 0.3, 0.5, 0.5]
    assert ranked_list(torch.from_numpy(distances)[None], query, gallery, "cc", k=2) == entries[:2]
    assert len(ranked_list(distances, query, gallery, "CC", k=99)) == 5


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ranked_list_agrees_with_the_metrics(protocol: str) -> None:
    rng = np.random.default_rng(8)
    query, gallery = random_labels(rng, 12, 4, 3), random_labels(rng, 50, 4, 3)
    distances = rng.integers(0, 6, (12, 50)).astype(float)
    result = evaluate_distances(distances, query, gallery, protocol)
    for i, row in enumerate(distances):
        entries = ranked_list(row, [a[i] for a in query], gallery, protocol, k=50)
        hits = [e.rank for e in entries if e.status == "correct"]
        assert (hits[0] if hits else -1) == result.first_hit[i]


# -------------------------------------------------------------------------------------- errors


def error_of(*arguments: Any, function: Any = evaluate_distances, **more: Any) -> str:
    with pytest.raises(RlqkitError) as caught:
        function(*arguments, **more)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_errors_of_distances() -> None:
    rng = np.random.default_rng(9)
    query, gallery = random_labels(rng, 6, 2, 2), random_labels(rng, 20, 2, 2)
    distances = rng.normal(size=(6, 20))
    assert "'XC'" in error_of(distances, query, gallery, "XC")
    assert "None" in error_of(distances, query, gallery, None)
    assert "(20,)" in error_of(distances[0], query, gallery, "CC")
    assert "gallery identity has 20" in error_of(distances[:, :9], query, gallery, "CC")
    assert "query identity has 6" in error_of(distances[:3], query, gallery, "CC")
    short = gallery._replace(clothes=gallery.clothes[:5])
    assert "gallery clothes has 5" in error_of(distances, query, short, "CC")
    assert "clothes" in error_of(distances, {"identity": [0], "camera": [0]}, gallery, "CC")
    assert "2 columns" in error_of(distances, tuple(query)[:2], gallery, "CC")
    half = {**query._asdict(), "camera": query.camera + 0.5}
    assert "query camera" in error_of(distances, half, gallery, "CC")
    for bad in (np.nan, np.inf):
        lost = {**query._asdict(), "identity": np.full(6, bad)}
        assert "query identity" in error_of(distances, lost, gallery, "CC")
    words = {**query._asdict(), "identity": list("abcdef")}
    assert "query identity" in error_of(distances, words, gallery, "CC")
    square = {**query._asdict(), "camera": np.zeros((6, 1))}
    assert "query camera" in error_of(distances, square, gallery, "CC")
    distances[4, 17] = np.nan
    assert "(4, 17)" in error_of(distances, query, gallery, "CC")
    assert "k is 0" in error_of(distances[0], (0, 0, 0), gallery, "CC", 0, function=ranked_list)
    assert "query identity has 6" in error_of(
        distances[0], query, gallery, "CC", function=ranked_list
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_gallery_without_any_match_names_protocol_and_remedy(protocol: str) -> None:
    query = Labels(np.array([1, 2]), np.array([0, 0]), np.array([0, 0]))
    gallery = Labels(np.array([1, 3]), np.array([0, 1]), np.array([0, 0]))  # same camera only
    message = error_of(np.eye(2), query, gallery, protocol)
    assert f"protocol {protocol}" in message and "choose another protocol" in message
    assert protocol in error_of(np.zeros((2, 0)), query, [[], [], []], protocol)


def test_errors_of_features() -> None:
    rng = np.random.default_rng(10)
    query, gallery = random_labels(rng, 6, 2, 2), random_labels(rng, 20, 2, 2)
    q, g = unit(rng, 6, 8), unit(rng, 20, 8)

    def message(a: Any, b: Any, protocol: Any = "general", **more: Any) -> str:
        return error_of(a, b, query, gallery, protocol, function=evaluate_features, **more)

    assert "chunk is 0" in message(q, g, chunk=0)
    assert "protocol is empty" in message(q, g, ())
    assert "'XC'" in message(q, g, ("CC", "XC"))
    assert "None" in message(q, g, None)
    assert "8 numbers" in message(q, g[:, :5] / np.linalg.norm(g[:, :5], axis=1, keepdims=True))
    assert "query features, row 0: norm 2" in message(q * 2, g)
    assert "(8,)" in message(q[0], g)
    assert "query identity has 6" in message(q[:3], g)
    g[3, 2] = np.nan
    assert "gallery features, row 3" in message(q, g)
    assert "(6, 8)" in error_of(q, g, function=flip_descriptor)
