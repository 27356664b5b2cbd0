"""Rows are data, and rows are compared at equal optimiser steps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlqkit.config import Config, TrainingConfig, config_hash, load_profile, with_overrides
from rlqkit.errors import RlqkitError
from rlqkit.method.rows import GENDER_BRANCHES, ROWS, TEACHER, VARIANTS, all_rows, find_row
from rlqkit.method.steps import CAP_TERMS, TAD_TERMS, CapOutputs
from rlqkit.method.training import PlannedPhase, plan_phases
from rlqkit.runs.device import use_threads
from rlqkit.runs.experiment import prepare, resolve
from rlqkit.runs.folder import run_id
from rlqkit.runs.plan import planned_runs, teacher_config

IDENTITY = {"identity_1", "identity_2", "agreement", "triplet", "clothes_adversarial"}
POSE, GENDER = {"pose", "disentangling"}, {"gender"}
WANTED = {
    # row: (terms on the target set, TAD, branches, recoloured copies, LQ augmentation)
    "cal": ({"identity_1", "clothes_adversarial"}, False, 1, False, 0.0),
    "base-plain": (IDENTITY, False, 2, False, 0.0),
    "base": (IDENTITY, False, 2, True, 0.0),
    "gender": (IDENTITY | GENDER, False, 2, True, 0.0),
    "pose": (IDENTITY | POSE, False, 2, True, 0.0),
    "cap": (IDENTITY | POSE | GENDER, False, 2, True, 0.0),
    "tad": (IDENTITY, True, 2, True, 0.0),
    "tad-gender": (IDENTITY | GENDER, True, 2, True, 0.0),
    "tad-pose": (IDENTITY | POSE, True, 2, True, 0.0),
    "rlq": (IDENTITY | POSE | GENDER, True, 2, True, 0.0),
    "base-lq": (IDENTITY, False, 2, True, 0.5),
}


def test_the_rows_are_all_there() -> None:
    """The eleven lines of the ablation, each exactly with its terms and switches."""
    found = {
        name: (set(row.terms), row.uses_tad, row.branches, row.recolour, row.lq_augmentation)
        for name, row in ROWS.items()
    }
    assert found == WANTED
    for row in ROWS.values():
        assert len(set(row.terms)) == len(row.terms)
        assert set(row.tad_terms) == (set(TAD_TERMS) if row.uses_tad else set())
        assert not row.external


def test_the_teacher_is_the_base_model_on_the_external_set() -> None:
    assert set(TEACHER.terms) == IDENTITY and not TEACHER.uses_tad
    assert TEACHER.external and not TEACHER.recolour and TEACHER.branches == 2
    assert find_row("teacher") is TEACHER


@pytest.mark.parametrize(
    "row", [*ROWS.values(), TEACHER, *VARIANTS.values()], ids=lambda row: row.name
)
def test_every_term_is_a_function(row: Any) -> None:
    assert set(row.terms) <= set(CAP_TERMS) and set(row.tad_terms) <= set(TAD_TERMS)
    assert row.explanation.endswith(".") and row.title


def test_no_term_is_left_unused() -> None:
    rows = all_rows().values()
    assert set().union(*(row.terms for row in rows)) == set(CAP_TERMS)


def test_unknown_row() -> None:
    with pytest.raises(RlqkitError) as error:
        find_row("rlqq")
    assert '"rlqq"' in str(error.value) and "base-lq" in str(error.value)
    assert "published variants are cal-recoloured, gender-1, gender-both" in str(error.value)


def test_branches() -> None:
    assert ROWS["cal"].branch_names == ("branch1",)
    assert ROWS["base"].branch_names == ("branch1", "branch2")
    assert ROWS["rlq"].branch_names == ("branch1", "branch2", "pose")


# ------------------------------------------------------------------------ published variants


def test_variants_are_rows_outside_the_ablation() -> None:
    """Each differs from its neighbour in the ablation in what its figure is about, nothing else."""
    assert not VARIANTS.keys() & {*ROWS, TEACHER.name}
    assert all(find_row(name) is row for name, row in VARIANTS.items())
    neighbours = {
        "cal-recoloured": replace(ROWS["cal"], recolour=True),
        "gender-1": replace(ROWS["gender"], terms=ROWS["base"].terms + ("gender_1",)),
        "gender-both": replace(ROWS["gender"], terms=ROWS["base"].terms + ("gender_both",)),
        "teacher-cap": replace(ROWS["cap"], external=True),
    }
    told = {"name": "", "title": "", "explanation": ""}
    assert {n: replace(row, **told) for n, row in VARIANTS.items()} == {
        n: replace(row, **told) for n, row in neighbours.items()
    }


@pytest.mark.parametrize("term", GENDER_BRANCHES)
def test_the_gender_head_sees_its_branches_alone(smoke: Config, term: str) -> None:
    """Gradient of the term reaches the branches that it names; the head is as wide as they are."""
    name = {"gender": "gender", "gender_1": "gender-1", "gender_both": "gender-both"}[term]
    training = prepare(resolve(with_overrides(smoke, {"row": name})))
    student = training.student
    seen = GENDER_BRANCHES[term]
    assert student.heads.gender.in_features == len(seen) * student.network.dimensions
    batch = next(iter(training.target.loader(0)))
    f = {branch: feature.detach() for branch, feature in student.network(batch["images"]).items()}
    for feature in f.values():
        feature.requires_grad_()
    logits = torch.zeros(1)
    out = CapOutputs(f, logits, None, logits, batch, student)
    CAP_TERMS[term](out).backward()
    assert {branch for branch, feature in f.items() if feature.grad is not None} == set(seen)


def test_a_variant_takes_a_step_with_its_term(smoke: Config) -> None:
    changes = {"row": "gender-both", "training.steps": 1, "training.evaluations": 1}
    training = prepare(resolve(with_overrides(smoke, changes)))
    training.validate = None
    (record,) = training.run(progress=False)
    assert record["gender_both"] > 0 and record["total"] > record["gender_both"]


def test_a_teacher_with_cap(smoke: Config) -> None:
    """teacher.row chooses it; it sees attributes and copies, so their settings make another."""
    capped = with_overrides(smoke, {"teacher.row": "teacher-cap", "row": "rlq"})
    plan = planned_runs(with_overrides(capped, {"reproduce.rows": ["rlq"]}))
    assert [run.row for run in plan] == ["teacher-cap", "rlq"]
    teacher = teacher_config(capped)
    assert run_id(capped) != run_id(with_overrides(smoke, {"row": "rlq"}))
    other = teacher_config(with_overrides(capped, {"cap.clusters": 2}))
    assert run_id(other) != run_id(teacher)
    assert run_id(teacher_config(with_overrides(capped, {"seed": 9}))) == run_id(teacher)
    with pytest.raises(RlqkitError, match="external: .* has no clothes mask .*: add the masks"):
        prepare(resolve(teacher))  # the rendered external set is as poor in labels as Celeb-reID's


def test_new_fields_leave_old_runs_their_names(smoke: Config) -> None:
    """At their defaults they aren't hashed; otherwise they are."""
    rlq = with_overrides(smoke, {"row": "rlq"})
    assert run_id(rlq) == run_id(with_overrides(rlq, {"teacher.row": "teacher"}))
    for key, value in {"teacher.row": "teacher-cap", "evaluation.selection_by": "rank1"}.items():
        assert config_hash(with_overrides(rlq, {key: value})) != config_hash(rlq)


