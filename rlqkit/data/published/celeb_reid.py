"""Celeb-reID: celebrities in the street (Huang et al., TCSVT 2019). Nobody labelled clothes.

Every image is its own clothes class. There are no cameras either: every image counts as one of its
own, so that no match is dropped (the released code reads the first digit of the image's number as
its camera). Train and test both count people from 1.
"""

from __future__ import annotations

import re

from rlqkit.data.imageset import RetrievalTest
from rlqkit.data.published.layouts import Layout, Name, Part

_NAME = re.compile(r"(-?\d+)_(\d+)_(\d+)")


def parse(part: Part, inner: str, tracklet: str) -> Name | None:
    """`PID_N_X.jpg`: identity, number of the image, a figure without meaning."""
    match = _NAME.fullmatch(inner.rpartition("/")[2].rpartition(".")[0])
    return None if match is None else Name(int(match[1]), 0)


LAYOUT = Layout(
    name="celeb-reid",
    title="Celeb-reID",
    holders=("Celeb-reID", "Celeb-ReID"),
    parts=(Part("train", "train"), Part("query", "query"), Part("gallery", "gallery")),
    naming="PID_N_X.jpg (identity, image, a figure)",
    parse=parse,
    tests=(RetrievalTest("general"),),
    running_camera=True,
    numbered_apart=True,
    external=True,
)
