"""The paper profile's plan: published runs, settings by data set, costs, dry run, weights."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from command_line import rlqkit, smoke_options
from networks import build_cal
from published_trees import prcc_like
from safetensors.torch import save_file

from rlqkit.config import (
    Config,
    ModelConfig,
    config_hash,
    dataset_settings,
    get,
    load_file,
    load_profile,
    with_overrides,
)
from rlqkit.data import registry
from rlqkit.data.published.figures import published_images
from rlqkit.errors import RlqkitError
from rlqkit.method.degradations import MIXES
from rlqkit.method.rows import TEACHER, find_row
from rlqkit.report import tables
from rlqkit.report.execute import _differences
from rlqkit.runs import costs, dry_run
from rlqkit.runs.backbone import build_network
from rlqkit.runs.costs import THROUGHPUT, Sizes, epoch_length, estimate, forward_operations
from rlqkit.runs.experiment import prepare, resolve
from rlqkit.runs.plan import settings_lines, teacher_config
from rlqkit.runs.published import published_runs

DATASETS = ("ltcc", "prcc", "last", "deepchange", "celeb-reid")
ROOT = Path(__file__).resolve().parents[2]
RUN = '[[run]]\nname = "a"\ndataset = "ltcc"\nrow = "base"\n'
FIGURE = '[[run.figure]]\nprotocol = "CC"\nrank1 = 1.0\nmAP = 1.0\nsource = "x"\n'

# --------------------------------------------------------------------------- published runs as data


def test_every_published_run_has_a_configuration() -> None:
    runs = published_runs()
    assert {run.dataset for run in runs} == set(DATASETS)
    teachers = {run.name for run in runs if run.dataset == "celeb-reid"}
    for run in runs:
        own = run.config(load_profile("paper", {"data.dataset": run.dataset}))
        assert own.row == run.row and own.training.epochs == 200 and own.data.dataset == run.dataset
        assert run.batch in (0, own.training.batch) and run.seed in (0, own.seed)
        assert run.teacher == "none" or run.teacher in teachers
        for figure in run.figures:
            assert 0 < figure.mAP < figure.rank1 < 100 and ":" in figure.source


def test_published_runs_quote_the_sources() -> None:
    """A few lines, read again in the README and scripts of the release."""
    runs = {run.name: run for run in published_runs()}
    rlq, pose = runs["ltcc-rlq-25"], runs["ltcc-pose-both"]
    assert (rlq.batch, rlq.seed, rlq.set) == (32, 1, ("cap.clusters=25",))
    assert (rlq.figures[0].rank1, rlq.figures[0].mAP, rlq.figures[0].epoch) == (46.7, 21.7, 60)
    assert (pose.seed, pose.figures[0].rank1) == (2, 42.1)
    quoted, again = runs["prcc-rlq"].figures
    assert (quoted.mAP, again.rank1, again.mAP) == (63.8, 65.0, 61.0)  # two epochs in one quote
    assert runs["last-rlq"].processes == 4 and runs["deepchange-rlq"].processes == 6
    assert len(published_runs("ltcc")) == 19 and published_runs("wardrobe-v2") == []


def test_own_overrides_win_over_published_values() -> None:
    (run,) = (run for run in published_runs("prcc") if run.name == "prcc-rlq-25")
    config = load_profile("paper", {"data.dataset": "prcc", "training.batch": 8})
    assert run.config(config).training.batch == 40
    mine = run.config(config, {"training.batch": 8})
    assert mine.training.batch == 8 and mine.cap.clusters == 25 and mine.seed == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (RUN.replace("row =", "rwo =") + FIGURE, "rwo"),
        (RUN + "batch = 'x'\n" + FIGURE, "batch"),
        (RUN, "needs a published figure"),
        (RUN + FIGURE + RUN + FIGURE, "twice"),
        (RUN.replace("base", "bases") + FIGURE, 'no row "bases"'),
        (RUN.replace("base", "rlq") + FIGURE, "teacher = none"),
        (RUN + "teacher = 'celeb-base'\n" + FIGURE, "row base"),
        (RUN + FIGURE.replace('source = "x"\n', ""), "source"),
        (RUN + FIGURE.replace("1.0", "'high'", 1), "rank1"),
        ("[[run", "not valid TOML"),
    ],
)
def test_published_runs_are_strict(text: str, says: str) -> None:
    with pytest.raises(RlqkitError) as caught:
        published_runs(text=text)
    assert says in str(caught.value)


# ----------------------------------------------------------------------------- settings by data set


@pytest.mark.parametrize(
    ("dataset", "wanted"),
    [
        ("ltcc", {"quality.mix": "ltcc", "training.batch": 32, "teacher.selection": "last"}),
        ("prcc", {"quality.mix": "prcc", "training.batch": 40, "recolouring.palette": "nine"}),
        ("last", {"quality.mix": "last", "recolouring.palette": "last",
                  "teacher.selection": "best_validation"}),
        ("deepchange", {"quality.mix": "deepchange", "recolouring.palette": "nine"}),
        ("celeb-reid", {"quality.mix": "celeb", "training.batch": 40}),
    ],
)  # fmt: skip
def test_settings_of_a_data_set(dataset: str, wanted: dict[str, Any], tmp_path: Path) -> None:
    config = load_profile("paper", {"data.dataset": dataset})
    assert {key: get(config, key) for key in wanted} == wanted
    assert config.quality.mix in MIXES
    validated = dataset in ("last", "deepchange")
    assert ("best_validation" in config.evaluation.selection) == validated
    assert ("best_validation" in teacher_config(config).evaluation.selection) == validated
    file = tmp_path / "own.toml"
    file.write_text(f'profile = "paper"\n[data]\ndataset = "{dataset}"\n', encoding="utf-8")
    assert load_file(file) == config
    nested = load_profile("paper", {"data": {"dataset": dataset}})
    assert nested == config
    assert load_profile("quick", {"data.dataset": dataset}).quality.mix == "ltcc"  # paper's alone


def test_own_settings_win_and_all_is_said(tmp_path: Path) -> None:
    changes = {"data.dataset": "prcc", "training.batch": 32}
    config = load_profile("paper", changes)
    assert config.training.batch == 32 and config.quality.mix == "prcc"
    said = "\n".join(settings_lines(config))
    assert "training.batch = 32 (yours, instead of 40)" in said and "quality.mix = prcc\n" in said
    assert "best_validation is left out" in said
    file = tmp_path / "own.toml"
    file.write_text('profile = "paper"\n[data]\ndataset = "prcc"\n[training]\nbatch = 32\n')
    assert load_file(file) == config
    # what notebooks are given restores the configuration, whatever it was compared with
    assert load_profile("paper", _differences(config)) == config
    assert settings_lines(load_profile("quick")) == []
    unknown = settings_lines(load_profile("paper", {"data.dataset": "own"}))
    assert len(unknown) == 1 and "no settings" in unknown[0]


def test_what_changes_figures_changes_the_run_id() -> None:
    config = load_profile("smoke")
    for key, other in {"evaluation.gallery_seed": 2, "teacher.selection": "last"}.items():
        assert config_hash(with_overrides(config, {key: other})) != config_hash(config)


# -------------------------------------------------------------------------------------------- costs


@pytest.mark.parametrize("row", ["cal", "base", "rlq", "teacher"])
@pytest.mark.parametrize("length", [{"training.steps": 11}, {"training.steps": 0,
                                                             "training.epochs": 2}])  # fmt: skip
def test_steps_and_images_are_those_of_a_training(
    tiny_wardrobe: Path, row: str, length: dict[str, int]
) -> None:
    places = {"data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe)}
    config = load_profile("smoke", {"row": row, **places, **length})
    cost = estimate(config, costs.count_sizes(config))
    teacher = build_network(config.model, TEACHER.branch_names).eval() if row == "rlq" else None
    training = prepare(resolve(config), teacher)
    training.validate = None
    history = training.run(progress=False)
    assert cost.steps == history[-1]["steps"] and cost.epochs == history[-1]["epoch"] + 1
    assert cost.images == sum(record["images"] for record in history)


def test_epoch_length_and_processes() -> None:
    """Identities of 1, 4, 7 and 9 images give 4 + 4 + 4 + 8; processes share whole chunks."""
    identities = torch.tensor([0] + [1] * 4 + [2] * 7 + [3] * 9).numpy()
    assert epoch_length(identities, 4) == 20
    sizes = Sizes(400, 1000, 1000, {}, 0, True)
    config = load_profile("paper", {"training.epochs": 1, "row": "tad"})
    one, two = (estimate(config, sizes, n) for n in (1, 2))
    assert one.steps == 400 // 32 + 1000 // 32 and two.steps == 200 // 32 + 500 // 32
    assert two.images == 2 * (6 * 64 + 15 * 64)
    with pytest.raises(RlqkitError, match="training.batch = 32 in 20 processes"):
        estimate(config, sizes, 20)


def test_hours_follow_the_throughput() -> None:
    """One branch at the reference size, nothing evaluated: hours are images / throughput."""
    config = load_profile("paper", {"training.epochs": 1, "row": "cal"})
    cost = estimate(config, Sizes(3200, 100, 100, {}, 0, True))
    assert cost.images == 3200 and cost.hours == pytest.approx(3200 / THROUGHPUT / 3600)
    faster = estimate(config, Sizes(3200, 100, 100, {}, 0, True), throughput=140)
    assert faster.hours == pytest.approx(cost.hours / 10)
    watched = estimate(config, Sizes(3200, 100, 100, {}, 3200, True))
    # two selection rules describe each image and its mirror, a third of a training pass each
    assert watched.hours == pytest.approx(cost.hours * (1 + 2 * 2 / 3))


def test_operations_of_a_resnet() -> None:
    """Against the convolutions counted one by one, from the sizes of their outputs."""
    model = ModelConfig(backbone="resnet18", weights="none")
    network = build_cal(model).eval()
    total = 0

    def count(module: Any, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += 2 * output[0].numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 32))
    assert forward_operations(model, (64, 32), ("branch1",)) == total
    two = forward_operations(model, (64, 32), ("branch1", "branch2"))
    three = forward_operations(model, (64, 32), ("branch1", "branch2", "pose"))
    assert total < two < 2 * total and two < three


# ----------------------------------------------------------------------------------------- the plan


def test_plan_of_a_profile(tiny_wardrobe: Path, tmp_path: Path) -> None:
    options = smoke_options(tiny_wardrobe, tmp_path / "results", reproduce__seeds="[1, 2]")
    outcome = rlqkit("plan", *options)
    assert outcome.code == 0 and not outcome.err
    assert ": 23, together" in outcome.out  # eleven rows, two seeds, one teacher
    line = next(line for line in outcome.out.splitlines() if " rlq " in line)
    assert "1, 2" in line and " teacher " in line and " 16 " in line
    assert "counted on disk" in outcome.out and "estimate" in outcome.out
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("dataset", DATASETS)
def test_paper_plan_without_the_data(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published sizes stand in, and the plan says so."""
    monkeypatch.setenv("RLQKIT_DATA", str(ROOT / "tests"))
    outcome = rlqkit("plan", "--profile", "paper", "--dataset", dataset)
    assert outcome.code == 0 and "as published (the data set isn't there)" in outcome.out
    for run in published_runs(dataset):
        assert f"{run.name}: {'' if run.missing else run.command()}" in outcome.out
        assert run.figures[0].source in outcome.out
        if run.missing:
            assert f"NOT TRAINABLE here: the kit lacks {run.missing}" in outcome.out
    assert f"quality.mix = {dataset_settings(dataset)['set']['quality']['mix']}" in outcome.out


