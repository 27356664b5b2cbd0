"""Export: the embedded set laid out as LTCC, PRCC or Market-1501, for other people's code.

    ltcc    LTCC_ReID/{train,query,test}/PPP_C_cNN_FFFFFF.png   identity, outfit, camera, frame
            masks/train/<name>_{sil,shirt,pant,clothes,head}.png, labels/LTCC_*.csv
    prcc    rgb/{train,val}/PPP/{A,B,C}_cropped_rgbNNN.jpg, rgb/test/{A,B,C}/PPP/cropped_rgbNNN.jpg
    market  bounding_box_train, query, bounding_box_test: PPPP_cCsS_FFFFFF_00.jpg, clothes.csv

LTCC's PNG are pixel for pixel ours; the JPEG of the others (quality 95, full colour resolution)
are not. Every export holds ``exported.csv`` (file, source, split and labels), ``left_out.csv``
(what the layout has no room for, and why), ``export.json`` and a README that says "synthetic".

What goes where. Train, query and gallery are train, query and test. Validation people go to PRCC's
``val`` (there they are other people than in train, unlike PRCC's own) and are left out elsewhere,
where the layout has no such folder. External images have no clothes labels and are left out.

PRCC: A and B show one outfit, C another, and the gallery is A. For each person, A and B are the
first outfit, its cameras halved (A the lower numbers); C is the other outfit with most images from
cameras that A hasn't. All other images are left out. So a letter is several of our cameras.

Masks (0 or 255) follow the released code's names, which it looks up under a folder of the user's
choice, then ``train``: ``_sil`` is the person without bag, ``_shirt`` the top, ``_pant`` the
bottom, ``_clothes`` top, bottom and shoes (the released code's counts headwear in; our masks don't
tell it from hair), ``_head`` hair, headwear and face. Its ``_full_shirt`` and ``_full_pant`` (with
arms, with legs and shoes) are not made: our masks have one label for all skin. Its rows of the
paper need none of them. Label files are named and headed as published; of the pose clusters only
the R_ columns (the N_ ones come from limbs of length 0, see ``attributes``). Faulty lists hold
training images whose top or bottom is hidden.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from rlqkit.data.images import (
    FACE,
    HAIR,
    SHIRT,
    SHOES,
    SKIN,
    TROUSERS,
    read_image,
    read_mask,
)
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.wardrobe import read_card
from rlqkit.errors import RlqkitError
from rlqkit.files import write_bytes, write_json
from rlqkit.method.attributes import VECTOR_LENGTHS, fit_pose_clusters
from rlqkit.progress import bar

JPEG_QUALITY = 95
LEAST_PIXELS = 20
"""A top or bottom of fewer pixels counts as hidden, and its image as faulty."""
MASK_PARTS = {
    "sil": (SHIRT, TROUSERS, SKIN, HAIR, SHOES, FACE),
    "shirt": (SHIRT,),
    "pant": (TROUSERS,),
    "clothes": (SHIRT, TROUSERS, SHOES),
    "head": (HAIR, FACE),
}
"""Ending of a mask's file name → labels of the embedded mask that are inside."""
CLUSTER_NUMBERS = (5, 10, 15, 20, 25, 30, 35, 40)
NO_SPLIT, NO_CLOTHES = "the layout has no validation folder", "external images have no clothes"
NO_PLACE = "not in the outfits and cameras that A, B and C take"
COLUMNS = ["file", "source", "split", "identity", "camera", "outfit", "gender"]


@dataclass
class Plan:
    """What an export will write.

    Attributes:
        images: one row per image: columns ``COLUMNS``, file relative to the export, source to the
            data set.
        left_out: source and reason.
        masks: stem of a mask's files, relative to the export → its source.
        tables: relative file → function that makes its text, called when it is written.
    """

    images: pd.DataFrame
    left_out: pd.DataFrame
    masks: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Callable[[], str]] = field(default_factory=dict)


