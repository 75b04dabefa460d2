"""Losses of arrays: values and gradients, without a framework.

Arrays are `[N, C]`, `[N, C, L]` or `[N, C, H, W]`, of float32, float64 or
float16, and bfloat16 where the array's library has it. NumPy arrays, whatever
lends its memory by DLPack, and buffers (`array.array`, `memoryview`) are read
where they are; only a NumPy array whose elements do not lie together, channels
first or last, is copied. The interpreter's lock is free while a loss is worked out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._densekd import Loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .arrays import Array, Option

__all__ = ["value", "value_and_gradient"]


def value(
    loss: Loss | str,
    student: Array,
    teacher: Array | None = None,
    *,
    labels: Array | None = None,
    mask: Array | None = None,
    **options: Option,
) -> float:
    """Evaluate a loss.

    `loss` is a `Loss`, or the name of one with its `options`. `labels` are int64,
    `[N, H, W]`: classes, where the loss takes them, and positions to leave out by its
    `ignore_index`. `mask` is bool or uint8, 0 for positions to leave out.

    >>> import numpy as np
    >>> teacher = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    >>> value("cwd", teacher, teacher, tau=2.0)
    0.0
    """
    student, teacher, labels, mask = map(_lent, (student, teacher, labels, mask))
    return _loss(loss, options).submit(student, teacher, labels=labels, mask=mask)


def value_and_gradient(
    loss: Loss | str,
    student: Array,
    teacher: Array | None = None,
    *,
    labels: Array | None = None,
    mask: Array | None = None,
    upstream: float = 1.0,
    **options: Option,
) -> tuple[float, NDArray[Any]]:
    """Evaluate a loss, and its gradient to the student times `upstream`.

    The gradient is a NumPy array of the student's shape, order in memory and type;
    of float32 where NumPy has no such type.

    >>> import numpy as np
    >>> teacher = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    >>> loss, gradient = value_and_gradient("cwd", -teacher, teacher, tau=2.0)
    >>> bool(loss > 0), gradient.shape
    (True, (1, 1, 3, 4))
    """
    student, teacher, labels, mask = map(_lent, (student, teacher, labels, mask))
    gradient = _like(student)
    found = _loss(loss, options).submit(
        student, teacher, labels=labels, mask=mask, upstream=upstream, grad_student=gradient
    )
    return found, gradient


def _loss(loss: Loss | str, options: dict[str, Option]) -> Loss:
    if isinstance(loss, str):
        return Loss(loss, **options)
    if options:
        message = f"options {', '.join(options)} beside a Loss, which has its own"
        raise TypeError(message)
    return loss


def _lent(array: Array | None) -> Any:  # noqa: ANN401
    """Return what lends its memory as losses take it."""
    if array is None:
        return None
    if not hasattr(array, "__dlpack__"):
        array = np.asarray(array)
    if isinstance(array, np.ndarray) and array.dtype != object and not _lies_together(array):
        return np.ascontiguousarray(array)
    return array


def _lies_together(array: NDArray[Any]) -> bool:
    return array.flags.c_contiguous or (array.ndim > 2 and np.moveaxis(array, 1, -1).flags.c_contiguous)


def _like(student: Array) -> NDArray[Any]:
    """Return an array for the gradient."""
    if isinstance(student, np.ndarray):
        return np.empty_like(student)
    try:
        return np.empty_like(np.from_dlpack(student))
    except (BufferError, RuntimeError, TypeError):
        # A type that NumPy does not have.
        return np.empty(tuple(student.shape), dtype=np.float32)
