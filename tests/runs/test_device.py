"""Device, arithmetic and threads, without a GPU: fake tensors refuse a mixture of devices.

Under torch's FakeTensorMode tensors have a device and a shape and no data. An operation on tensors
of two devices raises, and so does whatever reads a number back (``.item()``), which on a real GPU
would wait for it.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from networks import build_base, build_rlq
from torch._subclasses.fake_tensor import FakeTensorMode

from rlqkit.config import Config, ModelConfig, load_profile, with_overrides
from rlqkit.evaluation import descriptors
from rlqkit.method.network import Heads, Network
from rlqkit.method.rows import ROWS
from rlqkit.method.steps import CAP_TERMS, TAD_TERMS, StepRules, Student, cap_step, tad_step
from rlqkit.method.training import PlannedPhase, Training
from rlqkit.runs import checkpoint, device, workers
from rlqkit.runs.dry_run import plan_parts
from rlqkit.runs.experiment import prepare, resolve
from rlqkit.runs.folder import RunFolder

MODEL = ModelConfig("resnet10t", "none", (8, 8, 8, 8), 8)
GPU = torch.device("cuda", 0)
PEOPLE, CLOTHES, CLUSTERS = 4, 8, 3


class FakeFabric:
    """What a step needs of Fabric, on a GPU that isn't there."""

    device, world_size = GPU, 1

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """The engine wants a real device; what could mix devices has run by now."""
        if loss.device.type == "cuda":
            assert loss.requires_grad and loss.device == self.device
        else:
            loss.backward()

    def to_device(self, module: torch.nn.Module) -> torch.nn.Module:
        return module.to(self.device)


@pytest.fixture
def fake() -> Iterator[None]:
    """Modules that were built before, on the CPU, may be sent to the GPU that isn't there."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(before)


def fake_student(network: Network, heads: Heads, fabric: FakeFabric) -> Student:
    main = torch.optim.SGD([*network.parameters(), *heads.parameters()], lr=0.1)
    clothes = torch.optim.SGD(heads.clothes.parameters(), lr=0.1)
    positives = torch.zeros(PEOPLE, CLOTHES, dtype=torch.bool, device=GPU)
    return Student(network, heads, main, clothes, positives, fabric, StepRules())  # type: ignore[arg-type]


def batches() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    images = torch.zeros(8, 3, 32, 16, device=GPU)
    label = torch.zeros(8, dtype=torch.int64, device=GPU)
    names = ("identity", "clothes", "pose", "gender")
    return {"images": images} | dict.fromkeys(names, label), {"hq": images, "lq": images}


def parts() -> tuple[Network, Heads]:
    network, branches = build_rlq(MODEL), ROWS["rlq"].branch_names
    return network, Heads(network.dimensions, PEOPLE, CLOTHES, branches, CLUSTERS, gender=True)


def test_steps_mix_no_devices_and_read_nothing_back(fake: None) -> None:
    row, (network, heads), teacher = ROWS["rlq"], parts(), build_base(MODEL)
    with FakeTensorMode(allow_non_fake_inputs=True):
        student = fake_student(network.to(GPU), heads.to(GPU), FakeFabric())
        teacher = teacher.to(GPU).eval()
        cap, tad = batches()
        values = cap_step(student, cap, row.terms, adversarial=True)
        assert {"clothes", "accuracy", "total", *row.terms} == set(values)
        values |= tad_step(student, teacher, tad, row.tad_terms)
        assert all(value.device == GPU and not value.requires_grad for value in values.values())


def test_the_double_sees_a_mixture_and_a_read(fake: None) -> None:
    network, heads = parts()
    with FakeTensorMode(allow_non_fake_inputs=True):
        student = fake_student(network, heads.to(GPU), FakeFabric())
        with pytest.raises(Exception, match="device"):
            cap_step(student, batches()[0], ROWS["rlq"].terms, adversarial=True)
        with pytest.raises(Exception, match="_local_scalar_dense"):
            torch.zeros(1, device=GPU).item()


@pytest.mark.parametrize("row", ["cal", "base", "rlq"])
def test_descriptors_move_the_network_to_the_device(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """load_network gives a network on the CPU; whoever describes images with it moves it."""
    moved = []

    class Watching(FakeFabric):
        device = torch.device("cpu")

        def to_device(self, module: torch.nn.Module) -> torch.nn.Module:
            moved.append(module)
            return module

    network = build_base(MODEL)
    images: Any = [{"images": torch.zeros(3, 32, 16)}] * 3
    config = load_profile("smoke")
    found = descriptors.extract_descriptors(network, images, Watching(), config)  # type: ignore[arg-type]
    assert moved == [network] and found.shape == (3, 2 * network.dimensions)


# ---------------------------------------------------------------------------------- arithmetic


@pytest.fixture
def bf16_in_hardware(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A processor that multiplies bf16, and an empty cache."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setenv("RLQKIT_CACHE", str(tmp_path))
    monkeypatch.setenv(device.FOUND, "")
    return tmp_path


@pytest.mark.parametrize(
    ("slow", "fastest"), [("32-true", "bf16-mixed"), ("bf16-mixed", "32-true")]
)
def test_auto_is_what_is_faster_here_and_is_remembered(
    bf16_in_hardware: Path, monkeypatch: pytest.MonkeyPatch, slow: str, fastest: str
) -> None:
    trials = []

    def trial(precision: str) -> float:
        trials.append(precision)
        return 2.0 if precision == slow else 1.0

    monkeypatch.setattr(device, "time_trial", trial)
    config = load_profile("smoke", {"training.precision": "auto"})
    assert device.precision_in_force(config) == fastest
    assert device.precision_in_force(config) == fastest and len(trials) == 2
    (file,) = bf16_in_hardware.iterdir()
    assert json.loads(file.read_text())["precision"] == fastest
    file.write_text("{")  # a cache that is no JSON is found out again
    monkeypatch.setenv(device.FOUND, "")
    assert device.precision_in_force(config) == fastest and len(trials) == 4


def test_a_gpu_computes_alike_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/runs/test_gpu.py sees the bits, where there is a GPU; a processor needs nothing."""
    cudnn = torch.backends.cudnn
    for name in ("deterministic", "benchmark"):
        monkeypatch.setattr(cudnn, name, getattr(cudnn, name))  # restored afterwards
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    monkeypatch.setattr(device, "launch_fabric", lambda *_: None)
    device.machine(load_profile("smoke"))
    assert not torch.are_deterministic_algorithms_enabled() and not cudnn.deterministic
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    try:
        device.machine(load_profile("smoke"))
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert cudnn.deterministic and not cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # one's own choice stays
    finally:
        torch.use_deterministic_algorithms(False)


