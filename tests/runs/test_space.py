"""Memory, disk and jobs of a plan, counted before anything runs: against what then lies on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import rlqkit, smoke_options

from rlqkit.config import ModelConfig, load_profile, with_overrides
from rlqkit.data.loaders import load_benchmark, load_external, target_data
from rlqkit.method.rows import find_row
from rlqkit.runs.backbone import build_network
from rlqkit.runs.costs import THROUGHPUT, Sizes, estimate, gpu_throughput, sizes_of
from rlqkit.runs.jobs import MARGIN, START_MINUTES, job_of
from rlqkit.runs.plan import planned_runs
from rlqkit.runs.space import clothes_classes, kept_numbers, space_of

SMALL = ModelConfig("resnet10t", "none", channels=(8, 16, 16, 16), stem_width=8)


def test_disk_is_what_a_run_writes(tiny_wardrobe: Path, tmp_path: Path) -> None:
    wider = {"training__steps": 3, "model__channels": "[16,32,64,64]"}
    given = smoke_options(tiny_wardrobe, tmp_path, **wider)
    assert rlqkit("train", *given, "--row", "cap").code == 0
    (folder,) = (tmp_path / "smoke" / "runs").iterdir()
    sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    config = load_profile(
        "smoke",
        {
            "row": "cap", "training.steps": 3, "model.channels": [16, 32, 64, 64],
            "data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe),
        },
    )  # fmt: skip
    space = space_of(config, sizes_of(config))
    assert space.checkpoint == pytest.approx(sizes["checkpoint.pt"], rel=0.1)
    kept = [size for name, size in sizes.items() if name.endswith(".safetensors")]
    assert space.kept == pytest.approx(sum(kept), rel=0.1)
    assert space.disk > sum(sizes.values())  # room for a checkpoint beside the one it replaces


@pytest.mark.parametrize("row", ["cal", "base-plain", "base", "rlq", "teacher"])
def test_clothes_classes_are_those_of_the_training(row: str, tiny_wardrobe: Path) -> None:
    config = load_profile(
        "smoke",
        {
            "row": row, "data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe),
            "data.identities": 0, "data.external_identities": 0,
        },
    )  # fmt: skip
    images = load_external(config) if row == "teacher" else load_benchmark(config)["train"]
    target = target_data(images, find_row(row), config)
    assert clothes_classes(config, sizes_of(config)) == target.clothes


def test_a_teacher_with_cap_has_recoloured_classes_of_its_own_people() -> None:
    """Every external image is a class, and each of 632 people has 81 recoloured ones."""
    sizes = Sizes(9576, 20208, 20208, {}, 20000, False, 77, 256, 632, {"train": 9576})
    paper = load_profile("paper", {"data.dataset": "ltcc"})
    for row, classes in (("teacher", 20208), ("teacher-cap", 20208 + 632 * 81)):
        assert clothes_classes(with_overrides(paper, {"row": row}), sizes) == classes


def test_an_average_is_one_more_network() -> None:
    sizes = Sizes(9576, 20208, 20208, {}, 20000, False, 77, 256, 632, {"train": 9576})
    plain, averaged = (
        space_of(load_profile("paper", {"data.dataset": "ltcc", "row": row}), sizes)
        for row in ("base-lq", "base-lq-average")
    )
    model = replace(load_profile("paper").model, weights="none")
    with torch.device("meta"):
        network = build_network(model, ("branch1", "branch2"))
    bytes_ = 4 * sum(tensor.numel() for tensor in network.state_dict().values())
    assert averaged.device - plain.device == averaged.checkpoint - plain.checkpoint == bytes_


def test_kept_numbers_are_those_of_a_real_pass() -> None:
    """Counted without numbers, and with them: what autograd saves for one image more."""
    network = build_network(SMALL, ("branch1", "branch2")).train()

    def saved(images: int) -> int:
        found: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            found[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = network(torch.rand(images, 3, 64, 32))
        total = sum(t.untyped_storage().nbytes() // t.element_size() for t in found.values())
        del outputs
        return total

    assert kept_numbers(SMALL, (64, 32), ("branch1", "branch2")) == saved(3) - saved(2)


def test_a_job_asks_for_what_its_run_needs() -> None:
    """On LTCC, whose sizes are published."""
    config = load_profile("paper", {"data.dataset": "ltcc", "reproduce.rows": ["base", "rlq"]})
    sizes = Sizes(9576, 20208, 20208, {}, 20000, False, 77, 256, 632, {"train": 9576})
    teacher, base, rlq = planned_runs(with_overrides(config, {"reproduce.seeds": [1]}))
    first, plain, whole = (
        job_of(run, sizes, "gpu", gpu_throughput()) for run in (teacher, base, rlq)
    )
    assert (first["after"], plain["after"], whole["after"]) == ([], [], [first["id"]])
    assert plain["gpus"] == 1 and plain["cpus"] == 1 + config.data.workers
    assert plain["gpu_memory_mb"] < whole["gpu_memory_mb"]
    hours = estimate(rlq, sizes, gpu_throughput()).hours
    assert whole["minutes"] == pytest.approx(START_MINUTES + MARGIN * 60 * hours, abs=1)

    two = job_of(with_overrides(rlq, {"training.processes": 2}), sizes, "gpu", gpu_throughput())
    assert two["gpus"] == 2 and two["memory_mb"] == pytest.approx(2 * whole["memory_mb"], abs=1)
    here = job_of(rlq, sizes, "cpu", 0.0)
    assert here["gpus"] == 0 and here["gpu_memory_mb"] == 0
    assert here["memory_mb"] > whole["memory_mb"]  # the network lies there too
    slow = estimate(rlq, sizes, THROUGHPUT).hours
    assert here["minutes"] == pytest.approx(START_MINUTES + MARGIN * 60 * slow, abs=1)


def test_checkpoint_on_ltcc_is_as_measured() -> None:
    """1.4 GB, as docs/training.md has it from a real one."""
    config = load_profile("paper", {"data.dataset": "ltcc", "row": "rlq"})
    sizes = Sizes(9576, 20208, 20208, {}, 20000, False, 77, 256, 632, {"train": 9576})
    assert space_of(config, sizes).checkpoint == pytest.approx(1.4e9, rel=0.05)
