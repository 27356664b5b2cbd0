"""Pictures of the degradations: ladders, ranges, kernels, mixes, seeds."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from rlqkit.config import Config
from rlqkit.data.images import ImageStore, read_image
from rlqkit.data.imageset import ImageSet
from rlqkit.data.loaders import degradation_mix, severity
from rlqkit.data.torch_sets import EXTERNAL_LQ, EvaluationImages, ExternalImages
from rlqkit.method.degradations import (
    KINDS,
    MIXES,
    SEVERITIES,
    degrade,
    draw_kind,
    gaussian_blur,
    motion_blur,
    motion_kernel,
    pixelate,
)
from rlqkit.method.sampling import Draw
from rlqkit.randomness import SeedPolicy, generator
from rlqkit.report.figures.sheets import (
    Picture,
    Tile,
    boxes,
    headline_of,
    seen_by_network,
    sheet,
    to_picture,
)
from rlqkit.report.style import HQ_COLOUR, KIND_COLOURS, KIND_TITLES, LQ_COLOUR, SEVERITY_COLOURS

LADDER: dict[str, tuple[float, ...]] = {
    "pixelation": (63, 40, 24, 16, 8),
    "motion_blur": (4, 8, 12, 16, 19),
    "out_of_focus": (0.5, 1.0, 2.0, 3.0, 4.0),
}
"""Rising severity: short side in px, side of the motion kernel in px, sigma in px."""


def damaged(image: Picture, kind: str, level: float) -> Picture:
    """One degradation at a level of `LADDER`; motion at 30 degrees, Gauss with a wide kernel."""
    if kind == "pixelation":
        return pixelate(image, int(level))
    if kind == "motion_blur":
        return motion_blur(image, int(level), 30)
    return gaussian_blur(image, 2 * int(np.ceil(2.5 * level)) + 1, level)


def severity_ladder(image: Picture, size: tuple[int, int], synthetic: bool = True) -> Figure:
    """Each degradation at rising severity, at native size and as the network sees it."""
    rows: list[list[Tile | None]] = []
    for kind, levels in LADDER.items():
        worse = [damaged(image, kind, level) for level in levels]
        names = [f"{level:g} px\n" for level in levels]
        left = [
            _sized(copy, name) for copy, name in zip([image, *worse], ["\n", *names], strict=True)
        ]
        rows.append([*left, None, *(_sized(seen_by_network(c, size)) for c in [image, *worse])])
    steps = ["as it is", *(f"level {i}" for i in range(1, 6))]
    parameters = ("short side", "kernel side", "σ")
    title = "Rising severity: native size (left) and as the network sees it (right)"
    return sheet(
        rows,
        headline_of(title, synthetic),
        [f"{KIND_TITLES[kind]}:\n{name}" for kind, name in zip(LADDER, parameters, strict=True)],
        [*steps, "", *steps],
        tile=(1.8, 0.78),
    )


def _sized(image: Picture, parameter: str = "") -> Tile:
    return Tile(image, f"{parameter}{image.shape[0]} × {image.shape[1]}")


def range_figure() -> Figure:
    """The named severities' ranges, kind by kind."""
    fields = {
        "short_side": "pixelation: short side, px\n(smaller is worse)",
        "motion_size": "motion blur: kernel side, px\n(larger is worse)",
        "gaussian_sigma": "out of focus: σ, px\n(larger is worse)",
    }
    figure, panels = plt.subplots(1, 3, figsize=(11, 2.2), layout="constrained")
    for axes, (field, title) in zip(panels, fields.items(), strict=True):
        for position, (name, ranges) in enumerate(SEVERITIES.items()):
            low, high = getattr(ranges, field)
            axes.barh(position, high - low, left=low, color=SEVERITY_COLOURS[name], height=0.55)
            axes.text((low + high) / 2, position, f"{low:g} to {high:g}", ha="center", va="center")
        axes.set(title=title, yticks=range(len(SEVERITIES)), yticklabels=[], ylim=(-0.5, 1.5))
        axes.set_xlim(left=0)
        axes.invert_yaxis()
    panels[0].set_yticklabels(SEVERITIES)
    figure.suptitle("What is drawn from which range?", weight="bold")
    return figure


