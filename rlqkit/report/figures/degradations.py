"""Random views of an image over the epochs, under both seeding switches."""

from __future__ import annotations

from matplotlib.figure import Figure

from rlqkit.config import Config
from rlqkit.data.images import ImageStore
from rlqkit.data.imageset import ImageSet
from rlqkit.data.loaders import degradation_mix, severity
from rlqkit.data.torch_sets import EXTERNAL_LQ, ExternalImages
from rlqkit.method.degradations import draw_kind
from rlqkit.method.sampling import Draw
from rlqkit.randomness import SeedPolicy
from rlqkit.report.figures.sheets import Picture, Tile, headline_of, sheet, to_picture
from rlqkit.report.style import KIND_COLOURS, KIND_TITLES


def epoch_views(
    images: ImageSet, config: Config, index: int, policy: SeedPolicy, epochs: int
) -> tuple[list[Picture], list[Picture], list[str]]:
    """HQ and LQ view of one external image in each epoch, and the kind of damage drawn.

    The image keeps its place in the epoch, as it does under the official order.
    """
    mix, ranges = degradation_mix(config), severity(config)
    size = (config.data.height, config.data.width)
    store = ImageStore(images.paths, 0)
    data = ExternalImages(store, size=size, policy=policy, severity=ranges, mix=mix)
    hq, lq, kinds = [], [], []
    for epoch in range(epochs):
        item = data[Draw(epoch, index, index)]
        hq.append(to_picture(item["hq"]))
        lq.append(to_picture(item["lq"]))
        kinds.append(draw_kind(mix, policy.draws("augment", epoch, index, index, EXTERNAL_LQ)))
    return hq, lq, kinds


def seeding_sheet(images: ImageSet, config: Config, index: int = 0, epochs: int = 8) -> Figure:
    """One external image over the epochs under both seeding switches."""
    rows: list[list[Tile]] = []
    for switch in ("clean", "official"):
        policy = SeedPolicy(config.seed, switch)
        hq, lq, kinds = epoch_views(images, config, index, policy, epochs)
        rows.append([Tile(view) for view in hq])
        pairs = zip(lq, kinds, strict=True)
        rows.append([Tile(v, KIND_TITLES[kind], KIND_COLOURS[kind]) for v, kind in pairs])
    return sheet(
        rows,
        headline_of("Does the network meet the same view again?", images.synthetic),
        ["clean, HQ", "clean, LQ", "official, HQ", "official, LQ"],
        [f"epoch {epoch}" for epoch in range(epochs)],
        tile=(1.6, 0.8),
    )
