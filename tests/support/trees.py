"""Generated folders in the layouts of the published benchmarks: their names, our noise.

- `write_ltcc`: every name of LTCC (17,119), each image a few pixels, none the same bytes.
- `write_tree`: a small tree of any of the five, with the quirks of the real ones (junk identities,
  nested galleries, lists, mixed extensions, stray files, links), label files and masks. Two epochs
  of any row can be trained on it.
"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

import rlqkit.data.published
from rlqkit.data.published.load import LAYOUTS

HOLDERS = {
    "ltcc": "LTCC_ReID", "prcc": "rgb", "last": "last", "deepchange": "DeepChangeDataset",
    "celeb-reid": "Celeb-reID",
}  # fmt: skip
TRAIN_PART = {"deepchange": "train-set"}
SIZE = (40, 20)  # height and width of the small trees' images, px
LIP_SHIRT, LIP_TROUSERS, ATR_SHIRT, ATR_TROUSERS, FACE = 5, 9, 4, 6, 11
# Upright COCO skeleton on a unit frame (x, y).
SKELETON = np.array(
    [
        *[(0.50, 0.10), (0.53, 0.08), (0.47, 0.08), (0.56, 0.10), (0.44, 0.10)],
        *[(0.65, 0.22), (0.35, 0.22), (0.70, 0.37), (0.30, 0.37), (0.72, 0.50), (0.28, 0.50)],
        *[(0.60, 0.52), (0.40, 0.52), (0.60, 0.73), (0.40, 0.73), (0.60, 0.93), (0.40, 0.93)],
    ]
)


def ltcc_names() -> list[str]:
    """`train/000_1_c10_001003.png`, ...: LTCC's published file list."""
    file = Path(rlqkit.data.published.__file__).parent / "ltcc_files.txt.gz"
    return [line.split()[0] for line in gzip.decompress(file.read_bytes()).decode().splitlines()]


def write_ltcc(root: Path) -> Path:
    """LTCC under `root`/LTCC_ReID, 8 x 4 pixels an image; returns `root`.

    To be fast, one PNG is encoded once, and each file gets its number behind the picture's end,
    where decoders don't look: no two files are the same bytes.
    """
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 4, 3), 120, dtype=np.uint8)).save(buffer, "png")
    picture = buffer.getvalue()
    for folder in ("train", "query", "test"):
        (root / "LTCC_ReID" / folder).mkdir(parents=True)
    for number, name in enumerate(ltcc_names()):
        (root / "LTCC_ReID" / name).write_bytes(picture + number.to_bytes(4, "big"))
    return root


