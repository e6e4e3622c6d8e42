"""Keeping freed memory while training on the CPU.

glibc hands every block above 32 MB back to the system as soon as it is freed, and the system clears each page of the
next one. The activations of a training step are such blocks, dozens of times a step. During an epoch, freed memory is
therefore kept by the process; afterwards it is handed back.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from typing import Any

import torch

# glibc's <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_DEFAULT_MMAP_MAX = 65_536
# Where glibc's own adjustment ends for a process that uses large blocks. It stops once a value has been set.
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024
_LARGEST_TRIM_THRESHOLD = 2 * _LARGEST_MMAP_THRESHOLD
_KEEP_EVERYTHING = 2**31 - 1

_lock = threading.Lock()
_users = 0


@contextlib.contextmanager
def keeping_freed_memory(device: torch.device) -> Iterator[bool]:
    """Keep freed memory in the process inside, and hand it back at the end.

    Does nothing for other devices than the CPU, without glibc, or where the environment sets `MALLOC_...` or
    `GLIBC_TUNABLES`, as somebody has then chosen for themselves. With another allocator preloaded, such as jemalloc,
    it has no effect. May be nested, and used from several threads.

    Args:
        device: Where the tensors are.

    Yields:
        Whether freed memory is kept.

    Example:
        >>> with keeping_freed_memory(torch.device("meta")) as kept:
        ...     kept
        False
    """
    libc = _glibc() if device.type == "cpu" else None
    if libc is None:
        yield False
        return
    _enter(libc)
    try:
        yield True
    finally:
        _leave(libc)


def _glibc() -> Any:
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if chosen or os.name != "posix" or platform.libc_ver()[0] != "glibc":
        return None
    try:
        libc = ctypes.CDLL(None)
        _ = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError):
        return None
    return libc


def _enter(libc: Any) -> None:
    global _users  # noqa: PLW0603  the setting is the process's own, and so is the count of those who want it
    with _lock:
        _users += 1
        if _users == 1:
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_EVERYTHING)


def _leave(libc: Any) -> None:
    global _users  # noqa: PLW0603
    with _lock:
        _users -= 1
        if _users == 0:
            libc.mallopt(_M_MMAP_MAX, _DEFAULT_MMAP_MAX)
            libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
            libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_TRIM_THRESHOLD)
            libc.malloc_trim(0)
