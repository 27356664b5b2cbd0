"""The configuration tree: frozen, typed, a docstring per field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rlqkit.errors import RlqkitError

PROFILES = ("smoke", "quick", "laptop", "paper")


@dataclass(frozen=True)
class DataConfig:
    """Which images, and at what size they enter the network."""

    dataset: str = "wardrobe-v2"
    """Target data set: the one whose identities are classified and retrieved."""
    root: str = ""
    """Folder of the target data set; empty = where the kit finds it by name. Not hashed."""
    test: str = ""
    """Data set whose query and gallery are searched instead of the target's own: fresh people
    before the same cameras. Empty = the target's own."""
    test_root: str = ""
    """Folder of that data set; empty = where the kit finds it by name. Not hashed."""
    external: str = "wardrobe-v2"
    """Data set whose ``external`` split teaches TAD; its identity labels are never used there."""
    external_root: str = ""
    """Folder of the external data set; empty = where the kit finds it by name. Not hashed."""
    identities: int = 0
    """Keep the first n identities of every target split; 0 = all."""
    labels: str = ""
    """Folder of label files and masks of the target data set; empty = ``labels`` in its own
    folder. Not hashed."""
    validation_identities: int = 0
    """Training people who validate instead, for data sets without a validation split of their own
    (LTCC, Celeb-reID) or with one of training people (PRCC); 0 = the published training set."""
    validation_seed: int = 1
    """Seed by which they are drawn; the same for every row and training seed."""
    external_identities: int = 0
    """Keep the first n identities of the external split; 0 = all."""
    external_images: int = 0
    """External images of one TAD epoch, drawn anew for every epoch; 0 = all."""
    height: int = 384
    """Input height in pixels."""
    width: int = 192
    """Input width in pixels."""
    cache_megabytes: int = 2000
    """Decoded images stay in memory up to this size, per image set. Not hashed."""
    workers: int = 0
    """Processes that prepare images; 0 = the training process itself. Not hashed."""


@dataclass(frozen=True)
class QualityConfig:
    """How HQ images are made LQ (paper, synthetic low-quality images)."""

    severity: str = "paper"
    """Named ranges of the degradations, see ``degradations.SEVERITIES``."""
    mix: str = "ltcc"
    """Named shares of pixelation, motion blur and out-of-focus blur, see ``degradations.MIXES``."""


@dataclass(frozen=True)
class ModelConfig:
    """The network: a trunk, then branches that are copies of the remaining stages."""

    backbone: str = "resnet50"
    """Any ResNet of timm."""
    weights: str = "imagenet"
    """"imagenet" (timm's ``tv_in1k`` weights), "wardrobe-start" or "wardrobe-start-v2"
    (shipped, for the small profiles' network), "none" (random), or a file of a state dict."""
    channels: tuple[int, ...] = ()
    """Widths of the four stages before expansion; empty = the backbone's own."""
    stem_width: int = 0
    """Width of the stem; 0 = the backbone's own."""
    share_through: Literal["none", "layer1", "layer2", "layer3"] = "layer2"
    """Last stage that branches 1 and 2 share."""
    pose_from: Literal["layer1", "layer2", "layer3"] = "layer1"
    """Stage after which the pose branch leaves the trunk."""


@dataclass(frozen=True)
class CapConfig:
    """Labels and form of coarse attribute prediction (CAP)."""

    pose_vector: Literal["R_LA", "R_LAC", "R_A", "N_LA", "N_LAC", "N_A"] = "R_LA"
    """Pose vector that K-means sees: limb lengths + angles, + coordinates, or angles only. The
    N_ kinds (normalised coordinates) exist only as columns of published label files."""
    clusters: int = 15
    """K, number of pose clusters; the head has K + 1 classes (0 = no pose found)."""
    disentangle: Literal["identity", "clothes", "both"] = "identity"
    """Which branch is pushed away from the pose branch."""
    disentangle_form: Literal["absolute", "relu"] = "absolute"
    """|cos| (the paper's) or ReLU(cos)."""


@dataclass(frozen=True)
class RecolouringConfig:
    """Clothes recolouring of training images."""

    palette: Literal["nine", "last"] = "nine"
    """Nine colours, or the six used on LaST."""
    colour_groups: int = 0
    """Colours of one group share a clothes class; 0 = every colour is its own (paper)."""


