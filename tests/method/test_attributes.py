"""Pose vectors against golden numbers; clusters and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans

from rlqkit.errors import RlqkitError
from rlqkit.method.attributes import (
    LIMBS,
    VECTOR_LENGTHS,
    check_pose_labels,
    fit_pose_clusters,
    nearest_clusters,
    pick_person,
    pose_vector,
    published_clusters,
    scale_joints,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "pose.npz")


def picked(case: int) -> tuple[np.ndarray, tuple[int, int]]:
    joints = pick_person(GOLDEN[f"{case}/coordinates"], GOLDEN[f"{case}/scores"])
    width, height = GOLDEN[f"{case}/size_wh"]
    return joints, (int(width), int(height))


@pytest.mark.parametrize("case", range(5))
def test_the_best_scoring_person_is_scaled_as_in_the_golden_file(case: int) -> None:
    joints, size = picked(case)
    best = GOLDEN[f"{case}/picked"]
    np.testing.assert_array_equal(joints, GOLDEN[f"{case}/coordinates"][best])
    np.testing.assert_array_equal(scale_joints(joints, size), GOLDEN[f"{case}/resized"])


@pytest.mark.parametrize("kind", list(VECTOR_LENGTHS))
@pytest.mark.parametrize("case", range(5))
def test_pose_vectors_equal_the_golden_ones(case: int, kind: str) -> None:
    joints, size = picked(case)
    vector = pose_vector(joints, size, kind)
    assert vector.shape == (VECTOR_LENGTHS[kind],)
    np.testing.assert_allclose(vector, GOLDEN[f"{case}/{kind}"], rtol=0, atol=1e-9)


def test_there_are_thirteen_limbs_of_existing_joints() -> None:
    assert len(set(LIMBS)) == 13
    assert all(0 <= a < b <= 16 for a, b in LIMBS)


def test_nobody_found_gives_no_pose() -> None:
    assert np.isnan(pick_person(np.zeros((0, 17, 2)), np.zeros(0))).all()


def poses(people: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    middle = rng.uniform(20, 80, (6, 17, 2))
    joints = middle[np.arange(people) % 6] + rng.normal(0, 1, (people, 17, 2))
    sizes = np.tile([100, 200], (people, 1))
    return joints, sizes


@pytest.mark.parametrize("kind", list(VECTOR_LENGTHS))
def test_clusters_are_those_of_plain_kmeans_with_the_published_settings(kind: str) -> None:
    joints, sizes = poses()
    found = fit_pose_clusters(joints, sizes, kind, clusters=6)
    vectors = np.stack([pose_vector(j, (100, 200), kind) for j in joints])
    plain = KMeans(n_clusters=6, random_state=0, max_iter=1000).fit(vectors)
    np.testing.assert_array_equal(found.labels, plain.predict(vectors) + 1)
    assert found.inertia == pytest.approx(plain.inertia_)
    np.testing.assert_allclose(found.centres, plain.cluster_centers_)
    np.testing.assert_array_equal(found.counts, np.bincount(found.labels)[1:])


def test_images_without_a_pose_get_label_zero_and_leave_the_rest_alone() -> None:
    joints, sizes = poses()
    with_score = np.concatenate([joints, np.full((len(joints), 17, 1), np.nan)], 2)
    whole = fit_pose_clusters(with_score, sizes, clusters=5)
    assert set(whole.labels) == set(range(1, 6))  # a NaN score is not a missing pose
    extra = np.full((2, 17, 3), np.nan)
    mixed = fit_pose_clusters(
        np.concatenate([with_score[:30], extra, with_score[30:]]),
        np.concatenate([sizes[:30], sizes[:2], sizes[30:]]),
        clusters=5,
    )
    assert (mixed.labels[30:32] == 0).all()
    np.testing.assert_array_equal(np.delete(mixed.labels, [30, 31]), whole.labels)


def test_mean_skeletons_lie_in_the_frame_coordinates() -> None:
    joints, sizes = poses()
    found = fit_pose_clusters(joints, sizes, clusters=6)
    frames = np.stack([scale_joints(j, (100, 200)) for j in joints])
    for cluster in range(6):
        members = frames[found.labels == cluster + 1]
        np.testing.assert_allclose(found.skeletons[cluster], members.mean(0))


def test_labels_outside_the_clusters_are_named() -> None:
    np.testing.assert_array_equal(check_pose_labels([0, 3, 15], 15), [0, 3, 15])
    for labels, bad in ([1, 16, 99], "16 in row 1"), ([0, 0, -1], "-1 in row 2"):
        with pytest.raises(RlqkitError, match=bad):
            check_pose_labels(labels, 15)
    with pytest.raises(RlqkitError, match="2.5 in row 0"):
        check_pose_labels([2.5], 15)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: pose_vector(np.ones((17, 2)), (9, 9), "N_LA"), "normalised"),
        (lambda: pose_vector(np.ones((17, 2)), (9, 9), "R_L"), "unknown"),
        (lambda: pose_vector(np.ones((16, 2)), (9, 9)), "17"),
        (lambda: pose_vector(np.full((17, 2), np.nan), (9, 9)), "NaN"),
        (lambda: pose_vector(np.ones((17, 2)), (0, 9)), "image_size"),
        (lambda: pick_person(np.ones((2, 17, 2)), np.ones(1)), "scores"),
        (lambda: fit_pose_clusters(*poses(8), clusters=9), "1 to 8"),
        (lambda: fit_pose_clusters(*poses(8), clusters=0), "1 to 8"),
        (lambda: fit_pose_clusters(np.full((4, 17, 2), np.nan), np.ones((4, 2))), "poses found"),
        (lambda: fit_pose_clusters(poses(8)[0], np.ones((7, 2))), "sizes"),
    ],
)
def test_mistakes_are_named(call: object, word: str) -> None:
    with pytest.raises(RlqkitError, match=word):
        call()  # type: ignore[operator]


def test_clusters_of_one_set_are_applied_to_another() -> None:
    """The training images get what they were fitted with, others the nearest centre, nobody 0."""
    joints, sizes = poses()
    fitted = fit_pose_clusters(joints, sizes, "R_LAC", 6)
    np.testing.assert_array_equal(nearest_clusters(fitted, joints, sizes), fitted.labels)
    rng = np.random.default_rng(1)
    others = joints[:12] + rng.normal(0, 0.5, (12, 17, 2))
    others[3] = np.nan
    others[4] = 0
    labels = nearest_clusters(fitted, others, sizes[:12])
    assert labels[3] == labels[4] == 0
    for row in (0, 1, 2, 5, 11):
        vector = pose_vector(others[row], tuple(sizes[row]), "R_LAC")
        gaps = np.linalg.norm(fitted.centres - vector, axis=1)
        assert labels[row] == gaps.argmin() + 1


def test_published_labels_have_no_centres_to_apply() -> None:
    joints, sizes = poses()
    given = published_clusters(np.arange(len(joints)) % 5, "R_LA", 4)
    with pytest.raises(RlqkitError, match="no centres.*keypoints"):
        nearest_clusters(given, joints, sizes)
    fitted = fit_pose_clusters(joints, sizes, "R_LA", 4)
    with pytest.raises(RlqkitError, match="give \\(n, 17, 2\\)"):
        nearest_clusters(fitted, joints[:, :5], sizes)
