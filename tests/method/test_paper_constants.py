"""Constants of the paper that no golden number reaches: a changed one has to be noticed."""

from __future__ import annotations

import pytest
import torch

from rlqkit.config import CapConfig, ModelConfig, TrainingConfig, load_profile
from rlqkit.method.augmentation import Augmentation
from rlqkit.method.network import GlobalPooling, Heads
from rlqkit.method.recolouring import ALPHA, COLOURS, LAST_COLOURS
from rlqkit.method.training import learning_rate


def test_augmentation_is_the_papers() -> None:
    assert Augmentation() == Augmentation(
        crop_probability=0.5, crop_enlarge=1.125, flip_probability=0.5, erase_probability=0.5,
        erase_area=(0.02, 0.4), erase_aspect=(0.3, 1 / 0.3), erase_fill=(0.4914, 0.4822, 0.4465),
    )  # fmt: skip


def test_the_cosine_schedule_starts_at_two_percent_and_ends_at_one() -> None:
    training = TrainingConfig(learning_rate=1.0, schedule="cosine", warmup=0.1, cosine_from=0.5)
    at = [learning_rate(training, 0, share) for share in (0.0, 0.05, 0.1, 0.5, 0.75, 1.0)]
    assert at == pytest.approx([0.02, 0.52, 1.0, 1.0, 0.01 + 0.99 / 2, 0.01])


def test_learning_rate_falls_to_a_tenth_at_epochs_20_and_40() -> None:
    rates = [learning_rate(TrainingConfig(), epoch, 0.0) for epoch in (0, 19, 20, 39, 40, 199)]
    assert rates == pytest.approx([3.5e-4, 3.5e-4, 3.5e-5, 3.5e-5, 3.5e-6, 3.5e-6])


def test_training_is_the_papers() -> None:
    paper = load_profile("paper")
    training = paper.training
    assert (training.epochs, training.instances, training.weight_decay) == (200, 4, 5e-4)
    assert training.adversarial_from == "epoch 25"
    assert (paper.data.height, paper.data.width) == (384, 192)
    assert (paper.teacher.epochs, paper.teacher.batch) == (200, 40)
    assert CapConfig() == CapConfig("R_LA", 15, "identity", "absolute")
    model = ModelConfig()
    assert (model.backbone, model.share_through, model.pose_from) == (
        "resnet50",
        "layer2",
        "layer1",
    )


def test_recolouring_is_the_papers() -> None:
    assert ALPHA == 0.7
    assert set(COLOURS) == {
        "green", "blue", "purple", "red", "black", "white", "orange", "yellow", "pink",
    }  # fmt: skip
    assert set(LAST_COLOURS) == {"green", "blue", "purple", "red", "yellow", "pink"}


def test_initial_weights_are_the_papers() -> None:
    """BN weights ~ N(1, 0.02), linear heads ~ N(0, 0.001), biases 0; 40,000 draws and more."""
    torch.manual_seed(0)
    pool = GlobalPooling(20_000)
    assert pool.norm.weight.mean().item() == pytest.approx(1.0, abs=5e-4)
    assert pool.norm.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not pool.norm.bias.any()
    heads = Heads(400, 100, 150, ("branch1", "branch2", "pose"), pose_clusters=99, gender=True)
    for head in (heads.identity_1, heads.identity_2, heads.pose):
        assert head.weight.std().item() == pytest.approx(0.001, rel=0.03)
        assert not head.bias.any()
    assert heads.pose.out_features == 100 and heads.gender.out_features == 2
