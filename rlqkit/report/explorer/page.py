"""The explorer's page: one HTML file with everything in it, which forbids itself every request."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.embed import components
from bokeh.models import (
    BooleanFilter,
    CDSView,
    ColumnDataSource,
    CustomJS,
    HoverTool,
    PanTool,
    Range1d,
    Scatter,
    Segment,
    TapTool,
)
from bokeh.plotting import figure
from bokeh.resources import Resources
from jinja2 import Environment, FileSystemLoader, select_autoescape
from numpy.typing import NDArray

from rlqkit import __version__
from rlqkit.files import atomically
from rlqkit.report.explorer import thumbnails
from rlqkit.report.explorer.choice import MOST_IMAGES
from rlqkit.report.explorer.gather import Exploration, View, explore
from rlqkit.report.explorer.maps import NEIGHBOURHOOD, STEPS
from rlqkit.report.explorer.neighbours import NEIGHBOURS
from rlqkit.report.style import (
    CORRECT_COLOUR,
    GREY,
    HQ_COLOUR,
    KIND_TITLES,
    LQ_COLOUR,
    WRONG_COLOUR,
)
from rlqkit.runs.folder import RunFolder

HERE = Path(__file__).parent
COSINE_STEPS = 127
"""Cosines are kept in 8 bits."""
MARGIN = 0.04
"""Around a map, in units of its side."""
TITLES = {"untouched": "untouched", "mixed LQ": "mixed, as in the tests", **KIND_TITLES}


def write_explorer(
    folders: Sequence[RunFolder], file: Path, most: int = MOST_IMAGES, photos: bool = True
) -> Path:
    """Writes the page of several runs.

    Args:
        folders: trained or imported runs with weights.
        file: where to; replaced if it is there.
        most: bound on the number of images.
        photos: whether thumbnails of the images go into the page.

    Raises:
        RlqkitError: see ``gather.explore``.
    """
    page = page_of(explore(folders, most, photos))
    with atomically(file) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return file


def page_of(exploration: Exploration) -> str:
    """The page as HTML, in one piece."""
    script, places = components(_maps(exploration), wrap_script=False)
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=select_autoescape(), trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    lines = [
        {
            "setting": number,
            "name": _name(kind, text),
            "figures": [view.figures[number] for view in exploration.views],
        }
        for number, (kind, _, text) in enumerate(exploration.settings)
    ]
    return environment.get_template("page.html").render(
        bokeh=Resources(mode="inline", minified=True, components=["bokeh"]).render_js(),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        maps=script,
        places=places,
        data=_json(page_data(exploration)),
        program=(HERE / "page.js").read_text(encoding="utf-8"),
        exploration=exploration,
        people=sorted(set(exploration.people["person"])),
        cameras=sorted(set(exploration.people["camera"])),
        kinds=_kinds(exploration),
        lines=lines,
        percent=_percent,
        neighbourhood=NEIGHBOURHOOD,
        neighbours=NEIGHBOURS,
        version=__version__,
    )


def page_data(exploration: Exploration) -> dict[str, Any]:
    """What the page's program reads: numbers in base 64, little-endian."""
    cell = exploration.cell
    return {
        "people": exploration.people.to_dict(orient="list"),
        "settings": [
            {"kind": kind, "level": level, "text": text, "name": _name(kind, text)}
            for kind, level, text in exploration.settings
        ],
        "steps": STEPS,
        "cosineSteps": COSINE_STEPS,
        "neighbours": NEIGHBOURS,
        "margin": MARGIN,
        "cell": cell,
        "columns": thumbnails.columns(len(exploration.people), cell),
        "photos": bool(exploration.sheets),
        "sheets": exploration.sheets,
        "colours": {
            "hq": HQ_COLOUR, "lq": LQ_COLOUR, "right": CORRECT_COLOUR, "wrong": WRONG_COLOUR,
            "other": GREY,
        },
        "views": [_view_data(view) for view in exploration.views],
        "chance": exploration.chance,
    }  # fmt: skip


def _view_data(view: View) -> dict[str, Any]:
    return {
        "title": view.title,
        "positions": _packed(view.positions, "<u2"),
        "nearest": _packed(view.nearest, "<u2"),
        "cosines": _packed(np.rint(view.cosines * COSINE_STEPS), "i1"),
        "figures": [
            {name: None if math.isnan(value) else round(value, 4) for name, value in line.items()}
            for line in view.figures
        ],
    }


def _packed(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode("ascii")


def _json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _name(kind: str, text: str) -> str:
    return f"{TITLES[kind]}: {text}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.0f} %"


def _kinds(exploration: Exploration) -> list[tuple[str, str]]:
    """The degradations that the page's select offers: value and words."""
    kinds = dict.fromkeys(kind for kind, level, _ in exploration.settings if level)
    return [(kind, TITLES[kind]) for kind in kinds]


def _maps(exploration: Exploration) -> list[figure]:
    """One map a network; all draw from one source, so that what is picked in one is in all."""
    points, count = len(exploration.people), len(exploration.views)
    columns: dict[str, Any] = {
        f"{axis}{v}": np.zeros(2 * points) for v in range(count) for axis in "xy"
    }
    colours = [HQ_COLOUR] * points + [LQ_COLOUR] * points
    source = ColumnDataSource(
        {
            **columns,
            **{f"colour{v}": colours for v in range(count)},
            "marker": ["circle"] * points + ["triangle"] * points,
            "size": [7.0] * points + [8.5] * points,
        },
        name="points",
    )
    source.selected.js_on_change(
        "indices", CustomJS(code="window.explorer && window.explorer.picked(cb_obj.indices)")
    )
    shown = BooleanFilter(booleans=[True] * 2 * points, name="shown")
    return [_map(source, shown, number) for number in range(count)]


def _map(source: ColumnDataSource, shown: BooleanFilter, number: int) -> figure:
    plot = figure(
        name=f"map{number}", tools=[PanTool()], toolbar_location=None,
        sizing_mode="stretch_width", aspect_ratio=1, x_range=_range(), y_range=_range(),
        min_border=0, outline_line_color=None, border_fill_color=None,
        background_fill_color="#fbfbfc", output_backend="canvas",
    )  # fmt: skip
    plot.axis.visible = False
    plot.grid.visible = False
    lines = ColumnDataSource({name: [] for name in ("x", "y", "u", "v")}, name=f"lines{number}")
    plot.add_glyph(
        lines,
        Segment(x0="x", y0="y", x1="u", y1="v", line_color=GREY, line_alpha=0.45, line_width=1),
    )
    view = CDSView(filter=shown)
    drawn = plot.add_glyph(
        source,
        Scatter(
            x=f"x{number}", y=f"y{number}", marker="marker", size="size", line_color="white",
            line_width=0.5, fill_color=f"colour{number}", fill_alpha=0.72,
        ),
        view=view,
        selection_glyph=None, nonselection_glyph=None, hover_glyph=None,
    )  # fmt: skip
    names = ("x", "y", "size", "line", "width", "marker")
    marks = ColumnDataSource({name: [] for name in names}, name=f"marks{number}")
    plot.add_glyph(
        marks,
        Scatter(
            x="x", y="y", marker="marker", size="size", fill_color=None, line_color="line",
            line_width="width",
        ),
    )  # fmt: skip
    told = f"window.explorer && window.explorer.hovered({number}, cb_data)"
    hover = HoverTool(tooltips=None, renderers=[drawn], callback=CustomJS(code=told), visible=False)
    plot.add_tools(hover, TapTool(renderers=[drawn], visible=False))
    return plot


def _range() -> Range1d:
    return Range1d(-MARGIN, 1 + MARGIN)
