"""Files as people really have them: inputs that public reports of this field's tools describe.

Each either works as stated in docs/datasets/labels.md or is refused in one line; none is read
wrongly without a word.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import compress, crc32

import numpy as np
import pandas as pd
import pytest
from command_line import rlqkit
from PIL import Image, ImageOps
from trees import SKELETON, write_tree

from rlqkit.config import load_profile
from rlqkit.data import check, loaders
from rlqkit.data.images import (
    BACKGROUND,
    SHIRT,
    TROUSERS,
    read_image,
    read_mask,
    read_mask_pair,
    read_sizes,
)
from rlqkit.data.imageset import ImageSet
from rlqkit.data.labels.masks import READERS, mask_files, parsed_clothes
from rlqkit.data.labels.parsers import PARTS, PLACES, label_use, looks_like, pascal_colour
from rlqkit.data.registry import load
from rlqkit.errors import RlqkitError
from rlqkit.method.attributes import fit_pose_clusters
from rlqkit.report import notebook

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (40, 20, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLQKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """A small tree of a data set, without pose labels and masks unless asked for."""

    def write(name: str, **kinds: Any) -> Path:
        return write_tree(name, tmp_path / name, **{"pose": "", "masks": "", **kinds})

    return write


def train(name: str, root: Path) -> ImageSet:
    return load(name, root)["train"]


def joints(shift: float = 0, confidence: float = 1) -> list[float]:
    points = (SKELETON + RNG.normal(0, 0.02, (17, 2))) * (20, 40) + shift
    return np.column_stack([points, np.full(17, confidence)]).ravel().tolist()


def put(root: Path, entries: object) -> Path:
    """Writes keypoints.json; (image, keypoints, score) stand for COCO's results."""
    file = root / "labels" / "keypoints.json"
    if isinstance(entries, list) and entries and isinstance(entries[0], tuple):
        entries = [{"image_id": n, "keypoints": k, "score": s} for n, k, s in entries]
    file.write_text(json.dumps(entries))
    return file


