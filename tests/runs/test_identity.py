"""A run is what its name says: what counts, what was read, and one process at a time."""

from __future__ import annotations

import errno
import json
import multiprocessing
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import Outcome, rlqkit, smoke_options
from conftest import write_checksums
from trees import write_tree

from rlqkit import files
from rlqkit.config import Config, config_hash, load_profile, with_overrides
from rlqkit.data.fingerprint import fingerprint
from rlqkit.data.imageset import Benchmark
from rlqkit.data.registry import load
from rlqkit.errors import RlqkitError
from rlqkit.runs.experiment import Run, resolve
from rlqkit.runs.folder import RunFolder, parts_in_use, run_id

SHORT = {"training__steps": 3, "teacher__steps": 2}
PATIENCE = 240  # seconds; a process needs a few to begin on an idle machine


def train(data: Path, results: Path, row: str = "pose", **changes: object) -> Outcome:
    options = smoke_options(data, results, **SHORT, **changes)
    return rlqkit("train", "--row", row, *options)


def refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2 and outcome.err.count("\n") == 1, outcome
    assert all(word in outcome.err for word in words), outcome.err


# ------------------------------------------------------------------------------ what counts


@pytest.mark.parametrize(
    ("key", "value", "same", "other"),
    [
        ("cap.clusters", 7, ("base", "gender", "tad"), ("pose", "cap", "rlq")),
        ("model.pose_from", "layer2", ("base", "tad", "gender"), ("pose", "rlq")),
        ("recolouring.colour_groups", 2, ("cal", "base-plain", "teacher"), ("base", "rlq")),
        ("teacher.steps", 9, ("base", "cap", "base-lq", "mean"), ("tad", "rlq", "mean-tad")),
        ("data.external_images", 32, ("base", "cap"), ("tad", "rlq", "teacher")),
        ("compat.mask_overlap", "official", ("cal", "base-plain"), ("base", "rlq")),
        ("compat.external_order", "official", ("base", "cap"), ("tad",)),
        ("training.steps", 99, (), ("base", "teacher", "rlq")),
    ],
)
def test_a_key_counts_where_the_row_uses_it(
    key: str, value: object, same: tuple[str, ...], other: tuple[str, ...]
) -> None:
    for row in (*same, *other):
        config = load_profile("smoke", {"row": row})
        changed = run_id(with_overrides(config, {key: value}))
        assert (changed == run_id(config)) == (row in same), row


def test_two_spellings_of_the_same_switches_are_one_run() -> None:
    config = load_profile("smoke", {"row": "rlq"})
    spelt = {f"compat.{name}": "clean" for name in ("kl_reduction", "worker_seeds", "zero_grad")}
    assert run_id(with_overrides(config, spelt)) == run_id(config)
    assert run_id(with_overrides(config, {"compat.preset": "official"})) != run_id(config)


def test_defaults_have_no_part_in_the_hash() -> None:
    """Pinned: a new field with a default must leave the names of earlier runs alone."""
    assert config_hash(Config()) == "44136fa3"  # of an empty table
    assert config_hash(load_profile("paper")) != config_hash(Config(seed=2))


# ----------------------------------------------------------------------------- what was read


