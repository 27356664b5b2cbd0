"""What notebooks start with: whose run they look at, and whether the data are synthetic."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from rlqkit.config import Config, load_profile, with_overrides
from rlqkit.data import registry
from rlqkit.data.export import export
from rlqkit.data.imageset import Benchmark
from rlqkit.data.wardrobe import load_wardrobe
from rlqkit.errors import RlqkitError
from rlqkit.report.notebook import finished_run, start, teacher_run
from rlqkit.report.style import is_synthetic, sign
from rlqkit.runs import folder
from rlqkit.runs.folder import RunFolder
from rlqkit.runs.plan import teacher_config

# ------------------------------------------------------------------------------------- whose run


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A configuration whose own and shipped results are both empty."""
    monkeypatch.setattr(folder, "reference_folder", lambda profile: tmp_path / "shipped" / profile)
    return load_profile("quick", {"runtime.results": str(tmp_path / "own")})


def write(run: RunFolder, *names: str) -> RunFolder:
    run.path.mkdir(parents=True)
    for name in names:
        (run.path / name).touch()
    return run


FIGURES = ("metrics.json", "per_query.parquet")


def base_of(config: Config, seed: int = 1) -> Config:
    return with_overrides(config, {"row": "base", "seed": seed})


def test_your_own_run_comes_before_the_shipped_one(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    write(RunFolder.shipped(base_of(config)), *FIGURES)
    shipped = finished_run(config, "base")
    assert shipped == RunFolder.shipped(base_of(config))
    assert capsys.readouterr().out == (
        f"base, seed 1: you have no run of it, so the shipped one is shown ({shipped.path.name})\n"
    )
    own = write(RunFolder.of(base_of(config)), *FIGURES)
    assert finished_run(config, "base") == shipped  # still training: it has no weights yet
    (own.path / "weights-last.safetensors").touch()
    capsys.readouterr()
    assert finished_run(config, "base") == own
    assert capsys.readouterr().out == ""


def test_without_either_run_the_command_is_named(config: Config) -> None:
    write(RunFolder.shipped(base_of(config, 1)), *FIGURES)
    with pytest.raises(RlqkitError) as caught:
        finished_run(config, "base", seed=2)  # seed 1 doesn't stand in for seed 2
    assert "base, seed 2" in str(caught.value) and "no such run is shipped" in str(caught.value)
    assert "rlqkit train --profile quick --row base --seed 2" in str(caught.value)
    with pytest.raises(RlqkitError, match="rlqkit train --profile quick --row tad"):
        teacher_run(config)


def test_a_shipped_run_of_another_configuration_does_not_stand_in(config: Config) -> None:
    write(RunFolder.shipped(base_of(config)), *FIGURES)
    with pytest.raises(RlqkitError, match="no such run is shipped"):
        finished_run(with_overrides(config, {"training.batch": 16}), "base")


def test_what_the_shipped_run_lacks_is_said(config: Config) -> None:
    shipped = write(RunFolder.shipped(base_of(config)), *FIGURES, "features.safetensors")
    assert finished_run(config, "base", needs=("features",)) == shipped
    with pytest.raises(RlqkitError, match="the shipped run has no weights; make it with"):
        finished_run(config, "base", needs=("features", "weights"))
    teacher = write(RunFolder.shipped(teacher_config(config)), *FIGURES)
    assert teacher_run(config) == teacher
    with pytest.raises(RlqkitError, match="has no weights and no features"):
        teacher_run(config, needs=("weights", "features"))


# --------------------------------------------------------------------------------- is it synthetic


@pytest.fixture(scope="module")
def exported(tiny_benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny set as LTCC, marked as rendered."""
    return export(tiny_benchmark, tmp_path_factory.mktemp("export") / "ltcc", "ltcc", False)


@pytest.fixture
def own_loader() -> Iterator[str]:
    """A name under which a reader registered a data set with a loader of their own."""
    registry.register("street", lambda root: replace(load_wardrobe(root), synthetic=False))
    registry.register("game", lambda root: load_wardrobe(root))
    yield "street"
    for name in ("street", "game"):
        registry.LOADERS.pop(name)


def begun(name: str, root: Path, results: Path) -> Config:
    return start("smoke", str(results), 1, {"data.dataset": name, "data.root": str(root)})


def signature(config: Config) -> str:
    return str(sign(Figure(), config).get_supxlabel())


@pytest.mark.parametrize("name", ["wardrobe-v2", "wardrobe-v1", "custom-7a", "game", "ltcc"])
def test_rendered_data_carry_the_banner_whatever_their_name(
    name: str, tiny_wardrobe: Path, exported: Path, own_loader: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    config = begun(name, exported if name == "ltcc" else tiny_wardrobe, tmp_path)
    assert "SYNTHETIC data" in capsys.readouterr().out
    assert signature(config).startswith(f"{name} (synthetic), profile smoke")


@pytest.mark.parametrize("name", ["ltcc", "street"])
def test_photographs_carry_none(
    name: str, tiny_wardrobe: Path, exported: Path, own_loader: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    photographs = tmp_path / "photographs"
    shutil.copytree(exported, photographs)
    (photographs / "export.json").unlink()
    config = begun(name, photographs if name == "ltcc" else tiny_wardrobe, tmp_path)
    assert "SYNTHETIC" not in capsys.readouterr().out
    assert signature(config).startswith(f"{name}, profile smoke")


def test_figures_of_several_profiles_name_none(tmp_path: Path) -> None:
    config = load_profile("quick")
    told = sign(Figure(), config, profiles=True).get_supxlabel()
    assert told == f"wardrobe-v2 (synthetic), test people {config.data.test}" and config.data.test


def test_other_test_people_are_named(tmp_path: Path) -> None:
    config = load_profile("smoke", {"data.test": "wardrobe-v2-test2"})
    told = "wardrobe-v2 (synthetic), test people wardrobe-v2-test2, profile smoke, "
    assert signature(config).startswith(told)
    assert "test people" not in signature(load_profile("smoke", {"data.test": ""}))


def test_a_published_set_need_not_be_there_for_its_banner(tmp_path: Path) -> None:
    config = load_profile("smoke", {"data.dataset": "ltcc", "data.root": str(tmp_path / "none")})
    assert not is_synthetic(config.data)
    config = load_profile("smoke", {"data.dataset": "ltcc", "data.root": str(tmp_path)})
    with pytest.raises(RlqkitError, match="holds no LTCC"):
        is_synthetic(config.data)
