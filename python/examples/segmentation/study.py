"""The jobs of the experiment, in processes of one thread; each leaves a file, and is not run where that is there."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from . import networks, training
from .data import CLASSES, Tiles, drawn, of_the_earth
from .methods import METHODS
from .settings import TRIAL_SEED, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Job:
    """A student to be trained: a trial of a share, which finds its weight, or a row's student of a seed."""

    method: str
    seed: int
    weight: float = 0.0
    share: float | None = None

    @property
    def file(self) -> str:
        """Name what it leaves."""
        what = f"weight {self.weight:g} seed {self.seed}" if self.share is None else f"share {self.share:g}"
        return f"{self.method} {what}.json".replace(" ", "-")


@dataclass(frozen=True)
class Result:
    """What came of a job: percents of mIoU; no test tile is looked at in a trial."""

    method: str
    seed: int
    weight: float
    share: float | None
    validation: float
    test: float | None
    #: Validation mIoU by step.
    curve: list[tuple[int, float]]
    #: Fingerprint of the student's numbers.
    digest: str


@dataclass(frozen=True)
class Study:
    """Where everything lies. Without `data`, tiles are drawn."""

    settings: Settings
    data: Path | None
    out: Path
    workers: int

    def run(self) -> tuple[dict[str, float], list[Result], list[Result]]:
        """Return the teacher's mIoU, the trials and the table's students."""
        self._claim()
        # Of the libraries under PyTorch too, in the processes that are started here.
        os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        of_teacher = self._all([None])[0]
        trials = self._all(
            [
                Job(name, TRIAL_SEED, share=share)
                for name, method in METHODS.items()
                if method.terms
                for share in self.settings.shares
            ]
        )
        weights = {name: _best(name, trials) for name in METHODS}
        students = self._all([Job(name, seed, weights[name]) for seed in self.settings.seeds for name in METHODS])
        return (
            {part: of_teacher[part] for part in ("validation", "test")},
            [Result(**x) for x in trials],
            [Result(**x) for x in students],
        )

    def _claim(self) -> None:
        """Refuse a folder of another experiment: its files would be taken for this one's."""
        said = self.out / "settings.json"
        about = json.dumps(asdict(self.settings) | {"drawn": self.data is None}, indent=1)
        if said.exists() and said.read_text() != about:
            message = f"{self.out} holds an experiment of other settings: name another folder"
            raise ValueError(message)
        self.out.mkdir(parents=True, exist_ok=True)
        said.write_text(about)

    def _all(self, jobs: Sequence[Job | None]) -> list[dict[str, Any]]:
        """Do the jobs that have left nothing yet; without a job, the teacher is trained."""
        (self.out / "jobs").mkdir(exist_ok=True)
        missing = [job for job in jobs if not self._path(job).exists()]
        if missing:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(self.workers, mp_context=context) as pool:
                running = [pool.submit(_do, self, job) for job in missing]
                for done in tqdm(as_completed(running), total=len(running), unit="student"):
                    done.result()
        return [json.loads(self._path(job).read_text()) for job in jobs]

    def _path(self, job: Job | None) -> Path:
        return self.out / "jobs" / (job.file if job else "teacher.json")

    def leave(self, job: Job | None, found: dict[str, Any]) -> None:
        """Write a job's file, whole or not at all."""
        path = self._path(job)
        half = path.with_suffix(f".{os.getpid()}.half")
        half.write_text(json.dumps(found))
        half.replace(path)


def _best(name: str, trials: Sequence[dict[str, Any]]) -> float:
    """Return the weight of the trial that did best on the validation tiles."""
    mine = [Result(**x) for x in trials if x["method"] == name]
    return max(mine, key=lambda trial: trial.validation).weight if mine else 0.0


@cache
def _tiles(study: Study) -> Tiles:
    training.alone()
    size = study.settings.tile
    return of_the_earth(study.data, size) if study.data else drawn(size)


@cache
def _teaching(study: Study) -> training.Teaching:
    tiles = _tiles(study)
    teacher = networks.teacher(study.settings.teacher_width, len(CLASSES))
    teacher.load_state_dict(torch.load(study.out / "teacher.pt"))
    return training.Teaching.make(study.settings, tiles, teacher.eval(), study.out / "teacher")


def _do(study: Study, job: Job | None) -> None:
    tiles = _tiles(study)
    if job is None:
        teacher = training.train_teacher(study.settings, tiles)
        torch.save(teacher.state_dict(), study.out / "teacher.pt")
        # Here, so that it is done once.
        training.Teaching.make(study.settings, tiles, teacher, study.out / "teacher")
        mious = {part: training.miou(teacher, tiles, getattr(tiles, part)) for part in ("validation", "test")}
        study.leave(None, mious | {"digest": training.digest(teacher)})
        return
    teaching, method = _teaching(study), METHODS[job.method]
    weight = job.weight if job.share is None else training.weight_of_share(teaching, method, job.share)
    trained = training.train_student(teaching, method, weight, job.seed)
    result = Result(
        method=job.method,
        seed=job.seed,
        weight=weight,
        share=job.share,
        validation=training.miou(trained.student, tiles, tiles.validation),
        test=training.miou(trained.student, tiles, tiles.test) if job.share is None else None,
        curve=trained.curve,
        digest=training.digest(trained.student),
    )
    study.leave(job, asdict(result))
