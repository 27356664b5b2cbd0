"""The whole data set: which pictures there are, and how they get into a folder.

The folder (see its README.md) is finished in two steps. First every identity's images and masks
are written, then a small record of them under ``.render/``: an identity with a record is never
drawn again, so an interrupted run goes on where it stopped. At the end the records become
``samples.csv`` and ``joints.csv``, the data card and the check sums are written, and ``.render``
goes away.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import multiprocessing
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from rlqkit.data.images import MASK_COLOURS
from rlqkit.errors import RlqkitError
from rlqkit.files import PARTIAL, atomically, digest, write_bytes
from rlqkit.progress import bar
from wardrobe.render.body import JOINTS, BodyModel
from wardrobe.render.camera import EXTERNAL_FIRST, Camera, external_camera, target_camera
from wardrobe.render.card import data_card
from wardrobe.render.datasheet import datasheet
from wardrobe.render.garments import DressedPerson, Dresser
from wardrobe.render.materials import Label
from wardrobe.render.people import SHAPE_SPREAD, Identity, sample_identity
from wardrobe.render.renderer import Company, Picture, take_picture
from wardrobe.render.staging import Staging
from wardrobe.render.streams import Stream, generator
from wardrobe.render.wardrobe import Outfit, SharedWardrobe, clearly_dressed, own_outfit

SAMPLE_COLUMNS = (
    "file", "split", "identity", "camera", "outfit", "gender", "height", "width",
)  # fmt: skip
STAGED_COLUMNS = (*SAMPLE_COLUMNS, "occluded", "passer_by")
"""Of ``samples.csv`` where pictures are staged."""
OCCLUDED, PASSED_BY = 0.02, 0.005
"""Shares of the person's pixels hidden, and of the picture's showing others, that count."""
JOINT_COLUMNS = ("file", *(f"{axis}{i}" for i in range(JOINTS) for axis in "xyv"))
SPLIT_GROUPS = {
    "train": "train", "val_query": "validation", "val_gallery": "validation", "query": "test",
    "gallery": "test", "external": "external",
}  # fmt: skip
"""The group of identities that each split belongs to."""
PACKAGES = ("anny", "numba", "numpy", "pillow", "roma", "scipy", "torch")
RECORDS = ".render"
Size = tuple[int, int]


@dataclass(frozen=True)
class GroupSpec:
    """A group of identities that are pictured alike."""

    first: int
    """Number of the first identity."""
    identities: int
    outfits: int
    """Per identity."""
    views: int
    """Pictures per identity and outfit, each from another camera."""
    wardrobe: int
    """Key of the shared wardrobe; 0: everybody has their own clothes."""

    def numbers(self) -> range:
        """Return the identities' numbers."""
        return range(self.first, self.first + self.identities)


