"""Arrays in the memory of a simulated CUDA device: the driver's functions, called from Python."""

from __future__ import annotations

import ctypes
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Names the simulated driver, to the extension and to these tests.
LIBRARY = "DENSEKD_CUDA_LIBRARY"

KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}
CUDA = 2


class _Tensor(ctypes.Structure):
    """DLPack's `DLManagedTensor`, fields in order."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class Driver:
    """The driver, as another library of the process has it."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(os.environ[LIBRARY])
        context = ctypes.c_void_p()
        self.call("cuInit", ctypes.c_uint(0))
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), ctypes.c_int(0))
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: Any) -> None:  # noqa: ANN401
        code = getattr(self.library, name)(*arguments)
        assert code == 0, f"{name}: {code}"

    def array(self, values: NDArray[Any]) -> DeviceArray:
        """Copy an array to the device."""
        array = DeviceArray(self, values.shape, values.dtype)
        values = np.ascontiguousarray(values)
        self.call("cuMemcpyHtoD_v2", array.address, values.ctypes.data_as(ctypes.c_void_p), array.bytes)
        return array

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> DeviceArray:  # noqa: ANN401
        """Allocate an array that nobody has written to."""
        return DeviceArray(self, shape, np.dtype(dtype))


class DeviceArray:
    """An array on the device, which lends its memory by DLPack."""

    def __init__(self, driver: Driver, shape: tuple[int, ...], dtype: np.dtype[Any], device: int = 0) -> None:
        self.driver, self.shape, self.dtype, self.device = driver, shape, dtype, device
        address = ctypes.c_uint64()
        self.bytes = ctypes.c_size_t(math.prod(shape) * dtype.itemsize)
        driver.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(self.bytes.value, 16)))
        self.address = address
        #: What was lent stays, as nobody says when it is given back.
        self.lent: list[tuple[_Tensor, Any]] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        """Say where the memory is."""
        return CUDA, self.device

    def __dlpack__(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401
        """Lend the memory."""
        dims = (ctypes.c_int64 * len(self.shape))(*self.shape)
        tensor = _Tensor(
            data=self.address.value,
            device_type=CUDA,
            device_id=self.device,
            ndim=len(self.shape),
            code=KINDS[self.dtype.kind],
            bits=8 * self.dtype.itemsize,
            lanes=1,
            shape=dims,
        )
        self.lent.append((tensor, dims))
        capsule = ctypes.pythonapi.PyCapsule_New
        capsule.restype, capsule.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return capsule(ctypes.addressof(tensor), b"dltensor", None)

    def numpy(self) -> NDArray[Any]:
        """Copy it back."""
        values = np.empty(self.shape, self.dtype)
        self.driver.call("cuMemcpyDtoH_v2", values.ctypes.data_as(ctypes.c_void_p), self.address, self.bytes)
        return values
