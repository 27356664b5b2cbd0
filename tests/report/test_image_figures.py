"""Pictures of images, drawn on the tiny data set: what stands in them, not only that they draw."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rlqkit.config import Config, load_profile
from rlqkit.data.images import HAIR, SHIRT, TROUSERS, read_image, read_mask
from rlqkit.data.imageset import Benchmark
from rlqkit.evaluation.metrics import Labels, evaluate_distances
from rlqkit.method.attributes import LIMBS
from rlqkit.method.augmentation import to_tensor
from rlqkit.method.degradations import KINDS, SEVERITIES, degrade
from rlqkit.randomness import SeedPolicy
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


# ------------------------------------------------------------------------------------- 02: data


def test_part_colours_are_means_inside_the_mask(tiny_benchmark: Benchmark) -> None:
    query = tiny_benchmark["query"]
    colours = people.part_colours(query, (SHIRT, TROUSERS, HAIR))
    image, mask = read_image(query.paths[0]), read_mask(query.mask_paths[0])
    assert colours.shape == (len(query), 9)
    assert np.allclose(colours[0, :3], image[mask == SHIRT].mean(axis=0))
    assert np.allclose(colours[0, 3:6], image[mask == TROUSERS].mean(axis=0))
    assert np.isnan(colours[:, 6:]).all()  # the tiny people have no hair


def test_clothes_colours_find_same_clothes_and_no_more(tiny_benchmark: Benchmark) -> None:
    sets = tiny_benchmark["query"], tiny_benchmark["gallery"]
    parts = (SHIRT, TROUSERS)
    distances = people.rms_distances(*(people.part_colours(images, parts) for images in sets))
    labels = [Labels(*images.metric_arrays()) for images in sets]
    assert distances.shape == (16, 16)
    assert evaluate_distances(distances, *labels, "SC").rank1 == 1
    assert evaluate_distances(distances, *labels, "CC").rank1 < 1


def test_distances_leave_missing_parts_out() -> None:
    a = np.array([[0.0, 0.0, 100.0, 100.0], [np.nan, np.nan, 10.0, 10.0]])
    b = np.array([[3.0, 4.0, np.nan, np.nan], [0.0, 0.0, 10.0, 13.0]])
    distances = people.rms_distances(a, b)
    assert distances[0, 0] == np.sqrt(12.5)  # of the first two numbers alone
    assert distances[1, 0] == people.FARTHEST  # nothing in common
    assert np.isclose(distances[1, 1], np.sqrt(4.5))


def test_lookalikes_are_a_stranger_and_the_same_person(tiny_benchmark: Benchmark) -> None:
    query, gallery = tiny_benchmark["query"], tiny_benchmark["gallery"]
    colours = people.part_colours(query, (SHIRT, TROUSERS))
    spread = colours[:, :3].max(axis=1) - colours[:, :3].min(axis=1)
    i, dull = int(spread.argmax()), int(spread.argmin())
    distances = np.full((16, 16), 50.0)
    stranger = int(np.flatnonzero(gallery.identities != query.identities[i])[0])
    own = np.flatnonzero(gallery.identities == query.identities[i])
    worn = query.metric_arrays()[2][i]
    changed = int(own[gallery.metric_arrays()[2][own] != worn][0])
    distances[i, stranger], distances[i, changed] = 1.0, 90.0
    distances[dull, gallery.identities != query.identities[dull]] = 0.0  # dark ones don't count
    captions = texts(people.lookalike_sheet(query, gallery, distances, colours, 1))
    assert {"stranger\nΔ 1", "same person\nΔ 90"} <= set(captions)


# ---------------------------------------------------------------------------- 03: degradations


def test_paper_ranges_are_milder_for_a_small_input(tiny_benchmark: Benchmark) -> None:
    """Why small profiles draw from other ranges; notebook 03 measures it."""
    train, size = tiny_benchmark["train"], (32, 16)
    change: dict[tuple[str, str], list[float]] = {}
    for i in range(0, len(train), 4):
        image = read_image(train.paths[i])
        clean = sheets.seen_by_network(image, size).astype(float)
        for kind in KINDS:
            for name, ranges in SEVERITIES.items():
                worse = degrade(image, kind, ranges, np.random.default_rng(i))
                gap = np.abs(sheets.seen_by_network(worse, size) - clean).mean()
                change.setdefault((kind, name), []).append(gap)
    for kind in ("pixelation", "out_of_focus"):
        assert np.median(change[kind, "paper"]) < np.median(change[kind, "small-input"])
    # one range, so one draw
    assert change["motion_blur", "paper"] == change["motion_blur", "small-input"]


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