def refused(action: Callable[[], object], *words: str) -> None:
    with pytest.raises(RlqkitError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text and not [word for word in words if word not in text], text


def report(name: str, root: Path, labels: Path | None = None) -> pd.DataFrame:
    return check.check_dataset(load(name, root, labels=labels, tolerant=True))


def found(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    rows = table[table["check"] == kind]
    assert len(rows), sorted(set(table["check"]))
    return rows


# --------------------------------------------------------------------- whose joints and labels


def with_repeated_names(root: Path) -> ImageSet:
    """PRCC's training images, five of which have a file name of their own."""
    for number, path in enumerate(train("prcc", root).paths[10:15]):
        path.rename(path.with_name(f"B_cropped_rgb3{number:02d}.jpg"))
    return train("prcc", root)


def test_bare_names_of_prcc_are_counted_and_refused(tree: Callable[..., Path]) -> None:
    root = tree("prcc")
    images = with_repeated_names(root)
    put(root, [(path.name, joints(), 1) for path in images.paths])
    refused(lambda: train("prcc", root), "keypoints.json", "5 of 48 images", "names are ambiguous",
            "as in train/")  # fmt: skip
    put(root, [(file, joints(), 1) for file in images.table["file"]])
    assert np.isfinite(train("prcc", root).joints).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("file", ["PRCC_Pose_Cluster.csv", "PRCC_Shirt_faulty.csv"])
def test_bare_names_of_prcc_in_other_label_files(tree: Callable[..., Path], file: str) -> None:
    root = tree("prcc")
    names = [path.name for path in with_repeated_names(root).paths]
    lines = [f"{name},1" for name in names] if "Pose" in file else names
    head = ["Image,R_LA_4"] if "Pose" in file else []
    (root / "labels" / file).write_text("\n".join(head + lines) + "\n")
    refused(lambda: train("prcc", root), file, "5 of 48 images", "ambiguous")


@pytest.fixture
def celeb(tree: Callable[..., Path]) -> tuple[Path, Path]:
    """Celeb-reID where a gallery image has a training image's name."""
    root = tree("celeb-reid")
    path = train("celeb-reid", root).paths[0]
    (path.parents[1] / "gallery" / path.name).write_bytes(path.read_bytes() + b"1")
    return root, path


def test_a_name_of_two_splits_is_refused(celeb: tuple[Path, Path]) -> None:
    root, path = celeb
    put(root, [(path.name, joints(), 0.5), (path.name, joints(100), 3.1)])
    refused(lambda: train("celeb-reid", root), path.stem, "celeb-reid/train or of gallery",
            f"as in train/{path.name}")  # fmt: skip
    (root / "labels" / "keypoints.json").unlink()
    (root / "labels" / "pose_clusters.csv").write_text(f"Image,R_LA_4\n{path.name},1\n")
    refused(lambda: train("celeb-reid", root), path.stem, "or of gallery")


def test_a_qualified_name_wins_over_a_bare_one(celeb: tuple[Path, Path]) -> None:
    root, path = celeb
    put(root, [(f"train/{path.name}", joints(), 0.5), (path.name, joints(100), 3.1),
               (f"gallery/{path.name}", joints(100), 9)])  # fmt: skip
    points = train("celeb-reid", root).joints
    assert points is not None and points[0, :, 0].max() < 50
    assert load("celeb-reid", root)["external"].joints is not None


def test_a_category_says_whose_a_bare_name_is(celeb: tuple[Path, Path]) -> None:
    root, path = celeb
    text = f"Category,Image,R_LA_4\ntrain,{path.stem},2\ngallery,{path.stem},3\n"
    (root / "labels" / "pose_clusters.csv").write_text(text)
    poses = train("celeb-reid", root).poses
    assert poses is not None and poses["R_LA_4"].iloc[0] == 2


@pytest.mark.parametrize("line", ["{},4,1", "{}.png,3,2"])
def test_an_image_that_is_listed_twice_differently(tree: Callable[..., Path], line: str) -> None:
    root = tree("ltcc")
    names = [path.stem for path in train("ltcc", root).paths]
    rows = [f"{name},3,1" for name in names]
    file = root / "labels" / "pose_clusters.csv"
    rows.insert(5, rows[1])  # again, the same: no contradiction
    file.write_text("\n".join(["Image,R_LA_4,R_A_5", *rows]) + "\n")
    assert train("ltcc", root).poses is not None
    file.write_text("\n".join(["Image,R_LA_4,R_A_5", *rows, "", line.format(names[1])]) + "\n")
    refused(lambda: train("ltcc", root), names[1], "line 3", f"line {len(rows) + 3}", "keep one")


# ----------------------------------------------------------------------------- what joints mean


def test_unlabelled_people_are_nobody(tree: Callable[..., Path]) -> None:
    root = tree("ltcc")
    names = [path.name for path in train("ltcc", root).paths]
    entries = [
        {"image_id": name, "keypoints": [0] * 51 if i < 10 else joints(), "score": 0.9}
        for i, name in enumerate(names)
    ]
    entries[10] |= {"num_keypoints": 0}
    entries.append({"image_id": names[0], "keypoints": joints(), "score": 0.1})
    put(root, entries)
    config = load_profile("smoke", {"data.dataset": "ltcc", "cap.clusters": 5})
    labels = loaders.pose_clusters(train("ltcc", root), config).labels
    assert np.flatnonzero(labels == 0).tolist() == list(range(1, 11))
    assert found(report("ltcc", root), "images without anybody's joints")["found"].tolist() == [
        "10"
    ]


def test_an_unlabelled_joint_is_no_point_in_the_corner(tree: Callable[..., Path]) -> None:
    """The best person decides; without a whole skeleton the image has label 0, and is counted."""
    root = tree("ltcc")
    names = [path.name for path in train("ltcc", root).paths]
    put(root, [(n, [0] * 15 + joints()[15:] if i < 7 else joints(confidence=0.1), 0.9)
               for i, n in enumerate(names)])  # fmt: skip
    config = load_profile("smoke", {"data.dataset": "ltcc", "cap.clusters": 5})
    labels = loaders.pose_clusters(train("ltcc", root), config).labels
    assert np.flatnonzero(labels == 0).tolist() == list(range(7))
    table = report("ltcc", root)
    assert found(table, "skeletons in part")["found"].tolist() == ["7"]
    assert found(table, "doubtful skeletons")["found"].tolist() == [str(len(names) - 7)]


def test_zeros_are_no_pose_for_the_clusters_either() -> None:
    points = np.stack([np.reshape(joints(), (17, 3))[:, :2] for _ in range(12)])
    points[3] = 0
    clusters = fit_pose_clusters(points, np.full((12, 2), (20, 40)), clusters=4)
    assert np.flatnonzero(clusters.labels == 0).tolist() == [3]


@pytest.mark.parametrize("keypoints", [None, [None] * 51, [1.0] * 50 + [None], [[1, 2], [3]], "x"])
def test_joints_that_are_no_numbers_name_the_image(
    tree: Callable[..., Path], keypoints: object
) -> None:
    root = tree("ltcc")
    names = [path.name for path in train("ltcc", root).paths]
    put(root, [(names[0], joints(), 1), (names[1], keypoints, 1)])
    refused(lambda: train("ltcc", root), "keypoints.json", names[1])


FORMATS: dict[str, Callable[[str, np.ndarray], dict[str, Any]]] = {
    "Halpe-26": lambda n, p: {"image_id": n, "keypoints": [*p.ravel(), *[7.0] * 27]},
    "whole body": lambda n, p: {"image_id": n, "keypoints": [*p.ravel(), *[7.0] * 348]},
    "nested": lambda n, p: {"image_id": n, "keypoints": p.tolist()},
    "image_name": lambda n, p: {"image_name": n, "keypoints": p.ravel().tolist()},
    "x and y": lambda n, p: {"file_name": n, "keypoints": p[:, :2].ravel().tolist()},
    "MMPose": lambda n, p: {
        "image": n, "keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist(),
        "bbox_score": [0.5],
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_joints_as_other_estimators_write_them(tree: Callable[..., Path], kind: str) -> None:
    root = tree("ltcc")
    images = train("ltcc", root)
    points = [np.reshape(joints(), (17, 3)) for _ in images.paths]
    put(root, [FORMATS[kind](p.name, k) for p, k in zip(images.paths, points, strict=True)])
    assert np.allclose(train("ltcc", root).joints, points)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"version": 1.3, "people": [{"pose_keypoints_2d": [1] * 75}]}, ("OpenPose", "17 COCO")),
        ([{"image_id": "NAME", "people": []}], ("OpenPose", "17 COCO")),
        ({"NAME": {"version": 1, "bodies": []}}, ("AlphaPose", "--format coco")),
        ({"meta_info": {}, "instance_info": []}, ("MMPose", "17 COCO")),
        ([{"image_id": "NAME", "keypoints": [1] * 48}], ("(48,)", "17 x 3", "78 (Halpe-26)")),
        ([{"keypoints": [1] * 51}], ("entry 1 names no image_id",)),
        ([[1] * 51], ("entry 1",)),
        (3, ("no list",)),
    ],
)
def test_joints_of_foreign_formats_are_named(
    tree: Callable[..., Path], data: object, words: tuple[str, ...]
) -> None:
    root = tree("ltcc")
    name = train("ltcc", root).paths[0].name
    put(root, json.loads(json.dumps(data).replace("NAME", name)))
    refused(lambda: train("ltcc", root), "keypoints.json", *words)


