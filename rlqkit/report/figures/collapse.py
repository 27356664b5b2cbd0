"""Pictures of the LQ feature collapse: neighbours, maps, severity."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlqkit.evaluation.severity import DIALS
from rlqkit.method.degradations import KINDS
from rlqkit.report.comparison import CollapseMap
from rlqkit.report.style import (
    GREY,
    HQ_COLOUR,
    KIND_TITLES,
    LIGHT,
    LQ_COLOUR,
    THIRD_COLOUR,
    WRONG_COLOUR,
)

SHARES = {
    "nearest_hq_right": ("HQ, same person", "#2e8b57"),
    "nearest_lq_right": ("LQ, same person", "#9bcbaf"),
    "nearest_hq_wrong": ("HQ, someone else", LIGHT),
    "nearest_lq_wrong": ("LQ, someone else: collapse", WRONG_COLOUR),
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


def plot_collapse_maps(
    maps: Sequence[CollapseMap],
    arrows: Sequence[int],
    examples: Sequence[int],
    pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    title: str,
) -> Figure:
    """UMAP of HQ with LQ transformed into it, model beside model, examples below.

    Args:
        maps: one per model, of the same images.
        arrows: images that get an arrow HQ → LQ.
        examples: images that get a letter and a picture.
        pairs: (HQ, LQ) uint8 images of the examples.
        title: of the figure.
    """
    figure = plt.figure(figsize=(6.4 * len(maps), 9.2))
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(3, 1))[:, 0]
    grid = top.subplots(1, len(maps), sharex=True, sharey=True, squeeze=False)
    clouds = [m.standardised() for m in maps]
    limit = 1.08 * max(float(np.quantile(np.abs(np.concatenate(pair)), 0.998)) for pair in clouds)
    for axes, one, (hq, lq) in zip(grid.flat, maps, clouds, strict=True):
        _plot_map(axes, hq, lq, one.collapsed, arrows)
        _mark_examples(axes, hq, lq, examples)
        share = 100 * one.collapsed.mean()
        axes.set_title(
            f"{one.title}: {share:.0f} % of LQ images lie next to someone else's LQ image"
        )
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    top.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    _show_pairs(bottom.subplots(1, 2 * len(pairs), squeeze=False)[0], pairs)
    top.suptitle(title, fontsize=13)
    return figure


def _plot_map(
    axes: Axes,
    hq: NDArray[np.float32],
    lq: NDArray[np.float32],
    collapsed: NDArray[np.bool_],
    arrows: Sequence[int],
) -> None:
    axes.scatter(
        hq[:, 0], hq[:, 1], s=11, color=HQ_COLOUR, alpha=0.35, linewidth=0, label="HQ image"
    )
    free = ~collapsed
    axes.scatter(
        lq[free, 0], lq[free, 1], s=13, color=LQ_COLOUR, alpha=0.6, linewidth=0, label="LQ image"
    )
    axes.scatter(
        lq[collapsed, 0],
        lq[collapsed, 1],
        s=13,
        color=WRONG_COLOUR,
        alpha=0.7,
        linewidth=0,
        label="LQ image beside another person's LQ image",
    )
    for i in arrows:
        colour = WRONG_COLOUR if collapsed[i] else GREY
        axes.annotate(
            "",
            xy=lq[i],
            xytext=hq[i],
            arrowprops={"arrowstyle": "->", "color": colour, "alpha": 0.55, "lw": 1},
        )
    axes.grid(visible=False)


def _mark_examples(
    axes: Axes, hq: NDArray[np.float32], lq: NDArray[np.float32], examples: Sequence[int]
) -> None:
    for letter, i in zip("ABCDEFGH", examples, strict=False):
        axes.annotate(
            "",
            xy=lq[i],
            xytext=hq[i],
            arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 1.4},
        )
        box = {"boxstyle": "circle,pad=0.18", "fc": "white", "ec": "black", "lw": 0.8}
        axes.annotate(
            letter, hq[i], fontsize=8, ha="center", va="center", bbox=box, weight="bold", zorder=5
        )


def _show_pairs(
    grid: Sequence[Axes], pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]
) -> None:
    for number, pair in enumerate(pairs):
        for axes, image, quality in zip(grid[2 * number :], pair, ("HQ", "LQ"), strict=False):
            axes.imshow(image, aspect="equal")
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{'ABCDEFGH'[number]} {quality}", fontsize=9)
            for spine in axes.spines.values():
                spine.set_visible(False)


def choose_examples(
    collapsed: Sequence[NDArray[np.bool_]], identities: NDArray[np.int64], count: int = 6
) -> list[int]:
    """Images of different people, first those that collapse in the first model but not the last."""
    cured = collapsed[0].astype(int) - collapsed[-1].astype(int)
    chosen: dict[int, int] = {}
    for i in np.argsort(-cured, kind="stable"):
        chosen.setdefault(int(identities[i]), int(i))
    return list(chosen.values())[:count]


def plot_dials(dials: pd.DataFrame, title: str) -> Figure:
    """Cosine HQ–LQ (top) and rank-1 (bottom) against the level of each degradation.

    Args:
        dials: ``severity.turn_dials``.
        title: of the figure.
    """
    kinds = [kind for kind in KINDS if kind in set(dials["kind"])]
    figure, grid = plt.subplots(
        2, len(kinds), figsize=(4.1 * len(kinds), 6), sharey="row", sharex="col", squeeze=False
    )
    palette = (GREY, HQ_COLOUR, LQ_COLOUR, THIRD_COLOUR)
    for column, kind in enumerate(kinds):
        mine = dials[dials["kind"] == kind]
        for (model, table), colour in zip(mine.groupby("model", sort=False), palette, strict=False):
            for axes, measure, factor in zip(
                grid[:, column], ("cosine", "rank1"), (1, 100), strict=True
            ):
                axes.plot(table["level"], factor * table[measure], "o-", color=colour, label=model)
        first = mine[mine["model"] == mine["model"].iloc[0]]
        labels = ["HQ" if np.isnan(v) else f"{v:.3g}" for v in first["value"]]
        grid[1, column].set_xticks(first["level"], labels)
        grid[1, column].set_xlabel(f"{DIALS[kind][1]}  (stronger →)")
        grid[0, column].set_title(KIND_TITLES[kind])
    grid[0, 0].set_ylabel("cosine HQ–LQ of one image")
    grid[1, 0].set_ylabel(f"{dials['test'].iloc[0]} rank-1, %")
    grid[1, 0].set_ylim(bottom=0)
    grid[0, -1].legend(loc="best")
    figure.suptitle(title, fontsize=13)
    return figure
