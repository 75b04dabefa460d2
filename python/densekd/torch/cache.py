"""What a fixed teacher puts out for fixed inputs, kept on disk.

A file an input (safetensors), named after its key, written beside its place and moved there when it is whole: a run
that is killed leaves no half file in a place, and the next one goes on where it stopped; several processes may fill and
read one folder at once. Files are read through the page cache
(memory-mapped), so that processes on one machine share them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from .features import Features

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

__all__ = ["TeacherCache"]

_ABOUT = "teacher.json"
_HALF = ".half"

#: Seconds after which a half file is one that a killed process left.
_LEFT = 600


class TeacherCache:
    """A folder with the features of a teacher, by input.

        cache = TeacherCache("cache/pspnet", teacher, ["head", "backbone"], dtype=torch.float16)
        cache.fill((names, images) for names, images in loader)
        ...
        terms = distiller(images, teacher_features=cache.batch(names))

    A folder that was filled by another teacher, other modules or another type is refused.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        teacher: nn.Module,
        modules: Sequence[str],
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Open a folder, or make it; `dtype` is what features are kept in (the teacher's own by default)."""
        self.folder, self.modules, self.dtype = Path(folder), tuple(modules), dtype
        if not self.modules:
            message = "no modules: nothing would be kept"
            raise ValueError(message)
        self._teacher = teacher
        about = {"teacher": _fingerprint(teacher), "modules": list(self.modules), "dtype": str(dtype)}
        self.folder.mkdir(parents=True, exist_ok=True)
        for half in self.folder.glob(f"*{_HALF}"):
            # A younger one may be another process's, which is about to move it.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - half.stat().st_mtime > _LEFT:
                    half.unlink()
        said = self.folder / _ABOUT
        if said.exists():
            found = json.loads(said.read_text())
            different = [name for name, value in about.items() if found.get(name) != value]
            if different:
                message = f"{self.folder} holds features of another {' and '.join(different)}: name another folder"
                raise ValueError(message)
        else:
            self._write(said, json.dumps(about, indent=1).encode())

    def __contains__(self, key: Hashable) -> bool:
        """Tell whether an input's features are there."""
        return self._path(key).exists()

    def __getitem__(self, key: Hashable) -> dict[str, Tensor]:
        """Return an input's features by module, `[C, H, W]`."""
        path = self._path(key)
        if not path.exists():
            message = f"no features of {key!r} in {self.folder}: fill it first"
            raise KeyError(message)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in self.modules}

    def batch(self, keys: Iterable[Hashable]) -> dict[str, Tensor]:
        """Return the features of several inputs by module, `[N, C, H, W]`."""
        items = [self[key] for key in keys]
        return {name: torch.stack([item[name] for item in items]) for name in self.modules}

    @torch.no_grad()
    def fill(
        self, batches: Iterable[tuple[Sequence[Hashable], Tensor]], *, total: int | None = None, progress: bool = True
    ) -> int:
        """Run the teacher on the inputs that are not there yet, and keep what its modules put out.

        `batches` gives keys and inputs `[N, ...]`. Returns how many were added.
        """
        added = 0
        features = Features(self._teacher, self.modules, "teacher")
        was_training = self._teacher.training
        self._teacher.eval()
        try:
            for keys, inputs in tqdm(batches, total=total, disable=not progress, desc="teacher", unit="batch"):
                if len(keys) != len(inputs):
                    message = f"{len(keys)} keys for {len(inputs)} inputs"
                    raise ValueError(message)
                missing = [i for i, key in enumerate(keys) if key not in self]
                if not missing:
                    continue
                features.clear()
                self._teacher(inputs[missing])
                for place, i in enumerate(missing):
                    item = {name: self._kept(features.take(name)[place]) for name in self.modules}
                    self._write(self._path(keys[i]), save(item))
                    added += 1
        finally:
            self._teacher.train(was_training)
            features.close()
        return added

    def _kept(self, feature: Tensor) -> Tensor:
        return feature.detach().to(device="cpu", dtype=self.dtype).contiguous()

    def _path(self, key: Hashable) -> Path:
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
        return self.folder / f"{name}.safetensors"

    def _write(self, path: Path, data: bytes) -> None:
        handle, half = tempfile.mkstemp(dir=self.folder, suffix=_HALF)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(half).replace(path)


def _fingerprint(teacher: nn.Module) -> str:
    """Return a digest of the names, types and numbers of a network."""
    digest = hashlib.sha256()
    for name, x in sorted(teacher.state_dict().items()):
        digest.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
        digest.update(x.detach().cpu().flatten().view(torch.uint8).numpy() if x.dim() else str(x.item()).encode())
    return digest.hexdigest()
