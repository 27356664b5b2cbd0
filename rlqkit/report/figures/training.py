"""Pictures of a training: losses by phase, what a step moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlqkit.method.rows import find_row
from rlqkit.report.style import HQ_COLOUR, LIGHT, LQ_COLOUR, THIRD_COLOUR, WRONG_COLOUR

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

    def __call__(self, history: list[dict[str, Any]]) -> None:
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
