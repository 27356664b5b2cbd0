"""What only rows of this kit's own use: LQ copies, consistency, separate statistics, averages."""

from pathlib import Path
from typing import Any

import pytest
import torch
from networks import build_base
from torch import nn

from rlqkit.config import Config, load_profile
from rlqkit.errors import RlqkitError
from rlqkit.method.rows import CONSISTENCY_TERMS, PARTS, find_row
from rlqkit.method.steps import CAP_TERMS, CapOutputs, tad_step
from rlqkit.method.training import Training
from rlqkit.runs import checkpoint
from rlqkit.runs.device import use_threads
from rlqkit.runs.experiment import prepare, resolve
from rlqkit.runs.student import seed_everything


@pytest.fixture
def smoke(tiny_wardrobe: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe),
        "runtime.results": str(tmp_path), "training.steps": 4,
    }  # fmt: skip


def training_of(smoke: dict[str, Any], row: str) -> Training:
    """A training without a folder; the teacher is an untrained network, always the same."""
    config: Config = load_profile("smoke", smoke | {"row": row})
    use_threads(config)
    seed_everything(99)
    teacher = build_base(config.model).eval().requires_grad_(False)
    return prepare(resolve(config), teacher if find_row(row).uses_tad else None)


def running(network: nn.Module) -> dict[str, torch.Tensor]:
    return {n: t.clone() for n, t in network.state_dict().items() if "running_" in n}


# ------------------------------------------------------------------------------ LQ copies


def test_pairs_of_a_row_with_lq_copies_are_hq_and_lq(smoke: dict[str, Any]) -> None:
    """The image is base's; its copy is what a row whose every image is LQ would see."""
    plain, copies = (training_of(smoke, row).target for row in ("base", "lq-copies"))
    hq, mixed = (next(iter(data.loader(0)))["images"] for data in (plain, copies))
    assert torch.equal(hq[0::2], mixed[0::2])
    changed = (hq[1::2] != mixed[1::2]).flatten(1).any(dim=1)
    assert changed.all()


def test_consistency_pulls_copies_alone(smoke: dict[str, Any]) -> None:
    """The gradient reaches copies, and is 0 where copy and image already agree."""
    student = training_of(smoke, "base").student
    f = torch.randn(8, student.network.dimensions, requires_grad=True)
    out = CapOutputs({"branch1": f, "branch2": 2 * f}, f, f, f, {}, student)
    for name in CONSISTENCY_TERMS:
        (gradient,) = torch.autograd.grad(CAP_TERMS[name](out), f)
        assert not gradient[0::2].any() and gradient[1::2].any(dim=1).all()
    twice = f.detach()[0::2].repeat_interleave(2, dim=0)
    agreed = CapOutputs({"branch1": twice, "branch2": twice}, f, f, f, {}, student)
    assert all(CAP_TERMS[name](agreed).item() == 0 for name in CONSISTENCY_TERMS)


# --------------------------------------------------------------------- separate statistics


@pytest.mark.parametrize("row", ["tad", "tad-apart"])
def test_statistics_of_hq_alone(smoke: dict[str, Any], row: str) -> None:
    """With separate statistics LQ images may be anything: the running ones don't see them."""
    apart = row == "tad-apart"
    one, other = tad_stepped(smoke, row), tad_stepped(smoke, row, damage=3.0)
    kept, changed = running(one.student.network), running(other.student.network)
    assert all(torch.equal(kept[name], changed[name]) for name in kept) == apart
    fresh = training_of(smoke, row)
    alone = fresh.student.network.train()
    usual = {m.momentum for m in alone.modules() if isinstance(m, nn.BatchNorm2d)}
    alone(tad_batch(fresh)["hq"])
    expected = running(alone)
    assert all(torch.equal(kept[name], expected[name]) for name in kept) == apart
    norms = (m for m in one.student.network.modules() if isinstance(m, nn.BatchNorm2d))
    assert {norm.momentum for norm in norms} == usual != {0.0}


def test_lq_images_still_teach(smoke: dict[str, Any]) -> None:
    one, other = tad_stepped(smoke, "tad-apart"), tad_stepped(smoke, "tad-apart", damage=3.0)
    ends = [next(t.student.network.parameters()).detach() for t in (one, other)]
    assert not torch.equal(*ends)


def tad_batch(training: Training) -> dict[str, torch.Tensor]:
    assert training.external is not None
    return next(iter(training.external.loader(0)))


def tad_stepped(smoke: dict[str, Any], row: str, damage: float = 1.0) -> Training:
    """After one TAD step, whose LQ images were multiplied."""
    training = training_of(smoke, row)
    assert training.teacher is not None
    batch = tad_batch(training)
    batch["lq"] = batch["lq"] * damage
    tad_step(training.student, training.teacher, batch, training.row.tad_terms)
    return training


# --------------------------------------------------------------------------------- averages


def test_the_average_is_an_exponential_one(smoke: dict[str, Any]) -> None:
    """Taken by hand beside the training; what is measured is the average, not the last."""
    training = training_of(smoke, "base-lq-average")
    student, decay = training.student, training.row.average_decay
    name = next(n for n, _ in student.network.named_parameters())
    by_hand: list[torch.Tensor] = []
    step = training._step

    def watched(*arguments: Any) -> Any:
        values = step(*arguments)
        now = student.network.state_dict()[name].double().clone()
        by_hand.append(decay * by_hand[-1] + (1 - decay) * now if by_hand else now)
        return values

    training._step = watched  # type: ignore[method-assign]
    training.run(progress=False)
    assert len(by_hand) == 4
    average = training.measured.state_dict()
    torch.testing.assert_close(average[name].double(), by_hand[-1], rtol=1e-5, atol=1e-8)
    assert not torch.equal(average[name], student.network.state_dict()[name])


def test_a_stopped_average_goes_on_with_the_same_bits(
    smoke: dict[str, Any], tmp_path: Path
) -> None:
    whole = training_of(smoke, "base-lq-average")
    assert len(whole.phases) > 1
    files = [tmp_path / "first.pt"]
    whole.save = lambda training: training.next_phase == 1 and checkpoint.save(training, files[0])
    whole.run(progress=False)
    again = training_of(smoke, "base-lq-average")
    checkpoint.restore(again, files[0])
    again.run(progress=False)
    one, two = whole.measured.state_dict(), again.measured.state_dict()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_a_checkpoint_without_the_average_is_refused(smoke: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    training = training_of(smoke, "base-lq-average")
    training.average = None
    checkpoint.save(training, file)
    with pytest.raises(RlqkitError, match="another architecture"):
        checkpoint.restore(training_of(smoke, "base-lq-average"), file)


def test_rows_of_candidates_say_what_they_are() -> None:
    for name, row in PARTS.items():
        assert row.explanation.endswith(".") and row.title
        assert set(row.terms) <= set(CAP_TERMS)
        consistent = bool(set(row.terms) & set(CONSISTENCY_TERMS))
        assert not consistent or (row.recolour and row.lq_copy_alone), name
