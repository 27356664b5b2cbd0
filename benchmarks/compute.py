"""Core hours behind the shipped runs, by part, as the README shows them.

    python benchmarks/compute.py     # prints the table; pages.py puts it into the README

Every training here used one thread, so its seconds are core seconds.
"""

from __future__ import annotations

from pathlib import Path

from rlqkit.config import load_profile
from rlqkit.runs.folder import RunFolder, run_id
from rlqkit.runs.plan import planned_runs, with_all_before

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "results" / "reference"


def parts() -> dict[str, list[RunFolder]]:
    """Part of the work → its runs."""
    main = {
        run_id(config)
        for profile in ("quick", "laptop")
        for seed in (1, 2, 3)
        for config in with_all_before(
            planned_runs(load_profile(profile, {"reproduce.seeds": [seed]}))
        )
    }
    found = {
        folder: [RunFolder(run) for run in sorted((REFERENCE / folder / "runs").iterdir())]
        for folder in (
            "quick", "other-processor/quick", "laptop", "other-processor/laptop", "earlier-start",
        )
    }  # fmt: skip
    split = {
        (profile, planned): [run for run in found[profile] if (run.path.name in main) == planned]
        for profile in ("quick", "laptop")
        for planned in (True, False)
    }
    others = [*split["laptop", False], *found["other-processor/laptop"]]
    gpu = [run for run in others if run.environment()["accelerator"] != "none"]
    return {
        "quick, the main job's rows, three seeds": split["quick", True],
        "quick, studies": split["quick", False],
        "quick, on another processor": found["other-processor/quick"],
        "laptop, its rows, three seeds": split["laptop", True],
        "laptop, studies": [run for run in others if run not in gpu],
        "laptop, on a GPU, fifteen side by side": gpu,
        "the first start's base models and teacher": found["earlier-start"],
    }


def page() -> str:
    """The table as Markdown."""
    lines = ["| part | runs | core hours |", "|---|---:|---:|"]
    whole = [0, 0.0]
    for name, runs in parts().items():
        hours = sum(float(run.environment()["seconds"]) for run in runs) / 3600
        lines.append(f"| {name} | {len(runs)} | {hours:.1f} |")
        whole = [whole[0] + len(runs), whole[1] + hours]
    lines.append(f"| together | {whole[0]} | {whole[1]:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
