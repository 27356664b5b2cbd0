"""Two processes: the joined batch's losses and gradients, one run folder, the same bits again."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from command_line import rlqkit, smoke_options
from lightning_fabric import Fabric
from process_worker import STEPS, batches, half, student, take_step

from rlqkit.config import config_hash, load_profile
from rlqkit.errors import RlqkitError
from rlqkit.method.losses import batch_hard_triplet
from rlqkit.runs.checkpoint import read_checkpoint
from rlqkit.runs.device import adopt_processes
from rlqkit.runs.experiment import prepare, resolve
from rlqkit.runs.folder import RunFolder
from rlqkit.runs.plan import teacher_config

TESTS = Path(__file__).parent
PATIENCE = 240  # seconds; a run takes about 8 on an idle machine
TRAINING = {"training__batch": 4, "teacher__batch": 4, "teacher__steps": 2, "training__steps": 12}
FILES = (
    "metrics.json", "per_query.parquet", "features.safetensors", "weights-last.safetensors",
    "weights-best_validation.safetensors",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """Exit code and output of a process."""

    code: int
    out: str
    err: str


def free_port() -> int:
    """A port that nobody listens at now; somebody may, before it is used."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def two_processes(*arguments: object) -> list[Ended]:
    """Runs the worker script as both processes of a training, as torchrun would."""
    for _ in range(3):
        ended = processes_at(free_port(), *arguments)
        if ended:
            return ended
    raise AssertionError("no port stays free")


def processes_at(port: int, *arguments: object) -> list[Ended]:
    """Both processes, meeting at a port; none, if somebody else has taken it."""
    shared = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test",
        "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    command = [sys.executable, str(TESTS / "support" / "process_worker.py"), *map(str, arguments)]
    started = [
        subprocess.Popen(
            command, cwd=TESTS.parent, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**shared, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]  # fmt: skip
    ended: list[Ended] = []
    try:
        for process in started:
            out, err = process.communicate(timeout=PATIENCE)
            if "server socket has failed to listen" in err:
                return []  # process 0 is the one that listens, and process 1 would wait for it
            ended.append(Ended(process.returncode, out, err))
        return ended
    finally:
        for process in started:
            process.kill()
            process.wait()


def runs_of(results: Path) -> dict[str, RunFolder]:
    folders = (results / "smoke" / "runs").iterdir()
    return {path.name.split("-")[0]: RunFolder(path) for path in folders}


@pytest.fixture(scope="module")
def together(
    tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, Any]], Path]:
    """What each of two processes had after steps and a whole training, and the results folder."""
    folder = tmp_path_factory.mktemp("together")
    options = smoke_options(tiny_wardrobe, folder, **TRAINING)
    ended = two_processes("work", folder, "train", *options, "--row", "rlq")
    assert [end.code for end in ended] == [0, 0], ended
    assert "run folder" in ended[0].out and ended[1].out == "" and "step/s" not in ended[1].err
    return [torch.load(folder / f"rank{r}.pt", weights_only=True) for r in (0, 1)], folder


