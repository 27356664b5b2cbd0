"""Maps of HQ and LQ features: by quality, by person, over seeds, and moving with the damage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from rlqkit.report.style import GREY, HQ_COLOUR, LIGHT, LQ_COLOUR

Positions = NDArray[np.floating[Any]]
PEOPLE_COLOURS = ("#e41a1c", "#2171b5", "#238b45", "#984ea3", "#b15928", "#111111")
GROUND = LinearSegmentedColormap.from_list("quality", [HQ_COLOUR, "white", LQ_COLOUR])
CELLS = 90
REACH = 0.04
"""Cells of the coloured ground along a side, and how far a dot colours it, in panel widths."""
INSIDE = 0.995
"""Share of the points along each axis that a panel must show; a map may throw single ones far."""


@dataclass(frozen=True, eq=False)
class FlatMap:
    """One model's map.

    Attributes:
        title: above the panel.
        hq, lq: (n, 2) positions, row i of both from image i.
        note: below the title, such as how faithful the map is.
    """

    title: str
    hq: Positions
    lq: Positions
    note: str = ""


def plot_quality_maps(rows: Sequence[Sequence[FlatMap]], title: str) -> Figure:
    """Every image a dot, blue for HQ and orange for LQ: does LQ keep to itself?

    The ground is coloured by who lives there: orange where LQ dots outnumber HQ dots, white where
    both are as many.

    Args:
        rows: maps from left to right, row below row.
        title: of the figure.
    """
    figure, grid = _panels(rows, title)
    for axes, one in zip(grid, _filled(rows), strict=True):
        if one is None:
            axes.set_axis_off()
            continue
        rng = np.random.default_rng(0)
        both = np.concatenate([one.hq, one.lq])
        colours = np.repeat([HQ_COLOUR, LQ_COLOUR], [len(one.hq), len(one.lq)])
        order = rng.permutation(len(both))  # else the second colour would hide the first
        _frame(axes, one)
        _colour_ground(axes, one)
        axes.scatter(
            both[order, 0],
            both[order, 1],
            c=colours[order],
            s=13,
            edgecolor="white",
            linewidth=0.3,
            zorder=3,
        )
    handles = [
        _dot(HQ_COLOUR, "o", "HQ image"), _dot(LQ_COLOUR, "o", "LQ image"),
        Patch(facecolor=GROUND(0.85), label="more LQ"),
        Patch(facecolor=GROUND(0.15), label="more HQ"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    return figure


def plot_people_maps(
    rows: Sequence[Sequence[FlatMap]],
    identity: NDArray[np.int64],
    people: Sequence[int],
    title: str,
) -> Figure:
    """A few people in clear colours on the grey of all: does LQ stay with its person?

    A person's HQ images lie in a filled hull, their LQ images in an open one; an arrow leads from
    the middle of the one to the middle of the other.

    Args:
        rows: maps from left to right, row below row.
        identity: (n,) of the images.
        people: identities to be shown, six at most.
        title: of the figure.
    """
    figure, grid = _panels(rows, title)
    for axes, one in zip(grid, _filled(rows), strict=True):
        if one is None:
            axes.set_axis_off()
            continue
        axes.scatter(one.hq[:, 0], one.hq[:, 1], s=6, color=LIGHT, linewidth=0, zorder=1)
        axes.scatter(one.lq[:, 0], one.lq[:, 1], s=6, color="#a9a9a9", linewidth=0, zorder=1)
        for person, colour in zip(people, PEOPLE_COLOURS, strict=False):
            _draw_person(axes, one.hq[identity == person], one.lq[identity == person], colour)
        _frame(axes, one)
    handles = [
        *(_dot(c, "o", f"person {p}") for p, c in zip(people, PEOPLE_COLOURS, strict=False)),
        _dot(GREY, "o", "HQ, filled hull"), _dot(GREY, "^", "LQ, open hull"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    return figure


def animate_severity(
    steps: Sequence[tuple[str, Mapping[str, Positions]]],
    hq: Mapping[str, Positions],
    file: Path,
    title: str,
    between: int = 3,
    seconds: float = 0.25,
) -> Path:
    """Writes a GIF: LQ images leave their HQ places as the damage grows, model beside model.

    Args:
        steps: caption and model → (n, 2) LQ positions, from untouched to strong.
        hq: model → (n, 2) HQ positions, which stay.
        file: to be written.
        title: of the picture.
        between: frames from one step to the next; points glide straight, nothing is measured there.
        seconds: a frame stays.
    """
    figure, grid = plt.subplots(1, len(hq), figsize=(4.4 * len(hq), 5), squeeze=False)
    moving = {}
    for axes, (model, still) in zip(grid[0], hq.items(), strict=True):
        axes.scatter(*still.T, s=8, color=HQ_COLOUR, alpha=0.35, linewidth=0)
        moving[model] = axes.scatter(*still.T, s=8, color=LQ_COLOUR, alpha=0.85, linewidth=0)
        _frame(axes, FlatMap(model, still, np.concatenate([lq[model] for _, lq in steps])))
    handles = [_dot(HQ_COLOUR, "o", "HQ image"), _dot(LQ_COLOUR, "o", "the same image, damaged")]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False)
    caption = figure.suptitle(f"{title}\n{steps[0][0]}", fontsize=12)

    def draw(frame: int) -> list[Artist]:
        place, share = divmod(min(frame, (len(steps) - 1) * between), between)
        end = min(place + 1, len(steps) - 1)
        for model, dots in moving.items():
            before, after = steps[place][1][model], steps[end][1][model]
            dots.set_offsets(before + (after - before) * share / between)
        caption.set_text(f"{title}\n{steps[place][0]}")
        return [*moving.values(), caption]

    rest = 4  # frames that the last step stays before the picture begins again
    film = FuncAnimation(figure, draw, frames=(len(steps) - 1) * between + 1 + rest)
    film.save(file, writer=PillowWriter(fps=round(1 / seconds)), dpi=80)
    plt.close(figure)
    return file


def _panels(rows: Sequence[Sequence[FlatMap]], title: str) -> tuple[Figure, list[Axes]]:
    across = max(map(len, rows))
    figure, grid = plt.subplots(
        len(rows), across, figsize=(4.7 * across, 4.9 * len(rows) + 0.7), squeeze=False
    )
    figure.suptitle(title, fontsize=13)
    return figure, list(grid.flat)


def _filled(rows: Sequence[Sequence[FlatMap]]) -> list[FlatMap | None]:
    """All places of the grid, None where a row is shorter than the longest."""
    across = max(map(len, rows))
    return [one for row in rows for one in [*row, *[None] * (across - len(row))]]


def _frame(axes: Axes, one: FlatMap) -> None:
    """Limits that show nearly all points, no numbers (a map has none), titles."""
    both = np.concatenate([one.hq, one.lq])
    low, high = np.quantile(both, [1 - INSIDE, INSIDE], axis=0)
    middle, half = (low + high) / 2, 0.56 * float((high - low).max())
    half = half or 1.0
    axes.set(
        xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half),
        xticks=[], yticks=[], aspect="equal",
    )  # fmt: skip
    axes.grid(visible=False)
    axes.set_title(one.title + (f"\n{one.note}" if one.note else ""), fontsize=10.5)


def _colour_ground(axes: Axes, one: FlatMap) -> None:
    """Share of LQ among the dots around each place, weighed by a Gaussian; bare where none are."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    places = np.stack(
        np.meshgrid(np.linspace(left, right, CELLS), np.linspace(bottom, top, CELLS)), axis=-1
    ).reshape(-1, 1, 2)
    width = REACH * (right - left)
    weights = [
        np.exp(-np.square(places - points).sum(axis=-1) / (2 * width**2)).sum(axis=1)
        for points in (one.hq, one.lq)
    ]
    together = weights[0] + weights[1]
    share = np.divide(weights[1], together, out=np.full(len(together), 0.5), where=together > 0)
    # shares are told apart between one LQ in four and three in four
    colours = GROUND(np.clip(2 * (share - 0.5) + 0.5, 0, 1).reshape(CELLS, CELLS))
    colours[..., 3] = np.clip(together / 2, 0, 1).reshape(CELLS, CELLS)
    axes.imshow(
        colours, extent=(left, right, bottom, top), origin="lower", interpolation="bilinear",
        zorder=0,
    )  # fmt: skip


