"""What the whole run matrix costs on the published data sets: GPU hours, memory, disk, 100 users.

    python benchmarks/scale.py    # prints the tables; pages.py puts them into docs/scale.md

Everything is arithmetic on published image counts and on the networks themselves; no image is read,
nothing is trained and no GPU is needed. Hours are operations divided by an assumed speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from rlqkit.config import Config, load_profile
from rlqkit.method.rows import find_row
from rlqkit.runs.costs import GPU_TERAFLOPS, Cost, Sizes, estimate, gpu_throughput, published_sizes
from rlqkit.runs.plan import planned_runs
from rlqkit.runs.space import GPU_ALLOWANCE, TYPICAL_IMAGE, Space, clothes_classes, space_of

DATASETS = ("ltcc", "prcc", "last", "deepchange")
SPEEDS = (GPU_TERAFLOPS / 2, GPU_TERAFLOPS, 2 * GPU_TERAFLOPS)
"""Assumed 10^12 operations a second that a GPU sustains."""
USERS, DAYS, BUSY = 100, 7, 0.8
"""Users who all want the matrix, within so many days, on GPUs busy for this share of the time."""
RARELY = 15.0
"""Minutes between checkpoints where the file system is the bottleneck."""
GB, TB = 1e9, 1e12


@dataclass(frozen=True)
class Planned:
    """One run with what it costs."""

    config: Config
    cost: Cost
    space: Space

    @property
    def title(self) -> str:
        """How tables call its row."""
        return find_row(self.config.row).title


def sizes(dataset: str) -> Sizes:
    """Published sizes of a data set and of the external one."""
    found = published_sizes(load_profile("paper", {"data.dataset": dataset}))
    assert found is not None
    return found


@cache
def matrix(dataset: str) -> tuple[Planned, ...]:
    """All runs of the paper profile on a data set: the teacher, then every row with every seed."""
    config, found = load_profile("paper", {"data.dataset": dataset}), sizes(dataset)
    return tuple(
        Planned(run, estimate(run, found, gpu_throughput()), space_of(run, found))
        for run in planned_runs(config)
    )


def hours(runs: tuple[Planned, ...], teraflops: float = GPU_TERAFLOPS) -> float:
    """GPU hours of runs at a speed."""
    return sum(run.cost.tera for run in runs) / teraflops / 3600


def table(header: list[str], lines: list[list[str]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = "|---" + "|---:" * (len(header) - 1) + "|"
    first, *rest = (f"| {' | '.join(cells)} |" for cells in (header, *lines))
    return "\n".join([first, rule, *rest])


def number(value: float) -> str:
    """Three digits that count, thousands apart."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def hours_table() -> str:
    """A line a data set, and their sum."""
    header = ["data set", "runs", "images, 10⁶", "operations, 10¹⁸"]
    header += [f"GPU hours at {speed:g}" for speed in SPEEDS]
    header += [f"longest run at {GPU_TERAFLOPS:g}, hours", "images/s to prepare"]
    lines = []
    for name in (*DATASETS, "all four"):
        runs = matrix(name) if name in DATASETS else everything()
        longest = max(runs, key=lambda run: run.cost.tera)
        rate = max(run.cost.images / run.cost.hours / 3600 for run in runs)
        lines.append([
            name, str(len(runs)), number(sum(run.cost.images for run in runs) / 1e6),
            number(sum(run.cost.tera for run in runs) / 1e6),
            *(number(hours(runs, speed)) for speed in SPEEDS),
            number(hours((longest,))), number(rate),
        ])  # fmt: skip
    return table(header, lines)


def everything() -> tuple[Planned, ...]:
    """All runs of all data sets; a teacher that they share, by its settings, is counted for each
    of them, since its epoch is chosen and its figures are measured on the target."""
    return tuple(run for name in DATASETS for run in matrix(name))


def rows_table() -> str:
    """GPU hours of one run, by row and data set."""
    titles = list(dict.fromkeys(run.title for run in matrix(DATASETS[0])))
    lines = []
    for title in titles:
        cells = []
        for name in DATASETS:
            first = next(run for run in matrix(name) if run.title == title)
            cells.append(number(hours((first,))))
        lines.append([title, *cells])
    return table(["row, one seed", *DATASETS], lines)


