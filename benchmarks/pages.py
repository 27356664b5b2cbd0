"""Every computed table of the README and of docs/, made anew from what is committed.

    python benchmarks/pages.py            # writes them into their pages
    python benchmarks/pages.py --check    # says which page is not what it should be; exit code 1

A table stands between <!-- name:begin --> and <!-- name:end -->.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the other scripts of this folder

import compute
import gpu
import scale

from rlqkit.config import Config, load_profile
from rlqkit.data.loaders import load_benchmark
from rlqkit.evaluation.imaginary import random_features
from rlqkit.evaluation.protocol import HQ, MIXED, headline, headline_collapse
from rlqkit.report import selection, shipped, studies, tables
from rlqkit.runs.folder import reference_folder
from rlqkit.runs.studies import find_study

ROOT = Path(__file__).resolve().parents[1]
NOWHERE = "/nonexistent"  # a results folder without runs, so that the shipped ones count


def shipped_only(profile: str) -> Config:
    """A profile whose runs are those that came with the kit."""
    return load_profile(profile, {"runtime.results": NOWHERE})


def shipped_results(profile: str) -> tables.Results:
    """The runs of a profile's own rows that came with the kit."""
    shipped_in = str(reference_folder(profile).parent)
    return tables.read_results(load_profile(profile, {"runtime.results": shipped_in}))


def summary(profile: str) -> str:
    """The profile's main table."""
    return tables.summary_as_markdown(shipped_results(profile)).strip() + "\n"


def collapse(profile: str) -> str:
    """Whom LQ images lie next to, by row, and the floor: what random features say."""
    benchmark = load_benchmark(load_profile(profile))
    split = headline(benchmark).query
    random = random_features(benchmark[split].metric_arrays()[0])
    features = dict(zip([(split, HQ), (split, MIXED)], random, strict=True))
    table = tables.collapse_table(shipped_results(profile))
    return tables.collapse_as_markdown(table, headline_collapse(features, benchmark))


def study(profile: str, name: str) -> str:
    """A study's differences."""
    table = studies.study_table(find_study(name), shipped_only(profile))
    return studies.as_markdown(table)


def validation(name: str) -> str:
    """What validation people said of a study's rows on laptop."""
    table = studies.validation_table(find_study(name), shipped_only("laptop"))
    return studies.validation_as_markdown(table)


def selection_rules() -> str:
    """What it adds to choose by the test people."""
    queries = selection.measured(find_study("selection"), shipped_only("laptop"))
    return selection.as_markdown(queries, "rlq", "base")


def other_processor() -> str:
    """The quick runs of another processor minus the shipped ones."""
    other = reference_folder("other-processor")
    config = load_profile("quick", {"runtime.results": str(other)})
    table = shipped.compare(tables.read_results(config), shipped.shipped_results(config))
    return shipped.as_markdown(table)


BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "quick": partial(summary, "quick"),
        "quick-collapse": partial(collapse, "quick"),
        "processor": other_processor,
        **{name: partial(study, "quick", name) for name in ("mean", "parts", "lengths", "autopsy")},
        "laptop": partial(summary, "laptop"),
        "laptop-collapse": partial(collapse, "laptop"),
        **{
            f"laptop-{name}": partial(study, "laptop", name)
            for name in ("rows", "lengths", "own", "mean")
        },
        "laptop-selection": selection_rules,
        "compute": compute.page,
    },
    "docs/own_row.md": {
        "own-validation": partial(validation, "own"),
        "candidates-validation": partial(validation, "candidates"),
        "candidates": partial(study, "laptop", "candidates"),
    },
    "docs/scale.md": {"scale": scale.page},
    "docs/gpu.md": {"steps": gpu.steps, "same": gpu.same_runs},
}
"""Page → name of the table → what it should be."""


def parted(page: str, name: str) -> tuple[str, str, str]:
    """A page's text before a table, the table, and the text after it.

    Raises:
        ValueError: the page has no such table.
    """
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    text = (ROOT / page).read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    table, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no table between {begin.strip()} and {end}")
    return before + begin, table, end + after


def main() -> int:
    """Writes, or checks, every table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check, wrong = parser.parse_args().check, 0
    for page, blocks in BLOCKS.items():
        for name, make in blocks.items():
            before, table, after = parted(page, name)
            if table == (wanted := make()):
                continue
            wrong += 1
            print(f"{page}: {name}" + " is not what is committed" * check)
            if not check:
                (ROOT / page).write_text(before + wanted + after, encoding="utf-8")
    return int(check and wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
