"""docs/scale.md holds what benchmarks/scale.py computes, digit by digit."""

import importlib.util
import sys

import pytest
from workflow_commands import ROOT


def test_page_is_what_the_script_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    file = ROOT / "benchmarks" / "scale.py"
    spec = importlib.util.spec_from_file_location("scale", file)
    assert spec is not None and spec.loader is not None
    scale = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "scale", scale)  # where its dataclasses look for it
    spec.loader.exec_module(scale)
    written = scale.PAGE.read_text(encoding="utf-8")
    shown = written.partition(scale.BEGIN)[2].partition(scale.END)[0]
    assert shown == scale.page(), "run python benchmarks/scale.py --write"
