"""Pictures of the coarse attributes: pose vectors, clusters, gender."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import linear

from rlqkit.config import Config
from rlqkit.data.images import read_image
from rlqkit.data.imageset import ImageSet
from rlqkit.data.loaders import degradation_mix, evaluation_images, severity
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.protocol import HQ
from rlqkit.method.attributes import (
    LIMBS,
    PoseClusters,
    fit_pose_clusters,
    pose_vector,
    scale_joints,
)
from rlqkit.method.degradations import KINDS, degrade, draw_kind
from rlqkit.randomness import generator
from rlqkit.report.figures.sheets import (
    RIGHT,
    Joints,
    Picture,
    Tile,
    boxes,
    headline_of,
    limb_colours,
    sheet,
    skeleton_picture,
)
from rlqkit.report.style import GENDERS, HQ_COLOUR, JUNK_COLOUR, KIND_TITLES, LQ_COLOUR
from rlqkit.runs.checkpoint import read_checkpoint
from rlqkit.runs.device import machine
from rlqkit.runs.experiment import load_network
from rlqkit.runs.folder import RunFolder

LIMB_NAMES = (
    "nose – left eye", "nose – right eye", "left eye – ear", "right eye – ear", "shoulders",
    "left upper arm", "left forearm", "right upper arm", "right forearm", "left thigh",
    "right thigh", "left shin", "right shin",
)  # fmt: skip
"""In the order of ``attributes.LIMBS``."""


def pose_vector_figure(image: Picture, joints: Joints, synthetic: bool = True) -> Figure:
    """One skeleton, its 13 limb lengths and its 13 limb angles, limb by limb."""
    frame = scale_joints(joints, (image.shape[1], image.shape[0])).astype(np.float64)
    vector = pose_vector(joints, (image.shape[1], image.shape[0]))
    lengths, angles = vector[:13], vector[13:]
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(11, 5.2), layout="constrained", gridspec_kw={"width_ratios": [0.9, 1.2, 0.8]}
    )
    left.imshow(Image.fromarray(image).resize((192, 384)), alpha=0.55)
    for number, ((a, b), colour) in enumerate(zip(LIMBS, limb_colours(), strict=True), start=1):
        left.plot(*frame[[a, b]].T, color=colour, lw=3, solid_capstyle="round")
        if number > 4:  # the limbs of the face are too short for numbers
            box = {"boxstyle": "circle,pad=0.15", "fc": "white", "ec": colour}
            x, y = frame[[a, b]].mean(axis=0)
            left.text(x, y, str(number), fontsize=8, ha="center", va="center", bbox=box)
    left.axis("off")
    left.set_title("scaled to 192 × 384")
    names = [f"{name}  {i}" for i, name in enumerate(LIMB_NAMES, start=1)]
    bars = middle.barh(names, lengths, color=limb_colours())
    middle.bar_label(bars, fmt="%.0f", fontsize=8, padding=2)
    middle.set_ylim(12.6, -0.6)
    middle.set_title("13 lengths, px")
    middle.margins(x=0.12)
    _draw_angles(right, angles)
    title = "A pose vector: 13 lengths and 13 angles (orange: the person's left, blue: right)"
    figure.suptitle(headline_of(title, synthetic), weight="bold")
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
        row: list[Tile | None] = [Tile(skeleton_picture(clusters.skeletons[k]), f"cluster {k + 1}")]
        gaps = ((vectors - clusters.centres[k]) ** 2).sum(axis=1)
        order = np.argsort(np.where(clusters.labels == k + 1, gaps, np.inf), kind="stable")
        order = order[: clusters.counts[k]]
        nearest = (
            pd.Series(images.identities[order], index=order).drop_duplicates().index[:examples]
        )
        row += [Tile(read_image(images.paths[i])) for i in nearest]
        if nearest.size:
            row[1] = Tile(read_image(images.paths[nearest[0]]), f"of {clusters.counts[k]}")
        blocks.append(row + [None] * (examples + 1 - len(row)))
    half = (len(blocks) + 2) // 3
    lines = [blocks[i::half] for i in range(half)]
    rows = [[tile for block in line for tile in (*block, None)][:-1] for line in lines]
    title = headline_of(
        "Pose clusters: mean skeleton and the most typical images", images.synthetic
    )
    return sheet(rows, title, tile=(1.35, 0.58))


def pose_vectors(images: ImageSet, kind: str) -> NDArray[np.float64]:
    """(n, length) pose vectors of an image set that has all its joints."""
    images.require_joints()
    assert images.joints is not None
    sizes = images.table[["width", "height"]].to_numpy()
    pairs = zip(images.joints, sizes, strict=True)
    return np.stack([pose_vector(joints, (int(w), int(h)), kind) for joints, (w, h) in pairs])


def facing(images: ImageSet) -> NDArray[np.float64]:
    """(n,) x of the left shoulder minus x of the right one, in widths of the image.

    Positive: seen from the front; negative: from behind; near 0: from the side.
    """
    images.require_joints()
    assert images.joints is not None
    difference: NDArray[np.float64] = images.joints[:, 5, 0] - images.joints[:, 6, 0]
    return difference / images.table["width"].to_numpy()


def cluster_figure(images: ImageSet, clusters: PoseClusters) -> Figure:
    """Cluster sizes, and how far each cluster is about the direction a person faces."""
    table = pd.DataFrame({"cluster": clusters.labels, "facing": facing(images)})
    table = table[table["cluster"] > 0]
    by_size = 1 + np.argsort(-clusters.counts, kind="stable")
    by_facing = table.groupby("cluster")["facing"].median().sort_values().index
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    bars = left.bar([str(k) for k in by_size], clusters.counts[by_size - 1], color=RIGHT)
    left.bar_label(bars, fontsize=7)
    left.axhline(clusters.counts.mean(), color=JUNK_COLOUR, ls="--", label="if all were equal")
    left.set(title="How large are the clusters?", xlabel="cluster", ylabel="images")
    left.legend(fontsize=8)
    groups = {str(k): table.loc[table["cluster"] == k, "facing"].to_numpy() for k in by_facing}
    boxes(right, groups, "#f3d3b8")
    right.axhline(0, color=JUNK_COLOUR, ls="--")
    title = "Which way do they face? (+ front, 0 side, − back)"
    right.set(title=title, xlabel="cluster", ylabel="shoulder line")
    figure.suptitle(headline_of("What the clusters hold", images.synthetic), weight="bold")
    return figure


def cluster_numbers(
    images: ImageSet, kind: str, choices: Sequence[int], seed: int = 0
) -> pd.DataFrame:
    """K-means for several K: unexplained share of the variance, smallest and largest cluster."""
    images.require_joints()
    assert images.joints is not None
    sizes = images.table[["width", "height"]].to_numpy()
    vectors = pose_vectors(images, kind)
    total = float(((vectors - vectors.mean(axis=0)) ** 2).sum())
    rows = []
    for k in choices:
        fitted = fit_pose_clusters(images.joints, sizes, kind, k, seed)
        rows.append((k, fitted.inertia / total, fitted.counts.min(), fitted.counts.max()))
    return pd.DataFrame(rows, columns=["K", "unexplained", "smallest", "largest"]).set_index("K")


def choice_figure(table: pd.DataFrame, variances: NDArray[np.float64], synthetic: bool) -> Figure:
    """`cluster_numbers` beside the share of each limb's length and angle in the distance.

    variances: (26,) of the R_LA vectors.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    left.plot(table.index, 100 * table["unexplained"], "o-", color=RIGHT)
    left.set(
        title="Other K (written: smallest–largest cluster)",
        xlabel="K, number of clusters",
        ylabel="variance left over, %",
    )
    left.set_ylim(0, 115 * table["unexplained"].max() + 2)
    for k, row in table.iterrows():
        text = f"{row['smallest']:.0f}–{row['largest']:.0f}"
        left.text(float(str(k)), 100 * row["unexplained"] + 2, text, ha="center", fontsize=7)
    share = 100 * variances / variances.sum()
    y = np.arange(13)
    right.barh(
        y - 0.2, share[:13], 0.4, color=HQ_COLOUR, label=f"lengths: {share[:13].sum():.0f} %"
    )
    right.barh(y + 0.2, share[13:], 0.4, color=LQ_COLOUR, label=f"angles: {share[13:].sum():.0f} %")
    right.set(yticks=y, yticklabels=LIMB_NAMES, xlabel="share of the variance, %")
    right.tick_params(axis="y", labelsize=8)
    right.invert_yaxis()
    right.set_title("Which numbers decide?")
    right.legend(fontsize=8)
    text = "What does K-means listen to? Pixels and degrees go in unscaled"
    figure.suptitle(headline_of(text, synthetic), weight="bold")
    return figure


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
def read_attributes(run: RunFolder, images: ImageSet, quality: str) -> tuple[Tensor, Tensor]:
    """What CAP's heads say of an image set: (n, 2) gender and (n, K + 1) pose probabilities.

    Raises:
        RlqkitError: the run's row has no such heads, or its checkpoint is gone.
    """
    config = run.config()
    heads = read_checkpoint(run.path / "checkpoint.pt")["heads"]
    if "gender.weight" not in heads or "pose.weight" not in heads:
        raise RlqkitError(f"run {run.path.name} has no gender and pose heads: choose cap or rlq")
    fabric, data = machine(config), evaluation_images(images, quality, config)
    network: Any = fabric.to_device(load_network(run))
    heads = {name: value.to(fabric.device) for name, value in heads.items()}
    gender, pose = [], []
    for start in range(0, len(data), config.evaluation.batch):
        stop = min(start + config.evaluation.batch, len(data))
        batch = torch.stack([data[i]["images"] for i in range(start, stop)])  # (B, 3, H, W)
        features = network(batch.to(fabric.device))
        gender.append(linear(features["branch2"], heads["gender.weight"], heads["gender.bias"]))
        pose.append(linear(features["pose"], heads["pose.weight"], heads["pose.bias"]))
    return torch.cat(gender).softmax(dim=1).cpu(), torch.cat(pose).softmax(dim=1).cpu()


