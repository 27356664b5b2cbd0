"""The workflow's plan without a cluster: what would be run, what is left out, what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import rlqkit
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
from rlqkit.runs.folder import RunFolder, run_id
from rlqkit.runs.plan import planned_runs

LIMIT = 300  # seconds for one call
needs_snakemake = pytest.mark.skipif(
    not have_snakemake(), reason="snakemake is missing (python -m pip install -e '.[cluster]')"
)


def call(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, env=environment(), check=False
    )


def counts(text: str) -> dict[str, int]:
    """Rule → jobs, from the table that snakemake prints."""
    table = text.partition("Job stats:")[2]
    found = re.findall(r"^(\w+)\s+(\d+)$", table.partition("total")[0], flags=re.MULTILINE)
    return {name: int(number) for name, number in found}


@needs_snakemake
def test_dry_run_is_the_plan_without_what_is_finished(tiny_wardrobe: Path, tmp_path: Path) -> None:
    results, sets = tmp_path / "results", overrides(tiny_wardrobe)
    settings = write_settings(tmp_path / "settings.json", results, sets)
    dry = snakemake(tmp_path, settings, "--dry-run", "--cores", "2")

    first = call(dry)
    assert first.returncode == 0, first.stdout + first.stderr
    text = first.stdout + first.stderr
    assert counts(text) == {"all": 1, "data": 1, "run": 3, "tables": 1}
    config = load_profile("smoke", dict(parse_override(text) for text in sets))
    names = [run_id(run) for run in planned_runs(config)]
    assert all(name in text for name in names)

    # teacher and base were finished by somebody, as `rlqkit reproduce` would leave them
    for name in names[:2]:
        folder = RunFolder(results / "smoke" / "runs" / name).path
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text("[]")
        (folder / "weights-last.safetensors").write_bytes(b"")
    again = call(dry)
    assert counts(again.stdout + again.stderr) == {"all": 1, "data": 1, "run": 1, "tables": 1}

    # a mark without a finished run behind it counts for nothing
    (results / "smoke" / "runs" / names[1] / "metrics.json").unlink()
    last = call(dry)
    assert counts(last.stdout + last.stderr) == {"all": 1, "data": 1, "run": 2, "tables": 1}


@needs_snakemake
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"profil": "smoke"}, "--config has no profil"),
        ({"profile": "smoke", "set": ["training.stepz=1"]}, "training.stepz"),
    ],
)
def test_what_does_not_fit_is_one_line(
    settings: dict[str, object], says: str, tmp_path: Path
) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings))
    done = call(snakemake(tmp_path, file, "--dry-run", "--cores", "1"))
    assert done.returncode and says in done.stdout + done.stderr


STAND_IN = """#!{python}
import sys
if "plan" in sys.argv:
    print({plan!r})
