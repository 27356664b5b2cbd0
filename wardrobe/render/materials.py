"""Colour and label of every visible surface point."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from rlqkit.data import images
from wardrobe.render.body import BodyFields
from wardrobe.render.garments import ARM_RADIUS, ARM_SEAM, TRUNK_RADIUS, Column, Material
from wardrobe.render.people import Identity
from wardrobe.render.streams import smoothstep
from wardrobe.render.wardrobe import SKIRTS, Outfit, Top


class Label(IntEnum):
    """Labels of the masks, under the names that ``dataset.json`` gives them."""

    BACKGROUND = images.NOBODY
    TOP = images.SHIRT
    BOTTOM = images.TROUSERS
    SKIN = images.SKIN
    HAIR = images.HAIR
    SHOES = images.SHOES
    FACE = images.FACE
    BAG = images.BAG


BLOCK_EDGE = 0.37
"""Metres above the hip joint where a two-coloured top changes its colour."""


@dataclass(frozen=True)
class Wearer:
    """What colours depend on besides the surface point."""

    identity: Identity
    outfit: Outfit
    fields: BodyFields
    """Of the template, for the position of eyes and nose."""


def albedo_and_labels(
    wearer: Wearer, materials: np.ndarray, attributes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return sRGB albedo (n, 3) in (0, 1] and labels (n,) uint8 of n surface points.

    ``materials`` (n,) holds ``Material``, ``attributes`` (n, len(Column)) the blended attributes.
    """
    albedo = np.zeros((len(attributes), 3))
    labels = np.zeros(len(attributes), np.uint8)
    fold, grain = attributes[:, Column.FOLD, None], attributes[:, Column.GRAIN, None]
    on_body = materials == Material.BODY
    albedo[on_body], labels[on_body] = _body(wearer, attributes[on_body])
    outfit = wearer.outfit
    chosen = materials == Material.TOP
    albedo[chosen] = _top_colour(outfit.top, attributes[chosen])
    labels[chosen] = Label.TOP
    chosen = materials == Material.BOTTOM
    albedo[chosen] = _bottom_colour(wearer, attributes[chosen])
    labels[chosen] = Label.BOTTOM
    chosen = materials == Material.SHOE
    albedo[chosen] = _shoe_colour(outfit.accessories.shoes, attributes[chosen])
    labels[chosen] = Label.SHOES
    chosen = materials == Material.HAIR
    albedo[chosen] = wearer.identity.hair * (1.0 + 0.22 * grain[chosen])
    labels[chosen] = Label.HAIR
    if outfit.accessories.cap is not None:
        chosen = materials == Material.CAP
        albedo[chosen] = outfit.accessories.cap
        labels[chosen] = Label.HAIR
    if outfit.accessories.bag is not None:
        chosen = materials == Material.BAG
        # Pocket and straps are told from the bag by shade.
        albedo[chosen] = outfit.accessories.bag * (1.0 + 0.22 * fold[chosen])
        labels[chosen] = Label.BAG
    return np.clip(albedo, 0.005, 1.0), labels


def _sleeve(a: np.ndarray) -> np.ndarray:
    """Return (n,) bool: where cloth goes around an arm and not around the trunk."""
    return (a[:, Column.ARM] > 0.5) & (a[:, Column.ARM_ALONG] > ARM_SEAM)


def _angle(a: np.ndarray) -> np.ndarray:
    """Return (n,) radians around the trunk or limb, 0 in front, +-pi at the back."""
    return np.arctan2(a[:, Column.SIDE], a[:, Column.FRONT])


def _repeats(a: np.ndarray, period: float) -> np.ndarray:
    """Return (n,) how many periods around, such that a whole number fits and no seam shows."""
    trunk, arm = (max(1, round(2.0 * np.pi * r / period)) for r in (TRUNK_RADIUS, ARM_RADIUS))
    return _angle(a) / (2.0 * np.pi) * np.where(_sleeve(a), arm, trunk) + 0.175


