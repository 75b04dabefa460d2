"""The schedules, and what is distilled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from densekd.torch import ChannelWiseKD, DistillationLoss


@dataclass(frozen=True)
class Term:
    """A loss at a module of both networks."""

    module: str
    loss: DistillationLoss
    #: Whether a 1x1 convolution brings the student's channels to the teacher's number.
    adapted: bool = False


@dataclass(frozen=True)
class Config:
    """A training."""

    student: str
    teacher: str
    #: Images a step, over all processes.
    batch: int
    steps: int
    learning_rate: float
    weight_decay: float
    #: Height and width of a crop (Cityscapes), or the shorter and the longer side at most (COCO).
    size: tuple[int, int]
    terms: tuple[Term, ...]
    #: The learning rate falls as (1 - step / steps)^power, or to a tenth at each of these shares of the steps.
    power: float = 0.9
    drops: tuple[float, ...] = ()
    warm_up: int = 0
    #: Steps between two states that are kept.
    keep_every: int = field(default=2000, kw_only=True)


#: PSPNet: tau 4, weight 3 at the logits and 50 at the head's features, at stride 8.
CITYSCAPES = Config(
    student="resnet18",
    teacher="resnet101",
    batch=8,
    steps=40_000,
    learning_rate=1e-2,
    weight_decay=5e-4,
    size=(512, 512),
    terms=(
        Term("head.logits", ChannelWiseKD(tau=4.0, weight=3.0)),
        Term("head.features", ChannelWiseKD(tau=4.0, weight=50.0), adapted=True),
    ),
)

#: RetinaNet, twice the usual schedule: mmrazor's setting for the maps of a feature pyramid (tau 1, weight 10).
COCO = Config(
    student="resnet50",
    teacher="resnext101_64x4d",
    batch=16,
    steps=180_000,
    learning_rate=1e-2,
    weight_decay=1e-4,
    size=(800, 1333),
    terms=tuple(
        Term(f"backbone[{level}]", ChannelWiseKD(tau=1.0, weight=10.0)) for level in ("0", "1", "2", "p6", "p7")
    ),
    drops=(2 / 3, 8 / 9),
    warm_up=500,
)


def rehearsal(config: Config) -> Config:
    """Return the same on small images, in two steps, with a teacher that is soon made."""
    return replace(config, teacher="resnet50", batch=4, steps=2, size=(64, 64), warm_up=0, keep_every=1)
