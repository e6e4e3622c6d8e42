"""What the app accepts over HTTP: requests for its own address and of a limited size; pictures are not decoded yet."""

from __future__ import annotations

import ipaddress
import socket
from abc import ABCMeta
from typing import Any
from urllib.parse import urlsplit

MAX_BYTES = 20_000_000
"""Larger uploads, and all other larger requests, are rejected while they arrive."""

_MAX_DIGITS = 20  # Python does not convert thousands of them
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_MAX_WAITING = 16
"""Pictures from browsers that wait for their event; the oldest is dropped."""


class Guard:
    """ASGI middleware: rejects requests for another host, as after DNS rebinding, and large ones.

    Args:
        app: The application.
        host: The address that it listens on. One that is not of this machine alone can also be reached by any of its
            addresses, none of which a foreign name has, and by the name of the machine.
    """

    def __init__(self, app: Any, host: str) -> None:
        self._app = app
        self._names = _LOOPBACK | {host.lower()}
        self._is_local = host.lower() in _LOOPBACK
        if not self._is_local:
            self._names |= {socket.gethostname().lower()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        host = _name_of(headers.get(b"host", b"").decode("latin-1"))
        stated = headers.get(b"content-length", b"0")
        if not self._accepts(host):
            text = f"Expected a request for the address that pairsim app printed, found one for {host!r}.\n"
            await _answer(send, 403, f"{text}To use another name, start it with --host NAME.\n")
        elif not stated.isdigit() or len(stated) > _MAX_DIGITS or int(stated) > MAX_BYTES:
            await _answer(send, 413, f"Expected at most {MAX_BYTES:,} bytes, found more. Use a smaller picture.\n")
        else:
            await self._app(scope, _limited(receive), send)

    def _accepts(self, host: str) -> bool:
        return host in self._names or (not self._is_local and _is_address(host))


def _name_of(host: str) -> str:
    """The name in a header `Host`, without its port; "" if it has none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _answer(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode("ascii", "backslashreplace")})


def _limited(receive: Any) -> Any:
    """Receive a body of unknown size; one that is too large ends like a connection that broke."""
    received = 0

    async def next_part() -> Any:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return {"type": "http.disconnect"} if received > MAX_BYTES else message

    return next_part


def picture_editor(gr: Any) -> Any:
    """Make the class of an image editor that hands on files as they are, so that nothing large is decoded unseen.

    Its value is a dictionary with `background` and `composite`, each the path of an uploaded file, the bytes of one, or
    `None`. Gradio's own editor decodes every picture, of any size.
    """

    class Plain(type(gr.ImageEditor)):  # type: ignore[misc]
        """Makes the class without the stub file that Gradio writes beside the source."""

        def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> Any:
            return ABCMeta.__new__(cls, name, bases, attributes)

    class PictureEditor(gr.ImageEditor, metaclass=Plain):  # type: ignore[misc]
        """The editor."""

        is_template = True  # the browser shows it as its base class

        def accept_blobs(self, data: Any) -> None:
            """Keep a picture from a browser until its event; the editor has no layers."""
            if data.data["type"] == "layer":
                return
            super().accept_blobs(data)
            while len(self.blob_storage) > _MAX_WAITING:
                self.blob_storage.pop(next(iter(self.blob_storage)))

        accept_blobs._is_server_fn = True  # type: ignore[attr-defined]

        def preprocess(self, payload: Any) -> dict[str, str | bytes | None] | None:
            """Return the files."""
            if payload is not None and payload.id is not None:
                payload = self.blob_storage.pop(payload.id, None)
            if payload is None:
                return None
            return {"background": _file_of(payload.background), "composite": _file_of(payload.composite)}

    return PictureEditor


def _file_of(found: Any) -> str | bytes | None:
    return found if found is None or isinstance(found, bytes) else str(found.path)