# ------------------------------------------------------------------------------- equal steps


@pytest.fixture
def smoke(tiny_wardrobe: Path, tmp_path: Path) -> Config:
    """The smoke profile on the tiny data set."""
    changes = {"data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe)}
    config = load_profile("smoke", changes | {"runtime.results": str(tmp_path)})
    use_threads(config)
    return config


def test_rows_are_compared_at_equal_optimiser_steps(smoke: Config) -> None:
    for row in ROWS:
        training = prepare(resolve(with_overrides(smoke, {"row": row})))
        assert training.total_steps == smoke.training.steps, row
        kinds = {phase.kind for phase in training.phases}
        assert kinds == ({"tad", "cap"} if ROWS[row].uses_tad else {"cap"}), row


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 99, 100, 101, 2300])
@pytest.mark.parametrize(("cap", "tad"), [(3, 0), (3, 1), (47, 40), (10, 90), (1, 1)])
def test_a_budget_in_steps_is_met_exactly(steps: int, cap: int, tad: int) -> None:
    phases = plan_phases(TrainingConfig(epochs=0, steps=steps), cap, tad)
    assert sum(phase.steps for phase in phases) == steps
    check_order(phases, cap, tad)
    whole = steps // (cap + tad)
    assert sum(p.steps for p in phases if p.epoch < whole) == whole * (cap + tad)
    rest = [phase.steps for phase in phases if phase.epoch == whole and phase.kind == "tad"]
    share = (steps - whole * (cap + tad)) * tad / (cap + tad)
    assert abs(sum(rest) - share) <= 0.5  # TAD and CAP in proportion


