"""An executed notebook as one HTML file that needs no network: formulas are drawn into it."""

from __future__ import annotations

import base64
import io
import mimetypes
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from jinja2 import DictLoader
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from rlqkit.report.solutions import MARK

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
"""Where notebooks lie, and so what the pictures in their text are relative to."""
PIECES = re.compile(
    r"(?P<code>```.*?```|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|\$\$(?P<display>.+?)\$\$|(?<![\\$])\$(?P<inline>[^$\n]+)\$",
    re.DOTALL,
)
"""Code, which is left alone, and formulas between dollars."""
SCRIPTS = ("html_head_js", "html_head_js_mathjax", "html_head_js_mermaidjs", "jupyter_widgets")
TEMPLATE = (
    "{% extends 'lab/index.html.j2' %}"
    + "".join(f"{{% block {name} %}}{{% endblock %}}" for name in SCRIPTS)
    + """
{% block html_head_css %}<style>{{ resources.look }}</style>{% endblock %}
{% block body_header %}{{ super() }}{{ resources.bar }}{% endblock %}
{% block body_footer %}{{ resources.bar }}{{ super() }}{% endblock %}
{% block input_group %}
{%- set first = cell.source.split('\\n')[0] -%}
{%- if first.endswith(resources.mark) -%}
<details class="solution"><summary>{{ first[2:-(resources.mark|length)] }}: a solution</summary>
{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{% endblock %}"""
)
"""nbconvert's page without the scripts that it would fetch when it is opened, solutions folded."""
STYLE = """
main { max-width: 62rem; margin: 0 auto; }
nav.bar { display: flex; justify-content: space-between; gap: 1rem; padding: .6rem 1rem;
  font-family: system-ui, sans-serif; font-size: .9rem; border-bottom: 1px solid #d9d9d9; }
nav.bar a { color: #1a5fb4; text-decoration: none; }
nav.bar a:hover { text-decoration: underline; }
nav.bar span { flex: 1; } nav.bar span:nth-child(2) { text-align: center; }
nav.bar span:last-child { text-align: right; }
details { margin: .4rem 0; } summary { cursor: pointer; }
details.solution { padding-left: 4.5rem; font-family: system-ui, sans-serif; font-size: .9rem; }
details.solution .jp-InputPrompt { display: none; }
p.data { padding: .3rem 1rem; background: #fff3cd; font-family: system-ui, sans-serif; margin: 0;
  font-size: .85rem; }
"""
PICTURE = re.compile(r'(?P<before><img\b[^>]*?\bsrc=")(?![a-z]+:)(?P<file>[^"]+)"')
"""A picture in a notebook's text that lies in a file."""
SIZED = re.compile(r"\\[bB]igg?[lr]?(?![a-zA-Z])")
"""Commands for larger brackets, which Matplotlib lacks; brackets keep their usual size."""
POINTS = 12.0
LOOK: Any = {
    "mathtext.fontset": "cm", "font.size": POINTS, "figure.constrained_layout.use": False,
    "svg.fonttype": "path", "svg.hashsalt": "formula",
}  # fmt: skip
"""The last makes the same formula the same bytes."""


def page_of(notebook: NotebookNode, title: str = "Notebook", bar: str = "") -> str:
    """The notebook as HTML, in one piece.

    Args:
        notebook: executed, nbformat 4; it is not changed.
        title: of the browser's tab.
        bar: HTML for the top and the bottom of the page.
    """
    copy = NotebookNode(notebook, cells=[_with_drawn_formulas(cell) for cell in notebook.cells])
    page: str = _exporter().from_notebook_node(
        copy,
        resources={
            "metadata": {"name": title},
            "look": STYLE, "bar": bar, "mark": MARK,
        },
    )[0]  # fmt: skip
    return PICTURE.sub(_with_its_bytes, page)


@cache
def _exporter() -> HTMLExporter:
    """One for all pages, as compiling the templates takes longer than a page."""
    loader = DictLoader({"offline.html.j2": TEMPLATE})
    return HTMLExporter(template_file="offline.html.j2", extra_loaders=[loader])


def _with_its_bytes(found: re.Match[str]) -> str:
    """A picture of the clone becomes part of the page; nbconvert's own way breaks <details>."""
    file = NOTEBOOKS / found["file"]
    kind, _ = mimetypes.guess_type(file)
    if not file.is_file() or kind is None:
        return found[0]
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    return f'{found["before"]}data:{kind};base64,{data}"'


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


@cache
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
