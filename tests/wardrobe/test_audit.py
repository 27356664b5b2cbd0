"""Shortcut and label audits: planted leaks and planted faults are found, honest data passes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import rlqkit
from conftest import SKELETON
from PIL import Image

from rlqkit.config import load_profile
from rlqkit.data.images import (
    BAG,
    FACE,
    HAIR,
    NOBODY,
    SHIRT,
    SHOES,
    SKIN,
    TROUSERS,
    read_image,
    read_mask,
)  # fmt: skip
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.evaluation.metrics import Labels, chance_rank1, evaluate_distances
from rlqkit.runs.experiment import train_and_evaluate
from wardrobe import audit, cues, labels_audit

PEOPLE, OUTFITS, CAMERAS = 16, 2, 3
SIZE = (40, 20)


def planted(root: Path, name: str, place: float, shuffled: bool, seed: int) -> ImageSet:
    """Test people before walls: a colour for each camera, plus `place` times one of the person's.

    shuffled: the files' order is drawn from `seed`, else it is that of the people.
    """
    rng = np.random.default_rng(seed)
    walls = np.random.default_rng(99).integers(60, 190, (CAMERAS, 3))
    places = np.random.default_rng(98).uniform(-1, 1, (PEOPLE, 3))
    rows = []
    for person, outfit, camera in np.ndindex(PEOPLE, OUTFITS, CAMERAS):
        mask = np.zeros(SIZE, np.uint8)
        mask[4:8, 8:12], mask[8:20, 6:14], mask[20:36, 6:14] = FACE, SHIRT, TROUSERS
        colour = walls[camera] + place * places[person] + rng.normal(0, 3, 3)
        image = colour + rng.normal(0, 6, (*SIZE, 3))
        image[mask > 0] = rng.integers(0, 255, 3)
        stem = f"{name}_{person}_{outfit}_{camera}"
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(root / f"{stem}.png")
        Image.fromarray(mask).save(root / f"{stem}_mask.png")
        rows.append((f"{stem}.png", person, camera, 10 * person + outfit, person % 2,
                     *SIZE, f"{stem}_mask.png"))  # fmt: skip
    columns = ["file", "identity", "camera", "clothes", "gender", "height", "width", "mask"]
    table = pd.DataFrame(rows, columns=columns)
    if shuffled:
        table = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    joints = np.tile(np.append(SKELETON * SIZE[::-1], np.ones((17, 1)), axis=1), (len(table), 1, 1))
    return ImageSet(f"planted/{name}", root, table, joints, synthetic=True)


def both(root: Path, place: float, shuffled: bool = True) -> tuple[ImageSet, ImageSet]:
    return planted(root, "query", place, shuffled, 10), planted(
        root, "gallery", place, shuffled, 11
    )


# ------------------------------------------------------------------------------------ shortcuts


def test_honest_images_in_random_order_leak_nothing(tmp_path: Path) -> None:
    table = audit.audit_shortcuts(*both(tmp_path, place=0))
    assert audit.leaking(table) == []
    assert set(table["protocol"]) == {"CC", "SC"}
    assert (table.loc[table["protocol"] == "SC", "verdict"] == "").all()
    measured = table[["low", "rank1", "high"]].to_numpy()
    assert (np.diff(measured, axis=1) >= 0).all()


def test_backgrounds_that_name_the_person_leak(tmp_path: Path) -> None:
    """Although cameras' walls differ far more than places do."""
    query, gallery = both(tmp_path, place=25)
    table = audit.audit_shortcuts(query, gallery, ("CC",)).set_index("shortcut")
    assert table.loc["background layout", "verdict"] == audit.LEAKS
    assert table.loc["background layout", "rank1"] > 60
    for name in ("camera id", "image size", "file order", audit.CONTROL):
        assert table.loc[name, "verdict"] == audit.AT_CHANCE, name
    # plain colours would hide the leak: junk and strangers of the own camera are in front
    labels = Labels(*query.metric_arrays()), Labels(*gallery.metric_arrays())
    walls = [
        np.stack([
            audit.colour_grid(read_image(path), audit.background_of(read_mask(mask)))
            for path, mask in zip(images.paths, images.mask_paths, strict=True)
        ])
        for images in (query, gallery)
    ]  # fmt: skip
    assert evaluate_distances(audit.grid_distances(*walls), *labels, "CC").rank1 < 0.1


