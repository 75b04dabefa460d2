"""What the README shows and the examples train."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from densekd.torch.openmmlab import ChannelWiseDivergence, KLDivergence

HERE = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["plain", "lightning_module", "accelerate_loop", "mmengine_registry"])
@pytest.mark.filterwarnings("ignore")
@pytest.mark.filterwarnings("error::densekd.torch.DistillationWarning")
def test_the_examples_learn(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(HERE / "examples")
    monkeypatch.chdir(tmp_path)
    losses = importlib.import_module(name).main(epochs=3)
    sys.modules.pop(name)
    assert losses[-1] < losses[0]


def test_what_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (HERE / "README.md").read_text(), re.DOTALL)
    whole = [block for block in blocks if "randn" in block]
    assert len(whole) == 2
    for block in whole:
        exec(block, {})


def test_mmrazor_numbers() -> None:
    """Its formulas: sum of p (log p - log q) tau^2 / (C N), and KLDivLoss by `batchmean`."""
    torch.manual_seed(1)
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    rows_s, rows_t = student.reshape(-1, 20) / 2, teacher.reshape(-1, 20) / 2
    wanted = F.kl_div(F.log_softmax(rows_s, 1), F.softmax(rows_t, 1), reduction="sum") * 4 / 6 * 5
    found = ChannelWiseDivergence(tau=2.0, loss_weight=5.0)(preds_S=student, preds_T=teacher)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    kl = F.kl_div(F.log_softmax(student / 2, 1), F.softmax(teacher / 2, 1), reduction="batchmean") * 4 * 3
    found = KLDivergence(tau=2.0, loss_weight=3.0)(student, teacher.requires_grad_())
    torch.testing.assert_close(found, kl.detach(), rtol=1e-5, atol=0)
