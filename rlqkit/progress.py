"""What long work says while it runs."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]
"""Receives one line for each finished piece of work."""


def minutes(seconds: float) -> str:
    """A time as a person says it: "42 s", "12.5 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
