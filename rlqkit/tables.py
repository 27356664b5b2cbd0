"""Tables of a profile's results, made from its run folders and from nothing else."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rlqkit.degradations import KINDS
from rlqkit.evaluation import HQ, LQ, MIXED
from rlqkit.rows import ROWS, TEACHER
from rlqkit.runs import collect_metrics

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


def ablation_table(folder: Path, measure: str = "rank1", rule: str = "last") -> pd.DataFrame:
    """One line per row of the ablation: mean over seeds, in percent, with cost beside it.

    Args:
        folder: a profile's results folder.
        measure: "rank1", "rank5", "rank10" or "mAP".
        rule: selection rule.

    Returns:
        Index: titles of the rows, in the order of the paper. Columns: the conditions of
        ``COLUMNS`` (all CC unless named otherwise), then seeds, steps, epochs, images, seconds.
    """
    metrics = collect_metrics(folder)
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


def seed_table(folder: Path, measure: str = "rank1", rule: str = "last") -> pd.DataFrame:
    """Every seed of every row by itself: CC on HQ and LQ queries, in percent."""
    metrics = collect_metrics(folder)
    chosen = metrics[(metrics["rule"] == rule) & (metrics["protocol"] == "CC")]
    wide = chosen.pivot_table(
        index=["row", "seed"], columns=["query", "gallery"], values=measure, aggfunc="first"
    )
    wide.columns = [f"{query} → {gallery}" for query, gallery in wide.columns]
    return (100 * wide).reindex(ROW_ORDER, level="row")


def write_tables(folder: Path) -> list[Path]:
    """Writes the tables of a profile as CSV and Markdown; returns the files."""
    target = folder / "tables"
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for measure in ("rank1", "mAP"):
        for rule in sorted(set(collect_metrics(folder)["rule"])):
            table = ablation_table(folder, measure, rule)
            stem = target / f"ablation_{measure}_{rule}"
            table.round(2).to_csv(stem.with_suffix(".csv"))
            stem.with_suffix(".md").write_text(_markdown(table), encoding="utf-8")
            written += [stem.with_suffix(".csv"), stem.with_suffix(".md")]
    seeds = target / "seeds_rank1.csv"
    seed_table(folder).round(2).to_csv(seeds)
    return [*written, seeds]


def _markdown(table: pd.DataFrame) -> str:
    """A pipe table with one decimal for percentages."""
    header = ["row", *table.columns]
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * len(table.columns) + "|"]
    for name, values in table.iterrows():
        cells = [f"{v:.1f}" if isinstance(v, float) else f"{v}" for v in values.astype(object)]
        lines.append("| " + " | ".join([str(name), *cells]) + " |")
    return "\n".join(lines) + "\n"
