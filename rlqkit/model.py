"""The network of RLQ: a shared trunk, two branches for the descriptor, a third for pose.

    image ─ stem ─ layer1 ─ layer2 ─┬─ layer3 ─ layer4 ─ pool ─ BN ─ f1  "clothes" (branch 1, CAL)
                      │             └─ layer3 ─ layer4 ─ pool ─ BN ─ f2  "identity" (branch 2)
                      └─ layer2 ─ layer3 ─ layer4 ─ pool ─ BN ──────── f3  "pose" (CAP, training)

Branches are deep copies of the pretrained stages. The last stage has stride 1, so a 384 x 192
input gives a 24 x 12 map. The descriptor is f1 and f2 side by side; the pose branch and all heads
are thrown away at test time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import huggingface_hub
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from rlqkit.config import ModelConfig
from rlqkit.datasets import require_checksums
from rlqkit.errors import RlqkitError, one_line

Branch = Literal["clothes", "identity", "pose"]
STAGES = ("layer1", "layer2", "layer3", "layer4")
_SHIPPED = Path(__file__).resolve().parent.parent / "data"
START_WEIGHTS = {
    "wardrobe-start": _SHIPPED / "wardrobe-start/quick.safetensors",
    "wardrobe-start-v2": _SHIPPED / "wardrobe-start-v2/laptop.safetensors",
}
"""Shipped weights for small networks, in the place that ImageNet's have for large ones: learnt at
64 x 32 pixels, and at 128 x 64 from more people."""
HUB_TIMEOUT = 10.0
"""Seconds that the hub has to answer before ImageNet weights count as out of reach."""


class GlobalPooling(nn.Module):
    """Global max and global average pooling side by side, then batch normalisation.

    Input (B, C, h, w), output (B, 2C) in float32. The norm's weight starts at N(1, 0.02).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2 * channels)
        nn.init.normal_(self.norm.weight, 1.0, 0.02)
        nn.init.zeros_(self.norm.bias)

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps if maps.dtype == torch.float64 else maps.float()
        pooled = torch.cat([maps.amax(dim=(2, 3)), maps.mean(dim=(2, 3))], dim=1)  # (B, 2C)
        features: Tensor = self.norm(pooled)
        return features


class CosineHead(nn.Module):
    """Classifier whose logits are cosines: both the features and the class weights are normalised.

    Input (B, D), output (B, C) in -1..1.
    """

    def __init__(self, dimensions: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dimensions))
        nn.init.normal_(self.weight, 0.0, 0.001)

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))


