"""The scripts of benchmarks/ as modules."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def benchmark_script(name: str) -> Any:
    """benchmarks/<name>.py, imported once."""
    known = f"benchmarks_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, ROOT / "benchmarks" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module  # where dataclasses look for it
        spec.loader.exec_module(module)
    return sys.modules[known]
