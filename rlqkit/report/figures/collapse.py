"""Plots of what is measured of the LQ feature collapse: beside its floors, by damage, by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlqkit.evaluation.collapse import ENDS, MEASURES
from rlqkit.evaluation.severity import DIALS
from rlqkit.method.degradations import KINDS
from rlqkit.report.style import (
    GREY,
    HQ_COLOUR,
    KIND_TITLES,
    LIGHT,
    LQ_COLOUR,
    WRONG_COLOUR,
)

SHOWN = (
    "lq_given_stranger", "lq_nearer", "identity_purity", "same_image_cosine", "between_gap"
)  # fmt: skip
"""Measures of a sheet, from left to right."""
MODEL_COLOURS = {
    "base": "#3a3a3a", "base + LQ augmentation": "#17a2b8", "TAD": "#b58900", "RLQ": "#8e44ad",
    "start weights": "#a0785a",
}  # fmt: skip
"""Colours of models, none that of HQ, LQ, right or wrong: these always, others the spare ones."""
SPARE_COLOURS = ("#e377c2", "#7f9f3f", "#5a6fa8", "#c79f7b")
CHANCE_STYLE: dict[str, Any] = {
    "color": GREY,
    "linestyle": (0, (4, 3)),
    "linewidth": 1.3,
    "zorder": 1,
}


def plot_measures(
    lq: pd.DataFrame,
    title: str,
    hq: pd.DataFrame | None = None,
    floors: Mapping[str, float] | None = None,
    measures: Sequence[str] = SHOWN,
) -> Figure:
    """One panel a measure, one line a model: LQ (filled) with its interval, HQ (open), floor.

    Args:
        lq: ``collapse_intervals`` of the models, top to bottom in their order.
        title: of the figure.
        hq: the same where the damage does nothing (``person_sums(hq, hq, …)``); None = not drawn.
        floors: measure → value of random features, a dashed line.
        measures: keys of ``MEASURES``, left to right.
    """
    models = list(dict.fromkeys(lq["model"]))
    figure, grid = plt.subplots(
        1, len(measures), figsize=(2 + 2.7 * len(measures), 1.9 + 0.42 * len(models)),
        sharey=True, squeeze=False,
    )  # fmt: skip
    for axes, measure in zip(grid[0], measures, strict=True):
        told = MEASURES[measure]
        if floors is not None:
            axes.axvline(
                float(_shown(floors[measure], measure)), label="random features", **CHANCE_STYLE
            )
        if hq is not None:
            _dots(axes, hq, models, measure, HQ_COLOUR, "white", "HQ in place of LQ", 0.16)
        _dots(axes, lq, models, measure, LQ_COLOUR, LQ_COLOUR, "LQ", -0.16)
        axes.set_title(told.title, fontsize=11)
        axes.set_xlabel(f"{'%' if told.percent else 'cosine'} (healthy: {told.healthy})")
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.08)
    grid[0, 0].set_yticks(range(len(models)), models)
    grid[0, 0].set_ylim(len(models) - 0.5, -0.5)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=len(labels), frameon=False, fontsize=9
    )
    figure.suptitle(title, fontsize=13)
    return figure


def _dots(
    axes: Axes,
    table: pd.DataFrame,
    models: Sequence[str],
    measure: str,
    colour: str,
    face: str,
    label: str,
    shift: float,
) -> None:
    lines = table[table["measure"] == measure].set_index("model").reindex(models)
    values, errors = _with_errors(lines, measure)
    axes.errorbar(
        values, np.arange(len(models)) + shift, xerr=errors, fmt="o", color=colour,
        markerfacecolor=face, markersize=7, capsize=3, linewidth=1.6, label=label, zorder=3,
    )  # fmt: skip


def _with_errors(lines: pd.DataFrame, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Values and (2, n) lengths of their whiskers, in percent where the measure is a share."""
    value, low, high = (_shown(lines[c].to_numpy(float), measure) for c in ENDS)
    return value, np.maximum(np.stack([value - low, high - value]), 0)


