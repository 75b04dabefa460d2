"""Losses as modules of PyTorch."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from densekd import Loss
from densekd.torch import (
    AttentionTransfer,
    ChannelWiseKD,
    DecoupledKD,
    DistillationLoss,
    DistKD,
    FeatureMimicking,
    IntraClassVariation,
    LabelSmoothing,
    LocalAffinity,
    PairWiseAffinity,
    PearsonKD,
    PixelWiseKD,
    RelationalKD,
)

from .conftest import maps


def cwd(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """Evaluate the usual form."""
    n, c = student.shape[:2]
    s = F.log_softmax(student.reshape(n * c, -1) / tau, dim=1)
    t = F.log_softmax(teacher.reshape(n * c, -1) / tau, dim=1)
    return tau**2 / (n * c) * F.kl_div(s, t, reduction="sum", log_target=True)


def test_value_and_gradient_are_those_of_autograd() -> None:
    student, teacher = maps(2, 5, 6, 7)
    student.requires_grad_()
    loss = ChannelWiseKD(tau=3.0, weight=2.0)(student, teacher)
    (2.5 * loss).backward()
    exact = student.detach().double().requires_grad_()
    wanted = 2 * cwd(exact, teacher.double(), 3.0)
    (2.5 * wanted).backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-6, atol=0)
    assert student.grad is not None and exact.grad is not None
    largest = exact.grad.abs().max().item()
    torch.testing.assert_close(student.grad.double(), exact.grad, rtol=0, atol=2e-6 * largest)


def every() -> list[tuple[DistillationLoss, bool]]:
    """Return one module of each class, and whether it takes labels."""
    return [
        (ChannelWiseKD(), False),
        (PixelWiseKD(tau=2.0), False),
        (AttentionTransfer(), False),
        (LocalAffinity(), False),
        (PairWiseAffinity(pool="avg"), False),
        (IntraClassVariation(num_classes=3), True),
        (FeatureMimicking(standardise=True), False),
        (PearsonKD(), False),
        (DistKD(), False),
        (DecoupledKD(), True),
        (RelationalKD(), False),
        (LabelSmoothing(), True),
    ]


@pytest.mark.parametrize("index", range(12))
def test_gradcheck(index: int) -> None:
    module, takes_labels = every()[index]
    assert len(every()) == 12
    student, teacher = maps(3, 4, 4, 5, dtype=torch.float64)
    student.requires_grad_()
    labels = torch.randint(0, 3, (3, 4, 5)) if takes_labels else None
    teacher_or_none = teacher if module.loss.takes_teacher else None

    def loss(student: Tensor) -> Tensor:
        found: Tensor = module(student, teacher_or_none, labels=labels)
        return found

    assert torch.autograd.gradcheck(loss, (student,), eps=1e-5, atol=1e-6)


def test_the_teacher_gets_its_gradient_or_is_refused() -> None:
    student, teacher = maps(1, 2, 3, 4, dtype=torch.float64)
    teacher.requires_grad_()
    with pytest.raises(ValueError, match="teacher requires a gradient"):
        ChannelWiseKD()(student, teacher)
    assert not ChannelWiseKD(teacher_grad=False)(student, teacher).requires_grad
    student.requires_grad_()
    module = ChannelWiseKD(teacher_grad=True)
    assert torch.autograd.gradcheck(module, (student, teacher), eps=1e-5, atol=1e-6)
    module(student.detach(), teacher).backward()
    assert teacher.grad is not None


def test_channels_last_without_a_copy() -> None:
    student, teacher = (x.contiguous(memory_format=torch.channels_last) for x in maps(2, 5, 6, 7))
    student.requires_grad_()
    loss = ChannelWiseKD()(student, teacher)
    loss.backward()
    assert student.grad is not None
    assert student.grad.is_contiguous(memory_format=torch.channels_last)
    mixed = ChannelWiseKD()(student.detach().contiguous(), teacher)
    torch.testing.assert_close(loss.detach(), mixed, rtol=1e-6, atol=0)
    torch.testing.assert_close(loss.detach(), cwd(student.detach(), teacher, 4.0), rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves(dtype: torch.dtype) -> None:
    student, teacher = maps(2, 3, 8, 8, dtype=dtype)
    student.requires_grad_()
    loss = ChannelWiseKD()(student, teacher)
    loss.backward()
    assert loss.dtype == torch.float32
    exact = student.detach().double().requires_grad_()
    wanted = cwd(exact, teacher.double(), 4.0)
    wanted.backward()
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-6, atol=0)
    assert student.grad is not None and exact.grad is not None
    assert student.grad.dtype == dtype
    ulp = torch.finfo(dtype).eps
    torch.testing.assert_close(student.grad.double(), exact.grad, rtol=ulp, atol=1e-7)


def test_a_loss_scale_keeps_what_float16_would_lose() -> None:
    student, teacher = maps(1, 1, 64, 64, dtype=torch.float16, noise=1e-2)
    student.requires_grad_()
    (ChannelWiseKD(weight=1e-3)(student, teacher) * 65536).backward()
    exact = student.detach().double().requires_grad_()
    (1e-3 * cwd(exact, teacher.double(), 4.0) * 65536).backward()
    assert student.grad is not None and exact.grad is not None
    assert exact.grad.abs().max() / 65536 < 6e-8, "nothing of it is a float16"
    largest = exact.grad.abs().max().item()
    torch.testing.assert_close(student.grad.double(), exact.grad, rtol=2e-3, atol=1e-3 * largest)


def test_overflowed_scale_is_not_hidden() -> None:
    student, teacher = maps(1, 1, 4, 4, dtype=torch.float16)
    student.requires_grad_()
    (ChannelWiseKD()(student, teacher) * float("inf")).backward()
    assert student.grad is not None
    assert not torch.isfinite(student.grad).all()


def test_autocast() -> None:
    student, teacher = maps(1, 3, 8, 8)
    weight = torch.randn(3, 3, 1, 1, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = F.conv2d(student, weight)
        loss = ChannelWiseKD()(features, teacher)
    assert features.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    loss.backward()
    assert weight.grad is not None and weight.grad.abs().max() > 0


def test_twice_differentiated_is_refused() -> None:
    student, teacher = maps(1, 2, 3, 4)
    student.requires_grad_()
    loss = ChannelWiseKD()(student, teacher)
    (gradient,) = torch.autograd.grad(loss, student, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        gradient.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.filterwarnings("ignore")
def test_compiled_in_one_graph(dtype: torch.dtype) -> None:
    student, teacher = maps(2, 3, 8, 8, dtype=dtype)
    module = ChannelWiseKD(tau=2.0)

    def step(student: Tensor, teacher: Tensor) -> Tensor:
        found: Tensor = 3 * module(student * 1.5, teacher)
        return found

    grads = []
    for run in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        leaf = student.clone().requires_grad_()
        loss = run(leaf, teacher)
        loss.backward()
        assert leaf.grad is not None
        grads.append((loss.item(), leaf.grad))
    assert grads[0][0] == pytest.approx(grads[1][0], rel=1e-6)
    torch.testing.assert_close(grads[0][1], grads[1][1], rtol=2e-3, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_exported() -> None:
    student, teacher = maps(1, 3, 8, 8)
    module = ChannelWiseKD(tau=2.0)
    program = torch.export.export(module, (student, teacher))
    torch.testing.assert_close(program.module()(student, teacher), module(student, teacher))


@pytest.mark.parametrize("wants", [(True, False), (True, True), (False, False)])
@pytest.mark.filterwarnings("ignore")
def test_the_operation_is_registered_right(wants: tuple[bool, bool]) -> None:
    from densekd.torch.operators import written

    student, teacher = maps(1, 2, 4, 4)
    student.requires_grad_(wants[0])
    teacher.requires_grad_(wants[1])
    arguments = (student, teacher, None, None, written(Loss("cwd")), *wants)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(torch.ops.densekd.loss.default, arguments, test_utils=checks)


def test_presets_and_copies() -> None:
    module = DistillationLoss.preset("mmrazor-cwd", tau=2.0)
    assert module.loss.options["weight"] == 5.0
    assert copy.deepcopy(module).loss == module.loss
    assert "tau=2.0" in repr(module)
    assert not module.state_dict()


def test_bad_input() -> None:
    good, module = torch.zeros(1, 2, 3, 4), ChannelWiseKD()
    with pytest.raises(TypeError, match="int64"):
        module(good.long(), good)
    with pytest.raises(TypeError, match="sparse"):
        module(good.to_sparse(), good)
    with pytest.raises(ValueError, match="meta"):
        module(good.to("meta"), good)
    with pytest.raises(TypeError, match=r"no teacher|none is given"):
        module(good)
    with pytest.raises(ValueError, match=r"teacher is \[1, 2, 4, 3\] but student is \[1, 2, 3, 4\]"):
        module(good, torch.zeros(1, 2, 4, 3))
    with pytest.raises(ValueError, match="tau is NaN"):
        ChannelWiseKD(tau=float("nan"))
    with pytest.raises(TypeError, match="taau"):
        ChannelWiseKD(taau=1.0)


def test_strided_students_are_read_right() -> None:
    student, teacher = maps(2, 3, 8, 9)
    student = student[:, :, ::2].requires_grad_()
    loss = ChannelWiseKD()(student, teacher[:, :, ::2])
    loss.backward()
    torch.testing.assert_close(loss.detach(), cwd(student.detach(), teacher[:, :, ::2], 4.0), rtol=1e-4, atol=0)
