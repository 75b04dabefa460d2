"""What is measured: losses on pairs of maps, and their value and gradient in f64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

TAU = 4.0


@dataclass(frozen=True)
class Student:
    """How a student map is made: a part of the teacher's and some noise, in units of a standard normal."""

    name: str
    kept: float
    noise: float


#: The teacher has a standard deviation of 4, so that unrelated maps are about 1 nat apart at tau 4.
STUDENTS = (
    Student("far", 0.0, 4.0),
    Student("half", 0.9, 0.4),
    Student("near", 1.0, 0.0056),
)


@dataclass(frozen=True)
class Work:
    """A loss on maps of a shape, `[N, C, H, W]`."""

    loss: str
    shape: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        """Return the loss and the shape, such as `cwd 8x19x128x256`."""
        return f"{self.loss} {'x'.join(map(str, self.shape))}"

    @property
    def size(self) -> int:
        """Return the number of elements of one map."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Return the number of softmaxes."""
        n, c, h, w = self.shape
        return n * c if self.loss == "cwd" else n * h * w

    @property
    def scale(self) -> float:
        """Return tau^2 over the rows: per channel map for cwd, per position for pi."""
        return TAU * TAU / self.rows


#: Channel-wise on logits of a segmentation, of one image (which a last-level cache holds), on features of
#: 7 x 7 (rows of 49), and pixel-wise on the logits.
WORKS = (
    Work("cwd", (8, 19, 128, 256)),
    Work("cwd", (1, 19, 128, 256)),
    Work("cwd", (2, 512, 7, 7)),
    Work("pi", (8, 19, 128, 256)),
)


@dataclass(frozen=True)
class Maps:
    """A teacher's and a student's map."""

    work: Work
    student_name: str
    teacher: Floats
    student: Floats

    @classmethod
    def make(cls, work: Work, student: Student, seed: int) -> Maps:
        """Draw both."""
        rng = np.random.default_rng(seed)
        teacher = 4 * rng.standard_normal(work.shape, dtype=np.float32)
        noise = rng.standard_normal(work.shape, dtype=np.float32)
        pupil = np.float32(student.kept) * teacher + np.float32(student.noise) * noise
        return cls(work, student.name, teacher, pupil)


def rows_of(work: Work, array: Floats) -> Floats:
    """Return a map as a matrix with a softmax in every row."""
    n, c = work.shape[:2]
    flat = array.reshape(n, c, -1)
    return (flat if work.loss == "cwd" else flat.transpose(0, 2, 1)).reshape(work.rows, -1)


def reference(maps: Maps) -> tuple[float, Doubles]:
    """Return value and gradient in f64, as a sum of terms none of which is negative."""
    work = maps.work
    n, c, h, w = work.shape
    value, parts = 0.0, []
    # Some rows at a time: a row of pixel-wise distillation is short, and there are many.
    step = max(1, (1 << 20) // (work.size // work.rows))
    teacher, student = (rows_of(work, x) for x in (maps.teacher, maps.student))
    for start in range(0, work.rows, step):
        log_p, log_q = (log_softmax(x[start : start + step]) for x in (teacher, student))
        p, q, r = np.exp(log_p), np.exp(log_q), log_p - log_q
        # p r - p + q, by the series of q (r e^r - e^r + 1) where that would cancel.
        series = q * r * r * (1 / 2 + r * (1 / 3 + r * (1 / 8 + r * (1 / 30 + r / 144))))
        value += math.fsum(np.where(np.abs(r) < 1e-3, series, p * r - p + q).ravel())
        parts.append(np.where(np.abs(r) < 1, -q * np.expm1(r), q - p))
    gradient = np.concatenate(parts) * (work.scale / TAU)
    if work.loss == "pi":
        gradient = gradient.reshape(n, h * w, c).transpose(0, 2, 1)
    return value * work.scale, gradient.reshape(work.shape)


def log_softmax(rows: Floats) -> Doubles:
    """Return the log-softmax of every row, over tau, in f64."""
    x = rows.astype(np.float64) / TAU
    x -= x.max(axis=1, keepdims=True)
    shifted: Doubles = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    return shifted
