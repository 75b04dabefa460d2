"""Cityscapes: crops to train with, and the mIoU of the validation images."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from .pspnet import PspNet

if TYPE_CHECKING:
    from pathlib import Path

    from .config import Config

CLASSES = 19
IGNORED = 255
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network(depth: str, _config: Config) -> nn.Module:
    """Return a PSPNet."""
    return PspNet(depth, CLASSES)


def task(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the logits, brought to the labels' size."""
    logits = F.interpolate(net(images), labels.shape[1:], mode="bilinear")
    return F.cross_entropy(logits, labels, ignore_index=IGNORED)


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Images of a part (`train`, `val`), with `labelTrainIds` as its official scripts make them."""

    def __init__(self, folder: Path, part: str, size: tuple[int, int] | None) -> None:
        """Cut pieces of this size, scaled by 0.5 to 2 and turned over at random; whole images without a size."""
        self.images = sorted((folder / "leftImg8bit" / part).glob("*/*_leftImg8bit.png"))
        if not self.images:
            message = f"{folder} has no leftImg8bit/{part}/*/*_leftImg8bit.png"
            raise FileNotFoundError(message)
        self.labels = folder / "gtFine" / part
        self.size = size

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """Return an image `[3, H, W]` and its labels `[H, W]`."""
        path = self.images[i]
        name = path.name.replace("leftImg8bit", "gtFine_labelTrainIds")
        with Image.open(path) as file:
            image = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1).float() / 255
        with Image.open(self.labels / path.parent.name / name) as file:
            labels = torch.from_numpy(np.array(file)).long()
        image = (image - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_SPREAD).view(3, 1, 1)
        return (image, labels) if self.size is None else _cut(image, labels, self.size)


class Drawn(Dataset[tuple[Tensor, Tensor]]):
    """Noise of the same shapes."""

    def __init__(self, size: tuple[int, int]) -> None:
        """Make pieces of this size."""
        self.size = size

    def __len__(self) -> int:
        """Return the number of pieces."""
        return 8

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """Return an image and its labels."""
        generator = torch.Generator().manual_seed(i)
        return (
            torch.randn(3, *self.size, generator=generator),
            torch.randint(CLASSES, self.size, generator=generator),
        )


def data(folder: Path | None, config: Config) -> Dataset[tuple[Tensor, Tensor]]:
    """Return what is trained with."""
    return Drawn(config.size) if folder is None else Crops(folder, "train", config.size)


@torch.no_grad()
def evaluate(net: nn.Module, folder: Path | None, config: Config, device: torch.device) -> dict[str, float]:
    """Return the mIoU, in percent, of the validation images, which the processes share."""
    images = Drawn(config.size) if folder is None else Crops(folder, "val", None)
    confusion = torch.zeros(CLASSES, CLASSES, dtype=torch.int64, device=device)
    net.eval()
    for i in range(dist.get_rank(), len(images), dist.get_world_size()):
        image, labels = (x.to(device) for x in images[i])
        found = F.interpolate(net(image[None]), labels.shape, mode="bilinear")[0].argmax(0)
        counted = labels != IGNORED
        pairs = labels[counted] * CLASSES + found[counted]
        confusion += torch.bincount(pairs, minlength=CLASSES**2).view(CLASSES, CLASSES)
    dist.all_reduce(confusion)
    both = confusion.diagonal().double()
    either = confusion.sum(0) + confusion.sum(1) - both
    return {"mIoU": 100 * (both / either)[either > 0].mean().item()}


def _cut(image: Tensor, labels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    scale = random.uniform(0.5, 2.0)
    image = F.interpolate(image[None], scale_factor=scale, mode="bilinear")[0]
    labels = F.interpolate(labels[None, None].float(), scale_factor=scale)[0, 0].long()
    missing = [max(0, wanted - there) for wanted, there in zip(size, labels.shape, strict=True)]
    around = (0, missing[1], 0, missing[0])
    image, labels = F.pad(image, around), F.pad(labels, around, value=IGNORED)
    top, left = (random.randint(0, there - wanted) for wanted, there in zip(size, labels.shape, strict=True))
    image, labels = (x[..., top : top + size[0], left : left + size[1]] for x in (image, labels))
    return (image.flip(-1), labels.flip(-1)) if random.random() < 0.5 else (image, labels)
