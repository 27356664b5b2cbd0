"""Pictures of a data set's people: outfits, labels, look-alikes, recoloured copies."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlqkit.data.images import MASK_COLOURS, SHIRT, TROUSERS, read_image, read_mask
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.wardrobe import read_card
from rlqkit.evaluation.metrics import Labels, evaluate_distances
from rlqkit.method.recolouring import Recolouring, recolour, recoloured_class
from rlqkit.randomness import generator
from rlqkit.report.figures.sheets import (
    LETTERS,
    Tile,
    boxes,
    headline_of,
    mask_overlay,
    rgb_of,
    sheet,
    skeleton_on,
)
from rlqkit.report.style import (
    CORRECT_COLOUR,
    GENDER_COLOURS,
    GENDERS,
    HQ_COLOUR,
    JUNK_COLOUR,
    LQ_COLOUR,
    WRONG_COLOUR,
)


def outfit_letters(sets: Sequence[ImageSet]) -> dict[tuple[int, int], str]:
    """(identity, clothes id) -> "A", "B", …: a person's outfits, lettered over several sets."""
    table = pd.concat([images.table[["identity", "clothes"]] for images in sets]).drop_duplicates()
    letters = {}
    for identity, group in table.groupby("identity"):
        for position, clothes in enumerate(sorted(group["clothes"])):
            number, letter = divmod(position, len(LETTERS))
            letters[int(str(identity)), clothes] = LETTERS[letter] + (str(number) if number else "")
    return letters


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
        headline_of("Who is who when clothes and cameras change?", benchmark.synthetic),
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
    title = headline_of(
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
        headline_of("What is known of every training image", images.synthetic),
        ["image", "mask", "17 joints\nfilled: visible\nopen: hidden"],
        legend={name: MASK_COLOURS[label] for label, name in sorted(labels.items())},
        tile=(1.8, 0.95),
    )


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
    return sheet([row[:-1]], headline_of(title, query.synthetic), (), labels[:-1], tile=(1.8, 0.76))


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
    boxes(right, {str(c): t["height"].to_numpy() for c, t in target.groupby("camera")}, "#c6d4e8")
    title = "Native height of a person's image, by camera"
    right.set(title=title, xlabel="camera", ylabel="pixels")
    figure.suptitle(headline_of("Is the data balanced?", benchmark.synthetic), weight="bold")
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
        headline_of("One image, recoloured: new clothes, same person", images.synthetic),
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
        paint = np.where(block[..., None], np.array(rgb_of(colour)), 240).astype(np.uint8)
        side.imshow(paint, aspect="auto", interpolation="nearest")
        side.grid(False)
        side.set(title=title, xlabel=_class_range(columns), xticks=[], yticks=range(people))
    axes[0].set_ylabel("identity")
    figure.suptitle("Positive clothes classes of CAL: all that one person may wear", weight="bold")
    return figure


def _class_range(columns: NDArray[np.int64]) -> str:
    return f"clothes classes {columns[0]} to {columns[-1]}" if len(columns) else "none"
