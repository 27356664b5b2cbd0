"""The published benchmarks: folders, protocols, index cache, validation people, `data check`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import rlqkit
from trees import HOLDERS, ltcc_names, write_ltcc, write_tree

from rlqkit.config import load_profile
from rlqkit.data import check, imageset, loaders
from rlqkit.data import images as files_of_images
from rlqkit.data.images import read_image
from rlqkit.data.imageset import Benchmark
from rlqkit.data.published import index
from rlqkit.data.published.figures import published, published_files
from rlqkit.data.published.load import LAYOUTS
from rlqkit.data.registry import load
from rlqkit.data.validation import carve_validation
from rlqkit.errors import RlqkitError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("RLQKIT_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def ltcc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every name of LTCC, a few pixels each: read only, or put back what you change."""
    return write_ltcc(tmp_path_factory.mktemp("ltcc"))


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tree of each data set, below a path with spaces and letters that aren't ASCII."""
    root = tmp_path_factory.mktemp("own data") / "Größe é 数据"
    for name in LAYOUTS:
        write_tree(name, root / name)
    return root


# --------------------------------------------------------------------------------- whole LTCC


def test_ltcc_has_the_published_counts(ltcc: Path) -> None:
    benchmark = load("ltcc", ltcc)
    counts = {name: (s.n_identities, len(s), s.n_clothes) for name, s in benchmark.sets.items()}
    assert counts == {
        "train": (77, 9576, 256), "query": (75, 493, 221), "gallery": (75, 7050, 221)
    }  # fmt: skip
    cameras = benchmark["train"].table["camera"]
    assert sorted(cameras.unique()) == list(range(1, 13))
    assert [test.name for test in benchmark.tests] == ["general", "SC", "CC"]
    assert not benchmark.synthetic and benchmark["train"].clothes_labelled
    # query and gallery share clothes ids, so that CC and SC can compare them
    query, gallery = benchmark["query"].table, benchmark["gallery"].table
    assert set(query["clothes"]) == set(gallery["clothes"])
    assert set(query["clothes"]).isdisjoint(benchmark["train"].table["clothes"])


def test_check_passes_on_ltcc(ltcc: Path) -> None:
    outcome = rlqkit("data", "check", "ltcc", "--root", ltcc)
    assert outcome.code == 0, outcome.err
    for text in ("9576", "7050", "493", "file names", "2578 published", "images with pose label"):
        assert text in outcome.out


def _delete(root: Path) -> str:
    name = "train/000_1_c10_001003.png"
    (root / name).unlink()
    return name


def _rename(root: Path) -> str:
    (root / "train/000_1_c10_001003.png").rename(root / "train/002_1_c10_001003.png")
    return "train/002_1_c10_001003.png"


def _truncate(root: Path) -> str:
    file = root / "train/000_1_c10_001003.png"
    file.write_bytes(file.read_bytes()[:-12])
    return "train/000_1_c10_001003.png"


def _empty(root: Path) -> str:
    (root / "query/001_1_c11_015833.png").write_bytes(b"")
    return "query/001_1_c11_015833.png"


def _copy(root: Path) -> str:
    shutil.copy(root / "train/000_1_c10_001003.png", root / "query")
    return "query/000_1_c10_001003.png"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_delete, ("9575", "missing")),
        (_rename, ("train/000_1_c10_001003.png", "not in the published list")),
        (_truncate, ("truncated",)),
        (_empty, ("0 bytes",)),
        (_copy, ("494", "identity 0", "the bytes of train/000_1_c10_001003.png")),
    ],
)
def test_check_names_the_fault(
    ltcc: Path, spoil: Callable[[Path], str], words: tuple[str, ...]
) -> None:
    root = ltcc / "LTCC_ReID"
    concerned = ("train/000_1_c10_001003.png", "query/001_1_c11_015833.png")
    contents = {file: (root / file).read_bytes() for file in concerned}
    culprit = spoil(root)
    outcome = rlqkit("data", "check", "ltcc", "--root", root)
    (root / culprit).unlink(missing_ok=True)
    for file, content in contents.items():
        (root / file).write_bytes(content)
    assert outcome.code == 2
    lines = [line for line in outcome.out.splitlines() if line.endswith("False")]
    problems = "\n".join(lines)
    assert culprit in problems and all(word in problems for word in words), problems
    assert outcome.err.strip().count("\n") == 0 and "docs/datasets/ltcc.md" in outcome.err
    assert "git checkout" not in outcome.err


