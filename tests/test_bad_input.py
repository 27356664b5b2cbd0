"""Bad input: one line on stderr that names the thing and the remedy, exit code 2, nothing lost."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Outcome, rlqkit, smoke_options
from conftest import write_checksums
from PIL import Image

from rlqkit.data import loaders
from rlqkit.errors import RlqkitError, one_line
from rlqkit.method import training
from rlqkit.method.attributes import check_pose_labels


def refused(outcome: Outcome, *words: str | Path) -> None:
    """Exit code 2 and one line, without a traceback, that holds every word."""
    assert outcome.code == 2, (outcome.code, outcome.err)
    lines = [line.rpartition("\r")[2] for line in outcome.err.split("\n")]  # progress bars go
    (message,) = [line for line in lines if line.strip()]
    assert message.startswith("error: ")
    assert "Traceback" not in outcome.err
    for word in words:
        assert str(word) in message, message


def train(data: Path, results: Path, row: str = "base", **changes: object) -> Outcome:
    return rlqkit("train", *smoke_options(data, results, **changes), "--row", row)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


# --------------------------------------------------------------------------------- configuration


def test_unknown_key(tiny_wardrobe: Path, results: Path) -> None:
    outcome = train(tiny_wardrobe, results, training__bacth=3)
    refused(outcome, "unknown configuration key training.bacth", '"training.batch"')
    assert not results.exists()


def test_unknown_profile(results: Path) -> None:
    for command in ("train", "reproduce"):
        outcome = rlqkit(command, "--profile", "quikc", "--results", results)
        refused(outcome, 'no profile "quikc"', '"quick"')
    assert not results.exists()


def test_set_without_equals_sign() -> None:
    refused(rlqkit("train", "--set", "training.steps"), '"training.steps"', "write key=value")


def test_unknown_row(tiny_wardrobe: Path, results: Path) -> None:
    refused(train(tiny_wardrobe, results, row="rlqq"), '"rlqq"', "base-lq")


def test_missing_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    refused(rlqkit("train", "--config", file), file, "give an existing TOML file")


def test_unknown_dataset_and_backbone(tiny_wardrobe: Path, results: Path) -> None:
    refused(train(tiny_wardrobe, results, data__dataset="ltccc"), "'ltccc'", "choose one of")
    refused(train(tiny_wardrobe, results, model__backbone="vgg16"), '"vgg16"', "try resnet50")
    outcome = train(tiny_wardrobe, results, model__weights="/no/such/file.pth")
    refused(outcome, "model.weights = /no/such/file.pth does not exist", '"none"')


def test_batch_larger_than_the_epoch(tiny_wardrobe: Path, results: Path) -> None:
    refused(train(tiny_wardrobe, results, training__batch=64), "training.batch = 64", "48 images")


def test_more_identities_than_there_are_is_all(tiny_wardrobe: Path, results: Path) -> None:
    assert train(tiny_wardrobe, results, data__identities=99, training__steps=1).code == 0


# -------------------------------------------------------------------------------------- data set


def test_missing_data_set(tmp_path: Path, results: Path) -> None:
    for command in (["train"], ["reproduce", "--no-notebooks"]):
        outcome = rlqkit(*command, *smoke_options(tmp_path / "nowhere", results))
        refused(outcome, tmp_path / "nowhere", "is missing", "RLQKIT_DATA")
    refused(rlqkit("data", "check", "--root", tmp_path / "nowhere"), tmp_path / "nowhere")


def test_empty_data_set(tmp_path: Path, results: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(train(empty, results), empty, "is empty", "restore")


def truncate(root: Path, split: str) -> Path:
    file = sorted((root / "images" / split).iterdir())[0]
    file.write_bytes(file.read_bytes()[:40])
    return file


@pytest.mark.parametrize("cache", [2000, 0])
@pytest.mark.parametrize("workers", [0, 2])
def test_truncated_image(broken_wardrobe: Path, results: Path, cache: int, workers: int) -> None:
    """Also where a worker process finds it: its traceback is not for the user."""
    file = truncate(broken_wardrobe, "train")
    changes = {"data__cache_megabytes": cache, "data__workers": workers}
    refused(train(broken_wardrobe, results, **changes), file, "truncated", "restore")


def test_truncated_query_image_loses_no_training(
    broken_wardrobe: Path, tiny_wardrobe: Path, results: Path
) -> None:
    """Found after the training: mend the image, and the run goes on from its checkpoint."""
    file = truncate(broken_wardrobe, "query")
    refused(train(broken_wardrobe, results, training__steps=6), file, "truncated")
    (checkpoint,) = results.glob("smoke/runs/base-*/checkpoint.pt")
    before = checkpoint.stat().st_mtime_ns
    file.write_bytes((tiny_wardrobe / file.relative_to(broken_wardrobe)).read_bytes())
    loaders.image_store.cache_clear()
    assert train(broken_wardrobe, results, training__steps=6).code == 0
    assert checkpoint.stat().st_mtime_ns == before


def test_a_teacher_that_fails_stops_only_those_that_need_it(
    tiny_wardrobe: Path, results: Path
) -> None:
    """TAD has it for its teacher; LQ-tuned follows base, and the mean follows both of those."""
    changes = {"teacher__batch": 1000, "training__steps": 2, "continuing__epochs": 1}
    rows = {"reproduce__rows": '["base", "tad", "lq-on", "mean-on"]', "reproduce__seeds": "[1]"}
    outcome = rlqkit(
        "reproduce", "--no-notebooks", *smoke_options(tiny_wardrobe, results, **changes, **rows)
    )
    assert outcome.code == 2 and outcome.err.count("failed") == 1, outcome.err
    assert "training.batch = 1000" in outcome.err
    done = {file.parent.name.split("-s1-")[0] for file in results.glob("smoke/runs/*/metrics.json")}
    assert done == {"base", "lq-on", "mean-on"}


def test_reproduce_refuses_data_that_are_not_as_shipped(
    broken_wardrobe: Path, results: Path
) -> None:
    truncate(broken_wardrobe, "gallery")
    outcome = rlqkit("reproduce", "--no-notebooks", *smoke_options(broken_wardrobe, results))
    refused(outcome, "images/gallery/", "has changed", "restore")
    assert not list(results.glob("smoke/runs/*"))


def test_data_check_tells_all_and_exits_with_2(broken_wardrobe: Path) -> None:
    truncate(broken_wardrobe, "query")
    outcome = rlqkit("data", "check", "--root", broken_wardrobe)
    assert outcome.code == 2 and "images/query/" in outcome.out
    assert "truncated" in outcome.out and "restore" in outcome.err.splitlines()[-1]
    write_checksums(broken_wardrobe)  # the sums agree now, the image is still torn
    assert rlqkit("data", "check", "--root", broken_wardrobe).code == 2


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def change_samples(root: Path, change: Callable[[dict[str, str]], bool]) -> None:
    """Lets a function change each line of samples.csv, and leaves out those that it answers no."""
    with (root / "samples.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    with (root / "samples.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(line for line in lines if change(line))


def test_identity_without_gender(broken_wardrobe: Path, results: Path) -> None:
    def forget(line: dict[str, str]) -> bool:
        if (line["split"], line["identity"]) == ("train", "3"):
            line["gender"] = ""
        return True

    change_samples(broken_wardrobe, forget)
    refused(train(broken_wardrobe, results, "gender"), "identity 3", "no gender label", "1 (male)")


def test_image_without_mask(broken_wardrobe: Path, results: Path) -> None:
    next((broken_wardrobe / "masks" / "train").iterdir()).unlink()
    refused(train(broken_wardrobe, results), "has no clothes mask", "without recolouring")
    assert train(broken_wardrobe, results, "cal", training__steps=1).code == 0


def test_images_without_joints(broken_wardrobe: Path, results: Path) -> None:
    (broken_wardrobe / "joints.csv").unlink()
    refused(train(broken_wardrobe, results, "pose"), "has no joints", "rows without pose")


def test_mask_of_another_size(broken_wardrobe: Path, results: Path) -> None:
    file = sorted((broken_wardrobe / "masks" / "train").iterdir())[0]
    Image.fromarray(np.ones((8, 8), np.uint8)).save(file)
    refused(train(broken_wardrobe, results), file, "sizes must agree")


# ---------------------------------------------------------------------------------------- labels


def test_more_clusters_than_poses(tiny_wardrobe: Path, results: Path) -> None:
    refused(train(tiny_wardrobe, results, "pose", cap__clusters=49), "49", "48", "poses")
    assert not list(results.glob("smoke/runs/*"))


@pytest.mark.parametrize("label", [-1, 5, 17])
def test_pose_label_outside(
    tiny_wardrobe: Path, results: Path, monkeypatch: pytest.MonkeyPatch, label: int
) -> None:
    """As a table of labels made with another K would bring it."""
    plain = loaders.pose_clusters

    def other(*arguments: Any) -> Any:
        clusters = plain(*arguments)
        clusters.labels[7] = label
        return clusters

    monkeypatch.setattr(loaders, "pose_clusters", other)
    outcome = train(tiny_wardrobe, results, "cap")
    refused(outcome, f"pose label {label} in row 7", "0..4", "number of clusters")


def test_pose_labels_in_range_pass() -> None:
    assert check_pose_labels([0, 4, 1], 4).tolist() == [0, 4, 1]
    for bad in ([0, 5], [-1], [1.5], [float("nan")]):
        with pytest.raises(RlqkitError, match="pose label"):
            check_pose_labels(bad, 4)  # type: ignore[arg-type]


def test_gallery_without_any_valid_match(broken_wardrobe: Path, results: Path) -> None:
    """Every gallery image in its query's outfit: no clothes-changing match is left."""
    lines = (broken_wardrobe / "samples.csv").read_text(encoding="utf-8").splitlines()
    columns = lines[0].split(",")
    for number, line in enumerate(lines):
        cells = line.split(",")
        if cells[columns.index("split")] in ("query", "gallery"):
            cells[columns.index("outfit")] = "0"
        lines[number] = ",".join(cells)
    (broken_wardrobe / "samples.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    outcome = train(broken_wardrobe, results, training__steps=3)
    refused(outcome, "protocol CC: no query has a valid match in the gallery", "it needs images")
    assert list(results.glob("smoke/runs/base-*/checkpoint.pt"))  # the training is kept


# ----------------------------------------------------------------------------------- checkpoints


@pytest.fixture
def unfinished(tiny_wardrobe: Path, results: Path) -> Path:
    """A run folder with its checkpoint, as a kill before the evaluation leaves it."""
    assert train(tiny_wardrobe, results, training__steps=6).code == 0
    (folder,) = results.glob("smoke/runs/base-*")
    (folder / "metrics.json").unlink()
    return folder


def train_again(tiny_wardrobe: Path, results: Path) -> Outcome:
    return train(tiny_wardrobe, results, training__steps=6)


def change_checkpoint(folder: Path, change: Any) -> bytes:
    file = folder / "checkpoint.pt"
    state = torch.load(file, weights_only=True)
    change(state)
    torch.save(state, file)
    return file.read_bytes()


def test_checkpoint_of_another_architecture(
    tiny_wardrobe: Path, results: Path, unfinished: Path
) -> None:
    other = train(tiny_wardrobe, results, training__steps=6, model__channels="[8,16,16,24]")
    assert other.code == 0
    (wider,) = (p for p in results.glob("smoke/runs/base-*") if p != unfinished)
    content = (wider / "checkpoint.pt").read_bytes()
    (unfinished / "checkpoint.pt").write_bytes(content)
    outcome = train_again(tiny_wardrobe, results)
    refused(outcome, unfinished / "checkpoint.pt", "another configuration", "model.channels was")
    assert (unfinished / "checkpoint.pt").read_bytes() == content  # kept as it was


def test_checkpoint_of_another_row(tiny_wardrobe: Path, results: Path, unfinished: Path) -> None:
    assert train(tiny_wardrobe, results, "cal", training__steps=6).code == 0
    (cal,) = results.glob("smoke/runs/cal-*/checkpoint.pt")
    (unfinished / "checkpoint.pt").write_bytes(cal.read_bytes())
    outcome = train_again(tiny_wardrobe, results)
    refused(outcome, unfinished / "checkpoint.pt", "another configuration", "row was cal")


def test_checkpoint_of_a_gpu_that_scaled_its_loss(
    tiny_wardrobe: Path, results: Path, unfinished: Path
) -> None:
    change_checkpoint(unfinished, lambda state: state["precision"].update(scale=65536.0))
    outcome = train_again(tiny_wardrobe, results)
    refused(outcome, unfinished / "checkpoint.pt", "begun in float16", "where it was begun")


def test_checkpoint_of_another_data_set(
    tiny_wardrobe: Path, results: Path, unfinished: Path
) -> None:
    """The same network, but heads for other people."""

    def fewer_people(state: Any) -> None:
        state["heads"] = {k: v[:-1] for k, v in state["heads"].items()}

    change_checkpoint(unfinished, fewer_people)
    outcome = train_again(tiny_wardrobe, results)
    refused(outcome, unfinished / "checkpoint.pt", "clothes.weight", "data it was trained with")


def test_corrupted_checkpoint(tiny_wardrobe: Path, results: Path, unfinished: Path) -> None:
    file = unfinished / "checkpoint.pt"
    content = file.read_bytes()
    for broken in (content[: len(content) // 2], b"nothing", b""):
        file.write_bytes(broken)
        outcome = train_again(tiny_wardrobe, results)
        refused(outcome, file, "delete it and train again")
        assert file.read_bytes() == broken
    change_file = {"network": {}, "epoch": 3}
    torch.save(change_file, file)
    refused(train_again(tiny_wardrobe, results), file, "is no checkpoint of rlqkit")
    file.unlink()
    assert train_again(tiny_wardrobe, results).code == 0


def test_evaluate_refuses_what_is_no_run(
    tiny_wardrobe: Path, results: Path, unfinished: Path, tmp_path: Path
) -> None:
    refused(rlqkit("evaluate", tmp_path), tmp_path, "config.json", "train the run again")
    outcome = rlqkit("evaluate", unfinished, "--rule", "best_test")
    refused(outcome, "weights-best_test.safetensors")
    (unfinished / "weights-last.safetensors").write_bytes(b"torn")
    refused(rlqkit("evaluate", unfinished), "weights-last.safetensors", "train again")


# --------------------------------------------------------------------------------------- training


def test_loss_that_is_not_finite(tiny_wardrobe: Path, results: Path) -> None:
    outcome = train(tiny_wardrobe, results, training__learning_rate=1e30)
    refused(outcome, "base: loss", "is not finite in epoch", "lower training.learning_rate")


def interrupt_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: Any) -> None:
        raise AssertionError("trained in spite of it")

    monkeypatch.setattr(training, "cap_step", step)


def test_selection_on_a_split_that_is_not_there(
    tiny_wardrobe: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = loaders.registry.load

    def without_validation(*arguments: Any, **options: Any) -> Any:
        benchmark = plain(*arguments, **options)
        for split in ("val_query", "val_gallery"):
            benchmark.sets.pop(split, None)
        return benchmark

    monkeypatch.setattr(loaders.registry, "load", without_validation)
    interrupt_training(monkeypatch)  # it is told before the first step
    refused(
        train(tiny_wardrobe, results), "evaluation.selection", "best_validation", "leave it out"
    )


def one_image_of_each_kind(root: Path, outfits: bool) -> None:
    """Leaves one training image of each person, outfit and camera, or of one outfit alone."""

    def keep(line: dict[str, str]) -> bool:
        training = line["split"] == "train"
        if training and not outfits:
            line["outfit"] = "0"
        return not (training and line["file"].endswith("_1.webp"))

    change_samples(root, keep)
    (root / "joints.csv").unlink()


CARVED = {"data__validation_identities": 2, "data__identities": 0, "training__batch": 8}


def test_validation_people_without_a_match(
    broken_wardrobe: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_image_of_each_kind(broken_wardrobe, outfits=False)
    interrupt_training(monkeypatch)  # it is told before the first step
    outcome = train(broken_wardrobe, results, **CARVED)
    refused(outcome, "best_validation", "val_query has a match", "in other clothes", "other people")
    assert not list(results.glob("smoke/runs/*"))


@pytest.mark.parametrize("identities", [0, 3])
def test_validation_people_of_one_image_a_camera_and_outfit(
    broken_wardrobe: Path, results: Path, identities: int
) -> None:
    one_image_of_each_kind(broken_wardrobe, outfits=True)
    changes = CARVED | {"data__identities": identities, "training__steps": 2}
    assert train(broken_wardrobe, results, "base-plain", **changes).code == 0
    (history,) = results.glob("smoke/runs/base-plain-*/history.json")
    assert 0 < json.loads(history.read_text())[-1]["best_validation"] <= 1


def test_results_folder_that_is_a_file(tiny_wardrobe: Path, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("mine", encoding="utf-8")
    refused(train(tiny_wardrobe, tmp_path / "results"), tmp_path / "results")
    assert (tmp_path / "results").read_text(encoding="utf-8") == "mine"


def test_one_line_of_a_workers_error() -> None:
    wrapped = (
        "Caught RlqkitError in DataLoader worker process 0.\nOriginal Traceback:\n  File …\n"
        "rlqkit.errors.RlqkitError: image x is\n truncated: restore it"
    )
    assert one_line(RlqkitError(wrapped)) == "image x is truncated: restore it"
    assert one_line(RuntimeError("first\nlast")) == "last"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
