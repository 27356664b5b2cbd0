"""Pictures of images: the data, its degradations, coarse attributes, ranked lists.

Every function takes what the library gives (image sets, pose clusters, distances), draws one
figure and returns it. What a picture needs to have counted or measured stands in a function of
its own, so that a reader can have the numbers without the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import linear

from rlqkit.attributes import LIMBS, PoseClusters, fit_pose_clusters, pose_vector, scale_joints
from rlqkit.config import Config
from rlqkit.datasets import (
    SHIRT,
    TROUSERS,
    Benchmark,
    ImageSet,
    read_card,
    read_image,
    read_mask,
)
from rlqkit.degradations import (
    KINDS,
    MIXES,
    SEVERITIES,
    degrade,
    draw_kind,
    gaussian_blur,
    motion_blur,
    motion_kernel,
    pixelate,
)
from rlqkit.errors import RlqkitError
from rlqkit.evaluation import HQ, LQ, Features, headline_name
from rlqkit.experiment import load_network
from rlqkit.images import (
    EXTERNAL_LQ,
    IMAGENET_MEAN,
    IMAGENET_STD,
    EvaluationImages,
    ExternalImages,
    ImageStore,
    to_tensor,
)
from rlqkit.metrics import (
    PROTOCOLS,
    Labels,
    Retrieval,
    evaluate_distances,
    evaluate_features,
    ranked_list,
)
from rlqkit.notebook import (
    CC_COLOUR,
    CORRECT_COLOUR,
    HQ_COLOUR,
    JUNK_COLOUR,
    LQ_COLOUR,
    SC_COLOUR,
    WRONG_COLOUR,
)
from rlqkit.randomness import SeedPolicy, generator
from rlqkit.recolouring import Recolouring, recolour, recoloured_class
from rlqkit.runs import RunFolder
from rlqkit.sampling import Draw
from rlqkit.tasks import degradation_mix, evaluation_images, severity
from rlqkit.training import read_checkpoint

Picture = NDArray[np.uint8]
Joints = NDArray[np.float64]

GENERAL_COLOUR = "#55a868"
PROTOCOL_COLOURS = {"general": GENERAL_COLOUR, "SC": SC_COLOUR, "CC": CC_COLOUR}
STATUS_COLOURS = {"correct": CORRECT_COLOUR, "wrong": WRONG_COLOUR, "junk": JUNK_COLOUR}
SEVERITY_COLOURS = {"paper": "#8172b3", "small-input": "#ccb974"}
KIND_COLOURS = dict(zip(KINDS, ("#8c613c", "#937db8", "#64b5cd"), strict=True))
KIND_TITLES = {kind: kind.replace("_", " ") for kind in KINDS}
GENDERS = {1: "male", 0: "female"}
GENDER_COLOURS = {"male": "#76b7b2", "female": "#b07aa1"}
LEFT, RIGHT, MIDDLE = "#dd8452", "#4c72b0", "#3a3a3a"
"""Limbs of the person's left side, right side, and those that join the two."""
MASK_COLOURS = (
    "#000000", "#dc3c3c", "#3c5adc", "#f0c8a0", "#784614", "#f0f03c", "#ff96c8", "#3cc85a",
)  # fmt: skip
"""By label of the clothes masks, the palette that they are shipped with."""
LIMB_NAMES = (
    "nose – left eye", "nose – right eye", "left eye – ear", "right eye – ear", "shoulders",
    "left upper arm", "left forearm", "right upper arm", "right forearm", "left thigh",
    "right thigh", "left shin", "right shin",
)  # fmt: skip
"""In the order of ``attributes.LIMBS``."""
SMOOTH_FROM = 110
"""Images higher than this, in pixels, are drawn smoothly."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


# ------------------------------------------------------------------------------ sheets of images


@dataclass(frozen=True)
class Tile:
    """One image of a sheet."""

    image: Picture
    """(H, W, 3) uint8."""
    caption: str = ""
    """Below the image; may have several lines."""
    frame: str = ""
    """Colour of a frame; none if empty."""
    faded: bool = False
    """Drawn pale."""


def sheet(
    rows: Sequence[Sequence[Tile | None]],
    title: str,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    legend: Mapping[str, str] | None = None,
    tile: tuple[float, float] = (1.35, 0.6),
) -> Figure:
    """A page of images in rows and columns.

    Args:
        rows: tiles from left to right; None leaves a place empty.
        title: of the whole page, one or more lines.
        row_labels, column_labels: texts at the left and above, or nothing.
        legend: text -> colour of the frames.
        tile: height and width of a place in inches; an image keeps its shape inside it.
    """
    high, wide = tile
    left = 0.1 + 0.075 * max((len(part) for r in row_labels for part in r.split("\n")), default=0)
    head = 0.12 + 0.2 * (title.count("\n") + 1)
    head += 0.16 * max((text.count("\n") + 1 for text in column_labels), default=0)
    x = left + _starts([wide + 0.08 if used else 0.2 for used in _used_columns(rows)])
    y = head + _starts([high + 0.13 * _caption_lines(row) + 0.1 for row in rows])
    width = max(x[-1] + 0.05, 0.1 * max(map(len, title.split("\n"))) + 0.3)
    figure, axes = _page(width, y[-1] + (0.3 if legend else 0.05))
    axes.text(0.1, 0.1, title, va="top", fontsize=11, weight="bold")
    for j, text in enumerate(column_labels):
        axes.text(x[j] + wide / 2, head - 0.05, text, ha="center", fontsize=8)
    for i, text in enumerate(row_labels):
        axes.text(left - 0.08, y[i] + high / 2, text, ha="right", va="center", fontsize=8)
    for i, row in enumerate(rows):
        for j, entry in enumerate(row):
            if entry:
                _draw_tile(axes, entry, (x[j], y[i]), tile)
    if legend:
        handles = [Patch(facecolor=colour, label=text) for text, colour in legend.items()]
        axes.legend(
            handles=handles, loc="lower left", ncols=len(handles), fontsize=8, frameon=False
        )
    return figure


def _used_columns(rows: Sequence[Sequence[Tile | None]]) -> list[bool]:
    """Which columns hold a tile; the others are gaps."""
    columns = range(max(map(len, rows)))
    return [any(row[j] is not None for row in rows if j < len(row)) for j in columns]


def _caption_lines(row: Sequence[Tile | None]) -> int:
    return max((t.caption.count("\n") + 1 for t in row if t and t.caption), default=0)


def _starts(steps: Sequence[float]) -> NDArray[np.float64]:
    """Where things of these sizes begin, and where the last one ends."""
    return np.concatenate([[0.0], np.cumsum(steps)])


def _page(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose only axes are measured in inches from the upper left corner."""
    figure = plt.figure(figsize=(width, height), layout="constrained")
    figure.set_layout_engine("none")  # leaves a placeholder, so that saving can't bring one back
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.axis("off")
    return figure, axes