def _pattern_share(top: Top, a: np.ndarray) -> np.ndarray:
    """Return (n,) in [0, 1]: how much of the second colour the pattern puts at each point."""
    along, around = a[:, Column.ALONG] / top.period, _repeats(a, top.period)
    sleeve = _sleeve(a)
    height = a[:, Column.TORSO]
    none = np.zeros(len(a))
    if top.pattern == "hstripe":
        return (along % 1.0 < 0.4).astype(float)
    if top.pattern == "vstripe":
        return (around % 1.0 < 0.35).astype(float)
    if top.pattern == "plaid":
        return 0.5 * (around % 1.0 < 0.35) + 0.5 * (along % 1.0 < 0.35)
    if top.pattern == "dots":
        return ((along % 1.0 - 0.5) ** 2 + (around % 1.0 - 0.5) ** 2 < 0.07).astype(float)
    if top.pattern == "logo":
        across = TRUNK_RADIUS * _angle(a)
        field = (np.abs(across) < 0.09) & (height > 0.50) & (height < 0.78) & ~sleeve
        glyphs = np.sin(90.0 * across) + np.sin(70.0 * a[:, Column.ALONG])
        return (field & (glyphs > -0.5)).astype(float)
    if top.pattern == "block":
        yoke = a[:, Column.ALONG] > BLOCK_EDGE
        return (yoke & ~sleeve).astype(float)
    if top.pattern == "sleeve":
        return sleeve.astype(float)
    return none


def _top_colour(top: Top, a: np.ndarray) -> np.ndarray:
    """Return the albedo (n, 3) of points with attributes ``a`` on a top."""
    share = _pattern_share(top, a)[:, None]
    colour = top.colour * (1.0 - share) + top.second_colour * share
    colour = colour * (1.0 + 0.12 * a[:, Column.FOLD, None])
    sideways = TRUNK_RADIUS * np.abs(_angle(a))
    front = (a[:, Column.ARM] < 0.5) & (sideways < 0.2)
    if top.opening > 0.0:
        width = top.opening * (1.0 + 0.8 * (a[:, Column.TORSO] - 0.5))
        colour[front & (sideways < width)] = top.inner_colour
        colour[front & (np.abs(sideways - width) < 0.006)] = 0.5 * top.colour
    elif top.kind in ("jacket", "shirt", "coat"):
        colour[front & (sideways < 0.005)] *= 0.55
    return colour


def _bottom_colour(wearer: Wearer, a: np.ndarray) -> np.ndarray:
    """Return the albedo (n, 3) of points with attributes ``a`` on trousers or a skirt."""
    bottom = wearer.outfit.bottom
    colour = bottom.colour * (1.0 + 0.10 * a[:, Column.FOLD, None])
    if bottom.kind in SKIRTS and bottom.checked:
        check = (a[:, Column.ALONG] / 0.11 % 1.0 < 0.4) | (_repeats(a, 0.11) % 1.0 < 0.4)
        colour[check] = 0.6 * bottom.colour + 0.1
    return colour


