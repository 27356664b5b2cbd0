"""The authors' checkpoints: descriptors of the golden weights, provenance, refusals, safety."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import rlqkit
from golden_weights import golden_value

from rlqkit.config import load_profile, with_overrides
from rlqkit.data.imageset import Benchmark
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.collapse import measure_collapse
from rlqkit.evaluation.metrics import Labels
from rlqkit.report.notebook import runs_or_imported
from rlqkit.runs.experiment import load_network
from rlqkit.runs.folder import RunFolder, find_runs
from rlqkit.runs.released_weights import import_weights, load_heads, read_released

FOLDER = Path(__file__).parents[1] / "golden"
SIZES = {"classifier.weight": [10, 4096], "classifier.bias": [10]}
Released = dict[str, Any]


def golden_checkpoint(name: str, empty: bool = False) -> Released:
    """A dict in the released layout, with golden weights, or uninitialised ones where empty."""
    shapes = json.loads((FOLDER / "keys.json").read_text())[name]
    rooms = {"model": shapes, "classifier": SIZES, "clothes_classifier": {"weight": [830, 4096]}}
    released: Released = {"rank1": 0.427, "epoch": 59}
    for room, sizes in rooms.items():
        released[f"{room}_state_dict"] = {
            key: torch.empty(size, device="meta")
            if empty
            else torch.from_numpy(np.asarray(golden_value(f"{room}/{key}", tuple(size))))
            for key, size in sizes.items()
        }
    return released


@pytest.fixture(scope="module")
def golden_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RLQ's checkpoint as released, 330 MB."""
    file = tmp_path_factory.mktemp("released") / "best_model.pth.tar"
    torch.save(golden_checkpoint("resnet50_joint3_3"), file)
    return file


@pytest.fixture(scope="module")
def imported(golden_file: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    changes = {"runtime.results": str(tmp_path_factory.mktemp("results"))}
    return import_weights(golden_file, "ltcc", changes)


def test_descriptors_are_the_golden_ones(imported: RunFolder) -> None:
    arrays = np.load(FOLDER / "models.npz")
    network = load_network(imported).double()
    images = torch.from_numpy(arrays["x2"]).double()
    with torch.no_grad():
        descriptor = network.descriptor(images)
    golden = arrays["resnet50_joint3_3/eval_x2/concat"]
    np.testing.assert_allclose(descriptor, golden, rtol=1e-9, atol=1e-9)


def test_heads_are_the_released_ones(imported: RunFolder) -> None:
    state = load_heads(imported).state_dict()
    for name, key in {
        "identity_1.weight": "classifier/classifier.weight",
        "identity_2.bias": "model/identity_classifier.classifier.bias",
        "clothes.weight": "clothes_classifier/weight",
        "pose.weight": "model/identity_classifier2.classifier.weight",
    }.items():
        np.testing.assert_array_equal(state[name], golden_value(key, tuple(state[name].shape)))
    assert not any(name.startswith("gender") for name in state)


def test_folder_says_where_it_comes_from(imported: RunFolder, golden_file: Path) -> None:
    assert imported.imported and not imported.finished
    provenance = imported.provenance()
    assert provenance["sha256"] == hashlib.sha256(golden_file.read_bytes()).hexdigest()
    assert provenance["claimed"] == {"rank1": 0.427, "epoch": 59}
    assert (provenance["identities"], provenance["clothes"]) == (10, 830)
    config = imported.config()
    assert (config.row, config.data.dataset, config.cap.clusters) == ("rlq", "ltcc", 15)
    assert imported.path.parent.name == "imported"
    assert imported.path.name == f"rlq-ltcc-{provenance['sha256'][:8]}"


def test_command_line_to_figures_and_collapse(
    golden_file: Path, tiny_wardrobe: Path, tiny_benchmark: Benchmark, tmp_path: Path
) -> None:
    """Import, evaluate, and what the feature-collapse notebook reads, on tiny images."""
    changes = {"data.root": tiny_wardrobe, "data.height": 32, "data.width": 16, "data.workers": 0}
    sets = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    where = ["--dataset", "wardrobe-v2", "--results", tmp_path]
    done = rlqkit("import-weights", golden_file, *where, *sets)
    assert done.code == 0, done.err
    assert "rlq, claimed: rank-1 0.427, epoch 59\n" in done.out
    (path,) = (tmp_path / "paper" / "imported").iterdir()
    config = with_overrides(RunFolder(path).config(), {"runtime.results": str(tmp_path)})
    with pytest.raises(RlqkitError, match="run `rlqkit evaluate"):
        runs_or_imported(config, ("base", "rlq"), str(path))
    evaluated = rlqkit("evaluate", path)
    assert evaluated.code == 0, evaluated.err
    run = RunFolder(path)
    assert run.finished and set(run.metrics()["epoch"]) == {59}
    assert len(run.per_query()) == run.metrics().query("query != 'LQ'")["queries"].sum()
    features = run.features()
    assert features["query", "HQ"].shape == (len(tiny_benchmark["query"]), 8192)
    labels = Labels(*tiny_benchmark["query"].metric_arrays())
    collapse = measure_collapse(features["query", "HQ"], features["query", "mixed LQ"], labels)
    assert 0 < collapse.same_image_cosine < 1
    assert runs_or_imported(config, ("base", "rlq"), str(path)) == {"rlq": run}
    with pytest.raises(RlqkitError, match="of data set wardrobe-v2, this notebook of ltcc"):
        runs_or_imported(load_profile("paper"), ("base", "rlq"), str(path))
    assert find_runs(tmp_path / "paper") == []  # tables of our runs don't see it


# ----------------------------------------------------------------------- without real weights


def small(file: Path, released: Any) -> Path:
    """Writes a checkpoint whose tensors repeat one number, so that it takes a few kilobytes."""

    def shrunk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shrunk(item) for key, item in value.items()}
        return torch.zeros(()).expand(value.shape) if isinstance(value, torch.Tensor) else value

    torch.save(shrunk(released), file)
    return file