def test_plan_of_an_unknown_data_set() -> None:
    outcome = rlqkit("plan", "--profile", "paper", "--dataset", "nowhere")
    assert outcome.code == 2 and "'nowhere'" in outcome.err and outcome.err.count("\n") == 1


def test_dry_run_takes_a_step_of_each_and_writes_nothing(
    tiny_wardrobe: Path, tmp_path: Path
) -> None:
    options = smoke_options(
        tiny_wardrobe, tmp_path / "r", reproduce__seeds="[1, 2]", reproduce__rows='["cal", "rlq"]'
    )
    outcome = rlqkit("plan", "--dry-run", *options)
    done = [line for line in outcome.out.splitlines() if line.startswith("ok ")]
    assert outcome.code == 0 and len(done) == 3  # teacher, CAL, RLQ: seeds are alike
    assert "CAL: cap step of 16 images" in done[1]
    assert "RLQ: tad step of 32 images, cap step of 32 images" in done[2]
    assert not (tmp_path / "r").exists()


def test_dry_run_names_what_is_missing(broken_wardrobe: Path, tmp_path: Path) -> None:
    (broken_wardrobe / "joints.csv").unlink()
    options = smoke_options(
        broken_wardrobe, tmp_path / "r", reproduce__rows='["base", "pose", "cap"]'
    )
    outcome = rlqkit("plan", "--dry-run", *options)
    lines = [line for line in outcome.out.splitlines() if line.startswith(("ok ", "FAILED"))]
    assert outcome.code == 2 and "2 kinds of run can't start" in outcome.err
    assert [line.split()[0] for line in lines] == ["ok", "FAILED", "FAILED"]
    assert "base + pose" in lines[1] and "has no joints" in lines[1] and "add them" in lines[1]
    assert not (tmp_path / "r").exists()


