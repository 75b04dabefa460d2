"""Losses of arrays."""

from __future__ import annotations

import array
import copy
import pickle
import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import densekd
from densekd import Loss
from densekd.functional import value, value_and_gradient

Floats = NDArray[np.floating[Any]]


def cwd(student: Floats, teacher: Floats, tau: float) -> tuple[float, Floats]:
    """Evaluate the paper's formula in float64."""

    def log_softmax(x: Floats) -> NDArray[np.float64]:
        x = x.astype(np.float64).reshape(*x.shape[:2], -1) / tau
        x = x - x.max(-1, keepdims=True)
        found: NDArray[np.float64] = x - np.log(np.exp(x).sum(-1, keepdims=True))
        return found

    s, t = log_softmax(student), log_softmax(teacher)
    channels = student.shape[0] * student.shape[1]
    loss = tau**2 / channels * (np.exp(t) * (t - s)).sum()
    return loss, (tau / channels * (np.exp(s) - np.exp(t))).reshape(student.shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_the_formula(dtype: type[np.floating[Any]]) -> None:
    rng = np.random.default_rng(3)
    teacher: Floats = (3 * rng.standard_normal((2, 3, 5, 7))).astype(dtype)
    student: Floats = (teacher + rng.standard_normal(teacher.shape)).astype(dtype)
    loss, gradient = value_and_gradient("cwd", student, teacher, tau=2.0)
    wanted, wanted_gradient = cwd(student, teacher, 2.0)
    relative = 1e-12 if dtype is np.float64 else 1e-6
    rounding = float(np.finfo(dtype).eps)
    assert loss == pytest.approx(wanted, rel=relative)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, wanted_gradient, rtol=rounding, atol=2 * relative * float(abs(gradient).max()))
    assert value("cwd", student, teacher, tau=2.0) == pytest.approx(loss, rel=1e-15)


def test_channels_last_is_read_in_place_and_keeps_its_order() -> None:
    rng = np.random.default_rng(4)
    student, teacher = (
        np.moveaxis(rng.standard_normal((2, 5, 7, 3)), -1, 1).astype(np.float32, order="K") for _ in "st"
    )
    loss, gradient = value_and_gradient("cwd", student, teacher)
    wanted, _ = cwd(student, teacher, 4.0)
    assert loss == pytest.approx(wanted, rel=1e-6)
    assert gradient.strides == student.strides


def test_what_does_not_lie_together_is_copied() -> None:
    rng = np.random.default_rng(5)
    student, teacher = (rng.standard_normal((2, 3, 5, 14))[..., ::2] for _ in "st")
    assert value("cwd", student, teacher) == pytest.approx(cwd(student, teacher, 4.0)[0], rel=1e-12)


def test_buffers_and_tensors_of_other_libraries() -> None:
    torch = pytest.importorskip("torch")
    numbers = [1.0, 2.0, 4.0, 3.0, 0.0, 5.0]
    rows = memoryview(array.array("d", numbers)).cast("B").cast("d", (2, 3))
    other = np.array(numbers[::-1]).reshape(2, 3)
    wanted = value("pi", np.array(numbers).reshape(2, 3), other)
    assert value("pi", rows, other) == wanted  # type: ignore[arg-type]
    assert value("pi", torch.tensor(numbers, dtype=torch.float64).reshape(2, 3), other) == wanted
    half = torch.tensor(numbers, dtype=torch.bfloat16).reshape(2, 3)
    loss, gradient = value_and_gradient("pi", half, other.astype(np.float32))
    assert loss == pytest.approx(wanted, rel=1e-6)
    assert gradient.dtype == np.float32


def test_equal_maps_are_exactly_zero() -> None:
    teacher = np.linspace(-3, 3, 24, dtype=np.float32).reshape(1, 2, 3, 4)
    for name in ["cwd", "pi", "at", "la", "pa", "pkd", "mimic"]:
        loss, gradient = value_and_gradient(name, teacher.copy(), teacher)
        assert loss == 0, name
        assert not gradient.any(), name


def test_positions_are_left_out_by_labels_and_by_a_mask() -> None:
    rng = np.random.default_rng(6)
    student, teacher = (rng.standard_normal((1, 4, 3, 3)).astype(np.float32) for _ in "st")
    mask = np.ones((1, 3, 3), dtype=bool)
    mask[0, 1] = False
    labels = np.where(mask, 1, 255)
    masked = value("pi", student, teacher, mask=mask)
    assert masked == value("pi", student, teacher, labels=labels)
    assert masked != value("pi", student, teacher)
    assert value("smooth_ce", student, labels=labels) > 0


