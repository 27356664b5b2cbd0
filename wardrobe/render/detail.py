"""Finer clothes, hair and faces, for specifications that ask for it.

Adds to the albedo of ``materials`` what a few pixels can show: hems and collars, wear of cloth,
strands and a soft hairline, make-up, freckles and lines of age; and bends the normals of cloth
into wrinkles.
"""

from __future__ import annotations

import numpy as np

from wardrobe.render.garments import ARM_RADIUS, TRUNK_RADIUS, Column, Material
from wardrobe.render.materials import Label, Wearer
from wardrobe.render.streams import smoothstep, wave_noise
from wardrobe.render.wardrobe import SKIRTS

WRINKLES = {"tee": 0.24, "long": 0.24, "shirt": 0.28, "jacket": 0.28, "hoodie": 0.22, "coat": 0.20,
            "tank": 0.16}  # fmt: skip
"""How far a kind of top bends the normals of its surface."""
TROUSER_WRINKLES = {"leggings": 0.05, "slim": 0.16, "skirt": 0.12, "longskirt": 0.15}
"""The same for bottoms; 0.22 for those that are not named."""


def _angle(a: np.ndarray) -> np.ndarray:
    return np.arctan2(a[:, Column.SIDE], a[:, Column.FRONT])


def refine(wearer: Wearer, materials: np.ndarray, a: np.ndarray, albedo: np.ndarray,
           labels: np.ndarray) -> None:  # fmt: skip
    """Change ``albedo`` (n, 3) of surface points with ``materials`` (n,) in place.

    ``a`` (n, len(Column)) are the blended attributes, ``labels`` (n,) what each point is.
    """
    _refine_top(wearer, materials, a, albedo, labels)
    _refine_bottom(wearer, materials, a, albedo, labels)
    _refine_shoes(wearer, materials, a, albedo)
    on_face = (labels == Label.FACE) & (materials == Material.BODY)
    albedo[on_face] = _face(wearer, a[on_face], albedo[on_face])
    _refine_hair(wearer, materials, a, albedo, labels)
    np.clip(albedo, 0.005, 1.0, out=albedo)


def _refine_top(wearer: Wearer, materials: np.ndarray, a: np.ndarray, albedo: np.ndarray,
                labels: np.ndarray) -> None:  # fmt: skip
    """Add hems, cuffs, collar and button row to the top."""
    top = wearer.outfit.top
    on = labels == Label.TOP
    drape = (materials == Material.TOP) & (a[:, Column.ARM] < 0.5)
    sleeve = on & (a[:, Column.ARM] > 0.5)
    ribbed = top.kind in ("hoodie", "jacket")
    wide = 0.05 if ribbed else 0.022
    rib = top.second_colour if ribbed and top.period > 0.07 else 0.72 * top.colour
    hem = drape & (a[:, Column.TORSO] < top.hem + wide / 0.5) & (top.kind != "coat")
    cuff = sleeve & (a[:, Column.ARM_ALONG] > top.sleeve - 2.5 * wide) & (top.sleeve > 0.3)
    edge = (hem & ~np.full(len(a), top.tucked)) | cuff
    albedo[edge] = rib * (1.0 + 0.1 * a[edge, Column.FOLD, None])
    neck = 1.12 if top.has_collar else 1.03
    cut = 2.0 * top.neckline * np.exp(-((a[:, Column.X] / 0.06) ** 2)) * (a[:, Column.Y] < 0.0)
    band = on & (materials == Material.BODY) & (a[:, Column.ARM] < 0.5)
    deep = 0.10 if top.kind in ("shirt", "coat", "jacket") else 0.035
    collar = band & (a[:, Column.TORSO] > neck - cut * (not top.has_collar) - deep)
    albedo[collar] = 0.78 * albedo[collar] + 0.02
    if top.kind in ("shirt", "coat") and top.opening == 0.0:
        across = TRUNK_RADIUS * np.abs(_angle(a))
        button = on & ~sleeve & (across < 0.008) & (a[:, Column.ALONG] % 0.10 < 0.016)
        albedo[button] = 0.35 + 0.4 * (top.colour.mean() < 0.4)


