"""densekd: the driver process of host/benches/peers_driver.rs on one pair of arrays."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .peer import GRADIENT
from .work import TAU

if TYPE_CHECKING:
    from types import TracebackType

    from .work import Floats, Maps

ROOT = Path(__file__).resolve().parents[2]


class Densekd:
    """The process; it ends with the `with` block."""

    def __init__(self, driver: Path, maps: Maps, folder: Path) -> None:
        """Start it; it loads both arrays, which pass through the folder."""
        self._saved = folder / "gradient.npy"
        paths = [folder / "teacher.npy", folder / "student.npy"]
        for path, array in zip(paths, [maps.teacher, maps.student], strict=True):
            np.save(path, array)
        command = [str(driver), maps.work.loss, str(TAU), *map(str, paths)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Densekd:
        """Return the driver."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self._process.communicate()

    def _ask(self, **command: object) -> dict[str, Any]:
        """Send one command and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            message = f"the driver ended with {self._process.wait()} at {command}"
            raise RuntimeError(message)
        found: dict[str, Any] = json.loads(answer)
        return found

    def seconds(self, what: str, threads: int, calls: int) -> float:
        """Time so many calls, inside the driver."""
        op = "loss_grad" if what == GRADIENT else "loss"
        return float(sum(self._ask(op=op, threads=threads, repeat=calls)["seconds"]))

    def value_and_gradient(self) -> tuple[float, Floats]:
        """Run it once."""
        value = float(self._ask(op="loss_grad", threads=1, repeat=1)["value"])
        self._ask(op="save_grad", to=str(self._saved))
        gradient: Floats = np.load(self._saved)
        return value, gradient


def build() -> Path:
    """Build the driver as `cargo bench` does and return its path."""
    command = ["cargo", "bench", "--package", "densekd", "--no-default-features"]
    command += ["--bench", "peers_driver", "--no-run", "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = (json.loads(line) for line in built.stdout.splitlines())
    paths = [m["executable"] for m in messages if m.get("target", {}).get("name") == "peers_driver"]
    return Path(paths[-1])
