"""PRCC: three cameras, A and B in one outfit, C in another (Yang et al., TPAMI 2019).

The test folders are swapped: camera first, person inside. A is the gallery, B the same-clothes
and C the clothes-changing queries. Validation images are further images of the training people.
"""

from __future__ import annotations

import re

from rlqkit.data.imageset import RetrievalTest
from rlqkit.data.published.layouts import Layout, Name, Part

CAMERAS = {"A": 1, "B": 2, "C": 3}
OUTFITS = {"A": "1", "B": "1", "C": "2"}
_PERSON = re.compile(r"-?\d+")


def parse(part: Part, inner: str, tracklet: str) -> Name | None:
    """`PPP/A_cropped_rgbNNN.jpg` in train and val, `A/PPP/...` in test."""
    person, _, file = inner.rpartition("/")
    place, _, letter = part.folder.partition("/")
    if place != "test":
        letter = file[:1] if file[1:2] == "_" else ""
    if letter not in CAMERAS or not _PERSON.fullmatch(person):
        return None
    split = ("val_gallery" if letter == "A" else "val_query") if place == "val" else ""
    return Name(int(person), CAMERAS[letter], OUTFITS[letter], split)


def _tests() -> tuple[RetrievalTest, ...]:
    """Both shots of both protocols: papers differ in which they mean."""
    return tuple(
        RetrievalTest(f"{rule} {shot}-shot", query, "gallery", rule, draws)
        for shot, draws in (("single", 10), ("multi", 0))
        for rule, query in (("SC", "query_sc"), ("CC", "query_cc"))
    )


LAYOUT = Layout(
    name="prcc",
    title="PRCC",
    holders=("rgb", "PRCC/rgb", "prcc/rgb"),
    parts=(
        Part("train", "train"),
        Part("val", "val_query", optional=True),
        Part("test/A", "gallery"),
        Part("test/B", "query_sc"),
        Part("test/C", "query_cc"),
    ),
    naming="PPP/A_cropped_rgbNNN.jpg (test: A/PPP/cropped_rgbNNN.jpg), camera A, B or C",
    parse=parse,
    tests=_tests(),
)