def tree_files(name: str, people: int) -> list[tuple[str, int, int]]:
    """(file inside the data set's folder, identity, outfit) of a small tree, junk included.

    `people` train, half as many (three at least) validate and test, two outfits each.
    """
    tested = max(3, people // 2)
    writers = {
        "ltcc": _ltcc, "prcc": _prcc, "last": _last, "deepchange": _deepchange,
        "celeb-reid": _celeb,
    }  # fmt: skip
    return writers[name](people, tested)


def _ltcc(people: int, tested: int) -> list[tuple[str, int, int]]:
    files, frame = [], 0
    for person in range(people + tested):
        for outfit, camera, shot in np.ndindex(2, 2, 2):
            frame += 1
            folder = "train" if person < people else ("test", "query")[int(shot == 0)]
            extension = (".png", ".PNG", ".jpg")[frame % 3]
            stem = f"{person:03d}_{outfit + 1}_c{camera + 1}_{frame:06d}"
            files.append((f"{folder}/{stem}{extension}", person, outfit))
    return [*files, ("test/-1_1_c1_999999.png", -1, 0), ("train/-1_1_c1_999998.png", -1, 0)]


def _prcc(people: int, tested: int) -> list[tuple[str, int, int]]:
    files = []
    for person in range(people):
        for letter, shot in [(letter, shot) for letter in "ABC" for shot in range(1, 4)]:
            place, extension = ("val" if shot == 3 else "train"), (".jpg", ".JPG")[shot % 2]
            stem = f"{letter}_cropped_rgb{shot:03d}"
            files.append((f"{place}/{person + 100:03d}/{stem}{extension}", person, letter == "C"))
    for person in range(tested):
        for letter, shot in [(letter, shot) for letter in "ABC" for shot in range(1, 4)]:
            stem = f"test/{letter}/{person + 1:03d}/cropped_rgb{shot:03d}.jpg"
            files.append((stem, person + people, letter == "C"))
    return [(file, person, int(outfit)) for file, person, outfit in files]


def _last(people: int, tested: int) -> list[tuple[str, int, int]]:
    files = []
    for person in range(people):
        for outfit, shot in np.ndindex(2, 3):
            stem = f"{person:06d}_{shot:03d}_00009_0257_01_{outfit + 1:03d}"
            files.append((f"train/{person:06d}/{stem}.jpg", person, outfit))
    for place, first in (("val", people), ("test", people + tested)):
        for person in range(first, first + tested):
            for outfit, shot in np.ndindex(2, 2):
                stem = f"{person:06d}_{shot:03d}_00010_{outfit:04d}_00_{outfit + 1:03d}"
                nested = f"{place}/gallery/{person:06d}/deeper/{stem}.jpeg"
                query = f"{place}/query/{stem}.jpg"
                files.append((nested if shot else query, person, outfit))
    return [*files, ("test/gallery/-1/-1_000_00010_0000_00_001.jpg", -1, 0)]


def _deepchange(people: int, tested: int) -> list[tuple[str, int, int]]:
    files = []
    for person in range(people + 2 * tested):
        kind = "train" if person < people else ("val", "test")[person >= people + tested]
        for outfit, camera, shot in np.ndindex(2, 2, 2):
            folder = f"{kind}-set"
            if kind != "train":
                folder += ("-gallery", "-query")[int(shot == 0)]
            stem = f"p{person:04d}_c{camera:02d}_2020061{outfit}_{shot:06d}"
            files.append((f"{folder}/{stem}.jpg", person, outfit))
    return files


def _celeb(people: int, tested: int) -> list[tuple[str, int, int]]:
    files = [
        (f"train/{person + 1}_{shot}_0.jpg", person, shot)
        for person in range(people)
        for shot in range(1, 7)
    ]
    for person in range(tested):  # numbered from 1 again
        for shot in range(1, 5):
            place = "query" if shot == 1 else "gallery"
            files.append((f"{place}/{person + 1}_{shot}_1.jpg", person + people, shot))
    return [*files, ("gallery/-1_1_0.jpg", -1, 0)]


def write_tree(
    name: str,
    root: Path,
    people: int = 8,
    pose: str = "clusters",
    masks: str = "pair",
    gender: bool = True,
    seed: int = 0,
) -> Path:
    """A small tree below `root`, under its published folder name; returns `root`.

    pose: "clusters" (the authors' CSV), "csv" or "json" (joints), or "". masks: "pair", "lip",
    "atr" or "". Labels go to `root`/labels.
    """
    rng = np.random.default_rng(seed)
    folder = root / HOLDERS[name]
    files = tree_files(name, people)
    for number, (file, person, outfit) in enumerate(files):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        _person(person, outfit, rng).save(path, quality=90)
        if number % 7 == 3 and path.suffix == ".jpg":  # some images are links
            target = root / "elsewhere" / f"{number}.jpg"
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
            path.symlink_to(target)
    _stray(folder / files[0][0])
    if name == "deepchange":
        _write_lists(folder, [file for file, *_ in files])
    train = TRAIN_PART.get(name, "train")
    trained = [(f, p) for f, p, _ in files if f.startswith(f"{train}/") and p >= 0]
    labels = root / "labels"
    labels.mkdir(exist_ok=True)
    if pose:
        _write_poses(labels, name, [file for file, _ in trained], pose, rng)
    if gender:
        title = LAYOUTS[name].title
        numbers = sorted({_number(name, file) for file, _ in trained})
        lines = [f"train,{number},{int(number.strip('p')) % 2}\n" for number in numbers]
        (labels / f"{title}_Gender.csv").write_text("Category,ID,Gender\n" + "".join(lines))
    if masks:
        for file, _ in trained:
            _write_mask(labels, file, masks)
        write_faulty(labels, name, [file for file, _ in trained][:3])
    return root


def write_faulty(labels: Path, name: str, files: list[str]) -> None:
    """The list of faulty shirts, named as the authors do: folders joined by underscores."""
    keys = [file.partition("/")[2].rpartition(".")[0].replace("/", "_") for file in files]
    (labels / f"{LAYOUTS[name].title}_Shirt_faulty.csv").write_text("\n".join(keys) + "\n")


def _number(name: str, file: str) -> str:
    inner = file.partition("/")[2]
    return inner.split("/")[0] if name == "prcc" else inner.rpartition("/")[2].split("_")[0]


def _person(person: int, outfit: int, rng: np.random.Generator) -> Image.Image:
    """Noise, a shirt and trousers in colours of their own."""
    image = rng.integers(60, 160, (*SIZE, 3))
    colours = np.random.default_rng((person + 1, outfit)).integers(0, 256, (2, 3))
    image[8:20, 5:15] = colours[0]
    image[20:36, 5:15] = colours[1]
    return Image.fromarray(image.astype(np.uint8))


def _stray(beside: Path) -> None:
    """What file managers leave behind, and a folder of nothing."""
    for name in ("Thumbs.db", ".DS_Store", f"._{beside.name}", "readme.txt"):
        (beside.parent / name).write_bytes(b"stray")
    (beside.parent / ".hidden").mkdir()


def _write_lists(folder: Path, files: list[str]) -> None:
    for place in sorted({file.partition("/")[0] for file in files}):
        names = [file.partition("/")[2] for file in files if file.startswith(f"{place}/")]
        tracklets = {name: number // 2 for number, name in enumerate(names)}
        lines = [f"{name},{tracklet}\n" for name, tracklet in tracklets.items()]
        (folder / f"{place}-bbox.txt").write_text("".join(lines))


def _write_poses(
    labels: Path, name: str, files: list[str], pose: str, rng: np.random.Generator
) -> None:
    """Published cluster labels, or joints of all images but the first, one with two people."""
    if pose == "clusters":
        keys = [file.partition("/")[2].rpartition(".")[0].replace("/", "_") for file in files]
        table = pd.DataFrame({"Category": "train", "Image": keys})
        for clusters in (4, 5, 15):
            for kind in ("R_LA", "R_LAC", "R_A", "N_LA", "N_LAC", "N_A"):
                table[f"{kind}_{clusters}"] = rng.integers(0, clusters + 1, len(keys)).astype(float)
        table.to_csv(labels / f"{LAYOUTS[name].title}_Pose_Cluster.csv", index=False)
        return
    height, width = SIZE
    people = [(files[1], 0.1, np.zeros((17, 2)))]  # the worse of two
    for file in files[1:]:
        people.append((file, 0.9, (SKELETON + rng.normal(0, 0.05, (17, 2))) * (width, height)))
    if pose == "csv":
        columns = [f"{axis}{joint}" for joint in range(17) for axis in "xy"]
        table = pd.DataFrame([points.ravel() for *_, points in people], columns=columns)
        table.insert(0, "image", [file for file, *_ in people])
        table.assign(score=[score for _, score, _ in people]).to_csv(
            labels / "keypoints.csv", index=False
        )
        return
    entries = [
        {
            "image_id": file,
            "keypoints": np.column_stack([points, np.ones(17)]).ravel().tolist(),
            "score": score,
        }
        for file, score, points in people
    ]
    (labels / "keypoints.json").write_text(json.dumps(entries))


def _write_mask(labels: Path, file: str, masks: str) -> None:
    shirt, trousers = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    shirt[8:20, 5:15], trousers[20:36, 5:15] = 1, 1
    name = f"{file.rpartition('.')[0]}.png"
    if masks == "pair":
        for part, mask in (("shirt", shirt), ("trousers", trousers)):
            _save(labels / "masks" / part / name, mask * 255)
        return
    numbers = {"lip": (LIP_SHIRT, LIP_TROUSERS), "atr": (ATR_SHIRT, ATR_TROUSERS)}[masks]
    parsed = numbers[0] * shirt + numbers[1] * trousers
    parsed[:4, 8:12] = FACE  # ATR's face, LIP's scarf: no clothes that are recoloured
    _save(labels / f"parsing-{masks}" / name, parsed)


def _save(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