def export(benchmark: Benchmark, folder: Path, layout: str, progress: bool = True) -> Path:
    """Writes a data set in another benchmark's layout; an interrupted export goes on.

    Every file is written whole or not at all. Repeating a finished export changes nothing.

    Args:
        benchmark: the embedded set, or one in its layout.
        folder: new or empty, or one that holds an export of the same data in the same layout.
        layout: "ltcc", "prcc" or "market".
        progress: show a bar.

    Returns:
        The folder.

    Raises:
        RlqkitError: unknown layout, a folder with something else in it, missing labels, or an
            image that can't be read.
    """
    if layout not in LAYOUTS:
        raise RlqkitError(f'no layout "{layout}"; choose one of {", ".join(LAYOUTS)}')
    if any(images.root != benchmark.root for images in benchmark.sets.values()):
        raise RlqkitError(
            f"{benchmark.name} with the test people of another data set can't be exported; export "
            "each data set by itself"
        )
    plan = LAYOUTS[layout](benchmark)
    marker = {
        "data set": benchmark.name,
        "layout": layout,
        "images": len(plan.images),
        "fingerprint": _fingerprint(benchmark, plan),
    }
    _claim(folder, marker)
    for file, source in bar(
        list(zip(plan.images["file"], plan.images["source"], strict=True)),
        desc=f"{benchmark.name} as {layout}", unit="image", disable=not progress,
    ):  # fmt: skip
        if not (folder / file).exists():
            write_bytes(folder / file, _encoded(read_image(benchmark.root / source), file))
    for stem, source in bar(
        plan.masks.items(), desc="masks", unit="image", disable=not progress or not plan.masks
    ):
        _write_masks(folder, stem, benchmark.root / source)
    own = {
        "exported.csv": lambda: plan.images.to_csv(index=False, lineterminator="\n"),
        "left_out.csv": lambda: plan.left_out.to_csv(index=False, lineterminator="\n"),
        "README.md": lambda: _readme(benchmark, layout, plan),
    }
    for file, text in (own | plan.tables).items():
        if not (folder / file).exists():
            write_bytes(folder / file, text().encode())
    write_json(folder / "export.json", marker | {"finished": True})
    return folder


# -------------------------------------------------------------------------------------- layouts


def plan_ltcc(benchmark: Benchmark) -> Plan:
    """LTCC's layout: names of identity, outfit and camera; masks and label files as released."""
    images = _numbered(benchmark, {"train": "train", "query": "query", "gallery": "test"})
    digits = max(3, len(str(images["identity"].max())))
    stems = [
        f"{row.identity:0{digits}d}_{row.outfit}_c{row.camera}_{row.frame:06d}"
        for row in images.itertuples()
    ]
    images["file"] = [
        f"LTCC_ReID/{target}/{stem}.png"
        for target, stem in zip(images["target"], stems, strict=True)
    ]
    train = benchmark["train"]
    train.require_masks()
    mine = (images["split"] == "train").to_numpy()
    names = [stem for stem, own in zip(stems, mine, strict=True) if own]
    masks = {f"masks/train/{n}": m for n, m in zip(names, train.table["mask"], strict=True)}
    people = images[["target", "identity", "gender"]].drop_duplicates()
    people["identity"] = [f"{identity:0{digits}d}" for identity in people["identity"]]
    tables = {
        "labels/LTCC_Gender.csv": lambda: _gender_csv(people[people["target"] == "train"]),
        "labels/LTCC_test_Gender.csv": lambda: _gender_csv(people[people["target"] != "train"]),
        "labels/LTCC_Shirt_faulty.csv": lambda: _hidden(train, names, SHIRT),
        "labels/LTCC_Pant_faulty.csv": lambda: _hidden(train, names, TROUSERS),
    }
    if train.joints is not None:
        tables["labels/LTCC_Pose_Cluster.csv"] = lambda: _pose_csv(train, names)
    return Plan(images[COLUMNS], _left_out(benchmark, images), masks, tables)


