"""Figures of the data set tour: any data set, embedded or published, whatever labels it has."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rlqkit.data.images import SHIRT, TROUSERS, read_image
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.labels.masks import READERS, mask_files
from rlqkit.errors import RlqkitError
from rlqkit.method.recolouring import recolour
from rlqkit.report.figures.sheets import Tile, headline_of, mask_overlay, sheet
from rlqkit.report.style import GENDERS

QUERY_FRAME = "#222222"
"""As in ranked lists: queries have a dark frame."""


def check_summary(report: pd.DataFrame) -> pd.DataFrame:
    """A report of `data.check` with one row a check.

    Columns: findings, problems, and the first problem (or the first finding) in words.
    """
    rows = {}
    for check, group in report.groupby("check", sort=False):
        first = group[~group["ok"]] if (~group["ok"]).any() else group
        line = first.iloc[0]
        rows[str(check)] = {
            "findings": len(group),
            "problems": int((~group["ok"]).sum()),
            "for example": f"{line['subject']}: {line['found']} ({line['expected']})",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("check")


def sample_sheet(benchmark: Benchmark, people: int = 4, columns: int = 10) -> Figure:
    """Some people of the training set, then some of the headline test: queries before gallery."""
    test = benchmark.tests[-1]
    query, gallery = benchmark[test.query], benchmark[test.gallery]
    train = benchmark["train"]
    rows: list[list[Tile | None]] = [
        [*_shots(train, person, columns, "")] for person in _spread(train, people)
    ]
    labels = [f"train\nperson {person}" for person in _spread(train, people)]
    for person in _spread(query, people):
        asked = _shots(query, person, columns // 3, QUERY_FRAME)
        found = _shots(gallery, person, columns - len(asked), "")
        rows.append([*asked, None, *found])
        labels.append(f"test\nperson {person}")
    title = f"{benchmark.name}: people of train and of the test '{test.name}'"
    legend = {"query; right of the gap: gallery": QUERY_FRAME}
    return sheet(rows, headline_of(title, benchmark.synthetic), labels, (), legend)


def label_sheet(images: ImageSet, count: int = 8) -> Figure:
    """Training images of different people with what is known of them; masks and a recoloured copy
    where there are masks, which is how to see that a parser's masks are the right way round."""
    people = _spread(images, count)
    rows = [int(np.flatnonzero(images.identities == person)[0]) for person in people]
    pictures = [read_image(images.paths[row]) for row in rows]
    captions = [_known(images, row) for row in rows]
    tiles = [[Tile(p, text) for p, text in zip(pictures, captions, strict=True)]]
    names = ["image"]
    try:
        files = mask_files(images)
    except RlqkitError:  # some image has none, so recolouring is off for this data set
        files = ()
    if files:
        masks = [READERS[images.mask_format](files[row]) for row in rows]
        pairs = list(zip(pictures, masks, strict=True))
        tiles.append([Tile(mask_overlay(picture, mask)) for picture, mask in pairs])
        tiles.append(
            [
                Tile(recolour(p, m & SHIRT > 0, m & TROUSERS > 0, "green", "purple"))
                for p, m in pairs
            ]
        )
        names += ["masks", "green shirt,\npurple trousers"]
    title = f"{images.name}: what is known of the images"
    return sheet(tiles, headline_of(title, images.synthetic), names, tile=(1.6, 0.9))


def _spread(images: ImageSet, count: int) -> list[int]:
    """`count` identities (or all, if there are fewer), evenly spread over the sorted ones."""
    people = np.unique(images.identities)
    places = np.linspace(0, len(people) - 1, min(count, len(people))).astype(int)
    return [int(person) for person in people[places]]


def _shots(images: ImageSet, person: int, count: int, frame: str) -> list[Tile]:
    """Up to `count` images of a person, spread over the table, with camera and short side."""
    rows = np.flatnonzero(images.identities == person)
    chosen = np.unique(rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)])
    tiles = []
    for row in chosen:
        picture = read_image(images.paths[row])
        tiles.append(Tile(picture, f"{min(picture.shape[:2])} px", frame))
    return tiles


def _known(images: ImageSet, row: int) -> str:
    """Gender, pose label or joints of an image, in words."""
    gender = GENDERS.get(int(images.table["gender"].iloc[row]), "gender ?")
    if images.poses is not None:
        pose = f"pose {images.poses.iloc[row, 0]}"
    elif images.joints is not None and np.isfinite(images.joints[row]).all():
        pose = "17 joints"
    else:
        pose = "no pose"
    return f"{gender}\n{pose}" + ("\nfaulty" if images.faulty[row] else "")