@pytest.mark.slow
def test_a_port_that_somebody_takes_first_is_given_up(
    tiny_wardrobe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a test of two processes never fails by what else runs on the machine."""
    options = smoke_options(tiny_wardrobe, tmp_path, **TRAINING | {"training__steps": 2})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setitem(globals(), "free_port", lambda: next(ports))
        ended = two_processes("die", 99, "train", *options, "--row", "cal")
    assert [end.code for end in ended] == [0, 0], ended
    assert next(ports, None) is None


# ------------------------------------------------------------------------------ losses, gradients


@pytest.mark.parametrize("name", ["cap", "tad", "triplet clean"])
def test_step_equals_the_joined_batch(name: str, together: Any) -> None:
    """Every term, every gradient, every weight after the step; batch statistics frozen."""
    ranks = [rank[name] for rank in together[0]]
    joined = take_step(Fabric(accelerator="cpu", devices=1), name, rank=None)
    for term, value in joined["values"].items():
        parts = [rank["values"][term] for rank in ranks]
        assert sum(parts) / 2 == pytest.approx(value, rel=1e-6), term
    assert len(joined["gradients"]) > 10
    for kind in ("gradients", "weights"):
        for rank in ranks:
            assert rank[kind].keys() == joined[kind].keys()
            for weight, value in joined[kind].items():
                scale = value.abs().max().item()
                torch.testing.assert_close(
                    rank[kind][weight], value, rtol=1e-6, atol=1e-6 * scale, msg=f"{kind} {weight}"
                )


@pytest.mark.parametrize("name", STEPS)
def test_both_processes_take_the_same_step(name: str, together: Any) -> None:
    first, second = (rank[name] for rank in together[0])
    for kind in ("gradients", "weights"):
        assert all(torch.equal(value, second[kind][key]) for key, value in first[kind].items())


def test_official_triplet_has_the_gradient_of_the_local_copy(together: Any) -> None:
    """Same value as the joined one; gradient by hand: everyone else's features are constants."""
    moved, (cap, _) = student(Fabric(accelerator="cpu", devices=1)), batches()
    moved.train()
    f2 = moved.network(cap["images"])["branch2"]
    parts = []
    for rank in (0, 1):
        rows = torch.arange(16) // 8 == rank
        gallery = torch.where(rows[:, None], f2, f2.detach())
        unit, labels = F.normalize(gallery, dim=1), cap["identity"]
        for anchor in torch.nonzero(rows).flatten():
            distance = 1 - unit @ unit[anchor]
            same = labels == labels[anchor]
            parts.append(F.relu(distance[same].max() - distance[~same].min() + 0.3))
    loss = torch.stack(parts).mean()
    loss.backward()
    ranks = [rank["triplet official"] for rank in together[0]]
    assert sum(rank["values"]["triplet"] for rank in ranks) / 2 == pytest.approx(loss.item())
    assert loss.item() == pytest.approx(batch_hard_triplet(f2, cap["identity"]).item())
    wanted = {k: p.grad for k, p in moved.network.named_parameters() if p.grad is not None}
    clean = together[0][0]["triplet clean"]["gradients"]
    assert wanted.keys() == ranks[0]["gradients"].keys() == clean.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(ranks[0]["gradients"][key], value, rtol=1e-9, atol=1e-12)
    key = "branches.branch2.1.0.conv1.weight"
    assert (clean[key] - wanted[key]).norm() > 0.01 * clean[key].norm()


def test_positives_and_negatives_come_from_both_processes(together: Any) -> None:
    moved, (cap, _) = student(Fabric(accelerator="cpu", devices=1)), batches()
    moved.train()
    f2 = moved.network(cap["images"])["branch2"]
    alone = [batch_hard_triplet(f2.chunk(2)[r], half(cap, r)["identity"]).item() for r in (0, 1)]
    for rank, value in enumerate(alone):
        assert together[0][rank]["triplet clean"]["values"]["triplet"] > value + 1e-3


# ------------------------------------------------------------------------------ tools


def test_failure_of_process_0_ends_the_others(together: Any) -> None:
    first, second = (rank["failure"] for rank in together[0])
    assert first == ("OSError", "no space left on device")
    assert second == (
        "RlqkitError", "process 1 stops, as process 0 did: no space left on device"
    )  # fmt: skip


def test_what_process_0_has_counts(together: Any) -> None:
    for rank in together[0]:
        assert rank["told"] == "rank 0"
        assert rank["mean"] == {"a": 0.5, "b": 2.0}
        assert rank["shared"]["num_batches_tracked"].item() == 0
        assert torch.equal(rank["shared"]["weight"], torch.ones(3))


def test_number_of_processes_is_part_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    one = load_profile("smoke")
    assert adopt_processes(one) == one
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("WORLD_SIZE", "2")
    two = adopt_processes(one)
    assert two.training.processes == 2 and adopt_processes(two) == two
    assert config_hash(two) != config_hash(one)
    assert teacher_config(two).training.processes == 2
    monkeypatch.undo()
    with pytest.raises(RlqkitError, match="processes = 2, but 1 run; start with torchrun"):
        prepare(resolve(two))


def test_official_switch_reaches_the_steps_of_student_and_teacher(tiny_wardrobe: Path) -> None:
    data = {"data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe)}
    for value, gradient in (("clean", "joined"), ("official", "local")):
        config = load_profile("smoke", {**data, "row": "base", "compat.triplet_gradient": value})
        assert prepare(resolve(config)).student.rules.triplet_gradient == gradient
        assert teacher_config(config).compat.switch("triplet_gradient") == value


# ------------------------------------------------------------------------------ a whole training


def test_both_processes_end_with_the_same_network(together: Any) -> None:
    (first, second), folder = together
    for room in ("network", "heads"):
        for name, value in first[room].items():
            assert torch.equal(value, second[room][name]), name
    assert first["history"] == second["history"]
    assert any("best_validation" in record for record in first["history"])
    run = runs_of(folder)["rlq"]
    assert run.config().training.processes == 2
    assert json.loads((run.path / "history.json").read_text()) == first["history"]
    kept = read_checkpoint(run.path / "checkpoint.pt")
    assert all(torch.equal(value, first["network"][k]) for k, value in kept["network"].items())


def test_processes_share_an_epoch(together: Any) -> None:
    """No image twice, and half of the steps: 6 identities of 8 images, batches of 4."""
    (first, second), _ = together
    assert len(first["images"]) == len(second["images"]) == 24
    assert len({*first["images"], *second["images"]}) == 48
    phases = {record["phase"]: record for record in first["history"][:2]}
    assert phases["tad"]["steps"] == 3  # 24 external images
    assert phases["cap"]["steps"] == 3 + 6
    assert phases["cap"]["images"] == 6 * 2 * 4 * 2  # steps, processes, batch, copies
    assert phases["tad"]["images"] == 3 * 2 * 4 * 2


def test_killed_and_resumed_with_torchrun_gives_the_same_bits(
    together: Any, tiny_wardrobe: Path, tmp_path: Path
) -> None:
    """Killed in the middle of the first CAP epoch, after the checkpoint of the TAD epoch."""
    whole = runs_of(together[1])
    teacher = tmp_path / "smoke" / "runs" / whole["teacher"].path.name
    shutil.copytree(whole["teacher"].path, teacher)
    options = ["train", *smoke_options(tiny_wardrobe, tmp_path, **TRAINING), "--row", "rlq"]
    killed, left = two_processes("die", 4, *options)
    assert killed.code == -9
    assert left.code == 2 and "process 1 lost the others" in left.err, left
    assert "Traceback" not in left.err
    run = runs_of(tmp_path)["rlq"]
    assert not run.finished
    assert read_checkpoint(run.path / "checkpoint.pt")["next_phase"] == 1

    resumed = torchrun(*options)

    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count("run folder") == 1
    for name in FILES:
        same = (run.path / name).read_bytes() == (whole["rlq"].path / name).read_bytes()
        assert same, name
    assert without_seconds(run) == without_seconds(whole["rlq"])


def torchrun(*options: Any) -> subprocess.CompletedProcess[str]:
    """rlqkit in two processes, as a user starts them."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    return subprocess.run(
        [*command, "2", "-m", "rlqkit", *map(str, options)], cwd=TESTS.parent, text=True,
        capture_output=True, check=False, timeout=PATIENCE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip


@pytest.mark.slow
def test_a_mean_of_rows_that_two_processes_trained(tiny_wardrobe: Path, tmp_path: Path) -> None:
    """Its parents first, then the mean, by process 0; both processes end well."""
    short = {"training__batch": 4, "training__steps": 2, "averaging__batches": 1}
    options = ["train", *smoke_options(tiny_wardrobe, tmp_path, **short), "--row"]
    early = torchrun(*options, "mean")
    assert early.returncode != 0 and "train it first: --row base" in early.stderr
    for row in ("base", "base-lq", "mean"):
        done = torchrun(*options, row)
        assert done.returncode == 0, done.stderr
    assert runs_of(tmp_path)["mean"].finished


def without_seconds(run: RunFolder) -> list[dict[str, Any]]:
    records = json.loads((run.path / "history.json").read_text())
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def test_other_commands_refuse_torchrun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for command in (["evaluate", tmp_path], ["reproduce"]):
        ended = rlqkit(*command)
        assert ended.code == 2
        assert ended.err.strip().endswith("is one process; torchrun is for rlqkit train only")
