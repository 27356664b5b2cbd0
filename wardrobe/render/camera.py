"""Cameras: where they hang, what light and colours they see, and how they project.

The world has x to the right of the picture, y away from the camera, z up; the person stands at the
origin. A camera looks along +y from (0, -distance, height).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from wardrobe.render.scene import Scene, sample_scene
from wardrobe.render.streams import Stream, generator
from wardrobe.render.surroundings import KEY_AND_AMBIENT, Spot, Surroundings, sample_surroundings

Range = tuple[float, float]
EXTERNAL_FIRST = 11
"""Number of the first external camera; target cameras count from 1."""


@dataclass(frozen=True)
class Camera:
    """One fixed camera: its place, light, colours and noise."""

    number: int
    height: Range
    """Metres above the floor."""
    distance: Range
    """Metres from the person."""
    image_height: tuple[int, int]
    """Native height of a person's image in pixels, both ends included."""
    light: np.ndarray
    """(3,) unit vector towards the light."""
    key: float
    """Strength of that light."""
    ambient: float
    key_tint: np.ndarray
    ambient_tint: np.ndarray
    cast: np.ndarray
    """(3,) white balance."""
    exposure: float
    gamma: float
    saturation: float
    noise: float
    """Standard deviation of the sensor noise, of full scale 1."""
    blur: float
    """Mean standard deviation of the lens blur, native pixels."""
    yaw: float
    """Direction people mostly face, degrees; 0 is towards the camera."""
    scene: Scene
    surroundings: Surroundings | None = None
    """A place with depth and weather instead of ``scene``; then native heights are spread evenly
    over their logarithms."""

    def draw_height(self, rng: np.random.Generator) -> int:
        """Draw the native height of a person's image in pixels."""
        low, high = self.image_height
        if self.surroundings is None:
            return int(rng.integers(low, high + 1))
        return int(round(math.exp(rng.uniform(math.log(low), math.log(high)))))


@dataclass(frozen=True)
class View:
    """A pinhole camera in one moment."""

    eye: np.ndarray
    """(3,) position."""
    axes: np.ndarray
    """(3, 3) rows: right, up, forward."""

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return (n, 3): x right, y down (both at distance 1) and 1/distance of world points."""
        seen = (points - self.eye) @ self.axes.T
        return np.stack([seen[:, 0] / seen[:, 2], -seen[:, 1] / seen[:, 2], 1.0 / seen[:, 2]], 1)

    def rays(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return world directions (n, 3) through image points (n,), at distance 1."""
        return np.stack([x, -y, np.ones_like(x)], 1) @ self.axes


@dataclass(frozen=True)
class Crop:
    """A detector's box on the image plane, and its size in pixels."""

    left: float
    top: float
    scale: float
    """Pixels per unit of the image plane."""
    width: int
    height: int

    def to_pixels(self, projected: np.ndarray, oversampling: int = 1) -> np.ndarray:
        """Return (n, 3) pixel x, pixel y and the unchanged 1/distance."""
        pixels = projected.copy()
        pixels[:, 0] = (projected[:, 0] - self.left) * self.scale * oversampling
        pixels[:, 1] = (projected[:, 1] - self.top) * self.scale * oversampling
        return pixels


