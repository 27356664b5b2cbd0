"""A short part of tests/fuzz.py: spoilt inputs end in one line and exit code 2."""

from pathlib import Path

from fuzz import fuzz


def test_spoilt_inputs_end_in_one_line(tmp_path: Path) -> None:
    assert fuzz(tmp_path, seed=1, cases=60) == []
