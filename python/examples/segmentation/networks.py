"""The teacher and the student: features at a quarter of the image's height and width, and a classifier of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: How many pixels of the image, in height and in width, one of the network's outputs stands for.
STRIDE = 4


class Network(nn.Module):
    """`features` and, of them, the logits of `head`."""

    def __init__(self, features: nn.Module, width: int, classes: int) -> None:
        """Put a classifier behind features of so many channels."""
        super().__init__()
        self.features = features
        self.head = nn.Conv2d(width, classes, 1)
        self.width = width
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[N, classes, H / 4, W / 4]`."""
        logits: Tensor = self.head(self.features(images))
        return logits


def teacher(width: int, classes: int) -> Network:
    """Return a network of full convolutions that sees its surroundings at an eighth."""
    wide = 2 * width
    features = nn.Sequential(
        _convolution(3, width, stride=2),
        _convolution(width, wide, stride=2),
        _convolution(wide, wide),
        _convolution(wide, wide, stride=2),
        _convolution(wide, wide),
        nn.Upsample(scale_factor=2),
        _convolution(wide, wide),
    )
    return Network(features, wide, classes)


def student(width: int, classes: int) -> Network:
    """Return a network of separable convolutions, with about a fortieth of the teacher's parameters."""
    wide = 2 * width
    features = nn.Sequential(
        _convolution(3, width // 2, stride=2),
        _separable(width // 2, width, stride=2),
        _separable(width, wide),
        _separable(wide, wide),
        _separable(wide, wide),
    )
    return Network(features, wide, classes)


def _convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _separable(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _convolution(inputs, inputs, stride=stride, groups=inputs), _convolution(inputs, outputs, kernel=1)
    )
