"""Losses on CUDA devices: by device pointer on a simulated one, and what surrounds that in PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from densekd import Loss
from densekd.functional import value, value_and_gradient
from densekd.torch import cuda

from .conftest import maps
from .simulated import LIBRARY, DeviceArray, Driver

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def driver() -> Driver:
    """Open the simulated device; `cargo xtask python` names it, to a process of these tests alone."""
    assert LIBRARY in os.environ, f"{LIBRARY} is to name the simulated driver"
    return Driver()


class Launched:
    """A launch on the device, done."""

    def __init__(
        self,
        driver: Driver,
        loss: Loss,
        student: NDArray[Any],
        teacher: NDArray[Any] | None,
        **more: Any,  # noqa: ANN401
    ) -> None:
        self.student = driver.array(student)
        self.teacher = None if teacher is None else driver.array(teacher)
        self.grad_student = driver.empty(student.shape, student.dtype)
        self.totals = driver.empty((2,), np.float64)
        self.workspace = driver.empty((loss.workspace(self.student, self.teacher),), np.uint8)
        factor = loss.launch(
            self.student,
            self.teacher,
            workspace=self.workspace,
            totals=self.totals,
            grad_student=self.grad_student,
            **more,
        )
        self.value = float(self.totals.numpy()[0] * factor)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("loss", [Loss("cwd"), Loss("pi", tau=2.0), Loss("at"), Loss("pkd"), Loss("dist")])
def test_values_and_gradients_are_those_of_the_cpu(driver: Driver, loss: Loss, dtype: Any) -> None:  # noqa: ANN401
    rng = np.random.default_rng(5)
    teacher = (2 * rng.standard_normal((2, 5, 7, 9))).astype(dtype)
    student = (teacher + 0.3 * rng.standard_normal(teacher.shape)).astype(dtype)
    wanted, gradient = value_and_gradient(loss, student, teacher, upstream=3.0)
    found = Launched(driver, loss, student, teacher, upstream=3.0)
    assert found.value == pytest.approx(wanted, rel=4e-6)
    largest = float(np.abs(gradient.astype(np.float64)).max())
    rounding = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(found.grad_student.numpy(), gradient, rtol=rounding, atol=4e-6 * largest)


def test_positions_are_left_out(driver: Driver) -> None:
    rng = np.random.default_rng(6)
    student, teacher = rng.standard_normal((2, 2, 3, 4, 6)).astype(np.float32)
    mask = rng.integers(0, 2, (2, 4, 6)).astype(np.uint8)
    loss = Loss("pi")
    found = Launched(driver, loss, student, teacher, mask=driver.array(mask), counted=mask)
    assert found.value == pytest.approx(value(loss, student, teacher, mask=mask), rel=4e-6)
    with pytest.raises(ValueError, match="given together"):
        Launched(driver, loss, student, teacher, mask=driver.array(mask))


@pytest.mark.parametrize("name", ["dkd", "smooth_ce", "ifvd"])
def test_labels_are_classes(driver: Driver, name: str) -> None:
    rng = np.random.default_rng(7)
    student, teacher = rng.standard_normal((2, 2, 5, 6, 4)).astype(np.float32)
    loss = Loss(name)
    # Those of classes that need not be channels may have another resolution.
    labels = rng.integers(0, 5, (2, 3, 8) if name == "ifvd" else (2, 6, 4))
    labels[rng.random(labels.shape) < 0.2] = 255
    mask = rng.integers(0, 2, (2, 6, 4)).astype(np.uint8)
    of_teacher = None if name == "smooth_ce" else teacher
    wanted, gradient = value_and_gradient(loss, student, of_teacher, labels=labels, mask=mask)
    known: dict[str, Any] = {
        "labels": driver.array(labels),
        "known_labels": labels,
        "mask": driver.array(mask),
        "counted": mask,
    }
    found = Launched(driver, loss, student, of_teacher, **known)
    assert found.value == pytest.approx(wanted, rel=4e-6)
    largest = float(np.abs(gradient).max())
    np.testing.assert_allclose(found.grad_student.numpy(), gradient, rtol=0, atol=4e-6 * largest)
    with pytest.raises(ValueError, match="given together"):
        Launched(driver, loss, student, of_teacher, labels=driver.array(labels))
    with pytest.raises(ValueError, match="labels"):
        Launched(driver, loss, student, of_teacher)
    short = labels[:1]
    with pytest.raises(ValueError, match="labels"):
        Launched(driver, loss, student, of_teacher, labels=driver.array(short), known_labels=short)
    if name != "ifvd":
        labels[0, 0, 0] = 5
        with pytest.raises(ValueError, match="label"):
            Launched(driver, loss, student, of_teacher, labels=driver.array(labels), known_labels=labels)


def test_what_a_launch_refuses(driver: Driver) -> None:
    maps_ = [driver.array(np.ones((1, 2, 3, 4), np.float32)) for _ in range(3)]
    student, teacher, gradient = maps_
    loss = Loss("cwd")
    room: dict[str, Any] = {
        "workspace": driver.empty((loss.workspace(student, teacher),), np.uint8),
        "totals": driver.empty((2,), np.float64),
    }
    on_host: Any = np.ones((1, 2, 3, 4), np.float32)
    with pytest.raises(ValueError, match="teacher is on the CPU: wanted a CUDA device"):
        loss.launch(student, on_host, **room)
    with pytest.raises(ValueError, match="grad_student shares memory with student"):
        loss.launch(student, teacher, grad_student=student, **room)
    with pytest.raises(ValueError, match="totals has 8 bytes"):
        loss.launch(student, teacher, **{**room, "totals": driver.empty((1,), np.float64)})
    elsewhere = DeviceArray(driver, (1, 2, 3, 4), np.dtype(np.float32), device=1)
    with pytest.raises(ValueError, match="teacher is on CUDA device 1, the student on CUDA device 0"):
        loss.launch(student, elsewhere, grad_student=gradient, **room)
    with pytest.raises(TypeError, match="teacher is of f16, the student of f32"):
        loss.launch(student, driver.array(np.ones((1, 2, 3, 4), np.float16)), **room)
    with pytest.raises(NotImplementedError, match="f64"):
        Loss("cwd", divergence="js").workspace(*[driver.empty((1, 2, 3, 4), np.float64) for _ in range(2)])
    with pytest.raises(NotImplementedError, match=r"is on CUDA device 0: .*launch"):
        loss.submit(student, teacher)


def test_without_a_driver_it_says_so() -> None:
    script = """
