"""The site of the notebooks: its order, its links, and a walk through it in a real browser."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from browser import Browser
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from rlqkit.config import Config, load_profile
from rlqkit.errors import RlqkitError
from rlqkit.report import site
from rlqkit.report.page import NOTEBOOKS
from rlqkit.report.site import LOOK, build_site, neighbours, reading_order, write_site

NAMES = ("00_first", "01_second", "02_third")
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)


def notebook(name: str, before: str, after: str) -> NotebookNode:
    """An executed notebook with all that pages have to cope with."""
    words = "<details><summary>Words</summary>\n\n| word | means |\n|---|---|\n| $f_2$ | map |\n\n"
    ways = f"**Previous:** [p]({before}.ipynb) · **Next:** [n]({after}.ipynb#claim)"
    picture = new_output("display_data", data={"image/png": PICTURE, "text/plain": "a figure"})
    cells = [
        new_markdown_cell(f"# {name[:2]} · Title of {name[3:]}\n\nThe sum is $\\frac{{a}}{{b}}$."),
        new_markdown_cell(f"{words}</details>\n\nSee [the training page](../docs/training.md)."),
        new_code_cell(
            "print('shown')", execution_count=1, outputs=[new_output("stream", text="shown\n")]
        ),
        new_code_cell("draw()", execution_count=2, outputs=[picture]),
        new_code_cell(
            f"# Exercise {int(name[:2])}.1 (solution)\nanswer = 'the secret'",
            metadata={"tags": ["exercise"]},
        ),
        new_markdown_cell(ways),
    ]
    for place, cell in enumerate(cells):
        cell.id = f"cell-{place}"
    return new_notebook(cells=cells)


def built(folder: Path) -> Path:
    chain = ("index", *NAMES, "index")
    pages = {
        name: notebook(name, chain[place], chain[place + 2]) for place, name in enumerate(NAMES)
    }
    links = "\n".join(f"- [{name}]({name}.ipynb)" for name in NAMES)
    index = new_notebook(cells=[new_markdown_cell(f"# Reading order\n\n{links}", id="order")])
    return build_site(index, pages, folder, "rendered data. SYNTHETIC")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """First page of a site of three notebooks."""
    return built(tmp_path_factory.mktemp("site"))


def addresses(html: str) -> list[str]:
    body = html[html.index("<body") :]
    return re.findall(r'\b(?:href|src)="([^"]*)"', body)


def test_every_link_leads_to_a_page_of_the_site(page: Path) -> None:
    files = sorted(page.parent.iterdir())
    assert [file.name for file in files] == sorted(
        [LOOK, "index.html", *(f"{name}.html" for name in NAMES)]
    )
    for file in page.parent.glob("*.html"):
        html = file.read_text(encoding="utf-8")
        assert f'href="{LOOK}"' in html and "<style" not in html
        for address in addresses(html):
            if not address.startswith(("#", "data:")):
                assert (file.parent / address.partition("#")[0]).is_file(), address
        assert "../docs" not in html  # the page that isn't here is text
    assert "training page" in (page.parent / "00_first.html").read_text(encoding="utf-8")


def test_a_site_is_the_same_bytes_and_old_pages_go(page: Path, tmp_path: Path) -> None:
    (tmp_path / "99_old.html").touch()
    (tmp_path / "notes.txt").touch()
    built(tmp_path)
    assert not (tmp_path / "99_old.html").exists() and (tmp_path / "notes.txt").exists()
    for file in page.parent.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_neighbours() -> None:
    assert neighbours("index", NAMES) == ("", "00_first")
    assert neighbours("00_first", NAMES) == ("", "01_second")
    assert neighbours("01_second", NAMES) == ("00_first", "02_third")
    assert neighbours("02_third", NAMES) == ("01_second", "")


# --------------------------------------------------------------------------------- in a browser


def test_a_walk_through_the_site(page: Path, browser: Browser) -> None:
    """From the index to the last page and back by the links alone; all is drawn."""
    browser.open(page)
    browser.wait(title("== 'Reading order'"))
    browser.run("document.querySelector('main a[href=\"00_first.html\"]').click()")
    for place, name in enumerate(NAMES):
        browser.wait(title(f".startsWith('{name[:2]} · ')"))
        assert "SYNTHETIC" in browser.run("return document.body.innerText")
        sizes = browser.run("return [...document.images].map(i => [i.complete, i.naturalWidth])")
        assert len(sizes) == 3 and all(complete and width > 0 for complete, width in sizes)
        check_folding(browser)
        if place < len(NAMES) - 1:
            browser.run("document.querySelector('a[rel=next]').click()")
    browser.run("[...document.querySelectorAll('a[rel=prev]')].at(-1).click()")  # at the bottom
    browser.wait(title(".startsWith('01 · ')"))
    browser.run("[...document.querySelectorAll('main a')].find(a => a.innerText == 'n').click()")
    browser.wait(title(".startsWith('02 · ')"))
    browser.run("document.querySelector('a[rel=contents]').click()")
    browser.wait(title("== 'Reading order'"))


def title(condition: str) -> str:
    """A script that says whether the page is all there and its title fulfils a condition.

    The title is read before the rest of a page, which may be long in coming on a busy machine.
    """
    return f"return document.readyState == 'complete' && document.title {condition}"


def check_folding(browser: Browser) -> None:
    """Words and solutions are folded, and unfold by a click."""
    shown = "return document.body.innerText"
    assert "the secret" not in browser.run(shown) and "means" not in browser.run(shown)
    browser.run("document.querySelectorAll('summary').forEach(s => s.click())")
    assert "the secret" in browser.run(shown) and "means" in browser.run(shown)
    assert "a solution" in browser.run(shown)


def test_pages_of_the_real_notebooks_open_and_fetch_nothing(
    tmp_path: Path, browser: Browser
) -> None:  # fmt: skip
    """Their sources: formulas drawn, tables and boxes laid out, nothing wider than the page."""
    sources = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    pages = {file.stem: nbformat.read(file, as_version=4) for file in sources}
    index = nbformat.read(NOTEBOOKS / "index.ipynb", as_version=4)
    first = build_site(index, pages, tmp_path)
    browser.open(first)
    for name in pages:
        browser.open(tmp_path / f"{name}.html")
        broken = "return [...document.images].filter(i => !i.naturalWidth).map(i => i.alt)"
        assert browser.run(broken) == [], name
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.run(wide) <= 0, name
        assert "$$" not in browser.run("return document.querySelector('main').innerText"), name


# ------------------------------------------------------------------------- from a results folder


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of notebooks, of which 01_second was never executed and 02_third is stale."""
    folder, executed = tmp_path / "notebooks", tmp_path / "results" / "smoke" / "notebooks"
    (folder / "solutions").mkdir(parents=True)
    executed.mkdir(parents=True)
    links = "\n".join(f"- [{name}]({name}.ipynb)" for name in NAMES)
    index = new_notebook(cells=[new_markdown_cell(f"# Reading order\n\n{links}")])
    (folder / "index.ipynb").write_text(nbformat.writes(index), encoding="utf-8")
    for name in NAMES:
        for place in (folder, executed):
            source = nbformat.writes(notebook(name, "index", "index"))
            (place / f"{name}.ipynb").write_text(source, encoding="utf-8")
            os.utime(place / f"{name}.ipynb", (1, 1))
    (executed / "01_second.ipynb").unlink()
    (folder / "solutions" / "02_third.py").touch()
    monkeypatch.setattr(site, "NOTEBOOKS", folder)
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_profile("smoke", {"runtime.results": str(tmp_path / "results")})


