"""`pairsim serve` as a process of its own, with real HTTP clients."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from http_clients import Answer, Client
from http_forms import pictures, png
from run_command import COMMAND, environment, failure, here, pairsim
from small_models import small_model

from pairsim import Gallery, SimilarityModel
from pairsim.integrations.service import http_service

TOKEN = "0123456789abcdef-secret"
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    *("response_headers_conformance", "unsupported_method"),
)


@dataclass
class Served:
    """The command while it runs."""

    process: subprocess.Popen[str]
    client: Client
    said: str = ""
    """What it said after its first line, once it has ended."""

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it by a signal; returns its exit status and its last line."""
        self.process.send_signal(number)
        assert self.process.stderr is not None
        too_late = threading.Timer(120, self.process.kill)
        too_late.start()
        self.said = self.process.stderr.read()  # communicate would lose what was buffered with the first line
        self.process.wait()
        too_late.cancel()
        assert "Traceback" not in self.said
        return self.process.returncode, self.said.splitlines()[-1]


@contextlib.contextmanager
def served(folder: Path, *arguments: str, token: str | None = None, **env: str) -> Iterator[Served]:
    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        pytest.importorskip(package, reason="needs the extra serve")
    command = [*COMMAND, "serve", "run", "--port", "0", *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.fullmatch(r"Serving on http://[\w.]+:(\d+); stop with Ctrl\+C or SIGTERM\.\n", line)
            assert found, line + process.stderr.read()
            yield Served(process, Client(int(found[1]), token))
        finally:
            process.kill()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    small_model(threshold=0.5).save_pretrained(folder / "run")
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(number))
    (folder / "token").write_text(TOKEN)
    return folder


def both(first: int, second: int) -> list[tuple[str, bytes, str]]:
    return [("first", png(first), "a.png"), ("second", png(second), "b.png")]


@pytest.mark.slow
def test_a_service_from_start_to_end_and_again(place: Path) -> None:
    with served(place, "--gallery", "gallery") as one:
        answer = one.client.post("/compare", both(1, 2))
        expected = pairsim("compare", "run", "1.png", "2.png", "--json", cwd=place).json
        assert answer.json == pytest.approx({name: expected[name] for name in answer.json}, abs=1e-6)
        answer = one.client.post("/enrol", [*pictures(png(0), png(1)), ("ids", "a"), ("ids", "b")])
        assert answer.json["num_images"] == 2
        assert one.client.remove("a").json["num_images"] == 1
        # another process may not write to the gallery meanwhile
        said = failure(pairsim("serve", "run", "--port", "0", "--gallery", "gallery", cwd=place), 1)
        assert f"to be free, but process {one.process.pid} on " in said
        assert one.end() == (0, "Stopped: every request that was accepted is answered.")
        assert one.said.startswith("gallery is a new gallery: the first enrolment writes it.\n")
    assert Gallery.load(place / "gallery", SimilarityModel.from_pretrained(place / "run")).ids == ["b"]
    with served(place, "--gallery", "gallery") as again:
        assert "pairsim_gallery_pictures 1.0" in again.client.get("/metrics").body.decode()
        answer = again.client.post("/identify", [*pictures(png(1), png(2)), ("threshold", "0.9999")])
        assert [found["id"] for found in answer.json["results"]] == ["b", None]
        assert again.client.post("/enrol", [*pictures(png(0)), ("ids", "b")]).status == 409
        assert again.end(signal.SIGINT)[0] == 0
        assert "new gallery" not in again.said


@pytest.mark.slow
def test_bad_uploads_are_answered_as_on_the_command_line(place: Path) -> None:
    (place / "bad.png").write_bytes(b"no picture")
    with served(place, PAIRSIM_MAX_PIXELS="100") as one:
        for content, name in ((b"no picture", "bad.png"), (png(0, (20, 20)), "large.png"), (b"", "empty.png")):
            (place / name).write_bytes(content)
            answer = one.client.post("/compare", [("first", content, name), ("second", png(1), "1.png")])
            said = pairsim("compare", "run", name, "1.png", cwd=place, env=environment(PAIRSIM_MAX_PIXELS="100"))
            assert (answer.status, f"pairsim: {answer.problem}") == (422, failure(said, 1))
        answer = one.client.post("/encode", pictures(b"x" * 65_000_000))
        assert (answer.status, "at most 64,000,000 bytes" in answer.problem) == (413, True)
        assert one.client.post("/encode", pictures(png(1))).status == 200
        assert one.end()[0] == 0


