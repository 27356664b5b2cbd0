"""An executed notebook as one HTML file that needs no network: formulas are drawn into it."""

from __future__ import annotations

import base64
import io
import re
from html import escape
from typing import Any

import matplotlib as mpl
from jinja2 import DictLoader
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from nbconvert import HTMLExporter
from nbformat import NotebookNode

PIECES = re.compile(
    r"(?P<code>```.*?```|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|\$\$(?P<display>.+?)\$\$|(?<![\\$])\$(?P<inline>[^$\n]+)\$",
    re.DOTALL,
)
"""Code, which is left alone, and formulas between dollars."""
SCRIPTS = ("html_head_js", "html_head_js_mathjax", "html_head_js_mermaidjs")
TEMPLATE = "{% extends 'lab/index.html.j2' %}" + "".join(
    f"{{% block {name} %}}{{% endblock %}}" for name in SCRIPTS
)
"""nbconvert's page without the scripts that it would fetch when it is opened."""
SIZED = re.compile(r"\\[bB]igg?[lr]?(?![a-zA-Z])")
"""Commands for larger brackets, which Matplotlib lacks; brackets keep their usual size."""
POINTS = 12.0
LOOK: Any = {
    "mathtext.fontset": "cm", "font.size": POINTS, "figure.constrained_layout.use": False,
    "svg.fonttype": "path", "svg.hashsalt": "formula",
}  # fmt: skip
"""The last makes the same formula the same bytes."""


def page_of(notebook: NotebookNode) -> str:
    """The notebook as HTML, in one piece.

    Args:
        notebook: executed, nbformat 4; it is not changed.
    """
    copy = NotebookNode(notebook, cells=[_with_drawn_formulas(cell) for cell in notebook.cells])
    loader = DictLoader({"offline.html.j2": TEMPLATE})
    exporter = HTMLExporter(template_file="offline.html.j2", extra_loaders=[loader])
    page: str = exporter.from_notebook_node(copy)[0]
    return page


def _with_drawn_formulas(cell: NotebookNode) -> NotebookNode:
    if cell.cell_type != "markdown":
        return cell
    return NotebookNode(cell, source=PIECES.sub(_drawn, cell.source))


def _drawn(found: re.Match[str]) -> str:
    if found["code"]:
        return found["code"]
    image = draw_formula(found["display"] or found["inline"])
    style = "text-align: center; margin: 1em 0"
    return f'<div style="{style}">{image}</div>' if found["display"] else image


def draw_formula(formula: str) -> str:
    """A formula as an HTML image that holds its drawing; its text where it can't be drawn.

    Args:
        formula: TeX as Matplotlib knows it, without dollars.
    """
    text = " ".join(formula.split())
    drawable = f"${SIZED.sub('', text)}$"
    stream = io.BytesIO()
    with mpl.rc_context(LOOK):
        try:
            width, height, depth, *_ = MathTextParser("path").parse(drawable, dpi=72)
        except ValueError:
            return f"<code>{escape(text)}</code>"
        figure = Figure(figsize=(width / 72, height / 72))
        figure.text(0, depth / height, drawable)
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    drawing = base64.b64encode(stream.getvalue()).decode("ascii")
    size = f"height: {height / POINTS:.3f}em; vertical-align: {-depth / POINTS:.3f}em"
    alt = escape(text).replace("|", "&#124;")
    return f'<img alt="{alt}" style="{size}" src="data:image/svg+xml;base64,{drawing}">'
