"""Draws a few people of a finished data set again, to see whether this machine gives its bytes."""

from __future__ import annotations

import io
import json
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rlqkit.errors import RlqkitError
from rlqkit.progress import bar
from wardrobe.render.custom import spec_from_settings
from wardrobe.render.extras import require
from wardrobe.render.generate import Studio, cpu_name, encode_image, encode_mask, mask_path


@dataclass(frozen=True)
class Redrawn:
    """What drawing again showed."""

    people: int
    images: int
    differing: list[str]
    """Files whose image or mask has other bytes."""
    largest: int
    """Largest difference of a channel of an image, 0..255."""
    versions: list[str]
    """What differs between this machine and the one that made the data set."""

    def to_text(self) -> str:
        """Return one paragraph for people."""
        what = f"{self.images} images of {self.people} people drawn again"
        if not self.differing:
            return f"{what}: every byte is as shipped."
        return (
            f"{what}: {len(self.differing)} differ, by at most {self.largest} of 255 (the first: "
            f"{self.differing[0]}). Other than where the set was made: {'; '.join(self.versions)}. "
            "The shipped images stand: SHA256SUMS decides, not a new rendering."
        )


def other_versions(card: dict[str, Any]) -> list[str]:
    """Return which libraries, and which CPU, are not those that dataset.json names."""
    found = []
    for name, made in sorted(card.get("libraries", {}).items()):
        here = metadata.version(name)
        if here != made:
            found.append(f"{name} {here} instead of {made}")
    made_on = card.get("cpu")
    if made_on is None:
        found.append(f"perhaps the CPU, which the set doesn't name (here {cpu_name()})")
    elif made_on != cpu_name():
        found.append(f"CPU {cpu_name()} instead of {made_on}")
    return found or [f"nothing that dataset.json names (system: {platform.platform()})"]


def draw_again(root: Path, people: int = 3, seed: int = 0) -> Redrawn:
    """Draw some ``people`` of the data set in ``root`` again and compare images and masks.

    Args:
        root: folder of a rendered data set.
        people: how many identities, from all groups.
        seed: chooses them.

    Raises:
        RlqkitError: a package of the extra ``render`` or a file is missing, or the data
            set was not rendered.
    """
    require("anny")
    path = root / "dataset.json"
    if not path.is_file():
        raise RlqkitError(f"{path} is missing: only rendered data sets can be drawn again")
    card = json.loads(path.read_text(encoding="utf-8"))
    spec = spec_from_settings(card.get("generator", {}))
    numbers = np.random.default_rng(seed).permutation(list(spec.numbers()))[:people].tolist()
    studio = Studio(spec, root)
    images, largest, differing = 0, 0, []
    for number in bar(numbers, unit="person", desc="drawing again"):
        for shot, picture in studio.pictures(number):
            images += 1
            content = encode_image(picture.image, spec.quality)
            shipped = _read(root / shot.file)
            same = content == shipped
            if not same:
                largest = max(largest, _largest_difference(content, shipped))
            if shot.split != "external":
                same &= encode_mask(picture.labels) == _read(mask_path(root, shot.file))
            differing += [] if same else [shot.file]
    return Redrawn(len(numbers), images, differing, largest, other_versions(card))


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise RlqkitError(f"{path} is missing: restore the data set")
    return path.read_bytes()


def _largest_difference(first: bytes, second: bytes) -> int:
    a, b = (np.asarray(Image.open(io.BytesIO(c)).convert("RGB"), int) for c in (first, second))
    return int(np.abs(a - b).max()) if a.shape == b.shape else 255
