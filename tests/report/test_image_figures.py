"""Pictures of images, drawn on the tiny data set: what stands in them, not only that they draw."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rlqkit.config import Config, load_profile
from rlqkit.data import loaders
from rlqkit.data.images import SHIRT, read_image, read_mask
from rlqkit.data.imageset import Benchmark
from rlqkit.method.attributes import LIMBS
from rlqkit.method.augmentation import to_tensor
from rlqkit.method.degradations import KINDS, SEVERITIES
from rlqkit.method.rows import find_row
from rlqkit.randomness import SeedPolicy
from rlqkit.report import style
from rlqkit.report.figures import degradations, people, sheets


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    """No figure outlives its test."""
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def config(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The smoke profile on the tiny data set, two steps long."""
    return load_profile(
        "smoke",
        {
            "data.root": str(tiny_wardrobe),
            "data.external_root": str(tiny_wardrobe),
            "runtime.results": str(tmp_path_factory.mktemp("results")),
            "row": "cap",
            "training.steps": 2,
            "training.evaluations": 1,
        },
    )


def texts(figure: Figure) -> list[str]:
    """Every text of a figure that says something."""
    found = [t.get_text() for axes in figure.axes for t in axes.texts]
    found += [axes.get_title() for axes in figure.axes] + [figure.get_suptitle()]
    return [text for text in found if text]


def frames(figure: Figure) -> list[str]:
    """Colours of the frames of a sheet, row by row."""
    boxes = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    return [plt.matplotlib.colors.to_hex(box.get_edgecolor()) for box in boxes]


# ------------------------------------------------------------------------------ sheets of images


def test_sheet_places_tiles_in_rows_and_columns() -> None:
    tall, wide = np.zeros((40, 10, 3), np.uint8), np.zeros((10, 40, 3), np.uint8)
    rows = [[sheets.Tile(tall, "a"), None, sheets.Tile(wide, "b", "#ff0000")], [sheets.Tile(tall)]]
    figure = sheets.sheet(rows, "title", ["one", "two"], ["x", "", "y"], tile=(2.0, 1.0))
    first, second, below = figure.axes[0].images
    assert texts(figure)[0] == "title" and {"one", "two", "x", "y", "a", "b"} <= set(texts(figure))
    assert frames(figure) == ["#ff0000"]
    left, right, bottom, top = first.get_extent()
    assert np.isclose(bottom - top, 2.0) and np.isclose(right - left, 0.5)  # shape kept
    assert second.get_extent()[0] > right and below.get_extent()[3] > bottom
    assert np.isclose(second.get_extent()[1] - second.get_extent()[0], 1.0)
    assert figure.axes[0].get_xlim() == (0, figure.get_figwidth())  # nothing lies outside
    assert figure.axes[0].get_ylim() == (figure.get_figheight(), 0)


def test_to_picture_undoes_the_normalisation(tiny_benchmark: Benchmark) -> None:
    image = read_image(tiny_benchmark["train"].paths[0])
    size = (image.shape[0], image.shape[1])
    assert np.array_equal(sheets.to_picture(to_tensor(image, size)), image)
    assert sheets.seen_by_network(image, (32, 16)).shape == (32, 16, 3)


def test_outfits_are_lettered_per_person_over_sets(tiny_benchmark: Benchmark) -> None:
    sets = [tiny_benchmark["query"], tiny_benchmark["gallery"]]
    letters = people.outfit_letters(sets)
    persons = {identity for identity, _ in letters}
    assert len(persons) == 4
    for person in persons:
        assert sorted(v for (identity, _), v in letters.items() if identity == person) == ["A", "B"]


# ------------------------------------------------------------------------------------- 01: data


def test_outfit_sheet_shows_every_outfit_under_every_camera(tiny_benchmark: Benchmark) -> None:
    figure = people.outfit_sheet(tiny_benchmark, identities=3)
    assert len(figure.axes[0].images) == 3 * 2 * 2
    assert "outfit B\ncam 1" in texts(figure) and "person 21\nmale" in texts(figure)
    assert "synthetic" in texts(figure)[0]


