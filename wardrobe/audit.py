"""Shortcut audit: what finds a person without looking at the person.

A clothes-changing benchmark is worth something only if nothing but the person leads to the person.
Here backgrounds, colours, camera numbers, image sizes and the order of the files each search the
gallery by themselves. Under CC they must do no better than when the gallery's people are
*exchanged*: everything stays as it is, but each gallery person gets the images of another. That
null keeps what the protocol and the cameras do by themselves.

**Own camera last.** Backgrounds and colours find the query's camera first, and no match is ever
there (the protocols drop the person's images of that camera), so rank-1 would be 0 with or without
a leak. Here the images of the query's own camera go to the end of the list; what is compared is
the rest, where the matches are. Chance is counted likewise. And since light and walls differ from
camera to camera, colours are taken relative to the mean over the camera's images.

**Whole images.** "colour histogram" sees the person too. If it is above chance while backgrounds
and clothes are not, skin and hair are what it found: the person's own colours, and no leak of the
scene. The verdict states the figure all the same.

**Ties.** A camera number ties with a quarter of the gallery. The metrics rank ties in gallery
order, which would turn the order of the files into a leak or hide one, so here every query ranks
its ties in a random order of the gallery drawn for that query from the audit's seed; figures are
means over a few such draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from rlqkit.data.images import BAG, NOBODY, SHIRT, SHOES, TROUSERS, read_image, read_mask
from rlqkit.data.imageset import ImageSet
from rlqkit.evaluation.intervals import Interval, clustered_interval
from rlqkit.evaluation.metrics import Labels, Retrieval, chance_rank1, evaluate_distances
from rlqkit.progress import bar
from rlqkit.randomness import generator

Picture = NDArray[np.uint8]
Distances = NDArray[np.float64]
CLOTHES = (SHIRT, TROUSERS, SHOES, BAG)
DILATION = 0.03
"""How far a person is grown before the rest counts as background, in heights of the image."""
HISTOGRAM_BINS = 4
"""Levels of each colour channel in a colour histogram (64 cells)."""
GRID = (8, 4)
"""Rows and columns of the downsampled background."""
TIE_DRAWS = 5
"""Random orders of the gallery that figures of tied distances are averaged over."""
EXCHANGES = 500
"""Random exchanges of the gallery's people behind the expected rank-1."""
CONTROL = "nothing (control)"
"""All images alike, so all are ties: has to be at chance, or the audit itself is wrong."""
AT_CHANCE, LEAKS = "at chance", "leaks"


def background_of(mask: Picture) -> NDArray[np.bool_]:
    """(H, W) bool: pixels surely outside the person, whose mask is first grown by ``DILATION``."""
    radius = max(1, round(DILATION * mask.shape[0]))
    person = binary_dilation(mask != NOBODY, np.ones((3, 3)), iterations=radius)
    return np.logical_not(person)


