"""Collapse by stage of the network and by severity: extraction, and what a built network shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from networks import build_base, build_cal, build_rlq

from rlqkit.config import Config, ModelConfig, load_profile
from rlqkit.data.imageset import Benchmark
from rlqkit.data.loaders import evaluation_images
from rlqkit.evaluation.collapse import collapse_intervals, person_sums
from rlqkit.evaluation.imaginary import one_point_a_quality, perfect, random_features
from rlqkit.evaluation.metrics import Labels
from rlqkit.evaluation.protocol import HQ
from rlqkit.evaluation.severity import dial_descriptors
from rlqkit.evaluation.stages import (
    collapse_by_stage,
    comparable,
    pooled_stages,
    stage_features,
)
from rlqkit.runs.device import machine

MODEL = ModelConfig(backbone="resnet10t", weights="none", channels=(4, 8, 8, 8), stem_width=4)


@pytest.fixture(scope="module")
def config(tiny_benchmark: Benchmark) -> Config:
    changes = {"data.root": str(tiny_benchmark.root), "data.height": 32, "data.width": 16}
    return load_profile("smoke", {**changes, "data.workers": 0, "evaluation.batch": 5})


@pytest.fixture(scope="module")
def fabric(config: Config) -> Fabric:
    return machine(config)


def test_stages_end_at_the_descriptor() -> None:
    network = build_rlq(MODEL).eval()
    images = torch.rand(3, 3, 32, 16)
    with torch.no_grad():
        stages, whole = pooled_stages(network, images), network.descriptor(images)
    assert list(stages) == [
        "stem", "layer1", "layer2", "branch1/layer3", "branch1/layer4", "branch1/f1",
        "branch2/layer3", "branch2/layer4", "branch2/f2",
    ]  # fmt: skip
    both = torch.cat([stages["branch1/f1"], stages["branch2/f2"]], dim=1)
    torch.testing.assert_close(both, whole)
    norm = network.pools["branch1"].norm
    torch.testing.assert_close(norm(stages["branch1/layer4"]), stages["branch1/f1"])


def test_stages_of_other_splits() -> None:
    images = torch.rand(2, 3, 32, 16)
    with torch.inference_mode():
        alone = pooled_stages(build_cal(MODEL).eval(), images)
        model = ModelConfig(
            backbone="resnet10t", weights="none", channels=(4, 8, 8, 8), stem_width=4,
            share_through="none",
        )  # fmt: skip
        apart = pooled_stages(build_base(model).eval(), images)
    assert list(alone)[-1] == "branch1/f1" and "stem" in alone
    assert list(apart)[:2] == ["branch1/stem", "branch1/layer1"] and "branch2/f2" in apart


def test_features_of_a_whole_set(config: Config, fabric: Fabric, tiny_benchmark: Benchmark) -> None:
    """In the set's order, whatever the batches, and the last stages are the descriptor."""
    network, query = build_base(MODEL).eval(), tiny_benchmark["query"]
    found = stage_features({"a": network}, evaluation_images(query, HQ, config), fabric, config)
    stages = found["a"]
    assert {len(values) for values in stages.values()} == {len(query)}
    with torch.inference_mode():
        items = evaluation_images(query, HQ, config)
        whole = network.descriptor(torch.stack([item["images"] for item in items])).numpy()
    both = np.concatenate([stages["branch1/f1"], stages["branch2/f2"]], axis=1)
    assert both == pytest.approx(whole, abs=1e-4)


def test_stages_are_compared_as_seen_from_hq() -> None:
    rng = np.random.default_rng(0)
    hq = {"layer1": rng.normal(5, [1, 2, 0], (400, 3)), "branch1/f1": rng.normal(5, 1, (400, 3))}
    found = comparable(hq, {name: values + [1, 2, 9] for name, values in hq.items()})
    one, other = found["layer1"]
    assert one.shape == (400, 2)  # a channel that never moves says nothing
    assert np.linalg.norm(one, axis=1) == pytest.approx(1, abs=1e-5)
    assert abs(one.mean()) < 0.1 and other.mean() > 0.3  # LQ keeps its shift
    assert found["branch1/f1"][0].mean() > 0.5  # f1 has its own batch norm and is left alone


def test_the_collapsing_stage_is_found() -> None:
    """A network whose trunk is healthy and whose branch 2 puts LQ on one point."""
    identity, camera = np.indices((30, 3)).reshape(2, -1)
    labels = Labels(identity, camera, np.zeros_like(identity))
    stages = {
        "layer1": perfect(identity), "branch1/f1": random_features(identity),
        "branch2/f2": one_point_a_quality(identity),
    }  # fmt: skip
    better = stages | {"branch2/f2": perfect(identity)}
    table = collapse_by_stage({"sick": stages, "well": better}, labels)
    told = table.set_index(["model", "stage", "measure"])["estimate"]
    assert told["sick", "layer1", "identity_purity"] > 0.7
    assert told["sick", "branch1/f1", "lq_given_stranger"] == pytest.approx(0.5, abs=0.15)
    assert told["sick", "branch2/f2", "lq_given_stranger"] == 1
    assert table.drop_duplicates("stage")[["branch", "depth"]].to_numpy().tolist() == [
        ["", 1], ["branch1", 5], ["branch2", 5],
    ]  # fmt: skip
    paired = collapse_by_stage(
        {"sick": stages, "well": better}, labels, ["identity_purity"], reference="sick"
    )
    assert paired.set_index("stage")["excludes_zero"].tolist() == [False, False, True]


def test_dials_describe_every_image_by_every_network(
    config: Config, fabric: Fabric, tiny_benchmark: Benchmark
) -> None:
    query = tiny_benchmark["query"]
    networks = {name: build_base(MODEL).eval() for name in ("one", "other")}
    found = dial_descriptors(networks, query, config, fabric, 2, ("pixelation", "out_of_focus"))
    assert [key[:2] for key in found] == [
        ("HQ", 0), ("pixelation", 1), ("pixelation", 2), ("out_of_focus", 1), ("out_of_focus", 2),
    ]  # fmt: skip
    wide = 2 * networks["one"].dimensions
    for described in found.values():
        assert {name: values.shape for name, values in described.items()} == {
            name: (len(query), wide) for name in networks
        }
        assert np.linalg.norm(described["one"], axis=1) == pytest.approx(1, abs=1e-5)
    hq, mild, strong = (described["one"] for described in list(found.values())[:3])
    cosines = [np.einsum("nd,nd->n", hq, lq).mean() for lq in (hq, mild, strong)]
    assert cosines[0] == pytest.approx(1, abs=1e-5) and 1 > cosines[1] > cosines[2]
    sums = person_sums(hq, strong, Labels(*query.metric_arrays()))
    assert len(collapse_intervals({"one": sums}, draws=50)) == 6
