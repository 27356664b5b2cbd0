"""One picture: a posed person in front of a background, its label mask and its joints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wardrobe.render.backdrop import draw_backdrop
from wardrobe.render.body import JOINTS, BodyFields, BodyModel
from wardrobe.render.camera import Camera, Crop, View, in_weather, look_at, person_crop
from wardrobe.render.detail import refine, wrinkled
from wardrobe.render.extras import require
from wardrobe.render.gait import pose_angles, rotation
from wardrobe.render.garments import DressedPerson, Dresser, PosedPerson
from wardrobe.render.lighting import ShadowMap, shade_background, shade_surface, shadow_map
from wardrobe.render.materials import Label, Wearer, albedo_and_labels
from wardrobe.render.mesh import vertex_normals
from wardrobe.render.raster import Raster, interpolate, rasterise
from wardrobe.render.scene import floor_albedo, wall_albedo
from wardrobe.render.staging import MOST_HIDDEN, Stage, Staging, WalkOn, set_stage
from wardrobe.render.surroundings import Spot, sample_spot
from wardrobe.render.things import Thing, merge

OVERSAMPLING = 2
"""Samples per pixel in each direction."""
STANDING_CHANCE = 0.15
FACING_CHANCES = {0.0: 0.55, 90.0: 0.15, 180.0: 0.15, 270.0: 0.15}
"""Degrees that people are turned from the camera's usual direction."""
JOINT_DEPTH = np.array(
    [0.05, 0.05, 0.05, 0.06, 0.06, 0.13, 0.13, 0.10, 0.10, 0.08, 0.08, 0.19, 0.19, 0.15, 0.15,
     0.16, 0.16]
)  # fmt: skip
"""(17,) metres of flesh and cloth that may lie before a joint that still counts as visible."""
GLOSS = {Label.HAIR: 0.05, Label.SKIN: 0.03, Label.FACE: 0.03}


@dataclass(frozen=True)
class Picture:
    """One rendered image with its ground truth."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    labels: np.ndarray
    """(H, W) uint8, see ``materials.Label``."""
    joints: np.ndarray
    """(17, 3) COCO joints: x, y in native pixels (pixel centres at .5), 1 visible or 0 not."""
    hidden: float = 0.0
    """Share of the person's pixels that something in front of them covers."""
    passers_by: float = 0.0
    """Share of the picture's pixels that show somebody else."""


@dataclass(frozen=True)
class Mesh:
    """All surfaces of a posed person in one mesh, turned to their direction."""

    vertices: np.ndarray
    """(V, 3)."""
    faces: np.ndarray
    """(F, 3) int32."""
    normals: np.ndarray
    """(V, 3)."""
    attributes: np.ndarray
    """(V, len(Column))."""
    materials: np.ndarray
    """(F,) uint8."""


def join(person: PosedPerson, turn: np.ndarray) -> Mesh:
    """Return one mesh of all surfaces, rotated by ``turn`` (3, 3)."""
    surfaces = person.surfaces
    starts = np.cumsum([0] + [len(s.vertices) for s in surfaces])
    vertices = np.concatenate([s.vertices for s in surfaces]).astype(np.float64) @ turn.T
    faces = np.concatenate(
        [s.faces + start for s, start in zip(surfaces, starts[:-1], strict=True)]
    )
    faces = faces.astype(np.int32)
    materials = np.concatenate([np.full(len(s.faces), s.material, np.uint8) for s in surfaces])
    attributes = np.concatenate([s.attributes for s in surfaces])
    return Mesh(vertices, faces, vertex_normals(vertices, faces), attributes, materials)


