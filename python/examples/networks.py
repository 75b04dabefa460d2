"""A tiny teacher, a tiny student and random scenes: what the examples train."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 4


def network(width: int) -> nn.Module:
    """Return a segmentation network of so many channels, with a `backbone` and a `head`."""
    torch.manual_seed(width)
    net = nn.Sequential()
    net.add_module("backbone", nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()))
    net.add_module("head", nn.Conv2d(width, CLASSES, 1))
    return net


def scenes(count: int = 16) -> DataLoader[tuple[Tensor, ...]]:
    """Return images whose brightest colour is their class, and their labels."""
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(count, 3, 16, 16, generator=generator)
    labels = images.argmax(1)
    return DataLoader(TensorDataset(images, labels), batch_size=4)
