"""How label files name images: with or without folders, with or without extension."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlqkit.data.imageset import ImageSet
from rlqkit.data.published.index import EXTENSIONS
from rlqkit.errors import RlqkitError


@dataclass(frozen=True)
class Names:
    """What names mean in a label file about the images of one split.

    Attributes:
        rows: name -> row of the split's table, see `rows_by_key`.
        whole: those of them that start with the part's folder, and so mean one image only.
        repeated: file name that several images of the split bear in different folders -> how many.
        elsewhere: name, without the part's folder, that images of another split bear too -> split.
    """

    rows: Mapping[str, int]
    whole: frozenset[str] = frozenset()
    repeated: Mapping[str, int] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)


def names_of(images: ImageSet, others: Iterable[ImageSet]) -> Names:
    """The names of a split's images, beside those of the data set's other splits.

    Splits that show the very same files (Celeb-reID's train and external) are no others.
    """
    rows = rows_by_key(images)
    files = set(_plain(images, "file"))
    elsewhere: dict[str, str] = {}
    for other in others:
        if files.isdisjoint(_plain(other, "file")):
            split = other.name.rpartition("/")[2]
            elsewhere |= dict.fromkeys(rows.keys() & _loose_names(other), split)
    counts = Counter(map(_stem, _plain(images, "file")))
    whole = frozenset(file.rpartition(".")[0] for file in files)
    repeated = {stem: n for stem, n in counts.items() if n > 1 and stem not in rows}
    return Names(rows, whole, repeated, elsewhere)


def match(file: Path, listed: Iterable[str], names: Names, images: ImageSet) -> NDArray[np.int64]:
    """(k,) row of each listed image, -1 if it isn't in the split.

    A name that another split has too means nothing beside one that starts with the folder.

    Raises:
        RlqkitError: a name that several images bear, in this split or in another; `file` is named.
    """
    keys = [key_of(name) for name in listed]
    _refuse_repeated(file, keys, names, images)
    found = np.array([names.rows.get(key, -1) for key in keys], dtype=np.int64)
    if not names.elsewhere:
        return found
    qualified = {names.rows[key] for key in keys if key in names.whole}
    for place, key in enumerate(keys):
        if key not in names.elsewhere or key in names.whole:
            continue
        if found[place] not in qualified:
            row = images.table.iloc[int(found[place])]
            raise RlqkitError(
                f"{file}: {key} may be an image of {images.name} or of {names.elsewhere[key]} "
                f"({len(names.elsewhere.keys() & set(keys))} such names): write the folder in "
                f"front of every name, as in {row['file']}"
            )
        found[place] = -1
    return found


def _refuse_repeated(file: Path, keys: list[str], names: Names, images: ImageSet) -> None:
    ambiguous = [key for key in keys if key in names.repeated]
    if not ambiguous:
        return
    matched = len({names.rows[key] for key in keys if key in names.rows})
    first = next(f for f in images.table["file"] if _stem(f) == ambiguous[0])
    raise RlqkitError(
        f"{file}: {matched} of {len(images)} images of {images.name} matched, the others' names "
        f"are ambiguous ({ambiguous[0]} is the name of {names.repeated[ambiguous[0]]} images): "
        f"write the folder in front, as in {first}"
    )


def _loose_names(images: ImageSet) -> set[str]:
    """Names of a split's images without the part's folder, also such as several share."""
    pairs = zip(_plain(images, "file"), _plain(images, "part"), strict=True)
    inner = {file.rpartition(".")[0].removeprefix(f"{part}/") for file, part in pairs}
    joined = {name.replace("/", "_") for name in inner}
    return inner | joined | {name.rpartition("/")[2] for name in inner}


def _plain(images: ImageSet, column: str) -> list[str]:
    """A column of text; going through pandas' own array one by one takes seconds."""
    texts: list[str] = images.table[column].to_numpy(dtype=object).tolist()
    return texts


def _stem(file: str) -> str:
    return file.rpartition("/")[2].rpartition(".")[0]


def rows_by_key(images: ImageSet) -> dict[str, int]:
    """Names under which label files may list an image -> its row in the table.

    For PRCC's train/001/A_cropped_rgb001.jpg: `train/001/A_cropped_rgb001`,
    `001/A_cropped_rgb001`, `001_A_cropped_rgb001` (the authors'), and `A_cropped_rgb001` if that
    were unique.
    """
    rows: dict[str, int] = {}
    stems: dict[str, list[int]] = {}
    pairs = zip(_plain(images, "file"), _plain(images, "part"), strict=True)
    for row, (file, part) in enumerate(pairs):
        whole = file.rpartition(".")[0]
        inner = whole.removeprefix(f"{part}/")
        rows[whole] = rows[inner] = rows[inner.replace("/", "_")] = row
        stems.setdefault(inner.rpartition("/")[2], []).append(row)
    return {stem: found[0] for stem, found in stems.items() if len(found) == 1} | rows


def key_of(text: str) -> str:
    """A label file's name of an image as a key of `rows_by_key`: no extension, plain slashes."""
    name = text.strip().replace("\\", "/").removeprefix("./")
    stem, dot, extension = name.rpartition(".")
    return stem if dot and f".{extension.lower()}" in EXTENSIONS else name
