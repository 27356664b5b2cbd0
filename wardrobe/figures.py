"""Sheets of pictures of the audits: edited images, and the images with the worst labels."""

from __future__ import annotations

from textwrap import fill

import numpy as np
from matplotlib.figure import Figure

from rlqkit.data.images import read_image, read_mask
from rlqkit.data.imageset import ImageSet
from rlqkit.method.attributes import scale_joints
from rlqkit.report.figures.sheets import (
    Tile,
    headline_of,
    mask_overlay,
    sheet,
    skeleton_on,
    skeleton_picture,
)
from rlqkit.report.style import WRONG_COLOUR
from wardrobe.cues import EDITS, SKELETON
from wardrobe.labels_audit import image_scores

FAILS, PASSES = "fails", "passes"


def edited_strip(images: ImageSet, people: int = 3) -> Figure:
    """Every edit of one image of some people, and their skeletons."""
    first = np.unique(images.identities, return_index=True)[1]
    chosen = first[np.linspace(0, len(first) - 1, min(people, len(first))).astype(int)]
    rows = []
    for i in chosen:
        image, mask = read_image(images.paths[i]), read_mask(images.mask_paths[i])
        row = [Tile(edit(image, mask)) for edit in EDITS.values()]
        if images.joints is not None:
            points = scale_joints(images.joints[i], (image.shape[1], image.shape[0]))
            row.append(Tile(skeleton_picture(points.astype(float))))
        rows.append(row)
    names = [
        "as it is",
        *(n.replace(" ", "\n", 1) for n in [*EDITS][1:]),
        SKELETON.replace(" (", "\n("),
    ]
    return sheet(
        rows,
        headline_of("What is left of a person?", images.synthetic),
        [f"person {images.identities[i]}" for i in chosen],
        names[: len(rows[0])],
        tile=(1.9, 1.0),
    )


def worst_sheet(images: ImageSet, count: int = 3) -> Figure:
    """For every label check the images that fail it most, or come nearest to failing.

    Two checks stand side by side; a caption says whether an image fails, and a red frame if so.
    """
    blocks: list[list[Tile | None]] = []
    names = []
    for check, scores in image_scores(images).items():
        order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[:count]
        blocks.append([_labelled(images, int(i), bool(scores[i] > 0)) for i in order])
        names.append(fill(check, 18))
    rows, labels = [], []
    for k in range(0, len(blocks), 2):
        second = blocks[k + 1] if k + 1 < len(blocks) else []
        rows.append([*blocks[k], None, *second])
        labels.append("\n\n".join(names[k : k + 2]))
    title = headline_of("The worst labels, check by check (left, right)", images.synthetic)
    return sheet(rows, title, labels, tile=(2.3, 1.2))


def _labelled(images: ImageSet, i: int, fails: bool) -> Tile:
    picture = read_image(images.paths[i])
    if images.table["mask"].iloc[i]:
        picture = mask_overlay(picture, read_mask(images.mask_paths[i]))
    assert images.joints is not None
    person = f"person {images.identities[i]}"
    verdict, frame = (FAILS, WRONG_COLOUR) if fails else (PASSES, "")
    return Tile(skeleton_on(picture, images.joints[i]), f"{person}\n{verdict}", frame)