def test_a_loss_is_an_object() -> None:
    loss = Loss("cwd", tau=2, divergence="js")
    assert loss.options["tau"] == 2.0
    assert loss == pickle.loads(pickle.dumps(loss)) == copy.deepcopy(loss)
    assert loss != Loss("cwd")
    assert repr(loss).startswith("Loss('cwd', tau=2.0")
    assert Loss.preset("mmrazor-cwd").options["weight"] == 5.0
    assert "KL" in Loss("cwd").explain() or "log" in Loss("cwd").explain()
    assert set(densekd.losses()) >= {"cwd", "pi", "at", "la", "pa", "dist"}
    assert len(densekd.presets()) == 48


@pytest.mark.parametrize(
    ("error", "says", "options"),
    [
        (ValueError, "tau is NaN", {"tau": float("nan")}),
        (ValueError, "tau is 0", {"tau": 0}),
        (TypeError, "tau must be", {"tau": "warm"}),
        (TypeError, "taau", {"taau": 1.0}),
        (ValueError, "divergence", {"divergence": "kll"}),
        (TypeError, "tau cannot be", {"tau": object()}),
    ],
)
def test_wrong_options(error: type[Exception], says: str, options: dict[str, object]) -> None:
    with pytest.raises(error, match=says):
        Loss("cwd", **options)  # type: ignore[arg-type]


def test_wrong_arrays() -> None:
    good = np.zeros((1, 2, 3, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="cw"):
        Loss("cw")
    with pytest.raises(ValueError, match=r"\[1, 2, 3, 4\].*\[1, 2, 4, 3\]|\[1, 2, 4, 3\].*\[1, 2, 3, 4\]"):
        value("cwd", good, good.reshape(1, 2, 4, 3))
    with pytest.raises(TypeError, match="int64"):
        value("cwd", good.astype(np.int64), good)
    with pytest.raises(TypeError, match="no loss takes"):
        value("cwd", good.astype(np.int32), good)
    with pytest.raises(ValueError, match=r"wanted \[N, C\]"):
        value("cwd", good[0, 0, 0], good)
    with pytest.raises(ValueError, match="teacher"):
        value("cwd", good)
    with pytest.raises(ValueError, match="labels"):
        value("smooth_ce", good)
    with pytest.raises(TypeError, match="beside a Loss"):
        value(Loss("cwd"), good, good, tau=2.0)
    empty = np.zeros((0, 2, 3, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="0"):
        value("cwd", empty, empty)


def test_outputs_that_cannot_be_written() -> None:
    loss, good = Loss("cwd"), np.zeros((1, 2, 3, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="shares memory with student"):
        loss.submit(good, good.copy(), grad_student=good)
    out = np.zeros_like(good)
    out.flags.writeable = False
    with pytest.raises((ValueError, BufferError), match=r"read.?only"):
        loss.submit(good, good.copy(), grad_student=out)
    with pytest.raises(ValueError, match="shape"):
        loss.submit(good, good.copy(), grad_student=np.zeros((1, 2, 3, 5), dtype=np.float32))
    with pytest.raises(ValueError, match=r"together|orders"):
        loss.submit(good, good.copy(), grad_student=np.zeros((1, 2, 3, 8), dtype=np.float32)[..., ::2])


def test_the_interpreter_runs_on() -> None:
    rng = np.random.default_rng(8)
    student, teacher = (rng.standard_normal((4, 19, 256, 256)).astype(np.float32) for _ in "st")
    turns, done = 0, threading.Event()

    def work() -> None:
        for _ in range(20):
            value("cwd", student, teacher)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        turns += 1
        time.sleep(1e-4)
    thread.join()
    assert turns > 20


def test_threads_do_not_change_a_bit() -> None:
    rng = np.random.default_rng(9)
    student, teacher = (rng.standard_normal((3, 7, 33, 65)).astype(np.float32) for _ in "st")
    found = []
    for threads in (1, 2, 3):
        densekd.set_num_threads(threads)
        assert densekd.num_threads() == threads
        loss, gradient = value_and_gradient("cwd", student, teacher)
        found.append((loss, gradient.tobytes()))
    assert found[0] == found[1] == found[2]
    with pytest.raises(ValueError, match="threads is 0"):
        densekd.set_num_threads(0)
