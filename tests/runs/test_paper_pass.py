"""A whole pass of the paper profile on a generated tree of every published data set.

Images of a few pixels, two epochs, a tiny network: what is tested is that loaders, labels, masks,
teacher, training, protocols and tables fit together, and that nobody can take the table for a
result.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import rlqkit, smoke_options
from trees import write_tree

from rlqkit.config import Config, load_profile
from rlqkit.data.published.load import LAYOUTS
from rlqkit.main_job import reproduce
from rlqkit.runs.experiment import train_and_evaluate
from rlqkit.runs.folder import RunFolder
from rlqkit.runs.plan import planned_runs
from rlqkit.runs.published import as_quoted, published_runs

ROWS = ("cal", "rlq")


@pytest.fixture(scope="module")
def celeb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The external set of all passes: read only."""
    return write_tree("celeb-reid", tmp_path_factory.mktemp("données externes") / "celeb", 10)


def paper_pass(name: str, root: Path, external: Path, results: Path) -> Config:
    """The paper profile on a tree, shrunk until it takes seconds."""
    small = {
        "data.height": 32, "data.width": 16, "data.workers": 0, "model.backbone": "resnet10t",
        "model.weights": "none", "model.channels": [8, 8, 8, 8], "model.stem_width": 8,
        "training.epochs": 2, "training.batch": 8, "training.precision": "32-true",
        "teacher.epochs": 2, "teacher.batch": 8, "runtime.threads": 1,
    }  # fmt: skip
    places = {
        "data.dataset": name, "data.root": str(root), "data.external": "celeb-reid",
        "data.external_root": str(external), "runtime.results": str(results),
        "reproduce.rows": list(ROWS), "reproduce.seeds": [1],
    }  # fmt: skip
    return load_profile("paper", small | places)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_paper_pass(name: str, celeb: Path, tmp_path: Path) -> None:
    root = celeb if name == "celeb-reid" else write_tree(name, tmp_path / "arbre d'été" / name, 10)
    config = paper_pass(name, root, celeb, tmp_path / "results")
    said: list[str] = []
    reproduce(config, notebooks=False, say=said.append)
    runs = {run.row: RunFolder.of(run) for run in planned_runs(config)}
    assert set(runs) == {*ROWS, "teacher"} and all(run.finished for run in runs.values())
    history = runs["rlq"].history()
    assert list(history["phase"]) == ["tad", "cap"] * 2  # two epochs, TAD before CAP
    assert history[["pose", "gender", "distil_lq_2"]].notna().any().all()
    tables = sorted((tmp_path / "results/paper/tables").glob("*.md"))
    assert tables
    for table in tables:
        text = table.read_text(encoding="utf-8")
        assert "NOT A RESULT" in text and "epochs" in text and "images" in text
    protocols = set(runs["rlq"].metrics()["protocol"])
    shots = {"SC multi-shot", "CC multi-shot", "SC single-shot", "CC single-shot"}
    assert protocols == {
        "ltcc": {"general", "SC", "CC"}, "prcc": shots, "last": {"general", "general (val)"},
        "deepchange": {"general"}, "celeb-reid": {"general"},
    }[name]  # fmt: skip


@pytest.mark.slow
def test_a_run_as_published(celeb: Path, tmp_path: Path) -> None:
    """Teacher with CAP, official habits, the epoch by rank-1: what stands behind LTCC's 22.5."""
    config = paper_pass(
        "ltcc", write_tree("ltcc", tmp_path / "ltcc", 10), celeb, tmp_path / "results"
    )
    (run,) = (run for run in published_runs("ltcc") if run.name == "ltcc-rlq-cap-teacher")
    own = {"training.batch": 8, "teacher.batch": 8, "training.processes": 1}
    folder = train_and_evaluate(run.config(config, own), progress=False)
    (teacher,) = folder.path.parent.glob("teacher-cap-*")
    taught = RunFolder(teacher).history()
    assert taught[["pose", "gender", "disentangling"]].notna().all().all()
    history = folder.history()
    quoted = as_quoted(history.to_dict(orient="records"))
    assert quoted is not None
    assert quoted.rank1 == history["best_test_rank1"].max()
    assert quoted.mAP == history["best_test"].max()
    chosen = folder.metrics().query("rule == 'best_test' and protocol == 'CC' and query == 'HQ'")
    assert chosen["rank1"].item() == pytest.approx(quoted.rank1, abs=1e-6)
    assert chosen["epoch"].item() == quoted.rank1_epoch - 1


@pytest.mark.slow
def test_train_quotes_as_the_authors_do(tiny_wardrobe: Path, tmp_path: Path) -> None:
    """Only where the epoch is chosen as they choose it."""
    options = smoke_options(
        tiny_wardrobe, tmp_path, training__steps=4, evaluation__selection='["last", "best_test"]'
    )
    assert "as the authors quote" not in rlqkit("train", "--row", "cal", *options).out
    options += ["--set", "evaluation.selection_by=rank1"]
    assert "as the authors quote: rank-1" in rlqkit("train", "--row", "cal", *options).out
