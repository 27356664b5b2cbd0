"""Named random streams: every random decision depends on the seed and on what it is about.

A generator is made anew for each decision from (seed, stream, keys...), so that no image depends
on which images were drawn before it, in what order, or by which process.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a random generator decides. Values are part of the data set: never renumber."""

    IDENTITY = 1
    TOP = 2
    BOTTOM = 3
    ACCESSORIES = 4
    WARDROBE_CHOICE = 5
    CAMERA = 6
    CAMERA_CHOICE = 7
    PICTURE = 8
    QUERY_CHOICE = 9
    SCENE_NOISE = 10
    SURFACE_NOISE = 11
    SURROUNDINGS = 12
    FACE = 13


def generator(seed: int, stream: Stream, *keys: int) -> np.random.Generator:
    """Return the generator of one decision; ``keys`` are non-negative integers."""
    return np.random.default_rng([seed, int(stream), *keys])


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``; any shape."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def wave_noise(points: np.ndarray, rng: np.random.Generator, octaves: int = 3) -> np.ndarray:
    """Return smooth noise of roughly [-1, 1] at ``points`` (n, d), a sum of random plane waves.

    It has the precision of ``points``: float32 is several times faster.
    """
    value = np.zeros(len(points), points.dtype)
    amplitude, frequency = 1.0, 2.2
    for _ in range(octaves):
        for _ in range(3):
            direction = np.asarray(rng.normal(0.0, 1.0, points.shape[1]) * frequency, points.dtype)
            value += amplitude * np.sin(points @ direction + rng.uniform(0.0, 2.0 * np.pi))
        amplitude *= 0.55
        frequency *= 2.1
    return value / 4.0