def test_dry_run_of_published_runs(tiny_wardrobe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own sizes win over the published ones; runs that the kit can't train are named."""
    monkeypatch.setattr(registry, "load_published", lambda _, root, __: prcc_like(root))
    own = {
        "data.external": "wardrobe-v2", "data.root": str(tiny_wardrobe),
        "data.external_root": str(tiny_wardrobe), "data.height": 32, "data.width": 16,
        "data.workers": 0, "model.backbone": "resnet10t", "model.weights": "none",
        "model.channels": [8, 8, 8, 8], "model.stem_width": 8, "cap.clusters": 3,
        "training.batch": 8, "training.precision": "32-true", "teacher.batch": 8,
    }  # fmt: skip
    config = load_profile("paper", own)
    plan = [p for p in dry_run.published_plan(config, own) if p.config.row in ("cal", "pose")]
    said: list[str] = []
    assert dry_run.dry_run(plan, said.append) == 0
    assert [line.split()[0] for line in said] == ["ok", "left", "ok", "ok", "ok"]
    assert "ltcc-cal-recoloured" in said[1] and "recoloured copies" in said[1]
    assert "step of 8 images" in said[0] and "step of 16 images" in said[2]  # recoloured copies


# ---------------------------------------------------------------------------------- no result, said


def test_what_counts_as_a_result() -> None:
    config = load_profile("paper", {"data.dataset": "last"})
    images = published_images("last") | {"external": 20208}
    assert tables.no_result_reasons(config, images) == []
    wanted: list[tuple[dict[str, Any], str]] = [
        ({"training.epochs": 199}, "training: 199 epochs instead of 200 epochs"),
        ({"training.epochs": 0, "training.steps": 9}, "training: 9 steps instead of 200 epochs"),
        ({"teacher.epochs": 2}, "teacher: 2 epochs instead of 200 epochs"),
        ({"data.height": 128}, "images of 128 x 192 instead of 384 x 192 px"),
        ({"model.backbone": "resnet18"}, "another network than resnet50"),
        ({"model.weights": "none"}, "no pretrained weights"),
    ]
    for changes, says in wanted:
        assert tables.no_result_reasons(with_overrides(config, changes), images) == [says]
    without = with_overrides(config, {"teacher.epochs": 2, "reproduce.rows": ["cal"]})
    assert tables.no_result_reasons(without, images) == []  # no teacher, no reason
    assert tables.no_result_reasons(config, images | {"query": 10175}) == [
        "query: 10175 images, published 10176"
    ]
    assert "train: no images, published 71248" in tables.no_result_reasons(config, {})
    assert tables.no_result_reasons(load_profile("smoke"), {}) == []  # claims nothing
    assert tables.no_result_reasons(config, {"a": 1}, {"a": 1, "b": 2})[0].startswith("b: no")
    assert sorted(published_images("prcc")) == ["gallery", "query_cc", "query_sc", "train"]


# --------------------------------------------------------------------------------- ImageNet weights


@pytest.mark.parametrize(
    ("surroundings", "says"),
    [({"HF_ENDPOINT": "http://127.0.0.1:9"}, "can't be reached"), ({"HF_HUB_OFFLINE": "1"},
                                                                   "HF_HUB_OFFLINE is set")],
)  # fmt: skip
def test_weights_out_of_reach(
    tiny_wardrobe: Path, tmp_path: Path, surroundings: dict[str, str], says: str
) -> None:
    """One line that names both ways out, at once instead of after a minute of retries."""
    options = smoke_options(
        tiny_wardrobe, tmp_path / "r", model__weights="imagenet", model__backbone="resnet50",
        model__channels="[]", model__stem_width=0, training__precision="32-true",
    )  # fmt: skip
    command = [sys.executable, "-m", "rlqkit", "train", "--row", "cal", *options]
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"HF_HOME": str(tmp_path / "hub"), **surroundings},
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert says in done.stderr and "resnet50.tv_in1k" in done.stderr
    assert "with a network" in done.stderr and "model.weights to a file" in done.stderr
    assert time.perf_counter() - started < 40  # imports on a busy machine; retries take longer


