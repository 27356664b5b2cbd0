"""The run matrix on a real Slurm of one node: a job is cancelled, the submitter killed, and the
tables are those of `rlqkit reproduce`, to the bit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from slurm_cluster import PARTITION, ask, jobs, missing, running_slurm, wait_for
from workflow_commands import (
    ROOT,
    environment,
    have_snakemake,
    options,
    overrides,
    snakemake,
    write_settings,
)

from rlqkit.config import load_profile, parse_override
from rlqkit.runs.checkpoint import read_checkpoint
from rlqkit.runs.folder import RunFolder, run_id
from rlqkit.runs.plan import planned_runs

REQUIRED = os.environ.get("RLQKIT_SLURM_REQUIRED") == "1"
JOB_LIMIT, END_LIMIT = 900.0, 1800.0
"""Seconds: until the next thing happens in the queue, until a whole command has ended."""
OVER = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
BITS = ("metrics.json", "per_query.parquet", "features.safetensors", "weights-last.safetensors")
SLURM = (
    "--profile", str(ROOT / "workflow" / "profiles" / "slurm"),
    "--slurm-no-account", "--slurm-status-command", "squeue",
    "--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2",
    "--default-resources", f"slurm_partition={PARTITION}", "--latency-wait", "30",
)  # fmt: skip

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running Slurm; the test is left out where there can't be one, unless it is required."""
    reason = missing()
    if not have_snakemake():
        reason = "snakemake is missing (python -m pip install -e '.[cluster]')"
    if reason and REQUIRED:
        pytest.fail(f"RLQKIT_SLURM_REQUIRED=1, but {reason}")
    if reason:
        pytest.skip(reason)
    with running_slurm(tmp_path_factory.mktemp("slurm")) as folder:
        yield folder


class Matrix:
    """The very small matrix: its folders, its jobs, its commands."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.results, self.sets = folder, folder / "results", overrides(data)
        self.settings = write_settings(folder / "settings.json", self.results, self.sets)
        config = load_profile("smoke", dict(parse_override(text) for text in self.sets))
        self.names = {run.row: run_id(run) for run in planned_runs(config)}

    def run(self, row: str) -> RunFolder:
        return RunFolder(self.results / "smoke" / "runs" / self.names[row])

    def phases(self, row: str) -> int:
        """Finished phases in a run's checkpoint; 0 without one."""
        file = self.run(row).path / "checkpoint.pt"
        return int(read_checkpoint(file)["next_phase"]) if file.exists() else 0

    def jobs(self, row: str) -> list[dict[str, str]]:
        """Jobs that were submitted for a run, in order."""
        return [job for job in jobs() if self.names[row] in job["comment"]]

    def working(self, row: str, phases: int) -> Callable[[], str]:
        """The id of a run's running job, once its checkpoint holds so many phases."""

        def found() -> str:
            running = [job["id"] for job in self.jobs(row) if job["state"] == "RUNNING"]
            if not running or self.run(row).finished or self.phases(row) < phases:
                return ""
            return running[-1]

        return found

    def submit(self, log: Path) -> subprocess.Popen[bytes]:
        command = snakemake(self.folder, self.settings, *SLURM)
        with open(log, "wb") as stream:
            return subprocess.Popen(
                command, stdout=stream, stderr=subprocess.STDOUT, env=environment()
            )


def ended(job: str) -> Callable[[], str]:
    """The state in which a job has ended."""

    def found() -> str:
        states = {known["id"]: known["state"] for known in jobs()}
        return states[job] if states[job] in OVER else ""

    return found


def without_seconds(file: Path) -> str:
    """A table without what took how long: the only thing that differs between two runs."""
    if file.suffix == ".csv":
        return pd.read_csv(file).drop(columns="seconds", errors="ignore").to_csv()
    text = file.read_text(encoding="utf-8")
    assert "| seconds |" in text.splitlines()[0]  # the last column
    return re.sub(r"\| [^|]+ \|$", "|", text, flags=re.MULTILINE)


