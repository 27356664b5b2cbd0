"""Cues: what a trained network goes by, asked with a part of the picture taken away.

Query and gallery images are edited alike by their masks (background removed, clothes greyed, only
the body, only the head, only the silhouette), and the network is asked again under CC. It has
never seen such pictures, so a low figure may be the strangeness of the picture; a high one is
knowledge. Beside the network stands what proportions of the skeleton find alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlqkit.config import Config
from rlqkit.data.images import FACE, HAIR, NOBODY, ImageStore, read_mask
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.loaders import image_store
from rlqkit.data.torch_sets import EvaluationImages
from rlqkit.evaluation.descriptors import extract_descriptors
from rlqkit.evaluation.intervals import clustered_interval
from rlqkit.evaluation.metrics import (
    Labels,
    Retrieval,
    chance_rank1,
    evaluate_distances,
    evaluate_features,
)
from rlqkit.method.attributes import LIMBS
from rlqkit.progress import bar
from rlqkit.runs.experiment import load_network, machine_of
from rlqkit.runs.folder import RunFolder
from wardrobe.audit import CLOTHES, Distances, Picture, in_percent, query_table

HEAD = (HAIR, FACE)
BACKGROUND_GREY, PERSON_GREY = 128, 64
"""Levels of what is painted out, and of a silhouette."""


def background_removed(image: Picture, mask: Picture) -> Picture:
    """The person as it is, on flat grey."""
    return _keep(image, mask != NOBODY)


def silhouette_only(image: Picture, mask: Picture) -> Picture:
    """The person in flat dark grey, on flat grey."""
    flat = np.where(mask != NOBODY, PERSON_GREY, BACKGROUND_GREY).astype(np.uint8)
    return np.repeat(flat[..., None], 3, axis=2)


def head_only(image: Picture, mask: Picture) -> Picture:
    """Face, hair and headwear on flat grey."""
    return _keep(image, np.isin(mask, HEAD))


def body_only(image: Picture, mask: Picture) -> Picture:
    """The person without face, hair and headwear, on flat grey."""
    return _keep(image, ~np.isin(mask, (NOBODY, *HEAD)))


def clothes_greyed(image: Picture, mask: Picture) -> Picture:
    """Top, bottom, shoes and bag in one grey; of their light and pattern a third remains.

    All else is as it was.
    """
    edited = image.copy()
    for part in CLOTHES:
        where = mask == part
        light = image[where].mean(axis=1)
        if len(light):
            shade = BACKGROUND_GREY + (light - light.mean()) / 3
            edited[where] = np.rint(shade)[:, None].astype(np.uint8)
    return edited


Edit = Callable[[Picture, Picture], Picture]
EDITS: Mapping[str, Edit] = {
    "as it is": lambda image, mask: image,
    "background removed": background_removed,
    "clothes greyed": clothes_greyed,
    "body without head": body_only,
    "head only": head_only,
    "silhouette only": silhouette_only,
}
"""Name → edit of a native-size image (H, W, 3) by its mask's labels (H, W)."""
SKELETON = "skeleton only (no network)"


def edited_images(images: ImageSet, edit: Edit, config: Config) -> EvaluationImages:
    """An image set with every image edited at native size; files are decoded once for all edits.

    Raises:
        RlqkitError: an image has no mask.
    """
    pictures = image_store(tuple(images.paths), config.data.cache_megabytes)
    masks = _label_store(tuple(images.mask_paths), config.data.cache_megabytes)
    store = ImageStore(range(len(images)), 0, read=lambda i: edit(pictures[i], masks[i]))
    return EvaluationImages(store, size=(config.data.height, config.data.width))


@lru_cache(maxsize=4)
def _label_store(files: tuple[Path, ...], cache_megabytes: int) -> ImageStore:
    return ImageStore(files, cache_megabytes, read=read_mask)


def identity_cues(
    folder: RunFolder, benchmark: Benchmark, rule: str = "last", progress: bool = False
) -> pd.DataFrame:
    """What a trained network recognises people by: its CC figures on edited test images.

    Query and gallery are edited alike. The last line asks no network but compares the limbs'
    lengths in the picture, from the joints.

    Args:
        folder: a finished run, of the base model for a start.
        benchmark: the data set to test on; sizes come from the run.
        rule: selection rule of the weights.
        progress: show a bar.

    Returns:
        One row per edit: cue, rank1 with its 95 % interval low, high, mAP and chance, in percent.

    Raises:
        RlqkitError: no weights in the folder, or images without mask or joints.
    """
    query, gallery = benchmark["query"], benchmark["gallery"]
    labels = Labels(*query.metric_arrays()), Labels(*gallery.metric_arrays())
    config = folder.config()
    fabric = machine_of(folder)
    network: Any = fabric.to_device(load_network(folder, rule))
    chance = 100 * chance_rank1(*labels, "CC")
    records = []
    for name, edit in bar(EDITS.items(), desc="edits", disable=not progress):
        described = [
            extract_descriptors(network, edited_images(images, edit, config), fabric, config)
            for images in (query, gallery)
        ]
        found = evaluate_features(described[0], described[1], *labels, "CC")
        records.append({"cue": name, **_figures(found, query), "chance": chance})
    found = evaluate_distances(skeleton_distances(query, gallery), *labels, "CC")
    records.append({"cue": SKELETON, **_figures(found, query), "chance": chance})
    return pd.DataFrame(records)


def skeleton_distances(query: ImageSet, gallery: ImageSet) -> Distances:
    """Distances between lengths of limbs and trunk in the picture, standardised over the gallery.

    Lengths are in shares of their sum, so the size of the picture doesn't count.

    Raises:
        RlqkitError: an image has no joints.
    """
    q, g = _proportions(query), _proportions(gallery)
    spread = np.maximum(g.std(axis=0), 1e-9)
    return np.linalg.norm((q[:, None] - g[None]) / spread, axis=2)


def _proportions(images: ImageSet) -> NDArray[np.float64]:
    """(n, 16): lengths of the 13 limbs, both sides of the trunk and the hips, summing to 1."""
    images.require_joints()
    assert images.joints is not None
    first, second = np.array([*LIMBS, (5, 11), (6, 12), (11, 12)]).T
    lengths = np.linalg.norm(images.joints[:, first, :2] - images.joints[:, second, :2], axis=2)
    shares: NDArray[np.float64] = lengths / lengths.sum(axis=1, keepdims=True)
    return shares


def _figures(found: Retrieval, query: ImageSet) -> dict[str, float]:
    interval = clustered_interval(query_table(found, query))
    return {**in_percent(interval), "mAP": 100 * found.mAP}


def _keep(image: Picture, where: NDArray[np.bool_]) -> Picture:
    """The pixels in ``where``; flat grey elsewhere."""
    kept: Picture = np.where(where[..., None], image, np.uint8(BACKGROUND_GREY))
    return kept
