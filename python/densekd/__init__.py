"""Losses for distilling dense-prediction networks, with gradients.

A loss is an object: `Loss("cwd", tau=4.0)`, or `Loss.preset("mmrazor-cwd")`.
`densekd.functional` evaluates it on NumPy arrays and on whatever else speaks
DLPack; `densekd.torch` has a module for each.
"""

from __future__ import annotations

import os

from ._densekd import (
    Loss,
    __version__,
    _after_fork,
    losses,
    num_threads,
    presets,
    set_num_threads,
)

__all__ = ["Loss", "__version__", "losses", "num_threads", "presets", "set_num_threads"]

if hasattr(os, "register_at_fork"):
    # A forked process has none of its parent's threads.
    os.register_at_fork(after_in_child=_after_fork)
