"""`densekd.torch.ChannelWiseKD` in PyTorch: speed and memory beside the published forms, and a call's cost.

Run by `python -m benches.peers.module` beside `torch` and `densekd`. Exits with 1 where it misses a goal.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .environment import settle

if TYPE_CHECKING:
    from torch import Tensor

#: Of a teacher and a student.
Loss = Callable[["Tensor", "Tensor"], "Tensor"]

#: What is wanted of the whole: times of the best peer over ours, microseconds, gradients.
EAGER, COMPILED, CALL, MEMORY = 7.0, 4.0, 15.0, 1.0

#: The module's name among the contenders.
OWN = "ChannelWiseKD"

#: Maps so small that a call's time is the way to the loss and back.
TINY = (1, 2, 4, 4)


@dataclass(frozen=True)
class Goal:
    """A figure, and the bound that it is held against."""

    what: str
    value: float
    goal: str
    met: bool


def contenders(threads: int) -> dict[str, Loss]:
    """Return the module and the forms, by name, each of a teacher and a student."""
    import densekd
    import torch
    from densekd.torch import ChannelWiseKD

    from . import pytorch
    from .work import TAU, WORKS

    torch.set_num_threads(threads)
    densekd.set_num_threads(threads)
    torch._inductor.config.cpp.threads = threads
    own = ChannelWiseKD(tau=TAU)
    found: dict[str, Loss] = {OWN: lambda teacher, student: own(student, teacher)}
    for name, form in pytorch.FORMS.items():
        eager = pytorch.on_maps(form, WORKS[0])
        found[f"eager {name}"] = eager
        found[f"compiled {name}"] = torch.compile(eager, dynamic=False, fullgraph=True)
    return found


def maps() -> tuple[Tensor, Tensor]:
    """Return a teacher and a student, which takes a gradient."""
    import torch

    from .work import STUDENTS, WORKS, Maps

    drawn = Maps.make(WORKS[0], STUDENTS[1], seed=1)
    return torch.from_numpy(drawn.teacher), torch.from_numpy(drawn.student).requires_grad_()


def training(loss: Loss, teacher: Tensor, student: Tensor) -> None:
    """Go forward and backward once."""
    student.grad = None
    loss(teacher, student).backward()  # type: ignore[no-untyped-call]


def speed(threads: int, pairs: int) -> dict[str, float]:
    """Return how many times as long as the module each form takes, the median of pairs of calls by turns."""
    teacher, student = maps()
    found = contenders(threads)
    own = found.pop(OWN)
    ratios = {}
    for name, loss in found.items():
        samples = []
        for _ in range(pairs + 2):
            seconds = []
            for contender in (loss, own):
                # Worker threads of the one before fall asleep.
                time.sleep(0.02)
                start = time.perf_counter()
                training(contender, teacher, student)
                seconds.append(time.perf_counter() - start)
            samples.append(seconds[0] / seconds[1])
        ratios[name] = statistics.median(samples[2:])
    return ratios


def memory(name: str) -> float:
    """Return what the process grows by at most in one call, in gradients; the one that stays is counted."""
    teacher, student = maps()
    loss = contenders(1)[name]
    # Compiled, and every library loaded.
    training(loss, teacher, student)
    student.grad = None
    # The kernel forgets the highest size so far.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = size("VmRSS")
    training(loss, teacher, student)
    return (size("VmHWM") - before) / (teacher.numel() * teacher.element_size())


def size(what: str) -> int:
    """Return a size of this process in bytes, as the kernel counts it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