def _body(wearer: Wearer, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return albedo and labels of points on the body mesh: later layers cover earlier ones."""
    identity = wearer.identity
    colour = identity.skin * (1.0 + 0.05 * a[:, Column.GRAIN, None])
    labels = np.full(len(a), Label.SKIN, np.uint8)
    on_head = a[:, Column.HEAD] > 0.5
    labels[on_head] = Label.FACE
    _paint_face(wearer, a, colour)
    _paint_hair(wearer, a, colour, labels)
    _paint_legs(wearer, a, colour, labels)
    foot = a[:, Column.FOOT] > 0.5
    colour[foot], labels[foot] = wearer.outfit.accessories.shoes, Label.SHOES
    _paint_top(wearer, a, colour, labels)
    return colour, labels


def _paint_face(wearer: Wearer, a: np.ndarray, colour: np.ndarray) -> None:
    identity, fields = wearer.identity, wearer.fields
    x, y, z = np.abs(a[:, Column.HEAD_X]), a[:, Column.HEAD_Y], a[:, Column.HEAD_Z]
    eye_x, _, eye_z = fields.eye_local
    nose_z = fields.nose_local[2]
    front = (y < -0.35) & (a[:, Column.HEAD] > 0.5)
    lips = front & ((x / 0.2) ** 2 + ((z - nose_z + 0.30) / 0.065) ** 2 < 1.0)
    mix = identity.lips
    colour[lips] = 0.82 * (colour[lips] * (1.0 - mix) + np.array([0.6, 0.2, 0.2]) * mix)
    arch = eye_z + 0.17 - 0.25 * (x - eye_x) ** 2
    brow = front & (np.abs(z - arch) < 0.038 * identity.brow) & (np.abs(x - eye_x) < 0.17)
    colour[brow] = 0.55 * identity.hair + 0.4 * colour[brow]
    socket = front & (((x - eye_x) / 0.12) ** 2 + ((z - eye_z) / 0.06) ** 2 < 1.0)
    colour[socket] *= 0.62
    eyeball = a[:, Column.EYE] > 0.5
    colour[eyeball] = (0.75, 0.74, 0.72)
    iris = eyeball & (((x - eye_x) / 0.05) ** 2 + ((z - eye_z) / 0.055) ** 2 < 1.0)
    colour[iris] = (0.08, 0.06, 0.05)
    if identity.beard != "none":
        cheek = nose_z - 0.1 + 0.35 * smoothstep(y, -0.55, -0.1)
        beard = (a[:, Column.HEAD] > 0.4) & (y < -0.1) & (z < cheek) & (z > nose_z - 1.0) & ~lips
        strength = 0.85 if identity.beard == "full" else 0.35
        colour[beard] = (1.0 - strength) * colour[beard] + strength * identity.hair
    if identity.glasses:
        rim = np.sqrt(((x - eye_x) / 0.19) ** 2 + ((z - eye_z) / 0.14) ** 2)
        bridge = (x < eye_x - 0.17) & (np.abs(z - eye_z - 0.03) < 0.03)
        temple = (a[:, Column.HEAD] > 0.5) & (y > -0.6) & (y < 0.0) & (x > eye_x)
        temple &= np.abs(z - eye_z) < 0.03
        colour[(front & ((np.abs(rim - 1.0) < 0.10) | bridge)) | temple] = (0.05, 0.05, 0.06)


def _paint_hair(wearer: Wearer, a: np.ndarray, colour: np.ndarray, labels: np.ndarray) -> None:
    identity, cap = wearer.identity, wearer.outfit.accessories.cap
    if identity.hair_style != "bald":
        hair = a[:, Column.SCALP] > 0.0
        strength = 0.55 if identity.hair_style == "buzz" else 1.0
        strands = identity.hair * (1.0 + 0.28 * a[hair, Column.GRAIN, None])
        colour[hair] = (1.0 - strength) * colour[hair] + strength * strands
        labels[hair] = Label.HAIR
    if cap is not None:
        covered = a[:, Column.SCALP] > 0.28
        colour[covered] = cap
        labels[covered] = Label.HAIR


def _paint_legs(wearer: Wearer, a: np.ndarray, colour: np.ndarray, labels: np.ndarray) -> None:
    """Paint trousers on the body, or what is seen below a skirt."""
    bottom = wearer.outfit.bottom
    below_waist = (a[:, Column.TORSO] < bottom.waist) & (a[:, Column.ARM] <= 0.5)
    if bottom.kind in SKIRTS:
        if bottom.tights:
            legs = (a[:, Column.LEG] > 0.5) & below_waist
            colour[legs] = 0.25 * colour[legs] + np.array([0.04, 0.04, 0.045])
            labels[legs] = Label.BOTTOM
        under = below_waist & (a[:, Column.TORSO] > -0.3)
        colour[under] = 0.8 * bottom.colour
        labels[under] = Label.BOTTOM
        return
    # Inside a free-hanging trouser leg the painted cloth ends before the hem does.
    end = bottom.leg if bottom.kind == "leggings" else bottom.leg - 0.12
    cloth = below_waist & (a[:, Column.LEG_ALONG] < end) & (a[:, Column.FOOT] <= 0.5)
    colour[cloth] = _bottom_colour(wearer, a[cloth])
    labels[cloth] = Label.BOTTOM


def _shoe_colour(shoes: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Return the albedo (n, 3) of points on a shoe: the upper, and a greyer sole."""
    sole = a[:, Column.ABOVE_SOLE, None] < 0.022
    return np.where(sole, 0.45 * shoes + 0.2, shoes)


def _paint_top(wearer: Wearer, a: np.ndarray, colour: np.ndarray, labels: np.ndarray) -> None:
    top, bottom = wearer.outfit.top, wearer.outfit.bottom
    height, arm = a[:, Column.TORSO], a[:, Column.ARM] > 0.5
    on_head = a[:, Column.HEAD] + a[:, Column.NECK] > 0.5
    # Under the hanging shirt the painted one ends before the hem does.
    hem = bottom.waist if top.tucked else top.hem + 0.04
    cut = 2.0 * top.neckline * np.exp(-((a[:, Column.X] / 0.06) ** 2)) * (a[:, Column.Y] < 0.0)
    neck = 1.12 if top.has_collar else 1.03 - cut
    trunk = ~arm & ~on_head & (height > hem) & (height < neck)
    cuff = top.sleeve - 0.10 if top.sleeve >= 0.3 else top.sleeve
    sleeve = arm & (a[:, Column.ARM_ALONG] < cuff) & (a[:, Column.HAND] <= 0.5)
    if top.kind == "tank":
        trunk &= (np.abs(a[:, Column.X]) < 0.155) | (height < 0.7)
        sleeve &= False
    covered = trunk | sleeve
    if top.has_collar:
        covered |= ~arm & (height > 0.9) & (height < neck) & (a[:, Column.HEAD] < 0.4)
    colour[covered] = _top_colour(top, a[covered])
    labels[covered] = Label.TOP
