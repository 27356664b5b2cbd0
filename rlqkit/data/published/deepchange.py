"""DeepChange: 17 cameras over a year (Xu and Zhu, ICCV 2023). Lists say which images count.

The tracklet stands in for the camera, as the data set's authors evaluate: matches from the query's
camera are allowed, those from its own tracklet are not. One day's clothes are one outfit.
"""

from __future__ import annotations

import re

from rlqkit.data.imageset import RetrievalTest
from rlqkit.data.published.layouts import Layout, Name, Part

_NAME = re.compile(r"[Pp](-?\d+)_[^_]+_([^_.]+).*")


def parse(part: Part, inner: str, tracklet: str) -> Name | None:
    """`pPPPP_cCC_DATE_....jpg,tracklet` of a list."""
    match = _NAME.fullmatch(inner.rpartition("/")[2])
    if match is None or not tracklet.isdecimal():
        return None
    return Name(int(match[1]), int(tracklet), match[2])


def _part(folder: str, split: str) -> Part:
    return Part(folder, split, listing=f"{folder}-bbox.txt")


LAYOUT = Layout(
    name="deepchange",
    title="DeepChange",
    holders=("DeepChangeDataset", "DeepChange", "DeepChange/DeepChangeDataset"),
    parts=(
        _part("train-set", "train"),
        _part("val-set-query", "val_query"),
        _part("val-set-gallery", "val_gallery"),
        _part("test-set-query", "query"),
        _part("test-set-gallery", "gallery"),
    ),
    naming="pPPPP_cCC_DATE_....jpg (identity, camera, date) with a tracklet number in its list",
    parse=parse,
    tests=(RetrievalTest("general"),),
)