def test_cached_weights_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub's cache holds is loaded from there, the hub isn't asked."""
    source = timm.create_model("resnet10t", pretrained=False)
    file = tmp_path / "model.safetensors"
    save_file(source.state_dict(), file)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(file))

    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(huggingface_hub, "get_session", no_network)
    network = build_cal(ModelConfig(backbone="resnet10t", weights="imagenet"))
    wanted = source.state_dict()["layer1.0.conv1.weight"]
    assert torch.equal(network.trunk[0][0].conv1.weight, wanted)


def test_local_file_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = timm.create_model("resnet10t", pretrained=False)
    file = tmp_path / "own.pth"
    torch.save(source.state_dict(), file)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: 1 / 0)
    network = build_cal(ModelConfig(backbone="resnet10t", weights=str(file)))
    wanted = source.state_dict()["layer2.0.conv1.weight"]
    assert torch.equal(network.trunk[1][0].conv1.weight, wanted)


def test_teacher_epoch_is_a_setting() -> None:
    config: Config = load_profile("quick")
    assert teacher_config(config).evaluation.selection == ("last", "best_validation")
    own = with_overrides(config, {"teacher.selection": "last"})
    assert teacher_config(own).evaluation.selection == ("last",)
    assert find_row(teacher_config(own).row) is TEACHER