# ----------------------------------------------------------------------------------- images


def save_tagged(path: Path, turn: int, pixels: np.ndarray = NOISE) -> None:
    tags = Image.Exif()
    tags[0x0112] = turn
    Image.fromarray(pixels).save(path, exif=tags)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_images_masks_and_sizes_are_upright(tmp_path: Path, suffix: str) -> None:
    """Every EXIF orientation, by Pillow's own turning."""
    for turn in range(1, 9):
        path = tmp_path / f"{turn}{suffix}"
        save_tagged(path, turn)
        with Image.open(path) as image:
            upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        assert (read_image(path) == upright).all()
        assert read_sizes([path], "x")[0].tolist() == [upright.shape[1], upright.shape[0]]
        if suffix == ".png":
            save_tagged(path, turn, NOISE[..., 0])
            with Image.open(path) as image:
                assert (read_mask(path) == np.asarray(ImageOps.exif_transpose(image))).all()


def test_orientation_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    path = tmp_path / "late.png"
    save_tagged(path, 6)
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + int.from_bytes(content[start : start + 4], "big") + 12
    rest, tag = content[:start] + content[end:], content[start:end]
    path.write_bytes(rest[:-12] + tag + rest[-12:])
    assert read_image(path).shape == (20, 40, 3)
    assert read_sizes([path], "x")[0].tolist() == [40, 20]


