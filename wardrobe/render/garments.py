"""Dressing: from a naked body, an identity and an outfit to surfaces that can be posed and drawn.

Three kinds of cloth:

* close-fitting cloth is the body mesh itself, smoothed and pushed outwards;
* sleeves and trouser legs are open tubes around the limbs, made in the rest pose and skinned;
* shirts, coats and skirts hang freely ("drapes"): they are built around the posed body.

Cloth has its own coordinates, a height in metres (up the trunk or down a limb) and an angle around
trunk or limb, on which patterns are drawn, so that stripes stay even whatever the body's shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from wardrobe.render.body import ARM_BONES, LEG_BONES, SIDES, BodyFields, BodyModel, BodyShape
from wardrobe.render.mesh import grid_faces, hull_radii, rounded_box, skin, vertex_normals
from wardrobe.render.people import Identity
from wardrobe.render.streams import Stream, generator, smoothstep, wave_noise
from wardrobe.render.wardrobe import SKIRTS, Bottom, Outfit, Top

TRUNK_RADIUS, ARM_RADIUS = 0.16, 0.05
"""Metres of cloth per radian around trunk and arm, the same for all people."""
DRAPE_TOP = 0.64
"""``torso_height`` below which tops hang freely; just under the armpits."""
ARM_SEAM = 0.15
"""``arm_along`` at which a sleeve's own pattern coordinates begin."""
LEG_TUBE = (0.30, 0.70)
"""``leg_along`` where a trouser leg leaves the thigh, and from where it hangs by itself."""
SMOOTHING = {"tee": 10, "long": 9, "shirt": 12, "jacket": 16, "hoodie": 18, "coat": 20, "tank": 6}
"""Rounds of smoothing that turn skin into cloth of that kind."""
HAIR_LIFT = {
    "bald": 0.0, "buzz": 0.003, "short": 0.014, "medium": 0.028, "bun": 0.010, "pony": 0.010,
    "long": 0.020, "shoulder": 0.024, "afro": 0.070,
}  # fmt: skip
"""How far hair stands off the scalp, in metres."""


class Material(IntEnum):
    """What a surface is made of, deciding how ``materials`` colours it."""

    BODY = 0
    TOP = 1
    BOTTOM = 2
    HAIR = 3
    BAG = 4
    CAP = 5
    SHOE = 6


class Column(IntEnum):
    """Columns of a surface's vertex attributes; all but the last five are body fields."""

    X = 0
    Y = 1
    ABOVE_SOLE = 2
    """Metres above the sole, on the dressed rest body."""
    TORSO = 3
    ARM_ALONG = 4
    LEG_ALONG = 5
    ARM = 6
    LEG = 7
    FOOT = 8
    HAND = 9
    HEAD = 10
    NECK = 11
    HEAD_X = 12
    HEAD_Y = 13
    HEAD_Z = 14
    SCALP = 15
    EYE = 16
    ALONG = 17
    """Metres along the cloth: up from the hip joint, or down a limb."""
    SIDE = 18
    """With FRONT a vector around the trunk or limb: its angle from the front is blended this way
    because the angle itself jumps at the back."""
    FRONT = 19
    FOLD = 20
    """Smooth noise of about [-1, 1]: folds of cloth."""
    GRAIN = 21
    """Smooth noise of about [-1, 1]: unevenness of skin and strands of hair."""


@dataclass(frozen=True)
class Surface:
    """A triangle mesh in the rest pose with its skinning."""

    material: Material
    vertices: np.ndarray
    """(n, 3) float32."""
    faces: np.ndarray
    """(f, 3) int32."""
    bones: np.ndarray
    """(n, k) int32."""
    weights: np.ndarray
    """(n, k) float32."""
    attributes: np.ndarray
    """(n, len(Column)) float32."""


@dataclass(frozen=True)
class PosedSurface:
    """A triangle mesh in the world, feet on the floor."""

    material: Material
    vertices: np.ndarray
    faces: np.ndarray
    attributes: np.ndarray


@dataclass(frozen=True)
class PosedPerson:
    """Everything of one person in one moment."""

    surfaces: list[PosedSurface]
    joints: np.ndarray
    """(17, 3) COCO joints, inside the body."""


@dataclass(frozen=True)
class DressedPerson:
    """One person in one outfit, ready to be posed many times."""

    identity: Identity
    outfit: Outfit
    shape: BodyShape
    surfaces: list[Surface]
    """The body mesh first."""


def _attributes(count: int, **columns: np.ndarray | float) -> np.ndarray:
    """Return zeros (count, len(Column)) with the named columns filled in."""
    values = np.zeros((count, len(Column)), np.float32)
    for name, column in columns.items():
        values[:, Column[name]] = column
    return values


