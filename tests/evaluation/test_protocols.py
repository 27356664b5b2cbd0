"""Every test of a benchmark from one feature dump: shots, splits, junk rules, headline."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from published_trees import PRCC_TESTS, labelled, prcc_like, unit

from rlqkit import main_job
from rlqkit.config import Config, load_profile, with_overrides
from rlqkit.data import registry
from rlqkit.data.imageset import Benchmark, RetrievalTest
from rlqkit.data.loaders import load_benchmark
from rlqkit.errors import RlqkitError
from rlqkit.evaluation import intervals, protocol
from rlqkit.evaluation.metrics import chance_rank1, evaluate_features, single_shot_galleries
from rlqkit.evaluation.protocol import (
    HQ,
    LQ,
    MIXED,
    QUALITY_PAIRS,
    describe_images,
    headline,
    measure,
    selection_test,
)
from rlqkit.method.degradations import KINDS
from rlqkit.report import tables
from rlqkit.runs import experiment
from rlqkit.runs.device import machine
from rlqkit.runs.experiment import load_network
from rlqkit.runs.folder import RunFolder

QUALITIES = (HQ, *KINDS, MIXED)


def benchmark_of(tests: tuple[RetrievalTest, ...], **sets: Any) -> Benchmark:
    return Benchmark("hand-made", Path("nowhere"), sets, True, tests)


def hand_made_prcc() -> Benchmark:
    """Three people; A (camera 0, outfit 10 i) is the gallery, B wears it too, C other clothes."""
    return benchmark_of(
        PRCC_TESTS,
        gallery=labelled("gallery", [1, 1, 2, 2, 3], [0] * 5, [10, 10, 20, 20, 30]),
        query_sc=labelled("query_sc", [1, 2], [1, 1], [10, 20]),
        query_cc=labelled("query_cc", [1, 2, 3], [2, 2, 2], [11, 21, 31]),
    )


def random_dump(benchmark: Benchmark, seed: int = 0, size: int = 6) -> protocol.Features:
    """Other features for each split and quality, so that a mix-up can't go unseen."""
    rng = np.random.default_rng(seed)
    return {
        (split, quality): unit(rng.normal(size=(len(images), size)))
        for split, images in benchmark.sets.items()
        for quality in QUALITIES
    }


def line(metrics: pd.DataFrame, test: str, query: str = HQ, gallery: str = HQ) -> pd.Series:
    chosen = metrics.query("protocol == @test and query == @query and gallery == @gallery")
    assert len(chosen) == 1
    return chosen.iloc[0]


def by_sorting(
    q: np.ndarray, g: np.ndarray, query_ids: np.ndarray, gallery_ids: np.ndarray
) -> tuple[float, float]:
    """Rank-1 and mAP by sorting each row whole; nothing is junk."""
    hits, precisions = [], []
    for row, identity in zip(-(q @ g.T), query_ids, strict=True):
        correct = gallery_ids[np.argsort(row, kind="stable")] == identity
        places = np.flatnonzero(correct)
        hits.append(bool(correct[0]))
        precisions.append(np.mean([(n + 1) / (p + 1) for n, p in enumerate(places)]))
    return float(np.mean(hits)), float(np.mean(precisions))


# ---------------------------------------------------------------------------------- known answers


