"""Kill and go on: the same bits as without, nothing finished is repeated, nothing is torn."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command_line import rlqkit, smoke_options

from rlqkit.errors import RlqkitError
from rlqkit.method import training
from rlqkit.runs import checkpoint, experiment
from rlqkit.runs.checkpoint import read_checkpoint, write_checkpoint
from rlqkit.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
LONG = {
    # epochs of 6 TAD and 12 CAP steps, long enough to be killed in the middle
    "training__steps": 90, "training__batch": 4, "teacher__batch": 8, "teacher__steps": 4,
    "data__height": 96, "data__width": 48, "model__channels": "[16,16,16,16]",
}  # fmt: skip
FILES = (
    "metrics.json", "per_query.parquet", "features.safetensors", "weights-last.safetensors",
    "weights-best_validation.safetensors",
)  # fmt: skip


def only_run(results: Path, row: str) -> RunFolder:
    (path,) = (results / "smoke" / "runs").glob(f"{row}-*")
    return RunFolder(path)


@pytest.fixture(scope="module")
def uninterrupted(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The whole method, trained in one go."""
    results = tmp_path_factory.mktemp("uninterrupted")
    done = rlqkit("train", *smoke_options(tiny_wardrobe, results, **LONG), "--row", "rlq")
    assert done.code == 0, done.err
    return only_run(results, "rlq")


def kill_in_the_middle(command: list[str], results: Path, kind: str, pause: float) -> int:
    """Starts a training and kills it (SIGKILL) within a phase of that kind, from epoch 1 on.

    After a checkpoint appears the process works on the next phase; it is stopped (SIGSTOP) some
    time later, killed if that phase is still unfinished, let go on to another one if not.
    Returns the number of the phase it died in.
    """
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert process.poll() is None, "the training ended before it could be killed"
            number = next_phase(results)
            if number is None or number < 2 or ("tad", "cap")[number % 2] != kind:
                time.sleep(0.005)
                continue
            time.sleep(pause)
            process.send_signal(signal.SIGSTOP)
            if next_phase(results) == number:
                process.kill()
                process.wait()
                return number
            process.send_signal(signal.SIGCONT)
        raise AssertionError("no phase could be caught in its middle")
    finally:
        process.kill()
        process.wait()


def next_phase(results: Path) -> int | None:
    for file in (results / "smoke" / "runs").glob("rlq-*/checkpoint.pt"):
        return int(torch.load(file, weights_only=True)["next_phase"])
    return None


@pytest.mark.parametrize("kind", ["tad", "cap"])
def test_killed_in_the_middle_ends_with_the_same_bits(
    kind: str, uninterrupted: RunFolder, tiny_wardrobe: Path, tmp_path: Path
) -> None:
    history = uninterrupted.history()
    seconds = history[history["phase"] == kind]["seconds"].median()
    options = smoke_options(tiny_wardrobe, tmp_path, **LONG)
    command = [sys.executable, "-m", "rlqkit", "train", *options, "--row", "rlq"]
    number = kill_in_the_middle(command, tmp_path, kind, pause=0.4 * seconds)
    assert history["phase"][number] == kind
    run = only_run(tmp_path, "rlq")
    assert not run.finished
    kept = read_checkpoint(run.path / "checkpoint.pt")["history"]
    assert len(kept) == number
    teacher = stamps(only_run(tmp_path, "teacher"))

    done = rlqkit("train", *options, "--row", "rlq")

    assert done.code == 0, done.err
    assert run.path.name == uninterrupted.path.name
    for name in FILES:
        assert (run.path / name).read_bytes() == (uninterrupted.path / name).read_bytes(), name
    assert without_seconds(run) == without_seconds(uninterrupted)
    again = json.loads((run.path / "history.json").read_text())
    assert again[:number] == json.loads(json.dumps(kept))  # times too: they were not run again
    assert same_checkpoint(run, uninterrupted)
    assert stamps(only_run(tmp_path, "teacher")) == teacher


def without_seconds(run: RunFolder) -> list[dict[str, Any]]:
    records = json.loads((run.path / "history.json").read_text())
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def same_checkpoint(one: RunFolder, two: RunFolder) -> bool:
    """Heads and both optimisers too, bit for bit."""
    states = [read_checkpoint(run.path / "checkpoint.pt") for run in (one, two)]
    return all(
        equal(states[0][key], states[1][key])
        for key in ("network", "heads", "optimiser", "clothes_optimiser", "kept", "next_phase")
    )


def equal(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else bool(one == two)


def stamps(run: RunFolder) -> dict[str, tuple[int, int]]:
    """Inode and time of every file: what is written anew gets another one."""
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in run.path.iterdir()}


# ------------------------------------------------------------------------------ short runs, here


@pytest.fixture
def short(tiny_wardrobe: Path, tmp_path: Path) -> list[str]:
    """Options of a training of five epochs."""
    return [
        *smoke_options(tiny_wardrobe, tmp_path / "results", training__steps=15),
        "--row",
        "base",
    ]


def interrupt(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, calls: int) -> None:
    """Makes a function fail from its n-th call on, as a pulled plug would."""
    plain, count = getattr(place, name), 0

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count >= calls:
            raise RuntimeError("the plug was pulled")
        return plain(*arguments, **options)

    monkeypatch.setattr(place, name, failing)