def damage_table(
    images: ImageSet, sizes: Sequence[tuple[int, int]], count: int = 60, seed: int = 0
) -> pd.DataFrame:
    """How much a random degradation changes what the network sees.

    Returns:
        One row per image, kind, severity and input size: damage = RMS difference between the
        network's view of the LQ copy and of the image itself, in grey levels (0-255).
    """
    rows = []
    for i in np.linspace(0, len(images) - 1, min(count, len(images))).astype(int):
        image = read_image(images.paths[i])
        clean = {size: seen_by_network(image, size).astype(np.float64) for size in sizes}
        for number, kind in enumerate(KINDS):
            for name, ranges in SEVERITIES.items():
                rng = generator(seed, "evaluation", int(i), number)
                worse = degrade(image, kind, ranges, rng)
                for size in sizes:
                    gap = seen_by_network(worse, size) - clean[size]
                    where = f"{size[0]} × {size[1]}"
                    rows.append((kind, name, where, float(np.sqrt((gap**2).mean()))))
    return pd.DataFrame(rows, columns=["kind", "severity", "input", "damage"])


def damage_figure(table: pd.DataFrame, synthetic: bool = True) -> Figure:
    """`damage_table` as boxes, one panel per input size."""
    inputs = list(table["input"].unique())
    figure, panels = plt.subplots(
        1, len(inputs), figsize=(11, 3.6), layout="constrained", sharey=True, squeeze=False
    )
    for axes, where in zip(panels[0], inputs, strict=True):
        for shift, (name, colour) in zip((-0.2, 0.2), SEVERITY_COLOURS.items(), strict=True):
            part = table[(table["input"] == where) & (table["severity"] == name)]
            groups = {
                KIND_TITLES[kind]: part.loc[part["kind"] == kind, "damage"].to_numpy()
                for kind in KINDS
            }
            boxes(axes, groups, colour, shift, 0.35)
        axes.set_title(f"network input {where}")
    panels[0][0].set_ylabel("RMS change, grey levels")
    handles = [Patch(facecolor=colour, label=name) for name, colour in SEVERITY_COLOURS.items()]
    panels[0][-1].legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        fontsize=8,
        title="ranges",
        title_fontsize=8,
    )
    text = "How much of a random degradation does the network get to see?"
    figure.suptitle(headline_of(text, synthetic), weight="bold")
    return figure


def mix_figure() -> Figure:
    """Shares of the degradations by the name of the target data set."""
    names = list(MIXES)
    figure, axes = plt.subplots(figsize=(9, 2.9), layout="constrained")
    start = np.zeros(len(names))
    for kind, share in zip(KINDS, np.array(list(MIXES.values())).T, strict=True):
        bars = axes.barh(
            names, share, left=start, color=KIND_COLOURS[kind], label=KIND_TITLES[kind]
        )
        texts = [f"{value:.2f}" if value else "" for value in share]
        axes.bar_label(bars, texts, label_type="center", fontsize=8)
        start += share
    axes.invert_yaxis()
    axes.set(title="Which damage does TAD learn to bear, by target data set?", xlabel="share")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def lq_sheet(images: ImageSet, config: Config, count: int = 12) -> Figure:
    """Images above their LQ copies as the evaluation makes them, kinds drawn by the mix."""
    ranges, mix = severity(config), degradation_mix(config)
    store = ImageStore(
        [images.paths[i] for i in np.linspace(0, len(images) - 1, count).astype(int)], 0
    )
    seed = config.evaluation.degradation_seed
    copies = EvaluationImages(
        store, size=(config.data.height, config.data.width), degradation="mixed",
        severity=ranges, mix=mix, seed=seed,
    )  # fmt: skip
    kinds = [draw_kind(mix, generator(seed, "evaluation", i, 0)) for i in range(len(store))]
    rows = [
        [Tile(store[i]) for i in range(len(store))],
        [
            Tile(copies.source(i), f"{KIND_TITLES[kind]}", KIND_COLOURS[kind])
            for i, kind in enumerate(kinds)
        ],
        [Tile(to_picture(copies[i]["images"])) for i in range(len(store))],
    ]
    return sheet(
        rows,
        headline_of("The mix at work", images.synthetic),
        ["HQ", "LQ,\nnative size", "LQ, as the\nnetwork sees it"],
        legend={KIND_TITLES[kind]: colour for kind, colour in KIND_COLOURS.items()},
        tile=(1.6, 0.8),
    )


