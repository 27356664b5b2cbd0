"""The data card that is shipped with the images, after "Datasheets for Datasets"."""

from __future__ import annotations

import pandas as pd

USES = """\
- Good for: teaching, tests, comparing training recipes with each other under known conditions,
  studying low-quality image features, checking evaluation code.
- Not good for: training or judging anything that is used on real people; claims about accuracy on
  real data; claims about fairness (the balance above is that of a random generator)."""

_CARD = """\
# {name}

{images} rendered pictures of {people} synthetic people for clothes-changing person
re-identification, with exact ground truth. Everything here was drawn by `wardrobe.render` from the
seed {seed}; nothing shows a real person.

## Why
To let anyone run, test and understand the whole method of `rlqkit` without asking for access to
photographs of real people, and to have labels that real data sets lack (joints, clothes masks,
cameras), known without error.

**It is synthetic. No number measured on it says anything about a real benchmark**, and no result
on it can confirm or refute a claim about one.

## What is in it
| split | images | identities | outfits each | images per outfit | cameras | clothes |
|---|---|---|---|---|---|---|
{splits}

An *identity* is a body shape, skin, hair, face furniture and a way of walking; outfits change.
For every outfit of a validation or test identity, two of the four cameras (drawn from the seed)
are the query and the other two the gallery, so every query has matches in other clothes seen by
other cameras. Identities never occur in two groups. Training people share one wardrobe (16 tops,
10 bottoms per gender label), external people another; validation and test people have clothes of
their own. The external set plays the part of a high-quality data set without clothes labels.

- `images/<split>/PPPP_oO_cCC_N.webp`: identity, outfit, camera, running index; native size.
- `masks/<split>/<same name>.png`: palette PNG, 0 background, 1 top, 2 bottom (trousers, skirts,
  tights), 3 skin, 4 hair or headwear, 5 shoes, 6 face, 7 bag. None for the external split.
- `samples.csv`: file, split, identity, camera, outfit (0-based within the identity; empty for
  external, although the file names keep a running number), gender, height, width.
- `joints.csv`: 17 COCO joints per image, `x`, `y` in native pixels and `v`: 1 visible, 0 covered
  by the body, hair or an object, or outside the image. A joint lies inside the body: it counts as
  visible if what covers it is no thicker than flesh and clothes at that joint.
- `dataset.json`: settings, library versions, counts. `SHA256SUMS`: `sha256sum -c SHA256SUMS`.

## How it was made
Bodies come from *anny* (parametric, MakeHuman-based) with 35 further local shape changes. Clothes
are the body mesh pushed outwards, open tubes for sleeves and trouser legs, and shirts, coats and
skirts that hang around the posed body. People walk (85 %) or stand, face the camera in about half
of the pictures, and stand at a random place of the camera's scene, so that no background goes
with a person. Four target cameras differ in height, distance, light, colour cast, gamma, noise,
blur and native image height; 40 external cameras are near and sharp. Boxes are loose, as from a
detector. Images are lossy WebP; a picture depends on (seed, identity, outfit, camera) alone.
Regeneration is bit-identical on one machine and library set; elsewhere compare with the sums.

## Balance
Share of identities. *Skin tone* is a continuous number from 0 (lightest) to 1 (darkest).

{balance}

## Good for, and not good for
{uses}

## Ethics
All people are synthetic **adults**, always clothed; no child, no real person and no race category
was modelled. The **gender label is binary and appearance-based** (1 male, 0 female) because the
reproduced paper uses such a label. It decides which body shapes, hair styles and skirts are drawn:
a stereotype, not a fact about people. That is a limit of the paper's attribute and of this data
set. Re-identification is a surveillance technology; this set exists to study the method without
anybody's photograph.

## Known crude spots
Hair is a solid shell; cloth does not wrinkle when limbs bend, and its folds are only shading; thin
cloth can pass through itself between the legs; hands never hold anything; faces have one
expression; the horizontal edge under the chest where a top begins to hang shows in strong light;
no accessories but rucksack, cap and glasses; nobody is hidden behind something or someone else.

## Licences and citation
Images, masks and tables: CC0 1.0; at your choice Apache-2.0. The body model's code is Apache-2.0
(anny, (c) NAVER), its data CC0 (MakeHuman). No non-commercial data was used.
Cite `rlqkit` (see `CITATION.cff`) with the name and version of this set: {name} {version}.
"""

WARDROBES = {0: "own", 1: "shared", 2: "shared (another)"}


def markdown_table(rows: list[list[str]], header: list[str]) -> str:
    """Return rows of cells below a header as a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shares(values: pd.Series) -> str:
    """Return the shares of a column's values, most frequent first."""
    found = (
        values.value_counts(normalize=True).sort_index().sort_values(ascending=False, kind="stable")
    )
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in found.items())


def _balance_rows(traits: pd.DataFrame) -> list[list[str]]:
    rows = []
    for group, people in traits.groupby("group", sort=False):
        tone = people["skin_tone"]
        thirds = pd.cut(tone, [-0.01, 1 / 3, 2 / 3, 1.0], labels=["light", "middle", "dark"])
        rows.append(
            [
                str(group),
                str(len(people)),
                f"{100 * people['gender'].mean():.0f} %",
                f"{shares(thirds.astype(str))}; mean {tone.mean():.2f}",
                shares(people["hair_style"]),
                shares(people["hair_colour"]),
                f"{100 * people['glasses'].mean():.0f} %",
                f"{100 * (people['beard'] != 'none').mean():.0f} %",
            ]
        )
    return rows


def split_rows(samples: pd.DataFrame, wardrobes: dict[str, str]) -> list[list[str]]:
    """Return name, images, identities, outfits, cameras and wardrobe of each split, as cells."""
    rows = []
    for split, images in samples.groupby("split", sort=True):
        outfits = images["file"].str.extract(r"_o(\d+)_")[0]
        per_identity = outfits.groupby(images["identity"]).nunique()
        per_outfit = len(images) / per_identity.sum()
        rows.append(
            [
                f"`{split}`",
                str(len(images)),
                str(images["identity"].nunique()),
                f"{per_identity.mean():.0f}",
                f"{per_outfit:.0f}",
                str(images["camera"].nunique()),
                wardrobes[str(split)],
            ]
        )
    return rows


def data_card(
    name: str,
    version: str,
    seed: int,
    samples: pd.DataFrame,
    traits: pd.DataFrame,
    wardrobe_keys: dict[str, int],
) -> str:
    """Return the card's Markdown.

    ``samples`` is ``samples.csv``; ``traits`` has one row per identity with group, gender,
    skin_tone, hair_style, hair_colour, glasses and beard; ``wardrobe_keys`` gives each split's
    wardrobe (0: own clothes).
    """
    wardrobes = {split: WARDROBES.get(key, "shared") for split, key in wardrobe_keys.items()}
    header = ["group", "identities", "male label", "skin tone", "hair", "hair colour", "glasses",
              "beard"]  # fmt: skip
    return _CARD.format(
        name=name,
        version=version,
        seed=seed,
        images=f"{len(samples):,}",
        people=len(traits),
        uses=USES,
        splits="\n".join("| " + " | ".join(row) + " |" for row in split_rows(samples, wardrobes)),
        balance=markdown_table(_balance_rows(traits), header),
    )
