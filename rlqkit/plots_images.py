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
    Severity,
    degrade,
    draw_kind,
    gaussian_blur,
    motion_blur,
    motion_kernel,
    pixelate,
)
from rlqkit.errors import RlqkitError
from rlqkit.evaluation import HQ, LQ, Features
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
from rlqkit.recolouring import Recolouring, colour_code, recolour, recoloured_class
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
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


# ------------------------------------------------------------------------------ sheets of images


@dataclass(frozen=True)
class Tile:
    """One image of a sheet."""

    image: Picture
    """(H, W, 3) uint8, scaled to the tile without smoothing."""
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
    lines = max((t.caption.count("\n") + 1 for row in rows for t in row if t and t.caption), default=0)
    left = 0.1 + 0.075 * max((len(part) for r in row_labels for part in r.split("\n")), default=0)
    head = 0.12 + 0.2 * (title.count("\n") + 1)
    head += 0.16 * max((text.count("\n") + 1 for text in column_labels), default=0)
    step_x, step_y = wide + 0.08, high + 0.13 * lines + 0.1
    columns = max(len(row) for row in rows)
    width = max(left + columns * step_x + 0.05, 0.075 * max(map(len, title.split("\n"))) + 0.3)
    height = head + len(rows) * step_y + (0.3 if legend else 0.05)
    figure, axes = _page(width, height)
    axes.text(0.1, 0.1, title, va="top", fontsize=11, weight="bold")
    for j, text in enumerate(column_labels):
        axes.text(left + j * step_x + wide / 2, head - 0.05, text, ha="center", fontsize=8)
    for i, row in enumerate(rows):
        top = head + i * step_y
        if i < len(row_labels):
            axes.text(left - 0.08, top + high / 2, row_labels[i], ha="right", va="center", fontsize=8)
        for j, entry in enumerate(row):
            if entry:
                _draw_tile(axes, entry, (left + j * step_x, top), tile)
    if legend:
        handles = [Patch(facecolor=colour, label=text) for text, colour in legend.items()]
        axes.legend(handles=handles, loc="lower left", ncols=len(handles), fontsize=8, frameon=False)
    return figure


def _page(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose only axes are measured in inches from the upper left corner."""
    figure = plt.figure(figsize=(width, height), layout="none")
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
    alpha = 0.4 if tile.faded else 1.0
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(tile.image, extent=(x0, x0 + w, y0 + h, y0), alpha=alpha, interpolation="nearest")
    axes.set(xlim=limits[0], ylim=limits[1])  # imshow moves them
    if tile.frame:
        axes.add_patch(Rectangle((x0, y0), w, h, fill=False, edgecolor=tile.frame, linewidth=2.5))
    axes.text(x + wide / 2, y + high + 0.04, tile.caption, ha="center", va="top", fontsize=7)


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
    title = _headline("One person of each split: outfit, camera, native height", benchmark.synthetic)
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


def skeleton_on(image: Picture, joints: Joints, scale: int = 4) -> Picture:
    """The 13 limbs drawn on an enlarged image; joints (17, 2 or 3) in the image's pixels."""
    large = Image.fromarray(image).resize((image.shape[1] * scale, image.shape[0] * scale))
    draw = ImageDraw.Draw(large)
    points = [(float(x) * scale, float(y) * scale) for x, y in joints[:, :2]]
    thick = max(2, large.width // 60)
    for (a, b), colour in zip(LIMBS, limb_colours(), strict=True):
        draw.line([points[a], points[b]], fill=colour, width=thick)
    visible = joints[:, 2] > 0 if joints.shape[1] > 2 else np.ones(17, dtype=bool)
    for (x, y), shown in zip(points, visible, strict=True):
        box = [x - thick, y - thick, x + thick, y + thick]
        draw.ellipse(box, fill="#f5f5f5" if shown else None, outline="#f5f5f5", width=2)
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
    """(n, 6): mean RGB (0-255) inside the shirt and inside the trouser mask, NaN where it's empty."""
    colours = np.full((len(images), 6), np.nan)
    for i, (path, mask_path) in enumerate(zip(images.paths, images.mask_paths, strict=True)):
        image, mask = read_image(path), read_mask(mask_path)
        for label, columns in ((SHIRT, slice(0, 3)), (TROUSERS, slice(3, 6))):
            inside = mask == label
            if inside.any():
                colours[i, columns] = image[inside].mean(axis=0)
    return colours


def colour_distances(query: ImageSet, gallery: ImageSet) -> NDArray[np.float64]:
    """(n_query, n_gallery) RMS difference of clothes colours in grey levels, 255 if incomparable."""
    difference = clothes_colours(query)[:, None] - clothes_colours(gallery)[None]
    return np.nan_to_num(np.sqrt((difference**2).mean(axis=2)), nan=255.0)


def colour_baseline(query: ImageSet, gallery: ImageSet, distances: NDArray[np.float64]) -> pd.DataFrame:
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

    Of all queries, one an identity, those are shown whose stranger is nearest in clothes colour;
    beside each the same person's gallery image whose colours differ most.
    """
    same = query.identities[:, None] == gallery.identities
    stranger = np.where(same, np.inf, distances)
    other = query.metric_arrays()[2][:, None] != gallery.metric_arrays()[2]
    changed = np.where(same & other, distances, -np.inf)
    order = [int(i) for i in np.argsort(stranger.min(axis=1), kind="stable") if changed[i].max() > 0]
    first = pd.Series(query.identities[order], index=order).drop_duplicates().index[:count]
    row: list[Tile | None] = []
    labels: list[str] = []
    for i in first:
        a, b = int(changed[i].argmax()), int(stranger[i].argmin())
        row += [
            Tile(read_image(query.paths[i]), f"person {query.identities[i]}"),
            Tile(read_image(gallery.paths[a]), f"same person\nΔ {distances[i, a]:.0f}", CORRECT_COLOUR),
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
    sns.boxplot(target, x="camera", y="height", ax=right, color="#c6d4e8", width=0.6)
    right.set(title="Native height of a person's image, by camera", ylabel="pixels")
    figure.suptitle(_headline("Is the data balanced?", benchmark.synthetic), weight="bold")
    return figure


def recolouring_sheet(images: ImageSet, how: Recolouring, index: int = 0) -> Figure:
    """One image in every pair of every second colour, each with its clothes class."""
    image, mask = read_image(images.paths[index]), read_mask(images.mask_paths[index])
    person = int(images.identity_labels[index])
    names = how.colours[:: max(1, len(how.colours) // 5)][:5]
    rows: list[list[Tile | None]] = []
    for trousers in names:
        row: list[Tile | None] = []
        for shirt in names:
            copy = recolour(image, mask == SHIRT, mask == TROUSERS, shirt, trousers, how.overlap)
            label = recoloured_class(
                how.original_classes, person, trousers, shirt, how.colours, how.groups
            )
            row.append(Tile(copy, f"class {label}"))
        rows.append(row)
    own = int(images.clothes_labels[index])
    rows[0] = [Tile(image, f"class {own}", HQ_COLOUR), None, *rows[0]]
    rows[1:] = [[None, None, *row] for row in rows[1:]]
    return sheet(
        rows,
        _headline("One image, recoloured: new clothes, same person", images.synthetic),
        [f"{name}\ntrousers" for name in names],
        ["as it is", "", *(f"{name}\nshirt" for name in names)],
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
