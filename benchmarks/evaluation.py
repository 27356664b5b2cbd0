"""Time and peak memory of the evaluation, all three protocols in one pass, and what it keeps.

    python benchmarks/evaluation.py           # 1,000 queries × 10,000 gallery images
    python benchmarks/evaluation.py --last    # LaST's size, 10,176 × 125,353

Every query's average precision and first hit are kept (written as parquet to a scratch folder),
and ranked lists of some queries are made from the features, as the notebooks do.

Features are random around one centre per identity, so that matches rank early but not first.
Set the thread count outside (OMP_NUM_THREADS): a matmul uses all it is given.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlqkit.evaluation.metrics import PROTOCOLS, Labels, Retrieval, evaluate_features, ranked_list

SMALL = (1_000, 10_000, 500)
LAST = (10_176, 125_353, 5_803)


def random_set(
    n: int, centres: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], Labels]:
    """n normalised features with labels: 8 cameras, 4 outfits per identity."""
    identity = rng.integers(0, len(centres), n)
    labels = Labels(identity, rng.integers(0, 8, n), 4 * identity + rng.integers(0, 4, n))
    features = np.empty((n, centres.shape[1]), dtype=np.float32)
    for start in range(0, n, 1_000):  # in blocks: the peak should be the evaluation's, not ours
        rows = features[start : start + 1_000]
        rng.standard_normal(dtype=np.float32, out=rows)
        rows += 0.3 * centres[identity[start : start + 1_000]]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return features, labels


def write_per_query(results: Mapping[str, Retrieval]) -> float:
    """Writes every query of every protocol as a run folder does; returns megabytes on disk."""
    tables = [
        pd.DataFrame(
            {
                "protocol": name, "average_precision": result.average_precision,
                "first_hit": result.first_hit,
            }
        )
        for name, result in results.items()
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "per_query.parquet"
        pd.concat(tables, ignore_index=True).to_parquet(file, index=False)
        return file.stat().st_size / 1e6


def peak_memory_gb() -> float:
    """Largest resident size of this process so far, in GB (10⁹ bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--last", action="store_true", help="LaST's size: 10,176 × 125,353")
    parser.add_argument("--dim", type=int, default=512, help="numbers per feature (512)")
    parser.add_argument("--chunk", type=int, default=256, help="queries per block (256)")
    parser.add_argument("--repeat", type=int, default=None, help="runs; the fastest is reported")
    parser.add_argument("--ranked", type=int, default=100, help="ranked lists of ten (100)")
    options = parser.parse_args()
    n_query, n_gallery, n_identity = LAST if options.last else SMALL
    repeat = options.repeat or (1 if options.last else 3)

    rng = np.random.default_rng(0)
    centres = rng.standard_normal((n_identity, options.dim), dtype=np.float32)
    query_features, query = random_set(n_query, centres, rng)
    gallery_features, gallery = random_set(n_gallery, centres, rng)
    before = peak_memory_gb()

    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        results = evaluate_features(
            query_features, gallery_features, query, gallery, PROTOCOLS, chunk=options.chunk
        )
        seconds.append(time.perf_counter() - start)

    start = time.perf_counter()
    megabytes = write_per_query(results)
    for i in range(min(options.ranked, n_query)):
        labels = [[column[i]] for column in query]
        ranked_list(-(gallery_features @ query_features[i]), labels, gallery, "CC", 10)
    kept = time.perf_counter() - start

    print(f"{n_query} × {n_gallery} × {options.dim}, three protocols, chunk {options.chunk}")
    print(f"{platform.machine()}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}")
    print(f"fastest of {repeat}: {min(seconds):.2f} s")
    print(f"per-query table of {megabytes:.2f} MB, {options.ranked} ranked lists: {kept:.2f} s")
    print(f"peak memory: {peak_memory_gb():.2f} GB, of which before the call {before:.2f} GB")
    for name, result in results.items():
        print(
            f"{name:8s} rank-1 {result.rank1:.4f}  mAP {result.mAP:.4f}  skipped {result.n_skipped}"
        )


if __name__ == "__main__":
    main()
