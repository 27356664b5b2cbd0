"""The naked body: anny's parametric mesh, fields that locate body parts on it, and its skeleton.

Axes: x to the person's left, -y to the front, z up; metres. The rest pose holds the arms about 50
degrees away from the trunk with bent elbows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wardrobe.render.extras import require
from wardrobe.render.mesh import skin
from wardrobe.render.streams import smoothstep

LOCAL_CHANGES = (
    "measure-shoulder-dist-incr", "torso-scale-horiz-incr", "torso-scale-depth-incr",
    "torso-vshape-incr", "torso-scale-vert-incr", "measure-waist-circ-incr",
    "measure-hips-circ-incr", "measure-bust-circ-incr", "buttocks-volume-incr",
    "stomach-tone-incr", "stomach-pregnant-incr", "measure-upperleg-height-incr",
    "measure-lowerleg-height-incr", "measure-thigh-circ-incr", "measure-calf-circ-incr",
    "measure-upperarm-length-incr", "measure-lowerarm-length-incr", "measure-upperarm-circ-incr",
    "measure-neck-circ-incr", "measure-neck-height-incr", "measure-napetowaist-dist-incr",
    "measure-waisttohip-dist-incr", "head-scale-horiz-incr", "head-scale-vert-incr",
    "head-scale-depth-incr", "head-fat-incr", "head-age-incr", "breast-volume-vert-up",
    "nose-volume-incr", "nose-scale-vert-incr", "chin-width-incr", "chin-height-incr",
    "neck-scale-depth-incr", "forehead-scale-vert-incr", "mouth-scale-horiz-incr",
)  # fmt: skip
"""Names of the local shape changes that anny is built with (its own names; each about -1..1)."""

SIDES = ("L", "R")
ARM_BONES = ("upperarm01", "lowerarm01", "wrist")
LEG_BONES = ("upperleg01", "lowerleg01", "foot")
JOINTS = 17
"""COCO joints: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles (left first)."""


@dataclass(frozen=True)
class BodyFields:
    """Where each of the V vertices is on the body, measured once on the template person."""

    position: np.ndarray
    """(V, 3) template vertices."""
    torso_height: np.ndarray
    """(V,) 0 at the hip joint, 1 at the base of the neck, linear in z and unbounded."""
    arm_along: np.ndarray
    """(V,) 0 shoulder, 1 elbow, 2 wrist; -0.2 off the arms."""
    leg_along: np.ndarray
    """(V,) 0 hip, 1 knee, 2 ankle, about 2.3 on the floor."""
    arm: np.ndarray
    """(V,) 0..1 share of arm and hand bones in the skinning; likewise the next five."""
    leg: np.ndarray
    foot: np.ndarray
    hand: np.ndarray
    head: np.ndarray
    neck: np.ndarray
    head_local: np.ndarray
    """(V, 3) position relative to the middle of the ears, in units of the ear distance."""
    scalp: np.ndarray
    """(V,) above 0 where hair grows, growing with the distance from the hairline."""
    edge_length: np.ndarray
    """(V,) mean distance to the neighbours, metres: small where the mesh holds fine detail."""
    eye: np.ndarray
    """(V,) 1 on the eyeballs."""
    eye_local: np.ndarray
    """(3,) left eye in head-local coordinates."""
    nose_local: np.ndarray
    """(3,) nose in head-local coordinates."""

    @property
    def trunk(self) -> np.ndarray:
        """(V,) bool: neither limb nor head."""
        return (self.arm <= 0.5) & (self.leg <= 0.5) & (self.head + self.neck <= 0.5)


@dataclass(frozen=True)
class BodyShape:
    """One person's body in the rest pose."""

    vertices: np.ndarray
    """(V, 3) float32."""
    bone_rotations: np.ndarray
    """(B, 3, 3) rest orientation of each bone."""
    bone_heads: np.ndarray
    """(B, 3) joint at which each bone starts."""
    keypoints: np.ndarray
    """(17, 3) COCO joints."""