@dataclass(frozen=True)
class RenderSpec:
    """Everything that decides what the data set looks like."""

    name: str
    version: str
    seed: int
    train: GroupSpec
    validation: GroupSpec
    test: GroupSpec
    external: GroupSpec
    target_heights: tuple[Size, ...]
    """Range of native image heights in pixels of target cameras 1, 2, ..., both ends included."""
    external_height: Size
    external_cameras: int
    quality: int
    """Of lossy WebP, 0..100."""
    wardrobe_tops: int = 16
    wardrobe_bottoms: int = 10
    people_seed: int | None = None
    """Of the people and clothes of validation and test; None: ``seed``."""
    staging: Staging | None = None
    """Places with depth, weather, things, passers-by, finer clothes and faces; None: without."""
    external_first: int = EXTERNAL_FIRST
    """Number of the first external camera, above those of the target cameras."""
    shape_spread: float = SHAPE_SPREAD
    """Standard deviation of people's local shape changes: the larger, the more bodies differ."""

    def settings(self) -> dict[str, Any]:
        """Return the fields as they look after a round trip through JSON.

        Fields that later versions added are left out at their defaults: a data set keeps the
        settings that it was made with.
        """
        content = asdict(self)
        for later in ("people_seed", "staging", "external_first", "shape_spread"):
            if getattr(self, later) == getattr(RenderSpec, later):
                del content[later]
        settings: dict[str, Any] = json.loads(json.dumps(content))
        return settings

    def seed_of(self, identity: int) -> int:
        """Return the seed that an identity's looks and clothes are drawn with."""
        if self.people_seed is None or self.group_of(identity) not in ("validation", "test"):
            return self.seed
        return self.people_seed

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of all identities."""
        for group in self.groups().values():
            yield from group.numbers()

    def groups(self) -> dict[str, GroupSpec]:
        """Return the groups by name."""
        return {n: getattr(self, n) for n in ("train", "validation", "test", "external")}

    def group_of(self, identity: int) -> str:
        """Return the name of the group that holds an identity."""
        for name, group in self.groups().items():
            if identity in group.numbers():
                return name
        raise RlqkitError(f"No group of {self.name} holds identity {identity}.")


WARDROBE_V1 = RenderSpec(
    name="wardrobe-v1",
    version="1.0",
    seed=2025,
    train=GroupSpec(first=0, identities=300, outfits=5, views=2, wardrobe=1),
    validation=GroupSpec(first=300, identities=40, outfits=3, views=4, wardrobe=0),
    test=GroupSpec(first=340, identities=120, outfits=3, views=4, wardrobe=0),
    external=GroupSpec(first=1000, identities=300, outfits=5, views=2, wardrobe=2),
    target_heights=((150, 210), (140, 200), (130, 190), (120, 180)),
    external_height=(150, 210),
    external_cameras=40,
    quality=88,
)
"""The first version, no longer shipped; it renders as it always did."""

WARDROBE_START = RenderSpec(
    name="wardrobe-start",
    version="1.0",
    seed=2026,
    train=GroupSpec(first=0, identities=1000, outfits=3, views=2, wardrobe=1),
    validation=GroupSpec(first=9000, identities=2, outfits=3, views=4, wardrobe=0),
    test=GroupSpec(first=9100, identities=2, outfits=3, views=4, wardrobe=0),
    external=GroupSpec(first=9200, identities=2, outfits=5, views=2, wardrobe=2),
    target_heights=WARDROBE_V1.target_heights,
    external_height=WARDROBE_V1.external_height,
    external_cameras=40,
    quality=88,
)
"""Other people, clothes and cameras, not shipped: the quick profile's network starts from weights
trained on them, as the paper's starts from ImageNet's."""

WARDROBE_V2 = RenderSpec(
    name="wardrobe-v2",
    version="2.0",
    seed=4711,
    people_seed=90125,
    train=GroupSpec(first=0, identities=380, outfits=5, views=2, wardrobe=1),
    validation=GroupSpec(first=400, identities=40, outfits=3, views=4, wardrobe=0),
    test=GroupSpec(first=500, identities=120, outfits=3, views=4, wardrobe=0),
    external=GroupSpec(first=1000, identities=320, outfits=5, views=2, wardrobe=2),
    target_heights=((144, 256), (128, 240), (112, 224), (80, 192)),
    external_height=(128, 256),
    external_cameras=40,
    quality=90,
    wardrobe_tops=24,
    wardrobe_bottoms=14,
    shape_spread=0.95,
    staging=Staging(occluders=0.12, passers_by=0.15, crowd_first=9000),
)
"""The second embedded data set, shipped in ``data/wardrobe-v2``. Nothing had been tuned on the
people of its validation and test groups when it was drawn."""

WARDROBE_START_V2 = replace(
    WARDROBE_V2,
    name="wardrobe-start-v2",
    seed=2027,
    people_seed=None,
    train=replace(WARDROBE_START.train, identities=3000),
    validation=WARDROBE_START.validation,
    test=WARDROBE_START.test,
    external=WARDROBE_START.external,
    staging=Staging(occluders=0.12, passers_by=0.15, crowd_first=9500),
)
"""More other people, pictured as finely as in wardrobe-v2: the laptop profile's network starts from
weights trained on them."""

NOBODY = GroupSpec(first=0, identities=0, outfits=1, views=2, wardrobe=0)
WARDROBE_V2_TEST2 = replace(
    WARDROBE_V2,
    name="wardrobe-v2-test2",
    people_seed=60601,
    train=NOBODY,
    validation=NOBODY,
    test=GroupSpec(first=2000, identities=160, outfits=3, views=4, wardrobe=0),
    external=NOBODY,
)
"""Fresh test people before the cameras of wardrobe-v2, whose own test people had been looked at
while things were chosen. Shipped in ``data/wardrobe-v2-test2``; the final figures are theirs."""

SPECS = {
    spec.name: spec
    for spec in (WARDROBE_V2, WARDROBE_V2_TEST2, WARDROBE_V1, WARDROBE_START, WARDROBE_START_V2)
}
"""What ``rlqkit data render`` can make, by name."""


@dataclass(frozen=True)
class Shot:
    """One picture to take."""

    split: str
    identity: int
    outfit: int
    camera: int

    @property
    def file(self) -> str:
        """Path relative to the data set's folder."""
        name = f"{self.identity:04d}_o{self.outfit}_c{self.camera:02d}_0.webp"
        return f"images/{self.split}/{name}"


