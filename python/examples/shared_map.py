"""A map that two processes share, and a student under DDP: `torchrun --nproc-per-node 2 examples/shared_map.py`."""

from __future__ import annotations

import datetime
import os
import sys

import torch
import torch.distributed as dist
from networks import network
from torch import nn

from densekd.torch import ChannelWiseKD
from densekd.torch.distributed import sharded_loss


def train(rank: int, world: int, steps: int = 6) -> list[float]:
    """Train a student on this rank's rows of pixels, and return the losses, which are those of the whole map.

    Its kernels are 1x1: it sees no pixel of another rank.
    """
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(2, 3, 13, 16, generator=generator)
    part = images.tensor_split(world, dim=2)[rank]
    torch.manual_seed(4)
    student: nn.Module = nn.Conv2d(3, 4, 1)
    teacher = network(16).eval()
    with torch.no_grad():
        wanted = teacher(images).tensor_split(world, dim=2)[rank]
    if world > 1:
        student = nn.parallel.DistributedDataParallel(student)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    loss_of = ChannelWiseKD(tau=1.0, weight=10.0)
    losses = []
    for _ in range(steps):
        found = student(part)
        loss = sharded_loss(loss_of, found, wanted) if world > 1 else loss_of(found, wanted)
        optimizer.zero_grad()
        # The parts' gradients are to be added; DDP takes their mean.
        (world * loss).backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Train with the processes that `torchrun` started."""
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    try:
        losses = train(dist.get_rank(), dist.get_world_size())
        if dist.get_rank() == 0:
            print("\n".join(f"step {step}: {loss:.6f}" for step, loss in enumerate(losses)))
        dist.barrier()
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
    # The interpreter is not torn down: DDP keeps gloo's threads beyond their group, and one that lets go of a Python
    # object in the meantime aborts the process (pytorch/pytorch#190489).
    sys.stdout.flush()
    os._exit(0)
