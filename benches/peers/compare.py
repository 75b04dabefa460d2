"""Turns, ratios and errors."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import others, pytorch
from .driver import Densekd
from .peer import GRADIENT, LOSS
from .work import STUDENTS, Maps, reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .peer import Peer
    from .work import Floats, Work

#: Seconds that the worker threads of one contender get to fall asleep before the other is timed.
PAUSE = 0.02

#: Elements that a sample goes over: calls on small maps are timed together.
SAMPLE = 1 << 21

#: Rounds that settle allocator, caches, threads and compilers, and are not counted.
SETTLING = 2


@dataclass(frozen=True)
class Row:
    """A peer against densekd on one piece of work; times in nanoseconds an element."""

    loss: str
    shape: tuple[int, int, int, int]
    student: str
    work: str
    threads: int
    peer: str
    peer_ns: float
    densekd_ns: float
    ratio: float
    ratio_min: float
    ratio_max: float
    ratio_of_best: float


@dataclass(frozen=True)
class Accuracy:
    """A contender's distance from the reference in f64: of the value, and of the gradient's largest entry."""

    loss: str
    shape: tuple[int, int, int, int]
    student: str
    contender: str
    value: float
    relative_error: float
    gradient_error: float | None


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    driver: Path
    threads: list[int]
    pairs: int
    seed: int


def measure(plan: Plan, work: Work) -> tuple[list[Row], list[Accuracy]]:
    """Run all contenders on one loss and shape."""
    rows: list[Row] = []
    accuracies: list[Accuracy] = []
    for threads in plan.threads:
        peers = pytorch.peers(work, threads) + others.peers(work, threads)
        for student in STUDENTS:
            print(f"{work.name}, {student.name}, {threads} thread(s) ...", file=sys.stderr)
            maps = Maps.make(work, student, plan.seed)
            with (
                tempfile.TemporaryDirectory() as folder,
                Densekd(plan.driver, maps, Path(folder)) as densekd,
            ):
                if threads == plan.threads[0]:
                    accuracies += accuracy(maps, peers, densekd)
                rows += timed(maps, peers, densekd, threads, plan.pairs)
    return rows, accuracies


def accuracy(maps: Maps, peers: list[Peer], densekd: Densekd) -> Iterator[Accuracy]:
    """Hold every contender's value and gradient against the reference."""
    value, gradient = reference(maps)
    largest = float(np.abs(gradient).max())

    def against(contender: str, found: float, g: Floats | None) -> Accuracy:
        off = None if g is None else float(np.abs(g - gradient).max()) / largest
        work, error = maps.work, abs(found - value) / value
        return Accuracy(work.loss, work.shape, maps.student_name, contender, found, error, off)

    yield against("densekd", *densekd.value_and_gradient())
    for peer in peers:
        calls = peer.bind(maps)
        yield against(peer.name, *(calls.gradient() if calls.gradient else (calls.loss(), None)))


def timed(maps: Maps, peers: list[Peer], densekd: Densekd, threads: int, pairs: int) -> Iterator[Row]:
    """Time every peer against densekd at this number of threads."""
    calls = max(1, SAMPLE // maps.work.size)
    for what in (LOSS, GRADIENT):
        for peer in peers:
            call = peer.bind(maps).of(what)
            if call is None:
                continue
            samples = turns(call, partial(densekd.seconds, what, threads, calls), calls, pairs)
            yield row(maps, what, threads, peer.name, samples, calls)


def turns(
    peer: Callable[[], object], own: Callable[[], float], calls: int, pairs: int
) -> list[tuple[float, float]]:
    """Return the seconds of a peer's calls and of densekd's, by turns."""
    samples = []
    for _ in range(pairs + SETTLING):
        time.sleep(PAUSE)
        start = time.perf_counter()
        for _ in range(calls):
            peer()
        theirs = time.perf_counter() - start
        time.sleep(PAUSE)
        samples.append((theirs, own()))
    return samples[SETTLING:]


def row(
    maps: Maps, what: str, threads: int, name: str, samples: list[tuple[float, float]], calls: int
) -> Row:
    """Return what the samples come to."""
    work = maps.work
    theirs, ours = (list(side) for side in zip(*samples, strict=True))
    ratios = [peer / own for peer, own in samples]
    per_element = 1e9 / (work.size * calls)
    return Row(
        loss=work.loss,
        shape=work.shape,
        student=maps.student_name,
        work=what,
        threads=threads,
        peer=name,
        peer_ns=statistics.median(theirs) * per_element,
        densekd_ns=statistics.median(ours) * per_element,
        ratio=statistics.median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        ratio_of_best=min(theirs) / min(ours),
    )
