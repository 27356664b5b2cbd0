"""The thorough look at a data set: every file on disk against its tables."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from rlqkit.data.findings import finding
from rlqkit.data.images import TROUSERS, read_image, read_mask, read_oddities
from rlqkit.data.imageset import IDENTITY_GROUPS, UNKNOWN, Benchmark, ImageSet
from rlqkit.data.published.check import check_published
from rlqkit.data.published.load import LAYOUTS
from rlqkit.data.wardrobe import read_card, shared_identity
from rlqkit.errors import RlqkitError
from rlqkit.files import changed_files, digest
from rlqkit.progress import bar

HEIGHT_BINS = (0, 48, 64, 96, 128, 192, 256)  # px, of the native-height histogram


def check_dataset(benchmark: Benchmark, progress: bool = False) -> pd.DataFrame:
    """Look at everything on disk: decode every image and mask, compare with the tables.

    Args:
        benchmark: what `load` gave.
        progress: show a bar for each split.

    Returns:
        A report, one row a finding, with the columns check, subject (split, file or identity),
        found, expected, ok. Rows with ok = False are problems, one for each image concerned; the
        others say what was looked at.
    """
    if benchmark.name in LAYOUTS:
        return check_published(benchmark, progress)
    rows = [*_check_counts(benchmark), *_check_shared(benchmark)]
    seen: dict[str, tuple[str, str]] = {}
    last_label = _last_label(benchmark.root)
    for split, images in benchmark.sets.items():
        problems = []
        for row in bar(range(len(images)), desc=split, unit="image", disable=not progress):
            problems += _check_image(images, row, split, seen, last_label)
        rows += problems or [finding("images are whole", split, len(images), len(images))]
        rows += _count_labels(images, split)
        rows += _height_histogram(images, split)
    if (benchmark.root / "SHA256SUMS").is_file():
        changed = changed_files(benchmark.root)
        rows += [finding("SHA-256", *item, "as shipped", ok=False) for item in changed.items()]
        rows += [] if changed else [finding("SHA-256", "all files", "as shipped", "as shipped")]
    return pd.DataFrame(rows)


def _check_counts(benchmark: Benchmark) -> list[dict[str, object]]:
    """Images and identities of each split against the "counts" of dataset.json, if it has them."""
    counts = read_card(benchmark.root).get("counts")
    rows = []
    for split, expected in counts.items() if isinstance(counts, dict) else ():
        wanted = expected if isinstance(expected, dict) else {"images": expected}
        images = benchmark[split]
        for key, found in (("images", len(images)), ("identities", images.n_identities)):
            if key in wanted:
                rows.append(
                    finding(f"{key} in all", split, found, wanted[key], found == wanted[key])
                )
    return rows


def _check_shared(benchmark: Benchmark) -> list[dict[str, object]]:
    """No identity in two of train, validation, test and external."""
    groups = {
        group: np.concatenate([benchmark.sets[split].identities for split in present])
        for group, splits in IDENTITY_GROUPS.items()
        if (present := [split for split in splits if split in benchmark.sets])
    }
    shared = shared_identity(groups)
    if shared is None:
        return [finding("identities apart", ", ".join(groups), "none shared", "none shared")]
    identity, first, second = shared
    found = f"in {first} and in {second}"
    return [finding("identities apart", f"identity {identity}", found, "none shared", ok=False)]


def _check_image(
    images: ImageSet, row: int, split: str, seen: dict[str, tuple[str, str]], last_label: int
) -> list[dict[str, object]]:
    """Problems of one image: unreadable, another size, the bytes of another split's image, mask.

    `seen` maps the SHA-256 of every image so far to its file and split; this image is added.
    `last_label` is the highest that masks may have.
    """
    sample = images.table.iloc[row]
    file, mask = sample["file"], sample["mask"]
    try:
        pixels = read_image(images.root / file)
        labels = read_mask(images.root / mask) if mask else None
    except RlqkitError as error:
        return [finding("images are whole", file, error, "a whole image", ok=False)]
    rows = [
        finding("unusual image", file, what, "8-bit RGB, upright")
        for what in read_oddities(images.root / file)
    ]
    if "height" in images.table:  # a data set of one's own needn't say
        size = (int(sample["height"]), int(sample["width"]))
        if pixels.shape[:2] != size:
            rows.append(finding("height and width", file, pixels.shape[:2], size, ok=False))
    twin, twin_split = seen.setdefault(digest(images.root / file), (file, split))
    if twin_split != split:
        rows.append(finding("duplicate", file, f"the bytes of {twin}", "its own", ok=False))
    if labels is not None and labels.shape != pixels.shape[:2]:
        rows.append(finding("size of mask", mask, labels.shape, pixels.shape[:2], ok=False))
    if labels is not None and labels.max(initial=0) > last_label:
        rows.append(finding("labels of mask", mask, labels.max(), f"0..{last_label}", ok=False))
    return rows


def _last_label(root: Path) -> int:
    """The highest label of the masks: dataset.json may name more parts than shirt and trousers."""
    named = read_card(root).get("labels")
    numbers = [int(label) for label in named] if isinstance(named, dict) else []
    return max(numbers, default=TROUSERS)


def _count_labels(images: ImageSet, split: str) -> list[dict[str, object]]:
    """How many labels there are; incomplete ones are no problem as long as no row needs them."""
    n_joints = 0 if images.joints is None else np.isfinite(images.joints).all(axis=(1, 2)).sum()
    counts = {
        "images with clothes label": len(images) if images.clothes_labelled else 0,
        "images with gender": (images.table["gender"] != UNKNOWN).sum(),
        "images with joints": n_joints,
        "images with masks": (images.table["mask"] != "").sum(),
    }
    return [finding(name, split, count, f"up to {len(images)}") for name, count in counts.items()]


def _height_histogram(images: ImageSet, split: str) -> list[dict[str, object]]:
    """How many images there are in each of HEIGHT_BINS."""
    edges = np.array([*HEIGHT_BINS, np.inf])
    counts = np.histogram(images.sizes[:, 1].astype(np.float64), bins=edges)[0]
    names = [f"{low} to {high - 1}" for low, high in pairwise(HEIGHT_BINS)]
    return [
        finding(f"native height {name} px", split, count, "any")
        for name, count in zip([*names, f"from {HEIGHT_BINS[-1]}"], counts, strict=True)
        if count
    ]


def summarise_splits(benchmark: Benchmark) -> pd.DataFrame:
    """One row a split: images, identities (men, women), outfits, cameras, native heights (px).

    outfits is <NA> where clothes aren't labelled; men and women count identities.
    """
    rows = {}
    for split, images in benchmark.sets.items():
        people = images.table.drop_duplicates("identity")["gender"]
        heights = images.sizes[:, 1]
        rows[split] = {
            "images": len(images),
            "identities": images.n_identities,
            "men": int((people == 1).sum()),
            "women": int((people == 0).sum()),
            "outfits": images.n_clothes if images.clothes_labelled else pd.NA,
            "cameras": images.table["camera"].nunique(),
            "height_min": int(heights.min()),
            "height_median": float(np.median(heights)),
            "height_max": int(heights.max()),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").astype({"outfits": "Int64"})
    return table.rename_axis("split")
