"""Label files of the published benchmarks: poses, joints, gender, masks, lists of faulty masks."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from trees import HOLDERS, write_tree

from rlqkit.config import Config, load_profile
from rlqkit.data import loaders
from rlqkit.data.images import SHIRT, TROUSERS
from rlqkit.data.imageset import ImageSet
from rlqkit.data.labels.masks import PARSERS, READERS, mask_files, parsed_clothes
from rlqkit.data.labels.naming import key_of, rows_by_key
from rlqkit.data.published.load import LAYOUTS
from rlqkit.data.registry import load
from rlqkit.errors import RlqkitError
from rlqkit.method.rows import find_row


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLQKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labelled")
    for name in LAYOUTS:
        write_tree(name, root / name)
    return root


@pytest.fixture
def ltcc(trees: Path, tmp_path: Path) -> Path:
    """A copy of the LTCC tree, for one test to change."""
    return Path(shutil.copytree(trees / "ltcc", tmp_path / "ltcc"))


def config_of(name: str, root: Path, **changes: object) -> Config:
    given: dict[str, object] = {
        "data.dataset": name, "data.root": str(root), "data.identities": 0, "row": "rlq",
    }  # fmt: skip
    return load_profile("smoke", given | {k.replace("__", "."): v for k, v in changes.items()})


def batch_of(images: ImageSet, config: Config, row: str = "cap") -> dict[str, np.ndarray]:
    """All images of one epoch, by their row in the table: what a step would see."""
    task = loaders.target_data(images, find_row(row), config)
    batches = list(task.loader(0))
    return {key: np.concatenate([b[key].numpy() for b in batches]) for key in batches[0]}


def refuse(images_of: object, *words: str) -> None:
    with pytest.raises(RlqkitError) as caught:
        images_of()  # type: ignore[operator]
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text


# ------------------------------------------------------------------------------- all five sets


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_tree_trains_every_part_of_cap(trees: Path, name: str) -> None:
    """Recoloured copies, pose labels of the file, gender of the person, the faulty list."""
    config = config_of(name, trees / name)
    images = loaders.load_benchmark(config)["train"]
    batch = batch_of(images, config)
    assert batch["images"].shape[1:] == (3, 32, 16) and len(batch["images"]) % 2 == 0
    rows = batch["index"]
    assert images.poses is not None
    assert (batch["pose"] == images.poses["R_LA_4"].to_numpy()[rows]).all()
    assert (batch["gender"] == images.table["gender"].to_numpy()[rows]).all()
    assert (batch["clothes"][0::2] == images.clothes_labels[rows[0::2]]).all()
    assert (batch["clothes"][1::2] >= images.n_clothes).all()
    assert images.faulty.sum() == 3
    assert set(batch["gender"]) == {0, 1}


@pytest.mark.parametrize("name", LAYOUTS)
def test_names_in_label_files(trees: Path, name: str) -> None:
    images = load(name, trees / name)["train"]
    rows = rows_by_key(images)
    for row, (file, part) in enumerate(
        zip(images.table["file"], images.table["part"], strict=True)
    ):
        inner = file.removeprefix(f"{part}/")
        for text in (file, inner, f"./{inner}", inner.replace("/", "\\"), inner.rpartition(".")[0],
                     inner.replace("/", "_")):  # fmt: skip
            assert rows[key_of(text)] == row
    if name == "prcc":  # the same file name in every person's folder
        assert "A_cropped_rgb001" not in rows
    assert key_of("pose.v2/a.b") == "pose.v2/a.b"  # a full stop alone is no extension


# -------------------------------------------------------------------------------------- poses


def test_the_column_follows_vector_and_clusters(trees: Path) -> None:
    images = load("ltcc", trees / "ltcc")["train"]
    for kind, clusters in (("R_A", 5), ("N_LAC", 15)):
        config = config_of("ltcc", trees, cap__pose_vector=kind, cap__clusters=clusters)
        poses = loaders.pose_clusters(images, config)
        assert images.poses is not None
        assert (poses.labels == images.poses[f"{kind}_{clusters}"]).all()
        assert poses.kind == kind and len(poses.counts) == clusters
        assert poses.counts.sum() == (poses.labels > 0).sum() < len(images)
    config = config_of("ltcc", trees, cap__clusters=25)
    refuse(lambda: loaders.pose_clusters(images, config), "no column R_LA_25", "R_LA_4", "N_A_15")


def test_the_authors_file_as_published(ltcc: Path) -> None:
    """Their header and number format; rows of other categories don't count."""
    labels = ltcc / "labels" / "LTCC_Pose_Cluster.csv"
    names = pd.read_csv(labels)["Image"].tolist()
    labels.unlink()
    lines = ["Category,Image,R_LA_15,N_A_40", *(f"train,{name},12.0,0.0" for name in names)]
    lines.append(f"query,{names[0]},3.0,40.0")
    with gzip.open(f"{labels}.gz", "wt") as file:
        file.write("\n".join(lines))
    poses = load("ltcc", ltcc)["train"].poses
    assert poses is not None and set(poses["R_LA_15"]) == {12} and set(poses["N_A_40"]) == {0}