@dataclass(frozen=True)
class TrainingConfig:
    """Length, optimiser and arithmetic of the training."""

    epochs: int = 200
    """Epochs to train; 0 when the length is given in optimiser steps."""
    steps: int = 0
    """Steps of the main optimiser (TAD and CAP steps both count), the same for every row."""
    batch: int = 32
    """Source images of a batch, in each process; recoloured copies come on top. Same for TAD."""
    processes: int = 1
    """Processes that train together; torchrun's number is taken over, see docs/processes.md."""
    instances: int = 4
    """Images of one identity that stand together in a batch."""
    learning_rate: float = 3.5e-4
    """Adam's, for both optimisers."""
    weight_decay: float = 5e-4
    """L2, added to the gradient (Adam, not AdamW), on every parameter."""
    schedule: Literal["milestones", "cosine"] = "milestones"
    """"milestones": x0.1 at each; "cosine": warm-up, constant, then a cosine towards 1 %."""
    milestones: tuple[str, ...] = ("epoch 20", "epoch 40")
    """Moments of the x0.1 drops."""
    warmup: float = 0.0
    """Share of the training over which the cosine schedule's learning rate rises, from 2 % of the
    base rate at the first step (a step at 0 would teach nothing) to all of it, 2 % over at most."""
    cosine_from: float = 0.3
    """Share of the training after which the cosine schedule starts to fall."""
    adversarial_from: str = "epoch 25"
    """Moment from which the clothes classifier trains and CAL counts: "epoch 25" or "40 %"."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic, in Lightning Fabric's words; "auto" = bf16-mixed where the hardware has it."""
    channels_last: bool = False
    """Memory layout of images and convolutions; faster with bf16."""
    compile: bool = False
    """Whether torch compiles the networks of the steps first; pays on a GPU, after a minute or so,
    and rounds otherwise than without."""
    evaluations: int = 20
    """Validation evaluations spread evenly over the training, the last at its end."""


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher: the base model, trained on the external set, recolouring off."""

    row: Literal["teacher", "teacher-cap"] = "teacher"
    """Row of the teacher: the base model, or with CAP and recoloured copies (for which the external
    set needs labels and masks)."""
    epochs: int = 200
    """Epochs; 0 when the length is given in steps."""
    steps: int = 0
    """Steps of the main optimiser."""
    batch: int = 40
    """Source images of a batch."""
    seed: int = 100
    """The teacher's own seed: one teacher for all students, and no student's starting weights."""
    adversarial: bool = True
    """Whether the teacher trains with CAL (every external image is its own clothes class)."""
    selection: Literal["best_validation", "last"] = "best_validation"
    """Epoch that teaches: the best on the target's validation identities, or the last."""


@dataclass(frozen=True)
class AveragingConfig:
    """The rows that average two others."""

    weight: float = 0.6
    """Weight of the second row's network, 0..1; chosen on validation people."""
    batches: int = 40
    """Batches of target images that batch statistics are taken from anew."""


@dataclass(frozen=True)
class ContinuingConfig:
    """The rows that go on from another row's finished network; all else is the training's."""

    epochs: int = 6
    """Epochs; CAL counts from the first."""
    learning_rate: float = 5e-4
    """Adam's, in the place of the training's."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured after the training."""

    batch: int = 128
    """Images of a forward pass. Not hashed."""
    degradation_seed: int = 1
    """Seed of the LQ copies of query and gallery; the same for every row and training seed."""
    gallery_seed: int = 1
    """Seed of the single-shot galleries; the same for every row and training seed."""
    selection: tuple[Literal["last", "best_validation", "best_test"], ...] = ("last",)
    """Epochs that are reported, side by side; the field's habit is ``best_test``."""
    selection_by: Literal["mAP", "rank1"] = "mAP"
    """Figure of the headline test that chooses the best epoch. The paper's authors choose by rank-1
    and quote the best mAP from whichever epoch had it."""


Switch = Literal["clean", "official"]