def _draw_tile(
    axes: Axes, tile: Tile, corner: tuple[float, float], place: tuple[float, float]
) -> None:
    (x, y), (high, wide) = corner, place
    scale = min(high / tile.image.shape[0], wide / tile.image.shape[1])
    h, w = tile.image.shape[0] * scale, tile.image.shape[1] * scale
    x0, y0 = x + (wide - w) / 2, y + (high - h) / 2
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(
        tile.image,
        extent=(x0, x0 + w, y0 + h, y0),
        alpha=0.4 if tile.faded else 1.0,
        # pixels of small images are meant to be seen, those of large ones would only flicker
        interpolation="antialiased" if len(tile.image) > SMOOTH_FROM else "nearest",
    )
    axes.set(xlim=limits[0], ylim=limits[1])  # imshow moves them
    if tile.frame:
        axes.add_patch(Rectangle((x0, y0), w, h, fill=False, edgecolor=tile.frame, linewidth=2.5))
    axes.text(x + wide / 2, y + high + 0.04, tile.caption, ha="center", va="top", fontsize=7)


def _boxes(
    axes: Axes,
    groups: Mapping[str, NDArray[np.float64]],
    colour: str,
    shift: float = 0.0,
    wide: float = 0.6,
) -> None:
    """One box a group; the middle line is the median, whiskers reach 1.5 box heights."""
    axes.boxplot(
        list(groups.values()),
        positions=np.arange(len(groups)) + shift,
        widths=wide,
        patch_artist=True,
        boxprops={"facecolor": colour},
        medianprops={"color": "black"},
        flierprops={"markersize": 2},
    )
    axes.set_xticks(range(len(groups)), list(groups))


def _headline(text: str, synthetic: bool) -> str:
    """A title that says where the images come from."""
    return f"{text}  ·  synthetic data" if synthetic else text


def seen_by_network(image: Picture, size: tuple[int, int]) -> Picture:
    """What enters the network, before normalisation: uint8 (height, width, 3)."""
    return to_picture(to_tensor(image, size))


def to_picture(tensor: Tensor) -> Picture:
    """Normalised (3, H, W) back to uint8 (H, W, 3)."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    pixels = tensor.permute(1, 2, 0) * std + mean
    picture: Picture = (pixels * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    return picture


def outfit_letters(sets: Sequence[ImageSet]) -> dict[tuple[int, int], str]:
    """(identity, clothes id) -> "A", "B", …: a person's outfits, lettered over several sets."""
    table = pd.concat([images.table[["identity", "clothes"]] for images in sets]).drop_duplicates()
    letters = {}
    for identity, group in table.groupby("identity"):
        for position, clothes in enumerate(sorted(group["clothes"])):
            number, letter = divmod(position, len(LETTERS))
            letters[int(str(identity)), clothes] = LETTERS[letter] + (str(number) if number else "")
    return letters


# ------------------------------------------------------------------------------------- 01: data


def outfit_sheet(benchmark: Benchmark, identities: int = 4) -> Figure:
    """Test people: a row each, their outfits under every camera, framed by role."""
    sets = {role: benchmark[role] for role in ("query", "gallery")}
    cameras = sorted({int(c) for images in sets.values() for c in images.table["camera"]})
    letters = outfit_letters(list(sets.values()))
    outfits = sorted(set(letters.values()), key=lambda text: (len(text), text))[:3]
    places = [(outfit, camera) for outfit in outfits for camera in cameras]
    people = np.unique(sets["query"].identities)[:identities]
    tiles: dict[tuple[int, str, int], Tile] = {}
    for (_, images), colour in zip(sets.items(), (LQ_COLOUR, HQ_COLOUR), strict=True):
        chosen = np.flatnonzero(np.isin(images.identities, people))
        for i in chosen:
            sample = images.table.iloc[i]
            outfit = letters[sample["identity"], sample["clothes"]]
            key = (int(sample["identity"]), outfit, int(sample["camera"]))
            tiles.setdefault(key, Tile(read_image(images.paths[i]), frame=colour))
    return sheet(
        [[tiles.get((int(person), *place)) for place in places] for person in people],
        _headline("Who is who when clothes and cameras change?", benchmark.synthetic),
        [f"person {person}\n{_gender_of(sets['query'], int(person))}" for person in people],
        [f"outfit {outfit}\ncam {camera}" for outfit, camera in places],
        {"query": LQ_COLOUR, "gallery": HQ_COLOUR},
    )


def _gender_of(images: ImageSet, identity: int) -> str:
    label = images.table.loc[images.table["identity"] == identity, "gender"].iloc[0]
    return GENDERS.get(int(label), "gender unknown")


def split_strips(benchmark: Benchmark, columns: int = 12) -> Figure:
    """One identity of each kind of split: what varies and what is labelled."""
    kinds = {
        "train": ("train",), "validation": ("val_query", "val_gallery"),
        "test": ("query", "gallery"), "external": ("external",),
    }  # fmt: skip
    rows, labels = [], []
    for kind, splits in kinds.items():
        sets = [benchmark[split] for split in splits]
        person = int(sets[0].identities[0])
        letters = outfit_letters(sets)
        shots = []
        for images in sets:
            for i in np.flatnonzero(images.identities == person):
                sample = images.table.iloc[i]
                letter = letters[person, sample["clothes"]] if images.clothes_labelled else "?"
                caption = f"{letter} · cam {sample['camera']}\n{sample['height']} px"
                shots.append((letter, int(sample["camera"]), images.paths[i], caption))
        shots.sort(key=lambda shot: shot[:2])
        rows.append([Tile(read_image(path), caption) for *_, path, caption in shots[:columns]])
        people = sum({s.name: s.n_identities for s in sets[:1]}.values())
        labels.append(f"{kind}\n{people} people\n{sum(map(len, sets))} images")
    title = _headline(
        "One person of each split: outfit, camera, native height", benchmark.synthetic
    )
    return sheet(rows, title, labels)


def annotation_sheet(images: ImageSet, count: int = 6) -> Figure:
    """Images, their clothes masks and their joints, one under the other."""
    images.require_masks()
    images.require_joints()
    assert images.joints is not None
    people = np.unique(images.identities, return_index=True)[1][:count]
    rows: list[list[Tile]] = [[], [], []]
    for i in people:
        image = read_image(images.paths[i])
        rows[0].append(Tile(image))
        rows[1].append(Tile(mask_overlay(image, read_mask(images.mask_paths[i]))))
        rows[2].append(Tile(skeleton_on(image, images.joints[i])))
    names = read_card(images.root).get("labels")
    labels = {int(k): str(v) for k, v in names.items()} if isinstance(names, dict) else {}
    labels = {SHIRT: "shirt", TROUSERS: "trousers"} | {k: v for k, v in labels.items() if k > 2}
    return sheet(
        rows,
        _headline("What is known of every training image", images.synthetic),
        ["image", "mask", "17 joints\nfilled: visible\nopen: hidden"],
        legend={name: MASK_COLOURS[label] for label, name in sorted(labels.items())},
        tile=(1.8, 0.95),
    )


def mask_overlay(image: Picture, mask: Picture) -> Picture:
    """The image with every labelled region tinted in its mask's colour."""
    palette = np.array([_rgb(colour) for colour in MASK_COLOURS])
    tinted = 0.35 * image + 0.65 * palette[np.minimum(mask, len(palette) - 1)]
    mixed: Picture = np.where(mask[..., None] > 0, tinted, image).astype(np.uint8)
    return mixed


