"""What a peer is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .work import Floats, Maps

#: What is timed: the value alone, or the value and the gradient to the student.
LOSS, GRADIENT = "loss", "loss+gradient"


class Calls(NamedTuple):
    """A peer's calls on one pair of maps."""

    loss: Callable[[], float]
    gradient: Callable[[], tuple[float, Floats]] | None

    def of(self, what: str) -> Callable[[], object] | None:
        """Return the call for a kind of work, where the peer has it."""
        return self.loss if what == LOSS else self.gradient


@dataclass(frozen=True)
class Peer:
    """A way to compute the loss that is not densekd's."""

    name: str
    bind: Callable[[Maps], Calls]
