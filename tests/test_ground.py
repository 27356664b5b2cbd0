"""The ground the kit stands on: pins, environment, make, continuous checks, citation."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from scripts import benchmark_script

import rlqkit
from rlqkit.config import load_profile
from rlqkit.report import selection, tables
from rlqkit.runs.folder import RunFolder, reference_folder
from rlqkit.runs.plan import planned_runs
from rlqkit.runs.studies import find_study
from wardrobe.calibration import calibration_table

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK_LINES = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
LOCKED = [Requirement(line) for line in LOCK_LINES if line and not line.startswith("#")]


def pinned() -> dict[str, Version]:
    """Name -> exact version, of every line of the lock."""
    pins = {}
    for requirement in LOCKED:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, requirement
        pins[canonicalize_name(requirement.name)] = Version(specifier.version)
    return pins


def asked_for() -> list[Requirement]:
    """What pyproject.toml asks for to run and to develop (the extra `render` isn't locked)."""
    project = PYPROJECT["project"]
    return [
        Requirement(text)
        for text in project["dependencies"] + project["optional-dependencies"]["dev"]
    ]


def test_lock_is_exact_and_plain() -> None:
    names = [canonicalize_name(requirement.name) for requirement in LOCKED]
    assert len(names) == len(set(names)) == len(pinned())
    for requirement in LOCKED:
        assert requirement.url is None and not requirement.extras
        assert str(requirement.marker) in ("None", 'sys_platform == "linux"')
    text = "\n".join(LOCK_LINES)
    assert not re.search(r"://|--|\bfile:|@", text.replace("# --", ""))


def test_lock_satisfies_pyproject() -> None:
    pins = pinned()
    for requirement in asked_for():
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} but {version} locked"


def test_lock_is_where_the_lower_bounds_came_from() -> None:
    """Each bound of pyproject.toml is the version that was tried: raise both together."""
    pins = pinned()
    for requirement in asked_for():
        (specifier,) = requirement.specifier
        assert Version(specifier.version) == pins[canonicalize_name(requirement.name)], requirement


def test_torch_and_torchvision_belong_together() -> None:
    pins = pinned()
    assert (str(pins["torch"]), str(pins["torchvision"])) == ("2.14.1", "0.29.1")


def test_lock_is_complete() -> None:
    """Everything that a locked package needs on this system is locked too."""
    pins = pinned()
    for name in pins:
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # not for this system
            continue
        for requirement in map(Requirement, needed):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in pins, f"{name} needs {requirement}"


def test_environment_is_python_and_the_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge"]
    python, pip, block = environment["dependencies"]
    assert pip == "pip" and block == {"pip": ["-r requirements.lock", "-e ."]}
    name, version = python.split("=")
    assert name == "python"
    assert PYPROJECT["project"]["requires-python"] == f">={version}"
    assert f"(Python {version}, " in LOCK_LINES[0]


def test_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == rlqkit.__version__
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "rlqkit.__version__"


def test_citation_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper = citation["preferred-citation"]
    assert paper["title"].startswith("Coarse Attribute Prediction with Task Agnostic Distillation")
    assert [author["family-names"] for author in paper["authors"]] == ["Pathak", "Rawat"]
    assert (paper["year"], paper["url"]) == (2025, "https://arxiv.org/abs/2505.12580")
    assert citation["license"] == PYPROJECT["project"]["license"] == "Apache-2.0"


def test_every_file_that_is_no_code_is_packaged() -> None:
    globs = PYPROJECT["tool"]["setuptools"]["package-data"]["rlqkit"]
    packaged = {path for glob in globs for path in (ROOT / "rlqkit").glob(glob)}
    files = {path for path in (ROOT / "rlqkit").rglob("*.*") if "__pycache__" not in path.parts}
    assert packaged == {path for path in files if path.is_file() and path.suffix != ".py"}
    assert {path.stem for path in packaged} >= {"smoke", "quick", "laptop", "paper"}


# ------------------------------------------------------------------------------- make and checks


