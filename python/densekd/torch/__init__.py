"""Distillation losses as modules of PyTorch.

A module's `forward(student, teacher)` is a scalar whose gradient is the library's own:
one sweep over the maps gives both, and nothing but the gradient is kept.
"""

from .distiller import DistillationWarning, Distiller, Pair, Terms
from .losses import (
    AttentionTransfer,
    ChannelWiseKD,
    DecoupledKD,
    DistillationLoss,
    DistKD,
    FeatureMimicking,
    IntraClassVariation,
    LabelSmoothing,
    LocalAffinity,
    PairWiseAffinity,
    PearsonKD,
    PixelWiseKD,
    RelationalKD,
)

__all__ = [
    "AttentionTransfer",
    "ChannelWiseKD",
    "DecoupledKD",
    "DistKD",
    "DistillationLoss",
    "DistillationWarning",
    "Distiller",
    "FeatureMimicking",
    "IntraClassVariation",
    "LabelSmoothing",
    "LocalAffinity",
    "Pair",
    "PairWiseAffinity",
    "PearsonKD",
    "PixelWiseKD",
    "RelationalKD",
    "Terms",
]