def test_prcc_by_hand() -> None:
    """Gallery directions and queries are chosen so that every rank can be read off.

    SC: both queries find their first image at rank 1; person 1's second image is last of five,
    person 2's second is next. CC: person 1 first meets a stranger, persons 2 and 3 hit at once.
    """
    e = np.eye(5)
    benchmark = hand_made_prcc()
    gallery = unit([e[0], e[3], e[1], e[1] + 0.1 * e[4], e[2]])
    sc = unit([e[0] + 0.1 * e[1] + 0.05 * e[2] - 0.5 * e[3], e[1]])
    cc = unit([e[2] + 0.5 * e[0] + 0.2 * e[3], e[1], e[2]])
    by_split = {"gallery": gallery, "query_sc": sc, "query_cc": cc}
    dump = {(s, q): by_split[s] for s in by_split for q in QUALITIES}
    metrics = measure(dump, benchmark).metrics

    found = line(metrics, "SC multi-shot")
    assert found["rank1"] == 1 and found["queries"] == 2
    assert found["mAP"] == pytest.approx(((1 + 2 / 5) / 2 + 1) / 2)
    found = line(metrics, "CC multi-shot")
    assert found["rank1"] == pytest.approx(2 / 3)
    # person 1: stranger e2 first, then own images at ranks 2 and 3; 2: ranks 1, 2; 3: rank 1
    assert found["mAP"] == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1 + 1) / 3)
    # one image a person: person 3's is always nearer to query 1 than person 1's own
    found = line(metrics, "CC single-shot")
    assert found["rank1"] == pytest.approx(2 / 3) and found["rank1_sd"] == pytest.approx(0)


def test_both_shots_are_reported_by_name_in_every_quality() -> None:
    benchmark = hand_made_prcc()
    metrics = measure(random_dump(benchmark), benchmark).metrics
    conditions = [*QUALITY_PAIRS, (LQ, HQ)]
    wanted = {(*c, t.name) for c in conditions for t in PRCC_TESTS}
    found = set(metrics[["query", "gallery", "protocol"]].itertuples(index=False, name=None))
    assert found == wanted and len(metrics) == len(wanted)
    single = metrics["protocol"].str.contains("single")
    assert (metrics.loc[single, "draws"] == 10).all() and metrics.loc[~single, "draws"].isna().all()
    assert list(metrics["protocol"].unique()) == [test.name for test in PRCC_TESTS]


@pytest.mark.parametrize("quality", QUALITY_PAIRS)
@pytest.mark.parametrize("test", PRCC_TESTS)
def test_against_a_loop(test: RetrievalTest, quality: tuple[str, str]) -> None:
    """Each test from the right splits and qualities; single-shot mean and sd over its galleries."""
    rng = np.random.default_rng(5)
    people = np.repeat(np.arange(12), 4)
    benchmark = benchmark_of(
        PRCC_TESTS,
        gallery=labelled("gallery", people.tolist(), [0] * 48, (10 * people).tolist()),
        query_sc=labelled("query_sc", people[::2].tolist(), [1] * 24, (10 * people[::2]).tolist()),
        query_cc=labelled("query_cc", rng.permutation(12).tolist(), [2] * 12, [999] * 12),
    )
    dump = random_dump(benchmark, 1)
    found = line(measure(dump, benchmark, 7).metrics, test.name, *quality)
    q, g = dump[test.query, quality[0]], dump[test.gallery, quality[1]]
    query_ids = benchmark[test.query].identities
    galleries = single_shot_galleries(people, test.draws, 7) or [np.arange(48)]
    each = np.array([by_sorting(q, g[c], query_ids, people[c]) for c in galleries])
    assert found[["rank1", "mAP"]].tolist() == pytest.approx(each.mean(axis=0).tolist())
    if test.draws:
        spread = each.std(axis=0, ddof=1).tolist()
        assert found[["rank1_sd", "mAP_sd"]].tolist() == pytest.approx(spread)
        assert min(spread) > 0


def test_single_shot_galleries() -> None:
    """One image of each identity, keyed by seed and number, every image in reach."""
    identity = np.array([5, 2, 2, 9, 5, 2, 9])
    draws = single_shot_galleries(identity, 200, seed=3)
    for chosen in draws:
        assert sorted(identity[chosen]) == [2, 5, 9] and (np.diff(chosen) > 0).all()
    seen = Counter(int(image) for chosen in draws for image in chosen)
    assert set(seen) == set(range(7))
    assert all(0.2 < seen[image] / 200 < 0.47 for image in (1, 2, 5))  # a third each
    again = single_shot_galleries(identity, 5, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(again, draws, strict=False))
    other = single_shot_galleries(identity, 200, seed=4)
    assert not all(np.array_equal(a, b) for a, b in zip(other, draws, strict=True))