def look_at(eye: np.ndarray, target: np.ndarray) -> View:
    """Return the view from ``eye`` to ``target`` (3,), which must lie at larger y."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return View(eye, np.stack([right, np.cross(right, forward), forward]))


def person_crop(projected: np.ndarray, height: int, rng: np.random.Generator) -> Crop:
    """Return a loose box of ``height`` pixels around projected points (n, 3), as a detector would.

    Its width follows the person: between .40 and .62 of its height.
    """
    low, high = projected[:, :2].min(0), projected[:, :2].max(0)
    tall = high[1] - low[1]
    top = low[1] - rng.uniform(0.01, 0.06) * tall
    box = high[1] + rng.uniform(0.01, 0.06) * tall - top
    wide = float(np.clip(1.06 * (high[0] - low[0]), 0.40 * box, 0.62 * box))
    centre = (low[0] + high[0]) / 2.0 + rng.normal(0.0, 0.02) * box
    scale = height / box
    width = max(int(round(scale * wide)), 8)
    return Crop(float(centre - width / scale / 2.0), float(top), float(scale), width, height)


def _tint(rng: np.random.Generator, tilt: list[float], low: float, high: float) -> np.ndarray:
    """Draw how warm or cool a light is: (3,) around 1."""
    return np.clip(1.0 + np.array(tilt) * rng.uniform(low, high), 0.6, 1.4)


def _sample_camera(seed: int, number: int) -> Camera:
    """Draw light, colours and scene; place and noise are set by the callers below."""
    rng = generator(seed, Stream.CAMERA, number)
    azimuth, elevation = np.radians(rng.uniform(-70, 70)), np.radians(rng.uniform(35, 65))
    light = [
        math.sin(azimuth) * math.cos(elevation),
        -math.cos(azimuth) * math.cos(elevation),
        math.sin(elevation),
    ]
    return Camera(
        number=number,
        height=(1.4, 2.6),
        distance=(4.0, 8.0),
        image_height=(150, 210),
        light=np.array(light),
        key=rng.uniform(0.75, 1.15),
        ambient=rng.uniform(0.3, 0.6),
        key_tint=_tint(rng, [1.0, 0.15, -1.0], -0.13, 0.20),
        ambient_tint=_tint(rng, [-1.0, 0.0, 1.0], -0.06, 0.12),
        cast=1.0 + rng.normal(0.0, 0.045, 3),
        exposure=rng.uniform(0.8, 1.2),
        gamma=rng.uniform(1.9, 2.5),
        saturation=rng.uniform(0.7, 1.05),
        noise=0.007,
        blur=0.33,
        yaw=0.0,
        scene=sample_scene(seed, number, rng),
    )


TARGET_PLACES = (
    ((1.5, 1.8), (4.0, 6.0), 0.006, 0.30, -20.0),
    ((2.0, 2.5), (4.5, 7.0), 0.008, 0.35, 25.0),
    ((2.3, 2.8), (5.0, 8.0), 0.010, 0.40, 10.0),
    ((1.7, 2.2), (6.0, 9.0), 0.010, 0.45, -10.0),
)
"""Height, distance, noise, blur and yaw of target cameras 1..4, again for 5..8 and so on."""


def target_camera(
    seed: int, number: int, image_height: tuple[int, int], deep: bool = False
) -> Camera:
    """Return target camera 1, 2, ...: 1 is the nearest and sharpest, 4 the farthest.

    With ``deep`` it looks at surroundings with depth and weather.
    """
    height, distance, noise, blur, yaw = TARGET_PLACES[(number - 1) % len(TARGET_PLACES)]
    return replace(
        _sample_camera(seed, number), height=height, distance=distance, noise=noise, blur=blur,
        yaw=yaw, image_height=image_height,
        surroundings=sample_surroundings(seed, number) if deep else None,
    )  # fmt: skip


def external_camera(
    seed: int, number: int, image_height: tuple[int, int], deep: bool = False
) -> Camera:
    """Return an external camera, numbered after the target ones; all are near and sharp.

    With ``deep`` each hangs elsewhere and looks at surroundings with depth and weather.
    """
    camera = replace(_sample_camera(seed, number), image_height=image_height)
    if not deep:
        return camera
    rng = generator(seed, Stream.SURROUNDINGS, number, 1)
    height, distance = rng.uniform(1.3, 2.7), rng.uniform(3.6, 7.0)
    return replace(
        camera, height=(height, height + 0.3), distance=(distance, distance + 2.0),
        yaw=rng.uniform(-40.0, 40.0), blur=rng.uniform(0.25, 0.4),
        surroundings=sample_surroundings(seed, number),
    )  # fmt: skip


def in_weather(camera: Camera, spot: Spot, rng: np.random.Generator) -> Camera:
    """Return the camera with the light of a spot: sun or lamps wander, clouds soften."""
    key, ambient = KEY_AND_AMBIENT[spot.weather]
    turn = rng.uniform(-0.6, 0.6)
    x, y, z = camera.light
    light = np.array(
        [x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn), z]
    )
    if spot.weather == "indoor":
        light = light + np.array([0.0, 0.0, 0.7])  # lamps hang overhead
    grey = 0.7 if spot.weather == "overcast" else 0.0
    return replace(
        camera,
        light=light / np.linalg.norm(light),
        key=camera.key * key * rng.uniform(0.9, 1.1),
        ambient=camera.ambient * ambient * rng.uniform(0.9, 1.1),
        key_tint=camera.key_tint * (1.0 - grey) + grey,
    )
