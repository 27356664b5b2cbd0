"""`rlqkit data label`: real loading code on tiny models, formats that the loaders read, scores."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import rlqkit
from filelock import FileLock
from PIL import Image
from trees import write_tree

from rlqkit.data import labelling
from rlqkit.data.check import check_dataset
from rlqkit.data.export import export
from rlqkit.data.images import SHIRT, TROUSERS, read_image, read_mask
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.labelling import models, writing
from rlqkit.data.labelling.models import Origin, clothes_parser, pose_estimator
from rlqkit.data.labelling.scoring import iou, pck, score_estimators
from rlqkit.data.labels.masks import PARSERS, READERS
from rlqkit.data.published.load import LAYOUTS
from rlqkit.data.registry import load
from rlqkit.errors import RlqkitError
from rlqkit.method.degradations import KINDS
from rlqkit.runs.folder import RunFolder

REQUIRED = os.environ.get("RLQKIT_LABEL_REQUIRED") == "1"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLQKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained models in `pose` and `clothes`, read only; needs the extra."""
    if not REQUIRED:
        pytest.importorskip("transformers", reason="needs the extra 'label'")
    from tiny_estimators import save_clothes, save_pose

    folder = tmp_path_factory.mktemp("models")
    save_pose(folder / "pose")
    save_clothes(folder / "clothes")
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A tree in PRCC's layout without any label."""
    root = write_tree("prcc", tmp_path / "prcc", people=3, pose="", masks="", gender=False)
    shutil.rmtree(root / "labels")
    return root


def label(root: Path, tiny: Path, name: str = "prcc", **more: Any) -> list[str]:
    """Labels a tree with the tiny models; returns what was said."""
    said: list[str] = []
    given = {"pose_model": str(tiny / "pose"), "mask_model": str(tiny / "clothes")}
    labelling.label(name, root, device="cpu", say=said.append, **given | more)
    return said


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that isn't hidden, by its path inside a folder."""
    files = (path for path in folder.rglob("[!.]*") if path.is_file())
    inner = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: content for name, content in inner.items() if not name.startswith(".")}


