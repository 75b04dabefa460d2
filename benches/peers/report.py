"""Tables, the JSON file, and what contradicts the claims."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import torch

from .environment import ALLOCATOR
from .work import TAU

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .compare import Accuracy, Plan, Row

#: How far from the reference a contender's value may be. densekd: by this much of the value. The sums of a
#: textbook form cancel: it is off by so much of tau^2, whatever the value's size. ONNX Runtime adds number
#: after number, so that rounding errors walk: sqrt(5e6) 2^-25.
VALUE_TOLERANCE = {"densekd": 2e-6, "onnxruntime": 7e-5}
PEER_TOLERANCE = 2e-6
#: Of the largest entry.
GRADIENT_TOLERANCE = {"densekd": 2e-6, "peer": 1e-3}


def shape_of(found: Row | Accuracy) -> str:
    """Return such as `cwd 8x19x128x256`."""
    return f"{found.loss} {'x'.join(map(str, found.shape))}"


def faults(rows: list[Row], accuracies: list[Accuracy]) -> list[str]:
    """Return what contradicts the claims: right, and never slower than a peer at equal threads."""
    found = [
        f"slower than {row.peer}: {shape_of(row)}, {row.student}, {row.work}, {row.threads} thread(s), "
        f"{row.ratio:.2f}, best times {row.ratio_of_best:.2f}"
        for row in rows
        if not min(row.ratio, row.ratio_of_best) >= 1
    ]
    for row in accuracies:
        own = row.contender == "densekd"
        where = f"of {row.contender} is off: {shape_of(row)}, {row.student}"
        allowed = VALUE_TOLERANCE.get(row.contender, PEER_TOLERANCE) * (row.value if own else TAU * TAU)
        if not row.relative_error * row.value <= allowed:
            found.append(f"value {where}, {row.relative_error:.1e}")
        off = row.gradient_error
        if off is not None and not off <= GRADIENT_TOLERANCE["densekd" if own else "peer"]:
            found.append(f"gradient {where}, {off:.1e}")
    return found


def table(head: list[str], lines: Iterable[list[str]]) -> str:
    """Return a table as Markdown, numbers to the right."""
    ruler = ["---" if i < 2 else "---:" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ruler, *lines])


def speeds(rows: list[Row]) -> str:
    """Return a line for each piece of work: densekd's time, and by how many times each peer takes longer."""
    peers = list(dict.fromkeys(row.peer for row in rows))
    lines: dict[tuple[object, ...], dict[str, Row]] = {}
    for row in rows:
        key = (shape_of(row), row.work, row.student, row.threads)
        lines.setdefault(key, {})[row.peer] = row
    head = ["maps", "work", "student", "threads", "densekd ns", *peers]
    return table(
        head,
        (
            [*map(str, key), f"{min(x.densekd_ns for x in found.values()):.2f}"]
            + [f"{found[peer].ratio:.2f}" if peer in found else "" for peer in peers]
            for key, found in lines.items()
        ),
    )


def errors(accuracies: list[Accuracy]) -> str:
    """Return a line for each contender: relative errors of the value and of the gradient, by student."""
    students = list(dict.fromkeys(row.student for row in accuracies))
    lines: dict[tuple[str, str], list[str]] = {}
    for row in accuracies:
        gradient = "" if row.gradient_error is None else f" / {row.gradient_error:.0e}"
        cell = f"{row.relative_error:.0e}{gradient}"
        lines.setdefault((shape_of(row), row.contender), []).append(cell)
    return table(["maps", "contender", *students], ([*key, *cells] for key, cells in lines.items()))


def markdown(rows: list[Row], accuracies: list[Accuracy], pairs: int) -> str:
    """Return both tables with what they say."""
    return "\n\n".join(
        [
            f"Peer time / densekd time, medians of {pairs} pairs: above 1 densekd is faster.",
            speeds(rows),
            "Relative error of the value / error of the gradient, of its largest entry.",
            errors(accuracies),
        ]
    )


def cpu_model() -> str:
    """Return the processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    family, model = fields.get("cpu family", "?"), fields.get("model", "?")
    return f"{fields.get('model name', platform.machine())} (family {family}, model {model})"


def version(*command: str) -> str:
    """Return the first line that a program says of itself."""
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    return told.stdout.splitlines()[0]


def machine() -> dict[str, Any]:
    """Describe what was measured on, and with what."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch_compiler": version(os.environ.get("CXX", "g++")),
        "rustc": version("rustc").split()[1],
        "allocator": ALLOCATOR,
    }


def result(
    plan: Plan, rows: list[Row], accuracies: list[Accuracy], loads: tuple[float, float], seconds: float
) -> dict[str, Any]:
    """Return everything, for the JSON file."""
    return {
        "what": "distillation, tau 4, f32, NCHW; ratio = peer time / densekd time; times in ns an element",
        "pairs": plan.pairs,
        "seed": plan.seed,
        "machine": machine(),
        "load_average": {"before": loads[0], "after": loads[1]},
        "seconds": round(seconds),
        "rows": [asdict(row) for row in rows],
        "accuracy": [asdict(row) for row in accuracies],
        "faults": faults(rows, accuracies),
    }
