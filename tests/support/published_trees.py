"""Benchmarks in the shape of the published ones, made of the tiny data set or of bare labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from rlqkit.data.imageset import Benchmark, ImageSet, RetrievalTest
from rlqkit.data.wardrobe import load_wardrobe

PRCC_TESTS = (
    RetrievalTest("SC multi-shot", "query_sc", "gallery", "SC"),
    RetrievalTest("SC single-shot", "query_sc", "gallery", "SC", draws=10),
    RetrievalTest("CC single-shot", "query_cc", "gallery", "CC", draws=10),
    RetrievalTest("CC multi-shot", "query_cc", "gallery", "CC"),
)


def labelled(name: str, identity: list[int], camera: list[int], clothes: list[int]) -> ImageSet:
    """An image set of labels alone; no image is ever read."""
    count = len(identity)
    table = pd.DataFrame(
        {
            "file": [f"{name}/{i}.png" for i in range(count)], "identity": identity,
            "camera": camera, "clothes": clothes, "gender": 0, "height": 64, "width": 32,
            "mask": "",
        }
    )  # fmt: skip
    return ImageSet(f"hand-made/{name}", Path("nowhere"), table, None, True)


def prcc_like(root: Path, *_: object) -> Benchmark:
    """The tiny data set as PRCC: one gallery outfit, a query set for each clothing condition.

    No validation split. Two gallery images an identity, of one camera.
    """
    tiny = load_wardrobe(root)
    sets = {"train": tiny["train"], "external": tiny["external"]}
    outfits = {
        "gallery": ("gallery", 0, 0),
        "query_sc": ("query", 0, 1),
        "query_cc": ("query", 1, 2),
    }
    for split, (source, outfit, camera) in outfits.items():
        images = tiny[source]
        own = images.table.groupby("identity")["clothes"].transform("min")
        chosen = images.select(((images.table["clothes"] > own).to_numpy().astype(int)) == outfit)
        table = chosen.table.assign(camera=camera)
        sets[split] = replace(chosen, name=f"prcc/{split}", table=table)
    return Benchmark("prcc", root, sets, synthetic=False, tests=PRCC_TESTS)


def unit(values: object) -> np.ndarray:
    """Rows of norm 1, float32."""
    rows = np.asarray(values, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
