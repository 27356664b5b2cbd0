"""The thorough look at label files: every mask is read, every joint placed, every file named.

Rows as `rlqkit.data.findings.finding` makes them, for `check_published`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlqkit.data.findings import Finding, finding, listed
from rlqkit.data.images import SHIRT, TROUSERS, mask_is_smeared, read_mask
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.labels.masks import KINDS, PARSERS, READERS, parsed_labels
from rlqkit.data.labels.parsers import described, label_use, suspicion
from rlqkit.data.labels.provenance import provenance
from rlqkit.data.labels.tables import TRAINING, files_read, masks_folder, names_read
from rlqkit.data.published.layouts import Layout
from rlqkit.errors import RlqkitError

LOW_CONFIDENCE = 0.3
"""Mean confidence of a person's joints below which a skeleton is counted as doubtful."""
MOSTLY = 0.5
"""Share of a person's joints outside the image from which on the joints aren't the image's."""
TOLERATED = 0.01
"""Share of images whose joints may lie mostly outside before that is a problem of the whole."""


def check_labels(benchmark: Benchmark, layout: Layout) -> Iterator[Finding]:
    """Findings about masks, joints and files of a published data set's labels."""
    done: set[str] = set()
    for split in (name for name in TRAINING if name in benchmark.sets):
        images = benchmark.sets[split]
        if done.isdisjoint(images.table["file"]):  # Celeb-reID's external set is its train
            yield from _check_masks(split, images)
            yield from _check_joints(split, images)
            done |= set(images.table["file"])
    yield from _estimated(benchmark.labels)
    yield from _unread(benchmark, layout)


# ------------------------------------------------------------------------------------- masks


@dataclass(frozen=True)
class _Mask:
    """What one image's mask was read as; `problem` is "" if it could be."""

    file: str
    problem: str = ""
    shirt: bool = False
    trousers: bool = False
    smeared: bool = False
    labels: NDArray[np.uint8] | None = None


def _check_masks(split: str, images: ImageSet) -> Iterator[Finding]:
    """Unreadable masks, masks of other sizes, smeared ones, empty ones, another parser's labels."""
    rows = [row for row, mask in enumerate(images.table["mask"]) if mask]
    if not rows:
        return
    sizes = images.sizes
    with ThreadPoolExecutor(4) as pool:
        looks = list(pool.map(lambda row: _look(images, row, sizes[row]), rows))
    problems = [(look.file, look.problem, "a whole mask") for look in looks if look.problem]
    yield from listed("masks are whole", problems) or [
        finding("masks are whole", split, len(looks), len(looks))
    ]
    whole = [look for look in looks if not look.problem]
    if images.mask_format == "pair":
        smeared = sum(look.smeared for look in whole)
        stated = "0 (half of a mask's largest value decides)"
        yield finding("masks with values between", split, smeared, stated)
    for part in ("shirt", "trousers"):
        count = sum(getattr(look, part) for look in whole)
        nowhere = bool(whole) and not count
        yield finding(f"masks with {part}", split, count, f"up to {len(whole)}", ok=not nowhere)
    if images.mask_format in PARSERS:
        parser = images.mask_format.upper()
        use = label_use(look.labels for look in whole if look.labels is not None)
        wrong = suspicion(use, parser)
        text = described(use, parser) + (f"; they {wrong}" if wrong else "")
        yield finding("labels of the parser", split, text, f"of {parser}", ok=not wrong)


def _look(images: ImageSet, row: int, size: NDArray[np.int64]) -> _Mask:
    file = images.root / images.table["mask"][row]
    shown = os.path.relpath(file, images.root)
    labels = None
    try:
        if images.mask_format in PARSERS:
            labels = parsed_labels(read_mask(file), images.mask_format, file)
            clothes = READERS[images.mask_format](file)
            smeared = False
        elif images.mask_format == "pair":
            pair = (file, images.root / images.table["trousers"][row])
            clothes = READERS["pair"](pair)
            smeared = any(mask_is_smeared(one) for one in pair)
        else:
            clothes, smeared = READERS[images.mask_format](file), False
    except RlqkitError as error:
        return _Mask(shown, str(error))
    if clothes.shape != (size[1], size[0]):
        problem = f"{clothes.shape[1]} x {clothes.shape[0]} px, its image {size[0]} x {size[1]}"
        return _Mask(shown, problem)
    on_shirt, on_trousers = (bool((clothes & bit).any()) for bit in (SHIRT, TROUSERS))
    return _Mask(shown, "", on_shirt, on_trousers, smeared, labels)


