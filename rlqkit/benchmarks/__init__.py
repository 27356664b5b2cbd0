"""The published benchmarks LTCC, PRCC, LaST, DeepChange, Celeb-reID, as their authors lay them out.

The kit ships none of them: a user points at a folder. Each module holds one idea: `layouts` finds a
data set's folder and turns file names into samples, one module a data set (`ltcc`, `prcc`, ...)
says how; `index` lists files fast and remembers the list; `labels`, `keypoints` and `masks` (and
`naming`) read what CAP and recolouring need; `validation` carves validation identities; `check`
compares everything with what was published (`published`).
"""

from __future__ import annotations

from rlqkit.benchmarks.registry import LAYOUTS, load_published
from rlqkit.benchmarks.validation import carve_validation

__all__ = ["LAYOUTS", "carve_validation", "load_published"]
