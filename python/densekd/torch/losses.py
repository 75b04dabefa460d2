"""One module a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from densekd import Loss

from .operators import Inputs, evaluate, written

if TYPE_CHECKING:
    from densekd.arrays import Option


class DistillationLoss(nn.Module):
    """Any loss, by a `Loss` or by the name of a published setting (`preset`).

    `forward(student, teacher)` takes maps `[N, C, H, W]` (or `[N, C, L]`, `[N, C]`) of float32, float64,
    float16 or bfloat16, contiguous or channels last; they are read in place, and only where the two lie
    in different orders is the teacher copied into the student's. The value is float32, of float64 maps
    float64.

    `teacher_grad` says what becomes of a teacher that requires a gradient: it gets it (`True`), it is a
    constant (`False`), or the call is refused (`None`, the default).
    """

    def __init__(self, loss: Loss | str, *, teacher_grad: bool | None = None, **options: Option) -> None:
        """Take a loss, or the name of one with its options."""
        super().__init__()
        if isinstance(loss, str):
            loss = Loss(loss, **options)
        elif options:
            message = f"options {', '.join(options)} beside a Loss, which has its own"
            raise TypeError(message)
        self.loss = loss
        # What tracers of graphs cannot ask an extension for.
        self._text, self._takes_teacher = written(loss), loss.takes_teacher
        self.teacher_grad = teacher_grad

    @classmethod
    def preset(cls, name: str, *, teacher_grad: bool | None = None, **options: Option) -> DistillationLoss:
        """Return the loss of a published code's settings; `options` replace some of them."""
        return DistillationLoss(Loss.preset(name, **options), teacher_grad=teacher_grad)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Evaluate the loss.

        `labels` (int64, `[N, H, W]`) are classes where the loss takes them, and leave out the positions
        of its `ignore_index`; `mask` (bool or uint8) leaves out those where it is 0.
        """
        if self._takes_teacher and teacher is None:
            message = f"{self.loss.name} compares with a teacher: none is given"
            raise TypeError(message)
        _check(student, "student")
        if teacher is not None:
            _check(teacher, "teacher")
        if teacher is not None and teacher.requires_grad and self.teacher_grad is None:
            message = "the teacher requires a gradient: detach it, or ask for it by teacher_grad=True"
            raise ValueError(message)
        inputs = Inputs(student, teacher, labels, mask)
        return evaluate(self.loss, self._text, inputs, teacher_grad=bool(self.teacher_grad))

    def extra_repr(self) -> str:
        """Show the options."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.loss.options.items())
        return f"{self.loss.name!r}, {options}"


def _check(x: Tensor, side: str) -> None:
    if x.layout is not torch.strided:
        message = f"{side} has layout {x.layout}: wanted torch.strided (`to_dense`)"
        raise TypeError(message)
    if not x.is_floating_point():
        message = f"{side} is of {x.dtype}: wanted float32, float64, float16 or bfloat16"
        raise TypeError(message)
    if x.is_meta:
        message = f"{side} is a meta tensor, which has no elements"
        raise ValueError(message)


class ChannelWiseKD(DistillationLoss):
    """Channel-wise distillation: KL divergence of softmaxes over a channel's positions (arXiv 2011.13256)."""

    def __init__(
        self, tau: float = 4.0, weight: float = 1.0, *, teacher_grad: bool | None = None, **options: Option
    ) -> None:
        """Take the options that differ from these."""
        super().__init__(Loss("cwd", tau=tau, weight=weight, **options), teacher_grad=teacher_grad)


class PixelWiseKD(DistillationLoss):
    """Pixel-wise distillation: KL divergence of each position's softmax over channels (arXiv 1503.02531)."""

    def __init__(
        self, tau: float = 1.0, weight: float = 1.0, *, teacher_grad: bool | None = None, **options: Option
    ) -> None:
        """Take the options that differ from these."""
        super().__init__(Loss("pi", tau=tau, weight=weight, **options), teacher_grad=teacher_grad)


class AttentionTransfer(DistillationLoss):
    """Attention transfer: distance of the maps of energy, each of unit length (arXiv 1612.03928)."""

    def __init__(
        self,
        mode: str = "code",
        p: int = 2,
        weight: float = 1.0,
        *,
        teacher_grad: bool | None = None,
        **options: Option,
    ) -> None:
        """Take the options that differ from these."""
        super().__init__(Loss("at", mode=mode, p=p, weight=weight, **options), teacher_grad=teacher_grad)


