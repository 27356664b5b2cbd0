"""Tables of a profile's results, made from its run folders and from nothing else."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rlqkit.config import Config
from rlqkit.degradations import KINDS
from rlqkit.evaluation import HQ, LQ, MIXED
from rlqkit.plan import planned_runs
from rlqkit.rows import ROWS, TEACHER, find_row
from rlqkit.runs import RunFolder, collect_metrics, profile_folder
from rlqkit.statistics import CONDITIONS, clustered_interval, select

ROW_ORDER = [TEACHER.name, *ROWS]
COLUMNS = {
    (HQ, HQ, "CC"): "HQ",
    (LQ, HQ, "CC"): "LQ → HQ",
    **{(kind, HQ, "CC"): kind.replace("_", " ") for kind in KINDS},
    (MIXED, MIXED, "CC"): "LQ → LQ",
    (HQ, HQ, "SC"): "SC, HQ",
    (HQ, HQ, "general"): "general, HQ",
}
"""Conditions that the ablation table shows: query quality, gallery quality, protocol -> title."""


def planned_metrics(config: Config) -> pd.DataFrame:
    """Metrics of the runs that belong to a configuration and are there; others are left aside.

    Raises:
        RlqkitError: none is there.
    """
    planned = [RunFolder.of(run) for run in planned_runs(config)]
    present = [run for run in planned if (run.path / "metrics.json").is_file()]
    return collect_metrics(profile_folder(config), present)


def ablation_table(config: Config, measure: str = "rank1", rule: str = "last") -> pd.DataFrame:
    """One line per row of the ablation: mean over seeds, in percent, with cost beside it.

    Args:
        config: whose runs; runs of another configuration in the same folder don't count.
        measure: "rank1", "rank5", "rank10" or "mAP".
        rule: selection rule.

    Returns:
        Index: titles of the rows, in the order of the paper. Columns: the conditions of
        ``COLUMNS`` (all CC unless named otherwise), then seeds, steps, epochs, images, seconds.
    """
    metrics = planned_metrics(config)
    metrics = metrics[metrics["rule"] == rule]
    lines = []
    for row in ROW_ORDER:
        mine = metrics[metrics["row"] == row]
        if mine.empty:
            continue
        by_condition = mine.groupby(["query", "gallery", "protocol"])[measure].mean()
        line: dict[str, object] = {"row": mine["title"].iloc[0]}
        line |= {title: 100 * by_condition[key] for key, title in COLUMNS.items()}
        line |= {
            "seeds": mine["seed"].nunique(),
            "steps": int(mine["steps"].iloc[0]),
            "epochs": int(mine["epochs"].iloc[0]),
            "images": int(mine["images"].mean()),
            "seconds": round(mine.groupby("seed")["train_seconds"].first().mean()),
        }
        lines.append(line)
    return pd.DataFrame(lines).set_index("row")


def summary_table(config: Config, rule: str = "last") -> pd.DataFrame:
    """The ablation in short: CC rank-1 with 95 % intervals over test people, SC, and the cost.

    Returns:
        Strings such as "31.5 [27.0, 36.2]" (percent), one line per row of the ablation.
    """
    ablation = ablation_table(config, "rank1", rule)
    planned: dict[str, list[pd.DataFrame]] = {
        find_row(run.row).title: [] for run in planned_runs(config)
    }
    for run in planned_runs(config):
        folder = RunFolder.of(run)
        if (folder.path / "per_query.parquet").is_file():
            planned[find_row(run.row).title].append(folder.per_query())
    lines = []
    for title, costs in ablation.iterrows():
        queries = pd.concat(planned[str(title)], ignore_index=True)
        line: dict[str, object] = {"row": title}
        for name, condition in CONDITIONS.items():
            found = clustered_interval(select(queries, condition, rule))
            line[f"{name} [95 %]"] = found.in_points()
        line["SC, HQ"] = f"{costs['SC, HQ']:.1f}"
        line |= {name: f"{int(costs[name])}" for name in ("steps", "epochs", "images", "seconds")}
        lines.append(line)
    return pd.DataFrame(lines).set_index("row")


def seed_table(config: Config, measure: str = "rank1", rule: str = "last") -> pd.DataFrame:
    """Every seed of every row by itself: CC on HQ and LQ queries, in percent."""
    metrics = planned_metrics(config)
    chosen = metrics[(metrics["rule"] == rule) & (metrics["protocol"] == "CC")]
    wide = chosen.pivot_table(
        index=["row", "seed"], columns=["query", "gallery"], values=measure, aggfunc="first"
    )
    wide.columns = [f"{query} → {gallery}" for query, gallery in wide.columns]
    return (100 * wide).reindex(ROW_ORDER, level="row")


def write_tables(config: Config) -> list[Path]:
    """Writes the tables of a profile as CSV and Markdown; returns the files."""
    target = profile_folder(config) / "tables"
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for measure in ("rank1", "mAP"):
        for rule in sorted(set(planned_metrics(config)["rule"])):
            table = ablation_table(config, measure, rule)
            stem = target / f"ablation_{measure}_{rule}"
            table.round(2).to_csv(stem.with_suffix(".csv"))
            stem.with_suffix(".md").write_text(_markdown(table), encoding="utf-8")
            written += [stem.with_suffix(".csv"), stem.with_suffix(".md")]
    seed_table(config).round(2).to_csv(target / "seeds_rank1.csv")
    (target / "summary.md").write_text(_markdown(summary_table(config)), encoding="utf-8")
    return [*written, target / "seeds_rank1.csv", target / "summary.md"]


def _markdown(table: pd.DataFrame) -> str:
    """A pipe table with one decimal for percentages."""
    header = ["row", *table.columns]
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * len(table.columns) + "|"]
    for name, *values in table.itertuples(name=None):
        cells = [f"{value:.1f}" if isinstance(value, float) else f"{value}" for value in values]
        lines.append("| " + " | ".join([str(name), *cells]) + " |")
    return "\n".join(lines) + "\n"