def test_finished_run_is_not_repeated(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rlqkit("train", *short)
    run = only_run(tmp_path / "results", "base")
    before = stamps(run)
    interrupt(monkeypatch, experiment, "prepare", 1)
    again = rlqkit("train", *short)
    assert (again.code, again.out) == (0, first.out)
    assert stamps(run) == before


@pytest.mark.parametrize("file", ["metrics.json", "weights-last.safetensors"])
def test_run_without_its_results_is_evaluated_but_not_trained_again(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    first = rlqkit("train", *short)
    run = only_run(tmp_path / "results", "base")
    content = (run.path / file).read_bytes()
    history = (run.path / "history.json").read_text()
    (run.path / file).unlink()
    assert not run.finished
    interrupt(monkeypatch, training, "cap_step", 1)
    again = rlqkit("train", *short)
    assert (again.code, again.out) == (0, first.out)
    assert (run.path / file).read_bytes() == content
    assert (run.path / "history.json").read_text() == history


def test_interrupted_evaluation_goes_on(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, experiment, "evaluate_network", 2)
        with pytest.raises(RuntimeError, match="plug"):
            rlqkit("train", *short)
    run = only_run(tmp_path / "results", "base")
    assert not run.finished
    assert rlqkit("train", *short).code == 0
    other = rlqkit("train", *short, "--results", tmp_path / "other")
    assert other.code == 0
    reference = only_run(tmp_path / "other", "base")
    for name in FILES:
        assert (run.path / name).read_bytes() == (reference.path / name).read_bytes(), name


def test_checkpoints_by_time_resume_exactly(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two finished phases behind the last checkpoint are trained again, to the same bits."""
    # what the saver's clock says: at first, after each phase, and when it has saved
    minutes = iter([0, 1, 20, 20, 21, 22])
    timed = [*short, "--set", "runtime.checkpoint_minutes=10"]
    with monkeypatch.context() as patch:
        clock = SimpleNamespace(monotonic=lambda: 60.0 * next(minutes))
        patch.setattr(checkpoint, "time", clock)
        interrupt(patch, training, "cap_step", 15)  # in the fifth of five epochs of three steps
        with pytest.raises(RuntimeError, match="plug"):
            rlqkit("train", *timed)
    run = only_run(tmp_path / "results", "base")
    assert read_checkpoint(run.path / "checkpoint.pt")["next_phase"] == 2
    assert rlqkit("train", *timed).code == 0
    assert read_checkpoint(run.path / "checkpoint.pt")["next_phase"] == 5  # the last, always
    assert rlqkit("train", *short, "--results", tmp_path / "other").code == 0
    reference = only_run(tmp_path / "other", "base")
    for name in FILES:
        assert (run.path / name).read_bytes() == (reference.path / name).read_bytes(), name
    assert without_seconds(run) == without_seconds(reference)
    assert same_checkpoint(run, reference)
    # earlier sessions count, phases of the first among them
    assert run.environment()["seconds"] >= round(run.history()["seconds"].sum(), 1)


def test_checkpoint_is_whole_when_writing_fails(
    short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torn in the middle of torch.save, from the fourth epoch on: the third's checkpoint stays."""
    plain, count = torch.save, 0

    def torn(state: Any, stream: Any) -> None:
        nonlocal count
        count += 1
        if count == 4:
            stream.write(b"half a checkpoint")
            raise OSError("no space left on device")
        plain(state, stream)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", torn)
        stopped = rlqkit("train", *short)
    assert stopped.code == 2 and "no space left on device; mend that" in stopped.err
    run = only_run(tmp_path / "results", "base")
    assert read_checkpoint(run.path / "checkpoint.pt")["next_phase"] == 3
    assert not list(run.path.glob("*.partial"))  # the torn one is gone
    assert rlqkit("train", *short).code == 0
    assert len(run.history()) == 5


def test_checkpoint_replaces_the_old_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run" / "checkpoint.pt"
    write_checkpoint(file, {"number": 1})
    seen = []
    plain = os.replace

    def watched(source: Path, target: Path) -> None:
        seen.append(torch.load(source, weights_only=True)["number"])  # whole before it counts
        assert torch.load(target, weights_only=True)["number"] == 1
        plain(source, target)

    monkeypatch.setattr(os, "replace", watched)
    write_checkpoint(file, {"number": 2})
    assert seen == [2] and torch.load(file, weights_only=True)["number"] == 2
    assert [path.name for path in file.parent.iterdir()] == ["checkpoint.pt"]


def test_checkpoint_never_runs_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    file = tmp_path / "checkpoint.pt"
    torch.save({"network": Trap()}, file)
    with pytest.raises(RlqkitError) as error:
        read_checkpoint(file)
    assert str(file) in str(error.value) and not (tmp_path / "sprung").exists()


def test_random_states_are_kept(short: list[str], tmp_path: Path) -> None:
    """Python's, NumPy's and torch's generators go on where the checkpoint was written."""
    rlqkit("train", *short)
    state = read_checkpoint(only_run(tmp_path / "results", "base").path / "checkpoint.pt")
    drawn = []
    for _ in range(2):
        checkpoint.restore_random_states(state["random"])
        drawn.append((torch.rand(3).tolist(), np.random.rand(3).tolist()))
        torch.rand(5)
    assert drawn[0] == drawn[1]
