"""Labels for a folder of images: joints and clothes masks of the training images.

    labels/keypoints.json            17 COCO joints of each image
    labels/parsing-atr/<part>/*.png  labels of ATR for each pixel
    labels/labelled.json             for both: model, revision, date, versions, number of images

What is there is never overwritten, neither a user's labels nor those of an earlier call. Work that
was stopped goes on: every mask is a file of its own, and joints wait in `.labelling/joints.jsonl`
until the last image has some.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image

from rlqkit import __version__
from rlqkit.data.images import read_image
from rlqkit.data.imageset import ImageSet
from rlqkit.data.labelling.models import ClothesParser, Origin, PoseEstimator
from rlqkit.data.labels.masks import KINDS
from rlqkit.data.labels.parsers import pascal_colour
from rlqkit.data.labels.provenance import PROVENANCE, provenance
from rlqkit.data.labels.tables import TRAINING, pose_files
from rlqkit.data.published.layouts import Layout
from rlqkit.data.published.load import LAYOUTS, labels_folder, load_published
from rlqkit.data.registry import default_root, names
from rlqkit.errors import RlqkitError
from rlqkit.files import write_bytes, write_json
from rlqkit.progress import Say, bar

JOINTS, MASKS = "keypoints.json", "parsing-atr"
"""What is written, also the keys of `labelled.json`."""
WORK = ".labelling"
"""Hidden folder beside the labels for what isn't finished."""
READERS = 4
"""Threads that decode images."""


@dataclass(frozen=True)
class Place:
    """Whose images are labelled, and where the labels go.

    Attributes:
        layout: of the data set.
        images: its training images, each file once.
        folder: of the labels, which need not exist.
    """

    layout: Layout
    images: tuple[ImageSet, ...]
    folder: Path

    def rows(self) -> list[tuple[str, str, Path]]:
        """(file in the data set, its part's folder, path) of each image."""
        return [
            (file, part, images.root / file)
            for images in self.images
            for file, part in zip(images.table["file"], images.table["part"], strict=True)
        ]


def place_of(name: str, root: Path | None = None, labels: Path | None = None) -> Place:
    """The training images of a published data set, and the folder for its labels.

    Args:
        name: one of `published.load.LAYOUTS`.
        root: its folder, by default `registry.default_root(name)`.
        labels: folder for the labels, by default `labels` in the data set's.

    Raises:
        RlqkitError: no such data set, one that brings its own labels, or images missing.
    """
    if name not in LAYOUTS:
        known = ", ".join(LAYOUTS)
        if name in names() or name.startswith("custom-"):
            raise RlqkitError(
                f"{name} brings its own labels: give --score to see what an estimator makes of "
                f"them, or label one of {known}"
            )
        raise RlqkitError(f"unknown data set '{name}': labels can be made for {known}")
    root = default_root(name) if root is None else root
    benchmark = load_published(name, root, tolerant=True)
    folder = labels or labels_folder(None, root, benchmark.root) or root / "labels"
    sets: list[ImageSet] = []
    for split in TRAINING:  # Celeb-reID's external set is its train
        images = benchmark.sets.get(split)
        if images is not None and all(set(images.table["file"]).isdisjoint(s.table["file"])
                                      for s in sets):  # fmt: skip
            sets.append(images)
    return Place(LAYOUTS[name], tuple(sets), folder)


def write_joints(
    place: Place, estimator: Callable[[], PoseEstimator], batch: int = 32, say: Say = print
) -> None:
    """Writes joints of every training image, unless pose labels or joints are there.

    Args:
        place: see `place_of`.
        estimator: loads it; asked only if there is something to do.
        batch: images at a time.
        say: is told what happened.

    Raises:
        RlqkitError: an unreadable image, another process at work here, or work that was begun with
            another model.
    """
    there = pose_files(place.folder, place.layout)
    if there:
        say(f"poses: {there[0]} is there and stays as it is")
        return
    with _alone(place.folder):
        pose = estimator()
        journal = place.folder / WORK / "joints.jsonl"
        done = _begun(journal, pose.origin)
        rows = [row for row in place.rows() if row[0] not in done]
        with open(journal, "a", encoding="utf-8", newline="\n") as stream:
            for names, images in _batches(rows, batch, "joints"):
                for (file, _, _), joints in zip(names, pose(images), strict=True):
                    done[file] = _rounded(joints)
                    stream.write(json.dumps({"image": file, "joints": done[file]}) + "\n")
                stream.flush()
        people = [_person(file, done[file]) for file, _, _ in place.rows()]
        found = [person for person in people if person]
        lines = ",\n".join(json.dumps(person) for person in found)
        write_bytes(place.folder / JOINTS, f"[\n{lines}\n]\n".encode())
        _note(place.folder, JOINTS, pose.origin, len(people))
        journal.unlink()
    say(f"poses: wrote {place.folder / JOINTS}, somebody in {len(found)} of {len(people)} images")


