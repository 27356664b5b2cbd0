"""Places with depth: ground, what stands far behind the person, sky or ceiling.

The second kind of background, used where a data set's specification asks for it; the first is
``scene``. A camera has one place. Every picture is taken at another spot of it, in other weather
if the place is outdoors, so that no background and no light goes with a person.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from wardrobe.render.streams import Stream, generator, smoothstep, wave_noise

OUTDOOR_GROUNDS = ("asphalt", "paving", "grass", "gravel")
INDOOR_GROUNDS = ("tiles", "checker", "planks", "carpet")
OUTDOOR_THINGS = ("lamp", "tree", "bench", "bin", "bollard", "planter", "car", "sign")
INDOOR_THINGS = ("column", "bench", "bin", "planter", "sign", "cabinet")
WEATHER_CHANCES = {"sunny": 0.45, "hazy": 0.2, "overcast": 0.35}
KEY_AND_AMBIENT = {
    "sunny": (1.15, 0.85), "hazy": (0.7, 1.15), "overcast": (0.22, 1.7), "indoor": (0.7, 1.45),
}  # fmt: skip
"""Factors on a camera's direct and ambient light."""
SKY = {"sunny": (0.42, 0.60, 0.86), "hazy": (0.72, 0.77, 0.82), "overcast": (0.70, 0.72, 0.75)}
"""sRGB overhead; towards the horizon it turns pale."""
HAZE_DISTANCE = 90.0
"""Metres at which 63 % of what is seen is haze."""


@dataclass(frozen=True)
class Surroundings:
    """One camera's place. Colours are sRGB (3,), sizes metres."""

    seed: int
    number: int
    outdoor: bool
    ground_kind: str
    """One of ``OUTDOOR_GROUNDS`` or ``INDOOR_GROUNDS``."""
    ground: np.ndarray
    second_ground: np.ndarray
    tile: float
    far: float
    """How far behind the person the wall, the buildings or the trees stand."""
    far_kind: str
    """"facade", "shops" or "trees" outdoors, "panels" or "glass" indoors."""
    wall: np.ndarray
    second_wall: np.ndarray
    height: float
    """Of what stands far behind; indoors of the ceiling."""
    bay: float
    """Width of a window's, shop's or panel's bay."""
    verge: float
    """Width of the strip of ``second_ground`` in front of the far wall."""
    things: tuple[str, ...]
    """Kinds of things that stand about, see ``things.build``."""


@dataclass(frozen=True)
class Spot:
    """Where in its place a picture is taken, and in what weather."""

    x: float
    y: float
    side: float
    """Scene-independent x of a side wall, metres from the person; infinite if there is none."""
    weather: str
    """"sunny", "hazy", "overcast" or "indoor"."""


def _tone(rng: np.random.Generator, saturation: float, low: float, high: float) -> np.ndarray:
    return np.array(
        colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.02, saturation), rng.uniform(low, high))
    )


