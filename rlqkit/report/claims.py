"""The paper's claims and what one's own runs say to them: a verdict each, or what it takes.

Verdicts come from runs on the real data set, trained as published; a rendered data set never gives
one. What rendered people can tell is the direction of an effect, a table of its own
(:func:`directions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from rlqkit.config import ReproduceConfig, load_profile
from rlqkit.errors import RlqkitError, one_line
from rlqkit.evaluation.intervals import CONDITIONS, Interval, clustered_interval, select
from rlqkit.evaluation.protocol import HQ
from rlqkit.method.rows import find_row
from rlqkit.report.comparison import has_figures
from rlqkit.report.tables import Results, no_result_reasons
from rlqkit.runs.claims import Claim, best_other, read_claims
from rlqkit.runs.costs import estimate, sizes_of
from rlqkit.runs.folder import RunFolder, find_runs, profile_folder, run_id
from rlqkit.runs.published import PublishedRun, Quoted, as_quoted, published_runs

REPRODUCED, WITHIN, NOT_REPRODUCED = "reproduced", "within spread", "not reproduced"
NEEDS_DATA, NO_RESULT, OTHERS = "needs data", "no result", "no run described"
MEANING = {
    REPRODUCED: "the mean of the seeds lies within half a point, or the figure between the seeds",
    WITHIN: "the figure lies in the 95 % interval over test people",
    NOT_REPRODUCED: "it lies outside",
    NO_RESULT: "the run differs from the published one; the reasons are named",
    NEEDS_DATA: "there is no such run yet; the command and an estimate of its hours are named",
    OTHERS: "another method's figure, or one without a described training",
}
"""Verdict → what it means, in the order of the table."""
ROUNDING = 0.5
"""Points of rank-1 that count as the same figure."""
RULE = "best_test"
"""How the paper's authors chose their epochs, and their runs do here."""
COLUMNS = (
    "dataset", "protocol", "method", "kind", "published", "ours", "interval", "verdict", "why",
    "command", "hours", "source",
)  # fmt: skip


@dataclass(frozen=True)
class Ours:
    """What the runs of a published training gave, in percent.

    Attributes:
        rank1, mAP: of each seed, as the authors quote: the best of any epoch.
        interval: of rank-1 over test people, seeds averaged, in 0..1.
        reasons: why it is no result; () where it is one.
    """

    rank1: tuple[float, ...]
    mAP: tuple[float, ...]
    interval: Interval
    reasons: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Rank-1, averaged over the seeds."""
        return sum(self.rank1) / len(self.rank1)


def ledger(results: str, dataset: str | None = None) -> pd.DataFrame:
    """Every published figure beside one's own runs of it.

    Args:
        results: folder that holds ``paper/runs``.
        dataset: only figures on this data set.

    Returns:
        One line a figure, columns ``COLUMNS``: published and ours as text ("46.4 / 21.5", seeds
        separated by "; "), interval in percent, verdict (``MEANING``), why, and for what is missing
        the command and its hours on the GPU that ``costs`` assumes.
    """
    claims = read_claims(dataset)
    named = {run.name: run for run in published_runs()}
    ours = {name: _runs_of(named[name], results) for name in {c.run for c in claims} if name}
    every = read_claims()
    lines = []
    for claim in claims:
        line = _described(claim) | {"verdict": OTHERS}
        if claim.run and claim.figure != "no figure":
            run, folders = named[claim.run], ours[claim.run]
            line |= _judged(claim, run, folders, every) if folders else _to_do(run)
        lines.append(line)
    blank = dict.fromkeys(COLUMNS, "")
    return pd.DataFrame([blank | line for line in lines], columns=list(COLUMNS))


def verdict(low: float, high: float, ours: Ours) -> str:
    """Reproduced, within spread or not.

    Args:
        low, high: ends of what is published, in percent; the same number twice for one figure.
        ours: of the runs.
    """
    between_seeds = min(ours.rank1) <= high and max(ours.rank1) >= low
    if between_seeds or low - ROUNDING <= ours.mean <= high + ROUNDING:
        return REPRODUCED
    spread = (100 * ours.interval.low, 100 * ours.interval.high)
    return WITHIN if spread[0] <= high and spread[1] >= low else NOT_REPRODUCED


def _described(claim: Claim) -> dict[str, Any]:
    stated = "" if claim.protocol_stated else " (not stated)"
    shots = f" {claim.shots}-shot" if claim.shots else ""
    return {
        "dataset": claim.dataset, "protocol": claim.protocol + shots + stated,
        "method": claim.method, "kind": claim.kind, "published": claim.figure,
        "source": claim.source,
    }  # fmt: skip


def _to_do(run: PublishedRun) -> dict[str, Any]:
    return {"verdict": NEEDS_DATA, "command": run.command(), "hours": f"{_hours(run):.0f}"}


def _hours(run: PublishedRun) -> float:
    """Of the training alone, on the reference GPU; its teacher's come once for all."""
    config = run.config(load_profile("paper", {"data.dataset": run.dataset}))
    return estimate(config, sizes_of(config)).hours


