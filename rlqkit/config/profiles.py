"""Profiles, files and overrides: every way by which values reach the tree, and the hash of a run.

A profile is a TOML file in ``rlqkit/profiles``; it must name every field that it changes and may
name nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from rlqkit.config.schema import NOT_HASHED, PROFILES, Config, DataConfig
from rlqkit.config.strict import build, did_you_mean, listed
from rlqkit.errors import RlqkitError


def packaged_table(file: str, text: str | None = None) -> dict[str, Any]:
    """A TOML file of ``rlqkit/profiles`` as plain values.

    Args:
        file: its name.
        text: TOML in its place.

    Raises:
        RlqkitError: it is no TOML.
    """
    if text is None:
        text = (resources.files("rlqkit") / "profiles" / file).read_text("utf-8")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RlqkitError(f"{file} is not valid TOML: {error}") from None


def load_profile(name: str, overrides: dict[str, Any] | None = None) -> Config:
    """The configuration of a profile, with dotted overrides such as ``{"training.steps": 10}``.

    The paper profile also takes the settings of its target data set, see
    :func:`dataset_settings`; an override wins over both.

    Raises:
        RlqkitError: unknown profile, unknown key, wrong type or impossible value.
    """
    if name not in PROFILES:
        raise RlqkitError(
            f'no profile "{name}"{did_you_mean(name, PROFILES)}; there are {listed(PROFILES)}'
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
    if not values:
        raise RlqkitError(
            f'configuration {path} is empty; write a profile = "quick", or sections with what '
            "differs from the defaults"
        )
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


def given_overrides(overrides: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Overrides as a dict, also from text: papermill's ``-p`` hands a dict on as a string.

    Args:
        overrides: dotted keys and values; or JSON of them, "" for none; or None.

    Raises:
        RlqkitError: the text is no JSON object, or it is no dict at all.
    """
    found: Any = overrides
    if isinstance(overrides, str):
        try:
            found = json.loads(overrides) if overrides.strip() else {}
        except ValueError:
            found = overrides
    if not isinstance(found, Mapping | None) or not all(
        isinstance(key, str) for key in found or ()
    ):
        raise RlqkitError(
            f"overrides = {overrides!r} is no dict: give JSON such as "
            """'{"data.dataset": "prcc"}', or with papermill -y 'overrides: {data.dataset: prcc}'"""
        )
    return dict(found or {})


def to_dict(config: Config) -> dict[str, Any]:
    """The tree as plain values, tuples as lists: what config.json holds."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_dict(values: dict[str, Any]) -> Config:
    """The inverse of :func:`to_dict`, as strict as a profile."""
    return build(values)


def config_hash(config: Config) -> str:
    """Eight hexadecimal digits over everything that can change the numbers of a run.

    Only values that aren't a field's default count, so a new field with a default leaves the runs
    of before their names.
    """
    usual = flatten(to_dict(Config()))
    values = {
        key: value
        for key, value in flatten(to_dict(config)).items()
        if value != usual[key] and is_hashed(key)
    }
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def is_hashed(key: str) -> bool:
    """Whether a dotted key can change the numbers of a run."""
    section, _, name = key.partition(".")
    names = NOT_HASHED.get(section, ())
    return names is not None and name not in names


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
