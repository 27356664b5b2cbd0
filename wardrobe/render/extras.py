"""Import of the heavy packages that only the generator needs."""

from __future__ import annotations

import importlib
from types import ModuleType

from rlqkit.errors import RlqkitError

INSTALL = ".venv/bin/python -m pip install -e '.[render]'"
"""From the folder of a clone, whose environment lies in it."""


def require(module: str) -> ModuleType:
    """Return the imported ``module``.

    Raises:
        RlqkitError: it isn't installed; the message holds the command that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RlqkitError(
            f"rendering people needs the package {module!r}: in the clone, {INSTALL}"
        ) from error
