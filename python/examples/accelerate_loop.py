"""The same with accelerate: `python examples/accelerate_loop.py`, or by `accelerate launch` on many machines."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from networks import network, scenes

from densekd.torch import ChannelWiseKD, Distiller, Pair


def main(epochs: int = 5) -> list[float]:
    """Train, and return the epochs' losses."""
    accelerator = Accelerator(cpu=True)
    student, teacher = network(4), network(16)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    student, optimizer, loader = accelerator.prepare(student, optimizer, scenes())
    teacher = teacher.to(accelerator.device)
    # Wrapped or not: modules are found behind the wrappers.
    distiller = Distiller(student, teacher, [Pair("head", "head", ChannelWiseKD(), weight=3.0)])
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for images, labels in loader:
            task = F.cross_entropy(student(images), labels)
            loss = task + distiller(images, task_loss=task).total
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            total += loss.item()
        accelerator.print(f"epoch {epoch}: {total:.4f}")
        losses.append(total)
    return losses


if __name__ == "__main__":
    main()