def skeleton_on(image: Picture, joints: Joints, scale: int = 6) -> Picture:
    """The 13 limbs drawn on an enlarged image; joints (17, 2 or 3) in the image's pixels."""
    large = Image.fromarray(image).resize((image.shape[1] * scale, image.shape[0] * scale))
    draw = ImageDraw.Draw(large)
    points = [(float(x) * scale, float(y) * scale) for x, y in joints[:, :2]]
    thick = max(2, large.width // 45)
    for (a, b), colour in zip(LIMBS, limb_colours(), strict=True):
        draw.line([points[a], points[b]], fill=colour, width=thick)
    visible = joints[:, 2] > 0 if joints.shape[1] > 2 else np.ones(17, dtype=bool)
    for (x, y), shown in zip(points, visible, strict=True):
        box = [x - thick, y - thick, x + thick, y + thick]
        draw.ellipse(
            box, fill="#f5f5f5" if shown else None, outline="#f5f5f5", width=max(2, thick // 3)
        )
    return np.asarray(large)


def limb_colours() -> list[str]:
    """Colour of each of the 13 limbs: left, right or across."""
    sides = []
    for a, b in LIMBS:
        outer = {a % 2, b % 2} if a else {b % 2}  # odd joints are the person's left, even right
        sides.append(MIDDLE if len(outer) == 2 else LEFT if outer == {1} else RIGHT)
    return sides


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def clothes_colours(images: ImageSet) -> NDArray[np.float64]:
    """(n, 6): mean RGB (0-255) inside shirt and trouser mask, NaN where a mask is empty."""
    colours = np.full((len(images), 6), np.nan)
    for i, (path, mask_path) in enumerate(zip(images.paths, images.mask_paths, strict=True)):
        image, mask = read_image(path), read_mask(mask_path)
        for label, columns in ((SHIRT, slice(0, 3)), (TROUSERS, slice(3, 6))):
            inside = mask == label
            if inside.any():
                colours[i, columns] = image[inside].mean(axis=0)
    return colours


def colour_distances(query: ImageSet, gallery: ImageSet) -> NDArray[np.float64]:
    """(n_query, n_gallery) RMS difference of clothes colours in grey levels.

    Where a shirt or trousers are hidden the other decides; 255 if nothing can be compared.
    """
    squares = (clothes_colours(query)[:, None] - clothes_colours(gallery)[None]) ** 2
    known = np.isfinite(squares).sum(axis=2)
    distances = np.sqrt(np.nansum(squares, axis=2) / np.maximum(known, 1))
    return np.where(known > 0, distances, 255.0)


def colour_baseline(
    query: ImageSet, gallery: ImageSet, distances: NDArray[np.float64]
) -> pd.DataFrame:
    """Rank-1 and mAP, in percent, of searching by clothes colour, and of searching at random."""
    labels = Labels(*query.metric_arrays()), Labels(*gallery.metric_arrays())
    chance = generator(0, "evaluation").random(distances.shape)
    rows = []
    for name, matrix in (("clothes colour", distances), ("random", chance)):
        for protocol in ("SC", "CC"):
            found = evaluate_distances(matrix, *labels, protocol)
            rows.append((name, protocol, 100 * found.rank1, 100 * found.mAP))
    table = pd.DataFrame(rows, columns=["search by", "protocol", "rank-1", "mAP"])
    return table.set_index(["search by", "protocol"])


def lookalike_sheet(
    query: ImageSet, gallery: ImageSet, distances: NDArray[np.float64], count: int = 4
) -> Figure:
    """Queries beside themselves in other clothes and beside a stranger in like colours.

    Of the queries with the more colourful half of the shirts (dark clothes all look alike), one an
    identity, those are shown whose stranger is nearest in clothes colour; beside each the same
    person's gallery image whose colours differ most.
    """
    same = query.identities[:, None] == gallery.identities
    stranger = np.where(same, np.inf, distances)
    other = query.metric_arrays()[2][:, None] != gallery.metric_arrays()[2]
    changed = np.where(same & other, distances, -np.inf)
    shirts = clothes_colours(query)[:, :3]
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
    return sheet([row[:-1]], _headline(title, query.synthetic), (), labels[:-1], tile=(1.8, 0.76))


def balance_figure(benchmark: Benchmark) -> Figure:
    """Gender labels of each split, and native image heights by camera (target cameras only)."""
    tables = [s.table.assign(split=name) for name, s in benchmark.sets.items()]
    samples = pd.concat(tables, ignore_index=True)
    people = samples.drop_duplicates(["split", "identity"])
    counts = people.assign(gender=people["gender"].map(GENDERS).fillna("unknown"))
    counts = counts.groupby(["split", "gender"], sort=False).size().unstack(fill_value=0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    bottom = np.zeros(len(counts))
    for gender in counts.columns:
        colour = GENDER_COLOURS.get(str(gender), JUNK_COLOUR)
        bars = left.bar(counts.index, counts[gender], bottom=bottom, label=gender, color=colour)
        left.bar_label(bars, label_type="center", fontsize=8)
        bottom += counts[gender].to_numpy()
    left.set(title="People by gender label", ylabel="identities")
    left.tick_params(axis="x", labelsize=8)
    left.legend(fontsize=8)
    target = samples[samples["split"] != "external"]
    _boxes(right, {str(c): t["height"].to_numpy() for c, t in target.groupby("camera")}, "#c6d4e8")
    title = "Native height of a person's image, by camera"
    right.set(title=title, xlabel="camera", ylabel="pixels")
    figure.suptitle(_headline("Is the data balanced?", benchmark.synthetic), weight="bold")
    return figure


def recolouring_sheet(images: ImageSet, how: Recolouring, index: int = 0) -> Figure:
    """One image in pairs of five of the colours; copies of one clothes class share a frame."""
    image, mask = read_image(images.paths[index]), read_mask(images.mask_paths[index])
    person, own = int(images.identity_labels[index]), int(images.clothes_labels[index])
    names = [how.colours[i] for i in np.linspace(0, len(how.colours) - 1, 5).astype(int)]
    pairs = [(trousers, shirt) for trousers in names for shirt in names]
    labels = {
        pair: recoloured_class(how.original_classes, person, *pair, how.colours, how.groups)
        for pair in pairs
    }
    palette = sns.color_palette("husl", len(set(labels.values()))).as_hex()
    frames = dict(zip(sorted(set(labels.values())), palette, strict=True))
    rows: list[list[Tile | None]] = [[None, None] for _ in names]
    rows[0][0] = Tile(image, f"class {own}", "#222222")
    for i, (trousers, shirt) in enumerate(pairs):
        copy = recolour(image, mask == SHIRT, mask == TROUSERS, shirt, trousers, how.overlap)
        label = labels[trousers, shirt]
        rows[i // len(names)].append(Tile(copy, f"class {label}", frames[label]))
    return sheet(
        rows,
        _headline("One image, recoloured: new clothes, same person", images.synthetic),
        [f"{name}\ntrousers" for name in names],
        ["as it is", "", *(f"{name}\nshirt" for name in names)],
        tile=(1.35, 1.35 * image.shape[1] / image.shape[0]),
    )


def positives_figure(positives: NDArray[np.bool_], originals: int, people: int = 6) -> Figure:
    """Which clothes classes CAL counts as positive for each of the first identities.

    positives: (identities, clothes classes), recoloured classes after the `originals` own ones.
    """
    people = min(people, len(positives))
    own = np.flatnonzero(positives[:people, :originals].any(axis=0))
    extra = originals + np.flatnonzero(positives[:people, originals:].any(axis=0))
    figure, axes = plt.subplots(
        1, 2, figsize=(11, 2.6), layout="constrained", sharey=True,
        gridspec_kw={"width_ratios": [1, 2]},
    )  # fmt: skip
    for side, columns, colour, title in (
        (axes[0], own, HQ_COLOUR, "outfits as photographed"),
        (axes[1], extra, LQ_COLOUR, "recoloured classes"),
    ):
        block = positives[:people, columns]
        paint = np.where(block[..., None], np.array(_rgb(colour)), 240).astype(np.uint8)
        side.imshow(paint, aspect="auto", interpolation="nearest")
        side.grid(False)
        side.set(title=title, xlabel=_class_range(columns), xticks=[], yticks=range(people))
    axes[0].set_ylabel("identity")
    figure.suptitle("Positive clothes classes of CAL: all that one person may wear", weight="bold")
    return figure


def _class_range(columns: NDArray[np.int64]) -> str:
    return f"clothes classes {columns[0]} to {columns[-1]}" if len(columns) else "none"


# ---------------------------------------------------------------------------- 02: degradations

LADDER: dict[str, tuple[float, ...]] = {
    "pixelation": (63, 40, 24, 16, 8),
    "motion_blur": (4, 8, 12, 16, 19),
    "out_of_focus": (0.5, 1.0, 2.0, 3.0, 4.0),
}
"""Rising severity: short side in px, side of the motion kernel in px, sigma in px."""


def damaged(image: Picture, kind: str, level: float) -> Picture:
    """One degradation at a level of `LADDER`; motion at 30 degrees, Gauss with a wide kernel."""
    if kind == "pixelation":
        return pixelate(image, int(level))
    if kind == "motion_blur":
        return motion_blur(image, int(level), 30)
    return gaussian_blur(image, 2 * int(np.ceil(2.5 * level)) + 1, level)


def severity_ladder(image: Picture, size: tuple[int, int], synthetic: bool = True) -> Figure:
    """Each degradation at rising severity, at native size and as the network sees it."""
    rows: list[list[Tile | None]] = []
    for kind, levels in LADDER.items():
        worse = [damaged(image, kind, level) for level in levels]
        names = [f"{level:g} px\n" for level in levels]
        left = [
            _sized(copy, name) for copy, name in zip([image, *worse], ["\n", *names], strict=True)
        ]
        rows.append([*left, None, *(_sized(seen_by_network(c, size)) for c in [image, *worse])])
    steps = ["as it is", *(f"level {i}" for i in range(1, 6))]
    parameters = ("short side", "kernel side", "σ")
    title = "Rising severity: native size (left) and as the network sees it (right)"
    return sheet(
        rows,
        _headline(title, synthetic),
        [f"{KIND_TITLES[kind]}:\n{name}" for kind, name in zip(LADDER, parameters, strict=True)],
        [*steps, "", *steps],
        tile=(1.8, 0.78),
    )


def _sized(image: Picture, parameter: str = "") -> Tile:
    return Tile(image, f"{parameter}{image.shape[0]} × {image.shape[1]}")


def range_figure() -> Figure:
    """The named severities' ranges, kind by kind."""
    fields = {
        "short_side": "pixelation: short side, px\n(smaller is worse)",
        "motion_size": "motion blur: kernel side, px\n(larger is worse)",
        "gaussian_sigma": "out of focus: σ, px\n(larger is worse)",
    }
    figure, panels = plt.subplots(1, 3, figsize=(11, 2.2), layout="constrained")
    for axes, (field, title) in zip(panels, fields.items(), strict=True):
        for position, (name, ranges) in enumerate(SEVERITIES.items()):
            low, high = getattr(ranges, field)
            axes.barh(position, high - low, left=low, color=SEVERITY_COLOURS[name], height=0.55)
            axes.text((low + high) / 2, position, f"{low:g} to {high:g}", ha="center", va="center")
        axes.set(title=title, yticks=range(len(SEVERITIES)), yticklabels=[], ylim=(-0.5, 1.5))
        axes.set_xlim(left=0)
        axes.invert_yaxis()
    panels[0].set_yticklabels(SEVERITIES)
    figure.suptitle("What is drawn from which range?", weight="bold")
    return figure


def damage_table(
    images: ImageSet, sizes: Sequence[tuple[int, int]], count: int = 60, seed: int = 0
) -> pd.DataFrame:
    """How much a random degradation changes what the network sees.

    Returns:
        One row per image, kind, severity and input size: damage = RMS difference between the
        network's view of the LQ copy and of the image itself, in grey levels (0-255).
    """
    rows = []
    for i in np.linspace(0, len(images) - 1, min(count, len(images))).astype(int):
        image = read_image(images.paths[i])
        clean = {size: seen_by_network(image, size).astype(np.float64) for size in sizes}
        for number, kind in enumerate(KINDS):
            for name, ranges in SEVERITIES.items():
                rng = generator(seed, "evaluation", int(i), number)
                worse = degrade(image, kind, ranges, rng)
                for size in sizes:
                    gap = seen_by_network(worse, size) - clean[size]
                    where = f"{size[0]} × {size[1]}"
                    rows.append((kind, name, where, float(np.sqrt((gap**2).mean()))))
    return pd.DataFrame(rows, columns=["kind", "severity", "input", "damage"])


def damage_figure(table: pd.DataFrame, synthetic: bool = True) -> Figure:
    """`damage_table` as boxes, one panel per input size."""
    inputs = list(table["input"].unique())
    figure, panels = plt.subplots(
        1, len(inputs), figsize=(11, 3.6), layout="constrained", sharey=True, squeeze=False
    )
    for axes, where in zip(panels[0], inputs, strict=True):
        for shift, (name, colour) in zip((-0.2, 0.2), SEVERITY_COLOURS.items(), strict=True):
            part = table[(table["input"] == where) & (table["severity"] == name)]
            groups = {
                KIND_TITLES[kind]: part.loc[part["kind"] == kind, "damage"].to_numpy()
                for kind in KINDS
            }
            _boxes(axes, groups, colour, shift, 0.35)
        axes.set_title(f"network input {where}")
    panels[0][0].set_ylabel("RMS change, grey levels")
    handles = [Patch(facecolor=colour, label=name) for name, colour in SEVERITY_COLOURS.items()]
    panels[0][-1].legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        fontsize=8,
        title="ranges",
        title_fontsize=8,
    )
    text = "How much of a random degradation does the network get to see?"
    figure.suptitle(_headline(text, synthetic), weight="bold")
    return figure


def mix_figure() -> Figure:
    """Shares of the degradations by the name of the target data set."""
    names = list(MIXES)
    figure, axes = plt.subplots(figsize=(9, 2.9), layout="constrained")
    start = np.zeros(len(names))
    for kind, share in zip(KINDS, np.array(list(MIXES.values())).T, strict=True):
        bars = axes.barh(
            names, share, left=start, color=KIND_COLOURS[kind], label=KIND_TITLES[kind]
        )
        texts = [f"{value:.2f}" if value else "" for value in share]
        axes.bar_label(bars, texts, label_type="center", fontsize=8)
        start += share
    axes.invert_yaxis()
    axes.set(title="Which damage does TAD learn to bear, by target data set?", xlabel="share")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def lq_sheet(images: ImageSet, config: Config, count: int = 12) -> Figure:
    """Images above their LQ copies as the evaluation makes them, kinds drawn by the mix."""
    ranges, mix = severity(config), degradation_mix(config)
    store = ImageStore(
        [images.paths[i] for i in np.linspace(0, len(images) - 1, count).astype(int)], 0
    )
    seed = config.evaluation.degradation_seed
    copies = EvaluationImages(
        store, size=(config.data.height, config.data.width), degradation="mixed",
        severity=ranges, mix=mix, seed=seed,
    )  # fmt: skip
    kinds = [draw_kind(mix, generator(seed, "evaluation", i, 0)) for i in range(len(store))]
    rows = [
        [Tile(store[i]) for i in range(len(store))],
        [
            Tile(copies.source(i), f"{KIND_TITLES[kind]}", KIND_COLOURS[kind])
            for i, kind in enumerate(kinds)
        ],
        [Tile(to_picture(copies[i]["images"])) for i in range(len(store))],
    ]
    return sheet(
        rows,
        _headline("The mix at work", images.synthetic),
        ["HQ", "LQ,\nnative size", "LQ, as the\nnetwork sees it"],
        legend={KIND_TITLES[kind]: colour for kind, colour in KIND_COLOURS.items()},
        tile=(1.6, 0.8),
    )


def kernel_figure(
    sizes: Sequence[int] = (8, 13, 19), angles: Sequence[int] = (0, 30, 60, 90, 135)
) -> Figure:
    """Motion-blur kernels by size and angle, and the profiles of the Gaussian blur."""
    figure = plt.figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.5, 1])[0]
    grid = left.subplots(len(sizes), len(angles), squeeze=False)
    side = max(sizes)
    for i, size in enumerate(sizes):
        for j, angle in enumerate(angles):
            axes = grid[i][j]
            before = (side - size) // 2
            padded = np.pad(motion_kernel(size, angle), (before, side - size - before))
            axes.imshow(padded, cmap="magma")
            axes.set(xticks=[], yticks=[])
            axes.add_patch(
                Rectangle((before - 0.5,) * 2, size, size, fill=False, edgecolor="w", lw=0.6)
            )
            if i == 0:
                axes.set_title(f"{angle}°", fontsize=9)
        grid[i][0].set_ylabel(f"{size} px", fontsize=9)
    left.suptitle("Motion blur: a line, turned (one scale)")
    _draw_gaussians(right.subplots())
    return figure


def _draw_gaussians(axes: Axes) -> None:
    """Taps of the Gaussian: sigma sets the blur; a wide kernel adds nothing, a narrow one cuts."""
    for sigma, colour in ((0.5, "#b6d0e8"), (2.0, HQ_COLOUR), (4.0, LQ_COLOUR)):
        for kernel, style in ((5, ":"), (21, "-")):
            x = np.arange(kernel) - kernel // 2
            taps = np.exp(-0.5 * (x / sigma) ** 2)
            label = f"σ {sigma:g}, kernel {kernel}"
            axes.plot(x, taps / taps.sum(), style, marker=".", color=colour, label=label)
    axes.set(title="Out of focus: weight of each tap", xlabel="pixels from the centre")
    axes.legend(fontsize=7)


def epoch_views(
    images: ImageSet, config: Config, index: int, policy: SeedPolicy, epochs: int
) -> tuple[list[Picture], list[Picture], list[str]]:
    """HQ and LQ view of one external image in each epoch, and the kind of damage drawn.

    The image keeps its place in the epoch, as it does under the official order.
    """
    mix, ranges = degradation_mix(config), severity(config)
    size = (config.data.height, config.data.width)
    store = ImageStore(images.paths, 0)
    data = ExternalImages(store, size=size, policy=policy, severity=ranges, mix=mix)
    hq, lq, kinds = [], [], []
    for epoch in range(epochs):
        item = data[Draw(epoch, index, index)]
        hq.append(to_picture(item["hq"]))
        lq.append(to_picture(item["lq"]))
        kinds.append(draw_kind(mix, policy.draws("augment", epoch, index, index, EXTERNAL_LQ)))
    return hq, lq, kinds


def seeding_sheet(images: ImageSet, config: Config, index: int = 0, epochs: int = 8) -> Figure:
    """One external image over the epochs under both seeding switches."""
    rows: list[list[Tile]] = []
    for switch in ("clean", "official"):
        policy = SeedPolicy(config.seed, switch)
        hq, lq, kinds = epoch_views(images, config, index, policy, epochs)
        rows.append([Tile(view) for view in hq])
        pairs = zip(lq, kinds, strict=True)
        rows.append([Tile(v, KIND_TITLES[kind], KIND_COLOURS[kind]) for v, kind in pairs])
    return sheet(
        rows,
        _headline("Does the network meet the same view again?", images.synthetic),
        ["clean, HQ", "clean, LQ", "official, HQ", "official, LQ"],
        [f"epoch {epoch}" for epoch in range(epochs)],
        tile=(1.6, 0.8),
    )


# ---------------------------------------------------------------------- 03: coarse attributes


def pose_vector_figure(image: Picture, joints: Joints, synthetic: bool = True) -> Figure:
    """One skeleton, its 13 limb lengths and its 13 limb angles, limb by limb."""
    frame = scale_joints(joints, (image.shape[1], image.shape[0])).astype(np.float64)
    vector = pose_vector(joints, (image.shape[1], image.shape[0]))
    lengths, angles = vector[:13], vector[13:]
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(11, 5.2), layout="constrained", gridspec_kw={"width_ratios": [0.9, 1.2, 0.8]}
    )
    left.imshow(Image.fromarray(image).resize((192, 384)), alpha=0.55)
    for number, ((a, b), colour) in enumerate(zip(LIMBS, limb_colours(), strict=True), start=1):
        left.plot(*frame[[a, b]].T, color=colour, lw=3, solid_capstyle="round")
        if number > 4:  # the limbs of the face are too short for numbers
            box = {"boxstyle": "circle,pad=0.15", "fc": "white", "ec": colour}
            x, y = frame[[a, b]].mean(axis=0)
            left.text(x, y, str(number), fontsize=8, ha="center", va="center", bbox=box)
    left.axis("off")
    left.set_title("scaled to 192 × 384")
    names = [f"{name}  {i}" for i, name in enumerate(LIMB_NAMES, start=1)]
    bars = middle.barh(names, lengths, color=limb_colours())
    middle.bar_label(bars, fmt="%.0f", fontsize=8, padding=2)
    middle.set_ylim(12.6, -0.6)
    middle.set_title("13 lengths, px")
    middle.margins(x=0.12)
    _draw_angles(right, angles)
    title = "A pose vector: 13 lengths and 13 angles (orange: the person's left, blue: right)"
    figure.suptitle(_headline(title, synthetic), weight="bold")
    return figure