def test_last_drops_nothing() -> None:
    """A camera of its own for every image: all images of the identity count, near twins too."""
    benchmark = benchmark_of(
        (
            RetrievalTest("general (val)", "val_query", "val_gallery"),
            RetrievalTest("general"),
        ),
        val_query=labelled("val_query", [1], [0], [0]),
        val_gallery=labelled("val_gallery", [1, 2, 1], [1, 2, 3], [0, 0, 0]),
        query=labelled("query", [1, 2, 3], [0, 1, 2], [0, 0, 0]),
        gallery=labelled("gallery", [1, 1, 2, 3, 2, 1], [3, 4, 5, 6, 7, 8], [0] * 6),
    )
    dump = random_dump(benchmark, 2)
    metrics = measure(dump, benchmark).metrics
    for test in benchmark.tests:
        q, g = dump[test.query, HQ], dump[test.gallery, HQ]
        labels = benchmark[test.query].identities, benchmark[test.gallery].identities
        found = line(metrics, test.name)
        assert found[["rank1", "mAP"]].tolist() == pytest.approx(by_sorting(q, g, *labels))
        assert found["skipped"] == 0
    assert headline(benchmark).name == protocol.headline_name(metrics) == "general"


def test_deepchange_drops_the_tracklet() -> None:
    """The tracklet stands in for the camera: its own frames are junk, another tracklet's count."""
    benchmark = benchmark_of(
        (RetrievalTest("general"),),
        query=labelled("query", [1, 2], [100, 200], [0, 0]),
        gallery=labelled("gallery", [1, 1, 2, 3], [100, 101, 200, 300], [0, 0, 0, 0]),
    )
    e = np.eye(4)
    # query 1: own tracklet first (junk), then the stranger, then its other tracklet
    query = unit([e[0] + 0.8 * e[3] + 0.5 * e[1], e[2]])
    dump = {("query", q): query for q in QUALITIES} | {("gallery", q): unit(e) for q in QUALITIES}
    evaluated = measure(dump, benchmark)
    found = line(evaluated.metrics, "general")
    assert (found["rank1"], found["rank5"], found["mAP"]) == (0, 1, 0.5)
    assert found["skipped"] == 1  # person 2 has its own tracklet alone
    hits = evaluated.per_query.query("query == 'HQ'")["first_hit"].tolist()
    assert hits == [1, -1]


def test_skipped_queries_of_a_single_shot_test() -> None:
    """A person who isn't in the gallery is skipped in every draw, and counted once."""
    tests = (RetrievalTest("one", draws=4),)
    benchmark = benchmark_of(
        tests,
        query=labelled("query", [1, 7], [1, 1], [0, 0]),
        gallery=labelled("gallery", [1, 1, 2], [0, 0, 0], [0, 0, 0]),
    )
    evaluated = measure(random_dump(benchmark), benchmark)
    found = line(evaluated.metrics, "one")
    assert (found["queries"], found["skipped"], found["draws"]) == (2, 1, 4)
    pooled = line(evaluated.metrics, "one", LQ)
    assert (pooled["queries"], pooled["skipped"]) == (6, 3)
    assert sorted(evaluated.per_query["draw"].unique()) == [1, 2, 3, 4]


# ----------------------------------------------------------------------------- one dump, headline


