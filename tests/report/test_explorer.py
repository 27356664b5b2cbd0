"""What the explorer's page is computed from, and the page as a file.

Names, bounds and figures are compared with what can be counted by hand or by another route.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import rlqkit
from explorer_runs import untrained_run
from PIL import Image
from published_trees import labelled, prcc_like

from rlqkit.data.imageset import Benchmark
from rlqkit.data.loaders import load_benchmark
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.collapse import measure_collapse
from rlqkit.evaluation.imaginary import random_features
from rlqkit.evaluation.metrics import Labels
from rlqkit.report.explorer import maps, neighbours, thumbnails
from rlqkit.report.explorer.choice import (
    PER_PERSON,
    choose_images,
    describe_people,
    people_of_test,
    settings,
)
from rlqkit.report.explorer.gather import Exploration, explore
from rlqkit.report.explorer.page import COSINE_STEPS, page_data, page_of
from rlqkit.runs.folder import RunFolder

PEOPLE, CAMERAS, OUTFITS = 6, 3, 2


@pytest.fixture
def labels() -> Labels:
    """6 people × 3 cameras × 2 outfits, one image each."""
    grid = np.indices((PEOPLE, CAMERAS, OUTFITS)).reshape(3, -1)
    return Labels(grid[0], grid[1], grid[2])


# ------------------------------------------------------------------------------------- choice


def test_people_are_whole_and_within_the_bound(tiny_benchmark: Benchmark) -> None:
    chosen = choose_images(tiny_benchmark, 20)
    everybody = tiny_benchmark["query+gallery"]
    assert len(chosen) == 16 and chosen.n_identities == 2  # 8 images each, a third would be 24
    for person in np.unique(chosen.identities):
        assert (chosen.identities == person).sum() == (everybody.identities == person).sum()
    again = choose_images(tiny_benchmark, 20)
    assert list(again.table["file"]) == list(chosen.table["file"])
    others = [set(choose_images(tiny_benchmark, 20, seed).identities) for seed in range(5)]
    assert any(other != set(chosen.identities) for other in others)


def test_one_person_is_bounded_and_spread_over_cameras_and_clothes() -> None:
    many = list(range(60))
    cameras = [i % 3 for i in many]
    clothes = [int(i >= 57) for i in many]  # one outfit with three images, one with all others
    one = labelled("query", [1] * 60, cameras, clothes)
    two = labelled("gallery", [1] * 2 + [2, 3], [0, 1, 0, 1], [0, 0, 5, 6])
    half = labelled("query", [2] * 4, [1] * 4, [5] * 4)
    table = pd.concat([one.table, half.table.assign(file="b")], ignore_index=True)
    query = replace(one, table=table)
    benchmark = Benchmark("hand-made", Path("nowhere"), {"query": query, "gallery": two}, True)
    assert people_of_test(benchmark) == [1, 2]  # 3 is in the gallery alone
    chosen = choose_images(benchmark, 100).table
    own = chosen[chosen["identity"] == 1]
    assert len(own) == PER_PERSON
    assert (own["clothes"] == 1).sum() == 3  # the rare outfit is there with all it has
    assert own["camera"].value_counts().max() <= 6
    assert (chosen["file"] == "b").sum() == 1  # the same file is one image


@pytest.mark.parametrize(("most", "says"), [(3, "too few"), (9, "1 people with 8 images")])
def test_a_bound_too_low_is_refused(tiny_benchmark: Benchmark, most: int, says: str) -> None:
    with pytest.raises(RlqkitError, match=says):
        choose_images(tiny_benchmark, most)


def test_outfits_are_counted_within_a_person_or_unknown(tiny_benchmark: Benchmark) -> None:
    images = choose_images(tiny_benchmark)
    people = describe_people(images)
    assert set(people["outfit"]) == {1, 2} and set(people["person"]) == {21, 22, 23, 24}
    unlabelled = replace(images, clothes_labelled=False)
    assert set(describe_people(unlabelled)["outfit"]) == {0}


def test_every_stop_of_the_dials(untrained_runs: list[RunFolder]) -> None:
    config = untrained_runs[0].config()
    images = choose_images(load_benchmark(config))
    stops = settings(images, config, levels=3)
    assert [(stop.kind, stop.level) for stop in stops] == [
        ("untouched", 0), ("mixed LQ", 1),
        *((kind, level) for kind in ("pixelation", "motion_blur", "out_of_focus")
          for level in (1, 2, 3)),
    ]  # fmt: skip
    assert [stop.text for stop in stops if stop.kind == "pixelation"] == [
        "short side 24 px", "short side 16 px", "short side 8 px",
    ]  # fmt: skip
    assert stops[4].images.source(0).shape[1] == 8
    assert np.array_equal(stops[0].images.source(0), stops[0].images.store[0])
    order = maps.chain([(stop.kind, stop.level) for stop in stops])
    assert order == [None, 0, 0, 2, 3, 0, 5, 6, 0, 8, 9]


# --------------------------------------------------------------------------------- neighbours


def test_neighbours_are_those_of_other_cameras(labels: Labels) -> None:
    hq, lq = random_features(labels.identity, width=16)
    found = neighbours.nearest_images(hq, lq, labels.camera)
    pool = np.concatenate([hq, lq])
    n = len(hq)
    for point in (0, 7, n + 3, 2 * n - 1):
        cosine = {
            other: float(pool[point] @ pool[other])
            for other in range(2 * n)
            if labels.camera[other % n] != labels.camera[point % n]
        }
        best = sorted(cosine, key=lambda other: -cosine[other])[: neighbours.NEIGHBOURS]
        assert found.images[point].tolist() == best
        assert found.cosines[point] == pytest.approx([cosine[b] for b in best], abs=1e-5)
    assert neighbours.nearest_images(hq, None, labels.camera).images.max() < n


def test_a_test_seen_by_one_camera_has_neighbours_too(labels: Labels) -> None:
    seen, by_camera = neighbours.separable(labels)
    assert by_camera and seen is labels
    alone, by_camera = neighbours.separable(labels._replace(camera=0 * labels.camera))
    assert not by_camera
    hq, lq = random_features(labels.identity, width=16)
    found = neighbours.nearest_images(hq, lq, alone.camera)
    n = len(hq)
    assert not (found.images % n == np.arange(2 * n)[:, None] % n).any()
    assert len(np.unique(found.images % n)) == n


def test_figures_are_those_of_the_measures(labels: Labels) -> None:
    hq, lq = random_features(labels.identity, width=16)
    told, known = neighbours.figures(hq, lq, labels), measure_collapse(hq, lq, labels)
    assert told["lq_given_stranger"] == known.lq_given_stranger
    assert told["low"] < told["lq_given_stranger"] < told["high"]
    assert told["right"] == known.nearest_hq_right + known.nearest_lq_right
    assert told["strangers_lq"] == known.nearest_lq_wrong
    untouched = neighbours.figures(hq, hq, labels)
    assert untouched["lq_given_stranger"] == pytest.approx(0.5, abs=0.05)  # ties, up to rounding
    assert untouched["same_image"] == pytest.approx(1, abs=1e-5)


def test_chance_is_what_random_features_give(labels: Labels) -> None:
    chance = neighbours.figures_by_chance(labels)
    drawn = [
        measure_collapse(*random_features(labels.identity, seed=seed), labels)
        for seed in range(200)
    ]
    given = np.nanmean([one.lq_given_stranger for one in drawn])
    right = np.mean([one.nearest_hq_right + one.nearest_lq_right for one in drawn])
    assert given == pytest.approx(chance["lq_given_stranger"], abs=0.025)
    assert right == pytest.approx(chance["right"], abs=0.025)


# --------------------------------------------------------------------------------------- maps


def quality_clusters(labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Features in which LQ images have left for one place of their own."""
    rng = np.random.default_rng(0)
    hq = np.eye(32)[labels.identity] + 0.05 * rng.normal(size=(len(labels.identity), 32))
    lq = np.eye(32)[-1] + 0.05 * rng.normal(size=hq.shape)
    unit = [f / np.linalg.norm(f, axis=1, keepdims=True) for f in (hq, lq)]
    return unit[0].astype(np.float32), unit[1].astype(np.float32)