def space_table() -> str:
    """The largest of every need, by data set."""
    header = [
        "data set", "clothes classes", "GPU memory, GB", "memory of the machine, GB",
        "one checkpoint, GB", "run folders while they train, GB",
        "run folders without checkpoints, GB",
    ]  # fmt: skip
    lines = []
    for name in DATASETS:
        runs = matrix(name)
        base = next(run.config for run in runs if run.config.row == "base")
        lines.append([
            name, number(clothes_classes(base, sizes(name))),
            number(max(run.space.device + GPU_ALLOWANCE for run in runs) / GB),
            number(max(run.space.host for run in runs) / GB),
            number(max(run.space.checkpoint for run in runs) / GB),
            number(sum(run.space.disk for run in runs) / GB),
            number(sum(run.space.kept for run in runs) / GB),
        ])  # fmt: skip
    return table(header, lines)


def data_table() -> str:
    """Images that are read, and what they would weigh decoded."""
    lines = []
    for name in DATASETS:
        splits = sizes(name).splits
        own = sum(images for split, images in splits.items() if split != "external")
        lines.append([
            name, number(own), number(splits["external"]),
            number((own + splits["external"]) * TYPICAL_IMAGE / GB),
        ])  # fmt: skip
    header = ["data set", "images", "of the external set", "both decoded at 256 × 128, GB"]
    return table(header, lines)


def users_list() -> str:
    """What many users at once would need."""
    runs = everything()
    total = USERS * hours(runs)
    gpus = math.ceil(total / (24 * DAYS * BUSY))
    teachers = tuple(run for run in runs if find_row(run.config.row).external)
    checkpoint = max(run.space.checkpoint for run in runs)
    # how a GPU's time is shared out among runs, so how often each checkpoint size is written
    weight = sum(run.space.checkpoint * run.cost.tera for run in runs)
    usual = weight / sum(run.cost.tera for run in runs)
    often = runs[0].config.runtime.checkpoint_minutes
    kept, peak = (
        USERS * sum(value(run.space) for run in runs) / TB
        for value in (lambda space: space.kept, lambda space: space.disk)
    )
    images = sum(sum(sizes(name).splits.values()) for name in DATASETS) * TYPICAL_IMAGE / TB
    rate = gpus * usual / GB / 60
    facts = {
        "GPU hours": f"{number(total)}, {len(runs) * USERS:,} jobs",
        f"GPUs for {DAYS} days, {BUSY:.0%} busy": number(gpus),
        "if one trained the teachers for all": f"{number((USERS - 1) * hours(teachers))} GPU hours "
        f"less ({(USERS - 1) * hours(teachers) / total:.1%})",
        "run folders, checkpoints deleted": f"{number(kept)} TB",
        "run folders, all checkpoints there": f"{number(peak)} TB",
        "data, decoded, once for all": f"{number(images)} TB",
        "data, decoded, one copy each": f"{number(USERS * images)} TB",
        f"checkpoints written, every {often:g} minutes": f"{number(rate / often)} GB/s",
        f"checkpoints written, every {RARELY:g} minutes": f"{number(rate / RARELY)} GB/s",
        "largest checkpoint": f"{number(checkpoint / GB)} GB",
    }
    return table([f"{USERS} users at once", "needed"], [[*fact] for fact in facts.items()])


def page() -> str:
    """All tables, as they stand in docs/scale.md."""
    seeds = len({run.config.seed for run in matrix(DATASETS[0])}) - 1  # the teacher has its own
    parts = [
        f"Every row of the ablation with {seeds} seeds and one teacher a data set, the paper's "
        f"settings, one process a run. Hours: **from operations**, at assumed "
        f"{', '.join(f'{speed:g}' for speed in SPEEDS)} · 10¹² a second; not measured.",
        hours_table(),
        f"GPU hours of one run at {GPU_TERAFLOPS:g} · 10¹² operations a second:",
        rows_table(),
        "Memory and disk; memory is the largest run's, disk is that of all runs of the data set:",
        space_table(),
        "Data:",
        data_table(),
        f"{USERS} users who all want all of this within {DAYS} days, at {GPU_TERAFLOPS:g} · 10¹²:",
        users_list(),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page())
