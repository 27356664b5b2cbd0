"""What a selection rule adds: the same trainings, read at the epoch or seeds that it chooses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from rlqkit.config import Config
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.intervals import CONDITIONS, crossed_interval, select
from rlqkit.method.rows import find_row
from rlqkit.report.studies import runs_of
from rlqkit.runs.studies import Study

RULES = {
    "last": "last epoch",
    "best_validation": "best on validation people",
    "best_test": "best on the test people",
}
"""Rule → how a table calls it."""
SHOWN = ("HQ", "LQ → HQ")
"""Conditions of the tables here: an epoch is chosen by its HQ queries."""
Queries = dict[str, dict[int, pd.DataFrame]]


def measured(study: Study, profile: Config) -> Queries:
    """Row → seed → queries of its run, for the study's own row and each variant's, where run."""
    found: Queries = {}
    for variant in (None, *study.asked(profile)):
        row = variant.row if variant and variant.row else study.row
        if row in found:
            raise RlqkitError(f"study {study.name} has two variants of row {row}; name others")
        folders = runs_of(study, profile, variant)
        if folders:
            found[row] = {seed: folder.per_query() for seed, folder in folders.items()}
    return found


def kept_rules(tables: Iterable[pd.DataFrame]) -> list[str]:
    """The rules that every one of some runs has kept queries of."""
    kept = [set(table["rule"]) for table in tables]
    return [rule for rule in RULES if all(rule in rules for rules in kept)]


def rules_table(queries: Mapping[str, Mapping[int, pd.DataFrame]]) -> pd.DataFrame:
    """Rank-1 of every rule, and what it adds to the last epoch's, query by query.

    Args:
        queries: row → seed → its queries under all rules, as ``measured`` gives them.

    Returns:
        A line for each row, rule and condition: row, rule, condition, seeds, value (percent, mean
        over seeds), estimate, low, high (points over the last epoch; 95 % over people and seeds).
        A rule that some seed lacks is left out.
    """
    lines: list[dict[str, Any]] = []
    for row, of_seed in queries.items():
        for rule in kept_rules(of_seed.values()):
            for name in SHOWN:
                mine = [select(table, CONDITIONS[name], rule) for table in of_seed.values()]
                last = [select(table, CONDITIONS[name]) for table in of_seed.values()]
                value, (added, _) = crossed_interval(mine)[0], crossed_interval(mine, last)
                lines.append(
                    {"row": row, "rule": rule, "condition": name, "seeds": len(mine)}
                    | {"value": 100 * value.estimate, "estimate": 100 * added.estimate}
                    | {"low": 100 * added.low, "high": 100 * added.high}
                )
    columns = ["row", "rule", "condition", "seeds", "value", "estimate", "low", "high"]
    return pd.DataFrame(lines, columns=columns)


def claim_by_rule(
    queries: Mapping[str, Mapping[int, pd.DataFrame]], row: str, other: str
) -> pd.DataFrame:
    """What a row is said to gain over another, if both are read by one rule.

    Returns:
        A line for each rule and condition: rule, condition, seeds, estimate, low, high (points).
    """
    lines = []
    pair = queries.get(row, {}), queries.get(other, {})
    seeds = sorted(pair[0].keys() & pair[1].keys())
    both = [side[seed] for side in pair for seed in seeds]
    for rule in kept_rules(both) if seeds else ():
        for name in SHOWN:
            mine, others = (
                [select(side[seed], CONDITIONS[name], rule) for seed in seeds] for side in pair
            )
            found = crossed_interval(mine, others)[0]
            lines.append(
                {"rule": rule, "condition": name, "seeds": len(seeds)}
                | {"estimate": 100 * found.estimate}
                | {"low": 100 * found.low, "high": 100 * found.high}
            )
    return pd.DataFrame(lines, columns=["rule", "condition", "seeds", "estimate", "low", "high"])


def best_seeds(
    queries: Mapping[str, Mapping[int, pd.DataFrame]], keep: int = 2, rule: str = "best_test"
) -> pd.DataFrame:
    """What it adds to quote the mean of the best few seeds, as the paper does with two of four.

    Args:
        queries: row → seed → its queries.
        keep: seeds that are quoted, those with the highest HQ rank-1 of the headline test.
        rule: that chose each seed's epoch.

    Returns:
        A line for each row that has more seeds than ``keep``, all with that rule: row, seeds,
        values (HQ rank-1 of each seed, in percent, best first), mean of all, best (mean of those
        kept), added, and luck: the points that seeds which are equally good in truth, and scatter
        as these do, would add.
    """
    lines = []
    for row, of_seed in queries.items():
        if len(of_seed) <= keep or rule not in kept_rules(of_seed.values()):
            continue
        tables = [select(table, CONDITIONS["HQ"], rule) for table in of_seed.values()]
        ranked = -np.sort([-100 * crossed_interval([table])[0].estimate for table in tables])
        best = float(ranked[:keep].mean())
        lines.append(
            {
                "row": row, "seeds": len(ranked), "values": [float(v) for v in ranked.round(1)],
                "mean": float(ranked.mean()), "best": best, "added": best - float(ranked.mean()),
                "luck": float(ranked.std(ddof=1)) * best_of_luck(len(ranked), keep),
            }
        )  # fmt: skip
    columns = ["row", "seeds", "values", "mean", "best", "added", "luck"]
    return pd.DataFrame(lines, columns=columns)


def best_of_luck(count: int, keep: int) -> float:
    """Mean of the ``keep`` largest of ``count`` standard normal numbers, by 100,000 draws."""
    draws = np.random.default_rng(0).standard_normal((100_000, count))
    return float(np.sort(draws, axis=1)[:, count - keep :].mean())


def in_words(queries: Mapping[str, Mapping[int, pd.DataFrame]], row: str, other: str) -> list[str]:
    """All three tables for the screen."""
    lines = []
    for line in rules_table(queries).to_dict("records"):
        what = f"{find_row(line['row']).title}, {line['condition']}, {RULES[line['rule']]}"
        text = f"{what}: {line['value']:.1f} %"
        if line["rule"] != "last":
            text += (
                f", {line['estimate']:+.1f} [{line['low']:+.1f}, {line['high']:+.1f}] to the last"
            )
        lines.append(text)
    for line in claim_by_rule(queries, row, other).to_dict("records"):
        lines.append(
            f"{find_row(row).title} − {find_row(other).title}, {line['condition']}, both by "
            f"{RULES[line['rule']]}: {line['estimate']:+.1f} "
            f"[{line['low']:+.1f}, {line['high']:+.1f}]"
        )
    for line in best_seeds(queries).to_dict("records"):
        values = ", ".join(f"{value:.1f}" for value in line["values"])
        lines.append(
            f"{find_row(line['row']).title}, HQ: {values}; best two of {line['seeds']} seeds "
            f"{line['best']:.1f}, all {line['mean']:.1f}: {line['added']:+.1f} "
            f"(equally good seeds that scatter so: {line['luck']:+.1f})"
        )
    return lines


def as_markdown(queries: Mapping[str, Mapping[int, pd.DataFrame]], row: str, other: str) -> str:
    """For a page: a line a row and condition, a column a rule; then the best two seeds."""
    names = list(RULES.values())
    shown = [
        f"| figure | {' | '.join(names)} | and the best two seeds |",
        "|---" + "|---:" * 4 + "|",
    ]
    table, seeds = rules_table(queries), best_seeds(queries).set_index("row")
    for mine, lines in table.groupby("row", sort=False):
        for name in SHOWN:
            by_rule = lines[lines["condition"] == name].set_index("rule")
            if len(by_rule) < len(RULES):
                continue
            cells = [f"{by_rule.loc['last', 'value']:.1f}"] + [
                "{value:.1f}, {estimate:+.1f} [{low:+.1f}, {high:+.1f}]".format(**by_rule.loc[rule])
                for rule in list(RULES)[1:]
            ]
            quoted = name == "HQ" and mine in seeds.index
            cells.append("{best:.1f}, {added:+.1f}".format(**seeds.loc[mine]) if quoted else "")
            shown.append(f"| {find_row(mine).title}, {name} | {' | '.join(cells)} |")
    claims = claim_by_rule(queries, row, other)
    both = {row, other} <= set(seeds.index)
    for name in SHOWN:
        by_rule = claims[claims["condition"] == name].set_index("rule")
        if len(by_rule) < len(RULES):
            continue
        cells = [
            "{estimate:+.1f} [{low:+.1f}, {high:+.1f}]".format(**by_rule.loc[rule])
            for rule in RULES
        ]
        gap = f"{seeds.loc[row, 'best'] - seeds.loc[other, 'best']:+.1f}" if both else ""
        cells.append(gap if name == "HQ" else "")
        title = f"{find_row(row).title} − {find_row(other).title}"
        shown.append(f"| {title}, {name} | {' | '.join(cells)} |")
    return "\n".join(shown) + "\n"
