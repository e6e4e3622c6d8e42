"""A picture file in memory."""

from __future__ import annotations

import io
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PictureFile:
    """A picture file in memory, such as an upload, which is read as one on disk is.

    Args:
        content: The bytes of the file.
        name: For messages; it is not opened.

    Example:
        >>> PictureFile(b"", "cat.png")
        PictureFile(name='cat.png')
    """

    content: bytes = field(repr=False)
    name: str = "the picture"

    def open(self) -> io.BytesIO:
        """Return its bytes as an open file."""
        return io.BytesIO(self.content)
