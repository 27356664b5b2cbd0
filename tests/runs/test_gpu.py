"""What only a GPU can show: the same bits twice, kills survived, arithmetics, memory as counted.

Skipped where there is none; test_device.py and test_elsewhere.py say what can be said without.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from devices import needs_gpu
from scripts import benchmark_script

from rlqkit.config import Config, load_profile
from rlqkit.method.training import Training
from rlqkit.runs.experiment import evaluate, load_network, train_and_evaluate
from rlqkit.runs.folder import RunFolder

pytestmark = needs_gpu
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
FILES = (
    "metrics.json", "per_query.parquet", "features.safetensors", "weights-last.safetensors",
    "weights-best_validation.safetensors",
)  # fmt: skip


def smoke(data: Path, results: Path, precision: str) -> Config:
    values = {"data.root": str(data), "data.external_root": str(data), "row": "rlq"}
    values |= {"runtime.results": str(results), "training.precision": precision}
    values |= {"training.steps": 24, "teacher.steps": 3, "training.batch": 8}
    return load_profile("smoke", values)


def same_bits(one: RunFolder, other: RunFolder) -> None:
    for file in FILES:
        assert (one.path / file).read_bytes() == (other.path / file).read_bytes(), file
    mine, theirs = (run.history().drop(columns="seconds") for run in (one, other))
    pd.testing.assert_frame_equal(mine, theirs)


@pytest.fixture(scope="module", params=PRECISIONS)
def finished(request: Any, tiny_wardrobe: Path, tmp_path_factory: Any) -> tuple[str, RunFolder]:
    """The whole method in one arithmetic, on the GPU."""
    results = tmp_path_factory.mktemp(request.param)
    run = train_and_evaluate(smoke(tiny_wardrobe, results, request.param), progress=False)
    assert run.environment()["accelerator"] == torch.cuda.get_device_name()
    assert run.precision() == request.param
    return request.param, run


def test_the_same_training_twice(
    finished: tuple[str, RunFolder], tiny_wardrobe: Path, tmp_path: Path
) -> None:
    precision, run = finished
    again = train_and_evaluate(smoke(tiny_wardrobe, tmp_path, precision), progress=False)
    same_bits(run, again)


@pytest.mark.parametrize("phases", [1, 2, 3])
def test_a_training_that_stopped_goes_on_to_the_same_bits(
    phases: int,
    finished: tuple[str, RunFolder],
    tiny_wardrobe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Random states of the GPU, moments and scaler of the arithmetic are in the checkpoint."""
    precision, run = finished
    config = smoke(tiny_wardrobe, tmp_path, precision)
    close, closed = Training._close_phase, []

    def stopping(self: Training, index: int) -> Any:
        record = close(self, index)
        if self.row.name == "rlq":
            closed.append(index)
            if len(closed) == phases:
                raise KeyboardInterrupt
        return record

    monkeypatch.setattr(Training, "_close_phase", stopping)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(config, progress=False)
    monkeypatch.undo()
    same_bits(run, train_and_evaluate(config, progress=False))


def test_evaluated_anew_on_the_gpu_and_on_the_processor(finished: tuple[str, RunFolder]) -> None:
    """Same metrics from the weights; float32 features are the processor's but for rounding."""
    precision, run = finished
    wanted = run.metrics().query("rule == 'last'")["mAP"].to_numpy()
    np.testing.assert_allclose(evaluate(run).metrics["mAP"], wanted)
    if precision == "32-true":
        network = load_network(run).eval()
        images = torch.randn(4, 3, 32, 16)
        with torch.no_grad():
            here = network.descriptor(images)
            there = network.cuda().descriptor(images.cuda()).cpu()
        torch.testing.assert_close(here, there, rtol=1e-2, atol=1e-2)


# ------------------------------------------------------------------------------ the paper's sizes


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("row", ["base", "cap", "tad", "rlq"])
def test_a_step_of_the_papers_size(row: str, precision: str) -> None:
    """Computed in each arithmetic, in no more memory than the plan counted."""
    gpu = benchmark_script("gpu")
    measured, counted = gpu.measure(row, precision, steps=2), gpu.counted_gb(row, precision)
    assert math.isfinite(measured["loss"])
    assert counted / 4 < measured["peak_gb"] <= counted