def _draw_angles(axes: Axes, angles: NDArray[np.float64]) -> None:
    """An arrow a limb, from its second joint to its first, as it points in the image."""
    rows, one = np.arange(13), np.ones(13)
    axes.quiver(
        0 * rows, rows, one, one, angles=-angles, color=limb_colours(), pivot="mid",
        scale=4.2, scale_units="inches", units="inches", width=0.035, headwidth=4,
    )  # fmt: skip
    for row, angle in zip(rows, angles, strict=True):
        axes.text(0.25, float(row), f"{angle:.0f}°", va="center", fontsize=9)
    axes.set(xlim=(-0.5, 0.9), ylim=(12.6, -0.6), xticks=[], yticks=[])
    axes.grid(False)
    axes.set_title("13 angles")


def skeleton_picture(points: NDArray[np.float64], scale: int = 1) -> Picture:
    """A skeleton in the 192x384 frame on white; points (17, 2), NaN gives an empty frame."""
    blank = np.full((384, 192, 3), 250, np.uint8)
    if not np.isfinite(points).all():
        return blank
    drawing = Image.fromarray(blank)
    pen = ImageDraw.Draw(drawing)
    for (a, b), colour in zip(LIMBS, limb_colours(), strict=True):
        pen.line([tuple(points[a]), tuple(points[b])], fill=colour, width=10)
    return np.asarray(drawing)