def test_features_are_extracted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark, calls = hand_made_prcc(), Counter[tuple[str, str]]()
    dump = random_dump(benchmark)

    def describe(_: Any, images: Any, quality: str, *__: Any) -> np.ndarray:
        split = images.name.rpartition("/")[2]
        calls[split, quality] += 1
        return dump[split, quality]

    monkeypatch.setattr(protocol, "describe_images", describe)
    config = load_profile("smoke", {"evaluation.gallery_seed": 9})
    nothing: Any = None
    evaluated = protocol.evaluate_network(nothing, benchmark, config, nothing)
    assert set(calls.values()) == {1}
    queries = {(s, q) for s in ("query_sc", "query_cc") for q in QUALITIES}
    assert set(calls) == queries | {("gallery", HQ), ("gallery", MIXED)}
    wanted = measure(dump, benchmark, 9).metrics
    pd.testing.assert_frame_equal(evaluated.metrics, wanted)
    assert not measure(dump, benchmark, 10).metrics.equals(wanted)


def test_what_epochs_are_chosen_by() -> None:
    benchmark = hand_made_prcc()
    assert selection_test(benchmark, "last") is None
    assert selection_test(benchmark, "best_test") == PRCC_TESTS[-1]
    chosen = selection_test(benchmark, "best_validation")
    assert chosen and (chosen.query, chosen.gallery, chosen.rule) == (
        "val_query", "val_gallery", "CC",
    )  # fmt: skip
    single = replace(benchmark, tests=(PRCC_TESTS[1],))
    chosen = selection_test(single, "best_test")
    assert chosen and chosen.draws == 0 and chosen.query == "query_sc"