def write_masks(
    place: Place, parser: Callable[[], ClothesParser], batch: int = 8, say: Say = print
) -> None:
    """Writes an ATR label map of every training image, unless masks of somebody else are there.

    Arguments and errors as `write_joints`.
    """
    kinds = [holder / kind for holder in (place.folder, place.folder.parent) for kind in KINDS]
    there = next((kind for kind in kinds if kind.is_dir()), None)
    begun = provenance(place.folder).get(MASKS)
    folder = place.folder / MASKS
    if there is not None and (there != folder or begun is None):
        say(f"masks: {there} is there and stays as it is")
        return
    places = [(folder / part / f"{_inner(file, part)}.png", path)
              for file, part, path in place.rows()]  # fmt: skip
    todo = [row for row in places if not row[0].exists()]
    if not todo:
        say(f"masks: {folder} has all {len(places)} and stays as it is")
        return
    with _alone(place.folder):
        clothes = parser()
        if begun is not None and there is not None:
            _require_same(folder, begun, clothes.origin)
        _note(place.folder, MASKS, clothes.origin, len(places))
        todo = [row for row in places if not row[0].exists()]  # what another call wrote meanwhile
        for rows, images in _batches(todo, batch, "masks"):
            for (file, _), labels in zip(rows, clothes(images), strict=True):
                write_bytes(file, _encoded(labels))
    say(f"masks: wrote {len(todo)} of {len(places)} in {folder}")


# --------------------------------------------------------------------------------------- pieces


def _batches(
    rows: Sequence[tuple[Any, ...]], size: int, what: str
) -> Iterator[tuple[list[tuple[Any, ...]], list[NDArray[np.uint8]]]]:
    """Rows with their decoded images, `size` at a time; a row ends in the image's path."""
    with (
        bar(desc=what, total=len(rows), unit="image") as progress,
        ThreadPoolExecutor(READERS) as pool,
    ):
        parts = [list(rows[start : start + size]) for start in range(0, len(rows), size)]
        waiting = [pool.submit(read_image, row[-1]) for row in parts[0]] if parts else []
        for number, part in enumerate(parts):
            images = [future.result() for future in waiting]
            following = parts[number + 1] if number + 1 < len(parts) else []
            waiting = [pool.submit(read_image, row[-1]) for row in following]
            yield part, images
            progress.update(len(part))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time labels into a folder."""
    (folder / WORK).mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / WORK / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RlqkitError(f"another process writes labels into {folder}: wait for it") from None
    try:
        yield
    finally:
        lock.release()


def _begun(journal: Path, origin: Origin) -> dict[str, list[float]]:
    """Joints by image of earlier work; begins the journal if there was none."""
    if not journal.is_file():
        write_bytes(journal, (json.dumps(_made_with(origin)) + "\n").encode())
        return {}
    head, *lines = journal.read_bytes().split(b"\n")
    _require_same(journal, _parsed(head) or {}, origin)
    whole = [line for line in lines[:-1] if _parsed(line)]  # a kill may leave half a line
    write_bytes(journal, b"\n".join([head, *whole, b""]))
    entries = [json.loads(line) for line in whole]
    return {entry["image"]: entry["joints"] for entry in entries}


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _require_same(what: Path, begun: dict[str, Any], origin: Origin) -> None:
    theirs = Origin(str(begun.get("model")), str(begun.get("revision")))
    if theirs.revision != origin.revision:
        raise RlqkitError(
            f"{what} was begun with {theirs}, not with {origin}: use that model, or move it away"
        )


def _made_with(origin: Origin) -> dict[str, str]:
    return {
        "model": origin.model,
        "revision": origin.revision,
        "date": datetime.now(UTC).date().isoformat(),
        "rlqkit": __version__,
        "transformers": metadata.version("transformers"),
        "torch": metadata.version("torch"),
    }


def _note(folder: Path, what: str, origin: Origin, images: int) -> None:
    """Adds an entry to `labelled.json`."""
    entry = _made_with(origin) | {"images": images}
    write_json(folder / PROVENANCE, provenance(folder) | {what: entry})


def _rounded(joints: NDArray[np.float64]) -> list[float]:
    """51 numbers: pixels to a hundredth, confidences to a thousandth."""
    return [round(float(value), 3 if place % 3 == 2 else 2)
            for place, value in enumerate(joints.ravel())]  # fmt: skip


def _person(file: str, joints: list[float]) -> dict[str, Any] | None:
    """An entry of COCO's results; None for an image in which nobody was found."""
    confidences = joints[2::3]
    if not any(confidences):
        return None
    score = round(sum(confidences) / len(confidences), 3)
    return {"image_id": file, "category_id": 1, "keypoints": joints, "score": score}


def _inner(file: str, part: str) -> str:
    return file.removeprefix(f"{part}/").rpartition(".")[0]


def _encoded(labels: NDArray[np.uint8]) -> bytes:
    """A palette PNG, so that a label map can be looked at as well as read."""
    image = Image.fromarray(labels).convert("P")  # of grey values, so indices are the labels
    image.putpalette([value for label in range(256) for value in pascal_colour(label)])
    stream = BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()
