"""Losses under the names and keys that OpenMMLab's configs use.

import densekd.torch.openmmlab as densekd_mmlab
densekd_mmlab.register()
distill_losses=dict(loss_cwd=dict(type="DensekdChannelWiseDivergence", tau=4.0, loss_weight=3.0))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from densekd import Loss

from .losses import DistillationLoss

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ChannelWiseDivergence", "KLDivergence", "register"]


class _Divergence(DistillationLoss):
    def forward(self, preds_S: Tensor, preds_T: Tensor) -> Tensor:  # type: ignore[override]  # noqa: N803
        """Evaluate the loss of the student's and the teacher's maps; the teacher's gradient is cut, as mmrazor does."""
        return super().forward(preds_S, preds_T.detach())


class ChannelWiseDivergence(_Divergence):
    """Channel-wise distillation with mmrazor's parameters and numbers (preset `mmrazor-cwd`)."""

    def __init__(self, tau: float = 1.0, loss_weight: float = 1.0) -> None:
        """Take temperature and weight."""
        super().__init__(Loss.preset("mmrazor-cwd", tau=tau, weight=loss_weight))


class KLDivergence(_Divergence):
    """Distillation of each position's classes with mmrazor's parameters and numbers (preset `mmrazor-pi`)."""

    def __init__(self, tau: float = 1.0, loss_weight: float = 1.0) -> None:
        """Take temperature and weight."""
        super().__init__(Loss.preset("mmrazor-pi", tau=tau, weight=loss_weight))


def register(*, force: bool = False) -> None:
    """Add the losses to mmengine's registry of models as `Densekd<name>`."""
    from mmengine.registry import MODELS

    for module in (ChannelWiseDivergence, KLDivergence):
        MODELS.register_module(name=f"Densekd{module.__name__}", module=module, force=force)
