"""The loop: DDP, a schedule, a distiller beside the student, and states that are gone on from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

from densekd.torch import Distiller, Pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from .config import Config


@dataclass(frozen=True)
class Run:
    """What is trained."""

    task: str
    config: Config
    data: Path | None
    out: Path
    network: str
    teacher: Path | None
    backbone: Path | None
    dry: bool


def run(wanted: Run) -> None:
    """Train in the processes that `torchrun` started; the first one writes."""
    device = _join()
    try:
        _train(wanted, _task_of(wanted.task), device)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _join() -> torch.device:
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=device)
        return device
    dist.init_process_group("gloo")
    return torch.device("cpu")


def _task_of(name: str) -> ModuleType:
    # Only now: COCO's wants torchvision.
    if name == "coco":
        from . import coco

        return coco
    from . import cityscapes

    return cityscapes


def _train(wanted: Run, task: ModuleType, device: torch.device) -> None:
    config, first = wanted.config, dist.get_rank() == 0
    torch.manual_seed(1)
    student = task.network(wanted.network, config).to(device)
    if wanted.backbone is not None:
        # Without the classifier of ImageNet; a detector has the backbone in its pyramid's `body`.
        inner = getattr(student.backbone, "body", student.backbone)
        inner.load_state_dict(torch.load(wanted.backbone, map_location=device), strict=False)
    distiller = _distiller(wanted, task, student, device)
    if device.type == "cuda":
        student = nn.SyncBatchNorm.convert_sync_batchnorm(student)  # type: ignore[no-untyped-call]
    parallel = nn.parallel.DistributedDataParallel(student, find_unused_parameters=False)
    adapters = _parallel(distiller)
    parameters = [*student.parameters(), *(distiller.parameters() if distiller else ())]
    optimizer = torch.optim.SGD(parameters, lr=1.0, momentum=0.9, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(config, step))
    parts: dict[str, Any] = {"student": student, "optimizer": optimizer, "schedule": schedule}
    parts |= {"distiller": distiller} if distiller else {}
    last = wanted.out / "last.pt"
    done = _restore(last, parts, device)
    for step, (images, labels) in enumerate(_batches(wanted, task, device, done), start=done + 1):
        student.train()
        loss = task.task(parallel, images, labels)
        terms = distiller(images, task_loss=loss) if distiller else None
        optimizer.zero_grad()
        (loss if terms is None else loss + terms.total).backward()
        _mean_gradients(adapters)
        optimizer.step()
        schedule.step()
        if first and (step % 50 == 0 or step == config.steps):
            log = {"step": step, "task": loss.item()} | (terms.log() if terms else {})
            print(json.dumps(log), flush=True)
        if first and (step % config.keep_every == 0 or step == config.steps):
            _keep(last, {name: part.state_dict() for name, part in parts.items()} | {"step": step})
    if hasattr(task, "evaluate"):
        # Without SyncBatchNorm every process has seen other means; the first one's are kept.
        for x in student.buffers():
            dist.broadcast(x, 0)
        found = task.evaluate(student, wanted.data, config, device)
        if first:
            print(json.dumps(found), flush=True)


def _distiller(wanted: Run, task: ModuleType, student: nn.Module, device: torch.device) -> Distiller | None:
    if wanted.teacher is None and not wanted.dry:
        return None
    teacher = task.network(wanted.config.teacher, wanted.config)
    if wanted.teacher is not None:
        teacher.load_state_dict(torch.load(wanted.teacher, map_location="cpu")["student"])
    compared = task.Pyramid(teacher) if hasattr(task, "Pyramid") else teacher
    pairs = [
        Pair(
            term.module,
            term.module,
            term.loss,
            channels=(_width(student, term.module), _width(teacher, term.module)) if term.adapted else None,
            name=f"cwd_{term.module}",
        )
        for term in wanted.config.terms
    ]
    return Distiller(student, compared.to(device), pairs).to(device)


def _width(net: nn.Module, name: str) -> int:
    """Return the channels that a module puts out: those of its last convolution."""
    convolutions = [x for x in net.get_submodule(name).modules() if isinstance(x, nn.Conv2d)]
    return convolutions[-1].out_channels


def _parallel(distiller: Distiller | None) -> list[nn.Parameter]:
    """Give the adapters of every process the first one's numbers."""
    adapters = list(distiller.parameters()) if distiller else []
    for x in adapters:
        dist.broadcast(x.detach(), 0)
    return adapters


def _mean_gradients(adapters: list[nn.Parameter]) -> None:
    """Average over the processes, as DDP does for the student."""
    for x in adapters:
        assert x.grad is not None
        dist.all_reduce(x.grad)
        x.grad /= dist.get_world_size()


def _rate(config: Config, step: int) -> float:
    warm = min(1.0, (step + 1) / config.warm_up) if config.warm_up else 1.0
    done = step / config.steps
    falls = 0.1 ** sum(done >= at for at in config.drops) if config.drops else max(0.0, 1 - done) ** config.power
    return config.learning_rate * warm * falls


def _batches(wanted: Run, task: ModuleType, device: torch.device, done: int) -> Iterator[tuple[Any, Any]]:
    """Return the batches of the steps that are left."""
    images = task.data(wanted.data, wanted.config)
    sampler: DistributedSampler[Any] = DistributedSampler(images, drop_last=True)
    loader = DataLoader(
        images,
        batch_size=wanted.config.batch // dist.get_world_size(),
        sampler=sampler,
        drop_last=True,
        num_workers=0 if wanted.dry else 4,
        # Boxes are as many as they are.
        collate_fn=(lambda rows: tuple(zip(*rows, strict=True))) if hasattr(task, "Pyramid") else None,
    )
    step, epoch = done, done // len(loader)
    while True:
        sampler.set_epoch(epoch)
        epoch += 1
        for first, second in loader:
            if step == wanted.config.steps:
                return
            step += 1
            yield _moved(first, device), _moved(second, device)


def _moved(x: Any, device: torch.device) -> Any:  # noqa: ANN401
    if isinstance(x, Tensor):
        return x.to(device, non_blocking=True)
    if isinstance(x, dict):
        return {name: _moved(value, device) for name, value in x.items()}
    return [_moved(value, device) for value in x]


def _keep(path: Path, state: dict[str, Any]) -> None:
    """Write a state, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    torch.save(state, half)
    half.replace(path)


def _restore(path: Path, parts: dict[str, Any], device: torch.device) -> int:
    """Take up what is there, and return the steps that it has done."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location=device)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    step: int = state["step"]
    return step