def cluster_sheet(images: ImageSet, clusters: PoseClusters, examples: int = 4) -> Figure:
    """Every pose cluster: mean skeleton, then the images nearest to its centre, one a person."""
    assert images.joints is not None
    vectors = pose_vectors(images, clusters.kind)
    blocks: list[list[Tile | None]] = []
    for k in range(len(clusters.counts)):
        row: list[Tile | None] = [Tile(skeleton_picture(clusters.skeletons[k]), f"cluster {k + 1}")]
        gaps = ((vectors - clusters.centres[k]) ** 2).sum(axis=1)
        order = np.argsort(np.where(clusters.labels == k + 1, gaps, np.inf), kind="stable")
        order = order[: clusters.counts[k]]
        nearest = (
            pd.Series(images.identities[order], index=order).drop_duplicates().index[:examples]
        )
        row += [Tile(read_image(images.paths[i])) for i in nearest]
        if nearest.size:
            row[1] = Tile(read_image(images.paths[nearest[0]]), f"of {clusters.counts[k]}")
        blocks.append(row + [None] * (examples + 1 - len(row)))
    half = (len(blocks) + 2) // 3
    lines = [blocks[i::half] for i in range(half)]
    rows = [[tile for block in line for tile in (*block, None)][:-1] for line in lines]
    title = _headline("Pose clusters: mean skeleton and the most typical images", images.synthetic)
    return sheet(rows, title, tile=(1.35, 0.58))


