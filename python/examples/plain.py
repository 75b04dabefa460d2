"""A plain training loop that distils a teacher into a student: `python examples/plain.py`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from networks import network, scenes

from densekd.torch import ChannelWiseKD, Distiller, FeatureMimicking, Pair


def main(epochs: int = 5) -> list[float]:
    """Train, and return the epochs' losses."""
    student, teacher = network(4), network(16)
    pairs = [
        Pair("head", "head", ChannelWiseKD(tau=4.0), weight=3.0),
        Pair("backbone", "backbone", FeatureMimicking(), channels=(4, 16), weight=0.1),
    ]
    distiller = Distiller(student, teacher, pairs)
    optimizer = torch.optim.SGD([*student.parameters(), *distiller.parameters()], lr=0.1)
    distiller.check_optimizer(optimizer)
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for images, labels in scenes():
            task = F.cross_entropy(student(images), labels)
            terms = distiller(images, task_loss=task)
            loss = task + terms.total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch}: {total:.4f}", {name: round(value, 4) for name, value in terms.log().items()})
        losses.append(total)
    return losses


if __name__ == "__main__":
    main()
