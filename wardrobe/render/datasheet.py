"""The data card of staged data sets, with the questions of "Datasheets for Datasets".

Gebru et al., Communications of the ACM 64(12), 2021. ``card`` is the card of the first version.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from wardrobe.render.card import USES, WARDROBES, markdown_table, shares, split_rows

_SHEET = """\
# {name}

{images} rendered pictures of {people} synthetic people for clothes-changing person
re-identification, with exact ground truth. Everything here was drawn by `wardrobe.render` from the
seed {seeds}; nothing shows a real person. Version {version}.

**It is synthetic. No number measured on it says anything about a real benchmark**, and no result
on it can confirm or refute a claim about one.

## Motivation
To let anyone run, test and understand the whole method of `rlqkit` without asking for access to
photographs of real people, and to have labels that real data sets lack (joints, clothes masks,
cameras, what is hidden), known without error. Made by the authors of `rlqkit` for that purpose,
without funding.

## Composition
| split | images | identities | outfits each | images per outfit | cameras | clothes |
|---|---|---|---|---|---|---|
{splits}

An *identity* is a body shape, skin, hair, a face and a way of walking; outfits change. For every
outfit of a validation or test identity, half of its cameras (drawn from the seed) are the query
and the others the gallery, so every query has matches in other clothes seen by other cameras.
Identities never occur in two groups. Training people share one wardrobe ({tops} tops, {bottoms}
bottoms per gender label), external people another; validation and test people have clothes of
their own. The external set plays the part of a high-quality data set without clothes labels.
{strangers}

- `images/<split>/PPPP_oO_cCC_N.webp`: identity, outfit, camera, running index; native size.
- `masks/<split>/<same name>.png`: palette PNG, 0 background, 1 top, 2 bottom (trousers, skirts,
  tights), 3 skin, 4 hair or headwear, 5 shoes, 6 face, 7 bag. None for the external split. What
  stands in front of the person, and other people, are 0.
- `samples.csv`: file, split, identity, camera, outfit (0-based within the identity; empty for
  external, although the file names keep a running number), gender, height, width; occluded: 1 if
  something in front hides at least 2 % of the person; passer_by: 1 if somebody else is seen on at
  least 0.5 % of the picture. Rows are shuffled within a split, so that their order finds nobody.
- `joints.csv`: 17 COCO joints per image, `x`, `y` in native pixels and `v`: 1 visible, 0 covered
  by the body, hair, an object or another person, or outside the image. A joint lies inside the
  body: it counts as visible if what covers it is no thicker than flesh and clothes at that joint.
- `dataset.json`: settings, library versions, processor, counts. `SHA256SUMS`:
  `sha256sum -c SHA256SUMS`, or `rlqkit data check {name}`.

Native heights and what else is in the pictures:

{sizes}

Heights are drawn evenly over their logarithms within a range per camera: target cameras
{heights} px, external ones {external_height} px.{why_heights}

## Collection: how it was made
Bodies come from *anny* (parametric, MakeHuman-based) with 35 further local shape changes. Clothes
are the body mesh pushed outwards, open tubes for sleeves and trouser legs, and shirts, coats and
skirts that hang around the posed body; hems, cuffs, collars, wear and wrinkles are painted and
shaded. People walk (85 %) or stand, and face the camera in about half of the pictures. A camera
has one place, outdoors (odd numbers) or indoors: ground, something far behind (a row of buildings,
shops, trees, a wall, a glass front), sky or ceiling, and things that stand about. Every picture is
taken at a random spot of it with its own selection of things, outdoors in sunny, hazy or overcast
weather; so neither background nor light goes with a person. In {occluders} of the pictures
something is put before the person at an edge (bollard, bench, column, railing, planter, bin or a
passer-by; what would hide more than half is taken out again), in {passers_by} one or two people
pass behind. Target cameras differ in height, distance, light, colour cast, gamma, noise, blur
and native image height; external cameras are near and sharp. Boxes are loose, as from a detector.

## Preprocessing and labelling
None besides lossy WebP (quality {quality}). All labels come from the renderer. A picture depends
on (seed, identity, outfit, camera) alone. Drawing it again gives the same bytes on the same
processor and libraries; elsewhere some pictures differ by a few grey levels
(`rlqkit data check {name} --render` tells), and the shipped ones stand.

## Balance
Shares of identities. *Skin tone* is a continuous number from 0 (lightest) to 1 (darkest). *Build*
and *stature* are thirds of the body model's ranges for weight and, within a gender label, height.

{balance}

## Uses
{uses}

## Ethics
All people are synthetic **adults**, always clothed; no child, no real person and no race category
was modelled. The **gender label is binary and appearance-based** (1 male, 0 female) because the
reproduced paper uses such a label. It decides which body shapes, hair styles, make-up and skirts
are drawn: a stereotype, not a fact about people. That is a limit of the paper's attribute and of
this data set. Re-identification is a surveillance technology; this set exists to study the method
without anybody's photograph.

## Known crude spots
Hair is a solid shell with painted strands; wrinkles are only shading; thin cloth can pass through
itself between the legs; hands never hold anything; faces have one expression; the horizontal edge
under the chest where a top begins to hang shows in strong light; leaves and cars are a few flat
faces; what stands far away casts no shadow on the person; no accessories but rucksack, cap and
glasses.

