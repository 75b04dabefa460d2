"""What is compared: each loss, where it is applied, and what the networks are compared at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from densekd.torch import (
    AttentionTransfer,
    ChannelWiseKD,
    DistillationLoss,
    FeatureMimicking,
    IntraClassVariation,
    LocalAffinity,
    Pair,
    PairWiseAffinity,
    PixelWiseKD,
)

from .data import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from .networks import Network

FEATURES, LOGITS = "features", "head"


@dataclass(frozen=True)
class Term:
    """A loss at a module of both networks, at its part of the method's weight."""

    module: str
    loss: Callable[[], DistillationLoss]
    part: float = 1.0
    #: Whether a 1x1 convolution brings the student's channels to the teacher's number.
    adapted: bool = False


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    terms: tuple[Term, ...] = ()
    #: Whether the unlabelled tiles go through the student, and so through its BatchNorm.
    unlabelled: bool = True

    def pairs(self, weight: float, student: Network, teacher: Network) -> list[Pair]:
        """Return what a distiller compares."""
        return [
            Pair(
                term.module,
                term.module,
                term.loss(),
                weight=weight * term.part,
                channels=(student.width, teacher.width) if term.adapted else None,
            )
            for term in self.terms
        ]


def _logits(loss: Callable[[], DistillationLoss], part: float = 1.0) -> Term:
    return Term(LOGITS, loss, part)


def _features(loss: Callable[[], DistillationLoss], part: float = 1.0, *, adapted: bool = False) -> Term:
    return Term(FEATURES, loss, part, adapted)


#: What every gain is counted from.
CONTROL = "none"

#: By name. CWD with the paper's temperature, 4; together, logits and features in the paper's proportion, 3 to 50.
METHODS = {
    "labels only": Method(unlabelled=False),
    CONTROL: Method(),
    "CWD logits": Method((_logits(ChannelWiseKD),)),
    "CWD features": Method((_features(ChannelWiseKD, adapted=True),)),
    "CWD both": Method((_logits(ChannelWiseKD, 3.0), _features(ChannelWiseKD, 50.0, adapted=True))),
    "PI logits": Method((_logits(PixelWiseKD),)),
    "LA logits": Method((_logits(LocalAffinity),)),
    "AT features": Method((_features(AttentionTransfer),)),
    "PA features": Method((_features(PairWiseAffinity),)),
    "IFVD features": Method((_features(lambda: IntraClassVariation(num_classes=len(CLASSES))),)),
    "MIMIC features": Method((_features(FeatureMimicking, adapted=True),)),
}
