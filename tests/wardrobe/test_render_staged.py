"""The generator's staged pictures and data sets of any size: the parts without the body model."""

from __future__ import annotations

import colorsys
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("numba", reason='comes with the extra "render"')

from rlqkit.cli import _render_spec, main
from rlqkit.data import registry
from rlqkit.errors import RlqkitError
from rlqkit.files import PARTIAL, write_bytes
from wardrobe.render import generate
from wardrobe.render.backdrop import ABOVE, FAR, GROUND, SIDE, _hits, draw_backdrop
from wardrobe.render.camera import Crop, external_camera, in_weather, look_at, target_camera
from wardrobe.render.custom import custom_spec, parse_heights, spec_from_settings
from wardrobe.render.lighting import shadow_map
from wardrobe.render.people import FEMALE, sample_identity
from wardrobe.render.raster import rasterise
from wardrobe.render.renderer import _hidden_share
from wardrobe.render.staging import OCCLUDERS, across, set_stage
from wardrobe.render.streams import wave_noise
from wardrobe.render.surroundings import (
    WEATHER_CHANCES,
    Spot,
    ground_albedo,
    sample_spot,
    sample_surroundings,
)
from wardrobe.render.things import box, build, cylinder, merge
from wardrobe.render.verify import Redrawn, draw_again, other_versions
from wardrobe.render.wardrobe import clearly_dressed, own_outfit

SEED = 41
SPEC = generate.WARDROBE_V2
STAGING = SPEC.staging
assert STAGING is not None
VIEW = look_at(np.array([0.0, -5.0, 1.7]), np.array([0.0, 0.0, 0.9]))
CROP = Crop(-0.1, -0.2, 400.0, 80, 160)


# -- places and things ---------------------------------------------------------------------------


