"""A teacher beside a student in training."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from densekd.torch import (
    AttentionTransfer,
    ChannelWiseKD,
    DistillationWarning,
    Distiller,
    FeatureMimicking,
    Pair,
    PixelWiseKD,
)
from densekd.torch.features import plain_name


class Net(nn.Module):
    """A tiny segmentation network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.backbone(x))
        return found


class Nested(nn.Module):
    """One that puts out several maps."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Net(4)
        self.both = nn.Identity()

    def forward(self, x: Tensor) -> dict[str, object]:
        out = self.inner(x)
        self.both((out, 2 * out))
        return {"out": out, "aux": [out]}


def networks() -> tuple[Net, Net, Tensor]:
    torch.manual_seed(1)
    return Net(4), Net(8), torch.randn(2, 3, 16, 16)


def pairs() -> list[Pair]:
    return [
        Pair("head", "head", ChannelWiseKD(tau=2.0), weight=3.0),
        Pair("backbone", "backbone", FeatureMimicking(), channels=(4, 8), name="features"),
    ]


def test_a_loss_of_attention_takes_features_of_unlike_widths() -> None:
    student, teacher, images = networks()
    distiller = Distiller(student, teacher, [Pair("backbone", "backbone", AttentionTransfer())])
    student(images)
    distiller(images).total.backward()
    weight = student.get_parameter("backbone.0.weight")
    assert weight.grad is not None
    assert weight.grad.any()
    assert not distiller.adapters
    with pytest.raises(ValueError, match=r"channels=\(4, 8\)"):
        _mimicked(student, teacher, images)


def _mimicked(student: Net, teacher: Net, images: Tensor) -> None:
    distiller = Distiller(student, teacher, [Pair("backbone", "backbone", FeatureMimicking())])
    student(images)
    distiller(images)


def test_a_plain_loop() -> None:
    student, teacher, images = networks()
    distiller = Distiller(student, teacher, pairs())
    optimizer = torch.optim.SGD([*student.parameters(), *distiller.parameters()], lr=0.1)
    distiller.check_optimizer(optimizer)
    before = [x.clone() for x in teacher.parameters()]
    totals = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(12):
            optimizer.zero_grad()
            task = student(images).square().mean()
            terms = distiller(images, task_loss=task)
            (task + terms.total).backward()
            optimizer.step()
            totals.append(terms.total.item())
    assert totals[-1] < totals[0]
    assert all(x.grad is None for x in teacher.parameters())
    assert all(torch.equal(x, y) for x, y in zip(before, teacher.parameters(), strict=True))
    log = terms.log()
    assert set(log) == {
        "distil/head_cwd",
        "distil/features",
        "distil/head_cwd/weight",
        "distil/features/weight",
        "distil/total",
    }
    assert log["distil/total"] == pytest.approx(log["distil/head_cwd"] + log["distil/features"], rel=1e-6)


def test_its_state_is_that_of_the_adapters() -> None:
    student, teacher, _ = networks()
    distiller = Distiller(student, teacher, pairs())
    assert set(distiller.state_dict()) == {"adapters.features.weight", "adapters.features.bias"}
    again = Distiller(student, teacher, pairs())
    again.load_state_dict(distiller.state_dict())


def test_the_loss_is_that_of_the_features() -> None:
    student, teacher, images = networks()
    distiller = Distiller(student, teacher, pairs()[:1])
    out = student(images)
    terms = distiller(images)
    with torch.no_grad():
        wanted = 3 * ChannelWiseKD(tau=2.0)(out, teacher(images))
    torch.testing.assert_close(terms.total.detach(), wanted)


def test_weights_follow_a_schedule() -> None:
    student, teacher, images = networks()
    distiller = Distiller(student, teacher, [Pair("", "", PixelWiseKD(), weight=lambda step: step / 2)])
    weights = []
    for _ in range(3):
        student(images)
        weights.append(distiller(images).weights["student_pi"])
    assert weights == [0.0, 0.5, 1.0]


def test_resize_and_entries() -> None:
    student, teacher, images = Nested(), Net(8), torch.randn(1, 3, 16, 16)
    entries = [
        Pair("[out]", "head", ChannelWiseKD(), name="out"),
        Pair("both[1]", "head", ChannelWiseKD(), name="twice"),
    ]
    distiller = Distiller(student, teacher, entries)
    student(images)
    assert set(distiller(images).terms) == {"out", "twice"}
    small = Distiller(student, teacher, [Pair("[out]", "head", ChannelWiseKD(), resize="bilinear")])
    student(images[..., ::2, ::2])
    assert small(images).total.isfinite()
    strict = Distiller(student, teacher, [Pair("[out]", "head", ChannelWiseKD())])
    student(images[..., ::2, ::2])
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 4\).*\(1, 4, 8, 8\)"):
        strict(images)
    with pytest.raises(TypeError, match="name an entry"):
        Distiller(student, teacher, [Pair("", "head", ChannelWiseKD())])
        student(images)


def test_wrappers_are_looked_through() -> None:
    student, teacher, images = networks()
    wrapped = nn.DataParallel(student)
    distiller = Distiller(wrapped, teacher, [Pair("module.head", "head", ChannelWiseKD())])
    student(images)
    assert distiller(images).total.isfinite()
    assert plain_name("module._orig_mod.head") == "head"
    assert plain_name("") == ""


def test_weights_are_suggested_by_gradients() -> None:
    student, teacher, images = networks()
    distiller = Distiller(student, teacher, [Pair("head", "head", ChannelWiseKD(), weight=1e-4)])
    task = student(images).square().mean()
    terms = distiller(images)
    factor = distiller.suggest_weights(task, terms)["head_cwd"]
    (feature,) = terms.features.values()
    norms = [torch.autograd.grad(x, feature, retain_graph=True)[0].norm() for x in (task, factor * terms.total)]
    torch.testing.assert_close(norms[0], norms[1], rtol=1e-4, atol=0)


def test_what_was_not_run_is_refused() -> None:
    student, teacher, images = networks()
    distiller = Distiller(student, teacher, pairs())
    with pytest.raises(RuntimeError, match="'head' of the student was not run"):
        distiller(images)
    student(images)
    distiller(images)
    with pytest.raises(RuntimeError, match="was not run"):
        distiller(images)


def test_a_teacher_in_train_mode_is_told() -> None:
    student, teacher, images = networks()
    distiller = Distiller(student, teacher, pairs())
    assert not teacher.training
    teacher.train()
    student(images)
    with pytest.warns(DistillationWarning, match="train mode"):
        distiller(images)
    assert not teacher.training


def test_a_gradient_of_zero_is_told() -> None:
    student, teacher, images = networks()
    distiller = Distiller(student, teacher, [Pair("head", "head", ChannelWiseKD(weight=0.0))])
    with pytest.warns(DistillationWarning, match="0 throughout"):
        for _ in range(3):
            student(images)
            distiller(images).total.backward()


def test_features_without_a_gradient_are_told() -> None:
    student, teacher, images = networks()
    student.requires_grad_(requires_grad=False)
    distiller = Distiller(student, teacher, [Pair("head", "head", ChannelWiseKD())])
    student(images)
    with pytest.warns(DistillationWarning, match="take no gradient"):
        distiller(images)


def test_an_adapter_without_an_optimiser_is_told() -> None:
    student, teacher, images = networks()
    distiller = Distiller(student, teacher, pairs())
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"features\.weight"):
        distiller.check_optimizer(optimizer)
    with pytest.warns(DistillationWarning, match="no optimiser changes it"):
        for _ in range(5):
            optimizer.zero_grad()
            student(images)
            distiller(images).total.backward()
            optimizer.step()


def test_a_term_that_drowns_the_task_is_told() -> None:
    student, teacher, images = networks()
    distiller = Distiller(student, teacher, [Pair("head", "head", ChannelWiseKD(weight=1e9))])
    task = student(images).square().mean()
    with pytest.warns(DistillationWarning, match="1,000 times"):
        distiller(images, task_loss=task)


def test_what_does_not_go_together() -> None:
    student, teacher, _ = networks()
    loss = ChannelWiseKD()
    with pytest.raises(ValueError, match=r"no module 'haed'.*'head'"):
        Distiller(student, teacher, [Pair("haed", "head", loss)])
    with pytest.raises(ValueError, match="no pairs"):
        Distiller(student, teacher, [])
    with pytest.raises(ValueError, match="several pairs"):
        Distiller(student, teacher, [Pair("head", "head", loss), Pair("head", "head", loss)])
    with pytest.raises(ValueError, match="teacher is the student"):
        Distiller(student, nn.DataParallel(student), [Pair("head", "head", loss)])
    with pytest.raises(ValueError, match="both given"):
        Pair("head", "head", loss, adapter=nn.Identity(), channels=(1, 1))
    with pytest.raises(ValueError, match="'cubic'"):
        Pair("head", "head", loss, resize="cubic")


def test_hooks_are_taken_off() -> None:
    student, teacher, images = networks()
    with Distiller(student, teacher, pairs()) as distiller:
        student(images)
        distiller(images)
    assert not student.head._forward_hooks
    assert not teacher.head._forward_hooks
