"""Clients of the service in one lean process: each sends its next request when the last one was answered.

Run as a program with JSON on stdin: host, port, clients, seconds, and requests as hexadecimal bytes that are ready to
be sent. It prints JSON: for each request its seconds and its status, 0 where the connection ended without an answer.
A client ends after an answer that closes its connection.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any


class Client(asyncio.Protocol):
    """A connection that is kept, on which one request follows the other."""

    def __init__(self, requests: list[bytes], first: int, end: float, done: list[tuple[float, int]]) -> None:
        self.finished = asyncio.get_running_loop().create_future()
        self._requests, self._number, self._end, self._done = requests, first, end, done
        self._began, self._answer = 0.0, b""

    def connection_made(self, transport: Any) -> None:
        """Send the first request."""
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Collect an answer, and send the next request after it."""
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        now = time.perf_counter()
        self._done.append((now - self._began, int(head[9:12])))
        self._answer = b""
        if now >= self._end or b"\r\nconnection: close" in head.lower():
            self._began = 0.0
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, _: Exception | None) -> None:
        """Note a request that was not answered."""
        if self._began:
            self._done.append((time.perf_counter() - self._began, 0))
        self.finished.set_result(None)

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._requests[self._number % len(self._requests)])
        self._number += 1


async def load(host: str, port: int, clients: int, seconds: float, requests: list[bytes]) -> list[tuple[float, int]]:
    """Keep a number of clients busy for some seconds; returns seconds and status of each request."""
    done: list[tuple[float, int]] = []
    end, loop = time.perf_counter() + seconds, asyncio.get_running_loop()

    async def one(first: int) -> None:
        try:
            _, client = await loop.create_connection(lambda: Client(requests, first, end, done), host, port)
        except OSError:
            done.append((0.0, 0))
            return
        await client.finished

    await asyncio.gather(*(one(number * len(requests) // clients) for number in range(clients)))
    return done


if __name__ == "__main__":
    given = json.load(sys.stdin)
    given["requests"] = [bytes.fromhex(text) for text in given["requests"]]
    began = time.perf_counter()
    answered = asyncio.run(load(**given))
    json.dump({"seconds": time.perf_counter() - began, "answered": answered}, sys.stdout)