def kernel_figure(
    sizes: Sequence[int] = (8, 13, 19), angles: Sequence[int] = (0, 30, 60, 90, 135)
) -> Figure:
    """Motion-blur kernels by size and angle, and the profiles of the Gaussian blur."""
    figure = plt.figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.5, 1])[0]
    grid = left.subplots(len(sizes), len(angles), squeeze=False)
    side = max(sizes)
    for i, size in enumerate(sizes):
        for j, angle in enumerate(angles):
            axes = grid[i][j]
            before = (side - size) // 2
            padded = np.pad(motion_kernel(size, angle), (before, side - size - before))
            axes.imshow(padded, cmap="magma")
            axes.set(xticks=[], yticks=[])
            axes.add_patch(
                Rectangle((before - 0.5,) * 2, size, size, fill=False, edgecolor="w", lw=0.6)
            )
            if i == 0:
                axes.set_title(f"{angle}°", fontsize=9)
        grid[i][0].set_ylabel(f"{size} px", fontsize=9)
    left.suptitle("Motion blur: a line, turned (one scale)")
    _draw_gaussians(right.subplots())
    return figure


def _draw_gaussians(axes: Axes) -> None:
    """Taps of the Gaussian: sigma sets the blur; a wide kernel adds nothing, a narrow one cuts."""
    for sigma, colour in ((0.5, "#b6d0e8"), (2.0, HQ_COLOUR), (4.0, LQ_COLOUR)):
        for kernel, style in ((5, ":"), (21, "-")):
            x = np.arange(kernel) - kernel // 2
            taps = np.exp(-0.5 * (x / sigma) ** 2)
            label = f"σ {sigma:g}, kernel {kernel}"
            axes.plot(x, taps / taps.sum(), style, marker=".", color=colour, label=label)
    axes.set(title="Out of focus: weight of each tap", xlabel="pixels from the centre")
    axes.legend(fontsize=7)


def epoch_views(
    images: ImageSet, config: Config, index: int, policy: SeedPolicy, epochs: int
) -> tuple[list[Picture], list[Picture], list[str]]:
    """HQ and LQ view of one external image in each epoch, and the kind of damage drawn.

    The image keeps its place in the epoch, as it does under the official order.
    """
    mix, ranges = degradation_mix(config), severity(config)
    size = (config.data.height, config.data.width)
    store = ImageStore(images.paths, 0)
    data = ExternalImages(store, size=size, policy=policy, severity=ranges, mix=mix)
    hq, lq, kinds = [], [], []
    for epoch in range(epochs):
        item = data[Draw(epoch, index, index)]
        hq.append(to_picture(item["hq"]))
        lq.append(to_picture(item["lq"]))
        kinds.append(draw_kind(mix, policy.draws("augment", epoch, index, index, EXTERNAL_LQ)))
    return hq, lq, kinds


def seeding_sheet(images: ImageSet, config: Config, index: int = 0, epochs: int = 8) -> Figure:
    """One external image over the epochs under both seeding switches."""
    rows: list[list[Tile]] = []
    for switch in ("clean", "official"):
        policy = SeedPolicy(config.seed, switch)
        hq, lq, kinds = epoch_views(images, config, index, policy, epochs)
        rows.append([Tile(view) for view in hq])
        pairs = zip(lq, kinds, strict=True)
        rows.append([Tile(v, KIND_TITLES[kind], KIND_COLOURS[kind]) for v, kind in pairs])
    return sheet(
        rows,
        headline_of("Does the network meet the same view again?", images.synthetic),
        ["clean, HQ", "clean, LQ", "official, HQ", "official, LQ"],
        [f"epoch {epoch}" for epoch in range(epochs)],
        tile=(1.6, 0.8),
    )
