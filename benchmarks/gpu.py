"""Speed and memory of the paper profile's steps on this machine's GPU (or, slowly, its processor).

    python benchmarks/gpu.py                              # a table in the terminal
    python benchmarks/gpu.py --out results/gpu.json       # and its numbers in a file
    python benchmarks/gpu.py --rows base --steps 2        # less

One step each of base (a CAP step without attributes), of CAP, and of TAD with two branches (tad)
and with three (rlq), in three arithmetics, on noise of LTCC's sizes and classes at 384 x 192: what
a GPU computes, without what prepares images.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from rlqkit.config import Config, load_profile
from rlqkit.evaluation.intervals import CONDITIONS, clustered_interval, select
from rlqkit.method.rows import find_row
from rlqkit.method.steps import Student, cap_step, tad_step
from rlqkit.runs.backbone import build_network
from rlqkit.runs.costs import BACKWARD, forward_operations, published_sizes
from rlqkit.runs.device import machine
from rlqkit.runs.environment import environment
from rlqkit.runs.folder import RunFolder, reference_folder
from rlqkit.runs.plan import teacher_row
from rlqkit.runs.space import GPU_ALLOWANCE, clothes_classes, space_of
from rlqkit.runs.student import build_student

MEASURED = reference_folder("gpu") / "steps.json"
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
STEPS = {"base": "cap", "cap": "cap", "tad": "tad", "rlq": "tad"}
"""Row → the kind of step that is timed."""
WARM_UP = 3


def configuration(row: str, precision: str, changes: dict[str, Any]) -> Config:
    """The paper's settings, without its downloaded weights."""
    values = {"row": row, "training.precision": precision, "model.weights": "none"}
    return load_profile("paper", values | changes)