def test_split_strips_name_clothes_only_where_they_are_labelled(tiny_benchmark: Benchmark) -> None:
    captions = texts(people.split_strips(tiny_benchmark))
    assert sum(text.startswith("?") for text in captions) == 4  # one external person's images
    assert "test\n4 people\n32 images" in captions
    assert any(text == "A · cam 1\n50 px" for text in captions)


def test_annotation_sheet_has_image_mask_and_joints(tiny_benchmark: Benchmark) -> None:
    figure = people.annotation_sheet(tiny_benchmark["train"], 3)
    assert len(figure.axes[0].images) == 9
    legend = figure.axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["shirt", "trousers"]


def test_mask_overlay_tints_the_shirt_red_and_nothing_outside() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    mask = np.zeros((4, 4), np.uint8)
    mask[:2] = SHIRT
    tinted = sheets.mask_overlay(image, mask)
    assert (tinted[2:] == 100).all() and (tinted[:2, :, 0] > tinted[:2, :, 1]).all()


def test_limbs_are_coloured_by_side() -> None:
    colours = dict(zip(LIMBS, sheets.limb_colours(), strict=True))
    assert colours[5, 6] == sheets.MIDDLE
    assert {colours[limb] for limb in ((0, 1), (1, 3), (5, 7), (13, 15))} == {sheets.LEFT}
    assert {colours[limb] for limb in ((0, 2), (2, 4), (8, 10), (12, 14))} == {sheets.RIGHT}


def test_clothes_colours_find_same_clothes_and_no_more(tiny_benchmark: Benchmark) -> None:
    query, gallery = tiny_benchmark["query"], tiny_benchmark["gallery"]
    colours = people.clothes_colours(query)
    image, mask = read_image(query.paths[0]), read_mask(query.mask_paths[0])
    assert np.allclose(colours[0, :3], image[mask == SHIRT].mean(axis=0))
    distances = people.colour_distances(query, gallery)
    assert distances.shape == (16, 16)
    table = people.colour_baseline(query, gallery, distances)["rank-1"]
    assert table["clothes colour", "SC"] == 100 and table["clothes colour", "CC"] < 100


def test_lookalikes_are_a_stranger_and_the_same_person(tiny_benchmark: Benchmark) -> None:
    query, gallery = tiny_benchmark["query"], tiny_benchmark["gallery"]
    shirts = people.clothes_colours(query)[:, :3]
    i, dull = (int(f(shirts.max(axis=1) - shirts.min(axis=1))) for f in (np.argmax, np.argmin))
    distances = np.full((16, 16), 50.0)
    stranger = int(np.flatnonzero(gallery.identities != query.identities[i])[0])
    own = np.flatnonzero(gallery.identities == query.identities[i])
    worn = query.metric_arrays()[2][i]
    changed = int(own[gallery.metric_arrays()[2][own] != worn][0])
    distances[i, stranger], distances[i, changed] = 1.0, 90.0
    distances[dull, gallery.identities != query.identities[dull]] = 0.0  # dark ones don't count
    captions = texts(people.lookalike_sheet(query, gallery, distances, 1))
    assert {"stranger\nΔ 1", "same person\nΔ 90"} <= set(captions)


def test_balance_counts_people_not_images(tiny_benchmark: Benchmark) -> None:
    figure = people.balance_figure(tiny_benchmark)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert len(figure.axes) == 2 and sum(heights) == 6 + 3 + 3 + 4 + 4 + 6


def test_recolouring_gives_the_classes_of_training(
    tiny_benchmark: Benchmark, config: Config
) -> None:
    train = tiny_benchmark["train"]
    task = loaders.target_data(train, find_row("base"), config)
    assert task.images.recolouring is not None
    figure = people.recolouring_sheet(train, task.images.recolouring, 0)
    assert len(figure.axes[0].images) == 1 + 25
    classes = {int(t.split()[1]) for t in texts(figure) if t.startswith("class ")}
    own = set(np.flatnonzero(task.positives[train.identity_labels[0]].numpy()))
    assert classes <= own and len(classes) == 1 + 9  # three groups of colours
    positives = people.positives_figure(task.positives.numpy(), train.n_clothes, 4)
    left, right = (axes.images[0].get_array() for axes in positives.axes)
    assert left.shape[:2] == (4, 8) and right.shape[:2] == (4, 36)


