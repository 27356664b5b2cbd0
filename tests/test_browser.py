"""The browser of the page tests notices what a page must not do."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import REQUIRED, Browser, find_browser

PAGE = "<!doctype html><meta charset=utf-8><title>x</title><h1 id=a>Here</h1>"
STRANGERS = ("https://example.org/a.png", "http://192.0.2.1/b.js", "ws://example.org/c")


def page(folder: Path, body: str) -> Path:
    file = folder / "page.html"
    file.write_text(PAGE + body, encoding="utf-8")
    return file


def test_a_page_of_its_own_stays_here(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "other.js").write_text("document.body.dataset.other = 'yes'", encoding="utf-8")
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
    body = f"<script src=other.js></script><img src='{pixel}'>"
    assert browser.open(page(tmp_path, body)) > 0
    assert browser.run("return document.body.dataset.other") == "yes"
    assert browser.strangers() == [] and any(a.endswith("other.js") for a in browser.requested)
    assert browser.screenshot(tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_every_way_out_is_noticed_and_leads_nowhere(browser: Browser, tmp_path: Path) -> None:
    image, script, socket = STRANGERS
    body = f"<img src={image}><script src={script}></script><script>new WebSocket('{socket}')"
    browser.open(page(tmp_path, body + "</script>"))
    browser.wait(lambda: set(STRANGERS) <= set(browser.strangers()))
    assert browser.run("return document.images[0].naturalWidth") == 0
    browser.errors(), browser.requested.clear()


def test_a_failing_script_is_noticed(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, "<script>nobody.knows()</script>"))
    assert "nobody is not defined" in "".join(browser.errors())


def test_it_may_not_be_skipped_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no chromium"):
        find_browser()
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="must be one"):
        find_browser()
