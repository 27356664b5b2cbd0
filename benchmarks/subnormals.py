"""Time of a training step whose weights are partly subnormal, with and without flushing them.

    python benchmarks/subnormals.py [--share 0.1] [--steps 5]

Stands for the last third of a long float32 training (docs/training.md) without the hours before it:
a share of the filters of a small ResNet is scaled to the subnormal range.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn

from rlqkit.config import load_profile
from rlqkit.runs.backbone import load_backbone


def scale_filters(network: nn.Module, adam: torch.optim.Optimizer, share: float) -> None:
    """Moves filters, and what Adam remembers of them, below the smallest normal number."""
    with torch.no_grad():
        for parameter in network.parameters():
            state = adam.state[parameter]
            count = round(share * len(parameter))
            for tensor in (parameter, state["exp_avg"], state["exp_avg_sq"]):
                tensor[:count] = 1e-40


def seconds_per_step(share: float, steps: int, flush: bool) -> float:
    """Median over a few steps, forward and backward."""
    torch.set_flush_denormal(flush)
    torch.manual_seed(0)
    network = load_backbone(load_profile("laptop", {"model.weights": "none"}).model).eval()
    adam = torch.optim.Adam(network.parameters(), lr=1e-45, fused=True)
    images = torch.randn(16, 3, 128, 64)
    taken = []
    for step in range(steps + 1):
        started = time.perf_counter()
        adam.zero_grad()
        network(images).square().mean().backward()
        adam.step()
        if step:  # the first one makes Adam's state
            taken.append(time.perf_counter() - started)
        scale_filters(network, adam, share)
    return sorted(taken)[steps // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.1, help="of the filters, 0..1")
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for share, flush in ((0.0, False), (given.share, False), (given.share, True)):
        taken = seconds_per_step(share, given.steps, flush)
        print(f"{100 * share:4.0f} % subnormal, flushed {str(flush):5}: {taken:.3f} s a step")


if __name__ == "__main__":
    main()
