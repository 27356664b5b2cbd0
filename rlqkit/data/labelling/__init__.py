"""From bare images to CAP's labels: joints and clothes masks by pretrained estimators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from rlqkit.data import registry
from rlqkit.data.labelling.models import (
    CLOTHES,
    POSE,
    ClothesParser,
    PoseEstimator,
    clothes_parser,
    pose_estimator,
)
from rlqkit.data.labelling.scoring import score_estimators
from rlqkit.data.labelling.writing import place_of, write_joints, write_masks
from rlqkit.errors import RlqkitError
from rlqkit.progress import Say

SCORED = "train"
"""The split that labels are made for, and so are measured on."""


def label(
    name: str,
    root: Path | None = None,
    labels: Path | None = None,
    poses: bool = False,
    masks: bool = False,
    pose_model: str | None = None,
    mask_model: str | None = None,
    device: str = "auto",
    batch: int = 16,
    say: Say = print,
) -> None:
    """Makes joints and clothes masks of a published data set's training images.

    Args:
        name, root, labels: see `writing.place_of`.
        poses, masks: only these; both if neither is asked for.
        pose_model, mask_model: folder or name on the hub; None = the usual one.
        device: auto, cpu, cuda, cuda:N or mps.
        batch: images at a time.
        say: is told what was written.

    Raises:
        RlqkitError: as `place_of`, `pose_estimator`, `clothes_parser`, `write_joints`.
    """
    place = place_of(name, root, labels)
    pose, clothes = _loaders(pose_model, mask_model, device)
    if poses or not masks:
        write_joints(place, pose, batch, say)
    if masks or not poses:
        write_masks(place, clothes, batch, say)


def score(
    name: str,
    root: Path | None = None,
    limit: int = 200,
    poses: bool = False,
    masks: bool = False,
    pose_model: str | None = None,
    mask_model: str | None = None,
    device: str = "auto",
    batch: int = 16,
) -> pd.DataFrame:
    """Measures estimators on a rendered data set's own labels; see `scoring.score_estimators`.

    Raises:
        RlqkitError: a data set whose labels aren't exact; as `label`.
    """
    if not registry.is_rendered(name):
        raise RlqkitError(
            f"{name} has no exact labels to measure an estimator by: score it on wardrobe-v2"
        )
    images = registry.load(name, root)[SCORED]
    pose, clothes = _loaders(pose_model, mask_model, device)
    return score_estimators(
        images,
        pose() if poses or not masks else None,
        clothes() if masks or not poses else None,
        limit,
        batch=batch,
    )


def _loaders(
    pose_model: str | None, mask_model: str | None, device: str
) -> tuple[Callable[[], PoseEstimator], Callable[[], ClothesParser]]:
    """What loads either model when it is needed."""
    return (
        lambda: pose_estimator(pose_model or POSE.usual, device),
        lambda: clothes_parser(mask_model or CLOTHES.usual, device),
    )