def refused(call: Callable[[], Any], *words: str) -> None:
    with pytest.raises(RlqkitError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text


def forbidden() -> Any:
    raise AssertionError("a model was loaded though nothing was to do")


# ------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_written_is_read_again(name: str, tiny: Path, tmp_path: Path) -> None:
    root = write_tree(name, tmp_path / name, people=2, pose="", masks="", gender=False)
    for file in (root / "labels").glob("*faulty*"):
        file.unlink()
    said = label(root, tiny, name)
    images = load(name, root)["train"]
    pose = pose_estimator(str(tiny / "pose"), "cpu")
    clothes = clothes_parser(str(tiny / "clothes"), "cpu")
    pixels = [read_image(path) for path in images.paths]
    estimated = pose(pixels)
    assert images.joints is not None and images.mask_format == "atr"
    assert images.joints.shape == estimated.shape
    lost = estimated[..., 2] == 0
    assert np.isnan(images.joints[lost, :2]).all()
    np.testing.assert_allclose(images.joints[~lost], estimated[~lost], atol=0.01)
    for path, labels in zip(images.mask_paths, clothes(pixels), strict=True):
        with Image.open(path) as stored:
            assert stored.mode == "P"  # can be looked at
        np.testing.assert_array_equal(read_mask(path), labels)
    assert f"somebody in {len(images)} of {len(images)} images" in said[0]
    assert f"wrote {len(images)} of {len(images)}" in said[1]


def test_provenance_lies_beside_the_labels_and_the_check_knows_it(bare: Path, tiny: Path) -> None:
    label(bare, tiny)
    told = json.loads((bare / "labels" / "labelled.json").read_text(encoding="utf-8"))
    assert set(told) == {"keypoints.json", "parsing-atr"}
    images = len(load("prcc", bare)["train"])
    for entry, model in ((told["keypoints.json"], "pose"), (told["parsing-atr"], "clothes")):
        assert entry["model"] == str(tiny / model) and entry["images"] == images
        assert entry["revision"].startswith("sha256:") and len(entry["revision"]) == 23
        assert len(entry["date"]) == len("2026-01-31") and entry["transformers"]
    report = check_dataset(load("prcc", bare, tolerant=True))
    subjects = report["subject"].tolist() + report["found"].astype(str).tolist()
    assert "labels/labelled.json" not in " ".join(subjects)
    estimated = report[report["check"] == "labels by an estimator"].set_index("subject")["found"]
    assert set(estimated.index) == set(told)
    assert told["parsing-atr"]["revision"] in estimated["parsing-atr"]


def test_labels_do_not_depend_on_the_batch(bare: Path, tiny: Path, tmp_path: Path) -> None:
    label(bare, tiny, labels=tmp_path / "one", batch=1)
    label(bare, tiny, labels=tmp_path / "seven", batch=7)
    one, seven = ([entry["keypoints"] for entry in json.loads((tmp_path / name / "keypoints.json")
                                                              .read_text(encoding="utf-8"))]
                  for name in ("one", "seven"))  # fmt: skip
    np.testing.assert_allclose(one, seven, atol=0.011)
    masks = [contents(tmp_path / name / "parsing-atr") for name in ("one", "seven")]
    assert masks[0].keys() == masks[1].keys()
    same = sum(masks[0][file] == masks[1][file] for file in masks[0])
    assert same >= 0.9 * len(masks[0])  # sums in another order may turn a pixel on a border


def test_stopped_work_goes_on(
    bare: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(bare, tiny, labels=tmp_path / "whole", batch=2)
    folder, seen = bare / "labels", []
    real_pose, real_clothes = models.PoseEstimator.__call__, models.ClothesParser.__call__

    def stopping(real: Any, after: int) -> Any:
        def call(self: Any, images: Any) -> Any:
            if len(seen) == after:
                raise KeyboardInterrupt
            seen.append(len(images))
            return real(self, images)

        return call

    monkeypatch.setattr(models.PoseEstimator, "__call__", stopping(real_pose, 3))
    with pytest.raises(KeyboardInterrupt):
        label(bare, tiny, batch=2)
    journal = folder / ".labelling" / "joints.jsonl"
    assert not (folder / "keypoints.json").exists() and len(journal.read_text().splitlines()) == 7
    with open(journal, "a", encoding="utf-8") as stream:  # killed in the middle of a line
        stream.write('{"image": "train/100/A_cro')
    seen.clear()
    monkeypatch.setattr(models.PoseEstimator, "__call__", stopping(real_pose, 1000))
    monkeypatch.setattr(models.ClothesParser, "__call__", stopping(real_clothes, 8))
    with pytest.raises(KeyboardInterrupt):  # the joints are done, then the masks are stopped
        label(bare, tiny, batch=2)
    images = len(load("prcc", tmp_path / "prcc")["train"])
    assert seen[:6] == [2] * 6 and images == 18
    assert len(contents(folder / "parsing-atr")) == 4
    seen.clear()
    monkeypatch.setattr(models.ClothesParser, "__call__", stopping(real_clothes, 1000))
    said = label(bare, tiny, batch=2)
    assert sum(seen) == images - 4 and "stays as it is" in said[0]
    assert not journal.exists()
    whole = contents(tmp_path / "whole")
    assert contents(folder) == whole and len(whole) == images + 2


def test_what_is_there_is_never_overwritten(bare: Path, tmp_path: Path) -> None:
    """Neither a user's own labels nor earlier ones; no model is loaded for nothing."""
    place = writing.place_of("prcc", bare, bare / "labels")
    said: list[str] = []
    for name in (
        "keypoints.csv",
        "PRCC_Pose_Cluster.csv",
        "keypoints.json",
        "pose_clusters.csv.gz",
    ):
        place.folder.mkdir(exist_ok=True)
        (place.folder / name).write_text("mine")
        writing.write_joints(place, forbidden, say=said.append)
        assert contents(place.folder) == {name: b"mine"} and name in said.pop()
        (place.folder / name).unlink()
    for holder in (place.folder, place.folder.parent):
        for kind in ("masks", "parsing-lip", "parsing-atr"):
            (holder / kind).mkdir()
            writing.write_masks(place, forbidden, say=said.append)
            assert str(holder / kind) in said[-1] and not contents(place.folder)
            (holder / kind).rmdir()


def test_finished_labels_stay_and_need_no_model(bare: Path, tiny: Path) -> None:
    label(bare, tiny)
    before = contents(bare / "labels")
    said = label(bare, tiny, pose_model="nowhere/at-all", mask_model="nowhere/at-all")
    assert all("stays as it is" in line for line in said) and len(said) == 2
    assert contents(bare / "labels") == before


def test_work_begun_with_another_model_is_not_mixed(bare: Path, tiny: Path, tmp_path: Path) -> None:
    from tiny_estimators import save_clothes, save_pose

    label(bare, tiny)
    folder = bare / "labels"
    next((folder / "parsing-atr").rglob("*.png")).unlink()
    other = save_clothes(tmp_path / "other-clothes", seed=1)
    refused(lambda: label(bare, tiny, mask_model=str(other)), "parsing-atr was begun with",
            str(tiny / "clothes"), "move it away")  # fmt: skip
    (folder / "keypoints.json").unlink()
    head = {"model": str(tiny / "pose"), "revision": "sha256:0"}
    journal = folder / ".labelling" / "joints.jsonl"
    journal.write_text(json.dumps(head) + "\n", encoding="utf-8")
    other = save_pose(tmp_path / "other-pose", seed=1)
    refused(lambda: label(bare, tiny, pose_model=str(other)), "joints.jsonl was begun with")


def test_two_calls_do_not_write_at_a_time(bare: Path, tiny: Path) -> None:
    (bare / "labels" / ".labelling").mkdir(parents=True)
    with FileLock(bare / "labels" / ".labelling" / "lock"):
        refused(lambda: label(bare, tiny), "another process writes labels into")
    assert len(label(bare, tiny)) == 2


def test_one_kind_alone(bare: Path, tiny: Path) -> None:
    label(bare, tiny, poses=True)
    assert set(contents(bare / "labels")) == {"keypoints.json", "labelled.json"}
    label(bare, tiny, masks=True)
    assert (bare / "labels" / "parsing-atr").is_dir()


def test_only_sets_without_labels_of_their_own() -> None:
    refused(lambda: writing.place_of("wardrobe-v2"), "brings its own labels", "--score", "prcc")
    refused(lambda: writing.place_of("market"), "unknown data set", "ltcc")
    refused(lambda: labelling.score("prcc"), "no exact labels", "wardrobe-v2")


# ------------------------------------------------------------------------------------- models


def test_without_a_network_one_line_says_what_to_do(
    bare: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is neither asked for long nor does its client's traceback show."""
    hub = models.huggingface_hub
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: forbidden())

    class Unreachable:
        def head(self, *_: Any, **__: Any) -> None:
            raise OSError("no route to host")

    monkeypatch.setattr(hub, "get_session", Unreachable)
    done = rlqkit("data", "label", "prcc", "--root", bare)
    assert done.code == 2 and done.err.count("\n") == 1
    for word in ("usyd-community/vitpose-base-simple", "no route to host", "--pose-model"):
        assert word in done.err
    assert not contents(bare / "labels")
    monkeypatch.setattr(hub, "is_offline_mode", lambda: True)
    done = rlqkit("data", "label", "prcc", "--root", bare, "--masks")
    assert done.code == 2 and "HF_HUB_OFFLINE" in done.err and "segformer_b2_clothes" in done.err


def test_a_model_of_the_hub_is_taken_from_its_cache(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name and revision are handed on, only weights and settings asked for, the commit kept."""
    snapshot = tmp_path / "snapshots" / "0123abcd"
    shutil.copytree(tiny / "pose", snapshot)
    asked = []

    def cached(name: str, **how: Any) -> str:
        asked.append((name, how))
        return str(snapshot)

    monkeypatch.setattr(models.huggingface_hub, "snapshot_download", cached)
    pose = pose_estimator("owner/vitpose@0123abcd", "cpu")
    assert pose.origin == Origin("owner/vitpose", "0123abcd")
    (name, how), *more = asked
    assert (name, how["revision"], how["local_files_only"]) == ("owner/vitpose", "0123abcd", True)
    assert sorted(how["allow_patterns"]) == sorted(models.FILES) and not more


def test_models_that_do_not_fit_are_refused(tiny: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file
    from tiny_estimators import save_clothes, save_pose

    pose = lambda folder: pose_estimator(str(folder), "cpu")  # noqa: E731
    clothes = lambda folder: clothes_parser(str(folder), "cpu")  # noqa: E731
    refused(lambda: pose(tiny / "clothes"), "of architecture segformer", "--pose-model")
    refused(lambda: clothes(tiny / "pose"), "of architecture vitpose", "--mask-model")
    more = save_pose(tmp_path / "more", joints=21)
    refused(lambda: pose(more), "has 21 joints", "COCO")
    lip = save_clothes(tmp_path / "lip", labels=20)
    refused(lambda: clothes(lip), "has 20 labels", "ATR")
    names = {label: f"thing {label}" for label in range(18)}
    things = save_clothes(tmp_path / "things", id2label=names)
    refused(lambda: clothes(things), "thing 0, thing 1", "ATR")
    for wrong in ("empty", "pickled", "lacking", "size"):
        shutil.copytree(tiny / "pose", tmp_path / wrong)
    (tmp_path / "empty" / "config.json").unlink()
    refused(lambda: pose(tmp_path / "empty"), "no config.json")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    refused(lambda: pose(tmp_path / "pickled"), "no model.safetensors", "pickled")
    weights = tmp_path / "lacking" / "model.safetensors"
    tensors = {k: v for k, v in load_file(weights).items() if not k.startswith("head.")}
    save_file(tensors, weights, {"format": "pt"})
    refused(lambda: pose(tmp_path / "lacking"), "lacks 2 of the network's tensors", "head.conv")
    settings = tmp_path / "size" / "preprocessor_config.json"
    changed = json.loads(settings.read_text()) | {"size": {"height": 128, "width": 64}}
    settings.write_text(json.dumps(changed))
    refused(lambda: pose(tmp_path / "size"), "128 x 64", "64 x 32")
    settings.unlink()  # then the network's own size counts
    assert pose(tmp_path / "size").processor.size["height"] == 64
    refused(lambda: pose_estimator(str(tiny / "pose"), "gpu"), "device gpu can't be used", "auto")


def test_without_the_extra_it_is_named(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.importlib.sys.modules, "transformers", None)  # type: ignore[attr-defined]
    done = rlqkit("data", "label", "prcc", "--root", bare)
    assert done.code == 2 and "pip install -e '.[label]'" in done.err and done.err.count("\n") == 1


def test_names_of_atr_labels_are_known(tmp_path: Path, tiny: Path) -> None:
    """As the usual mask model spells them, and without names."""
    from tiny_estimators import save_clothes

    names = [
        *("Background", "Hat", "Hair", "Sunglasses", "Upper-clothes", "Skirt", "Pants", "Dress"),
        *("Belt", "Left-shoe", "Right-shoe", "Face", "Left-leg", "Right-leg", "Left-arm"),
        *("Right-arm", "Bag", "Scarf"),
    ]
    folder = save_clothes(tmp_path / "named", id2label=dict(enumerate(names)))
    assert clothes_parser(str(folder), "cpu").network.config.id2label[4] == "Upper-clothes"
    shirt, trousers = PARSERS["atr"].shirt, PARSERS["atr"].trousers
    assert {*shirt, *trousers} == set(models.ATR_CLOTHES)


def test_an_export_without_labels_is_told_what_makes_some(
    tiny_benchmark: Benchmark, tmp_path: Path
) -> None:
    """Though rendered it isn't in the embedded layout; images without anybody are fine there."""
    root = export(tiny_benchmark, tmp_path / "prcc", "prcc", False)
    images = load("prcc", root)["train"]
    assert images.synthetic and not images.embedded and tiny_benchmark["train"].embedded
    refused(images.require_joints, "labels/keypoints.csv", "rlqkit data label")
    refused(images.require_masks, "labels/parsing-lip", "rlqkit data label")
    joints = np.ones((len(images), 17, 3))
    joints[3] = np.nan
    replace(images, joints=joints).require_joints()


# -------------------------------------------------------------------------------------- score


def test_pck_by_hand() -> None:
    truth = np.zeros((2, 17, 2))
    truth[:, :, 0] = np.arange(17)
    truth[:, 12] = truth[:, 5] + (6, 8)  # a torso of 10 px, so 2 px are near enough
    truth[:, 11] = truth[:, 6]
    truth[1, 3] = np.nan
    found = truth + 0.0
    found[0, 0] += (1.2, 1.5)
    found[0, 1] += (1.5, 1.5)
    found[1, 3] = 0
    right = pck(found, truth)
    assert right[0, 0] == 1 and right[0, 1] == 0 and np.isnan(right[1, 3])
    assert np.nansum(right) == 2 * 17 - 2
    assert np.isnan(pck(found, np.zeros((2, 17, 2)))).all()  # no torso, no measure


def test_iou_by_hand() -> None:
    one, two = np.zeros((2, 4, 4), dtype=bool)
    one[:2], two[1:3] = True, True
    assert iou(one, two) == pytest.approx(1 / 3) and iou(one, one) == 1
    assert iou(one, ~one) == 0 and np.isnan(iou(one & ~one, two & ~two))


class Knows:
    """An estimator that has seen the answers, in the order in which it is asked."""

    def __init__(self, images: ImageSet, off: float = 0.0) -> None:
        self.images, self.off, self.place = images, off, 0

    def _next(self, shown: list[np.ndarray]) -> list[int]:
        rows = [(self.place + i) % len(self.images) for i in range(len(shown))]
        self.place += len(shown)
        return rows

    def joints(self, shown: list[np.ndarray]) -> np.ndarray:
        """True joints, in pixels of the image as it is shown, moved by a share of its height."""
        rows = self._next(shown)
        assert self.images.joints is not None
        found = self.images.joints[rows].copy()
        for person, image, size in zip(found, shown, self.images.sizes[rows], strict=True):
            person[:, 1] += self.off * size[1]
            person[:, :2] *= np.array(image.shape[1::-1]) / size
            person[:, 2] = 1
        return found

    def labels(self, shown: list[np.ndarray]) -> list[np.ndarray]:
        """True masks in ATR's labels, at the size of the image as it is shown."""
        maps = []
        for row, image in zip(self._next(shown), shown, strict=True):
            ours = read_mask(self.images.mask_paths[row])
            atr = np.select([ours == SHIRT, ours == TROUSERS], [4, 6], 0).astype(np.uint8)
            maps.append(np.asarray(Image.fromarray(atr).resize(image.shape[1::-1], 0)))
        return maps


def test_who_knows_the_truth_scores_one(tiny_benchmark: Benchmark) -> None:
    images = tiny_benchmark["train"]
    perfect, wrong = Knows(images), Knows(images, off=0.3)
    table = score_estimators(images, perfect.joints, Knows(images).labels, limit=1000)  # type: ignore[arg-type]
    assert table["quality"].tolist() == ["HQ", *KINDS]
    assert table["severity"].tolist() == ["", *["small-input"] * len(KINDS)]
    assert (table["images"] == len(images)).all()
    joints = table.filter(like="PCK")
    assert joints.shape[1] == 2 and (joints == 1).all(axis=None)
    sharp = table[table["quality"] != "pixelation"].filter(like="IoU")
    assert (sharp == 1).all(axis=None)
    coarse = table[table["quality"] == "pixelation"].filter(like="IoU")
    assert ((coarse > 0.7) & (coarse < 1)).all(axis=None)  # masks of fewer pixels
    table = score_estimators(images, wrong.joints, limit=1000)  # type: ignore[arg-type]
    assert (table.filter(like="PCK") == 0).all(axis=None) and not len(table.filter(like="IoU").T)


def test_joints_that_nobody_found_are_wrong(tiny_benchmark: Benchmark) -> None:
    images = tiny_benchmark["train"]
    knows = Knows(images)

    def half(shown: list[np.ndarray]) -> np.ndarray:
        found = knows.joints(shown)
        found[:, ::2] = 0
        return found

    table = score_estimators(images, half, limit=1000)  # type: ignore[arg-type]
    assert table.filter(like="PCK").to_numpy() == pytest.approx(8 / 17, abs=0.1)


def test_score_on_the_command_line(tiny_wardrobe: Path, tiny: Path, tmp_path: Path) -> None:
    arguments = ["data", "label", "wardrobe-v2", "--root", tiny_wardrobe, "--score", "--images", 6,
                 "--pose-model", tiny / "pose", "--mask-model", tiny / "clothes", "--device", "cpu",
                 "--output", tmp_path]  # fmt: skip
    before = contents(tiny_wardrobe)
    done = rlqkit(*map(str, arguments))
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "label_score_wardrobe-v2.csv", keep_default_na=False)
    assert table["quality"].tolist() == ["HQ", *KINDS] and (table["images"] == 6).all()
    assert all(column in done.out for column in table.columns)
    assert contents(tiny_wardrobe) == before


# ------------------------------------------------------------------ from bare images to training


@pytest.fixture(scope="module")
def few() -> Benchmark:
    """Sixteen rendered people of the shipped set."""
    whole = load("wardrobe-v2")
    people = {"train": 8, "val_query": 3, "val_gallery": 3, "query": 4, "gallery": 4, "external": 4}
    return replace(
        whole, sets={split: whole[split].first_identities(n) for split, n in people.items()}
    )


@pytest.mark.slow
def test_from_bare_images_to_two_epochs_of_rlq(few: Benchmark, tiny: Path, tmp_path: Path) -> None:
    """Rendered people in PRCC's layout, no label: joints and masks, then plan, dry run, training.

    Gender stays the user's to bring; without it the rows that need it are refused.
    """
    from tiny_estimators import teach

    shutil.copytree(tiny, tmp_path / "models")
    pose, clothes = tmp_path / "models" / "pose", tmp_path / "models" / "clothes"
    teach(pose, clothes, few["train"].first_identities(3), steps=50)
    root = export(few, tmp_path / "prcc", "prcc", False)
    assert not (root / "labels").exists()
    done = rlqkit("data", "label", "prcc", "--root", root, "--pose-model", pose,
                  "--mask-model", clothes, "--device", "cpu")  # fmt: skip
    assert done.code == 0, done.err
    images = load("prcc", root)["train"]
    shirts = [(READERS["atr"](path) & SHIRT).any() for path in images.mask_paths]
    assert np.mean(shirts) > 0.5 and images.joints is not None
    settings = {
        "data.dataset": "prcc", "data.root": root, "data.identities": 0,
        "data.external_identities": 4, "reproduce.rows": '["rlq"]', "reproduce.seeds": "[1]",
        "training.epochs": 2, "training.steps": 0,
    }  # fmt: skip
    options = ["--profile", "smoke", "--results", str(tmp_path / "results")]
    for key, value in settings.items():
        options += ["--set", f"{key}={value}"]
    refusal = rlqkit("plan", *options, "--dry-run")
    assert refusal.code == 2 and "no gender label" in refusal.out
    assert "labels/gender.csv" in refusal.out
    people = pd.read_csv(root / "exported.csv").query("split == 'train'")
    people = people[["identity", "gender"]].drop_duplicates()
    people.set_axis(["ID", "Gender"], axis=1).to_csv(root / "labels" / "gender.csv", index=False)
    planned = rlqkit("plan", *options, "--dry-run")
    assert planned.code == 0, planned.out + planned.err
    trained = rlqkit("train", *options, "--row", "rlq")
    assert trained.code == 0, trained.err
    place = trained.out.rpartition("run folder: ")[2].strip()
    run = RunFolder(Path(place))
    assert run.finished and run.history()["epoch"].max() == 1
    assert set(run.metrics()["protocol"]) >= {"SC multi-shot", "CC multi-shot"}
