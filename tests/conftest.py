"""Fixtures shared by all tests: a tiny data set in the layout of the embedded one.

- `tiny_wardrobe`: its folder, written once; read only.
- `tiny_benchmark`: the same, loaded; read only.
- `broken_wardrobe`: a copy of the folder for one test, which may break it.
- `browser`: a headless Chromium (see tests/support/browser.py).
- `untrained_runs`, `exploration`, `quick_maps`: see tests/support/explorer_fixtures.py.
"""

import atexit
import csv
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("MPLBACKEND", "Agg")
# What tests find out must neither be remembered beside what the user's runs did, nor be known from
# earlier tests. Whatever the first process starts inherits it: commands, workers of pytest-xdist,
# spawned processes that import this file again.
if "rlqkit-tests-" not in os.environ.get("RLQKIT_CACHE", ""):
    os.environ["RLQKIT_CACHE"] = tempfile.mkdtemp(prefix="rlqkit-tests-")
    atexit.register(shutil.rmtree, os.environ["RLQKIT_CACHE"], ignore_errors=True)

from browser import browser, chromium  # noqa: E402, F401
from explorer_fixtures import exploration, quick_maps, untrained_runs  # noqa: E402, F401

from rlqkit.data.imageset import Benchmark  # noqa: E402
from rlqkit.data.registry import load  # noqa: E402

# split: (first identity, identities, images of each outfit and camera)
TINY_SPLITS = {
    "train": (1, 6, 2),
    "val_query": (11, 3, 1),
    "val_gallery": (11, 3, 1),
    "query": (21, 4, 1),
    "gallery": (21, 4, 1),
    "external": (31, 6, 1),
}
OUTFITS, CAMERAS = 2, 2
HEIGHTS = (64, 50)  # native image height of each camera, px
# Upright COCO skeleton on a unit frame (x, y): head, shoulders, elbows, wrists, hips, knees, feet.
SKELETON = np.array(
    [
        *[(0.50, 0.10), (0.53, 0.08), (0.47, 0.08), (0.56, 0.10), (0.44, 0.10)],
        *[(0.65, 0.22), (0.35, 0.22), (0.70, 0.37), (0.30, 0.37), (0.72, 0.50), (0.28, 0.50)],
        *[(0.60, 0.52), (0.40, 0.52), (0.60, 0.73), (0.40, 0.73), (0.60, 0.93), (0.40, 0.93)],
    ]
)


def write_tiny_wardrobe(root: Path, seed: int = 0) -> Path:
    """Write the tiny data set to `root`: 128 noisy "people" of two coloured rectangles.

    Six train, three validation, four test and six external identities of alternating gender, two
    outfits (own colours; not labelled in the external split) under two cameras (heights 64 and
    50 px), joints with jitter, masks for all but the external split, counts, SHA-256.
    """
    rng = np.random.default_rng(seed)
    samples, joints = [], []
    for split, (first, n_identities, repeats) in TINY_SPLITS.items():
        for identity in range(first, first + n_identities):
            for outfit, camera, k in np.ndindex(OUTFITS, CAMERAS, repeats):
                stem = f"{split}/{identity:04d}_o{outfit}_c{camera:02d}_{k}"
                height = HEIGHTS[camera]
                width = height // 2
                write_person(root, stem, identity, outfit, (height, width), rng)
                labelled = split != "external"
                samples.append(
                    [f"images/{stem}.webp", split, identity, camera]
                    + [outfit if labelled else "", identity % 2, height, width]
                )
                points = (SKELETON + rng.normal(0, 0.03, SKELETON.shape)) * (width, height)
                visible = rng.integers(0, 2, len(SKELETON))
                joints.append(
                    [samples[-1][0]]
                    + [f"{v:.2f}" for v in np.column_stack([points, visible]).ravel()]
                )
    header = ["file", "split", "identity", "camera", "outfit", "gender", "height", "width"]
    write_csv(root / "samples.csv", header, samples)
    write_csv(root / "joints.csv", ["file", *[f"{p}{j}" for j in range(17) for p in "xyv"]], joints)
    counts = {split: sum(row[1] == split for row in samples) for split in TINY_SPLITS}
    card = {"name": "wardrobe-v2", "version": "tiny", "seed": seed, "counts": counts}
    (root / "dataset.json").write_text(json.dumps(card, indent=1), encoding="utf-8")
    write_checksums(root)
    return root


def write_person(
    root: Path,
    stem: str,
    identity: int,
    outfit: int,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """Noise, a shirt and trousers in the outfit's colours, and (not external) the mask."""
    height, width = size
    image = rng.integers(60, 160, (height, width, 3))
    mask = np.zeros(size, dtype=np.uint8)
    colours = np.random.default_rng((identity, outfit)).integers(0, 256, (3, 3))
    mask[int(0.2 * height) : int(0.5 * height), width // 4 : -(width // 4)] = 1
    mask[int(0.5 * height) : int(0.9 * height), width // 4 : -(width // 4)] = 2
    for label in (1, 2):
        image[mask == label] = colours[label] * 0.9 + image[mask == label] * 0.1
    file = root / "images" / f"{stem}.webp"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.astype(np.uint8)).save(file, quality=90)
    if not stem.startswith("external/"):
        file = root / "masks" / f"{stem}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        palette = Image.fromarray(mask).convert("P")
        palette.putpalette([0, 0, 0, 220, 40, 40, 40, 40, 220])
        palette.save(file)


def write_csv(path: Path, header: list[str], rows: list[list]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_checksums(root: Path) -> None:
    """SHA256SUMS of every other file below `root`, in the format of sha256sum."""
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(root).as_posix()}\n"
        for file in files
    ]
    (root / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_wardrobe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny data set (see `write_tiny_wardrobe`), shared by all tests: read only."""
    return write_tiny_wardrobe(tmp_path_factory.mktemp("data") / "wardrobe-v2")


@pytest.fixture(scope="session")
def tiny_benchmark(tiny_wardrobe: Path) -> Benchmark:
    """The tiny data set, loaded: read only."""
    return load("wardrobe-v2", tiny_wardrobe)


@pytest.fixture
def broken_wardrobe(tiny_wardrobe: Path, tmp_path: Path) -> Path:
    """A copy of the tiny data set's folder, valid until the test breaks it."""
    return Path(shutil.copytree(tiny_wardrobe, tmp_path / "broken" / "wardrobe-v2"))