@pytest.fixture
def installed_copy(tmp_path: Path) -> Path:
    """A folder with the Makefile in which everything seems to be installed already."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("requirements.lock", "pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make on the folder, free of the settings of a `make test` that runs these tests."""
    own = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "PROFILE", "PYTHON"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    command = ["make", "--no-print-directory", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_make_reproduce_runs_the_profile(installed_copy: Path) -> None:
    command = ".venv/bin/python -m rlqkit reproduce --profile {}\n"
    assert make(installed_copy, "-n", "reproduce").stdout == command.format("quick")
    assert make(installed_copy, "-n", "reproduce", "PROFILE=smoke").stdout == command.format(
        "smoke"
    )


@pytest.mark.parametrize("target", ["reproduce", "test", "lint", "lab"])
@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml", ".venv"])
def test_make_installs_from_the_lock_when_needed(
    installed_copy: Path, target: str, changed: str
) -> None:
    lines = "pip install --disable-pip-version-check"
    assert lines not in make(installed_copy, "-n", target).stdout
    if changed == ".venv":
        shutil.rmtree(installed_copy / ".venv")
    else:
        stamp = installed_copy / ".venv" / ".installed"
        newer = stamp.stat().st_mtime + 10
        os.utime(installed_copy / changed, (newer, newer))
    dry_run = make(installed_copy, "-n", target).stdout
    assert re.search(r"pip install .*-r requirements\.lock\n", dry_run)
    assert re.search(r"pip install .*--no-deps --no-build-isolation -e \.\n", dry_run)


def test_make_refuses_an_old_python(installed_copy: Path) -> None:
    shutil.rmtree(installed_copy / ".venv")
    old = installed_copy / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    for python in (str(old), str(installed_copy / "none-at-all")):
        done = make(installed_copy, "test", f"PYTHON={python}")
        assert done.returncode != 0
        assert f"rlqkit needs Python 3.11 or newer, and {python} is not" in done.stderr
        assert not (installed_copy / ".venv").exists()


def test_ci_runs_what_the_readme_says() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=False).returncode == 0
    assert "set -euo pipefail" in script
    steps = [line.partition(" #")[0] for line in script.splitlines()]
    wanted = ["rm -rf .venv", "make lint", "make test", "exit $slurm"]
    assert [line for line in steps if line in wanted] == wanted
    assert re.search(r"^RLQKIT_SLURM_REQUIRED=1 \S+ -m pytest \S*.*tests/workflow", script, re.M)
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_results_are_kept_but_no_weights(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    run = "results/reference/quick/runs/base"
    ignored = [f"{run}/last.pt", f"{run}/model.safetensors", ".venv/x", "rlqkit.egg-info/x"]
    ignored += ["results/quick/runs/base/metrics.json", "results/quick/tables/summary.md"]
    kept = [f"{run}/metrics.json", f"{run}/per_query.parquet"]
    check = subprocess.run(
        ["git", "-C", str(tmp_path), "check-ignore", *ignored, *kept],
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.stdout.split() == ignored


PAGES = benchmark_script("pages")


@pytest.mark.parametrize(
    ("page", "name"), [(page, name) for page, blocks in PAGES.BLOCKS.items() for name in blocks]
)
def test_a_page_shows_what_the_committed_runs_say(page: str, name: str) -> None:
    _, shown, _ = PAGES.parted(page, name)
    assert shown == PAGES.BLOCKS[page][name](), "run python benchmarks/pages.py"


def test_tables_of_pages_are_tables() -> None:
    """A bar that isn't escaped parts a cell, and a header of other length makes no table at all."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("data/*/README.md")]
    for page in pages:
        lines = page.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if re.fullmatch(r"\|[\s:|]*-[\s:|-]*\|", line):
                table = [lines[number - 1]]
                for row in lines[number:]:
                    if not row.startswith("|"):
                        break
                    table.append(row)
                cells = {len(re.sub(r"\\\|", "", row).strip("|").split("|")) for row in table}
                assert len(cells) == 1, f"{page.name}:{number + 1}"


def test_no_table_is_typed() -> None:
    """Whatever a page marks as computed is computed."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    marked = {
        (str(page.relative_to(ROOT)), name)
        for page in pages
        for name in re.findall(r"<!-- ([\w-]+):begin -->", page.read_text(encoding="utf-8"))
    }
    assert marked == {(page, name) for page, blocks in PAGES.BLOCKS.items() for name in blocks}


def test_pages_are_written_between_their_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    before, after = "before\n<!-- one:begin -->\n", "<!-- one:end -->\nafter\n"
    page.write_text(before + "| old |\n" + after, encoding="utf-8")
    monkeypatch.setattr(PAGES, "ROOT", tmp_path)
    monkeypatch.setattr(PAGES, "BLOCKS", {"page.md": {"one": lambda: "| new |\n"}})
    monkeypatch.setattr("sys.argv", ["pages.py", "--check"])
    assert PAGES.main() == 1 and "one is not what is committed" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8") == before + "| old |\n" + after
    monkeypatch.setattr("sys.argv", ["pages.py"])
    assert PAGES.main() == 0
    assert page.read_text(encoding="utf-8") == before + "| new |\n" + after
    monkeypatch.setattr("sys.argv", ["pages.py", "--check"])
    assert PAGES.main() == 0
    monkeypatch.setattr(PAGES, "BLOCKS", {"page.md": {"two": lambda: ""}})
    with pytest.raises(ValueError, match="no table between"):
        PAGES.main()


@pytest.mark.parametrize("profile", ["quick", "laptop"])
def test_committed_tables_are_those_of_the_committed_runs(profile: str) -> None:
    folder = reference_folder(profile)
    results = tables.read_results(load_profile(profile, {"runtime.results": str(folder.parent)}))
    for name, found in (
        ("differences_rank1", tables.difference_table(results).round(2)),
        ("collapse", tables.collapse_table(results).round(4)),
    ):
        table = pd.read_csv(folder / "tables" / f"{name}.csv")
        pd.testing.assert_frame_equal(table, found, check_dtype=False, check_column_type=False)
    summary = (folder / "tables" / "summary.md").read_text(encoding="utf-8")
    assert summary.strip() == tables.summary_as_markdown(results).strip()


def test_every_row_of_the_main_tables_says_how_far_lq_has_collapsed() -> None:
    """But the quick mean's, which was shipped before runs kept it."""
    for profile, without in (("quick", {"mean"}), ("laptop", set())):
        results = PAGES.shipped_results(profile)
        rows = {run.row for run, _ in results.runs} - {"teacher"} - without
        assert set(tables.collapse_table(results)["row"]) == rows


def test_selection_is_compared_over_four_seeds() -> None:
    queries = selection.measured(find_study("selection"), PAGES.shipped_only("laptop"))
    assert {row: len(seeds) for row, seeds in queries.items()} == {"base": 4, "rlq": 4}


def test_the_other_processor_differs_in_its_arithmetic() -> None:
    other = reference_folder("other-processor")
    processors = [
        {RunFolder(run).environment()["precision"] for run in (folder / "runs").iterdir()}
        for folder in (other / "quick", reference_folder("quick"))
    ]
    assert processors == [{"bf16-mixed"}, {"32-true"}]


def test_committed_calibration_is_that_of_the_committed_runs() -> None:
    table = pd.read_csv(reference_folder("laptop") / "tables" / "calibration.csv")
    planned = {RunFolder.shipped(run).path for run in planned_runs(load_profile("laptop"))}
    chosen = [
        RunFolder(path) for path in sorted(planned) if path.name.startswith(("base-s", "teacher"))
    ]
    found = calibration_table(chosen).round(4)
    shown = table.fillna({"target": "", "verdict": ""})
    pd.testing.assert_frame_equal(shown, found, check_dtype=False, atol=1e-4)


def test_pictures_and_pages_that_the_readme_names_are_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    places = re.findall(r"\]\((?!https?:)([^)#]+)", readme)
    assert len(places) > 5 and [p for p in places if not (ROOT / p).exists()] == []
