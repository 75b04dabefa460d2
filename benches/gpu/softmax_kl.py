"""Channel-wise KL divergence with its gradient in Triton, one block a row, as its tutorial has softmax."""

from __future__ import annotations

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]


@triton.jit  # type: ignore[untyped-decorator]
def softmax_kl(teacher, student, gradient, values, factor, length, BLOCK: tl.constexpr) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001, N803
    """Take the plain form: KL of two softmaxes of rows, and factor times the gradient to the student."""
    row = tl.program_id(0)
    place = tl.arange(0, BLOCK)
    inside = place < length
    at = row * length + place
    t = tl.load(teacher + at, mask=inside, other=-float("inf")).to(tl.float32)
    s = tl.load(student + at, mask=inside, other=-float("inf")).to(tl.float32)
    t = t - tl.max(t, 0)
    s = s - tl.max(s, 0)
    exp_t = tl.exp(t)
    exp_s = tl.exp(s)
    sum_t = tl.sum(exp_t, 0)
    sum_s = tl.sum(exp_s, 0)
    p = exp_t / sum_t
    terms = tl.where(inside, p * (t - s), 0.0)
    tl.store(values + row, tl.sum(terms, 0) - tl.log(sum_t) + tl.log(sum_s))
    g = factor * (exp_s / sum_s - p)
    tl.store(gradient + at, g.to(gradient.dtype.element_ty), mask=inside)


def warps(length: int) -> int:
    """Choose the warps of a block as the tutorial does."""
    return 4 if length < 2048 else 8 if length < 4096 else 16