def test_base_model_is_told_from_its_keys(tmp_path: Path) -> None:
    released = read_released(
        small(tmp_path / "m.pth.tar", golden_checkpoint("resnet50_joint2", True))
    )
    assert released.row.name == "base" and released.identities == 10
    assert not any("pose" in name for name in (*released.network, *released.heads))
    assert released.network["trunk.1.0.conv1.weight"].shape == (128, 256, 1, 1)


@pytest.mark.parametrize(("identities", "dataset"), [(77, "ltcc"), (150, "prcc")])
def test_data_set_is_told_from_the_identities(
    identities: int, dataset: str, tmp_path: Path
) -> None:
    released = golden_checkpoint("resnet50_joint2", True)
    for room, prefix in (("classifier", ""), ("model", "identity_")):
        for kind, size in (("weight", (identities, 4096)), ("bias", (identities,))):
            key = f"{prefix}classifier.classifier.{kind}" if prefix else f"classifier.{kind}"
            released[f"{room}_state_dict"][key] = torch.empty(size, device="meta")
    file = small(tmp_path / "m.pth.tar", released)
    config = import_weights(file, overrides={"runtime.results": str(tmp_path)}).config()
    assert (config.data.dataset, config.quality.mix) == (dataset, dataset)
    with pytest.raises(RlqkitError, match=f"trained on {dataset}, not on last"):
        import_weights(file, "last", {"runtime.results": str(tmp_path)})


def test_unknown_number_of_identities_asks_for_the_data_set(tmp_path: Path) -> None:
    file = small(tmp_path / "m.pth.tar", golden_checkpoint("resnet50_joint2", True))
    done = rlqkit("import-weights", file, "--results", tmp_path)
    assert done.code == 2 and "10 identities tell no data set" in done.err
    assert "--dataset" in done.err and not (tmp_path / "paper").exists()


def test_claim_may_be_a_number_of_numpy_old_or_new(tmp_path: Path) -> None:
    released = golden_checkpoint("resnet50_joint2", True) | {"rank1": np.float64(0.5)}
    new = small(tmp_path / "new.pth.tar", released)
    old = tmp_path / "old.pth.tar"
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(old, "w", zipfile.ZIP_STORED) as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in content
                content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            target.writestr(item.filename, content)
    for file in (new, old):
        assert read_released(file).claimed == {"rank1": 0.5, "epoch": 59}


def test_files_of_old_torch_are_read(tmp_path: Path) -> None:
    released = golden_checkpoint("resnet50_joint2", True)
    zeros = {
        room: {key: torch.zeros(()).expand(t.shape) for key, t in value.items()}
        if isinstance(value, dict)
        else value
        for room, value in released.items()
    }
    file = tmp_path / "old.pth.tar"
    torch.save(zeros, file, _use_new_zipfile_serialization=False)
    assert read_released(file).row.name == "base"


def dropped(released: Released) -> Released:
    released["model_state_dict"].pop("common.4.0.conv1.weight")
    return released


def resnet18(released: Released) -> Released:
    released["model_state_dict"]["common.4.0.conv1.weight"] = torch.empty(64, 64, 3, 3)
    return released


