"""How many pixels a picture may have: the default, the environment variable, and what sets it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

MAX_PIXELS = 2**26
"""Pixels that a picture may have by default, 64 x 1024 x 1024; decoding takes up to 20 bytes for each."""
VARIABLE = "PAIRSIM_MAX_PIXELS"


def pixel_limit() -> int:
    """Return the number of pixels that a picture may have: `PAIRSIM_MAX_PIXELS`, else `MAX_PIXELS`.

    Raises:
        ValueError: If the variable is no whole number of at least 1.
    """
    return as_limit(os.environ.get(VARIABLE) or MAX_PIXELS, VARIABLE)


def as_limit(value: object, name: str) -> int:
    """Return a number of pixels that was given as text or a number.

    Raises:
        ValueError: If it is no whole number of at least 1.
    """
    text = str(value)
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) > 0):
        raise ValueError(f"Expected {name} to be a whole number of pixels of at least 1, got {text!r}.")
    return int(text)


def advice(max_pixels: int) -> str:
    """Say in a message what to do about a picture with more pixels; an option does not raise a limit of the caller."""
    limit = pixel_limit()
    raised = f", or allow more with --max-pixels or {VARIABLE}" if max_pixels in (limit, limit // 2) else ""
    return f"Resize it first{raised}."


@contextmanager
def limited_to(pixels: int | None) -> Iterator[None]:
    """Inside, pictures may have this many pixels, also in processes that are started there; `None` changes nothing."""
    before = os.environ.get(VARIABLE)
    if pixels is not None:
        os.environ[VARIABLE] = str(pixels)
    try:
        yield
    finally:
        if pixels is not None:
            os.environ.pop(VARIABLE)
            os.environ.update({} if before is None else {VARIABLE: before})
