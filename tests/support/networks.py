"""The three networks of the ablation, by name."""

from rlqkit.config import ModelConfig
from rlqkit.method.network import Network
from rlqkit.method.rows import ROWS
from rlqkit.runs.backbone import build_network


def build_base(config: ModelConfig) -> Network:
    """The base model: branches 1 and 2."""
    return build_network(config, ROWS["base"].branch_names)


def build_rlq(config: ModelConfig) -> Network:
    """The network of CAP and RLQ: the base model and the pose branch."""
    return build_network(config, ROWS["rlq"].branch_names)


def build_cal(config: ModelConfig) -> Network:
    """Vanilla CAL: branch 1 alone."""
    return build_network(config, ROWS["cal"].branch_names)
