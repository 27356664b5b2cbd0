"""Exports on the tiny data set: names, counts, labels, resuming, refusing, the same metrics."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import rlqkit
from PIL import Image

from rlqkit.data import export as exporting
from rlqkit.data.export import export
from rlqkit.data.images import SHIRT, TROUSERS, read_image, read_mask
from rlqkit.data.imageset import Benchmark, ImageSet
from rlqkit.data.registry import load
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.metrics import PROTOCOLS, Labels, evaluate_features


@pytest.fixture(scope="module")
def ltcc(tiny_benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny set as LTCC, read only."""
    return export(tiny_benchmark, tmp_path_factory.mktemp("export") / "ltcc", "ltcc", False)


def exported(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "exported.csv")


def everything(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


# ----------------------------------------------------------------------------------------- ltcc


def test_ltcc_names_and_counts(tiny_benchmark: Benchmark, ltcc: Path) -> None:
    pattern = re.compile(r"(\d{3,})_(\d+)_c(\d+)_(\d{6})\.png")
    for split, name in {"train": "train", "query": "query", "gallery": "test"}.items():
        images = tiny_benchmark[split]
        files = sorted(file.name for file in (ltcc / "LTCC_ReID" / name).iterdir())
        found = [pattern.fullmatch(file) for file in files]
        assert len(files) == len(images) and all(found)
        numbers = pd.DataFrame([list(map(int, m.groups())) for m in found if m])
        assert set(numbers[0]) == set(images.identities)
        assert set(numbers[1]) == {1, 2} and set(numbers[2]) == {1, 2}  # counted from 1
        assert (numbers.groupby([0, 1]).size().groupby(level=0).size() == 2).all()
    assert exported(ltcc)["file"].map(lambda file: Path(file).stem[-6:]).is_unique


def test_ltcc_images_are_pixel_for_pixel_ours(tiny_benchmark: Benchmark, ltcc: Path) -> None:
    table = exported(ltcc)
    assert list(table.columns) == exporting.COLUMNS
    for row in table.iloc[::7].itertuples():
        ours = read_image(tiny_benchmark.root / str(row.source))
        np.testing.assert_array_equal(read_image(ltcc / str(row.file)), ours)


def test_ltcc_masks_part_by_part(tiny_benchmark: Benchmark, ltcc: Path) -> None:
    table = exported(ltcc)
    train = table[table["split"] == "train"]
    masks = {file.name for file in (ltcc / "masks" / "train").iterdir()}
    stems = [Path(file).stem for file in train["file"]]
    assert masks == {f"{stem}_{part}.png" for stem in stems for part in exporting.MASK_PARTS}
    row = 5
    ours = read_mask(tiny_benchmark["train"].mask_paths[row])
    assert tiny_benchmark["train"].table["file"][row] == train["source"].iloc[row]
    parts = {"shirt": [SHIRT], "pant": [TROUSERS], "clothes": [SHIRT, TROUSERS], "head": []}
    for part, labels in parts.items():
        theirs = read_mask(ltcc / "masks" / "train" / f"{stems[row]}_{part}.png")
        np.testing.assert_array_equal(theirs == 255, np.isin(ours, labels), err_msg=part)
        assert set(np.unique(theirs)) <= {0, 255}


def test_ltcc_label_files_are_headed_as_published(tiny_benchmark: Benchmark, ltcc: Path) -> None:
    labels = ltcc / "labels"
    gender = pd.read_csv(labels / "LTCC_Gender.csv", dtype=str)
    assert list(gender.columns) == ["Category", "ID", "Gender"]
    assert gender.to_numpy().tolist() == [["train", f"{k:03d}", str(k % 2)] for k in range(1, 7)]
    test_gender = pd.read_csv(labels / "LTCC_test_Gender.csv", dtype=str)
    assert test_gender["Category"].value_counts().to_dict() == {"query": 4, "test": 4}
    poses = pd.read_csv(labels / "LTCC_Pose_Cluster.csv")
    kinds = [f"{kind}_{k}" for k in range(5, 41, 5) for kind in ("R_LA", "R_LAC", "R_A")]
    assert list(poses.columns) == ["Category", "Image", *kinds]
    table = exported(ltcc)
    train = table.loc[table["split"] == "train", "file"]
    assert poses["Image"].tolist() == [Path(file).stem for file in train]
    for count in (5, 40):
        assert set(poses[f"R_LA_{count}"]) <= set(range(1, count + 1))
    assert poses["R_LA_5"].nunique() == 5


def test_hidden_parts_are_listed_as_faulty(broken_wardrobe: Path, tmp_path: Path) -> None:
    benchmark = load("wardrobe-v2", broken_wardrobe)
    mask = benchmark["train"].mask_paths[3]
    labels = read_mask(mask)
    Image.fromarray(np.where(labels == TROUSERS, 0, labels)).save(mask)
    folder = export(benchmark, tmp_path / "ltcc", "ltcc", False)
    stem = Path(exported(folder)["file"][3]).stem
    assert (folder / "labels" / "LTCC_Pant_faulty.csv").read_text() == f"{stem}\n"
    assert (folder / "labels" / "LTCC_Shirt_faulty.csv").read_text() == ""


def test_all_images_are_accounted_for(tiny_benchmark: Benchmark, tmp_path: Path) -> None:
    total = sum(len(images) for images in tiny_benchmark.sets.values())
    for layout in exporting.LAYOUTS:
        folder = export(tiny_benchmark, tmp_path / layout, layout, False)
        table, left = exported(folder), pd.read_csv(folder / "left_out.csv")
        assert len(table) + len(left) == total, layout
        assert not set(table["source"]) & set(left["source"])
        assert table["file"].is_unique and all((folder / file).is_file() for file in table["file"])
        images = {
            f for f in everything(folder) if f.endswith((".png", ".jpg")) and "masks" not in f
        }
        assert images == set(table["file"])
        assert "SYNTHETIC" in (folder / "README.md").read_text()
    reasons = left["reason"].value_counts().to_dict()
    assert reasons == {exporting.NO_CLOTHES: 24, exporting.NO_SPLIT: 24}


def test_ltcc_loader_gives_the_same_metrics(tiny_benchmark: Benchmark, ltcc: Path) -> None:
    """Whatever the features, and although the loader lists the images in another order."""
    rng = np.random.default_rng(0)
    feature = {
        file: vector / np.linalg.norm(vector)
        for split in ("query", "gallery")
        for file in tiny_benchmark[split].table["file"]
        for vector in [rng.normal(size=8)]
    }
    source = exported(ltcc).assign(name=lambda t: t["file"].map(lambda f: Path(f).name))
    source_of = source.set_index("name")["source"]
    theirs = load("ltcc", ltcc)
    results = []
    for benchmark in (tiny_benchmark, theirs):
        described = []
        for split in ("query", "gallery"):
            files = [Path(file) for file in benchmark[split].table["file"]]
            if benchmark is theirs:
                files = [Path(source_of[file.name]) for file in files]
            described.append(np.stack([feature[file.as_posix()] for file in files]))
        labels = [Labels(*benchmark[split].metric_arrays()) for split in ("query", "gallery")]
        found = evaluate_features(described[0], described[1], *labels, list(PROTOCOLS))
        results.append({name: retrieval.to_dict() for name, retrieval in found.items()})
    assert results[0] == results[1]


# ------------------------------------------------------------------------------ prcc and market


def test_prcc_letters(tiny_benchmark: Benchmark, tmp_path: Path) -> None:
    """A and B in one outfit from different cameras, C in another from a camera that A hasn't."""
    folder = export(tiny_benchmark, tmp_path / "prcc", "prcc", False)
    table = exported(folder)
    train = r"rgb/(train|val)/\d{3}/[ABC]_cropped_rgb\d{3}\.jpg"
    test = r"rgb/test/[ABC]/\d{3}/cropped_rgb\d{3}\.jpg"
    for row in table.itertuples():
        in_test = row.split in ("query", "gallery")
        assert re.fullmatch(test if in_test else train, str(row.file)), row.file
        assert f"/{int(str(row.identity)):03d}/" in str(row.file)
    table["letter"] = table["file"].str.extract(r"/([ABC])[/_]", expand=False)
    assert set(table["identity"]) == {*range(1, 7), *range(11, 14), *range(21, 25)}
    for _, person in table.groupby("identity"):
        part = {letter: rows for letter, rows in person.groupby("letter")}
        assert set(part) == {"A", "B", "C"}
        assert set(part["A"]["outfit"]) == set(part["B"]["outfit"]) == {1}
        assert set(part["C"]["outfit"]) == {2}
        assert not set(part["A"]["camera"]) & {*part["B"]["camera"], *part["C"]["camera"]}


def test_prcc_leaves_out_who_has_no_second_outfit(tiny_benchmark: Benchmark) -> None:
    images = tiny_benchmark["train"]
    one = ~((images.identities == 2) & (images.table["clothes"].to_numpy() % 2 == 1))
    sets = tiny_benchmark.sets | {"train": images.select(one)}
    plan = exporting.plan_prcc(Benchmark("one", tiny_benchmark.root, sets, synthetic=True))
    assert 2 not in set(plan.images["identity"]) and 3 in set(plan.images["identity"])
    assert set(images.select(images.identities == 2).table["file"]) - set(
        images.select(~one).table["file"]
    ) <= set(plan.left_out["source"])


def test_market_names_and_clothes(tiny_benchmark: Benchmark, tmp_path: Path) -> None:
    folder = export(tiny_benchmark, tmp_path / "market", "market", False)
    table, clothes = exported(folder), pd.read_csv(folder / "clothes.csv")
    places = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
    for row in table.itertuples():
        name = rf"{places[str(row.split)]}/{row.identity:04d}_c{row.camera}s1_\d{{6}}_00\.jpg"
        assert re.fullmatch(name, str(row.file))
    pd.testing.assert_frame_equal(clothes, table[["file", "identity", "outfit"]])
    ours = read_image(tiny_benchmark.root / table["source"][0]).astype(int)
    theirs = read_image(folder / table["file"][0]).astype(int)
    assert np.abs(ours - theirs).mean() < 4  # JPEG


def test_market_has_no_identity_nought(tiny_benchmark: Benchmark) -> None:
    """0000 is a distractor there."""
    train = tiny_benchmark["train"]
    table = train.table.assign(identity=train.identities - 1)
    shifted = ImageSet(train.name, train.root, table, train.joints, synthetic=True)
    sets = tiny_benchmark.sets | {"train": shifted}
    plan = exporting.plan_market(Benchmark("nought", train.root, sets, synthetic=True))
    assert plan.images["identity"].min() == 1
    assert set(plan.images.loc[plan.images["split"] == "query", "identity"]) == {22, 23, 24, 25}


# -------------------------------------------------------------------------- resuming, refusing


def test_killed_export_goes_on_and_ends_the_same(
    tiny_benchmark: Benchmark, ltcc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, written = exporting._encoded, []

    def killed(image: np.ndarray, file: str) -> bytes:
        written.append(file)
        if len(written) > 20:
            raise KeyboardInterrupt
        return whole(image, file)

    folder = tmp_path / "ltcc"
    monkeypatch.setattr(exporting, "_encoded", killed)
    with pytest.raises(KeyboardInterrupt):
        export(tiny_benchmark, folder, "ltcc", False)
    assert json.loads((folder / "export.json").read_text())["finished"] is False
    kept = {name: (folder / name).stat().st_mtime_ns for name in written[:20]}
    monkeypatch.setattr(exporting, "_encoded", whole)
    export(tiny_benchmark, folder, "ltcc", False)
    assert kept == {name: (folder / name).stat().st_mtime_ns for name in kept}  # not written anew
    assert everything(folder) == everything(ltcc)
    assert json.loads((folder / "export.json").read_text())["finished"] is True


def test_foreign_folders_are_refused(
    tiny_benchmark: Benchmark, broken_wardrobe: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    for where in (mine, mine / "thesis.txt"):
        with pytest.raises(RlqkitError, match="not empty; give a new folder"):
            export(tiny_benchmark, where, "market", False)
    assert everything(mine) == {"thesis.txt": b"mine"}
    folder = export(tiny_benchmark, tmp_path / "market", "market", False)
    with pytest.raises(RlqkitError, match="holds another export"):
        export(tiny_benchmark, folder, "prcc", False)
    sums = broken_wardrobe / "SHA256SUMS"
    sums.write_text(sums.read_text().replace("a", "b"), encoding="utf-8")  # other images
    with pytest.raises(RlqkitError, match="holds another export"):
        export(load("wardrobe-v2", broken_wardrobe), folder, "market", False)


def test_command(tiny_wardrobe: Path, tmp_path: Path) -> None:
    command = ["data", "export", "wardrobe-v2", str(tmp_path / "out"), "--root", str(tiny_wardrobe)]
    outcome = rlqkit(*command, "--layout", "market")
    assert outcome.code == 0 and outcome.out == f"wrote {tmp_path / 'out'}\n"
    assert outcome.err == ""  # no bar in a log file, and too short for a line
    wrong = rlqkit(*command, "--layout", "lfw")
    assert wrong.code == 2 and wrong.err == (
        'error: no layout "lfw"; choose one of ltcc, prcc, market\n'
    )
