"""Training: the same bits for the same seed, two optimisers, who moves whom, the switches."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import build_base
from torch import Tensor, nn

from rlqkit.config import Config, load_profile, with_overrides
from rlqkit.data.loaders import degradation_mix
from rlqkit.errors import RlqkitError
from rlqkit.method.losses import KL_TEMPERATURE, KL_WEIGHT, feature_mse, logit_kl
from rlqkit.method.rows import ROWS, TAD_TERMS
from rlqkit.method.steps import Student, cap_step, tad_step
from rlqkit.method.training import Training
from rlqkit.runs.device import use_threads
from rlqkit.runs.experiment import prepare, resolve
from rlqkit.runs.student import seed_everything

SWITCHES = (
    "worker_seeds", "external_order", "kl_reduction", "lq_thresholds", "mask_overlap", "zero_grad",
)  # fmt: skip
Weights = dict[str, Tensor]


@pytest.fixture
def smoke(tiny_wardrobe: Path, tmp_path: Path) -> Config:
    """The whole method in the smoke profile on the tiny data set."""
    changes = {"data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe)}
    changes |= {"runtime.results": str(tmp_path), "row": "rlq"}
    config = load_profile("smoke", changes)
    use_threads(config)
    return config


def make_training(config: Config, **changes: Any) -> Training:
    """A training without a folder; the teacher is an untrained network, always the same."""
    config = with_overrides(config, {k.replace("__", "."): v for k, v in changes.items()})
    seed_everything(99)
    teacher = build_base(config.model).eval().requires_grad_(False)
    return prepare(resolve(config), teacher if ROWS[config.row].uses_tad else None)


def weights(training: Training) -> Weights:
    """Every weight and statistic of network and heads, copied."""
    student = training.student
    modules = {"network": student.network, "heads": student.heads}
    return {
        f"{room}.{name}": value.clone()
        for room, module in modules.items()
        for name, value in module.state_dict().items()
    }


def moved(before: Weights, after: Weights) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def losses_of(training: Training) -> list[dict[str, Any]]:
    """The history without its times."""
    return [{k: v for k, v in record.items() if k != "seconds"} for record in training.history]


def first_batch(training: Training, kind: str, epoch: int = 0) -> dict[str, Tensor]:
    task = training.target if kind == "cap" else training.external
    assert task is not None
    return next(iter(task.loader(epoch)))


def tad(training: Training, batch: dict[str, Tensor] | None = None) -> dict[str, float]:
    assert training.teacher is not None
    batch = batch or first_batch(training, "tad")
    values = tad_step(training.student, training.teacher, batch, TAD_TERMS)
    return {name: value.item() for name, value in values.items()}


def cap(training: Training, adversarial: bool = True) -> dict[str, float]:
    batch = first_batch(training, "cap")
    values = cap_step(training.student, batch, training.row.terms, adversarial)
    return {name: value.item() for name, value in values.items()}


# ---------------------------------------------------------------------------------- determinism


def test_same_seed_twice_is_the_same_to_the_bit(smoke: Config) -> None:
    trainings = [make_training(smoke) for _ in range(2)]
    for training in trainings:
        training.run(progress=False)
    first, second = trainings
    assert losses_of(first) == losses_of(second)
    assert moved(weights(first), weights(second)) == set()
    other = make_training(smoke, seed=2)
    other.run(progress=False)
    assert losses_of(other) != losses_of(first)


def test_the_seed_alone_decides_the_first_weights(smoke: Config) -> None:
    first = weights(make_training(smoke))
    torch.rand(7)  # what was drawn before doesn't matter
    assert moved(first, weights(make_training(smoke))) == set()
    other = moved(first, weights(make_training(smoke, seed=2)))
    assert {"heads.identity_1.weight", "heads.clothes.weight"} <= other
    assert any(name.startswith("network.stem") for name in other)


@pytest.mark.parametrize("cache", [2000, 0])
def test_workers_do_not_change_the_weights(smoke: Config, cache: int) -> None:
    changes = {"training__steps": 5, "data__cache_megabytes": cache}
    trainings = [make_training(smoke, data__workers=n, **changes) for n in (0, 2)]
    for training in trainings:
        training.run(progress=False)
    assert moved(weights(trainings[0]), weights(trainings[1])) == set()
    assert losses_of(trainings[0]) == losses_of(trainings[1])


@pytest.mark.parametrize("kind", ["cap", "tad"])
def test_augmentations_differ_by_seed_and_by_epoch(smoke: Config, kind: str) -> None:
    """Views of the same image in epoch 1 of two seeds, and in two epochs of one seed.

    Each of crop, flip and erasing leaves half of the images alone, so a few agree by chance.
    """
    first, other = make_training(smoke), make_training(smoke, seed=2)
    now = views_of(first, kind, 1)
    assert share_of_equal(now, views_of(make_training(smoke), kind, 1)) == 1
    assert share_of_equal(now, views_of(other, kind, 1)) < 0.2
    assert share_of_equal(now, views_of(first, kind, 2)) < 0.2


def share_of_equal(one: dict[int, list[Tensor]], two: dict[int, list[Tensor]]) -> float:
    """Of the views of images that are in both."""
    shared = one.keys() & two.keys()
    equal = [
        torch.equal(a, b) for index in shared for a, b in zip(one[index], two[index], strict=True)
    ]
    assert len(equal) >= 16
    return sum(equal) / len(equal)


def views_of(training: Training, kind: str, epoch: int) -> dict[int, list[Tensor]]:
    """All views of every image in an epoch, by the image's number."""
    task = training.target if kind == "cap" else training.external
    assert task is not None
    found: dict[int, list[Tensor]] = {}
    for batch in task.loader(epoch):
        stacks = [batch["images"]] if kind == "cap" else [batch["hq"], batch["lq"]]
        for stack in stacks:
            for index, view in zip(batch["index"].tolist(), stack, strict=True):
                found.setdefault(index, []).append(view)
    return found


