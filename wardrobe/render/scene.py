"""Backgrounds: a patterned floor and a wall with panels, doors and windows.

A camera has one scene, but every picture is taken at another place in it, so that no background
goes with a person.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from wardrobe.render.streams import Stream, generator, smoothstep, wave_noise


@dataclass(frozen=True)
class Scene:
    """Colours (sRGB, (3,)) and sizes (metres) of one camera's surroundings."""

    seed: int
    number: int
    floor_kind: str
    """"checker", "tiles", "patches" or "planks"."""
    floor: np.ndarray
    second_floor: np.ndarray
    wall: np.ndarray
    second_wall: np.ndarray
    wall_distance: float
    """Behind the person."""
    tile: float
    panel: float


def _muted(rng: np.random.Generator, saturation: float, low: float, high: float) -> np.ndarray:
    return np.array(
        colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.03, saturation), rng.uniform(low, high))
    )


def sample_scene(seed: int, number: int, rng: np.random.Generator) -> Scene:
    """Draw the surroundings of camera ``number``."""
    return Scene(
        seed=seed,
        number=number,
        floor_kind=str(rng.choice(["checker", "tiles", "patches", "planks"])),
        floor=_muted(rng, 0.25, 0.3, 0.7),
        second_floor=_muted(rng, 0.30, 0.25, 0.75),
        wall=_muted(rng, 0.30, 0.35, 0.85),
        second_wall=_muted(rng, 0.50, 0.2, 0.8),
        wall_distance=rng.uniform(3.0, 8.0),
        tile=rng.uniform(0.4, 1.1),
        panel=rng.uniform(1.2, 3.0),
    )


def floor_albedo(scene: Scene, points: np.ndarray) -> np.ndarray:
    """Return sRGB (n, 3) of floor points (n, 2) in scene coordinates, metres."""
    x, y = points.T / scene.tile
    if scene.floor_kind == "checker":
        share = (np.floor(x) + np.floor(y)) % 2.0
    elif scene.floor_kind == "tiles":
        share = ((x % 1.0 < 0.05) | (y % 1.0 < 0.05)).astype(float)
    elif scene.floor_kind == "patches":
        rng = generator(scene.seed, Stream.SCENE_NOISE, scene.number, 0)
        share = smoothstep(wave_noise(1.3 * points, rng, 2), -0.4, 0.6)
    else:
        plank = np.floor(x / 0.4)
        share = (x / 0.4 % 1.0 < 0.06) + 0.3 * (plank * 7.13 % 1.0)
    share = 0.55 * share[:, None]
    rng = generator(scene.seed, Stream.SCENE_NOISE, scene.number, 1)
    stains = 0.07 * wave_noise(4.0 * points, rng, 2)[:, None]
    return np.clip(scene.floor * (1.0 - share + stains) + scene.second_floor * share, 0.01, 1.0)


def wall_albedo(scene: Scene, points: np.ndarray) -> np.ndarray:
    """Return sRGB (n, 3) of wall points (n, 2): metres along the wall, metres above the floor."""
    along, height = points.T
    panel = along / scene.panel
    within = panel % 1.0
    # A cheap hash of the panel's number decides what is on it.
    draw = np.sin(np.floor(panel) * 12.9898 + scene.number) * 43758.5453 % 1.0
    colour = np.where((draw < 0.38)[:, None], scene.second_wall, scene.wall)
    colour = colour * (0.8 + 0.4 * (7.7 * draw % 1.0))[:, None]
    door = (within < 0.42) & (height < 2.1) & (draw > 0.55)
    colour[door] = 0.5 * scene.second_wall
    window = (np.abs(within - 0.5) < 0.35) & (np.abs(height - 1.6) < 0.6)
    colour[window & (draw > 0.38) & (draw < 0.55)] = (0.62, 0.70, 0.76)
    colour[height < 0.12] *= 0.5
    rng = generator(scene.seed, Stream.SCENE_NOISE, scene.number, 2)
    return np.clip(colour * (1.0 + 0.08 * wave_noise(1.7 * points, rng, 2)[:, None]), 0.01, 1.0)
