"""Configuration: strict at the edge, hashed by what can change numbers, the paper's constants."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from rlqkit.config import (
    NOT_HASHED,
    PROFILES,
    Config,
    Moment,
    config_hash,
    from_dict,
    get,
    load_file,
    load_profile,
    parse_override,
    to_dict,
    with_overrides,
)
from rlqkit.errors import RlqkitError
from rlqkit.method.training import learning_rate
from rlqkit.runs.folder import run_id, what_counts


def leaves(tree: Any = Config, prefix: str = "") -> list[str]:
    """Dotted names of every field of the configuration."""
    names = []
    config = Config() if tree is Config else tree
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            names += leaves(value, f"{prefix}{field.name}.")
        else:
            names.append(prefix + field.name)
    return names


# --------------------------------------------------------------------------------------- strict


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("training.leraning_rate", "training.learning_rate"),
        ("trainig", "training"),
        ("cap.cluster", "cap.clusters"),
        ("compat.kl_reductoin", "compat.kl_reduction"),
    ],
)
def test_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(RlqkitError) as error:
        load_profile("smoke", {key: 1})
    assert f"unknown configuration key {key} " in str(error.value)
    assert f'did you mean "{nearest}"?' in str(error.value)


def test_every_field_is_explained() -> None:
    """A docstring stands below each field: configuration is documentation."""
    source = (Path(__file__).parents[2] / "rlqkit" / "config" / "schema.py").read_text(
        encoding="utf-8"
    )
    lines = source.splitlines()
    for key in leaves():
        name = key.rpartition(".")[2]
        places = [i for i, line in enumerate(lines) if line.startswith(f"    {name}: ")]
        assert places, key
        for place in places:
            assert lines[place + 1].startswith('    """'), f"{lines[place]} has no docstring"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("training.batch", "many", "must be of type int"),
        ("training.batch", True, "must be of type int"),
        ("training.batch", 16.0, "must be of type int"),
        ("training.learning_rate", "fast", "must be of type float"),
        ("training.channels_last", 1, "must be of type bool"),
        ("data.dataset", 3, "must be of type str"),
        ("training.milestones", "epoch 20", "must be a list"),
        ("reproduce.seeds", ["one"], "must be of type int"),
        ("training", 3, "is a section"),
        ("training.schedule", "cosin", 'did you mean "cosine"?'),
        ("evaluation.selection", ["last", "best"], "is not one of"),
    ],
)
def test_wrong_type(key: str, value: Any, says: str) -> None:
    with pytest.raises(RlqkitError) as error:
        load_profile("smoke", {key: value})
    assert key in str(error.value) and says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.batch", 0),
        ("training.batch", 10),  # no multiple of 4
        ("teacher.batch", 6),
        ("training.instances", 0),
        ("training.steps", -1),
        ("training.epochs", 3),  # beside steps
        ("training.steps", 0),  # neither
        ("teacher.steps", 0),
        ("training.learning_rate", 0.0),
        ("continuing.learning_rate", -1.0),
        ("training.learning_rate", float("nan")),
        ("training.weight_decay", float("inf")),
        ("training.weight_decay", -0.1),
        ("training.warmup", 1.0),
        ("training.milestones", ["epoch twenty"]),
        ("training.adversarial_from", "110 %"),
        ("cap.clusters", 0),
        ("data.height", 0),
        ("data.workers", -1),
        ("model.channels", [8, 16]),
        ("model.channels", [8, 16, 16, 0]),
        ("evaluation.selection", []),
        ("evaluation.selection", ["best_validation"]),  # the last epoch is always kept
        ("evaluation.selection", ["last", "last"]),
        ("evaluation.degradation_seed", -1),
        ("seed", -1),
        ("seed", 2**32),
        ("teacher.seed", -1),
        ("reproduce.seeds", [1, -1]),
        ("profile", "../elsewhere"),
        ("runtime.jobs", 0),
    ],
)
def test_impossible_value(key: str, value: Any) -> None:
    with pytest.raises(RlqkitError) as error:
        load_profile("smoke", {key: value})
    assert key in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_profile() -> None:
    with pytest.raises(RlqkitError) as error:
        load_profile("quikc")
    assert 'no profile "quikc" (did you mean "quick"?)' in str(error.value)
    assert all(name in str(error.value) for name in PROFILES)


def test_conflicting_overrides_are_an_error() -> None:
    with pytest.raises(RlqkitError, match="training is a section"):
        load_profile("smoke", {"training": 3, "training.steps": 4})


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_valid_and_say_their_name(name: str) -> None:
    assert load_profile(name).profile == name


