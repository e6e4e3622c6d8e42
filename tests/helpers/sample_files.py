"""TIFF and PNG files written by hand, for samples that Pillow does not write, and what is read from them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairsim.images import read_image


def tiff(
    samples: npt.ArrayLike,
    bits: int,
    photometric: int,
    *,
    order: str = "<",
    planes: bool = False,
    tags: Mapping[int, Sequence[int]] | None = None,
) -> bytes:
    """Write an uncompressed TIFF file.

    Args:
        samples: Whole numbers `[H, W]` or `[H, W, C]`.
        bits: Of each sample, 1 to 32.
        photometric: 0 zero is white, 1 zero is black, 2 RGB, 3 palette.
        order: Byte order, `"<"` or `">"`.
        planes: Whether each channel is a plane of its own.
        tags: More tags, with 16-bit values.
    """
    image = np.asarray(samples)
    image = image if image.ndim == 3 else image[..., None]
    height, width, channels = image.shape
    strips = [image[..., k] for k in range(channels)] if planes else [image.reshape(height, -1)]
    data = [b"".join(_packed(row, bits, order) for row in strip.tolist()) for strip in strips]
    fields: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits] * channels),
        259: ("H", [1]),
        262: ("H", [photometric]),
        273: ("I", [0] * len(data)),
        277: ("H", [channels]),
        278: ("I", [height]),
        279: ("I", [len(part) for part in data]),
        284: ("H", [2 if planes else 1]),
        **{tag: ("H", values) for tag, values in (tags or {}).items()},
    }
    outside = 8 + 2 + 12 * len(fields) + 4
    first = outside + sum(size for kind, values in fields.values() if (size := _size(kind, values)) > 4)
    fields[273] = "I", [first + sum(map(len, data[:k])) for k in range(len(data))]
    entries, values_outside = b"", b""
    for tag, (kind, values) in sorted(fields.items()):
        content = struct.pack(f"{order}{len(values)}{kind}", *values)
        entries += struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(values))
        if len(content) > 4:
            entries += struct.pack(f"{order}I", outside + len(values_outside))
            values_outside += content
        else:
            entries += content.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(fields))
    return head + entries + bytes(4) + values_outside + b"".join(data)


def _size(kind: str, values: Sequence[int]) -> int:
    return struct.calcsize(kind) * len(values)


def _packed(row: Sequence[int], bits: int, order: str) -> bytes:
    if bits in (16, 32):
        return struct.pack(f"{order}{len(row)}{'H' if bits == 16 else 'I'}", *row)
    text = "".join(f"{value:0{bits}b}" for value in row)  # first sample in the highest bits, in any byte order
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def png(samples: npt.ArrayLike, bits: int, colour: int, chunks: Mapping[bytes, bytes] | None = None) -> bytes:
    """Write a PNG file.

    Args:
        samples: Whole numbers `[H, W]` or `[H, W, C]`.
        bits: Of each sample, 1 to 16.
        colour: Colour type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha.
        chunks: More chunks before the pixels.
    """
    image = np.asarray(samples)
    rows = b"".join(b"\0" + _packed(row.ravel().tolist(), bits, ">") for row in image)
    head = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], bits, colour, 0, 0, 0)
    content = {b"IHDR": head, **(chunks or {}), b"IDAT": zlib.compress(rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in content.items()
    )


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def pixels(image: Any, channels: int = 1, **options: Any) -> Any:
    """Read a picture as `[H, W]`, or `[H, W, 3]` in colour."""
    found = read_image(image, channels=channels, **options)
    return found[0].tolist() if channels == 1 else found.permute(1, 2, 0).tolist()
