"""Intervals, comparisons, inspection of steps, and the figures of results."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric
from networks import build_base, build_rlq

from rlqkit.config import Config, ModelConfig, load_profile, with_overrides
from rlqkit.data.imageset import Benchmark
from rlqkit.errors import RlqkitError
from rlqkit.evaluation import severity
from rlqkit.evaluation.intervals import (
    clustered_interval,
    describe_difference,
    interval_table,
    select,
)
from rlqkit.evaluation.metrics import Labels, chance_rank1, evaluate_features
from rlqkit.evaluation.protocol import HQ, LQ, MIXED
from rlqkit.method.degradations import KINDS, SMALL_INPUT_SEVERITY, pixelate
from rlqkit.method.network import Heads
from rlqkit.method.rows import ROWS
from rlqkit.method.steps import StepRules, Student, cap_step, tad_step
from rlqkit.report import comparison, style
from rlqkit.runs.device import machine
from rlqkit.runs.experiment import load_network, train_and_evaluate
from rlqkit.runs.folder import RunFolder
from rlqkit.runs.inspection import step_changes

IDENTITIES, IMAGES = 40, 6


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def queries(
    hits: np.ndarray, query: str = HQ, gallery: str = HQ, rule: str = "last"
) -> pd.DataFrame:
    """Per-query table from an (identities, images) array of hits."""
    identity, image = np.indices(hits.shape)
    return pd.DataFrame(
        {
            "query": query, "gallery": gallery, "protocol": "CC", "rule": rule,
            "file": [f"{i}_{k}" for i, k in zip(identity.ravel(), image.ravel(), strict=True)],
            "identity": identity.ravel(), "average_precision": hits.ravel() * 0.5,
            "first_hit": np.where(hits.ravel(), 0, 3),
        }
    )  # fmt: skip


def drawn_hits(seed: int, spread: float = 0.35) -> np.ndarray:
    """Hits of people who are easy or hard as a whole; the true rank-1 is .5."""
    rng = np.random.default_rng(seed)
    chance = np.clip(rng.uniform(0.5 - spread, 0.5 + spread, (IDENTITIES, 1)), 0, 1)
    return rng.random((IDENTITIES, IMAGES)) < chance


def whole_table(seed: int, shift: float = 0.0) -> pd.DataFrame:
    """All conditions of one row; ``shift`` turns that share of the misses into hits."""
    rng = np.random.default_rng(1000 + seed)
    extra = rng.random((IDENTITIES, IMAGES)) < shift
    parts = [(HQ, HQ), *((kind, HQ) for kind in KINDS), (MIXED, MIXED)]
    return pd.concat(
        [queries(drawn_hits(seed + n) | extra, *part) for n, part in enumerate(parts)],
        ignore_index=True,
    )


# ---------------------------------------------------------------------------------- statistics


def test_interval_covers_the_known_mean_as_often_as_it_says() -> None:
    intervals = [clustered_interval(queries(drawn_hits(seed)), draws=500) for seed in range(300)]
    covered = np.mean([one.low <= 0.5 <= one.high for one in intervals])
    assert 0.9 <= covered <= 0.98


def test_clustering_widens_the_interval_where_people_are_easy_or_hard_as_a_whole() -> None:
    table = queries(np.repeat(drawn_hits(3)[:, :1], IMAGES, axis=1))  # all or nothing
    clustered = clustered_interval(table)
    alone = clustered_interval(table.assign(identity=np.arange(len(table))))
    ratio = (clustered.high - clustered.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(np.sqrt(IMAGES), rel=0.15)
    assert clustered.estimate == alone.estimate
    assert (clustered.identities, alone.identities) == (IDENTITIES, IDENTITIES * IMAGES)


def test_identical_rows_differ_by_exactly_nothing() -> None:
    table = queries(drawn_hits(1))
    found = clustered_interval(table, table.sample(frac=1, random_state=0))
    assert (found.estimate, found.low, found.high) == (0, 0, 0)
    assert not found.excludes_zero


def test_pairing_finds_a_small_steady_gain_that_separate_intervals_hide() -> None:
    hits = np.zeros((IDENTITIES, IMAGES), bool)
    hits[::2] = True  # half of the people found, half not
    better = hits.copy()
    better[1::2, 0] = True  # one more query of every hard person
    one, two = queries(hits), queries(better)
    paired = clustered_interval(two, one)
    assert paired.estimate == pytest.approx(0.5 / IMAGES)
    assert paired.excludes_zero and paired.low > 0
    assert clustered_interval(one).high > clustered_interval(two).low


def test_several_seeds_count_with_their_mean_and_skipped_queries_not_at_all() -> None:
    all_hits, none = np.ones((4, 2), bool), np.zeros((4, 2), bool)
    stacked = pd.concat([queries(all_hits).assign(seed=1), queries(none).assign(seed=2)])
    found = clustered_interval(stacked)
    assert (found.estimate, found.queries) == (0.5, 8)
    skipped = queries(all_hits)
    skipped.loc[0, ["first_hit", "average_precision"]] = [-1, np.nan]
    found = clustered_interval(skipped, measure="mAP")
    assert (found.estimate, found.queries) == (0.5, 7)


def test_rank_k_counts_hits_up_to_rank_k() -> None:
    table = queries(np.eye(4, dtype=bool))  # others are hit at rank 4
    assert clustered_interval(table, measure="rank1").estimate == 0.25
    assert clustered_interval(table, measure="rank4").estimate == 1.0


def test_select_pools_the_three_degradations() -> None:
    table = whole_table(0)
    assert set(select(table, (LQ, HQ, "CC"))["query"]) == set(KINDS)
    assert len(select(table, (LQ, HQ, "CC"))) == 3 * IDENTITIES * IMAGES


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: clustered_interval(t, measure="rank"), '"rank" is unknown'),
        (lambda t: clustered_interval(t, t[t["identity"] > 0]), "same test set"),
        (lambda t: clustered_interval(t[t["identity"] == 0]), "2 or more"),
        (lambda t: select(t, (HQ, HQ, "SC")), "HQ → HQ, SC, rule last"),
        (lambda t: interval_table({"base": t}, reference="cal"), '"cal" has no run'),
    ],
)
def test_mistakes_are_named(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RlqkitError, match=message.replace("(", r"\(")):
        call(queries(drawn_hits(0)))


def test_words_follow_the_interval() -> None:
    line = {"row": "rlq", "condition": "HQ", "estimate": 1.0, "low": 0.2, "high": 2.0}
    assert "better than base" in describe_difference(line, "base")
    assert "can't be told" in describe_difference(line | {"low": -0.1}, "base")
    worse = line | {"estimate": -1.0, "low": -2.0, "high": -0.2}
    assert "WORSE than base" in describe_difference(worse, "base")


# ---------------------------------------------------------------------------------- comparison


def test_chance_is_what_random_features_score(tiny_benchmark: Benchmark) -> None:
    query, gallery = tiny_benchmark["query"], tiny_benchmark["gallery"]
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(400):
        features = [rng.normal(size=(len(images), 8)) for images in (query, gallery)]
        q, g = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in features)
        labels = [Labels(*images.metric_arrays()) for images in (query, gallery)]
        scores.append(evaluate_features(q, g, *labels, "CC").rank1)
    assert chance_rank1(query.metric_arrays(), gallery.metric_arrays(), "CC") == pytest.approx(
        np.mean(scores), abs=0.02
    )


@pytest.mark.parametrize(
    ("moment", "step"), [("50 %", 6), ("40 %", 5), ("epoch 1", 4), ("epoch 0", 0)]
)
def test_start_of_cal_in_steps(moment: str, step: int) -> None:
    history = pd.DataFrame({"epoch": [0, 1, 2], "steps": [4, 8, 12]})
    config = load_profile("smoke", {"training.adversarial_from": moment})
    assert comparison.adversarial_start(history, config) == step


# ---------------------------------------------------------------------------------- inspection


def student_and_batches(rules: StepRules) -> tuple[Student, dict, dict]:
    torch.manual_seed(0)
    model = ModelConfig("resnet10t", "none", (8, 8, 8, 8), 8)
    network = build_rlq(model)
    branches = ("branch1", "branch2", "pose")
    heads = Heads(network.dimensions, 4, 8, branches, pose_clusters=3, gender=True)
    others = [p for name, p in heads.named_parameters() if not name.startswith("clothes.")]
    student = Student(
        network, heads, torch.optim.Adam([*network.parameters(), *others], 1e-3),
        torch.optim.Adam(heads.clothes.parameters(), 1e-3),
        torch.eye(4, dtype=torch.bool).repeat_interleave(2, 1), Fabric(accelerator="cpu"), rules,
    )  # fmt: skip
    labels = torch.arange(8) % 4
    target = {"images": torch.randn(8, 3, 32, 16), "identity": labels, "clothes": 2 * labels,
              "gender": labels % 2, "pose": labels}  # fmt: skip
    return student, target, {"hq": torch.randn(4, 3, 32, 16), "lq": torch.randn(4, 3, 32, 16)}


@pytest.mark.parametrize("keep", [False, True])
def test_a_tad_step_moves_what_it_should(keep: bool) -> None:
    student, target, external = student_and_batches(StepRules(keep_zero_gradients=keep))
    teacher = build_base(ModelConfig("resnet10t", "none", (8, 8, 8, 8), 8)).eval()
    row = ROWS["rlq"]
    cap = step_changes(student, lambda: cap_step(student, target, row.terms, True))
    assert (cap["change"] > 0).all()
    tad = step_changes(student, lambda: tad_step(student, teacher, external, row.tad_terms))
    still = {"pose branch", "pose head", "gender head", "clothes classifier"}
    without_gradient = still - {"clothes classifier"}
    assert set(tad.index[~tad["gradient"]]) == without_gradient
    assert set(tad.index[tad["change"] == 0]) == ({"clothes classifier"} if keep else still)
    assert tad.loc["pose branch", "batch_statistics"]


# ------------------------------------------------------------------------------------ severity


def test_dials_go_from_mild_to_strong_within_the_range() -> None:
    for kind, (name, _) in severity.DIALS.items():
        settings = severity.dial_settings(SMALL_INPUT_SEVERITY, kind, 4)
        low, high = getattr(SMALL_INPUT_SEVERITY, name)
        values = [value for value, _ in settings]
        assert {values[0], values[-1]} == {low, high} and len(set(values)) == 4
        assert (values[0] > values[-1]) == (kind == "pixelation")
        assert all(getattr(setting, name) == (value, value) for value, setting in settings)


def test_some_queries_spread_over_identities(tiny_benchmark: Benchmark) -> None:
    query = tiny_benchmark["query"]
    mask = severity.some_queries(query, 6)
    counts = np.unique(query.identities[mask], return_counts=True)[1]
    assert mask.sum() == 6 and len(counts) == 4 and counts.max() - counts.min() <= 1


def test_damaged_images_have_that_damage(tiny_benchmark: Benchmark) -> None:
    config = load_profile("smoke")
    query = tiny_benchmark["query"]
    value, setting = severity.dial_settings(SMALL_INPUT_SEVERITY, "pixelation", 4)[-1]
    images = severity.damaged_images(query, "pixelation", setting, config)
    assert np.array_equal(images.source(0), pixelate(images.store[0], int(value)))


# ---------------------------------------------------------------------- a whole run, then dials


@pytest.fixture(scope="module")
def finished(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = load_profile(
        "smoke",
        {
            "runtime.results": str(tmp_path_factory.mktemp("results")), "training.steps": 2,
            "data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe),
            "data.identities": 3, "row": "base",
        },
    )  # fmt: skip
    train_and_evaluate(config, progress=False)
    return config


def test_present_runs_are_found_without_weights_and_missing_rows_left_out(finished: Config) -> None:
    folder = RunFolder.of(finished)
    (folder.path / "weights-last.safetensors").rename(folder.path / "aside")
    try:
        found = comparison.measured_runs(finished, ("base", "rlq"))
    finally:
        (folder.path / "aside").rename(folder.path / "weights-last.safetensors")
    assert {row: [f.path for f in folders] for row, folders in found.items()} == {
        "base": [folder.path]
    }
    other = with_overrides(finished, {"training.steps": 3})
    assert comparison.measured_runs(other, ("base",)) == {}
    assert set(comparison.per_query_tables(found)["base"]["seed"]) == {finished.seed}


def test_dials_start_at_the_untouched_image(finished: Config, tiny_benchmark: Benchmark) -> None:
    folder = RunFolder.of(finished)
    network = load_network(folder)
    benchmark = Benchmark(
        "tiny", tiny_benchmark.root,
        {name: tiny_benchmark[name].first_identities(3) for name in ("query", "gallery")}, True,
    )  # fmt: skip
    dials = severity.turn_dials(
        {"base": (folder.features(), network)}, benchmark, finished, machine(finished), 2, 100
    )
    assert len(dials) == 3 * 3
    start = dials[dials["level"] == 0]
    assert start["cosine"].tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    metrics = folder.metrics().query("query == 'HQ' and protocol == 'CC' and rule == 'last'")
    assert start["rank1"].to_numpy() == pytest.approx(metrics["rank1"].item())
    assert (dials.loc[dials["level"] > 0, "cosine"] < 1).all()


# ------------------------------------------------------------------------------------- figures


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return {"base": whole_table(0), "rlq": whole_table(0, shift=0.3), "cal": whole_table(50)}


def test_figures_are_signed_as_synthetic() -> None:
    figure = style.sign(plt.figure(), load_profile("smoke"))
    assert "synthetic" in figure.get_supxlabel()