sys.exit("train" in sys.argv)
"""
"""Instead of a Python with the kit: knows a plan, and every training fails."""


@needs_snakemake
@pytest.mark.parametrize(
    ("minutes", "asked"), [(2.5 * 1440, [1, 1, 1, 1.5, 2, 2]), (60, [1, 1.5, 2, 2])]
)
def test_memory_grows_twice_at_most_and_not_for_the_time_limit(
    minutes: float, asked: list[float], tmp_path: Path
) -> None:
    """A run that fails whenever it is started: what each of its jobs asks for."""
    job = {"id": "base-s1-0", "processes": 1, "finished": False, "after": [], "gpus": 0, "cpus": 1}
    job |= {"memory_mb": 50_000, "minutes": minutes}
    plan = {"folder": str(tmp_path), "runs": [job], "datasets": [], "notebooks": []}
    plan |= {"claims": False}
    program = tmp_path / "python"
    program.write_text(STAND_IN.format(python=sys.executable, plan=json.dumps(plan)))
    program.chmod(0o755)
    file = tmp_path / "settings.json"
    settings = {"python": str(program), "notebooks": False, "results": str(tmp_path / "results")}
    file.write_text(json.dumps(settings))
    done = call(snakemake(tmp_path, file, "--cores", "1"))
    starts = re.findall(r"rule run:$.*?mem_mb=(\d+)", done.stderr, re.MULTILINE | re.DOTALL)
    assert [int(found) / 50_000 for found in starts] == asked, done.stderr


def test_one_planned_run_is_trained_once(tiny_wardrobe: Path, tmp_path: Path) -> None:
    changes = {"training.steps": 2, "data.height": 32, "data.width": 16, "reproduce.rows": ["base"]}
    given = options(tmp_path, overrides(tiny_wardrobe, **changes))
    plan = json.loads(rlqkit("plan", "--json", *given).out)
    (job,) = plan["runs"]
    assert (job["row"], job["finished"], job["after"], job["gpus"]) == ("base", False, [], 0)
    assert plan["datasets"][0]["rendered"] and "00_tour" in plan["notebooks"]

    first = rlqkit("train", "--planned", job["id"], *given)
    assert first.code == 0, first.err
    assert RunFolder(Path(plan["folder"]) / "runs" / job["id"]).finished
    again = rlqkit("train", "--planned", job["id"], *given)
    assert again.code == 0 and again.out.startswith("finished already: ")
    assert json.loads(rlqkit("plan", "--json", *given).out)["runs"][0]["finished"]
    written = rlqkit("reproduce", "--only", "tables", *given)
    assert written.code == 0 and (tmp_path / "smoke" / "tables" / "summary.md").is_file()


def test_what_the_plan_has_not_is_refused(tiny_wardrobe: Path, tmp_path: Path) -> None:
    given = options(tmp_path, overrides(tiny_wardrobe))
    other = rlqkit("train", "--planned", "base-s1-00000000", *given)
    assert other.code == 2 and "no run base-s1-00000000" in other.err
    both = rlqkit("train", "--planned", "x", "--row", "base", *given)
    assert both.code == 2 and "leave --row and --seed out" in both.err
    part = rlqkit("reproduce", "--only", "everything", *given)
    assert part.code == 2 and 'no part "everything"; give one of data, tables' in part.err


TAKER = ROOT / "workflow" / "take_gpus.py"
SHOW = "import os, sys; print(os.environ.get('CUDA_VISIBLE_DEVICES', 'unset')); sys.exit(7)"


def taken(tmp_path: Path, *arguments: str, visible: str | None = None) -> tuple[int, str]:
    surroundings = environment() | {"TMPDIR": str(tmp_path)}
    surroundings.pop("CUDA_VISIBLE_DEVICES", None)
    surroundings |= {"CUDA_VISIBLE_DEVICES": visible} if visible is not None else {}
    command = [sys.executable, str(TAKER), *arguments, "--", sys.executable, "-c", SHOW]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, env=surroundings, check=False
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def test_gpus_are_taken_and_given_back(tmp_path: Path) -> None:
    assert taken(tmp_path, "2", visible="4,GPU-a/1,6") == (7, "4,GPU-a/1")
    assert taken(tmp_path, "1", visible="4,5") == (7, "4")  # the first two were given back
    assert taken(tmp_path, "--given", "1", visible="5") == (7, "5")
    assert taken(tmp_path, "1", visible="") == (7, "")
    assert taken(tmp_path, "0", visible="3") == (7, "3")
    code, says = taken(tmp_path, "3", visible="4,5")
    assert code == 2 and "this machine has 2" in says


@contextmanager
def holder(tmp_path: Path, code: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that has one of two GPUs, once it has said "here"; it ends with its input."""
    surroundings = environment() | {"TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": "4,5"}
    code = f"import signal, sys; {code}; print('here', flush=True); sys.stdin.read(); sys.exit(5)"
    command = [sys.executable, str(TAKER), "1", "--", sys.executable, "-c", code]
    with subprocess.Popen(
        command, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"here\n"
        yield process


def test_a_taken_gpu_is_left_alone(tmp_path: Path) -> None:
    with holder(tmp_path, "pass") as first:
        assert taken(tmp_path, "1", visible="4,5") == (7, "5")
        first.communicate(timeout=LIMIT)


def test_the_command_hears_a_signal_and_keeps_its_gpu_until_it_ends(tmp_path: Path) -> None:
    """A scheduler signals the process that it started; the command may want to finish a step."""
    hear = "signal.signal(signal.SIGTERM, lambda *_: print('told', flush=True))"
    with holder(tmp_path, hear) as first:
        first.terminate()
        meanwhile = taken(tmp_path, "1", visible="4,5")
        rest, _ = first.communicate(timeout=LIMIT)  # the command reads to the end, and ends
    assert (rest, first.returncode, meanwhile) == (b"told\n", 5, (7, "5"))
    assert taken(tmp_path, "1", visible="4,5") == (7, "4")


def test_a_command_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(TAKER), "0", "--", str(tmp_path / "nothing")]
    done = call(command)
    assert (done.returncode, done.stderr.count("\n")) == (127, 1), done.stderr
    assert "nothing: No such file" in done.stderr