class LocalAffinity(DistillationLoss):
    """Local affinity: distances of a pixel to its 8 neighbours, or cosines with them (arXiv 1810.08476)."""

    def __init__(
        self, mode: str = "l2", weight: float = 1.0, *, teacher_grad: bool | None = None, **options: Option
    ) -> None:
        """Take the options that differ from these."""
        super().__init__(Loss("la", mode=mode, weight=weight, **options), teacher_grad=teacher_grad)


class PairWiseAffinity(DistillationLoss):
    """Pair-wise affinity: cosines of all pairs of pooled places (arXiv 1903.04197)."""

    def __init__(
        self,
        pool: str = "max",
        pool_scale: float = 0.5,
        weight: float = 1.0,
        *,
        teacher_grad: bool | None = None,
        **options: Option,
    ) -> None:
        """Take the options that differ from these."""
        super().__init__(
            Loss("pa", pool=pool, pool_scale=pool_scale, weight=weight, **options), teacher_grad=teacher_grad
        )


class IntraClassVariation(DistillationLoss):
    """Intra-class feature variation: cosines of pixels to the mean of their class (ECCV 2020, Wang et al.).

    `forward` needs `labels`.
    """

    def __init__(
        self,
        num_classes: int = 19,
        weight: float = 1.0,
        *,
        teacher_grad: bool | None = None,
        **options: Option,
    ) -> None:
        """Take the options that differ from these."""
        super().__init__(Loss("ifvd", num_classes=num_classes, weight=weight, **options), teacher_grad=teacher_grad)


class FeatureMimicking(DistillationLoss):
    """Feature mimicking: mean squared difference of features (arXiv 1412.6550)."""

    def __init__(
        self,
        weight: float = 1.0,
        *,
        standardise: bool = False,
        teacher_grad: bool | None = None,
        **options: Option,
    ) -> None:
        """Take the options that differ from these."""
        super().__init__(Loss("mimic", standardise=standardise, weight=weight, **options), teacher_grad=teacher_grad)


class PearsonKD(DistillationLoss):
    """Pearson correlation: squared distance of standardised channels (arXiv 2207.02039)."""

    def __init__(self, weight: float = 1.0, *, teacher_grad: bool | None = None, **options: Option) -> None:
        """Take the options that differ from these."""
        super().__init__(Loss("pkd", weight=weight, **options), teacher_grad=teacher_grad)


class DistKD(DistillationLoss):
    """Correlations between the classes of a position and the positions of a class (arXiv 2205.10536)."""

    def __init__(
        self, tau: float = 1.0, weight: float = 1.0, *, teacher_grad: bool | None = None, **options: Option
    ) -> None:
        """Take the options that differ from these."""
        super().__init__(Loss("dist", tau=tau, weight=weight, **options), teacher_grad=teacher_grad)


class DecoupledKD(DistillationLoss):
    """Decoupled distillation: the target's share, and the other classes among themselves (arXiv 2203.08679).

    `forward` needs `labels`.
    """

    def __init__(
        self,
        tau: float = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        weight: float = 1.0,
        *,
        teacher_grad: bool | None = None,
        **options: Option,
    ) -> None:
        """Take the options that differ from these."""
        super().__init__(
            Loss("dkd", tau=tau, alpha=alpha, beta=beta, weight=weight, **options), teacher_grad=teacher_grad
        )


class RelationalKD(DistillationLoss):
    """Relations between images: distances over their mean, and angles (arXiv 1904.05068)."""

    def __init__(
        self,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        weight: float = 1.0,
        *,
        teacher_grad: bool | None = None,
        **options: Option,
    ) -> None:
        """Take the options that differ from these."""
        super().__init__(
            Loss("rkd", distance_weight=distance_weight, angle_weight=angle_weight, weight=weight, **options),
            teacher_grad=teacher_grad,
        )


class LabelSmoothing(DistillationLoss):
    """Cross-entropy of the student with smoothed labels, without a teacher (arXiv 1512.00567).

    `forward` needs `labels`.
    """

    def __init__(
        self,
        smoothing: float = 0.1,
        weight: float = 1.0,
        *,
        teacher_grad: bool | None = None,
        **options: Option,
    ) -> None:
        """Take the options that differ from these."""
        super().__init__(Loss("smooth_ce", smoothing=smoothing, weight=weight, **options), teacher_grad=teacher_grad)
