"""How label files name images: with or without folders, with or without extension."""

from __future__ import annotations

from rlqkit.data.imageset import ImageSet
from rlqkit.data.published.index import EXTENSIONS


def rows_by_key(images: ImageSet) -> dict[str, int]:
    """Names under which label files may list an image -> its row in the table.

    For PRCC's train/001/A_cropped_rgb001.jpg: `train/001/A_cropped_rgb001`,
    `001/A_cropped_rgb001`, `001_A_cropped_rgb001` (the authors'), and `A_cropped_rgb001` if that
    were unique.
    """
    rows: dict[str, int] = {}
    stems: dict[str, list[int]] = {}
    pairs = zip(images.table["file"], images.table["part"], strict=True)
    for row, (file, part) in enumerate(pairs):
        whole = file.rpartition(".")[0]
        inner = whole.removeprefix(f"{part}/")
        rows |= {whole: row, inner: row, inner.replace("/", "_"): row}
        stems.setdefault(inner.rpartition("/")[2], []).append(row)
    return {stem: found[0] for stem, found in stems.items() if len(found) == 1} | rows


def key_of(text: str) -> str:
    """A label file's name of an image as a key of `rows_by_key`: no extension, plain slashes."""
    name = text.strip().replace("\\", "/").removeprefix("./")
    stem, dot, extension = name.rpartition(".")
    return stem if dot and f".{extension.lower()}" in EXTENSIONS else name
