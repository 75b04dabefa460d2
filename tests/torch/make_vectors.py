"""Vectors of PyTorch: resizes, 1x1 convolutions, and what the usual forms of channel-wise distillation print.

Everything is computed on the CPU, by the functions that a training script calls and by autograd. Nothing here
knows how densekd computes. The files beside this program were made by it and carry the version of PyTorch;
`tests/tests/torch.rs` reads them.

    python tests/torch/make_vectors.py        # needs torch and numpy

| file | content |
| --- | --- |
| resize.json | `interpolate` of a plane and the gradient of `<gradient, resized>` to it, in f64 |
| nearest.json | every cell that nearest takes elsewhere than at floor(i from / to), of extents up to 128 |
| conv1x1.json | `conv2d` with a 1x1 kernel, and the gradients to input, weight and bias, in f64 |
| usual.json | the loss as published codes print it, every tensor of the type named |

Inputs are multiples of 1/64, which every type holds exactly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

    Form = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

HERE = Path(__file__).resolve().parent
RNG = np.random.default_rng(1)

#: Heights and widths before and after: up, down, both, odd, even, a single pixel, equal.
SIZES = [
    ((1, 1), (1, 1)),
    ((1, 1), (3, 2)),
    ((5, 6), (1, 1)),
    ((4, 3), (8, 6)),
    ((4, 6), (2, 3)),
    ((3, 4), (5, 7)),
    ((7, 5), (4, 2)),
    ((3, 5), (6, 4)),
    ((1, 5), (2, 3)),
    ((6, 1), (4, 1)),
    ((5, 4), (5, 4)),
    ((2, 3), (9, 1)),
]

#: Names, and how `interpolate` is asked.
MODES: dict[str, dict[str, Any]] = {
    "nearest": {"mode": "nearest"},
    "bilinear": {"mode": "bilinear", "align_corners": False},
    "bilinear, corners aligned": {"mode": "bilinear", "align_corners": True},
    "area": {"mode": "area"},
}

#: The largest extent that nearest is tried on.
EXTENTS = 128

#: N, C_in, C_out, H, W, and whether there is a bias.
CONVOLUTIONS = [
    (1, 1, 1, 1, 1, True),
    (1, 3, 2, 2, 3, True),
    (2, 2, 5, 3, 2, False),
    (2, 5, 3, 1, 4, True),
    (1, 7, 1, 3, 3, False),
]


def draw(*shape: int, spread: float = 1.0) -> torch.Tensor:
    """Return multiples of 1/64 around 0, in f64."""
    return torch.from_numpy(np.round(RNG.standard_normal(shape) * spread * 64) / 64)


def flat(tensor: torch.Tensor) -> list[float]:
    """Return the elements in C order."""
    numbers: list[float] = tensor.detach().double().flatten().tolist()
    return numbers


def number(x: float) -> float | str:
    """Return a number, or the name of one that JSON has not."""
    return x if np.isfinite(x) else str(x)


def resizes() -> list[dict[str, Any]]:
    """Resize a plane for each pair of sizes, in every mode."""
    cases = []
    for before, after in SIZES:
        plane, gradient = draw(*before), draw(*after)
        modes = {}
        for name, how in MODES.items():
            leaf = plane[None, None].clone().requires_grad_()
            resized = F.interpolate(leaf, size=after, **how)
            (pulled,) = torch.autograd.grad(resized, leaf, gradient[None, None])
            modes[name] = {"resized": flat(resized), "pulled": flat(pulled)}
        cases.append(
            {
                "from": before,
                "to": after,
                "plane": flat(plane),
                "gradient": flat(gradient),
                "modes": modes,
            }
        )
    return cases


def nearest() -> list[dict[str, int]]:
    """Ask nearest for the cell that each output cell is made of, and keep what is not floor(i from / to)."""
    cells = []
    for before in range(1, EXTENTS + 1):
        line = torch.arange(before, dtype=torch.float64)[None, None, None]
        for after in range(1, EXTENTS + 1):
            taken = F.interpolate(line, size=(1, after), mode="nearest").flatten().tolist()
            cells += [
                {"from": before, "to": after, "at": i, "taken": int(cell)}
                for i, cell in enumerate(taken)
                if int(cell) != i * before // after
            ]
    return cells


def convolutions() -> list[dict[str, Any]]:
    """Map channels, and bring a gradient back to all that it depends on."""
    cases = []
    for n, inputs, outputs, h, w, biased in CONVOLUTIONS:
        image = draw(n, inputs, h, w).requires_grad_()
        weight = draw(outputs, inputs, 1, 1).requires_grad_()
        bias = draw(outputs).requires_grad_()
        gradient = draw(n, outputs, h, w)
        mapped = F.conv2d(image, weight, bias if biased else None)
        leaves = [image, weight] + [bias] * biased
        pulled = torch.autograd.grad(mapped, leaves, gradient)
        case: dict[str, Any] = {"shape": [n, inputs, h, w], "outputs": outputs}
        case |= {"image": flat(image), "weight": flat(weight)}
        case |= {"gradient": flat(gradient), "mapped": flat(mapped)}
        case |= {"bias": flat(bias) if biased else None}
        names = ["pulled_image", "pulled_weight", "pulled_bias"]
        case |= {name: flat(x) for name, x in zip(names[: len(pulled)], pulled, strict=True)}
        cases.append(case)
    return cases


def softmax_log(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Softmax first, its logarithm after."""
    p, q = (F.softmax(x.flatten(2), dim=2) for x in (teacher, student))
    return F.kl_div(q.log(), p, reduction="sum")