def test_order_differs_by_seed_and_by_epoch(smoke: Config) -> None:
    def order(seed: int, kind: str, epoch: int) -> list[int]:
        return list(views_of(make_training(smoke, seed=seed), kind, epoch))

    for kind in ("cap", "tad"):
        assert order(1, kind, 0) == order(1, kind, 0)
        assert order(1, kind, 0) != order(1, kind, 1) != order(2, kind, 1)


# ------------------------------------------------------------------------------ compat switches


@pytest.mark.parametrize("name", SWITCHES)
def test_preset_sets_every_switch_that_is_not_given(name: str) -> None:
    clean, official = load_profile("smoke"), load_profile("smoke", {"compat.preset": "official"})
    assert clean.compat.switch(name) == "clean" and official.compat.switch(name) == "official"
    mixed = load_profile("smoke", {"compat.preset": "official", f"compat.{name}": "clean"})
    assert {s for s in SWITCHES if mixed.compat.switch(s) == "clean"} == {name}


# Of all that `observe` sees, what one official switch changes in an otherwise clean training.
EFFECTS = {
    "worker_seeds": {"cap images", "tad images"},
    "external_order": {"tad order"},
    "kl_reduction": {"cap terms", "tad terms"},
    "lq_thresholds": {"mix"},
    "mask_overlap": {"overlap"},
    "zero_grad": {"momentum"},
}


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_changes_what_it_says_and_nothing_else(smoke: Config, name: str) -> None:
    clean = observe(make_training(smoke))
    official = observe(make_training(smoke, **{f"compat__{name}": "official"}))
    assert {key for key in clean if clean[key] != official[key]} == EFFECTS[name]