def plan_market(benchmark: Benchmark) -> Plan:
    """Market-1501's layout; its names have no clothes, so those go to ``clothes.csv``.

    Identity 0000 means a distractor there, so a set that counts from 0 is counted from 1.
    """
    places = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
    images = _numbered(benchmark, places)
    images["identity"] += int(images["identity"].min() == 0)
    images["file"] = [
        f"{row.target}/{row.identity:04d}_c{row.camera}s1_{row.frame:06d}_00.jpg"
        for row in images.itertuples()
    ]
    clothes = images[["file", "identity", "outfit"]]
    tables = {"clothes.csv": lambda: clothes.to_csv(index=False, lineterminator="\n")}
    return Plan(images[COLUMNS], _left_out(benchmark, images), tables=tables)


def plan_prcc(benchmark: Benchmark) -> Plan:
    """PRCC's layout: A and B in one outfit, C in another; see the module for who goes where."""
    places = {
        "train": "train", "val_query": "val", "val_gallery": "val", "query": "test",
        "gallery": "test",
    }  # fmt: skip
    images = _numbered(benchmark, places)
    images["letter"] = ""
    for _, person in images.groupby("identity"):
        for letter, rows in _letters(person).items():
            images.loc[rows, "letter"] = letter
    images = images[images["letter"] != ""].copy()
    images["number"] = images.groupby(["identity", "letter"]).cumcount() + 1
    digits = max(3, len(str(images["identity"].max())))
    images["file"] = [
        f"rgb/test/{row.letter}/{row.identity:0{digits}d}/cropped_rgb{row.number:03d}.jpg"
        if row.target == "test"
        else f"rgb/{row.target}/{row.identity:0{digits}d}/"
        f"{row.letter}_cropped_rgb{row.number:03d}.jpg"
        for row in images.itertuples()
    ]
    return Plan(images[COLUMNS], _left_out(benchmark, images, NO_PLACE))


LAYOUTS: dict[str, Callable[[Benchmark], Plan]] = {
    "ltcc": plan_ltcc,
    "prcc": plan_prcc,
    "market": plan_market,
}