class Network(nn.Module):
    """Trunk and branches; images in, one feature per branch out.

    Attributes:
        dimensions: length of each branch's feature (4096 for ResNet-50).
        descriptor_branches: the branches that make the descriptor, in order.
    """

    dimensions: int
    descriptor_branches: tuple[str, ...]

    def __init__(self, config: ModelConfig, branches: Sequence[Branch]) -> None:
        """Builds the network with fresh or pretrained weights.

        Args:
            config: backbone, its weights and where branches leave the trunk.
            branches: "clothes", "identity" and "pose", or fewer.

        Raises:
            RlqkitError: the backbone is unknown or no ResNet, or its weights can't be had.
        """
        super().__init__()
        backbone: Any = _load_backbone(config)
        _set_last_stride_to_one(backbone.layer4)
        stem = nn.Sequential(backbone.conv1, backbone.bn1, backbone.act1, backbone.maxpool)
        split = 0 if config.share_through == "none" else STAGES.index(config.share_through) + 1
        pose_split = STAGES.index(config.pose_from) + 1
        self.split, self.pose_split = split, pose_split
        if "pose" in branches and pose_split > split:
            raise RlqkitError(
                f"model.pose_from = {config.pose_from} lies behind model.share_through = "
                f"{config.share_through}; the pose branch can only leave the shared trunk"
            )
        stages = [getattr(backbone, name) for name in STAGES]
        self.stem = stem if split else nn.Identity()
        self.trunk = nn.ModuleList(stages[:split])
        self.branches = nn.ModuleDict()
        for name in branches:
            start = pose_split if name == "pose" else split
            parts = [*([] if split else [stem]), *stages[start:]]
            self.branches[name] = nn.Sequential(*(copy.deepcopy(part) for part in parts))
        channels = int(backbone.num_features)
        self.pools = nn.ModuleDict({name: GlobalPooling(channels) for name in branches})
        self.dimensions = 2 * channels
        self.descriptor_branches = tuple(name for name in branches if name != "pose")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W), normalised, to one (B, D) feature per branch."""
        maps = {0: self.stem(images)}  # maps behind the stem (0), layer1 (1), layer2 (2), ...
        for depth, stage in enumerate(self.trunk, start=1):
            maps[depth] = stage(maps[depth - 1])
        features = {}
        for name, branch in self.branches.items():
            start = self.pose_split if name == "pose" else self.split
            features[name] = self.pools[name](branch(maps[start]))
        return features

    def descriptor(self, images: Tensor) -> Tensor:
        """The test-time feature f1 | f2, (B, 2 D), not normalised; the pose branch is not run."""
        maps = self.stem(images)
        for stage in self.trunk:
            maps = stage(maps)
        names = self.descriptor_branches
        return torch.cat([self.pools[name](self.branches[name](maps)) for name in names], dim=1)


class Heads(nn.Module):
    """All classifiers of the training.

    identity_1 on f1, identity_2 on f2, clothes (cosine) on f1, pose on f3, gender on f2. Linear
    weights start at N(0, 0.001), biases at 0.
    """

    def __init__(
        self,
        dimensions: int,
        identities: int,
        clothes: int,
        branches: Sequence[Branch],
        pose_clusters: int = 0,
        gender: bool = False,
    ) -> None:
        """Sizes of the heads; ``pose_clusters`` is K, its head has K + 1 classes."""
        super().__init__()
        self.identity_1 = _linear_head(dimensions, identities)
        self.clothes = CosineHead(dimensions, clothes)
        if "identity" in branches:
            self.identity_2 = _linear_head(dimensions, identities)
        if "pose" in branches:
            self.pose = _linear_head(dimensions, pose_clusters + 1)
        if gender:
            self.gender = _linear_head(dimensions, 2)


def build_base(config: ModelConfig) -> Network:
    """The base model: branches "clothes" (f1) and "identity" (f2)."""
    return Network(config, ("clothes", "identity"))


def build_rlq(config: ModelConfig) -> Network:
    """The network of CAP and RLQ: the base model and the pose branch (f3)."""
    return Network(config, ("clothes", "identity", "pose"))


def build_cal(config: ModelConfig) -> Network:
    """Vanilla CAL: one branch, whose feature is the descriptor."""
    return Network(config, ("clothes",))


def count_parameters(module: nn.Module) -> int:
    """Number of trainable scalars."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _linear_head(dimensions: int, classes: int) -> nn.Linear:
    head = nn.Linear(dimensions, classes)
    nn.init.normal_(head.weight, 0.0, 0.001)
    nn.init.zeros_(head.bias)
    return head


def _set_last_stride_to_one(stage: nn.Module) -> None:
    """Keeps the resolution of the last stage, without dilation."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)
        elif isinstance(module, nn.AvgPool2d) and module.stride in (2, (2, 2)):
            module.kernel_size = module.stride = 1


def _load_backbone(config: ModelConfig) -> nn.Module:
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


def backbone_state(network: Network, branch: Branch = "identity") -> dict[str, Tensor]:
    """Weights of a plain backbone inside a network: stem, trunk and one branch's stages.

    The inverse of what the constructor does: a ``Network`` built from a file of this state dict
    (``model.weights``) starts where that branch ended.
    """
    own = list(network.branches[branch].children())
    stem = list(network.stem.children() if network.split else own.pop(0).children())
    parts = {"conv1": stem[0], "bn1": stem[1]}
    parts |= dict(zip(STAGES, [*network.trunk, *own], strict=True))
    return {
        f"{name}.{key}": value.contiguous()
        for name, part in parts.items()
        for key, value in part.state_dict().items()
    }


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
