"""Every figure of a run can be computed again: from per query results, features, weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rlqkit.config import Config, load_profile, with_overrides
from rlqkit.data.imageset import EVERY_IMAGE
from rlqkit.data.loaders import evaluation_images, load_benchmark
from rlqkit.errors import RlqkitError
from rlqkit.evaluation import protocol
from rlqkit.evaluation.descriptors import extract_descriptors
from rlqkit.evaluation.metrics import PROTOCOLS, evaluate_distances
from rlqkit.evaluation.protocol import (
    HQ,
    LQ,
    MIXED,
    Evaluation,
    describe_images,
    headline_collapse,
    measure,
    summarise,
)
from rlqkit.method.degradations import KINDS
from rlqkit.runs import experiment
from rlqkit.runs.device import launch_fabric
from rlqkit.runs.experiment import load_network, train_and_evaluate
from rlqkit.runs.folder import RunFolder

FIGURES = ["rank1", "rank5", "rank10", "mAP", "queries", "skipped"]
KEYS = ["query", "gallery", "protocol"]


def smoke_config(data: Path, results: Path, **changes: object) -> Config:
    changes = {"data__root": str(data), "data__external_root": str(data), "row": "cap", **changes}
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    return load_profile("smoke", overrides | {"runtime.results": str(results)})


@pytest.fixture(scope="module")
def finished(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of CAP: read only."""
    return train_and_evaluate(
        smoke_config(tiny_wardrobe, tmp_path_factory.mktemp("results")), progress=False
    )


def of_rule(table: pd.DataFrame, rule: str) -> pd.DataFrame:
    return table[table["rule"] == rule].set_index(KEYS).sort_index()[FIGURES]


def test_every_condition_is_there(finished: RunFolder) -> None:
    metrics = finished.metrics()
    conditions = [(HQ, HQ), *((kind, HQ) for kind in KINDS), (MIXED, MIXED), (LQ, HQ)]
    wanted = {(rule, *c, p) for rule in ("last", "best_validation") for c in conditions
              for p in (*PROTOCOLS, EVERY_IMAGE)}  # fmt: skip
    found = set(metrics[["rule", *KEYS]].itertuples(index=False, name=None))
    assert found == wanted and len(metrics) == len(wanted)
    figures = metrics[["rank1", "rank5", "rank10", "mAP"]]
    assert ((figures >= 0) & (figures <= 1)).all(axis=None)
    assert (metrics["rank1"] <= metrics["rank5"]).all()
    assert (metrics["rank5"] <= metrics["rank10"]).all()
    for everybody, images in ((False, 16), (True, 32)):
        some = metrics[metrics["protocol"].eq(EVERY_IMAGE) == everybody]
        assert set(some.loc[some["query"] != LQ, "queries"]) == {images}
        assert set(some.loc[some["query"] == LQ, "queries"]) == {3 * images}


@pytest.mark.parametrize("rule", ["last", "best_validation"])
def test_metrics_follow_from_per_query(finished: RunFolder, rule: str) -> None:
    """Means over queries, written out here; the pooled condition over all three kinds."""
    per_query = finished.per_query()
    mine = per_query[per_query["rule"] == rule]
    mine = pd.concat([mine, mine[mine["query"].isin(KINDS)].assign(query=LQ)])
    wanted = {}
    for key, group in mine.groupby(KEYS):
        valid = group[group["first_hit"] >= 0]
        ranks = [sum(valid["first_hit"] < k) / len(valid) for k in (1, 5, 10)]
        mean = sum(valid["average_precision"]) / len(valid)
        wanted[key] = [*ranks, mean, len(group), len(group) - len(valid)]
    table = pd.DataFrame.from_dict(wanted, orient="index", columns=FIGURES)
    table.index = pd.MultiIndex.from_tuples(table.index, names=KEYS)
    pd.testing.assert_frame_equal(
        of_rule(finished.metrics(), rule), table.sort_index(), check_dtype=False, rtol=1e-12
    )


