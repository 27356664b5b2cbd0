"""Things that stand about or in the way: lamp posts, benches, railings, parked cars.

Each is a triangle mesh with one sRGB colour per face, on the ground at the origin, its front to
-y. Seen at a few dozen pixels they need few triangles.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wardrobe.render.mesh import grid_faces, rounded_box, vertex_normals

_BOX_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
     [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]], np.int32,
)  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """A coloured mesh."""

    vertices: np.ndarray
    """(V, 3) metres."""
    faces: np.ndarray
    """(F, 3) int32."""
    normals: np.ndarray
    """(V, 3)."""
    colours: np.ndarray
    """(F, 3) sRGB."""

    def moved(self, offset: np.ndarray, yaw: float) -> Thing:
        """Return the thing turned by ``yaw`` radians about z, then shifted by ``offset`` (3,)."""
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return Thing(
            self.vertices @ turn.T + offset, self.faces, self.normals @ turn.T, self.colours
        )


def merge(parts: list[Thing]) -> Thing:
    """Return one thing made of ``parts`` (at least one)."""
    starts = np.cumsum([0] + [len(p.vertices) for p in parts])
    return Thing(
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.faces + s for p, s in zip(parts, starts[:-1], strict=True)]).astype(
            np.int32
        ),
        np.concatenate([p.normals for p in parts]),
        np.concatenate([p.colours for p in parts]),
    )


def _thing(vertices: np.ndarray, faces: np.ndarray, colour: np.ndarray) -> Thing:
    vertices = np.asarray(vertices, np.float64)
    normals = vertex_normals(vertices, faces).astype(np.float64)
    return Thing(vertices, faces, normals, np.tile(colour, (len(faces), 1)))


def box(low: tuple[float, float, float], high: tuple[float, float, float], colour: np.ndarray
        ) -> Thing:  # fmt: skip
    """Return an upright box with flat sides between two opposite corners."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    points = np.array(low) + corners * (np.array(high) - np.array(low))
    # Every face has corners of its own, so that its normal is not blended over the edges.
    own = points[_BOX_FACES].reshape(-1, 3)
    return _thing(own, np.arange(36, dtype=np.int32).reshape(-1, 3), colour)


def cylinder(radius: float, low: float, high: float, colour: np.ndarray, x: float = 0.0,
             top_radius: float | None = None) -> Thing:  # fmt: skip
    """Return an upright cylinder or cone frustum with a flat lid."""
    angle = np.linspace(0.0, 2.0 * np.pi, 14, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle), 0.0 * angle], 1)
    end = radius if top_radius is None else top_radius
    rows = [radius * ring + [x, 0, low], end * ring + [x, 0, high], 1e-3 * ring + [x, 0, high]]
    return _thing(np.concatenate(rows), grid_faces(3, len(angle), closed=True), colour)


def blob(centre: tuple[float, float, float], half: tuple[float, float, float], colour: np.ndarray,
         rng: np.random.Generator) -> Thing:  # fmt: skip
    """Return a lump of leaves whose faces differ in brightness."""
    vertices, faces = rounded_box(np.array(centre), np.array(half), 0.9, 9, 14)
    vertices = vertices + rng.normal(0.0, 0.07, vertices.shape) * np.array(half)
    lump = _thing(vertices, faces, colour)
    shade = rng.uniform(0.6, 1.4, (len(faces), 1))
    return Thing(lump.vertices, lump.faces, lump.normals, np.clip(lump.colours * shade, 0.01, 1.0))


def _paint(rng: np.random.Generator) -> np.ndarray:
    """Draw the colour of something painted."""
    hsv = rng.random(), rng.uniform(0.05, 0.55), rng.uniform(0.12, 0.75)
    return np.array(colorsys.hsv_to_rgb(*hsv))


def _metal(rng: np.random.Generator) -> np.ndarray:
    return np.full(3, rng.uniform(0.12, 0.55))


def _leaf(rng: np.random.Generator) -> np.ndarray:
    return np.array([0.20, 0.31, 0.11]) * rng.uniform(0.7, 1.4)


def _lamp(rng: np.random.Generator) -> Thing:
    metal, tall = _metal(rng), rng.uniform(3.2, 5.0)
    return merge(
        [cylinder(0.06, 0.0, tall, metal), cylinder(0.12, 0.0, 0.4, metal),
         box((-0.15, -0.6, tall), (0.15, 0.1, tall + 0.1), metal)]
    )  # fmt: skip


def _tree(rng: np.random.Generator) -> Thing:
    bark, leaf = np.array([0.22, 0.16, 0.11]), _leaf(rng)
    low = rng.uniform(1.9, 2.6)
    lumps = [
        blob((rng.uniform(-0.6, 0.6), rng.uniform(-0.5, 0.5), low + rng.uniform(0.5, 1.8)),
             (1.0, 0.9, 0.8), leaf, rng)
        for _ in range(4)
    ]  # fmt: skip
    return merge([cylinder(rng.uniform(0.1, 0.18), 0.0, low + 0.8, bark), *lumps])


