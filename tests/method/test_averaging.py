"""The mean of two networks, and batch statistics taken anew."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rlqkit.errors import RlqkitError
from rlqkit.method.averaging import mean_weights, renew_statistics
from rlqkit.method.rows import OWN, ROWS, all_rows, find_row


def network(seed: int, width: int = 4) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU())


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_weights_lie_between(share: float) -> None:
    first, second = network(1).state_dict(), network(2).state_dict()
    found = mean_weights(first, second, share)
    torch.testing.assert_close(
        found["0.weight"], (1 - share) * first["0.weight"] + share * second["0.weight"]
    )
    assert found["1.num_batches_tracked"].dtype == torch.int64
    assert torch.equal(mean_weights(first, first, share)["0.weight"], first["0.weight"])


@pytest.mark.parametrize(
    ("other", "share", "message"),
    [
        (network(1), 1.2, "a share of 1.2"),
        (network(1, width=5), 0.5, "differ in the shape of 0.weight"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), 0.5, "only one has 1.bias"),
    ],
)
def test_networks_that_do_not_fit_are_refused(other: nn.Module, share: float, message: str) -> None:
    with pytest.raises(RlqkitError, match=message):
        mean_weights(network(1).state_dict(), other.state_dict(), share)


def test_statistics_are_the_plain_mean_over_batches() -> None:
    net = network(1)
    before = {name: p.clone() for name, p in net.named_parameters()}
    batches = [torch.randn(6, 3, 8, 8) + shift for shift in (0.0, 1.0, 5.0)]
    assert renew_statistics(net, iter(batches)) == 3
    maps = [net[0](batch) for batch in batches]
    wanted = torch.stack([m.mean(dim=(0, 2, 3)) for m in maps]).mean(dim=0)
    spread = torch.stack([m.var(dim=(0, 2, 3)) for m in maps]).mean(dim=0)
    torch.testing.assert_close(net[1].running_mean, wanted)
    torch.testing.assert_close(net[1].running_var, spread)
    assert not net.training and net[1].momentum == 0.1
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())


def test_no_batch_is_refused() -> None:
    with pytest.raises(RlqkitError, match="at least one batch"):
        renew_statistics(network(1), [])


def test_own_rows_stand_beside_the_ablation() -> None:
    for name, row in OWN.items():
        assert name not in ROWS and find_row(name) is row
        assert len(row.mean_of) == 2 or row.begins_with
        parents = [find_row(parent) for parent in row.mean_of or (row.begins_with,)]
        assert {parent.branch_names for parent in parents} == {row.branch_names}


def test_statistics_are_held_only_where_both_parents_have_the_same() -> None:
    for row in all_rows().values():
        if row.mean_of and row.hold_statistics:
            parents = [find_row(parent) for parent in row.mean_of]
            held = {
                parent.begins_with if parent.hold_statistics else parent.name for parent in parents
            }
            assert len(held) == 1, row.name