def test_bf16_must_pay(bf16_in_hardware: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 is the more exact one; a few percent, which may be chance, don't outweigh that."""
    monkeypatch.setattr(device, "time_trial", {"32-true": 1.0, "bf16-mixed": 0.95}.get)
    assert device.fastest_on_this_processor() == "32-true"


def test_a_cache_that_cannot_be_written_is_no_error(
    bf16_in_hardware: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the processes that are started from here don't try again: one answer for all rows."""
    (bf16_in_hardware / "file").write_text("")
    monkeypatch.setenv("RLQKIT_CACHE", str(bf16_in_hardware / "file" / "inside"))
    answers = iter([2.0, 1.0, 1.0, 2.0])
    monkeypatch.setattr(device, "time_trial", lambda precision: next(answers))
    found = [device.fastest_on_this_processor() for _ in range(2)]
    assert found == ["bf16-mixed", "bf16-mixed"]
    assert os.environ[device.FOUND] == "bf16-mixed"


def test_processes_that_train_together_make_no_trials(
    bf16_in_hardware: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "processes_started", lambda: 2)
    monkeypatch.delattr(device, "time_trial")
    config = load_profile("smoke", {"training.precision": "auto"})
    assert device.precision_in_force(config) == "32-true"


def test_the_trial_moves_nobodys_draws() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    assert device.time_trial("32-true") > 0
    torch.testing.assert_close(torch.rand(4), wanted, rtol=0, atol=0)


def test_a_run_keeps_the_arithmetic_that_it_began_with(bf16_in_hardware: Path) -> None:
    config = load_profile("smoke", {"training.precision": "auto"})
    for began in ("32-true", "bf16-mixed"):
        assert device.precision_in_force(config, began) == began
    run = RunFolder(bf16_in_hardware / "run")
    assert run.precision() is None
    run.start(config, {}, "bf16-mixed")
    assert run.precision() == "bf16-mixed"
    fixed = with_overrides(config, {"training.precision": "32-true"})
    assert device.precision_in_force(fixed, "bf16-mixed") == "32-true"


def test_emulated_bf16_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked = []

    def supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    config = load_profile("smoke", {"training.precision": "auto"})
    assert device.precision_in_force(config) == "32-true" and asked == [False]


# ------------------------------------------------------------------------------ threads, workers


def _subnormal_product(answers: Any) -> None:
    device.use_threads(load_profile("smoke"))
    tiny = torch.full((4,), 1e-38)
    answers.put((float((tiny * 1e-3).sum()), float(torch.tensor(1e-38) * 1e-3)))


def test_subnormals_are_flushed_where_work_is_done() -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_subnormal_product, args=(answers,))
    process.start()
    assert answers.get(timeout=120) == (0.0, 0.0)
    process.join()


def gpus(monkeypatch: pytest.MonkeyPatch, count: int, given: str | None) -> None:
    """A machine with that many GPUs, and what CUDA_VISIBLE_DEVICES says."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given or "")
    if given is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(
    ("count", "given", "number", "gets"),
    [
        (2, None, 0, "0"), (2, None, 1, "1"), (2, None, 2, "0"), (2, "4,7", 3, "7"),
        (1, "GPU-5e1f, 9", 1, "GPU-5e1f"), (0, "", 1, ""), (0, None, 1, None),
    ],
)  # fmt: skip
def test_each_worker_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, count: int, given: str | None, number: int, gets: str | None
) -> None:
    monkeypatch.setattr(workers.threading, "Thread", lambda **_: SimpleNamespace(start=int))
    monkeypatch.setenv("RLQKIT_BAR", "")
    gpus(monkeypatch, count, given)
    workers.start_worker(SimpleNamespace(get=lambda: number))
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == gets
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_plan_says_who_has_which_gpu(
    tiny_wardrobe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = {"data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe)}
    config = load_profile("smoke", roots)
    gpus(monkeypatch, 1, None)
    assert "GPUs" not in "".join(plan_parts(config))
    gpus(monkeypatch, 2, None)
    assert "2 trainings side by side on 2 GPUs, each on one of them" in "".join(plan_parts(config))
    gpus(monkeypatch, 4, None)
    assert "2 of 4 GPUs are used; runtime.jobs=4" in "".join(plan_parts(config))


def test_checkpoints_by_time_and_the_last_always(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, saved = [0.0], []
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoint, "save", lambda training, _: saved.append(training.next_phase))
    saver = checkpoint.Saver(tmp_path / "checkpoint.pt", 100.0)
    for phase, at in ((1, 50.0), (2, 120.0), (3, 150.0), (4, 160.0)):
        now[0] = at
        saver(SimpleNamespace(next_phase=phase, phases=[None] * 4))  # type: ignore[arg-type]
    assert saved == [2, 4]
    every = checkpoint.Saver(tmp_path / "checkpoint.pt")
    saved.clear()
    for phase in (1, 2):
        every(SimpleNamespace(next_phase=phase, phases=[None] * 4))  # type: ignore[arg-type]
    assert saved == [1, 2]


# ------------------------------------------------------------------------- what training can do


@pytest.mark.parametrize(("kind", "left"), [("base", 0.5), ("cap", 0.5), ("tad", 0.75)])
def test_one_batch_can_be_learnt(kind: str, left: float) -> None:
    """Every kind of step goes downhill: thirty steps on one batch leave this share of the loss."""
    torch.manual_seed(0)
    fabric: Any = FakeFabric()
    fabric.device = torch.device("cpu")
    row = ROWS["rlq" if kind != "base" else "base"]
    network = build_rlq(MODEL) if kind != "base" else build_base(MODEL)
    heads = Heads(network.dimensions, PEOPLE, CLOTHES, row.branch_names, CLUSTERS, row.uses_gender)
    others = [p for name, p in heads.named_parameters() if not name.startswith("clothes.")]
    main = torch.optim.Adam([*network.parameters(), *others], lr=3e-3)
    clothes = torch.optim.Adam(heads.clothes.parameters(), lr=3e-3)
    label = torch.arange(8) // 2
    worn = torch.nn.functional.one_hot(torch.arange(CLOTHES) // 2, PEOPLE).T.bool()
    student = Student(network, heads, main, clothes, worn, fabric, StepRules("batch"))
    images = torch.rand(8, 3, 32, 16)
    cap = {"images": images, "identity": label, "clothes": torch.arange(8), "gender": label % 2}
    cap["pose"] = torch.arange(8) % (CLUSTERS + 1)
    noisy = {"hq": images, "lq": images + 0.2 * torch.rand(8, 3, 32, 16)}
    teacher = build_base(MODEL).eval()
    totals = []
    for _ in range(30):
        if kind == "tad":
            values = tad_step(student, teacher, noisy, row.tad_terms)
        else:
            values = cap_step(student, cap, row.terms, adversarial=True)
        totals.append(float(values["total"]))
    assert np.isfinite(totals).all() and totals[-1] < left * totals[0], (totals[0], totals[-1])


@pytest.fixture
def tiny(tiny_wardrobe: Path, tmp_path: Path) -> Config:
    """The whole method in the smoke profile on the tiny data set."""
    changes = {"data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe)}
    return load_profile("smoke", changes | {"runtime.results": str(tmp_path), "row": "rlq"})


def one_of_each(config: Config, rounds: int = 1) -> Training:
    """A training of so many times one TAD and one CAP step, all of them taken."""
    training = prepare(resolve(config), build_base(config.model).eval().requires_grad_(False))
    training.validate = None
    training.phases = [PlannedPhase(0, "tad", 1), PlannedPhase(0, "cap", 1)] * rounds
    training.run(progress=False)
    return training


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_step_of_each_kind_in_half_precision(
    tiny: Config, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses near float32's, though not the same; both optimisers move float32 weights.

    Fabric has no 16-mixed on a processor; its part for GPUs is given to it here. The scale of its
    gradients is too large at first, and steps are skipped until it isn't.
    """
    full = one_of_each(tiny)

    def launch(*_: Any) -> Fabric:
        return Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision(precision, "cpu"))

    monkeypatch.setattr(device, "launch_fabric", launch)
    half = one_of_each(with_overrides(tiny, {"training.adversarial_from": "epoch 0"}), rounds=6)
    for mine, theirs in zip(half.history, full.history, strict=False):
        common = {name for name in theirs if name in TAD_TERMS or name in CAP_TERMS}
        assert {n: mine[n] for n in common} == pytest.approx(
            {n: theirs[n] for n in common}, rel=0.1, abs=0.05
        )
        assert any(mine[n] != theirs[n] for n in common)  # the arithmetic was another one
    assert half.student.fabric.strategy.precision.precision == precision
    start = prepare(resolve(tiny)).student
    for module in ("network", "heads"):
        weights, before = (getattr(s, module).state_dict() for s in (half.student, start))
        assert all(w.isfinite().all() for w in weights.values())
        assert {w.dtype for w in weights.values()} <= {torch.float32, torch.int64}
        moved = {name for name in weights if not torch.equal(weights[name], before[name])}
        first = {"network": "stem.0.0.weight", "heads": "clothes.weight"}[module]
        assert first in moved, sorted(moved)


def test_float16_on_a_processor_is_called_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_profile("smoke", {"training.precision": "16-mixed"})
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for gpu, wanted in ((False, "bf16-mixed"), (True, "16-mixed")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert device.precision_in_force(config) == wanted
        assert device.precision_in_force(config, "bf16-mixed") == "bf16-mixed"  # begun elsewhere


def test_networks_are_compiled_on_demand(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Student and teacher; what a compiler makes of them is torch's affair."""
    compiled = []
    plain = torch.nn.Module.compile

    def watched(module: torch.nn.Module) -> None:
        compiled.append(type(module))
        plain(module, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", watched)
    names = [*one_of_each(tiny).student.network.state_dict()]
    assert compiled == []
    training = one_of_each(with_overrides(tiny, {"training.compile": True}))
    assert compiled == [Network, Network]
    assert [*training.student.network.state_dict()] == names
