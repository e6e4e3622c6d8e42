"""What the app lets in over HTTP; without Gradio, and then with a server as a browser meets it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image, ImageFile
from served_page import closed_after
from small_models import small_model

from pairsim import Gallery
from pairsim.integrations import app_requests
from pairsim.integrations.app_requests import MAX_BYTES, Guard, picture_editor

HOSTILE = "<img src=x onerror=alert(1)>"


def answer(
    host: str | None, *, bound_to: str = "127.0.0.1", length: str | None = None, body: int = 0, kind: str = "http"
) -> tuple[int, str]:
    """Send a request through the guard to an application that reads all of it and says "fine"."""
    headers = [(b"host", host.encode("latin-1"))] if host is not None else []
    headers += [(b"content-length", length.encode())] if length is not None else []
    parts: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"x" * 1_000_000, "more_body": True} for _ in range(body // 1_000_000)
    ]
    parts += [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        message: dict[str, Any] = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
        gone = message["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 499 if gone else 200, "headers": []})
        await send({"type": "http.response.body", "body": b"gone" if gone else b"fine"})

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(application, bound_to)({"type": kind, "headers": headers}, receive, send))
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:7860", "[::1]:7860"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_requests_for_this_machine_are_let_in(host: str, kind: str) -> None:
    assert answer(host, kind=kind) == (200, "fine")


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.0.7"),
        *("127.0.0.1@evil.example:80", "", "[::1", "localhost:7860x@evil.example", "\xff", None),
    ],
)
def test_requests_for_another_host_are_rejected(host: str | None, kind: str) -> None:
    status, text = answer(host, kind=kind)
    assert status == 403
    assert text.startswith("Expected a request for the address that pairsim app printed, found one for ")
    assert "--host NAME" in text


def test_a_network_address_is_reached_by_any_address_and_the_name_asked_for() -> None:
    for host in ("192.168.0.7:7860", "[fe80::1]:7860", "localhost"):
        assert answer(host, bound_to="0.0.0.0")[0] == 200
    assert answer("evil.example", bound_to="0.0.0.0")[0] == 403
    assert answer("Box.Example:7860", bound_to="box.example")[0] == 200


def test_large_requests_are_rejected_by_what_they_state_and_by_what_they_send() -> None:
    assert answer("localhost", length=str(MAX_BYTES)) == (200, "fine")
    for length in (str(MAX_BYTES + 1), "9" * 5_000, "-1", "x"):
        assert answer("localhost", length=length) == (
            413,
            "Expected at most 20,000,000 bytes, found more. Use a smaller picture.\n",
        )
    assert answer("localhost", body=MAX_BYTES) == (200, "fine")
    assert answer("localhost", body=MAX_BYTES + 1_000_000) == (499, "gone")


def test_other_events_of_the_server_are_passed_on() -> None:
    seen: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(Guard(application, "localhost")({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


# --- a server, as a browser meets it ---

served_only = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("gradio") is None, reason="needs gradio: pip install 'pairsim[app]'"),
    pytest.mark.filterwarnings("ignore"),  # of the packages behind the page
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        Image.new("L", (16, 16), 60 * number).save(folder / f"{number}{HOSTILE}.png")
    Image.new("1", (13_000, 13_000)).save(folder / "bomb.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def page(pictures: Path) -> Iterator[Any]:
    from pairsim.integrations.web_app import build_app

    gallery = Gallery(small_model())
    paths = sorted(pictures.glob("[0-9]*.png"))
    gallery.add(paths, [str(path) for path in paths])
    with closed_after(build_app(small_model(), gallery=gallery, examples=paths[:2], name=HOSTILE)) as app:
        yield app


@pytest.fixture(scope="module")
def client(page: Any) -> Iterator[Any]:
    import httpx

    from pairsim.integrations.web_app import serve

    with httpx.Client(base_url=serve(page, browser=False), timeout=120) as opened:
        yield opened


def upload(client: Any, path: Path) -> dict[str, Any]:
    found = client.post("/gradio_api/upload", files={"files": (path.name, path.read_bytes())})
    assert found.status_code == 200
    return {"path": found.json()[0], "meta": {"_type": "gradio.FileData"}, "orig_name": path.name}


def call(client: Any, name: str, *data: Any) -> str:
    """Call a function of the page, and return the event with its result or error."""
    event = client.post(f"/gradio_api/call/{name}", json={"data": data}).json()["event_id"]
    return str(client.get(f"/gradio_api/call/{name}/{event}").text)


def drawn(file: dict[str, Any] | None) -> dict[str, Any]:
    return {"background": file, "layers": [], "composite": file, "id": None}


class TestServed:
    pytestmark = served_only

    def test_a_foreign_host_gets_nothing(self, client: Any) -> None:
        for path in ("/", "/config", "/gradio_api/info"):
            assert client.get(path).status_code == 200
            assert client.get(path, headers={"Host": "evil.example"}).status_code == 403

    def test_a_picture_with_too_many_pixels_is_not_decoded(
        self, client: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = upload(client, pictures / "bomb.png")

        def decode(self: Any) -> None:
            raise AssertionError("a picture was decoded")

        monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
        found = call(client, "compare", drawn(file), drawn(file), 0.5, False)
        assert "event: complete" in found
        assert "to have at most 36,000,000 pixels, found 13000 x 13000. Resize it first." in found

    def test_a_file_that_is_no_picture_is_one_line(self, client: Any, pictures: Path) -> None:
        file = upload(client, pictures / "broken.png")
        assert "but its content is not of any known image format" in call(
            client, "compare", drawn(file), drawn(file), 0.5, False
        )

    def test_a_large_upload_is_rejected(self, client: Any) -> None:
        found = client.post("/gradio_api/upload", files={"files": ("x.png", bytes(MAX_BYTES + 1))})
        assert found.status_code == 413

    def test_pictures_are_compared(self, client: Any, pictures: Path) -> None:
        file = upload(client, pictures / f"0{HOSTILE}.png")
        found = call(client, "compare", drawn(file), drawn(file), 0.5, False)
        assert "similarity 1.0000" in found
        assert "Expected a picture in each field" in call(client, "compare", drawn(None), drawn(file), 0.5, False)

    def test_other_files_of_this_machine_are_not_served(self, client: Any, pictures: Path) -> None:
        own = drawn({"path": str(pictures / "0.png"), "meta": {"_type": "gradio.FileData"}})
        assert "event: error" in call(client, "compare", own, own, 0.5, False)
        for path in (pictures / "secret.txt", Path(__file__), Path("/etc/hostname"), Path(os.devnull)):
            assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)

    def test_names_are_not_markup(self, client: Any, pictures: Path) -> None:
        assert HOSTILE not in client.get("/").text
        titles = [
            part["props"].get("value") for part in client.get("/config").json()["components"] if part["type"] == "html"
        ]
        assert any("&lt;img src=x" in str(value) for value in titles)
        assert not any(HOSTILE in str(value) for value in titles)
        query = drawn(upload(client, pictures / f"0{HOSTILE}.png"))
        assert "similarity" in call(client, "search", query, 2, 0.5, False)
        hidden = pictures / f"2{HOSTILE}.png"
        hidden.rename(pictures / "away")
        found = call(client, "search", query, 3, 0.5, False)
        (pictures / "away").rename(hidden)
        assert "event: error" in found
        said = json.loads(found.split("data: ")[1].splitlines()[0])
        text = said["error"] if isinstance(said, dict) else str(said)
        assert "&lt;img src=x" in text
        assert HOSTILE not in text

    def test_uploads_do_not_stay_on_disk(self, page: Any) -> None:
        every_s, older_than_s = page.delete_cache
        assert every_s + older_than_s <= 2 * 3600

    def test_pictures_from_browsers_do_not_pile_up(self) -> None:
        import gradio

        editor = picture_editor(gradio)()
        assert editor.get_block_name() == "imageeditor"
        for number in range(20):
            for kind, index in (("background", None), ("layer", str(10**9)), ("composite", None)):
                data = {"type": kind, "index": index, "id": str(number)}
                editor.accept_blobs(SimpleNamespace(data=data, files=[("file", b"%d" % number)]))
        assert list(editor.blob_storage) == [str(number) for number in range(4, 20)]
        found = editor.preprocess(SimpleNamespace(id="19"))
        assert found == {"background": b"19", "composite": b"19"}
        assert editor.preprocess(SimpleNamespace(id="19")) is None
        assert not Path(app_requests.__file__).with_suffix(".pyi").exists()
