"""The benchmark of the service: its clients count what they get. No test asserts a time."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks import load_client, serve
from benchmarks.options import Options


def answering(*answers: bytes) -> list[tuple[float, int]]:
    """What two clients note of a server that gives some answers on each connection, and ends it then."""

    talking = list[asyncio.Task[None]]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.partition(b"Content-Length: ")[2]))
            for part in (answer[:9], answer[9:30], answer[30:]):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.001)
        await reader.readuntil(b"\r\n\r\n") if b"close" not in answers[-1] else None
        writer.close()
        await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.append(asyncio.create_task(talk(reader, writer)))

    async def run() -> list[tuple[float, int]]:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            found = await load_client.load(
                "127.0.0.1", port, 2, 30.0, [serve.encoding([b"x"]), serve.encoding([b"yy"])]
            )
            await asyncio.gather(*talking)
            return found

    return asyncio.run(run())


def test_clients_count_answers_and_what_is_not_answered() -> None:
    fine = b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\ndate: today\r\n\r\n{"x":12345}\n'
    busy = b"HTTP/1.1 503 Busy\r\ndate: today\r\nContent-Length: 0\r\n\r\n"
    last = fine.replace(b"date: today", b"Connection: close")
    assert sorted(status for _, status in answering(fine, busy, fine, last)) == [200] * 6 + [503] * 2
    assert sorted(status for _, status in answering(fine, busy)) == [0] * 2 + [200] * 2 + [503] * 2


def test_a_server_that_is_not_there() -> None:
    assert asyncio.run(load_client.load("127.0.0.1", 1, 2, 1.0, [b""])) == [(0.0, 0)] * 2


@pytest.mark.slow
def test_every_arm_is_measured() -> None:
    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        pytest.importorskip(package, reason="needs the extra serve")
    rates, stopped = serve.run(Options(quick=True, rounds=1))
    assert [row["arm"] for row in rates.rows] == [
        serve.LOOP,
        serve.BATCHED,
        *(serve.name_of(*one) for one in serve.LOADS),
    ]
    assert all(row.get("failed", 0) == 0 for row in rates.rows)
    (row,) = stopped.rows
    assert (row["lost"], row["other_answers"], row["exit_status"]) == (0, 0, 0)
    assert row["answered"] > 0
