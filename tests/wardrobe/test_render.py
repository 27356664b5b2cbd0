"""The generator of the embedded data set: parts without the body model, and the shipped folder."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytest.importorskip("numba", reason='comes with the extra "render"')

from rlqkit.data.images import BAG, FACE, HAIR, NOBODY, SHIRT, SHOES, SKIN, TROUSERS
from rlqkit.errors import RlqkitError
from rlqkit.files import write_bytes
from wardrobe.render import generate
from wardrobe.render.camera import look_at, person_crop, target_camera
from wardrobe.render.extras import require
from wardrobe.render.gait import leg_angles, pose_angles, rotation
from wardrobe.render.materials import Label
from wardrobe.render.mesh import grid_faces, hull_radii, rounded_box, skin, vertex_normals
from wardrobe.render.people import ADULT_AGE, FEMALE, MALE, sample_identity
from wardrobe.render.raster import interpolate, rasterise
from wardrobe.render.renderer import majority_labels, visible_joints
from wardrobe.render.wardrobe import SKIRTS, SharedWardrobe, own_outfit

SHIPPED = Path(__file__).parents[2] / "data" / "wardrobe-v2"
SEED = 41


# -- gait ----------------------------------------------------------------------------------------


def test_legs_swing_in_opposition_and_close_the_circle() -> None:
    first, last = leg_angles(0.0, 1.0), leg_angles(1.0, 1.0)
    assert first.hip == pytest.approx(last.hip)
    assert first.knee == pytest.approx(last.knee)
    habits = sample_identity(SEED, 0).gait
    pose, later = pose_angles(0.1, habits), pose_angles(0.6, habits)
    assert pose["upperleg01.L"][0] == pytest.approx(later["upperleg01.R"][0])
    assert pose["upperarm01.L"][0] == pytest.approx(later["upperarm01.R"][0])


def test_knees_never_bend_forwards_and_arms_oppose_legs() -> None:
    assert all(leg_angles(phase, 1.15).knee >= 0.0 for phase in np.linspace(0.0, 1.0, 50))
    pose = pose_angles(0.0, sample_identity(SEED, 1).gait)
    # Negative rotation about x brings a limb forwards: left leg in front, left arm behind.
    assert pose["upperleg01.L"][0] < pose["upperleg01.R"][0]
    assert pose["upperarm01.L"][0] > pose["upperarm01.R"][0]


def test_standing_does_not_depend_on_the_phase() -> None:
    habits = sample_identity(SEED, 2).gait
    assert pose_angles(0.1, habits, standing=True) == pose_angles(0.7, habits, standing=True)


def test_rotation_turns_about_fixed_axes() -> None:
    np.testing.assert_allclose(rotation((90, 0, 0)) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    # First x, then z: y goes to z and stays there.
    np.testing.assert_allclose(rotation((90, 0, 90)) @ [0, 1, 0], [0, 0, 1], atol=1e-12)


# -- camera --------------------------------------------------------------------------------------


def test_projection_and_rays_are_inverse() -> None:
    view = look_at(np.array([0.0, -5.0, 2.0]), np.array([0.0, 0.0, 0.9]))
    points = np.array([[0.0, 0.0, 0.9], [0.4, -0.2, 1.7], [-0.3, 0.5, 0.0]])
    projected = view.project(points)
    np.testing.assert_allclose(projected[0, :2], 0.0, atol=1e-12)
    assert projected[1, 0] > 0 and projected[1, 1] < 0  # to the right and above
    back = view.eye + view.rays(projected[:, 0], projected[:, 1]) / projected[:, 2:]
    np.testing.assert_allclose(back, points, atol=1e-12)


def test_crop_holds_the_person_at_the_wanted_height() -> None:
    view = look_at(np.array([0.0, -5.0, 2.0]), np.array([0.0, 0.0, 0.9]))
    person, _ = rounded_box(np.array([0.0, 0.0, 0.9]), np.array([0.25, 0.2, 0.9]))
    projected = view.project(person.astype(float))
    crop = person_crop(projected, 160, np.random.default_rng(0))
    pixels = crop.to_pixels(projected)
    assert crop.height == 160 and 0.39 * 160 <= crop.width <= 0.63 * 160
    assert pixels[:, 1].min() > 0 and pixels[:, 1].max() < 160


def test_cameras_depend_on_seed_and_number_only() -> None:
    first, again = (target_camera(SEED, 2, (140, 200)) for _ in range(2))
    assert first.gamma == again.gamma and first.scene.floor_kind == again.scene.floor_kind
    assert first.gamma != target_camera(SEED, 3, (140, 200)).gamma
    assert np.linalg.norm(first.light) == pytest.approx(1.0)


# -- meshes and z-buffer -------------------------------------------------------------------------


def test_nearer_triangle_wins_and_weights_interpolate() -> None:
    triangle = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    points = np.vstack(
        [np.column_stack([triangle, [0.5] * 3]), np.column_stack([triangle / 2, [1.0] * 3])]
    )
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    raster = rasterise(points, faces, 8, 8)
    assert raster.face[0, 0] == 1 and raster.face[0, 6] == 0 and raster.face[7, 7] == -1
    np.testing.assert_allclose(raster.weights[raster.face >= 0].sum(1), 1.0, atol=1e-6)
    weights = raster.weights[0, 6][None]
    found = interpolate(points[:, :2], faces[0][None], weights)
    np.testing.assert_allclose(found, [[6.5, 0.5]], atol=1e-5)


def test_weights_are_perspective_correct() -> None:
    # An edge from distance 1 to distance 3: the middle of the image is a quarter along it.
    points = np.array([[0.0, 0.0, 1.0], [10.0, 0.0, 1 / 3], [0.0, 10.0, 1.0]])
    raster = rasterise(points, np.array([[0, 1, 2]]), 10, 10)
    x, z = 5.5, raster.nearness[0, 5]
    assert raster.weights[0, 5, 1] == pytest.approx(x / 10 * (1 / 3) / z, rel=1e-5)


def test_triangles_behind_the_camera_are_left_out() -> None:
    points = np.array([[0.0, 0.0, 1.0], [8.0, 0.0, -1.0], [0.0, 8.0, 1.0]])
    assert (rasterise(points, np.array([[0, 1, 2]]), 8, 8).face == -1).all()


def test_normals_point_away_from_a_sphere_or_into_it() -> None:
    vertices, faces = rounded_box(np.zeros(3), np.ones(3))
    facing = (vertex_normals(vertices, faces) * vertices).sum(1)
    assert (np.abs(facing) > 0.95).all() and len(set(np.sign(facing))) == 1


def test_closed_grid_has_two_triangles_per_cell() -> None:
    assert len(grid_faces(3, 5, closed=True)) == 2 * 2 * 5
    assert len(grid_faces(3, 5, closed=False)) == 2 * 2 * 4


def test_hull_of_a_square_reaches_its_corners() -> None:
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], float)
    points = np.column_stack([corners, np.zeros(4)])
    angles = np.radians([0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0])
    radii = hull_radii(points, np.array([0.0, 1.0]), 0.1, np.zeros((2, 2)), angles)
    np.testing.assert_allclose(radii[0], [1, 2**0.5] * 4, atol=1e-9)


def test_skinning_blends_transforms() -> None:
    moved = np.zeros((2, 3, 4), np.float32)
    moved[:, :, :3] = np.eye(3)
    moved[1, :, 3] = [0, 0, 2]
    out = skin(
        np.zeros((1, 3), np.float32), np.array([[0, 1]], np.int32),
        np.array([[0.5, 0.5]], np.float32), moved,
    )  # fmt: skip
    np.testing.assert_allclose(out, [[0, 0, 1]])


def test_labels_go_by_majority_and_people_win_ties() -> None:
    fine = np.array([[0, 0, 1, 1], [0, 2, 1, 3], [0, 5, 0, 0], [5, 0, 0, 0]], np.uint8)
    np.testing.assert_array_equal(majority_labels(fine, 2), [[0, 1], [5, 0]])


def test_joints_are_hidden_behind_things_and_outside() -> None:
    points = np.array([[0.0, 0.0, 0.5], [16.0, 0.0, 0.5], [0.0, 16.0, 0.5]])  # 2 m away
    raster = rasterise(points, np.array([[0, 1, 2]]), 16, 16)
    joints = np.array([[1.0, 1.0, 1 / 2.05], [1.0, 1.0, 1 / 2.5], [7.5, 7.5, 1 / 2.5], [9, 1, 0.5]])
    seen = visible_joints(joints, raster, 2, np.full(4, 0.1))
    np.testing.assert_array_equal(seen, [1, 0, 1, 0])


# -- people and clothes --------------------------------------------------------------------------


def test_people_are_adults_within_the_models_ranges() -> None:
    people = [sample_identity(SEED, number) for number in range(200)]
    for person in people:
        assert person.phenotype["age"] >= ADULT_AGE
        assert all(0.0 <= value <= 1.0 for value in person.phenotype.values())
        assert not {"african", "asian", "caucasian"} & set(person.phenotype)
        assert 0.0 <= person.skin_tone <= 1.0
        assert (person.phenotype["gender"] < 0.5) == (person.gender == MALE)
        assert person.beard == "none" or person.gender == MALE
    assert 0.35 < np.mean([person.gender for person in people]) < 0.65
    assert np.std([person.local["measure-waist-circ-incr"] for person in people]) > 0.4


def test_identity_depends_on_seed_and_number_only() -> None:
    first, again = sample_identity(SEED, 7), sample_identity(SEED, 7)
    assert first.local == again.local and first.gait == again.gait
    assert first.local != sample_identity(SEED, 8).local
    assert first.local != sample_identity(SEED + 1, 7).local


def test_shared_wardrobe_shares_garments_but_nobody_repeats_one() -> None:
    wardrobe = SharedWardrobe(SEED, 1)
    people = [sample_identity(SEED, number) for number in range(30)]
    choices = [[wardrobe.choice(person, o) for o in range(5)] for person in people]
    for chosen in choices:
        assert len({top for top, _ in chosen}) == len({bottom for _, bottom in chosen}) == 5
    colours = {tuple(wardrobe.outfit(person, o).top.colour) for person in people for o in range(5)}
    assert len(colours) <= 16
    other = SharedWardrobe(SEED, 2).outfit(people[0], 0)
    assert tuple(other.top.colour) not in colours


def test_outfits_are_deterministic_and_own_ones_differ() -> None:
    person = sample_identity(SEED, 3)
    first, again = own_outfit(SEED, person, 0), own_outfit(SEED, person, 0)
    np.testing.assert_array_equal(first.top.colour, again.top.colour)
    assert first.bottom.waist == again.bottom.waist
    assert tuple(own_outfit(SEED, person, 1).top.colour) != tuple(first.top.colour)


def test_skirts_are_for_label_0_and_never_under_a_coat() -> None:
    for number in range(150):
        person = sample_identity(SEED, number)
        outfit = own_outfit(SEED, person, 0)
        if outfit.bottom.kind in SKIRTS:
            assert person.gender == FEMALE and outfit.top.kind != "coat"


# -- the data set --------------------------------------------------------------------------------


def test_shots_follow_the_specification() -> None:
    spec = generate.WARDROBE_V1
    numbers = [n for group in spec.groups().values() for n in group.numbers()]
    assert len(numbers) == len(set(numbers))
    shots = pd.DataFrame(
        [vars(shot) for number in numbers for shot in generate.shots_of(spec, number)]
    )
    counts = shots["split"].value_counts().to_dict()
    assert counts == {
        "train": 3000, "val_query": 240, "val_gallery": 240, "query": 720, "gallery": 720,
        "external": 3000,
    }  # fmt: skip
    test = shots[shots["split"].isin(["query", "gallery"])]
    per_outfit = test.groupby(["identity", "outfit"])
    assert (per_outfit["camera"].nunique() == 4).all()
    assert (test[test["split"] == "query"].groupby(["identity", "outfit"]).size() == 2).all()
    external = shots.loc[shots["split"] == "external", "camera"]
    assert external.min() == 11 and external.max() == 50
    assert shots.loc[shots["split"] != "external", "camera"].between(1, 4).all()


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(RlqkitError, match=r"\.venv/bin/python -m pip install -e '\.\[render\]'"):
        require("a_package_that_does_not_exist")


def test_masks_survive_encoding() -> None:
    labels = np.arange(64, dtype=np.uint8).reshape(8, 8) % 8
    content = generate.encode_mask(labels)
    mask = Image.open(io.BytesIO(content))
    np.testing.assert_array_equal(np.array(mask), labels)
    shipped = Image.open(next((SHIPPED / "masks" / "query").iterdir()))
    assert mask.getpalette() == shipped.getpalette()


def test_labels_are_those_that_readers_of_masks_know() -> None:
    """Numbers of `rlqkit.data.images`, under the names that shipped sets give them."""
    card = json.loads((SHIPPED / "dataset.json").read_text())
    assert {str(label.value): label.name.lower() for label in Label} == card["labels"]
    known = {"TOP": SHIRT, "BOTTOM": TROUSERS, "SKIN": SKIN, "HAIR": HAIR, "SHOES": SHOES,
             "FACE": FACE, "BAG": BAG, "BACKGROUND": NOBODY}  # fmt: skip
    assert known == {label.name: label.value for label in Label}


def _tiny_folder(folder: Path) -> None:
    """Write a folder of two pictures in the data set's layout, without rendering."""
    rng = np.random.default_rng(0)
    files = ["images/query/0001_o0_c01_0.webp", "images/external/1000_o0_c11_0.webp"]
    samples, joints = [], []
    for file, split in zip(files, ("query", "external"), strict=True):
        image = rng.integers(0, 256, (40, 16, 3), dtype=np.uint8)
        write_bytes(folder / file, generate.encode_image(image, 88))
        samples.append([file, split, int(Path(file).name.split("_")[0]), 1, 0, 1, 40, 16])
        joints.append([file, *([8.0, 20.0, 1] * 17)])
    mask = generate.encode_mask(np.full((40, 16), 2, np.uint8))
    write_bytes(generate.mask_path(folder, files[0]), mask)
    pd.DataFrame(samples, columns=list(generate.SAMPLE_COLUMNS)).to_csv(
        folder / "samples.csv", index=False
    )
    pd.DataFrame(joints, columns=list(generate.JOINT_COLUMNS)).to_csv(
        folder / "joints.csv", index=False
    )


