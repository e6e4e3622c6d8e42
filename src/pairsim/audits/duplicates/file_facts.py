"""What decides which of several copies to keep: size, compression and metadata of a file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """Facts on a picture's file.

    Attributes:
        width: Pixels, after the EXIF orientation.
        height: Pixels, after the EXIF orientation.
        num_bytes: Size of the file; `None` for a picture that is not a file, as all that follows.
        format: Pillow's name of the format, such as "JPEG".
        lossless: Whether the file holds its pixels without loss.
        quality: JPEG quality in 1 to 100, estimated from the quantization tables; `None` for other formats.
        taken: EXIF's original date, such as "2024:05:01 10:00:00".
        num_tags: Number of EXIF entries.
    """

    width: int
    height: int
    num_bytes: int | None = None
    format: str | None = None
    lossless: bool | None = None
    quality: int | None = None
    taken: str | None = None
    num_tags: int = 0
