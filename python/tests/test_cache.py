"""What a teacher puts out, kept on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from densekd.torch import ChannelWiseKD, Distiller, Pair
from densekd.torch.cache import TeacherCache


def network(width: int = 4) -> nn.Sequential:
    torch.manual_seed(width)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 5, 1))


def batches(count: int) -> list[tuple[list[str], Tensor]]:
    generator = torch.Generator().manual_seed(3)
    return [([f"a{i}", f"b{i}"], torch.randn(2, 3, 8, 8, generator=generator)) for i in range(count)]


def test_a_teacher_whose_numbers_lie_channels_last(tmp_path: Path) -> None:
    TeacherCache(tmp_path, network(), ["3"])
    TeacherCache(tmp_path, network().to(memory_format=torch.channels_last), ["3"])


def test_a_cached_teacher_is_the_teacher(tmp_path: Path) -> None:
    teacher, student = network(), network(2)
    cache = TeacherCache(tmp_path, teacher, ["3"])
    assert cache.fill(batches(3), progress=False) == 6
    assert cache.fill(batches(4), progress=False) == 2
    assert teacher.training
    keys, images = batches(1)[0]
    pair = [Pair("3", "3", ChannelWiseKD())]
    student(images)
    wanted = Distiller(student, teacher, pair)
    student(images)
    there = wanted(images).total
    student(images)
    torch.testing.assert_close(wanted(images, teacher_features=cache.batch(keys)).total, there)
    with pytest.raises(KeyError, match="fill it first"):
        cache["c0"]
    with pytest.raises(KeyError, match="'3'"):
        student(images)
        wanted(images, teacher_features={"0": images})


def test_halves_are_kept_on_demand(tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path, network(), ["0", "3"], dtype=torch.float16)
    cache.fill(batches(1), progress=False)
    assert {name: x.dtype for name, x in cache["a0"].items()} == {"0": torch.float16, "3": torch.float16}


def test_another_teacher_is_refused(tmp_path: Path) -> None:
    TeacherCache(tmp_path, network(), ["3"])
    TeacherCache(tmp_path, network(), ["3"])
    with pytest.raises(ValueError, match="another teacher"):
        TeacherCache(tmp_path, network(5), ["3"])
    with pytest.raises(ValueError, match="another modules and dtype"):
        TeacherCache(tmp_path, network(), ["0"], dtype=torch.float16)
    with pytest.raises(ValueError, match="no modules"):
        TeacherCache(tmp_path, network(), [])
    with pytest.raises(ValueError, match="2 keys for 1 inputs"):
        TeacherCache(tmp_path, network(), ["3"]).fill([(["a", "b"], torch.zeros(1, 3, 8, 8))], progress=False)


_SLOW = """
import sys, time, torch
sys.path.insert(0, sys.argv[2])
from tests.test_cache import batches, network
from densekd.torch.cache import TeacherCache

def slowly():
    for batch in batches(40):
        time.sleep(0.02)
        yield batch

print("started", flush=True)
TeacherCache(sys.argv[1], network(), ["3"]).fill(slowly(), progress=False)
"""


def test_a_killed_run_is_gone_on_with(tmp_path: Path) -> None:
    here = str(Path(__file__).parent.parent)
    killed = 0
    for wait in (0.1, 0.25):
        run = subprocess.Popen([sys.executable, "-c", _SLOW, str(tmp_path), here], stdout=subprocess.PIPE)
        assert run.stdout is not None
        run.stdout.readline()
        time.sleep(wait)
        run.send_signal(signal.SIGKILL)
        killed += run.wait() == -signal.SIGKILL
        run.stdout.close()
    assert killed == 2, "each run was killed in its middle"
    cache = TeacherCache(tmp_path, network(), ["3"])
    before = sum(key in cache for keys, _ in batches(40) for key in keys)
    assert before < 80
    assert cache.fill(batches(40), progress=False) == 80 - before
    for half in tmp_path.glob("*.half"):
        os.utime(half, (0, 0))
    (tmp_path / "young.half").touch()
    TeacherCache(tmp_path, network(), ["3"])
    assert list(tmp_path.glob("*.half")) == [tmp_path / "young.half"]
    teacher = network().eval()
    with torch.no_grad():
        for keys, images in batches(40):
            torch.testing.assert_close(cache.batch(keys)["3"], teacher(images))
