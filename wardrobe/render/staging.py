"""What else is in a picture: things behind the person, things in the way, passers-by.

Places are chosen on the picture: a thing's edge is put at a share of the width of the person's
box and from there back into the world.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardrobe.render.camera import Crop, View
from wardrobe.render.surroundings import Surroundings
from wardrobe.render.things import Thing, build

OCCLUDERS = ("bollard", "bench", "column", "railing", "planter", "bin", "person", "person")
"""What may stand between camera and person; equally likely, somebody twice."""
MOST_HIDDEN = 0.5
"""Share of the person's pixels above which what stands in the way is taken out again."""


@dataclass(frozen=True)
class Staging:
    """How often pictures hold more than a person and a place; part of a specification."""

    occluders: float
    """Share of pictures with something in front of the person, at an edge of the picture."""
    passers_by: float
    """Share of pictures with somebody else behind or beside the person."""
    crowd_first: int
    """Number of the first of the people who only ever pass by."""
    crowd: int = 24
    """How many these are."""


@dataclass(frozen=True)
class WalkOn:
    """A passer-by: who, how turned, and where they stand."""

    number: int
    """Of the crowd, from 0."""
    yaw: float
    """Degrees."""
    offset: np.ndarray
    """(3,) metres from the person of the picture."""


@dataclass(frozen=True)
class Stage:
    """What is in a picture besides the person, and where."""

    things: list[Thing]
    walk_ons: list[WalkOn]
    in_the_way: bool
    """Whether one of them stands in front of the person."""

    def cleared(self) -> Stage:
        """Return the stage without what stands in front of the person."""
        return Stage(
            [thing for thing in self.things if thing.vertices[:, 1].max() > 0.0],
            [one for one in self.walk_ons if one.offset[1] > 0.0],
            in_the_way=False,
        )


def across(view: View, crop: Crop, share: float, y: float) -> float:
    """Return the world's x at depth ``y`` that is seen at a share of the crop's width, 0..1."""
    ahead = (np.array([0.0, y, 0.9]) - view.eye) @ view.axes[2]
    return float((crop.left + share * crop.width / crop.scale) * ahead)


def _stand_edge_at(thing: Thing, view: View, crop: Crop, rng: np.random.Generator) -> Thing:
    """Push a thing in from the left or right until its edge covers a part of the picture."""
    y, reach = rng.uniform(-1.5, -0.75), rng.uniform(0.14, 0.42)
    if rng.random() < 0.5:
        x = across(view, crop, reach, y) - thing.vertices[:, 0].max()
    else:
        x = across(view, crop, 1.0 - reach, y) - thing.vertices[:, 0].min()
    return thing.moved(np.array([x, y, 0.0]), 0.0)


def _background_things(
    place: Surroundings, view: View, crop: Crop, rng: np.random.Generator
) -> list[Thing]:
    """Return up to three of the place's things, at random distances behind the person."""
    found = []
    kinds = [str(kind) for kind in rng.choice(place.things, size=int(rng.integers(0, 4)))]
    for kind in kinds:
        nearest = {"car": 6.0, "tree": 3.5, "bench": 2.2}.get(kind, 1.0)
        y = nearest * (max(place.far - 1.0, nearest + 0.5) / nearest) ** rng.random()
        x = across(view, crop, rng.uniform(-0.25, 1.25), y)
        yaw = rng.normal(0.0, 0.15) + (np.pi if rng.random() < 0.3 else 0.0)
        found.append(build(kind, rng).moved(np.array([x, y, 0.0]), float(yaw)))
    return found


def _walk_on(
    staging: Staging, view: View, crop: Crop, rng: np.random.Generator, in_front: bool
) -> WalkOn:
    """Return somebody at an edge of the picture, in front of or behind the person."""
    y = rng.uniform(-1.9, -1.0) if in_front else 0.8 * 9.0 ** rng.random()
    # Far behind, anywhere; near, where the person does not hide them.
    out = rng.uniform(-0.10, 0.06) if in_front else rng.uniform(-0.05, 0.12 + 0.03 * y)
    share = out if rng.random() < 0.5 else 1.0 - out
    return WalkOn(
        number=int(rng.integers(staging.crowd)),
        yaw=float(rng.uniform(-180.0, 180.0)),
        offset=np.array([across(view, crop, share, y), y, 0.0]),
    )


def set_stage(
    staging: Staging, place: Surroundings, view: View, crop: Crop, rng: np.random.Generator
) -> Stage:
    """Draw what else is in a picture whose person stands at the origin."""
    things = _background_things(place, view, crop, rng)
    walk_ons = []
    if rng.random() < staging.passers_by:
        walk_ons += [_walk_on(staging, view, crop, rng, False) for _ in range(rng.integers(1, 3))]
    in_the_way = bool(rng.random() < staging.occluders)
    if in_the_way:
        kind = str(rng.choice(OCCLUDERS))
        if kind == "person":
            walk_ons.append(_walk_on(staging, view, crop, rng, True))
        else:
            things.append(_stand_edge_at(build(kind, rng), view, crop, rng))
    return Stage(things, walk_ons, in_the_way)