def observe(training: Training) -> dict[str, Any]:
    """One fingerprint for each thing that a switch may touch. Steps see the same fixed batches,
    so that terms are compared apart from images."""
    assert training.external is not None
    recolouring = training.target.images.recolouring
    assert recolouring is not None
    seen: dict[str, Any] = {
        "cap images": first_batch(training, "cap")["images"].double().sum().item(),
        "cap order": [draw.index for draw in order_of(training.target.sampler, 1)],
        "tad order": [draw.index for draw in order_of(training.external.sampler, 1)],
        "mix": degradation_mix(training.config),
        "overlap": recolouring.overlap,
        "adam": [group["weight_decay"] for group in training.student.optimiser.param_groups],
    }
    # in fixed order and of fixed kind, so that order and mix don't show here
    draws = [(0, place, place, 0) for place in range(8)]
    training.external.images.mix = (0.5, 0.0, 0.5)
    views = [training.external.images[type_of_draw(training)(*draw)] for draw in draws]
    seen["tad images"] = sum(view["hq"].double().sum().item() for view in views)
    fixed = {"hq": fixed_images(8), "lq": fixed_images(8).flip(3) + 0.1}
    labels = torch.arange(16)
    batch = {
        "images": fixed_images(16), "identity": labels // 4, "clothes": labels // 2,
        "pose": labels % 5, "gender": labels // 8,
    }  # fmt: skip
    seen["cap terms"] = cap_step(training.student, batch, training.row.terms, adversarial=False)
    before = weights(training)
    seen["tad terms"] = tad(training, fixed)
    after = weights(training)
    seen["momentum"] = {name for name in moved(before, after) if "heads.pose" in name}
    return seen


def order_of(sampler: Any, epoch: int) -> list[Any]:
    sampler.set_epoch(epoch)
    return list(sampler)


def type_of_draw(training: Training) -> Any:
    return type(next(iter(training.target.sampler)))


def fixed_images(count: int) -> Tensor:
    return torch.randn(count, 3, 32, 16, generator=torch.Generator().manual_seed(5))


def test_official_worker_seeds_repeat_in_every_epoch_and_seed(smoke: Config) -> None:
    """Crop and erasing depend on the place in the epoch alone; flips still vary."""
    trainings = [
        make_training(smoke, compat__worker_seeds="official", seed=seed) for seed in (1, 2)
    ]
    images = [t.target.images for t in trainings]
    draw = type_of_draw(trainings[0])
    views = [images[0][draw(0, 4, 3, 0)], images[0][draw(9, 4, 3, 0)], images[1][draw(5, 4, 3, 0)]]
    assert len({tuple(view["clothes"].tolist()) for view in views}) == 1  # the same new colours
    for view in views[1:]:
        for one, two in zip(views[0]["images"], view["images"], strict=True):
            erased = [
                (x == torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]) for x in (one, two)
            ]
            assert torch.equal(*erased)


def test_official_external_order_repeats(smoke: Config) -> None:
    for order, same in (("official", True), ("clean", False)):
        training = make_training(smoke, compat__external_order=order)
        assert training.external is not None
        indices = [
            [draw.index for draw in order_of(training.external.sampler, epoch)] for epoch in (0, 3)
        ]
        assert (indices[0] == indices[1]) == same
        assert sorted(indices[0]) == sorted(indices[1]) == list(range(len(indices[0])))


def test_kl_reduction_is_a_factor_of_the_classes(smoke: Config) -> None:
    """Agreement (6 identities) and clothes (12 own + 54 recoloured classes) of the first step."""
    clean, official = (
        make_training(smoke, compat__kl_reduction=value) for value in ("clean", "official")
    )
    steps = [(cap(t), tad(t)) for t in (clean, official)]
    (cap_clean, tad_clean), (cap_official, tad_official) = steps
    assert cap_clean["agreement"] == pytest.approx(6 * cap_official["agreement"], rel=1e-4)
    classes = 12 + 6 * 9
    assert tad_clean["self_clothes"] == pytest.approx(
        classes * tad_official["self_clothes"],
        rel=0.05,  # one step apart in their weights
    )


