"""The bar chart: how many times as long as densekd each kind of peer takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from .peer import GRADIENT, LOSS
from .report import shape_of

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from .compare import Row

#: What is shown: the student that has learnt, one thread, and of PyTorch's forms the fastest of a kind.
STUDENT, THREADS = "half", 1

#: Beginnings of peers' names, with what they are called in the chart.
KINDS = {
    "eager": "PyTorch eager",
    "compiled": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "numpy": "NumPy",
}

#: Legible on white and on the near-black of dark pages.
INK, OWN, PEER = "#808890", "#2da44e", "#5b8def"


def shortest(rows: list[Row]) -> dict[str, float]:
    """Return the ratio of the fastest peer of each kind."""
    found: dict[str, float] = {}
    for begin, name in KINDS.items():
        ratios = [row.ratio for row in rows if row.peer.split()[0] == begin]
        if ratios:
            found[name] = min(ratios)
    return found


def bars(axes: Axes, title: str, ratios: dict[str, float], limit: float) -> None:
    """Draw one piece of work."""
    names = ["densekd", *ratios]
    lengths = [1.0, *ratios.values()]
    drawn = axes.barh(names, lengths, color=[OWN] + [PEER] * len(ratios), height=0.72)
    labels = [f"{x:.1f}" if x >= 1 else f"{x:.2f}" for x in lengths]
    axes.bar_label(drawn, labels, padding=3, color=INK, fontsize=8)
    axes.set_title(title, color=INK, fontsize=9, loc="left")
    axes.set_xlim(0, limit)
    axes.invert_yaxis()
    axes.tick_params(length=0, colors=INK, labelsize=8, labelbottom=False)
    axes.spines[:].set_visible(False)


def draw(rows: list[Row], pairs: int, path: Path) -> None:
    """Write the chart in the format of the path's ending."""
    shown = [row for row in rows if (row.student, row.threads) == (STUDENT, THREADS)]
    works = list(dict.fromkeys(shape_of(row) for row in shown))
    panels = {
        (work, what): shortest([row for row in shown if (shape_of(row), row.work) == (work, what)])
        for work in works
        for what in (LOSS, GRADIENT)
    }
    # One scale, so that panels compare, with room for the numbers.
    limit = 1.12 * max([1.0, *(ratio for ratios in panels.values() for ratio in ratios.values())])
    # Text stays text, and the same numbers give the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "densekd", "font.family": "sans-serif"}):
        figure = Figure(figsize=(8.2, 1.25 * len(works) + 0.5), layout="constrained")
        axes = figure.subplots(len(works), 2, squeeze=False).flat
        for ((work, what), ratios), place in zip(panels.items(), axes, strict=True):
            bars(place, f"{work}, {what}", ratios, limit)
        caption = (
            f"time as a multiple of densekd's: shorter is faster (f32, one thread, median of {pairs} pairs)"
        )
        figure.supxlabel(caption, color=INK, fontsize=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, transparent=True, metadata=metadata)
