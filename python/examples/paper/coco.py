"""COCO: torchvision's RetinaNet, distilled at the maps of its feature pyramid."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

if TYPE_CHECKING:
    from pathlib import Path

    from .config import Config

#: The annotations' numbers of categories go to 90.
CLASSES = 91


def network(depth: str, config: Config) -> nn.Module:
    """Return a RetinaNet whose images have sides of these lengths."""
    backbone = resnet_fpn_backbone(
        backbone_name=depth,
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    net: nn.Module = RetinaNet(backbone, CLASSES, min_size=config.size[0], max_size=config.size[1])
    return net


class Pyramid(nn.Module):
    """A teacher as far as it is compared: its detections are not wanted."""

    def __init__(self, net: nn.Module) -> None:
        """Take a RetinaNet."""
        super().__init__()
        self.transform, self.backbone = net.get_submodule("transform"), net.get_submodule("backbone")

    def forward(self, images: list[Tensor]) -> None:
        """Run the pyramid on images of any size."""
        self.backbone(self.transform(images)[0].tensors)


def task(net: nn.Module, images: list[Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
    """Return the sum of the detector's losses."""
    losses: dict[str, Tensor] = net(images, targets)
    return torch.stack(list(losses.values())).sum()


class Boxes(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """`train2017` with `annotations/instances_train2017.json`; images without a box are left out."""

    def __init__(self, folder: Path) -> None:
        """Read the annotations."""
        self.folder = folder / "train2017"
        about = json.loads((folder / "annotations/instances_train2017.json").read_text())
        self.boxes: dict[int, list[Any]] = defaultdict(list)
        for found in about["annotations"]:
            x, y, w, h = found["bbox"]
            if not found["iscrowd"] and w > 1 and h > 1:
                self.boxes[found["image_id"]].append((x, y, x + w, y + h, found["category_id"]))
        self.images = [(x["id"], x["file_name"]) for x in about["images"] if x["id"] in self.boxes]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return an image `[3, H, W]`, its boxes and their categories; turned over at random."""
        number, name = self.images[i]
        with Image.open(self.folder / name) as file:
            image = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1).float() / 255
        rows = torch.tensor(self.boxes[number])
        boxes, labels = rows[:, :4], rows[:, 4].long()
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
            boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
        return image, {"boxes": boxes, "labels": labels}


class Drawn(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Noise with a box in it."""

    def __init__(self, size: tuple[int, int]) -> None:
        """Make images of this size."""
        self.size = size

    def __len__(self) -> int:
        """Return the number of images."""
        return 8

    def __getitem__(self, i: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return an image and its box."""
        image = torch.rand(3, *self.size, generator=torch.Generator().manual_seed(i))
        return image, {"boxes": torch.tensor([[8.0, 8.0, 40.0, 48.0]]), "labels": torch.tensor([1 + i])}


def data(folder: Path | None, config: Config) -> Dataset[tuple[Tensor, dict[str, Tensor]]]:
    """Return what is trained with."""
    return Drawn(config.size) if folder is None else Boxes(folder)