## Distribution, licences and citation
With `rlqkit`, or rendered by `rlqkit data render`. Images, masks and tables: CC0 1.0; at your
choice Apache-2.0. The body model's code is Apache-2.0 (anny, (c) NAVER), its data CC0 (MakeHuman).
Garments, things and places are this kit's own code. No non-commercial data was used.
Cite `rlqkit` (see `CITATION.cff`) with the name and version of this set: {name} {version}.

## Maintenance
A released version never changes; `SHA256SUMS` shows that. Errors are told in the kit's issues and
mended in a new version under a new name, and the old one stays where it is.
"""


_WHY_HEIGHTS = """ LTCC's published size
classes (19 % of its images in 32-64, 51 % in 64-128, 26 % in 128-256) were in view; smaller
pictures are left to the degradations of the method, so that what is called high quality is."""


def _thirds(values: pd.Series, low: float, high: float, names: list[str]) -> pd.Series:
    edges = [low - 1e-6, low + (high - low) / 3, low + 2 * (high - low) / 3, high + 1e-6]
    return pd.cut(values, edges, labels=names).astype(str)


def _percent(values: pd.Series) -> str:
    return f"{100 * values.mean():.0f} %"


def _balance(traits: pd.DataFrame) -> str:
    """Return the table of balance: one row a group of identities."""
    traits = traits.copy()
    traits["tone"] = _thirds(traits["skin_tone"], 0.0, 1.0, ["light", "middle", "dark"])
    # anny's age scale: 2/3 is 25 years old, 1 is 90.
    years = 25.0 + (traits["age"] - 2 / 3).clip(lower=0.0) * 3.0 * 65.0
    bands = ["up to 30", "30-45", "45-60", "over 60"]
    traits["years"] = pd.cut(years, [0, 30, 45, 60, 200], labels=bands).astype(str)
    traits["build"] = _thirds(traits["weight"], 0.22, 0.97, ["slim", "medium", "heavy"])
    in_range = traits["height"] - traits["gender"].map({0: 0.27, 1: 0.22})
    width = traits["gender"].map({0: 0.23, 1: 0.22})
    traits["stature"] = _thirds(in_range / width, 0.0, 1.0, ["short", "medium", "tall"])
    header = ["group", "identities", "male label", "skin tone", "age", "build", "stature", "hair",
              "hair colour", "glasses", "beard"]  # fmt: skip
    rows = []
    for group, people in traits.groupby("group", sort=False):
        rows.append(
            [
                str(group),
                str(len(people)),
                _percent(people["gender"]),
                f"{shares(people['tone'])}; mean {people['skin_tone'].mean():.2f}",
                *(shares(people[k]) for k in ("years", "build", "stature", "hair_style")),
                shares(people["hair_colour"]),
                _percent(people["glasses"]),
                _percent(people["beard"] != "none"),
            ]
        )
    return markdown_table(rows, header)


def _sizes(samples: pd.DataFrame) -> str:
    """Return the table of native heights, occluders and passers-by: one row a split."""
    header = ["split", "5 %", "median", "95 %", "at least 96 px", "occluded", "passer-by"]
    rows = []
    for split, images in samples.groupby("split", sort=True):
        heights = images["height"]
        quantiles = [f"{heights.quantile(q):.0f}" for q in (0.05, 0.5, 0.95)]
        flags = [_percent(images[k]) for k in ("occluded", "passer_by")]
        rows.append([f"`{split}`", *quantiles, _percent(heights >= 96), *flags])
    return markdown_table(rows, header)


def datasheet(
    settings: dict[str, Any],
    samples: pd.DataFrame,
    traits: pd.DataFrame,
    wardrobe_keys: dict[str, int],
) -> str:
    """Return the card's Markdown.

    ``settings`` is ``RenderSpec.settings()`` of a staged specification; ``samples`` is
    ``samples.csv``; ``traits`` has one row per identity with group, gender, skin_tone, hair_style,
    hair_colour, glasses, beard, and anny's age, weight and height; ``wardrobe_keys`` gives each
    split's wardrobe (0: own clothes).
    """
    own_seed = settings.get("people_seed")
    wardrobes = {split: WARDROBES.get(key, "shared") for split, key in wardrobe_keys.items()}
    staging = settings["staging"]
    strangers = (
        f"Validation and test people have a seed of their own ({own_seed}); nothing of the drawing "
        "was tuned on them." if own_seed is not None else "All people come from one seed."
    )  # fmt: skip
    if not settings["train"]["identities"]:
        strangers += " It holds test people alone, for networks trained on another set's people."
    return _SHEET.format(
        name=settings["name"],
        version=settings["version"],
        seeds=settings["seed"],
        images=f"{len(samples):,}",
        people=f"{len(traits):,}",
        uses=USES,
        splits="\n".join("| " + " | ".join(row) + " |" for row in split_rows(samples, wardrobes)),
        tops=settings["wardrobe_tops"],
        bottoms=settings["wardrobe_bottoms"],
        strangers=f"{strangers} {staging['crowd']} more people only ever pass by.",
        sizes=_sizes(samples),
        heights=", ".join(f"{low}-{high}" for low, high in settings["target_heights"]),
        why_heights="" if settings["name"].startswith("custom-") else _WHY_HEIGHTS,
        external_height="{}-{}".format(*settings["external_height"]),
        occluders=f"{100 * staging['occluders']:.0f} %",
        passers_by=f"{100 * staging['passers_by']:.0f} %",
        quality=settings["quality"],
        balance=_balance(traits),
    )
