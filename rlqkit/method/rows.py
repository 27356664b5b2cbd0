"""The rows of the ablation, as data: a row is a list of named loss terms and a few switches.

The terms are functions in ``steps``; a new row needs an entry here and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rlqkit.errors import RlqkitError

Branch = Literal["branch1", "branch2", "pose"]
"""The branches of the network, as the paper's figure numbers them."""

BASE_TERMS = ("identity_1", "identity_2", "agreement", "triplet", "clothes_adversarial")
POSE_TERMS = ("pose", "disentangling")
GENDER_TERMS = ("gender",)
GENDER_BRANCHES: dict[str, tuple[Branch, ...]] = {
    "gender": ("branch2",),
    "gender_1": ("branch1",),
    "gender_both": ("branch1", "branch2"),
}
"""Terms of gender → the branches whose features their head sees, side by side; one a row."""
TEACHER_TERMS = ("distil_hq_1", "distil_lq_1", "distil_hq_2", "distil_lq_2")
SELF_TERMS = ("self_identity_2", "self_identity_1", "self_clothes")
TAD_TERMS = TEACHER_TERMS + SELF_TERMS
CONSISTENCY_TERMS = ("consistency_1", "consistency_2")
"""Of this kit's own rows: an image's LQ copy is pulled to the image itself."""


@dataclass(frozen=True)
class Row:
    """One line of the ablation table.

    Attributes:
        name: key on the command line and in run folders.
        title: how tables and figures call it.
        terms: loss terms of a step on the target set (a base or CAP step).
        tad_terms: loss terms of a step on the external set; empty = no TAD epochs.
        tad_weights: what each of them counts; () = 1 each, as in the paper.
        branches: 1 (vanilla CAL) or 2; the pose branch comes with the term ``pose``.
        recolour: whether each target image comes with a recoloured copy.
        lq_augmentation: chance that a target image is degraded before anything else.
        lq_copy_alone: whether that damages the recoloured copy alone, so that a pair is HQ and LQ.
        external: whether the row trains on the external set (the teacher).
        damaged_pairs: whether one view of a TAD pair is LQ; False = both are HQ.
        mean_of: two rows whose weights are averaged (``averaging``); such a row trains nothing
            itself.
        mean_seeds: what is added to the row's seed for that of each of the two.
        begins_with: row whose finished run of the same seed gives the network's first weights and,
            frozen, the teacher; "" = the weights and the teacher that the configuration names.
        hold_statistics: whether batch normalisation keeps the statistics that it begins with.
        separate_statistics: whether LQ images of a TAD step are normalised by themselves and leave
            no trace in the statistics, which are then those of HQ images.
        average_decay: of the exponential moving average over the steps whose weights are measured
            and kept in the place of the last, batch statistics with them; 0 = the last.
        explanation: what the row shows, for the reader of the table.
    """

    name: str
    title: str
    terms: tuple[str, ...]
    tad_terms: tuple[str, ...] = ()
    tad_weights: tuple[float, ...] = ()
    branches: int = 2
    recolour: bool = True
    lq_augmentation: float = 0.0
    lq_copy_alone: bool = False
    external: bool = False
    damaged_pairs: bool = True
    mean_of: tuple[str, ...] = ()
    mean_seeds: tuple[int, ...] = (0, 0)
    begins_with: str = ""
    hold_statistics: bool = False
    separate_statistics: bool = False
    average_decay: float = 0.0
    explanation: str = ""

    @property
    def branch_names(self) -> tuple[Branch, ...]:
        """Branches of the row's network, in the order of its descriptor."""
        if self.branches == 1:
            return ("branch1",)
        return ("branch1", "branch2", "pose") if self.uses_pose else ("branch1", "branch2")

    @property
    def uses_pose(self) -> bool:
        """Whether the row needs pose clusters and the pose branch."""
        return "pose" in self.terms

    @property
    def gender_branches(self) -> tuple[Branch, ...]:
        """Branches whose features the gender head sees; () = the row has none."""
        return next((GENDER_BRANCHES[term] for term in self.terms if term in GENDER_BRANCHES), ())

    @property
    def uses_gender(self) -> bool:
        """Whether the row needs gender labels and the gender head."""
        return bool(self.gender_branches)

    @property
    def follows(self) -> bool:
        """Whether another run comes first: a teacher's, or the one that this one begins with."""
        return self.uses_tad or bool(self.begins_with)

    @property
    def uses_tad(self) -> bool:
        """Whether there are TAD epochs, between those on the target set or after them."""
        return bool(self.tad_terms)