def shots_of(spec: RenderSpec, identity: int) -> list[Shot]:
    """Return the pictures of one identity, which depend on nothing but ``spec`` and its number."""
    group_name = spec.group_of(identity)
    group = spec.groups()[group_name]
    external = group_name == "external"
    cameras = spec.external_cameras if external else len(spec.target_heights)
    first = spec.external_first if external else 1
    shots = []
    for outfit in range(group.outfits):
        rng = generator(spec.seed, Stream.CAMERA_CHOICE, identity, outfit)
        chosen = sorted((rng.permutation(cameras)[: group.views] + first).tolist())
        asking = generator(spec.seed, Stream.QUERY_CHOICE, identity, outfit).permutation(chosen)
        queries = set(asking[: len(chosen) // 2].tolist())
        for camera in chosen:
            role = "query" if camera in queries else "gallery"
            split = {"validation": f"val_{role}", "test": role}.get(group_name, group_name)
            shots.append(Shot(split, identity, outfit, camera))
    return shots


class Studio:
    """Draws identities; holds what is slow to build."""

    def __init__(self, spec: RenderSpec, out: Path) -> None:
        self.spec = spec
        self.out = out
        self.body = BodyModel()
        self.dresser = Dresser(self.body, spec.seed)
        self._cameras: dict[int, Camera] = {}
        self._crowd: dict[int, DressedPerson] = {}
        staging = spec.staging
        self._company = Company(staging, self.passer_by, self.dresser) if staging else None

    def camera(self, number: int) -> Camera:
        """Return a camera by number, target or external."""
        if number not in self._cameras:
            spec, deep = self.spec, self.spec.staging is not None
            self._cameras[number] = (
                external_camera(spec.seed, number, spec.external_height, deep)
                if number >= spec.external_first
                else target_camera(spec.seed, number, spec.target_heights[number - 1], deep)
            )
        return self._cameras[number]

    def person(self, number: int) -> Identity:
        """Return who an identity is."""
        return sample_identity(self.spec.seed_of(number), number, self.spec.shape_spread)

    def passer_by(self, number: int) -> DressedPerson:
        """Return one of the crowd, who are nobody's identity and dressed once per process."""
        staging = self.spec.staging
        assert staging is not None
        if number not in self._crowd:
            identity = sample_identity(self.spec.seed, staging.crowd_first + number)
            shape = self.body.shape(identity.phenotype, identity.local)
            outfit = clearly_dressed(own_outfit(self.spec.seed, identity, 0))
            self._crowd[number] = self.dresser.dress(identity, outfit, shape)
        return self._crowd[number]

    def outfit(self, identity: Identity, number: int) -> Outfit:
        """Return an outfit from the wardrobe that the identity's group uses."""
        spec, seed = self.spec, self.spec.seed_of(identity.number)
        key = spec.groups()[spec.group_of(identity.number)].wardrobe
        if key == 0:
            chosen = own_outfit(seed, identity, number)
        else:
            rack = SharedWardrobe(seed, key, spec.wardrobe_tops, spec.wardrobe_bottoms)
            chosen = rack.outfit(identity, number)
        return chosen if spec.staging is None else clearly_dressed(chosen)

    def pictures(self, number: int) -> Iterator[tuple[Shot, Picture]]:
        """Take all pictures of an identity."""
        seed = self.spec.seed_of(number)
        identity = self.person(number)
        shape = self.body.shape(identity.phenotype, identity.local)
        for worn, shots in groupby(shots_of(self.spec, number), key=lambda shot: shot.outfit):
            person = self.dresser.dress(identity, self.outfit(identity, worn), shape)
            for shot in shots:
                rng = generator(seed, Stream.PICTURE, number, worn, shot.camera, 0)
                camera = self.camera(shot.camera)
                yield shot, take_picture(self.dresser, person, camera, rng, self._company)

    def draw(self, number: int) -> None:
        """Write an identity's images and masks, and last its record."""
        identity = self.person(number)
        samples, joints = [], []
        for shot, picture in self.pictures(number):
            image = encode_image(picture.image, self.spec.quality)
            write_bytes(self.out / shot.file, image, shared=True)
            if shot.split != "external":
                mask = encode_mask(picture.labels)
                write_bytes(mask_path(self.out, shot.file), mask, shared=True)
            row = _sample_row(shot, identity, picture)
            if self.spec.staging is not None:
                row += [int(picture.hidden >= OCCLUDED), int(picture.passers_by >= PASSED_BY)]
            samples.append(row)
            joints.append(_joint_row(shot, picture))
        traits = {
            "identity": number, "gender": identity.gender, "skin_tone": identity.skin_tone,
            "hair_style": identity.hair_style, "hair_colour": identity.hair_colour,
            "glasses": identity.glasses, "beard": identity.beard,
            "group": self.spec.group_of(number),
            **{k: identity.phenotype[k] for k in ("age", "weight", "height")},
        }  # fmt: skip
        record = {"samples": samples, "joints": joints, "traits": traits}
        write_bytes(record_path(self.out, number), json.dumps(record).encode(), shared=True)


def _sample_row(shot: Shot, identity: Identity, picture: Picture) -> list[Any]:
    height, width = picture.labels.shape
    # The external set plays a data set without clothes labels.
    outfit = None if shot.split == "external" else shot.outfit
    return [
        shot.file, shot.split, shot.identity, shot.camera, outfit, identity.gender, height, width,
    ]  # fmt: skip


def _joint_row(shot: Shot, picture: Picture) -> list[Any]:
    row: list[Any] = [shot.file]
    for x, y, visible in picture.joints:
        row += [round(float(x), 1), round(float(y), 1), int(visible)]
    return row


def encode_image(image: np.ndarray, quality: int) -> bytes:
    """Return an (H, W, 3) uint8 image as lossy WebP."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def encode_mask(labels: np.ndarray) -> bytes:
    """Return (H, W) uint8 labels as a palette PNG."""
    image = Image.fromarray(labels, "L")
    image.putpalette(bytes.fromhex("".join(colour[1:] for colour in MASK_COLOURS)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, bits=4)
    return buffer.getvalue()


def mask_path(out: Path, file: str) -> Path:
    """Return where the mask of ``file`` (``images/<split>/name.webp``) lies; external has none."""
    return out / Path("masks", *Path(file).parts[1:]).with_suffix(".png")


def record_path(out: Path, identity: int) -> Path:
    """Return where the record of a finished identity lies."""
    return out / RECORDS / f"{identity:04d}.json"


_studio: Studio | None = None


def _open_studio(spec: RenderSpec, out: Path) -> None:
    """Build a worker process's studio once."""
    global _studio
    _studio = Studio(spec, out)


def _draw(number: int) -> int:
    assert _studio is not None
    _studio.draw(number)
    return number


def render_dataset(out: Path, spec: RenderSpec, processes: int = 1) -> None:
    """Render the data set ``spec`` into the folder ``out``; goes on with an interrupted run.

    Images depend on ``spec`` alone, not on the number of processes or their order.

    Raises:
        RlqkitError: ``out`` holds another data set, or a package of the extra ``render`` is
            missing.
    """
    if _is_finished(out, spec):
        return
    total = sum(group.identities for group in spec.groups().values())
    done = sum(record_path(out, n).exists() for n in spec.numbers())
    missing = (n for n in spec.numbers() if not record_path(out, n).exists())
    with bar(total=total, initial=done, unit="person") as progress:
        if processes <= 1 and done < total:
            _open_studio(spec, out)
            for number in missing:
                _draw(number)
                progress.update()
        elif done < total:
            context = multiprocessing.get_context("spawn")
            with context.Pool(processes, _open_studio, (spec, out)) as pool:
                for _ in pool.imap_unordered(_draw, missing):
                    progress.update()
    _finish(out, spec)


def _is_finished(out: Path, spec: RenderSpec) -> bool:
    """Return whether ``out`` already holds ``spec``; prepare it for rendering if not."""
    mark = out / RECORDS / "spec.json"
    for path, key in ((out / "dataset.json", "generator"), (mark, None)):
        if not path.exists():
            continue
        found = json.loads(path.read_text())
        if (found[key] if key else found) != spec.settings():
            raise RlqkitError(
                f"{out} holds a data set rendered with other settings: choose an empty folder."
            )
    if not mark.exists():
        if (out / "SHA256SUMS").exists():
            return True
        write_bytes(mark, json.dumps(spec.settings()).encode(), shared=True)
    return False


def _rows(out: Path, spec: RenderSpec, kind: str) -> Iterator[list[Any]]:
    """Yield the records' rows of "samples" or "joints" in the order of their file names.

    Reads one identity at a time: a data set may be larger than memory.
    """
    for split in sorted(SPLIT_GROUPS):
        numbers = spec.groups()[SPLIT_GROUPS[split]].numbers()
        for number in sorted(numbers, key=lambda n: f"{n:04d}_"):
            record = json.loads(record_path(out, number).read_text())
            rows = [row for row in record[kind] if row[0].startswith(f"images/{split}/")]
            yield from sorted(rows, key=lambda row: str(row[0]))


def _shuffled_rows(out: Path, spec: RenderSpec, kind: str) -> Iterator[list[Any]]:
    """Yield the same rows split by split, within a split in the order of ``shuffling_key``.

    In the order of their names one person's images would stand together, and the order alone
    would find them. Holds the order, and one identity at a time.
    """
    order = []
    for number in spec.numbers():
        files = [row[0] for row in json.loads(record_path(out, number).read_text())["samples"]]
        order += [(shuffling_key(spec.seed, file), number, i) for i, file in enumerate(files)]
    for _, number, i in sorted(order):
        yield json.loads(record_path(out, number).read_text())[kind][i]


def shuffling_key(seed: int, file: str) -> tuple[str, str]:
    """Return a file's place in the tables: its folder, then a hash of seed and name."""
    return os.path.dirname(file), hashlib.sha256(f"{seed}/{file}".encode()).hexdigest()


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[list[Any]]) -> None:
    with atomically(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _finish(out: Path, spec: RenderSpec) -> None:
    """Turn the records into tables, the data card and check sums."""
    for leftover in out.rglob(f"*{PARTIAL}"):  # of a process that was killed while writing
        leftover.unlink()
    old = spec.staging is None
    columns, rows = (SAMPLE_COLUMNS, _rows) if old else (STAGED_COLUMNS, _shuffled_rows)
    _write_table(out / "samples.csv", columns, rows(out, spec, "samples"))
    _write_table(out / "joints.csv", JOINT_COLUMNS, rows(out, spec, "joints"))
    samples = pd.read_csv(out / "samples.csv")
    counts = {str(k): int(v) for k, v in samples["split"].value_counts().sort_index().items()}
    write_bytes(out / "dataset.json", _description(spec, counts))
    records = (json.loads(record_path(out, n).read_text()) for n in spec.numbers())
    traits = pd.DataFrame([record["traits"] for record in records])
    keys = {s: spec.groups()[g].wardrobe for s, g in SPLIT_GROUPS.items()}
    card = (
        data_card(spec.name, spec.version, spec.seed, samples, traits, keys)
        if spec.staging is None
        else datasheet(spec.settings(), samples, traits, keys)
    )
    write_bytes(out / "README.md", card.encode())
    write_bytes(out / "SHA256SUMS", check_sums(out).encode())
    shutil.rmtree(out / RECORDS)


def cpu_name() -> str:
    """Return what this machine's processor calls itself: pictures may differ between processors."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _description(spec: RenderSpec, counts: dict[str, int]) -> bytes:
    """Return the content of ``dataset.json``."""
    content = {
        "name": spec.name,
        "version": spec.version,
        "seed": spec.seed,
        "generator": spec.settings(),
        "libraries": {name: metadata.version(name) for name in PACKAGES},
        **({} if spec.staging is None else {"cpu": cpu_name()}),
        "counts": counts,
        "labels": {str(int(label)): label.name.lower() for label in Label},
        "gender": {"0": "female", "1": "male"},
        "joints": "17 COCO joints, native pixels; v 1 visible, 0 occluded or outside the image",
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def check_sums(folder: Path) -> str:
    """Return SHA-256 lines, as ``sha256sum`` writes them, for all files of a finished folder."""
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS" and RECORDS not in path.parts
    )
    lines = [f"{digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths]
    return "".join(lines)
