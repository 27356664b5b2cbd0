"""Test people from a data set of their own (``data.test``), for the tiny data set."""

import json
import shutil
from pathlib import Path

import pandas as pd

TEST_SPLITS = ("query", "gallery")
MOVED = 5000
"""What is added to the number of a test person, in tables and file names."""


def write_fresh_people(tiny: Path, folder: Path) -> Path:
    """Writes the tiny data set's test people alone, under other numbers and file names."""
    for part in ("images", "masks"):
        for file in (tiny / part).rglob("*_o*_c*"):
            if file.parent.name in TEST_SPLITS:
                target = folder / file.relative_to(tiny).parent / _renamed(file.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
    samples = pd.read_csv(tiny / "samples.csv", dtype=str, keep_default_na=False)
    samples = samples[samples["split"].isin(TEST_SPLITS)]
    joints = pd.read_csv(tiny / "joints.csv")
    joints = joints[joints["file"].isin(samples["file"])]
    samples["identity"] = (samples["identity"].astype(int) + MOVED).astype(str)
    for table, name in ((samples, "samples.csv"), (joints, "joints.csv")):
        table = table.assign(file=[_moved(file) for file in table["file"]])
        table.to_csv(folder / name, index=False)
    counts = {split: int((samples["split"] == split).sum()) for split in TEST_SPLITS}
    (folder / "dataset.json").write_text(json.dumps({"name": "fresh", "counts": counts}))
    return folder


def _moved(file: str) -> str:
    folder, name = file.rsplit("/", 1)
    return f"{folder}/{_renamed(name)}"


def _renamed(name: str) -> str:
    number, rest = name.split("_", 1)
    return f"{int(number) + MOVED:04d}_{rest}"
