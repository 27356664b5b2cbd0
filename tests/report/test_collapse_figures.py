"""Figures of the collapse: what is drawn is what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image

from rlqkit.evaluation.collapse import MEASURES, collapse_intervals, person_sums
from rlqkit.evaluation.imaginary import IMAGINARY, perfect, piled_up
from rlqkit.evaluation.metrics import Labels
from rlqkit.evaluation.stages import collapse_by_stage
from rlqkit.report.figures import collapse, collapse_images, collapse_maps
from rlqkit.report.style import HQ_COLOUR, LQ_COLOUR

IDENTITY, CAMERA = np.indices((20, 4)).reshape(2, -1)
LABELS = Labels(IDENTITY, CAMERA, np.zeros_like(IDENTITY))
HEALTHY, COLLAPSED = "perfect", "HQ perfect, LQ on one point"


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Intervals of the imaginary networks, all measures."""
    models = {name: person_sums(*make(IDENTITY), LABELS) for name, make in IMAGINARY.items()}
    return collapse_intervals(models, draws=100)


def photo(shade: int) -> NDArray[np.uint8]:
    return np.full((20, 9, 3), shade, np.uint8)


def whiskers(axes: Axes, number: int) -> NDArray[np.float64]:
    """Values of the dots of a panel's number-th group."""
    return np.asarray(axes.containers[number].lines[0].get_xdata(), float)


def test_panels_show_lq_hq_and_the_floor(table: pd.DataFrame) -> None:
    hq = table.assign(estimate=0.25, low=0.2, high=0.3)
    floors = {measure: 0.5 for measure in MEASURES}
    figure = collapse.plot_measures(table, "measures", hq, floors)
    for axes, measure in zip(figure.axes, collapse.SHOWN, strict=True):
        factor = 100 if MEASURES[measure].percent else 1
        told = table[table["measure"] == measure]["estimate"].to_numpy() * factor
        np.testing.assert_allclose(whiskers(axes, 1), told)
        assert whiskers(axes, 0) == pytest.approx(0.25 * factor)
        assert axes.lines[0].get_xdata()[0] == 0.5 * factor  # the floor
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list(IMAGINARY)
    figure.canvas.draw()


def test_neighbour_shares_fill_the_bar() -> None:
    shares = [0.1, 0.2, 0.3, 0.4]
    shown = pd.DataFrame([shares, shares[::-1]], columns=list(collapse.SHARES), index=["a", "b"])
    axes = collapse.plot_neighbour_shares(shown, "shares").axes[0]
    ends = [bar.get_x() + bar.get_width() for bar in axes.containers[-1]]
    assert ends == pytest.approx([100, 100])
    assert len(axes.containers) == 4


def test_kinds_stand_side_by_side(table: pd.DataFrame) -> None:
    chosen = table[table["measure"].isin(["identity_purity", "between_gap"])]
    both = pd.concat([chosen.assign(kind=kind) for kind in ("pixelation", "motion_blur")])
    figure = collapse.plot_kinds(both, "kinds", {"identity_purity": 0.05, "between_gap": 0})
    first = figure.axes[0]
    assert [t.get_text() for t in first.get_xticklabels()] == ["pixelation", "motion blur"]
    assert len(first.containers) == len(IMAGINARY)
    assert first.get_ylabel() == "identity purity, %" and figure.axes[1].get_ylabel()[-1] != "%"


def test_severity_begins_at_hq(table: pd.DataFrame) -> None:
    chosen = table[table["measure"].isin(["lq_given_stranger", "identity_purity"])]
    levels = pd.concat(
        [
            chosen.assign(kind="pixelation", level=level, value=value)
            for level, value in enumerate((np.nan, 24, 8))
        ]
    )
    figure = collapse.plot_severity(levels, "severity")
    assert len(figure.axes) == 2
    ticks = [t.get_text() for t in figure.axes[-1].get_xticklabels()]
    assert ticks == ["HQ", "24", "8"]
    assert figure.axes[-1].get_xlabel() == "short side, px  (stronger →)"


def test_branches_part_behind_the_trunk() -> None:
    good, bad = perfect(IDENTITY), piled_up(IDENTITY)
    stages = {"stem": good, "branch1/layer3": good, "branch2/layer3": bad}
    found = collapse_by_stage({"base": stages, "RLQ": stages}, LABELS, ["identity_purity"])
    axes = collapse.plot_stages(found, "stages").axes[0]
    lines = [np.asarray(c.lines[0].get_ydata()) for c in axes.containers]
    assert len(lines) == 4  # two models, two branches each
    assert all(line[0] == lines[0][0] for line in lines)  # the trunk is shared
    assert lines[0][1] > 90 > 50 > lines[1][1]