def test_people_in_train_and_test_are_refused(trees: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trees / "ltcc", tmp_path / "ltcc"))
    shutil.copy(root / "LTCC_ReID/train/000_1_c1_000001.PNG", root / "LTCC_ReID/query")
    with pytest.raises(RlqkitError, match="identity 0 is in train and in test .* data check ltcc"):
        load("ltcc", root)
    assert 0 in load("ltcc", root, tolerant=True)["query"].identities


# ------------------------------------------------------------------------------ all five sets


def test_trees_load(trees: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by name under $RLQKIT_DATA; 8 people train, 4 are tested; junk is left out."""
    monkeypatch.setenv("RLQKIT_DATA", str(trees))
    for name in LAYOUTS:
        benchmark = load(name)
        assert benchmark.name == name and benchmark["train"].n_identities == 8
        assert all((images.identities >= 0).all() for images in benchmark.sets.values())
        for test in benchmark.tests:
            query, gallery = benchmark[test.query], benchmark[test.gallery]
            assert set(query.identities) <= set(gallery.identities), test
        for images in benchmark.sets.values():
            assert all(path.is_file() for path in images.paths)
            assert read_image(images.paths[-1]).shape == (40, 20, 3)


@pytest.mark.parametrize("name", LAYOUTS)
def test_root_may_be_the_published_folder(trees: Path, name: str) -> None:
    outer, inner = load(name, trees / name), load(name, trees / name / HOLDERS[name])
    assert outer.root == inner.root
    for split, images in outer.sets.items():
        assert images.table["file"].tolist() == inner[split].table["file"].tolist()


def test_prcc_has_its_cameras_and_outfits_crosswise(trees: Path) -> None:
    benchmark = load("prcc", trees / "prcc")
    names = {test.name: (test.query, test.rule, test.draws) for test in benchmark.tests}
    assert names == {
        "SC single-shot": ("query_sc", "SC", 10), "CC single-shot": ("query_cc", "CC", 10),
        "SC multi-shot": ("query_sc", "SC", 0), "CC multi-shot": ("query_cc", "CC", 0),
    }  # fmt: skip
    assert benchmark.tests[-1].name == "CC multi-shot"
    gallery, same, other = (benchmark[s].table for s in ("gallery", "query_sc", "query_cc"))
    assert set(gallery["camera"]) == {1} and set(same["camera"]) == {2}
    assert set(other["camera"]) == {3} and len(gallery) == len(same) == len(other) == 12
    assert set(gallery["clothes"]) == set(same["clothes"])
    assert set(gallery["clothes"]).isdisjoint(other["clothes"])
    # validation: further images of the training people, A as gallery
    assert set(benchmark["val_gallery"].table["camera"]) == {1}
    assert set(benchmark["val_query"].table["camera"]) == {2, 3}
    assert set(benchmark["val_query"].identities) == set(benchmark["train"].identities)
    assert benchmark["train"].n_clothes == 16  # two for each of eight


def test_last_drops_no_match_and_knows_clothes_in_train_only(trees: Path) -> None:
    benchmark = load("last", trees / "last")
    query, gallery = benchmark["query"], benchmark["gallery"]
    cameras = np.concatenate([query.table["camera"], gallery.table["camera"]])
    assert len(set(cameras)) == len(cameras)
    assert [test.name for test in benchmark.tests] == ["general (val)", "general"]
    labelled = {name for name, images in benchmark.sets.items() if images.clothes_labelled}
    assert labelled == {"train"} and benchmark["train"].n_clothes == 16
    assert gallery.n_clothes == len(gallery)
    assert "test/gallery/000012/deeper/" in gallery.table["file"][0]


def test_deepchange_takes_the_tracklet_for_the_camera(trees: Path) -> None:
    benchmark = load("deepchange", trees / "deepchange")
    root = trees / "deepchange" / "DeepChangeDataset"
    listed = (root / "test-set-gallery-bbox.txt").read_text().splitlines()
    cameras = dict(line.split(",") for line in listed)
    table = benchmark["gallery"].table
    for file, camera in zip(table["file"], table["camera"], strict=True):
        assert camera == int(cameras[file.rpartition("/")[2]])
    assert benchmark["train"].n_clothes == 16 and benchmark["gallery"].clothes_labelled


def test_celeb_is_a_target_and_an_external_set(trees: Path) -> None:
    benchmark = load("celeb-reid", trees / "celeb-reid")
    train, external = benchmark["train"], benchmark["external"]
    assert external.paths == train.paths and not external.clothes_labelled
    assert external.n_clothes == len(external)  # each image its own class
    # people 1..4 of train are others than those of test
    assert set(benchmark["query"].identities) == {1, 2, 3, 4} < set(train.identities)
    config = load_profile("smoke", {"data.external": "celeb-reid",
                                    "data.external_root": str(trees / "celeb-reid")})  # fmt: skip
    assert loaders.load_external(config).n_identities == 8


def test_labels_of_the_target_are_those_of_the_external_set_where_it_is_the_same(
    trees: Path, tmp_path: Path
) -> None:
    """Labels in a folder of their own, for a teacher that needs them."""
    root = Path(shutil.copytree(trees / "celeb-reid", tmp_path / "celeb", symlinks=True))
    labels = tmp_path / "labels apart"
    (root / "labels").rename(labels)
    other = Path(shutil.copytree(root, tmp_path / "copy", symlinks=True))
    given = {"data.dataset": "celeb-reid", "data.external": "celeb-reid", "data.root": str(root),
             "data.external_root": f"{root}/", "data.labels": str(labels)}  # fmt: skip
    config = load_profile("smoke", given)
    assert (loaders.load_external(config).table["gender"] != imageset.UNKNOWN).all()
    apart = load_profile("smoke", given | {"data.external_root": str(other)})
    assert (loaders.load_external(apart).table["gender"] == imageset.UNKNOWN).all()
    labelled = [place[2] for place in loaders.data_places(apart)]
    assert labelled == [str(labels), ""]


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_figures_agree_with_themselves(name: str) -> None:
    """Resolutions of a split add up to its images; names of splits are those of the layout."""
    figures = published(name)
    splits = {split: figures["splits"][split]["images"] for split in figures["splits"]}
    for split, bins in figures["resolution"].items():
        together = sum(n for s, n in splits.items() if s in ("gallery", "query_sc", "query_cc"))
        assert sum(bins) in (splits.get(split), together, _sum(splits, split)), split
    assert {part.split for part in LAYOUTS[name].parts} <= {*splits, "val_query"}


def _sum(splits: dict[str, int], name: str) -> int:
    prefix = {"val": ("val_query", "val_gallery"), "test": ("query", "gallery")}.get(name, ())
    return sum(splits.get(split, 0) for split in prefix)


def test_the_published_list_of_ltcc() -> None:
    files = published_files("ltcc")
    assert len(files) == 17119 and list(files) == sorted(ltcc_names())
    bins = np.bincount([place for file, place in files.items() if file.startswith("train/")])
    assert bins.tolist() == published("ltcc")["resolution"]["train"]
    assert published_files("prcc") == {}


# ------------------------------------------------------------------------------ what can be wrong


@pytest.fixture
def small(trees: Path, tmp_path: Path) -> Path:
    """A copy of the trees, for one test to break."""
    return Path(shutil.copytree(trees, tmp_path / "broken", symlinks=True))


def _refuse(name: str, root: Path, *words: str) -> None:
    with pytest.raises(RlqkitError) as caught:
        load(name, root)
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text


def test_no_folder_and_wrong_folder(small: Path, tmp_path: Path) -> None:
    _refuse("ltcc", tmp_path / "none", "LTCC isn't at", "RLQKIT_DATA", "docs/datasets/ltcc.md")
    (tmp_path / "empty").mkdir()
    _refuse("prcc", tmp_path / "empty", "holds no PRCC", "test/A", "rgb")
    shutil.rmtree(small / "last" / "last" / "test" / "query")
    _refuse("last", small / "last", "test/query is missing", "whole archive")


def test_a_part_without_images(small: Path) -> None:
    folder = small / "celeb-reid" / "Celeb-reID" / "query"
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "Thumbs.db").write_bytes(b"")
    _refuse("celeb-reid", small / "celeb-reid", "query has no image")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ltcc", "train/portrait.png"),
        ("prcc", "train/100/D_cropped_rgb001.jpg"),
        ("prcc", "test/A/group/cropped_rgb001.jpg"),
        ("last", "val/query/somebody.jpg"),
        ("celeb-reid", "gallery/12.jpg"),
    ],
)
def test_a_name_that_is_not_the_data_sets(small: Path, name: str, file: str) -> None:
    path = small / name / HOLDERS[name] / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    _refuse(name, small / name, file, "isn't named", "move it out")


def test_lists_of_deepchange(small: Path) -> None:
    root = small / "deepchange" / "DeepChangeDataset"
    listing = root / "val-set-query-bbox.txt"
    text = listing.read_text()
    listing.write_text(text + "\n\np0001_c00_20200610_999999.jpg,7\n")
    _refuse("deepchange", root, "p0001_c00_20200610_999999.jpg is missing", "line 19")
    listing.write_text(text + "p0001_c00_20200610_000001.jpg\n")
    _refuse("deepchange", root, "line 17", "name.jpg,tracklet")
    listing.unlink()
    _refuse("deepchange", root, "val-set-query-bbox.txt is missing")


def test_prcc_without_validation(small: Path) -> None:
    shutil.rmtree(small / "prcc" / "rgb" / "val")
    benchmark = load("prcc", small / "prcc")
    assert "val_query" not in benchmark.sets and benchmark["train"].n_identities == 8
    assert "split is there" in set(check.check_dataset(benchmark)["check"])


def test_a_link_in_a_circle_ends(small: Path) -> None:
    folder = small / "last" / "last" / "test" / "gallery"
    before = len(load("last", small / "last")["gallery"])
    (folder / "round").symlink_to(folder, target_is_directory=True)
    assert len(load("last", small / "last")["gallery"]) == before


def test_a_dangling_link_is_named_by_check(small: Path) -> None:
    root = small / "ltcc" / "LTCC_ReID"
    (root / "test" / "008_1_c1_000777.png").symlink_to(small / "nowhere.png")
    report = check.check_dataset(load("ltcc", root))
    bad = report[(report["check"] == "images are whole") & ~report["ok"]]
    assert bad["subject"].tolist() == ["test/008_1_c1_000777.png"]
    assert "can't be read" in bad["found"].iloc[0]


# --------------------------------------------------------------------------------------- cache


def _age(root: Path) -> None:
    """As if every folder had settled a minute ago."""
    then = time.time() - 60
    for path in [root, *(p for p in root.rglob("*") if p.is_dir() or p.suffix == ".txt")]:
        os.utime(path, (then, then))


def _walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Parts that were listed, one entry a listing."""
    walked: list[str] = []
    plain = index.list_images

    def counting(root: Path, part):
        walked.append(part.folder)
        return plain(root, part)

    monkeypatch.setattr(index, "list_images", counting)
    return walked


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_index_is_remembered(
    small: Path, own_cache: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _age(small)
    before = sorted(path for path in (small / name).rglob("*"))
    walked = _walks(monkeypatch)
    first = load(name, small / name)
    assert walked and len(list(own_cache.iterdir())) == 1
    walked.clear()
    again = load(name, small / name)
    assert walked == []
    for split, images in first.sets.items():
        assert images.table.equals(again[split].table)
    assert sorted(path for path in (small / name).rglob("*")) == before  # nothing is left there


def test_the_index_notices_changes(small: Path) -> None:
    root = small / "last" / "last"
    _age(small)
    count = len(load("last", root)["train"])
    new = root / "train" / "000000" / "000000_000_00009_0257_01_009.jpg"
    shutil.copy(root / "train/000001/000001_000_00009_0257_01_001.jpg", new)
    assert len(load("last", root)["train"]) == count + 1
    _age(small)
    assert len(load("last", root)["train"]) == count + 1  # remembered now
    new.unlink()
    assert len(load("last", root)["train"]) == count
    _age(small)
    load("last", root)
    (root / "train" / "000099").mkdir()
    shutil.copy(root / "train/000001/000001_000_00009_0257_01_001.jpg",
                root / "train/000099/000099_000_00009_0257_01_001.jpg")  # fmt: skip
    assert len(load("last", root)["train"]) == count + 1


def test_the_index_notices_a_changed_list(small: Path) -> None:
    root = small / "deepchange" / "DeepChangeDataset"
    _age(small)
    count = len(load("deepchange", root)["gallery"])
    listing = root / "test-set-gallery-bbox.txt"
    listing.write_text("".join(listing.read_text().splitlines(keepends=True)[1:]))
    assert len(load("deepchange", root)["gallery"]) == count - 1


def test_the_index_notices_an_optional_part_that_comes_later(small: Path) -> None:
    """Added as an archive unpacks it: with the times of long ago."""
    root = small / "prcc" / "rgb"
    aside = root.parent / "aside"
    (root / "val").rename(aside)
    _age(small)
    assert "val_query" not in load("prcc", root).sets
    aside.rename(root / "val")
    assert {"val_query", "val_gallery"} <= load("prcc", root).sets.keys()


def test_fresh_folders_are_not_trusted(small: Path, own_cache: Path) -> None:
    """A change in the same tick of a coarse clock would go unseen."""
    (small / "ltcc" / "LTCC_ReID" / "train" / "new").mkdir()
    load("ltcc", small / "ltcc")
    assert not own_cache.exists()


def test_a_corrupt_cache_is_made_anew(small: Path, own_cache: Path) -> None:
    _age(small)
    whole = load("ltcc", small / "ltcc")
    (file,) = own_cache.iterdir()
    good = file.read_bytes()
    middle = len(good) // 2
    flipped = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
    for content in (b"", b"rubbish", good[:-50], flipped):
        file.write_bytes(content)
        again = load("ltcc", small / "ltcc")
        assert again["train"].table.equals(whole["train"].table)
        assert file.read_bytes() == good


def test_a_cache_that_cannot_be_written_is_no_error(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("RLQKIT_CACHE", str(tmp_path / "file" / "inside"))
    _age(small)
    assert load("ltcc", small / "ltcc")["train"].n_identities == 8


def test_loading_opens_no_image(trees: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("an image was opened")

    monkeypatch.setattr(files_of_images.Image, "open", refuse)
    benchmark = load("last", trees / "last")
    monkeypatch.undo()
    sizes = benchmark["query"].sizes
    assert sizes.shape == (len(benchmark["query"]), 2) and (sizes == (20, 40)).all()


def test_sizes_that_were_read_stay_read(trees: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = load("ltcc", trees / "ltcc")["train"]
    assert (train.sizes == (20, 40)).all()
    monkeypatch.setattr(imageset, "read_sizes", lambda *a: pytest.fail("read again"))
    assert len(train.first_identities(2).sizes) == len(train.first_identities(2)) > 0


# --------------------------------------------------------------------------------- validation


def test_validation_people_are_carved_on_request(trees: Path) -> None:
    def benchmark(**changes: object) -> Benchmark:
        given = {"data.dataset": "ltcc", "data.root": str(trees / "ltcc"), "data.identities": 0}
        given |= {key.replace("__", "."): value for key, value in changes.items()}
        return loaders.load_benchmark(load_profile("smoke", given))

    whole = benchmark()
    assert whole["train"].n_identities == 8 and "val_query" not in whole.sets
    carved = benchmark(data__validation_identities=3)
    parts = [carved[name] for name in ("train", "val_query", "val_gallery")]
    assert sum(map(len, parts)) == len(whole["train"])
    assert parts[0].n_identities == 5 and parts[1].n_identities == 3
    assert set(parts[1].identities) == set(parts[2].identities)
    assert set(parts[0].identities).isdisjoint(parts[1].identities)
    # one query for each person, outfit and camera
    assert len(parts[1]) == len(parts[1].table[["identity", "clothes", "camera"]].drop_duplicates())
    again = benchmark(data__validation_identities=3)
    other = benchmark(data__validation_identities=3, data__validation_seed=2)
    assert again["val_query"].table.equals(parts[1].table)
    assert not other["val_query"].table["file"].equals(parts[1].table["file"])


def test_validation_where_clothes_are_not_labelled(trees: Path) -> None:
    carved = carve_validation(load("celeb-reid", trees / "celeb-reid"), 2, seed=1)
    assert len(carved["val_query"]) == 2 and len(carved["val_gallery"]) == 10
    with pytest.raises(RlqkitError, match="validation_identities = 8.*give 1 to 7"):
        carve_validation(load("celeb-reid", trees / "celeb-reid"), 8, seed=1)


def test_validation_where_no_two_images_show_one_outfit_under_one_camera(trees: Path) -> None:
    """Each image of LaST is a camera of its own: one of each would leave nothing to search."""
    carved = carve_validation(load("last", trees / "last"), 3, seed=1)
    query, gallery = carved["val_query"], carved["val_gallery"]
    assert len(query) == 3 and len(gallery) == 15
    for person in np.unique(query.identities):
        asked, left = (set(s.table["clothes"][s.identities == person]) for s in (query, gallery))
        assert any(left - {outfit} for outfit in asked)


def test_validation_rule_is_a_persons_own(trees: Path) -> None:
    """Who has one image each of camera and outfit gets the share, the others one of each."""
    benchmark = load("ltcc", trees / "ltcc")
    train = benchmark["train"]
    shots = train.table.groupby(["identity", "clothes", "camera"]).cumcount()
    thinned = train.select(((shots == 0) | (train.identities != 5)).to_numpy())
    carved = carve_validation(replace(benchmark, sets={"train": thinned}), 7, seed=1)
    people, counts = np.unique(carved["val_query"].identities, return_counts=True)
    assert dict(zip(people, counts, strict=True)) == {p: 1 if p == 5 else 4 for p in people}
    assert 5 in people and (carved["val_gallery"].identities == 5).sum() == 3


def test_validation_people_of_one_image_each_are_refused(trees: Path) -> None:
    benchmark = load("ltcc", trees / "ltcc")
    train = benchmark["train"]
    single = train.select(~train.table["identity"].duplicated().to_numpy())
    with pytest.raises(RlqkitError, match="one image alone.*validation_seed"):
        carve_validation(replace(benchmark, sets={"train": single}), 3, seed=1)


# ------------------------------------------------------------------------------- command line


def test_describe_and_check_of_small_trees(trees: Path) -> None:
    outcome = rlqkit("data", "describe", "prcc", "--root", trees / "prcc")
    assert outcome.code == 0 and "query_cc" in outcome.out
    for name in LAYOUTS:
        report = check.check_dataset(load(name, trees / name))
        problems = set(report.loc[~report["ok"], "check"])
        assert problems <= {"images", "identities", "outfits", "cameras", "file names"}, name
        junk = report[report["check"] == "junk images"]
        assert (len(junk) > 0) == (name in ("ltcc", "last", "celeb-reid"))


def test_an_exported_rendered_set_is_no_published_one(small: Path) -> None:
    """`rlqkit data export` leaves export.json: the set is synthetic, its counts are its own."""
    (small / "ltcc" / "export.json").write_text("{}")
    benchmark = load("ltcc", small / "ltcc")
    assert benchmark.synthetic and all(images.synthetic for images in benchmark.sets.values())
    assert check.check_dataset(benchmark)["ok"].all()


def test_check_asks_for_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLQKIT_DATA", str(tmp_path))
    outcome = rlqkit("data", "check", "celeb-reid")
    assert outcome.code == 2 and "docs/datasets/celeb-reid.md" in outcome.err
    assert str(tmp_path / "celeb-reid") in outcome.err
