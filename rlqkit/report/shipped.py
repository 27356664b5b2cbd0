"""Yours and shipped: a profile's results beside those that came with the kit, cell by cell."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load_file

from rlqkit.config import Config
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.intervals import (
    CONDITIONS,
    Condition,
    clustered_interval,
    crossed_interval,
    select,
)
from rlqkit.evaluation.protocol import HQ, MIXED, headline_name
from rlqkit.files import write_bytes
from rlqkit.method.rows import find_row
from rlqkit.report.tables import Results, read_results
from rlqkit.runs.folder import COLLAPSE, RECORDS, RunFolder, profile_folder, reference_folder
from rlqkit.runs.plan import planned_runs

COLUMNS = (
    "row", "condition", "test", "yours", "low", "high", "shipped", "difference", "difference_low",
    "difference_high", "seeds", "within", "bits",
)  # fmt: skip
NOT_YOURS, NOT_SHIPPED = "not run here", "not shipped"
SAME, OTHER = "same", "other"
Keys = tuple[tuple[str, str], ...]


def shipped_results(config: Config) -> Results:
    """The shipped runs of a configuration; none where it isn't the shipped one."""
    folder = reference_folder(config.profile)
    runtime = replace(config.runtime, results=str(folder.parent))
    return read_results(replace(config, runtime=runtime))


def compare(mine: Results, shipped: Results, rule: str = "last") -> pd.DataFrame:
    """Rank-1 of every cell of the summary, yours beside the shipped one.

    Seeds that both have are compared; a row that one side lacks has empty figures.

    Args:
        mine: of this machine.
        shipped: of the same configuration.
        rule: selection rule.

    Returns:
        Columns row (its title), condition, test, yours, shipped (percent), low, high (95 % interval
        of the shipped figure over test people), difference with difference_low and difference_high
        (yours minus shipped, query by query, in points: what another processor does), seeds
        (compared), within ("yes" or "no", or which side lacks the row), bits (whether all ranks and
        precisions are the same: "same", "other").
    """
    lines: list[dict[str, Any]] = []
    for row in dict.fromkeys([*shipped.per_query, *mine.per_query]):
        ours, theirs = (side.per_query.get(row, {}) for side in (mine, shipped))
        seeds = sorted(ours.keys() & theirs.keys())
        if not seeds:
            lacks = NOT_SHIPPED if ours else NOT_YOURS
            lines.append({"row": find_row(row).title, "seeds": 0, "within": lacks})
            continue
        pair = [
            pd.concat([side[seed] for seed in seeds], ignore_index=True) for side in (ours, theirs)
        ]
        for name, condition in _cells(pair[1]):
            line = _compared(pair[0], pair[1], condition, rule)
            lines.append(
                {"row": find_row(row).title, "condition": name, "seeds": len(seeds)} | line
            )
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _cells(per_query: pd.DataFrame) -> Iterator[tuple[str, Condition]]:
    """The conditions of the summary: the headline's three, then other tests on HQ."""
    yield from CONDITIONS.items()
    headline = headline_name(per_query)
    for test in reversed(per_query["protocol"].unique()):
        if test not in (headline, "general"):
            yield f"{test}, HQ", (HQ, HQ, test)


def _compared(
    ours: pd.DataFrame, theirs: pd.DataFrame, condition: Condition, rule: str
) -> dict[str, Any]:
    shipped = select(theirs, condition, rule)
    found = clustered_interval(shipped)
    line: dict[str, Any] = {"test": shipped["protocol"].iloc[0], "shipped": 100 * found.estimate}
    line |= {"low": 100 * found.low, "high": 100 * found.high}
    try:
        mine = select(ours, condition, rule)
    except RlqkitError:  # this machine's runs were made with other tests or rules
        return line | {"within": NOT_YOURS}
    estimate, paired = clustered_interval(mine).estimate, clustered_interval(mine, shipped)
    within = found.low <= estimate <= found.high
    return line | {
        "yours": 100 * estimate,
        "difference": 100 * paired.estimate,
        "difference_low": 100 * paired.low,
        "difference_high": 100 * paired.high,
        "within": "yes" if within else "no",
        "bits": SAME if _same(mine, shipped) else OTHER,
    }


def _same(mine: pd.DataFrame, shipped: pd.DataFrame) -> bool:
    """Whether every query has the same first hit and the same average precision, to the bit."""
    columns = ["file", "query", "first_hit", "average_precision"]
    return mine[columns].reset_index(drop=True).equals(shipped[columns].reset_index(drop=True))


def as_markdown(table: pd.DataFrame) -> str:
    """The differences for a page: a line a row, a column a condition."""
    lines = [
        "| row | " + " | ".join(CONDITIONS) + " |",
        "|---" + "|---:" * len(CONDITIONS) + "|",
    ]
    for row, cells in table[table["condition"].isin(list(CONDITIONS))].groupby("row", sort=False):
        told = [
            f"{cell['difference']:+.1f} [{cell['difference_low']:+.1f}, "
            f"{cell['difference_high']:+.1f}]"
            for cell in cells.to_dict("records")
        ]
        lines.append(f"| {row} | " + " | ".join(told) + " |")
    return "\n".join(lines) + "\n"


