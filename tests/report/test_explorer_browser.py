"""The explorer's page in a headless Chromium: hover, slide, click, filter, keyboard; no network.

What the page shows is compared with the exploration that it was made of. The fixture `browser`
fails a test whose page asks for anything outside its own file or whose scripts fail.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from rlqkit.report.explorer.gather import Exploration
from rlqkit.report.explorer.maps import STEPS
from rlqkit.report.explorer.page import page_of

PLACE = """
const [v, point] = arguments, doc = Bokeh.documents[0];
const plot = doc.get_model_by_name(`map${v}`), source = doc.get_model_by_name("points");
const box = document.querySelector(`[data-view="${v}"] .map`).getBoundingClientRect();
const share = (value, range) => (value - range.start) / (range.end - range.start);
return [box.left + share(source.data[`x${v}`][point], plot.x_range) * plot.inner_width,
        box.top + (1 - share(source.data[`y${v}`][point], plot.y_range)) * plot.inner_height];
"""
"""Where a point lies in the window, CSS px."""
WINDOW = """
const { x_range, y_range } = Bokeh.documents[0].get_model_by_name(`map${arguments[0]}`);
return [[x_range.start, y_range.start], [x_range.end, y_range.end]];
"""
"""Lower left and upper right corner of what a map shows."""
STILL = "return document.body.dataset.ready === 'yes' && !window.explorer.state.moving"


@pytest.fixture(scope="module")
def page(exploration: Exploration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "explorer.html"
    file.write_text(page_of(exploration), encoding="utf-8")
    return file


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    """The page, open and at rest."""
    browser.open(page)
    browser.wait(STILL)
    return browser


def marks(browser: Browser, view: int) -> dict[str, list[Any]]:
    script = "return Bokeh.documents[0].get_model_by_name(`marks${arguments[0]}`).data"
    return dict(browser.run(script, view))


def drawn_places(browser: Browser, view: int) -> np.ndarray:
    script = """const { data } = Bokeh.documents[0].get_model_by_name("points");
    return [Array.from(data[`x${arguments[0]}`]), Array.from(data[`y${arguments[0]}`])]"""
    return np.array(browser.run(script, view)).T


def chosen(browser: Browser) -> int | None:
    point: int | None = browser.run("return window.explorer.state.chosen")
    return point


def shown(browser: Browser) -> np.ndarray:
    return np.array(
        browser.run("return Bokeh.documents[0].get_model_by_name('shown').booleans"), bool
    )


def set_dial(browser: Browser, kind: str, level: int) -> None:
    Select(browser.driver.find_element(By.ID, "kind")).select_by_value(kind)
    dial = browser.driver.find_element(By.ID, "severity")
    dial.send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * level)
    browser.wait(STILL)


def pointer(browser: Browser, view: int, point: int) -> ActionChains:
    """The pointer over a point, which is brought into the window first."""
    browser.run(
        "document.querySelector(`[data-view='${arguments[0]}'] .map`)"
        ".scrollIntoView({ block: 'end' })",
        view,
    )
    x, y = browser.run(PLACE, view, point)
    actions = ActionChains(browser.driver, duration=20)
    actions.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    return actions


def alone(browser: Browser, view: int, candidates: range) -> int:
    """A point that no other lies near to on the map, so that a pointer can only mean it."""
    places = drawn_places(browser, view)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return int(candidates[int(apart.min(axis=1)[list(candidates)].argmax())])


def words_of(exploration: Exploration, point: int) -> str:
    person, outfit, camera = exploration.people.iloc[point % len(exploration.people)]
    return f"person {person}, outfit {outfit}, camera {camera}"


def test_it_opens_with_a_map_a_network(opened: Browser, exploration: Exploration) -> None:
    mixed = 1
    for number, view in enumerate(exploration.views):
        expected = view.positions[mixed] / STEPS
        assert drawn_places(opened, number) == pytest.approx(expected, abs=1e-6)
        title = opened.driver.find_elements(By.CSS_SELECTOR, ".maps h2")[number].text
        assert title == view.title
        told = opened.driver.find_element(By.ID, f"words-{number}").text
        assert f"right person for {100 * view.figures[mixed]['right']:.0f} %" in told
        canvas = f"return document.querySelectorAll('[data-view=\"{number}\"] .map *').length"
        assert opened.run(canvas) > 0
    assert opened.strangers() == [] and len(opened.requested) > 0


def test_the_dials_move_the_points_and_say_so(opened: Browser, exploration: Exploration) -> None:
    for kind, level, _ in [s for s in exploration.settings if s[1]]:
        number = [s[:2] for s in exploration.settings].index((kind, level))
        set_dial(opened, kind, level)
        for v, view in enumerate(exploration.views):
            assert drawn_places(opened, v) == pytest.approx(view.positions[number] / STEPS)
        text = exploration.settings[number][2]
        dial = opened.driver.find_element(By.ID, "severity")
        assert text in str(dial.get_attribute("aria-valuetext"))
        assert text in opened.driver.find_element(By.ID, "words-0").text
        current = opened.driver.find_elements(By.CSS_SELECTOR, "tr[aria-current]")
        assert [line.get_attribute("data-setting") for line in current] == [str(number)]
        for v in range(len(exploration.views)):
            places = drawn_places(opened, v)
            low, high = opened.run(WINDOW, v)
            assert (places > low).all() and (places < high).all()  # the whole map is in sight
            assert (places.max(axis=0) - places.min(axis=0)).max() > 0.8 * (high[0] - low[0])
    set_dial(opened, "pixelation", 0)
    assert drawn_places(opened, 0) == pytest.approx(exploration.views[0].positions[0] / STEPS)


def test_points_slide_unless_the_reader_wants_calm(opened: Browser) -> None:
    begin = """const kind = document.getElementById("kind"); kind.value = "pixelation";
    kind.dispatchEvent(new Event("change")); return window.explorer.state.moving"""
    assert opened.run(begin) is True
    opened.wait(STILL)
    preference = {"name": "prefers-reduced-motion", "value": "reduce"}
    opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})
    try:
        assert opened.run(begin.replace("pixelation", "mixed LQ")) is False
    finally:
        opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_hovering_shows_the_pair_and_its_neighbours(
    opened: Browser, exploration: Exploration
) -> None:
    count = len(exploration.people)
    for view in (0, 1):
        point = alone(opened, view, range(count, 2 * count))
        pointer(opened, view, point).perform()
        opened.wait(f"return document.getElementById('card').dataset.point === '{point}'")
        card = opened.driver.find_element(By.ID, "card")
        assert card.is_displayed() and words_of(exploration, point) in card.text
        assert exploration.views[view].title in card.text
        pair = card.find_elements(By.CSS_SELECTOR, ".pair canvas")
        assert [c.get_attribute("aria-label").split()[0] for c in pair] == ["HQ", "LQ"]
        near = card.find_elements(By.CSS_SELECTOR, ".near")
        expected = exploration.views[view].nearest[1, point]
        assert [int(n.get_attribute("data-point")) for n in near] == expected.tolist()
        opened.wait("return !document.querySelector('#card canvas:not([data-drawn=photo])')")
    ActionChains(opened.driver).move_to_element(
        opened.driver.find_element(By.ID, "figures-title")
    ).perform()
    assert not opened.driver.find_element(By.ID, "card").is_displayed()


def test_a_click_lists_five_neighbours_in_each_network(
    opened: Browser, exploration: Exploration
) -> None:
    count = len(exploration.people)
    point = alone(opened, 1, range(2 * count))
    actions = pointer(opened, 1, point)
    actions.w3c_actions.pointer_action.click()
    actions.perform()
    opened.wait(f"return window.explorer.state.chosen === {point}")
    detail = opened.driver.find_element(By.ID, "detail")
    assert words_of(exploration, point) in detail.text
    rows = detail.find_elements(By.CSS_SELECTOR, ".row")
    identity = exploration.people["person"].to_numpy()
    for number, (row, view) in enumerate(zip(rows, exploration.views, strict=True)):
        expected = view.nearest[1, point]
        near = row.find_elements(By.CSS_SELECTOR, ".near")
        assert [int(n.get_attribute("data-point")) for n in near] == expected.tolist()
        right = identity[expected % count] == identity[point % count]
        classes = [n.get_attribute("class") for n in near]
        assert classes == [f"near {'right' if r else 'wrong'}" for r in right]
        assert f"{right.sum()} of 5 show the same person" in row.text
        ring = marks(opened, number)
        assert len(ring["x"]) == 5 + 2
        places = drawn_places(opened, number)
        assert [ring["x"][-1], ring["y"][-1]] == pytest.approx(places[point])
    other = rows[0].find_elements(By.CSS_SELECTOR, ".near")[1]
    wanted = int(other.get_attribute("data-point"))
    other.click()
    assert chosen(opened) == wanted


def test_photographs_follow_the_dials(opened: Browser) -> None:
    pixels = """const canvas = document.querySelectorAll("#detail .pair canvas")[arguments[0]];
    return canvas.dataset.drawn === "photo" && canvas.toDataURL()"""
    set_dial(opened, "pixelation", 2)
    opened.wait(lambda: opened.run(pixels, 0) and opened.run(pixels, 1))
    hq, pixelated = opened.run(pixels, 0), opened.run(pixels, 1)
    assert hq != pixelated
    set_dial(opened, "out_of_focus", 2)
    opened.wait(lambda: opened.run(pixels, 0) and opened.run(pixels, 1))
    assert opened.run(pixels, 0) == hq and opened.run(pixels, 1) not in (hq, pixelated)
    set_dial(opened, "out_of_focus", 0)
    opened.wait(lambda: opened.run(pixels, 1) == hq)


def test_filters_hide_points(opened: Browser, exploration: Exploration) -> None:
    people, count = exploration.people, len(exploration.people)
    assert shown(opened).all()
    opened.driver.find_element(By.ID, "show-hq").click()
    assert shown(opened).tolist() == [False] * count + [True] * count
    opened.driver.find_element(By.CSS_SELECTOR, "#camera-filter summary").click()
    camera = int(people["camera"].min())
    opened.driver.find_element(By.CSS_SELECTOR, f"input[name=camera][value='{camera}']").click()
    own = (people["camera"] != camera).to_numpy(copy=True)
    assert shown(opened).tolist() == [False] * count + own.tolist()
    opened.driver.find_element(By.CSS_SELECTOR, "#camera-filter summary").click()
    opened.driver.find_element(By.CSS_SELECTOR, "#people-filter summary").click()
    opened.driver.find_element(By.ID, "people-none").click()
    assert not shown(opened).any()
    person = int(people["person"].max())
    opened.driver.find_element(By.CSS_SELECTOR, f"input[name=person][value='{person}']").click()
    own &= (people["person"] == person).to_numpy()
    assert shown(opened)[count:].tolist() == own.tolist()
    assert "1 of 4" in opened.driver.find_element(By.CSS_SELECTOR, "#people-filter summary").text
    opened.driver.find_element(By.ID, "show-hq").click()
    opened.driver.find_element(By.ID, "lines").click()
    lines = "return Bokeh.documents[0].get_model_by_name('lines1').data.x.length"
    assert opened.run(lines) == own.sum()


def test_hidden_points_can_not_be_picked(opened: Browser, exploration: Exploration) -> None:
    count = len(exploration.people)
    point, before = alone(opened, 0, range(count)), chosen(opened)
    opened.driver.find_element(By.ID, "show-hq").click()
    actions = pointer(opened, 0, point)
    actions.w3c_actions.pointer_action.click()
    actions.perform()
    assert not opened.driver.find_element(By.ID, "card").is_displayed()
    assert chosen(opened) == before


def test_colours_by_neighbour_and_person(opened: Browser, exploration: Exploration) -> None:
    colours = "return Bokeh.documents[0].get_model_by_name('points').data[`colour${arguments[0]}`]"
    wanted = opened.run("return window.explorer.data.colours")
    select = Select(opened.driver.find_element(By.ID, "colour"))
    select.select_by_value("verdict")
    count, identity = len(exploration.people), exploration.people["person"].to_numpy()
    for number, view in enumerate(exploration.views):
        first = view.nearest[1, :, 0]
        own = identity[np.arange(2 * count) % count]
        names = np.where(identity[first % count] == own, "right",
                         np.where(first >= count, "wrong", "other"))  # fmt: skip
        assert opened.run(colours, number) == [wanted[name] for name in names]
    select.select_by_value("person")
    by_person = opened.run(colours, 0)
    pairs = set(zip(by_person, np.tile(identity, 2).tolist(), strict=True))
    assert len(pairs) == len(set(by_person)) == len(set(identity.tolist()))


def test_the_keyboard_reaches_every_point(opened: Browser, exploration: Exploration) -> None:
    count = len(exploration.people)
    opened.run("document.querySelector('.map').focus()")

    def press(*keys: str) -> int | None:
        ActionChains(opened.driver).send_keys(*keys).perform()
        return chosen(opened)

    assert press(Keys.ESCAPE) is None
    assert press(Keys.ARROW_RIGHT) == 0
    places, reached = drawn_places(opened, 0), {0}
    for key, axis, sign in (
        (Keys.ARROW_RIGHT, 0, 1), (Keys.ARROW_UP, 1, 1), (Keys.ARROW_LEFT, 0, -1),
        (Keys.ARROW_DOWN, 1, -1),
    ):  # fmt: skip
        before = chosen(opened)
        after = press(key)
        assert before is not None and after is not None
        assert after == before or sign * (places[after, axis] - places[before, axis]) > 0
        reached.add(after)
    assert len(reached) > 1
    now = chosen(opened)
    assert now is not None and press("q") == (now + count) % (2 * count)
    width = """const { x_range } = Bokeh.documents[0].get_model_by_name("map0");
    return x_range.end - x_range.start"""
    whole = opened.run(width)
    press("+")
    assert opened.run(width) == pytest.approx(0.7 * whole)
    press("0")
    assert opened.run(width) == pytest.approx(whole)
    nearer, _, everything = opened.driver.find_elements(By.CSS_SELECTOR, ".head button")[:3]
    nearer.click()
    assert opened.run(width) == pytest.approx(0.7 * whole)
    everything.click()
    assert opened.run(width) == pytest.approx(whole)
    opened.run("document.getElementById('image').focus()")
    press(Keys.HOME)
    for wanted in range(1, count):
        assert press(Keys.ARROW_DOWN) in (wanted, wanted + count)


def test_tab_visits_every_control_in_order(opened: Browser) -> None:
    opened.run("document.activeElement.blur()")
    seen = []
    for _ in range(60):
        ActionChains(opened.driver).send_keys(Keys.TAB).perform()
        where = """const e = document.activeElement;
        return e.id || e.className || e.name || (e.closest("details") || {}).id || e.tagName"""
        seen.append(opened.run(where))
        if "near" in str(seen[-1]):
            break
    wanted = ["skip", "kind", "severity", "colour", "show-hq", "show-lq", "lines", "people-filter",
              "camera-filter", "map", "map", "image"]  # fmt: skip
    rest = iter(seen)
    assert all(name in rest for name in wanted), seen


def test_everything_has_a_name_for_those_who_can_not_see_it(opened: Browser) -> None:
    nameless = """return [...document.querySelectorAll(
      "input, select, button, canvas[role=img], [role=application], section")].filter((e) => {
        const label = e.closest("label");
        const by = e.getAttribute("aria-labelledby");
        return !(e.getAttribute("aria-label") || e.textContent.trim() || (label
          && label.textContent.trim()) || (by && document.getElementById(by)));
      }).map((e) => e.outerHTML.slice(0, 120))"""
    assert opened.run(nameless) == []
    described = opened.driver.find_elements(By.CSS_SELECTOR, "[aria-describedby]")
    for map_ in described:
        for name in str(map_.get_attribute("aria-describedby")).split():
            assert opened.driver.find_element(By.ID, name).text
    label = opened.run("return document.querySelector('.near').getAttribute('aria-label')")
    assert "person" in label and ("stranger" in label or "the same person" in label)
    assert opened.run("return document.documentElement.lang") == "en"


def test_on_a_narrow_screen_nothing_is_cut_off(opened: Browser) -> None:
    size = {"width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    opened.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        opened.wait("return innerWidth === 420")
        assert opened.run("return document.documentElement.scrollWidth") <= 420
        tops = opened.run(
            "return [...document.querySelectorAll('.maps figure')]"
            ".map((e) => e.getBoundingClientRect().top)"
        )
        assert tops[1] > tops[0]
    finally:
        opened.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("photos", [True, False])
def test_pictures_of_the_page(
    browser: Browser, exploration: Exploration, tmp_path: Path, photos: bool
) -> None:
    """A page without photographs draws the people's numbers in their place."""
    file = tmp_path / "page.html"
    shown = exploration if photos else replace(exploration, sheets=[])
    file.write_text(page_of(shown), encoding="utf-8")
    browser.open(file)
    browser.wait(STILL)
    kind = "photo" if photos else "number"
    browser.wait(f"return !document.querySelector('#detail canvas:not([data-drawn={kind}])')")
    picture = browser.screenshot(tmp_path / "page.png")
    assert picture.stat().st_size > 20_000
