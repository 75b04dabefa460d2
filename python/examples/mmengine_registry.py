"""Losses from OpenMMLab's registry, as a config names them: `python examples/mmengine_registry.py`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from networks import network, scenes

import densekd.torch.openmmlab

DISTILL_LOSSES = {
    "loss_cwd": {"type": "DensekdChannelWiseDivergence", "tau": 4.0, "loss_weight": 3.0},
    "loss_kl": {"type": "DensekdKLDivergence", "tau": 1.0, "loss_weight": 0.01},
}


def main(epochs: int = 5) -> list[float]:
    """Train, and return the epochs' losses."""
    densekd.torch.openmmlab.register(force=True)
    built = {name: MODELS.build(dict(config)) for name, config in DISTILL_LOSSES.items()}
    student, teacher = network(4), network(16).eval()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for images, labels in scenes():
            ours = student(images)
            with torch.no_grad():
                theirs = teacher(images)
            loss = F.cross_entropy(ours, labels)
            for divergence in built.values():
                loss = loss + divergence(preds_S=ours, preds_T=theirs)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch}: {total:.4f}")
        losses.append(total)
    return losses


if __name__ == "__main__":
    main()
