"""Collapse seen on images: cosine matrices ordered by person, and strips of nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from PIL import Image

from rlqkit.randomness import generator
from rlqkit.report.figures.sheets import Picture, Tile, sheet
from rlqkit.report.style import HQ_COLOUR, LQ_COLOUR

Matrix = NDArray[np.floating[Any]]
SIDE = 5.6
"""Of a matrix, in inches."""
CELL = (72, 36)
"""Height and width of a photo along the axes, in its own pixels."""


def some_people(
    identity: NDArray[np.int64],
    camera: NDArray[np.int64],
    people: int = 16,
    each: int = 6,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Images of a few people, drawn at random: nobody is chosen for how they look.

    Args:
        identity, camera: (n,) of all images.
        people: how many people; fewer if there are fewer.
        each: images of each at most, from as many cameras as they have. People with a single
            image come only where a single one is asked for.
        seed: of the drawing.

    Returns:
        Indices, ordered by person.
    """
    rng = generator(seed, "evaluation")
    known, counts = np.unique(identity, return_counts=True)
    drawn = rng.permutation(known[counts >= min(each, 2)])[:people]
    chosen: list[int] = []
    for person in np.sort(drawn):
        images = rng.permutation(np.flatnonzero(identity == person))
        turn = [int((camera[images[:i]] == camera[one]).sum()) for i, one in enumerate(images)]
        chosen += images[np.argsort(turn, kind="stable")[:each]].tolist()
    return np.array(chosen, dtype=np.int64)


def person_cosines(hq: Matrix, lq: Matrix, identity: NDArray[np.int64]) -> Matrix:
    """(2 P, 2 P) mean cosine of the images of two people: all in HQ first, then all in LQ.

    An image is never compared with itself, nor its HQ with its own LQ version: the diagonals tell
    how alike different images of one person are. NaN there for people with a single image.

    Args:
        hq, lq: (n, d) features with rows of norm 1, row i of both from image i.
        identity: (n,); people come in the order of their identities.
    """
    _, code, count = np.unique(identity, return_inverse=True, return_counts=True)
    people = len(count)
    sums = np.zeros((2, people, hq.shape[1]))
    for side, features in enumerate((hq, lq)):
        np.add.at(sums[side], code, features.astype(np.float64))
    means = np.empty((2, people, 2, people))
    pairs = np.outer(count, count) - np.diag(count)
    for one, other in np.ndindex(2, 2):
        own = np.einsum("nd,nd->n", (hq, lq)[one], (hq, lq)[other])  # an image with itself
        total = sums[one] @ sums[other].T - np.diag(np.bincount(code, own, people))
        means[one, :, other] = np.divide(
            total, pairs, out=np.full((people, people), np.nan), where=pairs > 0
        )
    return means.reshape(2 * people, 2 * people)


def plot_cosine_matrices(
    models: Mapping[str, tuple[Matrix, Matrix]],
    identity: NDArray[np.int64],
    photos: Sequence[tuple[Picture, Picture]],
    title: str,
    columns: int = 2,
) -> Figure:
    """How alike a few people are, pair by pair (``person_cosines``), model beside model.

    Healthy features give a bright diagonal in all four quarters and darkness elsewhere. Collapsed
    ones give one bright square where LQ meets LQ.

    Args:
        models: name → HQ and LQ features (n, d) of the same images.
        identity: (n,) of these images.
        photos: HQ and LQ photo of each person, in the order of their identities.
        title: of the figure.
        columns: matrices side by side.
    """
    cosines = {name: person_cosines(*features, identity) for name, features in models.items()}
    # from unlike to the likest pairs of a middling model; untrained ones may lie above throughout
    brightest = float(np.median([np.nanquantile(matrix, 0.97) for matrix in cosines.values()]))
    rows = -(-len(models) // columns)
    size = ((SIDE + 0.5) * columns + 0.9, (SIDE + 1.4) * rows + 0.5)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False)
    image = None
    for axes, (name, matrix) in zip(grid.flat, cosines.items(), strict=False):
        image = _draw_matrix(axes, matrix, max(brightest, 0.1), len(photos))
        _photo_axis(axes, [pair[side] for side in (0, 1) for pair in photos])
        above = SIDE / len(photos) * 72  # what the photos take, in points
        axes.set_title(f"{name}\n{_strangers(matrix)}", fontsize=11, pad=above + 6)
    for axes in grid.flat[len(models) :]:
        axes.set_axis_off()
    assert image is not None
    bar = figure.colorbar(image, ax=grid, shrink=0.5, pad=0.02, extend="both")
    bar.set_label("mean cosine of two people's images")
    figure.suptitle(title, fontsize=13)
    return figure


