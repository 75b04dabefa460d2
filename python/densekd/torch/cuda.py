"""Losses of tensors on a CUDA device, in the order of the current stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from densekd import Loss


def submit(
    loss: Loss,
    student: Tensor,
    teacher: Tensor | None,
    labels: Tensor | None,
    mask: Tensor | None,
    *,
    upstream: float = 1.0,
    to_student: bool = False,
    to_teacher: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the value, float64 on the device, and the gradients.

    Nothing is waited for but labels and a mask, which are counted. Maps lie together, in one order. Those of two
    types go through the wider one.
    """
    if labels is not None and not loss.takes_labels:
        # Of rows they say which positions are left out.
        ignored = loss.options["ignore_index"]
        assert isinstance(ignored, int)
        counted = torch.ne(labels, ignored)
        labels, mask = None, counted if mask is None else counted & torch.ne(mask, 0)
    given = student.dtype, None if teacher is None else teacher.dtype
    if teacher is not None and teacher.dtype != student.dtype:
        wide = torch.promote_types(student.dtype, teacher.dtype)
        student, teacher = student.to(wide), teacher.to(wide)
    grad_student = torch.empty_like(student) if to_student else None
    grad_teacher = torch.empty_like(teacher) if to_teacher and teacher is not None else None
    totals = student.new_empty(2, dtype=torch.float64)
    factor = loss.launch(
        student,
        teacher,
        labels=labels,
        known_labels=None if labels is None else labels.cpu(),
        mask=mask,
        counted=None if mask is None else mask.cpu(),
        upstream=upstream,
        grad_student=grad_student,
        grad_teacher=grad_teacher,
        # Freed, they go to what follows in the same stream.
        workspace=student.new_empty(loss.workspace(student, teacher), dtype=torch.uint8),
        totals=totals,
        stream=_stream(student),
    )
    return totals[0] * factor, _narrowed(grad_student, given[0]), _narrowed(grad_teacher, given[1])


def _stream(x: Tensor) -> int:
    stream: int = torch.cuda.current_stream(x.device).cuda_stream
    return stream


def _narrowed(gradient: Tensor | None, dtype: torch.dtype | None) -> Tensor | None:
    return gradient if gradient is None or dtype is None else gradient.to(dtype)
