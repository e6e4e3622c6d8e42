"""Keep freed memory in the process while training on the CPU.

glibc returns every block above 32 MB to the system when it is freed, and the system clears each page of the next one.
The activations of a training step are dozens of such blocks. So the process keeps freed memory during an epoch, and
returns it afterwards.
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
# The limits that glibc itself adjusts to in a process with large blocks. It stops adjusting once a value has been set.
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024
_LARGEST_TRIM_THRESHOLD = 2 * _LARGEST_MMAP_THRESHOLD
_KEEP_EVERYTHING = 2**31 - 1

_lock = threading.Lock()
_num_users = 0


@contextlib.contextmanager
def keeping_freed_memory(device: torch.device) -> Iterator[bool]:
    """Keep freed memory in the process during the context, and return it at the end.

    Does nothing for devices other than the CPU, without glibc, or if the environment sets `MALLOC_...` or
    `GLIBC_TUNABLES`. With another allocator, such as jemalloc, it has no effect. Contexts may be nested, and used from
    several threads.

    Args:
        device: Device of the tensors.

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
    _count_user(libc, 1)
    try:
        yield True
    finally:
        _count_user(libc, -1)


def _glibc() -> Any:
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    is_glibc = os.name == "posix" and platform.libc_ver()[0] == "glibc"
    return ctypes.CDLL(None) if is_glibc and not chosen else None


def _count_user(libc: Any, change: int) -> None:
    """Change the settings for the first user, and restore them after the last one."""
    global _num_users  # noqa: PLW0603  settings and users belong to the process
    with _lock:
        _num_users += change
        if (_num_users, change) == (1, 1):
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_EVERYTHING)
        elif _num_users == 0:
            libc.mallopt(_M_MMAP_MAX, _DEFAULT_MMAP_MAX)
            libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
            libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_TRIM_THRESHOLD)
            libc.malloc_trim(0)
