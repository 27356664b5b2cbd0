"""Which model made which labels: `labelled.json` beside them, written by `rlqkit data label`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlqkit.errors import RlqkitError

PROVENANCE = "labelled.json"


def provenance(folder: Path) -> dict[str, dict[str, Any]]:
    """File or folder of estimated labels -> model, revision, date, versions, number of images.

    Raises:
        RlqkitError: the file can't be read, or holds something else.
    """
    file = folder / PROVENANCE
    if not file.is_file():
        return {}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RlqkitError(f"{file} can't be read ({error}): restore or delete it") from None
    if not isinstance(told, dict) or not all(isinstance(one, dict) for one in told.values()):
        raise RlqkitError(f"{file} doesn't say which model made which labels: delete it")
    return told
