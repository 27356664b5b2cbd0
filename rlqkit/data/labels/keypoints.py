"""Joints from a pose estimator's file: a CSV of ours, or COCO-keypoint JSON.

CSV: `image, x0, y0, x1, y1, ..., x16, y16` in native pixels and COCO order, perhaps with `v0 ..
v16` (confidences) and `score`; several lines for one image are several people, of whom the best
score counts. JSON: COCO results, a list of {"image_id", "keypoints": 51 numbers, "score"}, with the
file's name as image_id; or a dict with such a list as "annotations" and "images" that give ids
their "file_name". Images without anybody keep NaN and so become label 0.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlqkit.data.imageset import N_JOINTS, ImageSet
from rlqkit.data.labels.naming import key_of
from rlqkit.errors import RlqkitError


def read_keypoints(file: Path, images: ImageSet, rows: dict[str, int]) -> NDArray[np.float64]:
    """(n, 17, 3): x, y in native pixels and confidence of the best person of each image.

    Args:
        file: .csv or .json, perhaps .gz.
        images: whose rows are wanted.
        rows: `naming.rows_by_key` of them.

    Raises:
        RlqkitError: no such format, joints that aren't numbers, or no image of the set.
    """
    is_json = ".json" in file.suffixes
    names, points, scores = _read_json(file) if is_json else _read_table(file)
    joints = np.full((len(images), N_JOINTS, 3), np.nan)
    best = np.full(len(images), -np.inf)
    for name, person, score in zip(names, points, scores, strict=True):
        row = rows.get(key_of(name), -1)
        if row >= 0 and score > best[row]:  # ties go to the first
            joints[row], best[row] = person, score
    if not np.isfinite(best).any():
        first = f" (its first: {names[0]})" if names else ""
        raise RlqkitError(
            f"{file} has joints of no image of {images.name}{first}: name images as in the data set"
        )
    return joints


People = tuple[list[str], NDArray[np.float64], NDArray[np.float64]]
"""Image names, joints (people, 17, 3) and scores (people,)."""


def _read_table(file: Path) -> People:
    try:
        table = pd.read_csv(file, dtype={"image": str})
    except (ValueError, OSError, EOFError) as error:
        reason = (str(error).strip() or "it ends too early").splitlines()[0]
        raise RlqkitError(f"{file} can't be read as a table ({reason}): restore it") from None
    wanted = ["image", *(f"{axis}{joint}" for joint in range(N_JOINTS) for axis in "xy")]
    for column in wanted:
        if column not in table:
            raise RlqkitError(f"{file} has no column '{column}': give image, x0, y0, ..., x16, y16")
    for joint in range(N_JOINTS):
        if f"v{joint}" not in table:
            table[f"v{joint}"] = 1.0
    columns = [f"{axis}{joint}" for joint in range(N_JOINTS) for axis in "xyv"]
    values = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    score = pd.to_numeric(table["score"], errors="coerce") if "score" in table else None
    scores = np.ones(len(table)) if score is None else score.to_numpy(np.float64)
    return _checked(file, table["image"].astype(str).tolist(), values, scores)


def _read_json(file: Path) -> People:
    try:
        content = file.read_bytes()
        data = json.loads(gzip.decompress(content) if file.suffix == ".gz" else content)
        entries: list[dict[str, Any]] = data["annotations"] if isinstance(data, dict) else data
        listed = data.get("images", []) if isinstance(data, dict) else []
        file_of = {image["id"]: image["file_name"] for image in listed}
        names = [str(file_of.get(entry["image_id"], entry["image_id"])) for entry in entries]
        values = np.array([entry["keypoints"] for entry in entries], dtype=np.float64)
        scores = np.array([entry.get("score", 1.0) for entry in entries], dtype=np.float64)
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RlqkitError(
            f"{file} is no COCO-keypoint JSON ({reason}): give a list of image_id, keypoints (51 "
            "numbers) and score"
        ) from None
    if len(entries) and values.shape != (len(entries), N_JOINTS * 3):
        raise RlqkitError(f"{file}: keypoints have shape {values.shape[1:]}: give 17 x 3 numbers")
    return _checked(file, names, values, scores)


def _checked(
    file: Path, names: list[str], values: NDArray[np.float64], scores: NDArray[np.float64]
) -> People:
    bad = ~np.isfinite(values).all(axis=1) | ~np.isfinite(scores) if len(names) else scores > 0
    if bad.any():
        raise RlqkitError(
            f"{file}: joints or score of {names[int(bad.argmax())]} are not all numbers: leave out "
            "images in which nobody was found"
        )
    return names, values.reshape(-1, N_JOINTS, 3), scores
