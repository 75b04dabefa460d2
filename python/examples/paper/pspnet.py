"""PSPNet (arXiv 1612.01105) on a residual network with dilated last stages: its maps are an eighth of the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Blocks of the four stages, and whether they have a bottleneck.
_DEPTHS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}


class PspNet(nn.Module):
    """`backbone`, whose parameters are named as torchvision's, and `head`."""

    def __init__(self, depth: str, classes: int) -> None:
        """Make a network of this depth (resnet18, resnet50, resnet101)."""
        super().__init__()
        self.backbone = ResNet(depth)
        self.head = PyramidHead(self.backbone.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[N, classes, H / 8, W / 8]`."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


class PyramidHead(nn.Module):
    """Features with means of themselves at four scales, and a classifier of them."""

    def __init__(self, width: int, classes: int) -> None:
        """Take so many channels."""
        super().__init__()
        self.scales = (1, 2, 3, 6)
        narrow = width // len(self.scales)
        self.means = nn.ModuleList(_convolution(width, narrow, 1) for _ in self.scales)
        self.features = _convolution(width + narrow * len(self.scales), narrow, 3)
        self.dropout = nn.Dropout2d(0.1)
        self.logits = nn.Conv2d(narrow, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        size = x.shape[2:]
        means = [
            F.interpolate(mean(F.adaptive_avg_pool2d(x, scale)), size, mode="bilinear")
            for scale, mean in zip(self.scales, self.means, strict=True)
        ]
        logits: Tensor = self.logits(self.dropout(self.features(torch.cat([x, *means], dim=1))))
        return logits


class ResNet(nn.Module):
    """A residual network with stages three and four at the resolution of the second, dilated."""

    def __init__(self, depth: str) -> None:
        """Make one of this depth."""
        super().__init__()
        blocks, bottleneck = _DEPTHS[depth]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.inputs = 64
        for stage, count in enumerate(blocks):
            stride, dilation = 2 if stage == 1 else 1, 2 ** max(0, stage - 1)
            layer = [self._block(64 << stage, bottleneck, stride if i == 0 else 1, dilation) for i in range(count)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layer))
        self.width = self.inputs

    def forward(self, images: Tensor) -> Tensor:
        """Return the last stage's maps."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, 2, 1)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x

    def _block(self, width: int, bottleneck: bool, stride: int, dilation: int) -> nn.Module:
        block = _Block(self.inputs, width, bottleneck, stride, dilation)
        self.inputs = block.outputs
        return block


class _Block(nn.Module):
    def __init__(self, inputs: int, width: int, bottleneck: bool, stride: int, dilation: int) -> None:
        super().__init__()
        self.outputs = 4 * width if bottleneck else width
        # Kernel, stride and dilation of each convolution, with torchvision's names.
        wide, narrow = (3, stride, dilation), (1, 1, 1)
        kinds = (narrow, wide, narrow) if bottleneck else (wide, (3, 1, dilation))
        widths = (inputs, *[width] * (len(kinds) - 1), self.outputs)
        self.count = len(kinds)
        for i, (kernel, step, spread) in enumerate(kinds):
            padding = spread * (kernel // 2)
            layer = nn.Conv2d(widths[i], widths[i + 1], kernel, step, padding, spread, bias=False)
            self.add_module(f"conv{i + 1}", layer)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(widths[i + 1]))
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != self.outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, self.outputs, 1, stride, bias=False), nn.BatchNorm2d(self.outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.downsample is None else self.downsample(x)
        for i in range(1, self.count + 1):
            x = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x))
            x = F.relu(x if i < self.count else x + beside)
        return x


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
