"""Figures of results: tables in, matplotlib figures out; nothing here trains or measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from numpy.typing import NDArray

from rlqkit.comparison import CollapseMap
from rlqkit.config import Config
from rlqkit.degradations import KINDS
from rlqkit.notebook import HQ_COLOUR, LQ_COLOUR, WRONG_COLOUR
from rlqkit.rows import find_row
from rlqkit.severity import DIALS
from rlqkit.statistics import CONDITIONS
from rlqkit.training import Record

GREY, LIGHT, THIRD_COLOUR = "#8c8c8c", "#d9d9d9", "#8172b3"
CONDITION_COLOURS = dict(zip(CONDITIONS, (HQ_COLOUR, LQ_COLOUR, THIRD_COLOUR), strict=True))
KIND_TITLES = {kind: kind.replace("_", " ") for kind in KINDS}

ROW_STYLES = {
    "cal": ("#8c8c8c", "P"), "base-plain": ("#a6c1e6", "o"), "base": (HQ_COLOUR, "o"),
    "gender": (THIRD_COLOUR, "^"), "pose": (THIRD_COLOUR, "v"), "cap": (THIRD_COLOUR, "D"),
    "tad": (LQ_COLOUR, "o"), "tad-gender": (LQ_COLOUR, "^"), "tad-pose": (LQ_COLOUR, "v"),
    "rlq": (WRONG_COLOUR, "D"), "base-lq": ("#2e8b57", "s"),
}  # fmt: skip
"""Row → colour (what it builds on) and marker (▲ gender, ▼ pose, ◆ both)."""

FAMILIES: dict[str, dict[str, str]] = {
    "identity: cross-entropy": {"identity_1": "o1 (branch 1)", "identity_2": "o2 (branch 2)"},
    "agreement of the branches: KL": {"agreement": "KL(o2 → o1)"},
    "metric: triplet on f2": {"triplet": "triplet"},
    "clothes: CAL on f1": {
        "clothes_adversarial": "CAL (moves f1)",
        "clothes": "classifier's own loss",
    },
    "CAP: coarse attributes": {
        "pose": "pose cluster",
        "gender": "gender",
        "disentangling": "|cos(f2, f3)|",
    },
    "TAD: distillation": {
        "distil_hq_1": "HQ, f1",
        "distil_hq_2": "HQ, f2",
        "distil_lq_1": "LQ, f1",
        "distil_lq_2": "LQ, f2",
    },
    "TAD: self-supervision, KL": {
        "self_identity_1": "o1, HQ → LQ",
        "self_identity_2": "o2, HQ → LQ",
        "self_clothes": "clothes logits",
    },
    "does o1 name the person?": {"accuracy": "share of training images"},
    "the optimiser": {"learning_rate": "learning rate"},
}
"""Loss terms of a history by family: panel title → column → label."""


def sign(figure: Figure, config: Config) -> Figure:
    """Writes data set, profile and size under a figure, and that the data are synthetic."""
    data = config.data
    kind = " (synthetic)" if data.dataset.startswith("wardrobe") else ""
    text = f"{data.dataset}{kind}, profile {config.profile}, {data.height} x {data.width}"
    place = figure.subfigs[-1] if figure.subfigs else figure
    place.supxlabel(text, fontsize=7.5, color=GREY, x=0.995, ha="right")
    return figure


# ------------------------------------------------------------------------------------ training


def plot_history(
    history: pd.DataFrame,
    title: str,
    families: Iterable[str] | None = None,
    start: int | None = None,
) -> Figure:
    """One panel per family of loss terms, each phase a flat line at its mean.

    Args:
        history: one row per phase, see ``RunFolder.history``.
        title: of the figure.
        families: keys of ``FAMILIES``; by default those that the history has terms of.
        start: optimiser step at which CAL starts, marked where it is drawn.
    """
    wanted = list(families or families_of(history.columns))
    rows = -(-len(wanted) // 4) if len(wanted) > 3 else 1
    columns = -(-len(wanted) // rows)
    figure, grid = plt.subplots(
        rows, columns, figsize=(3.7 * columns, 2.75 * rows), sharex=True, squeeze=False
    )
    for axes, name in zip(grid.flat, wanted, strict=False):
        _plot_family(axes, history, FAMILIES[name])
        axes.set_title(name)
        if start is not None and name.startswith("clothes"):
            axes.axvline(start, color=WRONG_COLOUR, linestyle=":", linewidth=2)
            axes.text(
                start,
                0.97,
                " CAL starts",
                color=WRONG_COLOUR,
                fontsize=9,
                va="top",
                transform=axes.get_xaxis_transform(),
            )
    for axes in list(grid.flat)[len(wanted) :]:
        axes.remove()
    for axes in grid[-1]:
        axes.set_xlabel("optimiser step")
    figure.suptitle(title, fontsize=13)
    return figure


def families_of(columns: Iterable[str]) -> list[str]:
    """Families that have at least one of the columns."""
    present = set(columns)
    return [name for name, terms in FAMILIES.items() if present & terms.keys()]


def _plot_family(axes: Axes, history: pd.DataFrame, terms: Mapping[str, str]) -> None:
    ends = history["steps"].to_numpy(float)
    starts = np.concatenate([[0.0], ends[:-1]])
    if (history["phase"] == "tad").any():
        shade_phases(axes, history["phase"].tolist(), starts, ends)
    palette = [HQ_COLOUR, LQ_COLOUR, "#55a868", THIRD_COLOUR]
    for (column, label), colour in zip(terms.items(), palette, strict=False):
        if column not in history or history[column].isna().all():
            continue
        there = history[column].notna().to_numpy()
        values = history.loc[there, column].to_numpy(float)
        axes.hlines(values, starts[there], ends[there], color=colour, linewidth=2.6, label=label)
        middle = (starts[there] + ends[there]) / 2
        axes.plot(middle, values, color=colour, linewidth=0.9, alpha=0.6)
    axes.set_xlim(0, ends[-1])
    axes.margins(y=0.12)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="best", framealpha=0.85)


def shade_phases(
    axes: Axes, phases: Sequence[str], starts: NDArray[Any], ends: NDArray[Any]
) -> None:
    """Colours the background of TAD phases (orange) and CAP phases (blue)."""
    for phase, start, end in zip(phases, starts, ends, strict=True):
        colour = LQ_COLOUR if phase == "tad" else HQ_COLOUR
        axes.axvspan(start, end, color=colour, alpha=0.1, linewidth=0)


class LivePicture:
    """Redraws the history after every few phases: give it to ``Training.on_phase``.

    Attributes:
        frames: how often it was redrawn.
    """

    def __init__(self, row: str, phases: int, every: int = 2) -> None:
        """row: whose terms get panels. phases: how many will come. every: redraw after so many."""
        known = find_row(row)
        terms = (*known.terms, *known.tad_terms, "clothes", "accuracy", "learning_rate")
        self.families, self.title = families_of(terms), known.title
        self.phases, self.every, self.frames = phases, every, 0

    def __call__(self, history: list[Record]) -> None:
        if len(history) % self.every and len(history) < self.phases:
            return
        from IPython.display import clear_output, display

        last = history[-1]
        text = f"{self.title}, live: step {last['steps']}, last phase {last['phase'].upper()}"
        figure = plot_history(pd.DataFrame(history), text, self.families)
        clear_output(wait=True)
        display(figure)
        plt.close(figure)
        self.frames += 1


def plot_step_changes(changes: Mapping[str, pd.DataFrame]) -> Figure:
    """What each kind of step moves: one bar per module, one panel per step.

    Args:
        changes: step's title → table of ``inspection.step_changes``.
    """
    names = list(dict.fromkeys(name for table in changes.values() for name in table.index))
    figure, grid = plt.subplots(
        1,
        len(changes),
        figsize=(6 * len(changes), 0.36 * len(names) + 1.4),
        sharey=True,
        sharex=True,
        squeeze=False,
    )
    limit = max(table["change"].max() for table in changes.values())
    for axes, (title, table) in zip(grid.flat, changes.items(), strict=True):
        table = table.reindex(names)
        values = 100 * table["change"].to_numpy(float)
        axes.barh(names, values, color=[LIGHT if v == 0 else HQ_COLOUR for v in values])
        for y, (value, line) in enumerate(zip(values, table.itertuples(), strict=True)):
            text = f"{value:.2g} %" if value > 0 else "not moved"
            if value == 0 and line.gradient:
                text += ", though a gradient arrives"
            if value == 0 and line.batch_statistics:
                text += ", but its BN statistics are"
            axes.text(value, y, f" {text}", va="center", fontsize=9)
        axes.set_title(title)
        axes.set_xlabel("change of the weights, ‖after − before‖ / ‖before‖, %")
        axes.set_xlim(0, 130 * limit)
    grid[0, 0].invert_yaxis()
    return figure


# ------------------------------------------------------------------------------------- results


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
    axes.errorbar(x, values, yerr=_whiskers(intervals), fmt="none", ecolor="black", capsize=4)
    for position, value in zip(x, values, strict=True):
        axes.text(position + 0.06, value, f"{value:.1f}", va="bottom", fontsize=10)
    axes.set_xticks(x, intervals["condition"])
    axes.set_xlim(-0.5, len(x) - 0.5)
    axes.grid(visible=False, axis="x")


def _whiskers(intervals: pd.DataFrame) -> NDArray[np.float64]:
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
            xerr=_whiskers(mine),
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
            xerr=_whiskers(hq.loc[[row]]) if len(hq) <= 6 else None,
            yerr=_whiskers(lq.loc[[row]]) if len(hq) <= 6 else None,
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


# ------------------------------------------------------------------------------------ collapse

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


# --------------------------------------------------------------------------- the method, drawn


def draw_method() -> Figure:
    """The network of RLQ and the alternation of its two kinds of epochs."""
    figure = plt.figure(figsize=(12, 8.2))
    grid = figure.add_gridspec(2, 1, height_ratios=(1.5, 1))
    _draw_network(figure.add_subplot(grid[0]))
    _draw_alternation(figure.add_subplot(grid[1]))
    return figure


def _canvas(axes: Axes, width: float, height: float, title: str) -> None:
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    axes.set_title(title, loc="left", fontsize=12)


def _box(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    colour: str = "#f2f2f2",
    width: float = 1.25,
    height: float = 0.62,
) -> None:
    """A rounded box with its middle at (x, y)."""
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            facecolor=colour,
            boxstyle="round,pad=0,rounding_size=0.1",
            edgecolor="#444444",
            lw=1,
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=9)


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    style: str = "-",
    colour: str = "#444444",
) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            linestyle=style,
            color=colour,
            lw=1.2,
            shrinkA=0,
            shrinkB=0,
        )
    )


def _draw_network(axes: Axes) -> None:
    _canvas(
        axes,
        13.4,
        5.2,
        "The network: a shared trunk, two branches for the descriptor, a third for CAP",
    )
    trunk, one, two, three = "#e4e4e4", "#d5e0f0", "#d6ead9", "#e2dcef"
    middle = 3.4
    for x, text in ((0.75, "image"), (2.4, "stem"), (4.05, "layer1"), (5.7, "layer2")):
        _box(axes, x, middle, text, "white" if text == "image" else trunk)
    for x in (0.75, 2.4, 4.05):
        _arrow(axes, (x + 0.63, middle), (x + 1.02, middle))
    branches = (
        (4.5, one, "layer3, layer4", "f1", "identity o1\nclothes (CAL, adversarial)", "branch 1"),
        (2.6, two, "layer3, layer4", "f2", "identity o2, triplet\ngender (CAP)", "branch 2"),
        (
            0.7,
            three,
            "layer2, layer3, layer4",
            "f3",
            "pose cluster (CAP)\n|cos(f2, f3)| → 0",
            "branch 3: training only",
        ),
    )
    for y, colour, stages, feature, heads, name in branches:
        _box(axes, 7.9, y, stages, colour, width=1.9)
        _box(axes, 9.75, y, "pool, BN", colour, width=1.0)
        _arrow(axes, (8.86, y), (9.24, y))
        _arrow(axes, (10.26, y), (10.6, y))
        axes.text(10.78, y, feature, fontsize=12, weight="bold", va="center", ha="center")
        axes.text(11.1, y, heads, fontsize=9, va="center")
        axes.text(6.97, y + 0.42, name, fontsize=9, color="#444444")
    _arrow(axes, (6.33, middle + 0.1), (6.94, 4.5))
    _arrow(axes, (6.33, middle - 0.1), (6.94, 2.6))
    _arrow(axes, (4.4, middle - 0.32), (6.94, 0.7))
    axes.text(
        0.15,
        1.75,
        "tested with f1 | f2 alone:\nbranch 3 and all heads\nare thrown away",
        fontsize=9,
        style="italic",
        va="center",
    )


def _draw_alternation(axes: Axes) -> None:
    _canvas(
        axes,
        13.4,
        3.6,
        "The training: every epoch is TAD over the external set, then CAP over the target set",
    )
    tad, cap = "#f8e0cd", "#d5e0f0"
    for number in range(3):
        x = 0.2 + 4.4 * number
        for offset, width, colour, text in (
            (0.0, 1.5, tad, "TAD epoch"),
            (1.55, 2.6, cap, "CAP epoch"),
        ):
            _box(axes, x + offset + width / 2, 3.1, text, colour, width=width, height=0.55)
    axes.text(13.32, 3.05, "…", fontsize=16, va="center", ha="center")
    lines = (
        (
            0.2,
            tad,
            "TAD step: external images, no identity labels",
            "a frozen teacher (base model trained on the external set) sees HQ only\n"
            "the student sees HQ and its synthetic LQ copy\n"
            "its f1, f2 on HQ and on LQ → the teacher's on HQ   (4 distances)\n"
            "its logits on LQ → its own on HQ   (3 KL terms)",
        ),
        (
            6.9,
            cap,
            "CAP step: target images, every label, no LQ image",
            "each image comes as it is and once with recoloured clothes\n"
            "o1, o2 name the person; o1 agrees with o2 (KL); triplet on f2\n"
            "CAL: f1 may not tell which of its person's outfits it sees\n"
            "coarse attributes: gender from f2, pose cluster from f3",
        ),
    )
    for x, colour, head, text in lines:
        axes.add_patch(
            FancyBboxPatch(
                (x, 0.1),
                6.3,
                2.35,
                facecolor=colour,
                alpha=0.45,
                edgecolor="none",
                boxstyle="round,pad=0,rounding_size=0.12",
            )
        )
        axes.text(x + 0.2, 2.12, head, fontsize=10.5, weight="bold", va="center")
        axes.text(x + 0.2, 1.05, text, fontsize=9.5, va="center", linespacing=1.5)