TEACHER = Row(
    "teacher", "teacher (external set)", BASE_TERMS, recolour=False, external=True,
    explanation="Base model trained on the external set; frozen, it teaches TAD.",
)  # fmt: skip

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("cal", "CAL", ("identity_1", "clothes_adversarial"), branches=1, recolour=False,
            explanation="One branch, clothes-adversarial loss only: the method RLQ starts from."),
        Row("base-plain", "base, no recolouring", BASE_TERMS, recolour=False,
            explanation="Both branches, images as they are."),
        Row("base", "base", BASE_TERMS,
            explanation="Both branches and recoloured copies: the model CAP and TAD build on."),
        Row("gender", "base + gender", BASE_TERMS + GENDER_TERMS,
            explanation="Half of CAP: the gender head alone."),
        Row("pose", "base + pose", BASE_TERMS + POSE_TERMS,
            explanation="Half of CAP: pose branch and disentangling."),
        Row("cap", "CAP", BASE_TERMS + POSE_TERMS + GENDER_TERMS,
            explanation="Both coarse attributes."),
        Row("tad", "TAD", BASE_TERMS, TAD_TERMS,
            explanation="Base model with TAD epochs between."),
        Row("tad-gender", "TAD + gender", BASE_TERMS + GENDER_TERMS, TAD_TERMS,
            explanation="TAD with the gender half of CAP."),
        Row("tad-pose", "TAD + pose", BASE_TERMS + POSE_TERMS, TAD_TERMS,
            explanation="TAD with the pose half of CAP."),
        Row("rlq", "RLQ", BASE_TERMS + POSE_TERMS + GENDER_TERMS, TAD_TERMS,
            explanation="CAP and TAD: the whole method."),
        Row("base-lq", "base + LQ augmentation", BASE_TERMS, lq_augmentation=0.5,
            explanation="The control that TAD must beat: half of the training images degraded."),
    )
}  # fmt: skip


VARIANTS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("cal-recoloured", "CAL, recoloured", ROWS["cal"].terms, branches=1,
            explanation="CAL with recoloured copies, without branch 2."),
        Row("gender-1", "base + gender on f1", BASE_TERMS + ("gender_1",),
            explanation="The gender head on branch 1 instead of branch 2."),
        Row("gender-both", "base + gender on f1, f2", BASE_TERMS + ("gender_both",),
            explanation="One gender head that sees both branches' features side by side."),
        Row("teacher-cap", "teacher with CAP (external set)",
            BASE_TERMS + POSE_TERMS + GENDER_TERMS, external=True,
            explanation="A teacher with both coarse attributes and recoloured copies: "
                        "teacher.row=teacher-cap."),
    )
}  # fmt: skip
"""Rows behind single published figures. The ablation leaves them out; whoever names them gets
them, in ``--row`` and in ``reproduce.rows`` alike."""


OWN: dict[str, Row] = {
    row.name: row
    for row in (
        Row("mean", "mean of base and base + LQ", BASE_TERMS, mean_of=("base", "base-lq"),
            explanation="Weights between base and its LQ-augmented twin: averaging.weight."),
        Row("self-taught", "base, self-taught", BASE_TERMS, TEACHER_TERMS, (2, 1, 2, 1),
            begins_with="base", hold_statistics=True,
            explanation="Base goes on with TAD epochs between, and is itself the teacher."),
        Row("lq-on", "base, LQ-tuned", BASE_TERMS, lq_augmentation=0.5,
            begins_with="base", hold_statistics=True,
            explanation="Half of the images degraded from then on; no teacher, no external set."),
        Row("base-lq-on", "base + LQ augmentation goes on", BASE_TERMS, lq_augmentation=0.5,
            begins_with="base-lq", hold_statistics=True,
            explanation="What going on brings to a network that saw LQ images from the start."),
        Row("base-lq-on-free", "base + LQ augmentation goes on, statistics free", BASE_TERMS,
            lq_augmentation=0.5, begins_with="base-lq",
            explanation="base-lq-on as it was trained before: batch statistics move."),
        Row("lq-then-hq", "base + LQ goes on with HQ alone", BASE_TERMS,
            begins_with="base-lq", hold_statistics=True,
            explanation="A schedule that begins with LQ augmentation and ends with HQ epochs."),
        Row("lq-then-hq-free", "base + LQ, then HQ alone, statistics free", BASE_TERMS,
            begins_with="base-lq",
            explanation="lq-then-hq with batch statistics that move."),
        Row("mean-taught", "mean of self-taught and LQ-tuned", BASE_TERMS,
            mean_of=("self-taught", "lq-on"), hold_statistics=True,
            explanation="Weights between what base becomes with TAD, and with LQ images."),
    )
}  # fmt: skip
"""Rows of this kit's own, which no paper claims. Left out unless named, as the variants are."""


