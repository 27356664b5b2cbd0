"""Questions beside the ablation, as lists of runs: ``profiles/studies.toml``.

A study has a row of its own and variants: rows with some keys changed. Each is compared with the
study's row on the same seeds. All of them are ordinary runs in ordinary folders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rlqkit.config import Config, build_section, packaged_table, parse_override, with_overrides
from rlqkit.errors import RlqkitError
from rlqkit.method.rows import find_row
from rlqkit.runs.plan import with_all_before


@dataclass(frozen=True)
class Variant:
    """One line of a study's table.

    Attributes:
        name: unique in its study.
        title: what differs, for the reader of the table; "" = the title of its row.
        row: what is trained; "" = the study's row.
        set: changed keys, as ``key=value``.
        length: of the training, times the profile's epochs or steps.
        against: variant that it is compared with; "" = the study's row as the profile has it.
        profiles: those that it is for; () = all.
    """

    name: str
    title: str = ""
    row: str = ""
    set: tuple[str, ...] = ()
    length: float = 1.0
    against: str = ""
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """A question and the runs that answer it.

    Attributes:
        name: key on the command line.
        question: in a sentence.
        row: of the reference.
        seeds: training seeds of every variant.
        variants: in the order of the table; the reference isn't among them.
        set: keys that the study changes in the profile, for reference and variants alike.
        rules: for choosing an epoch, which the study compares too (``report.selection``).
    """

    name: str
    question: str
    row: str
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...] = ()
    set: tuple[str, ...] = ()
    rules: tuple[str, ...] = ("last",)

    def config(self, profile: Config, variant: Variant | None, seed: int) -> Config:
        """Configuration of one run; ``variant`` None = the reference."""
        row = variant.row if variant and variant.row else self.row
        config = replace(profile, row=row, seed=seed)
        given = (*self.set, *(variant.set if variant else ()))
        changes = dict(parse_override(text) for text in given)
        if variant and variant.length != 1:
            unit = "epochs" if profile.training.epochs else "steps"
            length = variant.length * getattr(profile.training, unit)
            changes[f"training.{unit}"] = max(1, round(length))
        return with_overrides(config, changes) if changes else config

    def asked(self, profile: Config) -> tuple[Variant, ...]:
        """The variants that there are in a profile."""
        return tuple(v for v in self.variants if not v.profiles or profile.profile in v.profiles)

    def runs(self, profile: Config) -> list[Config]:
        """Every run, seed by seed, each after those that it waits for; none twice."""
        return with_all_before(
            self.config(profile, variant, seed)
            for seed in self.seeds
            for variant in (None, *self.asked(profile))
        )


def read_studies(text: str | None = None) -> dict[str, Study]:
    """The studies by name, in the order of the file.

    Args:
        text: TOML in place of the shipped file.

    Raises:
        RlqkitError: no TOML, an unknown key, a wrong type, an unknown row, two variants of one
            name, a comparison with a variant that isn't there.
    """
    table = packaged_table("studies.toml", text)
    return {name: _read(name, entry) for name, entry in table.items()}


def _read(name: str, entry: dict[str, Any]) -> Study:
    prefix = f"studies.toml {name}."
    if not isinstance(entry, dict):
        raise RlqkitError(f"{prefix.rstrip('.')} is a section, not a value")
    listed = entry.get("variant", [])
    values = {key: value for key, value in entry.items() if key != "variant"}
    try:
        variants = tuple(
            build_section(Variant, item, f"{prefix}variant[{number}].")
            for number, item in enumerate(listed)
        )
        study: Study = build_section(Study, {"name": name, **values}, prefix)
    except TypeError as error:  # a field without a default is not there
        raise RlqkitError(f"{prefix.rstrip('.')} is incomplete: {error}") from None
    names = [variant.name for variant in variants]
    for row in (study.row, *(variant.row for variant in variants if variant.row)):
        find_row(row)
    for variant in variants:
        if not (variant.title or variant.row):
            raise RlqkitError(
                f"{prefix}variant {variant.name} needs a title, or a row that has one"
            )
    variants = tuple(
        variant if variant.title else replace(variant, title=find_row(variant.row).title)
        for variant in variants
    )
    for variant in variants:
        if names.count(variant.name) > 1:
            raise RlqkitError(f"{prefix}variant {variant.name} is there twice; rename one")
        if variant.against and variant.against not in names:
            raise RlqkitError(f"{prefix}variant {variant.name}: no variant {variant.against}")
        against = next((other for other in variants if other.name == variant.against), None)
        mine, theirs = set(variant.profiles), set(against.profiles if against else ())
        if theirs and not (mine and mine <= theirs):
            raise RlqkitError(
                f"{prefix}variant {variant.name} is for profiles without {variant.against}"
            )
    for variant in variants:
        if variant.length <= 0:
            raise RlqkitError(
                f"{prefix}variant {variant.name}: length is {variant.length}, not > 0"
            )
    if not (study.seeds and variants):
        raise RlqkitError(f"{prefix.rstrip('.')} needs a seed and a variant")
    return replace(study, variants=variants)


def find_study(name: str) -> Study:
    """The study of that name.

    Raises:
        RlqkitError: no such study; the message lists the names.
    """
    studies = read_studies()
    if name not in studies:
        raise RlqkitError(f'no study "{name}"; studies are {", ".join(studies)}')
    return studies[name]
