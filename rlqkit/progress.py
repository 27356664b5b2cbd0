"""What long work says while it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tqdm import tqdm

Say = Callable[[str], None]
"""Receives one line for each finished piece of work."""
Item = TypeVar("Item")
INTERVAL = 30.0
"""Seconds between two lines where standard error is no terminal."""


def minutes(seconds: float) -> str:
    """A time as a person says it: "42 s", "12.5 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def bar(iterable: Iterable[Item] | None = None, desc: str = "", **options: Any) -> tqdm[Item]:
    """A progress bar on a terminal; in a log file, a line every half minute.

    Args:
        iterable: what is worked through; None = the caller calls ``update``.
        desc: what the work is called.
        options: of tqdm: total, initial, unit, disable, …

    Returns:
        A tqdm, to be iterated over or used in a ``with``.
    """
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    return (tqdm if on_terminal else Lines)(iterable, desc, **options)


class Lines(tqdm):
    """A tqdm that writes whole lines, few of them; work of less than ``INTERVAL`` writes none."""

    spoken: float | None = None
    """When the last line was written; at first, when the work began."""
    told: float | None = None
    """How much was done at the last line; None = no line yet."""

    def __init__(self, iterable: Any, desc: str, **options: Any) -> None:
        super().__init__(iterable, desc, **options | {"leave": False, "position": 0})

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Writes a line if it is time to; tqdm calls this whenever it would draw a bar."""
        now = self._time()
        if self.spoken is None:
            self.spoken = now
        if msg is None and now - self.spoken >= INTERVAL:
            self._speak(now)
        return False

    def close(self) -> None:
        """Ends with a line if there was one before."""
        if not self.disable and self.told not in (None, self.n):
            self._speak(self._time())
        super().close()

    def clear(self, *_: Any, **__: Any) -> None:
        """There is no bar to clear."""

    def moveto(self, n: int) -> None:
        """There is no bar to go to."""

    def _speak(self, now: float) -> None:
        self.spoken, self.told = now, self.n
        text = f"{self.desc or 'work'}".removesuffix(": ") + f": {self.n:g}"
        rate = (self.n - self.initial) / max(now - self.start_t, 1e-9)
        if self.total:
            text += f" of {self.total:g} {self.unit} ({100 * self.n / self.total:.0f} %)"
        else:
            text += f" {self.unit}"
        text += f", {rate:.3g} {self.unit}/s" if rate >= 0.1 else f", {60 * rate:.2g} a minute"
        if self.total and rate and self.n < self.total:
            text += f", {minutes((self.total - self.n) / rate)} left"
        if self.postfix:
            text += f" ({self.postfix})"
        print(text, file=self.fp, flush=True)