def test_pooled_lq_is_the_mean_of_the_kinds(finished: RunFolder) -> None:
    """As many valid queries in each kind, so pooling is a plain mean."""
    table = of_rule(finished.metrics(), "last")
    for rule in PROTOCOLS:
        pooled = table.loc[(LQ, HQ, rule)]
        kinds = pd.DataFrame([table.loc[(kind, HQ, rule)] for kind in KINDS])
        for figure in ("rank1", "rank5", "rank10", "mAP"):
            assert pooled[figure] == pytest.approx(kinds[figure].mean(), abs=1e-12)
        assert pooled["queries"] == kinds["queries"].sum()


def test_metrics_follow_from_the_saved_features(finished: RunFolder) -> None:
    """Plain cosine distances of what features.safetensors holds, in 16 bits."""
    features, benchmark = finished.features(), load_benchmark(finished.config())
    labels = [benchmark[role].metric_arrays() for role in ("query", "gallery")]
    table = of_rule(finished.metrics(), "last")
    for query, gallery in [(HQ, HQ), *((kind, HQ) for kind in KINDS), (MIXED, MIXED)]:
        q, g = features["query", query], features["gallery", gallery]
        for rule in PROTOCOLS:
            result = evaluate_distances(1 - q @ g.T, *labels, rule)
            assert result.mAP == pytest.approx(table.loc[(query, gallery, rule)]["mAP"], abs=0.02)
            again = measure(features, benchmark).metrics
            mine = again.set_index(KEYS).loc[(query, gallery, rule)]
            assert mine["mAP"] == pytest.approx(result.mAP, abs=1e-6)
            assert mine["rank1"] == pytest.approx(result.rank1)


def test_features_are_unit_and_complete(finished: RunFolder) -> None:
    features = finished.features()
    assert set(features) == {
        (role, quality)
        for role, quality in [("query", HQ), ("gallery", HQ), ("query", MIXED), ("gallery", MIXED)]
    } | {(role, kind) for role in ("query", "gallery") for kind in KINDS}
    for values in features.values():
        assert values.shape == (16, 2 * 2 * 16) and values.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, rtol=1e-6)
    assert not np.allclose(features["query", HQ], features["query", "pixelation"], atol=1e-3)


@pytest.mark.parametrize("rule", ["last", "best_validation"])
def test_weights_give_the_same_metrics_again(finished: RunFolder, rule: str) -> None:
    again = experiment.evaluate(finished, rule).metrics
    wanted = finished.metrics().query("rule == @rule").drop(columns=["rule", "epoch"])
    pd.testing.assert_frame_equal(
        again.reset_index(drop=True), wanted.reset_index(drop=True), check_exact=True
    )


def test_rules_evaluate_their_own_weights(finished: RunFolder) -> None:
    """The best validation epoch is the one that the history says."""
    history = finished.history()
    best = history.loc[history["best_validation"].idxmax(), "epoch"]
    metrics = finished.metrics()
    epochs = metrics.groupby("rule")["epoch"].unique()
    assert epochs["best_validation"].tolist() == [best]
    assert epochs["last"].tolist() == [history["epoch"].iloc[-1]]


def test_same_seed_twice_gives_the_same_files(
    finished: RunFolder, tiny_wardrobe: Path, tmp_path: Path
) -> None:
    again = train_and_evaluate(smoke_config(tiny_wardrobe, tmp_path), progress=False)
    assert again.path.name == finished.path.name
    for name in ("metrics.json", "per_query.parquet", "features.safetensors"):
        assert (again.path / name).read_bytes() == (finished.path / name).read_bytes(), name


def test_lq_copies_do_not_depend_on_row_or_training_seed(
    tiny_wardrobe: Path, tmp_path: Path
) -> None:
    one = smoke_config(tiny_wardrobe, tmp_path)
    same = smoke_config(tiny_wardrobe, tmp_path, row="tad", seed=9, training__steps=99)
    other = smoke_config(tiny_wardrobe, tmp_path, evaluation__degradation_seed=2)
    query = load_benchmark(one)["query"]
    for quality in (*KINDS, MIXED):
        first, second, third = (
            torch.stack([evaluation_images(query, quality, c)[i]["images"] for i in range(16)])
            for c in (one, same, other)
        )
        assert torch.equal(first, second) and not torch.equal(first, third)


