"""HTML copies of notebooks: formulas are drawn, and nothing is fetched."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from rlqkit.report.page import NOTEBOOKS, PIECES, draw_formula, page_of


class Addresses(HTMLParser):
    """Collects what a page would fetch when it is opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_script = tag == "script"
        for name, value in attrs:
            fetched = name == "src" or (name == "href" and tag == "link")
            if fetched and value and not value.startswith("data:"):
                self.found.append(f"{tag} {value}")

    def handle_data(self, data: str) -> None:
        if self.in_script:
            self.found += re.findall(r"https?://[^\s\"']+", data)


def page_with(source: str) -> str:
    return page_of(new_notebook(cells=[new_markdown_cell(source), new_code_cell("cost = '$1$'")]))


@pytest.mark.parametrize("file", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda file: file.stem)
def test_no_page_needs_a_network(file: object) -> None:
    page = page_of(nbformat.read(file, as_version=4))
    assert Addresses(page).found == []
    assert "<style" in page and "jp-Notebook" in page


@pytest.mark.parametrize("file", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda file: file.stem)
def test_every_formula_of_the_notebooks_can_be_drawn(file: object) -> None:
    cells = nbformat.read(file, as_version=4).cells
    for cell in cells:
        for found in PIECES.finditer(cell.source if cell.cell_type == "markdown" else ""):
            if not found["code"]:
                formula = found["display"] or found["inline"]
                assert draw_formula(formula).startswith("<img"), formula


def test_formulas_become_drawings_and_code_stays() -> None:
    page = page_with("Where $x_1 | y$ and\n\n$$\\frac{a}{b}\n + c$$\n\nbut `echo $HOME$` is $5.")
    drawings = re.findall(r'<img alt="([^"]*)"[^>]*base64,([^"]*)"', page)
    assert [alt for alt, _ in drawings] == ["x_1 | y", "\\frac{a}{b} + c"]
    assert all(b"<svg" in base64.b64decode(drawing) for _, drawing in drawings)
    assert "<code>echo $HOME$</code>" in page and "$$" not in page
    assert "cost" in page and "$1$" in page  # code cells are not touched


def test_a_drawing_is_the_same_bytes_and_an_unknown_command_its_text() -> None:
    assert draw_formula("x^2") == draw_formula("x^2")
    assert draw_formula("\\nosuchcommand < 1") == "<code>\\nosuchcommand &lt; 1</code>"


def test_the_notebook_itself_is_not_changed() -> None:
    notebook = new_notebook(cells=[new_markdown_cell("$x$")])
    page_of(notebook)
    assert notebook.cells[0].source == "$x$"


def test_pictures_of_the_clone_become_part_of_the_page() -> None:
    source = '![method](../docs/figures/method.svg) <img alt="a" src="../docs/figures/none.png">'
    page = page_with(source)
    drawing = (NOTEBOOKS.parent / "docs" / "figures" / "method.svg").read_bytes()
    assert f"data:image/svg+xml;base64,{base64.b64encode(drawing).decode()}" in page
    assert "../docs/figures/method.svg" not in page and "../docs/figures/none.png" in page


def test_boxes_stay_round_their_tables() -> None:
    page = page_with("<details><summary>Words</summary>\n\n| a |\n|---|\n| $x$ |\n\n</details>")
    assert re.search(
        r"<details><summary>Words</summary>\s*<table>.*</table>\s*</details>", page, re.S
    )


def test_pasted_solutions_are_folded_and_nothing_else() -> None:
    solved = "# Exercise 4.1 (solution)\nanswer = 1"
    cells = [new_code_cell(solved), new_code_cell("# Exercise 4.2\nanswer = ...")]
    page = page_of(new_notebook(cells=cells), "04", "<nav>way</nav>")
    folded = re.findall(r"<details.*?</details>", page, re.DOTALL)
    assert len(folded) == 1
    assert "<summary>Exercise 4.1: a solution</summary>" in folded[0] and "4.2" not in folded[0]
    assert page.count("<nav>way</nav>") == 2 and "<title>04</title>" in page


def test_widgets_bring_no_script() -> None:
    notebook = new_notebook(cells=[new_code_cell("slider")], metadata={"widgets": {"a": {}}})
    assert Addresses(page_of(notebook)).found == []
