"""A teacher beside a student in training: features, adapters, weights, and what can go wrong."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .features import Features, is_all_zero, unwrapped
from .losses import DistillationLoss

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

#: Forward passes after which a training that does not distil is told so.
_PATIENCE = 3


class DistillationWarning(UserWarning):
    """Distillation is set up, but does not happen or drowns the task."""


@dataclass(frozen=True)
class Pair:
    """A module of the student that learns from one of the teacher.

    `student` and `teacher` are names of modules (`backbone.layer4`; `""` for the network itself; `head[aux]` for an
    entry of what a module puts out). `weight` multiplies the loss, or is a function of the step. `adapter` is applied
    to the student's features first; `channels=(C_s, C_t)` makes it a 1x1 convolution. `resize` says how the
    student's features are brought to the teacher's height and width where these differ; without it they must agree.
    """

    student: str
    teacher: str
    loss: DistillationLoss
    name: str = ""
    weight: float | Callable[[int], float] = 1.0
    adapter: nn.Module | None = None
    channels: tuple[int, int] | None = None
    resize: str | None = None

    def __post_init__(self) -> None:
        """Check what goes together."""
        if self.adapter is not None and self.channels is not None:
            message = "adapter and channels are both given: channels makes an adapter"
            raise ValueError(message)
        if self.resize not in (None, "nearest", "bilinear"):
            message = f"resize is {self.resize!r}: wanted 'bilinear', 'nearest' or None"
            raise ValueError(message)

    @property
    def title(self) -> str:
        """What the term is called in logs."""
        return self.name or f"{self.student or 'student'}_{self.loss.loss.name}"

    def weight_at(self, step: int) -> float:
        """Return the weight of a step."""
        return self.weight(step) if callable(self.weight) else self.weight


@dataclass(frozen=True)
class Terms:
    """The losses of one step, weighted, by name."""

    terms: Mapping[str, Tensor]
    weights: Mapping[str, float]
    total: Tensor
    features: Mapping[str, Tensor] = field(repr=False)

    def log(self, prefix: str = "distil/") -> dict[str, float]:
        """Return values for a log: every term, its weight, the total."""
        values = {f"{prefix}{name}": term.item() for name, term in self.terms.items()}
        values |= {f"{prefix}{name}/weight": weight for name, weight in self.weights.items()}
        return values | {f"{prefix}total": self.total.item()}


class Distiller(nn.Module):
    """Compares modules of a student with modules of a teacher.

    The student is run as ever; then the distiller, on the same inputs, runs the teacher (in eval mode, without
    gradients) and returns the losses of what both put out:

        distiller = Distiller(student, teacher, [Pair("backbone", "backbone", ChannelWiseKD(tau=4.0), weight=3.0)])
        optimizer = SGD([*student.parameters(), *distiller.parameters()], lr=0.01)
        for step, (images, labels) in enumerate(loader):
            task = criterion(student(images), labels)
            distilled = distiller(images, task_loss=task)
            (task + distilled.total).backward()

    Its parameters, and its `state_dict`, are those of the adapters alone.

    It warns (`DistillationWarning`) where the teacher was put in train mode, a term's gradient is zero throughout, an
    adapter's parameters do not change, or a term is 1,000 times the task's loss; it raises where a module was not run.
    """

    adapters: nn.ModuleDict

    def __init__(self, student: nn.Module, teacher: nn.Module, pairs: Sequence[Pair]) -> None:
        """Watch both networks; they stay the caller's."""
        super().__init__()
        if not pairs:
            message = "no pairs: nothing would be distilled"
            raise ValueError(message)
        titles = [pair.title for pair in pairs]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            message = f"several pairs are called {twice}: give them a name"
            raise ValueError(message)
        if unwrapped(teacher) is unwrapped(student):
            message = "the teacher is the student"
            raise ValueError(message)
        self.pairs = tuple(pairs)
        self.adapters = nn.ModuleDict(
            {_key(pair.title): adapter for pair in pairs if (adapter := _adapter(pair)) is not None}
        )
        # In a tuple: a network that was an attribute would be a part of this module.
        self._teacher = (teacher.eval(),)
        self._of_student = Features(student, (pair.student for pair in pairs), "student")
        self._of_teacher = Features(teacher, (pair.teacher for pair in pairs), "teacher")
        self._step = 0
        self._watch = _Watch()

    @property
    def teacher(self) -> nn.Module:
        """The teacher."""
        return self._teacher[0]

    def forward(
        self,
        *inputs: Any,  # noqa: ANN401
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        task_loss: Tensor | None = None,
        teacher_features: Mapping[str, Tensor] | None = None,
        **keywords: Any,  # noqa: ANN401
    ) -> Terms:
        """Run the teacher on the inputs that the student has had, and return the losses.

        With `teacher_features`, by the names of the pairs' modules, it is not run: see `TeacherCache`.
        """
        if teacher_features is None:
            self._run_teacher(*inputs, **keywords)
            teacher_features = {pair.teacher: self._of_teacher.take(pair.teacher) for pair in self.pairs}
        terms, weights, features = {}, {}, {}
        for pair in self.pairs:
            feature = self._of_student.take(pair.student)
            # A node of its own in the graph: what flows back through it is of this term alone.
            own = feature.view_as(feature)
            weight = pair.weight_at(self._step)
            terms[pair.title] = weight * self._compare(pair, own, teacher_features[pair.teacher], labels, mask)
            weights[pair.title], features[pair.title] = weight, feature
            if weight != 0:
                self._watch.gradient(pair.title, own)
            self._watch.size(pair.title, terms[pair.title], task_loss)
        self._watch.adapters(self.adapters)
        self._of_student.clear()
        if self.training:
            self._step += 1
        return Terms(terms, weights, torch.stack(list(terms.values())).sum(), features)

    def _run_teacher(self, *inputs: Any, **keywords: Any) -> None:  # noqa: ANN401
        if self.teacher.training:
            self._watch.say("the teacher was in train mode: it was put in eval mode again")
            self.teacher.eval()
        self._of_teacher.clear()
        with torch.no_grad():
            self.teacher(*inputs, **keywords)

    def _compare(
        self, pair: Pair, student: Tensor, teacher: Tensor, labels: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        key = _key(pair.title)
        if key in self.adapters:
            student = self.adapters[key](student)
        if pair.resize is not None and student.shape[2:] != teacher.shape[2:]:
            corners = False if pair.resize == "bilinear" else None
            student = F.interpolate(student, size=teacher.shape[2:], mode=pair.resize, align_corners=corners)
        takes = pair.loss.loss
        try:
            found: Tensor = pair.loss(
                student,
                teacher if takes.takes_teacher else None,
                labels=labels if takes.takes_labels else None,
                mask=mask if takes.takes_mask else None,
            )
        except ValueError as error:
            if student.shape == teacher.shape:
                raise
            # Some losses compare features of unlike numbers of channels: only the loss knows.
            message = (
                f"{pair.title}: the student's features are {tuple(student.shape)}, the teacher's "
                f"{tuple(teacher.shape)}: give the pair channels=({student.shape[1]}, {teacher.shape[1]}), "
                "an adapter, or resize='bilinear'"
            )
            raise ValueError(message) from error
        return found

    def suggest_weights(self, task_loss: Tensor, terms: Terms, share: float = 1.0) -> dict[str, float]:
        """Return, by term, the factor that makes its gradient so large a `share` of the task's.

        Both gradients are those to the student's features of the term, as norms; graphs are kept.
        """
        factors = {}
        for name, term in terms.terms.items():
            feature = terms.features[name]
            of_task, of_term = (
                torch.autograd.grad(loss, feature, retain_graph=True, allow_unused=True)[0]
                for loss in (task_loss, term)
            )
            norms = [0.0 if x is None else x.norm().item() for x in (of_task, of_term)]
            factors[name] = share * norms[0] / norms[1] if norms[1] > 0 else float("inf")
        return factors

    def check_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Refuse an optimiser that would leave an adapter as it is."""
        held = {id(x) for group in optimizer.param_groups for x in group["params"]}
        missing = [name for name, x in self.adapters.named_parameters() if id(x) not in held]
        if missing:
            message = f"the optimiser does not hold {missing}: give it [*student.parameters(), *distiller.parameters()]"
            raise ValueError(message)

    def close(self) -> None:
        """Take the hooks off both networks."""
        self._of_student.close()
        self._of_teacher.close()

    def __enter__(self) -> Self:
        """Close at the end of a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _key(title: str) -> str:
    """Return a name that a `ModuleDict` takes."""
    return title.replace(".", "-") or "-"


def _adapter(pair: Pair) -> nn.Module | None:
    if pair.channels is None:
        return pair.adapter
    return nn.Conv2d(*pair.channels, kernel_size=1)


class _Watch:
    """Tells where distillation does not happen; each fault once."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._zero: dict[str, int] = {}
        self._versions: dict[str, tuple[int, int]] = {}

    def say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            warnings.warn(text, DistillationWarning, stacklevel=3)

    def gradient(self, title: str, feature: Tensor) -> None:
        """Look at a term's gradient to the student, in the first passes."""
        if not feature.requires_grad:
            if torch.is_grad_enabled():
                self.say(f"{title}: the student's features take no gradient: nothing will be learnt")
            return
        if self._zero.get(title, 0) < 0:
            return

        def look(gradient: Tensor) -> None:
            if not is_all_zero(gradient):
                self._zero[title] = -1
                return
            self._zero[title] = self._zero.get(title, 0) + 1
            if self._zero[title] == _PATIENCE:
                self.say(f"{title}: its gradient to the student was 0 throughout, {_PATIENCE} times: nothing is learnt")

        feature.register_hook(look)  # type: ignore[no-untyped-call]

    def size(self, title: str, term: Tensor, task_loss: Tensor | None) -> None:
        """Compare a term with the task's loss."""
        if task_loss is None:
            return
        ours, task = abs(term.item()), abs(task_loss.item())
        if task > 0 and ours > 1000 * task:
            self.say(f"{title}: {ours:.3g} is more than 1,000 times the task's loss ({task:.3g}): lower its weight")

    def adapters(self, adapters: nn.ModuleDict) -> None:
        """See whether parameters with gradients are ever written to."""
        for name, x in adapters.named_parameters():
            version, waited = self._versions.get(name, (x._version, 0))
            if version != x._version:
                waited = -1
            if waited < 0:
                self._versions[name] = (version, -1)
                continue
            waited += x.grad is not None
            self._versions[name] = (version, waited)
            if waited == _PATIENCE:
                self.say(f"adapter {name} has gradients, but no optimiser changes it: add distiller.parameters()")