def attribute_table(
    run: RunFolder, train: ImageSet, test: ImageSet, clusters: PoseClusters
) -> pd.DataFrame:
    """How often CAP's heads are right: on up to 600 training images, on unseen people, HQ and LQ.

    A test image's true cluster is the one whose centre is nearest to its pose vector.

    Returns:
        Index: where (set and quality). Columns: gender, pose, and for each the share of the most
        frequent label, all in 0..1.
    """
    some = np.zeros(len(train), dtype=bool)
    some[np.linspace(0, len(train) - 1, min(len(train), 600)).astype(int)] = True
    truth = {"train": clusters.labels[some], "test": nearest_cluster(test, clusters)}
    sets = {"train": train.select(some), "test": test}
    rows = {}
    for name, quality in (("train", HQ), ("test", HQ), *(("test", kind) for kind in KINDS)):
        gender, pose = read_attributes(run, sets[name], quality)
        labels = sets[name].table["gender"].to_numpy(np.int64)
        rows[f"{name}, {KIND_TITLES.get(quality, quality)}"] = {
            "gender": float((gender.argmax(1).numpy() == labels).mean()),
            "gender guess": float(np.bincount(labels).max() / len(labels)),
            "pose": float((pose.argmax(1).numpy() == truth[name]).mean()),
            "pose guess": float(np.bincount(truth[name]).max() / len(labels)),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def nearest_cluster(images: ImageSet, clusters: PoseClusters) -> NDArray[np.int64]:
    """(n,) the pose cluster, 1..K, whose centre is nearest to each image's pose vector."""
    vectors = pose_vectors(images, clusters.kind)
    gaps = ((vectors[:, None] - clusters.centres[None]) ** 2).sum(axis=2)
    nearest: NDArray[np.int64] = gaps.argmin(axis=1) + 1
    return nearest


def attribute_figure(table: pd.DataFrame, synthetic: bool) -> Figure:
    """`attribute_table` as bars, with the share that always guessing the commonest label gets."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained", sharey=True)
    for axes, name, title in (
        (panels[0], "gender", "gender, read from f2 (identity branch)"),
        (panels[1], "pose", "pose cluster, read from f3 (pose branch)"),
    ):
        colours = [JUNK_COLOUR, HQ_COLOUR, *[LQ_COLOUR] * len(KINDS)]
        bars = axes.bar(range(len(table)), 100 * table[name], color=colours)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
        guess = 100 * table[f"{name} guess"]
        places = np.arange(len(table))
        axes.hlines(
            guess, places - 0.4, places + 0.4, color="black", ls="--", label="commonest label"
        )
        axes.set_xticks(places, [text.replace(", ", "\n") for text in table.index], fontsize=8)
        axes.set(title=title, ylim=(0, 108), ylabel="right, %")
        axes.legend(fontsize=8, loc="upper right")
    text = "Can CAP's attributes be read from unseen people?"
    figure.suptitle(headline_of(text, synthetic), weight="bold")
    return figure
