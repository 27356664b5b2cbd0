"""A headless Chromium that pages are opened in, without a network, every request written down.

Tests take the fixture ``browser``. Where there is no Chromium they are skipped with the reason;
with RLQKIT_BROWSER_REQUIRED=1 they fail instead. After each test nothing may have been asked for
outside the page's own file and this machine, and no script may have failed.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

REQUIRED = "RLQKIT_BROWSER_REQUIRED"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--hide-scrollbars", "--force-device-scale-factor=1",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)  # fmt: skip
"""The last makes every name unknown, so that what a page would fetch can't arrive."""
OWN_SCHEMES = ("file", "data", "blob", "about", "devtools", "chrome")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass
class Browser:
    """One Chromium and what its pages asked for since the test began.

    Attributes:
        driver: Selenium's, for all that has no method here.
        requested: addresses of every request so far; ``strangers`` brings it up to date.
    """

    driver: webdriver.Chrome
    requested: list[str] = field(default_factory=list)

    def open(self, page: Path | str) -> float:
        """Opens a file (or an address) and waits for its load event.

        Returns:
            Seconds from the start of the navigation to the end of the load event.
        """
        address = page.resolve().as_uri() if isinstance(page, Path) else page
        self.driver.get(address)
        timing = self.run("return performance.getEntriesByType('navigation')[0].toJSON()")
        return float(timing["loadEventEnd"]) / 1000

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns in the page; ``arguments`` are its ``arguments``."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str | Callable[[], Any], seconds: float = 30) -> Any:
        """Waits until a script (or a function) gives something true, and returns it."""
        ask = (lambda: self.run(condition)) if isinstance(condition, str) else condition
        end = time.monotonic() + seconds
        while not (found := ask()):
            assert time.monotonic() < end, f"not within {seconds} s: {condition}"
            time.sleep(0.05)
        return found

    def screenshot(self, file: Path, whole: bool = True) -> Path:
        """Writes a PNG of the whole page, or of what the window shows."""
        options = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            options["clip"] = {**size, "scale": 1}
        picture = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
        file.write_bytes(base64.b64decode(picture))
        return file

    def strangers(self) -> list[str]:
        """Addresses asked for that lie neither in a file nor on this machine."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self.requested.append(message["params"]["url"])
        return [address for address in self.requested if not _stays_here(address)]

    def errors(self) -> list[str]:
        """What the pages' scripts have complained of since the last call."""
        log = self.driver.get_log("browser")
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


def _stays_here(address: str) -> bool:
    parts = urlsplit(address[:2048])
    return parts.scheme in OWN_SCHEMES or parts.hostname in LOOPBACK


def find_browser() -> tuple[str, str]:
    """Chromium and its driver, by their paths; skips the test (or fails it) without them."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    driver = shutil.which("chromedriver")
    if program and driver:
        return program, driver
    reason = "no chromium with chromedriver on the path (Debian: chromium, chromium-driver)"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{reason}, and {REQUIRED}=1 says that there must be one")
    pytest.skip(reason)


def start_chromium(program: str, driver: str, profile: Path) -> webdriver.Chrome:
    """A headless Chromium with a fresh profile; both programs are given, none is looked up."""
    os.environ.update(SE_OFFLINE="true", SE_AVOID_STATS="true")
    options = Options()
    options.binary_location = program
    for switch in (*SWITCHES, f"--user-data-dir={profile}", "--window-size=1600,1000"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One Chromium for all tests; see ``browser``."""
    driver = start_chromium(*find_browser(), tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> Iterator[Browser]:
    """A page to open things in; whatever it asks for outside this machine fails the test."""
    chromium.get("about:blank")
    opened = Browser(chromium)
    opened.strangers(), opened.errors()  # what came before the test is none of its business
    opened.requested.clear()
    yield opened
    assert opened.strangers() == []
    assert opened.errors() == []