def test_lq_thresholds() -> None:
    def of(name: str, switch: str) -> tuple[float, ...]:
        changes = {"quality.mix": name, "compat.lq_thresholds": switch}
        return degradation_mix(load_profile("smoke", changes))

    assert of("ltcc", "clean") == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert of("ltcc", "official") == (0.33, 0.30, 0.37)
    for switch in ("clean", "official"):  # a mix of two kinds has no third threshold
        assert of("prcc", switch) == (0.5, 0.0, 0.5)


@pytest.mark.parametrize(("switch", "heads_move"), [("official", True), ("clean", False)])
def test_zero_grad_decides_whether_tad_moves_the_attribute_heads(
    smoke: Config, switch: str, heads_move: bool
) -> None:
    """With zero gradients left standing, Adam's moments of the CAP step go on moving them."""
    training = make_training(smoke, compat__zero_grad=switch)
    cap(training)
    before = weights(training)
    tad(training)
    names = moved(before, weights(training))
    attribute_heads = {n for n in before if n.startswith(("heads.pose", "heads.gender"))}
    assert len(attribute_heads) == 4
    assert (attribute_heads <= names) if heads_move else not (attribute_heads & names)
    assert "heads.clothes.weight" not in names


# ------------------------------------------------------------------------- who moves whom


def test_tad_moves_trunk_branches_and_identity_heads_only(smoke: Config) -> None:
    training = make_training(smoke)
    cap(training)  # the last norm of a fresh block has weight 0 and lets no gradient through
    before = weights(training)
    teacher_before = copy.deepcopy(training.teacher)
    tad(training)
    names = moved(before, weights(training))
    parameters = {f"network.{n}" for n, _ in training.student.network.named_parameters()}
    parameters |= {f"heads.{n}" for n, _ in training.student.heads.named_parameters()}
    still = ("network.branches.pose", "network.pools.pose", "heads.pose", "heads.gender",
             "heads.clothes")  # fmt: skip
    for name in parameters:
        assert (name in names) != name.startswith(still), name
    statistics = {n for n in before if n.endswith(("running_mean", "running_var"))}
    assert any(n.startswith("network.branches.pose") for n in statistics)
    assert statistics <= names  # train mode: those of the pose branch too
    assert teacher_before is not None and training.teacher is not None
    for old, new in zip(
        teacher_before.state_dict().values(), training.teacher.state_dict().values(), strict=True
    ):
        assert torch.equal(old, new)
    assert not training.teacher.training and training.student.network.training