def pose_vectors(images: ImageSet, kind: str) -> NDArray[np.float64]:
    """(n, length) pose vectors of an image set that has all its joints."""
    images.require_joints()
    assert images.joints is not None
    sizes = images.table[["width", "height"]].to_numpy()
    pairs = zip(images.joints, sizes, strict=True)
    return np.stack([pose_vector(joints, (int(w), int(h)), kind) for joints, (w, h) in pairs])


def facing(images: ImageSet) -> NDArray[np.float64]:
    """(n,) x of the left shoulder minus x of the right one, in widths of the image.

    Positive: seen from the front; negative: from behind; near 0: from the side.
    """
    images.require_joints()
    assert images.joints is not None
    difference: NDArray[np.float64] = images.joints[:, 5, 0] - images.joints[:, 6, 0]
    return difference / images.table["width"].to_numpy()


def cluster_figure(images: ImageSet, clusters: PoseClusters) -> Figure:
    """Cluster sizes, and how far each cluster is about the direction a person faces."""
    table = pd.DataFrame({"cluster": clusters.labels, "facing": facing(images)})
    table = table[table["cluster"] > 0]
    by_size = 1 + np.argsort(-clusters.counts, kind="stable")
    by_facing = table.groupby("cluster")["facing"].median().sort_values().index
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    bars = left.bar([str(k) for k in by_size], clusters.counts[by_size - 1], color=RIGHT)
    left.bar_label(bars, fontsize=7)
    left.axhline(clusters.counts.mean(), color=JUNK_COLOUR, ls="--", label="if all were equal")
    left.set(title="How large are the clusters?", xlabel="cluster", ylabel="images")
    left.legend(fontsize=8)
    groups = {str(k): table.loc[table["cluster"] == k, "facing"].to_numpy() for k in by_facing}
    _boxes(right, groups, "#f3d3b8")
    right.axhline(0, color=JUNK_COLOUR, ls="--")
    title = "Which way do they face? (+ front, 0 side, − back)"
    right.set(title=title, xlabel="cluster", ylabel="shoulder line")
    figure.suptitle(_headline("What the clusters hold", images.synthetic), weight="bold")
    return figure


def cluster_numbers(
    images: ImageSet, kind: str, choices: Sequence[int], seed: int = 0
) -> pd.DataFrame:
    """K-means for several K: unexplained share of the variance, smallest and largest cluster."""
    images.require_joints()
    assert images.joints is not None
    sizes = images.table[["width", "height"]].to_numpy()
    vectors = pose_vectors(images, kind)
    total = float(((vectors - vectors.mean(axis=0)) ** 2).sum())
    rows = []
    for k in choices:
        fitted = fit_pose_clusters(images.joints, sizes, kind, k, seed)
        rows.append((k, fitted.inertia / total, fitted.counts.min(), fitted.counts.max()))
    return pd.DataFrame(rows, columns=["K", "unexplained", "smallest", "largest"]).set_index("K")


