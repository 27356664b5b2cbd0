"""From plain values to the typed tree: unknown keys, wrong types and impossible values are refused.

Every error is one line that names the key and the nearest valid one.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from typing import Any, Literal

from rlqkit.config.schema import PROFILES, Config, Moment
from rlqkit.errors import RlqkitError


def build(values: dict[str, Any]) -> Config:
    """Builds and validates the tree from nested plain values.

    Raises:
        RlqkitError: unknown key (with the nearest valid one), wrong type, impossible value.
    """
    config = build_section(Config, values, "")
    _validate(config)
    return config


def build_section(cls: type, values: Any, prefix: str) -> Any:
    """A typed dataclass from plain values, as strict as the whole tree; prefix starts the keys."""
    if not isinstance(values, dict):
        raise RlqkitError(f"configuration key {prefix.rstrip('.')} is a section, not a value")
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            known = [prefix + name for name in hints]
            raise RlqkitError(
                f"unknown configuration key {prefix}{key}{did_you_mean(prefix + key, known)}"
                f"; valid here: {listed(hints)}"
            )
    arguments = {
        key: build_section(hints[key], value, f"{prefix}{key}.")
        if dataclasses.is_dataclass(hints[key])
        else _typed(hints[key], value, prefix + key)
        for key, value in values.items()
    }
    return cls(**arguments)


def _typed(hint: Any, value: Any, key: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            shown = [c for c in choices if c != ""]
            raise RlqkitError(
                f"{key} = {value!r} is not one of {listed(shown)}{did_you_mean(str(value), shown)}"
            )
        return value
    if origin in (tuple, types.GenericAlias):
        if not isinstance(value, (list, tuple)):
            raise RlqkitError(f"{key} = {value!r} must be a list, such as {key} = []")
        return tuple(_typed(typing.get_args(hint)[0], item, key) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise RlqkitError(f"{key} = {value!r} must be of type {hint.__name__}")
    if hint is float and not math.isfinite(value):
        raise RlqkitError(f"{key} = {value!r} must be a finite number")
    return value


def _validate(config: Config) -> None:
    _validate_sizes(config)
    _validate_names(config)
    for key, training in (("training", config.training), ("teacher", config.teacher)):
        if (training.epochs > 0) == (training.steps > 0):
            raise RlqkitError(
                f"{key}.epochs = {training.epochs} and {key}.steps = {training.steps}: give one of "
                "them a positive value and the other 0"
            )
    training = config.training
    moments = [(f"training.milestones[{i}]", m) for i, m in enumerate(training.milestones)]
    for key, text in [*moments, ("training.adversarial_from", training.adversarial_from)]:
        Moment.parse(text, key)
    for key in ("training.batch", "teacher.batch"):
        if get(config, key) % training.instances:
            raise RlqkitError(
                f"{key} = {get(config, key)} must be a multiple of training.instances = "
                f"{training.instances}"
            )
    channels = config.model.channels
    if channels and (len(channels) != 4 or min(channels) < 1):
        raise RlqkitError(f"model.channels = {list(channels)} must name the widths of four stages")


def _validate_names(config: Config) -> None:
    if config.profile not in PROFILES:
        raise RlqkitError(
            f'profile = "{config.profile}" is unknown{did_you_mean(config.profile, PROFILES)}; '
            f"there are {listed(PROFILES)}"
        )
    rules = config.evaluation.selection
    if "last" not in rules or len(set(rules)) < len(rules):
        raise RlqkitError(
            f'evaluation.selection = {list(rules)} must hold "last" and nothing twice'
        )


def _validate_sizes(config: Config) -> None:
    at_least = {
        2: ("training.batch", "teacher.batch"),  # batch normalisation needs two images
        1: (
            "averaging.batches", "data.height", "data.width", "cap.clusters", "training.instances",
            "training.evaluations", "training.processes", "evaluation.batch", "runtime.jobs",
        ),
        0: (
            "data.identities", "data.external_identities", "data.external_images",
            "data.validation_identities", "data.validation_seed",
            "data.cache_megabytes", "data.workers", "model.stem_width", "training.epochs",
            "training.steps", "training.warmup", "training.cosine_from", "training.weight_decay",
            "recolouring.colour_groups", "teacher.epochs", "teacher.steps",
            "evaluation.degradation_seed", "evaluation.gallery_seed", "runtime.threads",
            "runtime.checkpoint_minutes",
        ),
    }  # fmt: skip
    for least, keys in at_least.items():
        for key in keys:
            value = get(config, key)
            if value < least:
                raise RlqkitError(f"{key} = {value} must be at least {least}")
    seeds = {"seed": config.seed, "teacher.seed": config.teacher.seed}
    seeds |= {f"reproduce.seeds[{i}]": seed for i, seed in enumerate(config.reproduce.seeds)}
    for key, seed in seeds.items():
        if not 0 <= seed < 2**32:  # NumPy's generator takes no more
            raise RlqkitError(f"{key} = {seed} must be at least 0 and below 2^32")
    if not 0 <= config.averaging.weight <= 1:
        raise RlqkitError(f"averaging.weight = {config.averaging.weight} must lie in 0..1")
    if config.training.learning_rate <= 0:
        raise RlqkitError(f"training.learning_rate = {config.training.learning_rate} must be > 0")
    if config.continuing.learning_rate <= 0:
        raise RlqkitError(
            f"continuing.learning_rate = {config.continuing.learning_rate} must be > 0"
        )
    for key in ("training.warmup", "training.cosine_from"):
        if get(config, key) >= 1:
            raise RlqkitError(f"{key} = {get(config, key)} is a share of the training, below 1")


def get(config: Config, key: str) -> Any:
    """The value at a dotted key, such as ``get(config, "training.steps")``."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def did_you_mean(word: str, known: typing.Iterable[str]) -> str:
    """The end of a message: the known word that is nearest, or "" where none is near."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f' (did you mean "{close[0]}"?)' if close else ""


def listed(names: typing.Iterable[Any]) -> str:
    """Names side by side, for a message."""
    return ", ".join(str(name) for name in names)