def test_an_image_without_label_is_named(ltcc: Path) -> None:
    labels = ltcc / "labels" / "LTCC_Pose_Cluster.csv"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join(lines[:1] + lines[2:]) + "\n")
    config = config_of("ltcc", ltcc)
    images = load("ltcc", ltcc)["train"]
    missing = lines[1].split(",")[1]
    refuse(
        lambda: batch_of(images, config), missing, "1 of 64", "0 = no pose found", "without pose"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Category,Name,R_LA_15\ntrain,a,1\n", ("no column 'Image'",)),
        ("Image,R_LA\n000_1_c1_000001,1\n", ("no column of pose labels", "R_LA_15")),
        ("Image,R_LA_4\n000_1_c1_000001,5\n", ("R_LA_4 of 000_1_c1_000001 is '5'", "to 4")),
        ("Image,R_LA_4\n000_1_c1_000001,1.5\n", ("is '1.5'",)),
        ("Image,R_LA_4\n000_1_c1_000001,\n", ("is ''",)),
        ("Image,R_LA_4\nA/001_cropped_rgb001,1\n", ("lists no image", "another data set")),
        ("", ("can't be read as a table",)),
    ],
)
def test_pose_files_that_are_wrong(ltcc: Path, text: str, words: tuple[str, ...]) -> None:
    (ltcc / "labels" / "LTCC_Pose_Cluster.csv").write_text(text)
    refuse(lambda: load("ltcc", ltcc), "LTCC_Pose_Cluster.csv", *words)


@pytest.mark.parametrize("pose", ["csv", "json"])
def test_joints_of_a_pose_estimator(tmp_path: Path, pose: str) -> None:
    """The best-scoring person counts; an image without anybody gets label 0."""
    images = load("prcc", write_tree("prcc", tmp_path / "prcc", pose=pose))["train"]
    assert images.joints is not None and images.poses is None
    assert np.isnan(images.joints).all(axis=(1, 2)).sum() == 1
    assert (np.nan_to_num(images.joints, nan=1)[:, :, 0] > 0).any(axis=1).all()  # not the zeros
    poses = loaders.pose_clusters(images, config_of("prcc", tmp_path))
    assert (poses.labels == 0).sum() == 1 and poses.labels.max() == 4
    assert len(batch_of(images, config_of("prcc", tmp_path))["pose"]) > 0


def test_coco_annotations_with_numbered_images(ltcc: Path) -> None:
    (ltcc / "labels" / "LTCC_Pose_Cluster.csv").unlink()
    person = {"image_id": 7, "keypoints": list(range(51)), "category_id": 1}
    data = {"images": [{"id": 7, "file_name": "000_1_c1_000001.png"}], "annotations": [person]}
    (ltcc / "labels" / "keypoints.json").write_text(json.dumps(data))
    joints = load("ltcc", ltcc)["train"].joints
    assert joints is not None and joints[0, 1].tolist() == [3, 4, 5]
    assert np.isnan(joints[1:]).all()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("keypoints.csv", "image,x0\na,1\n", ("no column 'y0'",)),
        ("keypoints.json", "[{", ("no COCO-keypoint JSON",)),
        ("keypoints.json", '[{"image_id": "a", "keypoints": [1, 2]}]', ("17 x 3",)),
        ("keypoints.json", "[]", ("joints of no image",)),
        ("keypoints.json", json.dumps([{"image_id": "a", "keypoints": [None] * 51}]), ("numbers",)),
    ],
)
def test_keypoint_files_that_are_wrong(
    ltcc: Path, name: str, text: str, words: tuple[str, ...]
) -> None:
    (ltcc / "labels" / name).write_text(text)
    refuse(lambda: load("ltcc", ltcc), name, *words)


