"""Channel-wise distillation in densekd and in PyTorch eager, side by side on the same arrays.

A peer and densekd take turns, one call each, so that a busy machine slows both alike: only the ratios of
such pairs are results. One thing the pairs do not even out: PyTorch's threads wait for each other at every
operator, so that with all cores asked for, a neighbour slows PyTorch by more than densekd. Therefore each
side's best time is compared too, and densekd must win by both.

Exits with 1 if densekd loses to any peer at equal threads, or if a value or a gradient is off.

    python benches/peers.py --json benches/results/cwd-f32.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch

    Peer = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

TAU = 4.0
ROOT = Path(__file__).resolve().parent.parent

#: glibc otherwise gives every large block back to the kernel and takes it again, page by page. Set for the
#: process that runs the peers and for densekd's alike.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    "MALLOC_TOP_PAD_": str(1 << 28),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
}
#: What may be set on a machine for another program's sake and is none of this one's.
FOREIGN = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

#: Seconds that the worker threads of one contender get to fall asleep before the other is timed.
PAUSE = 0.02

#: How far from the reference a contender may be: the sums of a textbook form in f32 cancel, its value is off
#: by this much of tau^2 whatever the value's size; densekd's by this much of the value.
PEER_TOLERANCE = 2e-6
OWN_TOLERANCE = 2e-6
#: Of the largest entry.
GRADIENT_TOLERANCE = {"densekd": 2e-6, "peer": 1e-3}


@dataclass(frozen=True)
class Student:
    """How a student map is made: a part of the teacher's and some noise, in units of a standard normal."""

    name: str
    kept: float
    noise: float


#: The teacher has a standard deviation of 4, so that unrelated maps are about 1 nat apart at tau 4.
STUDENTS = (
    Student("far", 0.0, 4.0),
    Student("half", 0.9, 0.4),
    Student("near", 1.0, 0.0056),
)


@dataclass(frozen=True)
class Row:
    """One line of the table: a peer against densekd on one piece of work."""

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

    student: str
    contender: str
    value: float
    relative_error: float
    gradient_error: float


def scale(student: torch.Tensor) -> float:
    """Return tau^2 / (N C)."""
    n, c = student.shape[:2]
    return TAU * TAU / (n * c)


