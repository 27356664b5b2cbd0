"""Pictures of the ablation: rows side by side, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlqkit.evaluation.intervals import CONDITIONS
from rlqkit.method.rows import find_row
from rlqkit.report.style import (
    CONDITION_COLOURS,
    GREY,
    HQ_COLOUR,
    LQ_COLOUR,
    ROW_STYLES,
    THIRD_COLOUR,
)


def plot_qualities(
    intervals: pd.DataFrame, images: Sequence[NDArray[np.uint8]], chance: float, title: str
) -> Figure:
    """The problem in one picture: one person in each quality, and rank-1 below each image.

    Args:
        intervals: columns condition, estimate, low, high (percent), one row per quality.
        images: one (H, W, 3) uint8 image per row of ``intervals``.
        chance: percent.
        title: of the figure.
    """
    count = len(intervals)
    figure = plt.figure(figsize=(2.2 * count, 6))
    grid = figure.add_gridspec(2, count, height_ratios=(1.15, 1))
    for column, image in enumerate(images):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(image, aspect="auto" if image.shape[0] < 4 else "equal")
        axes.axis("off")
        axes.set_title(
            f"{intervals['condition'].iloc[column]}\n{image.shape[0]} x {image.shape[1]} px",
            fontsize=10,
        )
    axes = figure.add_subplot(grid[1, :])
    colours = [HQ_COLOUR, *[LQ_COLOUR] * (count - 1)]
    _bars(axes, intervals, colours)
    axes.axhline(chance, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(
        " chance", (1, chance), xycoords=("axes fraction", "data"), color=GREY, va="center"
    )
    axes.set_ylabel(f"{intervals['test'].iloc[0]} rank-1, %")
    figure.suptitle(title, fontsize=13)
    return figure


def _bars(axes: Axes, intervals: pd.DataFrame, colours: Sequence[str]) -> None:
    x = np.arange(len(intervals))
    values = intervals["estimate"].to_numpy(float)
    axes.bar(x, values, color=colours, width=0.6)
    axes.errorbar(x, values, yerr=whiskers(intervals), fmt="none", ecolor="black", capsize=4)
    for position, value in zip(x, values, strict=True):
        axes.text(position + 0.06, value, f"{value:.1f}", va="bottom", fontsize=10)
    axes.set_xticks(x, intervals["condition"])
    axes.set_xlim(-0.5, len(x) - 0.5)
    axes.grid(visible=False, axis="x")


def whiskers(intervals: pd.DataFrame) -> NDArray[np.float64]:
    """(2, n) distances from the estimate to both ends of the interval, never negative."""
    low = intervals["estimate"] - intervals["low"]
    high = intervals["high"] - intervals["estimate"]
    return np.clip(np.stack([low, high]).astype(float), 0, None)


def plot_rank1(intervals: pd.DataFrame, title: str, chance: float | None = None) -> Figure:
    """Rank-1 of every row under every condition, with intervals; one dot per row and condition.

    Args:
        intervals: ``statistics.interval_table`` without reference (percent).
        title: of the figure.
        chance: percent, drawn as a line.
    """
    rows = list(dict.fromkeys(intervals["row"]))
    figure, axes = plt.subplots(figsize=(9, 0.55 * len(rows) + 1.6))
    present = [name for name in CONDITIONS if name in set(intervals["condition"])]
    for offset, condition in zip(np.linspace(-0.2, 0.2, len(present)), present, strict=True):
        mine = intervals[intervals["condition"] == condition].set_index("row").loc[rows]
        y = np.arange(len(rows)) + offset
        axes.errorbar(
            mine["estimate"],
            y,
            xerr=whiskers(mine),
            fmt="o",
            markersize=7,
            color=CONDITION_COLOURS[condition],
            label=condition,
            elinewidth=1.6,
        )
    if chance is not None:
        axes.axvline(chance, color=GREY, linestyle="--", linewidth=1, label="chance")
    _name_rows(axes, rows)
    axes.set_xlim(left=-0.015 * axes.get_xlim()[1])
    test = intervals["test"].iloc[0]
    axes.set_xlabel(f"{test} rank-1, %, with 95 % interval (bootstrap over identities)")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes.set_title(title)
    return figure


def plot_differences(differences: pd.DataFrame, title: str) -> Figure:
    """Paired difference of each row to a reference, one panel per condition.

    Coloured where the interval excludes 0, grey where it doesn't.
    """
    rows = list(dict.fromkeys(differences["row"]))
    present = [name for name in CONDITIONS if name in set(differences["condition"])]
    figure, grid = plt.subplots(
        1,
        len(present),
        figsize=(4.1 * len(present) + 1, 0.42 * len(rows) + 1.7),
        sharey=True,
        squeeze=False,
    )
    for axes, condition in zip(grid.flat, present, strict=True):
        mine = differences[differences["condition"] == condition].set_index("row").loc[rows]
        for y, (_, line) in enumerate(mine.iterrows()):
            colour = CONDITION_COLOURS[condition] if line["excludes_zero"] else GREY
            axes.plot([line["low"], line["high"]], [y, y], color=colour, linewidth=2.4)
            axes.plot(line["estimate"], y, "o", color=colour, markersize=8)
            axes.annotate(
                f"{line['estimate']:+.1f}",
                (line["estimate"], y),
                (0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )
        axes.axvline(0, color="black", linewidth=1)
        axes.set_title(condition)
        axes.set_xlabel(f"points of {mine['test'].iloc[0]} rank-1")
        axes.margins(x=0.12)
    _name_rows(grid[0, 0], rows)
    figure.suptitle(title, fontsize=13)
    return figure


def plot_bargain(intervals: pd.DataFrame, title: str) -> Figure:
    """What a row costs on HQ and brings on LQ: HQ rank-1 across, LQ → HQ rank-1 up.

    Intervals are drawn for six rows at most; more would bury the dots.

    Args:
        intervals: ``statistics.interval_table`` with the conditions HQ and LQ → HQ.
        title: of the figure.
    """
    hq = intervals[intervals["condition"] == "HQ"].set_index("row")
    lq = intervals[intervals["condition"] == "LQ → HQ"].set_index("row").loc[hq.index]
    figure, axes = plt.subplots(figsize=(7.6, 5))
    for row in hq.index:
        colour, marker = ROW_STYLES.get(row, (GREY, "o"))
        axes.errorbar(
            hq.loc[row, "estimate"],
            lq.loc[row, "estimate"],
            xerr=whiskers(hq.loc[[row]]) if len(hq) <= 6 else None,
            yerr=whiskers(lq.loc[[row]]) if len(hq) <= 6 else None,
            color=colour,
            marker=marker,
            markersize=11,
            markeredgecolor="white",
            elinewidth=1,
            linestyle="none",
            label=find_row(row).title,
        )
    axes.set_xlim(left=max(axes.get_xlim()[0], -1))
    axes.set_ylim(max(axes.get_ylim()[0], -1), 1.1 * axes.get_ylim()[1])
    axes.axline(
        (0, 0), slope=1, color=GREY, linestyle="--", linewidth=1, zorder=0, label="LQ as good as HQ"
    )
    test = intervals["test"].iloc[0]
    axes.set_xlabel(f"HQ queries: {test} rank-1, %")
    axes.set_ylabel(f"LQ queries: {test} rank-1, %")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes.set_title(title)
    return figure


def plot_agreement(agreement: pd.DataFrame, title: str) -> Figure:
    """Cosine with the teacher's features, per branch (table of ``teacher_agreement``)."""
    figure, axes = plt.subplots(figsize=(8, 0.55 * len(agreement) + 1.5))
    height = 0.36
    for number, (branch, colour) in enumerate(
        zip(agreement.columns, (HQ_COLOUR, THIRD_COLOUR), strict=True)
    ):
        y = np.arange(len(agreement)) + (number - 0.5) * height
        values = agreement[branch].to_numpy(float)
        axes.barh(y, values, height=height, color=colour, label=branch)
        for position, value in zip(y, values, strict=True):
            axes.text(max(value, 0), position, f" {value:.2f}", va="center", fontsize=9)
    axes.set_yticks(np.arange(len(agreement)), agreement.index)
    axes.invert_yaxis()
    axes.set_xlim(min(0.0, agreement.min().min() * 1.15), 1.0)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_xlabel("mean cosine with the teacher's HQ feature of the same image")
    axes.legend(loc="lower right")
    axes.set_title(title)
    return figure


def _name_rows(axes: Axes, rows: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(rows)), [find_row(row).title for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.6)
    axes.grid(visible=False, axis="y")
