"""Pictures of a data set's people: outfits by letter, colours of clothes and hair, look-alikes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlqkit.data.images import read_image, read_mask
from rlqkit.data.imageset import ImageSet
from rlqkit.report.figures.sheets import LETTERS, Tile, headline_of, sheet
from rlqkit.report.style import CORRECT_COLOUR, WRONG_COLOUR

FARTHEST = 255.0
"""Distance, in grey levels, of images that have no part in common; none is larger."""


def outfit_letters(sets: Sequence[ImageSet]) -> dict[tuple[int, int], str]:
    """(identity, clothes id) -> "A", "B", …: a person's outfits, lettered over several sets."""
    table = pd.concat([images.table[["identity", "clothes"]] for images in sets]).drop_duplicates()
    letters = {}
    for identity, group in table.groupby("identity"):
        for position, clothes in enumerate(sorted(group["clothes"])):
            number, letter = divmod(position, len(LETTERS))
            letters[int(str(identity)), clothes] = LETTERS[letter] + (str(number) if number else "")
    return letters


def part_colours(images: ImageSet, parts: Sequence[int]) -> NDArray[np.float64]:
    """(n, 3 parts): mean RGB (0-255) inside each mask label, NaN where an image lacks it.

    Args:
        images: with masks.
        parts: mask labels, such as SHIRT and TROUSERS.

    Raises:
        RlqkitError: an image has no mask.
    """
    colours = np.full((len(images), len(parts), 3), np.nan)
    for i, (path, mask_path) in enumerate(zip(images.paths, images.mask_paths, strict=True)):
        image, mask = read_image(path), read_mask(mask_path)
        for k, label in enumerate(parts):
            inside = mask == label
            if inside.any():
                colours[i, k] = image[inside].mean(axis=0)
    return colours.reshape(len(images), -1)


def rms_distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_a, n_b) RMS differences over the columns that both rows have, ``FARTHEST`` if none.

    Args:
        a: (n_a, k), NaN where a number is missing.
        b: (n_b, k), likewise.
    """
    squares = (a[:, None] - b[None]) ** 2
    known = np.isfinite(squares).sum(axis=2)
    distances = np.sqrt(np.nansum(squares, axis=2) / np.maximum(known, 1))
    return np.where(known > 0, distances, FARTHEST)


def lookalike_sheet(
    query: ImageSet,
    gallery: ImageSet,
    distances: NDArray[np.float64],
    colours: NDArray[np.float64],
    count: int = 4,
) -> Figure:
    """Queries beside themselves in other clothes and beside a stranger in like colours.

    Of the queries with the more colourful half of the shirts (dark clothes all look alike), one an
    identity, those are shown whose stranger is nearest in clothes colour; beside each the same
    person's gallery image whose colours differ most.

    Args:
        query, gallery: test images.
        distances: (n_query, n_gallery) of the clothes' colours, grey levels.
        colours: (n_query, 3 or more), the shirt's RGB first; see ``part_colours``.
        count: people to show.
    """
    same = query.identities[:, None] == gallery.identities
    stranger = np.where(same, np.inf, distances)
    other = query.metric_arrays()[2][:, None] != gallery.metric_arrays()[2]
    changed = np.where(same & other, distances, -np.inf)
    shirts = colours[:, :3]
    colourful = shirts.max(axis=1) - shirts.min(axis=1)
    usable = (changed.max(axis=1) > 0) & (colourful >= np.nanmedian(colourful))
    order = [int(i) for i in np.argsort(stranger.min(axis=1), kind="stable") if usable[i]]
    first = pd.Series(query.identities[order], index=order).drop_duplicates().index[:count]
    row: list[Tile | None] = []
    labels: list[str] = []
    for i in first:
        a, b = int(changed[i].argmax()), int(stranger[i].argmin())
        row += [
            Tile(read_image(query.paths[i]), f"person {query.identities[i]}"),
            Tile(
                read_image(gallery.paths[a]),
                f"same person\nΔ {distances[i, a]:.0f}",
                CORRECT_COLOUR,
            ),
            Tile(read_image(gallery.paths[b]), f"stranger\nΔ {distances[i, b]:.0f}", WRONG_COLOUR),
            None,
        ]
        labels += ["query", "other\nclothes", "like\nclothes", ""]
    title = "Same person or same clothes? Δ: difference of clothes colour"
    return sheet([row[:-1]], headline_of(title, query.synthetic), (), labels[:-1], tile=(1.8, 0.76))
