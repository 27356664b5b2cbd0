"""One of several processes of a test: steps on its half of a batch, a training, or one that dies.

Run as a script with torchrun's variables set; ``student`` and ``batches`` also serve the
single-process reference.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from networks import build_base, build_rlq
from torch import Tensor

from rlqkit.cli import main
from rlqkit.config import ModelConfig, load_profile
from rlqkit.errors import RlqkitError
from rlqkit.method import training
from rlqkit.method.network import Heads, Network
from rlqkit.method.rows import ROWS
from rlqkit.method.steps import StepRules, Student, cap_step, tad_step
from rlqkit.processes import TripletGradient, mean_over_processes, on_first, share_state
from rlqkit.runs import device, experiment
from rlqkit.runs.student import seed_everything

MODEL = ModelConfig("resnet10t", "none", (4, 8, 8, 8), 4)
IDENTITIES, CLOTHES, CLUSTERS = 4, 8, 3
LABELS = {"identity": IDENTITIES, "clothes": CLOTHES, "pose": CLUSTERS + 1, "gender": 2}


class FrozenStudent(Student):
    """A student whose batch statistics stay as they are: only then may halves equal the whole."""

    def train(self) -> None:
        self.network.eval()
        self.heads.eval()


def stir(module: torch.nn.Module, seed: int) -> None:
    """Moves every weight, so that none is at a start value that lets no gradient through."""
    source = torch.Generator().manual_seed(seed)
    for parameter in module.double().parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=source, dtype=torch.double)


def student(fabric: Fabric, gradient: TripletGradient = "joined") -> FrozenStudent:
    """The same small RLQ student in every process, in float64."""
    seed_everything(7)
    network = build_rlq(MODEL)
    heads = Heads(
        network.dimensions, IDENTITIES, CLOTHES, ("branch1", "branch2", "pose"), CLUSTERS, True
    )
    stir(network, 1)
    stir(heads, 2)
    others = [p for name, p in heads.named_parameters() if not name.startswith("clothes.")]
    positives = torch.arange(CLOTHES)[None] // 2 == torch.arange(IDENTITIES)[:, None]
    return FrozenStudent(
        network,
        heads,
        torch.optim.Adam([*network.parameters(), *others], lr=1e-3),
        torch.optim.Adam(heads.clothes.parameters(), lr=1e-3),
        positives,
        fabric,
        StepRules(triplet_gradient=gradient),
    )


def teacher() -> Network:
    seed_everything(8)
    network = build_base(MODEL)
    stir(network, 3)
    return network.eval().requires_grad_(False)


def batches() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A CAP and a TAD batch; halves share identities, so positives and negatives lie in both."""
    source = torch.Generator().manual_seed(5)

    def images(count: int) -> Tensor:
        return torch.randn(count, 3, 32, 16, generator=source, dtype=torch.double)

    clothes = torch.tensor([0, 1, 2, 3, 4, 5, 0, 1, 6, 7, 2, 3, 0, 1, 4, 5])
    cap = {"images": images(16), "identity": clothes // 2, "clothes": clothes}
    cap |= {"gender": cap["identity"] % 2, "pose": torch.arange(16) % (CLUSTERS + 1)}
    return cap, {"hq": images(8), "lq": images(8)}


def half(batch: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """What process ``rank`` of two has of a joined batch."""
    return {name: tensor.chunk(2)[rank] for name, tensor in batch.items()}


STEPS = ("cap", "tad", "triplet clean", "triplet official")


def take_step(fabric: Fabric, name: str, rank: int | None) -> dict[str, Any]:
    """One step on a half, or (rank None) on the joined batch: values, gradients, weights after."""
    moved = student(fabric, "local" if name == "triplet official" else "joined")
    cap, tad = (b if rank is None else half(b, rank) for b in batches())
    if name == "tad":
        taken = tad_step(moved, teacher(), tad, ROWS["rlq"].tad_terms)
    else:
        terms = ("triplet",) if name.startswith("triplet") else ROWS["rlq"].terms
        taken = cap_step(moved, cap, terms, adversarial=name == "cap")
    weights = {**dict(moved.network.named_parameters()), **dict(moved.heads.named_parameters())}
    own = {id(p) for group in moved.optimiser.param_groups for p in group["params"]}
    gradients = {k: p.grad for k, p in weights.items() if id(p) in own and p.grad is not None}
    after = {k: p.detach() for k, p in weights.items()}
    values = {name: value.item() for name, value in taken.items()}
    return {"values": values, "gradients": gradients, "weights": after}


def failure_of_first(fabric: Fabric) -> tuple[str, str]:
    """What process 0's failure is in this process."""

    def fail() -> None:
        raise OSError("no space left on device")

    try:
        on_first(fabric, fail)
    except (OSError, RlqkitError) as error:
        return type(error).__name__, str(error)
    return "", ""


def collectives(fabric: Fabric) -> dict[str, Any]:
    """What each small tool gives in this process, whose inputs differ by rank."""
    module = torch.nn.BatchNorm1d(3)
    module.weight.data += fabric.global_rank
    module.num_batches_tracked += 5 * fabric.global_rank
    share_state(fabric, module)
    return {
        "failure": failure_of_first(fabric),
        "told": on_first(fabric, lambda: f"rank {fabric.global_rank}"),
        "mean": mean_over_processes(fabric, {"a": float(fabric.global_rank), "b": 2.0}),
        "shared": dict(module.state_dict()),
    }


def work_and_train(out: Path, arguments: list[str]) -> None:
    """Steps and tools first, then a training; everything this process has goes to one file."""
    fabric = device.launch_fabric(load_profile("smoke", {"training.precision": "32-true"}))
    rank = fabric.global_rank
    result: dict[str, Any] = {name: take_step(fabric, name, rank) for name in STEPS}
    result |= collectives(fabric)
    trainings: list[training.Training] = []
    plain = experiment.prepare

    def watched(*given: Any, **options: Any) -> training.Training:
        trainings.append(plain(*given, **options))
        return trainings[-1]

    experiment.prepare = watched
    main(arguments)
    last = trainings[-1]
    result["network"] = last.student.network.state_dict()
    result["heads"] = last.student.heads.state_dict()
    result["history"] = last.history
    result["images"] = [d.index for d in last.target.sampler]
    torch.save(result, out / f"rank{rank}.pt")


def die_in_training(step: int, arguments: list[str]) -> None:
    """A training whose process 0 is killed at its n-th step on the target set."""
    plain, count = training.cap_step, 0

    def deadly(*given: Any) -> dict[str, float]:
        nonlocal count
        count += 1
        if count == step and os.environ["RANK"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*given)

    training.cap_step = deadly
    main(arguments)


if __name__ == "__main__":
    torch.set_num_threads(1)
    task, value, *rest = sys.argv[1:]
    if task == "work":
        work_and_train(Path(value), rest)
    else:
        die_in_training(int(value), rest)