def test_a_joint_map_shows_lq_in_a_cluster_of_its_own(labels: Labels) -> None:
    hq, lq = quality_clusters(labels)
    first, second = maps.lay_out_settings([hq, lq], [None, 0])
    n = len(hq)
    assert np.array_equal(first[:n], first[n:])  # without damage LQ lies upon HQ
    gap = np.linalg.norm(second[n:, None] - second[None, :n], axis=2).min(axis=1)
    spread = np.linalg.norm(second[n:] - second[n:].mean(axis=0), axis=1)
    assert np.median(gap) > np.median(spread)
    again = maps.lay_out_settings([hq, lq], [None, 0])
    assert np.array_equal(first, again[0]) and np.array_equal(second, again[1])
    told = maps.trust(np.concatenate([hq, lq]), second)
    assert 0.7 < told["trust"] <= 1 and 0.7 < told["continuity"] <= 1


def test_a_map_is_turned_and_never_stretched() -> None:
    rng = np.random.default_rng(1)
    like = rng.normal(size=(20, 2))
    turn = np.array([[0.0, -1.0], [-1.0, 0.0]])  # a mirror
    moved = like @ turn + [5.0, -3.0]
    assert maps._turned(moved, like) == pytest.approx(like)
    larger = maps._turned(2 * moved, like)
    assert np.ptp(larger, axis=0) == pytest.approx(2 * np.ptp(like, axis=0))
    with pytest.raises(ValueError, match="3 places"):
        maps.lay_out(np.eye(4, dtype=np.float32), like[:3])