def test_upright_joints_fit_an_image_that_is_stored_sideways(tree: Callable[..., Path]) -> None:
    root = tree("ltcc")
    paths = train("ltcc", root).paths
    put(root, [(path.name, joints(), 1) for path in paths])
    config = load_profile("smoke", {"data.dataset": "ltcc", "cap.clusters": 3})
    before = loaders.pose_clusters(train("ltcc", root), config)
    for path in paths[:9]:
        with Image.open(path) as image:
            sideways = np.asarray(image.convert("RGB").rotate(90, expand=True))
        save_tagged(path, 6, sideways)
    images = train("ltcc", root)
    assert (images.sizes == (20, 40)).all() and read_image(paths[0]).shape == (40, 20, 3)
    after = loaders.pose_clusters(images, config)
    assert (after.labels == before.labels).all() and after.skeletons.max() <= 384 * 1.1
    table = report("ltcc", root)
    assert found(table, "images turned upright")["found"].tolist() == ["9"]
    assert found(table, "images with most joints outside")["ok"].all()


def test_joints_beside_their_images_are_a_problem(tree: Callable[..., Path]) -> None:
    root = tree("ltcc")
    put(root, [(path.name, joints(shift=60), 1) for path in train("ltcc", root).paths])
    assert not found(report("ltcc", root), "images with most joints outside")["ok"].any()
    done = rlqkit("data", "check", "ltcc", "--root", root)
    assert done.code == 2 and "joints" in done.out


def test_sixteen_bits_are_scaled_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((40, 20), 25700, np.uint16)).save(path)
    assert (read_image(path) == 100).all()
    Image.fromarray(np.full((40, 20), 200, np.uint16)).save(path)
    refused(lambda: read_image(path), "grey.png", "8-bit values in 16 bits", "save it with 8 bits")
    Image.fromarray(NOISE[..., 0].astype(np.int32) + 70000).save(tmp_path / "i.tif")
    refused(lambda: read_image(tmp_path / "i.tif"), "more than 16 bits")
    Image.fromarray(NOISE[..., 0].astype(np.float32)).save(tmp_path / "f.tif")
    refused(lambda: read_image(tmp_path / "f.tif"), "mode F", "8 bits")


