"""Plug-ins of Pillow that read further formats of pictures."""

from __future__ import annotations

import contextlib
import importlib
from functools import cache


@cache
def register_plug_ins() -> None:
    """Register pillow-heif with Pillow, if it is installed: it reads HEIC, the format of many phones.

    Other plug-ins work as well, if the user's program registers them before it reads pictures.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif.HeifImagePlugin")
