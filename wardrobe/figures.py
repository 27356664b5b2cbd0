"""Figures of the audits and the calibration: tables and image sets in, matplotlib figures out."""

from __future__ import annotations

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from rlqkit.data.images import read_image, read_mask
from rlqkit.data.imageset import ImageSet
from rlqkit.method.attributes import PoseClusters, scale_joints
from rlqkit.report.figures.ablation import whiskers
from rlqkit.report.figures.sheets import (
    Tile,
    headline_of,
    mask_overlay,
    sheet,
    skeleton_on,
    skeleton_picture,
)
from rlqkit.report.style import CC_COLOUR, CORRECT_COLOUR, GREY, HQ_COLOUR, LIGHT
from wardrobe.audit import LEAKS
from wardrobe.calibration import BAND, MET, MISSED, OPEN
from wardrobe.cues import EDITS, SKELETON
from wardrobe.labels_audit import image_scores

VERDICT_COLOURS = {MET: CORRECT_COLOUR, OPEN: "#ccb974", MISSED: CC_COLOUR, "": HQ_COLOUR}


def plot_shortcuts(table: pd.DataFrame, title: str) -> Figure:
    """Rank-1 of every shortcut under CC and SC, with intervals, before what exchanges give.

    The axis ends where the shortcuts at chance do; a longer bar is cut and its figure written.

    Args:
        table: ``audit.audit_shortcuts``.
        title: of the figure.
    """
    protocols = list(dict.fromkeys(table["protocol"]))
    names = list(dict.fromkeys(table["shortcut"]))
    figure, panels = plt.subplots(
        1, len(protocols), figsize=(10.5, 0.42 * len(names) + 1.7), sharey=True, squeeze=False
    )
    for axes, protocol in zip(panels[0], protocols, strict=True):
        mine = table[table["protocol"] == protocol].set_index("shortcut").loc[names]
        _draw_shortcuts(axes, mine)
        axes.set_title("CC: must be at chance" if protocol == "CC" else f"{protocol}: for contrast")
    panels[0, 0].set_yticks(range(len(names)), names)
    panels[0, 0].invert_yaxis()
    handles = [
        Patch(color=HQ_COLOUR, label="found"), Patch(color=CC_COLOUR, label="found, a leak"),
        Patch(color=LIGHT, label="people exchanged, up to 97.5 %"),
        Line2D([], [], color="black", marker="|", markersize=10, linestyle="", label="their mean"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower left", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=12)
    return figure


def _draw_shortcuts(axes: Axes, mine: pd.DataFrame) -> None:
    y = np.arange(len(mine))
    colours = [CC_COLOUR if verdict == LEAKS else HQ_COLOUR for verdict in mine["verdict"]]
    axes.barh(y, mine["expected_high"], height=0.85, color=LIGHT)
    axes.barh(y, mine["rank1"], height=0.5, color=colours, xerr=_ends(mine), ecolor="black",
              error_kw={"elinewidth": 1, "capsize": 2})  # fmt: skip
    axes.plot(mine["expected"], y, "|", color="black", markersize=14)
    usual = mine.loc[mine["rank1"] <= 5 * mine["expected_high"].max(), "high"]
    end = 1.15 * max(mine["expected_high"].max(), usual.max() if len(usual) else 0.0)
    axes.set_xlim(0, end)
    for place, value in enumerate(mine["rank1"]):
        if value > end:
            axes.text(0.97 * end, place, f"{value:.1f} →", ha="right", va="center", color="white",
                      fontsize=9, weight="bold")  # fmt: skip
    axes.set_xlabel("rank-1, % (95 %, by identity)")
    axes.grid(visible=False, axis="y")


def edited_strip(images: ImageSet, people: int = 3) -> Figure:
    """Every edit of one image of some people, and their skeletons."""
    first = np.unique(images.identities, return_index=True)[1]
    chosen = first[np.linspace(0, len(first) - 1, min(people, len(first))).astype(int)]
    rows = []
    for i in chosen:
        image, mask = read_image(images.paths[i]), read_mask(images.mask_paths[i])
        row = [Tile(edit(image, mask)) for edit in EDITS.values()]
        if images.joints is not None:
            points = scale_joints(images.joints[i], (image.shape[1], image.shape[0]))
            row.append(Tile(skeleton_picture(points.astype(float))))
        rows.append(row)
    names = [
        "as it is",
        *(n.replace(" ", "\n", 1) for n in [*EDITS][1:]),
        SKELETON.replace(" (", "\n("),
    ]
    return sheet(
        rows,
        headline_of("What is left of a person?", images.synthetic),
        [f"person {images.identities[i]}" for i in chosen],
        names[: len(rows[0])],
        tile=(1.9, 1.0),
    )


def plot_cues(table: pd.DataFrame, title: str) -> Figure:
    """CC rank-1 on each kind of edited images, with intervals, and chance.

    Args:
        table: ``cues.identity_cues``.
        title: of the figure.
    """
    figure, axes = plt.subplots(figsize=(8.5, 0.42 * len(table) + 1.4))
    y = np.arange(len(table))
    colours = [GREY if cue == SKELETON else HQ_COLOUR for cue in table["cue"]]
    axes.barh(y, table["rank1"], height=0.6, color=colours, xerr=_ends(table), ecolor="black",
              error_kw={"elinewidth": 1, "capsize": 3})  # fmt: skip
    for place, (value, high) in enumerate(zip(table["rank1"], table["high"], strict=True)):
        axes.text(high, place, f"  {value:.1f}", va="center", fontsize=9)
    axes.axvline(table["chance"].iloc[0], color="black", linestyle="--", linewidth=1)
    axes.set_yticks(y, table["cue"])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * table["high"].max())
    axes.set_xlabel("CC rank-1, % (95 %, by identity); dashed: chance; grey: no network")
    axes.grid(visible=False, axis="y")
    axes.set_title(title)
    return figure


def skeleton_sheet(clusters: PoseClusters, synthetic: bool, columns: int = 8) -> Figure:
    """The mean skeleton of every pose cluster, the largest first."""
    order = np.argsort(-clusters.counts, kind="stable")
    tiles: list[Tile | None] = [
        Tile(skeleton_picture(clusters.skeletons[k]), f"{clusters.counts[k]} images") for k in order
    ]
    rows = [tiles[k : k + columns] for k in range(0, len(tiles), columns)]
    rows[-1] += [None] * (columns - len(rows[-1])) if len(rows) > 1 else []
    title = headline_of("Mean skeletons of the pose clusters (orange: left side)", synthetic)
    return sheet(rows, title, tile=(1.6, 0.85))


def worst_sheet(images: ImageSet, count: int = 8) -> Figure:
    """For every label check the images that fail it most, or come nearest to failing."""
    rows, names = [], []
    for check, scores in image_scores(images).items():
        order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[:count]
        rows.append([_labelled(images, int(i), bool(scores[i] > 0)) for i in order])
        names.append(fill(check, 22))
    title = headline_of("The worst labels, check by check", images.synthetic)
    legend = {"fails": CC_COLOUR, "passes": CORRECT_COLOUR}
    return sheet(rows, title, names, legend=legend, tile=(1.6, 0.85))


def _labelled(images: ImageSet, i: int, fails: bool) -> Tile:
    picture = read_image(images.paths[i])
    if images.table["mask"].iloc[i]:
        picture = mask_overlay(picture, read_mask(images.mask_paths[i]))
    assert images.joints is not None
    colour = CC_COLOUR if fails else CORRECT_COLOUR
    return Tile(skeleton_on(picture, images.joints[i]), frame=colour)


def plot_calibration(table: pd.DataFrame, title: str) -> Figure:
    """Every line of the calibration with its interval, coloured by its verdict.

    Args:
        table: ``calibration.calibration_table``.
        title: of the figure.
    """
    figure, axes = plt.subplots(figsize=(10, 0.36 * len(table) + 1.8))
    low, high = (100 * end for end in BAND)
    ends = whiskers(table)
    for place, line in enumerate(table.to_dict("records")):
        if line["target"] == f"{low:g} to {high:g}":
            axes.barh(place, high - low, left=low, height=0.8, color=LIGHT)
        axes.errorbar(
            line["estimate"], place, fmt="o", color=VERDICT_COLOURS[line["verdict"]],
            xerr=ends[:, [place]], capsize=3, elinewidth=1.6,
        )  # fmt: skip
        if line["seeds"] > 1:
            seed_ends = [line["seed_low"], line["seed_high"]]
            axes.plot(seed_ends, [place + 0.25] * 2, color=GREY, linewidth=1)
        axes.text(1.01, place, f"{line['target']}  {line['verdict']}", va="center", fontsize=9,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    axes.axvline(0, color="black", linewidth=0.8)
    names = [f"{r}: {m}" for r, m in zip(table["row"], table["measured"], strict=True)]
    axes.set_yticks(range(len(table)), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("percent or points; whiskers: 95 % over test people, grey lines: over seeds")
    handles = [Patch(color=VERDICT_COLOURS[name], label=name) for name in (MET, OPEN, MISSED)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    axes.set_title(title)
    return figure


def _ends(table: pd.DataFrame) -> NDArray[np.float64]:
    return whiskers(table.rename(columns={"rank1": "estimate"}))