def mmrazor_form(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Softmax of the teacher, log-softmax of both, as in mmrazor's ChannelWiseDivergence."""
    from torch.nn import functional as F

    t, s = (x.view(-1, x.shape[2] * x.shape[3]) / TAU for x in (teacher, student))
    p = F.softmax(t, dim=1)
    return (p * F.log_softmax(t, dim=1) - p * F.log_softmax(s, dim=1)).sum() * scale(
        student
    )


def kl_div_form(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """PyTorch's own KL divergence, of the teacher's probabilities."""
    from torch.nn import functional as F

    t, s = (x.view(-1, x.shape[2] * x.shape[3]) / TAU for x in (teacher, student))
    divergence = F.kl_div(F.log_softmax(s, dim=1), F.softmax(t, dim=1), reduction="sum")
    return divergence * scale(student)


def log_target_form(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """PyTorch's own KL divergence, of the teacher's log-probabilities."""
    from torch.nn import functional as F

    t, s = (x.view(-1, x.shape[2] * x.shape[3]) / TAU for x in (teacher, student))
    divergence = F.kl_div(
        F.log_softmax(s, dim=1),
        F.log_softmax(t, dim=1),
        reduction="sum",
        log_target=True,
    )
    return divergence * scale(student)


PEERS: dict[str, Peer] = {
    "mmrazor form": mmrazor_form,
    "kl_div": kl_div_form,
    "kl_div log_target": log_target_form,
}


def forward(peer: Peer, teacher: torch.Tensor, student: torch.Tensor) -> float:
    """Run a peer without autograd."""
    import torch

    with torch.no_grad():
        return float(peer(teacher, student))


def forward_backward(
    peer: Peer, teacher: torch.Tensor, student: torch.Tensor
) -> tuple[float, torch.Tensor]:
    """Run a peer and autograd to the student alone."""
    import torch

    leaf = student.detach().requires_grad_()
    value = peer(teacher, leaf)
    (gradient,) = torch.autograd.grad(value, leaf)
    return float(value.detach()), gradient


def reference(teacher: np.ndarray, student: np.ndarray) -> tuple[float, np.ndarray]:
    """Return value and gradient in f64, as a sum of terms none of which is negative."""
    import numpy as np

    n, c, h, w = teacher.shape
    value, gradient = 0.0, np.empty((n * c, h * w))
    pairs = zip(
        teacher.reshape(n * c, -1), student.reshape(n * c, -1), gradient, strict=True
    )
    for t, s, out in pairs:
        log_p, log_q = (log_softmax(x.astype(np.float64) / TAU) for x in (t, s))
        p, q, r = np.exp(log_p), np.exp(log_q), log_p - log_q
        # p r - p + q, by the series of q (r e^r - e^r + 1) where that would cancel.
        series = (
            q * r * r * (1 / 2 + r * (1 / 3 + r * (1 / 8 + r * (1 / 30 + r / 144))))
        )
        value += math.fsum(np.where(np.abs(r) < 1e-3, series, p * r - p + q))
        out[:] = np.where(np.abs(r) < 1, -q * np.expm1(r), q - p)
    factor = TAU * TAU / (n * c)
    return value * factor, gradient.reshape(teacher.shape) * (factor / TAU)


def log_softmax(x: np.ndarray) -> np.ndarray:
    """Return the log-softmax of a row."""
    import numpy as np

    x = x - x.max()
    return x - math.log(math.fsum(np.exp(x)))


class Densekd:
    """The driver process of host/benches/peers_driver.rs on one pair of arrays."""

    def __init__(self, driver: Path, teacher: Path, student: Path) -> None:
        """Start it; it loads both arrays."""
        command = [str(driver), str(TAU), str(teacher), str(student)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **command: object) -> dict[str, Any]:
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

    def seconds(self, work: str, threads: int) -> float:
        """Time one call, measured inside the driver."""
        op = "loss_grad" if work == "loss+gradient" else "loss"
        return float(self.ask(op=op, threads=threads, repeat=1)["seconds"][0])

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def build_driver() -> Path:
    """Build the driver as `cargo bench` does and return its path."""
    command = ["cargo", "bench", "--package", "densekd", "--no-default-features"]
    command += ["--bench", "peers_driver", "--no-run", "--message-format", "json"]
    built = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    messages = (json.loads(line) for line in built.stdout.splitlines())
    paths = [
        m["executable"]
        for m in messages
        if m.get("target", {}).get("name") == "peers_driver"
    ]
    return Path(paths[-1])


def cpu_model() -> str:
    """Return the processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    family, model = fields.get("cpu family", "?"), fields.get("model", "?")
    return f"{fields.get('model name', platform.machine())} (family {family}, model {model})"


def machine() -> dict[str, Any]:
    """Describe what was measured on, and with what."""
    import numpy as np
    import torch

    rustc = subprocess.run(
        ["rustc", "--version"], capture_output=True, text=True, check=True
    )
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "rustc": rustc.stdout.split()[1],
        "allocator": ALLOCATOR,
    }


class Comparison:
    """All contenders on one pair of maps."""

    def __init__(
        self, args: argparse.Namespace, student: Student, folder: Path
    ) -> None:
        """Make the maps, from a seed, and hand them to the driver."""
        import numpy as np
        import torch

        self._pairs: int = args.pairs
        self._student = student
        self._folder = folder
        rng = np.random.default_rng(args.seed)
        teacher = 4 * rng.standard_normal(args.shape, dtype=np.float32)
        noise = rng.standard_normal(args.shape, dtype=np.float32)
        pupil = np.float32(student.kept) * teacher + np.float32(student.noise) * noise
        self._maps = (teacher, pupil)
        paths = (folder / "teacher.npy", folder / "student.npy")
        for path, array in zip(paths, self._maps, strict=True):
            np.save(path, array)
        self._tensors = (torch.from_numpy(teacher), torch.from_numpy(pupil))
        self._densekd = Densekd(args.driver, *paths)

    def close(self) -> None:
        """End the driver."""
        self._densekd.close()

    def accuracy(self) -> list[Accuracy]:
        """Hold every contender's value and gradient against the reference."""
        import numpy as np

        value, gradient = reference(*self._maps)
        largest = float(np.abs(gradient).max())

        def against(contender: str, found: float, g: np.ndarray) -> Accuracy:
            off = float(np.abs(g - gradient).max()) / largest
            error = abs(found - value) / value
            return Accuracy(self._student.name, contender, found, error, off)

        to = self._folder / "gradient.npy"
        own = self._densekd.ask(op="loss_grad", threads=1, repeat=1)["value"]
        self._densekd.ask(op="save_grad", to=str(to))
        rows = [
            Accuracy(self._student.name, "numpy f64", value, 0.0, 0.0),
            against("densekd", own, np.load(to)),
        ]
        for name, peer in PEERS.items():
            found, g = forward_backward(peer, *self._tensors)
            rows.append(against(name, found, g.numpy()))
        return rows

    def rows(self, threads: int) -> list[Row]:
        """Time every peer against densekd at this number of threads."""
        import torch

        torch.set_num_threads(threads)
        works = {"loss": forward, "loss+gradient": forward_backward}
        return [
            self._row(work, run, threads, name)
            for work, run in works.items()
            for name in PEERS
        ]

    def _row(
        self, work: str, run: Callable[..., object], threads: int, name: str
    ) -> Row:
        def peer_seconds() -> float:
            start = time.perf_counter()
            run(PEERS[name], *self._tensors)
            return time.perf_counter() - start

        def own_seconds() -> float:
            return self._densekd.seconds(work, threads)

        peer, own = [], []
        # The first two rounds settle allocator, caches and threads.
        for _ in range(self._pairs + 2):
            time.sleep(PAUSE)
            peer.append(peer_seconds())
            time.sleep(PAUSE)
            own.append(own_seconds())
        peer, own = peer[2:], own[2:]
        ratios = [p / o for p, o in zip(peer, own, strict=True)]
        per_element = 1e9 / self._maps[0].size
        return Row(
            self._student.name,
            work,
            threads,
            name,
            statistics.median(peer) * per_element,
            statistics.median(own) * per_element,
            statistics.median(ratios),
            min(ratios),
            max(ratios),
            min(peer) / min(own),
        )


def faults(rows: list[Row], accuracies: list[Accuracy]) -> list[str]:
    """Return what contradicts the claims: right, and never slower than a peer at equal threads."""
    found = [
        f"slower than {row.peer}: {row.student}, {row.work}, {row.threads} thread(s), "
        f"{row.ratio:.2f}, best times {row.ratio_of_best:.2f}"
        for row in rows
        if not min(row.ratio, row.ratio_of_best) >= 1
    ]
    for row in accuracies:
        own = row.contender in ("densekd", "numpy f64")
        allowed = OWN_TOLERANCE * row.value if own else PEER_TOLERANCE * TAU * TAU
        gradient_allowed = GRADIENT_TOLERANCE["densekd" if own else "peer"]
        if not row.relative_error * row.value <= allowed:
            found.append(
                f"value of {row.contender} is off: {row.student}, {row.relative_error:.1e}"
            )
        if not row.gradient_error <= gradient_allowed:
            found.append(
                f"gradient of {row.contender} is off: {row.student}, {row.gradient_error:.1e}"
            )
    return found


def table(rows: list[Row], accuracies: list[Accuracy]) -> str:
    """Return both tables as Markdown."""
    head = "student work threads peer peer_ns densekd_ns ratio min max best/best"
    lines = [
        f"| {' | '.join(head.split())} |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r.student} | {r.work} | {r.threads} | {r.peer} "
        f"| {r.peer_ns:.2f} | {r.densekd_ns:.2f} "
        f"| {r.ratio:.2f} | {r.ratio_min:.2f} | {r.ratio_max:.2f} "
        f"| {r.ratio_of_best:.2f} |"
        for r in rows
    ]
    lines += [
        "",
        "| student | contender | value | relative error | gradient's error / largest entry |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {a.student} | {a.contender} | {a.value:.9g} | {a.relative_error:.1e} "
        f"| {a.gradient_error:.1e} |"
        for a in accuracies
    ]
    return "\n".join(lines)


def shape(text: str) -> tuple[int, ...]:
    """Read a shape like 8x19x128x256."""
    dims = tuple(int(part) for part in text.split("x"))
    if len(dims) != 4 or min(dims) < 1:
        message = f"{text} is not a shape like 8x19x128x256"
        raise argparse.ArgumentTypeError(message)
    return dims


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="densekd and PyTorch eager side by side: CWD, tau 4, f32."
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the results here too"
    )
    parser.add_argument(
        "--pairs", type=int, default=11, help="timed pairs a row (default 11)"
    )
    parser.add_argument(
        "--shape",
        type=shape,
        default=(8, 19, 128, 256),
        help="NxCxHxW (default 8x19x128x256)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[1, 2],
        help="numbers of threads (default 1 2)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the maps (default 1)")
    parser.add_argument(
        "--driver", type=Path, help="a built driver; default: build it with cargo"
    )
    args = parser.parse_args()
    if args.pairs < 1 or min(args.threads) < 1:
        parser.error("--pairs and --threads must be at least 1")
    return args


def settle_environment() -> None:
    """Start this program again where the environment is not the one that is measured in."""
    wanted = {
        key: value for key, value in os.environ.items() if key not in FOREIGN
    } | ALLOCATOR
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.argv], wanted)


def main() -> int:
    """Run the comparison; return the exit code."""
    args = arguments()
    settle_environment()
    args.driver = args.driver or build_driver()
    load = os.getloadavg()[0]
    rows: list[Row] = []
    accuracies: list[Accuracy] = []
    for student in STUDENTS:
        with tempfile.TemporaryDirectory() as folder:
            comparison = Comparison(args, student, Path(folder))
            try:
                accuracies += comparison.accuracy()
                for threads in args.threads:
                    print(f"{student.name}, {threads} thread(s) ...", file=sys.stderr)
                    rows += comparison.rows(threads)
            finally:
                comparison.close()
    found = faults(rows, accuracies)
    print(table(rows, accuracies))
    if args.json:
        result = {
            "what": "channel-wise distillation, tau 4, f32, NCHW; ratio = peer time / densekd time",
            "shape": args.shape,
            "pairs": args.pairs,
            "seed": args.seed,
            "machine": machine(),
            "load_average": {"before": load, "after": os.getloadavg()[0]},
            "rows": [asdict(row) for row in rows],
            "accuracy": [asdict(row) for row in accuracies],
            "faults": found,
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for fault in found:
        print(f"FAULT: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
