"""Maps that several tests compare."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import densekd


@pytest.fixture(autouse=True)
def few_threads() -> None:
    """Two threads, as a small machine has."""
    densekd.set_num_threads(2)
    torch.manual_seed(7)


def maps(*shape: int, dtype: torch.dtype = torch.float32, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """Return a student and a teacher of this shape."""
    teacher = torch.randn(shape, dtype=torch.float64) * 3
    student = teacher + noise * torch.randn(shape, dtype=torch.float64)
    return student.to(dtype), teacher.to(dtype)
