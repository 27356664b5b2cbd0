"""The command line as a newcomer meets it."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from command_line import rlqkit, smoke_options

import rlqkit as package
from rlqkit import cli
from rlqkit.config import PROFILES
from rlqkit.method.rows import OWN, PARTS, ROWS, VARIANTS
from rlqkit.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
CONFIGURED = ("--profile", "--config", "--set", "--results", "default: quick", "training.batch=16")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            [],
            ("reproduce", "train", "evaluate", "data", "rows", "rlqkit reproduce --profile quick"),
        ),
        (["reproduce"], (*CONFIGURED, "--no-notebooks", "Finished runs are kept", *PROFILES)),
        (["train"], (*CONFIGURED, "--row", "--seed", "rlqkit rows", "teacher", *PROFILES)),
        (["evaluate"], ("RUN_FOLDER", "--rule", "best_validation", "from its weights")),
        (["rows"], ("rows of the ablation",)),
        (["data"], ("check", "describe", "render")),
        (["data", "check"], ("--root", "exit code 2")),
        (["data", "describe"], ("--root", "identities")),
        (["data", "render"], ("FOLDER", "--seed", "python -m pip install -e '.[render]'")),
    ],
)
def test_help_says_what_a_newcomer_needs(command: list[str], words: tuple[str, ...]) -> None:
    for flag in ("--help", "-h"):
        outcome = rlqkit(*command, flag)
        text = " ".join(outcome.out.split())
        assert outcome.code == 0 and not outcome.err
        for word in words:
            assert word in text, word


def test_module_is_the_command() -> None:
    """`python -m rlqkit`, from any folder, with its exit code."""
    command = [sys.executable, "-m", "rlqkit", "train", "--set", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        'error: "nonsense" is no override; write key=value, such as training.steps=100\n'
    )


def test_version_and_wrong_usage() -> None:
    assert package.__version__ in rlqkit("--version").out
    for wrong in (["trian"], ["train", "--rwo", "rlq"], ["train", "--seed", "one"], ["evaluate"]):
        outcome = rlqkit(*wrong)
        assert outcome.code == 2 and "Usage: rlqkit" in outcome.err, wrong
        assert "Traceback" not in outcome.err


def test_help_is_quick_to_import() -> None:
    """`--help` and errors of the command line don't wait for torch."""
    code = "import sys, rlqkit.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_stopping_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_config", stopped)
    outcome = rlqkit("train")
    assert outcome.code == 130 and "run the same command again" in outcome.err


def test_rows_lists_every_row_with_its_terms() -> None:
    lines = rlqkit("rows").out.splitlines()
    names = [line.split()[0] for line in lines[::2]]
    assert names == [*ROWS, *OWN, "teacher"]
    more = rlqkit("rows", "--variants").out.splitlines()
    assert [line.split()[0] for line in more[::2]] == [*names, *VARIANTS, *PARTS]
    for row, terms in zip(ROWS.values(), lines[1::2], strict=False):
        assert terms.split() == ", ".join([*row.terms, *row.tad_terms]).split()


def test_data_describe_and_check(tiny_wardrobe: Path) -> None:
    described = rlqkit("data", "describe", "--root", tiny_wardrobe)
    assert described.code == 0
    lines = {line.split()[0]: line.split()[1:] for line in described.out.splitlines() if line}
    assert lines["train"][:5] == ["48", "6", "3", "3", "12"]
    checked = rlqkit("data", "check", "wardrobe-v2", "--root", tiny_wardrobe)
    assert checked.code == 0 and "SHA-256" in checked.out and "False" not in checked.out


def test_train_then_evaluate_print_the_same_figures(tiny_wardrobe: Path, tmp_path: Path) -> None:
    options = smoke_options(tiny_wardrobe, tmp_path, training__steps=6)
    trained = rlqkit("train", *options, "--row", "base", "--seed", "3")
    assert trained.code == 0
    (folder,) = (tmp_path / "smoke" / "runs").glob("base-s3-*")
    assert trained.out.endswith(f"run folder: {folder}\n")
    evaluated = rlqkit("evaluate", folder)
    assert evaluated.code == 0
    metrics = RunFolder(folder).metrics()
    last = metrics[metrics["rule"] == "last"].drop(columns=["rule", "epoch"])
    assert [line.split() for line in evaluated.out.splitlines()] == [
        line.split() for line in cli._figures(last).splitlines()
    ]
    assert cli._figures(metrics) in trained.out


def test_percentages_are_printed() -> None:
    table = pd.DataFrame({"rank1": [0.123], "rank5": [1.0], "rank10": [1.0], "mAP": [0.04567]})
    assert cli._figures(table).split()[-4:] == ["12.3", "100.0", "100.0", "4.6"]


@pytest.mark.parametrize(
    ("arguments", "run"),
    [
        ([], "rlq-s1"),
        (["--set", "row=cal", "--set", "seed=4"], "cal-s4"),
        (["--set", "row=cal", "--row", "base", "--seed", "0"], "base-s0"),
        (["--config", "FILE"], "cap-s7"),
        (["--config", "FILE", "--row", "base", "--set", "seed=2"], "base-s2"),
    ],
)
def test_which_run_is_meant(
    arguments: list[str], run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options win over --set, --set over the file, the file over the profile."""
    file = tmp_path / "mine.toml"
    file.write_text('row = "cap"\nseed = 7\n[training]\nsteps = 3\n', encoding="utf-8")
    asked = []

    def watched(config: object) -> RunFolder:
        asked.append(config)
        raise OSError("far enough")

    monkeypatch.setattr("rlqkit.runs.experiment.train_and_evaluate", watched)
    arguments = [str(file) if text == "FILE" else text for text in arguments]
    rlqkit("train", "--profile", "smoke", "--results", tmp_path, *arguments)
    (config,) = asked
    assert RunFolder.of(config).path.name.startswith(f"{run}-")
    assert config.profile == "smoke"
    assert config.training.steps == (3 if "--config" in arguments else 16)


def test_default_profile_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli._config(None, None, [], None).profile == "quick"
    assert cli._config(None, None, [], "elsewhere").runtime.results == "elsewhere"
