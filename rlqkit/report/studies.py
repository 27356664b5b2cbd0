"""A study's table: every variant beside what it is compared with, over people and seeds."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlqkit.config import Config
from rlqkit.evaluation.intervals import (
    CONDITIONS,
    QUALITIES,
    crossed_interval,
    holm,
    select,
)
from rlqkit.evaluation.protocol import HQ, headline_name
from rlqkit.files import write_bytes
from rlqkit.method.rows import find_row
from rlqkit.report.comparison import has_figures
from rlqkit.runs.folder import RECORDS, RunFolder, profile_folder
from rlqkit.runs.studies import Study, Variant


def runs_of(study: Study, profile: Config, variant: Variant | None) -> dict[int, RunFolder]:
    """Seed → finished run of a variant, the reader's own or the shipped one, where there is one."""
    configs = {seed: study.config(profile, variant, seed) for seed in study.seeds}
    chosen = {
        seed: RunFolder.of(config) if RunFolder.of(config).finished else RunFolder.shipped(config)
        for seed, config in configs.items()
    }
    return {seed: folder for seed, folder in chosen.items() if has_figures(folder)}


def study_table(study: Study, profile: Config, measure: str = "rank1") -> pd.DataFrame:
    """Every variant minus what it is compared with, query by query, on the seeds that both have.

    Args:
        study: whose variants.
        profile: configuration that the study changes.
        measure: "rank1" or "mAP".

    Returns:
        A line for each variant and condition that was run: variant, title, against, condition,
        seeds, value and other (percent: means of both sides), estimate, low, high (points; 95 %
        over people and seeds), same_clothes (percent: the variant's own rank-1 under SC, HQ; NaN
        where the data set has no such test), p, corrected (Holm's correction over the whole table).
    """
    runs = {
        variant.name if variant else "": runs_of(study, profile, variant)
        for variant in (None, *study.asked(profile))
    }
    queries = {
        name: {seed: folder.per_query() for seed, folder in folders.items()}
        for name, folders in runs.items()
    }
    lines: list[dict[str, Any]] = []
    for variant in study.asked(profile):
        mine, others = queries[variant.name], queries[variant.against]
        seeds = sorted(mine.keys() & others.keys())
        if not seeds:
            continue
        about = {
            "variant": variant.name, "title": variant.title, "against": variant.against,
            "same_clothes": np.mean([_same_clothes(runs[variant.name][seed]) for seed in seeds]),
        }  # fmt: skip
        for name, condition in CONDITIONS.items():
            one, two = (
                [select(side[seed], condition) for seed in seeds] for side in (mine, others)
            )
            lines.append(about | {"condition": name} | _compared(one, two, measure))
    columns = [
        "variant", "title", "against", "condition", "seeds", "value", "other", "estimate", "low",
        "high", "same_clothes", "p",
    ]  # fmt: skip
    table = pd.DataFrame(lines, columns=columns)
    return table.assign(corrected=holm(table["p"].tolist()))