def _ground_colours(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the two colours of a kind of ground."""
    if kind == "grass":
        green = np.array([0.24, 0.36, 0.13]) * rng.uniform(0.8, 1.35)
        return green, green * np.array([1.35, 1.15, 1.0])
    if kind == "asphalt":
        return np.full(3, rng.uniform(0.25, 0.42)), np.array([0.78, 0.77, 0.70])
    if kind == "gravel":
        sand = np.array([0.62, 0.55, 0.44]) * rng.uniform(0.7, 1.1)
        return sand, 0.75 * sand
    if kind == "planks":
        wood = np.array([0.55, 0.38, 0.24]) * rng.uniform(0.6, 1.3)
        return wood, 0.6 * wood
    return _tone(rng, 0.22, 0.35, 0.75), _tone(rng, 0.28, 0.25, 0.8)


def sample_surroundings(seed: int, number: int) -> Surroundings:
    """Draw the place of camera ``number``; odd numbers are outdoors, even ones indoors."""
    rng = generator(seed, Stream.SURROUNDINGS, number)
    outdoor = number % 2 == 1
    kind = str(rng.choice(OUTDOOR_GROUNDS if outdoor else INDOOR_GROUNDS))
    ground, second = _ground_colours(kind, rng)
    kinds = OUTDOOR_THINGS if outdoor else INDOOR_THINGS
    return Surroundings(
        seed=seed,
        number=number,
        outdoor=outdoor,
        ground_kind=kind,
        ground=ground,
        second_ground=second,
        tile=rng.uniform(0.4, 0.9) if kind != "planks" else rng.uniform(0.15, 0.3),
        far=rng.uniform(9.0, 30.0) if outdoor else rng.uniform(4.0, 14.0),
        far_kind=str(rng.choice(["facade", "shops", "trees"] if outdoor else ["panels", "glass"])),
        wall=_tone(rng, 0.30, 0.40, 0.85),
        second_wall=_tone(rng, 0.50, 0.2, 0.7),
        height=rng.uniform(5.0, 16.0) if outdoor else rng.uniform(2.7, 4.2),
        bay=rng.uniform(1.8, 3.6),
        verge=rng.uniform(1.0, 4.0),
        things=tuple(str(k) for k in rng.permutation(kinds)[:5]),
    )


def sample_spot(place: Surroundings, rng: np.random.Generator) -> Spot:
    """Draw where and in what weather a picture is taken."""
    side = rng.choice([-1.0, 1.0]) * rng.uniform(0.7, 3.0)
    beside_wall = not place.outdoor and rng.random() < 0.4
    weather = str(rng.choice(list(WEATHER_CHANCES), p=list(WEATHER_CHANCES.values())))
    return Spot(
        x=rng.uniform(-40.0, 40.0),
        y=rng.uniform(-2.5, 2.5),
        side=float(side) if beside_wall else math.inf,
        weather=weather if place.outdoor else "indoor",
    )


def ground_albedo(place: Surroundings, points: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Return sRGB (n, 3) of ground points (n, 2) in scene coordinates.

    ``footprint`` (n,) is the length in metres that one pixel covers: patterns finer than that
    fade into their mean colour instead of flickering.
    """
    kind = place.ground_kind
    x, y = points.T / place.tile
    points = points.astype(np.float32)
    noise = generator(place.seed, Stream.SCENE_NOISE, place.number, 3)
    if kind in ("grass", "gravel", "carpet", "asphalt"):
        scale = {"grass": 5.0, "gravel": 8.0, "carpet": 9.0, "asphalt": 6.0}[kind]
        share, finest = 0.5 + 0.5 * wave_noise(scale * points, noise, 3), 0.6 / scale
        if kind == "carpet":
            share = 0.35 * share
        if kind == "asphalt":  # a painted line now and then
            share = np.where(np.abs(points[:, 1] % 5.2 - 2.6) < 0.06, 1.6, 0.12 * share)
            finest = 0.2
        mean = {"asphalt": 0.06, "carpet": 0.17}.get(kind, 0.5)
    elif kind == "checker":
        share, finest, mean = (np.floor(x) + np.floor(y)) % 2.0, place.tile, 0.5
    elif kind == "planks":
        share = (x % 1.0 < 0.08) + 0.4 * (np.floor(x) * 7.13 % 1.0)
        finest, mean = place.tile, 0.25
    else:  # paving and tiles: joints, and stones that differ a little
        rows = y % 1.0 < 0.06
        shifted = x + 0.5 * (np.floor(y) % 2.0) * (kind == "paving")
        stone = np.sin(np.floor(shifted) * 12.9898 + np.floor(y) * 78.233) * 43758.5453 % 1.0
        share = np.where(rows | (shifted % 1.0 < 0.06), 0.9, 0.45 * stone)
        finest, mean = place.tile, 0.28
    fade = smoothstep(footprint, 0.3 * finest, 1.2 * finest)
    share = (0.6 * (share * (1.0 - fade) + mean * fade))[:, None]
    verge = (points[:, 1] > place.far - place.verge)[:, None]
    base = np.where(verge, 0.5 * (place.ground + place.second_ground), place.ground)
    stains = 0.05 * wave_noise(1.1 * points, noise, 2)[:, None]
    return np.clip(base * (1.0 - share + stains) + place.second_ground * share, 0.01, 1.0)


def _bays(place: Surroundings, along: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the position (n,) within a bay, 0..1, and a cheap hash (n,) of bay and row."""
    bay = along / place.bay
    draw = np.sin(np.floor(bay) * 12.9898 + row * 37.719 + place.number) * 43758.5453 % 1.0
    return bay % 1.0, draw


def far_albedo(place: Surroundings, points: np.ndarray) -> np.ndarray:
    """Return sRGB (n, 3) of far points (n, 2): metres along the wall, metres above the ground."""
    along, up = points.T
    rng = generator(place.seed, Stream.SCENE_NOISE, place.number, 4)
    noise = wave_noise((0.9 * points).astype(np.float32), rng, 3)[:, None]
    if place.far_kind == "trees":
        leaves = np.array([0.16, 0.24, 0.10]) * (1.0 + 0.5 * noise)
        trunk = (np.abs(along % 3.1 - 1.5) < 0.16) & (up < 1.9)
        leaves[trunk] = (0.16, 0.12, 0.09)
        hedge = (up < 1.0) & ~trunk
        leaves[hedge] *= 0.65
        return np.clip(leaves, 0.01, 1.0)
    storey = 3.0 if place.outdoor else place.height
    row = np.floor(up / storey)
    within, draw = _bays(place, along, row)
    high = up - row * storey
    colour = place.wall * (0.9 + 0.2 * draw)[:, None] * (1.0 + 0.06 * noise)
    if place.far_kind in ("facade", "shops"):
        shop = (row == 0) & (place.far_kind == "shops")
        window = (np.abs(within - 0.5) < 0.26) & (np.abs(high - 1.6) < 0.75) & ~shop
        pane = (np.abs(within - 0.5) < 0.44) & (high > 0.5) & (high < 2.3) & shop
        glass = np.array([0.20, 0.25, 0.30]) + 0.25 * draw[:, None]
        colour = np.where((window | pane)[:, None], glass, colour)
        awning = shop & (high > 2.35) & (high < 2.85)
        colour[awning] = place.second_wall * (0.7 + 0.6 * draw[awning])[:, None]
        door = (row == 0) & (draw > 0.7) & (np.abs(within - 0.5) < 0.22) & (high < 2.1) & ~shop
        colour[door] = 0.6 * place.second_wall
    elif place.far_kind == "glass":
        frame = (within < 0.05) | (np.abs(up - 1.0) < 0.04) | (up < 0.1)
        outside = np.array([0.55, 0.62, 0.66]) * (0.75 + 0.25 * up / place.height)[:, None]
        outside = outside * (1.0 + 0.2 * noise)
        colour = np.where(frame[:, None], 0.5 * place.second_wall, outside)
    else:
        panel = (draw < 0.35)[:, None]
        colour = np.where(panel, place.second_wall * (0.8 + draw[:, None]), colour)
        door = (draw > 0.72) & (np.abs(within - 0.5) < 0.24) & (up < 2.1)
        colour[door] = 0.55 * place.second_wall
        poster = (draw > 0.5) & (draw < 0.68) & (np.abs(within - 0.5) < 0.2)
        poster &= np.abs(up - 1.55) < 0.45
        colour[poster] = np.array([0.8, 0.78, 0.7]) * (1.0 - 0.4 * noise[poster])
        colour[np.abs(up - 0.95) < 0.03] *= 0.6
    colour[up < 0.12] *= 0.55
    return np.clip(colour, 0.01, 1.0)


def sky_light(spot: Spot, elevation: np.ndarray) -> np.ndarray:
    """Return linear light (n, 3) of the sky at sines of elevation (n,)."""
    pale = np.exp(-np.clip(elevation, 0.0, None) / 0.25)[:, None]
    colour = np.array(SKY[spot.weather]) * (1.0 - pale) + np.array([0.86, 0.88, 0.90]) * pale
    return np.asarray(1.15 * colour**2.2)