def test_a_model_keeps_its_colour_whoever_stands_beside_it() -> None:
    alone = collapse.model_colours(["RLQ"])
    both = collapse.model_colours(["my row", "start weights", "RLQ", "another"])
    assert alone["RLQ"] == both["RLQ"] and len(set(both.values())) == 4
    assert not set(both.values()) & {HQ_COLOUR, LQ_COLOUR}


# -------------------------------------------------------------------------------------- images


def test_some_people_come_from_several_cameras_and_in_order() -> None:
    camera = np.tile([1, 1, 1, 2, 3, 4], 15)
    identity = np.repeat(np.arange(15), 6)
    chosen = collapse_images.some_people(identity, camera, 12, 4, seed=3)
    people = identity[chosen].reshape(12, 4)
    assert (people == people[:, :1]).all() and (np.diff(people[:, 0]) > 0).all()
    assert all(len(set(row)) == 4 for row in camera[chosen].reshape(12, 4))
    assert len(set(chosen)) == 48
    few = collapse_images.some_people(identity[:9], camera[:9], 12, 4)
    assert [int((identity[few] == person).sum()) for person in (0, 1)] == [4, 3]
    assert 1 not in identity[collapse_images.some_people(identity[:7], camera[:7])]
    one = collapse_images.some_people(identity[:7], camera[:7], each=1)
    assert identity[one].tolist() == [0, 1]


def test_fields_are_means_of_pairs_without_an_image_and_its_copy() -> None:
    rng = np.random.default_rng(0)
    identity = np.array([4, 9, 4, 9, 4, 2])
    hq, lq = rng.normal(size=(2, 6, 5))
    hq, lq = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (hq, lq))
    found = collapse_images.person_cosines(hq, lq, identity)
    sides, people = (hq, lq), [2, 4, 9]
    for a, i, b, j in np.ndindex(2, 3, 2, 3):
        cosines = [
            sides[a][x] @ sides[b][y]
            for x in np.flatnonzero(identity == people[i])
            for y in np.flatnonzero(identity == people[j])
            if x != y
        ]
        wanted = np.mean(cosines) if cosines else np.nan
        assert found[3 * a + i, 3 * b + j] == pytest.approx(wanted, nan_ok=True)


def test_matrices_share_their_scale_and_say_what_strangers_have() -> None:
    chosen = collapse_images.some_people(IDENTITY, CAMERA, 5, 4)
    models = {}
    for name in (COLLAPSED, HEALTHY):
        hq, lq = IMAGINARY[name](IDENTITY)
        models[name] = (hq[chosen], lq[chosen])
    photos = [(photo(200), photo(60))] * 5
    figure = collapse_images.plot_cosine_matrices(models, IDENTITY[chosen], photos, "matrices")
    one, other = (axes.images[0] for axes in figure.axes[:2])
    assert one.get_clim() == other.get_clim()
    assert one.get_array().shape == (10, 10)
    np.testing.assert_allclose(one.get_array()[5:, 5:], 1, atol=1e-5)  # the bright square
    assert "+1.00 in LQ" in figure.axes[0].get_title()
    assert "+1.00" not in figure.axes[1].get_title()
    (strip,) = figure.axes[0].child_axes
    assert strip.images[0].get_array().shape == (72, 36 * 10, 3)
    figure.canvas.draw()