def _bench(rng: np.random.Generator) -> Thing:
    wood, metal = np.array([0.48, 0.32, 0.19]) * rng.uniform(0.6, 1.4), _metal(rng)
    slats = [box((-0.8, -0.25 + 0.17 * i, 0.42), (0.8, -0.11 + 0.17 * i, 0.46), wood)
             for i in range(3)]  # fmt: skip
    back = [box((-0.8, 0.25, 0.56 + 0.16 * i), (0.8, 0.29, 0.68 + 0.16 * i), wood)
            for i in range(2)]  # fmt: skip
    legs = [box((x, -0.22, 0.0), (x + 0.06, 0.28, 0.42), metal) for x in (-0.7, 0.64)]
    posts = [box((x, 0.26, 0.42), (x + 0.06, 0.31, 0.86), metal) for x in (-0.7, 0.64)]
    return merge([*slats, *back, *legs, *posts])


def _bin(rng: np.random.Generator) -> Thing:
    return merge(
        [cylinder(0.22, 0.0, 0.85, _paint(rng), top_radius=0.26),
         cylinder(0.27, 0.85, 0.95, _metal(rng))]
    )  # fmt: skip


def _bollard(rng: np.random.Generator) -> Thing:
    post = _metal(rng)
    ring = np.array([0.85, 0.83, 0.78])
    return merge([cylinder(0.085, 0.0, 0.95, post), cylinder(0.09, 0.72, 0.82, ring)])


def _planter(rng: np.random.Generator) -> Thing:
    leaf, wide = _leaf(rng), rng.uniform(0.3, 0.5)
    lumps = [
        blob((rng.uniform(-0.5, 0.5) * wide, 0.0, 0.55 + rng.uniform(0.1, 0.55)),
             (0.7 * wide, 0.6 * wide, 0.3), leaf, rng)
        for _ in range(4)
    ]  # fmt: skip
    return merge([box((-wide, -wide, 0.0), (wide, wide, 0.5), _paint(rng)), *lumps])


def _car(rng: np.random.Generator) -> Thing:
    paint, dark = _paint(rng), np.full(3, 0.06)
    body, _ = rounded_box(np.zeros(3), np.ones(3), 0.3, 10, 20)
    faces = grid_faces(10, 20, closed=True)
    wheels = [
        Thing(w.vertices[:, [0, 2, 1]], w.faces, w.normals[:, [0, 2, 1]], w.colours).moved(
            np.array([0.0, 0.0, 0.32]), 0.0
        )
        for x in (-1.3, 1.3)
        for w in (cylinder(0.32, -0.88, 0.88, dark, x=x),)
    ]
    shell = _thing(body * [2.1, 0.85, 0.36] + [0.0, 0.0, 0.62], faces, paint)
    cabin = _thing(body * [1.15, 0.72, 0.34] + [0.1, 0.0, 1.12], faces, 0.4 * paint + 0.08)
    return merge([shell, cabin, *wheels])


def _sign(rng: np.random.Generator) -> Thing:
    face = _paint(rng)
    return merge(
        [cylinder(0.03, 0.0, 2.2, _metal(rng)), box((-0.3, -0.06, 1.5), (0.3, -0.03, 2.1), face),
         box((-0.22, -0.065, 1.75), (0.22, -0.06, 1.85), 0.3 * face + 0.6)]
    )  # fmt: skip


def _column(rng: np.random.Generator) -> Thing:
    stone = np.full(3, rng.uniform(0.35, 0.8)) * (1.0 + rng.normal(0.0, 0.03, 3))
    wide = rng.uniform(0.16, 0.3)
    return merge([cylinder(wide, 0.0, 5.0, stone), cylinder(1.2 * wide, 0.0, 0.25, 0.8 * stone)])


def _cabinet(rng: np.random.Generator) -> Thing:
    front, wide, tall = _paint(rng), rng.uniform(0.35, 0.6), rng.uniform(1.0, 1.95)
    return merge(
        [box((-wide, -0.3, 0.0), (wide, 0.3, tall), front),
         box((-0.8 * wide, -0.31, 0.3 * tall), (0.8 * wide, -0.30, 0.9 * tall), 0.45 * front)]
    )  # fmt: skip


def _railing(rng: np.random.Generator) -> Thing:
    metal = _paint(rng) if rng.random() < 0.3 else _metal(rng)
    top = rng.uniform(0.85, 1.05)
    bars = [box((-1.5, -0.015, z), (1.5, 0.015, z + 0.03), metal) for z in (0.15, 0.5 * top)]
    rail = box((-1.5, -0.03, top - 0.05), (1.5, 0.03, top), metal)
    posts = [box((x, -0.02, 0.0), (x + 0.04, 0.02, top), metal) for x in np.arange(-1.5, 1.5, 0.5)]
    return merge([*bars, rail, *posts])


_BUILDERS: dict[str, Callable[[np.random.Generator], Thing]] = {
    "lamp": _lamp, "tree": _tree, "bench": _bench, "bin": _bin, "bollard": _bollard,
    "planter": _planter, "car": _car, "sign": _sign, "column": _column, "cabinet": _cabinet,
    "railing": _railing,
}  # fmt: skip


def build(kind: str, rng: np.random.Generator) -> Thing:
    """Return a thing of a kind ("lamp", "tree", "bench", ...) with drawn colours and sizes."""
    return _BUILDERS[kind](rng)