def png_of_48_bits(path: Path, values: np.ndarray) -> Path:
    """Colours of 16 bits a channel, (H, W, 3), which Pillow reads but doesn't write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc32(kind + body))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", compress(rows)),
        (b"IEND", b""),
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


def test_sixteen_bits_of_each_colour(tmp_path: Path) -> None:
    path = png_of_48_bits(tmp_path / "deep.png", NOISE.astype(np.uint16) * 257)
    assert (read_image(path) == NOISE).all()
    png_of_48_bits(path, NOISE.astype(np.uint16))
    refused(lambda: read_image(path), "deep.png", "8-bit values in 16 bits")
    labels = np.repeat(NOISE[..., :1] % 18, 3, axis=2).astype(np.uint16)
    png_of_48_bits(path, labels)
    refused(lambda: read_mask(path), "deep.png", "16 bits", "save it with 8 bits")


@pytest.mark.parametrize("factor", [1, 256, 257])
def test_sixteen_bit_labels(tmp_path: Path, factor: int) -> None:
    labels = RNG.integers(0, 18, (40, 20)).astype(np.uint16)
    path = tmp_path / "map.png"
    Image.fromarray(labels * np.uint16(factor)).save(path)
    assert (read_mask(path) == labels).all() and read_mask(path).dtype == np.uint8
    Image.fromarray(labels * np.uint16(factor) + np.uint16(300)).save(path)
    refused(lambda: read_mask(path), "map.png", "no 8-bit labels")


def test_sixteen_bit_binary_masks(tmp_path: Path) -> None:
    inside = np.zeros((40, 20), bool)
    inside[8:20, 5:15] = True
    for name, largest in (("shirt", 65280), ("trousers", 65535)):
        Image.fromarray(np.uint16(inside) * np.uint16(largest)).save(tmp_path / f"{name}.png")
    mask = read_mask_pair((tmp_path / "shirt.png", tmp_path / "trousers.png"))
    assert ((mask == SHIRT + TROUSERS) == inside).all()


def test_hidden_colours_stay_hidden(tmp_path: Path) -> None:
    alpha = np.zeros((40, 20), np.uint8)
    alpha[10:30] = 255
    cut = tmp_path / "cut.png"
    Image.fromarray(np.dstack([NOISE, alpha])).save(cut)
    image = read_image(cut)
    assert (image[:10] == BACKGROUND).all() and (image[10:30] == NOISE[10:30]).all()
    palette = Image.fromarray(NOISE).quantize(8)
    palette.save(cut, transparency=0)
    hidden = np.asarray(palette) == 0
    assert hidden.any() and (read_image(cut)[hidden] == BACKGROUND).all()
    Image.fromarray(np.dstack([NOISE[..., 0], alpha])).save(cut)
    assert (read_image(cut)[30:] == BACKGROUND).all()
    Image.fromarray(NOISE).save(cut, transparency=tuple(int(v) for v in NOISE[5, 5]))
    assert tuple(read_image(cut)[5, 5]) == BACKGROUND


def test_the_check_lists_unusual_images(tree: Callable[..., Path]) -> None:
    root = tree("celeb-reid")
    cmyk, gif, alpha, tiny = train("celeb-reid", root).paths[1:5]
    pictures = [Image.fromarray(NOISE), Image.fromarray(NOISE[::-1].copy())]
    for path in (cmyk, gif, alpha, tiny):
        path.unlink()
    pictures[0].convert("CMYK").save(cmyk)
    pictures[0].save(gif, "gif", save_all=True, append_images=pictures[1:])
    pictures[0].convert("RGBA").save(alpha, "png")
    pictures[0].resize((1, 1)).save(tiny)
    table = report("celeb-reid", root)
    listed = found(table, "unusual image").groupby("subject")["found"].agg("; ".join)
    listed.index = [Path(file).name for file in listed.index]
    assert "CMYK" in listed[cmyk.name] and "grey" in listed[alpha.name]
    assert "several pictures" in listed[gif.name] and "GIF by content" in listed[gif.name]
    small = found(table, "short side below 4 px")
    assert small["found"].tolist() == ["1 x 1 px"] and not small["ok"].any()
    assert all(read_image(path).shape[2] == 3 for path in (cmyk, gif, alpha, tiny))


# ------------------------------------------------------------------------------------ masks


def test_masks_that_were_jpegs_keep_their_outline(tree: Callable[..., Path]) -> None:
    root = tree("ltcc", masks="pair")
    clean = [READERS["pair"](pair) for pair in mask_files(train("ltcc", root))]
    for path in (root / "labels" / "masks").rglob("*.png"):
        buffer = io.BytesIO()
        Image.open(path).save(buffer, "jpeg", quality=75)
        Image.open(buffer).save(path)
    images = train("ltcc", root)
    smeared = [READERS["pair"](pair) for pair in mask_files(images)]
    assert all((a == b).mean() > 0.98 for a, b in zip(clean, smeared, strict=True))
    assert not any((mask == SHIRT + TROUSERS).any() for mask in smeared)
    row = found(report("ltcc", root), "masks with values between")
    assert row["found"].tolist() == [str(len(images))] and "half" in row["expected"].iloc[0]


def test_palettes_of_binary_masks(tmp_path: Path) -> None:
    inside = np.zeros((40, 20), np.uint8)
    inside[8:20, 5:15] = 1
    path = tmp_path / "mask.png"
    image = Image.fromarray(inside).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(path)
    assert (read_mask_pair((path, path)) == 3 * inside).all()
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(path)
    refused(lambda: read_mask_pair((path, path)), "mask.png", "contradict")
    Image.fromarray(np.dstack([NOISE, inside])).save(path)
    refused(lambda: read_mask(path), "mask.png", "transparent")


def test_masks_of_another_parser_are_suspected(tree: Callable[..., Path]) -> None:
    """ATR's labels in LIP's folder: its left shoe would become trousers."""
    root = tree("ltcc", masks="atr", pose="clusters")
    labels = root / "labels"
    assert mask_files(train("ltcc", root))
    assert found(report("ltcc", root), "labels of the parser")["ok"].all()
    (labels / "parsing-atr").rename(labels / "parsing-lip")
    images = train("ltcc", root)
    refused(lambda: mask_files(images), "parsing-lip", "look like ATR's", "4 sunglasses 100%")
    rows = found(report("ltcc", root), "labels of the parser")
    assert not rows["ok"].any() and "they look like ATR" in rows["found"].iloc[0]


def test_label_maps_that_were_jpegs_are_refused(tree: Callable[..., Path]) -> None:
    root = tree("ltcc", masks="lip", pose="clusters")
    for path, labels in zip(mask_files(train("ltcc", root)), people_of("LIP", 64), strict=True):
        buffer = io.BytesIO()
        small = Image.fromarray(np.minimum(labels, 13)).resize((20, 40), Image.Resampling.NEAREST)
        small.save(buffer, "jpeg", quality=95)
        Image.open(buffer).save(path)
    refused(lambda: mask_files(train("ltcc", root)), "parsing-lip", "JPEG", "smears")
    rows = found(report("ltcc", root), "labels of the parser")
    assert not rows["ok"].any() and "JPEG" in rows["found"].iloc[0]


def people_of(parser: str, count: int = 12) -> list[np.ndarray]:
    """Label maps of upright people: each part where it is, as wide as its area asks for."""
    rng = np.random.default_rng(1)
    maps = []
    for _ in range(count):
        labels = np.zeros((200, 80), np.uint8)
        parts = list(enumerate(PARTS[parser], start=1))
        worn = {"upper", "trousers", "torso"}
        for label, part in sorted(parts, key=lambda item: -PLACES[item[1]][1]):
            if part in ("dress", "jumpsuit", "coat", "skirt") or (
                part not in worn and rng.random() < 0.3
            ):
                continue
            height, most = PLACES[part]
            middle = int(200 * height) + rng.integers(-8, 9)
            half, width = (35, 60) if most > 0.3 else (4, max(4, int(most * 400)))
            labels[max(0, middle - half) : middle + half, 10 : 10 + width] = label
        maps.append(labels)
    return maps


@pytest.mark.parametrize("stated", ["LIP", "ATR"])
@pytest.mark.parametrize("made", PARTS)
def test_each_parser_is_told_from_its_maps(made: str, stated: str) -> None:
    found = looks_like(label_use(people_of(made)), stated)
    assert found == ("" if made == stated else made)


def test_label_maps_in_three_channels(tmp_path: Path) -> None:
    """Equal channels, and the colours of Pascal's palette; others are named."""
    labels = RNG.integers(0, 18, (40, 20)).astype(np.uint8)
    path = tmp_path / "map.png"
    clothes = parsed_clothes(labels, "lip", path)
    Image.fromarray(np.repeat(labels[..., None], 3, axis=2)).save(path)
    assert (READERS["lip"](path) == clothes).all()
    Image.fromarray(np.dstack([labels, labels, labels, np.full_like(labels, 255)])).save(path)
    assert (READERS["lip"](path) == clothes).all()
    palette = np.array([pascal_colour(label) for label in range(20)], np.uint8)
    assert palette[9].tolist() == [192, 0, 0] and palette[15].tolist() == [192, 128, 128]
    Image.fromarray(palette[labels]).save(path)
    for parser in ("lip", "atr"):
        assert (READERS[parser](path) == parsed_clothes(labels, parser, path)).all()
    lip = np.array([(0, 0, 0), (255, 85, 0), (0, 85, 85)], np.uint8)  # nothing, upper, trousers
    Image.fromarray(lip[labels % 3]).save(path)
    assert (READERS["lip"](path) == np.array([0, SHIRT, TROUSERS])[labels % 3]).all()
    Image.fromarray(palette[labels][..., ::-1].copy()).save(path)
    refused(lambda: READERS["lip"](path), "map.png", "no palette that is known")
    hair_or_skirt = np.array([(0, 0, 0), (0, 128, 0)], np.uint8)[labels % 2]
    Image.fromarray(hair_or_skirt).save(path)
    refused(lambda: READERS["lip"](path), "map.png", "two palettes that disagree")


