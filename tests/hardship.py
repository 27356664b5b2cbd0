"""What a long job meets: kills at any moment, a second start of the same, a full or locked disk.

    python tests/hardship.py [--seed 0] [--kills 50] [--pairs 10]

A small main job (base and RLQ of the smoke profile on the tiny data set, tables, no notebooks) is
killed at random moments and started again until it ends, as often as it takes to have so many
kills; two of it are started at once; it is started on a file system of a few megabytes (where one
can be mounted) and in a folder that can't be written. Each time the end must be the bits of an
undisturbed job, or one line and exit code 2. The suite has shorter tests of the same
(tests/runs/test_resume.py, tests/runs/test_identity.py).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "support")]

from command_line import smoke_options
from conftest import write_tiny_wardrobe

SETTINGS = {
    "reproduce__rows": "['base','rlq']", "training__steps": 24, "teacher__steps": 8,
    "runtime__checkpoint_minutes": 0, "runtime__jobs": 1,
}  # fmt: skip
SAME = ("metrics.json", "per_query.parquet", "features.safetensors", "weights-last.safetensors")
LIMIT = 900
PERIOD = 6.0
"""Kills come within so many seconds after a job has begun to write, which is most of its work."""


def command(data: Path, results: Path) -> list[str]:
    """The small main job as a command."""
    options = smoke_options(data, results, **SETTINGS)
    return [sys.executable, "-m", "rlqkit", "reproduce", *options, "--no-notebooks"]


def start(data: Path, results: Path) -> subprocess.Popen[str]:
    """Starts it in a group of its own, so that a kill reaches its workers too."""
    return subprocess.Popen(
        command(data, results), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def bits(results: Path) -> dict[str, bytes]:
    """What has to be the same: figures, weights and features of each run, and the tables."""
    folder = results / "smoke"
    files = [file for name in SAME for file in folder.glob(f"runs/*/{name}")]
    # the tables hold training times, which differ; differences and comparisons don't
    files += folder.glob("tables/differences*.csv")
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(files)}


def stage(results: Path) -> str:
    """How far the job had come when it was killed."""
    folder = results / "smoke"
    if (folder / "tables").is_dir():
        return "while tables were written"
    runs = {run.name.split("-s")[0]: run for run in folder.glob("runs/*")}
    last = next((runs[name] for name in ("rlq", "base", "teacher") if name in runs), None)
    if last is None:
        return "before the first training"
    if (last / "history.json").is_file():
        return "in an evaluation" if not (last / "metrics.json").is_file() else "between runs"
    return f"in the training of {last.name.split('-s')[0]}"


def killed(process: subprocess.Popen[str], results: Path, seconds: float) -> bool:
    """Kills a job so many seconds after it wrote its first file; False if it ended before."""
    began = time.time()
    moment = None
    while process.poll() is None:
        if moment is None and newest(results) > began:
            moment = time.time() + seconds
        if moment is not None and time.time() >= moment:
            os.killpg(process.pid, 9)
            process.communicate()
            return True
        time.sleep(0.02)
    return False


def newest(results: Path) -> float:
    """When something was last written there; temporary files come and go meanwhile."""
    times = [0.0]
    for file in results.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            times.append(file.stat().st_mtime)
    return max(times)


def kills(data: Path, wanted: dict[str, bytes], count: int, seed: int) -> Counter:
    """Kills at random moments; each job that comes to its end must have the wanted bits."""
    rng, found, ended = random.Random(seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        while sum(found.values()) < count or ended == 0:
            enough = sum(found.values()) >= count
            process = start(data, results)
            if not enough and killed(process, results, rng.uniform(0, PERIOD)):
                found[stage(results)] += 1
                print(f"kill {sum(found.values())}: {stage(results)}", flush=True)
                continue
            out, err = process.communicate(timeout=LIMIT)
            assert process.returncode == 0, err
            assert bits(results) == wanted, "other bits after kills"
            ended += 1
            shutil.rmtree(results)
    kept = f"{sum(found.values())} kills, {ended} jobs came to their end with the same bits"
    print(kept, flush=True)
    return found


def pairs(data: Path, wanted: dict[str, bytes], count: int) -> None:
    """Two jobs on one results folder at once: both end well, with the same bits."""
    for _ in range(count):
        with tempfile.TemporaryDirectory() as folder:
            both = [start(data, Path(folder)) for _ in range(2)]
            for process in both:
                _, err = process.communicate(timeout=LIMIT)
                assert process.returncode == 0, err
            assert bits(Path(folder)) == wanted, "other bits of two jobs at once"
    print(f"{count} pairs of jobs at once: both end well, the same bits")


def refused(process: subprocess.Popen[str]) -> str:
    """The one line of a job that can't go on."""
    _, err = process.communicate(timeout=LIMIT)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert process.returncode == 2 and "Traceback" not in err and len(lines) == 1, err
    return lines[0]


def full_disk(data: Path, wanted: dict[str, bytes]) -> None:
    """A disk that is full in the middle: one line; with more room the job ends with its bits."""
    for megabytes in (1, 2, 3):
        folder = Path(tempfile.mkdtemp())
        size = f"size={megabytes}m"
        if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder]).returncode:
            print("no file system can be mounted here; a full disk was not tried")
            return
        try:
            print(f"{megabytes} MB: {refused(start(data, folder))[:150]}")
            subprocess.run(["mount", "-o", "remount,size=512m", folder], check=True)
            process = start(data, folder)
            _, err = process.communicate(timeout=LIMIT)
            assert process.returncode == 0, err
            assert bits(folder) == wanted, "other bits after a full disk"
        finally:
            subprocess.run(["umount", folder], check=True)
            folder.rmdir()


def read_only(data: Path) -> None:
    """Results that can't be written: one line (root may write anywhere, so a file stands there)."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "results").write_text("a file", encoding="utf-8")
        print(f"no folder: {refused(start(data, Path(folder) / 'results'))[:150]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--pairs", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = write_tiny_wardrobe(Path(folder) / "wardrobe-v2")
        began = time.perf_counter()
        process = start(data, Path(folder) / "undisturbed")
        _, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, err
        seconds, wanted = time.perf_counter() - began, bits(Path(folder) / "undisturbed")
        print(f"undisturbed: {seconds:.0f} s, {len(wanted)} files compared", flush=True)
        full_disk(data, wanted)
        read_only(data)
        for where, times in kills(data, wanted, options.kills, options.seed).items():
            print(f"  {times} {where}")
        pairs(data, wanted, options.pairs)


if __name__ == "__main__":
    main()
