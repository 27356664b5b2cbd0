"""Rows side by side: which runs there are, where CAL begins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from rlqkit.config import Config, Moment, with_overrides
from rlqkit.method.rows import find_row
from rlqkit.runs.folder import RunFolder


def measured_runs(config: Config, rows: Iterable[str]) -> dict[str, list[RunFolder]]:
    """Runs of each row that have figures, by the configuration's seeds; weights aren't asked for.

    The reader's own runs, or, of a row without any, those that came with the kit. Rows without a
    run are left out, with a line that says which command makes them.

    Args:
        config: everything but row and seed, which must fit exactly.
        rows: names, in the order wanted.
    """
    seeds = sorted({config.seed, *config.reproduce.seeds})
    found = {}
    for row in rows:
        wanted = [with_overrides(config, {"row": row, "seed": s}) for s in seeds]
        own = [folder for run in wanted if has_figures(folder := RunFolder.of(run))]
        shipped = [folder for run in wanted if has_figures(folder := RunFolder.shipped(run))]
        present = own or shipped
        if present:
            found[row] = present
            if not own:
                print(f"{find_row(row).title}: no run of yours, so the shipped one is shown")
        else:
            print(f"no run of row {row}, left out; {how_to_train(config, row)}")
    return found


def how_to_train(config: Config, row: str) -> str:
    """The command that makes a run of a row."""
    seed = f" --seed {config.seed}" * (config.seed != 1)
    return f"make it with: rlqkit train --profile {config.profile} --row {row}{seed}"


def has_figures(folder: RunFolder) -> bool:
    """Whether metrics and per-query table are there, all that a comparison needs."""
    return all((folder.path / name).is_file() for name in ("metrics.json", "per_query.parquet"))


def per_query_tables(runs: Mapping[str, Iterable[RunFolder]]) -> dict[str, pd.DataFrame]:
    """Row → per-query table, the seeds of a row stacked (column seed)."""
    return {
        row: pd.concat(
            [folder.per_query().assign(seed=folder.config().seed) for folder in folders],
            ignore_index=True,
        )
        for row, folders in runs.items()
    }


def adversarial_start(history: pd.DataFrame, config: Config) -> int:
    """Optimiser step at which CAL starts to count, by the configuration."""
    moment = Moment.parse(config.training.adversarial_from, "training.adversarial_from")
    total = int(history["steps"].iloc[-1])
    if moment.epoch is None:
        return math.ceil((moment.share or 0.0) * total - 1e-9)  # 40 % of 160 is 64, not 65
    before = history[history["epoch"] < moment.epoch]
    return int(before["steps"].max()) if len(before) else 0