def test_the_check_reads_masks(tree: Callable[..., Path]) -> None:
    root = tree("ltcc", masks="lip")
    files = [Path(file) for file in mask_files(train("ltcc", root))]
    Image.fromarray(NOISE).save(files[0])
    files[1].write_bytes(files[1].read_bytes()[:40])
    Image.fromarray(np.zeros((20, 40), np.uint8)).save(files[2])
    rows = found(report("ltcc", root), "masks are whole")
    assert len(rows) == 3 and not rows["ok"].any()
    assert [word in text for word, text in zip(("colour", "truncated", "40 x 20"), rows["found"],
                                               strict=True)] == [True] * 3  # fmt: skip
    for file in files:
        Image.fromarray(np.zeros((40, 20), np.uint8)).save(file)
    assert not found(report("ltcc", root), "masks with shirt")["ok"].any()


# ------------------------------------------------------------------------------- text files

GENDER = "Category,ID,Gender\n" + "".join(f"train,{n:03d},{n % 2}\n" for n in range(8))


@pytest.mark.parametrize(
    "content",
    [
        GENDER.replace("train,003", "\n,,\n  \ntrain,003").encode(),
        GENDER.replace(",", ";").encode("utf-8-sig"),
        GENDER.replace(",", "\t").encode("utf-16"),
        ("sep=;\r\n" + GENDER.replace(",", ";").replace("\n", "\r\n")).encode(),
        GENDER.replace(",", ";").replace(";1\n", ";1,0\n").encode(),
        GENDER.replace(",", ", ").encode(),
        gzip.compress(GENDER.encode()),
    ],
    ids=["blank", "semicolon", "utf-16", "sep", "decimal comma", "spaces", "gzipped"],
)
def test_tables_as_excel_saves_them(tree: Callable[..., Path], content: bytes) -> None:
    root = tree("ltcc")
    (root / "labels" / "LTCC_Gender.csv").write_bytes(content)
    images = train("ltcc", root)
    assert (images.table["gender"] == images.identities % 2).all()


