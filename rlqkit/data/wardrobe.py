"""The embedded data set's layout on disk.

A folder with `samples.csv`, `joints.csv`, `dataset.json`, `SHA256SUMS`, `images/<split>/` and
`masks/<split>/`. Loading reads tables and lists folders; no image is decoded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from rlqkit.data.imageset import (
    IDENTITY_GROUPS,
    N_JOINTS,
    SPLITS,
    Benchmark,
    ImageSet,
    clothes_ids,
)
from rlqkit.errors import RlqkitError
from rlqkit.files import RENEW


def load_wardrobe(root: Path) -> Benchmark:
    """Load the embedded data set (or one in its layout) from its folder; see `load`."""
    _require_folder(root)
    card = read_card(root)
    name = str(card.get("name", root.name))
    splits = _splits(root, card)
    samples = _read_samples(root, splits)
    _check_identities(root, samples)
    _check_files_exist(root, samples)
    samples["mask"] = _masks_of(root, samples)
    _check_outfits(root, samples)
    samples["clothes"] = clothes_ids(samples["identity"], samples["outfit"])
    joints = _read_joints(root, samples)
    sets = {}
    for split in splits:
        rows = (samples["split"] == split).to_numpy()
        columns = ["file", "identity", "camera", "clothes", "gender", "height", "width", "mask"]
        sets[split] = ImageSet(
            name=f"{name}/{split}",
            root=root,
            table=samples.loc[rows, columns].reset_index(drop=True),
            joints=None if joints is None else joints[rows],
            synthetic=True,
            clothes_labelled=bool((samples.loc[rows, "outfit"] != "").all()),
        )
    return Benchmark(name, root, sets, synthetic=True)


def read_card(root: Path) -> dict[str, object]:
    """The contents of dataset.json (name, version, seed, counts, ...); {} if there is none."""
    path = root / "dataset.json"
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RlqkitError(f"{path} is not valid JSON ({error}): {RENEW}") from None
    if not isinstance(card, dict):
        raise RlqkitError(f"{path} must hold one JSON object: {RENEW}")
    return card


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise RlqkitError(
            f"data set folder {root} is missing: restore it (git checkout -- data), or set "
            "RLQKIT_DATA to the folder that holds your data sets"
        )
    if not any(root.iterdir()):
        raise RlqkitError(f"data set folder {root} is empty: {RENEW}")
    if not (root / "samples.csv").is_file():
        raise RlqkitError(f"data set folder {root} has no samples.csv: {RENEW}")


def _read_csv(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """All cells as text, so that what is wrong with one can be said in the file's own words."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        reason = str(error).strip().splitlines()[0]
        raise RlqkitError(f"{path} can't be read as a table ({reason}): {RENEW}") from None
    for column in columns:
        if column not in table.columns:
            raise RlqkitError(f"{path} has no column '{column}': {RENEW}")
    return table


