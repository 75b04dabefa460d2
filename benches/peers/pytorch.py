"""PyTorch: the forms that published codes have, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch._dynamo
import torch._inductor.config
from torch.nn import functional as F

from .peer import Calls, Peer
from .work import TAU

if TYPE_CHECKING:
    from .work import Floats, Maps, Work

Form = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def log_softmax_form(t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """Softmax of the teacher, log-softmax of both, as in mmrazor's ChannelWiseDivergence."""
    p = F.softmax(t, dim=1)
    return (p * F.log_softmax(t, dim=1) - p * F.log_softmax(s, dim=1)).sum()


def kl_div_form(t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """PyTorch's own KL divergence, of the teacher's probabilities."""
    return F.kl_div(F.log_softmax(s, dim=1), F.softmax(t, dim=1), reduction="sum")


def log_target_form(t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """PyTorch's own KL divergence, of the teacher's log-probabilities."""
    log_p, log_q = F.log_softmax(t, dim=1), F.log_softmax(s, dim=1)
    return F.kl_div(log_q, log_p, reduction="sum", log_target=True)


FORMS: dict[str, Form] = {
    "log_softmax": log_softmax_form,
    "kl_div": kl_div_form,
    "kl_div log_target": log_target_form,
}


def on_maps(form: Form, work: Work) -> Form:
    """Return a form on maps: its second axis, of the softmax, is channels for pi and positions for cwd."""
    scale = work.scale

    def loss(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
        t, s = teacher / TAU, student / TAU
        if work.loss == "cwd":
            t, s = (x.view(-1, x.shape[2] * x.shape[3]) for x in (t, s))
        return form(t, s) * scale

    return loss


def bound(loss: Form, maps: Maps) -> Calls:
    """Return the calls of a loss on a pair: without autograd, and with autograd to the student alone."""
    teacher, student = (torch.from_numpy(x) for x in (maps.teacher, maps.student))

    def value() -> float:
        with torch.no_grad():
            return float(loss(teacher, student))

    def value_and_gradient() -> tuple[float, Floats]:
        leaf = student.detach().requires_grad_()
        found = loss(teacher, leaf)
        (gradient,) = torch.autograd.grad(found, leaf)
        return float(found.detach()), gradient.numpy()

    return Calls(value, value_and_gradient)


def peers(work: Work, threads: int) -> list[Peer]:
    """Return eager and compiled forms for so many threads; what was compiled for another number is let go."""
    torch.set_num_threads(threads)
    torch._dynamo.reset()
    # The number stands in the code that is generated.
    torch._inductor.config.cpp.threads = threads

    def peer(kind: str, name: str, loss: Form) -> Peer:
        return Peer(f"{kind} {name}", lambda maps: bound(loss, maps))

    eager = {name: on_maps(form, work) for name, form in FORMS.items()}
    compiled = {name: torch.compile(loss, dynamic=False, fullgraph=True) for name, loss in eager.items()}
    return [peer("eager", *form) for form in eager.items()] + [
        peer("compiled", *form) for form in compiled.items()
    ]