def _runs_of(run: PublishedRun, results: str) -> list[RunFolder]:
    """Runs of a published training with figures, of any seed, as trained or on one device."""
    profile = load_profile("paper", {"data.dataset": run.dataset, "runtime.results": results})
    wanted = [run.config(profile, one_device=one_device) for one_device in (False, True)]
    found = []
    for folder in find_runs(profile_folder(profile)):
        try:
            own = folder.config()
        except RlqkitError as error:
            print(f"left out: {one_line(error)}")
            continue
        same = any(run_id(replace(config, seed=own.seed)) == run_id(own) for config in wanted)
        if same and has_figures(folder):
            found.append(folder)
    return found


def _judged(
    claim: Claim, run: PublishedRun, folders: Sequence[RunFolder], every: Iterable[Claim]
) -> dict[str, Any]:
    ours = _measured(claim, run, folders)
    low, high, why = claim.rank1, claim.rank1, "; ".join(ours.reasons)
    if claim.gain:
        rival = best_other(claim, every)
        if rival is None:
            return {"verdict": OTHERS, "why": "no other method's figure to compare with"}
        low, high = (rival.rank1 + gain for gain in claim.gain)
        over = f"over {rival.method}, {rival.rank1:.1f}"
        why = "; ".join(filter(None, (over, why)))
    pairs = zip(ours.rank1, ours.mAP, strict=True)
    return {
        "ours": "; ".join(f"{rank1:.1f} / {mAP:.1f}" for rank1, mAP in pairs),
        "interval": ours.interval.in_points(),
        "verdict": NO_RESULT if ours.reasons else verdict(low, high, ours),
        "why": why,
    }


def _measured(claim: Claim, run: PublishedRun, folders: Sequence[RunFolder]) -> Ours:
    test = _test_of(claim, run)
    quoted = [_quoted(folder) for folder in folders]
    queries = [select(folder.per_query(), (HQ, HQ, test), RULE) for folder in folders]
    reasons = [reason for folder in folders for reason in _differences(folder)]
    return Ours(
        tuple(100 * q.rank1 for q in quoted), tuple(100 * q.mAP for q in quoted),
        clustered_interval(pd.concat(queries, ignore_index=True)), tuple(dict.fromkeys(reasons)),
    )  # fmt: skip


def _quoted(folder: RunFolder) -> Quoted:
    found = as_quoted(folder.history().to_dict("records"))
    if found is None:
        raise RlqkitError(
            f"{folder.path / 'history.json'} has no epoch measured by {RULE}: restore it, or "
            "remove the folder and train the run again"
        )
    return found


def _differences(folder: RunFolder) -> list[str]:
    """Why one run is no result; other rows and seeds of its profile are not asked for."""
    config = folder.config()
    alone = ReproduceConfig(rows=(config.row,), seeds=(config.seed,))
    images = folder.environment().get("images", {})
    return no_result_reasons(replace(config, reproduce=alone), images)