def noise(config: Config, device: torch.device, kind: str) -> dict[str, Tensor]:
    """A batch of a CAP step (recoloured copies beside their originals) or of a TAD step."""
    sizes = published_sizes(config)
    assert sizes is not None
    batch, generator = config.training.batch, torch.Generator().manual_seed(0)
    size = (batch, 3, config.data.height, config.data.width)
    if kind == "tad":
        names = {"hq": size, "lq": size}
        return {n: torch.randn(s, generator=generator).to(device) for n, s in names.items()}
    images = torch.randn(2 * batch, *size[1:], generator=generator)
    people = torch.arange(2 * batch) // (2 * config.training.instances) % sizes.identities
    labels = {
        "identity": people,
        "clothes": -(-people * clothes_classes(config, sizes) // sizes.identities),
        "gender": people % 2,
        "pose": torch.arange(2 * batch) % config.cap.clusters,
    }
    return {"images": images.to(device)} | {n: v.to(device) for n, v in labels.items()}


def prepared(config: Config, kind: str) -> tuple[Student, Callable[[], dict[str, Tensor]]]:
    """A student of a row and a function that takes one step with it."""
    sizes, row = published_sizes(config), find_row(config.row)
    assert sizes is not None
    classes = clothes_classes(config, sizes)
    owners = torch.arange(classes) * sizes.identities // classes
    positives = owners == torch.arange(sizes.identities)[:, None]
    target: Any = SimpleNamespace(identities=sizes.identities, clothes=classes, positives=positives)
    student = build_student(config, row, target, machine(config))
    device, layout = student.fabric.device, torch.channels_last
    batch = {
        name: value.to(memory_format=layout)
        if value.ndim == 4 and config.training.channels_last
        else value
        for name, value in noise(config, device, kind).items()
    }
    if kind == "cap":
        return student, lambda: cap_step(student, batch, row.terms, adversarial=True)
    teacher = build_network(config.model, teacher_row(config).branch_names).eval()
    if config.training.channels_last:
        teacher = teacher.to(memory_format=layout)
    teacher = teacher.to(device)
    return student, lambda: tad_step(student, teacher, batch, row.tad_terms, row.tad_weights)


def measure(row: str, precision: str, steps: int, **changes: Any) -> dict[str, Any]:
    """One line of the table.

    Args:
        row: of ``STEPS``.
        precision: of ``PRECISIONS``.
        steps: timed after a few that warm up.
        changes: of the paper profile, ``__`` standing for the dot.
    """
    config = configuration(row, precision, {k.replace("__", "."): v for k, v in changes.items()})
    kind = STEPS[row]
    student, step = prepared(config, kind)
    on_gpu = student.fabric.device.type == "cuda"
    for _ in range(WARM_UP):
        values = step()
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    for _ in range(steps):
        values = step()
    total = values["total"].item()  # waits for the device
    seconds = (time.perf_counter() - started) / steps
    found = {
        "row": row, "step": kind, "precision": precision,
        "channels_last": config.training.channels_last, "ms": round(1e3 * seconds, 1),
        "teraflops": round(operations(config, kind) / seconds / 1e12, 1),
        "loss": total,
        "peak_gb": round(torch.cuda.max_memory_reserved() / 1e9, 2) if on_gpu else None,
    }  # fmt: skip
    del student, step, values
    gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
    return found


def operations(config: Config, kind: str) -> float:
    """Arithmetic of one step, counted as ``rlqkit plan`` does."""
    row, size = find_row(config.row), (config.data.height, config.data.width)
    images = 2 * config.training.batch
    own = forward_operations(config.model, size, row.branch_names)
    work = images * (1 + BACKWARD) * own
    if kind == "tad":  # the teacher sees the HQ half, forward only
        work += (
            images / 2 * forward_operations(config.model, size, teacher_row(config).branch_names)
        )
    return work


def counted_gb(row: str, precision: str) -> float:
    """Memory that ``rlqkit plan`` counts for a run of a row, what it can't count allowed for."""
    config = configuration(row, precision, {})
    sizes = published_sizes(config)
    assert sizes is not None
    return (space_of(config, sizes).device + GPU_ALLOWANCE) / 1e9


def markdown(lines: list[dict[str, Any]]) -> str:
    """The table, as docs/gpu.md shows it."""
    shown = [
        "| row | step | arithmetic | layout | ms | 10¹² operations/s | peak, GB | counted, GB |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    for line in lines:
        layout = "channels last" if line["channels_last"] else "channels first"
        peak = "–" if line["peak_gb"] is None else f"{line['peak_gb']:.1f}"
        shown.append(
            f"| {line['row']} | {line['step'].upper()} | {line['precision']} | {layout} "
            f"| {line['ms']:.0f} | {line['teraflops']:.1f} | {peak} "
            f"| {counted_gb(line['row'], line['precision']):.1f} |"
        )
    return "\n".join(shown) + "\n"


def same_runs() -> str:
    """Runs that a GPU and a processor both made, paired query by query, as docs/gpu.md shows it."""
    shown = ["| run | " + " | ".join(CONDITIONS) + " |", "|---" * 4 + "|"]
    other = reference_folder("other-processor") / "laptop" / "runs"
    pairs = []
    for one in map(RunFolder, sorted(other.iterdir())):
        two = RunFolder(reference_folder("laptop") / "runs" / one.path.name)
        gpu, processor = sorted((one, two), key=lambda f: f.environment()["accelerator"] == "none")
        config = gpu.config()
        pairs.append((config.training.steps, config.row, config.seed, gpu, processor))
    for steps, row, seed, gpu, processor in sorted(pairs, key=lambda pair: pair[:3]):
        cells = [
            clustered_interval(*(select(f.per_query(), c) for f in (gpu, processor)))
            for c in CONDITIONS.values()
        ]
        told = " | ".join(cell.in_points(signed=True) for cell in cells)
        shown.append(f"| {find_row(row).title}, {steps:,} steps, seed {seed} | {told} |")
    return "\n".join(shown) + "\n"


def steps() -> str:
    """What docs/gpu.md shows of the committed speeds and memory."""
    return markdown(json.loads(MEASURED.read_text(encoding="utf-8"))["steps"])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--layouts", nargs="+", default=["first"], choices=["first", "last"])
    parser.add_argument("--out", type=Path, help="numbers as JSON")
    chosen = parser.parse_args()
    lines = [
        measure(row, precision, chosen.steps, training__channels_last=layout == "last")
        for row in chosen.rows
        for precision in chosen.precisions
        for layout in chosen.layouts
    ]
    print(markdown(lines))
    if chosen.out:
        numbers = {"environment": environment(), "steps": lines}
        chosen.out.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
