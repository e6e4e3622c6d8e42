"""Read the forms of requests, multipart with files, within limits of size and time; no picture is decoded here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pairsim.errors import printable, require
from pairsim.images import PictureFile
from pairsim.integrations.service.batching import Full

MAX_BYTES = 64_000_000
"""Of the body of a request. More is rejected, at once where the request states its size."""
MAX_PICTURES = 256
"""In a request."""
MAX_IN_MEMORY = 512_000_000
"""Bytes of bodies that are in memory at the same time."""
BODY_S = 30.0
"""Within which a body has to arrive."""
_MAX_VALUES, _MAX_VALUE = 1024, 4096
"""Values that are no files in a form, and bytes of each."""
_MAX_NAME = 80
_MAX_DIGITS = 20  # Python does not convert thousands of them
_DISCARDED_S = 5.0


class Rejected(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        detail: What was expected, what was found and what to do.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status: int = status
        self.detail: str = detail


@dataclass
class Form:
    """The content of a form: files and other values by the names of their fields, each in order."""

    files: dict[str, list[PictureFile]] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)

    def pictures(self, name: str, count: int | None = None) -> list[PictureFile]:
        """Return the files of a field.

        Raises:
            Rejected: If there are none, or not `count`.
        """
        found = self.files.get(name, [])
        if not found or len(found) != (count or len(found)):
            wanted = "one picture" if count == 1 else "at least one picture" if count is None else f"{count} pictures"
            raise Rejected(
                422,
                f"Expected {wanted} as files in the field {name!r}, got {len(found)}. Send multipart/form-data, as "
                f"curl -F {name}=@picture.png does.",
            )
        return found

    def one(self, name: str) -> str | None:
        """Return the value of a field that may be left out.

        Raises:
            Rejected: If it comes twice.
        """
        found = self.values.get(name, [])
        if len(found) > 1:
            raise Rejected(422, f"Expected the field {name!r} at most once, got it {len(found)} times. Send one.")
        return found[0] if found else None


class Uploads:
    """Reads the forms of concurrent requests, with a limit on the memory of all of them."""

    def __init__(self, *, max_bytes: int = MAX_BYTES, max_in_memory: int = MAX_IN_MEMORY) -> None:
        self._max_bytes, self._max_in_memory = max_bytes, max_in_memory
        self._in_memory = 0

    async def read(self, request: Any) -> tuple[Form, int]:
        """Read the form of a request; call `release` with its bytes when its pictures are not needed any more.

        Args:
            request: Of Starlette.

        Returns:
            The form, and the bytes that it takes.

        Raises:
            Full: If the forms of all requests take too much memory.
            Rejected: If it is no form, damaged, too large, or too slow.
        """
        headers = request.headers
        stated = headers.get("content-length", "0")
        boundary = _boundary(headers.get("content-type", ""))
        if not (stated.isascii() and stated.isdigit()) or len(stated) > _MAX_DIGITS or int(stated) > self._max_bytes:
            if "expect" not in headers:  # a client that has begun to send does not read the answer before the end
                await self._discard(request)
            raise self._too_large()
        received = 0
        parser = _Parser(boundary)
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.stream():
                    received += len(chunk)
                    self._in_memory += len(chunk)
                    if received > self._max_bytes:
                        raise self._too_large()
                    if self._in_memory > self._max_in_memory:
                        raise Full
                    parser.write(chunk)
            return parser.form(), received
        except BaseException as error:
            self.release(received)
            if isinstance(error, TimeoutError):
                raise Rejected(
                    408, f"Expected the pictures within {BODY_S:.0f} seconds, got a part of them. Send them again."
                ) from error
            raise

    def release(self, num_bytes: int) -> None:
        """Give back the memory of a form."""
        self._in_memory -= num_bytes

    def _too_large(self) -> Rejected:
        return Rejected(
            413, f"Expected at most {self._max_bytes:,} bytes in a request, found more. Send fewer or smaller pictures."
        )

    async def _discard(self, request: Any) -> None:
        received = 0
        try:
            async with asyncio.timeout(_DISCARDED_S):
                async for chunk in request.stream():
                    received += len(chunk)
                    if received > 4 * self._max_bytes:
                        return
        except Exception:  # noqa: S110  the answer is the same
            pass


def _boundary(content_type: str) -> bytes:
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(content_type)
    boundary: bytes = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        found = printable(content_type[:_MAX_NAME]) or "none"
        raise Rejected(415, f"Expected the content type multipart/form-data with a boundary, got {found}. Use curl -F.")
    return boundary


class _Parser:
    """Collects the parts of a form while it arrives; the syntax is python-multipart's task."""

    def __init__(self, boundary: bytes) -> None:
        parsing: Any = require("python_multipart.multipart", extra="serve", purpose="The service")
        self._error: type[Exception] = parsing.FormParserError
        self._options = parsing.parse_options_header
        self._form, self._num_files, self._num_values = Form(), 0, 0
        self._name: list[bytes] = []
        self._value: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._content: list[bytes] = []
        self._is_whole = False
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.append(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.append(data[start:end]),
            "on_header_end": self._header,
            "on_part_data": lambda data, start, end: self._content.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }
        try:
            self._parser: Any = parsing.MultipartParser(boundary, callbacks)
        except self._error as error:
            raise _damaged(error) from error

    def write(self, chunk: bytes) -> None:
        """Take the next part of the body."""
        try:
            self._parser.write(chunk)
        except self._error as error:
            raise _damaged(error) from error

    def form(self) -> Form:
        """Return what was collected."""
        if not self._is_whole:
            raise _damaged("it ends too early")
        return self._form

    def _begin(self) -> None:
        self._headers, self._content = {}, []

    def _header(self) -> None:
        self._headers[b"".join(self._name).lower()] = b"".join(self._value)
        self._name, self._value = [], []

    def _end(self) -> None:
        kind, options = self._options(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"")
        if kind != b"form-data" or not name:
            raise _damaged("a part has no name")
        field_name, content = _text(name), b"".join(self._content)
        if b"filename" not in options:
            self._num_values += 1
            if self._num_values > _MAX_VALUES or len(content) > _MAX_VALUE:
                at_most = f"{_MAX_VALUES} values of {_MAX_VALUE:,} bytes"
                raise Rejected(422, f"Expected at most {at_most} that are no files, got more. Send pictures as files.")
            self._form.values.setdefault(field_name, []).append(_text(content))
            return
        self._num_files += 1
        if self._num_files > MAX_PICTURES:
            raise Rejected(
                422, f"Expected at most {MAX_PICTURES} pictures in a request, got more. Send several requests."
            )
        file_name = _text(options[b"filename"])[-_MAX_NAME:] or f"picture {self._num_files}"
        self._form.files.setdefault(field_name, []).append(PictureFile(content, file_name))

    def _finish(self) -> None:
        self._is_whole = True


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Rejected(
            422, f"Expected names and values in UTF-8, got {content[:_MAX_NAME]!r}. Encode it, or send it as a file."
        ) from error


def _damaged(why: object) -> Rejected:
    text = printable(" ".join(str(why).split())).rstrip(".")
    return Rejected(400, f"Expected a form as multipart/form-data, but it is damaged: {text}. Send it again.")


def known_fields(form: Form, files: Sequence[str], values: Sequence[str]) -> None:
    """Check that a form has no other fields.

    Raises:
        Rejected: If it has; the message names the first.
    """
    given: tuple[tuple[Mapping[str, object], Sequence[str]], ...] = ((form.files, files), (form.values, values))
    for found, known in given:
        for name in found:
            if name not in known:
                what, other = ("a file", "text") if found is form.files else ("text", "a file")
                fields = ", ".join([*files, *values])
                advice = f"Send it as {other}" if name in (*files, *values) else "Leave it out"
                raise Rejected(
                    422, f"Expected the fields {fields}, got {printable(name[:_MAX_NAME])!r} with {what}. {advice}."
                )