# ------------------------------------------------------------------------- overrides and files


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("training.steps=100", "training.steps", 100),
        ("training.learning_rate = 1e-3", "training.learning_rate", 1e-3),
        ("training.channels_last=true", "training.channels_last", True),
        ("training.milestones=['epoch 3']", "training.milestones", ["epoch 3"]),
        ("data.root=/some/where", "data.root", "/some/where"),
        ("training.adversarial_from=40 %", "training.adversarial_from", "40 %"),
        ("model.weights=", "model.weights", ""),
    ],
)
def test_override_of_the_command_line(text: str, key: str, value: Any) -> None:
    parsed = parse_override(text)
    assert parsed == (key, value)
    assert type(parsed[1]) is type(value)


@pytest.mark.parametrize("text", ["training.steps", "=3", "", " =3"])
def test_override_without_key_or_value(text: str) -> None:
    with pytest.raises(RlqkitError, match="write key=value"):
        parse_override(text)


def test_override_changes_one_field_only() -> None:
    before = load_profile("smoke")
    after = with_overrides(before, {"training.steps": 99})
    changed = [key for key in leaves() if get(before, key) != get(after, key)]
    assert changed == ["training.steps"] and after.training.steps == 99


def test_file_on_top_of_a_profile(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[training]\nsteps = 7\n", encoding="utf-8")
    wanted = load_profile("smoke", {"training.steps": 7})
    assert load_file(file, {}, "smoke") == wanted
    file.write_text('profile = "smoke"\n[training]\nsteps = 7\n', encoding="utf-8")
    assert load_file(file) == wanted
    assert load_file(file, {"training.steps": 8}).training.steps == 8
    assert load_file(file, {}, "laptop") == load_profile("laptop", {"training.steps": 7})


@pytest.mark.parametrize(
    ("content", "says"), [(None, "can't be read"), ("a = ", "is not valid TOML")]
)
def test_broken_file(tmp_path: Path, content: str | None, says: str) -> None:
    file = tmp_path / "mine.toml"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(RlqkitError) as error:
        load_file(file)
    assert str(file) in str(error.value) and says in str(error.value)
    with pytest.raises(RlqkitError, match="can't be read"):
        load_file(tmp_path)


# ----------------------------------------------------------------------- round trip and hash


@pytest.mark.parametrize("name", PROFILES)
def test_round_trip(name: str) -> None:
    config = load_profile(name, {"seed": 7, "row": "rlq"})
    again = from_dict(to_dict(config))
    assert again == config and config_hash(again) == config_hash(config)


def other_value(key: str, value: Any) -> Any:
    """Some other valid value of a field."""
    choices = {
        "profile": "quick",
        "row": "cap",
        "training.epochs": 3,
        "teacher.epochs": 3,
        "training.batch": 32,
        "teacher.batch": 32,
        "training.instances": 2,
        "training.schedule": "milestones",
        "training.adversarial_from": "epoch 2",
        "training.milestones": ("epoch 1",),
        "training.precision": "bf16-mixed",
        "training.cosine_from": 0.5,
        "training.warmup": 0.5,
        "averaging.weight": 0.3,
        "model.channels": (1, 2, 3, 4),
        "model.share_through": "layer1",
        "model.pose_from": "layer2",
        "cap.pose_vector": "R_A",
        "cap.disentangle": "both",
        "cap.disentangle_form": "relu",
        "recolouring.palette": "last",
        "evaluation.selection": ("last",),
        "evaluation.selection_by": "rank1",
        "teacher.selection": "last",
        "teacher.row": "teacher-cap",
        "reproduce.seeds": (5, 6),
        "reproduce.rows": ("cal",),
    }
    if key in choices:
        return choices[key]
    if key.startswith("compat."):
        return "official"
    if isinstance(value, bool):
        return not value
    return f"{value}x" if isinstance(value, str) else value + type(value)(1)


@pytest.mark.parametrize("key", leaves())
def test_hash_changes_with_what_can_change_numbers(key: str) -> None:
    smoke = load_profile("smoke")
    changes = {key: other_value(key, get(smoke, key))}
    for section in ("training", "teacher"):  # a length in epochs has none in steps
        if key == f"{section}.epochs":
            changes[f"{section}.steps"] = 0
    changed = with_overrides(smoke, changes)
    assert get(changed, key) != get(smoke, key)
    section, _, name = key.rpartition(".")
    free = NOT_HASHED.get(section or name, ()) is None or name in (NOT_HASHED.get(section) or ())
    assert (config_hash(changed) == config_hash(smoke)) == free


def test_what_the_hash_leaves_out() -> None:
    """Written out, so that a field can't slip out of the hash unseen."""
    free = {
        "profile", "data.root", "data.test_root", "data.external_root", "data.labels",
        "data.cache_megabytes", "data.workers",
        "evaluation.batch", "runtime.threads", "runtime.jobs", "runtime.results",
        "runtime.checkpoint_minutes",
        "reproduce.rows", "reproduce.seeds",
    }  # fmt: skip
    smoke = load_profile("smoke")
    unhashed = {
        key
        for key in leaves()
        if not key.endswith(".epochs")
        and config_hash(with_overrides(smoke, {key: other_value(key, get(smoke, key))}))
        == config_hash(smoke)
    }
    assert unhashed == free


def test_run_id_names_row_and_seed() -> None:
    config = load_profile("smoke", {"row": "tad", "seed": 3})
    assert run_id(config) == f"tad-s3-{config_hash(what_counts(config))}"
    assert len(config_hash(config)) == 8


# -------------------------------------------------------------------------------------- moments


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("epoch 25", Moment(epoch=25)),
        ("epoch 0", Moment(epoch=0)),
        ("40 %", Moment(share=0.4)),
        ("40%", Moment(share=0.4)),
        ("12.5 %", Moment(share=0.125)),
    ],
)
def test_moment(text: str, moment: Moment) -> None:
    assert Moment.parse(text, "key") == moment


