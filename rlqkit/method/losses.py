"""Every loss of RLQ, one function each, in the order of the paper.

Shapes: B images of a batch, D feature dimensions, C classes. All functions return a scalar tensor
with a gradient; nothing is detached here, so a caller that wants a one-way gradient says so.
Numbers were checked against the released code (tests/method/test_golden_losses.py).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LABEL_SMOOTHING = 0.1
TRIPLET_MARGIN = 0.3
COSINE_SCALE = 16.0
CLOTHES_EPSILON = 0.1
KL_TEMPERATURE = 0.8
KL_WEIGHT = 0.64

Reduction = Literal["element", "batch"]


def smoothed_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with label smoothing 0.1, used for identity, pose cluster and gender alike.

    Args:
        logits: (B, C).
        labels: (B,) class indices in 0..C-1.
    """
    return F.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)


def batch_hard_triplet(
    features: Tensor,
    labels: Tensor,
    margin: float = TRIPLET_MARGIN,
    gallery: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Batch-hard triplet loss on the cosine distance d = 1 - cos (Hermans et al., 2017).

    For each anchor: the farthest image of its identity, the nearest image of another one,
    ``max(0, d_positive - d_negative + margin)``, averaged over the batch. An anchor counts as its
    own positive, so an identity with one image in the batch has a positive distance of about 0.

    Args:
        features: (B, D), not necessarily normalised.
        labels: (B,) identities.
        margin: in units of cosine distance (0..2).
        gallery: features (G, D) and labels (G,) among which positives and negatives are sought,
            the anchors themselves included: those of all processes. None = the batch.
    """
    unit = F.normalize(features, dim=1)
    others, other_labels = unit, labels
    if gallery is not None:
        others, other_labels = F.normalize(gallery[0], dim=1), gallery[1]
    distances = 1 - unit @ others.T  # (B, G)
    same = labels[:, None] == other_labels[None, :]
    hardest_positive = distances.masked_fill(~same, -torch.inf).amax(dim=1)
    hardest_negative = distances.masked_fill(same, torch.inf).amin(dim=1)
    return F.relu(hardest_positive - hardest_negative + margin).mean()


def cosine_cross_entropy(
    cosine_logits: Tensor, clothes: Tensor, scale: float = COSINE_SCALE
) -> Tensor:
    """Loss of the clothes classifier: softmax over scaled cosines, no margin, no smoothing.

    Args:
        cosine_logits: (B, C) cosines in -1..1 from the clothes head. The caller computes them
            from *detached* features, so that this loss trains the clothes classifier only.
        clothes: (B,) clothes classes.
        scale: inverse temperature.
    """
    return F.cross_entropy(scale * cosine_logits, clothes)


def clothes_adversarial_loss(
    cosine_logits: Tensor,
    clothes: Tensor,
    positives: Tensor,
    scale: float = COSINE_SCALE,
    epsilon: float = CLOTHES_EPSILON,
) -> Tensor:
    r"""Clothes-based adversarial loss, CAL (Gu et al., CVPR 2022).

    With P the positive classes of a sample (all clothes of its identity, recoloured ones
    included), every class j competes only with the clothes of *other* identities:

    .. math:: \log p_j = s z_j - \log\Big(e^{s z_j} + \sum_{n \notin P} e^{s z_n}\Big), \qquad
              L = -\sum_j \big[(1-\epsilon)[j=c] + \tfrac{\epsilon}{|P|}[j \in P]\big] \log p_j

    so a feature may not tell which of its person's clothes it sees.

    Args:
        cosine_logits: (B, C) cosines z.
        clothes: (B,) clothes class c of each sample.
        positives: (B, C), 1 (or True) where the class belongs to the sample's identity.
        scale: s.
        epsilon: share of the target that is spread over P.
    """
    positives = positives.to(cosine_logits.dtype)
    logits = scale * cosine_logits
    # log-sum-exp over the other identities' clothes, then joined with each class by itself
    others = logits.masked_fill(positives > 0, -torch.inf).logsumexp(dim=1, keepdim=True)
    log_probability = logits - torch.logaddexp(logits, others)
    own_class = F.one_hot(clothes, logits.shape[1]).to(logits.dtype)
    spread = positives / positives.sum(dim=1, keepdim=True)
    target = (1 - epsilon) * own_class + epsilon * spread
    return -(target * log_probability).sum(dim=1).mean()


def logit_kl(
    teacher: Tensor,
    student: Tensor,
    temperature: float = KL_TEMPERATURE,
    weight: float = KL_WEIGHT,
    reduction: Reduction = "element",
) -> Tensor:
    r"""KL divergence of logits, :math:`\lambda\tau^2 \, KL(p_t \| p_s)`, p = softmax(z / τ).

    The gradient flows into *both* arguments, as in the released code.

    Args:
        teacher: (B, C) logits that play t.
        student: (B, C) logits that play s.
        temperature: τ.
        weight: λ.
        reduction: "element" divides by B·C (released code), "batch" by B, which makes the term
            C times stronger. The difference is one of the switches of ``compat``.
    """
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    log_student = F.log_softmax(student / temperature, dim=1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum()
    elements = teacher.numel() if reduction == "element" else teacher.shape[0]
    return weight * temperature**2 * divergence / elements


def feature_mse(x: Tensor, y: Tensor) -> Tensor:
    """Mean over the batch of the squared distance of normalised features, 2 - 2 cos.

    Args:
        x: (B, D) teacher features in TAD.
        y: (B, D) student features.
    """
    difference = F.normalize(x, dim=1) - F.normalize(y, dim=1)
    return difference.square().sum(dim=1).mean()


def pose_disentangling(
    f_identity: Tensor, f_pose: Tensor, form: Literal["absolute", "relu"] = "absolute"
) -> Tensor:
    """Pushes identity and pose features apart: mean |cos(f_identity, f_pose)|, 0..1.

    Args:
        f_identity: (B, D).
        f_pose: (B, D); the gradient goes to both.
        form: "absolute" (the paper's) or "relu", which lets negative cosines be.
    """
    cosine = F.cosine_similarity(f_identity, f_pose, dim=1)
    return (cosine.abs() if form == "absolute" else F.relu(cosine)).mean()
