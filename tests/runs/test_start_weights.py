"""The small networks' start: shipped weights, checked byte for byte, and how they are exported."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from networks import build_base, build_rlq
from safetensors.torch import load_file, save_file

from rlqkit.config import ModelConfig, load_profile
from rlqkit.config import load_file as load_config
from rlqkit.errors import RlqkitError
from rlqkit.files import verify_checksums
from rlqkit.method.network import backbone_state
from rlqkit.runs import backbone
from rlqkit.runs.backbone import START_WEIGHTS
from wardrobe.render.generate import SPECS

QUICK = load_profile("quick").model
TINY = ModelConfig(
    backbone="resnet10t", weights="none", channels=(8, 8, 16, 16), stem_width=8
)  # fmt: skip


def test_shipped_weights_are_those_of_their_checksums() -> None:
    for file in START_WEIGHTS.values():
        assert file.is_file()
        assert verify_checksums(file.parent) == []


@pytest.mark.parametrize("name", list(START_WEIGHTS))
def test_every_branch_of_a_small_network_starts_from_them(name: str) -> None:
    config = load_profile("quick", {"model.weights": name}).model
    shipped = load_file(START_WEIGHTS[config.weights])
    network = build_rlq(config)
    for branch in ("branch1", "branch2"):
        state = backbone_state(network, branch)  # type: ignore[arg-type]
        assert state.keys() == shipped.keys()
        assert all(torch.equal(state[k], v.to(state[k].dtype)) for k, v in shipped.items())
    first = next(iter(network.branches["pose"][0].parameters()))
    assert torch.equal(first, next(iter(network.trunk[1].parameters())))


@pytest.mark.parametrize("name", list(START_WEIGHTS))
def test_nobody_that_taught_them_is_in_the_embedded_set(name: str) -> None:
    """People are drawn from (seed, identity number): other seeds, other people."""
    training = load_config(START_WEIGHTS[name].parent / "start.toml")
    assert training.data.dataset == training.data.external == name
    start, embedded = SPECS[name], SPECS["wardrobe-v2"]
    seeds = {start.seed_of(number) for number in start.numbers()}
    assert seeds.isdisjoint(embedded.seed_of(number) for number in embedded.numbers())


def test_a_changed_byte_is_an_error_that_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = START_WEIGHTS[QUICK.weights]
    copy = tmp_path / shipped.name
    shutil.copytree(shipped.parent, tmp_path, dirs_exist_ok=True)
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    monkeypatch.setitem(backbone.START_WEIGHTS, QUICK.weights, copy)
    with pytest.raises(RlqkitError, match=f"{shipped.name} has changed"):
        build_base(QUICK)


@pytest.mark.parametrize("share_through", ["layer2", "none"])
def test_a_network_started_from_an_export_equals_the_exported_branch(
    share_through: str, tmp_path: Path
) -> None:
    config = replace(TINY, share_through=share_through)
    trained = build_base(config)
    with torch.no_grad():
        for parameter in trained.branches["branch2"].parameters():
            parameter.add_(0.5)  # the branches differ now
    file = tmp_path / "start.safetensors"
    save_file(backbone_state(trained), file)
    started = build_base(replace(config, weights=str(file)))
    for branch in ("branch1", "branch2"):
        found = backbone_state(started, branch)  # type: ignore[arg-type]
        assert all(torch.equal(found[k], v) for k, v in backbone_state(trained).items())


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    save_file(backbone_state(build_base(TINY)), file)
    with pytest.raises(RlqkitError, match="does not fit the backbone"):
        build_base(replace(TINY, weights=str(file), channels=(8, 8, 16, 32)))
