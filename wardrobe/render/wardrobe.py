"""What people wear: tops, bottoms and accessories, own or taken from a shared wardrobe.

Colours are sRGB arrays (3,) in [0, 1]. Lengths along limbs and trunk use the body fields of
``body.BodyFields``: sleeves in ``arm_along``, trouser legs in ``leg_along``, hems and waists in
``torso_height``.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np

from wardrobe.render.people import FEMALE, Identity
from wardrobe.render.streams import Stream, generator

TOP_CHANCES = {
    "tee": 0.30, "long": 0.20, "shirt": 0.12, "jacket": 0.16, "hoodie": 0.10, "coat": 0.07,
    "tank": 0.05,
}  # fmt: skip
BOTTOM_CHANCES = {
    0: {"trousers": 0.20, "slim": 0.22, "wide": 0.08, "shorts": 0.14, "skirt": 0.17,
        "longskirt": 0.09, "leggings": 0.10},
    1: {"trousers": 0.42, "slim": 0.30, "wide": 0.10, "shorts": 0.18},
}  # fmt: skip
"""By gender label."""
PATTERN_CHANCES = {
    "plain": 0.44, "hstripe": 0.12, "vstripe": 0.05, "plaid": 0.09, "logo": 0.14, "block": 0.06,
    "sleeve": 0.06, "dots": 0.04,
}  # fmt: skip
SKIRTS = ("skirt", "longskirt")


@dataclass(frozen=True)
class Top:
    """What covers trunk and arms."""

    kind: str
    colour: np.ndarray
    second_colour: np.ndarray
    """Of the pattern."""
    inner_colour: np.ndarray
    """What shows under an open jacket or coat."""
    pattern: str
    period: float
    """Of the pattern, in metres."""
    sleeve: float
    """``arm_along`` of the cuff; negative: no sleeves."""
    opening: float
    """Half width in metres of an open front, 0 if closed."""
    hem: float = 0.0
    """``torso_height`` of the lower edge."""
    tucked: bool = False
    looseness: float = 0.008
    """Distance of the cloth from the skin, in metres."""
    neckline: float = 0.0
    """How deep the front neckline is cut, in ``torso_height``."""

    @property
    def has_collar(self) -> bool:
        """Whether the garment reaches up the neck."""
        return self.kind in ("shirt", "jacket", "hoodie", "coat")


@dataclass(frozen=True)
class Bottom:
    """What covers hips and legs."""

    kind: str
    colour: np.ndarray
    waist: float
    """``torso_height`` of the waistband."""
    leg: float
    """``leg_along`` of the trouser hem; 0 for skirts."""
    ease: float
    """Distance of the cloth from the thigh, in metres."""
    hang: float
    """Share of its width that a trouser leg keeps per leg segment: 1 falls straight down."""
    skirt_length: float = 0.0
    """Up to 1: share of the way from hip to knee; above: the same from knee to ankle."""
    flare: float = 0.0
    """How much wider a skirt's hem is, in metres of radius."""
    tights: bool = False
    checked: bool = False

    @property
    def has_loose_legs(self) -> bool:
        """Whether the legs are open tubes, unlike those of leggings."""
        return self.kind in ("trousers", "slim", "wide", "shorts")


@dataclass(frozen=True)
class Accessories:
    """Small things that differ from outfit to outfit."""

    shoes: np.ndarray
    cap: np.ndarray | None
    bag: np.ndarray | None
    """Colour of a rucksack, or None."""


@dataclass(frozen=True)
class Outfit:
    """A complete set of clothes."""

    top: Top
    bottom: Bottom
    accessories: Accessories


