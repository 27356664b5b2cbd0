"""Several processes that train one network together, started by torchrun, joined by Fabric.

Each process has its own batches and its own batch statistics. What is shared: gradients are
averaged before every optimiser step, the triplet loss sees the features of all processes, and the
running statistics of batch normalisation are those of process 0. With one process every function
here does nothing. docs/processes.md says what is equal to one process and what isn't.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from rlqkit.errors import RlqkitError, one_line

TripletGradient = Literal["joined", "local"]
Result = TypeVar("Result")
PATIENCE = timedelta(hours=2)
"""How long processes wait for process 0, which evaluates alone."""
BUCKET = 2**23
"""Numbers that travel in one message, so that averaging needs 32 MB more and not the network's."""


def processes_started() -> int:
    """Number of processes that torchrun started, on all machines; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


def on_first(fabric: Fabric, work: Callable[[], Result]) -> Result:
    """Does work in process 0 while the others wait; all get its result.

    Raises:
        RlqkitError: in the others, when the work failed, so that nobody waits for ever; process 0
            raises the error itself.
    """
    if fabric.world_size == 1:
        return work()
    result, failure = None, None
    if fabric.is_global_zero:
        try:
            result = work()
        except Exception as error:  # told to the others, then raised
            failure = error
    result, reason = fabric.broadcast((result, None if failure is None else one_line(failure)))
    if failure is not None:
        raise failure
    if reason is not None:
        raise RlqkitError(f"process {fabric.global_rank} stops, as process 0 did: {reason}")
    return result  # type: ignore[return-value]


@contextmanager
def with_others(fabric: Fabric) -> Iterator[None]:
    """Turns a connection that broke because another process died into one line.

    Raises:
        RlqkitError: another process is gone.
    """
    try:
        yield
    except RuntimeError as error:  # gloo's own have no type of their own
        lost = isinstance(error, dist.DistError) or "gloo" in str(error).lower()
        if fabric.world_size == 1 or not lost:
            raise
        raise RlqkitError(
            f"process {fabric.global_rank} lost the others ({one_line(error)[:120]}); mend what "
            "the first one to stop names and start all again: the last checkpoint is kept"
        ) from error


def gathered(
    fabric: Fabric, features: Tensor, labels: Tensor, gradient: TripletGradient
) -> tuple[Tensor, Tensor] | None:
    """Features (W·B, D) and labels (W·B,) of all W processes, by rank; None with one process.

    Args:
        fabric: the processes.
        features: (B, D) of this process, B the same in all.
        labels: (B,).
        gradient: "joined" sends the gradient of every feature home to the process that made it,
            so that the averaged gradient is the one of the joined batch; "local" lets it return
            through this process's own features only, as released.
    """
    if fabric.world_size == 1:
        return None
    if gradient == "joined":
        everyone: Tensor = _GatherWithGradient.apply(features)
    else:
        parts = _gather(features.detach())
        parts[fabric.global_rank] = features
        everyone = torch.cat(parts)
    return everyone, torch.cat(_gather(labels))


def _gather(tensor: Tensor) -> list[Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return parts


class _GatherWithGradient(torch.autograd.Function):
    """Rows of all processes; backwards each row's gradients are summed where the row was made."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        return torch.cat(_gather(rows))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def average_gradients(fabric: Fabric, optimiser: Optimizer) -> None:
    """Replaces every gradient of an optimiser's parameters by its mean over the processes."""
    if fabric.world_size == 1:
        return
    parameters = (p for group in optimiser.param_groups for p in group["params"])

    def average(flat: Tensor) -> None:
        dist.all_reduce(flat)
        flat /= fabric.world_size

    _travel([p.grad for p in parameters if p.grad is not None], average)


def share_state(fabric: Fabric, *modules: nn.Module) -> None:
    """Gives all processes the weights and statistics that process 0 has."""
    if fabric.world_size > 1:
        tensors = [tensor for module in modules for tensor in module.state_dict().values()]
        _travel(tensors, lambda flat: dist.broadcast(flat, 0))


def share_statistics(fabric: Fabric, *modules: nn.Module) -> None:
    """Gives all processes the running statistics that process 0 has.

    Training never reads them, so this changes no weight; it makes the network one thing, which a
    checkpoint can hold (and is what the paper's way of joining processes does at every step).
    """
    if fabric.world_size > 1:
        tensors = [buffer for module in modules for buffer in module.buffers()]
        _travel(tensors, lambda flat: dist.broadcast(flat, 0))


def mean_over_processes(fabric: Fabric, values: dict[str, float]) -> dict[str, float]:
    """Mean of each value over the processes; the same keys in all of them."""
    if fabric.world_size == 1:
        return values
    mean = torch.tensor(list(values.values()), dtype=torch.float64, device=fabric.device)
    dist.all_reduce(mean)
    return dict(zip(values, (mean / fabric.world_size).tolist(), strict=True))


def _travel(tensors: Iterable[Tensor], collective: Callable[[Tensor], Any]) -> None:
    """Applies a collective operation to tensors, packed into few flat messages, in place."""
    by_kind: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_kind.setdefault(tensor.dtype, []).append(tensor)
    for same in by_kind.values():
        for bucket in _buckets(same):
            flat = torch.cat([tensor.detach().reshape(-1) for tensor in bucket])
            collective(flat)
            parts = flat.split([tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.detach().copy_(part.view(tensor.shape))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
