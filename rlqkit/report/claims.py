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

from rlqkit.config import Config, ReproduceConfig, load_profile
from rlqkit.errors import RlqkitError, one_line
from rlqkit.evaluation.intervals import Interval, clustered_interval, select
from rlqkit.evaluation.protocol import HQ
from rlqkit.files import write_bytes
from rlqkit.method.rows import find_row
from rlqkit.report.comparison import has_figures
from rlqkit.report.studies import study_table
from rlqkit.report.tables import no_result_reasons
from rlqkit.runs.claims import Claim, best_other, read_claims
from rlqkit.runs.costs import GPU_TERAFLOPS, estimate, gpu_throughput, sizes_of
from rlqkit.runs.folder import RunFolder, find_runs, profile_folder, run_id
from rlqkit.runs.published import PublishedRun, Quoted, as_quoted, published_runs
from rlqkit.runs.studies import find_study

REPRODUCED, WITHIN, NOT_REPRODUCED = "reproduced", "within spread", "not reproduced"
NEEDS_DATA, NO_RESULT, OTHERS = "needs data", "no result", "no run described"
NO_MEASURE = "can't be judged"
MEANING = {
    REPRODUCED: "the runs, quoted as the authors quote theirs, lie within half a point",
    WITHIN: "the figure lies between the seeds or in the 95 % interval over test people",
    NOT_REPRODUCED: "it lies outside",
    NO_RESULT: "the run differs from the published one; the reasons are named",
    NO_MEASURE: "the claim has no figure, or one that its own source and list don't give back",
    NEEDS_DATA: "there is no such run yet; the command and an estimate of its hours are named",
    OTHERS: "another method's figure, or one without a described training",
}
"""Verdict → what it means, in the order of the table."""
ROUNDING = 0.5
"""Points of rank-1 that count as the same figure."""
SYNTHETIC = (
    "SYNTHETIC, no verdict: each row minus base, HQ rank-1, as published on LTCC and on rendered "
    "people (profile laptop)"
)
SEEDS_TRIED = 4
"""Seeds that the paper's authors trained, and quoted the best of."""
RULE = "best_test"
"""How the paper's authors chose their epochs, and their runs do here."""
COLUMNS = (
    "dataset", "protocol", "method", "kind", "selection", "seeds", "published", "ours", "interval",
    "verdict", "why", "command", "hours", "source",
)  # fmt: skip


@dataclass(frozen=True)
class Ours:
    """What the runs of a published training gave, in percent.

    Attributes:
        rank1, mAP: of each seed, as the authors quote: the best of any epoch.
        interval: of rank-1 over test people, all seeds averaged, in 0..1.
        reasons: why it is no result; () where it is one.
    """

    rank1: tuple[float, ...]
    mAP: tuple[float, ...]
    interval: Interval
    reasons: tuple[str, ...] = ()

    def quoted(self, seeds: str) -> float:
        """Rank-1 as a source with that choice of seeds quotes it; all seeds where it says none."""
        best = {"best_2_of_4": 2, "best_1": 1}.get(seeds, len(self.rank1))
        kept = sorted(self.rank1)[-best:]
        return sum(kept) / len(kept)


def ledger(results: str, dataset: str | None = None) -> pd.DataFrame:
    """Every published figure beside one's own runs of it.

    Args:
        results: folder that holds ``paper/runs``.
        dataset: only figures on this data set.

    Returns:
        One line a figure, columns ``COLUMNS``: how its source chose epoch and seeds, published and
        ours as text ("46.4 / 21.5", seeds separated by "; "), interval in percent, verdict
        (``MEANING``), why, and for what is missing the command and its hours on a GPU that sustains
        ``costs.GPU_TERAFLOPS``.
    """
    claims = read_claims(dataset)
    named = {run.name: run for run in published_runs()}
    ours = {name: _runs_of(named[name], results) for name in {c.run for c in claims} if name}
    every = read_claims()
    lines = []
    for claim in claims:
        line = _described(claim) | {"verdict": OTHERS}
        if claim.run:
            run, folders = named[claim.run], ours[claim.run]
            line |= _judged(claim, run, folders, every) if folders else _to_do(run)
            unclear = _without_measure(claim, every)
            line |= {"verdict": NO_MEASURE, "why": unclear} if unclear else {}
        lines.append(line)
    blank = dict.fromkeys(COLUMNS, "")
    return pd.DataFrame([blank | line for line in lines], columns=list(COLUMNS))


