"""Calibration: is the data set as hard as it was meant to be? Answered from run folders alone.

A benchmark teaches nothing when a base model finds everybody or nobody. The embedded set is meant
to leave the base model between 25 and 50 % of CC rank-1 on HQ images, clearly more under SC (so
clothes are a temptation), clearly less on LQ queries (so there is a collapse to mend) but more
than chance (so it can be mended). The teacher's figures on the target's test people, whom it never
saw, say how much it has to hand on.

Two uncertainties stand side by side: other test people (bootstrap over identities, seeds averaged)
and other training seeds (Student's t over the seeds' means; none with one seed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from rlqkit.config import Config
from rlqkit.data.imageset import EVERY_IMAGE
from rlqkit.data.loaders import load_benchmark
from rlqkit.errors import RlqkitError, one_line
from rlqkit.evaluation.intervals import (
    Condition,
    Interval,
    clustered_interval,
    over_seeds,
    query_scores,
    select,
)
from rlqkit.evaluation.metrics import chance_rank1
from rlqkit.evaluation.protocol import HQ, LQ
from rlqkit.evaluation.severity import turn_dials
from rlqkit.method.degradations import KINDS
from rlqkit.method.rows import TEACHER
from rlqkit.progress import Say, bar
from rlqkit.runs.experiment import load_network, machine_of
from rlqkit.runs.folder import RunFolder

BAND = (0.25, 0.50)
"""CC rank-1 on HQ that the base model should have."""
MET, OPEN, MISSED = "met", "open", "missed"
"""The whole interval meets the target; it reaches to both sides; none of it does."""
CC_HQ: Condition = (HQ, HQ, "CC")
SC_HQ: Condition = (HQ, HQ, "SC")
ALL_HQ: Condition = (HQ, HQ, EVERY_IMAGE)
"""Each image is query and gallery: twice the gallery, and twice as many images to be found."""
Verdict = Callable[[Interval], str]


def calibration_table(folders: Sequence[RunFolder], rule: str = "last") -> pd.DataFrame:
    """Every line of the calibration, with intervals and a verdict.

    Args:
        folders: runs of the base model (any seeds), of the teacher, or both; other rows are
            refused. All of one configuration but for row and seed.
        rule: selection rule of the base model's figures; the teacher's are those of the epoch
            that is used, best on validation people.

    Returns:
        One row a line: row, measured, estimate, low, high (percent or points; 95 % over test
        people), seeds, seed_low, seed_high (95 % over seeds; NaN with one), target, verdict
        ("met", "open", "missed"; "" where nothing is aimed at).

    Raises:
        RlqkitError: no such run, a run of another row or data set, or figures missing.
    """
    base = _runs_of("base", folders)
    teacher = _runs_of(TEACHER.name, folders)
    strange = [f.path.name for f in folders if f not in base and f not in teacher]
    if strange or not folders:
        what = f"{strange[0]} is a run of another row" if strange else "no run was given"
        raise RlqkitError(f"{what}; give finished runs of the base model and its teacher")
    _require_one_setting(base)
    lines = _base_lines(base, rule) if base else []
    return pd.DataFrame(lines + (_teacher_lines(teacher) if teacher else []))


def severity_curves(
    folders: Sequence[RunFolder], levels: int = 4, queries: int = 150, progress: bool = False
) -> pd.DataFrame:
    """CC rank-1 and HQ–LQ cosine at each level of each degradation, one curve per input size.

    Args:
        folders: finished base runs with features; of several with one input size the first counts.
        levels: settings of a dial, besides the untouched image.
        queries: size of the sample of queries.
        progress: show a bar.

    Returns:
        The table of ``severity.turn_dials``; its column model names the input, "128 × 64".

    Raises:
        RlqkitError: weights or features are missing.
    """
    chosen: dict[str, RunFolder] = {}
    for folder in folders:
        data = folder.config().data
        chosen.setdefault(f"{data.height} × {data.width}", folder)
    tables = []
    for name, folder in bar(chosen.items(), desc="severity curves", disable=not progress):
        config = folder.config()
        fabric = machine_of(folder)
        network: Any = fabric.to_device(load_network(folder))
        networks = {name: (folder.features(), network)}
        benchmark = load_benchmark(config)
        tables.append(turn_dials(networks, benchmark, config, fabric, levels, queries))
    return pd.concat(tables, ignore_index=True)


def base_runs_by_size(config: Config, say: Say = print) -> list[RunFolder]:
    """Finished base runs with weights on a configuration's data set, one for each input size.

    First the configuration's own (or the shipped one, if that has weights), then those of other
    profiles in the same results folder (but ``smoke``, whose figures mean nothing). A run that
    this version of the kit can't read is left out.

    Args:
        config: gives data set, input size and results folder.
        say: receives a line for each run that is left out, with the reason.
    """
    base = replace(config, row="base")
    found: dict[tuple[int, int], RunFolder] = {}
    for folder in (RunFolder.of(base), RunFolder.shipped(base)):
        if _has_weights_and_features(folder):
            found.setdefault((config.data.height, config.data.width), folder)
    for file in sorted(Path(config.runtime.results).glob("*/runs/base-s*/metrics.json")):
        folder = RunFolder(file.parent)
        try:
            other = folder.config()
        except RlqkitError as error:
            say(f"left out: {one_line(error)}")
            continue
        mine, theirs = config.data, other.data
        same = (theirs.dataset, theirs.test) == (mine.dataset, mine.test)
        if same and other.profile != "smoke" and _has_weights_and_features(folder):
            found.setdefault((other.data.height, other.data.width), folder)
    return list(found.values())


def _has_weights_and_features(folder: RunFolder) -> bool:
    return folder.finished and (folder.path / "features.safetensors").is_file()


def _base_lines(folders: list[RunFolder], rule: str) -> list[dict[str, Any]]:
    chance = _chance(folders[0])
    tables = [folder.per_query() for folder in folders]

    def line(name: str, condition: Condition, target: str, verdict: Verdict) -> dict[str, Any]:
        return _line("base", name, [select(t, condition, rule) for t in tables], target, verdict)

    def gap(
        name: str, first: Condition, second: Condition, target: str, verdict: Verdict
    ) -> dict[str, Any]:
        pairs = [(select(t, first, rule), select(t, second, rule)) for t in tables]
        return _gap(name, pairs, target, verdict)

    low, high = (f"{100 * end:g}" for end in BAND)
    lines = [
        line("CC rank-1, HQ", CC_HQ, f"{low} to {high}", within_band),
        line("CC rank-1, HQ, every image", ALL_HQ, f"{low} to {high}", within_band),
        gap("SC − CC rank-1, HQ", SC_HQ, CC_HQ, "> 0", above(0.0)),
    ]
    for kind in (LQ, *KINDS):
        name = "all LQ" if kind == LQ else kind.replace("_", " ")
        condition = (kind, HQ, "CC")
        lines.append(gap(f"{name} − HQ, CC rank-1", condition, CC_HQ, "< 0", below(0.0)))
        target = f"> chance ({100 * chance:.2f})"
        lines.append(line(f"CC rank-1, {name} → HQ", condition, target, above(chance)))
    return lines


def _teacher_lines(folders: list[RunFolder]) -> list[dict[str, Any]]:
    """Rank-1 and mAP of people that the teacher never saw, at the epoch that is used."""
    tables = [folder.per_query() for folder in folders]
    lines = []
    for protocol in ("CC", "SC"):
        chosen = [select(table, (HQ, HQ, protocol), "best_validation") for table in tables]
        chance = _chance(folders[0], protocol)
        name, target = f"{protocol} rank-1, HQ", f"> chance ({100 * chance:.2f})"
        lines.append(_line("teacher, unseen people", name, chosen, target, above(chance)))
        lines.append(_line("teacher, unseen people", f"{protocol} mAP, HQ", chosen, measure="mAP"))
    return lines


def _line(
    row: str,
    name: str,
    tables: list[pd.DataFrame],
    target: str = "",
    verdict: Verdict = lambda interval: "",
    measure: str = "rank1",
) -> dict[str, Any]:
    interval = clustered_interval(pd.concat(tables, ignore_index=True), measure=measure)
    by_seed = [float(query_scores(table, measure).mean()) for table in tables]
    return _record(row, name, interval, by_seed, target, verdict)


def _gap(
    name: str, pairs: list[tuple[pd.DataFrame, pd.DataFrame]], target: str, verdict: Verdict
) -> dict[str, Any]:
    """A paired difference on the queries that both conditions have a match for."""
    first, second = [], []
    for mine, other in pairs:
        mine, other = (t[t["first_hit"] >= 0].assign(query="either") for t in (mine, other))
        first.append(mine[mine["file"].isin(other["file"])])
        second.append(other[other["file"].isin(mine["file"])])
    interval = clustered_interval(
        pd.concat(first, ignore_index=True), pd.concat(second, ignore_index=True)
    )
    by_seed = [
        float((query_scores(a) - query_scores(b)).mean())
        for a, b in zip(first, second, strict=True)
    ]
    return _record("base", name, interval, by_seed, target, verdict)


def _record(
    row: str, name: str, interval: Interval, by_seed: list[float], target: str, verdict: Verdict
) -> dict[str, Any]:
    seed_low, seed_high = over_seeds(by_seed)
    return {
        "row": row,
        "measured": name,
        "estimate": 100 * interval.estimate,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
        "seeds": len(by_seed),
        "seed_low": 100 * seed_low,
        "seed_high": 100 * seed_high,
        "target": target,
        "verdict": verdict(interval),
    }


def within_band(interval: Interval) -> str:
    """Verdict on ``BAND``."""
    low, high = BAND
    if low <= interval.low and interval.high <= high:
        return MET
    return MISSED if interval.high < low or interval.low > high else OPEN


def above(limit: float) -> Verdict:
    """Verdict on being more than ``limit``."""

    def verdict(interval: Interval) -> str:
        if interval.low > limit:
            return MET
        return MISSED if interval.high <= limit else OPEN

    return verdict


def below(limit: float) -> Verdict:
    """Verdict on being less than ``limit``."""

    def verdict(interval: Interval) -> str:
        if interval.high < limit:
            return MET
        return MISSED if interval.low >= limit else OPEN

    return verdict


def _chance(folder: RunFolder, protocol: str = "CC") -> float:
    benchmark = load_benchmark(folder.config())
    return chance_rank1(
        benchmark["query"].metric_arrays(), benchmark["gallery"].metric_arrays(), protocol
    )


def _runs_of(row: str, folders: Sequence[RunFolder]) -> list[RunFolder]:
    return [folder for folder in folders if folder.config().row == row]


def _require_one_setting(folders: list[RunFolder]) -> None:
    """Seeds may be averaged only over runs of one data set, its test people, and input size."""
    settings = {
        (c.data.dataset, c.data.test, c.data.height, c.data.width): f.path.name
        for f in folders
        for c in [f.config()]
    }
    if len(settings) > 1:
        raise RlqkitError(
            f"{' and '.join(settings.values())} differ in data set, test people or input size; "
            "calibrate runs of one kind at a time"
        )
