"""Contact sheets: a rendered folder at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw

MASK_COLOURS = (
    (0, 0, 0), (220, 60, 60), (60, 90, 220), (240, 200, 160), (120, 70, 20), (240, 240, 60),
    (255, 150, 200), (60, 200, 90),
)  # fmt: skip
"""RGB per label 0..7, the palette of the shipped masks."""
LIMBS = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12),
    (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
VISIBLE, HIDDEN = (40, 255, 40), (255, 60, 60)


def mask_path(folder: Path, file: str) -> Path:
    """Return where the mask of ``file`` (``images/<split>/name.webp``) lies; external has none."""
    return folder / Path("masks", *Path(file).parts[1:]).with_suffix(".png")


def _overlay_mask(image: Image.Image, path: Path) -> Image.Image:
    """Tint the image with the colours of its labels."""
    if not path.exists():
        return image
    mask = Image.open(path)
    tinted = Image.blend(image, mask.convert("RGB"), 0.45)
    return Image.composite(tinted, image, mask.convert("L", dither=None).point(_not_black))


def _not_black(value: int) -> int:
    return 255 if value else 0


def _draw_joints(image: Image.Image, row: pd.Series, scale: float) -> None:
    """Draw the skeleton; visible joints green, hidden ones red."""
    draw = ImageDraw.Draw(image)
    points = [(row[f"x{i}"] * scale, row[f"y{i}"] * scale) for i in range(17)]
    for a, b in LIMBS:
        draw.line([points[a], points[b]], fill=(255, 255, 255))
    for i, (x, y) in enumerate(points):
        draw.ellipse([x - 2, y - 2, x + 2, y + 2], fill=VISIBLE if row[f"v{i}"] else HIDDEN)


def contact_sheet(
    folder: Path,
    out: Path,
    *,
    splits: Sequence[str] | None = None,
    identities: Sequence[int] | None = None,
    per_row: int = 12,
    tile_height: int = 200,
    masks: bool = False,
    joints: bool = False,
) -> None:
    """Draw pictures of ``identities`` in ``splits`` (all if None) from a rendered folder to a PNG.

    Each identity starts a new row; within it pictures go by outfit, then camera. All are scaled to
    ``tile_height`` pixels. ``masks`` tints labels; ``joints`` draws skeletons (green: visible).
    """
    samples = pd.read_csv(folder / "samples.csv")
    samples = samples.merge(pd.read_csv(folder / "joints.csv"), on="file", validate="1:1")
    if splits is not None:
        samples = samples[samples["split"].isin(list(splits))]
    if identities is not None:
        samples = samples[samples["identity"].isin(list(identities))]
    samples = samples.sort_values(["identity", "outfit", "camera", "file"])
    rows: list[list[Image.Image]] = []
    for _, group in samples.groupby("identity", sort=True):
        tiles = [_tile(folder, row, tile_height, masks, joints) for _, row in group.iterrows()]
        rows += [tiles[i : i + per_row] for i in range(0, len(tiles), per_row)]
    _paste_rows(rows, tile_height).save(out)


def _tile(folder: Path, row: pd.Series, height: int, masks: bool, joints: bool) -> Image.Image:
    image = Image.open(folder / row["file"]).convert("RGB")
    if masks:
        image = _overlay_mask(image, mask_path(folder, row["file"]))
    scale = height / image.height
    image = image.resize((max(1, round(image.width * scale)), height), Image.Resampling.BICUBIC)
    if joints:
        _draw_joints(image, row, scale)
    return image


def _paste_rows(rows: list[list[Image.Image]], height: int, gap: int = 4) -> Image.Image:
    """Return one white page with the tiles, row by row."""
    width = max((sum(t.width + gap for t in row) for row in rows), default=gap)
    page = Image.new("RGB", (width, max(len(rows) * (height + gap), gap)), "white")
    for i, row in enumerate(rows):
        x = 0
        for tile in row:
            page.paste(tile, (x, i * (height + gap)))
            x += tile.width + gap
    return page
