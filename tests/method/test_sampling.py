"""Random generators and the order of images, against golden epoch lengths."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rlqkit.errors import RlqkitError
from rlqkit.method.sampling import Draw, IdentitySampler, ShuffleSampler
from rlqkit.randomness import STREAMS, SeedPolicy, generator

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "sampler.json").read_text())
IDENTITIES = np.repeat(np.arange(len(GOLDEN["counts_per_identity"])), GOLDEN["counts_per_identity"])


def epoch(sampler: IdentitySampler | ShuffleSampler, number: int) -> list[Draw]:
    sampler.set_epoch(number)
    return list(sampler)


def values(rng: np.random.Generator) -> tuple[float, ...]:
    return tuple(rng.random(4))


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=str)
def test_epoch_lengths_equal_the_golden_ones(case: dict) -> None:
    world, instances = case["world_size"], case["instances"]
    ranks = [IdentitySampler(IDENTITIES, instances, 3, rank, world) for rank in range(world)]
    draws = [list(sampler) for sampler in ranks]
    assert [len(sampler) for sampler in ranks] == [case["per_rank"]] * world
    assert [len(drawn) for drawn in draws] == [case["per_rank"]] * world
    assert sum(len(drawn) for drawn in draws) == case["total"]


def test_one_process_has_the_golden_length() -> None:
    assert len(IdentitySampler(IDENTITIES)) == GOLDEN["plain"]


def test_every_chunk_is_four_images_of_one_identity() -> None:
    draws = epoch(IdentitySampler(IDENTITIES, seed=1), 2)
    assert [draw.position for draw in draws] == list(range(len(draws)))
    assert {draw.epoch for draw in draws} == {2}
    chunks = [draws[start : start + 4] for start in range(0, len(draws), 4)]
    owners = [{int(IDENTITIES[draw.index]) for draw in chunk} for chunk in chunks]
    assert all(len(owner) == 1 for owner in owners)
    counts = Counter(owner.pop() for owner in owners)
    for identity, n in enumerate(GOLDEN["counts_per_identity"]):
        assert counts[identity] == max(n // 4, 1)


def test_only_small_identities_repeat_an_image_and_the_repeats_are_counted() -> None:
    sampler = IdentitySampler(IDENTITIES, seed=0)
    repeated = set()
    for number in range(20):
        draws = epoch(sampler, number)
        seen: Counter[int] = Counter()
        for draw in draws:
            assert draw.repeat == seen[draw.index]
            seen[draw.index] += 1
            if draw.repeat:
                repeated.add(int(IDENTITIES[draw.index]))
    small = {i for i, n in enumerate(GOLDEN["counts_per_identity"]) if n < 4}
    assert repeated == small


def test_ranks_share_whole_chunks_without_overlap() -> None:
    identities = np.repeat(np.arange(9), 8)
    whole = epoch(IdentitySampler(identities, seed=4), 1)
    parts = [epoch(IdentitySampler(identities, 4, 4, rank, 3), 1) for rank in range(3)]
    drawn = sorted(draw.index for part in parts for draw in part)
    assert drawn == sorted(draw.index for draw in whole) == list(range(72))
    for part in parts:
        for start in range(0, len(part), 4):
            assert len({identities[draw.index] for draw in part[start : start + 4]}) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: IdentitySampler(IDENTITIES, seed=seed),
        lambda seed: ShuffleSampler(50, seed, "clean"),
    ],
)
def test_order_depends_on_seed_and_epoch_alone(make: object) -> None:
    sampler, again, other = make(1), make(1), make(2)  # type: ignore[operator]
    epoch(sampler, 0)
    assert epoch(sampler, 7) == epoch(again, 7)
    assert [d.index for d in epoch(sampler, 7)] != [d.index for d in epoch(sampler, 8)]
    assert [d.index for d in epoch(sampler, 7)] != [d.index for d in epoch(other, 7)]


def test_official_external_order_is_that_of_the_first_epoch_for_good() -> None:
    clean, official = ShuffleSampler(40, 5, "clean"), ShuffleSampler(40, 5, order="official")
    first = [draw.index for draw in epoch(clean, 0)]
    for number in range(3):
        draws = epoch(official, number)
        assert [draw.index for draw in draws] == first
        assert {draw.epoch for draw in draws} == {number}
    assert sorted(first) == list(range(40))


def test_external_images_are_shared_among_processes() -> None:
    parts = [epoch(ShuffleSampler(41, 5, "clean", rank, 4), 3) for rank in range(4)]
    assert [len(part) for part in parts] == [10] * 4
    assert len({draw.index for part in parts for draw in part}) == 40


def test_clean_draws_differ_by_everything_that_names_them() -> None:
    base = {"stream": "augment", "epoch": 3, "position": 5, "index": 7, "view": 0, "repeat": 0}
    policy = SeedPolicy(1, "clean")
    original = values(policy.draws(**base))
    assert values(SeedPolicy(1, "clean").draws(**base)) == original
    assert values(policy.draws(**{**base, "position": 6})) == original  # not the place in a batch
    assert values(SeedPolicy(2, "clean").draws(**base)) != original
    changes = {"stream": "torch", "epoch": 4, "index": 8, "view": 1, "repeat": 1}
    for name, value in changes.items():
        assert values(policy.draws(**{**base, name: value})) != original, name


def test_official_augment_draws_repeat_in_every_epoch_and_for_every_seed() -> None:
    first = SeedPolicy(1, "official")
    original = values(first.draws("augment", 0, 5, 7, 1))
    assert values(first.draws("augment", 9, 5, 7, 1)) == original
    assert values(SeedPolicy(2, "official").draws("augment", 3, 5, 99, 1)) == original
    assert values(first.draws("augment", 0, 6, 7, 1)) != original
    assert values(first.draws("augment", 0, 5, 7, 0)) != original


def test_official_torch_draws_vary_as_the_clean_ones() -> None:
    clean, official = SeedPolicy(1, "clean"), SeedPolicy(1, "official")
    for epoch_number in range(2):
        arguments = ("torch", epoch_number, 5, 7, 1)
        assert values(clean.draws(*arguments)) == values(official.draws(*arguments))


def test_generators_are_uniform_across_neighbouring_keys() -> None:
    firsts = np.array(
        [generator(0, "augment", e, i).random() for e in range(20) for i in range(50)]
    )
    assert np.histogram(firsts, 10, (0, 1))[0] == pytest.approx(np.full(10, 100), abs=40)
    assert abs(np.corrcoef(firsts[:-1], firsts[1:])[0, 1]) < 0.1
    assert len(set(STREAMS.values())) == len(STREAMS)


def test_values_are_frozen() -> None:
    # Of numpy's Philox; a change would silently alter every run.
    drawn = SeedPolicy(1, "clean").draws("augment", 2, 3, 4, 1).integers(0, 1000, 4)
    assert drawn.tolist() == [522, 535, 979, 543]


@pytest.mark.parametrize(
    "call",
    [
        lambda: SeedPolicy(-1, "clean"),
        lambda: SeedPolicy(0, "mixed"),  # type: ignore[arg-type]
        lambda: generator(0, "crops"),
        lambda: IdentitySampler([], 4),
        lambda: IdentitySampler([0, 1], 4, world_size=3),
        lambda: IdentitySampler([0, 1], 0),
        lambda: IdentitySampler([0, 1], rank=1),
        lambda: ShuffleSampler(0, 0, "clean"),
        lambda: ShuffleSampler(5, 0, "random"),  # type: ignore[arg-type]
    ],
)
def test_mistakes_are_named(call: object) -> None:
    with pytest.raises(RlqkitError):
        call()  # type: ignore[operator]
