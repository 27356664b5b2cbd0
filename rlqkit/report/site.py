"""The executed notebooks as a small static site that needs no network and no server.

    results/<profile>/site/
        index.html              the reading order
        00_tour.html, …         one page a notebook, with the way to the one before and after
        look.css                what all pages share

The reading order is that of the links in ``notebooks/index.ipynb``, which ``make lab`` opens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from rlqkit.config import Config
from rlqkit.errors import RlqkitError
from rlqkit.files import atomically
from rlqkit.progress import Say
from rlqkit.report.execute import execute_notebooks
from rlqkit.report.page import NOTEBOOKS, page_of
from rlqkit.report.solutions import solutions_file
from rlqkit.report.style import is_synthetic
from rlqkit.runs.folder import profile_folder

INDEX, LOOK = "index", "look.css"
LINK = re.compile(r"\]\((\w+)\.ipynb\)")
"""A link to another notebook, in Markdown."""
ADDRESS = re.compile(r'<a\b[^>]*?\bhref="(?P<to>[^"]*)"[^>]*>(?P<text>.*?)</a>', re.DOTALL)
SHARED = re.compile(r"<style[^>]*>(.*?)</style>\s*", re.DOTALL)


def reading_order(notebooks: Path) -> list[str]:
    """Names of the notebooks in the order in which they are meant to be read.

    Args:
        notebooks: their folder.

    Raises:
        RlqkitError: there is no index, it names a notebook that isn't there, or leaves one out.
    """
    file = notebooks / f"{INDEX}.ipynb"
    if not file.is_file():
        raise RlqkitError(f"{file} is missing; the kit runs from its repository")
    order = list(dict.fromkeys(LINK.findall(_prose(nbformat.read(file, as_version=4)))))
    there = {source.stem for source in notebooks.glob("[0-9][0-9]_*.ipynb")}
    odd = sorted(there.symmetric_difference(order))
    if odd:
        what = "isn't in the reading order of" if odd[0] in there else "isn't there; mend"
        raise RlqkitError(f"notebook {odd[0]} {what} {file}")
    return order


def write_site(config: Config, say: Say = print) -> Path:
    """Writes ``results/<profile>/site``; notebooks without a fresh executed copy run first.

    Args:
        config: whose results.
        say: receives a line for each notebook that is executed.

    Returns:
        The first page.

    Raises:
        RlqkitError: a notebook failed; the reading order doesn't fit the notebooks.
    """
    order = reading_order(NOTEBOOKS)
    executed = profile_folder(config) / "notebooks"
    stale = [name for name in order if not _fresh(executed / f"{name}.ipynb")]
    if stale:
        execute_notebooks(config, say, only=stale)
    pages = {name: nbformat.read(executed / f"{name}.ipynb", as_version=4) for name in order}
    index = nbformat.read(NOTEBOOKS / f"{INDEX}.ipynb", as_version=4)
    return build_site(index, pages, profile_folder(config) / "site", data_line(config))


def _fresh(executed: Path) -> bool:
    """Whether a notebook was executed after its source and its solutions were last changed."""
    source = NOTEBOOKS / executed.name
    changed = [file.stat().st_mtime for file in (source, solutions_file(source)) if file.is_file()]
    return executed.is_file() and executed.stat().st_mtime >= max(changed)


def data_line(config: Config) -> str:
    """What stands on each page about the data behind its figures."""
    data = config.data
    text = f"{data.dataset}, profile {config.profile}, {data.height} x {data.width}"
    if is_synthetic(data):
        text += ". SYNTHETIC data: rendered people. No figure here is a result on a real benchmark."
    return text


def build_site(
    index: NotebookNode, pages: Mapping[str, NotebookNode], folder: Path, about: str = ""
) -> Path:
    """Writes a site of notebooks.

    Args:
        index: first page.
        pages: name → executed notebook, in reading order.
        folder: receives the files; pages of other notebooks in it are removed.
        about: a line on every page.

    Returns:
        The first page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    titles = {name: title_of(page, name) for name, page in pages.items()}
    sources = {INDEX: index, **pages}
    for old in folder.glob("*.html"):
        if old.stem not in sources:
            old.unlink()
    look: list[str] = []
    for name, notebook in sources.items():
        bar = _bar(name, titles) + f'<p class="data">{escape(about)}</p>' * bool(about)
        html = page_of(notebook, titles.get(name, title_of(index, INDEX)), bar)
        look += [style for style in SHARED.findall(html) if style not in look]
        html = SHARED.sub("", html).replace(
            "</head>", f'<link rel="stylesheet" href="{LOOK}">\n</head>', 1
        )
        _write(folder / f"{name}.html", ADDRESS.sub(lambda found: _link(found, sources), html))
    _write(folder / LOOK, "\n".join(look))
    return folder / f"{INDEX}.html"


def _write(file: Path, text: str) -> None:
    with atomically(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def title_of(notebook: NotebookNode, name: str) -> str:
    """First heading of a notebook, or its name."""
    found = re.search(r"^# (.+)$", _prose(notebook), re.MULTILINE)
    return found[1].strip() if found else name


def _prose(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def _bar(name: str, titles: Mapping[str, str]) -> str:
    """The way to the page before, to the reading order and to the page after."""
    before, after = neighbours(name, list(titles))
    links = (
        f'<a rel="prev" href="{before}.html">← {escape(titles[before])}</a>' if before else "",
        "" if name == INDEX else f'<a rel="contents" href="{INDEX}.html">Reading order</a>',
        f'<a rel="next" href="{after}.html">{escape(titles[after])} →</a>' if after else "",
    )
    return f'<nav class="bar">{"".join(f"<span>{link}</span>" for link in links)}</nav>'


def neighbours(name: str, order: Sequence[str]) -> tuple[str, str]:
    """Names of the notebooks before and after one; "" at the ends, the index before the first."""
    chain = ["", *order, ""]
    if name not in order:
        return "", chain[1]
    place = chain.index(name)
    return chain[place - 1], chain[place + 1]


def _link(found: re.Match[str], pages: Mapping[str, NotebookNode]) -> str:
    """A link to a notebook becomes one to its page; one to another file of the clone its text."""
    to = found["to"]
    name, _, fragment = to.partition("#")
    if not name or re.match(r"[a-z]+:", to):
        return found[0]
    file = Path(name)
    if file.parent == Path(".") and file.stem in pages and file.suffix in (".ipynb", ".html"):
        there = f"{file.stem}.html" + f"#{fragment}" * bool(fragment)
        return found[0].replace(f'href="{to}"', f'href="{there}"')
    return found["text"]
