"""Data sets of any size: specifications made from a few numbers instead of written down."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from rlqkit.errors import RlqkitError
from wardrobe.render.generate import GroupSpec, RenderSpec, Size
from wardrobe.render.staging import Staging

CUSTOM = "custom-"
"""Names of such data sets begin so, see ``rlqkit.data.registry``."""
SMALLEST = 16
"""Native height in pixels below which nobody is drawn."""


def parse_heights(text: str) -> Size:
    """Return (128, 256) from "128-256".

    Raises:
        RlqkitError: not two whole numbers of at least ``SMALLEST``, the smaller one first.
    """
    low, _, high = text.partition("-")
    if low.isdecimal() and high.isdecimal() and SMALLEST <= int(low) <= int(high):
        return int(low), int(high)
    raise RlqkitError(
        f'heights "{text}": give a range of pixels such as 64-256, {SMALLEST} or more'
    )


def custom_spec(
    base: RenderSpec, sizes: dict[str, int], outfits: int | None = None,
    heights: tuple[Size, ...] = (), staging: Staging | None = None, quality: int | None = None,
) -> RenderSpec:  # fmt: skip
    """Return ``base`` with other numbers, and a name made from all of its settings.

    Args:
        base: its wardrobes are kept; its seed serves for all people.
        sizes: identities by group ("train", "validation", "test", "external"); others as in base.
        outfits: of every identity; None: as in base.
        heights: native image heights of the target cameras, one range for each; () as in base.
        staging: how pictures are staged; its crowd is renumbered after the last identity.
        quality: of WebP, 0..100; None: as in base.

    Raises:
        RlqkitError: fewer than two target cameras, or a group that can't be made.
    """
    heights = heights or base.target_heights
    if len(heights) < 2:
        raise RlqkitError("heights: give at least two ranges, since every camera needs another")
    groups, first = {}, 0
    for name, group in base.groups().items():
        identities = sizes.get(name, group.identities)
        views = len(heights) if group.wardrobe == 0 else group.views
        groups[name] = GroupSpec(first, identities, outfits or group.outfits, views, group.wardrobe)
        first += identities
    staging = staging or base.staging
    most = max(group.outfits for group in groups.values())
    fields: dict[str, Any] = {
        **groups,
        "target_heights": heights,
        "external_first": max(base.external_first, len(heights) + 1),
        "quality": base.quality if quality is None else quality,
        "staging": staging and replace(staging, crowd_first=first),
        "people_seed": None,
        # Nobody wears a garment twice: a wardrobe holds at least as many as there are outfits.
        "wardrobe_tops": max(base.wardrobe_tops, most),
        "wardrobe_bottoms": max(base.wardrobe_bottoms, most),
    }
    spec = replace(base, **fields, name=CUSTOM, version="1.0")
    settings = json.dumps(spec.settings(), sort_keys=True)
    return replace(spec, name=CUSTOM + hashlib.sha256(settings.encode()).hexdigest()[:10])


def spec_from_settings(settings: dict[str, Any]) -> RenderSpec:
    """Return the specification whose ``settings()`` a data set's dataset.json holds.

    Raises:
        RlqkitError: they are not those of a rendered data set, or of a later version.
    """
    try:
        fields = dict(settings)
        for name in ("train", "validation", "test", "external"):
            fields[name] = GroupSpec(**fields[name])
        fields["target_heights"] = tuple((low, high) for low, high in fields["target_heights"])
        low, high = fields["external_height"]
        fields["external_height"] = (low, high)
        if fields.get("staging"):
            fields["staging"] = Staging(**fields["staging"])
        return RenderSpec(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise RlqkitError(
            f"dataset.json: generator holds no settings that this version can draw ({error!r}): "
            "install the version that made the data set"
        ) from None