def extended(released: Released) -> Released:
    released["model_state_dict"]["layer9.weight"] = torch.empty(1)
    return released


def unequal(released: Released) -> Released:
    released["classifier_state_dict"]["classifier.weight"] = torch.empty(11, 4096)
    return released


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dropped, "common.4.0.conv1.weight is absent"),
        (resnet18, "common.4.0.conv1.weight is (64, 64, 3, 3) and not (64, 64, 1, 1)"),
        (extended, "layer9.weight is unknown"),
        (unequal, "classifier.bias is (10,) and not (11,)"),
        (lambda released: [1, 2], "model_state_dict is absent"),
        (lambda released: {"model_state_dict": {}}, "classifier_state_dict is absent"),
        (lambda released: released | {"model_state_dict": 3}, "model_state_dict is no state dict"),
    ],
)
def test_other_contents_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    file = small(tmp_path / "m.pth.tar", change(golden_checkpoint("resnet50_joint3_3", True)))
    done = rlqkit("import-weights", file, "--results", tmp_path, "--dataset", "ltcc")
    assert done.code == 2 and message in done.err and str(file) in done.err
    assert len(done.err.strip().splitlines()) == 1


class Trap:
    """Would run code if the file were unpickled as any object."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return (Path.touch, (self.place,))


@pytest.mark.parametrize("fault", ["truncated", "text", "empty", "absent", "code"])
def test_unreadable_files_are_refused(fault: str, tmp_path: Path) -> None:
    file = tmp_path / "m.pth.tar"
    buffer = io.BytesIO()
    torch.save({"model_state_dict": {"a": torch.zeros(5000)}}, buffer)
    content = {"truncated": buffer.getvalue()[:9000], "text": b"<html>not found</html>"}
    if fault == "code":
        torch.save({"model_state_dict": Trap(tmp_path / "sprung")}, file)
    elif fault != "absent":
        file.write_bytes(content.get(fault, b""))
    done = rlqkit("import-weights", file, "--results", tmp_path)
    assert done.code == 2 and str(file) in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert ("does not exist" if fault == "absent" else "can't be read") in done.err
    assert not (tmp_path / "sprung").exists() and not (tmp_path / "paper").exists()


# ------------------------------------------------------------------- packed in another way


def refused(file: Path, results: Path) -> str:
    done = rlqkit("import-weights", file, "--results", results, "--dataset", "ltcc")
    assert done.code == 2 and str(file) in done.err and len(done.err.splitlines()) == 1
    assert "download it again" not in done.err or "web page" in done.err
    return done.err


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    return small(folder / "best_model.pth.tar", golden_checkpoint("resnet50_joint2", True))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "gz"])
def test_weights_that_are_still_packed_name_the_member(
    kind: str, small_file: Path, tmp_path: Path
) -> None:
    packed = tmp_path / f"weights.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("__MACOSX/ltcc/._best_model.pth.tar", b"")
            archive.write(small_file, "ltcc/best_model.pth.tar")
        assert "give ltcc/best_model.pth.tar from it" in refused(packed, tmp_path)
    elif kind == "tar":
        with tarfile.open(packed, "w") as archive:
            archive.add(small_file, "ltcc/best_model.pth.tar")
        assert "give ltcc/best_model.pth.tar from it" in refused(packed, tmp_path)
    else:
        packed.write_bytes(gzip.compress(small_file.read_bytes()))
        assert "is gzipped" in refused(packed, tmp_path)


def test_weights_that_were_unpacked_too_far(small_file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(small_file) as archive:
        archive.extractall(tmp_path / "out")
    (folder,) = (tmp_path / "out").iterdir()
    again = tmp_path / "again.pth.tar"
    with zipfile.ZipFile(again, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, f"best/{path.relative_to(folder)}")
    bare = tmp_path / "bare.pth.tar"
    with zipfile.ZipFile(bare, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, str(path.relative_to(folder)))
    for given in (folder, tmp_path / "out", folder / "data.pkl", folder / "version", again, bare):
        assert "use the file before unpacking" in refused(given, tmp_path / "results")


def test_a_folder_and_a_web_page_are_called_so(small_file: Path, tmp_path: Path) -> None:
    assert f"is a folder: give a file, such as {small_file}" in refused(small_file.parent, tmp_path)
    page = tmp_path / "page.pth.tar"
    page.write_text("<!DOCTYPE html><title>Google Drive - Virus scan warning</title>")
    assert "web page" in refused(page, tmp_path)
    page.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in refused(page, tmp_path)
