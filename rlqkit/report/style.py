"""One look for every figure: colours by meaning, titles, styles of the rows."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

from rlqkit.config import Config, DataConfig
from rlqkit.data import registry
from rlqkit.evaluation.intervals import CONDITIONS
from rlqkit.method.degradations import KINDS

CC_COLOUR, SC_COLOUR = "#c44e52", "#4c72b0"
HQ_COLOUR, LQ_COLOUR = "#4c72b0", "#dd8452"
CORRECT_COLOUR, WRONG_COLOUR, JUNK_COLOUR = "#2e8b57", "#c44e52", "#8c8c8c"


def use_style() -> None:
    sns.set_theme(context="notebook", style="whitegrid")
    mpl.rcParams["figure.constrained_layout.use"] = True
    mpl.rcParams["image.interpolation"] = "nearest"
    plt.rcParams["axes.titlesize"] = 11


GENERAL_COLOUR = "#55a868"
PROTOCOL_COLOURS = {"general": GENERAL_COLOUR, "SC": SC_COLOUR, "CC": CC_COLOUR}
STATUS_COLOURS = {"correct": CORRECT_COLOUR, "wrong": WRONG_COLOUR, "junk": JUNK_COLOUR}
SEVERITY_COLOURS = {"paper": "#8172b3", "small-input": "#ccb974"}
KIND_COLOURS = dict(zip(KINDS, ("#8c613c", "#937db8", "#64b5cd"), strict=True))
KIND_TITLES = {kind: kind.replace("_", " ") for kind in KINDS}
GENDERS = {1: "male", 0: "female"}
GREY, LIGHT, THIRD_COLOUR = "#8c8c8c", "#d9d9d9", "#8172b3"
CONDITION_COLOURS = dict(zip(CONDITIONS, (HQ_COLOUR, LQ_COLOUR, THIRD_COLOUR), strict=True))
ROW_STYLES = {
    "cal": ("#8c8c8c", "P"), "base-plain": ("#a6c1e6", "o"), "base": (HQ_COLOUR, "o"),
    "gender": (THIRD_COLOUR, "^"), "pose": (THIRD_COLOUR, "v"), "cap": (THIRD_COLOUR, "D"),
    "tad": (LQ_COLOUR, "o"), "tad-gender": (LQ_COLOUR, "^"), "tad-pose": (LQ_COLOUR, "v"),
    "rlq": (WRONG_COLOUR, "D"), "base-lq": ("#2e8b57", "s"),
    "mean": ("#8a6d1d", "X"), "mean-taught": ("#b0348f", "*"),
    "self-taught": ("#d487bf", "<"), "lq-on": ("#7fbf8f", ">"), "base-lq-on": ("#2e8b57", "p"),
    "base-lq-on-free": ("#2e8b57", "^"), "lq-then-hq-free": ("#1d5c3a", "v"),
    "base-on": (HQ_COLOUR, "p"), "lq-then-hq": ("#1d5c3a", "h"),
}  # fmt: skip
"""Row → colour (what it builds on) and marker (▲ gender, ▼ pose, ◆ both)."""


def sign(figure: Figure, config: Config, profiles: bool = False) -> Figure:
    """Writes data set, test people, profile and size under a figure, and that data are synthetic.

    Args:
        figure: gets the line.
        config: of what it shows.
        profiles: it shows several profiles, each under its own name, so neither is written.
    """
    data = config.data
    text = data.dataset + (" (synthetic)" if is_synthetic(data) else "")
    if data.test:
        text += f", test people {data.test}"
    if not profiles:
        text += f", profile {config.profile}, {data.height} x {data.width}"
    place = figure.subfigs[-1] if figure.subfigs else figure
    place.supxlabel(text, fontsize=7.5, color=GREY, x=0.995, ha="right")
    return figure


def is_synthetic(data: DataConfig) -> bool:
    """Whether the target's images are rendered; as :func:`rlqkit.data.registry.is_synthetic`."""
    return _flag(data.dataset, data.root)


@cache
def _flag(name: str, root: str) -> bool:
    return registry.is_synthetic(name, Path(root) if root else None)