def describe_by(dump: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors of a dump in place of a network's."""
    monkeypatch.setattr(
        protocol, "describe_images",
        lambda _, images, quality, *__: dump[images.name.rpartition("/")[2], quality],
    )  # fmt: skip


def test_selection_figures_are_the_headlines(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = hand_made_prcc()
    dump = random_dump(benchmark, 4)
    describe_by(dump, monkeypatch)
    test, nothing = selection_test(benchmark, "best_test"), None
    figures = protocol.selection_figures(nothing, benchmark, test, nothing, nothing)  # type: ignore[arg-type]
    wanted = line(measure(dump, benchmark).metrics, "CC multi-shot")
    assert figures == {"rank1": wanted["rank1"], "mAP": wanted["mAP"]}


@pytest.mark.parametrize("people", [1, 2])
def test_collapse_is_asked_of_several_validation_people(
    people: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One person has no strangers, but ranks and epochs are chosen all the same."""
    identity = list(range(people)) * 2
    benchmark = benchmark_of(
        PRCC_TESTS[-1:],
        val_query=labelled("val_query", identity, [0] * len(identity), [0] * len(identity)),
        val_gallery=labelled("val_gallery", identity, [1] * len(identity), [1] * len(identity)),
    )
    dump = random_dump(benchmark)
    describe_by(dump, monkeypatch)
    test, nothing = selection_test(benchmark, "best_validation"), None
    figures = protocol.validation_figures(nothing, benchmark, test, nothing, nothing)  # type: ignore[arg-type]
    assert {"rank1", "mAP", "lq_rank1", "lq_mAP"} <= figures.keys()
    assert ("lq_given_stranger" in figures) == (people > 1)


@pytest.mark.parametrize(
    ("camera", "clothes", "rules"),
    [(1, 1, {"general", "CC"}), (1, 0, {"general", "SC"}), (0, 1, set())],
)
def test_a_test_can_be_measured_where_some_query_has_a_match(
    camera: int, clothes: int, rules: set[str]
) -> None:
    """Person 1 before another camera, in other clothes, or neither; person 2 is never there."""
    benchmark = benchmark_of(
        PRCC_TESTS,
        query=labelled("query", [2, 1], [0, 0], [0, 0]),
        gallery=labelled("gallery", [3, 1], [camera] * 2, [clothes] * 2),
    )
    for rule in ("general", "SC", "CC"):
        test = RetrievalTest(rule, rule=rule)
        assert protocol.can_be_measured(benchmark, test) == (rule in rules)


def test_conditions_follow_the_headline() -> None:
    benchmark = hand_made_prcc()
    per_query = measure(random_dump(benchmark), benchmark).per_query
    for query, gallery, _ in intervals.CONDITIONS.values():
        chosen = intervals.select(per_query, (query, gallery, intervals.HEADLINE))
        assert set(chosen["protocol"]) == {"CC multi-shot"}
    table = intervals.interval_table({"base": per_query})
    assert set(table["test"]) == {"CC multi-shot"}
    single = intervals.select(per_query, (HQ, HQ, "CC single-shot"))
    scores = intervals.query_scores(single)
    assert len(scores) == 3 and len(single) == 30  # a query counts with its mean over galleries
    assert scores.mean() == pytest.approx(
        line(measure(random_dump(benchmark), benchmark).metrics, "CC single-shot")["rank1"]
    )


@pytest.mark.parametrize("protocol", ["general", "SC", "CC"])
def test_chance_is_what_random_features_reach(protocol: str) -> None:
    """Against random rankings of a small set with all kinds of junk, and as written out here."""
    rng = np.random.default_rng(0)
    identity, camera = rng.integers(0, 4, 30), rng.integers(0, 2, 30)
    clothes = 2 * identity + rng.integers(0, 2, 30)
    labels = identity, camera, clothes
    found = []
    for _ in range(66):
        features = unit(rng.normal(size=(60, 40)))
        found.append(
            evaluate_features(features[:30], features[30:], labels, labels, protocol).rank1
        )
    chance = chance_rank1(labels, labels, protocol)
    assert chance == pytest.approx(np.mean(found), abs=0.03) and 0.02 < chance < 0.6
    by_hand = []
    for i in range(30):
        same = identity == identity[i]
        alike = clothes == clothes[i]
        keep = {"general": True, "SC": alike, "CC": ~alike}[protocol]
        right = same & (camera != camera[i]) & keep
        if right.any():
            by_hand.append(right.sum() / (right | ~same).sum())
    assert chance == np.mean(by_hand)


# ------------------------------------------------------------------------------ a whole small pass


def paper_config(root: Path, results: Path, **changes: Any) -> Config:
    """The paper profile on a PRCC-like tree, shrunk until it takes seconds."""
    return load_profile(
        "paper",
        {
            "data.dataset": "prcc", "data.external": "wardrobe-v2", "data.external_root": str(root),
            "data.root": str(root), "data.height": 32, "data.width": 16, "data.workers": 0,
            "model.backbone": "resnet10t", "model.weights": "none", "model.channels": [8, 8, 8, 8],
            "model.stem_width": 8, "cap.clusters": 3, "training.epochs": 2, "training.batch": 8,
            "training.precision": "32-true", "teacher.epochs": 1, "teacher.batch": 8,
            "quality.severity": "small-input", "reproduce.rows": ["cal", "rlq"],
            "reproduce.seeds": [1], "row": "rlq", "runtime.results": str(results),
            "runtime.threads": 1, **changes,
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def passed(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A paper-profile pass without a validation split: teacher, CAL, RLQ; read only."""
    config = paper_config(tiny_wardrobe, tmp_path_factory.mktemp("results"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "load_published", lambda _, root, __: prcc_like(root))
        for row in ("cal", "rlq"):
            experiment.train_and_evaluate(with_overrides(config, {"row": row}), progress=False)
    return config


def test_pass_without_validation(passed: Config) -> None:
    """Selection by last and best_test, the teacher's last epoch; JSON without NaN."""
    folder = RunFolder.of(passed)
    assert set(folder.metrics()["rule"]) == {"last", "best_test"}
    records = json.loads((folder.path / "metrics.json").read_text(), parse_constant=pytest.fail)
    for record in records:
        assert ("rank1_sd" in record) == ("single" in record["protocol"])
    assert isinstance(next(r for r in records if "draws" in r)["draws"], int)
    (teacher,) = folder.path.parent.glob("teacher-*")
    assert set(RunFolder(teacher).metrics()["rule"]) == {"last"}
    assert {"query_sc", "query_cc", "gallery"} == {split for split, _ in folder.features()}
    history = folder.history()
    best = folder.metrics().query("rule == 'best_test' and protocol == 'CC multi-shot'")
    wanted = history["best_test"].max()
    found = best.query("query == 'HQ'")["mAP"].item()
    assert found == pytest.approx(wanted, abs=1e-6)  # chosen by the headline on the test itself


def test_tables_of_the_pass_say_no_result(passed: Config) -> None:
    files = {file.name: file for file in tables.write_tables(passed)}
    text = files["ablation_rank1_last.md"].read_text(encoding="utf-8")
    assert text.startswith("**NOT A RESULT: training: 2 epochs instead of 200")
    assert "train: 48 images, published 17896" in text and "query_cc: 8 images" in text
    assert "images of 32 x 16 instead of 384 x 192 px" in text and "no pretrained weights" in text
    assert "of the test CC multi-shot" in text and "Trained 2 epochs, the paper 200" in text
    for name, file in files.items():
        assert "NOT A RESULT" in file.read_text(encoding="utf-8"), name
    table = pd.read_csv(files["ablation_rank1_last.csv"], index_col="row")
    assert (table["status"] == "NOT A RESULT").all()
    metrics = RunFolder.of(passed).metrics().query("rule == 'last'")
    for test in PRCC_TESTS[:-1]:
        want = line(metrics, test.name)
        assert table.loc["RLQ", f"{test.name}, HQ"] == pytest.approx(100 * want["rank1"], abs=0.01)
        if test.draws:
            sd = table.loc["RLQ", f"{test.name}, HQ ± sd"]
            assert sd == pytest.approx(100 * want["rank1_sd"], abs=0.01)
    assert table.loc["RLQ", "HQ"] == pytest.approx(
        100 * line(metrics, "CC multi-shot")["rank1"], abs=0.01
    )
    assert " ± " in files["summary.md"].read_text(encoding="utf-8")


def test_queries_described_anew_are_those_of_the_headline(
    passed: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "load_published", lambda _, root, __: prcc_like(root))
    folder = RunFolder.of(passed)
    benchmark = load_benchmark(passed)
    query = benchmark[headline(benchmark).query]
    found = describe_images(load_network(folder), query, HQ, passed, machine(passed))
    np.testing.assert_allclose(found, folder.features()["query_cc", HQ], atol=2e-3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"evaluation.selection": ["last", "best_validation"]}, "leave it out"),
        ({"row": "teacher", "teacher.selection": "best_validation"}, "teacher.selection=last"),
    ],
)
def test_rule_without_its_split(
    tiny_wardrobe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Any, says: str
) -> None:
    """Refused before anything is trained, in one line that names the way out."""
    monkeypatch.setattr(registry, "load_published", lambda _, root, __: prcc_like(root))
    config = paper_config(tiny_wardrobe, tmp_path, **changes)
    if config.row == "teacher":
        config = with_overrides(config, {"evaluation.selection": ["last", "best_validation"]})
    with pytest.raises(RlqkitError, match="no val_query split") as caught:
        experiment.train_and_evaluate(config, progress=False)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("runs/*"))


def test_reproduce_on_a_published_data_set(
    passed: Config, broken_wardrobe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No checksums are asked of it, its settings are said, and the finished runs end in tables."""
    monkeypatch.setattr(registry, "load_published", lambda _, root, __: prcc_like(root))
    (broken_wardrobe / "SHA256SUMS").unlink()
    config = with_overrides(passed, {"data.root": str(broken_wardrobe)})
    said: list[str] = []
    folder = main_job.reproduce(config, notebooks=False, say=said.append)
    text = "\n".join(said)
    assert "data set prcc: 96 images\n" in text
    assert "data set wardrobe-v2: 128 images, checksums agree" in text
    assert "3 of 3 runs are finished already" in text and (folder / "tables/summary.md").is_file()
    assert "quality.mix = prcc" in text and "training.batch = 8 (yours, instead of 40)" in text
    assert "best_validation is left out" in text
