"""Pictures of the coarse attributes: pose vectors, clusters, gender."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rlqkit.config import Config
from rlqkit.data.images import read_image
from rlqkit.data.imageset import ImageSet
from rlqkit.data.loaders import degradation_mix, evaluation_images, severity
from rlqkit.method.attributes import (
    LIMBS,
    VECTOR_LENGTHS,
    PoseClusters,
    images_with_pose,
    nearest_clusters,
    pose_vector,
    scale_joints,
)
from rlqkit.method.degradations import degrade, draw_kind
from rlqkit.randomness import generator
from rlqkit.report.figures.sheets import (
    LEFT,
    MIDDLE,
    RIGHT,
    Joints,
    Picture,
    Tile,
    headline_of,
    limb_colours,
    sheet,
    skeleton_picture,
)
from rlqkit.report.style import GENDERS
from rlqkit.runs.experiment import load_network, machine_of
from rlqkit.runs.folder import RunFolder

Matrix = NDArray[np.float32]
LIMB_NAMES = (
    "nose – left eye", "nose – right eye", "left eye – ear", "right eye – ear", "shoulders",
    "left upper arm", "left forearm", "right upper arm", "right forearm", "left thigh",
    "right thigh", "left shin", "right shin",
)  # fmt: skip
"""In the order of ``attributes.LIMBS``."""
FACE_LIMBS = 4
"""The first limbs of that list join nose, eyes and ears."""


def pose_vector_figure(image: Picture, joints: Joints, synthetic: bool = True) -> Figure:
    """One skeleton, its 13 limb lengths and its 13 limb angles, limb by limb.

    The four limbs of the face are too short for numbers of their own; one label stands for them.
    """
    frame = scale_joints(joints, (image.shape[1], image.shape[0])).astype(np.float64)
    vector = pose_vector(joints, (image.shape[1], image.shape[0]))
    lengths, angles = vector[:13], vector[13:]
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(11, 5.2), layout="constrained", gridspec_kw={"width_ratios": [0.9, 1.2, 0.8]}
    )
    left.imshow(Image.fromarray(image).resize((192, 384)), alpha=0.55)
    for number, ((a, b), colour) in enumerate(zip(LIMBS, limb_colours(), strict=True), start=1):
        left.plot(*frame[[a, b]].T, color=colour, lw=3, solid_capstyle="round")
        if number > FACE_LIMBS:
            box = {"boxstyle": "circle,pad=0.15", "fc": "white", "ec": colour}
            x, y = frame[[a, b]].mean(axis=0)
            left.text(x, y, str(number), fontsize=8, ha="center", va="center", bbox=box)
    x, y = frame[:5, 0].max(), frame[:5, 1].mean()
    left.annotate(
        f"1–{FACE_LIMBS}", (x, y), (170, max(y - 30, 12)), fontsize=8, ha="center", va="center",
        bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": MIDDLE},
        arrowprops={"arrowstyle": "-", "color": MIDDLE},
    )  # fmt: skip
    left.axis("off")
    left.set_title("scaled to 192 × 384")
    names = [f"{name}  {i}" for i, name in enumerate(LIMB_NAMES, start=1)]
    bars = middle.barh(names, lengths, color=limb_colours())
    middle.bar_label(bars, fmt="%.0f", fontsize=8, padding=2)
    middle.set_ylim(12.6, -0.6)
    middle.grid(visible=False)  # lines would strike the numbers
    middle.set_title("13 lengths, px")
    middle.margins(x=0.12)
    _draw_angles(right, angles)
    figure.suptitle(headline_of("A pose vector: 13 lengths, 13 angles", synthetic), weight="bold")
    handles = [
        Patch(color=colour, label=text)
        for text, colour in (
            ("the person's left", LEFT),
            ("the person's right", RIGHT),
            ("across", MIDDLE),
        )
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _draw_angles(axes: Axes, angles: NDArray[np.float64]) -> None:
    """An arrow a limb, from its second joint to its first, as it points in the image."""
    rows, one = np.arange(13), np.ones(13)
    axes.quiver(
        0 * rows, rows, one, one, angles=-angles, color=limb_colours(), pivot="mid",
        scale=4.2, scale_units="inches", units="inches", width=0.035, headwidth=4,
    )  # fmt: skip
    for row, angle in zip(rows, angles, strict=True):
        axes.text(0.25, float(row), f"{angle:.0f}°", va="center", fontsize=9)
    axes.set(xlim=(-0.5, 0.9), ylim=(12.6, -0.6), xticks=[], yticks=[])
    axes.grid(False)
    axes.set_title("13 angles")


def cluster_sheet(images: ImageSet, clusters: PoseClusters, examples: int = 4) -> Figure:
    """Every pose cluster: mean skeleton, then the images nearest to its centre, one a person."""
    assert images.joints is not None
    vectors = pose_vectors(images, clusters.kind)
    blocks: list[list[Tile | None]] = []
    for k in range(len(clusters.counts)):
        caption = f"cluster {k + 1}\n{clusters.counts[k]} images"
        row: list[Tile | None] = [Tile(skeleton_picture(clusters.skeletons[k]), caption)]
        gaps = ((vectors - clusters.centres[k]) ** 2).sum(axis=1)
        order = np.argsort(np.where(clusters.labels == k + 1, gaps, np.inf), kind="stable")
        order = order[: clusters.counts[k]]
        nearest = (
            pd.Series(images.identities[order], index=order).drop_duplicates().index[:examples]
        )
        row += [Tile(read_image(images.paths[i])) for i in nearest]
        blocks.append(row + [None] * (examples + 1 - len(row)))
    half = (len(blocks) + 2) // 3
    lines = [blocks[i::half] for i in range(half)]
    rows = [[tile for block in line for tile in (*block, None)][:-1] for line in lines]
    title = headline_of(
        "Pose clusters: mean skeleton and the most typical images", images.synthetic
    )
    return sheet(rows, title, tile=(1.35, 0.58))


def pose_vectors(images: ImageSet, kind: str) -> NDArray[np.float64]:
    """(n, length) pose vectors of an image set that has joints; NaN where nobody was found."""
    images.require_joints()
    assert images.joints is not None
    vectors = np.full((len(images), VECTOR_LENGTHS[kind]), np.nan)
    for i in images_with_pose(images.joints, images.sizes):
        vectors[i] = pose_vector(images.joints[i], tuple(images.sizes[i]), kind)
    return vectors


def facing(images: ImageSet) -> NDArray[np.float64]:
    """(n,) x of the left shoulder minus x of the right one, in widths of the image.

    Positive: seen from the front; negative: from behind; near 0: from the side.
    """
    images.require_joints()
    assert images.joints is not None
    difference: NDArray[np.float64] = images.joints[:, 5, 0] - images.joints[:, 6, 0]
    return difference / images.sizes[:, 0]


def gender_sheet(images: ImageSet, config: Config, people: int = 10) -> Figure:
    """People of each gender label, HQ and LQ."""
    images.require_gender()
    rows, labels = [], []
    for label, name in GENDERS.items():
        mine = np.flatnonzero(images.table["gender"].to_numpy() == label)
        first = pd.Series(images.identities[mine], index=mine).drop_duplicates().index
        chosen = first[np.linspace(0, len(first) - 1, min(people, len(first))).astype(int)]
        rng = generator(config.seed, "evaluation", label)
        clear = [read_image(images.paths[i]) for i in chosen]
        kinds = [draw_kind(degradation_mix(config), rng) for _ in clear]
        pairs = zip(clear, kinds, strict=True)
        lq = [degrade(image, kind, severity(config), rng) for image, kind in pairs]
        rows += [[Tile(image) for image in clear], [Tile(image) for image in lq]]
        labels += [f"label {label}\n({name}), HQ", "the same,\nLQ"]
    title = headline_of("A coarse label: one bit a person, by appearance only", images.synthetic)
    return sheet(rows, title, labels)


@torch.inference_mode()
def branch_features(run: RunFolder, images: ImageSet, quality: str) -> dict[str, Matrix]:
    """Features of every branch of a trained network, f3 among them where it has a pose branch.

    Args:
        run: finished, with weights.
        images: what to look at.
        quality: "HQ", "mixed LQ" or a degradation's name.

    Returns:
        "branch1", "branch2", "pose" (as far as there) → (n, D), not normalised, of the image alone
        (its mirror isn't asked), in float32 whatever the run's arithmetic.
    """
    config = run.config()
    fabric, data = machine_of(run), evaluation_images(images, quality, config)
    network: Any = fabric.to_device(load_network(run))
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(data), config.evaluation.batch):
        stop = min(start + config.evaluation.batch, len(data))
        batch = torch.stack([data[i]["images"] for i in range(start, stop)])  # (B, 3, H, W)
        for name, features in network(batch.to(fabric.device)).items():
            parts.setdefault(name, []).append(features.float().cpu())
    return {name: torch.cat(part).numpy() for name, part in parts.items()}


def nearest_cluster(images: ImageSet, clusters: PoseClusters) -> NDArray[np.int64]:
    """(n,) the pose cluster whose centre is nearest to each image's pose vector, as
    ``nearest_clusters`` gives it."""
    images.require_joints()
    assert images.joints is not None
    return nearest_clusters(clusters, images.joints, images.sizes)
