"""Maps of features: HQ and LQ laid out together, setting after setting, so that they compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes

from rlqkit.evaluation.collapse import Matrix
from rlqkit.evaluation.maps import faithfulness, umap_reducer

NEIGHBOURHOOD = 15
"""Size of UMAP's neighbourhoods, and of those that trustworthiness looks at."""
EPOCHS = 300
"""Of a map that starts from another one; the first has UMAP's default, more."""
STEPS = 2**16 - 1
"""Positions are kept in 16 bits."""
Positions = NDArray[np.float64]


def lay_out(features: Matrix, start: Positions | None, seed: int = 0) -> Positions:
    """UMAP of one pool of images, seeded: the same features give the same map.

    Args:
        features: (n, d), rows of norm 1; HQ and LQ take part alike.
        start: (n, 2) where to begin; the map is then turned to lie like it. None = anywhere.
        seed: of the layout.

    Returns:
        (n, 2).
    """
    if start is not None and len(start) != len(features):  # UMAP would write past the end
        raise ValueError(f"{len(start)} places to begin for {len(features)} images")
    reducer = umap_reducer(
        len(features),
        seed,
        NEIGHBOURHOOD,
        init="spectral" if start is None else start.astype(np.float32),
        n_epochs=None if start is None else EPOCHS,
    )
    found = np.asarray(reducer.fit_transform(features), np.float64)
    return found if start is None else _turned(found, start)


def _turned(positions: Positions, like: Positions) -> Positions:
    """Turned, mirrored and moved (never stretched) to lie as near to another map as it goes."""
    centre, target = positions.mean(axis=0), like.mean(axis=0)
    turn, _ = orthogonal_procrustes(positions - centre, like - target)
    turned: Positions = (positions - centre) @ turn + target
    return turned


def lay_out_settings(
    features: Sequence[Matrix], earlier: Sequence[int | None], seed: int = 0
) -> list[Positions]:
    """A map for each setting, HQ and LQ fitted together, each beginning where a milder one ended.

    Args:
        features: by setting, (n, d); those of the first are HQ.
        earlier: by setting, the setting to begin from; None for the first alone.
        seed: of the layouts.

    Returns:
        By setting (2n, 2), HQ first. In the first HQ is alone, and LQ lies upon it.
    """
    hq = features[0]
    alone = lay_out(hq, None, seed)
    maps = [np.concatenate([alone, alone])]
    for lq, before in zip(features[1:], earlier[1:], strict=True):
        assert before is not None
        maps.append(lay_out(np.concatenate([hq, lq]), maps[before], seed))
    return maps


def trust(features: Matrix, positions: Positions) -> dict[str, float]:
    """Trustworthiness and continuity of a map, see ``evaluation.maps.faithfulness``."""
    half = len(features) // 2  # the measure asks for two parts and looks at both together
    flat = positions.astype(np.float32)
    trusted, continuous = faithfulness(
        features[:half], features[half:], (flat[:half], flat[half:]), NEIGHBOURHOOD
    )
    return {"trust": trusted, "continuity": continuous}


def quantised(maps: Sequence[Positions]) -> NDArray[np.uint16]:
    """Maps of one network in 16 bits, on one scale, centred in a square: (settings, 2n, 2)."""
    every = np.stack(maps)
    low, high = every.min(axis=(0, 1)), every.max(axis=(0, 1))
    side = float((high - low).max()) or 1.0
    unit = (every - (low + high) / 2) / side + 0.5
    return np.rint(unit.clip(0, 1) * STEPS).astype(np.uint16)


def chain(stops: Sequence[tuple[str, int]]) -> list[int | None]:
    """From which setting each begins: from the level below, level 1 from the untouched images.

    Args:
        stops: (kind, level) of each setting, the first the untouched one.
    """
    places: Mapping[tuple[str, int], int] = {stop: i for i, stop in enumerate(stops)}
    return [None, *(places.get((kind, level - 1), 0) for kind, level in stops[1:])]
