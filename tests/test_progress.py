"""Progress where standard error is no terminal: few lines, with rate and time left."""

from __future__ import annotations

import io
import sys

import pytest
import tqdm.std

from rlqkit.progress import Lines, bar


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tqdm.std, "time", clock)
    return clock


def test_a_line_every_half_minute_with_rate_and_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in bar(range(1000), "export", unit="image"):
        clock.now += 0.1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4  # after 30, 60 and 90 seconds, and at the end
    assert lines[0].startswith("export: 3")
    assert " of 1000 image (30 %)" in lines[0] and "10 image/s, 70 s left" in lines[0]
    assert lines[-1] == "export: 1000 of 1000 image (100 %), 10 image/s"


def test_short_work_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in bar(range(10_000), "reading"):
        clock.now += 0.001
    assert capsys.readouterr().err == ""


def test_what_is_set_beside_the_bar_makes_no_lines_of_its_own(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar(desc="base", total=60, initial=20, unit="step") as steps:
        for _ in range(40):
            clock.now += 12
            steps.update()
            steps.set_postfix(loss=0.5)
            tqdm.tqdm.write("said meanwhile", file=io.StringIO())
    lines = capsys.readouterr().err.splitlines()
    assert 10 <= len(lines) <= 41 * 12 / 30
    assert lines[0].startswith("base: 23 of 60 step (38 %), 5 a minute, 7.4 min left")
    assert lines[1].endswith("min left (loss=0.5)")


def test_work_without_an_end_and_work_that_is_not_shown(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar(unit="person") as people, bar(range(5), disable=True) as hidden:
        for _ in hidden:
            clock.now += 40
        people.update(7)
    assert capsys.readouterr().err == "work: 7 person, 2.1 a minute\n"


def test_a_terminal_has_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := io.StringIO())
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    shown = bar(range(3), "reading", mininterval=0)
    assert not isinstance(shown, Lines)
    assert list(shown) == [0, 1, 2]
    assert "\r" in terminal.getvalue() and "3/3" in terminal.getvalue()
