"""How people walk and stand: joint angles as smooth functions of the gait phase.

Phase runs over [0, 1); at 0 the left heel strikes the floor, at .5 the right one. Rotations are
about the world axes of the rest pose (x to the left, -y to the front, z up), in degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Angles = tuple[float, float, float]


@dataclass(frozen=True)
class GaitHabits:
    """How one person moves; the same in all their pictures. Angles in degrees."""

    stride: float
    """Scale of all leg movements, about 0.7..1.15."""
    arm_swing: float
    """Amplitude of the upper arm, 10..30."""
    arm_abduction: float
    """How far the arms hang from the trunk, 3..11."""
    elbow_bend: float
    """6..26."""
    lean: float
    """Forward lean of the trunk, -3..6."""
    slouch: float
    """Rounding of the upper back, -3..9."""
    head_pitch: float
    """-6..8; larger looks down."""
    arm_back: float
    """Shift of the arms backwards, -3..6."""
    narrowness: float
    """How far the legs are drawn together, 0.5..3.5."""


@dataclass(frozen=True)
class LegAngles:
    """Flexion in degrees: hip forwards, knee backwards, ankle upwards positive."""

    hip: float
    knee: float
    ankle: float


def _bump(phase: float, centre: float, width: float) -> float:
    """Return a Gaussian bump on the circle of phases."""
    distance = (phase - centre + 0.5) % 1.0 - 0.5
    return math.exp(-((distance / width) ** 2))


def leg_angles(phase: float, amplitude: float) -> LegAngles:
    """Return one leg's joint angles; its heel strikes at phase 0, ``amplitude`` 0 is standing."""
    loading, swing = _bump(phase, 0.15, 0.09), _bump(phase, 0.72, 0.13)
    tilt_up, push_off = _bump(phase, 0.42, 0.15), _bump(phase, 0.63, 0.09)
    return LegAngles(
        hip=amplitude * (8.0 + 22.0 * math.cos(2.0 * math.pi * phase)),
        knee=4.0 + amplitude * (14.0 * loading + 56.0 * swing),
        ankle=amplitude * (8.0 * tilt_up - 16.0 * push_off),
    )


def _arm_pose(side: str, sign: int, swing: float, habits: GaitHabits) -> dict[str, Angles]:
    """Return the rotations that bring an arm from the spread rest pose down to the body."""
    # The rest arm is spread by about 40 degrees and bent by about 38.
    elbow = habits.elbow_bend - 38.0 + 0.5 * max(swing, 0.0)
    return {
        f"upperarm01.{side}": (habits.arm_back - swing, sign * (40.0 - habits.arm_abduction), 0.0),
        f"lowerarm01.{side}": (-elbow, sign * 2.0, 0.0),
        f"wrist.{side}": (8.0, sign * 10.0, 0.0),
    }


def pose_angles(
    phase: float, habits: GaitHabits, standing: bool = False, head_yaw: float = 0.0
) -> dict[str, Angles]:
    """Return Euler angles (x, y, z), degrees, for the bones that a walker or stander turns."""
    amplitude = 0.0 if standing else habits.stride
    pose: dict[str, Angles] = {}
    for side, sign, own_phase in (("L", 1, phase), ("R", -1, (phase + 0.5) % 1.0)):
        leg = leg_angles(own_phase, amplitude)
        pose[f"upperleg01.{side}"] = (-leg.hip, sign * (4.0 - habits.narrowness), 0.0)
        pose[f"lowerleg01.{side}"] = (leg.knee, 0.0, 0.0)
        pose[f"foot.{side}"] = (-leg.ankle, 0.0, -4.0 * sign)
        # Arms swing against the leg of their own side.
        swing = -habits.arm_swing * amplitude * math.cos(2.0 * math.pi * own_phase)
        pose |= _arm_pose(side, sign, swing, habits)
    twist = 5.0 * amplitude * math.cos(2.0 * math.pi * phase)
    pose["root"] = (0.0, 0.0, -0.7 * twist)
    pose["spine04"] = (0.5 * habits.lean, 0.0, twist)
    pose["spine02"] = (0.5 * habits.lean + habits.slouch, 0.0, 0.6 * twist)
    pose["neck01"] = (-0.7 * habits.slouch, 0.0, 0.0)
    pose["head"] = (habits.head_pitch, 0.0, head_yaw - 0.6 * twist)
    return pose


def rotation(angles: Angles) -> np.ndarray:
    """Return the matrix (3, 3) of turns about the fixed x, then y, then z axis, in degrees."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(np.radians(angles)), np.cos(np.radians(angles))
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cx, -sx], [0.0, sx, cx]])
    about_y = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    about_z = np.array([[cz, -sz, 0.0], [sz, cz, 0.0], [0.0, 0.0, 1.0]])
    return about_z @ about_y @ about_x
