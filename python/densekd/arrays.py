"""What counts as an array here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The value of an option: a number, a choice by name, a switch, height and
#: width, or nothing.
Option = float | int | str | bool | tuple[int, int] | None


class Array(Protocol):
    """An array that lends its memory by DLPack: NumPy's, PyTorch's, JAX's, CuPy's."""

    @property
    def shape(self) -> Sequence[int]:
        """Its dimensions."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Lend the memory."""

    def __dlpack_device__(self) -> tuple[int, int]:
        """Say where the memory is."""
