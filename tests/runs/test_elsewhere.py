"""Every use of a network on a device that isn't the CPU's: nothing stays behind, nothing mixes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from elsewhere import ELSEWHERE, Elsewhere, MixedDevices, There, elsewhere
from lightning_fabric import Fabric, fabric
from lightning_fabric.accelerators import CPUAccelerator
from lightning_fabric.strategies import SingleDeviceStrategy
from networks import build_base

from rlqkit.config import Config, ModelConfig, load_profile, with_overrides
from rlqkit.data.loaders import evaluation_images, load_benchmark
from rlqkit.evaluation.descriptors import extract_descriptors
from rlqkit.evaluation.protocol import describe_images
from rlqkit.evaluation.severity import turn_dials
from rlqkit.method.training import Phase, PlannedPhase, Training
from rlqkit.report.figures.attributes import branch_features
from rlqkit.runs import device
from rlqkit.runs.experiment import evaluate, load_network, prepare, resolve, train_and_evaluate
from rlqkit.runs.folder import RunFolder
from rlqkit.runs.inspection import one_step
from wardrobe.calibration import severity_curves
from wardrobe.cues import identity_cues


class AnyDevice(CPUAccelerator):
    """Lightning's, without its look at the device's name."""

    def setup_device(self, device: torch.device) -> None:
        pass


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    """Whoever asks for a machine gets the device that isn't there."""

    def launch(*_: Any, **__: Any) -> Fabric:
        return Fabric(strategy=SingleDeviceStrategy(ELSEWHERE, AnyDevice()))

    monkeypatch.setattr(device, "launch_fabric", launch)
    optimiser = sys.modules["torch.optim.optimizer"]
    fused = ["meta", "cpu", "cuda"]  # Adam asks whether a device has fused kernels
    monkeypatch.setattr(optimiser, "_get_fused_kernels_supported_devices", fused.copy)
    monkeypatch.setattr(fabric, "_has_meta_device_parameters_or_buffers", lambda _: False)
    with elsewhere() as mode:
        yield mode


pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")


def smoke(data: Path, results: Path, **changes: Any) -> Config:
    values = {"data.root": str(data), "data.external_root": str(data), "row": "rlq"}
    values |= {"runtime.results": str(results), "training.precision": "32-true"}
    values |= {"training.steps": 6, "teacher.steps": 3}
    return load_profile("smoke", values | {k.replace("__", "."): v for k, v in changes.items()})


@pytest.fixture(scope="module")
def finished(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The whole method, trained on the CPU, with features, weights and checkpoint."""
    return train_and_evaluate(smoke(tiny_wardrobe, tmp_path_factory.mktemp("cpu")), progress=False)


def test_the_double_refuses_a_mixture(there: Elsewhere) -> None:
    network = build_base(ModelConfig("resnet10t", "none", (8, 8, 8, 8), 8)).to(ELSEWHERE)
    images = torch.zeros(2, 3, 32, 16)
    with pytest.raises(MixedDevices):
        network(images)
    features = network(images.to(ELSEWHERE))
    assert isinstance(features["branch1"], There)
    assert there.reads == 0
    assert np.isfinite(features["branch1"].sum().item()) and there.reads == 1


def test_training_validation_and_evaluation_are_those_of_the_cpu(
    finished: RunFolder, tiny_wardrobe: Path, tmp_path: Path, there: Elsewhere
) -> None:
    """Teacher and student, from the first step to the metrics: same numbers, other device."""
    run = train_and_evaluate(smoke(tiny_wardrobe, tmp_path), progress=False)
    mine, theirs = (folder.history().drop(columns="seconds") for folder in (run, finished))
    pd.testing.assert_frame_equal(mine, theirs)
    pd.testing.assert_frame_equal(run.metrics(), finished.metrics())


def test_a_resumed_training_and_an_evaluation_anew(
    finished: RunFolder, there: Elsewhere, tmp_path: Path
) -> None:
    """Checkpoint and weights are read on the CPU and carried over."""
    run = RunFolder(Path(shutil.copytree(finished.path.parents[1], tmp_path / "smoke")))
    run = RunFolder(run.path / "runs" / finished.path.name)
    (run.path / "metrics.json").unlink()
    config = with_overrides(finished.config(), {"runtime.results": str(tmp_path)})
    assert train_and_evaluate(config, progress=False).path == run.path
    pd.testing.assert_frame_equal(run.metrics(), finished.metrics())
    again = evaluate(run).metrics
    wanted = run.metrics().query("rule == 'last'")
    np.testing.assert_allclose(again["mAP"], wanted["mAP"].to_numpy())


@pytest.mark.parametrize("kind", ["tad", "cap"])
def test_steps_read_nothing_back(
    kind: Phase, tiny_wardrobe: Path, tmp_path: Path, there: Elsewhere
) -> None:
    """A number read in a step makes the processor wait; a phase reads each term once."""
    training = prepared(smoke(tiny_wardrobe, tmp_path))
    training.validate = None
    training.phases = [PlannedPhase(epoch, kind, 1) for epoch in range(4)]
    step = training._step
    reads = []

    def watched(*given: Any) -> Any:
        before = there.reads
        values = step(*given)
        reads.append(there.reads - before)
        return values

    training._step = watched  # type: ignore[method-assign]
    training.run(progress=False)
    assert reads == [0, 0, 0, 0]


def prepared(config: Config) -> Training:
    """A training with an untrained teacher."""
    teacher = build_base(config.model).eval().requires_grad_(False)
    return prepare(resolve(config), teacher)


@pytest.mark.parametrize("kind", ["tad", "cap"])
def test_inspection(kind: Phase, tiny_wardrobe: Path, tmp_path: Path, there: Elsewhere) -> None:
    table = one_step(prepared(smoke(tiny_wardrobe, tmp_path)), kind)
    assert table.loc["stem", "batch_statistics"] and table.loc["identity head o1", "change"] > 0


def test_a_network_left_on_the_cpu_is_taken_along(finished: RunFolder, there: Elsewhere) -> None:
    """``load_network`` gives one on the CPU; descriptors, queries and dials work with it."""
    config = finished.config()
    fabric, benchmark = resolve(config).fabric, load_benchmark(config)
    images = evaluation_images(benchmark["query"], "HQ", config)
    got = extract_descriptors(load_network(finished), images, fabric, config)
    anew = describe_images(load_network(finished), benchmark["query"], "HQ", config, fabric)
    np.testing.assert_allclose(got, anew, rtol=1e-6)
    np.testing.assert_allclose(got, finished.features()["query", "HQ"], atol=2e-3)
    networks = {"RLQ": (finished.features(), load_network(finished))}
    table = turn_dials(networks, benchmark, config, fabric, levels=2, queries=8)
    assert table["cosine"].between(-1, 1.001).all() and len(table) == 3 * 3


def test_what_the_notebooks_ask_of_networks(finished: RunFolder, there: Elsewhere) -> None:
    benchmark = load_benchmark(finished.config())
    assert np.isfinite(identity_cues(finished, benchmark)["mAP"]).all()
    curves = severity_curves([finished], levels=2, queries=8)
    assert curves["rank1"].between(0, 1).all()
    found = branch_features(finished, benchmark["query"], "HQ")
    assert all(np.isfinite(f).all() and len(f) == len(benchmark["query"]) for f in found.values())