PARTS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("tad-hq", "TAD, HQ pairs only", BASE_TERMS, TAD_TERMS, damaged_pairs=False,
            explanation="External images and teacher, but nothing is degraded."),
        Row("tad-self", "TAD, no teacher", BASE_TERMS, SELF_TERMS,
            explanation="Self-supervision between HQ and LQ alone."),
        Row("tad-teacher", "TAD, teacher alone", BASE_TERMS, TEACHER_TERMS,
            explanation="Distillation of HQ and LQ alone."),
        Row("mean-base", "mean of two bases", BASE_TERMS,
            mean_of=("base", "base"), mean_seeds=(0, 1),
            explanation="What averaging alone brings, without any LQ image."),
        Row("mean-tad", "mean of base and TAD", BASE_TERMS, mean_of=("base", "tad"),
            explanation="TAD in the place of LQ augmentation."),
        Row("base-on", "base goes on", BASE_TERMS, begins_with="base", hold_statistics=True,
            explanation="What going on brings by itself, without TAD."),
        Row("base-on-free", "base goes on, statistics free", BASE_TERMS, begins_with="base",
            explanation="Going on as base was trained, with a new start of the learning rate."),
        Row("mean-on", "mean of base and LQ-tuned", BASE_TERMS,
            mean_of=("base", "lq-on"), hold_statistics=True,
            explanation="Weights between base and what it becomes when it goes on with LQ images."),
        Row("self-taught-tad", "base, self-taught, TAD steps alone", (), TEACHER_TERMS,
            (2, 1, 2, 1), begins_with="base", hold_statistics=True,
            explanation="Going on without a step on the target set."),
        Row("self-taught-free", "base, self-taught, statistics free", BASE_TERMS, TEACHER_TERMS,
            (2, 1, 2, 1), begins_with="base",
            explanation="Batch statistics move as in TAD."),
        Row("lq-taught", "base + LQ goes on, self-taught", BASE_TERMS, TEACHER_TERMS,
            (2, 1, 2, 1), begins_with="base-lq", hold_statistics=True,
            explanation="The teacher has seen LQ images, and the target's are HQ from then on."),
        Row("rlq-on", "RLQ goes on, self-taught", ROWS["rlq"].terms, TEACHER_TERMS,
            (2, 1, 2, 1), begins_with="rlq", hold_statistics=True,
            explanation="RLQ with itself for the teacher, which has seen LQ images."),
        Row("lq-copies", "base, LQ copies", BASE_TERMS, lq_augmentation=1.0, lq_copy_alone=True,
            explanation="Every recoloured copy is LQ, every image itself HQ."),
        Row("consistent", "base, LQ copies, consistency", BASE_TERMS + CONSISTENCY_TERMS,
            lq_augmentation=1.0, lq_copy_alone=True,
            explanation="TAD's idea on target images: the LQ copy is pulled to its HQ image."),
        Row("consistent-on", "base goes on, consistency", BASE_TERMS + CONSISTENCY_TERMS,
            lq_augmentation=1.0, lq_copy_alone=True, begins_with="base", hold_statistics=True,
            explanation="The same, from base on."),
        Row("tad-apart", "TAD, statistics of HQ alone", BASE_TERMS, TAD_TERMS,
            separate_statistics=True,
            explanation="LQ images of TAD leave the batch statistics alone."),
        Row("base-average", "base, averaged over steps", BASE_TERMS, average_decay=0.998,
            explanation="What the average alone brings, without any LQ image."),
        Row("base-lq-average", "base + LQ, averaged over steps", BASE_TERMS, lq_augmentation=0.5,
            average_decay=0.998,
            explanation="A moving average over about 500 steps of base + LQ augmentation."),
        Row("lq-on-average", "base, LQ-tuned, averaged over steps", BASE_TERMS,
            lq_augmentation=0.5, begins_with="base", hold_statistics=True, average_decay=0.998,
            explanation="Between base and its LQ-tuned self within one training."),
        Row("lq-then-hq-average", "base + LQ, then HQ, averaged over steps", BASE_TERMS,
            begins_with="base-lq", hold_statistics=True, average_decay=0.998,
            explanation="Between base + LQ augmentation and its HQ-tuned self."),
    )
}  # fmt: skip
"""Rows that answer a single question (``runs.studies``): TAD without one of its parts, means
that ``mean`` has to beat, and controls of the rows that go on. Left out unless named."""


def all_rows() -> dict[str, Row]:
    """Every row by name: teacher, ablation, the kit's own, published variants, single parts."""
    return {TEACHER.name: TEACHER, **ROWS, **OWN, **VARIANTS, **PARTS}


def find_row(name: str) -> Row:
    """The row of that name, teachers and published variants included.

    Raises:
        RlqkitError: no such row; the message lists the valid names.
    """
    rows = all_rows()
    if name not in rows:
        raise RlqkitError(
            f'no row "{name}"; rows are {", ".join([*ROWS, *OWN, TEACHER.name])}; published '
            f"variants are {', '.join(VARIANTS)}; single parts {', '.join(PARTS)}"
        )
    return rows[name]
