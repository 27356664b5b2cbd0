"""A thorough look at a published data set on disk: is it the one that its authors gave out?"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from rlqkit.data.findings import Finding, finding, listed
from rlqkit.data.images import LEAST_SIDE, TAGGED, oddities, upright_rgb
from rlqkit.data.imageset import UNKNOWN, Benchmark, ImageSet
from rlqkit.data.labels.check import check_labels
from rlqkit.data.published.figures import RESOLUTION_BINS, TOGETHER, published, published_files
from rlqkit.data.published.index import read_index
from rlqkit.data.published.layouts import JUNK
from rlqkit.data.published.load import LAYOUTS, shared_identities
from rlqkit.errors import RlqkitError, one_line
from rlqkit.progress import bar


def check_published(benchmark: Benchmark, progress: bool = False) -> pd.DataFrame:
    """Compare a data set with what was published, and read every image.

    Args:
        benchmark: what `load_published` gave, best with `tolerant`.
        progress: show a bar.

    Returns:
        One row a finding, as `check_dataset` of `rlqkit.data.check` has them. Counts, names, shared
        people, unreadable, empty, tiny and duplicate images, masks that can't be read and joints
        that lie beside their images are problems; resolutions and labels are shown beside what was
        published, since neither hinders anything.
    """
    counted = {name: images for name, images in benchmark.sets.items() if name != "external"}
    rows = [] if benchmark.synthetic else [*_check_counts(benchmark), *_check_names(benchmark)]
    rows += _check_shared(benchmark)
    sides, problems = _check_images(benchmark.root, counted, progress)
    rows += problems
    for split, images in counted.items():
        rows += _labels(split, images)
    rows += check_labels(benchmark, LAYOUTS[benchmark.name])
    rows += _resolutions(benchmark, sides)
    return pd.DataFrame(rows)


def _members(benchmark: Benchmark, name: str) -> list[ImageSet]:
    """The sets behind a name of the published figures."""
    splits = TOGETHER.get(name, (name,))
    return [benchmark.sets[split] for split in splits if split in benchmark.sets]


def _check_counts(benchmark: Benchmark) -> Iterator[Finding]:
    for name, expected in published(benchmark.name)["splits"].items():
        sets = _members(benchmark, name)
        if not sets:
            yield finding("split is there", name, "missing", "there", ok=False)
            continue
        table = pd.concat([images.table for images in sets])
        found = {
            "images": len(table),
            "identities": table["identity"].nunique(),
            "outfits": table["clothes"].nunique(),
            "cameras": table["camera"].nunique(),
        }
        for key, count in expected.items():
            yield finding(key, name, found[key], count, found[key] == count)


def _check_names(benchmark: Benchmark) -> list[Finding]:
    """Files against the published list, and images of nobody, which are left out."""
    index = read_index(LAYOUTS[benchmark.name], benchmark.root)
    junk = index[index["identity"] < JUNK]
    rows = [
        finding("junk images", part, len(group), "left out") for part, group in junk.groupby("part")
    ]
    wanted = published_files(benchmark.name)
    if not wanted:
        return rows
    there = set(index["file"])
    missing = [(file, "missing", "a file") for file in wanted if file not in there]
    unknown = [
        (file, "not in the published list", "no such file")
        for file in index.loc[index["identity"] >= JUNK, "file"]
        if file not in wanted
    ]
    found = listed("file names", [*missing, *unknown])
    return rows + (found or [finding("file names", "all", len(there), "as published")])


def _check_shared(benchmark: Benchmark) -> list[Finding]:
    if LAYOUTS[benchmark.name].numbered_apart:
        return [finding("identities apart", "train, test", "numbered apart", "can't be compared")]
    shared = shared_identities(benchmark)
    rows = [(f"identity {person}", "in train and in test", "in one of them") for person in shared]
    apart = finding("identities apart", "train, test", "none shared", "none shared")
    return listed("identities apart", rows) or [apart]


def _check_images(
    root: Path, sets: dict[str, ImageSet], progress: bool
) -> tuple[dict[str, np.ndarray], list[Finding]]:
    """Short sides (0 = unreadable) of every split's images, and what is wrong with any."""
    files = [(split, file) for split, images in sets.items() for file in images.table["file"]]
    broken: list[tuple[str, str, str]] = []
    twins: list[tuple[str, str, str]] = []
    unusual: list[tuple[str, str, str]] = []
    seen: dict[bytes, tuple[str, str]] = {}
    sides = np.zeros(len(files), dtype=np.int64)
    with ThreadPoolExecutor(4) as pool:
        looks = pool.map(_look, (root / file for _, file in files))
        read = bar(looks, "reading", total=len(files), unit="image", disable=not progress)
        for row, ((split, file), look) in enumerate(zip(files, read, strict=True)):
            sides[row] = look.side
            if look.problem:
                broken.append((file, look.problem, "a whole image"))
                continue
            unusual += [(file, what, "8-bit RGB, upright") for what in look.oddities]
            twin, twin_split = seen.setdefault(look.digest, (file, split))
            if twin_split != split:
                twins.append((file, f"the bytes of {twin}", "its own"))
    whole = finding("images are whole", "all", len(files), len(files))
    rows = [*(listed("images are whole", broken) or [whole]), *listed("duplicate", twins)]
    rows += _unusual(unusual)
    ends = np.cumsum([len(images) for images in sets.values()])
    return dict(zip(sets, np.split(sides, ends[:-1]), strict=True)), rows