def _shown(values: np.ndarray | float, measure: str) -> np.ndarray:
    return np.asarray(values) * (100 if MEASURES[measure].percent else 1)


SHARES = {
    "nearest_hq_right": ("HQ, same person", "#2e8b57"),
    "nearest_lq_right": ("LQ, same person", "#9bcbaf"),
    "nearest_hq_wrong": ("HQ, someone else", LIGHT),
    "nearest_lq_wrong": ("LQ, someone else", WRONG_COLOUR),
}


def plot_neighbour_shares(table: pd.DataFrame, title: str) -> Figure:
    """Who the nearest neighbour of an LQ image is: one stacked bar per row, shares sum to 1.

    Args:
        table: index names of the bars, columns of ``Collapse``.
        title: of the figure.
    """
    figure, axes = plt.subplots(figsize=(9.5, 0.6 * len(table) + 1.7))
    left = np.zeros(len(table))
    for column, (label, colour) in SHARES.items():
        values = 100 * table[column].to_numpy(float)
        axes.barh(table.index, values, left=left, color=colour, label=label, height=0.7)
        for y, (value, start) in enumerate(zip(values, left, strict=True)):
            if value >= 6:
                dark = column in ("nearest_lq_wrong", "nearest_hq_right")
                axes.text(
                    start + value / 2,
                    y,
                    f"{value:.0f}",
                    ha="center",
                    va="center",
                    color="white" if dark else "black",
                    fontsize=10,
                )
        left += values
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("LQ images, %, by their nearest neighbour (HQ and LQ pool, other cameras)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, frameon=False, fontsize=9)
    axes.set_title(title, pad=32)
    return figure


def model_colours(models: Sequence[str]) -> dict[str, str]:
    """Model → colour, the same in every figure for the models that this kit trains."""
    others = [model for model in models if model not in MODEL_COLOURS]
    spare = dict(zip(others, cycle(SPARE_COLOURS), strict=False))
    return {model: MODEL_COLOURS.get(model) or spare[model] for model in models}


def plot_kinds(
    table: pd.DataFrame, title: str, floors: Mapping[str, float] | None = None
) -> Figure:
    """Each measure by degradation, models side by side.

    Args:
        table: ``collapse_intervals``' table with a column kind, tables of several kinds stacked.
        title: of the figure.
        floors: measure → value of random features.
    """
    measures = list(dict.fromkeys(table["measure"]))
    kinds, models = (list(dict.fromkeys(table[c])) for c in ("kind", "model"))
    figure, grid = plt.subplots(1, len(measures), figsize=(5.4 * len(measures), 4), squeeze=False)
    for axes, measure in zip(grid[0], measures, strict=True):
        for number, (model, colour) in enumerate(model_colours(models).items()):
            mine = table[(table["model"] == model) & (table["measure"] == measure)]
            values, errors = _with_errors(mine.set_index("kind").reindex(kinds), measure)
            shift = 0.15 * (number - (len(models) - 1) / 2)
            axes.errorbar(
                np.arange(len(kinds)) + shift, values, yerr=errors, fmt="o", color=colour,
                capsize=3, markersize=7, label=model,
            )  # fmt: skip
        _finish(axes, measure, floors)
        axes.set_xticks(range(len(kinds)), [KIND_TITLES.get(k, k) for k in kinds])
        axes.set_xlim(-0.5, len(kinds) - 0.5)
        axes.grid(visible=False, axis="x")
    _legend_below(figure, grid[0, 0], title)
    return figure


def plot_severity(
    table: pd.DataFrame, title: str, floors: Mapping[str, float] | None = None
) -> Figure:
    """Each measure (row) against the level of each degradation (column), with intervals.

    Args:
        table: ``collapse_intervals``' tables of several levels stacked, with the columns kind,
            level (0 = untouched) and value (of the dial; NaN at level 0).
        title: of the figure.
        floors: measure → value of random features.
    """
    measures = list(dict.fromkeys(table["measure"]))
    kinds = [kind for kind in KINDS if kind in set(table["kind"])]
    models = list(dict.fromkeys(table["model"]))
    figure, grid = plt.subplots(
        len(measures), len(kinds), figsize=(4.1 * len(kinds), 2.9 * len(measures) + 0.8),
        sharex="col", sharey="row", squeeze=False,
    )  # fmt: skip
    for row, measure in zip(grid, measures, strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            mine = table[(table["kind"] == kind) & (table["measure"] == measure)]
            for model, colour in model_colours(models).items():
                _curve(axes, mine[mine["model"] == model], "level", measure, colour, model)
            _finish(axes, measure, floors, ylabel=kind == kinds[0])
    for axes, kind in zip(grid[-1], kinds, strict=True):
        mine = table[table["kind"] == kind].drop_duplicates("level")
        labels = ["HQ" if np.isnan(v) else f"{v:.3g}" for v in mine["value"]]
        axes.set_xticks(mine["level"], labels)
        axes.set_xlabel(f"{DIALS[kind][1]}  (stronger →)")
    for axes, kind in zip(grid[0], kinds, strict=True):
        axes.set_title(KIND_TITLES[kind])
    _legend_below(figure, grid[0, 0], title)
    return figure


def plot_stages(
    table: pd.DataFrame, title: str, floors: Mapping[str, float] | None = None
) -> Figure:
    """Each measure from the stem to f1 and f2: one colour a model, branch 2 dashed.

    Args:
        table: ``stages.collapse_by_stage``, without a reference.
        title: of the figure.
        floors: measure → value of random features.
    """
    measures = list(dict.fromkeys(table["measure"]))
    models = list(dict.fromkeys(table["model"]))
    figure, grid = plt.subplots(1, len(measures), figsize=(6.2 * len(measures), 4.4), squeeze=False)
    for axes, measure in zip(grid[0], measures, strict=True):
        for model, colour in model_colours(models).items():
            mine = table[(table["model"] == model) & (table["measure"] == measure)]
            trunk = mine[mine["branch"] == ""]
            for branch in sorted(set(mine["branch"]) - {""}) or [""]:
                own = mine[mine["branch"] == branch] if branch else mine.head(0)
                line = pd.concat([trunk, own]).sort_values("depth")
                last = branch == "branch2"
                label = model if not last else None
                _curve(axes, line, "depth", measure, colour, label, "--" if last else "-")
        _finish(axes, measure, floors)
        names = table.drop_duplicates("depth").sort_values("depth")
        ends = names["stage"].str.rpartition("/")[2].replace({"f1": "f1, f2"})
        axes.set_xticks(names["depth"], ends)
        axes.set_xlabel("after this stage (solid: branch 1, dashed: branch 2)")
    _legend_below(figure, grid[0, 0], title)
    return figure


def _curve(
    axes: Axes,
    lines: pd.DataFrame,
    x: str,
    measure: str,
    colour: str,
    label: str | None,
    style: str = "-",
) -> None:
    values, errors = _with_errors(lines, measure)
    axes.errorbar(
        lines[x], values, yerr=errors, fmt="o" + style, color=colour, capsize=3, markersize=5,
        linewidth=1.8, elinewidth=1.1, label=label,
    )  # fmt: skip


def _finish(
    axes: Axes, measure: str, floors: Mapping[str, float] | None, ylabel: bool = True
) -> None:
    """Label, range and floor of a panel whose values go upwards."""
    told = MEASURES[measure]
    if floors is not None:
        axes.axhline(
            float(_shown(floors[measure], measure)), label="random features", **CHANCE_STYLE
        )
    if ylabel:
        axes.set_ylabel(told.title + (", %" if told.percent else ""))
    if told.percent and told.healthy != "50 %":
        axes.set_ylim(bottom=0)


def _legend_below(figure: Figure, axes: Axes, title: str) -> None:
    handles, labels = axes.get_legend_handles_labels()
    named: dict[str, Any] = dict(zip(labels, handles, strict=True))
    figure.legend(
        list(named.values()), list(named), loc="outside lower left", ncols=min(len(named), 4),
        frameon=False, fontsize=9,
    )  # fmt: skip
    figure.suptitle(title, fontsize=13)