def test_only_missing_and_stale_notebooks_are_executed(
    kit: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def pretend(config: Config, say: object, only: list[str]) -> None:
        asked.extend(only)
        target = Path(config.runtime.results) / "smoke" / "notebooks"
        for name in only:
            source = nbformat.writes(notebook(name, "index", "index"))
            (target / f"{name}.ipynb").write_text(source, encoding="utf-8")

    monkeypatch.setattr(site, "execute_notebooks", pretend)
    first = write_site(config)
    assert asked == ["01_second", "02_third"]
    assert first == Path(config.runtime.results) / "smoke" / "site" / "index.html"
    html = (first.parent / "01_second.html").read_text(encoding="utf-8")
    assert "wardrobe-v2, profile smoke" in html and "SYNTHETIC data" in html
    write_site(config)
    assert asked == ["01_second", "02_third"]  # all fresh now


def test_an_index_that_does_not_fit_is_named(kit: Path) -> None:
    assert reading_order(kit) == list(NAMES)
    (kit / "03_new.ipynb").write_text(nbformat.writes(new_notebook()), encoding="utf-8")
    with pytest.raises(RlqkitError, match="03_new isn't in the reading order"):
        reading_order(kit)
    (kit / "03_new.ipynb").unlink()
    (kit / "01_second.ipynb").unlink()
    with pytest.raises(RlqkitError, match="01_second isn't there"):
        reading_order(kit)
    (kit / "index.ipynb").unlink()
    with pytest.raises(RlqkitError, match="index.ipynb is missing"):
        reading_order(kit)


def test_make_lab_opens_the_index() -> None:
    makefile = (NOTEBOOKS.parent / "Makefile").read_text(encoding="utf-8")
    opened = re.search(
        r"jupyterlab .*default_url=/lab/tree/(\S+) .*notebooks$", makefile, re.MULTILINE
    )
    assert opened and (NOTEBOOKS / opened[1]).is_file() and opened[1] == f"{site.INDEX}.ipynb"