def colour_histogram(image: Picture, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Roots of the shares of 64 RGB cells among the pixels in ``where``: (64,), norm 1.

    Euclidean distances of such roots are Hellinger distances. All 0 if ``where`` is empty.
    """
    levels = image[where].astype(np.int64) * HISTOGRAM_BINS // 256
    cells = levels @ np.array([HISTOGRAM_BINS**2, HISTOGRAM_BINS, 1])
    counts = np.bincount(cells, minlength=HISTOGRAM_BINS**3)
    return np.sqrt(counts / max(len(cells), 1))


def colour_grid(image: Picture, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean RGB (0-255) of the pixels in ``where``, cell by cell: (rows · columns · 3,).

    NaN for a cell without such a pixel.
    """
    height, width = where.shape
    rows = np.arange(height) * GRID[0] // height
    columns = np.arange(width) * GRID[1] // width
    cells = (rows[:, None] * GRID[1] + columns)[where]
    size = GRID[0] * GRID[1]
    counts = np.bincount(cells, minlength=size).astype(float)
    sums = [np.bincount(cells, image[where][:, c], minlength=size) for c in range(3)]
    with np.errstate(invalid="ignore"):
        return (np.stack(sums, axis=1) / counts[:, None]).ravel()


def grid_distances(query: NDArray[np.float64], gallery: NDArray[np.float64]) -> Distances:
    """RMS difference over the cells known on both sides: (n, d), (m, d) → (n, m).

    255 where two images have no cell in common.
    """
    (q, q_known), (g, g_known) = (
        (np.nan_to_num(side), np.isfinite(side).astype(float)) for side in (query, gallery)
    )
    squares = q**2 @ g_known.T + q_known @ (g**2).T - 2 * q @ g.T
    shared = q_known @ g_known.T
    rms = np.sqrt(np.maximum(squares, 0) / np.maximum(shared, 1))
    return np.where(shared > 0, rms, 255.0)


def shortcut_distances(query: ImageSet, gallery: ImageSet) -> dict[str, Distances]:
    """Every shortcut's (n_query, n_gallery) distances, smaller is nearer.

    Args:
        query, gallery: test sets with masks.

    Raises:
        RlqkitError: an image has no mask, or can't be read.
    """
    q, g = _pixel_descriptors(query), _pixel_descriptors(gallery)
    # Without NaN these are plain Euclidean distances, up to a factor:
    distances = {name: grid_distances(q[name], g[name]) for name in q}
    camera, size = (
        [images.table[list(names)].to_numpy(float) for images in (query, gallery)]
        for names in (("camera",), ("height", "width"))
    )
    place = [(np.arange(len(images)) / len(images))[:, None] for images in (query, gallery)]
    for name, (a, b) in {"camera id": camera, "image size": size, "file order": place}.items():
        distances[name] = np.linalg.norm(a[:, None] - b[None], axis=2)
    # to float32's accuracy, so that arithmetic can't untie what is equal
    distances = {
        name: matrix.astype(np.float32).astype(float) for name, matrix in distances.items()
    }
    return distances | {CONTROL: np.zeros((len(query), len(gallery)))}


def audit_shortcuts(
    query: ImageSet,
    gallery: ImageSet,
    protocols: tuple[str, ...] = ("CC", "SC"),
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """What every shortcut finds, and what it would find if people were exchanged.

    Args:
        query, gallery: test sets with masks.
        protocols: CC must be at chance; SC stands beside it for contrast.
        seed: of ties, exchanges and bootstrap.
        progress: show a bar.

    Returns:
        One row per shortcut and protocol, in percent: rank1 with the 95 % interval low, high
        (bootstrap over identities), chance (a gallery in random order), expected and
        expected_high (mean and 97.5 % point of rank-1 over exchanges of people), mAP, and the
        verdict on CC: "leaks" if the interval lies above ``expected`` and the figure above
        ``expected_high``, else "at chance"; "" under SC, where clothes may well be found.

    Raises:
        RlqkitError: an image lacks its mask, or a protocol has no valid query.
    """
    distances = shortcut_distances(query, gallery)
    records = []
    for name, matrix in bar(distances.items(), desc="shortcuts", disable=not progress):
        orders = gallery_orders(matrix, query, gallery, seed)
        for protocol in protocols:
            record: dict[str, Any] = {"shortcut": name, "protocol": protocol}
            records.append(record | measure_orders(orders, query, gallery, protocol, seed))
    return pd.DataFrame(records)


def measure_shortcut(
    distances: Distances, query: ImageSet, gallery: ImageSet, protocol: str = "CC", seed: int = 0
) -> dict[str, Any]:
    """One line of ``audit_shortcuts``: its figures in percent, and the verdict."""
    orders = gallery_orders(distances, query, gallery, seed)
    return measure_orders(orders, query, gallery, protocol, seed)


def measure_orders(
    orders: list[NDArray[np.int64]],
    query: ImageSet,
    gallery: ImageSet,
    protocol: str = "CC",
    seed: int = 0,
) -> dict[str, Any]:
    """``measure_shortcut`` of a shortcut whose ``gallery_orders`` are known."""
    labels = Labels(*query.metric_arrays()), Labels(*gallery.metric_arrays())
    tables, average_precision = [], []
    for draw, order in enumerate(orders):
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(order.shape[1])[None], axis=1)
        found = evaluate_distances(ranks, *labels, protocol)
        tables.append(query_table(found, query).assign(seed=draw))
        average_precision.append(found.mAP)
    interval = clustered_interval(pd.concat(tables, ignore_index=True), seed=seed)
    exchanged = exchanged_rank1(orders, *labels, protocol, seed)
    expected, expected_high = float(exchanged.mean()), float(np.quantile(exchanged, 0.975))
    leaks = interval.low > expected and interval.estimate > expected_high
    return {
        **in_percent(interval),
        "chance": 100 * chance_rank1(*labels, protocol, other_cameras=True),
        "expected": 100 * expected,
        "expected_high": 100 * expected_high,
        "mAP": 100 * float(np.mean(average_precision)),
        "verdict": (LEAKS if leaks else AT_CHANCE) if protocol == "CC" else "",
    }


def leaking(table: pd.DataFrame) -> list[str]:
    """Names of the shortcuts that a table of ``audit_shortcuts`` says leak."""
    return list(table.loc[table["verdict"] == LEAKS, "shortcut"])


def gallery_orders(
    distances: Distances, query: ImageSet, gallery: ImageSet, seed: int = 0
) -> list[NDArray[np.int64]]:
    """Each query's gallery from near to far, own camera last: ``TIE_DRAWS`` times if there are
    ties, else once, as (n_query, n_gallery) indices."""
    own_camera = query.metric_arrays()[1][:, None] == gallery.metric_arrays()[1]
    distances = distances + own_camera * (np.ptp(distances) + 1)
    ranked = np.sort(distances, axis=1)
    tied = bool((ranked[:, 1:] == ranked[:, :-1]).any())
    return [untied_order(distances, seed, draw) for draw in range(TIE_DRAWS if tied else 1)]


def untied_order(distances: Distances, seed: int, draw: int) -> NDArray[np.int64]:
    """(n_query, n_gallery) gallery indices from near to far, ties in a random order per query."""
    luck = generator(seed, "evaluation", draw).random(distances.shape)
    return np.lexsort((luck, distances), axis=1)


def exchanged_rank1(
    orders: list[NDArray[np.int64]],
    query: Labels,
    gallery: Labels,
    protocol: str = "CC",
    seed: int = 0,
    exchanges: int = EXCHANGES,
) -> NDArray[np.float64]:
    """Rank-1 when every gallery person has the images of another, in (exchanges,) draws.

    Outfits are exchanged along: the first outfit of one person becomes the first of the other.

    Args:
        orders: (n_query, n_gallery) gallery indices from near to far, one for each draw of ties.
        query, gallery: labels.
        protocol: "general", "SC" or "CC".
        seed: of the exchanges.
        exchanges: how many.
    """
    people, who = np.unique(gallery.identity, return_inverse=True)
    asked = _positions(people, query.identity)
    q_outfit, g_outfit = _outfit_numbers(query, gallery)
    # Junk is the person's own, so the first image that counts is among the first this many:
    depth = min(int(np.bincount(who).max()) + 1, len(who))
    rng = generator(seed, "evaluation", exchanges)
    rank1 = []
    for k in range(exchanges):
        near = orders[k % len(orders)][:, :depth]
        junk = gallery.camera[near] == query.camera[:, None]
        same_outfit = g_outfit[near] == q_outfit[:, None]
        if protocol != "general":
            junk |= same_outfit if protocol == "CC" else ~same_outfit
        own = rng.permutation(len(people))[who[near]] == asked[:, None]
        first = np.argmax(~(own & junk), axis=1)
        rank1.append(own[np.arange(len(near)), first][asked >= 0].mean())
    return np.array(rank1)


def query_table(found: Retrieval, query: ImageSet) -> pd.DataFrame:
    """A retrieval's queries as ``clustered_interval`` takes them."""
    columns: dict[str, Any] = {
        "identity": query.identities,
        "query": found.protocol,
        "file": query.table["file"],
        "average_precision": found.average_precision,
        "first_hit": found.first_hit,
    }
    return pd.DataFrame(columns)


def in_percent(interval: Interval) -> dict[str, float]:
    """An interval's rank1, low and high, in percent."""
    ends = {"rank1": interval.estimate, "low": interval.low, "high": interval.high}
    return {name: 100 * value for name, value in ends.items()}


def _pixel_descriptors(images: ImageSet) -> dict[str, NDArray[np.float64]]:
    found: dict[str, list[NDArray[np.float64]]] = {}
    for path, mask_path in zip(images.paths, images.mask_paths, strict=True):
        image, mask = read_image(path), read_mask(mask_path)
        outside, clothes = background_of(mask), np.isin(mask, CLOTHES)
        for name, descriptor in {
            "background histogram": colour_histogram(image, outside),
            "background layout": colour_grid(image, outside),
            "clothes histogram": colour_histogram(image, clothes),
            "colour histogram": colour_histogram(image, np.ones_like(outside)),
        }.items():
            found.setdefault(name, []).append(descriptor)
    cameras = images.table["camera"].to_numpy()
    return {name: less_camera(np.stack(rows), cameras) for name, rows in found.items()}


def less_camera(
    descriptors: NDArray[np.float64], cameras: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(n, d) descriptors minus the mean of their camera's images, so its light and walls go.

    NaN stays NaN and counts in no mean.
    """
    table = pd.DataFrame(descriptors)
    means = table.groupby(cameras).transform("mean")
    return (table - means).to_numpy()


def _positions(names: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each ``wanted`` among sorted ``names``; -1 if it isn't there."""
    place = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return np.where(names[place] == wanted, place, -1)


def _outfit_numbers(query: Labels, gallery: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Clothes numbered from 1 within each person, over both sets together."""
    both = pd.DataFrame(
        {key: np.concatenate([getattr(query, key), getattr(gallery, key)])
         for key in ("identity", "clothes")}
    )  # fmt: skip
    numbers = both.groupby("identity")["clothes"].rank("dense").to_numpy().astype(np.int64)
    return numbers[: len(query.identity)], numbers[len(query.identity) :]