def test_teacher_sees_hq_only(smoke: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    training = make_training(smoke)
    assert training.teacher is not None
    seen: list[Tensor] = []
    plain = training.teacher.forward

    def watched(images: Tensor) -> Any:
        seen.append(images.clone())
        assert not torch.is_grad_enabled()
        return plain(images)

    monkeypatch.setattr(training.teacher, "forward", watched)
    batch = first_batch(training, "tad")
    tad(training, batch)
    assert len(seen) == 1 and torch.equal(seen[0], batch["hq"])


def test_tad_terms_are_the_paper(smoke: Config) -> None:
    """Four feature terms against the teacher on HQ, three KL terms from HQ to LQ."""
    training = make_training(smoke)
    student, batch = training.student, first_batch(training, "tad")
    assert training.teacher is not None
    network, heads = copy.deepcopy(student.network).train(), student.heads
    with torch.no_grad():
        taught = training.teacher(batch["hq"])
        f = network(torch.cat([batch["hq"], batch["lq"]]))
        f1, f2 = f["branch1"].chunk(2), f["branch2"].chunk(2)
        wanted = {
            "distil_hq_1": feature_mse(taught["branch1"], f1[0]),
            "distil_lq_1": feature_mse(taught["branch1"], f1[1]),
            "distil_hq_2": feature_mse(taught["branch2"], f2[0]),
            "distil_lq_2": feature_mse(taught["branch2"], f2[1]),
        }
        for name, head, (hq, lq) in (
            ("self_identity_2", heads.identity_2, f2),
            ("self_identity_1", heads.identity_1, f1),
            ("self_clothes", heads.clothes, f1),
        ):
            wanted[name] = logit_kl(head(hq), head(lq), reduction="batch")
    values = tad(training, batch)
    total = values.pop("total")
    assert values == pytest.approx({k: v.item() for k, v in wanted.items()}, rel=1e-5)
    assert total == pytest.approx(sum(values.values()), rel=1e-6)
    assert (KL_TEMPERATURE, KL_WEIGHT) == (0.8, 0.64)


def test_clothes_classifier_has_its_own_optimiser(smoke: Config) -> None:
    """It moves in a CAP step once the adversarial part has begun, and by no other step."""
    training = make_training(smoke)
    student = training.student
    name = "heads.clothes.weight"
    main = {id(p) for group in student.optimiser.param_groups for p in group["params"]}
    own = {id(p) for group in student.clothes_optimiser.param_groups for p in group["params"]}
    assert own == {id(student.heads.clothes.weight)} and not (own & main)
    everything = {id(p) for p in [*student.network.parameters(), *student.heads.parameters()]}
    assert main | own == everything
    before = weights(training)
    cap(training, adversarial=False)
    assert name not in moved(before, weights(training))
    cap(training, adversarial=True)
    assert name in moved(before, weights(training))
    before = weights(training)
    tad(training)
    assert name not in moved(before, weights(training))


def test_main_learning_rate_falls_and_that_of_the_clothes_classifier_stays(smoke: Config) -> None:
    training = make_training(smoke)
    history = training.run(progress=False)
    rate = smoke.training.learning_rate
    assert history[-1]["learning_rate"] < 0.1 * rate
    assert [g["lr"] for g in training.student.optimiser.param_groups] == [
        pytest.approx(history[-1]["learning_rate"])
    ]
    assert [g["lr"] for g in training.student.clothes_optimiser.param_groups] == [rate]


def test_optimiser_is_adam_with_l2_not_adamw(smoke: Config) -> None:
    """Two steps of the main optimiser against Adam written out, decay in the gradient."""
    changes = {"training__weight_decay": 0.5, "training__learning_rate": 0.01}
    training = make_training(smoke, **changes)
    student = training.student
    parameter = student.heads.identity_1.weight
    ours = parameter.detach().double().clone()
    mean, square = torch.zeros_like(ours), torch.zeros_like(ours)
    for step in (1, 2):
        tad(training) if step == 2 else cap(training, adversarial=False)
        assert parameter.grad is not None
        gradient = parameter.grad.double() + 0.5 * ours
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        root = (square / (1 - 0.999**step)).sqrt() + 1e-8
        ours = ours - 0.01 * mean / (1 - 0.9**step) / root
        torch.testing.assert_close(parameter.detach().double(), ours, rtol=1e-4, atol=1e-7)


def test_weight_decay_reaches_norms_and_biases(smoke: Config) -> None:
    student = make_training(smoke, training__weight_decay=0.25).student
    for optimiser in (student.optimiser, student.clothes_optimiser):
        assert [group["weight_decay"] for group in optimiser.param_groups] == [0.25]
        assert isinstance(optimiser, torch.optim.Adam)
        assert not isinstance(optimiser, torch.optim.AdamW)
        assert not any(group.get("decoupled_weight_decay") for group in optimiser.param_groups)


def test_adversarial_part_begins_at_its_moment(smoke: Config) -> None:
    training = make_training(smoke, row="base", training__adversarial_from="epoch 2")
    history = training.run(progress=False)
    assert [r["epoch"] for r in history if "clothes_adversarial" in r] == [
        r["epoch"] for r in history if r["epoch"] >= 2
    ]
    assert len(history) > 3


def test_attribute_gradients_reach_their_branches(smoke: Config) -> None:
    """Gender acts on branch 2, pose on branch 3, disentangling on both, neither on branch 1."""
    reached = {}
    for term in ("gender", "pose", "disentangling", "identity_1", "triplet"):
        student: Student = make_training(smoke).student
        cap_step(student, first_batch(make_training(smoke), "cap"), (term,), adversarial=False)
        reached[term] = {
            name
            for name, branch in student.network.branches.items()
            if any(has_gradient(p) for p in branch.parameters())
        }
    assert reached == {
        "gender": {"branch2"}, "pose": {"pose"}, "disentangling": {"branch2", "pose"},
        "identity_1": {"branch1"}, "triplet": {"branch2"},
    }  # fmt: skip


def has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)


