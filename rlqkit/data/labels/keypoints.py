"""Joints from a pose estimator's file: a CSV of ours, or JSON as COCO's tools write it.

CSV: `image, x0, y0, x1, y1, ..., x16, y16` in native pixels and COCO order, perhaps with `v0 ..
v16` (confidences) and `score`; several lines for one image are several people, of whom the best
score counts. JSON: a list of {"image_id", "keypoints", "score"}, with the file's name as image_id
(or image_name, file_name, image); or a dict with such a list as "annotations" and "images" that
give ids their "file_name". Keypoints are 17 COCO joints, or a longer set that begins with them
(Halpe-26, Halpe-136, COCO-WholeBody), flat or nested, x, y and a confidence, or x and y alone.

A joint at (0, 0) was not labelled. A person without any (all at one point, or num_keypoints 0) is
nobody; one without some has no whole pose. Both leave NaN, as images without anybody do, and so
become label 0. Confidences and scores choose between people and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlqkit.data.imageset import N_JOINTS, ImageSet
from rlqkit.data.labels.naming import Names, match
from rlqkit.data.labels.text import numbers, read_table, read_text
from rlqkit.errors import RlqkitError

IMAGE_KEYS = ("image_id", "image_name", "file_name", "imgname", "image")
SCORE_KEYS = ("score", "bbox_score")
LONGER = {26: "Halpe-26", 136: "Halpe-136", 133: "COCO-WholeBody"}
"""Sets of joints that begin with COCO's 17, by their number."""
FOREIGN = {
    "people": "OpenPose's JSON, whose joints come in another order",
    "bodies": "AlphaPose's JSON in another tool's format: run it with --format coco",
    "instance_info": "MMPose's JSON of a video: write its instances one by one",
}
"""Keys of other formats -> what they are."""
NEEDED = "give a list of image_id (the file's name), keypoints (17 COCO joints) and score"


def read_keypoints(file: Path, images: ImageSet, names: Names) -> NDArray[np.float64]:
    """(n, 17, 3): x, y in native pixels and confidence of the best person of each image.

    Args:
        file: .csv or .json, perhaps .gz.
        images: whose rows are wanted.
        names: what names in the file mean, see `naming.names_of`.

    Raises:
        RlqkitError: no such format, joints that aren't numbers, names that may be several images,
            or no image of the set.
    """
    is_json = ".json" in file.suffixes
    listed, points, scores = _read_json(file) if is_json else _read_table(file)
    joints = np.full((len(images), N_JOINTS, 3), np.nan)
    best = np.full(len(images), -np.inf)
    found = match(file, listed, names, images)
    if not (found >= 0).any():
        first = f" (its first: {listed[0]})" if listed else ""
        raise RlqkitError(
            f"{file} has joints of no image of {images.name}{first}: name images as in the data set"
        )
    for row, person, score in zip(found.tolist(), points, scores, strict=True):
        # ties go to the first; nobody's score is no match for a person's
        if row >= 0 and score > best[row] and not _is_nobody(person):
            joints[row], best[row] = person, score
    unlabelled = (joints[..., :2] == 0).all(axis=-1)
    joints[unlabelled, :2] = np.nan
    return joints


def _is_nobody(person: NDArray[np.float64]) -> bool:
    """Whether all joints lie at one point, as padding does."""
    return bool((person[:, :2] == person[0, :2]).all())


People = tuple[list[str], NDArray[np.float64], NDArray[np.float64]]
"""Image names, joints (people, 17, 3) and scores (people,)."""


def _read_table(file: Path) -> People:
    table = read_table(file, ())
    name = next((key for key in ("image", "Image", *IMAGE_KEYS) if key in table), "image")
    wanted = [name, *(f"{axis}{joint}" for joint in range(N_JOINTS) for axis in "xy")]
    for column in wanted:
        if column not in table:
            raise RlqkitError(f"{file} has no column '{column}': give image, x0, y0, ..., x16, y16")
    for joint in range(N_JOINTS):
        if f"v{joint}" not in table:
            table[f"v{joint}"] = "1"
    columns = [f"{axis}{joint}" for joint in range(N_JOINTS) for axis in "xyv"]
    values = numbers(table[columns])
    scores = numbers(table[["score"]])[:, 0] if "score" in table else np.ones(len(table))
    bad = ~np.isfinite(values).all(axis=1) | ~np.isfinite(scores)
    if bad.any():
        raise _no_numbers(file, table[name].iloc[int(bad.argmax())])
    return table[name].tolist(), values.reshape(-1, N_JOINTS, 3), scores