def log_softmax(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Logarithms of softmax, as in mmrazor's ChannelWiseDivergence."""
    t, s = (x.flatten(2) for x in (teacher, student))
    p = F.softmax(t, dim=2)
    return torch.sum(p * F.log_softmax(t, dim=2) - p * F.log_softmax(s, dim=2))


def printed(form: Form, pair: list[torch.Tensor], tau: float) -> float | str:
    """Return tau^2 / (C N) times the sum, as mmrazor scales it."""
    n, c = pair[0].shape[:2]
    total = form(*(x / tau for x in pair))
    return number(float(total * tau**2 / (c * n)))


def usual() -> list[dict[str, Any]]:
    """Print the loss of pairs that are far, near, and too far for half precision."""
    pairs: list[tuple[str, list[torch.Tensor]]] = []
    for name, shape, spread in [
        ("far", (1, 3, 4, 4), 3.0),
        ("far, 7 x 7", (2, 2, 7, 7), 3.0),
        ("far, one row", (1, 1, 1, 200), 2.0),
        ("flat", (1, 4, 5, 5), 0.25),
    ]:
        pairs.append((name, [draw(*shape, spread=spread), draw(*shape, spread=spread)]))
    teacher = draw(1, 3, 6, 6, spread=3.0)
    pairs.append(("near", [teacher, teacher + draw(1, 3, 6, 6, spread=0.05)]))
    pairs.append(("equal", [teacher, teacher]))
    far = [draw(1, 2, 4, 4), draw(1, 2, 4, 4)]
    far[1][0, 1, 2, 2] = -24.0
    pairs.append(("q is 0 in f16", far))
    both = [x.clone() for x in far]
    for x in both:
        x[0, 1, 2, 2] = -200.0
    pairs.append(("p and q are 0", both))
    large = [x.clone() for x in far]
    large[0][0, 0, 0, 0] = 70000.0
    pairs.append(("beyond f16", large))
    cases = []
    for (name, pair), tau in [(pair, tau) for pair in pairs for tau in (1.0, 4.0)]:
        halves, floats = [x.half() for x in pair], [x.float() for x in pair]
        cases.append(
            {
                "name": name,
                "tau": tau,
                "shape": list(pair[0].shape),
                "teacher": flat(pair[0]),
                "student": flat(pair[1]),
                "softmax_log_f16": printed(softmax_log, halves, tau),
                "softmax_log_f32": printed(softmax_log, floats, tau),
                "log_softmax_f32": printed(log_softmax, floats, tau),
            }
        )
    return cases


def write(name: str, cases: list[Any], **more: object) -> None:
    """Write a file, a case a line."""
    head = {"made_by": "make_vectors.py", "torch": torch.__version__} | more
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    text = json.dumps(head)[:-1] + f', "cases": [\n{lines}\n]}}\n'
    (HERE / name).write_text(text, encoding="utf-8")


def main() -> None:
    """Make all files."""
    torch.set_num_threads(1)
    write("resize.json", resizes())
    write("nearest.json", nearest(), extents=EXTENTS)
    write("conv1x1.json", convolutions())
    write("usual.json", usual())


if __name__ == "__main__":
    main()
