"""Figures of coarse attributes and of ranked lists: what stands in them, on the tiny data set."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rlqkit.config import Config, load_profile
from rlqkit.data import loaders
from rlqkit.data.images import read_image
from rlqkit.data.imageset import Benchmark
from rlqkit.evaluation.metrics import PROTOCOLS, Labels, flip_descriptor, ranked_list
from rlqkit.evaluation.protocol import HQ
from rlqkit.method.attributes import LIMBS
from rlqkit.method.degradations import KINDS
from rlqkit.report import style
from rlqkit.report.figures import attributes, retrieval
from rlqkit.runs.experiment import described_test, train_and_evaluate
from rlqkit.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    """No figure outlives its test."""
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def config(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The smoke profile on the tiny data set, two steps long."""
    changes = {
        "data.root": str(tiny_wardrobe),
        "data.external_root": str(tiny_wardrobe),
        "runtime.results": str(tmp_path_factory.mktemp("results")),
        "row": "cap",
        "training.steps": 2,
        "training.evaluations": 1,
    }
    return load_profile("smoke", changes)


@pytest.fixture(scope="module")
def cap(config: Config) -> RunFolder:
    """A finished run of CAP."""
    return train_and_evaluate(config, progress=False)


def texts(figure: Figure) -> list[str]:
    """Every text of a figure that says something."""
    found = [t.get_text() for axes in figure.axes for t in axes.texts]
    found += [axes.get_title() for axes in figure.axes] + [figure.get_suptitle()]
    return [text for text in found if text]


def frames(figure: Figure) -> list[str]:
    """Colours of the frames of a sheet, row by row."""
    boxes = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    return [to_hex(box.get_edgecolor()) for box in boxes]


# ---------------------------------------------------------------------------------- attributes


def test_pose_vector_figure_draws_and_names_every_limb(tiny_benchmark: Benchmark) -> None:
    train = tiny_benchmark["train"]
    assert train.joints is not None
    figure = attributes.pose_vector_figure(read_image(train.paths[0]), train.joints[0])
    skeleton, lengths, angles = figure.axes
    assert len(skeleton.lines) == len(LIMBS) == len(lengths.patches) == len(attributes.LIMB_NAMES)
    vector = attributes.pose_vectors(train, "R_LA")[0]
    assert np.allclose([bar.get_width() for bar in lengths.patches], vector[:13])
    assert [t.get_text() for t in angles.texts] == [f"{angle:.0f}°" for angle in vector[13:]]
    assert [t.get_text() for t in skeleton.texts] == [*map(str, range(5, 14)), "1–4"]


def test_cluster_sheet_shows_members_of_their_clusters(
    tiny_benchmark: Benchmark, config: Config
) -> None:
    train = tiny_benchmark["train"]
    clusters = loaders.pose_clusters(train, config)
    captions = texts(attributes.cluster_sheet(train, clusters, 2))
    expected = {f"cluster {k}\n{n} images" for k, n in enumerate(clusters.counts, start=1)}
    assert len(expected) == len(clusters.counts) and expected <= set(captions)
    assert np.array_equal(attributes.nearest_cluster(train, clusters), clusters.labels)


def test_facing_is_positive_from_the_front(tiny_benchmark: Benchmark) -> None:
    front = attributes.facing(tiny_benchmark["train"])
    assert (front > 0).mean() > 0.9  # the tiny skeletons look at the camera


def test_gender_sheet_separates_the_labels(tiny_benchmark: Benchmark, config: Config) -> None:
    figure = attributes.gender_sheet(tiny_benchmark["train"], config, 2)
    assert len(figure.axes[0].images) == 8
    assert {"label 1\n(male), HQ", "label 0\n(female), HQ"} <= set(texts(figure))


def test_branches_of_a_run_are_those_of_its_descriptor(
    tiny_benchmark: Benchmark, cap: RunFolder
) -> None:
    """Of image and mirror, side by side, they make the features that the run wrote."""
    query = tiny_benchmark["query"]
    found = attributes.branch_features(cap, query, HQ)
    assert list(found) == ["branch1", "branch2", "pose"]
    assert {len(features) for features in found.values()} == {len(query)}
    plain = np.concatenate([found["branch1"], found["branch2"]], axis=1)
    both = flip_descriptor(torch.tensor(plain), torch.tensor(plain)).numpy()
    written = cap.features()["query", HQ].astype(np.float32)
    assert both.shape == written.shape  # the mirror's half is missing, so near but not equal
    assert np.einsum("nd,nd->n", both, written).min() > 0.9


# ------------------------------------------------------------------------------- ranked lists


def test_one_list_is_judged_by_three_protocols(tiny_benchmark: Benchmark, cap: RunFolder) -> None:
    query, gallery = tiny_benchmark["query"], tiny_benchmark["gallery"]
    index, k = 3, len(gallery)
    described = described_test(cap, tiny_benchmark, (HQ,))
    searches = retrieval.searches_by_protocol(described, query, index)
    figure = retrieval.ranked_sheet(query, gallery, index, searches, "title", k)
    assert [search.label for search in searches] == list(PROTOCOLS)
    assert len(figure.axes[0].images) == 3 * (k + 1)
    labels = [[values[index]] for values in query.metric_arrays()]
    colours, verdicts = [], []
    for search in searches:
        entries = ranked_list(
            search.distances, labels, Labels(*gallery.metric_arrays()), search.protocol, k
        )
        colours += ["#222222", *(style.STATUS_COLOURS[entry.status] for entry in entries)]
        for e in entries:
            word = "right" if e.status == "correct" else "wrong"
            verdicts.append("junk" if e.rank is None else f"{e.rank + 1}: {word}")
    assert frames(figure) == colours
    captions = [text.partition("\n")[0] for text in texts(figure)]
    assert [text for text in captions if text == "junk" or ": " in text] == verdicts
    assert {"junk", "1: right"} & set(verdicts) and "1: wrong" in verdicts


def test_same_query_in_two_qualities(
    tiny_benchmark: Benchmark, cap: RunFolder, config: Config
) -> None:
    query, kind = tiny_benchmark["query"], KINDS[0]
    described = {"CAP": described_test(cap, tiny_benchmark, (HQ, kind))}
    searches = retrieval.searches_by_quality(described, query, 0, kind, config)
    assert [search.label for search in searches] == ["CAP\nHQ", f"CAP\n{kind}"]
    assert min(searches[1].picture.shape[:2]) <= 24 < min(searches[0].picture.shape[:2])
    assert not np.array_equal(searches[0].distances, searches[1].distances)


def test_what_a_run_did_not_keep_is_described_anew(
    tiny_benchmark: Benchmark, cap: RunFolder, tmp_path: Path
) -> None:
    """As of a shipped run, whose features are a part of all."""
    shutil.copytree(cap.path, tmp_path / cap.path.name)
    shipped = RunFolder(tmp_path / cap.path.name)
    qualities, kept = (HQ, *KINDS), shipped.features()
    shipped.save_features({key: kept[key] for key in (("query", HQ),)})
    anew, stored = (described_test(run, tiny_benchmark, qualities) for run in (shipped, cap))
    assert list(anew.queries) == list(qualities) and anew.gallery.dtype == np.float32
    np.testing.assert_array_equal(anew.queries[HQ], stored.queries[HQ])
    np.testing.assert_allclose(anew.gallery, stored.gallery, atol=2e-3)
    for kind in KINDS:
        np.testing.assert_allclose(anew.queries[kind], stored.queries[kind], atol=2e-3)
