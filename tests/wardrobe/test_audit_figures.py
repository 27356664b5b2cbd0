"""Figures of the audit show what their tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from rlqkit.data.imageset import Benchmark
from rlqkit.method.attributes import fit_pose_clusters
from rlqkit.report.style import CC_COLOUR, HQ_COLOUR, LIGHT
from wardrobe import audit, cues, figures
from wardrobe.calibration import MET, MISSED, OPEN


@pytest.fixture(autouse=True)
def _close_figures() -> object:
    yield
    plt.close("all")


def widths(axes: plt.Axes, colour: str) -> list[float]:
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [bar.get_width() for bar in bars if to_hex(bar.get_facecolor()) == colour]


def test_a_leak_is_red_cut_and_named_by_its_figure() -> None:
    line = {"low": 0.2, "high": 1.0, "expected": 0.5, "expected_high": 1.0, "mAP": 1.0}
    table = pd.DataFrame([line, line]).assign(
        shortcut=["camera id", "file order"],
        protocol="CC",
        rank1=[0.6, 66.8],
        verdict=[audit.AT_CHANCE, audit.LEAKS],
    )
    (axes,) = figures.plot_shortcuts(table, "title").axes
    assert widths(axes, CC_COLOUR) == [66.8] and widths(axes, HQ_COLOUR) == [0.6]
    assert widths(axes, LIGHT) == [1.0, 1.0]
    assert axes.get_xlim()[1] < 2
    assert [text.get_text() for text in axes.texts] == ["66.8 →"]


def test_cues_stand_in_order_with_chance() -> None:
    names = [*cues.EDITS, cues.SKELETON]
    table = pd.DataFrame({"cue": names, "rank1": np.arange(7.0), "chance": 0.4})
    table["low"], table["high"] = table["rank1"] - 1, table["rank1"] + 1
    (axes,) = figures.plot_cues(table, "title").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert [text.get_text().strip() for text in axes.texts] == [f"{k:.1f}" for k in range(7)]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed[0].get_xdata()[0] == 0.4


def test_calibration_is_coloured_by_verdict() -> None:
    verdicts = [MET, OPEN, MISSED]
    table = pd.DataFrame({
        "row": "base", "measured": ["a", "b", "c"], "estimate": [30.0, 1.0, -2.0],
        "low": [28.0, -1.0, -3.0], "high": [32.0, 3.0, -1.0], "seeds": [2, 1, 1],
        "seed_low": [27.0, np.nan, np.nan], "seed_high": [33.0, np.nan, np.nan],
        "target": ["25 to 50", "> 0", "> 0"], "verdict": verdicts,
    })  # fmt: skip
    (axes,) = figures.plot_calibration(table, "title").axes
    colours = [to_hex(line.get_color()) for line in axes.lines if line.get_marker() == "o"]
    assert colours == [figures.VERDICT_COLOURS[verdict] for verdict in verdicts]
    assert widths(axes, LIGHT) == [25.0]
    assert [text.get_text().split()[-1] for text in axes.texts] == verdicts
    seeds = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    assert [27.0, 33.0] in [list(data) for data in seeds]


def test_sheets_show_every_edit_check_and_cluster(
    tiny_benchmark: Benchmark,
) -> None:
    query = tiny_benchmark["query"]
    strip = figures.edited_strip(query, people=2)
    words = [text.get_text() for axes in strip.axes for text in axes.texts]
    assert len(strip.axes[0].images) == 2 * 7 and "person 21" in words
    worst = figures.worst_sheet(query, count=3)
    assert len(worst.axes[0].images) == 3 * 7
    assert query.joints is not None
    sizes = query.table[["width", "height"]].to_numpy()
    clusters = fit_pose_clusters(query.joints, sizes, clusters=5)
    skeletons = figures.skeleton_sheet(clusters, synthetic=True, columns=3)
    words = [text.get_text() for text in skeletons.axes[0].texts]
    counts = [int(word.split()[0]) for word in words if word.endswith(" images")]
    assert counts == sorted(clusters.counts, reverse=True)
    assert any("synthetic" in word for word in words)