def _hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def _grey(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    return np.full(3, rng.uniform(low, high)) + rng.normal(0.0, 0.008, 3)


def _cloth_colour(rng: np.random.Generator) -> np.ndarray:
    """Draw a garment colour: much black, grey and white, some navy and beige, a quarter bright."""
    kind = rng.random()
    if kind < 0.30:
        colour = _grey(rng, 0.05, 0.17)
    elif kind < 0.42:
        colour = _grey(rng, 0.22, 0.50)
    elif kind < 0.55:
        colour = np.array([0.86, 0.85, 0.82]) * rng.uniform(0.8, 1.05)
    elif kind < 0.68:
        colour = _hsv(rng.uniform(0.57, 0.66), rng.uniform(0.5, 0.85), rng.uniform(0.15, 0.5))
    elif kind < 0.76:
        colour = _hsv(rng.uniform(0.06, 0.12), rng.uniform(0.25, 0.6), rng.uniform(0.3, 0.7))
    else:
        colour = _hsv(rng.random(), rng.uniform(0.45, 0.9), rng.uniform(0.35, 0.85))
    return np.clip(colour, 0.02, 0.95)


def _bottom_colour(rng: np.random.Generator) -> np.ndarray:
    """Draw a colour for trousers and skirts: denim and black above all."""
    kind = rng.random()
    if kind < 0.35:
        colour = _hsv(rng.uniform(0.58, 0.64), rng.uniform(0.35, 0.7), rng.uniform(0.15, 0.5))
    elif kind < 0.68:
        colour = _grey(rng, 0.05, 0.18)
    elif kind < 0.80:
        colour = _grey(rng, 0.25, 0.60)
    elif kind < 0.92:
        colour = _hsv(rng.uniform(0.07, 0.12), rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.7))
    else:
        colour = _hsv(rng.random(), rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.7))
    return np.clip(colour, 0.02, 0.95)


def _pick(rng: np.random.Generator, chances: dict[str, float]) -> str:
    return str(rng.choice(list(chances), p=list(chances.values())))


def _sample_top(rng: np.random.Generator) -> Top:
    """Draw a garment; how it is worn (hem, tucked, looseness) is decided by ``_wear``."""
    kind = _pick(rng, TOP_CHANCES)
    if kind == "tank":
        sleeve = -1.0
    elif kind == "tee":
        sleeve = rng.uniform(0.45, 0.85)
    else:
        rolled_up = rng.random() < 0.15 and kind in ("long", "shirt")
        sleeve = rng.uniform(1.15, 1.55) if rolled_up else rng.uniform(1.86, 1.96)
    opens = kind in ("jacket", "coat") and rng.random() < 0.55
    return Top(
        kind=kind,
        colour=_cloth_colour(rng),
        second_colour=_cloth_colour(rng),
        inner_colour=_cloth_colour(rng),
        pattern=_pick(rng, PATTERN_CHANCES),
        period=1.0 / rng.uniform(9.0, 24.0),
        sleeve=sleeve,
        opening=rng.uniform(0.02, 0.06) if opens else 0.0,
    )


def _sample_bottom(rng: np.random.Generator, gender: int) -> Bottom:
    kind = _pick(rng, BOTTOM_CHANCES[gender])
    low, high = {
        "shorts": (0.55, 0.98), "trousers": (2.10, 2.20), "slim": (1.98, 2.12),
        "wide": (2.12, 2.21), "leggings": (1.75, 1.92),
    }.get(kind, (0.0, 0.0))  # fmt: skip
    ease = {
        "trousers": rng.uniform(0.008, 0.016), "slim": 0.004, "wide": rng.uniform(0.016, 0.026),
        "shorts": rng.uniform(0.010, 0.020), "leggings": 0.001,
    }.get(kind, 0.002)  # fmt: skip
    hang = {
        "trousers": rng.uniform(0.62, 0.77), "slim": rng.uniform(0.45, 0.58),
        "wide": rng.uniform(0.82, 0.96), "shorts": rng.uniform(0.90, 1.05),
    }.get(kind, 0.0)  # fmt: skip
    length = {"skirt": (0.6, 1.0), "longskirt": (1.25, 1.8)}.get(kind, (0.0, 0.0))
    return Bottom(
        kind=kind,
        colour=_bottom_colour(rng),
        waist=rng.uniform(0.12, 0.20),
        leg=rng.uniform(low, high),
        ease=ease,
        hang=hang,
        skirt_length=rng.uniform(*length),
        flare=rng.uniform(0.0, 0.10),
        tights=bool(rng.random() < 0.35),
        checked=bool(rng.random() < 0.15),
    )


def _sample_accessories(rng: np.random.Generator) -> Accessories:
    kind = rng.random()
    if kind < 0.55:
        shoes = _grey(rng, 0.03, 0.20)
    elif kind < 0.82:
        shoes = _grey(rng, 0.70, 0.90)
    else:
        shoes = _cloth_colour(rng)
    cap, bag = _cloth_colour(rng), _cloth_colour(rng)
    return Accessories(
        shoes=np.clip(shoes, 0.0, 1.0),
        cap=cap if rng.random() < 0.07 else None,
        bag=np.clip(bag, 0.02, 0.8) if rng.random() < 0.12 else None,
    )