def in_words(table: pd.DataFrame) -> list[str]:
    """The comparison for the screen: a line a row, then what it comes to."""
    tests = ", ".join(table["test"].dropna().unique())
    lines = [f"yours | shipped [95 % interval], rank-1 in percent of the tests {tests}:"]
    for row, cells in table.groupby("row", sort=False):
        told = [_cell_in_words(cell) for cell in cells.to_dict("records")]
        same = bool((cells["bits"] == SAME).all())
        lines.append(f"  {row}: {', '.join(told)}" + "; same bits" * same)
    measured = table[table["within"].isin(("yes", "no"))]
    within, same = (measured["within"] == "yes").sum(), (measured["bits"] == SAME).sum()
    lines.append(
        f"{within} of {len(measured)} cells lie within the shipped intervals, {same} have the "
        "same bits"
    )
    return lines


def _cell_in_words(cell: dict[str, Any]) -> str:
    if cell["within"] in (NOT_YOURS, NOT_SHIPPED):
        known = isinstance(cell["condition"], str)
        return (f"{cell['condition']} " if known else "") + str(cell["within"])
    text = f"{cell['condition']} {cell['yours']:.1f} | {cell['shipped']:.1f}"
    text += f" [{cell['low']:.1f}, {cell['high']:.1f}]"
    return text + " OUTSIDE" * (cell["within"] == "no")


def _processors(results: Results) -> str:
    names = {str(folder.environment().get("processor", "unknown")) for _, folder in results.runs}
    return ", ".join(sorted(names)) or "unknown"


def write_comparison(config: Config, mine: Results) -> tuple[Path | None, list[str]]:
    """Writes ``tables/compared.csv`` of a profile.

    Args:
        config: of the runs.
        mine: its runs on this machine.

    Returns:
        The file and lines to be told; None and the reason where nothing of this configuration is
        shipped.
    """
    shipped = shipped_results(config)
    if not shipped.runs:
        return None, [
            f"nothing is shipped of this configuration of profile {config.profile}, so there is "
            "nothing to compare with",
            *gain_in_words(mine, "yours"),
        ]
    table = compare(mine, shipped)
    file = profile_folder(config) / "tables" / "compared.csv"
    write_bytes(file, table.round(2).to_csv(index=False, lineterminator="\n").encode())
    return file, [
        *in_words(table),
        *gain_in_words(mine, "yours"),
        *gain_in_words(shipped, "shipped"),
        f"yours by {_processors(mine)}, shipped by {_processors(shipped)}",
    ]


def gain_in_words(results: Results, whose: str) -> list[str]:
    """A line with RLQ minus base, over people and the seeds that both have; [] without such seeds.

    Args:
        results: of a profile.
        whose: who made them.
    """
    rlq, base = (results.per_query.get(row, {}) for row in ("rlq", "base"))
    seeds = sorted(rlq.keys() & base.keys())
    if not seeds:
        return []
    found = []
    for name, condition in CONDITIONS.items():
        mine, others = ([select(row[seed], condition) for seed in seeds] for row in (rlq, base))
        found.append(f"{name} {crossed_interval(mine, others)[0].in_points(signed=True)}")
    return [
        f"RLQ − base, {whose}: {', '.join(found)} points of rank-1 (95 % over people"
        + (f" and {len(seeds)} seeds)" if len(seeds) > 1 else ", one seed)")
    ]


SMALL = (*RECORDS, "per_query.parquet")
"""What is shipped of every run; checkpoints never are."""
WITH_WEIGHTS = ("teacher", "base", "tad", "rlq", "base-lq")
"""Rows whose weights are shipped as well, in 16 bits: what the notebooks take apart."""
QUERIES: Keys = (("query", HQ), ("query", MIXED))
SHIPPED_FEATURES: dict[str, Keys] = {
    "base": (*QUERIES, ("gallery", HQ)), "rlq": (*QUERIES, ("gallery", HQ)),
    "tad": QUERIES, "base-lq": QUERIES, "mean": QUERIES,
}  # fmt: skip
"""Row → those of its descriptors that are shipped."""


def ship(config: Config, target: Path) -> list[Path]:
    """Copies a profile's finished runs and tables to where shipped results lie.

    Args:
        config: whose runs, with the results folder that holds them.
        target: such as ``results/reference/quick``; what it holds is replaced.

    Returns:
        The run folders written.

    Raises:
        RlqkitError: a planned run isn't finished.
    """
    folders = [(run.row, RunFolder.of(run)) for run in planned_runs(config)]
    for _, folder in folders:
        if not folder.finished:
            raise RlqkitError(f"{folder.path} is not finished; run the profile to its end first")
    shutil.rmtree(target, ignore_errors=True)
    written = [_ship_run(row, folder, target / "runs") for row, folder in folders]
    for part in ("tables", "figures"):
        source = profile_folder(config) / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("compared.csv"))
    return written


def _ship_run(row: str, folder: RunFolder, target: Path) -> Path:
    copy = RunFolder(target / folder.path.name)
    copy.path.mkdir(parents=True)
    for name in SMALL:
        shutil.copyfile(folder.path / name, copy.path / name)
    if (folder.path / COLLAPSE).is_file():
        shutil.copyfile(folder.path / COLLAPSE, copy.path / COLLAPSE)
    if row in WITH_WEIGHTS:
        rule = folder.config().teacher.selection if row == "teacher" else "last"
        state = load_file(folder.path / f"weights-{rule}.safetensors")
        half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        copy.save_network(half, rule)
    if row in SHIPPED_FEATURES:
        features = folder.features()
        copy.save_features({key: features[key] for key in SHIPPED_FEATURES[row]})
    return copy.path
