"""Maps of which every process has a part, and training on several."""

from __future__ import annotations

import datetime
import importlib
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from densekd.torch import ChannelWiseKD, Distiller, Pair, PixelWiseKD
from densekd.torch.distributed import ExchangeError, merge_sums, sharded_loss

from .conftest import EXAMPLES, maps, torchrun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _start(rank: int, world: int, folder: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(seconds=30),
    )
    found = work(rank, world, *arguments)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
    # The interpreter is not torn down: DDP keeps gloo's threads beyond their group, and one that lets go of a Python
    # object in the meantime aborts the process (pytorch/pytorch#190489).
    os._exit(0)


def run(world: int, folder: Path, work: Callable[..., Any], *arguments: object) -> list[Any]:
    """Run a function on so many processes and return what each found."""
    mp.spawn(_start, (world, str(folder), work, arguments), nprocs=world)  # type: ignore[attr-defined]
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]


def _part(
    rank: int, _world: int, student: Tensor, teacher: Tensor, sizes: list[int], dim: int
) -> tuple[Tensor, Tensor]:
    own_student = student.split(sizes, dim)[rank].clone().requires_grad_()
    loss = sharded_loss(ChannelWiseKD(tau=2.0, weight=3.0), own_student, teacher.split(sizes, dim)[rank])
    (2 * loss).backward()
    assert own_student.grad is not None
    return loss.detach(), own_student.grad


@pytest.mark.parametrize(
    ("sizes", "dim", "noise"), [([5, 4], 2, 1.0), ([2, 0, 7], 2, 1e-4), ([1, 3, 3], 3, 0.1), ([9], 2, 1.0)]
)
def test_the_parts_make_the_whole(tmp_path: Path, sizes: list[int], dim: int, noise: float) -> None:
    shape = [2, 3, 6, 6]
    shape[dim] = sum(sizes)
    student, teacher = maps(*shape, noise=noise)
    whole = student.clone().requires_grad_()
    loss = ChannelWiseKD(tau=2.0, weight=3.0)(whole, teacher)
    (2 * loss).backward()
    assert whole.grad is not None
    found = run(len(sizes), tmp_path, _part, student, teacher, sizes, dim)
    assert all(torch.equal(value, found[0][0]) for value, _ in found)
    torch.testing.assert_close(found[0][0], loss.detach(), rtol=1e-6, atol=0)
    gradient = torch.cat([part for _, part in found], dim)
    largest = whole.grad.abs().max().item()
    torch.testing.assert_close(gradient, whole.grad, rtol=0, atol=2e-6 * largest)


def test_sums_merge_whatever_lies_between_them() -> None:
    loss = ChannelWiseKD(tau=1.0).loss
    student, teacher = maps(1, 2, 1, 12, dtype=torch.float64)
    student[0, 0, 0, 7] = teacher[0, 0, 0, 3] = -torch.inf
    student[0, 1, 0, :4] += 600
    whole = torch.empty(2, 6, dtype=torch.float64)
    loss.row_sums(student, teacher, whole)
    parts = torch.empty(2, 2, 6, dtype=torch.float64)
    for part, at in zip(parts, (slice(None, 5), slice(5, None)), strict=True):
        loss.row_sums(student[..., at].contiguous(), teacher[..., at].contiguous(), part)
    assert whole[0, 5].isinf()
    torch.testing.assert_close(merge_sums(parts, 1.0)[1, 5], whole[1, 5], rtol=1e-12, atol=0)
    student[0, 1, 0, 0] = torch.nan
    loss.row_sums(student[..., :5].contiguous(), teacher[..., :5].contiguous(), parts[0])
    assert merge_sums(parts, 1.0)[1, 5].isnan()


def test_what_is_not_put_together() -> None:
    student, teacher = maps(1, 2, 3, 4)
    with pytest.raises(ValueError, match="'spatial'"):
        sharded_loss(PixelWiseKD(), student, teacher)
    with pytest.raises(ValueError, match="wanted"):
        sharded_loss(ChannelWiseKD(), student[0], teacher[0])
    with pytest.raises(ValueError, match="detach"):
        sharded_loss(ChannelWiseKD(), student, teacher.requires_grad_())


def _network(width: int) -> nn.Sequential:
    torch.manual_seed(width)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, 4, 1))


def _gradients(student: nn.Module, watched: nn.Module, images: Tensor) -> list[Tensor]:
    distiller = Distiller(watched, _network(8), [Pair("2", "2", ChannelWiseKD(tau=2.0), weight=3.0)])
    task = watched(images).square().mean()
    (task + distiller(images).total).backward()
    return [x.grad for x in student.parameters() if x.grad is not None]


def _ddp(rank: int, world: int, images: Tensor) -> list[Tensor]:
    student = _network(4)
    return _gradients(student, nn.parallel.DistributedDataParallel(student), images.chunk(world)[rank])


def test_gradients_under_ddp_are_those_of_one_process(tmp_path: Path) -> None:
    images = torch.randn(4, 3, 10, 10)
    student = _network(4)
    wanted = _gradients(student, student, images)
    for found in run(2, tmp_path, _ddp, images):
        for x, y in zip(found, wanted, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


def _dies(rank: int, _world: int, student: Tensor) -> str:
    if rank == 1:
        return "gone"
    try:
        sharded_loss(ChannelWiseKD(), student, student.clone())
    except ExchangeError as error:
        return str(error)
    return "nothing"


def test_a_rank_that_dies_is_an_error_to_the_others(tmp_path: Path) -> None:
    first, second = run(2, tmp_path, _dies, torch.zeros(1, 2, 3, 4))
    assert second == "gone"
    assert "rank 0 of 2 got no answer" in first
    assert "timeout is 30 s" in first


def test_the_example_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    alone = importlib.import_module("shared_map").train(rank=0, world=1)
    found = torchrun(str(EXAMPLES / "shared_map.py"))
    assert found.returncode == 0, found.stderr
    losses = [float(line.split()[-1]) for line in found.stdout.splitlines()]
    assert losses == pytest.approx(alone, rel=1e-4)
    assert losses[-1] < losses[0]


_STUCK = """
import datetime, sys, time
import torch, torch.distributed as dist
from densekd.torch import ChannelWiseKD
from densekd.torch.distributed import sharded_loss

dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=3))
if dist.get_rank() == 1:
    time.sleep(60)
part = torch.zeros(1, 2, 3, 4)
sharded_loss(ChannelWiseKD(), part, part.clone())
"""


def test_a_stuck_rank_ends_the_others_after_the_timeout(tmp_path: Path) -> None:
    program = tmp_path / "stuck.py"
    program.write_text(_STUCK)
    start = time.monotonic()
    found = torchrun(str(program))
    assert found.returncode != 0
    assert "ExchangeError: rank 0 of 2 got no answer" in found.stderr
    assert "timeout is 3 s" in found.stderr
    assert time.monotonic() - start < 60