def _whole_numbers(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    text = table[column]
    bad = ~text.str.fullmatch(r"\d{1,18}").to_numpy(dtype=bool)
    if bad.any():
        row = int(bad.argmax())
        raise RlqkitError(
            f"{path}: {column} of {table['file'][row]} is '{text[row]}', not a whole number: "
            f"{RENEW}"
        )
    return text.to_numpy(dtype=object).astype(np.int64)


def _splits(root: Path, card: dict[str, object]) -> tuple[str, ...]:
    """The splits that the data card counts: a set of test people has no other."""
    counts = card.get("counts", dict.fromkeys(SPLITS))
    if not isinstance(counts, dict) or not {"query", "gallery"} <= counts.keys() <= set(SPLITS):
        raise RlqkitError(
            f"{root / 'dataset.json'}: counts must name splits of {', '.join(SPLITS)}, query and "
            f"gallery among them: {RENEW}"
        )
    return tuple(split for split in SPLITS if split in counts)


def _read_samples(root: Path, splits: tuple[str, ...]) -> pd.DataFrame:
    """samples.csv with typed columns; outfit stays text ("" if unlabelled)."""
    path = root / "samples.csv"
    numbers = ("identity", "camera", "height", "width")
    samples = _read_csv(path, ("file", "split", "outfit", "gender", *numbers))
    if samples.empty:
        raise RlqkitError(f"{path} lists no image: {RENEW}")
    twice = samples["file"].duplicated().to_numpy()
    if twice.any():
        raise RlqkitError(f"{path} lists {samples['file'][int(twice.argmax())]} twice: {RENEW}")
    unknown = ~samples["split"].isin(splits).to_numpy()
    if unknown.any():
        row = int(unknown.argmax())
        raise RlqkitError(
            f"{path}: {samples['file'][row]} is of unknown split '{samples['split'][row]}': "
            f"use one of {', '.join(splits)}"
        )
    for split in splits:
        if split not in set(samples["split"]):
            raise RlqkitError(f"{path} has no image of split '{split}': {RENEW}")
    for column in numbers:
        samples[column] = _whole_numbers(path, samples, column)
    samples["gender"] = _genders(path, samples)
    return samples


def _genders(path: Path, samples: pd.DataFrame) -> np.ndarray:
    """(n,) int64, 1 male or 0 female; every identity must have exactly one of them."""
    bad = ~samples["gender"].isin(["0", "1"]).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        value = samples["gender"][row]
        what = f"gender '{value}'" if value else "no gender label"
        raise RlqkitError(
            f"{path}: identity {samples['identity'][row]} ({samples['file'][row]}) has {what}: "
            "write 1 (male) or 0 (female), or restore the file (git checkout -- data)"
        )
    genders = samples["gender"].to_numpy(dtype=object).astype(np.int64)
    per_identity = samples.assign(gender=genders).groupby("identity")["gender"].nunique()
    two = per_identity.index[per_identity > 1]
    if len(two):
        raise RlqkitError(
            f"{path}: identity {two[0]} has two genders: give all its images the same label"
        )
    return genders


def _check_identities(root: Path, samples: pd.DataFrame) -> None:
    shared = shared_identity(
        {
            group: samples.loc[samples["split"].isin(splits), "identity"].to_numpy()
            for group, splits in IDENTITY_GROUPS.items()
        }
    )
    if shared is not None:
        identity, first, second = shared
        raise RlqkitError(
            f"{root / 'samples.csv'}: identity {identity} is in the {first} and in the {second} "
            "images, which would make the evaluation meaningless: keep it in one of them"
        )


def shared_identity(groups: dict[str, np.ndarray]) -> tuple[int, str, str] | None:
    """The first identity found in two groups, and their names."""
    names = list(groups)
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            shared = np.intersect1d(groups[first], groups[second])
            if len(shared):
                return int(shared[0]), first, second
    return None


def _listing(root: Path, files: Iterable[str]) -> set[str]:
    """Every file in the folders of `files`, relative to root: one listing a folder."""
    present: set[str] = set()
    for folder in sorted({os.path.dirname(file) for file in files}):
        if (root / folder).is_dir():
            prefix = f"{folder}/" if folder else ""
            with os.scandir(root / folder) as entries:
                present.update(prefix + entry.name for entry in entries)
    return present


def _check_files_exist(root: Path, samples: pd.DataFrame) -> None:
    present = _listing(root, samples["file"])
    missing = [file for file in samples["file"] if file not in present]
    if missing:
        raise RlqkitError(
            f"image {root / missing[0]} is missing ({len(missing)} of {len(samples)} images of "
            f"samples.csv are): {RENEW}"
        )


def _masks_of(root: Path, samples: pd.DataFrame) -> list[str]:
    """images/<split>/x.webp -> masks/<split>/x.png where that exists, else ""."""
    expected = [
        os.path.splitext("masks/" + file.removeprefix("images/"))[0] + ".png"
        for file in samples["file"]
    ]
    present = _listing(root, expected)
    return [mask if mask in present else "" for mask in expected]


def _check_outfits(root: Path, samples: pd.DataFrame) -> None:
    """A split is labelled as a whole or not at all: a forgotten label would make a new outfit."""
    blank = (samples["outfit"] == "").to_numpy()
    partly = samples.assign(blank=blank).groupby("split")["blank"].transform("mean").to_numpy()
    forgotten = blank & (partly < 1)
    if forgotten.any():
        raise RlqkitError(
            f"{root / 'samples.csv'}: {samples['file'][int(forgotten.argmax())]} has no outfit, "
            f"though others of its split do: {RENEW}"
        )


def _read_joints(root: Path, samples: pd.DataFrame) -> np.ndarray | None:
    """(n, 17, 3) in the order of `samples`, NaN where joints.csv has no row for an image."""
    path = root / "joints.csv"
    if not path.is_file():
        return None
    columns = [f"{part}{joint}" for joint in range(N_JOINTS) for part in "xyv"]
    table = _read_csv(path, ("file", *columns))
    row_of = {file: row for row, file in enumerate(samples["file"])}
    rows = np.empty(len(table), dtype=np.int64)
    for position, file in enumerate(table["file"]):
        if file not in row_of:
            raise RlqkitError(f"{path} lists {file}, which samples.csv doesn't: {RENEW}")
        rows[position] = row_of[file]
    if table["file"].duplicated().any():
        file = table["file"][int(table["file"].duplicated().to_numpy().argmax())]
        raise RlqkitError(f"{path} lists {file} twice: {RENEW}")
    values = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        file = table["file"][int(bad.argmax())]
        raise RlqkitError(f"{path}: the joints of {file} are not all numbers: {RENEW}")
    joints = np.full((len(samples), N_JOINTS, 3), np.nan)
    joints[rows] = values.reshape(-1, N_JOINTS, 3)
    return joints
