"""The service as a whole: its parts, the gate before its paths, and the server that runs it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import torch

from pairsim.errors import DataError, RunError, require
from pairsim.integrations.service.access import Access
from pairsim.integrations.service.batching import Batcher
from pairsim.integrations.service.endpoints import PATHS, make_app
from pairsim.integrations.service.gallery_keeper import GalleryKeeper
from pairsim.integrations.service.service_metrics import ServiceMetrics
from pairsim.integrations.service.uploads import Rejected, Uploads
from pairsim.models import SimilarityModel

STOP_S = 60
"""Within which a service that is stopped answers what it has accepted."""
_BACKLOG = 2048
_KEEP_ALIVE_S = 75
"""Longer than proxies keep their connections, so that they close them first."""
_PUBLIC = "/health"
_CLIENT_GONE = 499
"""Counted for a client that disconnects while it sends; nginx logs the same."""


class Service:
    """Answers requests with one model, and with one gallery if there is one. `app` is an ASGI application.

    Args:
        model: In eval mode, on its device.
        version: Of pairsim.
        gallery: Folder of a saved gallery, or a new one.
        token: That requests state; `None` only where this machine alone reaches the service.
        host: Address or name that it listens on.

    Raises:
        DataError: If the model takes no pictures.
        MissingExtraError: If a package of the extra `serve` is not installed.
        RunError: If the gallery cannot be used.
        ValueError: If the model's weights are NaN.
    """

    def __init__(
        self, model: SimilarityModel, *, version: str, gallery: Path | None, token: str | None, host: str = ""
    ) -> None:
        require("uvicorn", extra="serve", purpose="The service")
        require("python_multipart.multipart", extra="serve", purpose="The service")
        self.model: SimilarityModel = model
        self.has_token: bool = token is not None
        self.uploads: Uploads = Uploads()
        self._access = Access(token, host)
        self.num_dropped: int = 0
        """Requests that were accepted and are not answered, as the service was stopped before."""
        _warm_up(model)
        self.metrics: ServiceMetrics = ServiceMetrics(
            waiting=lambda: self.batcher.waiting, gallery_size=self._gallery_size
        )
        self._app, self._posts = make_app(self, version)
        requests = require("starlette.requests", extra="serve", purpose="The service")
        self._request, self._disconnect = requests.Request, requests.ClientDisconnect
        self._keeper = None if gallery is None else GalleryKeeper(gallery, model)
        self.batcher: Batcher = Batcher(model, on_batch=self.metrics.batch)

    def gallery(self) -> GalleryKeeper:
        """Return the gallery.

        Raises:
            Rejected: If there is none.
        """
        if self._keeper is None:
            raise Rejected(404, "Expected a service with a gallery, found one without. Start it with --gallery FOLDER.")
        return self._keeper

    def problem(self) -> str | None:
        """Return why the service does not work, or `None` if it does."""
        return None if self._keeper is None else self._keeper.problem

    def close(self) -> None:
        """Finish what was accepted, and free the gallery."""
        self.batcher.close()
        if self._keeper is not None:
            self._keeper.close()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, if it is of somebody who may use the service."""
        if scope["type"] != "http":
            return
        began, path, status = time.perf_counter(), scope["path"], 0

        async def note_status(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        refusal = None if path == _PUBLIC else self._access.refusal(dict(scope["headers"]))
        try:
            if refusal is not None:
                await _refuse(note_status, *refusal)
            elif scope["method"] == "POST" and path in self._posts:
                response = await self._posts[path](self._request(scope, receive))
                await response(scope, receive, note_status)
            else:
                await self._app(scope, receive, note_status)
        except self._disconnect:
            status = _CLIENT_GONE
        except asyncio.CancelledError:  # after STOP_S
            self.num_dropped += 1
            if not status:
                await _refuse(
                    note_status, 503, f"Expected to answer within {STOP_S} s of the stop. Send it again later."
                )
        finally:
            self.metrics.answered(path if path in PATHS else "other", status or 500, time.perf_counter() - began)

    def _gallery_size(self) -> int:
        return 0 if self._keeper is None else len(self._keeper)


class ServerThread:
    """A server that answers with a service, in a thread of its own.

    Args:
        service: The service. The caller closes it after `join`.
        listening: From `listen`.
    """

    def __init__(self, service: Service, listening: socket.socket) -> None:
        uvicorn: Any = require("uvicorn", extra="serve", purpose="The service")
        config = uvicorn.Config(
            service.app,
            log_config=None,
            log_level="warning",
            access_log=False,
            interface="asgi3",
            proxy_headers=False,
            lifespan="off",
            ws="none",
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
        )
        self._server = uvicorn.Server(config)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(listening,), name="pairsim-server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Accept no more requests, and end when those that were accepted are answered; a signal handler may call it."""
        self._server.should_exit = True

    def join(self) -> None:
        """Wait until it has ended; raises what ended it, if it was not `stop`."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self, listening: socket.socket) -> None:
        try:
            self._server.run(sockets=[listening])
        except BaseException as error:
            self._error = error


def listen(host: str, port: int) -> socket.socket:
    """Open a port.

    Args:
        host: Address or name of this machine.
        port: The port; 0 for one that is free.

    Raises:
        RunError: If that is not possible.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"Expected to listen on {host}, port {port}, but: {reason}. Choose another.") from error
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def _warm_up(model: SimilarityModel) -> None:
    """Run the model on batches of each kind, so that the first request takes no longer than others."""
    preprocessing = model.preprocessing
    if preprocessing.channels not in (1, 3) or preprocessing.of_vectors:
        raise DataError(
            f"Expected a model of pictures in grey or colour, found one of {preprocessing.channels} channels and "
            f"{preprocessing.image_size[0]} x {preprocessing.image_size[1]} pixels. Serve another one."
        )
    for count in (1, 2, 4):
        model.encode(torch.zeros(count, preprocessing.channels, *preprocessing.image_size, dtype=torch.uint8))


async def _refuse(send: Any, status: int, detail: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": detail}).encode()})