@pytest.fixture(scope="module")
def begun(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder with a finished run of row pose: read only."""
    results = tmp_path_factory.mktemp("begun")
    assert train(tiny_wardrobe, results).code == 0
    return results


def copied(results: Path, folder: Path) -> Path:
    return Path(shutil.copytree(results, folder / "results"))


def only_run(results: Path) -> Path:
    (run,) = (results / "smoke/runs").glob("pose-*")
    return run


def edited_copy(data: Path, folder: Path) -> Path:
    """The tiny data set with joints moved by ten pixels."""
    copy = Path(shutil.copytree(data, folder / "wardrobe-v2"))
    joints = pd.read_csv(copy / "joints.csv")
    joints["x0"] += 10
    joints.to_csv(copy / "joints.csv", index=False)
    (copy / "SHA256SUMS").unlink()
    write_checksums(copy)
    return copy


def test_a_folder_that_is_not_there_returns_no_finished_run(begun: Path, tmp_path: Path) -> None:
    refused(train(tmp_path / "nothing", begun), "nothing", "missing")


def test_other_labels_are_refused(begun: Path, tiny_wardrobe: Path, tmp_path: Path) -> None:
    other, results = edited_copy(tiny_wardrobe, tmp_path), copied(begun, tmp_path)
    refused(train(other, results), "other poses of the target", "another --results folder")
    (only_run(results) / "metrics.json").unlink()  # as if it had been interrupted
    refused(train(other, results), "other poses of the target")


def test_a_data_set_may_be_moved(begun: Path, tiny_wardrobe: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(tiny_wardrobe, tmp_path / "elsewhere"))
    assert train(moved, begun).code == 0
    assert len(list((begun / "smoke/runs").glob("pose-*"))) == 1


def test_digests_name_what_differs(tiny_benchmark: Benchmark, broken_wardrobe: Path) -> None:
    before = fingerprint(tiny_benchmark.sets)
    assert before == fingerprint(load("wardrobe-v2", broken_wardrobe).sets)
    next(iter((broken_wardrobe / "masks/train").glob("*.png"))).unlink()
    after = fingerprint(load("wardrobe-v2", broken_wardrobe).sets)
    assert [part for part in before if before[part] != after[part]] == ["masks"]


def test_a_run_keeps_what_it_read(begun: Path) -> None:
    run = only_run(begun)
    read = json.loads((run / "config.json").read_text())["read"]
    assert set(read) == {"target"} and set(read["target"]) == {"images", "poses", "masks"}


def other_genders(data: Path, folder: Path) -> Path:
    """The tiny data set with every gender turned round."""
    copy = Path(shutil.copytree(data, folder / "wardrobe-v2"))
    samples = pd.read_csv(copy / "samples.csv", dtype=str, keep_default_na=False)
    samples["gender"] = samples["gender"].map({"0": "1", "1": "0"})
    samples.to_csv(copy / "samples.csv", index=False)
    write_checksums(copy)
    return copy


@pytest.mark.parametrize("older", [False, True])
def test_labels_that_the_row_does_not_use_may_change(
    begun: Path, tiny_wardrobe: Path, tmp_path: Path, older: bool
) -> None:
    """Older kits kept digests of all labels, whatever the row."""
    other, results = other_genders(tiny_wardrobe, tmp_path), copied(begun, tmp_path)
    file = only_run(results) / "config.json"
    if older:
        values = json.loads(file.read_text())
        values["read"]["target"]["gender"] = "0123456789abcdef"
        file.write_text(json.dumps(values))
    before = file.read_bytes()
    assert train(other, results).code == 0
    assert only_run(results) / "config.json" == file and file.read_bytes() == before


def test_labels_that_come_later_leave_runs_without_them_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LTCC with masks alone at first; then gender and pose labels come, which base never reads."""
    monkeypatch.setenv("RLQKIT_CACHE", str(tmp_path / "cache"))
    root = write_tree("ltcc", tmp_path / "ltcc", pose="", gender=False)
    external = write_tree("celeb-reid", tmp_path / "celeb", pose="", gender=False, masks="")
    options = {"data.root": str(root), "data.external_root": str(external),
               "runtime.results": str(tmp_path / "results"), "model.weights": "none",
               "training.precision": "32-true"}  # fmt: skip

    def run_of(row: str) -> Run:
        return resolve(load_profile("paper", {**options, "row": row}))

    rows = ("base", "cal", "tad", "teacher", "cap")
    for row in rows:
        run_of(row).folder.start(run_of(row).config, run_of(row).read, "32-true")
    for name, place in (("ltcc", root), ("celeb-reid", external)):
        labelled = write_tree(name, tmp_path / f"labelled {name}")
        for file in (labelled / "labels").glob("*_*.csv"):
            shutil.copy(file, place / "labels")
    for row in rows[:-1]:
        run_of(row).folder.require_same(run_of(row).config, run_of(row).read)
    with pytest.raises(RlqkitError, match="begun with other gender of the target"):
        run_of("cap").folder.require_same(run_of("cap").config, run_of("cap").read)


@pytest.mark.parametrize(
    ("row", "teacher", "target", "external"),
    [
        ("cal", "teacher", "", ""),
        ("base", "teacher", "masks", ""),
        ("pose", "teacher", "masks poses", ""),
        ("rlq", "teacher", "masks poses gender", ""),
        ("tad", "teacher-cap", "masks", "masks poses gender"),
        ("teacher-cap", "teacher", "", "masks poses gender"),
        ("rlq-on", "teacher-cap", "masks poses gender", "masks poses gender"),
        ("self-taught", "teacher-cap", "masks", ""),
        ("mean-tad", "teacher-cap", "masks", "masks poses gender"),
    ],
)
def test_parts_in_use_are_the_rows_and_those_of_what_it_comes_from(
    row: str, teacher: str, target: str, external: str
) -> None:
    used = parts_in_use(load_profile("smoke", {"row": row, "teacher.row": teacher}))
    wanted = {"target": target, "external": external}
    assert used == {name: {"images", *parts.split()} for name, parts in wanted.items()}


def test_other_defaults_of_an_older_kit_are_refused(
    begun: Path, tiny_wardrobe: Path, tmp_path: Path
) -> None:
    results = copied(begun, tmp_path)
    file = only_run(results) / "config.json"
    values = json.loads(file.read_text())
    values["training"]["weight_decay"] = 0.1
    file.write_text(json.dumps(values))
    refused(train(tiny_wardrobe, results), "training.weight_decay = 0.1 and not 0.0005")


# ------------------------------------------------------------------------------ files of a run


def test_a_newer_kits_configuration_names_file_and_version(begun: Path, tmp_path: Path) -> None:
    source = only_run(begun)
    run = Path(shutil.copytree(source, tmp_path / "run"))
    values = json.loads((run / "config.json").read_text())
    values["training"]["swing"] = 1
    values["kit"] = "99.0"
    (run / "config.json").write_text(json.dumps(values))
    with pytest.raises(RlqkitError, match=r"config\.json is of 99\.0 version.*training\.swing"):
        RunFolder(run).config()


@pytest.mark.parametrize("content", [b'[{"rank1": 0.', b"\xff\xfe\x00", b""])
def test_half_a_file_names_itself_and_the_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(RlqkitError, match=r"metrics\.json is not valid JSON.*delete it"):
        RunFolder(tmp_path).metrics()


def test_what_makes_a_run_finished_is_written_last(begun: Path) -> None:
    run = only_run(begun)
    at = {file.name: file.stat().st_mtime_ns for file in run.iterdir()}
    assert at["metrics.json"] == max(at.values())  # a clock's tick may hold several files
    assert "images" in json.loads((run / "environment.json").read_text())


def test_numbers_that_are_none_are_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "metrics.json", [{"rank1_sd": float("nan")}])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_as_such_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"old")
    monkeypatch.setattr(files, "_full", lambda _: True)
    with pytest.raises(OSError) as error, files.atomically(file) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("unexpected pos 64 vs 0")  # as torch says it
    assert error.value.errno == errno.ENOSPC and "weights" in str(error.value)
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]


