"""A digest of what a run reads, so that a run never goes on with other data than it began with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from rlqkit.data.imageset import ImageSet


def fingerprint(
    splits: Mapping[str, ImageSet], parts: Collection[str] | None = None
) -> dict[str, str]:
    """What the splits of a data set were read as, by part, 16 hexadecimal digits each.

    Where it lies doesn't count, so a data set may be moved. Images count by name and labels, masks
    by name and size in bytes: neither is decoded.

    Args:
        splits: by name.
        parts: of ``PARTS``, those that are read; None = all.

    Returns:
        Of these: images (names, identities, cameras, clothes of every split), gender, poses (given
        labels and joints), masks.
    """
    sets = [splits[name] for name in sorted(splits)]
    return {
        part: _digest(content for images in sets for content in contents(images))
        for part, contents in PARTS.items()
        if parts is None or part in parts
    }


def _images(images: ImageSet) -> Iterable[bytes]:
    yield _rows(images, "file", "identity", "camera", "clothes")


def _genders(images: ImageSet) -> Iterable[bytes]:
    yield _rows(images, "file", "gender")


def _rows(images: ImageSet, *columns: str) -> bytes:
    return images.table[list(columns)].to_csv(index=False).encode()


def _poses(images: ImageSet) -> Iterable[bytes]:
    if images.poses is not None:
        yield images.poses.to_csv(index=False).encode()
    if images.joints is not None:
        yield np.ascontiguousarray(images.joints).tobytes()


def _masks(images: ImageSet) -> Iterable[bytes]:
    yield images.mask_format.encode()
    for column in ("mask", "trousers", "faulty"):
        if column in images.table:
            for value in images.table[column]:
                yield _mask(images.root, value) if isinstance(value, str) else str(value).encode()


def _mask(root: Path, file: str) -> bytes:
    if not file:
        return b"-"
    path = root / file
    size = path.stat().st_size if path.is_file() else -1
    return f"{path.parent.name}/{path.name} {size}".encode()


PARTS: dict[str, Callable[[ImageSet], Iterable[bytes]]] = {
    "images": _images, "gender": _genders, "poses": _poses, "masks": _masks,
}  # fmt: skip
"""Part of a data set → its contents."""


def _digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()[:16]
