"""What the data sets' authors published about them: counts, resolutions, LTCC's file list."""

from __future__ import annotations

import gzip
import json
from functools import cache
from importlib import resources
from typing import Any

RESOLUTION_BINS = (0, 32, 64, 128, 256)
"""Lower bounds in pixels of an image's short side; the last bin has no upper bound."""


@cache
def published(name: str) -> dict[str, Any]:
    """Figures of a data set: `source`, `splits` (split -> images, identities, outfits, cameras)
    and `resolution` (split -> images in each of RESOLUTION_BINS), see published.json."""
    text = (resources.files("rlqkit.benchmarks") / "published.json").read_text(encoding="utf-8")
    figures: dict[str, Any] = json.loads(text)[name]
    return figures


@cache
def published_files(name: str) -> dict[str, int]:
    """Every image of a data set, relative to its folder -> its resolution bin; {} if the list
    isn't public (it is for LTCC)."""
    file = resources.files("rlqkit.benchmarks") / f"{name}_files.txt.gz"
    if not file.is_file():
        return {}
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    return {path: int(bin_) for path, bin_ in (line.split(" ") for line in lines)}