def _without_measure(claim: Claim, every: Iterable[Claim]) -> str:
    """Why no run can confirm or refute a claim; "" where one can."""
    if claim.figure == "no figure":
        return "the source gives no figure"
    if not claim.gain:
        return ""
    rival, own = best_other(claim, every), [c.rank1 for c in every if c.run == claim.run]
    if rival is None:
        return "no other method's figure to compare with"
    listed = max(own) - rival.rank1
    if claim.gain[0] - ROUNDING <= listed <= claim.gain[1] + ROUNDING:
        return ""
    return (
        f"the authors' own {max(own):.1f} is {listed:+.1f} over the best other on the list, "
        f"{rival.method} {rival.rank1:.1f}"
    )


def verdict(low: float, high: float, ours: Ours, seeds: str = "not stated") -> str:
    """Reproduced, within spread or not.

    Args:
        low, high: ends of what is published, in percent; the same number twice for one figure.
        ours: of the runs.
        seeds: which of them the source quotes (``Claim.seeds``).
    """
    if low - ROUNDING <= ours.quoted(seeds) <= high + ROUNDING:
        return REPRODUCED
    least = min(*ours.rank1, 100 * ours.interval.low)
    most = max(*ours.rank1, 100 * ours.interval.high)
    return WITHIN if least <= high and most >= low else NOT_REPRODUCED


def _described(claim: Claim) -> dict[str, Any]:
    stated = "" if claim.protocol_stated else " (not stated)"
    shots = f" {claim.shots}-shot" if claim.shots else ""
    return {
        "dataset": claim.dataset, "protocol": claim.protocol + shots + stated,
        "method": claim.method, "kind": claim.kind, "selection": claim.selection,
        "seeds": claim.seeds, "published": claim.figure, "source": claim.source,
    }  # fmt: skip


def _to_do(run: PublishedRun) -> dict[str, Any]:
    return {"verdict": NEEDS_DATA, "command": run.command(), "hours": f"{_hours(run):.0f}"}