# ------------------------------------------------------------------------------------ joints


def _check_joints(split: str, images: ImageSet) -> Iterator[Finding]:
    """Skeletons that aren't whole, doubtful ones, and joints that lie beside their image."""
    if images.joints is None:
        return
    points, confidence = images.joints[..., :2], images.joints[..., 2]
    placed = np.isfinite(points).all(axis=-1)
    anybody, whole = placed.any(axis=1), placed.all(axis=1)
    doubtful = np.nan_to_num(confidence, nan=1).mean(axis=1) < LOW_CONFIDENCE
    with np.errstate(invalid="ignore"):
        outside = ((points < 0) | (points > images.sizes[:, None, :])).any(axis=-1) & placed
    mostly = outside.mean(axis=1) > MOSTLY
    yield finding("images without anybody's joints", split, (~anybody).sum(), "label 0")
    yield finding("skeletons in part", split, (anybody & ~whole).sum(), "label 0")
    low = f"clustered all the same (mean confidence below {LOW_CONFIDENCE})"
    yield finding("doubtful skeletons", split, (whole & doubtful).sum(), low)
    yield finding("images with joints outside", split, outside.any(axis=1).sum(), "few")
    wrong = int(mostly.sum())
    stated = f"at most {TOLERATED:.0%} of {len(images)}: joints are pixels of the upright image"
    yield finding(
        "images with most joints outside", split, wrong, stated, wrong <= TOLERATED * len(images)
    )


# ------------------------------------------------------------------------------------- files


def _estimated(folder: Path | None) -> Iterator[Finding]:
    """Labels that a model made, and which one did: they are no annotations."""
    for what, told in (provenance(folder) if folder else {}).items():
        by = f"{told.get('model')} ({told.get('revision')}), {told.get('date')}"
        yield finding("labels by an estimator", what, by, "estimated, not annotated")


def _unread(benchmark: Benchmark, layout: Layout) -> Iterator[Finding]:
    """What lies among the labels, or looks like labels beside the images, and isn't read."""
    known = names_read(layout)
    folder = benchmark.labels
    read = files_read(folder, layout) if folder else set()
    read |= {folder, *(masks_folder(folder) / kind for kind in KINDS)} if folder else set()
    for path in _visible(folder):
        if path not in read:
            yield _not_read(path, known)
    for place in sorted({benchmark.root, benchmark.root.parent} - {folder}):
        for path in _visible(place):
            if path not in read and _seems_labels(path, layout):
                yield _not_read(path, known)
    if folder:
        yield from _unread_masks(benchmark, masks_folder(folder))


def _visible(place: Path | None) -> list[Path]:
    """What lies in a folder, but for hidden files; nothing in none."""
    return sorted(p for p in place.iterdir() if not p.name.startswith(".")) if place else []


def _seems_labels(path: Path, layout: Layout) -> bool:
    if path.is_dir():
        return path.name.lower() in ("labels", "label", *KINDS)
    name = path.name.lower().removesuffix(".gz")
    like = (layout.title.lower(), "keypoints", "gender", "pose")
    return name.endswith((".csv", ".json")) and name.startswith(like)


def _not_read(path: Path, known: list[str]) -> Finding:
    same = [name for name in known if name.lower() == path.name.lower().removesuffix(".gz")]
    if path.is_dir():
        same = [f"{name}/" for name in ("labels", *KINDS) if name == path.name.lower()]
    expected = f"the name {same[0]}" if same else f"a name such as {known[0]}"
    text = f"{path.parent.name}/{path.name}{'/' if path.is_dir() else ''}"
    return finding("not read", text, "not read", f"{expected}, if it holds labels")


def _unread_masks(benchmark: Benchmark, folder: Path) -> Iterator[Finding]:
    kind = next((name for name in KINDS if (folder / name).is_dir()), "")
    if not kind:
        return
    used = {
        os.path.normpath(benchmark.root / file)
        for images in benchmark.sets.values()
        for column in ("mask", "trousers")
        if column in images.table
        for file in images.table[column]
    }
    unread = [
        os.path.relpath(os.path.join(top, name), folder)
        for top, _, names in os.walk(folder / kind)
        for name in sorted(names)
        if not name.startswith(".") and os.path.normpath(os.path.join(top, name)) not in used
    ]
    if unread:
        found = f"{len(unread)}, the first: {min(unread)}"
        yield finding("masks that aren't read", kind, found, "PNG files named as training images")