def test_pose_labels_with_decimal_commas_and_blank_rows(tree: Callable[..., Path]) -> None:
    root = tree("ltcc")
    names = [path.stem for path in train("ltcc", root).paths]
    rows = "".join(f"{name};4,0\n;\n" for name in names)
    (root / "labels" / "pose_clusters.csv").write_text("Image;R_LA_4\n" + rows, "utf-16")
    (root / "labels" / "shirt_faulty.csv").write_text(f"{names[3]};\n{names[4]};\n", "utf-16")
    (root / "labels" / "LTCC_Gender.csv").unlink()
    images = train("ltcc", root)
    assert images.poses is not None and set(images.poses["R_LA_4"]) == {4}
    assert np.flatnonzero(images.faulty).tolist() == [3, 4]


def test_joints_with_decimal_commas(tree: Callable[..., Path]) -> None:
    root = tree("ltcc")
    points = np.reshape(joints(), (17, 3))[:, :2].round(2)
    head = ";".join(["image", *(f"{axis}{joint}" for joint in range(17) for axis in "xy")])
    row = ";".join(str(value).replace(".", ",") for value in points.ravel())
    name = train("ltcc", root).paths[2].name
    (root / "labels" / "keypoints.csv").write_text(f"{head}\n\n{name};{row}\n")
    found = train("ltcc", root).joints
    assert found is not None and np.allclose(found[2, :, :2], points)


def test_encodings_and_rows_are_named(tree: Callable[..., Path]) -> None:
    root = tree("ltcc")
    file = root / "labels" / "LTCC_Gender.csv"
    file.write_bytes(GENDER.replace("train,003", "Übung,003").encode("latin-1"))
    refused(lambda: train("ltcc", root), file.name, "row 5", "UTF-8", "0xdc")
    file.write_bytes(GENDER.encode("utf-16-le"))
    refused(lambda: train("ltcc", root), file.name, "UTF-16", "save it as CSV")
    file.write_text("\n" + GENDER.replace("train,003,1", "\ntrain,,1"))
    refused(lambda: train("ltcc", root), file.name, "line 7", "ID ''")
    file.write_text(GENDER + "train,3,0\n")
    refused(lambda: train("ltcc", root), file.name, "two genders", "line 5", "line 10")


