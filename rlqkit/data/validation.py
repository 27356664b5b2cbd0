"""Validation people carved from the training set, where a data set has no validation split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.errors import RlqkitError
from rlqkit.randomness import generator

QUERY_SHARE = 0.2
"""Of the images of one person whose clothes nobody labelled (Celeb-reID's test: 0.21), or of whom
no two show the same outfit under the same camera."""


def carve_validation(benchmark: Benchmark, count: int, seed: int) -> Benchmark:
    """Move `count` people of the training set, drawn by `seed`, to val_query and val_gallery.

    One image of each camera and outfit is a query, as in LTCC's test; a fifth of a person's images
    where clothes aren't labelled, or where that rule would leave none of the person's to search.
    All others are gallery. An existing validation split is replaced. The training set shrinks by
    these people: the published figures need `count` 0.

    Raises:
        RlqkitError: `count` isn't below the number of training people, or everyone drawn has one
            image alone.
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
    if query.all():
        raise RlqkitError(
            f"data.validation_identities = {count}: everyone drawn from {train.name} has one image "
            "alone, so there is none to search: draw more people, or others (data.validation_seed)"
        )
    sets = benchmark.sets | {
        "train": train.select(~moved),
        "val_query": replace(people.select(query), name=f"{benchmark.name}/val_query"),
        "val_gallery": replace(people.select(~query), name=f"{benchmark.name}/val_gallery"),
    }
    return replace(benchmark, sets=sets)


def _queries(people: ImageSet, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool: which images are queries."""
    query = np.zeros(len(people), dtype=bool)
    for _, person in people.table.groupby("identity"):
        for rows, count in _drawn_from(person, people.clothes_labelled):
            query[rng.choice(rows, count, replace=False)] = True
    return query


def _drawn_from(person: pd.DataFrame, labelled: bool) -> list[tuple[np.ndarray, int]]:
    """Groups of one person's rows, and how many of each are queries."""
    if labelled:
        groups = [group.index.to_numpy() for _, group in person.groupby(["camera", "clothes"])]
        if len(groups) < len(person):
            return [(rows, 1) for rows in groups]
    # A share leaves some image of another outfit than a query's, where the person has two.
    return [(person.index.to_numpy(), max(1, round(QUERY_SHARE * len(person))))]