def choice_figure(table: pd.DataFrame, variances: NDArray[np.float64], synthetic: bool) -> Figure:
    """`cluster_numbers` beside the share of each limb's length and angle in the distance.

    variances: (26,) of the R_LA vectors.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    left.plot(table.index, 100 * table["unexplained"], "o-", color=RIGHT)
    left.set(
        title="Other K (written: smallest–largest cluster)",
        xlabel="K, number of clusters",
        ylabel="variance left over, %",
    )
    left.set_ylim(0, 115 * table["unexplained"].max() + 2)
    for k, row in table.iterrows():
        text = f"{row['smallest']:.0f}–{row['largest']:.0f}"
        left.text(float(str(k)), 100 * row["unexplained"] + 2, text, ha="center", fontsize=7)
    share = 100 * variances / variances.sum()
    y = np.arange(13)
    right.barh(
        y - 0.2, share[:13], 0.4, color=HQ_COLOUR, label=f"lengths: {share[:13].sum():.0f} %"
    )
    right.barh(y + 0.2, share[13:], 0.4, color=LQ_COLOUR, label=f"angles: {share[13:].sum():.0f} %")
    right.set(yticks=y, yticklabels=LIMB_NAMES, xlabel="share of the variance, %")
    right.tick_params(axis="y", labelsize=8)
    right.invert_yaxis()
    right.set_title("Which numbers decide?")
    right.legend(fontsize=8)
    text = "What does K-means listen to? Pixels and degrees go in unscaled"
    figure.suptitle(_headline(text, synthetic), weight="bold")
    return figure


def gender_sheet(images: ImageSet, config: Config, people: int = 10) -> Figure:
    """People of each gender label, HQ and LQ."""
    images.require_gender()
    rows, labels = [], []
    for label, name in GENDERS.items():
        mine = np.flatnonzero(images.table["gender"].to_numpy() == label)
        first = pd.Series(images.identities[mine], index=mine).drop_duplicates().index
        chosen = first[np.linspace(0, len(first) - 1, min(people, len(first))).astype(int)]
        rng = generator(config.seed, "evaluation", label)
        clear = [read_image(images.paths[i]) for i in chosen]
        kinds = [draw_kind(degradation_mix(config), rng) for _ in clear]
        pairs = zip(clear, kinds, strict=True)
        lq = [degrade(image, kind, severity(config), rng) for image, kind in pairs]
        rows += [[Tile(image) for image in clear], [Tile(image) for image in lq]]
        labels += [f"label {label}\n({name}), HQ", "the same,\nLQ"]
    title = _headline("A coarse label: one bit a person, by appearance only", images.synthetic)
    return sheet(rows, title, labels)


@torch.inference_mode()
def read_attributes(run: RunFolder, images: ImageSet, quality: str) -> tuple[Tensor, Tensor]:
    """What CAP's heads say of an image set: (n, 2) gender and (n, K + 1) pose probabilities.

    Raises:
        RlqkitError: the run's row has no such heads, or its checkpoint is gone.
    """
    config = run.config()
    heads = read_checkpoint(run.path / "checkpoint.pt")["heads"]
    if "gender.weight" not in heads or "pose.weight" not in heads:
        raise RlqkitError(f"run {run.path.name} has no gender and pose heads: choose cap or rlq")
    network, data = load_network(run), evaluation_images(images, quality, config)
    gender, pose = [], []
    for start in range(0, len(data), config.evaluation.batch):
        stop = min(start + config.evaluation.batch, len(data))
        batch = torch.stack([data[i]["images"] for i in range(start, stop)])  # (B, 3, H, W)
        features = network(batch)
        gender.append(linear(features["identity"], heads["gender.weight"], heads["gender.bias"]))
        pose.append(linear(features["pose"], heads["pose.weight"], heads["pose.bias"]))
    return torch.cat(gender).softmax(dim=1), torch.cat(pose).softmax(dim=1)


def attribute_table(
    run: RunFolder, train: ImageSet, test: ImageSet, clusters: PoseClusters
) -> pd.DataFrame:
    """How often CAP's heads are right: on up to 600 training images, on unseen people, HQ and LQ.

    A test image's true cluster is the one whose centre is nearest to its pose vector.

    Returns:
        Index: where (set and quality). Columns: gender, pose, and for each the share of the most
        frequent label, all in 0..1.
    """
    some = np.zeros(len(train), dtype=bool)
    some[np.linspace(0, len(train) - 1, min(len(train), 600)).astype(int)] = True
    truth = {"train": clusters.labels[some], "test": nearest_cluster(test, clusters)}
    sets = {"train": train.select(some), "test": test}
    rows = {}
    for name, quality in (("train", HQ), ("test", HQ), *(("test", kind) for kind in KINDS)):
        gender, pose = read_attributes(run, sets[name], quality)
        labels = sets[name].table["gender"].to_numpy(np.int64)
        rows[f"{name}, {KIND_TITLES.get(quality, quality)}"] = {
            "gender": float((gender.argmax(1).numpy() == labels).mean()),
            "gender guess": float(np.bincount(labels).max() / len(labels)),
            "pose": float((pose.argmax(1).numpy() == truth[name]).mean()),
            "pose guess": float(np.bincount(truth[name]).max() / len(labels)),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def nearest_cluster(images: ImageSet, clusters: PoseClusters) -> NDArray[np.int64]:
    """(n,) the pose cluster, 1..K, whose centre is nearest to each image's pose vector."""
    vectors = pose_vectors(images, clusters.kind)
    gaps = ((vectors[:, None] - clusters.centres[None]) ** 2).sum(axis=2)
    nearest: NDArray[np.int64] = gaps.argmin(axis=1) + 1
    return nearest


def attribute_figure(table: pd.DataFrame, synthetic: bool) -> Figure:
    """`attribute_table` as bars, with the share that always guessing the commonest label gets."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained", sharey=True)
    for axes, name, title in (
        (panels[0], "gender", "gender, read from f2 (identity branch)"),
        (panels[1], "pose", "pose cluster, read from f3 (pose branch)"),
    ):
        colours = [JUNK_COLOUR, HQ_COLOUR, *[LQ_COLOUR] * len(KINDS)]
        bars = axes.bar(range(len(table)), 100 * table[name], color=colours)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
        guess = 100 * table[f"{name} guess"]
        places = np.arange(len(table))
        axes.hlines(
            guess, places - 0.4, places + 0.4, color="black", ls="--", label="commonest label"
        )
        axes.set_xticks(places, [text.replace(", ", "\n") for text in table.index], fontsize=8)
        axes.set(title=title, ylim=(0, 108), ylabel="right, %")
        axes.legend(fontsize=8, loc="upper right")
    text = "Can CAP's attributes be read from unseen people?"
    figure.suptitle(_headline(text, synthetic), weight="bold")
    return figure


# ------------------------------------------------------------------------------ 06: evaluation


@dataclass(frozen=True)
class Search:
    """One row of a ranked-list picture."""

    label: str
    picture: Picture
    """The query, as the network got it."""
    distances: NDArray[np.float32]
    """(n_gallery,)"""
    protocol: str


def searches_by_protocol(
    features: Features, query: ImageSet, gallery: ImageSet, index: int
) -> list[Search]:
    """The same HQ query and the same distances, once for each protocol."""
    distances = cosine_distances(features, index, HQ)
    picture = read_image(query.paths[index])
    return [Search(protocol, picture, distances, protocol) for protocol in PROTOCOLS]


def searches_by_quality(
    runs: Mapping[str, RunFolder], query: ImageSet, index: int, kind: str
) -> list[Search]:
    """The same query as HQ and with one degradation, for each run, under CC."""
    searches = []
    for title, run in runs.items():
        features = run.features()
        for quality in (HQ, kind):
            picture = evaluation_images(query, quality, run.config()).source(index)
            distances = cosine_distances(features, index, quality)
            label = f"{title}\n{KIND_TITLES.get(quality, quality)}"
            searches.append(Search(label, picture, distances, "CC"))
    return searches


def cosine_distances(features: Features, index: int, quality: str) -> NDArray[np.float32]:
    """(n_gallery,) cosine distances of one query, in one quality, to the HQ gallery."""
    query, gallery = features["query", quality][index], features["gallery", HQ]
    distances: NDArray[np.float32] = 1 - gallery @ query
    return distances


def ranked_sheet(
    query: ImageSet,
    gallery: ImageSet,
    index: int,
    searches: Sequence[Search],
    title: str,
    k: int = 10,
) -> Figure:
    """A query's nearest k gallery images, junk included and marked, a row for each search."""
    letters = outfit_letters([query, gallery])
    galleries = Labels(*gallery.metric_arrays())
    rows: list[list[Tile | None]] = []
    for search in searches:
        named = _name(query, index, letters)
        row: list[Tile | None] = [Tile(search.picture, f"query\n{named}", "#222222"), None]
        labels = [[values[index]] for values in query.metric_arrays()]
        entries = ranked_list(search.distances, labels, galleries, search.protocol, k)
        for entry in entries:
            rank = "junk" if entry.rank is None else f"rank {entry.rank + 1}"
            caption = (
                f"{rank} · cos {1 - entry.distance:.2f}\n{_name(gallery, entry.index, letters)}"
            )
            image = read_image(gallery.paths[entry.index])
            faded = entry.status == "junk"
            row.append(Tile(image, caption, STATUS_COLOURS[entry.status], faded))
        rows.append(row)
    return sheet(
        rows,
        _headline(title, query.synthetic),
        [search.label for search in searches],
        legend={"correct": CORRECT_COLOUR, "wrong": WRONG_COLOUR, "junk": JUNK_COLOUR},
        tile=(1.5, 0.84),
    )