@pytest.mark.parametrize("tad", [0, 4])
def test_a_budget_in_epochs_is_whole_epochs(tad: int) -> None:
    phases = plan_phases(TrainingConfig(epochs=3, steps=0), 7, tad)
    one = [("tad", tad)] * bool(tad) + [("cap", 7)]
    assert [(p.kind, p.steps) for p in phases] == one * 3
    check_order(phases, 7, tad)


def check_order(phases: list[PlannedPhase], cap: int, tad: int) -> None:
    """TAD before CAP in every epoch, epochs in order from 0, no empty or overlong phase."""
    keys = [(phase.epoch, ("tad", "cap").index(phase.kind)) for phase in phases]
    assert keys == sorted(set(keys))
    assert {epoch for epoch, _ in keys} == set(range(keys[-1][0] + 1))
    assert all(0 < p.steps <= {"tad": tad, "cap": cap}[p.kind] for p in phases)


def test_history_counts_what_the_plan_says(smoke: Config) -> None:
    """Steps and images of each phase; recoloured copies and LQ copies count as images."""
    training = prepare(resolve(with_overrides(smoke, {"row": "base", "training.steps": 4})))
    history = training.run(progress=False)
    assert [(r["epoch"], r["phase"], r["steps"]) for r in history] == [(0, "cap", 3), (1, "cap", 4)]
    assert [r["images"] for r in history] == [3 * 2 * 16, 2 * 16]


# -------------------------------------------------------------------------------------- the plan


def test_plan_has_every_row_and_seed_and_one_teacher(smoke: Config) -> None:
    plan = planned_runs(with_overrides(smoke, {"reproduce.seeds": [1, 2]}))
    assert [c.row for c in plan] == ["teacher", *ROWS, *ROWS]
    assert [c.seed for c in plan[1:]] == [1] * len(ROWS) + [2] * len(ROWS)
    assert len({run_id(c) for c in plan}) == len(plan)


def test_a_row_that_goes_on_may_be_asked_for_beside_tad(smoke: Config) -> None:
    """Its teacher is what it begins with; TAD's is the external one all the same."""
    config = with_overrides(smoke, {"row": "self-taught", "reproduce.rows": ["base", "tad"]})
    assert [c.row for c in planned_runs(config)] == ["teacher", "base", "tad"]


def test_plan_without_tad_has_no_teacher(smoke: Config) -> None:
    plan = planned_runs(with_overrides(smoke, {"reproduce.rows": ["cal", "cap"]}))
    assert [c.row for c in plan] == ["cal", "cap"]


@pytest.mark.parametrize("changes", [{"reproduce.rows": ["nothing"]}, {"reproduce.seeds": []}])
def test_impossible_plan(smoke: Config, changes: dict[str, Any]) -> None:
    with pytest.raises(RlqkitError):
        planned_runs(with_overrides(smoke, changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"row": "tad", "seed": 5},
        {"cap.clusters": 3, "recolouring.palette": "last"},
        {"training.steps": 99},
        {"compat.zero_grad": "official", "compat.external_order": "official"},
        {"compat.mask_overlap": "official", "compat.lq_thresholds": "official"},
        {"evaluation.selection": ["last"]},
    ],
)
def test_students_share_one_teacher(smoke: Config, changes: dict[str, Any]) -> None:
    """What a teacher never sees does not make another teacher."""
    other = teacher_config(with_overrides(smoke, changes))
    assert run_id(other) == run_id(teacher_config(smoke))


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher.steps": 7},
        {"teacher.seed": 2},
        {"teacher.batch": 8},
        {"teacher.adversarial": False},
        {"data.height": 40},
        {"training.learning_rate": 1e-4},
        {"compat.kl_reduction": "official"},
        {"compat.worker_seeds": "official"},
    ],
)
def test_another_teacher(smoke: Config, changes: dict[str, Any]) -> None:
    other = teacher_config(with_overrides(smoke, changes))
    assert run_id(other) != run_id(teacher_config(smoke))


def test_teacher_has_its_own_length_and_batch() -> None:
    paper = teacher_config(load_profile("paper"))
    assert (paper.row, paper.training.epochs, paper.training.batch) == ("teacher", 200, 40)
    assert paper.training.adversarial_from == "epoch 25"
    plain = teacher_config(load_profile("paper", {"teacher.adversarial": False}))
    assert plain.training.adversarial_from == "epoch 1000000"


def test_a_row_is_all_that_a_new_ablation_needs(
    smoke: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two terms by name, nothing else: it trains, and only those terms are in its total."""
    monkeypatch.setitem(ROWS, "mine", replace(ROWS["base"], name="mine", terms=("identity_2",)))
    training = prepare(resolve(with_overrides(smoke, {"row": "mine", "training.steps": 1})))
    (record,) = training.run(progress=False)
    assert record["total"] == record["identity_2"]
