"""Validation people carved from the training set, where a data set has no validation split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.errors import RlqkitError
from rlqkit.randomness import generator

QUERY_SHARE = 0.2
"""Of the images of one person whose clothes nobody labelled (Celeb-reID's test: 0.21)."""


def carve_validation(benchmark: Benchmark, count: int, seed: int) -> Benchmark:
    """Move `count` people of the training set, drawn by `seed`, to val_query and val_gallery.

    One image of each camera and outfit is a query, as in LTCC's test; where clothes aren't
    labelled, a fifth of a person's images. All others are gallery. An existing validation split is
    replaced. The training set shrinks by these people: the published figures need `count` 0.

    Raises:
        RlqkitError: `count` isn't below the number of training people.
    """
    train = benchmark["train"]
    if not 0 < count < train.n_identities:
        raise RlqkitError(
            f"data.validation_identities = {count}: {train.name} has {train.n_identities} people, "
            f"so give 1 to {train.n_identities - 1}, or 0 for none"
        )
    rng = generator(seed, "validation identities")
    chosen = rng.choice(np.unique(train.identities), count, replace=False)
    moved = np.isin(train.identities, chosen)
    people = train.select(moved)
    query = _queries(people, rng)
    sets = benchmark.sets | {
        "train": train.select(~moved),
        "val_query": replace(people.select(query), name=f"{benchmark.name}/val_query"),
        "val_gallery": replace(people.select(~query), name=f"{benchmark.name}/val_gallery"),
    }
    return replace(benchmark, sets=sets)


def _queries(people: ImageSet, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool: which images are queries."""
    columns = ["identity", "camera", "clothes"] if people.clothes_labelled else ["identity"]
    query = np.zeros(len(people), dtype=bool)
    for _, rows in people.table.groupby(columns).indices.items():
        share = 1 if people.clothes_labelled else max(1, round(QUERY_SHARE * len(rows)))
        query[rng.choice(rows, share, replace=False)] = True
    return query
