"""The paper profile's plan: published runs, settings by data set, costs, dry run, weights."""

import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import fields
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
    parse_override,
    with_overrides,
)
from rlqkit.data import registry
from rlqkit.data.published.figures import published_images
from rlqkit.errors import RlqkitError
from rlqkit.method.degradations import MIXES
from rlqkit.method.rows import TEACHER, find_row
from rlqkit.method.sampling import Draw, IdentitySampler, ShuffleSampler
from rlqkit.report import tables
from rlqkit.report.execute import _differences
from rlqkit.runs import costs, dry_run
from rlqkit.runs.backbone import build_network
from rlqkit.runs.costs import THROUGHPUT, Sizes, epoch_length, estimate, forward_operations
from rlqkit.runs.differences import differences_from_paper, in_words
from rlqkit.runs.experiment import prepare, resolve
from rlqkit.runs.plan import settings_lines, teacher_config
from rlqkit.runs.published import Quoted, as_quoted, published_runs

DATASETS = ("ltcc", "prcc", "last", "deepchange", "celeb-reid")
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 240  # seconds; a command takes a few on an idle machine
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


def test_published_runs_are_trained_as_published() -> None:
    """The released code's habits, its processes, its choice of the epoch; teachers by name."""
    for run in published_runs():
        own = run.config(load_profile("paper", {"data.dataset": run.dataset}))
        switches = {f.name for f in fields(own.compat)} - {"preset"}
        assert {own.compat.switch(name) for name in switches} == {"official"}
        assert own.training.processes == run.processes
        assert own.evaluation.selection_by == "rank1" and "best_test" in own.evaluation.selection
        wanted = {"celeb-cap": "teacher-cap"}.get(run.teacher, "teacher")
        assert own.teacher.row == wanted and find_row(teacher_config(own).row).external
        assert own.teacher.seed == (4 if run.teacher == "celeb-base" else 100)
    rows = {run.name: run.row for run in published_runs("ltcc")}
    assert rows["ltcc-cal-recoloured"] == "cal-recoloured" and rows["ltcc-gender"] == "gender"
    assert rows["ltcc-gender-both"] == "gender-both" and rows["ltcc-gender-clothes"] == "gender-1"


@pytest.mark.parametrize("one_device", [False, True])
def test_the_printed_command_is_the_run(one_device: bool) -> None:
    """Read as the command line reads it, it gives the run's configuration to the last field."""
    for run in published_runs():
        start, _, options = run.command(one_device).partition("rlqkit train ")
        own = read_options(options.split())
        config = load_profile("paper", own)
        usual = load_profile("paper", {"data.dataset": run.dataset})
        assert config == run.config(usual, one_device=one_device)
        if one_device:
            assert not start and config.training.processes == 1
        else:
            assert start == f"torchrun --standalone --nproc-per-node {run.processes} -m "
            assert config.training.processes == run.processes


def read_options(words: list[str]) -> dict[str, Any]:
    """Overrides of the options of ``rlqkit train``."""
    own: dict[str, Any] = {}
    for option, value in zip(words[::2], words[1::2], strict=True):
        if option == "--profile":
            assert value == "paper"
        else:
            own |= [parse_override(value if option == "--set" else f"{option[2:]}={value}")]
    return own


def test_one_process_takes_the_steps_of_several() -> None:
    """Batch and order: each step of one process sees the images of all processes' steps."""
    for run in published_runs():
        usual = load_profile("paper", {"data.dataset": run.dataset})
        several, one = (run.config(usual, one_device=alone) for alone in (False, True))
        assert one.training.batch == several.training.batch * run.processes
        if run.teacher != "none":
            assert one.teacher.batch == 80  # two processes of 40, however many teach here
            assert 72 <= several.teacher.batch * run.processes <= 80
        identities = torch.arange(23).repeat_interleave(9)[:-6].numpy()
        alone = list(IdentitySampler(identities, 4, seed=3))
        shares = [
            list(IdentitySampler(identities, 4, 3, rank, run.processes))
            for rank in range(run.processes)
        ]
        assert_same_steps(alone, shares, 8)
        externals = [list(ShuffleSampler(101, 3, "official", r, run.processes))
                     for r in range(run.processes)]  # fmt: skip
        assert_same_steps(list(ShuffleSampler(101, 3, "official")), externals, 8)