import ctypes
from densekd import Loss
from tests.simulated import DeviceArray
import numpy as np

array = object.__new__(DeviceArray)
array.shape, array.dtype, array.device, array.address = (1, 2, 3, 4), np.dtype("f4"), 0, ctypes.c_uint64(4096)
array.lent = []
rooms = []
for shape, dtype, address in [((1 << 16,), np.dtype("u1"), 1 << 20), ((2,), np.dtype("f8"), 1 << 30)]:
    room = object.__new__(DeviceArray)
    room.shape, room.dtype, room.device, room.address = shape, dtype, 0, ctypes.c_uint64(address)
    room.lent = []
    rooms.append(room)
try:
    Loss("cwd").launch(array, array, workspace=rooms[0], totals=rooms[1])
except RuntimeError as error:
    print(error)
"""
    environment = {**os.environ, LIBRARY: "no-such-driver.so"}
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert "no CUDA device" in found.stdout and "no-such-driver.so" in found.stdout


class OnCpu:
    """A loss whose launch works on the CPU."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self.takes_labels, self.options = loss.takes_labels, loss.options

    def workspace(self, student: Tensor, teacher: Tensor) -> int:
        assert student.dtype == teacher.dtype
        return 48

    def launch(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        totals: Tensor,
        workspace: Tensor,
        stream: int,
        counted: Tensor | None,
        known_labels: Tensor | None,
        **more: Any,  # noqa: ANN401
    ) -> float:
        assert (workspace.numel(), workspace.dtype, stream) == (48, torch.uint8, 77)
        assert totals.dtype == torch.float64
        assert (counted is None) == (more["mask"] is None)
        assert (known_labels is None) == (more["labels"] is None)
        totals[0] = 2 * self.loss.submit(student, teacher, **more)
        return 0.5


@pytest.mark.parametrize("of_teacher", [torch.float32, torch.float16])
def test_what_surrounds_a_launch(monkeypatch: pytest.MonkeyPatch, of_teacher: torch.dtype) -> None:
    monkeypatch.setattr(cuda, "_stream", lambda _: 77)
    student, teacher = maps(2, 3, 4, 5, dtype=torch.float16)
    teacher = teacher.to(of_teacher)
    mask = torch.rand(2, 4, 5) < 0.5
    loss = Loss("cwd")
    stand_in: Any = OnCpu(loss)
    found, gradient, none = cuda.submit(stand_in, student, teacher, None, mask, upstream=3.0, to_student=True)
    wide = torch.empty(student.shape, dtype=torch.float32)
    wanted = loss.submit(student.float(), teacher.float(), mask=mask, upstream=3.0, grad_student=wide)
    assert (found.dtype, none) == (torch.float64, None)
    assert found.item() == pytest.approx(wanted, rel=1e-6)
    assert gradient is not None and gradient.dtype == torch.float16
    torch.testing.assert_close(gradient, wide.half(), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["pi", "dkd"])
def test_labels_reach_a_launch_or_leave_positions_out(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(cuda, "_stream", lambda _: 77)
    student, teacher = maps(2, 3, 4, 5, dtype=torch.float32)
    labels = torch.randint(0, 3, (2, 4, 5))
    labels[:, 1] = 255
    mask = torch.rand(2, 4, 5) < 0.5
    loss = Loss(name)
    stand_in: Any = OnCpu(loss)
    found = cuda.submit(stand_in, student, teacher, labels, mask)[0]
    assert found.item() == pytest.approx(loss.submit(student, teacher, labels=labels, mask=mask), rel=1e-6)
