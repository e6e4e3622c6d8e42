"""Forms of HTTP requests, and the small pictures in them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

BOUNDARY = "b0undary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
Field = tuple[str, bytes | str] | tuple[str, bytes | str, str]
"""Name and value of a field; with a third entry it is a file of that name."""


def png(number: int = 0, size: tuple[int, int] = (8, 8)) -> bytes:
    """A PNG of random pixels, which depend on the number."""
    pixels = np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def form(fields: Sequence[Field]) -> bytes:
    """The body of a request with a form."""
    parts = []
    for name, value, *file in fields:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
        head += f'; filename="{file[0]}"\r\nContent-Type: image/png' if file else ""
        content = value if isinstance(value, bytes) else value.encode()
        parts.append(f"{head}\r\n\r\n".encode() + content + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def pictures(*contents: bytes, field: str = "pictures") -> list[Field]:
    """A field of files."""
    return [(field, content, f"{number}.png") for number, content in enumerate(contents)]