def _name(images: ImageSet, index: int, letters: Mapping[tuple[int, int], str]) -> str:
    sample = images.table.iloc[index]
    outfit = letters[sample["identity"], sample["clothes"]]
    return f"id {sample['identity']}\noutfit {outfit} · cam {sample['camera']}"


def instructive_query(features: Features, query: ImageSet, gallery: ImageSet, k: int = 10) -> int:
    """The query on whose first k images the protocols differ most.

    Counted: images of the query's identity that some protocols call correct and others junk, with
    a bonus for queries whose list holds every status under CC. The first of equals wins.
    """
    galleries = Labels(*gallery.metric_arrays())
    best, chosen = -1, 0
    for i in range(len(query)):
        labels = [[values[i]] for values in query.metric_arrays()]
        distances = cosine_distances(features, i, HQ)
        lists = {p: ranked_list(distances, labels, galleries, p, k) for p in PROTOCOLS}
        columns = zip(*([e.status for e in entries] for entries in lists.values()), strict=True)
        score = sum(len(set(column)) > 1 for column in columns)
        score += k * (len({entry.status for entry in lists["CC"]}) == 3)
        if score > best:
            best, chosen = score, i
    return chosen


def best_found_by_all(runs: Mapping[str, RunFolder]) -> int:
    """The HQ query that the runs answer best in the headline test (CC where clothes are labelled).

    Its worst first match comes earliest.

    The first of equals wins; a query without a valid match is never chosen.
    """
    tests = {title: headline_name(run.per_query()) for title, run in runs.items()}
    hits = np.stack(
        [_per_query(run, tests[title], HQ)["first_hit"].to_numpy() for title, run in runs.items()]
    )
    worst = np.where(hits >= 0, hits, np.iinfo(np.int64).max).max(axis=0)
    return int(worst.argmin())


def _per_query(run: RunFolder, protocol: str, quality: str) -> pd.DataFrame:
    """Per-query figures of the last epoch against the HQ gallery; quality "LQ" pools the kinds."""
    table = run.per_query()
    table = table[(table["rule"] == "last") & (table["protocol"] == protocol)]
    kinds = KINDS if quality == LQ else (quality,)
    return table[table["query"].isin(kinds) & (table["gallery"] == HQ)]


def retrievals(
    features: Features, query: ImageSet, gallery: ImageSet, quality: str
) -> dict[str, Retrieval]:
    """Every protocol for queries of one quality on the HQ gallery."""
    labels = Labels(*query.metric_arrays()), Labels(*gallery.metric_arrays())
    return evaluate_features(
        features["query", quality], features["gallery", HQ], *labels, PROTOCOLS
    )


def cmc_figure(
    runs: Mapping[str, RunFolder], query: ImageSet, gallery: ImageSet, ranks: int = 20
) -> Figure:
    """CMC curves of every protocol, HQ queries and LQ queries (mean of the three kinds)."""
    styles = dict(zip(runs, ("--", "-", ":", "-."), strict=False))
    ranks = min(ranks, len(gallery))
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    for axes, (name, qualities) in zip(panels, {HQ: (HQ,), LQ: KINDS}.items(), strict=True):
        for title, run in runs.items():
            features = run.features()
            found = [retrievals(features, query, gallery, quality) for quality in qualities]
            for protocol in PROTOCOLS:
                curve = 100 * np.mean([f[protocol].cmc[:ranks] for f in found], axis=0)
                colour, label = PROTOCOL_COLOURS[protocol], f"{title}, {protocol}"
                axes.plot(np.arange(1, ranks + 1), curve, styles[title], color=colour, label=label)
        axes.set(title=f"{name} queries, HQ gallery", xlabel="rank k", ylim=(0, 100))
        axes.set_xticks([1, *range(5, ranks + 1, 5)])
    panels[0].set_ylabel("first match within k, %")
    panels[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    title = _headline("CMC: how soon does the first correct match come?", query.synthetic)
    figure.suptitle(title, weight="bold")
    return figure


def precision_figure(run: RunFolder, title: str, synthetic: bool) -> Figure:
    """Histogram of every query's average precision, HQ beside LQ, for each test of a run."""
    tests = run.per_query()["protocol"].unique()
    figure, grid = plt.subplots(
        1, len(tests), figsize=(1 + 10 / 3 * len(tests), 3.4), layout="constrained", sharey=True,
        squeeze=False,
    )  # fmt: skip
    panels = grid[0]
    bins = np.geomspace(1e-3, 1, 25)
    for axes, protocol in zip(panels, tests, strict=True):
        for quality, colour in ((HQ, HQ_COLOUR), (LQ, LQ_COLOUR)):
            values = _per_query(run, protocol, quality)["average_precision"].dropna().to_numpy()
            shown = np.maximum(values, bins[0])
            weights = np.full(len(values), 100 / len(values))
            label = f"{quality}, mAP {100 * values.mean():.1f}"
            axes.hist(shown, bins, weights=weights, histtype="stepfilled", alpha=0.35, color=colour)
            axes.hist(
                shown, bins, weights=weights, histtype="step", lw=1.5, color=colour, label=label
            )
            axes.axvline(values.mean(), color=colour, ls="--")
        axes.set(title=protocol, xlabel="average precision of a query")
        axes.set(xscale="log", xlim=(1e-3, 1))
        axes.set_xticks([0.001, 0.01, 0.1, 1], [".001", ".01", ".1", "1"])
        axes.legend(fontsize=8)
    panels[0].set_ylabel("queries, %")
    text = f"{title}: one mAP (dashed) stands for very different queries"
    figure.suptitle(_headline(text, synthetic), weight="bold")
    return figure
