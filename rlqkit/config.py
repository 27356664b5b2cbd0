"""Configuration: one frozen tree of typed fields, strict at the edge, hashed to a run id.

A profile is a TOML file in ``rlqkit/profiles``; it must name every field that it changes and may
name nothing else. Values reach the tree only through :func:`build`, which refuses unknown keys,
wrong types and impossible values with one line that names the key and the nearest valid one.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import tomllib
import types
import typing
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from rlqkit.errors import RlqkitError

PROFILES = ("smoke", "quick", "laptop", "paper")


@dataclass(frozen=True)
class DataConfig:
    """Which images, and at what size they enter the network."""

    dataset: str = "wardrobe-v2"
    """Target data set: the one whose identities are classified and retrieved."""
    root: str = ""
    """Folder of the target data set; empty = where the kit finds it by name. Not hashed."""
    external: str = "wardrobe-v2"
    """Data set whose ``external`` split teaches TAD; its identity labels are never used there."""
    external_root: str = ""
    """Folder of the external data set; empty = where the kit finds it by name. Not hashed."""
    identities: int = 0
    """Keep the first n identities of every target split; 0 = all."""
    labels: str = ""
    """Folder of label files and masks of the target data set; empty = ``labels`` in its own
    folder. Not hashed."""
    validation_identities: int = 0
    """Training people who validate instead, for data sets without a validation split of their own
    (LTCC, Celeb-reID) or with one of training people (PRCC); 0 = the published training set."""
    validation_seed: int = 1
    """Seed by which they are drawn; the same for every row and training seed."""
    external_identities: int = 0
    """Keep the first n identities of the external split; 0 = all."""
    external_images: int = 0
    """External images of one TAD epoch, drawn anew for every epoch; 0 = all."""
    height: int = 384
    """Input height in pixels."""
    width: int = 192
    """Input width in pixels."""
    cache_megabytes: int = 2000
    """Decoded images stay in memory up to this size, per image set. Not hashed."""
    workers: int = 0
    """Processes that prepare images; 0 = the training process itself. Not hashed."""


@dataclass(frozen=True)
class QualityConfig:
    """How HQ images are made LQ (paper, synthetic low-quality images)."""

    severity: str = "paper"
    """Named ranges of the degradations, see ``degradations.SEVERITIES``."""
    mix: str = "ltcc"
    """Named shares of pixelation, motion blur and out-of-focus blur, see ``degradations.MIXES``."""


@dataclass(frozen=True)
class ModelConfig:
    """The network: a trunk, then branches that are copies of the remaining stages."""

    backbone: str = "resnet50"
    """Any ResNet of timm."""
    weights: str = "imagenet"
    """"imagenet" (timm's ``tv_in1k`` weights), "wardrobe-start" or "wardrobe-start-v2"
    (shipped, for the small profiles' network), "none" (random), or a file of a state dict."""
    channels: tuple[int, ...] = ()
    """Widths of the four stages before expansion; empty = the backbone's own."""
    stem_width: int = 0
    """Width of the stem; 0 = the backbone's own."""
    share_through: Literal["none", "layer1", "layer2", "layer3"] = "layer2"
    """Last stage that branches 1 and 2 share."""
    pose_from: Literal["layer1", "layer2", "layer3"] = "layer1"
    """Stage after which the pose branch leaves the trunk."""


@dataclass(frozen=True)
class CapConfig:
    """Labels and form of coarse attribute prediction (CAP)."""

    pose_vector: Literal["R_LA", "R_LAC", "R_A", "N_LA", "N_LAC", "N_A"] = "R_LA"
    """Pose vector that K-means sees: limb lengths + angles, + coordinates, or angles only. The
    N_ kinds (normalised coordinates) exist only as columns of published label files."""
    clusters: int = 15
    """K, number of pose clusters; the head has K + 1 classes (0 = no pose found)."""
    disentangle: Literal["identity", "clothes", "both"] = "identity"
    """Which branch is pushed away from the pose branch."""
    disentangle_form: Literal["absolute", "relu"] = "absolute"
    """|cos| (the paper's) or ReLU(cos)."""


@dataclass(frozen=True)
class RecolouringConfig:
    """Clothes recolouring of training images."""

    palette: Literal["nine", "last"] = "nine"
    """Nine colours, or the six used on LaST."""
    colour_groups: int = 0
    """Colours of one group share a clothes class; 0 = every colour is its own (paper)."""


@dataclass(frozen=True)
class TrainingConfig:
    """Length, optimiser and arithmetic of the training."""

    epochs: int = 200
    """Epochs to train; 0 when the length is given in optimiser steps."""
    steps: int = 0
    """Steps of the main optimiser (TAD and CAP steps both count), the same for every row."""
    batch: int = 32
    """Source images of a batch, in each process; recoloured copies come on top. Same for TAD."""
    processes: int = 1
    """Processes that train together; torchrun's number is taken over, see docs/processes.md."""
    instances: int = 4
    """Images of one identity that stand together in a batch."""
    learning_rate: float = 3.5e-4
    """Adam's, for both optimisers."""
    weight_decay: float = 5e-4
    """L2, added to the gradient (Adam, not AdamW), on every parameter."""
    schedule: Literal["milestones", "cosine"] = "milestones"
    """"milestones": x0.1 at each; "cosine": warm-up, constant, then a cosine towards 1 %."""
    milestones: tuple[str, ...] = ("epoch 20", "epoch 40")
    """Moments of the x0.1 drops."""
    warmup: float = 0.0
    """Share of the training over which the cosine schedule's learning rate rises from 0."""
    cosine_from: float = 0.3
    """Share of the training after which the cosine schedule starts to fall."""
    adversarial_from: str = "epoch 25"
    """Moment from which the clothes classifier trains and CAL counts: "epoch 25" or "40 %"."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic, in Lightning Fabric's words; "auto" = bf16-mixed where the hardware has it."""
    channels_last: bool = False
    """Memory layout of images and convolutions; faster with bf16."""
    evaluations: int = 20
    """Validation evaluations spread evenly over the training, the last at its end."""


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher: the base model, trained on the external set, recolouring off."""

    epochs: int = 200
    """Epochs; 0 when the length is given in steps."""
    steps: int = 0
    """Steps of the main optimiser."""
    batch: int = 40
    """Source images of a batch."""
    seed: int = 100
    """The teacher's own seed: one teacher for all students, and no student's starting weights."""
    adversarial: bool = True
    """Whether the teacher trains with CAL (every external image is its own clothes class)."""
    selection: Literal["best_validation", "last"] = "best_validation"
    """Epoch that teaches: the best on the target's validation identities, or the last."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured after the training."""

    batch: int = 128
    """Images of a forward pass. Not hashed."""
    degradation_seed: int = 1
    """Seed of the LQ copies of query and gallery; the same for every row and training seed."""
    gallery_seed: int = 1
    """Seed of the single-shot galleries; the same for every row and training seed."""
    selection: tuple[Literal["last", "best_validation", "best_test"], ...] = ("last",)
    """Epochs that are reported, side by side; the field's habit is ``best_test``."""


Switch = Literal["clean", "official"]


@dataclass(frozen=True)
class CompatConfig:
    """Quirks of the released code, each a switch: ``official`` reproduces it, ``clean`` mends it.

    ``preset`` sets every switch that is not given by itself.
    """

    preset: Switch = "clean"
    """The value of all switches that are left empty."""
    worker_seeds: Literal["", "clean", "official"] = ""
    """official: crops, erasing, colours and LQ draws repeat in every epoch and for every seed."""
    external_order: Literal["", "clean", "official"] = ""
    """official: the external images come in the same order in every epoch."""
    kl_reduction: Literal["", "clean", "official"] = ""
    """official: KL terms are divided by batch x classes; clean: by the batch alone."""
    lq_thresholds: Literal["", "clean", "official"] = ""
    """official: shares .33/.30/.37 of the LQ kinds; clean: thirds, where the mix has three."""
    mask_overlap: Literal["", "clean", "official"] = ""
    """official: colours add modulo 256 where masks overlap; clean: trousers win."""
    zero_grad: Literal["", "clean", "official"] = ""
    """official (torch < 2): zero gradients stay, so TAD moves the pose and gender heads by
    momentum; clean: absent gradients are absent."""
    triplet_gradient: Literal["", "clean", "official"] = ""
    """With several processes the triplet sees the features of all. official: its gradient returns
    through the process's own features only; clean: it is the gradient of the joined batch."""

    def switch(self, name: str) -> Switch:
        """The value in force of one switch."""
        value: Switch = getattr(self, name) or self.preset
        return value


@dataclass(frozen=True)
class RuntimeConfig:
    """How the machine is used; never part of the hash."""

    threads: int = 0
    """Threads of one training; 0 = torch's choice."""
    jobs: int = 1
    """Trainings side by side in ``rlqkit reproduce``."""
    results: str = "results"
    """Folder that receives run folders, tables, figures and notebooks."""


@dataclass(frozen=True)
class ReproduceConfig:
    """What ``rlqkit reproduce`` runs."""

    rows: tuple[str, ...] = ()
    """Rows of the ablation table, in order; empty = all."""
    seeds: tuple[int, ...] = (1,)
    """Training seeds of every row."""


@dataclass(frozen=True)
class Config:
    """Everything a run needs to know."""

    profile: str = "paper"
    """Name of the profile that this configuration started from."""
    row: str = "base"
    """Row of the ablation, see ``rows.ROWS``."""
    seed: int = 1
    """Seed of initial weights, order and augmentation."""
    data: DataConfig = field(default_factory=DataConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    cap: CapConfig = field(default_factory=CapConfig)
    recolouring: RecolouringConfig = field(default_factory=RecolouringConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    compat: CompatConfig = field(default_factory=CompatConfig)
    reproduce: ReproduceConfig = field(default_factory=ReproduceConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


NOT_HASHED = {
    "profile": None,
    "runtime": None,
    "reproduce": None,
    "data": ("root", "external_root", "labels", "cache_megabytes", "workers"),
    "evaluation": ("batch",),
}
"""What may change without changing the numbers of a run."""


@dataclass(frozen=True)
class Moment:
    """A point of the training: an epoch (counted from 0) or a share of the whole."""

    epoch: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str, key: str) -> Moment:
        """Reads "epoch 25" or "40 %"; anything else is an error that names the key."""
        words = text.replace("%", " %").split()
        try:
            if len(words) == 2 and words[0] == "epoch" and int(words[1]) >= 0:
                return cls(epoch=int(words[1]))
            if len(words) == 2 and words[1] == "%" and 0 <= float(words[0]) <= 100:
                return cls(share=float(words[0]) / 100)
        except ValueError:
            pass
        raise RlqkitError(f'{key} = "{text}" is no moment; write "epoch 25" or "40 %"')

    def reached(self, epoch: int, progress: float) -> bool:
        """Whether the training is at or past this moment; progress is 0..1 of the whole."""
        if self.epoch is not None:
            return epoch >= self.epoch
        return progress >= (self.share or 0.0)


def load_profile(name: str, overrides: dict[str, Any] | None = None) -> Config:
    """The configuration of a profile, with dotted overrides such as ``{"training.steps": 10}``.

    The paper profile also takes the settings of its target data set, see
    :func:`dataset_settings`; an override wins over both.

    Raises:
        RlqkitError: unknown profile, unknown key, wrong type or impossible value.
    """
    if name not in PROFILES:
        raise RlqkitError(
            f'no profile "{name}"{_hint(name, PROFILES)}; there are {_list(PROFILES)}'
        )
    text = (resources.files("rlqkit") / "profiles" / f"{name}.toml").read_text(encoding="utf-8")
    values = tomllib.loads(text)
    values["profile"] = name
    wanted = _merge(values, overrides or {}).get("data", {})
    if name == "paper" and isinstance(wanted, dict):
        dataset = wanted.get("dataset", DataConfig.dataset)
        values = _deep_update(values, dataset_settings(dataset).get("set", {}))
    return build(_merge(values, overrides or {}))


def dataset_settings(dataset: str) -> dict[str, Any]:
    """What the library knows of a published data set; {} for any other.

    Returns:
        ``set`` (configuration sections that the paper profile takes over), ``why`` (sentences for
        the reader).
    """
    table = tomllib.loads(
        (resources.files("rlqkit") / "profiles" / "paper_datasets.toml").read_text("utf-8")
    )
    found: dict[str, Any] = table.get(dataset, {}) if isinstance(dataset, str) else {}
    return found


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys: {"training": {"steps": 10}} → {"training.steps": 10}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def load_file(
    path: Path, overrides: dict[str, Any] | None = None, profile: str | None = None
) -> Config:
    """The configuration in a TOML file, on top of a profile if one is named here or in the file.

    Raises:
        RlqkitError: no such file, no TOML, or as :func:`load_profile`.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RlqkitError(
            f"configuration {path} can't be read ({error.strerror}); give an existing TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RlqkitError(f"configuration {path} is not valid TOML: {error}") from None
    if profile:
        values["profile"] = profile
    start: dict[str, Any] = {}
    if "profile" in values:
        data = _merge(values, overrides or {}).get("data")
        named = data.get("dataset") if isinstance(data, dict) else None
        dataset = {"data.dataset": named} if isinstance(named, str) else None
        start = to_dict(load_profile(str(values["profile"]), dataset))
    return build(_merge(_deep_update(start, values), overrides or {}))


def with_overrides(config: Config, overrides: dict[str, Any]) -> Config:
    """A copy of ``config`` with dotted keys replaced, as strict as loading it."""
    return build(_merge(to_dict(config), overrides))


def parse_override(text: str) -> tuple[str, Any]:
    """Reads ``training.steps=10`` of the command line; the value is TOML, or a bare word."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RlqkitError(f'"{text}" is no override; write key=value, such as training.steps=100')
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def to_dict(config: Config) -> dict[str, Any]:
    """The tree as plain values, tuples as lists: what config.json holds."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_dict(values: dict[str, Any]) -> Config:
    """The inverse of :func:`to_dict`, as strict as a profile."""
    return build(values)


def config_hash(config: Config) -> str:
    """Eight hexadecimal digits over everything that can change the numbers of a run."""
    values = to_dict(config)
    for section, names in NOT_HASHED.items():
        if names is None:
            values.pop(section)
        else:
            for name in names:
                values[section].pop(name)
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


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
                f"unknown configuration key {prefix}{key}{_hint(prefix + key, known)}"
                f"; valid here: {_list(hints)}"
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
                f"{key} = {value!r} is not one of {_list(shown)}{_hint(str(value), shown)}"
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
            f'profile = "{config.profile}" is unknown{_hint(config.profile, PROFILES)}; '
            f"there are {_list(PROFILES)}"
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
            "data.height", "data.width", "cap.clusters", "training.instances",
            "training.evaluations", "training.processes", "evaluation.batch", "runtime.jobs",
        ),
        0: (
            "data.identities", "data.external_identities", "data.external_images",
            "data.validation_identities", "data.validation_seed",
            "data.cache_megabytes", "data.workers", "model.stem_width", "training.epochs",
            "training.steps", "training.warmup", "training.cosine_from", "training.weight_decay",
            "recolouring.colour_groups", "teacher.epochs", "teacher.steps",
            "evaluation.degradation_seed", "evaluation.gallery_seed", "runtime.threads",
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
    if config.training.learning_rate <= 0:
        raise RlqkitError(f"training.learning_rate = {config.training.learning_rate} must be > 0")
    for key in ("training.warmup", "training.cosine_from"):
        if get(config, key) >= 1:
            raise RlqkitError(f"{key} = {get(config, key)} is a share of the training, below 1")


def get(config: Config, key: str) -> Any:
    """The value at a dotted key, such as ``get(config, "training.steps")``."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _merge(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in overrides.items():
        section = nested
        *parents, last = key.split(".")
        for name in parents:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise RlqkitError(f"configuration key {name} is a section, not a value")
        section[last] = value
    return _deep_update(values, nested)


def _deep_update(values: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in new.items():
        old = merged.get(key)
        both = isinstance(value, dict) and isinstance(old, dict)
        merged[key] = _deep_update(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _hint(word: str, known: typing.Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f' (did you mean "{close[0]}"?)' if close else ""


def _list(names: typing.Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names)
