"""The service as a whole: who is let in, what is counted, and how it stops."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from http_clients import Client, served_here
from http_forms import CONTENT_TYPE, form, pictures, png
from small_models import small_model
from torch import Tensor, nn

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.errors import DataError, RunError
from pairsim.images import PictureFile
from pairsim.integrations.service import batching, http_service
from pairsim.integrations.service.http_service import Service, listen
from pairsim.models.inputs import read_pixels

for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
    pytest.importorskip(package, reason="needs the extra serve")

TOKEN = "0123456789abcdef-secret"
MODEL = small_model()


def test_only_the_token_lets_in() -> None:
    with served_here(MODEL, token=TOKEN) as (client, _, _):
        assert client.post("/encode", pictures(png())).status == 200
        stranger = Client(client.port)
        for answer in (
            stranger.post("/encode", pictures(png())),
            stranger.get("/metrics"),
            stranger.get("/openapi.json"),
            stranger.get("/nowhere"),
            stranger.remove("a"),
            Client(client.port, "0123456789abcdef-wrong").get("/metrics"),
        ):
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert TOKEN not in answer.problem
        assert stranger.get("/health").json == {"status": "ok"}
        metrics = client.get("/metrics").body.decode()
        assert 'pairsim_requests_total{route="/encode",status="401"} 1.0' in metrics
        assert 'pairsim_requests_total{route="other",status="401"} 1.0' in metrics


def test_pages_of_other_sites_are_refused() -> None:
    with served_here(MODEL) as (client, _, _):
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
            answer = client.request("POST", "/encode", form(pictures(png())), {"Content-Type": CONTENT_TYPE, **headers})
            assert answer.status == 403
            assert "a request" in answer.problem
        own = {"Content-Type": CONTENT_TYPE, "Origin": f"http://127.0.0.1:{client.port}"}
        assert client.request("POST", "/encode", form(pictures(png())), own).status == 200


def test_what_is_counted() -> None:
    with served_here(MODEL) as (client, _, _):
        client.post("/encode", pictures(png(1), png(2)))
        client.post("/encode", pictures(b"no picture"))
        client.get("/nowhere")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.body.decode()
    for line in (
        'pairsim_requests_total{route="/encode",status="200"} 1.0',
        'pairsim_requests_total{route="/encode",status="422"} 1.0',
        'pairsim_requests_total{route="other",status="404"} 1.0',
        "pairsim_batch_pictures_sum 2.0",
        "pairsim_waiting_pictures 0.0",
        "pairsim_gallery_pictures 0.0",
    ):
        assert f"\n{line}\n" in text


def test_a_client_that_disconnects_is_no_failure_of_the_service(caplog: pytest.LogCaptureFixture) -> None:
    with served_here(MODEL) as (client, _, _):
        connection = socket.create_connection(("127.0.0.1", client.port))
        connection.sendall(b"POST /encode HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n")
        connection.sendall(f"Content-Type: {CONTENT_TYPE}\r\n\r\n--".encode())
        wait_until(lambda: client.get("/health").status == 200)
        connection.close()
        counted = 'pairsim_requests_total{route="/encode",status="499"} 1.0'
        wait_until(lambda: counted in client.get("/metrics").body.decode())
    assert caplog.text == ""


def test_what_is_not_answered_in_time_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_service, "STOP_S", 1)
    gate, read = threading.Event(), read_pixels

    def held(*given: Any) -> Tensor:
        assert gate.wait(60)
        return read(*given)

    monkeypatch.setattr(batching, "read_pixels", held)
    with served_here(MODEL) as (client, service, server), ThreadPoolExecutor() as pool:
        asked = pool.submit(client.post, "/encode", pictures(*[png()] * 40))
        wait_until(lambda: service.batcher.waiting == 40)
        server.stop()
        answer = asked.result()
        assert (answer.status, answer.problem) == (
            503, "Expected to answer within 1 s of the stop. Send it again later.",
        )  # fmt: skip
        server.join()
        gate.set()
        service.close()
        assert service.num_dropped == 1


def test_a_large_body_is_answered_while_it_is_sent() -> None:
    with served_here(MODEL) as (client, service, _):
        service.uploads._max_bytes = 100_000
        answer = client.post("/encode", pictures(b"x" * 300_000))
        assert (answer.status, "at most 100,000 bytes" in answer.problem) == (413, True)
        assert client.post("/encode", pictures(png())).status == 200


def test_stopping_answers_what_was_accepted() -> None:
    with served_here(MODEL) as (client, _, server):
        connection = socket.create_connection(("127.0.0.1", client.port))
        body = form(pictures(png()))
        head = f"POST /encode HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {CONTENT_TYPE}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:50])
        wait_until(lambda: client.get("/health").status == 200)
        server.stop()
        wait_until(lambda: not accepts(client.port))
        connection.sendall(body[50:])
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.getheader("connection")) == (200, "close")
        assert answer.read().startswith(b'{"embeddings":[[')
        server.join()
        connection.close()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def wait_until(condition: object) -> None:
    end = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not get that far"
        time.sleep(0.01)


def test_a_client_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_service, "STOP_S", 1)
    with served_here(MODEL) as (client, _, server):
        connection = socket.create_connection(("127.0.0.1", client.port))
        connection.sendall(b"POST /encode HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n")
        connection.sendall(f"Content-Type: {CONTENT_TYPE}\r\n\r\n".encode())
        time.sleep(0.3)
        server.stop()
        server.join()
        connection.close()


def test_many_clients_at_once_get_their_own_answers() -> None:
    expected = MODEL.encode([PictureFile(png(number)) for number in range(8)]).tolist()
    wrong = []
    with served_here(MODEL) as (client, _, _):

        def work(number: int) -> None:
            for _ in range(10):
                found = client.post("/encode", pictures(png(number))).json["embeddings"][0]
                if max(abs(one - other) for one, other in zip(found, expected[number], strict=True)) > 1e-6:
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=rf"^Expected to listen on 127\.0\.0\.1, port {port}, but: .*in use"):
            listen("127.0.0.1", port)
    with pytest.raises(RunError, match="no-such-host"):
        listen("no-such-host.invalid", 0)


def test_models_that_take_no_pictures() -> None:
    model = SimilarityModel(EmbeddingNet(nn.Flatten(), in_channels=5, image_size=1))
    with pytest.raises(DataError, match="Expected a model of pictures in grey or colour, found one of 5 channels"):
        Service(model, version="1", gallery=None, token=None)