def _wear(top: Top, rng: np.random.Generator) -> Top:
    """Decide how somebody wears a top: the same garment sits differently on different people."""
    extra = {"tee": 0.003, "long": 0.002, "shirt": 0.005, "jacket": 0.012, "hoodie": 0.014,
             "coat": 0.014, "tank": 0.0}[top.kind]  # fmt: skip
    hem = rng.uniform(-0.16, 0.02)
    tucked = bool(rng.random() < 0.18 and top.kind in ("tee", "long", "shirt", "tank"))
    return replace(
        top,
        hem=hem,
        tucked=tucked,
        looseness=rng.uniform(0.004, 0.011) + extra,
        neckline=rng.uniform(0.0, 0.06),
    )


def _combine(
    top: Top, bottom: Bottom, accessories: Accessories, rng: np.random.Generator
) -> Outfit:
    """Put garments together; under a coat trousers take a skirt's place."""
    if top.kind == "coat" and bottom.kind in SKIRTS:
        bottom = replace(bottom, kind="slim", leg=2.05, ease=0.004, hang=0.6, skirt_length=0.0)
    return Outfit(_wear(top, rng), bottom, accessories)


def _unlike_skin(colour: np.ndarray) -> np.ndarray:
    """Return the colour (3,), turned to green or violet if it could be taken for bare skin."""
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    if 0.015 < hue < 0.14 and saturation > 0.18 and value > 0.25:
        turn = 0.2 if (1000.0 * value) % 1.0 < 0.5 else 0.65
        return np.array(colorsys.hsv_to_rgb(hue + turn, saturation, value))
    return colour


def clearly_dressed(outfit: Outfit) -> Outfit:
    """Return the outfit without skin-coloured tops, leggings and shoes: nobody looks naked."""
    top, bottom = outfit.top, outfit.bottom
    top = replace(
        top,
        colour=_unlike_skin(top.colour),
        second_colour=_unlike_skin(top.second_colour),
        inner_colour=_unlike_skin(top.inner_colour),
    )
    if bottom.kind in ("leggings", "slim"):
        bottom = replace(bottom, colour=_unlike_skin(bottom.colour))
    extras = replace(outfit.accessories, shoes=_unlike_skin(outfit.accessories.shoes))
    return replace(outfit, top=top, bottom=bottom, accessories=extras)


def own_outfit(seed: int, identity: Identity, number: int) -> Outfit:
    """Return outfit ``number`` of someone whose clothes nobody else wears."""
    keys = (0, identity.number, number)
    accessories = generator(seed, Stream.ACCESSORIES, *keys)
    return _combine(
        _sample_top(generator(seed, Stream.TOP, *keys)),
        _sample_bottom(generator(seed, Stream.BOTTOM, *keys), identity.gender),
        _sample_accessories(accessories),
        accessories,
    )


@dataclass(frozen=True)
class SharedWardrobe:
    """A rack of garments that many people wear, so that clothes do not name a person.

    All people share the tops; there is one rack of bottoms per gender label, since skirts are
    drawn for label 0 only. Accessories and the way of wearing stay personal.
    """

    seed: int
    key: int
    """Tells wardrobes of one seed apart; positive."""
    tops: int = 16
    bottoms: int = 10

    def choice(self, identity: Identity, number: int) -> tuple[int, int]:
        """Return which top and which bottom make outfit ``number``; no one repeats a garment."""
        rng = generator(self.seed, Stream.WARDROBE_CHOICE, self.key, identity.number)
        return int(rng.permutation(self.tops)[number]), int(rng.permutation(self.bottoms)[number])

    def outfit(self, identity: Identity, number: int) -> Outfit:
        """Return outfit ``number`` (0 .. bottoms - 1) of ``identity``."""
        top, bottom = self.choice(identity, number)
        rack = 0 if identity.gender == FEMALE else 1
        accessories = generator(self.seed, Stream.ACCESSORIES, self.key, identity.number, number)
        return _combine(
            _sample_top(generator(self.seed, Stream.TOP, self.key, top)),
            _sample_bottom(
                generator(self.seed, Stream.BOTTOM, self.key, rack, bottom), identity.gender
            ),
            _sample_accessories(accessories),
            accessories,
        )