def test_positions_survive_16_bits() -> None:
    given = [np.array([[0.0, 0.0], [4.0, 1.0]]), np.array([[2.0, 0.5], [-4.0, 0.0]])]
    kept = maps.quantised(given) / maps.STEPS
    assert kept.min() == 0 and kept.max() == 1
    back = np.concatenate(kept) * 8 + [-4, 0.5 - 4]
    assert back == pytest.approx(np.concatenate(given), abs=8 / maps.STEPS)


# --------------------------------------------------------------------------------- thumbnails


def test_thumbnails_lie_on_one_sheet_in_order(untrained_runs: list[RunFolder]) -> None:
    config = untrained_runs[0].config()
    images = choose_images(load_benchmark(config))
    cell = thumbnails.cell_size(images.sizes)
    assert cell == (48, 96)
    untouched, *_, pixelated, _, _, _, _ = settings(images, config, levels=2)
    sheet = opened(thumbnails.sheet(untouched.images, cell))
    across = thumbnails.columns(len(images), cell)
    assert sheet.size[0] == across * 48
    for number in (0, across, len(images) - 1):
        x, y = number % across * 48, number // across * 96
        shirt = np.asarray(sheet)[y + 25 : y + 40, x + 18 : x + 30].mean(axis=(0, 1))
        image = untouched.images.source(number)
        height, width = image.shape[:2]
        own = image[int(0.27 * height) : int(0.4 * height), int(0.4 * width) : int(0.6 * width)]
        assert shirt == pytest.approx(own.mean(axis=(0, 1)), abs=14)
    small = thumbnails.fitted(pixelated.images.source(0), cell)
    assert small.size == cell
    assert len(np.unique(np.asarray(small)[48, :, 0])) <= pixelated.images.source(0).shape[1]


def opened(sheet: str) -> Image.Image:
    head, _, body = sheet.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


# --------------------------------------------------------------------------------- whole pages


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return dict(json.loads(found[1]))


def test_the_page_holds_what_was_computed(exploration: Exploration) -> None:
    data = data_of(page_of(exploration))
    assert data == json.loads(json.dumps(page_data(exploration)))
    count = len(exploration.people)
    for view, kept in zip(exploration.views, data["views"], strict=True):
        shape = (len(exploration.settings), 2 * count)
        positions = np.frombuffer(base64.b64decode(kept["positions"]), "<u2")
        assert np.array_equal(positions.reshape(*shape, 2), view.positions)
        nearest = np.frombuffer(base64.b64decode(kept["nearest"]), "<u2")
        assert np.array_equal(nearest.reshape(*shape, 5), view.nearest)
        cosines = np.frombuffer(base64.b64decode(kept["cosines"]), "i1") / COSINE_STEPS
        assert cosines.reshape(*shape, 5) == pytest.approx(view.cosines, abs=0.5 / COSINE_STEPS)
    assert len(data["sheets"]) == len(exploration.settings) == 8


def test_the_page_refers_to_nothing_outside_itself(exploration: Exploration) -> None:
    page = page_of(exploration)
    without_code = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    links = re.findall(r'\b(?:src|href|srcset|action)="([^"]*)"', without_code)
    assert links == ["#chosen"]
    assert "url(" not in without_code and "@import" not in without_code
    assert re.search(r"Content-Security-Policy\" content=\"default-src 'none'; ", page)
    assert "<script src" not in page and len(page) < 15e6


def test_figures_stand_in_the_page_in_words(exploration: Exploration) -> None:
    page = page_of(exploration)
    for number in range(len(exploration.settings)):
        line = re.search(rf'<tr data-setting="{number}">.*?</tr>', page, re.S)
        assert line
        cells = re.findall(r"<td>(.*?)</td>", line[0])
        for view, right in zip(exploration.views, cells[1::2], strict=True):
            assert right == f"{100 * view.figures[number]['right']:.0f} %"