def assert_same_steps(alone: list[Draw], shares: list[list[Draw]], batch: int) -> None:
    steps = len(shares[0]) // batch
    whole = batch * len(shares)
    assert steps == len(alone) // whole > 0
    for step in range(steps):
        together = [d.index for share in shares for d in share[step * batch : (step + 1) * batch]]
        in_one = [draw.index for draw in alone[step * whole : (step + 1) * whole]]
        assert sorted(together) == sorted(in_one)


def test_best_figures_are_quoted_from_their_own_epochs() -> None:
    """Rank-1 and mAP each from the first epoch that had the best; epochs count from 1."""
    history = [
        {"epoch": 0, "phase": "cap"},
        {"epoch": 9, "best_test": 0.20, "best_test_rank1": 0.44},
        {"epoch": 19, "best_test": 0.23, "best_test_rank1": 0.46},
        {"epoch": 29, "best_test": 0.25, "best_test_rank1": 0.46},
        {"epoch": 39, "best_test": 0.25, "best_test_rank1": 0.30},
    ]
    quoted = as_quoted(history)
    assert quoted == Quoted(0.46, 20, 0.25, 30)
    assert "rank-1 46.0, mAP 25.0" in str(quoted)
    assert "rank-1 of epoch 20 and mAP of epoch 30" in str(quoted)
    assert as_quoted(history[:1]) is None


def test_own_overrides_win_over_published_values() -> None:
    (run,) = (run for run in published_runs("prcc") if run.name == "prcc-rlq-25")
    config = load_profile("paper", {"data.dataset": "prcc", "training.batch": 8})
    assert run.config(config).training.batch == 40
    mine = run.config(config, {"training.batch": 8})
    assert mine.training.batch == 8 and mine.cap.clusters == 25 and mine.seed == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (RUN + "usual = ['seed=3']\n" + FIGURE, "usual is told apart"),
        ("[usual]\nceleb = []\n" + RUN + FIGURE, "usual.celeb"),
        ("[usual]\nall = 'seed=3'\n" + RUN + FIGURE, "usual.all must be a list"),
        ("[teachers]\n" + RUN + FIGURE, "unknown key teachers"),
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
    one, two, twenty = (
        with_overrides(config, {"training.processes": processes}) for processes in (1, 2, 20)
    )
    one, two = (estimate(c, sizes) for c in (one, two))
    assert one.steps == 400 // 32 + 1000 // 32 and two.steps == 200 // 32 + 500 // 32
    assert two.images == 2 * (6 * 64 + 15 * 64)
    with pytest.raises(RlqkitError, match="training.batch = 32 in 20 processes"):
        estimate(twenty, sizes)


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


def test_plan_counts_what_its_runs_wait_for(tiny_wardrobe: Path, tmp_path: Path) -> None:
    options = smoke_options(tiny_wardrobe, tmp_path, reproduce__rows='["mean-taught"]')
    assert ": 4, together" in rlqkit("plan", *options).out  # base, self-taught, lq-on, their mean


