"""The same as a module of Lightning: `python examples/lightning_module.py`."""

from __future__ import annotations

import lightning
import torch
import torch.nn.functional as F
from networks import network, scenes
from torch import Tensor

from densekd.torch import ChannelWiseKD, Distiller, Pair


class Distillation(lightning.LightningModule):
    """A student that is trained with a teacher beside it."""

    def __init__(self) -> None:
        """Make both, and what compares them."""
        super().__init__()
        self.student = network(4)
        # The distiller holds the teacher, whose parameters are then neither trained nor saved.
        self.distiller = Distiller(self.student, network(16), [Pair("head", "head", ChannelWiseKD(), weight=3.0)])
        self.losses: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        task = F.cross_entropy(self.student(images), labels)
        terms = self.distiller(images, task_loss=task)
        self.log_dict(terms.log())
        self.losses.append(task.item() + terms.total.item())
        loss: Tensor = task + terms.total
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Train the student and the adapters."""
        return torch.optim.SGD([*self.student.parameters(), *self.distiller.parameters()], lr=0.1)


def main(epochs: int = 5) -> list[float]:
    """Train, and return the steps' losses."""
    module = Distillation()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, scenes())
    print(f"first step {module.losses[0]:.4f}, last {module.losses[-1]:.4f}")
    return module.losses


if __name__ == "__main__":
    main()
