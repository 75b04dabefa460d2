from typing import final

from .arrays import Array, Option

__version__: str

@final
class Loss:
    def __new__(cls, name: str, /, **options: Option) -> Loss: ...
    @staticmethod
    def preset(name: str, /, **options: Option) -> Loss: ...
    @property
    def name(self) -> str: ...
    @property
    def options(self) -> dict[str, Option]: ...
    @property
    def takes_teacher(self) -> bool: ...
    @property
    def takes_labels(self) -> bool: ...
    @property
    def takes_mask(self) -> bool: ...
    @property
    def takes_projection(self) -> bool: ...
    def explain(self) -> str: ...
    def submit(
        self,
        student: Array,
        teacher: Array | None = None,
        *,
        labels: Array | None = None,
        mask: Array | None = None,
        weight: Array | None = None,
        bias: Array | None = None,
        upstream: float = 1.0,
        grad_student: Array | None = None,
        grad_teacher: Array | None = None,
        grad_weight: Array | None = None,
        grad_bias: Array | None = None,
    ) -> float: ...
    def workspace(self, student: Array, teacher: Array | None = None) -> int: ...
    def launch(
        self,
        student: Array,
        teacher: Array | None = None,
        *,
        workspace: Array,
        totals: Array,
        labels: Array | None = None,
        known_labels: Array | None = None,
        mask: Array | None = None,
        counted: Array | None = None,
        upstream: float = 1.0,
        stream: int = 0,
        grad_student: Array | None = None,
        grad_teacher: Array | None = None,
    ) -> float: ...
    def scale(self, shape: tuple[int, int, int, int]) -> float: ...
    def row_sums(self, student: Array, teacher: Array, sums: Array) -> None: ...
    def gradient_of_sums(
        self, student: Array, teacher: Array, sums: Array, upstream: float, grad_student: Array
    ) -> None: ...

def losses() -> list[str]: ...
def presets() -> list[tuple[str, str, str]]: ...
def set_num_threads(threads: int) -> None: ...
def num_threads() -> int: ...
def _after_fork() -> None: ...
