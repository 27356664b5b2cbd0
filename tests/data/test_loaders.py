"""Loaders: workers that stay, pinned memory, and the same batches whatever they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from rlqkit.config import load_profile
from rlqkit.data.imageset import Benchmark
from rlqkit.data.loaders import ExternalData, external_data, preparation


def external(benchmark: Benchmark, root: Path, workers: int) -> ExternalData:
    changes = {"data.root": str(root), "data.workers": workers, "training.batch": 4}
    return external_data(benchmark["external"], load_profile("smoke", changes))


def test_workers_stay_from_epoch_to_epoch(tiny_benchmark: Benchmark, tiny_wardrobe: Path) -> None:
    """They keep what they have decoded, and an epoch that is left early doesn't disturb the next.

    As a phase does that is shorter than its epoch.
    """
    here, there = (external(tiny_benchmark, tiny_wardrobe, workers) for workers in (0, 2))
    people: list[set[int]] = []
    for epoch, length in ((0, 2), (1, 1), (2, 9), (2, 9)):
        pairs = zip(range(length), here.loader(epoch), there.loader(epoch), strict=False)
        for _, mine, theirs in pairs:
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[name], theirs[name]) for name in mine)
        iterator: Any = there.loader(epoch)._iterator
        people.append({worker.pid for worker in iterator._workers})
    assert len(people[0]) == 2 and all(group == people[0] for group in people)


class Tiny:
    """A subnormal product for every item."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, item: int) -> torch.Tensor:
        return torch.tensor(1e-38) * 1e-3


def test_spawned_workers_flush_subnormal_numbers() -> None:
    options = preparation(load_profile("smoke", {"data.workers": 1}))
    loader = DataLoader(Tiny(), multiprocessing_context="spawn", **options)  # type: ignore[arg-type]
    assert [batch.view(torch.int32).item() for batch in loader] == [0, 0]


@pytest.mark.parametrize("gpu", [True, False])
def test_memory_is_pinned_where_a_gpu_is(monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert preparation(load_profile("smoke"))["pin_memory"] == gpu
