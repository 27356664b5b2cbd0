"""A z-buffer: which triangle covers each pixel, and where inside that triangle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wardrobe.render.extras import require

numba = require("numba")


@dataclass(frozen=True)
class Raster:
    """What the nearest surface is at every pixel of an image of H × W pixels."""

    face: np.ndarray
    """(H, W) int32 index of the visible triangle, -1 where there is none."""
    weights: np.ndarray
    """(H, W, 3) float32 perspective-correct barycentric weights of its corners."""
    nearness: np.ndarray
    """(H, W) float64 third coordinate of the visible point (1/distance), 0 where there is none."""


@numba.njit(cache=True)
def _fill(points, faces, face, weights, nearness, perspective):  # type: ignore[no-untyped-def]
    height, width = face.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x0, y0, z0 = points[a, 0], points[a, 1], points[a, 2]
        x1, y1, z1 = points[b, 0], points[b, 1], points[b, 2]
        x2, y2, z2 = points[c, 0], points[c, 1], points[c, 2]
        if z0 <= 0 or z1 <= 0 or z2 <= 0:
            continue
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if abs(area) < 1e-9:
            continue
        left = max(int(math.ceil(min(x0, x1, x2) - 0.5)), 0)
        right = min(int(math.floor(max(x0, x1, x2) - 0.5)), width - 1)
        top = max(int(math.ceil(min(y0, y1, y2) - 0.5)), 0)
        bottom = min(int(math.floor(max(y0, y1, y2) - 0.5)), height - 1)
        for y in range(top, bottom + 1):
            dy = y + 0.5 - y0
            for x in range(left, right + 1):
                dx = x + 0.5 - x0
                w1 = (dx * (y2 - y0) - (x2 - x0) * dy) / area
                w2 = ((x1 - x0) * dy - dx * (y1 - y0)) / area
                w0 = 1.0 - w1 - w2
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                z = w0 * z0 + w1 * z1 + w2 * z2
                if z > nearness[y, x]:
                    nearness[y, x] = z
                    face[y, x] = f
                    if perspective:
                        weights[y, x, 0] = w0 * z0 / z
                        weights[y, x, 1] = w1 * z1 / z
                        weights[y, x, 2] = w2 * z2 / z


def rasterise(
    points: np.ndarray, faces: np.ndarray, width: int, height: int, *, depth_only: bool = False
) -> Raster:
    """Draw triangles into a z-buffer; triangles are seen from both sides.

    ``points`` (V, 3) hold pixel x, pixel y (pixel centres at .5) and a positive nearness that is
    larger for nearer points; for a perspective view that is 1/distance, which is linear on screen.
    Triangles with a corner behind the camera (nearness <= 0) are left out. ``faces`` is (F, 3).
    With ``depth_only`` the weights stay empty (1 × 1), as for a shadow map.
    """
    face = np.full((height, width), -1, np.int32)
    shape = (1, 1, 3) if depth_only else (height, width, 3)
    weights = np.zeros(shape, np.float32)
    nearness = np.zeros((height, width), np.float64)
    points = np.ascontiguousarray(points, np.float64)
    _fill(points, np.ascontiguousarray(faces, np.int32), face, weights, nearness, not depth_only)
    return Raster(face, weights, nearness)


@numba.njit(cache=True)
def _interpolate(values, corners, weights, out):  # type: ignore[no-untyped-def]
    for i in range(corners.shape[0]):
        a, b, c = corners[i, 0], corners[i, 1], corners[i, 2]
        w0, w1, w2 = weights[i, 0], weights[i, 1], weights[i, 2]
        for k in range(values.shape[1]):
            out[i, k] = w0 * values[a, k] + w1 * values[b, k] + w2 * values[c, k]


def interpolate(values: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Blend per-vertex ``values`` (V, K) at n surface points by corners and weights (n, 3)."""
    out = np.empty((len(corners), values.shape[1]), np.float32)
    _interpolate(np.ascontiguousarray(values, np.float32), corners, weights, out)
    return out