def _letters(person: pd.DataFrame) -> dict[str, list[int]]:
    """Rows of one person's images that are A, B and C; {} if there is no such choice."""
    for outfit, first in person.groupby("outfit"):
        cameras = sorted(first["camera"].unique())
        if len(cameras) < 2:
            continue
        gallery = cameras[: (len(cameras) + 1) // 2]
        other = person[(person["outfit"] != outfit) & ~person["camera"].isin(gallery)]
        if other.empty:
            continue
        changed = other["outfit"].value_counts().sort_index().idxmax()
        in_a = first["camera"].isin(gallery)
        return {
            "A": first.index[in_a].tolist(),
            "B": first.index[~in_a].tolist(),
            "C": other.index[other["outfit"] == changed].tolist(),
        }
    return {}


def _numbered(benchmark: Benchmark, places: dict[str, str]) -> pd.DataFrame:
    """Images of the splits in ``places`` with outfit and camera from 1, and a frame of their own.

    Raises:
        RlqkitError: a split's clothes aren't labelled.
    """
    tables = []
    for split, target in places.items():
        images = benchmark[split]
        if not images.clothes_labelled:
            raise RlqkitError(f"{images.name} has no clothes labels; export a labelled data set")
        tables.append(images.table.assign(split=split, target=target))
    table = pd.concat(tables, ignore_index=True)
    table["source"] = table["file"]
    table["outfit"] = table.groupby("identity")["clothes"].rank("dense").astype(int)
    table["camera"] += max(0, 1 - int(table["camera"].min()))
    table["frame"] = np.arange(1, len(table) + 1)
    return table


def _left_out(benchmark: Benchmark, images: pd.DataFrame, reason: str = NO_SPLIT) -> pd.DataFrame:
    """Every image of the data set that is not exported, and why."""
    taken = set(images["source"])
    lines = [
        (file, NO_CLOTHES if split == "external" else reason)
        for split, part in benchmark.sets.items()
        for file in part.table["file"]
        if file not in taken
    ]
    return pd.DataFrame(lines, columns=["source", "reason"])


# --------------------------------------------------------------------------------------- labels


def _gender_csv(people: pd.DataFrame) -> str:
    """As published: Category, ID, Gender (1 male, 0 female)."""
    people = people.set_axis(["Category", "ID", "Gender"], axis="columns")
    return people.to_csv(index=False, lineterminator="\n")


def _hidden(images: ImageSet, names: list[str], part: int) -> str:
    """As published: one name a line, without suffix and header."""
    return "".join(
        f"{name}\n"
        for name, path in zip(names, images.mask_paths, strict=True)
        if (read_mask(path) == part).sum() < LEAST_PIXELS
    )


def _pose_csv(images: ImageSet, names: list[str]) -> str:
    """As published: Category, Image, then a column for each number of clusters and vector."""
    assert images.joints is not None
    sizes = images.table[["width", "height"]].to_numpy()
    table = pd.DataFrame({"Category": "train", "Image": names})
    for count in CLUSTER_NUMBERS:
        for kind in VECTOR_LENGTHS:
            if count <= len(images):
                found = fit_pose_clusters(images.joints, sizes, kind, count)
                table[f"{kind}_{count}"] = found.labels.astype(float)
    return table.to_csv(index=False, lineterminator="\n")


# ---------------------------------------------------------------------------------------- files


def _claim(folder: Path, marker: dict[str, object]) -> None:
    """Takes a folder for this export, or raises if something else is in it."""
    file = folder / "export.json"
    if file.is_file():
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            found = {}
        if {key: found.get(key) for key in marker} != marker:
            raise RlqkitError(
                f"{folder} holds another export (see its export.json); give a new folder"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RlqkitError(f"{folder} is not empty; give a new folder to export into")
    write_json(file, marker | {"finished": False})


def _fingerprint(benchmark: Benchmark, plan: Plan) -> str:
    """Of all that decides the exported bytes: names, labels, and the sums of the images."""
    digest = hashlib.sha256(plan.images.to_csv(index=False).encode())
    sums = benchmark.root / "SHA256SUMS"
    if sums.is_file():
        digest.update(sums.read_bytes())
    return digest.hexdigest()


def _encoded(image: NDArray[np.uint8], file: str) -> bytes:
    """The image as its file's suffix asks."""
    stream = BytesIO()
    if file.endswith(".png"):
        Image.fromarray(image).save(stream, format="PNG")
    else:
        Image.fromarray(image).save(stream, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def _write_masks(folder: Path, stem: str, source: Path) -> None:
    missing = {
        folder / f"{stem}_{part}.png": labels
        for part, labels in MASK_PARTS.items()
        if not (folder / f"{stem}_{part}.png").exists()
    }
    if missing:
        mask = read_mask(source)
        for file, labels in missing.items():
            write_bytes(file, _encoded(255 * np.isin(mask, labels).astype(np.uint8), file.name))


def _readme(benchmark: Benchmark, layout: str, plan: Plan) -> str:
    version = read_card(benchmark.root).get("version", "")
    kind = "SYNTHETIC: rendered people, nobody real. " if benchmark.synthetic else ""
    counts = plan.images.groupby("split", sort=False).size()
    lines = "".join(f"- {split}: {count} images\n" for split, count in counts.items())
    reasons = plan.left_out["reason"].value_counts()
    lines += "".join(f"- left out, {count} images: {reason}\n" for reason, count in reasons.items())
    return (
        f"# {benchmark.name} {version} in the layout of {layout}\n\n"
        f"{kind}Figures on it are no results on {layout}. Written by `rlqkit data export`.\n"
        f"`exported.csv` has the labels and sources, `left_out.csv` the rest.\n\n{lines}"
    )
