"""LaST: people of films, 228,000 images (Shu et al., TCSVT 2022). Clothes: labelled in train only.

There are no cameras: every image counts as one of its own, so that no match is dropped.
"""

from __future__ import annotations

from rlqkit.data.imageset import RetrievalTest
from rlqkit.data.published.layouts import Layout, Name, Part


def parse(part: Part, inner: str, tracklet: str) -> Name | None:
    """Identity first and clothes last in the name, underscores between; folders don't matter."""
    pieces = inner.rpartition("/")[2].partition(".")[0].split("_")
    person, outfit = pieces[0], pieces[-1]
    if len(pieces) < 2 or not person.removeprefix("-").isdecimal() or not outfit:
        return None
    return Name(int(person), 0, outfit if part.split == "train" else "")


LAYOUT = Layout(
    name="last",
    title="LaST",
    holders=("last", "LaST"),
    parts=(
        Part("train", "train"),
        Part("val/query", "val_query"),
        Part("val/gallery", "val_gallery"),
        Part("test/query", "query"),
        Part("test/gallery", "gallery"),
    ),
    naming="PPPPPP_..._CCC.jpg (identity first, clothes last)",
    parse=parse,
    tests=(
        RetrievalTest("general (val)", "val_query", "val_gallery"),
        RetrievalTest("general"),
    ),
    running_camera=True,
)
