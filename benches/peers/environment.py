"""The environment that every contender runs in."""

from __future__ import annotations

import os
import sys

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


def settle() -> None:
    """Start this program again where the environment is not the one that is measured in."""
    wanted = {key: value for key, value in os.environ.items() if key not in FOREIGN} | ALLOCATOR
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)
