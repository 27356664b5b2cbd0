"""Sheets of the audit show what they say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.report.style import WRONG_COLOUR
from wardrobe import figures
from wardrobe.labels_audit import image_scores


@pytest.fixture(autouse=True)
def _close_figures() -> object:
    yield
    plt.close("all")


def words(figure: plt.Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_strip_shows_every_edit_and_the_skeleton(tiny_benchmark: Benchmark) -> None:
    strip = figures.edited_strip(tiny_benchmark["query"], people=2)
    assert len(strip.axes[0].images) == 2 * 7 and "person 21" in words(strip)


def test_worst_labels_say_who_fails_and_frame_only_those(tiny_benchmark: Benchmark) -> None:
    query: ImageSet = tiny_benchmark["query"]
    assert query.joints is not None
    figure = figures.worst_sheet(query, count=3)
    scores = image_scores(query)
    failing = sum(min(3, int((np.nan_to_num(s, nan=-1) > 0).sum())) for s in scores.values())
    verdicts = [text.partition("\n")[2] for text in words(figure) if text.startswith("person ")]
    assert len(figure.axes[0].images) == 3 * len(scores) == len(verdicts)
    assert verdicts.count(figures.FAILS) == failing
    frames = [to_hex(p.get_edgecolor()) for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    assert frames == [WRONG_COLOUR] * failing
    assert 0 < failing < 3 * len(scores)  # both kinds are there, or the test says nothing