def test_cancelled_and_killed_it_ends_with_the_same_tables(
    slurm: Path, tiny_wardrobe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix = Matrix(tmp_path, tiny_wardrobe)
    story: list[tuple[str, str, str]] = []

    first = matrix.submit(tmp_path / "first.log")
    try:
        # a job is cancelled in the middle of its run
        job = wait_for(matrix.working("base", 1), JOB_LIMIT, "base is in its middle", 0.1)
        ask("scancel", job)
        state = wait_for(ended(job), JOB_LIMIT, f"job {job} has ended")
        held = matrix.phases("base")
        assert state == "CANCELLED" and not matrix.run("base").finished
        # it comes back by itself, from its checkpoint
        again = wait_for(matrix.working("base", held + 1), JOB_LIMIT, "base goes on", 0.1)
        assert again != job and first.poll() is None
        story.append(
            (f"job {job} (base), scancel after {held} phases", state, f"went on as job {again}")
        )
    finally:
        # the submitter is killed; what it has submitted stays in the queue
        first.kill()
        first.wait()
    left = [known["id"] for known in jobs() if known["state"] in ("RUNNING", "PENDING")]
    done = [row for row in matrix.names if matrix.run(row).finished]
    assert not (matrix.results / "smoke" / "tables").exists()
    stamps = {row: (matrix.run(row).path / "metrics.json").stat() for row in done}

    unlock = snakemake(tmp_path, matrix.settings, "--unlock")
    subprocess.run(unlock, check=True, capture_output=True, timeout=END_LIMIT, env=environment())
    second = matrix.submit(tmp_path / "second.log")
    try:
        second.wait(END_LIMIT)
    finally:
        second.kill()
        second.wait()
    text = (tmp_path / "second.log").read_text(encoding="utf-8", errors="replace")
    assert second.returncode == 0, text
    states = {known["id"]: known["state"] for known in jobs()}
    story.append(
        (f"the submitter, SIGKILL, jobs {', '.join(left)} left", "killed",
         "second start: exit code 0; " + ", ".join(f"{name} {states[name]}" for name in left))
    )  # fmt: skip
    for row, before in stamps.items():  # finished before: not run again
        after = (matrix.run(row).path / "metrics.json").stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), row

    command = [sys.executable, "-m", "rlqkit", "reproduce", "--no-notebooks"]
    subprocess.run(
        [*command, *options(tmp_path / "plain", matrix.sets)],
        check=True, capture_output=True, timeout=END_LIMIT, env=environment(),
    )  # fmt: skip
    for row, name in matrix.names.items():
        for file in BITS:
            plain = tmp_path / "plain" / "smoke" / "runs" / name / file
            assert (matrix.run(row).path / file).read_bytes() == plain.read_bytes(), (row, file)
        submitted = [f"{known['id']} {known['state']}" for known in matrix.jobs(row)]
        story.append((f"run {row}", ", ".join(submitted), "same bits as `rlqkit reproduce`"))
    ours, theirs = (folder / "smoke" / "tables" for folder in (matrix.results, tmp_path / "plain"))
    files = sorted(file.name for file in theirs.iterdir())
    assert files == sorted(file.name for file in ours.iterdir())
    for name in files:
        assert without_seconds(ours / name) == without_seconds(theirs / name), name
    story.append((f"{len(files)} tables", "written once", "the same but for seconds"))

    third = subprocess.run(
        snakemake(tmp_path, matrix.settings, *SLURM, "--dry-run"),
        capture_output=True, text=True, timeout=END_LIMIT, env=environment(), check=True,
    )  # fmt: skip
    assert "Nothing to be done" in third.stdout + third.stderr
    table = pd.DataFrame(story, columns=["what", "ended as", "and then"])
    with capsys.disabled():
        print(f"\n{table.to_string(index=False, justify='left')}")