def _unusual(found: list[tuple[str, str, str]]) -> Iterator[Finding]:
    """Images that are read in another way than most; such as are too small to show anybody fail."""
    tagged = [row for row in found if row[1].startswith(TAGGED)]
    small = [row for row in found if row[1].endswith(" px")]
    others = [row for row in found if row not in tagged and row not in small]
    yield finding("images turned upright", "all", len(tagged), "those with an EXIF orientation")
    yield from listed("turned upright", tagged, ok=True)
    yield from listed("unusual image", others, ok=True)
    yield from listed(f"short side below {LEAST_SIDE} px", small)


@dataclass(frozen=True)
class _Look:
    """Short side in px (0 if unreadable), digest of the bytes, what is wrong ("" if nothing is)
    and what is unusual."""

    side: int
    digest: bytes
    problem: str = ""
    oddities: tuple[str, ...] = ()


def _look(path: Path) -> _Look:
    try:
        content = path.read_bytes()
    except OSError as error:
        return _Look(0, b"", f"can't be read ({error.strerror})")
    if not content:
        return _Look(0, b"", "empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(content)) as image:
            unusual = oddities(image, path)
            side = min(image.size)
            upright_rgb(image, path)  # as it will be read
        if image.format == "PNG":  # decodes without its last chunks, so look for them
            with Image.open(io.BytesIO(content)) as image:
                image.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return _Look(0, b"", f"truncated or no image ({one_line(error)})")
    except RlqkitError as error:
        return _Look(0, b"", str(error))
    return _Look(side, hashlib.blake2b(content, digest_size=16).digest(), "", tuple(unusual))


def _labels(split: str, images: ImageSet) -> Iterator[Finding]:
    """How many labels there are; what is missing only matters to rows that need it."""
    counts = {
        "images with clothes label": len(images) if images.clothes_labelled else 0,
        "images with gender": int((images.table["gender"] != UNKNOWN).sum()),
    }
    if split == "train":
        joints, poses = images.joints, images.poses
        counts |= {
            "images with pose label": 0 if poses is None else int((poses >= 0).all(axis=1).sum()),
            "images with joints": 0
            if joints is None
            else int(np.isfinite(joints).all((1, 2)).sum()),
            "images with masks": int((images.table["mask"] != "").sum()),
            "images with faulty masks": int(images.faulty.sum()),
        }
    for name, count in counts.items():
        yield finding(name, split, count, f"up to {len(images)}")


def resolution_table(
    benchmark: Benchmark, sides: dict[str, np.ndarray] | None = None
) -> pd.DataFrame:
    """Images in each bin of the short side, found beside published (<NA> where nobody did).

    Args:
        benchmark: any data set; one that isn't published has no published column values.
        sides: short sides of each split's images; read from the files' headers if not given.

    Returns:
        Index (split, bin), columns found and published.
    """
    if sides is None:
        sets = {name: images for name, images in benchmark.sets.items() if name != "external"}
        sides = {name: images.sizes.min(axis=1) for name, images in sets.items()}
    known: dict[str, Any] = {}
    if benchmark.name in LAYOUTS and not benchmark.synthetic:
        known = published(benchmark.name)["resolution"]
    names = [*known] or [*sides]
    records = []
    for name in names:
        splits = [split for split in TOGETHER.get(name, (name,)) if split in sides]
        values = np.concatenate([sides[split] for split in splits]) if splits else np.empty(0)
        found = np.histogram(values[values > 0], bins=[*RESOLUTION_BINS, np.inf])[0]
        for place, label in enumerate(bin_names()):
            stated = known[name][place] if known else pd.NA
            records.append((name, label, int(found[place]), stated))
    table = pd.DataFrame(records, columns=["split", "bin", "found", "published"])
    return table.astype({"published": "Int64"}).set_index(["split", "bin"])


def bin_names() -> list[str]:
    """ "below 32", "32 to 63", ..., "from 256"."""
    inner = [
        f"{low} to {high - 1}"
        for low, high in zip(RESOLUTION_BINS[1:], RESOLUTION_BINS[2:], strict=False)
    ]
    return [f"below {RESOLUTION_BINS[1]}", *inner, f"from {RESOLUTION_BINS[-1]}"]


def _resolutions(benchmark: Benchmark, sides: dict[str, np.ndarray]) -> Iterator[Finding]:
    for (split, name), row in resolution_table(benchmark, sides).iterrows():
        stated = "any" if pd.isna(row["published"]) else f"{row['published']} published"
        yield finding(f"short side {name} px", split, row["found"], stated)