@pytest.mark.parametrize(
    "text", ["", "25", "epoch", "epoch -1", "epoch 2.5", "101 %", "-1 %", "nan %", "x %", "40 % of"]
)
def test_moment_that_is_none(text: str) -> None:
    with pytest.raises(RlqkitError, match="some.key"):
        Moment.parse(text, "some.key")


def test_moment_reached() -> None:
    epoch, share = Moment(epoch=25), Moment(share=0.4)
    assert [epoch.reached(n, 1.0) for n in (24, 25, 26)] == [False, True, True]
    assert [share.reached(1000, p) for p in (0.39, 0.4, 0.41)] == [False, True, True]


# ------------------------------------------------------------------------- the paper's constants


def test_paper_profile_is_the_paper() -> None:
    paper = load_profile("paper")
    wanted = {
        "model.backbone": "resnet50", "model.weights": "imagenet", "model.channels": (),
        "model.stem_width": 0, "model.share_through": "layer2", "model.pose_from": "layer1",
        "data.height": 384, "data.width": 192, "data.dataset": "ltcc",
        "data.external": "celeb-reid", "data.identities": 0, "data.external_identities": 0,
        "data.external_images": 0, "quality.severity": "paper", "quality.mix": "ltcc",
        "cap.pose_vector": "R_LA", "cap.clusters": 15, "cap.disentangle": "identity",
        "cap.disentangle_form": "absolute", "recolouring.palette": "nine",
        "recolouring.colour_groups": 0, "training.epochs": 200, "training.steps": 0,
        "training.batch": 32, "training.instances": 4, "training.learning_rate": 3.5e-4,
        "training.weight_decay": 5e-4, "training.schedule": "milestones",
        "training.milestones": ("epoch 20", "epoch 40"), "training.warmup": 0.0,
        "training.adversarial_from": "epoch 25", "training.evaluations": 20,
        "teacher.epochs": 200, "teacher.batch": 40, "compat.preset": "clean",
    }  # fmt: skip
    assert {key: get(paper, key) for key in wanted} == wanted


def test_paper_learning_rates() -> None:
    """x0.1 at epochs 20 and 40, counted from 0; no warm-up."""
    training = load_profile("paper").training
    rates = {epoch: learning_rate(training, epoch, 0.0) for epoch in (0, 19, 20, 39, 40, 199)}
    assert rates == pytest.approx(
        {0: 3.5e-4, 19: 3.5e-4, 20: 3.5e-5, 39: 3.5e-5, 40: 3.5e-6, 199: 3.5e-6}, rel=1e-12
    )


def test_paper_adversarial_start_and_evaluations() -> None:
    training = load_profile("paper").training
    start = Moment.parse(training.adversarial_from, "")
    assert [start.reached(epoch, 0.99) for epoch in (24, 25)] == [False, True]
    assert training.epochs / training.evaluations == 10  # an evaluation every ten epochs


def test_cosine_schedule() -> None:
    """Up over the warm-up, flat, then a cosine towards 1 % of the rate; never above it."""
    training = load_profile("quick", {"training.warmup": 0.1, "training.cosine_from": 0.3}).training
    rates = [
        learning_rate(training, 0, share / 100) / training.learning_rate for share in range(101)
    ]
    assert 0 < rates[0] < 0.1
    assert all(a < b for a, b in zip(rates[:10], rates[1:11], strict=True))
    assert rates[10:31] == [1.0] * 21
    assert all(a > b for a, b in zip(rates[30:-1], rates[31:], strict=True))
    assert rates[65] == pytest.approx(0.01 + 0.99 / 2)
    assert rates[100] == pytest.approx(0.01)