def test_rays_end_on_ground_wall_side_and_overhead() -> None:
    place = replace(sample_surroundings(SEED, 2), far=6.0, height=3.0)
    assert not place.outdoor
    level = look_at(np.array([0.0, -5.0, 1.5]), np.array([0.0, 0.0, 1.5]))
    rays = np.array([[0.0, 1.0, -0.5], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    hit, distance = _hits(place, Spot(0.0, 0.0, 2.0, "indoor"), level, rays)
    assert hit.tolist() == [GROUND, FAR, SIDE, ABOVE]
    np.testing.assert_allclose(distance, [3.0, 11.0, 2.0, 1.5])


def test_open_sky_begins_above_the_buildings() -> None:
    place = replace(sample_surroundings(SEED, 1), far=20.0, height=5.0, far_kind="facade")
    assert place.outdoor
    level = look_at(np.array([0.0, -5.0, 1.5]), np.array([0.0, 0.0, 1.5]))
    rays = np.array([[0.0, 1.0, 0.1], [0.0, 1.0, 0.5]])
    hit, _ = _hits(place, Spot(0.0, 0.0, np.inf, "sunny"), level, rays)
    assert hit.tolist() == [FAR, ABOVE]


@pytest.mark.parametrize("number", range(1, 9))
def test_backdrops_are_finite_light_with_depth(number: int) -> None:
    rng = np.random.default_rng(number)
    camera = target_camera(SEED, number, (64, 64), deep=True)
    assert camera.surroundings is not None
    spot = sample_spot(camera.surroundings, rng)
    lit = in_weather(camera, spot, rng)
    triangle = np.array([[0.0, 0.0, 1.0], [0.2, 0.0, 1.0], [0.0, 0.2, 1.2]])
    shadows = shadow_map(triangle, np.array([[0, 1, 2]]), lit.light, wide=True)
    light = draw_backdrop(lit, spot, VIEW, CROP, shadows, [])
    assert light.shape == (160, 80, 3) and np.isfinite(light).all() and light.min() >= 0.0
    assert light.std() > 0.005


def test_fine_patterns_fade_in_the_distance() -> None:
    place = replace(sample_surroundings(SEED, 2), ground_kind="checker", tile=0.5, far=1e3)
    points = np.random.default_rng(0).uniform(-5.0, 5.0, (400, 2))
    near = ground_albedo(place, points, np.full(400, 0.01))
    far = ground_albedo(place, points, np.full(400, 5.0))
    assert far.std(0).max() < 0.5 * near.std(0).max()


def test_weather_changes_light_from_picture_to_picture() -> None:
    camera = target_camera(SEED, 1, (64, 64), deep=True)
    place = camera.surroundings
    assert place is not None
    spots = [sample_spot(place, np.random.default_rng(i)) for i in range(60)]
    assert {spot.weather for spot in spots} == set(WEATHER_CHANCES)
    sun, cloud = (
        in_weather(camera, Spot(0.0, 0.0, np.inf, w), np.random.default_rng(0))
        for w in ("sunny", "overcast")
    )
    assert cloud.key < 0.3 * sun.key and cloud.ambient > 1.5 * sun.ambient
    assert np.linalg.norm(sun.light) == pytest.approx(1.0)


def test_old_cameras_know_nothing_of_surroundings() -> None:
    old, deep = target_camera(SEED, 2, (140, 200)), target_camera(SEED, 2, (140, 200), deep=True)
    assert old.surroundings is None and deep.surroundings is not None
    assert old.gamma == deep.gamma and (old.light == deep.light).all()
    assert external_camera(SEED, 12, (64, 256)).height == (1.4, 2.6)


def test_native_heights_spread_evenly_over_logarithms() -> None:
    camera = target_camera(SEED, 1, (64, 256), deep=True)
    heights = [camera.draw_height(np.random.default_rng(i)) for i in range(400)]
    assert min(heights) >= 64 and max(heights) <= 256
    assert 115 < np.median(heights) < 142  # the geometric mean of the ends is 128


@pytest.mark.parametrize("kind", sorted({*OCCLUDERS, "lamp", "tree", "car", "sign"} - {"person"}))
def test_things_stand_on_the_ground(kind: str) -> None:
    thing = build(kind, np.random.default_rng(0))
    assert -0.05 < thing.vertices[:, 2].min() < 0.35 and thing.vertices[:, 2].max() < 6.0
    assert thing.faces.max() < len(thing.vertices) == len(thing.normals)
    assert thing.colours.shape == (len(thing.faces), 3)
    assert thing.colours.min() >= 0.0 and thing.colours.max() <= 1.0


def test_merged_things_keep_their_triangles_and_turn() -> None:
    grey = np.full(3, 0.5)
    parts = [box((0, 0, 0), (1, 2, 3), grey), cylinder(0.5, 0.0, 2.0, grey)]
    both = merge(parts)
    last = parts[1]
    np.testing.assert_array_equal(both.vertices[both.faces[-1]], last.vertices[last.faces[-1]])
    turned = parts[0].moved(np.array([0.0, 0.0, 0.0]), np.pi / 2.0)
    np.testing.assert_allclose(turned.vertices.min(0), [-2.0, 0.0, 0.0], atol=1e-12)


# -- staging -------------------------------------------------------------------------------------


def test_across_is_where_the_picture_shows_it() -> None:
    for share in (0.0, 0.3, 1.0):
        point = np.array([[across(VIEW, CROP, share, 3.0), 3.0, 0.9]])
        x = CROP.to_pixels(VIEW.project(point))[0, 0]
        assert x == pytest.approx(share * CROP.width)


def test_stages_come_as_often_as_asked_and_clear_the_way() -> None:
    place = sample_surroundings(SEED, 1)
    stages = [set_stage(STAGING, place, VIEW, CROP, np.random.default_rng(i)) for i in range(400)]
    blocked = [stage for stage in stages if stage.in_the_way]
    assert 0.08 < len(blocked) / 400 < 0.17
    behind = [s for s in stages if any(one.offset[1] > 0.0 for one in s.walk_ons)]
    assert 0.10 < len(behind) / 400 < 0.20
    for stage in blocked:
        front = [t for t in stage.things if t.vertices[:, 1].max() < 0.0]
        front_people = [one for one in stage.walk_ons if one.offset[1] < 0.0]
        assert len(front) + len(front_people) == 1
        cleared = stage.cleared()
        assert len(cleared.things) + len(cleared.walk_ons) == (
            len(stage.things) + len(stage.walk_ons) - 1
        )
    assert all(0 <= one.number < STAGING.crowd for stage in stages for one in stage.walk_ons)


def test_things_in_the_way_cover_the_edge_not_the_middle() -> None:
    always = replace(STAGING, occluders=1.0, passers_by=0.0)
    place = replace(sample_surroundings(SEED, 1), things=("bin",))
    reached = []
    for i in range(60):
        stage = set_stage(always, place, VIEW, CROP, np.random.default_rng(i))
        for thing in stage.things:
            if thing.vertices[:, 1].max() < 0.0:
                x = CROP.to_pixels(VIEW.project(thing.vertices))[:, 0] / CROP.width
                reached.append(min(x.max(), 1.0 - x.min()))
    assert len(reached) > 30 and min(reached) > 0.08 and max(reached) < 0.5


def test_hidden_share_counts_the_persons_pixels() -> None:
    square = np.array([[0, 0, 0.5], [8, 0, 0.5], [0, 8, 0.5], [8, 8, 0.5]], float)
    nearer = square * [0.5, 1.0, 2.0]  # the left half, in front
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    alone = rasterise(square, faces, 8, 8)
    together = rasterise(np.concatenate([square, nearer]), np.concatenate([faces, faces + 4]), 8, 8)
    assert _hidden_share(alone, together, len(faces)) == pytest.approx(0.5)


def test_noise_keeps_the_precision_of_its_points() -> None:
    points = np.random.default_rng(0).normal(0.0, 1.0, (50, 2))
    full = wave_noise(points, np.random.default_rng(1))
    fast = wave_noise(points.astype(np.float32), np.random.default_rng(1))
    assert full.dtype == np.float64 and fast.dtype == np.float32
    np.testing.assert_allclose(full, fast, atol=1e-4)


# -- people and clothes --------------------------------------------------------------------------


def test_faces_differ_and_follow_age_and_label() -> None:
    people = [sample_identity(SEED, number) for number in range(200)]
    assert len({round(person.face.blush, 6) for person in people}) == 200
    assert all(p.face.lipstick == 0.0 for p in people if p.gender != FEMALE)
    young, old = (
        [p.face.lines for p in people if test(p.phenotype["age"])]
        for test in (lambda age: age < 0.7, lambda age: age > 0.8)
    )
    assert np.mean(old) > np.mean(young) + 0.2


def test_nobody_looks_naked() -> None:
    changed = 0
    for number in range(120):
        person = sample_identity(SEED, number)
        outfit = own_outfit(SEED, person, 0)
        dressed = clearly_dressed(outfit)
        for colour in (dressed.top.colour, dressed.top.second_colour, dressed.top.inner_colour):
            hue, saturation, value = colorsys.rgb_to_hsv(*colour)
            assert not (0.02 < hue < 0.13 and saturation > 0.2 and value > 0.3)
        changed += tuple(dressed.top.colour) != tuple(outfit.top.colour)
    assert 0 < changed < 40


# -- specifications ------------------------------------------------------------------------------


def test_settings_of_old_sets_are_unchanged_and_all_survive_json() -> None:
    for spec in generate.SPECS.values():
        assert spec_from_settings(json.loads(json.dumps(spec.settings()))) == spec
    later = {"people_seed", "staging", "external_first", "shape_spread"}
    assert not later & set(generate.WARDROBE_V1.settings())
    made = Path(__file__).parents[1] / "golden" / "wardrobe-v1.json"
    assert json.loads(made.read_text())["generator"] == generate.WARDROBE_V1.settings()
    with pytest.raises(RlqkitError, match="install the version"):
        spec_from_settings({"name": "x"})


def test_second_wardrobe_has_its_composition() -> None:
    shots = pd.DataFrame(
        [vars(shot) for number in SPEC.numbers() for shot in generate.shots_of(SPEC, number)]
    )
    assert shots["split"].value_counts().to_dict() == {
        "train": 3800, "val_query": 240, "val_gallery": 240, "query": 720, "gallery": 720,
        "external": 3200,
    }  # fmt: skip
    numbers = list(SPEC.numbers())
    crowd = range(STAGING.crowd_first, STAGING.crowd_first + STAGING.crowd)
    assert len(set(numbers)) == len(numbers) == 860 and not set(crowd) & set(numbers)
    assert {SPEC.seed_of(n) for n in (0, 379, 1000)} == {SPEC.seed}
    assert {SPEC.seed_of(n) for n in (400, 500, 619)} == {SPEC.people_seed} != {SPEC.seed}


def test_sets_of_any_size_have_names_of_their_own() -> None:
    sizes = {"train": 20_000, "test": 50}
    spec = custom_spec(SPEC, sizes, outfits=12, heights=((48, 96),) * 12)
    numbers = list(spec.numbers())
    assert len(numbers) == len(set(numbers)) == 20_000 + 40 + 50 + 320
    assert spec.staging is not None and spec.staging.crowd_first > max(numbers)
    assert spec.name.startswith("custom-") and spec_from_settings(spec.settings()) == spec
    assert spec.name == custom_spec(SPEC, sizes, outfits=12, heights=((48, 96),) * 12).name
    assert spec.name != custom_spec(SPEC, {**sizes, "test": 51}, 12, ((48, 96),) * 12).name
    last = generate.shots_of(spec, 19_999)
    assert last[0].file.startswith("images/train/19999_o0_c")
    assert len({shot.file for shot in last}) == 24
    external = {s.camera for n in numbers[-40:] for s in generate.shots_of(spec, n)}
    target = {s.camera for n in numbers[:40] for s in generate.shots_of(spec, n)}
    assert min(external) > 12 >= max(target) > 4
    test = generate.shots_of(spec, 20_040)
    assert sum(shot.split == "query" for shot in test) == 12 * 6
    assert spec.wardrobe_bottoms == 14
    assert custom_spec(SPEC, sizes, outfits=20).wardrobe_bottoms == 20


@pytest.mark.parametrize("text", ["64", "200-100", "8-64", "a-b", "-5-64"])
def test_heights_that_make_no_sense_are_told(text: str) -> None:
    with pytest.raises(RlqkitError, match="64-256"):
        parse_heights(text)


def test_options_without_a_change_mean_the_named_set() -> None:
    none = dict.fromkeys(("seed", "outfits", "quality", "occluders", "passers_by", "train", "test"))
    assert _render_spec("wardrobe-v1", heights=(), **none) is generate.WARDROBE_V1  # type: ignore[arg-type]
    other = _render_spec("wardrobe-v2", heights=("32-64", "128-256"), **{**none, "occluders": 0.5})  # type: ignore[arg-type]
    assert other.staging.occluders == 0.5 and other.target_heights == ((32, 64), (128, 256))
    assert other.staging.passers_by == STAGING.passers_by
    with pytest.raises(RlqkitError, match="wardrobe-v2"):
        _render_spec("wardrobe-v1", heights=(), **{**none, "passers_by": 0.5})  # type: ignore[arg-type]
    with pytest.raises(RlqkitError, match="two ranges"):
        _render_spec("wardrobe-v2", heights=("32-64",), **none)  # type: ignore[arg-type]


# -- from records to a folder --------------------------------------------------------------------


def _fake_draw(out: Path, spec: generate.RenderSpec, number: int) -> None:
    """Write what drawing an identity leaves behind, with noise for pictures."""
    rng = np.random.default_rng(number)
    identity = sample_identity(spec.seed_of(number), number)
    samples, joints = [], []
    for shot in generate.shots_of(spec, number):
        image = rng.integers(0, 256, (40, 16, 3), dtype=np.uint8)
        write_bytes(out / shot.file, generate.encode_image(image, 50))
        if shot.split != "external":
            mask = generate.encode_mask(np.full((40, 16), 2, np.uint8))
            write_bytes(generate.mask_path(out, shot.file), mask)
        outfit = None if shot.split == "external" else shot.outfit
        samples.append(
            [shot.file, shot.split, number, shot.camera, outfit, identity.gender, 40, 16, 1, 0]
        )
        joints.append([shot.file, *([8.0, 20.0, 1] * 17)])
    traits = {
        "identity": number, "gender": identity.gender, "skin_tone": identity.skin_tone,
        "hair_style": identity.hair_style, "hair_colour": identity.hair_colour,
        "glasses": identity.glasses, "beard": identity.beard, "group": spec.group_of(number),
        **{k: identity.phenotype[k] for k in ("age", "weight", "height")},
    }  # fmt: skip
    record = {"samples": samples, "joints": joints, "traits": traits}
    write_bytes(generate.record_path(out, number), json.dumps(record).encode())


def test_records_become_a_folder_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # of the packages that draw, those that are there without the extra
    monkeypatch.setattr(generate, "PACKAGES", ("numpy", "pillow"))
    sizes = {"train": 3, "validation": 2, "test": 2, "external": 2}
    spec = custom_spec(SPEC, sizes, outfits=2)
    for number in reversed(list(spec.numbers())):
        _fake_draw(tmp_path, spec, number)
    torn = tmp_path / "images" / "train" / f"0001_o0_c01_0.webp.123{PARTIAL}"
    torn.write_bytes(b"of a process that was killed while writing")
    generate.render_dataset(tmp_path, spec)  # nothing is left to draw: no body model is needed
    assert not (tmp_path / ".render").exists() and not torn.exists()
    assert PARTIAL not in (tmp_path / "SHA256SUMS").read_text()
    benchmark = registry.load(spec.name, tmp_path, verify=True)
    assert {name: len(images) for name, images in benchmark.sets.items()} == {
        "train": 12, "val_query": 8, "val_gallery": 8, "query": 8, "gallery": 8, "external": 8,
    }  # fmt: skip
    samples = pd.read_csv(tmp_path / "samples.csv")
    assert list(samples.columns) == list(generate.STAGED_COLUMNS)
    keys = [generate.shuffling_key(spec.seed, file) for file in samples["file"]]
    assert keys == sorted(keys) and samples["occluded"].eq(1).all()
    train = samples.loc[samples["split"] == "train", "identity"]
    assert not train.is_monotonic_increasing and set(train) == {0, 1, 2}
    assert (pd.read_csv(tmp_path / "joints.csv")["file"] == samples["file"]).all()
    card = (tmp_path / "README.md").read_text()
    assert f"# {spec.name}" in card and "{" not in card and "| nan" not in card
    made = json.loads((tmp_path / "dataset.json").read_text())
    assert spec_from_settings(made["generator"]) == spec and made["cpu"]
    generate.render_dataset(tmp_path, spec)  # finished: again nothing to do
    with pytest.raises(RlqkitError, match="other settings"):
        generate.render_dataset(tmp_path, replace(spec, quality=3))


def test_rows_come_in_the_order_of_file_names_beyond_four_digits(tmp_path: Path) -> None:
    spec = replace(
        SPEC, train=replace(SPEC.train, first=9_999, identities=3, outfits=1),
        validation=replace(SPEC.validation, identities=0), test=replace(SPEC.test, identities=0),
        external=replace(SPEC.external, identities=0),
    )  # fmt: skip
    for number in spec.numbers():
        rows = [[shot.file] for shot in generate.shots_of(spec, number)]
        content = json.dumps({"samples": rows}).encode()
        write_bytes(generate.record_path(tmp_path, number), content)
    files = [row[0] for row in generate._rows(tmp_path, spec, "samples")]
    assert files == sorted(files) and len(files) == 6


# -- drawing again -------------------------------------------------------------------------------


def test_report_of_drawing_again_says_what_stands() -> None:
    same = Redrawn(3, 30, [], 0, ["numpy 1 instead of 2"])
    assert "every byte" in same.to_text() and "numpy" not in same.to_text()
    other = Redrawn(3, 30, ["images/train/x.webp"], 7, ["numpy 1 instead of 2"]).to_text()
    assert "1 differ, by at most 7" in other and "numpy 1 instead of 2" in other
    assert "shipped images stand" in other


def test_versions_and_processor_that_differ_are_named() -> None:
    here = np.__version__
    card = {"libraries": {"numpy": here}, "cpu": generate.cpu_name()}
    assert "numpy" not in " ".join(other_versions(card))
    found = other_versions({"libraries": {"numpy": "0.1"}, "cpu": "an abacus"})
    assert f"numpy {here} instead of 0.1" in found and "an abacus" in found[1]
    assert "perhaps the CPU" in other_versions({"libraries": {}})[0]


def test_drawing_again_without_the_body_model_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "anny", None)
    with pytest.raises(RlqkitError, match=r"install -e '\.\[render\]'"):
        draw_again(tmp_path)


def test_a_wrong_height_on_the_command_line_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["data", "render", str(tmp_path / "out"), "--heights", "tall"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
