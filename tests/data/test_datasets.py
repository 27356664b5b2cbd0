"""The data-set interface: what it reads, what it refuses, what it reports."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rlqkit import files
from rlqkit.data import check, imageset, registry
from rlqkit.data.images import read_image, read_mask
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.registry import load
from rlqkit.errors import RlqkitError

Edit = Callable[[pd.DataFrame], pd.DataFrame | None]
TRAIN_FILE = "images/train/0001_o0_c00_0.webp"


def edit_csv(path: Path, edit: Edit) -> None:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    edited = edit(table)
    (table if edited is None else edited).to_csv(path, index=False)


def put(column: str, value: str, row: int = 0) -> Edit:
    def edit(table: pd.DataFrame) -> None:
        table.loc[row, column] = value

    return edit


def refusal(root: Path, *words: str, verify: bool = False) -> str:
    """The one-line message with which loading `root` is refused; it must contain `words`."""
    with pytest.raises(RlqkitError) as caught:
        load("wardrobe-v2", root, verify=verify)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


# ------------------------------------------------------------------------------------- image sets


def test_splits_and_sizes(tiny_benchmark: Benchmark) -> None:
    sizes = {split: len(images) for split, images in tiny_benchmark.sets.items()}
    expected = [48, 12, 12, 16, 16, 24]
    assert sizes == dict(zip(imageset.SPLITS, expected, strict=True))
    assert tiny_benchmark.synthetic and tiny_benchmark["train"].synthetic
    assert tiny_benchmark["train"].name == "wardrobe-v2/train"
    with pytest.raises(RlqkitError, match="no split 'test': choose one of train, val_query"):
        tiny_benchmark["test"]


def test_table_of_one_image(tiny_benchmark: Benchmark) -> None:
    train = tiny_benchmark["train"]
    row = train.table[train.table["file"] == "images/train/0003_o1_c01_0.webp"].iloc[0]
    assert (row["identity"], row["camera"], row["gender"]) == (3, 1, 1)
    assert (row["height"], row["width"]) == (50, 25)
    assert row["mask"] == "masks/train/0003_o1_c01_0.png"
    assert list(train.table.index) == list(range(48))


def test_labels_are_dense_and_in_order(tiny_benchmark: Benchmark) -> None:
    query = tiny_benchmark["query"]
    assert query.identities.min() == 21
    assert np.array_equal(query.identity_labels, query.identities - 21)
    assert query.n_identities == 4
    assert query.n_clothes == 8
    assert set(query.clothes_labels) == set(range(8))
    outfit = query.table["file"].str.extract(r"_o(\d)_")[0].astype(int).to_numpy()
    assert np.array_equal(query.clothes_labels, query.identity_labels * 2 + outfit)


def test_clothes_of_identity(tiny_benchmark: Benchmark) -> None:
    worn = tiny_benchmark["train"].clothes_of_identity()
    assert worn.shape == (6, 12) and worn.dtype == bool
    assert np.array_equal(worn, np.kron(np.eye(6), np.ones((1, 2))).astype(bool))


def test_unlabelled_clothes_are_one_class_an_image(tiny_benchmark: Benchmark) -> None:
    external = tiny_benchmark["external"]
    assert not external.clothes_labelled and tiny_benchmark["train"].clothes_labelled
    assert external.n_clothes == len(external) == len(set(external.clothes_labels))
    assert external.clothes_of_identity().sum(axis=0).tolist() == [1] * 24
    assert external.clothes_of_identity().sum(axis=1).tolist() == [4] * 6


def test_clothes_compare_between_query_and_gallery(tiny_benchmark: Benchmark) -> None:
    """Same identity and outfit, same id; anything else, another id, over all splits."""
    tables = [images.table for images in tiny_benchmark.sets.values() if images.clothes_labelled]
    everything = pd.concat(tables)
    outfit = everything["file"].str.extract(r"_o(\d)_")[0]
    truth = everything["identity"].astype(str) + "/" + outfit
    pairs = pd.DataFrame({"id": everything["clothes"], "truth": truth}).drop_duplicates()
    assert pairs["id"].is_unique and pairs["truth"].is_unique
    unlabelled = tiny_benchmark["external"].table["clothes"]
    assert unlabelled.is_unique and not set(unlabelled) & set(everything["clothes"])
    identity, camera, clothes = tiny_benchmark["gallery"].metric_arrays()
    assert identity.dtype == camera.dtype == clothes.dtype == np.int64
    assert set(clothes) == set(tiny_benchmark["query"].metric_arrays()[2])


def test_paths_joints_and_masks_belong_to_their_row(tiny_benchmark: Benchmark) -> None:
    images = tiny_benchmark["val_gallery"]
    assert images.joints is not None and images.joints.shape == (12, 17, 3)
    for row, (path, mask) in enumerate(zip(images.paths, images.mask_paths, strict=True)):
        height, width = images.table["height"][row], images.table["width"][row]
        assert read_image(path).shape == (height, width, 3)
        labels = read_mask(mask)
        assert labels.shape == (height, width) and set(np.unique(labels)) == {0, 1, 2}
        assert abs(images.joints[row, 15, 1] - 0.93 * height) < 0.2 * height
    assert set(np.unique(images.joints[..., 2])) <= {0.0, 1.0}


def test_joints_are_matched_by_file_not_by_order(
    broken_wardrobe: Path, tiny_benchmark: Benchmark
) -> None:
    edit_csv(broken_wardrobe / "joints.csv", lambda table: table[::-1])
    for split, images in load("wardrobe-v2", broken_wardrobe).sets.items():
        np.testing.assert_array_equal(images.joints, tiny_benchmark[split].joints)


def test_select_keeps_everything_together(tiny_benchmark: Benchmark) -> None:
    train = tiny_benchmark["train"]
    chosen = np.arange(48) % 5 == 0
    part = train.select(chosen)
    assert len(part) == 10 and list(part.table.index) == list(range(10))
    assert part.paths == [path for path, keep in zip(train.paths, chosen, strict=True) if keep]
    assert part.joints is not None and train.joints is not None
    np.testing.assert_array_equal(part.joints, train.joints[chosen])
    with pytest.raises(ValueError, match="48 booleans"):
        train.select(np.array([0, 1]))


def test_first_identities(tiny_benchmark: Benchmark) -> None:
    part = tiny_benchmark["train"].first_identities(2)
    assert set(part.identities) == {1, 2} and len(part) == 16
    assert part.n_clothes == 4 and part.clothes_labels.max() == 3
    for count in (0, 7):
        with pytest.raises(RlqkitError, match="train has 6 identities.* ask for 1 to 6"):
            tiny_benchmark["train"].first_identities(count)


# ------------------------------------------------------------------------- labels a row may need


def test_requirements_hold_on_the_train_split(tiny_benchmark: Benchmark) -> None:
    train = tiny_benchmark["train"]
    train.require_masks()
    train.require_joints()
    train.require_gender()


def test_missing_mask_is_named(broken_wardrobe: Path, tiny_benchmark: Benchmark) -> None:
    (broken_wardrobe / "masks/train/0001_o0_c00_1.png").unlink()
    train = load("wardrobe-v2", broken_wardrobe)["train"]
    message = r"images/train/0001_o0_c00_1.webp has no clothes mask \(1 of 48"
    with pytest.raises(RlqkitError, match=message):
        train.require_masks()
    with pytest.raises(RlqkitError, match=message):
        _ = train.mask_paths
    with pytest.raises(RlqkitError, match="24 of 24 images lack one"):
        tiny_benchmark["external"].require_masks()


def test_missing_joints_are_named(broken_wardrobe: Path) -> None:
    edit_csv(broken_wardrobe / "joints.csv", lambda table: table.drop(index=3))
    train = load("wardrobe-v2", broken_wardrobe)["train"]
    assert train.joints is not None and np.isnan(train.joints[3]).all()
    with pytest.raises(RlqkitError, match=r"0001_o0_c01_1.webp has no joints \(1 of 48"):
        train.require_joints()
    (broken_wardrobe / "joints.csv").unlink()
    train = load("wardrobe-v2", broken_wardrobe)["train"]
    assert train.joints is None
    with pytest.raises(RlqkitError, match="48 of 48 images lack them"):
        train.require_joints()


def without_gender(images: ImageSet, identity: int) -> ImageSet:
    table = images.table.copy()
    table.loc[table["identity"] == identity, "gender"] = imageset.UNKNOWN
    return replace(images, table=table)


def test_missing_gender_is_named(tiny_benchmark: Benchmark) -> None:
    with pytest.raises(RlqkitError, match="identity 4 has no gender label .1 of 6 identities"):
        without_gender(tiny_benchmark["train"], 4).require_gender()


# --------------------------------------------------------------------------------- what is refused


def test_unknown_name() -> None:
    with pytest.raises(RlqkitError, match="unknown data set 'wardrobe': choose one of .*-v1"):
        load("wardrobe")


def test_folder_missing_or_empty(tmp_path: Path) -> None:
    refusal(tmp_path / "nowhere", "nowhere is missing", "RLQKIT_DATA")
    refusal(tmp_path, f"{tmp_path} is empty", "git checkout")


def test_no_samples(broken_wardrobe: Path) -> None:
    (broken_wardrobe / "samples.csv").unlink()
    refusal(broken_wardrobe, "has no samples.csv", "git checkout")


def test_missing_image(broken_wardrobe: Path) -> None:
    (broken_wardrobe / "images/gallery/0021_o0_c00_0.webp").unlink()
    refusal(broken_wardrobe, "images/gallery/0021_o0_c00_0.webp is missing", "1 of 128")
    shutil.rmtree(broken_wardrobe / "images/train")
    refusal(broken_wardrobe, f"{TRAIN_FILE} is missing", "49 of 128")


SAMPLE_FAULTS: dict[str, tuple[Edit, list[str]]] = {
    "twice": (
        lambda table: pd.concat([table, table.iloc[[0]]]),
        [f"lists {TRAIN_FILE} twice"],
    ),
    "unknown split": (
        put("split", "trian"),
        [TRAIN_FILE, "unknown split 'trian'", "train, val_query"],
    ),
    "no column": (lambda table: table.drop(columns="camera"), ["has no column 'camera'"]),
    "no rows": (lambda table: table.iloc[:0], ["lists no image"]),
    "no rows of a split": (
        lambda table: table[table["split"] != "query"],
        ["no image of split 'query'"],
    ),
    "identity is no number": (
        put("identity", "x1"),
        ["identity of " + TRAIN_FILE, "'x1', not a whole number"],
    ),
    "negative height": (put("height", "-64"), ["height of " + TRAIN_FILE, "'-64'"]),
    "train and test": (put("identity", "22"), ["identity 22", "train", "test"]),
    "train and external": (put("identity", "31"), ["identity 31", "train", "external"]),
    "two genders": (put("gender", "0"), ["identity 1 has two genders"]),
    "no gender": (put("gender", ""), ["identity 1", "no gender label", "1 (male) or 0 (female)"]),
    "strange gender": (put("gender", "2"), ["identity 1", "gender '2'"]),
    "outfit forgotten": (put("outfit", ""), [f"{TRAIN_FILE} has no outfit"]),
}


@pytest.mark.parametrize("fault", SAMPLE_FAULTS)
def test_faulty_samples(broken_wardrobe: Path, fault: str) -> None:
    edit, words = SAMPLE_FAULTS[fault]
    edit_csv(broken_wardrobe / "samples.csv", edit)
    refusal(broken_wardrobe, *words)


def test_identity_without_gender_in_all_its_images(broken_wardrobe: Path) -> None:
    def edit(table: pd.DataFrame) -> None:
        table.loc[table["identity"] == "24", "gender"] = ""

    edit_csv(broken_wardrobe / "samples.csv", edit)
    refusal(broken_wardrobe, "identity 24", "no gender label")


JOINT_FAULTS: dict[str, tuple[Edit, list[str]]] = {
    "unknown file": (put("file", "images/x.webp"), ["images/x.webp, which samples.csv doesn't"]),
    "twice": (lambda table: pd.concat([table, table.iloc[[0]]]), [f"{TRAIN_FILE} twice"]),
    "no number": (put("x3", "left"), [f"joints of {TRAIN_FILE} are not all numbers"]),
    "no column": (lambda table: table.drop(columns="y16"), ["no column 'y16'"]),
}


@pytest.mark.parametrize("fault", JOINT_FAULTS)
def test_faulty_joints(broken_wardrobe: Path, fault: str) -> None:
    edit, words = JOINT_FAULTS[fault]
    edit_csv(broken_wardrobe / "joints.csv", edit)
    refusal(broken_wardrobe, "joints.csv", *words)


@pytest.mark.parametrize("content", [b"", b'file,split\n"a', b"\xff\xfe\x00"])
def test_samples_that_are_no_table(broken_wardrobe: Path, content: bytes) -> None:
    (broken_wardrobe / "samples.csv").write_bytes(content)
    refusal(broken_wardrobe, "samples.csv")


def test_broken_card(broken_wardrobe: Path) -> None:
    (broken_wardrobe / "dataset.json").write_text("{", encoding="utf-8")
    refusal(broken_wardrobe, "dataset.json is not valid JSON")


def test_default_root(tiny_wardrobe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLQKIT_DATA", raising=False)
    embedded = registry.default_root("wardrobe-v2")
    assert embedded == Path(imageset.__file__).parents[2] / "data" / "wardrobe-v2"
    monkeypatch.setenv("RLQKIT_DATA", str(tiny_wardrobe.parent))
    assert len(load("wardrobe-v2")["train"]) == 48
    monkeypatch.setenv("RLQKIT_DATA", str(tmp_path))  # other data sets only
    assert registry.default_root("wardrobe-v2") == embedded
    monkeypatch.setenv("RLQKIT_DATA", str(tmp_path / "typo"))
    with pytest.raises(RlqkitError, match="RLQKIT_DATA names .*typo, which is no folder"):
        load("wardrobe-v2")


def test_loading_decodes_nothing(broken_wardrobe: Path) -> None:
    """A truncated image is found when it is read, not by loading the tables."""
    file = broken_wardrobe / TRAIN_FILE
    file.write_bytes(file.read_bytes()[:200])
    train = load("wardrobe-v2", broken_wardrobe)["train"]
    with pytest.raises(RlqkitError, match=re.escape(f"{file} is truncated or not an image")):
        read_image(train.paths[0])
    file.write_bytes(b"")
    with pytest.raises(RlqkitError, match="is truncated or not an image"):
        read_image(file)
    file.unlink()
    with pytest.raises(RlqkitError, match="is missing"):
        read_image(file)


# --------------------------------------------------------------------------- checksums and check


def test_checksums_hold(tiny_wardrobe: Path) -> None:
    assert files.verify_checksums(tiny_wardrobe) == []
    load("wardrobe-v2", tiny_wardrobe, verify=True)


def test_checksums_name_each_changed_file(broken_wardrobe: Path) -> None:
    (broken_wardrobe / TRAIN_FILE).write_bytes(b"other")
    (broken_wardrobe / "joints.csv").unlink()
    (broken_wardrobe / "notes.txt").write_text("mine", encoding="utf-8")
    (broken_wardrobe / ".hidden").write_text("the system's", encoding="utf-8")
    assert files.verify_checksums(broken_wardrobe) == [
        f"{TRAIN_FILE} has changed",
        "joints.csv is missing",
        "notes.txt is not listed in SHA256SUMS",
    ]
    refusal(broken_wardrobe, f"{TRAIN_FILE} has changed (and 2 more)", verify=True)


def test_checksum_file_missing_or_broken(broken_wardrobe: Path) -> None:
    sums = broken_wardrobe / "SHA256SUMS"
    sums.write_text(sums.read_text(encoding="utf-8") + "abc  file\n", encoding="utf-8")
    refusal(broken_wardrobe, "line 236 is not '<sha256>  <file>'", verify=True)
    sums.unlink()
    refusal(broken_wardrobe, "has no SHA256SUMS", verify=True)


def test_check_of_a_sound_set(tiny_benchmark: Benchmark) -> None:
    report = check.check_dataset(tiny_benchmark)
    assert list(report.columns) == ["check", "subject", "found", "expected", "ok"]
    assert report["ok"].all()
    found = report.set_index(["check", "subject"])["found"]
    assert found["images are whole", "train"] == "48"
    assert found["images in all", "external"] == "24"
    assert found["images with masks", "external"] == "0"
    assert found["native height 48 to 63 px", "train"] == "24"
    assert found["native height 64 to 95 px", "train"] == "24"
    assert found["SHA-256", "all files"] == "as shipped"


def rewrite(path: Path, size: tuple[int, int], value: int = 0) -> None:
    Image.fromarray(np.full(size, value, dtype=np.uint8)).save(path)


CHECK_FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "truncated image": (
        lambda root: (root / TRAIN_FILE).write_bytes((root / TRAIN_FILE).read_bytes()[:300]),
        "images are whole",
        TRAIN_FILE,
    ),
    "truncated mask": (
        lambda root: (root / "masks/query/0021_o0_c00_0.png").write_bytes(b"\x89PNG"),
        "images are whole",
        "images/query/0021_o0_c00_0.webp",
    ),
    "size": (
        lambda root: edit_csv(root / "samples.csv", put("height", "63")),
        "height and width",
        TRAIN_FILE,
    ),
    "duplicate": (
        lambda root: shutil.copy(
            root / "images/query/0021_o0_c00_0.webp", root / "images/gallery/0021_o0_c00_0.webp"
        ),
        "duplicate",
        "images/gallery/0021_o0_c00_0.webp",
    ),
    "size of mask": (
        lambda root: rewrite(root / "masks/train/0001_o0_c00_0.png", (32, 64)),
        "size of mask",
        "masks/train/0001_o0_c00_0.png",
    ),
    "labels of mask": (
        lambda root: rewrite(root / "masks/train/0001_o0_c00_0.png", (64, 32), value=3),
        "labels of mask",
        "masks/train/0001_o0_c00_0.png",
    ),
    "counts": (
        lambda root: edit_csv(root / "samples.csv", lambda table: table.drop(index=0)),
        "images in all",
        "train",
    ),
    "checksums": (
        lambda root: edit_csv(root / "joints.csv", put("v0", "0.5")),
        "SHA-256",
        "joints.csv",
    ),
}


@pytest.mark.parametrize("fault", CHECK_FAULTS)
def test_check_finds(broken_wardrobe: Path, fault: str) -> None:
    breaks, what, subject = CHECK_FAULTS[fault]
    breaks(broken_wardrobe)
    if fault == "counts":  # joints.csv must not list what samples.csv doesn't
        edit_csv(broken_wardrobe / "joints.csv", lambda table: table.drop(index=0))
    benchmark = load("wardrobe-v2", broken_wardrobe)
    report = check.check_dataset(benchmark)
    bad = report[~report["ok"]]
    assert (what, subject) in set(zip(bad["check"], bad["subject"], strict=True))


def test_check_finds_shared_identities(tiny_benchmark: Benchmark) -> None:
    """Loading refuses them already; other loaders may not."""
    sets = {**tiny_benchmark.sets, "gallery": tiny_benchmark["train"]}
    report = check.check_dataset(replace(tiny_benchmark, sets=sets))
    shared = report[report["check"] == "identities apart"].iloc[0]
    assert not shared["ok"]
    assert (shared["subject"], shared["found"]) == ("identity 1", "in train and in test")


def test_describe(tiny_benchmark: Benchmark) -> None:
    table = check.summarise_splits(tiny_benchmark)
    assert list(table.index) == list(imageset.SPLITS)
    train = table.loc["train"]
    assert (train["images"], train["identities"], train["men"], train["women"]) == (48, 6, 3, 3)
    assert (train["outfits"], train["cameras"]) == (12, 2)
    assert (train["height_min"], train["height_median"], train["height_max"]) == (50, 57, 64)
    assert pd.isna(table.loc["external", "outfits"])


def test_check_accepts_the_parts_that_the_card_names(broken_wardrobe: Path) -> None:
    """The shipped masks tell skin, hair, shoes, ... as well; only unnamed labels are problems."""
    rewrite(broken_wardrobe / "masks/train/0001_o0_c00_0.png", (64, 32), value=3)
    card = json.loads((broken_wardrobe / "dataset.json").read_text(encoding="utf-8"))
    card["labels"] = {str(label): "part" for label in range(4)}
    (broken_wardrobe / "dataset.json").write_text(json.dumps(card), encoding="utf-8")
    report = check.check_dataset(load("wardrobe-v2", broken_wardrobe))
    assert "labels of mask" not in set(report.loc[~report["ok"], "check"])
