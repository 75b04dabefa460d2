"""Maps of which every process has a part.

A map is sharded over the processes of a group along its height, its width, or both. The rows of a
channel's softmax then reach over several of them: each finds the sums of its part, all exchange them (48
bytes a row and process), and each puts them together, in the order of the ranks, to the same bits. Value and gradients
are those of the whole map. Nothing else is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from densekd import Loss

    from .losses import DistillationLoss

__all__ = ["ExchangeError", "merge_sums", "sharded_loss"]


class ExchangeError(RuntimeError):
    """The ranks' numbers could not be exchanged."""


#: What stands in the six numbers of a row.
_T, _OF_T, _S, _OF_S, _RATIO, _KL = range(6)


def sharded_loss(
    loss: DistillationLoss,
    student: Tensor,
    teacher: Tensor,
    *,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Return the loss of a map whose parts are the ranks' `student` and `teacher`.

    Parts are `[N, C, h, w]` with the same N and C; they may be of different sizes, and empty (h or w 0).
    Every rank gets the value of the whole, and backward gives it the gradient of that one value to its own part:
    there is nothing to be averaged over the ranks. Channel-wise KL divergence only (`norm="channel"`,
    `divergence="kl"`), no mask.

    Where a rank dies or is stuck, the others do not hang: at the latest after the group's timeout
    (`torch.distributed.init_process_group(timeout=...)`) they raise `ExchangeError`, which names it.
    """
    options = loss.loss.options
    if (options.get("norm"), options.get("divergence")) != ("channel", "kl"):
        message = f"{loss.loss.name} with norm {options.get('norm')!r} and divergence {options.get('divergence')!r}: "
        message += "parts are put together for norm 'channel' and divergence 'kl'"
        raise ValueError(message)
    if teacher.requires_grad:
        message = "the teacher requires a gradient, which goes to the student alone: detach it"
        raise ValueError(message)
    if student.dim() != 4 or student.shape != teacher.shape:
        message = f"parts are {tuple(student.shape)} and {tuple(teacher.shape)}: wanted [N, C, h, w] twice"
        raise ValueError(message)
    found: Tensor = _Sharded.apply(student, teacher, loss.loss, group)
    return found


def merge_sums(parts: Tensor, tau: float) -> Tensor:
    """Put the sums of parts of rows together: float64 `[parts, rows, 6]` to `[rows, 6]`.

    Over the shares P_i and Q_i that the parts have of teacher and student, the chain rule of the KL divergence:
    KL = sum P_i KL_i + sum P_i log(P_i / Q_i), whose second sum is taken as sum Q_i k(r_i), with r_i = log(P_i / Q_i)
    and k(r) = r e^r - e^r + 1, in which nothing cancels.
    """
    t, of_t = _log_sum(parts[..., _T], parts[..., _OF_T], tau)
    s, of_s = _log_sum(parts[..., _S], parts[..., _OF_S], tau)
    first_t, first_s = t.amax(0), s.amax(0)
    share_t, share_s = of_t * torch.exp((t - first_t) / tau), of_s * torch.exp((s - first_s) / tau)
    z_t, z_s = share_t.sum(0), share_s.sum(0)
    p, q = share_t / z_t, share_s / z_s
    there = (of_t > 0) & (of_s > 0)
    # About the mean of the parts' own log-ratios, whose last digits are those of close rows.
    ratios = torch.where(there, parts[..., _RATIO], 0.0)
    about = (q * ratios).sum(0)
    ratio = about + tau * torch.log1p((q * torch.expm1((ratios - about) / tau)).sum(0))
    r = torch.where(there, (ratios - ratio) / tau, 0.0)
    kl = (p * torch.where(there, parts[..., _KL], 0.0)).sum(0) + (q * _bregman(r)).sum(0)
    merged = torch.stack([first_t, z_t, first_s, z_s, ratio, kl], dim=-1)
    # NaN, and rows that one log-ratio does not describe, stay what they are.
    lost = torch.isinf(parts[..., _T]) & (parts[..., _T] > 0)
    merged[lost.any(0)] = torch.tensor([float("inf"), 0.0, float("inf"), 0.0, 0.0, float("nan")], dtype=torch.float64)
    return merged


def _log_sum(reference: Tensor, total: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Return references that are finite, and sums that are 0 where nothing is."""
    empty = torch.isneginf(reference) | (total <= 0)
    return torch.where(empty, torch.full_like(reference, -1e300), reference), torch.where(empty, 0.0, total)


def _bregman(r: Tensor) -> Tensor:
    """Return r e^r - e^r + 1 to its last digits."""
    series = r * r * (0.5 + r * (1 / 3 + r * (1 / 8 + r * (1 / 30 + r * (1 / 144 + r / 840)))))
    return torch.where(r.abs() < 1e-2, series, r * torch.exp(r) - torch.expm1(r))


def _exchange(own: Tensor, group: ProcessGroup | None) -> Tensor:
    """Return every rank's numbers, in the order of the ranks."""
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    try:
        dist.all_gather(parts, own, group=group)
    except RuntimeError as error:
        message = (
            f"rank {dist.get_rank(group)} of {len(parts)} got no answer: another rank has died or is stuck "
            f"(the group's timeout is {_timeout(group)}: init_process_group(timeout=...)). {error}"
        )
        raise ExchangeError(message) from error
    return torch.stack(parts)


def _timeout(group: ProcessGroup | None) -> str:
    """Return how long a group's exchange waits, where its backend tells."""
    group = group or dist.group.WORLD
    backend = None if group is None else group._get_backend(torch.device("cpu"))
    waits = getattr(getattr(backend, "options", None), "_timeout", None)
    return "not known" if waits is None else f"{waits.total_seconds():g} s"


class _Sharded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, loss: Loss, group: ProcessGroup | None) -> Tensor:  # noqa: ANN401
        n, c, h, w = student.shape
        student, teacher = student.detach().contiguous(), teacher.detach().contiguous()
        own = torch.zeros(n * c, 6, dtype=torch.float64)
        own[:, [_T, _S]] = -torch.inf
        if student.numel() > 0:
            loss.row_sums(student, teacher, own)
        sizes = _exchange(torch.tensor([n, c, h * w]), group)
        if (sizes[:, :2] != sizes[0, :2]).any():
            message = f"the ranks' parts are of {sizes[:, 0].tolist()} images and {sizes[:, 1].tolist()} channels"
            raise ValueError(message)
        positions = int(sizes[:, 2].sum())
        if positions == 0:
            message = "every rank's part is empty"
            raise ValueError(message)
        tau = loss.options["tau"]
        assert isinstance(tau, float)
        merged = merge_sums(_exchange(own, group), tau)
        whole = loss.scale((n, c, 1, positions))
        ctx.loss, ctx.factor = loss, (whole / loss.scale((n, c, h, w)) if student.numel() > 0 else 0.0)
        ctx.save_for_backward(student, teacher, merged)
        dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
        return (whole * merged[:, _KL].sum()).to(dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        student, teacher, merged = ctx.saved_tensors
        gradient = torch.empty_like(student)
        if student.numel() > 0:
            factor = float(upstream) * ctx.factor
            ctx.loss.gradient_of_sums(student, teacher, merged, factor, gradient)
        return gradient, None, None, None
