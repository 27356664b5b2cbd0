"""Rebuilds the weights behind the golden numbers, which are a rule and not a file.

Every weight of the released architecture is a hash of its name and position, so that a 276 MB
checkpoint need not be stored. The names are those of the released code; ``released_name`` maps
ours to them.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rlqkit.runs import released_weights


def released_name(name: str) -> str:
    """Name of a weight in the released code, as ``<module>/<key>``, from its name here."""
    if name.startswith("gender."):  # trained there, but not released
        return "extra_classifier/classifier." + name.removeprefix("gender.")
    entry, key = released_weights.released_name(name)
    return f"{entry.removesuffix('_state_dict')}/{key}"


def hashed_uniforms(key: str, count: int) -> NDArray[np.float64]:
    """``count`` numbers in [0, 1) from a 64-bit mixing of position and CRC of the key."""
    golden_ratio, first, second = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
    with np.errstate(over="ignore"):
        bits = np.arange(count, dtype=np.uint64)
        bits += np.uint64(zlib.crc32(key.encode()) << 32) + np.uint64(golden_ratio)
        for shift, factor in ((30, first), (27, second)):
            bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
        bits ^= bits >> np.uint64(31)
    return (bits >> np.uint64(40)) / 2.0**24


def golden_value(key: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """The weight of that released name; spread and centre follow from its kind."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    v = (2 * hashed_uniforms(key, int(np.prod(shape))) - 1).reshape(shape)
    if key.endswith("running_mean"):
        v = 0.1 * v
    elif key.endswith("running_var"):
        v = 1 + 0.2 * v
    elif len(shape) == 4:
        v = np.sqrt(6 / np.prod(shape[1:])) * v
    elif key.endswith(("classifier.weight", "classifier.bias")):
        v = 0.02 * v
    elif len(shape) == 1:
        v = 1 + 0.1 * v if key.endswith(".weight") else 0.1 * v
    return v.astype(np.float32)


def fill(module: nn.Module, prefix: str = "") -> None:
    """Gives every weight and buffer of a module its golden value.

    Args:
        module: a ``Network`` or ``Heads`` of the released sizes.
        prefix: put before the released name, such as "teacher_".
    """
    state = {}
    for name, old in module.state_dict().items():
        value = golden_value(prefix + released_name(name), tuple(old.shape))
        state[name] = torch.from_numpy(np.asarray(value))
    module.load_state_dict(state)