@pytest.mark.parametrize("name", ["LTCC_Pose_Cluster.csv", "LTCC_Gender.csv.gz",
                                  "LTCC_Shirt_faulty.csv", "keypoints.json"])  # fmt: skip
@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        (b"PK\x03\x04 and so on", "Excel workbook"),
        (b"\xd0\xcf\x11\xe0 and so on", "Excel workbook"),
        (b"\x1f\x8b\x08 broken", "can't be read"),
    ],
    ids=["page", "lfs", "xlsx", "xls", "gzip"],
)
def test_files_that_are_no_labels_are_called_what_they_are(
    tree: Callable[..., Path], name: str, content: bytes, word: str
) -> None:
    root = tree("ltcc")
    (root / "labels" / "LTCC_Gender.csv").unlink()
    (root / "labels" / name).write_bytes(content)
    refused(lambda: train("ltcc", root), name, word)


def test_the_check_lists_what_is_not_read(tree: Callable[..., Path]) -> None:
    root = tree("ltcc", pose="clusters", masks="pair")
    labels = root / "labels"
    for name in ("LTCC_Pose_Cluster (1).csv", "ltcc_gender.csv", "pose_clusters.csv"):
        (labels / name).write_text("x\n")
    (root / "Labels").mkdir()
    (root / "LTCC_ReID" / "LTCC_Gender.csv").write_text(GENDER)
    (labels / "masks" / "shirt" / "stray.png").write_bytes(b"")
    table = report("ltcc", root)
    unread = dict(found(table, "not read")[["subject", "expected"]].to_numpy().tolist())
    assert set(unread) == {
        "labels/LTCC_Pose_Cluster (1).csv", "labels/ltcc_gender.csv", "labels/pose_clusters.csv",
        "ltcc/Labels/", "LTCC_ReID/LTCC_Gender.csv",
    }  # fmt: skip
    assert "LTCC_Gender.csv" in unread["labels/ltcc_gender.csv"]
    assert "labels/" in unread["ltcc/Labels/"]
    assert "stray.png" in found(table, "masks that aren't read")["found"].iloc[0]
    assert found(table, "not read")["ok"].all()


def test_a_folder_of_labels_in_capitals_alone(tree: Callable[..., Path]) -> None:
    root = tree("ltcc", masks="pair")
    (root / "labels").rename(root / "Labels")
    assert found(report("ltcc", root), "not read")["subject"].tolist() == ["ltcc/Labels/"]


# -------------------------------------------------------------------- text from other programs


def test_overrides_as_papermill_hands_them_on(tmp_path: Path) -> None:
    text = '{"data.dataset": "prcc", "training": {"steps": 7}}'
    config = notebook.start("smoke", str(tmp_path), 1, text)
    assert config.data.dataset == "prcc" and config.training.steps == 7
    assert notebook.start("smoke", str(tmp_path), 1, "").data == load_profile("smoke").data
    for wrong in ("{'data.dataset': 'prcc'}", "prcc", "[1]", "3"):
        refused(
            lambda wrong=wrong: notebook.start("smoke", str(tmp_path), 1, wrong), "papermill -y"
        )


@pytest.mark.parametrize("where", ["argument", "environment", "file"])
def test_a_name_that_the_encoding_lacks_is_one_line(tmp_path: Path, where: str) -> None:
    """Under LC_ALL=C with UTF-8 mode off, which a cluster's jobs may have."""
    folder = tmp_path / "Größe"
    folder.mkdir()
    options = ["--profile", "smoke", "--results", str(tmp_path / "results")]
    own = {"LC_ALL": "C", "PYTHONUTF8": "0"}
    if where == "argument":
        options[-1] = str(folder)
    elif where == "environment":
        own["RLQKIT_DATA"] = str(folder)
    else:
        (tmp_path / "own.toml").write_text(f'[runtime]\nresults = "{folder}"\n', encoding="utf-8")
        options = ["--profile", "smoke", "--config", str(tmp_path / "own.toml")]
    run = subprocess.run(
        [sys.executable, "-m", "rlqkit", "train", "--row", "base", *options],
        env=os.environ | own, capture_output=True, check=False,
    )  # fmt: skip
    lines = run.stderr.decode("ascii").splitlines()
    assert run.returncode == 2 and len(lines) == 1
    assert "PYTHONUTF8=1" in lines[0] and "Gr" in lines[0]
