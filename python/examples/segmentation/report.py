"""The table, the figures behind it, and plots of them."""

from __future__ import annotations

import csv
from statistics import mean, stdev
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from .methods import CONTROL, METHODS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from .study import Result

#: What others publish as the gain over a student that learns without a teacher, in points of mIoU on Cityscapes'
#: validation images: loss, gain, student and source.
PUBLISHED = (
    ("CWD", 5.81, "PSPNet, ResNet-18", "arXiv 2011.13256, abstract"),
    ("CWD", 75.54 - 74.87, "PSPNet, ResNet-18", "open-mmlab/mmrazor, configs/distill/mmseg/cwd"),
    ("CWD", 75.55 - 74.21, "DeepLabV3, ResNet-18", "winycg/CIRKD, README"),
    ("IFVD", 75.59 - 74.21, "DeepLabV3, ResNet-18", "winycg/CIRKD, README"),
    ("PI, PA and adversarial (SKD)", 75.42 - 74.21, "DeepLabV3, ResNet-18", "winycg/CIRKD, README"),
)


def write(out: Path, teacher: Mapping[str, float], trials: Sequence[Result], students: Sequence[Result]) -> str:
    """Write everything into a folder, and return the table."""
    _csv(
        out / "trials.csv",
        ("method", "share", "weight", "validation", "digest"),
        [(x.method, x.share, x.weight, f"{x.validation:.4f}", x.digest) for x in trials],
    )
    _csv(
        out / "results.csv",
        ("method", "weight", "seed", "validation", "test", "digest"),
        [(x.method, x.weight, x.seed, f"{x.validation:.4f}", f"{x.test:.4f}", x.digest) for x in students],
    )
    _csv(
        out / "curves.csv",
        ("method", "seed", "step", "validation"),
        [(x.method, x.seed, step, f"{value:.4f}") for x in students for step, value in x.curve],
    )
    # Files that are the same where their figures are.
    with mpl.rc_context({"svg.hashsalt": "densekd", "svg.fonttype": "none"}):
        _bars(teacher["test"], students).savefig(out / "bars.svg", metadata={"Date": None})
        _curves(students).savefig(out / "curves.svg", metadata={"Date": None})
    table = _table(teacher, students)
    (out / "table.md").write_text(table)
    return table


def _table(teacher: Mapping[str, float], students: Sequence[Result]) -> str:
    """Return the methods by their mean on the test tiles."""
    lines = [
        "| method | weight | validation | test | sd | gain over none | sd of the gain | seeds with a gain |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        f"| teacher | | {teacher['validation']:.2f} | {teacher['test']:.2f} | | | | |",
    ]
    for name in _by_mean(students):
        mine, gains = _of(name, students), _gains(name, students)
        tests = [_test(x) for x in mine]
        cells = [name, f"{mine[0].weight:g}" if METHODS[name].terms else ""]
        cells += [f"{mean(x.validation for x in mine):.2f}", f"{mean(tests):.2f}", f"{stdev(tests):.2f}"]
        if name == CONTROL:
            cells += ["0", "", ""]
        else:
            ahead = sum(gain > 0 for gain in gains)
            cells += [f"{mean(gains):+.2f}", f"{stdev(gains):.2f}", f"{ahead} of {len(gains)}"]
        lines.append(f"| {' | '.join(cells)} |")
    first, second = [name for name in _by_mean(students) if METHODS[name].terms][:2]
    leads = _gains(first, students, second)
    seeds = f"{sum(lead > 0 for lead in leads)} of {len(leads)} seeds"
    lines += ["", f"{first} over {second}: {mean(leads):+.2f}, sd {stdev(leads):.2f}, ahead in {seeds}.", ""]
    lines += ["| published, on Cityscapes | gain | student | source |", "| --- | ---: | --- | --- |"]
    lines += [f"| {loss} | {gain:+.2f} | {student} | {source} |" for loss, gain, student, source in PUBLISHED]
    return "\n".join(lines) + "\n"


def _bars(teacher: float, students: Sequence[Result]) -> Figure:
    """Draw the means on the test tiles, and every seed as a dot."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    names = _by_mean(students)[::-1]
    for place, name in enumerate(names):
        tests = [_test(x) for x in _of(name, students)]
        axes.barh(place, mean(tests), color="tab:gray" if not METHODS[name].terms else "tab:blue", alpha=0.6)
        axes.plot(tests, [place] * len(tests), "k.", markersize=5)
    axes.axvline(teacher, color="tab:red", label="teacher")
    axes.set_yticks(range(len(names)), names)
    lowest = min(_test(x) for x in students)
    axes.set_xlim(max(0.0, lowest - 3), None)
    axes.set_xlabel("mIoU of the test tiles, %: mean and seeds")
    axes.legend(loc="lower right")
    return figure


def _curves(students: Sequence[Result]) -> Figure:
    """Draw the seeds' mean on the validation tiles, by step."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(_by_mean(students)):
        curves = [x.curve for x in _of(name, students)]
        steps = [step for step, _ in curves[0]]
        means = [mean(values) for values in zip(*([value for _, value in x] for x in curves), strict=True)]
        axes.plot(steps, means, "-" if METHODS[name].terms else "--", color=f"C{place % 10}", label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("mIoU of the validation tiles, %: mean of the seeds")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _of(name: str, students: Iterable[Result]) -> list[Result]:
    return sorted((x for x in students if x.method == name), key=lambda x: x.seed)


def _gains(name: str, students: Sequence[Result], over: str = CONTROL) -> list[float]:
    """Return what each seed's student has over that of another method, of the same seed."""
    pairs = zip(_of(name, students), _of(over, students), strict=True)
    return [_test(mine) - _test(other) for mine, other in pairs]


def _by_mean(students: Sequence[Result]) -> list[str]:
    return sorted(METHODS, key=lambda name: -mean(_test(x) for x in _of(name, students)))


def _test(x: Result) -> float:
    assert x.test is not None
    return x.test


def _csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
