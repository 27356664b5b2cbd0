"""Draws surroundings behind a person: where each ray goes, and how bright it is there."""

from __future__ import annotations

import numpy as np

from wardrobe.render.camera import Camera, Crop, View
from wardrobe.render.lighting import ShadowMap, shade_plain
from wardrobe.render.surroundings import (
    HAZE_DISTANCE,
    Spot,
    Surroundings,
    far_albedo,
    ground_albedo,
    sky_light,
)

GROUND, FAR, SIDE, ABOVE = range(4)
"""What a ray hits first: the ground, what is far behind, a side wall, sky or ceiling."""


def _hits(place: Surroundings, spot: Spot, view: View, rays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return which surface (n,) each ray hits first, and how far along the ray (n,)."""
    eye = view.eye
    rise = rays[:, 2]
    ground = np.where(rise < -1e-6, eye[2] / np.maximum(-rise, 1e-6), np.inf)
    far = (place.far + spot.y - eye[1]) / np.maximum(rays[:, 1], 1e-6)
    up = (place.height - eye[2]) / np.maximum(rise, 1e-6)
    ceiling = np.where(rise > 1e-6, up, np.inf)
    side = np.full(len(rays), np.inf)
    if np.isfinite(spot.side):
        to_side = spot.side * rays[:, 0] > 1e-6
        side[to_side] = (spot.side - eye[0]) / rays[to_side, 0]
    if place.outdoor:  # nothing overhead: the sky begins above what stands far behind
        height = np.full(len(rays), place.height)
        if place.far_kind == "trees":
            x = eye[0] + far * rays[:, 0] + spot.x
            height = 0.5 * place.height + 0.7 * np.sin(0.9 * x) + 0.4 * np.sin(2.3 * x + 1.0)
        ceiling = np.full(len(rays), np.inf)
        open_sky = eye[2] + far * rise > height
        distance = np.stack([ground, np.where(open_sky, np.inf, far), side, ceiling])
        hit = np.where(open_sky & ~np.isfinite(ground), ABOVE, distance.argmin(0))
        # Over low trees the ground still ends at the horizon, not at the trees' foot.
        return hit, np.minimum(distance.min(0), 1e3)
    distance = np.stack([ground, far, side, ceiling])
    return distance.argmin(0), distance.min(0)


def _albedo(
    place: Surroundings, hit: np.ndarray, points: np.ndarray, footprint: np.ndarray
) -> np.ndarray:
    """Return sRGB (n, 3) of points (n, 3) in scene coordinates."""
    albedo = np.empty_like(points)
    on = hit == GROUND
    albedo[on] = ground_albedo(place, points[on][:, :2], footprint[on])
    on = hit == FAR
    albedo[on] = far_albedo(place, points[on][:, [0, 2]])
    on = hit == SIDE
    albedo[on] = far_albedo(place, points[on][:, [1, 2]])
    on = hit == ABOVE
    panel = (points[on, 0] % 2.4 < 0.6) & (points[on, 1] % 1.8 < 1.2)
    albedo[on] = np.where(panel[:, None], 1.0, 0.7 * (0.4 + 0.6 * place.wall))
    return albedo


def _contact(points: np.ndarray, feet: list[np.ndarray]) -> np.ndarray:
    """Return (n,) how much ambient light reaches ground points beside what stands there.

    ``feet`` (4,) each: middle x and y, half widths, metres.
    """
    share = np.ones(len(points))
    for x, y, wide, deep in feet:
        far = ((points[:, 0] - x) / (wide + 0.12)) ** 2 + ((points[:, 1] - y) / (deep + 0.12)) ** 2
        share *= 1.0 - 0.45 * np.exp(-far)
    return share


def draw_backdrop(
    camera: Camera, spot: Spot, view: View, crop: Crop, shadows: ShadowMap, feet: list[np.ndarray]
) -> np.ndarray:
    """Return linear light (H, W, 3) of the camera's surroundings.

    ``feet`` tells what stands on the ground, see ``_contact``. ``camera`` must have surroundings.
    """
    place = camera.surroundings
    assert place is not None
    x = (np.arange(crop.width) + 0.5) / crop.scale + crop.left
    y = (np.arange(crop.height) + 0.5) / crop.scale + crop.top
    rays = view.rays(*(g.ravel() for g in np.meshgrid(x, y)))
    hit, distance = _hits(place, spot, view, rays)
    points = view.eye + rays * distance[:, None]
    on_ground = hit == GROUND
    footprint = distance**2 / (view.eye[2] * crop.scale)
    albedo = _albedo(place, hit, points + np.array([spot.x, -spot.y, 0.0]), footprint)
    lit = np.ones(len(points))
    near = on_ground & (np.abs(points[:, :2]) < 4.5).all(1)
    lit[near] = shadows.light_share(points[near], 0.01)
    walls = np.array(
        [camera.light[2], max(-float(camera.light[1]), 0.0), abs(float(camera.light[0])), 0.0]
    )
    sky = np.array([1.0, 0.6, 0.6, 0.8])[hit]
    sky[on_ground] *= _contact(points[on_ground], feet)
    # Indoors the light falls off towards the wall; outdoors the air pales what is far.
    light = shade_plain(camera, albedo, walls[hit] * lit, sky)
    if place.outdoor:
        haze = 1.0 - np.exp(-np.clip(distance, 0.0, 300.0) / HAZE_DISTANCE)[:, None]
        pale = sky_light(spot, np.zeros(1)) * (camera.ambient / 0.8)
        light = light * (1.0 - haze) + pale * haze
        above = hit == ABOVE
        slope = rays[above, 2] / np.linalg.norm(rays[above], axis=1)
        light[above] = sky_light(spot, slope)
    return light.reshape(crop.height, crop.width, 3)