def _read_json(file: Path) -> People:
    entries, file_of = _entries(file, _parsed(file))
    listed, people, scores = [], [], []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise RlqkitError(f"{file} is no COCO-keypoint JSON (entry {number}): {NEEDED}")
        name = _image_name(file, entry, number, file_of)
        listed.append(name)
        people.append(_joints(file, entry, name))
        scores.append(_score(file, entry, name))
    points = np.array(people, dtype=np.float64).reshape(-1, N_JOINTS, 3)
    return listed, points, np.array(scores, dtype=np.float64)


def _parsed(file: Path) -> Any:
    text = read_text(file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RlqkitError(f"{file} is no COCO-keypoint JSON ({error}): {NEEDED}") from None


def _entries(file: Path, data: Any) -> tuple[list[Any], dict[Any, str]]:
    """The list of people, and the file names of numbered images."""
    if not isinstance(data, dict):
        if not isinstance(data, list):
            raise RlqkitError(f"{file} is no COCO-keypoint JSON (no list): {NEEDED}")
        return data, {}
    for key, what in FOREIGN.items():
        if key in data:
            raise RlqkitError(f"{file} is {what}; {NEEDED}")
    entries, listed = data.get("annotations"), data.get("images", [])
    if not isinstance(entries, list) or not isinstance(listed, list):
        nested = [value for value in data.values() if isinstance(value, dict)]
        foreign = next((FOREIGN[key] for value in nested for key in FOREIGN if key in value), "")
        raise RlqkitError(
            f"{file} is {foreign or 'no COCO-keypoint JSON (no annotations)'}; {NEEDED}"
        )
    try:
        return entries, {image["id"]: str(image["file_name"]) for image in listed}
    except (TypeError, KeyError):
        raise RlqkitError(f"{file}: an entry of images lacks id or file_name: {NEEDED}") from None


def _image_name(
    file: Path, entry: Mapping[str, Any], number: int, file_of: Mapping[Any, str]
) -> str:
    key = next((key for key in IMAGE_KEYS if isinstance(entry.get(key), str | int)), None)
    if key is None:
        foreign = next((what for word, what in FOREIGN.items() if word in entry), "")
        raise RlqkitError(
            f"{file} is {foreign}; {NEEDED}"
            if foreign
            else f"{file} is no COCO-keypoint JSON (entry {number} names no image_id): {NEEDED}"
        )
    return str(file_of.get(entry[key], entry[key]))


def _joints(file: Path, entry: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    """(17, 3) of one person; zeros for nobody."""
    if entry.get("num_keypoints") == 0:
        return np.zeros((N_JOINTS, 3))
    if "people" in entry or "pose_keypoints_2d" in entry:
        raise RlqkitError(f"{file}: {name} is in {FOREIGN['people']}; {NEEDED}")
    try:
        values = np.array(entry.get("keypoints"), dtype=np.float64)
    except (TypeError, ValueError):
        raise _no_numbers(file, name) from None
    if not np.isfinite(values).all():
        raise _no_numbers(file, name)
    points = _rows(values)
    if points is None or len(points) not in (N_JOINTS, *LONGER):
        longer = ", ".join(f"{count * 3} ({what})" for count, what in LONGER.items())
        raise RlqkitError(
            f"{file}: keypoints of {name} have shape {values.shape}: give 17 x 3 numbers in COCO "
            f"order, or {longer}"
        )
    if points.shape[1] == 2:
        confidences = np.array(entry.get("keypoint_scores", np.ones(len(points))), np.float64)
        if confidences.shape != (len(points),) or not np.isfinite(confidences).all():
            raise _no_numbers(file, name)
        points = np.column_stack([points, confidences])
    return points[:N_JOINTS]


def _rows(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """(joints, 3 or 2) of flat or nested numbers; None if they are neither."""
    if values.ndim == 2 and values.shape[1] in (2, 3):
        return values
    if values.ndim != 1:
        return None
    if values.size == 2 * N_JOINTS:
        return values.reshape(-1, 2)
    return values.reshape(-1, 3) if values.size % 3 == 0 else None


def _score(file: Path, entry: Mapping[str, Any], name: str) -> float:
    value = next((entry[key] for key in SCORE_KEYS if key in entry), 1.0)
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise _no_numbers(file, name)
    return float(value)


def _no_numbers(file: Path, name: str) -> RlqkitError:
    return RlqkitError(
        f"{file}: joints or score of {name} are not all numbers: leave out images in which nobody "
        "was found"
    )
