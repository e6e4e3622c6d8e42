"""Real HTTP clients of the service, and the service in this process."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from http_forms import CONTENT_TYPE, Field, form

from pairsim import SimilarityModel
from pairsim.integrations.service.http_service import ServerThread, Service, listen


@dataclass(frozen=True)
class Answer:
    """An answer of the service."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The message of an error, which is one line."""
        assert self.status >= 400
        detail = self.json["detail"]
        assert detail.startswith("Expected ")
        assert detail.isprintable()
        return str(detail)


@dataclass(frozen=True)
class Client:
    """Sends requests, each on a connection of its own."""

    port: int
    token: str | None = None

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            known = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
            connection.request(method, path, body, known | (headers or {}))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, fields: Sequence[Field]) -> Answer:
        return self.request("POST", path, form(fields), {"Content-Type": CONTENT_TYPE})

    def remove(self, name: str) -> Answer:
        return self.request("DELETE", f"/gallery?id={quote(name, safe='')}")


@contextmanager
def served_here(
    model: SimilarityModel, gallery: Path | None = None, token: str | None = None
) -> Iterator[tuple[Client, Service, ServerThread]]:
    """The service in this process, with a real server."""
    with listen("127.0.0.1", 0) as listening:
        service = Service(model, version="1.2.3", gallery=gallery, token=token)
        server = ServerThread(service, listening)
        try:
            yield Client(listening.getsockname()[1], token), service, server
        finally:
            server.stop()
            server.join()
            service.close()
