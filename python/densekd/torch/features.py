"""Features of a network by the names of its modules."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.utils.hooks import RemovableHandle

#: What wrappers put before the names of a network's modules.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def plain_name(name: str) -> str:
    """Return a module's name without what DDP, `torch.compile` and their like put before it.

    >>> plain_name("module._orig_mod.backbone.layer4")
    'backbone.layer4'
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


class Features:
    """What named modules of a network put out, of its latest forward pass.

    The name `""` is the network itself. A module that puts out a mapping or a sequence is named with the entry:
    `backbone[2]`, `head[out]`.
    """

    def __init__(self, network: nn.Module, names: Iterable[str], role: str) -> None:
        """Watch these modules of a network that messages call by its `role`."""
        self._role = role
        self._found: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        modules = {plain_name(name): module for name, module in network.named_modules()}
        for name in dict.fromkeys(names):
            path, entry = _split(name)
            module = modules.get(plain_name(path))
            if module is None:
                near = difflib.get_close_matches(path, list(modules), n=3)
                message = f"the {role} has no module {path!r}" + (f": is it one of {near}?" if near else "")
                raise ValueError(message)
            self._handles.append(module.register_forward_hook(self._keep(name, entry)))

    def _keep(self, name: str, entry: str | None) -> Any:  # noqa: ANN401
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            self._found[name] = self._tensor(name, output, entry)

        return hook

    def _tensor(self, name: str, output: Any, entry: str | None) -> Tensor:  # noqa: ANN401
        if entry is not None:
            try:
                output = output[int(entry)] if isinstance(output, (list, tuple)) else output[entry]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                message = f"module {name!r} of the {self._role} puts out no such entry: {error!r}"
                raise ValueError(message) from error
        if not isinstance(output, Tensor):
            message = (
                f"module {name!r} of the {self._role} puts out a {type(output).__name__}, not a tensor: "
                f"name an entry of it, as in {name + '[0]'!r}"
            )
            raise TypeError(message)
        return output

    def take(self, name: str) -> Tensor:
        """Return what a module put out; refuse where it was not run since the last `clear`."""
        if name not in self._found:
            message = (
                f"module {name!r} of the {self._role} was not run: nothing would be distilled from it. Run the "
                f"{self._role} first, through the object that was given here or a wrapper of it"
            )
            raise RuntimeError(message)
        return self._found[name]

    def clear(self) -> None:
        """Forget what was put out."""
        self._found.clear()

    def close(self) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.clear()


def _split(name: str) -> tuple[str, str | None]:
    """Split a name from the entry in brackets behind it."""
    if name.endswith("]") and "[" in name:
        path, _, entry = name[:-1].rpartition("[")
        return path, entry
    return name, None


def unwrapped(network: nn.Module) -> nn.Module:
    """Return a network without the wrappers around it."""
    while True:
        inner = next((getattr(network, name) for name in _WRAPPERS[:2] if hasattr(network, name)), None)
        if not isinstance(inner, nn.Module):
            return network
        network = inner


@torch.no_grad()
def is_all_zero(x: Tensor) -> bool:
    """Tell whether nothing but 0 stands in a tensor."""
    return not bool(x.any())
