"""From files to batches: the golden test view, augmentation, determinism, the data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from rlqkit.data.images import ImageStore, read_image, read_mask, read_mask_pair
from rlqkit.data.torch_sets import (
    EvaluationImages,
    ExternalImages,
    TargetImages,
    collate_external,
    collate_target,
)
from rlqkit.errors import RlqkitError
from rlqkit.method.augmentation import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augmentation,
    to_tensor,
    train_view,
)
from rlqkit.method.degradations import KINDS, PAPER_SEVERITY, pixelate
from rlqkit.method.recolouring import COLOURS, Recolouring
from rlqkit.method.sampling import Draw, IdentitySampler, ShuffleSampler
from rlqkit.randomness import SeedPolicy

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "images.npz")
IMAGE = GOLDEN["image"]
SIZE = (64, 32)
N = 12
IDENTITY = np.repeat(np.arange(3), 4)
NO_CHANGE = Augmentation(crop_probability=0, flip_probability=0, erase_probability=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve noisy images with a grey body, and a mask each: shirt, trousers, a row of both."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(N):
        image = rng.integers(0, 256, (80 + i, 40, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / f"{i}.png")
        mask = np.zeros((80 + i, 40), np.uint8)
        mask[20:45, 10:30] = 1
        mask[44:70, 10:30] |= 2
        Image.fromarray(mask).save(root / f"{i}_mask.png")
        for name, bit in (("shirt", 1), ("trousers", 2)):
            Image.fromarray(255 * (mask & bit > 0).astype(np.uint8)).save(root / f"{i}_{name}.png")
    return root


@pytest.fixture(scope="module")
def store(folder: Path) -> ImageStore:
    return ImageStore([folder / f"{i}.png" for i in range(N)])


@pytest.fixture(scope="module")
def masks(folder: Path) -> ImageStore:
    return ImageStore([folder / f"{i}_mask.png" for i in range(N)], read=read_mask)


def target(store: ImageStore, masks: ImageStore | None, **changes: object) -> TargetImages:
    settings: dict = {
        "size": SIZE,
        "policy": SeedPolicy(1, "clean"),
        "gender": IDENTITY % 2,
        "pose": np.arange(N) % 5,
        "masks": masks,
        "recolouring": Recolouring(6, "trousers") if masks else None,
    }
    return TargetImages(store, IDENTITY, np.arange(N) // 2, **(settings | changes))


# ---------------------------------------------------------------------------- reading


def test_files_are_read_as_rgb_and_as_plain_values(folder: Path) -> None:
    assert read_image(folder / "3.png").shape == (83, 40, 3)
    assert set(np.unique(read_mask(folder / "3_mask.png"))) == {0, 1, 2, 3}
    pair = read_mask_pair((folder / "3_shirt.png", folder / "3_trousers.png"))
    np.testing.assert_array_equal(pair, read_mask(folder / "3_mask.png"))
    with pytest.raises(RlqkitError, match="3_shirt"):
        read_mask_pair((folder / "3_shirt.png", folder / "4_trousers.png"))
    with pytest.raises(RlqkitError, match="colour channels"):
        read_mask_pair((folder / "3_shirt.png", folder / "3.png"))


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_unreadable_files_are_named_at_once(tmp_path: Path, damage: str, suffix: str) -> None:
    file = tmp_path / f"person.{suffix}"
    Image.fromarray(IMAGE).save(file)
    content = file.read_bytes()
    replaced = {"empty": b"", "cut": content[: len(content) // 2], "text": b"not an image"}
    file.unlink() if damage == "missing" else file.write_bytes(replaced[damage])
    for read in (read_image, read_mask):
        with pytest.raises(RlqkitError, match=f"person.{suffix}") as error:
            read(file)
        assert "\n" not in str(error.value)
    with pytest.raises(RlqkitError, match=f"person.{suffix}"):
        ImageStore([file])
    with pytest.raises(RlqkitError, match=f"person.{suffix}"):
        ImageStore([file], cache_megabytes=0)[0]


def test_store_keeps_what_fits_and_reads_the_rest(folder: Path, store: ImageStore) -> None:
    reads = []

    def counting(file: Path) -> np.ndarray:
        reads.append(file)
        return read_image(file)

    small = ImageStore(store.files, cache_megabytes=0.035, read=counting)
    kept = len(small.kept)
    assert 0 < kept < N and sum(image.nbytes for image in small.kept) <= 35_000
    reads.clear()
    for index in range(N):
        np.testing.assert_array_equal(small[index], store[index])
    assert reads == small.files[kept:]
    with pytest.raises(ValueError, match="read-only"):
        store[0][0, 0] = 0


# ---------------------------------------------------------------------------- views


def test_test_view_equals_the_golden_one() -> None:
    tensor = to_tensor(IMAGE, (96, 48))
    assert tensor.dtype == torch.float32 and tensor.shape == (3, 96, 48)
    np.testing.assert_allclose(tensor[:, ::5], GOLDEN["test_transform/96x48"], atol=1e-6)


def view(settings: Augmentation, seed: int, image: np.ndarray = IMAGE) -> np.ndarray:
    generators = np.random.default_rng(seed), np.random.default_rng(seed + 1000)
    return train_view(image, SIZE, *generators, settings).numpy()


def test_without_chance_the_training_view_is_the_test_view() -> None:
    np.testing.assert_array_equal(view(NO_CHANGE, 0), to_tensor(IMAGE, SIZE).numpy())


def test_flip_mirrors_left_and_right() -> None:
    flipped = view(Augmentation(0, flip_probability=1, erase_probability=0), 0)
    np.testing.assert_array_equal(flipped[:, :, ::-1], to_tensor(IMAGE, SIZE).numpy())


def test_crop_is_a_window_of_the_enlarged_image() -> None:
    resized = Image.fromarray(IMAGE).resize((32, 64), Image.Resampling.BILINEAR)
    large = to_tensor(np.asarray(resized), (72, 36)).numpy()
    windows = {
        large[:, top : top + 64, left : left + 32].tobytes(): (top, left)
        for top in range(9)
        for left in range(5)
    }
    settings = Augmentation(1, flip_probability=0, erase_probability=0)
    seen = {windows[view(settings, seed).tobytes()] for seed in range(150)}
    assert {top for top, _ in seen} == set(range(9))
    assert {left for _, left in seen} == set(range(5))


def test_erasing_fills_one_rectangle_after_normalisation() -> None:
    plain = to_tensor(IMAGE, SIZE).numpy()
    settings = Augmentation(0, flip_probability=0, erase_probability=1)
    shares, aspects = [], []
    for seed in range(400):
        erased = view(settings, seed)
        changed = (erased != plain).any(0)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        box = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        fill = np.array([0.4914, 0.4822, 0.4465], np.float32)[:, None, None]
        assert (erased[box] == fill).all()
        assert changed.sum() == erased[box][0].size
        shares.append(changed.mean())
        aspects.append(len(rows) / len(columns))
    assert 0.015 < min(shares) < 0.04 and 0.3 < max(shares) < 0.42
    assert min(aspects) < 0.5 and 2.8 < max(aspects) < 4


def test_each_change_happens_to_half_of_the_views() -> None:
    plain = to_tensor(IMAGE, SIZE).numpy()
    for name in ("crop", "flip", "erase"):
        chances = {f"{other}_probability": 0.0 for other in ("crop", "flip", "erase")}
        settings = Augmentation(**(chances | {f"{name}_probability": 0.5}))  # type: ignore[arg-type]
        changed = [(view(settings, seed) != plain).any() for seed in range(400)]
        assert np.mean(changed) == pytest.approx(0.5, abs=0.08), name


def test_normalisation_uses_the_imagenet_constants() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    expected = (100 / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(to_tensor(grey, (4, 4))[:, 0, 0], expected, atol=1e-6)


# ---------------------------------------------------------------------------- target set


def test_target_item_holds_both_views_and_their_labels(
    store: ImageStore, masks: ImageStore
) -> None:
    item = target(store, masks)[Draw(0, 3, 7)]
    assert item["images"].shape == (2, 3, *SIZE) and item["images"].dtype == torch.float32
    assert item["identity"] == 1 and item["gender"] == 1 and item["pose"] == 2
    assert item["index"] == 7
    original, recoloured = item["clothes"].tolist()
    assert original == 3
    assert 6 + 81 <= recoloured < 6 + 2 * 81  # classes of identity 1
    assert item["clothes"].dtype == torch.int64


def test_recoloured_view_changes_clothes_only(store: ImageStore, masks: ImageStore) -> None:
    data = target(store, masks, augmentation=NO_CHANGE, size=(80, 40))
    plain, copy = data[Draw(0, 0, 0)]["images"].numpy()  # at its own size: nothing is resized
    changed = (plain != copy).any(0)
    assert not changed[masks[0] == 0].any()
    assert changed[masks[0] > 0].mean() > 0.9


def test_recoloured_class_tells_the_colours_of_the_pixels(
    store: ImageStore, masks: ImageStore
) -> None:
    data = target(store, masks, augmentation=NO_CHANGE, size=(80, 40))
    names = list(COLOURS)
    levels = np.array(IMAGENET_STD)[:, None, None] * 255
    for epoch in range(10):
        item = data[Draw(epoch, 0, 0)]
        plain, copy = item["images"].numpy() * levels
        mean = np.array(IMAGENET_MEAN)[:, None, None] * 255
        trousers, shirt = divmod(int(item["clothes"][1]) - 6, 9)
        for colour, bit in ((names[shirt], 1), (names[trousers], 2)):
            painted = (copy - 0.3 * (plain + mean) + mean)[:, masks[0] == bit] / 0.7
            np.testing.assert_allclose(painted.mean(1), COLOURS[colour], atol=2)


def test_faulty_masks_get_one_colour_on_the_whole_outfit(
    store: ImageStore, masks: ImageStore
) -> None:
    data = target(store, masks, faulty=np.arange(N) == 0)
    codes = {int(data[Draw(epoch, 0, 0)]["clothes"][1]) - 6 for epoch in range(60)}
    assert len(codes) > 4 and all(code % 10 == 0 for code in codes)  # 9 c + c
    others = {int(data[Draw(epoch, 0, 1)]["clothes"][1]) - 6 for epoch in range(60)}
    assert any(code % 10 for code in others)


def test_lq_augmentation_degrades_the_source_of_both_copies(
    store: ImageStore, masks: ImageStore
) -> None:
    settings: dict = {"augmentation": NO_CHANGE, "mix": (1.0, 0.0, 0.0), "size": (80, 40)}
    plain = target(store, masks, **settings)
    always = target(store, masks, lq_augmentation=1.0, **settings)
    half = target(store, masks, lq_augmentation=0.5, **settings)
    sizes = [to_tensor(pixelate(store[0], side), (80, 40)).numpy() for side in range(16, 64)]
    seen = 0
    for epoch in range(30):
        views = always[Draw(epoch, 0, 0)]["images"].numpy()
        assert any((views[0] == degraded).all() for degraded in sizes)
        clean = plain[Draw(epoch, 0, 0)]["images"].numpy()
        assert (views[1] != clean[1]).any()
        seen += int((half[Draw(epoch, 0, 0)]["images"][0].numpy() != clean[0]).any())
    assert 5 <= seen <= 25


def test_lq_augmentation_leaves_all_other_draws_alone(store: ImageStore, masks: ImageStore) -> None:
    plain, degraded = target(store, masks), target(store, masks, lq_augmentation=1.0)
    for draw in (Draw(0, 0, 0), Draw(3, 1, 5)):
        a, b = plain[draw], degraded[draw]
        torch.testing.assert_close(a["clothes"], b["clothes"], rtol=0, atol=0)
        fill = torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]
        for left, right in zip(a["images"], b["images"], strict=True):
            assert torch.equal((left == fill).all(0), (right == fill).all(0))


def test_without_recolouring_there_is_one_view(store: ImageStore) -> None:
    data = target(store, None, gender=None, pose=None)
    item = data[Draw(0, 0, 0)]
    assert item["images"].shape == (1, 3, *SIZE) and item["clothes"].tolist() == [0]
    assert set(item) == {"images", "identity", "clothes", "index"}


def test_repeats_of_a_small_identity_differ(store: ImageStore, masks: ImageStore) -> None:
    data = target(store, masks)
    first, second = data[Draw(0, 0, 5)], data[Draw(0, 1, 5, repeat=1)]
    assert not torch.equal(first["images"], second["images"])


def test_target_batch_alternates_source_and_recoloured(
    store: ImageStore, masks: ImageStore
) -> None:
    data = target(store, masks)
    items = [data[Draw(0, place, index)] for place, index in enumerate((7, 2, 11))]
    batch = collate_target(items)
    assert batch["images"].shape == (6, 3, *SIZE)
    for place, item in enumerate(items):
        assert torch.equal(batch["images"][2 * place], item["images"][0])
        assert torch.equal(batch["images"][2 * place + 1], item["images"][1])
        assert batch["clothes"][2 * place : 2 * place + 2].tolist() == item["clothes"].tolist()
    assert batch["identity"].tolist() == [1, 1, 0, 0, 2, 2]
    assert batch["gender"].tolist() == [1, 1, 0, 0, 0, 0]
    assert batch["pose"].tolist() == [2, 2, 2, 2, 1, 1]
    assert batch["index"].tolist() == [7, 7, 2, 2, 11, 11]
    assert int(batch["clothes"].max()) < 6 + 3 * len(COLOURS) ** 2


# ---------------------------------------------------------------------------- external, test


def test_external_views_are_augmented_independently(store: ImageStore) -> None:
    flips = Augmentation(0, flip_probability=0.5, erase_probability=0)
    same = (1.0, 0.0, 0.0)
    data = ExternalImages(
        store, size=SIZE, policy=SeedPolicy(1, "clean"), mix=same, augmentation=flips
    )
    plain = to_tensor(store[0], SIZE)
    together, equal = [], 0
    for epoch in range(60):
        item = data[Draw(epoch, 0, 0)]
        hq_flipped = not torch.equal(item["hq"], plain)
        error = [(item["lq"].flip(2) - plain).abs().mean(), (item["lq"] - plain).abs().mean()]
        together.append(hq_flipped == (error[0] < error[1]))
        equal += int(torch.equal(item["hq"], item["lq"]))
    assert 15 <= sum(together) <= 45
    assert equal <= 3  # where the drawn short side is the image's own


def test_external_batch_has_hq_and_lq(store: ImageStore) -> None:
    data = ExternalImages(store, size=SIZE, policy=SeedPolicy(1, "clean"), mix="ltcc")
    batch = collate_external([data[Draw(0, i, i)] for i in range(4)])
    assert batch["hq"].shape == batch["lq"].shape == (4, 3, *SIZE)
    assert batch["index"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("degradation", [*KINDS, "mixed"])
def test_evaluation_damage_is_fixed_by_seed_and_image(store: ImageStore, degradation: str) -> None:
    def images(seed: int) -> list[torch.Tensor]:
        data = EvaluationImages(store, size=SIZE, degradation=degradation, mix="ltcc", seed=seed)
        return [data[i]["images"] for i in (3, 3, 4)]

    first, again, _ = images(1)
    assert torch.equal(first, again) and torch.equal(first, images(1)[0])
    assert not torch.equal(first, images(2)[0])
    assert not torch.equal(first, to_tensor(store[3], SIZE))


def test_evaluation_without_damage_is_the_test_view(store: ImageStore) -> None:
    item = EvaluationImages(store, size=SIZE)[4]
    assert torch.equal(item["images"], to_tensor(store[4], SIZE)) and item["index"] == 4


def test_mixed_evaluation_damage_uses_every_kind(store: ImageStore) -> None:
    data = EvaluationImages(store, size=SIZE, degradation="mixed", mix="thirds")
    shapes = {data.source(i).shape == store[i].shape for i in range(N)}
    assert shapes == {True, False}  # only pixelation changes the size


# ---------------------------------------------------------------------------- determinism


def batches(
    data: TargetImages | ExternalImages, sampler: Sequence[Draw] | object, workers: int
) -> list[dict[str, torch.Tensor]]:
    collate = collate_target if isinstance(data, TargetImages) else collate_external
    loader = DataLoader(
        data,
        batch_size=4,
        sampler=sampler,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=collate,
    )
    return list(loader)


@pytest.mark.parametrize("policy", [SeedPolicy(1, "clean"), SeedPolicy(1, "official")])
@pytest.mark.parametrize("kind", ["target", "external"])
def test_batches_do_not_depend_on_the_number_of_workers(
    store: ImageStore, masks: ImageStore, policy: SeedPolicy, kind: str
) -> None:
    if kind == "target":
        data: TargetImages | ExternalImages = target(
            store, masks, policy=policy, lq_augmentation=0.5, severity=PAPER_SEVERITY
        )
        sampler: IdentitySampler | ShuffleSampler = IdentitySampler(IDENTITY, seed=1)
    else:
        data = ExternalImages(store, size=SIZE, policy=policy, mix="ltcc")
        sampler = ShuffleSampler(N, 1, "clean")
    sampler.set_epoch(2)
    alone, shared = batches(data, sampler, 0), batches(data, sampler, 2)
    assert len(alone) == len(shared) == 3
    for one, two in zip(alone, shared, strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


def views(data: TargetImages, draws: list[Draw]) -> torch.Tensor:
    return torch.stack([data[draw]["images"] for draw in draws])


def test_clean_augmentation_differs_by_seed_and_epoch_but_not_by_order(
    store: ImageStore, masks: ImageStore
) -> None:
    data = target(store, masks)
    draws = [Draw(0, place, place) for place in range(N)]
    first = views(data, draws)
    shuffled = [Draw(0, place, index) for place, index in enumerate(reversed(range(N)))]
    assert torch.equal(views(data, shuffled).flip(0), first)
    later = views(data, [draw._replace(epoch=1) for draw in draws])
    other = views(target(store, masks, policy=SeedPolicy(2, "clean")), draws)
    for changed in (later, other):
        same = (changed == first).flatten(1).all(1)
        assert not same.any()


def test_official_augmentation_repeats_but_for_the_flip(
    store: ImageStore, masks: ImageStore
) -> None:
    settings = Augmentation(flip_probability=0)
    unflipped: dict = {"augmentation": settings}
    one = target(store, masks, policy=SeedPolicy(1, "official"), **unflipped)
    two = target(store, masks, policy=SeedPolicy(2, "official"), **unflipped)
    draws = [Draw(0, place, place) for place in range(N)]
    later = [draw._replace(epoch=5) for draw in draws]
    assert torch.equal(views(one, draws), views(one, later))
    assert torch.equal(views(one, draws), views(two, later))
    flipping = target(store, masks, policy=SeedPolicy(1, "official"))
    assert not torch.equal(views(flipping, draws), views(flipping, later))


# ---------------------------------------------------------------------------- mistakes


def test_mistakes_are_named(store: ImageStore, masks: ImageStore, folder: Path) -> None:
    with pytest.raises(RlqkitError, match="gender labels"):
        target(store, masks, gender=[0, 1])
    with pytest.raises(RlqkitError, match="needs clothes masks"):
        target(store, None, recolouring=Recolouring(6, "wrap"))
    with pytest.raises(RlqkitError, match="12 images"):
        target(store, ImageStore(masks.files[:3], read=read_mask))
    with pytest.raises(RlqkitError, match="lq_augmentation"):
        target(store, masks, lq_augmentation=1.5)
    with pytest.raises(RlqkitError, match="fog"):
        EvaluationImages(store, size=SIZE, degradation="fog")
    with pytest.raises(RlqkitError, match="market"):
        ExternalImages(store, size=SIZE, policy=SeedPolicy(0, "clean"), mix="market")
    with pytest.raises(RlqkitError, match="erase_area"):
        Augmentation(erase_area=(0.5, 0.1))
    with pytest.raises(RlqkitError, match="crop_enlarge"):
        Augmentation(crop_enlarge=0.9)
    wrong_size = ImageStore([masks.files[1]] * N, read=read_mask)
    with pytest.raises(RlqkitError, match="1_mask.png"):
        target(store, wrong_size)[Draw(0, 0, 0)]
    wrong_values = ImageStore([folder / "0_shirt.png"] * N, read=read_mask)
    with pytest.raises(RlqkitError, match="0_shirt.png"):
        target(store, wrong_values)[Draw(0, 0, 0)]