def _draw_matrix(axes: Axes, matrix: Matrix, brightest: float, half: int) -> AxesImage:
    image = axes.imshow(matrix, cmap="magma", vmin=0, vmax=brightest, interpolation="nearest")
    axes.axhline(half - 0.5, color="white", linewidth=1.5)
    axes.axvline(half - 0.5, color="white", linewidth=1.5)
    middles = [half / 2 - 0.5, 1.5 * half - 0.5]
    axes.set_xticks(middles, ["HQ", "LQ"], fontsize=11, weight="bold")
    axes.set_yticks(middles, ["HQ", "LQ"], fontsize=11, weight="bold")
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        for text, colour in zip(labels, (HQ_COLOUR, LQ_COLOUR), strict=True):
            text.set_color(colour)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    return image


def _photo_axis(axes: Axes, photos: Sequence[Picture]) -> None:
    """Photos along the upper side, one a block of the matrix."""
    cells = [np.asarray(Image.fromarray(photo).resize(CELL[::-1])) for photo in photos]
    strip = axes.inset_axes((0, 1.008, 1, 2 / len(photos)))
    strip.imshow(np.concatenate(cells, axis=1), aspect="auto", interpolation="antialiased")
    strip.set_axis_off()


def _strangers(matrix: Matrix) -> str:
    """Mean cosine of two different people, among HQ and among LQ images."""
    half = len(matrix) // 2
    other = ~np.eye(half, dtype=bool)
    hq, lq = matrix[:half, :half][other].mean(), matrix[half:, half:][other].mean()
    return f"two different people: {hq:+.2f} in HQ, {lq:+.2f} in LQ"


def plot_neighbour_strips(
    queries: Sequence[int],
    neighbours: Mapping[str, NDArray[np.int64]],
    identity: NDArray[np.int64],
    picture: Callable[[int], Picture],
    title: str,
    across: int = 2,
) -> Figure:
    """LQ queries and their nearest images, one model above the other.

    The frame of an image tells its quality; a tick below it, that it shows the query's person.

    Args:
        queries: images, as positions 0..n-1.
        neighbours: model → (n, k) pool positions, nearest first (``collapse.lq_neighbours``):
            i < n is HQ image i, n + i is LQ image i.
        identity: (n,).
        picture: from a pool position to the image, uint8 (H, W, 3).
        title: of the figure.
        across: queries side by side.
    """
    n = len(identity)
    rows: list[list[Tile | None]] = []
    labels: list[str] = []
    for start in range(0, len(queries), across):
        for number, (model, found) in enumerate(neighbours.items()):
            row: list[Tile | None] = []
            for query in queries[start : start + across]:
                row += [None] if row else []
                row += [_query_tile(query, n, number, picture), None]
                row += [_neighbour_tile(i, query, identity, picture) for i in found[query]]
            rows.append(row)
            labels.append(model)
    k = next(iter(neighbours.values())).shape[1]
    heads = ["", "", *(["nearest", *map(str, range(2, k + 1))])]
    return sheet(
        rows, title, labels, [*heads, *(["", *heads] * (across - 1))],
        legend={"HQ image": HQ_COLOUR, "LQ image": LQ_COLOUR}, tile=(1.25, 0.6),
    )  # fmt: skip


def _query_tile(query: int, n: int, number: int, picture: Callable[[int], Picture]) -> Tile | None:
    """The query beside the first model; its HQ original beside the second."""
    if number == 0:
        return Tile(picture(n + query), "query, LQ")
    return Tile(picture(query), "its original", faded=True) if number == 1 else None


def _neighbour_tile(
    position: int, query: int, identity: NDArray[np.int64], picture: Callable[[int], Picture]
) -> Tile:
    n = len(identity)
    right = identity[position % n] == identity[query]
    colour = LQ_COLOUR if position >= n else HQ_COLOUR
    return Tile(picture(int(position)), "✓ right" if right else "", colour)