# ------------------------------------------------------------------------------------- gender


def test_gender_of_train_and_test(ltcc: Path) -> None:
    (ltcc / "labels" / "LTCC_test_Gender.csv").write_text("Category,ID,Gender\ntest,008,1\n")
    benchmark = load("ltcc", ltcc)
    train, gallery = benchmark["train"], benchmark["gallery"]
    assert (train.table["gender"] == train.identities % 2).all()
    assert set(gallery.table.loc[gallery.identities == 8, "gender"]) == {1}
    assert set(gallery.table.loc[gallery.identities != 8, "gender"]) == {-1}


def test_celebs_people_of_test_are_others(trees: Path) -> None:
    benchmark = load("celeb-reid", trees / "celeb-reid")
    assert set(benchmark["train"].table["gender"]) == {0, 1}
    assert set(benchmark["external"].table["gender"]) == {0, 1}
    assert set(benchmark["query"].table["gender"]) == {-1}  # the file lists people of train


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Category,ID,Gender\ntrain,000,2\n", ("'2'", "1 (male)")),
        ("Category,ID,Gender\ntrain,000,\n", ("''",)),
        ("Category,ID,Gender\ntrain,000,1\ntrain,0,0\n", ("two genders",)),
        ("Category,Person,Gender\ntrain,000,1\n", ("no column 'ID'",)),
    ],
)
def test_gender_files_that_are_wrong(ltcc: Path, text: str, words: tuple[str, ...]) -> None:
    (ltcc / "labels" / "LTCC_Gender.csv").write_text(text)
    refuse(lambda: load("ltcc", ltcc), "LTCC_Gender.csv", *words)


# ------------------------------------------------------------------------------- what is missing


def test_rows_that_need_what_is_missing_are_refused(tmp_path: Path) -> None:
    """Before training, with what to provide; a row that needs nothing of it is built."""
    root = write_tree("last", tmp_path / "last", pose="", masks="", gender=False)
    images, config = load("last", root)["train"], config_of("last", root)
    refuse(lambda: batch_of(images, config, "base"), "no clothes mask", "labels/masks")
    (root / "labels").rmdir()
    plain = load("last", root)["train"]
    assert plain.poses is None and plain.joints is None
    with_masks = write_tree("last", tmp_path / "masks", pose="", gender=False)
    masked = load("last", with_masks)["train"]
    refuse(lambda: batch_of(masked, config), "no joints", "keypoints.csv", "pose_clusters.csv")
    refuse(lambda: batch_of(masked, config, "gender"), "no gender", "labels/gender.csv")
    assert len(batch_of(masked, config, "base")["images"]) > 0


def test_labels_may_lie_elsewhere(ltcc: Path, tmp_path: Path) -> None:
    (ltcc / "labels").rename(tmp_path / "my labels")
    assert load("ltcc", ltcc)["train"].poses is None
    config = config_of("ltcc", ltcc, data__labels=str(tmp_path / "my labels"))
    images = loaders.load_benchmark(config)["train"]
    assert images.poses is not None and len(batch_of(images, config)["pose"]) > 0
    refuse(lambda: load("ltcc", ltcc, labels=tmp_path / "none"), "labels folder", "missing")


def test_plain_names_of_label_files(ltcc: Path) -> None:
    labels = ltcc / "labels"
    (labels / "LTCC_Pose_Cluster.csv").rename(labels / "pose_clusters.csv")
    (labels / "LTCC_Gender.csv").rename(labels / "gender.csv")
    (labels / "LTCC_Shirt_faulty.csv").rename(labels / "trousers_faulty.csv")
    images = load("ltcc", ltcc)["train"]
    assert images.poses is not None and images.faulty.sum() == 3
    images.require_gender()


# -------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("masks", ["pair", "lip", "atr"])
def test_masks_of_every_kind(tmp_path: Path, masks: str) -> None:
    """The same shirt and trousers from two binary masks and from either parser's labels."""
    images = load("prcc", write_tree("prcc", tmp_path, masks=masks))["train"]
    assert images.mask_format == masks
    clothes = READERS[masks](mask_files(images)[5])
    expected = np.zeros((40, 20), np.uint8)
    expected[8:20, 5:15], expected[20:36, 5:15] = SHIRT, TROUSERS
    assert (clothes == expected).all()