def test_check_sums_of_a_tiny_folder(tmp_path: Path) -> None:
    _tiny_folder(tmp_path)
    lines = generate.check_sums(tmp_path).splitlines()
    assert len(lines) == 5
    digest, name = lines[0].split("  ")
    assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def test_a_folder_with_other_settings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"generator": {"seed": 1}}')
    with pytest.raises(RlqkitError, match="other settings"):
        generate.render_dataset(tmp_path, generate.WARDROBE_V1)


def test_shipped_folder_is_consistent() -> None:
    samples = pd.read_csv(SHIPPED / "samples.csv")
    joints = pd.read_csv(SHIPPED / "joints.csv")
    assert list(samples.columns) == list(generate.STAGED_COLUMNS)
    assert list(joints.columns) == list(generate.JOINT_COLUMNS)
    assert len(samples) == 8920 and (samples["file"] == joints["file"]).all()
    assert samples.loc[samples["split"] == "external", "outfit"].isna().all()
    assert samples.loc[samples["split"] != "external", "outfit"].notna().all()
    assert samples.groupby("identity")["gender"].nunique().max() == 1
    listed = {line.split("  ")[1] for line in (SHIPPED / "SHA256SUMS").read_text().splitlines()}
    assert set(samples["file"]) <= listed
    for row in samples.iloc[::400].itertuples():
        assert Image.open(SHIPPED / row.file).size == (row.width, row.height)
        if row.split != "external":
            mask = np.array(Image.open(generate.mask_path(SHIPPED, row.file)))
            assert mask.shape == (row.height, row.width) and mask.max() <= 7
            assert (mask > 0).mean() > 0.1


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("anny") is None,
    reason='needs the extra "render"',
)
def test_rendering_gives_the_shipped_bytes(tmp_path: Path) -> None:
    """The first run on a machine takes a minute (anny fills its cache), later ones seconds."""
    spec = generate.WARDROBE_V2
    studio = generate.Studio(spec, tmp_path)
    for number in (0, 500):
        shot, picture = next(studio.pictures(number))
        image = generate.encode_image(picture.image, spec.quality)
        assert image == (SHIPPED / shot.file).read_bytes()
        mask = generate.encode_mask(picture.labels)
        assert mask == generate.mask_path(SHIPPED, shot.file).read_bytes()