@dataclass(frozen=True)
class CompatConfig:
    """Quirks of the released code, each a switch: ``official`` reproduces it, ``clean`` mends it.

    ``preset`` sets every switch that is not given by itself.
    """

    preset: Switch = "clean"
    """The value of all switches that are left empty."""
    worker_seeds: Literal["", "clean", "official"] = ""
    """official: crops, erasing, colours and LQ draws repeat in every epoch and for every seed."""
    external_order: Literal["", "clean", "official"] = ""
    """official: the external images come in the same order in every epoch."""
    kl_reduction: Literal["", "clean", "official"] = ""
    """official: KL terms are divided by batch x classes; clean: by the batch alone."""
    lq_thresholds: Literal["", "clean", "official"] = ""
    """official: shares .33/.30/.37 of the LQ kinds; clean: thirds, where the mix has three."""
    mask_overlap: Literal["", "clean", "official"] = ""
    """official: colours add modulo 256 where masks overlap; clean: trousers win."""
    zero_grad: Literal["", "clean", "official"] = ""
    """official (torch < 2): zero gradients stay, so TAD moves the pose and gender heads by
    momentum; clean: absent gradients are absent."""
    triplet_gradient: Literal["", "clean", "official"] = ""
    """With several processes the triplet sees the features of all. official: its gradient returns
    through the process's own features only; clean: it is the gradient of the joined batch."""

    def switch(self, name: str) -> Switch:
        """The value in force of one switch."""
        value: Switch = getattr(self, name) or self.preset
        return value


@dataclass(frozen=True)
class RuntimeConfig:
    """How the machine is used; never part of the hash."""

    threads: int = 0
    """Threads of one training; 0 = torch's choice."""
    jobs: int = 1
    """Trainings side by side in ``rlqkit reproduce``."""
    checkpoint_minutes: float = 3.0
    """Least time between two checkpoints of a training, the last phase's always; 0 = after every
    phase. A kill costs at most this much; what is resumed is exact whatever it is."""
    results: str = "results"
    """Folder that receives run folders, tables, figures and notebooks."""


@dataclass(frozen=True)
class ReproduceConfig:
    """What ``rlqkit reproduce`` runs."""

    rows: tuple[str, ...] = ()
    """Rows of the ablation table, in order; empty = all."""
    seeds: tuple[int, ...] = (1,)
    """Training seeds of every row."""


@dataclass(frozen=True)
class Config:
    """Everything a run needs to know."""

    profile: str = "paper"
    """Name of the profile that this configuration started from."""
    row: str = "base"
    """Row of the ablation, see ``rows.ROWS``."""
    seed: int = 1
    """Seed of initial weights, order and augmentation."""
    data: DataConfig = field(default_factory=DataConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    cap: CapConfig = field(default_factory=CapConfig)
    recolouring: RecolouringConfig = field(default_factory=RecolouringConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    averaging: AveragingConfig = field(default_factory=AveragingConfig)
    continuing: ContinuingConfig = field(default_factory=ContinuingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    compat: CompatConfig = field(default_factory=CompatConfig)
    reproduce: ReproduceConfig = field(default_factory=ReproduceConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


NOT_HASHED = {
    "profile": None,
    "runtime": None,
    "reproduce": None,
    "data": ("root", "test_root", "external_root", "labels", "cache_megabytes", "workers"),
    "evaluation": ("batch",),
}
"""What may change without changing the numbers of a run."""


@dataclass(frozen=True)
class Moment:
    """A point of the training: an epoch (counted from 0) or a share of the whole."""

    epoch: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str, key: str) -> Moment:
        """Reads "epoch 25" or "40 %"; anything else is an error that names the key."""
        words = text.replace("%", " %").split()
        try:
            if len(words) == 2 and words[0] == "epoch" and int(words[1]) >= 0:
                return cls(epoch=int(words[1]))
            if len(words) == 2 and words[1] == "%" and 0 <= float(words[0]) <= 100:
                return cls(share=float(words[0]) / 100)
        except ValueError:
            pass
        raise RlqkitError(f'{key} = "{text}" is no moment; write "epoch 25" or "40 %"')

    def reached(self, epoch: int, progress: float) -> bool:
        """Whether the training is at or past this moment; progress is 0..1 of the whole."""
        if self.epoch is not None:
            return epoch >= self.epoch
        return progress >= (self.share or 0.0)