# --------------------------------------------------------------------------- one process at a time


def _hold(folder: Path, ready: Event, done: Event) -> None:
    with RunFolder(folder).locked(print):
        ready.set()
        done.wait(PATIENCE)


@contextmanager
def held(folder: Path) -> Iterator[tuple[BaseProcess, Event]]:
    """A process that holds a run folder until the event is set; none is left behind."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(folder, ready, done))
    holder.start()
    try:
        assert ready.wait(PATIENCE)
        yield holder, done
    finally:
        if holder.is_alive():  # setting an event waits for whoever waits for it, dead or not
            done.set()
        holder.join(PATIENCE)
        holder.kill()
        holder.join()


def test_a_second_process_waits_and_says_for_whom(tmp_path: Path) -> None:
    said: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with RunFolder(tmp_path / "run").locked(said.append):
            entered.set()

    # left in turn: the holder ends, so that the thread ends
    with ThreadPoolExecutor(1) as waiting, held(tmp_path / "run") as (holder, done):
        waiting.submit(second)
        assert not entered.wait(1) and len(said) == 1
        assert f"waiting for process {holder.pid} on " in said[0]
        done.set()
        assert entered.wait(PATIENCE)


def test_a_holder_that_leaves_in_this_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes its name away and then its lock, and somebody may read in between."""
    said: list[str] = []
    plain = Path.read_text

    def too_late(file: Path, *given: Any, **options: Any) -> str:
        if file.suffix == ".holder":
            file.unlink()
        return plain(file, *given, **options)

    with held(tmp_path / "run") as (_, done):
        monkeypatch.setattr(Path, "read_text", too_late)

        def say(line: str) -> None:
            said.append(line)
            done.set()

        with RunFolder(tmp_path / "run").locked(say):
            pass
    assert said == ["run: waiting for another process, which works on this run"]


def test_the_lock_of_a_killed_process_blocks_nobody(tmp_path: Path) -> None:
    said: list[str] = []
    with held(tmp_path / "run") as (holder, _):
        holder.kill()
        holder.join()
        with RunFolder(tmp_path / "run").locked(said.append):
            assert said == []