@pytest.mark.slow
def test_a_token(place: Path) -> None:
    with served(place, "--host", "0.0.0.0", "--token-file", "token", token=TOKEN) as one:
        assert one.client.post("/encode", pictures(png(1))).status == 200
        assert Client(one.client.port).get("/metrics").status == 401
        assert Client(one.client.port, TOKEN[:-1]).get("/metrics").status == 401
        assert one.end()[0] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--host", "0.0.0.0"], 2, "a token for --host 0.0.0.0, which others can reach, found none. Give --token-file"),
        (["--host", "::"], 2, "a token for --host ::"),
        (["--port", "65536"], 2, "--port from 0 to 65535, got 65536."),
        (["--token-file", "absent"], 1, "a file with a token at absent"),
        (["--token-file", "0.png"], 1, "a token of at least 16 ASCII characters"),
    ],
)
def test_wrong_usage(
    arguments: list[str], status: int, text: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAIRSIM_TOKEN", raising=False)
    assert f"Expected {text}" in failure(here("serve", "run", *arguments, cwd=place), status)


def test_what_is_not_installed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = failure(here("serve", "run", "--port", "0", cwd=place), 1)
    assert "pip install 'pairsim[serve]'" in said
    assert "Expected a model or run folder" in failure(here("serve", "absent", "--port", "0", cwd=place), 1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_nothing(number: int, place: Path) -> None:
    """What was answered is right and on disk; what was not answered was not accepted."""
    gallery = f"gallery-{number}"
    with served(place, "--gallery", gallery) as one:
        expected = one.client.post("/encode", pictures(png(1))).json["embeddings"][0]
        answers: list[tuple[str, Answer]] = []
        unanswered: list[str] = []
        lock = threading.Lock()

        def work(client: int) -> None:
            for turn in range(10_000):
                name = f"{client}-{turn}"
                try:
                    if client % 2:
                        answer = one.client.post("/encode", pictures(png(1)))
                    else:
                        answer = one.client.post("/enrol", [*pictures(png(1)), ("ids", name)])
                except OSError:
                    with lock:
                        unanswered.append(name)
                    return
                with lock:
                    answers.append((name, answer))

        threads = [threading.Thread(target=work, args=(client,)) for client in range(12)]
        for thread in threads:
            thread.start()
        while len(answers) < 60:
            pass
        assert one.end(number)[0] == 0
        for thread in threads:
            thread.join()
    assert {answer.status for _, answer in answers} == {200}
    enrolled = {name for name, answer in answers if "num_images" in answer.json}
    for _, answer in answers:
        if "embeddings" in answer.json:
            assert answer.json["embeddings"][0] == pytest.approx(expected, abs=1e-6)
    stored = set(Gallery.load(place / gallery, SimilarityModel.from_pretrained(place / "run")).ids)
    assert enrolled <= stored
    assert stored - enrolled <= {*unanswered}
    assert len(enrolled) > 10


@pytest.mark.slow
def test_any_request_of_the_schema_is_answered_as_it_says(place: Path) -> None:
    """Requests that schemathesis makes from the OpenAPI schema: no error of the service, and answers as described."""
    pytest.importorskip("schemathesis", reason="needs the extra service-test")
    with served(place, "--gallery", "fuzzed") as one:
        address = f"http://127.0.0.1:{one.client.port}"
        tool = Path(sys.executable).with_name("schemathesis")
        command = [str(tool), "run", f"{address}/openapi.json", "--max-examples", "40", "--seed", "1", "--no-color"]
        command += ["--checks", ",".join(CHECKS)]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        assert json.loads(one.client.get("/health").body) == {"status": "ok"}
        assert one.end()[0] == 0


def test_dropped_requests_are_a_failure(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        pytest.importorskip(package, reason="needs the extra serve")

    class Ended:
        """A server that was stopped before it answered."""

        def __init__(self, service: http_service.Service, _: object) -> None:
            self.service = service

        def stop(self) -> None:
            """Do nothing."""

        def join(self) -> None:
            self.service.num_dropped = 3

    monkeypatch.setattr(http_service, "ServerThread", Ended)
    said = failure(here("serve", "run", "--port", "0", cwd=place), 1)
    assert said.endswith("within 60 s, but 3 were dropped. Send them again.")