def _distance_along(points: np.ndarray, chain: np.ndarray) -> np.ndarray:
    """Return (n,) how far along a polyline (k, 3) each point lies: i + fraction on segment i."""
    nearest = np.full(len(points), np.inf)
    along = np.zeros(len(points))
    last = len(chain) - 2
    for i in range(last + 1):
        start, step = chain[i], chain[i + 1] - chain[i]
        t = (points - start) @ step / (step @ step)
        inside = np.clip(t, 0.0, 1.0)
        gap = np.linalg.norm(points - start - inside[:, None] * step, axis=1)
        # The ends stay open, so that the field goes on beyond the first and the last joint.
        t = np.clip(t, -np.inf if i == 0 else 0.0, np.inf if i == last else 1.0)
        better = gap < nearest
        nearest[better] = gap[better]
        along[better] = i + t[better]
    return along


def _scalp_field(local: np.ndarray, eye_height: float, head: np.ndarray) -> np.ndarray:
    """Return (V,) height above the hairline in ear distances; the ears themselves are cut out."""
    x, y, z = local.T
    backwards = smoothstep(np.clip((y + 0.75) / 1.15, 0.0, 1.0), 0.28, 0.9)
    hairline = (eye_height + 0.42) * (1.0 - backwards) - 0.42 * backwards
    ear = ((np.abs(x) - 0.5) / 0.12) ** 2 + ((y - 0.05) / 0.17) ** 2 + ((z + 0.02) / 0.24) ** 2
    field = z - hairline - 0.6 * np.exp(-ear)
    field[head < 0.3] = -1.0
    return field


