"""The data set tour's figures, and the pages about the data sets."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from trees import write_tree

from rlqkit.data import check
from rlqkit.data.imageset import Benchmark
from rlqkit.data.published.check import bin_names, resolution_table
from rlqkit.data.published.figures import published
from rlqkit.data.published.load import LAYOUTS
from rlqkit.data.registry import load
from rlqkit.report.figures import datasets

DOCS = Path(__file__).resolve().parents[2] / "docs" / "datasets"


@pytest.fixture(scope="module")
def prcc(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return load("prcc", write_tree("prcc", tmp_path_factory.mktemp("prcc"), masks="lip"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLQKIT_CACHE", str(tmp_path))


def texts(figure: Figure) -> str:
    found = [text.get_text() for text in figure.findobj(plt.Text)]
    plt.close(figure)
    return "\n".join(found)


def test_summary_of_a_check(prcc: Benchmark) -> None:
    report = check.check_dataset(prcc)
    summary = datasets.check_summary(report)
    assert summary["findings"].sum() == len(report)
    assert summary["problems"].sum() == (~report["ok"]).sum() > 0
    assert summary.loc["images", "problems"] == 5
    assert summary.loc["images", "for example"] == "train: 48 (17896)"
    assert summary.loc["identities apart", "problems"] == 0


def test_resolutions_beside_the_published_ones(prcc: Benchmark) -> None:
    """PRCC's are published for train, val and test; the three test folders count together."""
    table = resolution_table(prcc)
    assert table.loc[("test", "below 32"), "found"] == 36
    assert table.loc[("val", "64 to 127"), "published"] == 4359
    assert table["found"].sum() == 48 + 24 + 36
    assert table["published"].notna().all()


def test_resolution_bins() -> None:
    """The lower bound belongs to a bin, as Celeb-reID's 128 x 256 px images show."""
    assert bin_names() == ["below 32", "32 to 63", "64 to 127", "128 to 255", "from 256"]
    assert published("celeb-reid")["resolution"]["train"] == [0, 0, 0, 20208, 0]


def test_resolutions_of_the_embedded_set(tiny_benchmark: Benchmark) -> None:
    table = resolution_table(tiny_benchmark)
    assert table["published"].isna().all()
    # heights of 64 and 50 px, widths of half that
    train = table.loc["train", "found"].tolist()
    assert train == [24, 24, 0, 0, 0]


def test_people_of_train_and_test(prcc: Benchmark) -> None:
    shown = texts(datasets.sample_sheet(prcc, people=2))
    assert "CC multi-shot" in shown and "person 100" in shown and "person 107" in shown
    assert "person 4" in shown and "20 px" in shown and "query" in shown


def test_labels_and_masks(prcc: Benchmark, tiny_benchmark: Benchmark, tmp_path: Path) -> None:
    shown = texts(datasets.label_sheet(prcc["train"]))
    for text in ("female", "male", "pose", "faulty", "masks", "purple"):
        assert text in shown
    assert "17 joints" in texts(datasets.label_sheet(tiny_benchmark["train"]))
    bare = load("last", write_tree("last", tmp_path, pose="", masks="", gender=False))["train"]
    shown = texts(datasets.label_sheet(bare))
    assert "gender ?" in shown and "no pose" in shown and "masks" not in shown


def test_recoloured_copy_is_green_above_purple(prcc: Benchmark) -> None:
    """The picture by which a user sees whether masks are the right way round."""
    figure = datasets.label_sheet(prcc["train"], count=2)
    last = np.asarray(figure.findobj(AxesImage)[-1].get_array()).astype(int)
    plt.close(figure)
    shirt, trousers = last[10:18, 7:13].mean((0, 1)), last[24:34, 7:13].mean((0, 1))
    green, purple = np.array([0, 128, 0]), np.array([128, 0, 128])
    assert (np.abs(shirt - 0.7 * green - 0.15 * 255) <= 0.15 * 255 + 4).all()
    assert (np.abs(trousers - 0.7 * purple - 0.15 * 255) <= 0.15 * 255 + 4).all()


# --------------------------------------------------------------------------------------- docs


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_data_set_has_its_page(name: str) -> None:
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for heading in ("How to get it", "Licence", "Layout", "Protocol", "Quirks", "Labels",
                    "What can go wrong"):  # fmt: skip
        assert f"**{heading}" in page
    for split in published(name)["splits"].values():
        assert f"{split['images']:,}" in page


def test_links_between_pages() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (DOCS / target).is_file(), f"{page.name}: {target}"
