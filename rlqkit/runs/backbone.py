"""Backbones and their weights: timm's ResNets, ImageNet's weights, the shipped starting weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from rlqkit.config import ModelConfig
from rlqkit.errors import RlqkitError, one_line
from rlqkit.files import require_checksums
from rlqkit.method.network import STAGES, Network
from rlqkit.method.rows import Branch

_SHIPPED = Path(__file__).resolve().parents[2] / "data"
START_WEIGHTS = {
    "wardrobe-start": _SHIPPED / "wardrobe-start/quick.safetensors",
    "wardrobe-start-v2": _SHIPPED / "wardrobe-start-v2/laptop.safetensors",
}
"""Shipped weights for small networks, in the place that ImageNet's have for large ones: learnt at
64 x 32 pixels, and at 128 x 64 from more people."""
HUB_TIMEOUT = 10.0
"""Seconds that the hub has to answer before ImageNet weights count as out of reach."""


def build_network(config: ModelConfig, branches: Sequence[Branch]) -> Network:
    """The network of a configuration, around its backbone with its starting weights.

    Args:
        config: backbone, its weights and where branches leave the trunk.
        branches: as a row names them (``Row.branch_names``).

    Raises:
        RlqkitError: as :func:`load_backbone` and :class:`rlqkit.method.network.Network`.
    """
    return Network(load_backbone(config), branches, config.share_through, config.pose_from)


def weights_file(config: ModelConfig) -> Path | None:
    """The file that a configuration's starting weights come from; None for ImageNet's and none.

    Raises:
        RlqkitError: it doesn't exist.
    """
    if config.weights in ("imagenet", "none"):
        return None
    file = START_WEIGHTS.get(config.weights, Path(config.weights))
    if not file.is_file():
        raise RlqkitError(
            f"model.weights = {config.weights} does not exist; give a file of a state dict, "
            f'{", ".join(START_WEIGHTS)}, "imagenet" or "none"'
        )
    return file


def load_backbone(config: ModelConfig) -> nn.Module:
    """A ResNet of timm with its starting weights.

    Raises:
        RlqkitError: the backbone is unknown or no ResNet, or its weights can't be had.
    """
    if config.backbone not in timm.list_models("*resnet*"):
        raise RlqkitError(
            f'model.backbone = "{config.backbone}" is no ResNet of timm; try resnet50, resnet18 '
            "or resnet10t"
        )
    changes: dict[str, Any] = {"num_classes": 0}
    if config.channels:
        changes["channels"] = config.channels
    if config.stem_width:
        changes["stem_width"] = config.stem_width
    pretrained = config.weights == "imagenet"
    name = config.backbone
    if pretrained and name == "resnet50":
        name = "resnet50.tv_in1k"  # torchvision's weights, the paper's start
    try:
        if pretrained:
            changes |= _pretrained_source(name)
        backbone = timm.create_model(name, pretrained=pretrained, **changes)
    except RlqkitError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RlqkitError(
            f'model.backbone = "{name}" with model.weights = "{config.weights}" can\'t be built '
            f"({reason}); offline, set model.weights to a file of its state dict or to none"
        ) from error
    if not all(hasattr(backbone, stage) for stage in ("conv1", "bn1", *STAGES)):
        raise RlqkitError(f'model.backbone = "{name}" has not the stages of a ResNet; try resnet50')
    if config.weights in START_WEIGHTS:
        require_checksums(START_WEIGHTS[config.weights].parent)
        _load_weights(backbone, START_WEIGHTS[config.weights])
    elif config.weights not in ("imagenet", "none"):
        _load_weights(backbone, Path(config.weights))
    return backbone


def _pretrained_source(name: str) -> dict[str, Any]:
    """Arguments for timm that take cached weights from disk; nothing if they are to be fetched.

    The hub's client retries for most of a minute without a network. So the cache is looked at
    first, then the hub is asked once, and what is not to be had is said at once.

    Raises:
        RlqkitError: not cached, and no network (or HF_HUB_OFFLINE forbids it).
    """
    settings = timm.get_pretrained_cfg(name)
    if settings is None or not settings.hf_hub_id:
        return {}
    cached = huggingface_hub.try_to_load_from_cache(settings.hf_hub_id, "model.safetensors")
    if isinstance(cached, str):
        return {"pretrained_cfg_overlay": {"file": cached}}
    reason = "HF_HUB_OFFLINE is set"
    if not huggingface_hub.is_offline_mode():
        address = huggingface_hub.hf_hub_url(settings.hf_hub_id, "model.safetensors")
        try:
            huggingface_hub.get_session().head(address, timeout=HUB_TIMEOUT)
            return {}
        except Exception as error:  # whatever kind of client the hub's library uses
            reason = f"the hub can't be reached: {one_line(error)}"
    raise RlqkitError(
        f"ImageNet weights {name} are not in this machine's cache and {reason}; fetch them once "
        "with a network (the cache keeps them), or set model.weights to a file of their state dict"
    )


def _load_weights(backbone: nn.Module, file: Path) -> None:
    if not file.is_file():
        raise RlqkitError(
            f"model.weights = {file} does not exist; give a file of a {type(backbone).__name__} "
            f'state dict, {", ".join(START_WEIGHTS)}, "imagenet" or "none"'
        )
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        wanted = backbone.state_dict().keys()
        backbone.load_state_dict({k: v for k, v in state.items() if k in wanted})
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise RlqkitError(
            f"model.weights = {file} does not fit the backbone ({reason}); give the state dict of "
            "the same architecture"
        ) from error
