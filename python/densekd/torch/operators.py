"""A loss as an operation of PyTorch's autograd: eagerly, and in compiled graphs."""

from __future__ import annotations

import functools
import json
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from densekd import Loss

from . import cuda


class Inputs(NamedTuple):
    """What a loss reads."""

    student: Tensor
    teacher: Tensor | None
    labels: Tensor | None
    mask: Tensor | None


def evaluate(loss: Loss, text: str, inputs: Inputs, *, teacher_grad: bool) -> Tensor:
    """Evaluate a loss, also given as text; its gradient reaches the student, and the teacher where asked for."""
    student, teacher = inputs.student, inputs.teacher
    recording = torch.is_grad_enabled()
    to_student = recording and student.requires_grad
    to_teacher = recording and teacher_grad and teacher is not None and teacher.requires_grad
    if torch.compiler.is_compiling():
        found: Tensor = torch.ops.densekd.loss(*inputs, text, to_student, to_teacher)[0]
        return found
    if to_student or to_teacher:
        differentiable: Tensor = _Eager.apply(*inputs, loss, to_student, to_teacher)
        return differentiable
    return _submit(loss, inputs)[0]


def written(loss: Loss) -> str:
    """Return a loss as text, which a graph holds as a constant."""
    return json.dumps([loss.name, loss.options])


@functools.lru_cache(maxsize=256)
def _read(text: str) -> Loss:
    name, options = json.loads(text)
    return Loss(name, **options)


def _value_type(student: Tensor) -> torch.dtype:
    return torch.float64 if student.dtype == torch.float64 else torch.float32


def _waits(student: Tensor) -> bool:
    """Tell whether the gradient waits for the gradient from above.

    In float16 numbers below 6e-8 are 0: what a loss scale is to keep must be multiplied
    by it before it is rounded.
    """
    return student.dtype == torch.float16


