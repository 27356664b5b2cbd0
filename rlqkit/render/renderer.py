"""One picture: a posed person in front of a background, its label mask and its joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlqkit.render.body import JOINTS, BodyFields, BodyModel
from rlqkit.render.camera import Camera, Crop, View, look_at, person_crop
from rlqkit.render.extras import require
from rlqkit.render.gait import pose_angles, rotation
from rlqkit.render.garments import DressedPerson, Dresser, PosedPerson
from rlqkit.render.lighting import ShadowMap, shade_background, shade_surface, shadow_map
from rlqkit.render.materials import Label, Wearer, albedo_and_labels
from rlqkit.render.mesh import vertex_normals
from rlqkit.render.raster import Raster, interpolate, rasterise
from rlqkit.render.scene import floor_albedo, wall_albedo

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


def _draw_person(
    mesh: Mesh, raster: Raster, camera: Camera, view: View, shadows: ShadowMap, wearer: Wearer
) -> tuple[np.ndarray, np.ndarray]:
    """Return linear light with coverage (h, w, 4) and labels (h, w) at the raster's resolution."""
    rows, columns = np.nonzero(raster.face >= 0)
    face = raster.face[rows, columns]
    corners, weights = mesh.faces[face], raster.weights[rows, columns]
    normals = interpolate(mesh.normals, corners, weights)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    points = interpolate(mesh.vertices, corners, weights)
    attributes = interpolate(mesh.attributes, corners, weights)
    albedo, labels = albedo_and_labels(wearer, mesh.materials[face], attributes)
    gloss = np.array([GLOSS.get(label, 0.012) for label in Label])[labels]
    light = shade_surface(camera, shadows, albedo, gloss, points, normals, view.eye)
    canvas = np.zeros((*raster.face.shape, 4))
    canvas[rows, columns, :3] = light
    canvas[rows, columns, 3] = 1.0
    label_map = np.zeros(raster.face.shape, np.uint8)
    label_map[rows, columns] = labels
    return canvas, label_map


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


def take_picture(
    dresser: Dresser, person: DressedPerson, camera: Camera, rng: np.random.Generator
) -> Picture:
    """Photograph a dressed person in a random pose, direction and place of the camera's scene."""
    posed = dresser.pose(person, sample_pose(person, dresser.body, rng))
    facing = rng.choice(list(FACING_CHANCES), p=list(FACING_CHANCES.values()))
    yaw = camera.yaw + facing + rng.normal(0.0, 20.0)
    return photograph(posed, person, camera, float(yaw), dresser.body.fields, rng)


def photograph(
    posed: PosedPerson,
    person: DressedPerson,
    camera: Camera,
    yaw: float,
    fields: BodyFields,
    rng: np.random.Generator,
    image_height: int | None = None,
) -> Picture:
    """Draw a posed person turned by ``yaw`` degrees, as the camera sees them."""
    turn = rotation((0.0, 0.0, yaw))
    mesh = join(posed, turn)
    eye = np.array([0.0, -rng.uniform(*camera.distance), rng.uniform(*camera.height)])
    view = look_at(eye, np.array([0.0, 0.0, 0.5 * mesh.vertices[:, 2].max()]))
    low, high = camera.image_height
    height = image_height or int(rng.integers(low, high + 1))
    projected = view.project(mesh.vertices)
    crop = person_crop(projected, height, rng)
    place = np.array([rng.uniform(-6.0, 6.0), rng.uniform(-1.0, 1.0)])
    raster = rasterise(
        crop.to_pixels(projected, OVERSAMPLING), mesh.faces, crop.width * OVERSAMPLING,
        crop.height * OVERSAMPLING,
    )  # fmt: skip
    shadows = shadow_map(mesh.vertices, mesh.faces, camera.light)
    wearer = Wearer(person.identity, person.outfit, fields)
    canvas, fine_labels = _draw_person(mesh, raster, camera, view, shadows, wearer)
    front = _average_blocks(canvas, OVERSAMPLING)
    light = front[..., :3] + (1.0 - front[..., 3:]) * _draw_background(
        camera, view, crop, shadows, place
    )
    joints = crop.to_pixels(view.project(posed.joints @ turn.T))
    visible = visible_joints(joints, raster, OVERSAMPLING, JOINT_DEPTH[:JOINTS])
    return Picture(
        _develop(camera, light, rng),
        majority_labels(fine_labels, OVERSAMPLING),
        np.column_stack([joints[:, :2], visible]),
    )