@pytest.mark.parametrize("dataset", DATASETS)
def test_paper_plan_without_the_data(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published sizes stand in, and the plan says so."""
    monkeypatch.setenv("RLQKIT_DATA", str(ROOT / "tests"))
    outcome = rlqkit("plan", "--profile", "paper", "--dataset", dataset)
    assert outcome.code == 0 and "as published (the data set isn't there)" in outcome.out
    for run in published_runs(dataset):
        assert f"{run.name}: {run.command()}\n" in outcome.out
        assert f"one process: {run.command(one_device=True)}\n" in outcome.out
        assert run.figures[0].source in outcome.out
        line = next(line for line in outcome.out.splitlines() if line.strip().startswith(run.name))
        assert f" x {run.processes} " in line
    assert "by rank-1 on the test set itself" in outcome.out and "NOT TRAINABLE" not in outcome.out
    assert f"quality.mix = {dataset_settings(dataset)['set']['quality']['mix']}" in outcome.out


def test_plan_says_what_it_does_before_it_begins() -> None:
    """The first line leaves before torch is imported, which takes the longest."""
    program = (
        "import sys, rlqkit.cli as c\n"
        "def echo(text): print(text, 'torch' in sys.modules, flush=True); raise SystemExit\n"
        "c.click.echo = echo\n"
        "c.main(['plan', '--profile', 'paper', '--dataset', 'last'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("paper, last: counting") and done.stdout.endswith(" False\n")


def test_plan_loads_and_counts_once(tiny_wardrobe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look at a data set that is target and external, one count of each kind of network."""
    loaded, built = [], []
    load, build = registry.load, costs.build_network
    monkeypatch.setattr(
        registry, "load", lambda *args, **named: loaded.append(args[0]) or load(*args, **named)
    )
    monkeypatch.setattr(costs, "build_network", lambda *args: built.append(args) or build(*args))
    places = {"data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe)}
    config = load_profile("smoke", {**places, "reproduce.seeds": [1, 2], "data.height": 36})
    costs._count_sizes.cache_clear()
    list(dry_run.plan_parts(config))
    assert loaded == ["wardrobe-v2"]
    assert len(built) == len(set(built)) <= 4  # one, two, three branches; the reference


def test_plan_counts_processes(tiny_wardrobe: Path) -> None:
    places = {"data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe)}
    rows = {"reproduce.rows": ["base"], "training.batch": 4, "training.steps": 0}
    one = load_profile("smoke", {**places, **rows, "training.epochs": 3})
    two = with_overrides(one, {"training.processes": 2})
    lines = [dry_run.plan_table(dry_run.plan_of(config)).iloc[0] for config in (one, two)]
    assert [line["batch"] for line in lines] == ["4 x 1", "4 x 2"]
    assert lines[1]["steps"] == lines[0]["steps"] // 2


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
    plan = [
        p for p in dry_run.published_plan(config, own)
        if p.config.row in ("cal", "cal-recoloured", "gender-both", "gender-1", "pose")
    ]  # fmt: skip
    assert {p.config.training.processes for p in plan} == {2}
    said: list[str] = []
    assert dry_run.dry_run(plan, said.append) == 0
    assert [line.split()[:2] for line in said] == [["ok", f"{p.name}:"] for p in plan]
    assert len(plan) == 7 and all("(one of 2 processes)" in line for line in said)
    assert "step of 8 images" in said[0] and "step of 16 images" in said[1]  # recoloured copies


def test_dry_run_of_a_teacher_with_cap(
    tiny_wardrobe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The student's step with a teacher that has a pose branch."""
    options = smoke_options(
        tiny_wardrobe, tmp_path / "r", reproduce__rows='["rlq"]', teacher__row="teacher-cap"
    )
    outcome = rlqkit("plan", "--dry-run", *options)
    done = [line for line in outcome.out.splitlines() if line.startswith(("ok ", "FAILED"))]
    assert "teacher with CAP" in done[0] and "has no clothes mask" in done[0]  # as rendered
    assert done[1].startswith("ok") and "RLQ: tad step of 32 images" in done[1]
    line = next(line for line in outcome.out.splitlines() if " rlq " in line)
    assert " teacher-cap " in line


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
        ({"training.learning_rate": 1e-3}, "training.learning_rate = 0.001 instead of 0.00035"),
        ({"training.batch": 8}, "training.batch = 8 instead of 32"),
        ({"training.processes": 2}, "training.processes = 2 instead of 1"),
        ({"training.epochs": 300}, "training: 300 epochs instead of 200 epochs"),
        ({"compat.kl_reduction": "official"}, "compat.kl_reduction = official instead of clean"),
        ({"quality.severity": "small-input"}, "quality.severity = small-input instead of paper"),
        ({"quality.mix": "ltcc"}, "quality.mix = ltcc instead of last"),
        ({"data.validation_identities": 3}, "data.validation_identities = 3 instead of 0"),
        ({"data.external": "last"}, "data.external = last instead of celeb-reid"),
        ({"teacher.row": "teacher-cap"}, "teacher.row = teacher-cap instead of teacher"),
        ({"cap.clusters": 16}, "cap.clusters = 16 instead of 15"),
    ]
    for changes, says in wanted:
        found = tables.no_result_reasons(with_overrides(config, changes), images)
        assert [reason for reason in found if "images, published" not in reason] == [says]
    without = with_overrides(config, {"teacher.epochs": 2, "reproduce.rows": ["cal"]})
    assert tables.no_result_reasons(without, images) == []  # no teacher, no reason
    assert tables.no_result_reasons(config, images | {"query": 10175}) == [
        "query: 10175 images, published 10176"
    ]
    assert "train: no images, published 71248" in tables.no_result_reasons(config, {})
    assert tables.no_result_reasons(load_profile("smoke"), {}) == []  # claims nothing
    idle = {"data.workers": 0, "evaluation.batch": 7, "runtime.threads": 1, "data.root": "/x",
            "reproduce.seeds": [7]}  # fmt: skip
    assert tables.no_result_reasons(with_overrides(config, idle), images) == []
    both = {"training.learning_rate": 1e-3, "training.weight_decay": 0.0}
    assert len(tables.no_result_reasons(with_overrides(config, both), images)) == 2
    sweep = {"cap.clusters": 16, "reproduce.rows": ["cal", "base"]}  # rows that have no clusters
    assert tables.no_result_reasons(with_overrides(config, sweep), images) == []
    assert tables.no_result_reasons(config, {"a": 1}, {"a": 1, "b": 2})[0].startswith("b: no")
    assert sorted(published_images("prcc")) == ["gallery", "query_cc", "query_sc", "train"]


def test_published_runs_count_as_results() -> None:
    """As they were trained or in one process; with one thing changed they no longer do."""
    for run in published_runs():
        paper = load_profile("paper", {"data.dataset": run.dataset, "reproduce.rows": [run.row]})
        for one_device in (False, True):
            own = run.config(paper, one_device=one_device)
            assert differences_from_paper(own) == {}, run.name
            other = with_overrides(own, {"compat.worker_seeds": "clean"})
            assert in_words(differences_from_paper(other)) == [
                "compat.worker_seeds = clean instead of official"
            ]


# --------------------------------------------------------------------------------- ImageNet weights


class HangsUp(socketserver.BaseRequestHandler):
    """Ends a connection before it is a safe one, which to the hub's client is no network."""

    asked: list[bytes]

    def handle(self) -> None:
        self.asked.append(self.request.recv(65536))


@pytest.fixture
def hub() -> Iterator[tuple[str, list[bytes]]]:
    """Address of such a hub, and what it was asked."""
    handler = type("Handler", (HangsUp,), {"asked": []})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_address[1]}", handler.asked
        server.shutdown()


@pytest.mark.parametrize(
    ("offline", "says", "times"), [("0", "can't be reached", 1), ("1", "HF_HUB_OFFLINE is set", 0)]
)
def test_weights_out_of_reach(
    hub: tuple[str, list[bytes]], tiny_wardrobe: Path, tmp_path: Path, offline: str, says: str,
    times: int,
) -> None:  # fmt: skip
    """One line that names both ways out, after one look instead of a minute of retries."""
    address, asked = hub
    options = smoke_options(
        tiny_wardrobe, tmp_path / "r", model__weights="imagenet", model__backbone="resnet50",
        model__channels="[]", model__stem_width=0, training__precision="32-true",
    )  # fmt: skip
    command = [sys.executable, "-m", "rlqkit", "train", "--row", "cal", *options]
    own = {"HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": address, "HF_HUB_OFFLINE": offline}
    own |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE,
        env=os.environ | own,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert says in done.stderr and "resnet50.tv_in1k" in done.stderr
    assert "with a network" in done.stderr and "model.weights to a file" in done.stderr
    assert len(asked) == times


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