def test_strips_frame_by_quality_and_mark_the_right_person(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {}
    monkeypatch.setattr(
        collapse_images, "sheet", lambda rows, title, labels, heads, **more: told.update(rows=rows)
    )
    n = len(IDENTITY)
    near = np.tile([[n + 1, 40]], (n, 1))  # LQ of image 1 (person 0), HQ of image 40 (person 10)
    queries = [0, 8, 41]
    collapse_images.plot_neighbour_strips(
        queries, {"base": near, "RLQ": near[:, ::-1]}, IDENTITY, lambda i: photo(i % 250), "strips"
    )
    rows = told["rows"]
    assert len(rows) == 4  # two queries side by side, then one; base above RLQ
    base, rlq = rows[0][:4], rows[1][:4]
    assert base[0].caption == "query, LQ" and rlq[0].caption == "its original"
    assert base[0].image[0, 0, 0] == n and rlq[0].image[0, 0, 0] == 0
    assert [tile.frame for tile in base[2:]] == [LQ_COLOUR, HQ_COLOUR]
    assert ["✓" in tile.caption for tile in base[2:]] == [True, False]
    assert ["✓" in tile.caption for tile in rows[2][2:4]] == [False, True]
    assert len(rows[0]) == 2 * len(base) + 1 and len(rows[2]) == 4


def test_strips_are_a_page() -> None:
    near = np.tile(np.arange(5), (len(IDENTITY), 1))
    figure = collapse_images.plot_neighbour_strips(
        [0, 9], {"base": near}, IDENTITY, lambda i: photo(i % 250), "strips"
    )
    assert len(figure.axes[0].images) == 12
    figure.canvas.draw()


# ---------------------------------------------------------------------------------------- maps


@pytest.fixture
def flat() -> collapse_maps.FlatMap:
    rng = np.random.default_rng(0)
    hq = rng.normal(size=(len(IDENTITY), 2))
    return collapse_maps.FlatMap("base", hq, hq + 30, "a note")


def test_every_image_is_a_dot_in_the_colour_of_its_quality(flat: collapse_maps.FlatMap) -> None:
    figure = collapse_maps.plot_quality_maps([[flat, flat], [flat, flat]], "maps")
    assert len(figure.axes) == 4
    dots = figure.axes[3].collections[0]
    assert len(dots.get_offsets()) == 2 * len(IDENTITY)
    colours = plt.matplotlib.colors.to_rgba_array([HQ_COLOUR, LQ_COLOUR])[:, :3]
    right = np.asarray(dots.get_offsets())[:, 0] > 15  # LQ lies 30 to the right
    assert np.allclose(dots.get_facecolors()[right][:, :3], colours[1])
    assert np.allclose(dots.get_facecolors()[~right][:, :3], colours[0])
    assert figure.axes[0].get_title() == "base\na note"
    ground = np.asarray(figure.axes[0].images[0].get_array())
    bare = ground[..., 3] < 0.1
    red_over_blue = ground[..., 0] - ground[..., 2]
    assert bare.any()
    lived = np.where(bare, 0, red_over_blue)  # HQ to the left, LQ to the right
    assert lived[:, :45].min() < -0.2 and lived[:, 45:].max() > 0.2


def test_rows_may_be_of_different_lengths(flat: collapse_maps.FlatMap) -> None:
    figure = collapse_maps.plot_quality_maps([[flat, flat], [flat]], "maps")
    assert [axes.axison for axes in figure.axes] == [True, True, True, False]


def test_people_have_hulls_and_one_arrow_each(flat: collapse_maps.FlatMap) -> None:
    figure = collapse_maps.plot_people_maps([[flat]], IDENTITY, [3, 7], "people")
    axes = figure.axes[0]
    assert len(axes.patches) == 2  # filled hulls of HQ
    arrows = [text for text in axes.texts if text.get_text() == ""]
    assert len(arrows) == 2
    starts = np.array([arrow.xyann for arrow in arrows])
    ends = np.array([arrow.xy for arrow in arrows])
    assert starts[0] == pytest.approx(flat.hq[IDENTITY == 3].mean(axis=0))
    assert ends - starts == pytest.approx(30)


def test_hull_of_points_in_a_line_is_the_points() -> None:
    line = np.column_stack([np.arange(4.0), np.arange(4.0)])
    assert collapse_maps._hull(line).tolist() == line.tolist()
    square = np.array([[0.0, 0], [0, 1], [1, 1], [1, 0], [0.5, 0.5]])
    assert len(collapse_maps._hull(square)) == 4


def test_film_moves_from_step_to_step(flat: collapse_maps.FlatMap, tmp_path: Path) -> None:
    steps = [
        ("HQ", {"base": flat.hq}), ("mild", {"base": flat.hq + 1}), ("strong", {"base": flat.lq})
    ]  # fmt: skip
    file = tmp_path / "film.gif"
    assert collapse_maps.animate_severity(steps, {"base": flat.hq}, file, "film", between=2) == file
    with Image.open(file) as film:
        assert film.format == "GIF" and film.n_frames == 2 * 2 + 1  # equal frames are merged
        frames = []
        for number in (0, film.n_frames - 1):
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB"), int))
    assert np.abs(frames[0] - frames[1]).mean() > 0.1
    assert not plt.get_fignums()
