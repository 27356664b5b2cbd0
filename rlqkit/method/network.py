"""The network of RLQ: a shared trunk, two branches for the descriptor, a third for pose.

    image ─ stem ─ layer1 ─ layer2 ─┬─ layer3 ─ layer4 ─ pool ─ BN ─ f1   branch 1 (CAL)
                      │             └─ layer3 ─ layer4 ─ pool ─ BN ─ f2   branch 2 (CAP acts on it)
                      └─ layer2 ─ layer3 ─ layer4 ─ pool ─ BN ─────── f3   pose branch (CAP only)

Branches are deep copies of the pretrained stages. The last stage has stride 1, so a 384 x 192
input gives a 24 x 12 map. The descriptor is f1 and f2 side by side; the pose branch and all heads
are thrown away at test time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlqkit.errors import RlqkitError
from rlqkit.method.rows import Branch

Stage = Literal["none", "layer1", "layer2", "layer3"]
STAGES = ("layer1", "layer2", "layer3", "layer4")


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
        """Features (B, 2C) of maps (B, C, h, w); half precision is pooled in float32."""
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
        """Cosines (B, C) of features (B, D) with the weights of C classes."""
        return F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))


class Network(nn.Module):
    """Trunk and branches; images in, one feature per branch out.

    Attributes:
        dimensions: length of each branch's feature (4096 for ResNet-50).
        descriptor_branches: the branches that make the descriptor, in order.
    """

    dimensions: int
    descriptor_branches: tuple[str, ...]

    def __init__(
        self,
        backbone: nn.Module,
        branches: Sequence[Branch] = ("branch1", "branch2"),
        share_through: Stage = "layer2",
        pose_from: Stage = "layer1",
    ) -> None:
        """Builds the network around a backbone, whose weights the branches copy.

        Args:
            backbone: a ResNet with timm's names: conv1, bn1, act1, maxpool, layer1 to layer4 and
                num_features. Its stages are taken over, the stride of layer4 becomes 1.
            branches: "branch1", "branch2" and "pose", or fewer.
            share_through: last stage that branches 1 and 2 share; "none" = nothing.
            pose_from: stage after which the pose branch leaves the trunk.

        Raises:
            RlqkitError: the backbone is no ResNet, or the pose branch would leave behind the trunk.
        """
        super().__init__()
        if not all(hasattr(backbone, part) for part in ("conv1", "bn1", *STAGES)):
            raise RlqkitError(
                f"{type(backbone).__name__} has not the stages of a ResNet; try model.backbone = "
                '"resnet50"'
            )
        resnet: Any = backbone
        _set_last_stride_to_one(resnet.layer4)
        stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.act1, resnet.maxpool)
        split = 0 if share_through == "none" else STAGES.index(share_through) + 1
        pose_split = STAGES.index(pose_from) + 1
        self.split, self.pose_split = split, pose_split
        if "pose" in branches and pose_split > split:
            raise RlqkitError(
                f"model.pose_from = {pose_from} lies behind model.share_through = "
                f"{share_through}; the pose branch can only leave the shared trunk"
            )
        stages = [getattr(resnet, name) for name in STAGES]
        self.stem = stem if split else nn.Identity()
        self.trunk = nn.ModuleList(stages[:split])
        self.branches = nn.ModuleDict()
        for name in branches:
            start = pose_split if name == "pose" else split
            parts = [*([] if split else [stem]), *stages[start:]]
            self.branches[name] = nn.Sequential(*(copy.deepcopy(part) for part in parts))
        channels = int(resnet.num_features)
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

    identity_1 on f1, identity_2 on f2, clothes (cosine) on f1, pose on f3, gender on f2 (or on f1,
    or on both side by side). Linear weights start at N(0, 0.001), biases at 0.
    """

    def __init__(
        self,
        dimensions: int,
        identities: int,
        clothes: int,
        branches: Sequence[Branch],
        pose_clusters: int = 0,
        gender: int = 0,
    ) -> None:
        """Sizes of the heads.

        Args:
            dimensions: length of a branch's feature.
            identities: classes of the identity heads.
            clothes: classes of the clothes head.
            branches: of the network; decide which heads there are.
            pose_clusters: K; its head has K + 1 classes.
            gender: number of features that the gender head sees side by side; 0 = no such head.
        """
        super().__init__()
        self.identity_1 = _linear_head(dimensions, identities)
        self.clothes = CosineHead(dimensions, clothes)
        if "branch2" in branches:
            self.identity_2 = _linear_head(dimensions, identities)
        if "pose" in branches:
            self.pose = _linear_head(dimensions, pose_clusters + 1)
        if gender:
            self.gender = _linear_head(gender * dimensions, 2)


def norms_of(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Every batch normalisation of a network."""
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def statistics_move(network: nn.Module, momentum: float | None) -> Iterator[None]:
    """Inside, running statistics move by this momentum: 0 = not at all, None = the plain mean."""
    norms = norms_of(network)
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = momentum
    try:
        yield
    finally:
        for norm, own in zip(norms, usual, strict=True):
            norm.momentum = own


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


def backbone_state(network: Network, branch: Branch = "branch2") -> dict[str, Tensor]:
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
