"""Every loss against the released code: value and gradient, float32, on CPU and GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from devices import DEVICES
from torch import Tensor

from rlqkit.method import losses
from rlqkit.method.network import CosineHead

FOLDER = Path(__file__).parents[1] / "golden"
ARRAYS = np.load(FOLDER / "losses.npz")
VALUES = json.loads((FOLDER / "losses.json").read_text())
Inputs = dict[str, Tensor]


def disentangle_and_agree(*pairs: tuple[str, str]) -> Callable[[Inputs], Tensor]:
    """Branch agreement plus |cos| of each named pair of features."""

    def term(x: Inputs) -> Tensor:
        agreement = losses.logit_kl(x["outputs_id"], x["outputs"])
        return agreement + sum(losses.pose_disentangling(x[a], x[b]) for a, b in pairs)

    return term


CASES: dict[str, Callable[[Inputs], Tensor]] = {
    "ce_smooth/0": lambda x: losses.smoothed_cross_entropy(x["logits"], x["targets"]),
    "triplet/0": lambda x: losses.batch_hard_triplet(x["feats"], x["targets"]),
    "triplet/1": lambda x: losses.batch_hard_triplet(x["feats"], x["targets"]),
    "cosface/0": lambda x: losses.cosine_cross_entropy(x["logits"], x["targets"]),
    "cal_adv/0": lambda x: losses.clothes_adversarial_loss(
        x["logits"], x["targets"], x["pos_mask"]
    ),
    "kl/0": lambda x: losses.logit_kl(x["teacher"], x["student"]),
    "kl_o_oid/0": lambda x: losses.logit_kl(x["outputs_id"], x["outputs"]),
    "mse_l2/0": lambda x: losses.feature_mse(x["x"], x["y_"]),
    "mse_cosine/0": lambda x: losses.feature_mse(x["x"], x["y_"]) / 2,
    "pose_dist3/0": lambda x: losses.pose_disentangling(x["fid"], x["fpose"]),
    "pose_dist1/0": lambda x: losses.pose_disentangling(x["fid"], x["fpose"], "relu"),
    "kl_pose3_default/0": disentangle_and_agree(("fid", "fpose")),
    "kl_pose3_pose_id/0": disentangle_and_agree(("fid", "fpose")),
    "kl_pose3_pose_cl/0": disentangle_and_agree(("fcl", "fpose")),
    "kl_pose3_pose_both/0": disentangle_and_agree(("fid", "fpose"), ("fcl", "fpose")),
}


def inputs_of(case: str, device: str = "cpu") -> Inputs:
    prefix = f"{case}/in_"
    names = [key.removeprefix(prefix) for key in ARRAYS.files if key.startswith(prefix)]
    tensors = {name: torch.from_numpy(ARRAYS[prefix + name]).to(device) for name in names}
    for name, tensor in tensors.items():
        if f"{case}/grad_{name}" in ARRAYS.files:
            tensor.requires_grad_()
    return tensors


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient(case: str, device: str) -> None:
    inputs = inputs_of(case, device)
    value = CASES[case](inputs)
    value.backward()
    assert value.item() == pytest.approx(VALUES[case], rel=1e-5, abs=1e-7)
    for name, tensor in inputs.items():
        if tensor.requires_grad:
            golden = ARRAYS[f"{case}/grad_{name}"]
            assert tensor.grad is not None
            found = tensor.grad.cpu()
            np.testing.assert_allclose(found, golden, rtol=4e-4, atol=2e-7, err_msg=name)


@pytest.mark.parametrize("device", DEVICES)
def test_cosine_head(device: str) -> None:
    inputs = inputs_of("normalized_classifier/0", device)
    head = CosineHead(inputs["x"].shape[1], inputs["W"].shape[0]).to(device)
    head.weight.data.copy_(inputs["W"])
    logits = head(inputs["x"])
    np.testing.assert_allclose(
        logits.detach().cpu(), ARRAYS["normalized_classifier/0/in_logits"], atol=1e-6
    )
    (logits * inputs["upstream"]).sum().backward()
    assert inputs["x"].grad is not None and head.weight.grad is not None
    for tensor, name in ((inputs["x"], "x"), (head.weight, "W")):
        golden = ARRAYS[f"normalized_classifier/0/grad_{name}"]
        np.testing.assert_allclose(tensor.grad.cpu(), golden, rtol=4e-4, atol=2e-7)


def test_batch_reduction_is_the_element_mean_times_the_classes() -> None:
    x = inputs_of("kl/0")
    batch_mean = losses.logit_kl(x["teacher"], x["student"], reduction="batch")
    assert batch_mean.item() == pytest.approx(VALUES["kl/0"] * x["teacher"].shape[1], rel=1e-5)


def test_adversarial_loss_survives_large_cosines_in_half_range() -> None:
    """The log-sum form stays finite where exp(scale * z) would overflow."""
    z = torch.tensor([[1.0, -1.0, 0.5]])
    positives = torch.tensor([[1.0, 1.0, 0.0]])
    loss = losses.clothes_adversarial_loss(z, torch.tensor([0]), positives, scale=1000.0)
    assert torch.isfinite(loss)