def _draw_person(axes: Axes, hq: Positions, lq: Positions, colour: str) -> None:
    axes.scatter(hq[:, 0], hq[:, 1], s=42, color=colour, edgecolor="white", linewidth=0.6, zorder=4)
    axes.scatter(
        lq[:, 0],
        lq[:, 1],
        s=48,
        color=colour,
        marker="^",
        edgecolor="white",
        linewidth=0.6,
        zorder=4,
    )
    for points, inside in ((hq, 0.22), (lq, 0.0)):
        corners = _hull(points)
        if inside:
            axes.fill(*corners.T, color=colour, alpha=inside, linewidth=0, zorder=2)
        style: Any = "-" if inside else (0, (3, 2))
        axes.plot(
            *np.concatenate([corners, corners[:1]]).T, color=colour, linestyle=style, linewidth=1.2,
            alpha=0.8, zorder=3,
        )  # fmt: skip
    start, end = hq.mean(axis=0), lq.mean(axis=0)
    arrow: Any = {"arrowstyle": "-|>", "color": colour, "lw": 1.8, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=tuple(end), xytext=tuple(start), arrowprops=arrow, zorder=5)


def _hull(points: Positions) -> Positions:
    """Corners of the hull of points (n, 2), in order; the points where they have no area."""
    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except QhullError:  # fewer than three points, or all in a line
        return points


def _dot(colour: str, marker: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle="", markersize=8, label=label)
