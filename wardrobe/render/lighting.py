"""Light: one distant lamp with soft shadows, and ambient light from above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardrobe.render.camera import Camera
from wardrobe.render.raster import rasterise

SHADOW_SIZE = 192
SHADOW_SPAN = 2.6
"""Metres covered by the shadow map, around the middle of the person."""
WIDE_SIZE, WIDE_SPAN = 448, 8.0
"""The same for pictures with things and passers-by."""


@dataclass(frozen=True)
class ShadowMap:
    """How near the lamp the first surface is, seen from the lamp."""

    axes: np.ndarray
    """(3, 3) rows: right, up, towards the lamp."""
    nearness: np.ndarray
    """(size, size), metres plus 5; 0 where nothing is hit."""
    span: float = SHADOW_SPAN
    size: int = SHADOW_SIZE

    def _lamp_view(self, points: np.ndarray) -> np.ndarray:
        seen = (points - np.array([0.0, 0.0, 0.9])) @ self.axes.T
        seen[:, :2] = (seen[:, :2] / self.span + 0.5) * self.size
        seen[:, 2] += 5.0
        return seen

    def light_share(self, points: np.ndarray, bias: float) -> np.ndarray:
        """Return (n,) in [0, 1], 1 where the lamp is not blocked by more than ``bias`` metres."""
        seen = self._lamp_view(points)
        blocked = np.zeros(len(points))
        for dx in (-0.7, 0.7):
            column = np.clip(np.rint(seen[:, 0] - 0.5 + dx), 0, self.size - 1).astype(int)
            for dy in (-0.7, 0.7):
                row = np.clip(np.rint(seen[:, 1] - 0.5 + dy), 0, self.size - 1).astype(int)
                blocked += self.nearness[row, column] > seen[:, 2] + bias
        return 1.0 - blocked / 4.0


def shadow_map(
    vertices: np.ndarray, faces: np.ndarray, light: np.ndarray, wide: bool = False
) -> ShadowMap:
    """Return what the lamp in direction ``light`` (3,) sees of a mesh.

    ``wide`` covers several metres of a staged picture, and takes what lies beyond as lit.
    """
    right = np.cross(light, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, light), light])
    span, size = (WIDE_SPAN, WIDE_SIZE) if wide else (SHADOW_SPAN, SHADOW_SIZE)
    empty = ShadowMap(axes, np.zeros((1, 1)), span, size)
    seen = empty._lamp_view(vertices)
    lamp = rasterise(seen, faces, size, size, depth_only=True).nearness
    if wide:  # points beyond the map look up its border
        lamp[:2] = lamp[-2:] = lamp[:, :2] = lamp[:, -2:] = 0.0
    return ShadowMap(axes, lamp, span, size)


def shade_surface(
    camera: Camera,
    shadows: ShadowMap,
    albedo: np.ndarray,
    gloss: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray,
    eye: np.ndarray,
) -> np.ndarray:
    """Return linear light (n, 3) from surface points (n, 3) with sRGB ``albedo`` (n, 3).

    ``gloss`` (n,) is the strength of highlights; ``normals`` (n, 3) are turned to the eye.
    """
    view = eye - points
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    normals = np.where(((normals * view).sum(1) < 0.0)[:, None], -normals, normals)
    lit = shadows.light_share(points + 0.012 * normals, 0.02)
    # Wrapped a little around the terminator, as skin and cloth scatter light.
    diffuse = np.clip((normals @ camera.light + 0.12) / 1.12, 0.0, 1.0) * lit
    sky = (0.55 + 0.45 * normals[:, 2]) * (1.0 - 0.35 * np.clip(-normals[:, 2], 0.0, 1.0))
    half = (view + camera.light) / 1.8
    highlight = gloss * np.clip((normals * half).sum(1), 0.0, 1.0) ** 18 * lit
    direct = camera.key * diffuse[:, None] * camera.key_tint
    around = camera.ambient * sky[:, None] * camera.ambient_tint
    return albedo**2.2 * (direct + around) + camera.key * highlight[:, None]


def shade_background(
    camera: Camera, shadows: ShadowMap, albedo: np.ndarray, points: np.ndarray, floor: np.ndarray
) -> np.ndarray:
    """Return linear light (n, 3) from floor and wall points (n, 3); ``floor`` (n,) bool."""
    lit = np.ones(len(points))
    near = floor & (np.abs(points[:, :2]) < 1.6).all(1)
    lit[near] = shadows.light_share(points[near], 0.01)
    facing = np.where(floor, camera.light[2], max(-float(camera.light[1]), 0.0))
    contact = 1.0 - 0.45 * floor * np.exp(-((points[:, 0] / 0.35) ** 2) - (points[:, 1] / 0.3) ** 2)
    sky = np.where(floor, 1.0, 0.55) * contact
    return shade_plain(camera, albedo, facing * lit, sky)


def shade_plain(
    camera: Camera, albedo: np.ndarray, facing: np.ndarray, sky: np.ndarray
) -> np.ndarray:
    """Return linear light (n, 3) from dull surfaces with sRGB ``albedo`` (n, 3).

    ``facing`` (n,) is the share of the lamp's light that arrives, ``sky`` (n,) of the ambient one.
    """
    direct = camera.key * facing[:, None] * camera.key_tint
    return albedo**2.2 * (direct + camera.ambient * sky[:, None] * camera.ambient_tint)
