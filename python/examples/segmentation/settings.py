"""How large the experiment is."""

from __future__ import annotations

from dataclasses import dataclass

#: The seed of the trials that choose weights; the seeds of the table come after it.
TRIAL_SEED = 0


@dataclass(frozen=True)
class Settings:
    """Everything that figures depend on, beside the data and the code."""

    tile: int = 192
    student_width: int = 16
    teacher_width: int = 32
    #: Every so many-th training tile has labels for the student; the teacher has them all.
    labelled_every: int = 9
    #: The first of them: with this one every class is among the labels.
    labelled_first: int = 7
    #: Labelled and unlabelled tiles in a step of the student.
    batch: int = 4
    student_steps: int = 600
    teacher_steps: int = 1000
    learning_rate: float = 5e-3
    #: How large a term's gradient is made, as a share of the task's, in the trials of a loss.
    shares: tuple[float, ...] = (1.0, 10.0, 100.0)
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    #: How often a student is held against the validation tiles on the way.
    curve_points: int = 6


#: Seconds instead of minutes, on tiles that are drawn: shows that all of it runs, and nothing else.
SMOKE = Settings(
    tile=32,
    student_width=4,
    teacher_width=8,
    labelled_every=3,
    labelled_first=0,
    batch=2,
    student_steps=8,
    teacher_steps=24,
    shares=(1.0, 10.0),
    seeds=(1, 2),
    curve_points=2,
)