def _leg_level(materials: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Return (n,) how far down the leg: tubes keep it where sleeves do."""
    return np.where(materials == Material.BOTTOM, a[:, Column.ARM_ALONG], a[:, Column.LEG_ALONG])


def _refine_bottom(wearer: Wearer, materials: np.ndarray, a: np.ndarray, albedo: np.ndarray,
                   labels: np.ndarray) -> None:  # fmt: skip
    """Add hem and seam, worn thighs to denim, and a belt where the top is tucked in."""
    bottom = wearer.outfit.bottom
    on = labels == Label.BOTTOM
    level = _leg_level(materials, a)
    if bottom.kind not in SKIRTS:
        denim = bottom.colour[2] > 1.35 * bottom.colour[0]
        worn = on & (a[:, Column.FRONT] > 0.35) & (a[:, Column.LEG] > 0.3)
        share = smoothstep(level[worn], 0.1, 0.4) * (1.0 - smoothstep(level[worn], 0.8, 1.3))
        albedo[worn] *= 1.0 + (0.35 if denim else 0.08) * share[:, None]
        hem = on & (level > bottom.leg - 0.05) & (level < bottom.leg + 0.05)
        albedo[hem] *= 0.72
        leg = a[:, Column.LEG] > 0.3
        seam = on & leg & (np.abs(np.abs(_angle(a)) - np.pi / 2.0) < 0.07)
        albedo[seam] *= 0.80
    if wearer.outfit.top.tucked:
        belt = on & (a[:, Column.LEG] < 0.6) & (a[:, Column.TORSO] > bottom.waist - 0.06)
        albedo[belt] = wearer.outfit.accessories.shoes * 0.5 + 0.03


def _refine_shoes(wearer: Wearer, materials: np.ndarray, a: np.ndarray, albedo: np.ndarray) -> None:
    """Give about half of the shoes a white sole."""
    shoes = wearer.outfit.accessories.shoes
    white = (1000.0 * float(shoes.sum())) % 1.0 < 0.5
    sole = (materials == Material.SHOE) & (a[:, Column.ABOVE_SOLE] < 0.028)
    albedo[sole] = 0.82 if white else 0.35 * shoes + 0.04


def _face(wearer: Wearer, a: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return the albedo (n, 3) of a face with what makes it this person's."""
    face, fields = wearer.identity.face, wearer.fields
    colour = colour.copy()
    x, y, z = np.abs(a[:, Column.HEAD_X]), a[:, Column.HEAD_Y], a[:, Column.HEAD_Z]
    eye_x, _, eye_z = fields.eye_local
    nose_z = fields.nose_local[2]
    front = y < -0.30
    eyeball = a[:, Column.EYE] > 0.5
    lips = front & ((x / 0.2) ** 2 + ((z - nose_z + 0.30) / 0.065) ** 2 < 1.0)
    bare = front & ~eyeball & ~lips
    cheek = np.exp(-(((x - 0.34) / 0.14) ** 2) - ((z - nose_z - 0.02) / 0.13) ** 2) * bare
    red = np.array([1.10, 0.86, 0.84])
    colour *= 1.0 + face.blush * cheek[:, None] * (red - 1.0)
    colour[lips] = (1.0 - face.lipstick) * colour[lips] + face.lipstick * np.array([0.5, 0.1, 0.13])
    middle = bare & (np.abs(z - nose_z + 0.27) < 0.012) & (x < 0.18)
    nostril = bare & (((x - 0.075) / 0.045) ** 2 + ((z - nose_z + 0.11) / 0.03) ** 2 < 1.0)
    colour[middle | nostril] *= 0.5
    lid = bare & (np.abs(z - eye_z - 0.06) < 0.018) & (np.abs(x - eye_x) < 0.12)
    colour[lid] *= 1.0 - 0.6 * face.eyeliner
    iris = eyeball & (((x - eye_x) / 0.055) ** 2 + ((z - eye_z) / 0.06) ** 2 < 1.0)
    colour[iris] = face.iris
    # Lines from nose to mouth and across the forehead deepen with age.
    fold = bare & (np.abs(x - 0.16 - 0.45 * (nose_z - z)) < 0.016) & (z < nose_z)
    fold &= z > nose_z - 0.33
    brow = bare & (np.sin(46.0 * (z - eye_z)) > 0.75) & (z > eye_z + 0.3) & (x < 0.35)
    colour[fold | brow] *= 1.0 - 0.28 * face.lines
    spots = np.sin(41.0 * a[:, Column.HEAD_X] + 3.0) * np.sin(53.0 * z) * np.sin(67.0 * y) > 0.45
    freckled = bare & spots & (np.abs(z - nose_z) < 0.25)
    colour[freckled] *= 1.0 - 0.35 * face.freckles
    return colour


def _refine_hair(wearer: Wearer, materials: np.ndarray, a: np.ndarray, albedo: np.ndarray,
                 labels: np.ndarray) -> None:  # fmt: skip
    """Draw strands, a parting and, where hair is short, a hairline that lets the skin through."""
    identity = wearer.identity
    if wearer.outfit.accessories.cap is not None:
        return
    on = labels == Label.HAIR
    scalp = on & (materials == Material.BODY)
    around = np.arctan2(a[:, Column.HEAD_X], a[:, Column.HEAD_Y])
    height = a[:, Column.HEAD_Z]
    wave = 9.0 * identity.face.curl
    strand = np.sin(34.0 * around + wave * np.sin(3.0 * height + 2.0 * around))
    strand = strand + 0.6 * np.sin(83.0 * around + 5.0 * height)
    albedo[scalp] *= 1.0 + 0.20 * strand[scalp, None]
    # A band of light around the crown, as on real hair.
    band = np.exp(-(((height - 0.55 + 0.08 * np.sin(9.0 * around)) / 0.16) ** 2))
    shine = 0.08 + 0.25 * identity.hair
    albedo[scalp] += (band[scalp] * (0.6 + 0.4 * strand[scalp]))[:, None] * shine
    if identity.hair_style in ("buzz", "short", "medium"):
        edge = smoothstep(a[:, Column.SCALP], 0.0, 0.13)[scalp, None]
        albedo[scalp] = edge * albedo[scalp] + (1.0 - edge) * 0.85 * identity.skin
    elif identity.hair_style != "afro":
        side = 0.12 * identity.face.parting
        part = scalp & (np.abs(a[:, Column.HEAD_X] - side) < 0.022) & (a[:, Column.HEAD_Y] < 0.0)
        albedo[part] = 0.5 * albedo[part] + 0.4 * identity.skin


def wrinkled(
    wearer: Wearer, labels: np.ndarray, materials: np.ndarray, a: np.ndarray, normals: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Return unit normals (n, 3) with wrinkles where there is cloth; they differ each time."""
    cloth = np.flatnonzero((labels == Label.TOP) | (labels == Label.BOTTOM))
    if not len(cloth):
        return normals
    a, of_top = a[cloth], labels[cloth] == Label.TOP
    limb = (a[:, Column.ARM] > 0.5) | (a[:, Column.LEG] > 0.5)
    level = np.where(
        a[:, Column.ARM] > 0.5, a[:, Column.ARM_ALONG], _leg_level(materials[cloth], a)
    )
    around = _angle(a) * np.where(limb, 1.6 * ARM_RADIUS, TRUNK_RADIUS)
    # Folds run across bent joints and hang down elsewhere.
    bend = np.exp(-(((level - 1.0) / 0.28) ** 2)) * limb
    across = np.stack([around * 6.0 + a[:, Column.ALONG] * 3.0, a[:, Column.ALONG] * 16.0], 1)
    down = np.stack([around * 15.0, a[:, Column.ALONG] * 5.0], 1)
    lift, sway = (wave_noise(c.astype(np.float32), rng, 2) for c in (across, down))
    outfit = wearer.outfit
    depth = np.where(
        of_top, WRINKLES[outfit.top.kind], TROUSER_WRINKLES.get(outfit.bottom.kind, 0.22)
    )
    n = normals[cloth].astype(np.float64)
    side = np.stack([-n[:, 1], n[:, 0], 0.0 * n[:, 0]], 1)
    n[:, 2] += depth * (0.7 + 1.6 * bend) * lift
    n += (depth * sway)[:, None] * side
    out = normals.copy()
    out[cloth] = n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9)
    return out
