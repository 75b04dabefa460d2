"""Times the same loss by PyTorch, compiled and not, and by the Triton kernel, beside a copy on the same GPU.

    python -m benches.gpu.compare [--json]

Beside `densekd bench gpu`, which times rows by the same rule: shares are those of the speed of a copy of as
many bytes. Wants torch with CUDA; without a GPU it says so and does nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import torch
except ImportError:
    sys.exit("torch is not installed: nothing to compare with")

ROWS = ((4096, 1024), (1024, 4096), (256, 16384), (128, 32768), (64, 65536), (8, 524288))
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
TURNS = 20


def torch_loss(teacher: torch.Tensor, student: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Take the loss as it is usually written, with its gradient."""
    student = student.detach().requires_grad_()
    p = torch.softmax(teacher.float(), dim=-1)
    log_q = torch.log_softmax(student.float(), dim=-1)
    loss = torch.nn.functional.kl_div(log_q, p, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, student)
    return loss.detach(), gradient


def triton_loss(teacher: torch.Tensor, student: torch.Tensor) -> Callable[[], None]:
    """Make a launch of the Triton kernel on these rows."""
    import triton  # type: ignore[import-untyped]

    from .softmax_kl import softmax_kl, warps

    rows, length = student.shape
    gradient, values = torch.empty_like(student), torch.empty(rows, device=student.device)
    block = triton.next_power_of_2(length)

    def run() -> None:
        softmax_kl[(rows,)](
            teacher, student, gradient, values, 1.0, length, BLOCK=block, num_warps=warps(length)
        )

    return run


def seconds(work: Callable[[], object]) -> float:
    """Time some turns by events of the device: the median."""
    for _ in range(3):
        work()
    times = []
    for _ in range(TURNS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(float(begin.elapsed_time(end)) / 1e3)
    return statistics.median(times)


def shares(dtype: torch.dtype, rows: int, length: int) -> dict[str, float]:
    """Time every peer on rows of a type, as shares of the copy's speed."""
    teacher, student = (torch.randn(rows, length, device="cuda").mul(3).to(dtype) for _ in range(2))
    # Half of the two maps and the gradient is read, and as much written.
    half = torch.empty(3 * student.numel() // 2, dtype=dtype, device="cuda")
    to = torch.empty_like(half)
    compiled = torch.compile(torch_loss)
    peers: dict[str, Callable[[], object]] = {
        "torch": partial(torch_loss, teacher, student),
        "torch.compile": partial(compiled, teacher, student),
    }
    try:
        peers["triton"] = triton_loss(teacher, student)
    except ImportError:
        print("triton is not installed: left out", file=sys.stderr)
    copy = seconds(partial(to.copy_, half))
    return {name: copy / seconds(work) for name, work in peers.items()}


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing is timed")
    found = [
        {"dtype": dtype, "rows": rows, "length": length, "shares": shares(of_torch, rows, length)}
        for dtype, of_torch in TYPES.items()
        for rows, length in ROWS
    ]
    if as_json:
        json.dump({"device": torch.cuda.get_device_name(), "rows": found}, sys.stdout, indent=1)
        return
    for row in found:
        print(row)


if __name__ == "__main__":
    main()
