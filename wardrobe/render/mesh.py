"""Small mesh tools: skinning, normals, hulls of slices, and a few primitive shapes."""

from __future__ import annotations

import numpy as np

from wardrobe.render.extras import require

numba = require("numba")


@numba.njit(cache=True)
def _skin(vertices, bones, weights, transforms, out):  # type: ignore[no-untyped-def]
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        for axis in range(3):
            total = 0.0
            for k in range(bones.shape[1]):
                w = weights[i, k]
                if w != 0.0:
                    t = transforms[bones[i, k], axis]
                    total += w * (t[0] * x + t[1] * y + t[2] * z + t[3])
            out[i, axis] = total


def skin(
    vertices: np.ndarray, bones: np.ndarray, weights: np.ndarray, transforms: np.ndarray
) -> np.ndarray:
    """Move ``vertices`` (n, 3) by ``transforms`` (B, 3, 4), with bone ids and weights (n, K)."""
    out = np.empty((len(vertices), 3), np.float32)
    _skin(vertices, bones, weights, transforms, out)
    return out


@numba.njit(cache=True)
def _normals(vertices, faces, out):  # type: ignore[no-untyped-def]
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, vx = vertices[b, 0] - vertices[a, 0], vertices[c, 0] - vertices[a, 0]
        uy, vy = vertices[b, 1] - vertices[a, 1], vertices[c, 1] - vertices[a, 1]
        uz, vz = vertices[b, 2] - vertices[a, 2], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in range(3):
            i = faces[f, corner]
            out[i, 0] += nx
            out[i, 1] += ny
            out[i, 2] += nz
    for i in range(out.shape[0]):
        length = (out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2) ** 0.5
        if length > 1e-12:
            for k in range(3):
                out[i, k] /= length


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return area-weighted unit normals (V, 3) float32 of a triangle mesh."""
    out = np.zeros((len(vertices), 3), np.float64)
    _normals(np.ascontiguousarray(vertices, np.float64), faces, out)
    return out.astype(np.float32)


@numba.njit(cache=True)
def _hull_radii(points, levels, band, centres, cosines, sines, out):  # type: ignore[no-untyped-def]
    rings, angles = out.shape
    support = np.full((rings, angles), -1.0)
    step = levels[1] - levels[0]
    for p in range(points.shape[0]):
        z = points[p, 2]
        first = (z - band - levels[0]) / step
        last = (z + band - levels[0]) / step
        if first > last:
            first, last = last, first
        for i in range(max(int(np.ceil(first)), 0), min(int(np.floor(last)), rings - 1) + 1):
            x, y = points[p, 0] - centres[i, 0], points[p, 1] - centres[i, 1]
            for j in range(angles):
                reach = x * cosines[j] + y * sines[j]
                if reach > support[i, j]:
                    support[i, j] = reach
    for i in range(rings):
        for j in range(angles):
            radius = support[i, j]
            for k in range(angles):
                facing = cosines[j] * cosines[k] + sines[j] * sines[k]
                if facing > 0.2:
                    radius = min(radius, support[i, k] / facing)
            out[i, j] = radius


def hull_radii(
    points: np.ndarray, levels: np.ndarray, band: float, centres: np.ndarray, angles: np.ndarray
) -> np.ndarray:
    """Return polar radii (n, m) of the convex hull of each horizontal slice of a point cloud.

    ``points`` (P, 3); ``levels`` (n,) equally spaced slice heights (up or down); a slice holds the
    points within ``band`` of its level; ``centres`` (n, 2) lie inside the slices; ``angles`` (m,)
    radians from +x towards +y. Empty slices give -1.
    """
    out = np.empty((len(levels), len(angles)))
    _hull_radii(
        np.ascontiguousarray(points, np.float64), levels, band, centres, np.cos(angles),
        np.sin(angles), out,
    )  # fmt: skip
    return out


def grid_faces(rows: int, columns: int, closed: bool) -> np.ndarray:
    """Return triangles (F, 3) int32 of a rows × columns vertex grid, row by row.

    With ``closed`` the last column joins the first, as in a tube.
    """
    i, j = np.meshgrid(
        np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij"
    )
    a = (i * columns + j).ravel()
    b = (i * columns + (j + 1) % columns).ravel()
    triangles = np.stack([a, b, a + columns, b, b + columns, a + columns], 1)
    return triangles.reshape(-1, 3).astype(np.int32)


def rounded_box(
    centre: np.ndarray, half_size: np.ndarray, power: float = 1.0, rows: int = 12, columns: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices (n, 3) and faces of an ellipsoid, or of a box with round edges.

    ``power`` 1 is an ellipsoid; smaller values flatten the sides (0.3: a rucksack).
    """
    theta = np.linspace(0.02, np.pi - 0.02, rows)[:, None]
    phi = np.linspace(0.0, 2.0 * np.pi, columns, endpoint=False)[None]

    def flatten(x: np.ndarray) -> np.ndarray:
        return np.sign(x) * np.abs(x) ** power

    sphere = np.stack(
        [
            flatten(np.sin(theta)) * flatten(np.cos(phi)),
            flatten(np.sin(theta)) * flatten(np.sin(phi)),
            flatten(np.cos(theta)) * np.ones_like(phi),
        ],
        -1,
    )
    vertices = sphere.reshape(-1, 3) * half_size + centre
    return vertices.astype(np.float32), grid_faces(rows, columns, closed=True)