def test_masks_as_the_released_scripts_write_them(tmp_path: Path) -> None:
    """Three equal channels, folders joined by underscores, _shirt and _pant at the end."""
    root = write_tree("prcc", tmp_path, masks="")
    images = load("prcc", root)["train"]
    folder = root / "labels" / "masks" / "train"
    folder.mkdir(parents=True)
    white, black = np.full((40, 20, 3), 255, np.uint8), np.zeros((40, 20, 3), np.uint8)
    for file in images.table["file"]:
        stem = "_".join(file.rpartition(".")[0].split("/")[1:])
        Image.fromarray(white).save(folder / f"{stem}_shirt.png")
        Image.fromarray(black).save(folder / f"{stem}_pant.png")
    images = load("prcc", root)["train"]
    assert (READERS[images.mask_format](mask_files(images)[0]) == SHIRT).all()
    (folder / f"{stem}_pant.png").unlink()
    refuse(load("prcc", root)["train"].require_masks, "1 of 48")


def test_parser_labels() -> None:
    """Every label of both parsers, by name, so that a slip of a number shows."""
    lip = [
        *("background", "hat", "hair", "glove", "sunglasses", "upper", "dress", "coat", "socks"),
        *("trousers", "jumpsuit", "scarf", "skirt", "face", "left-arm", "right-arm", "left-leg"),
        *("right-leg", "left-shoe", "right-shoe"),
    ]
    atr = [
        *("background", "hat", "hair", "sunglasses", "upper", "skirt", "trousers", "dress", "belt"),
        *("left-shoe", "right-shoe", "face", "left-leg", "right-leg", "left-arm", "right-arm"),
        *("bag", "scarf"),
    ]
    shirts, trousers = {"upper", "dress", "coat", "jumpsuit"}, {"trousers", "skirt"}
    for parser, names in (("lip", lip), ("atr", atr)):
        assert PARSERS[parser].last == len(names) - 1
        labels = np.arange(len(names), dtype=np.uint8)[None]
        clothes = parsed_clothes(labels, parser, Path("map.png"))[0]
        assert {n for n, c in zip(names, clothes, strict=True) if c == SHIRT} == shirts & set(names)
        assert {n for n, c in zip(names, clothes, strict=True) if c == TROUSERS} == trousers
    refuse(
        lambda: parsed_clothes(np.full((2, 2), 19, np.uint8), "atr", Path("map.png")),
        "map.png has label 19", "ATR ends at 17",
    )  # fmt: skip
    colours = np.broadcast_to(np.array([1, 2, 3], np.uint8), (2, 2, 3))
    refuse(lambda: parsed_clothes(colours, "lip", Path("m.png")), "m.png", "channels")


def test_two_kinds_of_masks(ltcc: Path) -> None:
    (ltcc / "labels" / "parsing-lip").mkdir()
    refuse(lambda: load("ltcc", ltcc), "both masks and parsing-lip")


def test_a_mask_of_another_size_is_named(ltcc: Path) -> None:
    images = load("ltcc", ltcc)["train"]
    shirt, trousers = mask_files(images)[0]
    for file in (shirt, trousers):
        Image.fromarray(np.zeros((10, 10), np.uint8)).save(file)
    refuse(lambda: batch_of(images, config_of("ltcc", ltcc)), shirt.name, "sizes must agree")


def test_faulty_lists_that_are_wrong(ltcc: Path) -> None:
    file = ltcc / "labels" / "LTCC_Shirt_faulty.csv"
    file.write_text("")
    assert not load("ltcc", ltcc)["train"].faulty.any()
    file.write_text("008_1_c1_000001\nnobody\n")
    refuse(lambda: load("ltcc", ltcc), "names no image", "008_1_c1_000001")


def test_faulty_images_get_one_colour(trees: Path) -> None:
    """The list reaches the training images: shirt and trousers of a listed one agree."""
    config = config_of("ltcc", trees / "ltcc")
    images = loaders.load_benchmark(config)["train"]
    task = loaders.target_data(images, find_row("base"), config)
    assert (np.asarray(task.images.faulty).astype(bool) == images.faulty).all()
    assert images.faulty.sum() == 3 and HOLDERS["ltcc"] in str(images.root)


def test_the_embedded_set_has_labels_of_its_own(tiny_wardrobe: Path, tmp_path: Path) -> None:
    refuse(lambda: load("wardrobe-v2", tiny_wardrobe, labels=tmp_path), "its own labels")
