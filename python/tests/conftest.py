"""Maps that several tests compare, and how they start programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import densekd

EXAMPLES = Path(__file__).parent.parent / "examples"


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


def with_examples() -> dict[str, str]:
    """Return an environment whose Python finds the examples."""
    paths = [str(EXAMPLES), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Start a program in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, *arguments],
        env=with_examples() | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