# --------------------------------------------------------------------------- validation, failure


def test_validation_is_spread_and_ends_with_the_training(smoke: Config) -> None:
    for steps, evaluations in ((16, 2), (13, 1), (14, 3), (10, 99)):
        training = make_training(smoke, training__steps=steps, training__evaluations=evaluations)
        history = training.run(progress=False)
        epochs = training.phases[-1].epoch + 1
        measured = [record for record in history if "best_validation" in record]
        assert len(measured) == min(evaluations, epochs)
        assert measured[-1] is history[-1]


def test_a_last_epoch_of_tad_alone_is_validated_too(smoke: Config) -> None:
    """A short rest of the budget may round to TAD steps only."""
    training = make_training(smoke)
    training.phases = [
        phase for phase in training.phases[:4] if (phase.epoch, phase.kind) != (1, "cap")
    ]
    history = training.run(progress=False)
    assert history[-1]["phase"] == "tad" and "best_validation" in history[-1]


def test_best_validation_is_the_first_best(smoke: Config) -> None:
    training = make_training(smoke, row="base", training__evaluations=99)
    values = iter([0.2, 0.5, 0.5, 0.1, 0.4, 0.3])
    training.validate = lambda network: {
        "best_validation": next(values), "best_validation_rank1": 0.9
    }  # fmt: skip
    training.run(progress=False)
    assert set(training.kept) == {"best_validation"}  # rank-1 is told, it chooses nothing
    assert training.kept["best_validation"]["epoch"] == 1
    last = training.student.network.state_dict()
    kept = training.kept["best_validation"]["network"]
    assert any(not torch.equal(kept[name], last[name]) for name in last)


def test_the_epoch_may_be_chosen_by_rank_1(smoke: Config) -> None:
    """evaluation.selection_by = rank1: the first best rank-1, whatever the mAP; both are told."""
    training = make_training(
        smoke, row="base", training__evaluations=99, evaluation__selection_by="rank1"
    )
    rank1, mean = iter([0.2, 0.3, 0.6, 0.6, 0.5, 0.4]), iter([0.1, 0.9, 0.2, 0.8, 0.3, 0.3])
    training.validate = lambda network: {
        "best_validation": next(mean), "best_validation_rank1": next(rank1)
    }  # fmt: skip
    history = training.run(progress=False)
    kept = training.kept["best_validation"]
    assert (kept["epoch"], kept["value"]) == (2, 0.6)
    told = [(r["best_validation_rank1"], r["best_validation"]) for r in history[1:3]]
    assert told == [(0.3, 0.9), (0.6, 0.2)]


def test_loss_that_is_not_finite_names_itself(smoke: Config) -> None:
    training = make_training(smoke, row="base", training__learning_rate=1e30)
    with pytest.raises(RlqkitError) as error:
        training.run(progress=False)
    assert "is not finite in epoch" in str(error.value)
    assert "lower training.learning_rate" in str(error.value)


def test_on_phase_sees_the_growing_history(smoke: Config) -> None:
    training = make_training(smoke, training__steps=6)
    lengths: list[int] = []
    training.on_phase = lambda history: lengths.append(len(history))
    training.run(progress=False)
    assert lengths == list(range(1, len(training.phases) + 1))


def test_official_and_clean_differ_in_training(smoke: Config) -> None:
    clean, official = make_training(smoke), make_training(smoke, compat__preset="official")
    for training in (clean, official):
        training.run(progress=False)
    assert losses_of(clean) != losses_of(official)