def visible_joints(
    joints: np.ndarray, raster: Raster, oversampling: int, tolerance: np.ndarray
) -> np.ndarray:
    """Return (n,) 1 where a joint is inside the image and nothing but its own flesh covers it.

    ``joints`` (n, 3) are native pixel x, y and 1/distance; ``tolerance`` (n,) metres.
    """
    height, width = raster.nearness.shape
    column = np.floor(joints[:, 0] * oversampling).astype(int)
    row = np.floor(joints[:, 1] * oversampling).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    nearness = raster.nearness[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    surface = np.where(nearness > 0.0, 1.0 / np.maximum(nearness, 1e-9), np.inf)
    return (inside & (surface > 1.0 / joints[:, 2] - tolerance)).astype(np.int64)


def majority_labels(fine: np.ndarray, factor: int) -> np.ndarray:
    """Return (H, W) uint8: the commonest label in each factor × factor block of (H·f, W·f)."""
    height, width = fine.shape[0] // factor, fine.shape[1] // factor
    split = fine.reshape(height, factor, width, factor).transpose(0, 2, 1, 3)
    blocks = split.reshape(height, width, factor * factor)
    votes = (blocks[..., None, :] == blocks[..., :, None]).sum(-1)
    # Ties go to the larger label, so that a thin limb wins over the background.
    best = (votes * 16 + blocks).argmax(-1)
    return np.take_along_axis(blocks, best[..., None], -1)[..., 0]


def _average_blocks(values: np.ndarray, factor: int) -> np.ndarray:
    height, width = values.shape[0] // factor, values.shape[1] // factor
    return values.reshape(height, factor, width, factor, -1).mean((1, 3))


@dataclass(frozen=True)
class Visible:
    """The visible points of one mesh, and where in the raster they are."""

    rows: np.ndarray
    columns: np.ndarray
    face: np.ndarray
    """(n,) index of the triangle within the mesh."""
    corners: np.ndarray
    weights: np.ndarray


def _visible(raster: Raster, faces: np.ndarray, first: int) -> Visible:
    """Return where the triangles ``faces`` (F, 3), drawn as number ``first`` and on, are seen."""
    found = (raster.face >= first) & (raster.face < first + len(faces))
    rows, columns = np.nonzero(found)
    face = raster.face[rows, columns] - first
    return Visible(rows, columns, face, faces[face], raster.weights[rows, columns])


@dataclass(frozen=True)
class Lighting:
    """What shading needs to know."""

    camera: Camera
    view: View
    shadows: ShadowMap


def _unit_normals(normals: np.ndarray, seen: Visible) -> np.ndarray:
    blended = interpolate(normals, seen.corners, seen.weights)
    blended /= np.maximum(np.linalg.norm(blended, axis=1, keepdims=True), 1e-9)
    return blended


def _draw_person(
    mesh: Mesh, seen: Visible, lighting: Lighting, wearer: Wearer,
    wrinkles: np.random.Generator | None, canvas: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Draw linear light with coverage onto ``canvas`` (h, w, 4); return labels (h, w).

    ``wrinkles`` draws the folds of this moment; None leaves cloth and faces plain.
    """
    camera = lighting.camera
    normals = _unit_normals(mesh.normals, seen)
    points = interpolate(mesh.vertices, seen.corners, seen.weights)
    attributes = interpolate(mesh.attributes, seen.corners, seen.weights)
    materials = mesh.materials[seen.face]
    albedo, labels = albedo_and_labels(wearer, materials, attributes)
    if wrinkles is not None:
        refine(wearer, materials, attributes, albedo, labels)
        normals = wrinkled(wearer, labels, materials, attributes, normals, wrinkles)
    gloss = np.array([GLOSS.get(label, 0.012) for label in Label])[labels]
    light = shade_surface(
        camera, lighting.shadows, albedo, gloss, points, normals, lighting.view.eye
    )
    canvas[seen.rows, seen.columns, :3] = light
    canvas[seen.rows, seen.columns, 3] = 1.0
    label_map = np.zeros(canvas.shape[:2], np.uint8)
    label_map[seen.rows, seen.columns] = labels
    return label_map


def _draw_things(thing: Thing, seen: Visible, lighting: Lighting, canvas: np.ndarray) -> None:
    """Draw a thing onto ``canvas`` (h, w, 4)."""
    points = interpolate(thing.vertices, seen.corners, seen.weights)
    light = shade_surface(
        lighting.camera, lighting.shadows, thing.colours[seen.face], np.full(len(points), 0.02),
        points, _unit_normals(thing.normals, seen), lighting.view.eye,
    )  # fmt: skip
    canvas[seen.rows, seen.columns, :3] = light
    canvas[seen.rows, seen.columns, 3] = 1.0


def _draw_background(
    camera: Camera, view: View, crop: Crop, shadows: ShadowMap, place: np.ndarray
) -> np.ndarray:
    """Return linear light (H, W, 3); ``place`` (2,) is where in the scene the person stands."""
    x = (np.arange(crop.width) + 0.5) / crop.scale + crop.left
    y = (np.arange(crop.height) + 0.5) / crop.scale + crop.top
    grid_x, grid_y = (g.ravel() for g in np.meshgrid(x, y))
    rays = view.rays(grid_x, grid_y)
    to_floor = np.where(rays[:, 2] < -1e-6, view.eye[2] / np.maximum(-rays[:, 2], 1e-6), np.inf)
    to_wall = (camera.scene.wall_distance + place[1] - view.eye[1]) / rays[:, 1]
    floor = to_floor < to_wall
    points = view.eye + rays * np.minimum(to_floor, to_wall)[:, None]
    in_scene = points + np.array([place[0], -place[1], 0.0])
    albedo = np.empty_like(points)
    albedo[floor] = floor_albedo(camera.scene, in_scene[floor][:, :2])
    albedo[~floor] = wall_albedo(camera.scene, in_scene[~floor][:, [0, 2]])
    light = shade_background(camera, shadows, albedo, points, floor)
    return light.reshape(crop.height, crop.width, 3)


def _develop(camera: Camera, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the uint8 image that the camera makes of linear light (H, W, 3)."""
    image = light * camera.exposure * rng.uniform(0.85, 1.15) * camera.cast
    grey = image.mean(-1, keepdims=True)
    image = np.clip(grey + (image - grey) * camera.saturation, 0.0, None)
    image = np.clip(image / (1.0 + 0.25 * image), 0.0, 1.0) ** (1.0 / camera.gamma)
    sigma = camera.blur * rng.uniform(0.5, 1.2)
    image = require("scipy.ndimage").gaussian_filter(image, (sigma, sigma, 0.0))
    image = image + rng.normal(0.0, camera.noise, image.shape)
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def sample_pose(
    person: DressedPerson, body: BodyModel, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return bone rotations (3, 3) of a random moment of walking, or of standing."""
    standing = bool(rng.random() < STANDING_CHANCE)
    yaw = float(np.clip(rng.normal(0.0, 10.0), -25.0, 25.0))
    angles = pose_angles(rng.random(), person.identity.gait, standing, yaw)
    return {bone: rotation(a) for bone, a in angles.items()} | body.fingers


@dataclass(frozen=True)
class Company:
    """Who and what else may be in the pictures of a data set."""

    staging: Staging
    dressed: Callable[[int], DressedPerson]
    """Returns one of the crowd."""
    dresser: Dresser


def _turn(dresser: Dresser, person: DressedPerson, rng: np.random.Generator) -> PosedPerson:
    return dresser.pose(person, sample_pose(person, dresser.body, rng))


def take_picture(
    dresser: Dresser,
    person: DressedPerson,
    camera: Camera,
    rng: np.random.Generator,
    company: Company | None = None,
) -> Picture:
    """Photograph a dressed person in a random pose, direction and place of the camera's scene.

    With ``company`` the camera must have surroundings, and others may be in the picture.
    """
    posed = _turn(dresser, person, rng)
    facing = rng.choice(list(FACING_CHANCES), p=list(FACING_CHANCES.values()))
    yaw = camera.yaw + facing + rng.normal(0.0, 20.0)
    return photograph(posed, person, camera, float(yaw), dresser.body.fields, rng, company)


@dataclass(frozen=True)
class Cast:
    """The meshes of one picture in the order in which they are rasterised."""

    people: list[tuple[Mesh, Wearer]]
    """The person of the picture first."""
    thing: Thing | None
    """All things in one."""

    def vertices(self) -> np.ndarray:
        """Return the vertices (V, 3) of all meshes."""
        things = [] if self.thing is None else [self.thing.vertices]
        return np.concatenate([*(mesh.vertices for mesh, _ in self.people), *things])

    def faces(self) -> np.ndarray:
        """Return the triangles (F, 3) of all meshes, into ``vertices()``."""
        meshes: list[Mesh | Thing] = [mesh for mesh, _ in self.people]
        meshes += [] if self.thing is None else [self.thing]
        starts = np.cumsum([0] + [len(m.vertices) for m in meshes])
        shifted = [m.faces + s for m, s in zip(meshes, starts[:-1], strict=True)]
        return np.concatenate(shifted).astype(np.int32)


def _walk_on(company: Company, one: WalkOn, rng: np.random.Generator) -> tuple[Mesh, Wearer]:
    """Return the mesh of a passer-by in a moment of walking, where they stand."""
    person = company.dressed(one.number)
    mesh = join(_turn(company.dresser, person, rng), rotation((0.0, 0.0, one.yaw)))
    moved = Mesh(
        mesh.vertices + one.offset, mesh.faces, mesh.normals, mesh.attributes, mesh.materials
    )
    return moved, Wearer(person.identity, person.outfit, company.dresser.body.fields)


def _feet(cast: Cast, stage: Stage | None) -> list[np.ndarray]:
    """Return where everybody and everything touches the ground: middle and half widths."""
    things = [] if stage is None else stage.things
    found = []
    for vertices in (*(m.vertices for m, _ in cast.people), *(t.vertices for t in things)):
        low = vertices[vertices[:, 2] < 0.15][:, :2]
        if len(low):
            middle, half = (low.max(0) + low.min(0)) / 2.0, (low.max(0) - low.min(0)) / 2.0
            found.append(np.concatenate([middle, half]))
    return found


def _cast(
    lead: tuple[Mesh, Wearer], stage: Stage | None, company: Company | None, seed: int
) -> Cast:
    """Return all meshes of a picture; passers-by move the same way however often this is asked."""
    if stage is None or company is None:
        return Cast([lead], None)
    rng = np.random.default_rng(seed)
    others = [_walk_on(company, one, rng) for one in stage.walk_ons]
    return Cast([lead, *others], merge(stage.things) if stage.things else None)


def _hidden_share(alone: Raster, together: Raster, faces: int) -> float:
    """Return the share of the person's pixels (triangles 0 .. faces - 1) that others cover."""
    own = alone.face >= 0
    return 1.0 - float(((together.face >= 0) & (together.face < faces) & own).sum() / own.sum())


def photograph(
    posed: PosedPerson,
    person: DressedPerson,
    camera: Camera,
    yaw: float,
    fields: BodyFields,
    rng: np.random.Generator,
    company: Company | None = None,
) -> Picture:
    """Draw a posed person turned by ``yaw`` degrees, as the camera sees them."""
    turn = rotation((0.0, 0.0, yaw))
    mesh = join(posed, turn)
    eye = np.array([0.0, -rng.uniform(*camera.distance), rng.uniform(*camera.height)])
    view = look_at(eye, np.array([0.0, 0.0, 0.5 * mesh.vertices[:, 2].max()]))
    height = camera.draw_height(rng)
    crop = person_crop(view.project(mesh.vertices), height, rng)
    lead = (mesh, Wearer(person.identity, person.outfit, fields))
    if company is None or camera.surroundings is None:
        place = np.array([rng.uniform(-6.0, 6.0), rng.uniform(-1.0, 1.0)])
        scene = Scenery(camera, view, crop, place)
    else:
        scene = _staged(camera, view, crop, company.staging, rng)
    cast, raster, hidden = _arrange(lead, scene, company)
    return _expose(cast, raster, scene, posed.joints @ turn.T, hidden, rng)


@dataclass(frozen=True)
class Scenery:
    """Where and how a picture is taken."""

    camera: Camera
    """In the light of the moment."""
    view: View
    crop: Crop
    place: np.ndarray | Spot
    """(2,) where in the flat scene the person stands, or the spot in the surroundings."""
    stage: Stage | None = None
    moment: int = 0
    """Seed of passers-by's poses and of wrinkles."""

    def rasterise(self, vertices: np.ndarray, faces: np.ndarray) -> Raster:
        """Return what is seen of a mesh at OVERSAMPLING times the picture's resolution."""
        pixels = self.crop.to_pixels(self.view.project(vertices), OVERSAMPLING)
        return rasterise(
            pixels, faces, self.crop.width * OVERSAMPLING, self.crop.height * OVERSAMPLING
        )


def _staged(
    camera: Camera, view: View, crop: Crop, staging: Staging, rng: np.random.Generator
) -> Scenery:
    """Draw spot, weather and company of a picture."""
    place = camera.surroundings
    assert place is not None
    spot = sample_spot(place, rng)
    lit = in_weather(camera, spot, rng)
    stage = set_stage(staging, place, view, crop, rng)
    return Scenery(lit, view, crop, spot, stage, int(rng.integers(2**32)))


def _arrange(
    lead: tuple[Mesh, Wearer], scene: Scenery, company: Company | None
) -> tuple[Cast, Raster, float]:
    """Return who and what is in the picture, its raster and the hidden share of the person.

    What would hide too much of the person is taken out.
    """
    cast = _cast(lead, scene.stage, company, scene.moment)
    raster = scene.rasterise(cast.vertices(), cast.faces())
    if scene.stage is None or not scene.stage.in_the_way:
        return cast, raster, 0.0
    alone = scene.rasterise(lead[0].vertices, lead[0].faces)
    hidden = _hidden_share(alone, raster, len(lead[0].faces))
    if hidden <= MOST_HIDDEN:
        return cast, raster, hidden
    cast = _cast(lead, scene.stage.cleared(), company, scene.moment)
    return cast, scene.rasterise(cast.vertices(), cast.faces()), 0.0


def _expose(
    cast: Cast, raster: Raster, scene: Scenery, joints: np.ndarray, hidden: float,
    rng: np.random.Generator,
) -> Picture:  # fmt: skip
    """Light, draw and develop a picture; ``joints`` (17, 3) are the person's, in the world."""
    camera, crop = scene.camera, scene.crop
    staged = scene.stage is not None
    shadows = shadow_map(cast.vertices(), cast.faces(), camera.light, wide=staged)
    lighting = Lighting(camera, scene.view, shadows)
    canvas = np.zeros((*raster.face.shape, 4))
    folds = np.random.default_rng(scene.moment) if staged else None
    first, others = 0, 0
    for i, (mesh, wearer) in enumerate(cast.people):
        seen = _visible(raster, mesh.faces, first)
        labels = _draw_person(mesh, seen, lighting, wearer, folds, canvas)
        if i == 0:
            fine_labels = labels
        others += len(seen.rows) * (i > 0)
        first += len(mesh.faces)
    if cast.thing is not None:
        seen = _visible(raster, cast.thing.faces, first)
        _draw_things(cast.thing, seen, lighting, canvas)
    front = _average_blocks(canvas, OVERSAMPLING)
    if isinstance(scene.place, Spot):
        behind = draw_backdrop(
            camera, scene.place, scene.view, crop, shadows, _feet(cast, scene.stage)
        )
    else:
        behind = _draw_background(camera, scene.view, crop, shadows, scene.place)
    light = front[..., :3] + (1.0 - front[..., 3:]) * behind
    pixels = crop.to_pixels(scene.view.project(joints))
    visible = visible_joints(pixels, raster, OVERSAMPLING, JOINT_DEPTH[:JOINTS])
    return Picture(
        _develop(camera, light, rng),
        majority_labels(fine_labels, OVERSAMPLING),
        np.column_stack([pixels[:, :2], visible]),
        hidden,
        others / raster.face.size,
    )