# ---------------------------------------------------------------------------- 02: degradations


def test_ladder_gets_worse_step_by_step(tiny_benchmark: Benchmark) -> None:
    image = read_image(tiny_benchmark["train"].paths[0])
    size = (image.shape[0], image.shape[1])
    for kind, levels in degradations.LADDER.items():
        copies = [degradations.damaged(image, kind, level) for level in levels]
        gaps = [
            np.abs(sheets.seen_by_network(copy, size).astype(float) - image).mean()
            for copy in copies
        ]
        assert gaps[-1] > gaps[0], kind
    figure = degradations.severity_ladder(image, (32, 16))
    assert len(figure.axes[0].images) == 3 * 12
    assert "pixelation:\nshort side" in texts(figure) and "8 px\n16 × 8" in texts(figure)


def test_range_figure_shows_the_configured_ranges() -> None:
    figure = degradations.range_figure()
    assert len(figure.axes) == 3
    low, high = SEVERITIES["small-input"].short_side
    assert f"{low} to {high}" in texts(figure)


def test_paper_ranges_are_milder_for_a_small_input(tiny_benchmark: Benchmark) -> None:
    table = degradations.damage_table(tiny_benchmark["train"], [(32, 16)], 12)
    assert len(table) == 12 * len(KINDS) * len(SEVERITIES) and (table["damage"] >= 0).all()
    median = table.groupby(["kind", "severity"])["damage"].median()
    for kind in ("pixelation", "out_of_focus"):
        assert median[kind, "paper"] < median[kind, "small-input"]
    same = table[table["kind"] == "motion_blur"].groupby("severity")["damage"].apply(list)
    assert same["paper"] == same["small-input"]  # one range, so one draw
    figure = degradations.damage_figure(table)
    assert [axes.get_title() for axes in figure.axes] == ["network input 32 × 16"]


def test_mixes_fill_their_bars() -> None:
    bars = degradations.mix_figure().axes[0].patches
    ends: dict[float, float] = {}
    for bar in bars:
        ends[bar.get_y()] = max(ends.get(bar.get_y(), 0), bar.get_x() + bar.get_width())
    assert np.allclose(list(ends.values()), 1)


def test_lq_sheet_frames_each_copy_by_its_kind(tiny_benchmark: Benchmark, config: Config) -> None:
    figure = degradations.lq_sheet(tiny_benchmark["external"], config, 8)
    assert len(figure.axes[0].images) == 24
    names = [t for t in texts(figure) if t in style.KIND_TITLES.values()]
    by_title = {style.KIND_TITLES[kind]: colour for kind, colour in style.KIND_COLOURS.items()}
    assert frames(figure) == [by_title[name] for name in names] and len(names) == 8


def test_kernels_lie_in_their_squares() -> None:
    figure = degradations.kernel_figure((8, 13), (0, 90))
    kernels = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(kernels) == 4 and all(np.isclose(kernel.sum(), 1) for kernel in kernels)
    assert all(kernel.shape == (13, 13) for kernel in kernels)
    assert np.array_equal(kernels[2], kernels[3].T)


def test_official_seeding_repeats_and_clean_does_not(
    tiny_benchmark: Benchmark, config: Config
) -> None:
    external = tiny_benchmark["external"]
    official = degradations.epoch_views(external, config, 3, SeedPolicy(1, "official"), 8)
    clean = degradations.epoch_views(external, config, 3, SeedPolicy(1, "clean"), 8)
    assert len(set(official[2])) == 1 and len(set(clean[2])) > 1
    # only the mirror image may differ
    assert len({view.tobytes() for view in official[0]}) <= 2
    assert len({view.tobytes() for view in clean[0]}) > 2
    assert len(degradations.seeding_sheet(external, config, 3, 5).axes[0].images) == 20
