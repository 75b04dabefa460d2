"""The paper's settings, on noise: every part of them runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .conftest import torchrun

if TYPE_CHECKING:
    from pathlib import Path


def lines(out: Path, task: str) -> list[dict[str, float]]:
    found = torchrun("-m", "paper", task, "--dry-run", "--out", str(out))
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]


def test_cityscapes(tmp_path: Path) -> None:
    last, tested = lines(tmp_path, "cityscapes")
    assert last["step"] == 2
    assert last["distil/cwd_head.logits"] > 0
    assert last["distil/cwd_head.features"] > 0
    assert 0 <= tested["mIoU"] <= 100
    # What is trained already is tested only, with the same result.
    assert lines(tmp_path, "cityscapes") == [tested]


def test_coco(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    (last,) = lines(tmp_path, "coco")
    assert last["step"] == 2
    assert all(last[f"distil/cwd_backbone[{level}]"] > 0 for level in ("0", "1", "2"))