def test_files_in_the_order_of_people_leak(tmp_path: Path) -> None:
    table = audit.audit_shortcuts(*both(tmp_path, place=0, shuffled=False), ("CC",))
    assert audit.leaking(table) == ["file order"]


def test_sizes_that_name_the_person_leak(tmp_path: Path) -> None:
    query, gallery = both(tmp_path, place=0)
    for images in (query, gallery):
        images.table["height"] += images.table["identity"]
    assert audit.leaking(audit.audit_shortcuts(query, gallery, ("CC",))) == ["image size"]


def test_audit_is_deterministic(tmp_path: Path) -> None:
    query, gallery = both(tmp_path, place=0)
    first, second = (audit.audit_shortcuts(query, gallery, ("CC",), seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_background_descriptors_never_see_the_person(tmp_path: Path) -> None:
    images = planted(tmp_path, "query", 0, True, 1)
    image, mask = read_image(images.paths[0]), read_mask(images.mask_paths[0])
    outside = audit.background_of(mask)
    assert not outside[mask > 0].any() and 0.2 < outside.mean() < 0.8
    repainted, other_wall = image.copy(), image.copy()
    repainted[mask > 0] = 255 - repainted[mask > 0]
    other_wall[mask == 0] = 255 - other_wall[mask == 0]
    for descriptor in (audit.colour_histogram, audit.colour_grid):
        mine = descriptor(image, outside)
        np.testing.assert_array_equal(descriptor(repainted, outside), mine)
        assert not np.array_equal(descriptor(other_wall, outside), mine, equal_nan=True)
    assert np.linalg.norm(audit.colour_histogram(image, outside)) == pytest.approx(1)


def test_grid_distance_counts_cells_that_both_know() -> None:
    nan = float("nan")
    query = np.array([[0.0, 10.0, nan]])
    gallery = np.array([[3.0, 14.0, 7.0], [nan, 10.0, 7.0], [nan, nan, 7.0]])
    expected = [[np.sqrt((9 + 16) / 2), 0.0, 255.0]]
    np.testing.assert_allclose(audit.grid_distances(query, gallery), expected)


def test_ties_are_broken_anew_for_every_query() -> None:
    distances = np.repeat([[0.0, 1.0]], 20, axis=1).repeat(50, axis=0)  # two ranks of 20 ties
    order = audit.untied_order(distances, seed=0, draw=0)
    assert (np.sort(order, axis=1) == np.arange(40)).all()
    assert (distances[0][order[:, :20]] == 0).all()
    assert len({tuple(row) for row in order}) == 50
    np.testing.assert_array_equal(order, audit.untied_order(distances, seed=0, draw=0))
    assert not np.array_equal(order, audit.untied_order(distances, seed=1, draw=0))


def test_exchanged_people_are_found_by_luck_alone(tmp_path: Path) -> None:
    query, gallery = both(tmp_path, place=0)
    labels = Labels(*query.metric_arrays()), Labels(*gallery.metric_arrays())
    perfect = (labels[0].identity[:, None] != labels[1].identity).astype(float)
    order = audit.untied_order(perfect, 0, 0)
    found = audit.exchanged_rank1([order], *labels, "CC", exchanges=2000)
    assert evaluate_distances(np.argsort(order, axis=1), *labels, "CC").rank1 == 1
    assert found.mean() == pytest.approx(1 / PEOPLE, abs=0.01)


def test_chance_among_other_cameras(tmp_path: Path) -> None:
    """By hand: 2 right (other outfit, other cameras) and 4 of each stranger's 6 images."""
    query, gallery = both(tmp_path, place=0)
    labels = query.metric_arrays(), gallery.metric_arrays()
    strangers = 15 * 4
    assert chance_rank1(*labels, "CC", other_cameras=True) == pytest.approx(2 / (2 + strangers))
    assert chance_rank1(*labels, "CC") == pytest.approx(2 / (2 + 15 * 6))


# ----------------------------------------------------------------------------------------- cues


def test_edits_keep_what_they_name() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (16, 8, 3)).astype(np.uint8)
    mask = np.arange(128).reshape(16, 8).astype(np.uint8) // 16  # two rows of each label
    kept = {
        "as it is": range(8),
        "background removed": range(1, 8),
        "head only": (HAIR, FACE),
        "body without head": (SHIRT, TROUSERS, SKIN, SHOES, BAG),
        "silhouette only": (),
        "clothes greyed": (NOBODY, SKIN, HAIR, FACE),
    }
    assert set(kept) == set(cues.EDITS)
    before = image.copy()
    for name, labels in kept.items():
        edited = cues.EDITS[name](image, mask)
        same = (edited == image).all(axis=2)
        assert same[np.isin(mask, labels)].all(), name
        assert not same[~np.isin(mask, labels)].any(), name
        assert (np.ptp(edited[~np.isin(mask, labels)].astype(int), axis=1) == 0).all(), name
    np.testing.assert_array_equal(image, before)
    assert len(np.unique(cues.silhouette_only(image, mask))) == 2


def test_greyed_clothes_keep_a_third_of_their_light() -> None:
    image = np.full((2, 2, 3), 200, np.uint8)
    image[0] = 80
    grey = cues.clothes_greyed(image, np.ones((2, 2), np.uint8))
    assert grey[0, 0, 0] == 108 and grey[1, 0, 0] == 148  # 128 -+ 60 / 3


def test_skeleton_distances_ignore_the_size_of_the_picture(tmp_path: Path) -> None:
    query, gallery = both(tmp_path, place=0)
    assert query.joints is not None and gallery.joints is not None
    rng = np.random.default_rng(5)
    gallery.joints[..., :2] += rng.normal(0, 1, gallery.joints[..., :2].shape)
    query.joints[0] = gallery.joints[7] * (3, 3, 1)
    distances = cues.skeleton_distances(query, gallery)
    assert distances[0].argmin() == 7 and distances[0, 7] == pytest.approx(0, abs=1e-9)


def test_cues_of_a_run_start_from_its_own_figures(
    tiny_wardrobe: Path, tiny_benchmark: Benchmark, tmp_path: Path
) -> None:
    changes = {
        "row": "base", "data.root": str(tiny_wardrobe), "runtime.results": str(tmp_path),
        "training.steps": 2,
    }  # fmt: skip
    folder = train_and_evaluate(load_profile("smoke", changes), progress=False)
    table = cues.identity_cues(folder, tiny_benchmark)
    assert list(table["cue"]) == [*cues.EDITS, cues.SKELETON]
    metrics = folder.metrics().query("rule == 'last' and query == 'HQ' and protocol == 'CC'")
    assert table["rank1"].iloc[0] == pytest.approx(100 * metrics["rank1"].item())
    assert table["mAP"].iloc[0] == pytest.approx(100 * metrics["mAP"].item(), abs=0.01)
    assert table["mAP"].nunique() > 3  # the edits do change what the network sees


# --------------------------------------------------------------------------------------- labels


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    """People whose labels are right, as the only split; they all stand alike, in one cluster."""
    monkeypatch.setattr(labels_audit, "CLUSTERS", 1)
    images = planted(tmp_path, "train", 0, False, 1)
    assert images.joints is not None
    images.joints[:, :5, 0] = 10 + np.array([0, 1, -1, 1.9, -1.9])  # the head is narrow
    images.joints[:, :, 1] = 4 + 30 * (images.joints[:, :, 1] / SIZE[0] - 0.08) / 0.85
    images.joints[:, 5:, 0] = 10 + (images.joints[:, 5:, 0] - 10) * 0.8
    return Benchmark("planted", tmp_path, {"train": images}, synthetic=True)


def failures(benchmark: Benchmark) -> dict[str, tuple[int, str]]:
    table = labels_audit.audit_labels(benchmark)
    assert (table["ok"] == (table["share"] <= table["allowed"])).all()
    return {r.check: (r.failures, r.worst) for r in table.itertuples() if r.failures}


def test_right_labels_pass(labelled: Benchmark) -> None:
    table = labels_audit.audit_labels(labelled)
    assert table["ok"].all() and (table["failures"] == 0).all()
    asked = table.set_index("check")["asked"]
    assert (asked[list(labels_audit.ALLOWED)] == len(labelled["train"])).all()
    assert asked["one gender a person"] == PEOPLE


def test_each_wrong_label_is_found_and_named(labelled: Benchmark) -> None:
    images = labelled["train"]
    assert images.joints is not None
    files = images.table["file"]
    joints = images.joints
    joints[3, 9, :2] = (SIZE[1] + 7, 20)  # a wrist outside, marked visible
    joints[4, 9, :2] = (19, 38)  # inside, but in a corner of the background
    joints[5, :, 1] = SIZE[0] - joints[5, :, 1]  # on the head
    joints[6, [11, 12]] = joints[6, [12, 11]]  # hips swapped
    joints[7, :] = joints[7, [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]]
    mask = read_mask(images.mask_paths[8])
    Image.fromarray(mask[::-1].copy()).save(images.mask_paths[8])
    Image.fromarray(np.zeros_like(mask)).save(images.mask_paths[9])
    images.table.loc[10, "gender"] = 1 - images.table.loc[10, "gender"]
    found = failures(labelled)
    assert found["visible joints are in the picture"] == (1, files[3])
    assert files[4] in found["visible joints are on the person"][1]
    assert found["joints from head to foot"] == (1, files[5])
    assert found["shoulders and hips face one way"] == (1, files[6])
    assert found["nose seen from the front, not both eyes from behind"] == (1, files[7])
    assert files[8] in found["head above top above bottom above shoes"][1]
    assert found["areas of person, clothes and head"] == (1, files[9])
    assert found["one gender a person"] == (1, f"identity {images.identities[10]}")


def test_hidden_joints_may_be_anywhere(labelled: Benchmark) -> None:
    joints = labelled["train"].joints
    assert joints is not None
    joints[3, 9] = (SIZE[1] + 7, 20, 0)
    assert failures(labelled) == {}


def test_gender_is_compared_with_the_renderer(labelled: Benchmark) -> None:
    pytest.importorskip("anny")
    from wardrobe.render.generate import WARDROBE_V2, GroupSpec
    from wardrobe.render.people import sample_identity

    # test people have a seed of their own: take all of these for test people
    spec = replace(WARDROBE_V2, test=GroupSpec(0, 90, 3, 4, 0), train=GroupSpec(900, 9, 5, 2, 1))
    card = labelled.root / "dataset.json"
    card.write_text(json.dumps({"generator": spec.settings()}), encoding="utf-8")
    table, seed = labelled["train"].table, spec.people_seed
    assert seed is not None and seed != spec.seed
    table["gender"] = [sample_identity(seed, int(person)).gender for person in table["identity"]]
    assert failures(labelled) == {}
    wrong = table["identity"] == 5
    table.loc[wrong, "gender"] = 1 - table.loc[wrong, "gender"]
    assert failures(labelled) == {"gender as the renderer drew it": (1, "identity 5")}


def test_upside_down_clusters_are_no_poses(labelled: Benchmark) -> None:
    images = labelled["train"]
    assert images.joints is not None
    over = images.joints.copy()
    over[..., 1] = SIZE[0] - over[..., 1]
    turned = replace(labelled, sets={"train": replace(images, joints=over)})
    count, _ = failures(turned)["mean skeletons of pose clusters stand"]
    assert count > 0


# -------------------------------------------------------------------------------------- command


def test_command_prints_writes_and_fails_on_problems(tiny_wardrobe: Path, tmp_path: Path) -> None:
    """The tiny people have no heads, which is a problem, and the exit code says so."""
    outcome = rlqkit("data", "audit", "--root", tiny_wardrobe, "--output", tmp_path / "audit")
    assert outcome.code == 2
    assert "error: wardrobe-v2: " in outcome.err and "areas of person" in outcome.err
    assert "background layout" in outcome.out and "one gender a person" in outcome.out
    written = pd.read_csv(tmp_path / "audit" / "audit_shortcuts.csv")
    assert len(written) == 16 and {"rank1", "low", "high", "expected"} <= set(written)
    assert (tmp_path / "audit" / "audit_labels.csv").is_file()


def test_a_set_of_test_people_alone_has_no_pose_clusters_to_check(
    tiny_benchmark: Benchmark,
) -> None:
    alone = {split: tiny_benchmark[split] for split in ("query", "gallery")}
    whole = labels_audit.audit_labels(tiny_benchmark)
    fewer = labels_audit.audit_labels(replace(tiny_benchmark, sets=alone))
    clusters = "mean skeletons of pose clusters stand"
    assert clusters in set(whole["check"]) and clusters not in set(fewer["check"])
    assert set(fewer["split"]) < set(whole["split"])
