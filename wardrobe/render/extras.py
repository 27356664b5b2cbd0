"""Import of the heavy packages that only the generator needs."""

from __future__ import annotations

import importlib
from types import ModuleType

from rlqkit.errors import RlqkitError


def require(module: str) -> ModuleType:
    """Return the imported ``module`` or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RlqkitError(
            f"Rendering people needs the package {module!r}: pip install rlqkit[render]"
        ) from error
