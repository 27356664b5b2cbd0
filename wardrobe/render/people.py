"""Who someone is: body shape, skin, hair, face and gait, drawn at random per identity.

Adults only; no race phenotypes, but one continuous skin tone. The gender label is the coarse,
binary, appearance-based one that the reproduced paper uses: 1 male, 0 female.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardrobe.render.body import LOCAL_CHANGES
from wardrobe.render.gait import GaitHabits
from wardrobe.render.streams import Stream, generator

MALE, FEMALE = 1, 0
ADULT_AGE = 0.63
"""Smallest age parameter that is drawn; anny's scale puts a 25-year-old at 2/3."""
SHAPE_SPREAD = 0.6
"""Standard deviation of the local shape changes before they are clipped to +-0.95."""

HAIR_COLOURS = {
    "black": (0.035, 0.03, 0.03), "dark": (0.09, 0.06, 0.045), "brown": (0.22, 0.13, 0.075),
    "blond": (0.62, 0.47, 0.26), "red": (0.42, 0.16, 0.07), "grey": (0.55, 0.54, 0.52),
}  # fmt: skip
HAIR_COLOUR_CHANCES = {
    "light": (0.34, 0.24, 0.18, 0.12, 0.05, 0.07), "dark": (0.72, 0.20, 0.02, 0.0, 0.0, 0.06),
}  # fmt: skip
HAIR_STYLES = ("bald", "buzz", "short", "medium", "bun", "pony", "long", "shoulder", "afro")
HAIR_STYLE_CHANCES = {
    FEMALE: (0.0, 0.03, 0.12, 0.12, 0.14, 0.17, 0.20, 0.14, 0.08),
    MALE: (0.12, 0.20, 0.34, 0.14, 0.04, 0.03, 0.03, 0.02, 0.08),
}
SKIN_STOPS = np.array(
    [
        [0.94, 0.78, 0.69],
        [0.86, 0.66, 0.53],
        [0.72, 0.51, 0.37],
        [0.52, 0.35, 0.24],
        [0.30, 0.19, 0.13],
    ]
)
"""(5, 3) sRGB colours at skin tones 0, .25, .5, .75 and 1."""


@dataclass(frozen=True)
class Face:
    """What makes a face somebody's own; shares in [0, 1]. Drawn where ``detail`` is asked for."""

    iris: np.ndarray
    """(3,) sRGB."""
    blush: float
    freckles: float
    lines: float
    """Of age."""
    lipstick: float
    eyeliner: float
    curl: float
    """0 straight hair .. 1 curly."""
    parting: float
    """-1 right .. 1 left."""


@dataclass(frozen=True)
class Identity:
    """Everything about a person that does not change with clothes."""

    number: int
    gender: int
    """1 male, 0 female: an appearance-based label, by which shape and hair are drawn."""
    phenotype: dict[str, float]
    """anny's global parameters, each in [0, 1]."""
    local: dict[str, float]
    """anny's local shape changes, each in [-0.95, 0.95] or a little beyond for the head."""
    skin_tone: float
    """0 lightest .. 1 darkest, continuous."""
    skin: np.ndarray
    """(3,) sRGB in [0, 1]."""
    hair_colour: str
    hair: np.ndarray
    """(3,) sRGB in [0, 1]."""
    hair_style: str
    hair_thickness: float
    """0.7..1.3; scales thickness and length."""
    beard: str
    """"none", "stubble" or "full"."""
    brow: float
    """0.6..1.3; thickness of the eyebrows."""
    lips: float
    """0..0.5; how much redder the lips are than the skin."""
    glasses: bool
    gait: GaitHabits
    face: Face


def _phenotype(rng: np.random.Generator, gender: int) -> dict[str, float]:
    """Draw anny's global parameters of an adult; 0.5 is already tall on its height scale."""
    male = gender == MALE
    return {
        "gender": rng.uniform(0.0, 0.12) if male else rng.uniform(0.88, 1.0),
        "age": float(np.clip(ADULT_AGE + 0.36 * rng.beta(1.3, 2.2), ADULT_AGE, 1.0)),
        "muscle": rng.uniform(0.35, 0.8) if male else rng.uniform(0.3, 0.65),
        "weight": float(np.clip(0.22 + 0.75 * rng.beta(1.6, 1.8), 0.0, 1.0)),
        "height": rng.uniform(0.22, 0.44) if male else rng.uniform(0.27, 0.50),
        "proportions": rng.uniform(0.35, 0.95),
    }