class LimbFrame:
    """Coordinates around one limb: how far along it, and where in the cross-section.

    ``chain`` (3, 3) holds the limb's joints; along = 0, 1, 2 at these.
    """

    def __init__(self, chain: np.ndarray) -> None:
        self._chain = chain
        steps = np.diff(chain, axis=0)
        self._directions = steps / np.linalg.norm(steps, axis=1, keepdims=True)
        self.segment_length = float(np.linalg.norm(steps, axis=1).mean())

    def centre(self, along: np.ndarray) -> np.ndarray:
        """Return points (n, 3) on the limb's axis, extrapolated beyond its ends."""
        first = np.clip(along, None, 1.0)[:, None]
        second = np.clip(along - 1.0, 0.0, None)[:, None]
        steps = np.diff(self._chain, axis=0)
        return self._chain[0] + first * steps[0] + second * steps[1]

    def cross_axes(self, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return two unit vectors (n, 3) across the limb: to the front, and sideways."""
        bend = smoothstep(along, 0.75, 1.25)[:, None]
        direction = self._directions[0] * (1.0 - bend) + self._directions[1] * bend
        front = np.array([0.0, -1.0, 0.0]) - direction * -direction[:, 1:2]
        front /= np.linalg.norm(front, axis=1, keepdims=True)
        side = np.cross(direction, front)
        return front, side / np.linalg.norm(side, axis=1, keepdims=True)

    def flatten(self, points: np.ndarray, along: np.ndarray) -> np.ndarray:
        """Return (n, 3) coordinates front, side, along of surface points of the limb."""
        offset = points - self.centre(along)
        front, side = self.cross_axes(along)
        return np.stack([(offset * front).sum(1), (offset * side).sum(1), along], 1)

    def place(self, angles: np.ndarray, radii: np.ndarray, along: np.ndarray) -> np.ndarray:
        """Return points (rings, angles, 3) of a tube with ``radii`` (rings, angles)."""
        front, side = self.cross_axes(along)
        spokes = np.cos(angles)[:, None] * front[:, None] + np.sin(angles)[:, None] * side[:, None]
        return self.centre(along)[:, None] + radii[..., None] * spokes


def hang(radii: np.ndarray, keep: float) -> np.ndarray:
    """Let cloth fall: each ring (row) is at least ``keep`` times as wide as the one above it."""
    fallen = radii.copy()
    for i in range(1, len(fallen)):
        fallen[i] = np.maximum(fallen[i], keep * fallen[i - 1])
    return fallen


class Dresser:
    """Dresses and poses people; holds what depends on the body model alone."""

    def __init__(self, body: BodyModel, seed: int) -> None:
        self.body = body
        self.seed = seed
        self._limb_weights = {
            (limb, side): self._average_weights(limb, side) for limb in "AL" for side in SIDES
        }
        self._strap = {side: self._strap_vertices(side) for side in SIDES}
        fields = body.fields
        self._hanging_points = (fields.arm < 0.3) & (fields.head + fields.neck < 0.1)
        self._hanging_points &= (fields.foot < 0.5) & (fields.torso_height < 0.8)

    # -- what depends on the body model alone --------------------------------------------------

    def _limb_vertices(self, limb: str, side: str) -> np.ndarray:
        """Return (V,) bool: the arm "A" or leg "L" of one side, without hand or foot."""
        fields = self.body.fields
        share, end = (fields.arm, fields.hand) if limb == "A" else (fields.leg, fields.foot)
        left = fields.position[:, 0] > 0
        return (share > 0.5) & (end < 0.5) & (left if side == "L" else ~left)

    def _limb_along(self, limb: str) -> np.ndarray:
        fields = self.body.fields
        return fields.arm_along if limb == "A" else fields.leg_along

    def _average_weights(self, limb: str, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Return levels (n,) along a limb and the mean skinning weights (n, B) at each."""
        body = self.body
        along = self._limb_along(limb)
        chosen = self._limb_vertices(limb, side)
        levels = np.linspace(0.0, 2.0, 33)
        table = np.zeros((len(levels), len(body.bone)))
        for row, level in zip(table, levels, strict=True):
            near = np.flatnonzero(chosen & (np.abs(along - level) < 0.07))
            np.add.at(row, body.bones_of_vertex[near], body.weights_of_vertex[near])
        return levels, table / table.sum(1, keepdims=True)

    def _strap_vertices(self, side: str) -> np.ndarray:
        """Return (n,) the trunk vertices over which a rucksack's strap runs, from top to bottom."""
        guide = np.array(
            [
                [0.075, 0.20, 0.52], [0.085, 0.12, 0.60], [0.095, -0.03, 0.68], [0.10, -0.16, 0.58],
                [0.105, -0.22, 0.46], [0.12, -0.20, 0.36], [0.17, -0.10, 0.28], [0.19, 0.03, 0.24],
                [0.14, 0.14, 0.22], [0.10, 0.20, 0.22],
            ]
        )  # fmt: skip
        guide[:, 0] *= 1.0 if side == "L" else -1.0
        knots = np.linspace(0.0, 1.0, len(guide))
        dense = np.linspace(0.0, 1.0, 48)
        path = np.stack([np.interp(dense, knots, axis) for axis in guide.T], 1)
        fields = self.body.fields
        candidates = np.flatnonzero(
            (fields.arm < 0.4) & (fields.head + fields.neck < 0.3) & (fields.torso_height > 0.1)
        )
        gaps = np.linalg.norm(fields.position[candidates][None] - path[:, None], axis=2)
        return candidates[gaps.argmin(1)]

    # -- dressing ------------------------------------------------------------------------------

    def dress(self, identity: Identity, outfit: Outfit, shape: BodyShape) -> DressedPerson:
        """Put ``outfit`` on ``identity``, whose body is ``shape``."""
        vertices = self._clothed_vertices(identity, outfit, shape)
        surfaces = [self._body_surface(identity, vertices, shape)]
        surfaces += self._sleeves(outfit.top, shape, vertices)
        surfaces += self._trouser_legs(outfit.bottom, shape, vertices)
        surfaces += [self._shoe(side, shape) for side in SIDES]
        surfaces += self._hair(identity, shape)
        if outfit.top.kind == "hoodie":
            surfaces.append(self._hood(shape, outfit.top))
        if outfit.accessories.cap is not None:
            surfaces.append(self._cap_brim(shape))
        if outfit.accessories.bag is not None:
            surfaces += self._rucksack(shape, vertices, outfit.top)
        return DressedPerson(identity, outfit, shape, surfaces)

    def covered_by_top(self, top: Top) -> np.ndarray:
        """Return (V,) bool: vertices that the top covers closely."""
        fields = self.body.fields
        above_hem = fields.torso_height > top.hem
        trunk = (fields.trunk | (fields.leg > 0.5)) & above_hem
        sleeve = (fields.arm > 0.5) & (fields.arm_along < top.sleeve) & (fields.hand < 0.5)
        return trunk | sleeve

    def covered_by_bottom(self, bottom: Bottom) -> np.ndarray:
        """Return (V,) bool: vertices that trousers cover; none for skirts."""
        fields = self.body.fields
        part = (fields.trunk | (fields.leg > 0.5)) & (fields.foot <= 0.5)
        return part & (fields.torso_height < bottom.waist) & (fields.leg_along < bottom.leg)

    def _clothed_vertices(self, identity: Identity, outfit: Outfit, shape: BodyShape) -> np.ndarray:
        """Return (V, 3) rest vertices, smoothed and pushed out where cloth, hair or shoes are."""
        body, fields = self.body, self.body.fields
        top = self.covered_by_top(outfit.top)
        bottom = self.covered_by_bottom(outfit.bottom)
        arm, foot = fields.arm > 0.5, fields.foot > 0.5
        rounds = SMOOTHING[outfit.top.kind]
        vertices = body.smooth(shape.vertices, foot, 40)
        vertices = body.smooth(vertices, top & ~arm, 2 * rounds)
        vertices = body.smooth(vertices, top & arm, rounds // 2)
        # Cloth spans what skin shows: the spots where the mesh is fine are its small details.
        detail = top & ~arm & (fields.torso_height < 0.86) & (fields.edge_length < 0.010)
        vertices = body.smooth(vertices, detail, 100)
        if bottom.any():
            crotch = bottom & (fields.torso_height > -0.4)
            vertices = body.smooth(vertices, crotch, 14)
            if outfit.bottom.ease > 0.006:
                vertices = body.smooth(vertices, bottom, 8)
        lift = self._cloth_lift(outfit, top, bottom) + self._hair_lift(identity, outfit)
        normals = vertex_normals(vertices, body.faces)
        return (vertices + normals * lift[:, None]).astype(np.float32)

    def _cloth_lift(self, outfit: Outfit, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
        """Return (V,) metres by which cloth and shoes stand off the skin, without steps."""
        fields = self.body.fields
        # Loose trouser legs are tubes: there the body below stays slim and never shows through.
        loose = 0.85 * outfit.bottom.ease * smoothstep(fields.leg_along, *LEG_TUBE)
        lift = np.where(bottom, outfit.bottom.ease - loose * outfit.bottom.has_loose_legs, 0.0)
        # Sleeves begin close to the shoulder, or they would look padded.
        of_top = outfit.top.looseness * np.where(
            fields.arm > 0.5, 0.4 + 0.45 * smoothstep(fields.arm_along, 0.2, 1.2), 0.8
        )
        if outfit.top.tucked:
            lift = np.where(top & ~bottom, of_top, lift)
        else:
            lift = np.where(top, np.maximum(of_top, lift + 0.004), lift)
        lift[fields.foot > 0.5] = 0.002
        for _ in range(2):
            lift = 0.5 * lift + 0.5 * (self.body.smoothing @ lift)
        return lift.astype(np.float32)

    def _hair_lift(self, identity: Identity, outfit: Outfit) -> np.ndarray:
        """Return (V,) metres by which hair or a cap stands off the head."""
        fields = self.body.fields
        local = fields.head_local
        grown = smoothstep(fields.scalp, -0.02, 0.25) * (fields.head > 0.3)
        grown = grown * (0.6 + 0.4 * smoothstep(local[:, 2], 0.2, 0.9))
        lift = HAIR_LIFT[identity.hair_style] * identity.hair_thickness * grown
        if outfit.accessories.cap is not None:
            return np.where(fields.scalp > 0.28, 0.022, np.minimum(lift, 0.022)).astype(np.float32)
        if identity.hair_style in ("short", "medium", "long", "shoulder", "afro"):
            # Three products of sines make tufts that differ from person to person.
            phase = identity.number * np.array([1.0, 2.0, 0.0])
            tufts = np.sin(local * np.array([23.0, 19.0, 21.0]) + phase).prod(1)
            lift = lift * (1.0 + 0.22 * tufts)
        return lift.astype(np.float32)

    def _body_surface(self, identity: Identity, vertices: np.ndarray, shape: BodyShape) -> Surface:
        body, fields = self.body, self.body.fields
        columns = [
            fields.position[:, :2], vertices[:, 2] - vertices[:, 2].min(), fields.torso_height,
            fields.arm_along, fields.leg_along, fields.arm, fields.leg, fields.foot, fields.hand,
            fields.head, fields.neck, fields.head_local, fields.scalp, fields.eye,
            *self._cloth_coordinates(vertices, shape), self._folds(vertices),
            self._grain(identity),
        ]  # fmt: skip
        attributes = np.concatenate([np.atleast_2d(c.T).T for c in columns], 1).astype(np.float32)
        return Surface(
            Material.BODY, vertices, body.faces, body.bones_of_vertex, body.weights_of_vertex,
            attributes,
        )  # fmt: skip

    def _cloth_coordinates(
        self, vertices: np.ndarray, shape: BodyShape
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ALONG, SIDE and FRONT (V,) of close-fitting cloth, measured on this very body."""
        fields = self.body.fields
        hip = shape.bone_heads[self.body.bone["upperleg01.L"]]
        along = vertices[:, 2] - hip[2]
        angle = self._trunk_angle(vertices[:, 0], hip[1] - vertices[:, 1])
        side, front = np.sin(angle), np.cos(angle)
        for name in SIDES:
            frame = LimbFrame(self.body.chain(shape, ARM_BONES, name))
            sleeve = np.flatnonzero(self._limb_vertices("A", name) & (fields.arm_along > ARM_SEAM))
            flat = frame.flatten(vertices[sleeve], fields.arm_along[sleeve])
            along[sleeve] = frame.segment_length * fields.arm_along[sleeve]
            side[sleeve], front[sleeve] = flat[:, 1], flat[:, 0]
        return along, side, front

    def _trunk_angle(self, x: np.ndarray, forward: np.ndarray) -> np.ndarray:
        """Return (V,) radians around the trunk: 0 in front, +-pi at the back.

        Towards the shoulders the trunk closes like a sack: there the angle follows ``x``, in front
        and at the back alike, so that stripes run on straight instead of meeting at the neck.
        """
        angle = np.arctan2(x, forward)
        width = np.abs(x) / TRUNK_RADIUS
        flat = np.sign(x) * np.where(forward > 0.0, width, np.pi - width)
        share = smoothstep(self.body.fields.torso_height, DRAPE_TOP, 0.92)
        return (1.0 - share) * angle + share * flat

    def _folds(self, points: np.ndarray) -> np.ndarray:
        rng = generator(self.seed, Stream.SURFACE_NOISE, 0)
        return wave_noise(points * np.array([14.0, 14.0, 7.0]), rng)

    def _grain(self, identity: Identity) -> np.ndarray:
        rng = generator(self.seed, Stream.SURFACE_NOISE, 1, identity.number)
        return wave_noise(self.body.fields.head_local * np.array([7.0, 7.0, 2.5]), rng)

    # -- tubes around limbs --------------------------------------------------------------------

    def _tube(
        self, limb: str, side: str, shape: BodyShape, vertices: np.ndarray,
        span: tuple[float, float], ease: float, keep: float,
    ) -> Surface:  # fmt: skip
        """Return an open tube around an arm "A" or leg "L", from ``span[0]`` to ``span[1]``.

        ``ease`` metres wider than the clothed limb, and falling with ``keep`` per limb segment.
        """
        frame = LimbFrame(self.body.chain(shape, ARM_BONES if limb == "A" else LEG_BONES, side))
        along = self._limb_along(limb)
        chosen = np.flatnonzero(self._limb_vertices(limb, side))
        levels = np.linspace(*span, max(6, int(np.ceil((span[1] - span[0]) / 0.1))))
        angles = np.linspace(-np.pi, np.pi, 24, endpoint=False)
        cloud = frame.flatten(vertices[chosen], along[chosen])
        radii = hull_radii(cloud, levels, 0.07, np.zeros((len(levels), 2)), angles)
        radii = hang(np.maximum(radii, 0.02), keep ** (levels[1] - levels[0]))
        # The upper edge starts under the body's own cloth, so that no gap shows.
        rise = smoothstep(levels, levels[0], levels[0] + LEG_TUBE[1] - LEG_TUBE[0])[:, None]
        points = frame.place(angles, radii - 0.006 + (ease + 0.006) * rise, levels)
        points = points.reshape(-1, 3)
        bones, weights = self._tube_weights(limb, side, levels, len(angles))
        length = np.repeat(frame.segment_length * levels, len(angles))
        attributes = _attributes(
            len(points), ALONG=length, SIDE=np.tile(np.sin(angles), len(levels)),
            FRONT=np.tile(np.cos(angles), len(levels)),
            FOLD=self._folds(points), ARM=float(limb == "A"), LEG=float(limb == "L"),
            ARM_ALONG=np.repeat(levels, len(angles)), TORSO=0.8,
        )  # fmt: skip
        material = Material.TOP if limb == "A" else Material.BOTTOM
        faces = grid_faces(len(levels), len(angles), closed=True)
        return Surface(material, points.astype(np.float32), faces, bones, weights, attributes)

    def _tube_weights(
        self, limb: str, side: str, levels: np.ndarray, columns: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return bones and weights (rings * columns, 6) that move a tube like the limb below it."""
        table_levels, table = self._limb_weights[limb, side]
        rows = np.stack([np.interp(levels, table_levels, bone) for bone in table.T], 1)
        bones = np.argsort(-rows, axis=1, kind="stable")[:, :6]
        weights = np.take_along_axis(rows, bones, 1)
        weights /= weights.sum(1, keepdims=True)
        return (
            np.repeat(bones, columns, 0).astype(np.int32),
            np.repeat(weights, columns, 0).astype(np.float32),
        )

    def _sleeves(self, top: Top, shape: BodyShape, vertices: np.ndarray) -> list[Surface]:
        if top.sleeve < 0.3:
            return []
        wide = top.kind in ("jacket", "hoodie", "coat")
        keep = 0.9 if top.kind == "tee" else 0.72 if wide else 0.6
        ease = 0.010 if wide else 0.006
        return [
            self._tube("A", side, shape, vertices, (0.18, top.sleeve), ease, keep) for side in SIDES
        ]

    def _trouser_legs(
        self, bottom: Bottom, shape: BodyShape, vertices: np.ndarray
    ) -> list[Surface]:
        if not bottom.has_loose_legs:
            return []
        span, ease = (LEG_TUBE[0], bottom.leg), 0.006 + 0.85 * bottom.ease
        return [self._tube("L", side, shape, vertices, span, ease, bottom.hang) for side in SIDES]

    def _shoe(self, side: str, shape: BodyShape) -> Surface:
        """Return a shoe: a shell around the hull of the foot's slices from heel to toe."""
        fields = self.body.fields
        left = fields.position[:, 0] > 0
        foot = (fields.foot > 0.5) & (left if side == "L" else ~left)
        x, y, z = shape.vertices[foot].T.astype(np.float64)
        levels = np.linspace(y.max() - 0.012, y.min() + 0.016, 14)
        near = [np.abs(y - level) < 0.014 for level in levels]
        middle = np.array([[(x[n].min() + x[n].max()) / 2.0, z.min() + 0.03] for n in near])
        angles = np.linspace(-np.pi, np.pi, 20, endpoint=False)
        radii = hull_radii(np.stack([x, z, y], 1), levels, 0.014, middle, angles) + 0.007
        # Round ends: the outermost rings shrink to a point in front of the toes, behind the heel.
        rows = np.r_[0, 0, 0:14, 13, 13]
        shrink = np.r_[0.0, 0.75, np.ones(14), 0.75, 0.0]
        reach = np.r_[0.020, 0.014, np.zeros(14), -0.017, -0.024]
        wide = radii[rows] * shrink[:, None]
        points = np.stack(
            [
                middle[rows, :1] + wide * np.cos(angles),
                np.broadcast_to((levels[rows] + reach)[:, None], wide.shape),
                np.maximum(middle[rows, 1:] + wide * np.sin(angles), z.min() - 0.006),
            ],
            -1,
        ).reshape(-1, 3)
        faces = grid_faces(len(rows), len(angles), closed=True)
        surface = self._rigid(Material.SHOE, (points.astype(np.float32), faces), f"foot.{side}")
        surface.attributes[:, Column.ABOVE_SOLE] = points[:, 2] - points[:, 2].min()
        return surface

    # -- head ----------------------------------------------------------------------------------

    def _rigid(
        self, material: Material, mesh: tuple[np.ndarray, np.ndarray], bone: str, fold: float = 0.0
    ) -> Surface:
        """Return a surface that follows one bone."""
        vertices, faces = mesh
        index = np.full((len(vertices), 1), self.body.bone[bone], np.int32)
        ones = np.ones((len(vertices), 1), np.float32)
        grain = np.sin(vertices[:, 0] * 160.0) * np.cos(vertices[:, 2] * 60.0)
        attributes = _attributes(len(vertices), FOLD=fold, GRAIN=grain)
        return Surface(material, vertices, faces, index, ones, attributes)

    @staticmethod
    def _head_frame(shape: BodyShape) -> tuple[np.ndarray, float]:
        """Return the middle of the ears (3,) and their distance: the unit of a head."""
        left, right = shape.keypoints[3], shape.keypoints[4]
        return (left + right) / 2.0, float(np.linalg.norm(left - right))

    def _cap_brim(self, shape: BodyShape) -> Surface:
        centre, unit = self._head_frame(shape)
        brim = rounded_box(
            centre + unit * np.array([0.0, -0.80, 0.42]), unit * np.array([0.40, 0.46, 0.035])
        )
        return self._rigid(Material.CAP, brim, "head")

    def _hood(self, shape: BodyShape, top: Top) -> Surface:
        """Return the hood of a hoodie, lying on the upper back."""
        neck = shape.bone_heads[self.body.bone["neck01"]]
        mesh = rounded_box(
            neck + np.array([0.0, 0.052 + top.looseness, -0.035]), np.array([0.115, 0.042, 0.065])
        )
        surface = self._rigid(Material.TOP, mesh, "spine01", fold=-0.5)
        surface.attributes[:, Column.ALONG] = 0.5
        return surface

    def _hair(self, identity: Identity, shape: BodyShape) -> list[Surface]:
        """Return what hangs or sits on the head beyond the lifted scalp."""
        centre, unit = self._head_frame(shape)
        if identity.hair_style == "bun":
            size = unit * np.array([0.30, 0.28, 0.28]) * identity.hair_thickness
            knot = rounded_box(centre + unit * np.array([0.0, 0.78, 0.35]), size)
            return [self._rigid(Material.HAIR, knot, "head")]
        if identity.hair_style == "pony":
            return [self._ponytail(identity, centre, unit)]
        if identity.hair_style in ("long", "shoulder"):
            return [self._hair_curtain(identity, shape, centre, unit)]
        return []

    def _hanging_hair(self, points: np.ndarray, follow: np.ndarray, closed: bool) -> Surface:
        """Return a hair grid (rows, columns, 3); row i follows the head by ``follow[i]``."""
        rows, columns, _ = points.shape
        head = np.repeat(follow, columns)
        bones = np.tile([self.body.bone["head"], self.body.bone["spine01"]], (rows * columns, 1))
        vertices = points.reshape(-1, 3).astype(np.float32)
        strands = np.tile(np.sin(np.arange(columns) * 2.4) + np.cos(np.arange(columns) * 5.1), rows)
        return Surface(
            Material.HAIR,
            vertices,
            grid_faces(rows, columns, closed),
            bones.astype(np.int32),
            np.stack([head, 1.0 - head], 1).astype(np.float32),
            _attributes(len(vertices), GRAIN=0.5 * strands),
        )

    def _ponytail(self, identity: Identity, centre: np.ndarray, unit: float) -> Surface:
        u = np.linspace(0.0, 1.0, 10)
        down = 0.28 - 1.7 * u * identity.hair_thickness
        axis = centre + unit * np.stack([0.0 * u, 0.66 + 0.35 * np.sin(2.2 * u), down], 1)
        radius = unit * (0.07 + 0.17 * np.sin(np.pi * np.clip(u + 0.12, 0.0, 1.0)))
        angle = np.linspace(0.0, 2.0 * np.pi, 10, endpoint=False)
        ring = np.stack([np.cos(angle), 0.8 * np.sin(angle), 0.0 * angle], 1)
        points = axis[:, None] + radius[:, None, None] * ring
        return self._hanging_hair(points, np.clip(1.0 - 0.7 * u, 0.0, 1.0), closed=True)

    def _hair_curtain(
        self, identity: Identity, shape: BodyShape, centre: np.ndarray, unit: float
    ) -> Surface:
        """Return long hair: an open shell around the back of the head, lying on the back."""
        length = (1.0 if identity.hair_style == "shoulder" else 2.0) * identity.hair_thickness
        u = np.linspace(0.0, 1.0, 14)
        height = centre[2] + unit * (0.35 - u * (length + 0.35))
        angle = np.radians(np.linspace(-118.0, 118.0, 31)) * (1.0 - 0.30 * u)[:, None]  # 0: back
        # Starts under the lifted scalp, so that no edge shows at the temples.
        width = 1.0 + 0.12 * np.sin(3.0 * u) - 0.14 * u - 0.22 * (1.0 - smoothstep(u, 0.0, 0.3))
        width = unit * width[:, None]
        strand = 1.0 + 0.02 * np.sin(np.arange(31) * 2.4)
        x = centre[0] + (0.62 + 0.02 * identity.hair_thickness) * width * strand * np.sin(angle)
        y = centre[1] + 0.80 * width * strand * np.cos(angle)
        fields = self.body.fields
        back = shape.vertices[(fields.head < 0.3) & (np.abs(shape.vertices[:, 0]) < 0.16)]
        for i, z in enumerate(height):
            near = back[np.abs(back[:, 2] - z) < 0.03]
            if len(near) > 3 and z < centre[2] - 0.6 * unit:
                lying = near[:, 1].max() + 0.018
                y[i] = np.maximum(y[i], lying * np.cos(0.6 * angle[i]) ** 0.5)
        ragged = 0.05 * unit * u[:, None] * np.sin(np.arange(31) * 1.9)
        points = np.stack([x, y, height[:, None] + ragged], -1)
        follow = np.clip(1.0 - 1.3 * np.maximum(u - 0.35, 0.0), 0.15, 1.0)
        return self._hanging_hair(points, follow, closed=False)

    # -- rucksack ------------------------------------------------------------------------------

    def _rucksack(self, shape: BodyShape, vertices: np.ndarray, top: Top) -> list[Surface]:
        """Return a bag with round edges on the back, its pocket, and two straps."""
        fields = self.body.fields
        back = (fields.arm < 0.3) & (fields.head + fields.neck < 0.2)
        back &= (np.abs(fields.torso_height - 0.65) < 0.25) & (np.abs(vertices[:, 0]) < 0.12)
        depth = float(vertices[back, 1].max())
        base = shape.bone_heads[self.body.bone["upperleg01.L"]][2]
        reach = shape.bone_heads[self.body.bone["neck01"]][2] - base
        middle = np.array([0.0, depth + 0.065, base + 0.60 * reach])
        half = np.array([0.145, 0.075, 0.40 * reach])
        pocket_centre = middle + np.array([0.0, 0.075, -0.14 * reach])
        pocket = rounded_box(pocket_centre, np.array([0.105, 0.035, 0.16 * reach]), 0.35)
        return [
            self._rigid(Material.BAG, rounded_box(middle, half, 0.35, 16, 28), "spine02"),
            self._rigid(Material.BAG, pocket, "spine02", fold=-1.0),
            *(self._strap_surface(side, vertices, top.looseness) for side in SIDES),
        ]

    def _strap_surface(self, side: str, vertices: np.ndarray, looseness: float) -> Surface:
        """Return a ribbon that lies on the clothed trunk and moves with it."""
        body = self.body
        path = self._strap[side]
        normals = vertex_normals(vertices, body.faces)[path]
        kernel = np.hanning(9) / np.hanning(9).sum()

        def even(values: np.ndarray) -> np.ndarray:
            padded = np.pad(values, ((4, 4), (0, 0)), mode="edge")
            return np.stack([np.convolve(c, kernel, "valid") for c in padded.T], 1)

        middle, normals = even(vertices[path]), even(normals)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        across = np.cross(np.gradient(middle, axis=0), normals)
        across *= 0.024 / np.linalg.norm(across, axis=1, keepdims=True)
        # Further down the shirt hangs away from the skin, and the strap lies on the shirt.
        lift = np.linspace(0.010, 0.020 + 1.2 * looseness, len(path))[:, None]
        offsets = ((-1.0, 0.0), (-0.6, 1.0), (0.6, 1.0), (1.0, 0.0))
        rows = [middle + w * across + (lift + 0.006 * h) * normals for w, h in offsets]
        points = np.stack(rows, 1).reshape(-1, 3).astype(np.float32)
        columns = len(offsets)
        return Surface(
            Material.BAG,
            points,
            grid_faces(len(path), columns, closed=False),
            np.repeat(body.bones_of_vertex[path], columns, 0),
            np.repeat(body.weights_of_vertex[path], columns, 0),
            _attributes(len(points), FOLD=-2.0),
        )

    # -- posing --------------------------------------------------------------------------------

    def pose(self, person: DressedPerson, rotations: Mapping[str, np.ndarray]) -> PosedPerson:
        """Return the person in the pose given by bone rotations (3, 3), feet on the floor z = 0."""
        transforms = self.body.bone_transforms(person.shape, rotations)
        posed = [
            PosedSurface(
                s.material, skin(s.vertices, s.bones, s.weights, transforms), s.faces, s.attributes
            )
            for s in person.surfaces
        ]
        joints = self.body.posed_keypoints(person.shape, transforms)
        posed += self._drapes(person, posed, joints)
        floor = np.array([0.0, 0.0, min(s.vertices[:, 2].min() for s in posed)])
        moved = [
            PosedSurface(s.material, (s.vertices - floor).astype(np.float32), s.faces, s.attributes)
            for s in posed
        ]
        return PosedPerson(moved, joints - floor)

    def _drapes(
        self, person: DressedPerson, posed: list[PosedSurface], joints: np.ndarray
    ) -> list[PosedSurface]:
        """Return the skirt, then the shirt or coat that hangs over it."""
        outfit = person.outfit
        cloud = [posed[0].vertices[self._hanging_points]]
        cloud += [s.vertices for s in posed if s.material == Material.BOTTOM]
        body = posed[0]
        torso = TorsoLine(self.body.fields, body.vertices, body.attributes[:, Column.ALONG])
        drapes = []
        if outfit.bottom.kind in SKIRTS:
            length = outfit.bottom.skirt_length
            knee, ankle = joints[13:15, 2].mean(), joints[15:17, 2].mean()
            hip = joints[11:13, 2].mean()
            hem = np.interp(length, [0.0, 1.0, 2.0], [hip, knee, ankle])
            shape = DrapeShape(outfit.bottom.waist, float(hem), 0.006, 0.65, outfit.bottom.flare)
            drapes.append(self._drape(Material.BOTTOM, shape, torso, cloud))
            cloud.append(drapes[0].vertices)
        of_top = self._top_drape(outfit, torso, joints)
        drapes.append(self._drape(Material.TOP, of_top, torso, cloud))
        return drapes

    @staticmethod
    def _top_drape(outfit: Outfit, torso: TorsoLine, joints: np.ndarray) -> DrapeShape:
        top = outfit.top
        if top.kind == "coat":
            hem = joints[11:13, 2].mean() * 0.28 + joints[13:15, 2].mean() * 0.72
            return DrapeShape(DRAPE_TOP, float(hem), 0.010, 0.8, 0.02)
        if top.tucked:
            return DrapeShape(DRAPE_TOP, torso.height(outfit.bottom.waist - 0.01), 0.004, 0.05, 0.0)
        keep = 0.45 if top.kind in ("tee", "long", "tank") else 0.7
        ease = 0.4 * top.looseness + 0.003
        return DrapeShape(DRAPE_TOP, torso.height(top.hem), ease, keep, 0.0)

    def _drape(
        self, material: Material, shape: DrapeShape, torso: TorsoLine, cloud: list[np.ndarray]
    ) -> PosedSurface:
        """Return cloth that hangs around the hull of ``cloud``, open at the bottom."""
        top = torso.height(shape.start)
        rings = max(8, int(np.ceil((top - shape.hem) / 0.025)))
        levels = np.linspace(top, shape.hem, rings)
        angles = np.linspace(-np.pi, np.pi, 48, endpoint=False) - np.pi / 2.0  # 0 is -y: front
        centres = torso.centre(levels)
        radii = hull_radii(np.concatenate(cloud), levels, 0.025, centres, angles)
        step = float(levels[0] - levels[1])
        radii = hang(np.maximum(radii, 0.03), shape.keep**step)
        u = np.linspace(0.0, 1.0, rings)[:, None]
        rise = smoothstep(levels[0] - levels, 0.0, 0.10)[:, None]
        radii = radii - 0.006 + (shape.ease + 0.006) * rise + shape.flare * u
        if material == Material.BOTTOM:
            radii = radii * (1.0 + 0.035 * u * np.sin(9.0 * angles + 1.0))
        x = centres[:, :1] + radii * np.cos(angles)
        y = centres[:, 1:] + radii * np.sin(angles)
        vertices = np.stack([x, y, np.broadcast_to(levels[:, None], x.shape)], -1).reshape(-1, 3)
        around = np.tile(angles + np.pi / 2.0, rings)
        along = torso.cloth_along(np.repeat(levels, len(angles)), around)
        unrolled = np.stack([0.15 * np.sin(around), -0.12 * np.cos(around), along], 1)
        attributes = _attributes(
            len(vertices), ALONG=along, SIDE=np.sin(around), FRONT=np.cos(around),
            FOLD=self._folds(unrolled), TORSO=np.repeat(torso.torso_height(levels), len(angles)),
        )  # fmt: skip
        faces = grid_faces(rings, len(angles), closed=True)
        return PosedSurface(material, vertices.astype(np.float32), faces, attributes)


@dataclass(frozen=True)
class DrapeShape:
    """How a piece of cloth hangs from the trunk."""

    start: float
    """``torso_height`` of its upper edge."""
    hem: float
    """z of its lower edge, metres."""
    ease: float
    """Distance from what is below it, metres."""
    keep: float
    """Share of its width that it keeps per metre downwards."""
    flare: float
    """How much wider it is at the hem, metres of radius."""


def _waves(angles: np.ndarray) -> np.ndarray:
    """Return (n, 3): 1, cosine and sine of angles (n,)."""
    return np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], 1)


class TorsoLine:
    """Where a posed trunk is at each height: links z in the world with ``torso_height``."""

    def __init__(self, fields: BodyFields, posed: np.ndarray, cloth_along: np.ndarray) -> None:
        """``posed`` (V, 3) is the posed body, ``cloth_along`` (V,) its ALONG."""
        trunk = (fields.arm < 0.3) & (fields.leg < 0.7)
        self._upper, self._lower = 0.64, 0.10
        upper = posed[trunk & (np.abs(fields.torso_height - self._upper) < 0.03)]
        lower = posed[trunk & (np.abs(fields.torso_height - self._lower) < 0.03)]
        self._ends = np.stack(
            [(p.max(0) + p.min(0)) / 2.0 for p in (upper, lower)]
        )  # (2, 3) middle of the trunk at the two heights
        self._ends[:, 2] = upper[:, 2].mean(), lower[:, 2].mean()
        lower_along, upper_along = (
            cloth_along[trunk & (np.abs(fields.torso_height - level) < 0.03)]
            for level in (self._lower, self._upper)
        )
        self._rest = float(lower_along.mean()), float(upper_along.mean())
        # A bent back tilts the belt: how much higher than on the rest body is each side of it?
        offset = upper - self._ends[0]
        angles = np.arctan2(offset[:, 0], -offset[:, 1])
        residual = upper_along - self._along(upper[:, 2])
        self._tilt = np.linalg.lstsq(_waves(angles), residual, rcond=None)[0]

    def height(self, torso_height: float) -> float:
        """Return the world z of a ``torso_height``."""
        share = (self._upper - torso_height) / (self._upper - self._lower)
        return float(self._ends[0, 2] + share * (self._ends[1, 2] - self._ends[0, 2]))

    def _share(self, levels: np.ndarray) -> np.ndarray:
        """Return (n,) 0 at the upper height and 1 at the lower one, linear in z."""
        return (self._ends[0, 2] - levels) / (self._ends[0, 2] - self._ends[1, 2])

    def torso_height(self, levels: np.ndarray) -> np.ndarray:
        """Return the ``torso_height`` (n,) of world heights."""
        return self._upper - self._share(levels) * (self._upper - self._lower)

    def _along(self, levels: np.ndarray) -> np.ndarray:
        low, high = self._rest
        return high - self._share(levels) * (high - low)

    def cloth_along(self, levels: np.ndarray, around: np.ndarray) -> np.ndarray:
        """Return ALONG (n,) of hanging cloth at world heights and angles from the front (n,).

        At its upper edge it continues the body's own ALONG, so that patterns match there.
        """
        tilt = _waves(around) @ self._tilt
        return self._along(levels) + tilt * (1.0 - smoothstep(self._share(levels), 0.0, 1.0))

    def centre(self, levels: np.ndarray) -> np.ndarray:
        """Return (n, 2) the middle of the trunk; below the waist it stays above the hips."""
        share = np.clip(self._share(levels), 0.0, 1.0)[:, None]
        return self._ends[0, :2] * (1.0 - share) + self._ends[1, :2] * share
