"""A data set of one's own: the example of docs/datasets/own.md, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import rlqkit, smoke_options
from PIL import Image

from rlqkit.data import registry
from rlqkit.data.imageset import clothes_ids
from rlqkit.data.own import Sample, benchmark_of
from rlqkit.errors import RlqkitError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "datasets" / "own.md"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's example as a file that RLQKIT_LOADERS names."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    file = tmp_path / "mine.py"
    file.write_text(code, encoding="utf-8")
    monkeypatch.setenv("RLQKIT_LOADERS", str(file))
    monkeypatch.setattr(registry, "LOADERS", dict(registry.LOADERS))
    registry._import_own_loaders.cache_clear()
    return file


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six training and three test people, two outfits, two cameras, as the page names files."""
    rng = np.random.default_rng(0)
    for split, people in (("train", range(6)), ("query", range(7, 10)), ("gallery", range(7, 10))):
        (tmp_path / "set" / split).mkdir(parents=True)
        for person, camera, outfit in np.ndindex(len(people), 2, 2):
            name = f"{people[person]:04d}_c{camera}_{('red', 'blue')[outfit]}.jpg"
            pixels = rng.integers(0, 256, (40, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / split / name)
    return tmp_path / "set"


def test_the_example_is_ten_lines_or_so(example: Path) -> None:
    lines = [line for line in example.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 11


def test_the_example_trains_and_is_evaluated(example: Path, images: Path, tmp_path: Path) -> None:
    options = smoke_options(images, tmp_path / "results", training__steps=2, data__identities=0)
    only = ["--set", "data.dataset=mine", "--set", 'evaluation.selection=["last"]']
    outcome = rlqkit("train", "--row", "base-plain", *options, *only)
    assert outcome.code == 0, outcome.err
    assert "CC" in outcome.out and "base-plain-s1" in outcome.out


def test_the_page_s_check_reads_every_image(example: Path, images: Path) -> None:
    assert rlqkit("data", "check", "mine", "--root", images).code == 0
    torn = images / "gallery" / "0007_c0_red.jpg"
    torn.write_bytes(torn.read_bytes()[:60])
    outcome = rlqkit("data", "check", "mine", "--root", images)
    assert outcome.code == 2 and torn.name in outcome.out + outcome.err


def test_what_a_row_lacks_is_named(example: Path, images: Path, tmp_path: Path) -> None:
    options = smoke_options(images, tmp_path / "results", training__steps=2)
    only = ["--set", "data.dataset=mine", "--set", 'evaluation.selection=["last"]']
    outcome = rlqkit("train", "--row", "base", *options, *only)
    assert outcome.code == 2 and "mask" in outcome.err


def test_names_are_kept_apart(example: Path) -> None:
    for name in ("wardrobe-v2", "ltcc"):
        with pytest.raises(RlqkitError, match="there already"):
            registry.register(name, lambda root: None)  # type: ignore[arg-type,return-value]
    for name in ("", "a/b", "custom-x"):
        with pytest.raises(RlqkitError, match="letters"):
            registry.register(name, lambda root: None)  # type: ignore[arg-type,return-value]


def test_loaders_that_fail_are_named(example: Path) -> None:
    example.write_text("1 / 0", encoding="utf-8")
    with pytest.raises(RlqkitError, match=r"mine\.py fails with ZeroDivisionError"):
        registry.load("mine")
    example.unlink()
    registry._import_own_loaders.cache_clear()
    with pytest.raises(RlqkitError, match="no file"):
        registry.load("mine")


def samples_of(images: Path) -> list[Sample]:
    """The images in one camera, each in an outfit of its own."""
    return [
        Sample(
            file.relative_to(images).as_posix(), file.parent.name, int(file.stem[:4]), 0, file.stem
        )
        for file in sorted(images.glob("*/*.jpg"))
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"split": "tset"}, "split 'tset'"),
        ({"file": "train/none.jpg"}, "missing"),
        ({"outfit": ""}, "has no outfit"),
    ],
)
def test_samples_that_are_wrong(images: Path, change: dict[str, str], says: str) -> None:
    good = samples_of(images)
    benchmark_of("mine", images, good)
    with pytest.raises(RlqkitError, match=says):
        benchmark_of("mine", images, [good[0]._replace(**change), *good[1:]])
    with pytest.raises(RlqkitError, match="no image found"):
        benchmark_of("mine", images, [])
    with pytest.raises(RlqkitError, match="split 'query'"):
        benchmark_of("mine", images, [sample for sample in good if sample.split != "query"])


def test_a_test_person_who_is_in_train_or_validation_is_refused(images: Path) -> None:
    """Gallery 7 in train: trained on, so the test would be meaningless."""
    good = samples_of(images)
    last = max(index for index, sample in enumerate(good) if sample.split == "train")
    for split, group in (("train", "train"), ("val_query", "validation")):
        wrong = [*good]
        wrong[last] = good[last]._replace(split=split, identity=7)
        with pytest.raises(RlqkitError, match=f"identity 7 is in the {group} and in the test"):
            benchmark_of("mine", images, wrong)


def test_validation_may_show_training_people_and_external_numbers_do_not_count(
    images: Path,
) -> None:
    good = samples_of(images)
    person = good[-1].identity
    train = [i for i, sample in enumerate(good) if sample.split == "train"]
    good[train[0]] = good[train[0]]._replace(split="val_query")
    good[train[1]] = good[train[1]]._replace(split="external", identity=person)
    assert set(benchmark_of("mine", images, good).sets) == {
        "train", "query", "gallery", "val_query", "external",
    }  # fmt: skip


def test_clothes_are_numbered_as_they_first_appear() -> None:
    """Outfits belong to a person; unlabelled images are outfits of their own, whatever others say.

    An outfit that is called as an unlabelled image's place, or as it was called inside once, is
    another one.
    """
    people = pd.Series([2, 1, 2, 1, 1, 1, 1])
    outfits = pd.Series(["red", "red", "red", "", "", "3", "image 4"])
    assert clothes_ids(people, outfits).tolist() == [0, 1, 0, 2, 3, 4, 5]