def _local_changes(
    rng: np.random.Generator, phenotype: dict[str, float], shape_spread: float
) -> dict[str, float]:
    """Draw the local shape changes; those of belly and face follow weight and age."""

    def spread(sigma: float) -> float:
        return float(np.clip(rng.normal(0.0, sigma), -0.95, 0.95))

    local = {name: spread(shape_spread) for name in LOCAL_CHANGES}
    local["stomach-pregnant-incr"] = max(0.0, spread(0.22))
    local["head-age-incr"] = max(0.0, 2.2 * (phenotype["age"] - 0.68))
    local["head-fat-incr"] = spread(0.35) + 0.5 * (phenotype["weight"] - 0.5)
    return local


def _gait_habits(rng: np.random.Generator) -> GaitHabits:
    return GaitHabits(
        stride=rng.uniform(0.7, 1.15),
        arm_swing=rng.uniform(10.0, 30.0),
        arm_abduction=rng.uniform(3.0, 11.0),
        elbow_bend=rng.uniform(6.0, 26.0),
        lean=rng.uniform(-3.0, 6.0),
        slouch=rng.uniform(-3.0, 9.0),
        head_pitch=rng.uniform(-6.0, 8.0),
        arm_back=rng.uniform(-3.0, 6.0),
        narrowness=rng.uniform(0.5, 3.5),
    )


def _face(rng: np.random.Generator, gender: int, age: float, tone: float) -> Face:
    irises = [(0.08, 0.06, 0.05), (0.20, 0.12, 0.07), (0.25, 0.35, 0.45), (0.25, 0.30, 0.18)]
    dark = [0.55, 0.45, 0.0, 0.0] if tone > 0.45 else [0.25, 0.35, 0.25, 0.15]
    made_up = rng.random() < (0.45 if gender == FEMALE else 0.0)
    return Face(
        iris=np.array(irises[int(rng.choice(4, p=dark))]),
        blush=rng.uniform(0.0, 1.0) * (1.0 - 0.6 * tone),
        freckles=rng.uniform(0.4, 1.0) if rng.random() < 0.15 and tone < 0.4 else 0.0,
        lines=float(np.clip((age - 0.68) / 0.25, 0.0, 1.0)),
        lipstick=rng.uniform(0.3, 0.8) if made_up else 0.0,
        eyeliner=rng.uniform(0.5, 1.0) if made_up else rng.uniform(0.0, 0.4),
        curl=rng.random(),
        parting=float(rng.choice([-1.0, 0.0, 1.0])),
    )


def skin_colour(tone: float, rng: np.random.Generator) -> np.ndarray:
    """Return the sRGB colour (3,) of a skin tone in [0, 1], with a small individual tint."""
    stops = np.arange(len(SKIN_STOPS))
    colour = [np.interp(tone * stops[-1], stops, channel) for channel in SKIN_STOPS.T]
    return np.clip(np.array(colour) * (1.0 + rng.normal(0.0, 0.025, 3)), 0.0, 1.0)


def sample_identity(seed: int, number: int, shape_spread: float = SHAPE_SPREAD) -> Identity:
    """Return the person ``number``; the same arguments always give the same person.

    ``shape_spread`` is the standard deviation of the local shape changes: the larger, the more
    two bodies differ.
    """
    rng = generator(seed, Stream.IDENTITY, number)
    gender = MALE if rng.random() < 0.5 else FEMALE
    phenotype = _phenotype(rng, gender)
    local = _local_changes(rng, phenotype, shape_spread)
    tone = float(rng.beta(1.1, 1.4))
    colour_chances = HAIR_COLOUR_CHANCES["light" if tone < 0.55 else "dark"]
    hair_colour = str(rng.choice(list(HAIR_COLOURS), p=colour_chances))
    hair = np.array(HAIR_COLOURS[hair_colour]) * rng.uniform(0.75, 1.25)
    beard = str(rng.choice(["none", "stubble", "full"], p=[0.55, 0.25, 0.20]))
    return Identity(
        number=number,
        gender=gender,
        phenotype=phenotype,
        local=local,
        skin_tone=tone,
        skin=skin_colour(tone, rng),
        hair_colour=hair_colour,
        hair=np.clip(hair, 0.0, 1.0),
        hair_style=str(rng.choice(HAIR_STYLES, p=HAIR_STYLE_CHANCES[gender])),
        hair_thickness=rng.uniform(0.7, 1.3),
        beard=beard if gender == MALE else "none",
        brow=rng.uniform(0.6, 1.3),
        lips=rng.uniform(0.0, 0.35) + (0.0 if gender == MALE else 0.15),
        glasses=bool(rng.random() < 0.15),
        gait=_gait_habits(rng),
        face=_face(generator(seed, Stream.FACE, number), gender, phenotype["age"], tone),
    )