def _same_clothes(folder: RunFolder) -> float:
    """Rank-1 of HQ under SC after the last epoch, in percent; NaN where nobody asked."""
    metrics = folder.metrics()
    wanted = {"rule": "last", "protocol": "SC", "query": HQ, "gallery": HQ}
    found = metrics[(metrics[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    return 100 * float(found["rank1"].iloc[0]) if len(found) else math.nan


def _compared(
    mine: Sequence[pd.DataFrame], others: Sequence[pd.DataFrame], measure: str
) -> dict[str, Any]:
    found, p = crossed_interval(mine, others, measure)
    sides = [crossed_interval(side, None, measure)[0].estimate for side in (mine, others)]
    return {
        "seeds": len(mine), "value": 100 * sides[0], "other": 100 * sides[1],
        "estimate": 100 * found.estimate, "low": 100 * found.low, "high": 100 * found.high, "p": p,
    }  # fmt: skip


MEASURED = {
    "HQ": "best_validation_rank1",
    "LQ": "best_validation_lq_rank1",
    "P(LQ | stranger)": "best_validation_lq_given_stranger",
}
"""Column → what a history keeps of validation people; queries of that quality in an HQ gallery."""


def validation_table(study: Study, profile: Config) -> pd.DataFrame:
    """What validation people say of a study's runs: to choose by, without the test people.

    Returns:
        A line for the study's row and each variant that was run and validated: variant ("" = the
        row itself), title, HQ, LQ, P(LQ | stranger) (percent: the means over seeds of the last
        validation), seeds.
    """
    lines = []
    for variant in (None, *study.asked(profile)):
        records = [
            folder.history().reindex(columns=list(MEASURED.values())).dropna(how="all").tail(1)
            for folder in runs_of(study, profile, variant).values()
        ]
        known = pd.concat(records) if records else pd.DataFrame()
        if not len(known):
            continue
        means = {name: 100 * float(known[column].mean()) for name, column in MEASURED.items()}
        name, title = (variant.name, variant.title) if variant else ("", find_row(study.row).title)
        lines.append({"variant": name, "title": title} | means | {"seeds": len(known)})
    return pd.DataFrame(lines, columns=["variant", "title", *MEASURED, "seeds"])


def validation_as_markdown(table: pd.DataFrame) -> str:
    """The table for a page or the screen."""
    titles = [name.replace("|", "\\|") for name in MEASURED]  # a bar would part the cell
    lines = [f"| row | {' | '.join(titles)} | seeds |", "|---" + "|---:" * 4 + "|"]
    for line in table.to_dict("records"):
        figures = " | ".join(f"{line[name]:.1f}" for name in MEASURED)
        lines.append(f"| {line['title']} | {figures} | {line['seeds']} |")
    return "\n".join(lines) + "\n"


def in_words(table: pd.DataFrame) -> list[str]:
    """The table for the screen: a line for each variant and condition."""
    lines = []
    for line in table.to_dict("records"):
        said = "can't be told"
        if line["corrected"] < 0.05:
            said = "more" if line["estimate"] > 0 else "less"
        what = f"{line['title']}" + (f" (against {line['against']})" if line["against"] else "")
        lines.append(
            f"{line['condition']:8} {line['value']:5.1f} against {line['other']:5.1f}: "
            f"{line['estimate']:+.1f} [{line['low']:+.1f}, {line['high']:+.1f}], "
            f"{line['seeds']} seed{'s' * (line['seeds'] > 1)}, {said}: {what}"
        )
    return lines


def as_markdown(table: pd.DataFrame) -> str:
    """The table for a page: a line a variant, a column a condition; bold: told once corrected.

    The column before the last is no difference: what the variant itself finds under SC, in percent.
    """
    lines = [
        "| variant | " + " | ".join(CONDITIONS) + " | SC itself | seeds |",
        "|---" + "|---:" * (len(CONDITIONS) + 2) + "|",
    ]
    for _, mine in table.groupby("variant", sort=False):
        cells = []
        for line in mine.to_dict("records"):
            text = f"{line['estimate']:+.1f} [{line['low']:+.1f}, {line['high']:+.1f}]"
            cells.append(f"**{text}**" if line["corrected"] < 0.05 else text)
        first = mine.iloc[0]
        same = "–" if math.isnan(first["same_clothes"]) else f"{first['same_clothes']:.1f}"
        cells += [same, str(first["seeds"])]
        lines.append(f"| {first['title']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_study(study: Study, profile: Config) -> tuple[pd.DataFrame, Path]:
    """Writes ``tables/study_<name>.csv`` of a profile; returns the table and the file."""
    table = study_table(study, profile)
    file = profile_folder(profile) / "tables" / f"study_{study.name}.csv"
    write_bytes(file, table.round(4).to_csv(index=False, lineterminator="\n").encode())
    return table, file


def ship_study(study: Study, profile: Config, target: Path) -> list[Path]:
    """Copies the small parts of a study's finished runs to where shipped results lie.

    Args:
        study: whose runs; what isn't finished is left out.
        profile: configuration with the results folder that holds them.
        target: such as ``results/reference/quick``; runs that it holds stay as they are.

    Returns:
        The run folders written.
    """
    written = []
    for config in study.runs(profile):
        folder = RunFolder.of(config)
        copy = RunFolder(target / "runs" / folder.path.name)
        if not folder.finished or has_figures(copy):
            continue
        copy.path.mkdir(parents=True, exist_ok=True)  # what an interrupted copy left is replaced
        for name in RECORDS:
            shutil.copyfile(folder.path / name, copy.path / name)
        copy.save_per_query(_of_the_headline(folder.per_query(), study.rules))
        written.append(copy.path)
    return written


def _of_the_headline(per_query: pd.DataFrame, rules: Sequence[str] = ("last",)) -> pd.DataFrame:
    """Queries under the headline test, in the conditions that tables show, in four digits."""
    headline = headline_name(per_query)
    asked = {condition[:2] for condition in (*CONDITIONS.values(), *QUALITIES.values())}
    pairs = pd.Series(list(zip(per_query["query"], per_query["gallery"], strict=True)))
    kept = per_query["rule"].isin(rules) & (per_query["protocol"] == headline)
    shown = per_query[kept & pairs.isin(asked).to_numpy()].reset_index(drop=True)
    return shown.round({"average_precision": 4})