def test_descriptor_is_image_plus_mirror(finished: RunFolder) -> None:
    """Summed, then normalised over the whole vector; batch size and mode leave it alone."""
    config = finished.config()
    network, query = load_network(finished), load_benchmark(config)["query"]
    images = evaluation_images(query, HQ, config)
    batch = torch.stack([images[i]["images"] for i in range(len(images))])
    with torch.no_grad():
        f = network(batch), network(batch.flip(3))
    total = sum(torch.cat([part["branch1"], part["branch2"]], dim=1) for part in f)
    assert isinstance(total, torch.Tensor)
    wanted = total / total.norm(dim=1, keepdim=True)
    got = describe_images(network, query, HQ, config, launch_fabric(config))
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    network.train()
    small = extract_descriptors(
        network, images, launch_fabric(config), with_overrides(config, {"evaluation.batch": 3})
    )
    np.testing.assert_allclose(small, got, atol=1e-5)
    assert network.training  # put back as it was
    broken: Any = [images[0], {}]  # the second has no image
    with pytest.raises(KeyError):
        extract_descriptors(
            network, broken, launch_fabric(config), with_overrides(config, {"evaluation.batch": 1})
        )
    assert network.training  # after a failure too


def test_unlabelled_query_is_counted_not_averaged() -> None:
    table = pd.DataFrame(
        {
            "query": HQ, "gallery": HQ, "protocol": "CC",
            "average_precision": [0.5, np.nan, 1.0, 0.25],
            "first_hit": [1, -1, 0, 9],
        }
    )  # fmt: skip
    (record,) = summarise(table).to_dict(orient="records")
    assert record == {
        "query": HQ, "gallery": HQ, "protocol": "CC", "rank1": pytest.approx(1 / 3),
        "rank5": pytest.approx(2 / 3), "rank10": 1.0, "mAP": pytest.approx(1.75 / 3),
        "queries": 4, "skipped": 1,
    }  # fmt: skip


def test_unknown_quality_and_severity(tiny_wardrobe: Path, tmp_path: Path) -> None:
    config = smoke_config(tiny_wardrobe, tmp_path)
    query = load_benchmark(config)["query"]
    with pytest.raises(RlqkitError, match="fog"):
        evaluation_images(query, "fog", config)
    for key in ("quality.severity", "quality.mix"):
        with pytest.raises(RlqkitError, match="storm"):
            evaluation_images(query, MIXED, with_overrides(config, {key: "storm"}))


def test_an_epoch_that_two_rules_choose_is_measured_once(
    tiny_wardrobe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Evaluation] = []

    def evaluate_network(*arguments: Any) -> Evaluation:
        measured.append(protocol.evaluate_network(*arguments))
        return measured[-1]

    monkeypatch.setattr(experiment, "evaluate_network", evaluate_network)
    config = smoke_config(tiny_wardrobe, tmp_path, training__steps=3, training__evaluations=1)
    metrics = experiment.train_and_evaluate(config, progress=False).metrics()
    assert len(measured) == 1 and set(metrics["rule"]) == {"last", "best_validation"}
    pd.testing.assert_frame_equal(of_rule(metrics, "last"), of_rule(metrics, "best_validation"))


def test_weights_that_differ_are_measured_apart() -> None:
    one = {"a": torch.zeros(2), "n": torch.tensor(3)}
    assert experiment._same_weights(one, {k: v.clone() for k, v in one.items()})
    assert not experiment._same_weights(one, one | {"a": torch.tensor([0.0, 1e-7])})
    assert not experiment._same_weights(one, {"a": one["a"]})


def test_queries_of_one_camera_cannot_say_who_lies_beside_whom(finished: RunFolder) -> None:
    """A neighbour comes from another camera; where there is none, a run keeps no collapse."""
    benchmark, features = load_benchmark(finished.config()), finished.features()
    assert headline_collapse(features, benchmark) is not None
    query = benchmark["query"]
    single = replace(query, table=query.table.assign(camera=0))
    alone = replace(query, table=query.table.assign(identity=0))
    for images in (single, alone):
        sets = benchmark.sets | {"query": images}
        assert headline_collapse(features, replace(benchmark, sets=sets)) is None