def _rotation_about(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the rotation matrix (3, 3) by ``angle`` radians about ``axis`` (3,)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def relaxed_fingers(heads: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return rotations (3, 3) per finger bone that close the spread fingers into a relaxed hand.

    ``heads`` maps bone names to joint positions (3,) of the template. Little fingers curl more
    than index fingers, as in a hanging hand.
    """
    pose: dict[str, np.ndarray] = {}
    for side in SIDES:
        across = heads[f"finger5-1.{side}"] - heads[f"finger2-1.{side}"]
        middle = heads[f"finger3-3.{side}"] - heads[f"finger3-1.{side}"]
        normal = np.cross(across, middle)
        # The thumb lies on the palm's side, which tells the sense in which fingers bend.
        palm = np.sign(normal @ (heads[f"finger1-3.{side}"] - heads[f"finger3-1.{side}"]))
        for finger in range(2, 6):
            direction = heads[f"finger{finger}-3.{side}"] - heads[f"finger{finger}-1.{side}"]
            unit = normal / np.linalg.norm(normal)
            spread = np.arctan2(unit @ np.cross(direction, middle), direction @ middle)
            close = _rotation_about(normal, 0.75 * spread)
            curl = np.radians(16.0 + 5.0 * (finger - 2))
            bend = [_rotation_about(across, palm * curl * share) for share in (1.0, 1.5, 1.0)]
            pose[f"finger{finger}-1.{side}"] = bend[0] @ close
            pose[f"finger{finger}-2.{side}"] = bend[1]
            pose[f"finger{finger}-3.{side}"] = bend[2]
        thumb = heads[f"finger1-3.{side}"] - heads[f"finger1-1.{side}"]
        pose[f"finger1-1.{side}"] = _rotation_about(np.cross(thumb, middle), np.radians(28.0))
    return pose


class BodyModel:
    """anny's body with everything that dressing and posing need; slow to build, then cheap.

    The first build on a machine takes about 40 s and 2 GB while anny fills its own cache; later
    ones a few seconds. It works offline.
    """

    def __init__(self) -> None:
        self._torch = require("torch")
        # One thread: the products are small, and worker processes share the machine's cores.
        self._torch.set_num_threads(1)
        model = require("anny").Anny(local_changes=list(LOCAL_CHANGES)).to(self._torch.float32)
        self._model = model
        self.bone = {name: i for i, name in enumerate(model.bone_labels)}
        self._parents = [int(p) for p in model.bone_parents]
        self._reference = model.reference_bone_orientations.numpy().astype(np.float64)
        self.bones_of_vertex = model.vertex_bone_indices.numpy().astype(np.int32)
        self.weights_of_vertex = model.vertex_bone_weights.numpy().astype(np.float32)
        self.faces, eye = self._visible_faces(model)
        self.smoothing = self._neighbour_average(model.faces.numpy())
        regressor = require("anny").KeypointsRegressor.coco(model).regression_weights.numpy()
        regressor = regressor[:JOINTS]
        self._joint_vertices = np.flatnonzero(np.abs(regressor).sum(0) > 1e-6)
        self._joint_weights = regressor[:, self._joint_vertices]
        template = self.shape({"gender": 0.5, "age": 0.68, "height": 0.35}, {})
        self.fields = self._measure(template, eye)
        self.template = template
        self.fingers = relaxed_fingers({n: template.bone_heads[i] for n, i in self.bone.items()})

    @staticmethod
    def _visible_faces(model: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return faces (F, 3) int32 without the mouth's inside, and a (V,) field of eyeballs."""
        part_mask = require("anny.face_segmentation").get_face_segmentation_mask
        faces = model.faces.numpy()
        hidden = part_mask(model, ["tongue", "mouth_cavity", "eye_back.L", "eye_back.R"]).numpy()
        eyeball = part_mask(model, ["eye_front.L", "eye_front.R"]).numpy()
        eye = np.zeros(len(model.template_vertices), np.float32)
        eye[faces[eyeball].ravel()] = 1.0
        return np.ascontiguousarray(faces[~hidden].astype(np.int32)), eye

    def _neighbour_average(self, faces: np.ndarray) -> Any:
        """Return the sparse (V, V) matrix that averages each vertex's neighbours."""
        sparse = require("scipy.sparse")
        count = len(self.bones_of_vertex)
        rows = faces[:, [0, 1, 1, 2, 2, 0]].ravel()
        columns = faces[:, [1, 0, 2, 1, 0, 2]].ravel()
        adjacency = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), (count, count)).tocsr()
        adjacency.data[:] = 1.0
        degree = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1.0)
        return (sparse.diags(1.0 / degree) @ adjacency).tocsr().astype(np.float32)

    def _bone_share(self, prefixes: Iterable[str]) -> np.ndarray:
        """Return (V,) the summed skinning weight of the bones whose names start so."""
        wanted = np.array([name.startswith(tuple(prefixes)) for name in self.bone])
        return (self.weights_of_vertex * wanted[self.bones_of_vertex]).sum(1)

    def _measure(self, template: BodyShape, eye: np.ndarray) -> BodyFields:
        """Locate body parts on the template person."""
        points = template.vertices.astype(np.float64)
        arm = self._bone_share(("upperarm", "lowerarm", "wrist", "finger", "metacarpal"))
        head = self._bone_share(("head", "eye"))
        left = points[:, 0] > 0
        arms, legs = (
            np.where(left, *(_distance_along(points, self.chain(template, b, s)) for s in SIDES))
            for b in (ARM_BONES, LEG_BONES)
        )
        hip = template.bone_heads[self.bone["upperleg01.L"]][2]
        neck = template.bone_heads[self.bone["neck01"]][2]
        joints = template.keypoints
        ears = (joints[3] + joints[4]) / 2.0
        ear_distance = np.linalg.norm(joints[3] - joints[4])
        local = (points - ears) / ear_distance
        eye_local = (joints[1] - ears) / ear_distance

        def f32(values: np.ndarray) -> np.ndarray:
            return np.asarray(values, np.float32)

        return BodyFields(
            position=f32(points),
            torso_height=f32((points[:, 2] - hip) / (neck - hip)),
            arm_along=f32(np.where(arm > 0.5, arms, -0.2)),
            leg_along=f32(legs),
            arm=f32(arm),
            leg=f32(self._bone_share(("upperleg", "lowerleg", "foot", "toe"))),
            foot=f32(self._bone_share(("foot", "toe"))),
            hand=f32(self._bone_share(("wrist", "finger", "metacarpal"))),
            head=f32(head),
            neck=f32(self._bone_share(("neck",))),
            head_local=f32(local),
            scalp=f32(_scalp_field(local, float(eye_local[2]), head)),
            edge_length=f32(self._edge_length(points)),
            eye=eye,
            eye_local=eye_local,
            nose_local=(joints[0] - ears) / ear_distance,
        )

    def _edge_length(self, points: np.ndarray) -> np.ndarray:
        """Return (V,) the mean distance from each vertex to its neighbours."""
        rows, columns = self.smoothing.nonzero()
        lengths = np.linalg.norm(points[rows] - points[columns], axis=1)
        degree = np.maximum(np.bincount(rows, minlength=len(points)), 1)
        return np.bincount(rows, lengths, minlength=len(points)) / degree

    def chain(self, shape: BodyShape, bones: Iterable[str], side: str) -> np.ndarray:
        """Return the joints (k, 3) of a limb, ``side`` is "L" or "R"."""
        return np.array([shape.bone_heads[self.bone[f"{b}.{side}"]] for b in bones], np.float64)

    def shape(self, phenotype: Mapping[str, float], local: Mapping[str, float]) -> BodyShape:
        """Return the rest body of someone with anny's global and local shape parameters."""
        torch = self._torch
        with torch.no_grad():
            result = self._model(
                pose_parameters=None,
                phenotype_kwargs={k: torch.tensor([float(v)]) for k, v in phenotype.items()},
                local_changes_kwargs={k: torch.tensor([float(v)]) for k, v in local.items()},
            )
        # Without local changes anny hands back its template: copy, never alias.
        vertices = result["rest_vertices"][0].numpy().copy()
        poses = result["rest_bone_poses"][0].numpy().astype(np.float64)
        return BodyShape(
            vertices=vertices,
            bone_rotations=poses[:, :3, :3],
            bone_heads=result["rest_bone_heads"][0].numpy().astype(np.float64),
            keypoints=self._joint_weights @ vertices[self._joint_vertices],
        )

    def bone_transforms(self, shape: BodyShape, pose: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return rigid transforms (B, 3, 4) float32 from the rest pose to ``pose``.

        ``pose`` maps bones to rotations (3, 3) about the world axes of the reference pose, applied
        in the parent's frame ("local-ref" in anny's words). Bones not named keep the reference
        orientation, which is the same for all people although their rest poses differ a little.
        """
        turned = np.empty((len(self._parents), 3, 3))
        transforms = np.empty((len(self._parents), 3, 4))
        identity = np.eye(3)
        names = list(self.bone)
        to_reference = self._reference @ shape.bone_rotations.transpose(0, 2, 1)
        for i, parent in enumerate(self._parents):
            own = pose.get(names[i], identity)
            head = shape.bone_heads[i]
            if parent < 0:
                turned[i] = own
                rotation, posed_head = own, head
            else:
                turned[i] = turned[parent] @ own
                rotation = turned[i] @ to_reference[i]
                posed_head = transforms[parent, :, :3] @ head + transforms[parent, :, 3]
            transforms[i, :, :3] = rotation
            transforms[i, :, 3] = posed_head - rotation @ head
        return transforms.astype(np.float32)

    def posed_keypoints(self, shape: BodyShape, transforms: np.ndarray) -> np.ndarray:
        """Return the COCO joints (17, 3) of the posed body."""
        chosen = self._joint_vertices
        moved = skin(
            np.ascontiguousarray(shape.vertices[chosen]), self.bones_of_vertex[chosen],
            self.weights_of_vertex[chosen], transforms,
        )  # fmt: skip
        return self._joint_weights @ moved

    def smooth(self, vertices: np.ndarray, where: np.ndarray, rounds: int) -> np.ndarray:
        """Return vertices (V, 3), those under ``where`` (V,) bool pulled to their neighbours."""
        rows = np.flatnonzero(where)
        average = self.smoothing[rows]
        result = vertices.copy()
        for _ in range(rounds):
            result[rows] += 0.5 * (average @ result - result[rows])
        return result