def _hours(run: PublishedRun) -> float:
    """Of the training alone, on the GPU that is assumed; its teacher's come once for all."""
    config = run.config(load_profile("paper", {"data.dataset": run.dataset}))
    return estimate(config, sizes_of(config), gpu_throughput()).hours


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
        if rival is not None:
            low, high = (rival.rank1 + gain for gain in claim.gain)
            why = "; ".join(filter(None, (f"over {rival.method}, {rival.rank1:.1f}", why)))
    if claim.seeds.startswith("best") and len(ours.rank1) < SEEDS_TRIED:
        few = f"{len(ours.rank1)} of the {SEEDS_TRIED} seeds that the authors chose from"
        why = "; ".join(filter(None, (why, few)))
    pairs = zip(ours.rank1, ours.mAP, strict=True)
    return {
        "ours": "; ".join(f"{rank1:.1f} / {mAP:.1f}" for rank1, mAP in pairs),
        "interval": ours.interval.in_points(),
        "verdict": NO_RESULT if ours.reasons else verdict(low, high, ours, claim.seeds),
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


def directions(profile: Config, dataset: str = "ltcc") -> pd.DataFrame:
    """In which direction each row differs from base: as published, and on rendered people.

    Args:
        profile: a synthetic one; its runs of the study "rows", one's own or the shipped ones.
        dataset: whose published figures are compared; the best run of a row counts.

    Returns:
        Columns row, published (points of CC rank-1 between the row and base), ours, low, high (of
        HQ queries, headline test; 95 % over people and seeds), seeds, agrees ("yes", "no", "can't
        be told", corrected for all questions of that study). Rows that were not run are left out.

    Raises:
        RlqkitError: nobody published base on that data set.
    """
    best: dict[str, float] = {}
    for run in published_runs(dataset):
        for figure in run.figures:
            if figure.protocol.startswith("CC"):
                best[run.row] = max(best.get(run.row, 0.0), figure.rank1)
    study = find_study("rows")
    if study.row not in best:
        raise RlqkitError(f"no published run of {study.row} on {dataset}; ltcc has all rows")
    found = study_table(study, profile)
    lines = []
    for line in found[found["condition"] == HQ].to_dict("records"):
        row = find_row(line["variant"])
        if row.name not in best:
            continue
        gain = best[row.name] - best[study.row]
        told = line["corrected"] < 0.05
        agrees = "yes" if (line["estimate"] > 0) == (gain > 0) else "no"
        lines.append({
            "row": row.title, "published": gain, "ours": line["estimate"], "low": line["low"],
            "high": line["high"], "seeds": line["seeds"],
            "agrees": agrees if told else "can't be told",
        })  # fmt: skip
    columns = ["row", "published", "ours", "low", "high", "seeds", "agrees"]
    return pd.DataFrame(lines, columns=columns)


def directions_in_short(table: pd.DataFrame) -> list[str]:
    """The table of directions for the screen, marked as what it is."""
    lines = [f"{line['row']}: {line['published']:+.1f} on LTCC, {line['ours']:+.1f} "
             f"[{line['low']:+.1f}, {line['high']:+.1f}] here: {line['agrees']}"
             for line in table.to_dict("records")]  # fmt: skip
    return [f"{SYNTHETIC}:", *(f"  {line}" for line in lines)] if lines else []


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
    return [*lines, f"GPU hours: at {GPU_TERAFLOPS:.0f} · 10¹² operations a second, assumed"]


def write_html(table: pd.DataFrame, told: pd.DataFrame, file: Path) -> Path:
    """Ledger and directions as one page that needs nothing else."""
    legend = "".join(f"<li><b>{escape(v)}</b>: {escape(m)}</li>" for v, m in MEANING.items())
    body = table.to_html(index=False, border=0, escape=True)
    body += f"<h2>{escape(SYNTHETIC)}</h2>" + told.round(1).to_html(index=False, border=0)
    style = (
        "body{font:14px/1.45 sans-serif;margin:2em}table{border-collapse:collapse}"
        "td,th{padding:.3em .6em;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}"
        "td:nth-child(12){font-family:monospace;font-size:11px;max-width:28em;"
        "overflow-wrap:anywhere}"
    )
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Published figures</title>'
        f"<style>{style}</style><h1>Published figures and one's own runs</h1><ul>{legend}</ul>"
        f"{body}</html>\n"
    )
    write_bytes(file, page.encode())
    return file


def write_claims(
    results: str, dataset: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame, list[Path]]:
    """Writes ``claims.csv``, ``directions.csv``, ``claims.html`` into ``<results>/paper/tables``.

    Returns:
        Ledger, directions on rendered people (profile laptop), files.
    """
    table = ledger(results, dataset)
    told = directions(load_profile("laptop", {"runtime.results": results}))
    folder = Path(results) / "paper" / "tables"
    name = "claims" if dataset is None else f"claims_{dataset}"
    csv = folder / f"{name}.csv"
    write_bytes(csv, table.to_csv(index=False, lineterminator="\n").encode())
    beside = folder / "directions.csv"
    text = told.to_csv(index=False, lineterminator="\n", float_format="%.2f")
    write_bytes(beside, text.encode())
    return table, told, [csv, beside, write_html(table, told, folder / f"{name}.html")]
