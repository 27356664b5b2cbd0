"""LTCC: long-term, clothes changing, 12 cameras, outfits labelled (Qian et al., ACCV 2020)."""

from __future__ import annotations

import re

from rlqkit.data.imageset import RetrievalTest
from rlqkit.data.published.layouts import Layout, Name, Part

_NAME = re.compile(r"(-?\d+)_(\d+)_c(\d+)_(\d+)")


def parse(part: Part, inner: str, tracklet: str) -> Name | None:
    """`PPP_C_cNN_FFFFFF.png`: identity, outfit, camera, frame."""
    match = _NAME.fullmatch(inner.rpartition("/")[2].rpartition(".")[0])
    if match is None:
        return None
    identity, outfit, camera, _ = match.groups()
    return Name(int(identity), int(camera), str(int(outfit)))


LAYOUT = Layout(
    name="ltcc",
    title="LTCC",
    holders=("LTCC_ReID", "LTCC", "LTCC/LTCC_ReID"),
    parts=(Part("train", "train"), Part("query", "query"), Part("test", "gallery")),
    naming="PPP_C_cNN_FFFFFF.png (identity, outfit, camera, frame)",
    parse=parse,
    tests=tuple(RetrievalTest(rule, rule=rule) for rule in ("general", "SC", "CC")),
)