def memory_apart(name: str) -> float:
    """Return `memory` of a process of its own, whose allocator gives every large block back."""
    large = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_TOP_PAD_": "0"}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")} | large
    command = [sys.executable, "-m", "benches.peers.module", "--memory-of", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def microseconds(driver: Path) -> dict[str, float]:
    """Return what a call on tiny maps takes: in Rust, of NumPy arrays, and of tensors in autograd."""
    import densekd
    import numpy as np
    import torch
    from densekd.functional import value_and_gradient
    from densekd.torch import ChannelWiseKD

    from .driver import Densekd
    from .peer import GRADIENT
    from .work import STUDENTS, TAU, Maps, Work

    torch.set_num_threads(1)
    densekd.set_num_threads(1)
    drawn = Maps.make(Work("cwd", TINY), STUDENTS[1], seed=1)
    teacher, student = torch.from_numpy(drawn.teacher), torch.from_numpy(drawn.student).requires_grad_()
    module, loss = ChannelWiseKD(tau=TAU), densekd.Loss("cwd", tau=TAU)
    gradient = np.empty_like(drawn.teacher)

    def of(call: Callable[[], object], calls: int = 2000) -> float:
        times = []
        for _ in range(11):
            start = time.perf_counter()
            for _ in range(calls):
                call()
            times.append((time.perf_counter() - start) / calls)
        return min(times) * 1e6

    def forward_backward() -> None:
        student.grad = None
        module(student, teacher).backward()

    def of_torch() -> None:
        student.grad = None
        student.sum().backward()  # type: ignore[no-untyped-call]

    with tempfile.TemporaryDirectory() as folder, Densekd(driver, drawn, Path(folder)) as rust:
        rust_time = min(rust.seconds(GRADIENT, 1, 2000) / 2000 for _ in range(11)) * 1e6
    return {
        "Rust": rust_time,
        "Loss.submit": of(lambda: loss.submit(drawn.student, drawn.teacher, grad_student=gradient)),
        "value_and_gradient": of(lambda: value_and_gradient(loss, drawn.student, drawn.teacher)),
        "ChannelWiseKD in autograd": of(forward_backward),
        "PyTorch's sum in autograd": of(of_torch),
    }


def held(
    ratios: dict[int, dict[str, float]], calls: dict[str, float], memories: dict[str, float]
) -> list[Goal]:
    """Hold what was found against the goals."""
    found = []
    for threads, by_form in ratios.items():
        for kind, goal in (("eager", EAGER), ("compiled", COMPILED)):
            least = min(ratio for name, ratio in by_form.items() if name.startswith(kind))
            what = f"time of the best {kind} form / ChannelWiseKD's, {threads} thread(s)"
            found.append(Goal(what, least, f">= {goal:g}", least >= goal))
    over = calls["value_and_gradient"] - calls["Rust"]
    found.append(Goal("value_and_gradient over the Rust call, us", over, f"<= {CALL:g}", over <= CALL))
    # What any operation of autograd costs is PyTorch's.
    over = calls["ChannelWiseKD in autograd"] - calls["PyTorch's sum in autograd"] - calls["Rust"]
    found.append(
        Goal("ChannelWiseKD over autograd and the Rust call, us", over, f"<= {CALL:g}", over <= CALL)
    )
    # Beside it pages, and what the interpreter takes meanwhile.
    own = memories[OWN]
    found.append(Goal("memory of ChannelWiseKD, in gradients", own, f"<= {MEMORY:g}", own <= MEMORY + 0.02))
    return found


def markdown(found: list[Goal], ratios: dict[int, dict[str, float]], memories: dict[str, float]) -> str:
    """Return the figures as Markdown."""
    lines = ["| ChannelWiseKD, forward and backward | found | goal | met |", "| --- | ---: | ---: | --- |"]
    lines += [f"| {x.what} | {x.value:.2f} | {x.goal} | {'yes' if x.met else 'no'} |" for x in found]
    heads = " | ".join(f"time, {threads} thread(s)" for threads in ratios)
    lines += ["", f"| form | {heads} | memory, in gradients |", "| --- |" + " ---: |" * (len(ratios) + 1)]
    for name, taken in memories.items():
        times = [f"{by_form.get(name, 1.0):.2f}" for by_form in ratios.values()]
        lines.append(f"| {name} | {' | '.join(times)} | {taken:.2f} |")
    return "\n".join(lines)


def main() -> int:
    """Measure; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benches.peers.module", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--pairs", type=int, default=11, help="timed pairs a form (11)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (1 2)")
    parser.add_argument("--driver", type=Path, help="a built driver; default: build it with cargo")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(memory(options.memory_of))
        return 0
    settle()
    from . import driver

    calls = microseconds(options.driver or driver.build())
    memories = {name: memory_apart(name) for name in contenders(1)}
    ratios = {threads: speed(threads, options.pairs) for threads in options.threads}
    found = held(ratios, calls, memories)
    print(markdown(found, ratios, memories))
    if options.json:
        goals = [asdict(x) for x in found]
        figures = {"microseconds": calls, "memory": memories, "ratios": ratios, "goals": goals}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0 if all(x.met for x in found) else 1


if __name__ == "__main__":
    sys.exit(main())
