"""Training and testing, with the same bits in every run.

One thread a process, seeds for the first weights and for the order of tiles, and PyTorch's deterministic algorithms:
see "The same figures twice" in the README.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

import densekd
from densekd.torch import Distiller
from densekd.torch.cache import TeacherCache

from . import networks
from .data import CLASSES, IGNORED, Tiles
from .methods import FEATURES, LOGITS, Method
from .settings import TRIAL_SEED, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from .networks import Network


@dataclass(frozen=True)
class Trained:
    """A student, and its mIoU on the validation tiles on the way, by step."""

    student: Network
    curve: list[tuple[int, float]]


@dataclass(frozen=True)
class Teaching:
    """What students learn from: tiles, the teacher, and what it puts out for every training tile."""

    settings: Settings
    tiles: Tiles
    teacher: Network
    #: By module, `[N, C, h, w]`, of the training tiles in their order.
    features: Mapping[str, Tensor]

    @classmethod
    def make(cls, settings: Settings, tiles: Tiles, teacher: Network, folder: Path) -> Teaching:
        """Run the teacher, or read what it put out before."""
        cache = TeacherCache(folder, teacher, [FEATURES, LOGITS])
        cache.fill((([i], tiles.images[[i]]) for i in tiles.train), progress=False)
        features = cache.batch(tiles.train)
        return cls(
            settings,
            tiles,
            teacher,
            {name: x.contiguous(memory_format=torch.channels_last) for name, x in features.items()},
        )

    def batches(self, seed: int) -> Iterator[tuple[list[int], int]]:
        """Return for every step the places of its tiles among the training tiles, and how many first ones are labelled.

        The same for every method: its students are compared by seed.
        """
        generator = torch.Generator().manual_seed(seed)
        count = len(self.tiles.train)
        labelled = list(range(self.settings.labelled_first, count, self.settings.labelled_every))
        rest = [i for i in range(count) if i not in labelled]
        size = self.settings.batch
        for _ in range(self.settings.student_steps):
            first, second = (
                [among[i] for i in torch.randperm(len(among), generator=generator)[:size].tolist()]
                for among in (labelled, rest)
            )
            yield first + second, len(first)


def alone(threads: int = 1) -> None:
    """Make this process compute the same bits whatever runs beside it."""
    torch.set_num_threads(threads)
    densekd.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)


def train_teacher(settings: Settings, tiles: Tiles) -> Network:
    """Train on every training tile, turned over at random."""
    torch.manual_seed(TRIAL_SEED)
    net = networks.teacher(settings.teacher_width, len(CLASSES))
    generator = torch.Generator().manual_seed(TRIAL_SEED)
    optimizer, schedule = _optimizer(list(net.parameters()), settings, settings.teacher_steps)
    for _ in range(settings.teacher_steps):
        places = torch.randperm(len(tiles.train), generator=generator)[: 2 * settings.batch].tolist()
        at = [tiles.train[i] for i in places]
        over = [dim for dim in (1, 2) if torch.rand((), generator=generator) < 0.5]
        images, labels = tiles.images[at].flip([dim + 1 for dim in over]), tiles.labels[at].flip(over)
        loss = _task(net(images), labels)
        _step(optimizer, schedule, loss)
    return net.eval()


def train_student(teaching: Teaching, method: Method, weight: float, seed: int) -> Trained:
    """Train a student by a method at a weight."""
    settings, tiles = teaching.settings, teaching.tiles
    net, distiller = _beginner(teaching, method, weight, seed)
    parameters = [*net.parameters(), *(distiller.parameters() if distiller else ())]
    optimizer, schedule = _optimizer(parameters, settings, settings.student_steps)
    curve = []
    for step, (places, labelled) in enumerate(teaching.batches(seed), start=1):
        task, distilled = _losses(teaching, method, net, distiller, places, labelled)
        _step(optimizer, schedule, task if distilled is None else task + distilled)
        if step % (settings.student_steps // settings.curve_points) == 0:
            curve.append((step, miou(net, tiles, tiles.validation)))
            net.train()
    if distiller:
        distiller.close()
    return Trained(net.eval(), curve)


def weight_of_share(teaching: Teaching, method: Method, share: float) -> float:
    """Return the weight at which the method's gradient, to a beginner's parameters, is this share of the task's."""
    net, distiller = _beginner(teaching, method, 1.0, TRIAL_SEED)
    places, labelled = next(teaching.batches(TRIAL_SEED))
    task, distilled = _losses(teaching, method, net, distiller, places, labelled)
    assert distiller is not None and distilled is not None
    distiller.close()
    of_features = list(net.features.parameters())
    of_task, of_method = (
        torch.cat([x.flatten() for x in torch.autograd.grad(loss, of_features, retain_graph=True)]).norm().item()
        for loss in (task, distilled)
    )
    # Two digits: it is a size, and is printed whole.
    return float(f"{share * of_task / of_method:.1e}")


@torch.no_grad()
def miou(net: nn.Module, tiles: Tiles, at: list[int]) -> float:
    """Return the mean over classes of intersection by union, in percent, over all pixels of the tiles."""
    net.eval()
    count = len(CLASSES)
    confusion = torch.zeros(count, count, dtype=torch.int64)
    for i in at:
        logits = F.interpolate(net(tiles.images[[i]]), scale_factor=networks.STRIDE, mode="bilinear")
        found, wanted = logits.argmax(1).flatten(), tiles.labels[i].flatten()
        counted = wanted != IGNORED
        confusion += torch.bincount(wanted[counted] * count + found[counted], minlength=count**2).view(count, count)
    both = confusion.diagonal().double()
    either = confusion.sum(0) + confusion.sum(1) - both
    return 100 * (both / either)[either > 0].mean().item()


def digest(net: nn.Module) -> str:
    """Return a fingerprint of a network's numbers, to their last bit."""
    found = hashlib.sha256()
    for x in net.state_dict().values():
        found.update(x.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _beginner(teaching: Teaching, method: Method, weight: float, seed: int) -> tuple[Network, Distiller | None]:
    torch.manual_seed(seed)
    net = networks.student(teaching.settings.student_width, len(CLASSES))
    pairs = method.pairs(weight, net, teaching.teacher)
    return net, Distiller(net, teaching.teacher, pairs) if pairs else None


def _losses(
    teaching: Teaching, method: Method, net: Network, distiller: Distiller | None, places: list[int], labelled: int
) -> tuple[Tensor, Tensor | None]:
    """Return the task's loss, of the labelled tiles, and the method's, of all."""
    tiles = teaching.tiles
    at = [tiles.train[i] for i in places]
    logits = net(tiles.images[at if method.unlabelled else at[:labelled]])
    labels = tiles.labels[at[:labelled]]
    task = _task(logits[:labelled], labels)
    if distiller is None:
        return task, None
    features = {name: x[places] for name, x in teaching.features.items()}
    # The classes of the unlabelled tiles are those that the teacher sees.
    seen = features[LOGITS].argmax(1)
    seen[:labelled] = _coarse(labels)
    return task, distiller(labels=seen, task_loss=task, teacher_features=features).total


def _task(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, _coarse(labels), ignore_index=IGNORED)


def _coarse(labels: Tensor) -> Tensor:
    """Return the labels of the pixels in the middle of what an output stands for."""
    middle = networks.STRIDE // 2
    return labels[:, middle :: networks.STRIDE, middle :: networks.STRIDE]


def _optimizer(
    parameters: list[nn.Parameter], settings: Settings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=1e-2)
    return optimizer, torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=steps, power=0.9)


def _step(optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    schedule.step()
