"""What the data sets' authors published about them: counts, resolutions, LTCC's file list."""

from __future__ import annotations

import gzip
import json
from functools import cache
from importlib import resources
from typing import Any

RESOLUTION_BINS = (0, 32, 64, 128, 256)
"""Lower bounds in pixels of an image's short side; the last bin has no upper bound."""
TOGETHER = {
    "val": ("val_query", "val_gallery"),
    "test": ("query", "query_sc", "query_cc", "gallery"),
}
"""Names that published figures use for several splits at once."""


@cache
def _all_figures() -> dict[str, Any]:
    text = (resources.files("rlqkit.data.published") / "published.json").read_text(encoding="utf-8")
    figures: dict[str, Any] = json.loads(text)
    return figures


def published(name: str) -> dict[str, Any]:
    """Figures of a data set: `source`, `splits` (split -> images, identities, outfits, cameras)
    and `resolution` (split -> images in each of RESOLUTION_BINS), see published.json."""
    figures: dict[str, Any] = _all_figures()[name]
    return figures


def published_images(name: str) -> dict[str, int]:
    """Split -> published images; {} for a data set that isn't published (rendered or own).

    PRCC's ``val`` is left out: it shows the people of the training set, so no run has to read it.
    """
    splits = _all_figures().get(name, {}).get("splits", {})
    return {split: int(of["images"]) for split, of in splits.items() if split not in TOGETHER}


@cache
def published_files(name: str) -> dict[str, int]:
    """Every image of a data set, relative to its folder -> its resolution bin; {} if the list
    isn't public (it is for LTCC)."""
    file = resources.files("rlqkit.data.published") / f"{name}_files.txt.gz"
    if not file.is_file():
        return {}
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    return {path: int(bin_) for path, bin_ in (line.split(" ") for line in lines)}