def _test_of(claim: Claim, run: PublishedRun) -> str:
    """The test's name in the tables: that of the run's figure with the same rank-1."""
    nearest = min(run.figures, key=lambda figure: abs(figure.rank1 - claim.rank1))
    return nearest.protocol


def directions(results: Results, dataset: str = "ltcc") -> pd.DataFrame:
    """In which direction each row differs from base: as published, and in one's own runs.

    Args:
        results: of a profile, synthetic or not; its runs by row and seed.
        dataset: whose published figures are compared; the best run of a row counts.

    Returns:
        Columns row, published (points of CC rank-1 between the row and base), ours, low, high (of
        HQ queries, headline test, 95 % over people), agrees ("yes", "no", "can't be told": the
        interval holds 0). Rows that were not run are left out.
    """
    best: dict[str, float] = {}
    for run in published_runs(dataset):
        for figure in run.figures:
            if figure.protocol.startswith("CC"):
                best[run.row] = max(best.get(run.row, 0.0), figure.rank1)
    base, lines = results.per_query.get("base", {}), []
    for row, published in best.items():
        mine = results.per_query.get(row, {})
        seeds = sorted(mine.keys() & base.keys())
        if row == "base" or not seeds:
            continue
        pair = [
            pd.concat([select(t[seed], CONDITIONS[HQ]) for seed in seeds], ignore_index=True)
            for t in (mine, base)
        ]
        found = clustered_interval(*pair)
        gain = published - best["base"]
        same = (found.estimate > 0) == (gain > 0)
        lines.append({
            "row": find_row(row).title, "published": gain, "ours": 100 * found.estimate,
            "low": 100 * found.low, "high": 100 * found.high,
            "agrees": "can't be told" if not found.excludes_zero else "yes" if same else "no",
        })  # fmt: skip
    return pd.DataFrame(lines, columns=["row", "published", "ours", "low", "high", "agrees"])


def in_short(table: pd.DataFrame) -> list[str]:
    """The ledger for the screen: counts of the verdicts, then each figure that has a run."""
    counts = table["verdict"].value_counts()
    lines = [f"{counts[v]:4d}  {v}: {meaning}" for v, meaning in MEANING.items() if v in counts]
    for line in table[table["verdict"] != OTHERS].to_dict("records"):
        text = f"{line['dataset']} {line['protocol']}, {line['method']}: {line['published']}"
        if line["ours"]:
            text += f" | ours {line['ours']}, {line['interval']}"
        text += f" | {line['verdict']}" + (f" ({line['why']})" if line["why"] else "")
        if line["command"]:
            text += f"; about {line['hours']} GPU hours: {line['command']}"
        lines.append(text)
    return lines


def write_html(table: pd.DataFrame, file: Path) -> Path:
    """The ledger as one page that needs nothing else."""
    legend = "".join(f"<li><b>{escape(v)}</b>: {escape(m)}</li>" for v, m in MEANING.items())
    body = table.to_html(index=False, border=0, escape=True)
    style = (
        "body{font:14px/1.45 sans-serif;margin:2em}table{border-collapse:collapse}"
        "td,th{padding:.3em .6em;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}"
        "td:nth-child(10){font-family:monospace;font-size:11px;max-width:28em;"
        "overflow-wrap:anywhere}"
    )
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Published figures</title>'
        f"<style>{style}</style><h1>Published figures and one's own runs</h1><ul>{legend}</ul>"
        f"{body}</html>\n"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return file


def write_claims(results: str, dataset: str | None = None) -> tuple[pd.DataFrame, list[Path]]:
    """Writes ``claims.csv`` and ``claims.html`` into ``<results>/paper/tables``."""
    table = ledger(results, dataset)
    folder = Path(results) / "paper" / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    name = "claims" if dataset is None else f"claims_{dataset}"
    csv = folder / f"{name}.csv"
    table.to_csv(csv, index=False, lineterminator="\n")
    return table, [csv, write_html(table, folder / f"{name}.html")]