def _submit(
    loss: Loss,
    inputs: Inputs,
    *,
    upstream: float = 1.0,
    to_student: bool = False,
    to_teacher: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    # DLPack lends no tensor that autograd follows.
    student, teacher = _aligned(_alone(inputs.student), None if inputs.teacher is None else _alone(inputs.teacher))
    labels, mask = (None if x is None else x.contiguous() for x in (inputs.labels, inputs.mask))
    if student.is_cuda:
        value, *gradients = cuda.submit(
            loss, student, teacher, labels, mask, upstream=upstream, to_student=to_student, to_teacher=to_teacher
        )
        return value.to(_value_type(student)), gradients[0], gradients[1]
    grad_student = torch.empty_like(student) if to_student else None
    grad_teacher = torch.empty_like(teacher) if to_teacher and teacher is not None else None
    found = loss.submit(
        student,
        teacher,
        labels=labels,
        mask=mask,
        upstream=upstream,
        grad_student=grad_student,
        grad_teacher=grad_teacher,
    )
    # By one operation: maps larger than the caches leave none of the interpreter's memory in them, and every step
    # that it takes afterwards waits for its own.
    return torch.full((), found, dtype=_value_type(student)), grad_student, grad_teacher


def _alone(x: Tensor) -> Tensor:
    return x.detach() if x.requires_grad else x


def _aligned(student: Tensor, teacher: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return both in one order of memory, the student's; only what lies in another is copied."""
    if teacher is None:
        return (student if _order(student) is not None else student.contiguous()), None
    order = _order(student)
    if order is None:
        student, order = student.contiguous(), torch.contiguous_format
    if not teacher.is_contiguous(memory_format=order):
        teacher = teacher.contiguous(memory_format=order)
    return student, teacher


def _order(x: Tensor) -> torch.memory_format | None:
    if x.is_contiguous():
        return torch.contiguous_format
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return None


def _times(gradient: Tensor | None, upstream: Tensor) -> Tensor | None:
    # A device is not waited for.
    if gradient is None or (not upstream.is_cuda and float(upstream) == 1.0):
        return gradient
    return gradient * upstream.to(torch.promote_types(gradient.dtype, torch.float32))


def _after(
    loss: Loss, inputs: Inputs, upstream: Tensor, to_student: bool, to_teacher: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of a loss that has waited for the gradient from above."""
    factor = float(upstream)
    if math.isfinite(factor):
        return _submit(loss, inputs, upstream=factor, to_student=to_student, to_teacher=to_teacher)[1:]
    gradients = _submit(loss, inputs, to_student=to_student, to_teacher=to_teacher)[1:]
    return _times(gradients[0], upstream), _times(gradients[1], upstream)


class _Eager(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        student: Tensor,
        teacher: Tensor | None,
        labels: Tensor | None,
        mask: Tensor | None,
        loss: Loss,
        to_student: bool,
        to_teacher: bool,
    ) -> Tensor:
        inputs = Inputs(student, teacher, labels, mask)
        ctx.loss, ctx.waits = loss, _waits(student)
        ctx.to = (to_student, to_teacher)
        if ctx.waits:
            ctx.save_for_backward(*inputs)
            return _submit(loss, inputs)[0]
        value, *gradients = _submit(loss, inputs, to_student=to_student, to_teacher=to_teacher)
        ctx.save_for_backward(*gradients)
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        if not torch.is_grad_enabled():
            return (*_gradients(ctx, upstream), *_NOTHING)
        with torch.no_grad():
            found = _gradients(ctx, upstream)
        student, teacher = (None if x is None else _once(x) for x in found)
        return (student, teacher, *_NOTHING)


#: The gradients of labels, mask, loss and what is asked for.
_NOTHING = (None,) * 5


def _gradients(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
    kept = ctx.saved_tensors
    if ctx.waits:
        return _after(ctx.loss, Inputs(*kept), upstream, *ctx.to)
    return _times(kept[0], upstream), _times(kept[1], upstream)


def _once(gradient: Tensor) -> Tensor:
    """Return a gradient that cannot be differentiated, for a graph that is made of it (`create_graph=True`)."""
    once: Tensor = _Once.apply(gradient, torch.zeros((), requires_grad=True))
    return once


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, anchor: Tensor) -> Tensor:  # noqa: ANN401
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:  # noqa: ANN401
        message = "distillation losses have no second derivatives: detach the gradient before it is differentiated"
        raise RuntimeError(message)


@torch.library.custom_op("densekd::loss", mutates_args=())
def _loss_op(
    student: Tensor,
    teacher: Tensor | None,
    labels: Tensor | None,
    mask: Tensor | None,
    loss: str,
    to_student: bool,
    to_teacher: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    inputs, now = Inputs(student, teacher, labels, mask), not _waits(student)
    value, *gradients = _submit(_read(loss), inputs, to_student=to_student and now, to_teacher=to_teacher and now)
    grad_student, grad_teacher = (student.new_empty(0) if x is None else x for x in gradients)
    return value, grad_student, grad_teacher


@_loss_op.register_fake
def _(
    student: Tensor,
    teacher: Tensor | None,
    labels: Tensor | None,
    mask: Tensor | None,
    loss: str,
    to_student: bool,
    to_teacher: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    now = not _waits(student)
    nothing = student.new_empty(0)
    value = student.new_empty((), dtype=_value_type(student))
    grad_student = _fake_like(student) if to_student and now else nothing
    grad_teacher = _fake_like(teacher, student) if to_teacher and now else student.new_empty(0)
    return value, grad_student, grad_teacher


def _fake_like(x: Tensor | None, first: Tensor | None = None) -> Tensor:
    """Return what `_aligned` and `empty_like` would make."""
    assert x is not None
    order = _order(x if first is None else first) or torch.contiguous_format
    return torch.empty_like(x, memory_format=order)


@torch.library.custom_op("densekd::gradient", mutates_args=())
def _gradient_op(
    student: Tensor,
    teacher: Tensor | None,
    labels: Tensor | None,
    mask: Tensor | None,
    loss: str,
    upstream: Tensor,
    to_student: bool,
    to_teacher: bool,
) -> tuple[Tensor, Tensor]:
    inputs = Inputs(student, teacher, labels, mask)
    first, second = _after(_read(loss), inputs, upstream, to_student, to_teacher)
    return (
        student.new_empty(0) if first is None else first,
        student.new_empty(0) if second is None else second,
    )


@_gradient_op.register_fake
def _(
    student: Tensor,
    teacher: Tensor | None,
    labels: Tensor | None,
    mask: Tensor | None,
    loss: str,
    upstream: Tensor,
    to_student: bool,
    to_teacher: bool,
) -> tuple[Tensor, Tensor]:
    return (
        _fake_like(student) if to_student else student.new_empty(0),
        _fake_like(teacher, student) if to_teacher else student.new_empty(0),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
    student, teacher, labels, mask, ctx.loss, *to = inputs
    ctx.to, ctx.waits = tuple(to), _waits(student)
    ctx.set_materialize_grads(False)
    if ctx.waits:
        ctx.save_for_backward(student, teacher, labels, mask)
    else:
        ctx.save_for_backward(*output[1:])


def _backward(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    nothing = (None,) * 7
    if upstream is None:
        return nothing
    kept = ctx.saved_tensors
    if ctx.waits:
        gradients = torch.ops.densekd.gradient(*kept, ctx.loss, upstream, *ctx.to)
    else:
        gradients = tuple((x * upstream).to(x.dtype) for x in kept)
    student, teacher = (x if wanted else None for x, wanted in zip(gradients, ctx.to, strict=True))
    return student, teacher, *nothing[2:]


_loss_op.register_autograd(_backward, setup_context=_setup)