def test_real_people_come_with_a_note_and_can_stay_out(exploration: Exploration) -> None:
    page = page_of(replace(exploration, dataset="ltcc", synthetic=False))
    assert "photographs of real people from your copy of\n  ltcc" in page
    assert "data:image/webp" in page and "(synthetic:" not in page
    bare = page_of(replace(exploration, dataset="ltcc", synthetic=False, sheets=[]))
    assert "holds no photographs" in bare and "data:image/webp" not in bare
    rendered = page_of(exploration)
    assert "photographs of real people" not in rendered and "(synthetic:" in rendered


def test_names_in_a_page_are_text(exploration: Exploration) -> None:
    odd = replace(exploration.views[0], title="</script><b>x", where="<i>")
    page = page_of(replace(exploration, views=[odd], sheets=[]))
    assert "</script><b>x" not in page and "<i>" not in page.split("<main>")[1].split("<script")[0]
    assert data_of(page)["views"][0]["title"] == "</script><b>x"


# ------------------------------------------------------------------------------------ run folders


@pytest.mark.usefixtures("quick_maps")
def test_the_command_writes_a_page(untrained_runs: list[RunFolder], tmp_path: Path) -> None:
    file = tmp_path / "deep" / "page.html"
    paths = [folder.path for folder in untrained_runs]
    done = rlqkit("explore", *paths, "--output", file, "--images", "20", "--no-photos")
    assert done.code == 0 and f"wrote {file}" in done.out
    data = data_of(file.read_text(encoding="utf-8"))
    assert [view["title"] for view in data["views"]] == ["base", "RLQ"]
    assert len(data["people"]["person"]) == 16 and not data["photos"]


@pytest.mark.usefixtures("quick_maps")
def test_weights_that_were_not_trained_here(
    tiny_wardrobe: Path, tmp_path: Path, untrained_runs: list[RunFolder]
) -> None:
    """Imported folders have no history and, before `evaluate`, no figures."""
    imported = RunFolder(tmp_path / "imported" / "rlq-x")
    shutil.copytree(untrained_runs[1].path, imported.path)
    imported.save_json("provenance.json", {"claimed": {"rank1": None, "epoch": 1}})
    seeds = [untrained_run(tiny_wardrobe, tmp_path, "base", seed=seed) for seed in (1, 2)]
    assert [v.title for v in explore([imported, seeds[0]], 16, False, 1).views] == [
        "RLQ, imported", "base",
    ]  # fmt: skip
    both = explore(seeds, 16, False, 1)
    assert [view.title for view in both.views] == ["base, seed 1", "base, seed 2"]
    twice = explore([untrained_runs[1], untrained_runs[1]], 16, False, 1)
    assert str(untrained_runs[1].path) in twice.views[0].title


@pytest.mark.usefixtures("quick_maps")
def test_photographs_of_a_published_layout(
    tiny_wardrobe: Path, untrained_runs: list[RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PRCC's test has a camera for each query set: its query images see the gallery's alone."""
    benchmark = prcc_like(tiny_wardrobe)
    monkeypatch.setattr("rlqkit.report.explorer.gather.load_benchmark", lambda config: benchmark)
    found = explore(untrained_runs[:1], 100, True, 1)
    assert not found.synthetic and found.dataset == "prcc" and found.test_people == 4
    assert set(found.people["camera"]) == {0, 2}  # gallery and the headline's queries
    assert found.other_cameras and found.sheets[0].startswith("data:image/webp")


def test_networks_of_different_images_are_refused(
    tiny_wardrobe: Path, tmp_path: Path, untrained_runs: list[RunFolder]
) -> None:
    other = untrained_run(tiny_wardrobe, tmp_path, "rlq", quality__severity="paper")
    done = rlqkit("explore", untrained_runs[0].path, other.path)
    assert done.code == 2 and "quality.severity = paper" in done.err
    assert done.err.count("\n") == 1
    values = json.loads((untrained_runs[0].path / "config.json").read_text(encoding="utf-8"))
    values["data"]["test"] = "wardrobe-v2-test2"  # other people
    (other.path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    done = rlqkit("explore", untrained_runs[0].path, other.path)
    assert done.code == 2 and "data.test = wardrobe-v2-test2" in done.err


def test_a_folder_without_weights_is_named(tmp_path: Path, tiny_wardrobe: Path) -> None:
    folder = untrained_run(tiny_wardrobe, tmp_path, "base")
    (folder.path / "weights-last.safetensors").unlink()
    done = rlqkit("explore", folder.path, "--output", tmp_path / "x.html")
    assert done.code == 2 and "has no weights-last.safetensors" in done.err
    assert rlqkit("explore", tmp_path / "nowhere").code == 2
    assert not (tmp_path / "x.html").exists()
