"""Test people from another data set (``data.test``)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fresh_people import MOVED, TEST_SPLITS, write_fresh_people

from rlqkit.config import Config, load_profile, with_overrides
from rlqkit.data import registry
from rlqkit.data.export import export
from rlqkit.data.fingerprint import fingerprint
from rlqkit.data.loaders import load_benchmark
from rlqkit.data.registry import load
from rlqkit.errors import RlqkitError
from wardrobe import labels_audit


@pytest.fixture
def fresh_people(tiny_wardrobe: Path, tmp_path: Path) -> Path:
    return write_fresh_people(tiny_wardrobe, tmp_path / "fresh")


def _config(tiny_wardrobe: Path, fresh: Path) -> Config:
    places = {"data.root": str(tiny_wardrobe), "data.test_root": str(fresh)}
    return load_profile("smoke", {**places, "data.test": "wardrobe-v2-test2"})


def test_a_set_of_test_people_alone(fresh_people: Path) -> None:
    assert tuple(load("wardrobe-v2-test2", fresh_people).sets) == TEST_SPLITS


def test_query_and_gallery_are_theirs(tiny_wardrobe: Path, fresh_people: Path) -> None:
    config = _config(tiny_wardrobe, fresh_people)
    own = load_benchmark(with_overrides(config, {"data.test": ""}))
    fresh = load_benchmark(config)
    for split in own.sets:
        moved = MOVED if split in TEST_SPLITS else 0
        assert np.array_equal(fresh[split].identities, own[split].identities + moved)
    assert fresh["query+gallery"].root == fresh_people
    assert fingerprint(fresh.sets)["images"] != fingerprint(own.sets)["images"]


def test_people_in_training_are_refused(tiny_wardrobe: Path, fresh_people: Path) -> None:
    samples = pd.read_csv(fresh_people / "samples.csv")
    known = load("wardrobe-v2", tiny_wardrobe)["val_query"].identities[0]
    someone = samples["identity"].iloc[0]
    samples.loc[samples["identity"] == someone, "identity"] = known
    samples.to_csv(fresh_people / "samples.csv", index=False)
    message = f"data.test = wardrobe-v2-test2: identity {known} is in the val_query images"
    with pytest.raises(RlqkitError, match=message):
        load_benchmark(_config(tiny_wardrobe, fresh_people))


@pytest.mark.parametrize("real", ["wardrobe-v2", "wardrobe-v2-test2"])
def test_rendered_and_real_people_are_not_mixed(
    tiny_wardrobe: Path, fresh_people: Path, real: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the quick profile with a data set of photographs."""
    monkeypatch.setattr(
        registry, "load", lambda name, *a, **k: replace(load(name, *a, **k), synthetic=name != real)
    )
    with pytest.raises(RlqkitError, match=r"real.*or --set data.test= for the set's own"):
        load_benchmark(_config(tiny_wardrobe, fresh_people))


@pytest.mark.parametrize(
    "counts", [["query"], {"query": 3}, {"query": 3, "gallery": 2, "tests": 1}]
)
def test_a_card_with_other_splits_is_refused(fresh_people: Path, counts: object) -> None:
    (fresh_people / "dataset.json").write_text(json.dumps({"counts": counts}))
    message = f"{re.escape(str(fresh_people / 'dataset.json'))}: counts must name splits"
    with pytest.raises(RlqkitError, match=message):
        load("wardrobe-v2-test2", fresh_people)


def test_each_set_is_asked_for_its_own_renderers_genders() -> None:
    """The shipped main job: training people of one data set, test people of another."""
    benchmark = load_benchmark(load_profile("quick"))
    (row,) = labels_audit._renderer_gender(benchmark)
    people = {person for images in benchmark.sets.values() for person in images.identities}
    assert row["asked"] == len(people) and row["failures"] == 0 and row["ok"]


def test_two_data_sets_in_one_are_not_exported(
    tiny_wardrobe: Path, fresh_people: Path, tmp_path: Path
) -> None:
    mixed = load_benchmark(_config(tiny_wardrobe, fresh_people))
    with pytest.raises(RlqkitError, match="export each data set by itself"):
        export(mixed, tmp_path / "export", "ltcc", False)
