"""Forms are read within their limits, and nothing in them is decoded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from http_forms import BOUNDARY, CONTENT_TYPE, Field, form, pictures, png

from pairsim.images import PictureFile
from pairsim.integrations.service import uploads
from pairsim.integrations.service.batching import Full
from pairsim.integrations.service.uploads import Form, Rejected, Uploads, known_fields

pytest.importorskip("python_multipart", reason="needs the extra serve")


class Request:
    """What `Uploads` uses of a request of Starlette."""

    def __init__(self, body: bytes, *, pieces: int = 7, waits: bool = False, **headers: str) -> None:
        self.headers = {"content-type": CONTENT_TYPE, "content-length": str(len(body))}
        self.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        self._body, self._pieces, self._waits = body, pieces, waits
        self.taken = 0

    async def stream(self) -> AsyncIterator[bytes]:
        size = max(len(self._body) // self._pieces, 1)
        for start in range(0, len(self._body), size):
            self.taken += size
            yield self._body[start : start + size]
        if self._waits:
            await asyncio.sleep(60)


def read(request: Any, reader: Uploads | None = None) -> Form:
    reader = reader or Uploads()

    async def run() -> Form:
        found, size = await reader.read(request)
        assert reader._in_memory >= size
        reader.release(size)
        return found

    return asyncio.run(run())


def refused(request: Any, reader: Uploads | None = None) -> tuple[int, str]:
    reader = reader or Uploads()
    with pytest.raises(Rejected) as raised:
        read(request, reader)
    assert reader._in_memory == 0
    assert raised.value.detail.startswith("Expected ")
    assert raised.value.detail.isprintable()
    return raised.value.status, raised.value.detail


@pytest.mark.parametrize("pieces", [1, 2, 50, 1000])
def test_files_and_values_of_fields_in_order(pieces: int) -> None:
    fields: list[Field] = [*pictures(png(1), png(2)), ("ids", "a"), ("ids", "ü/1"), ("one", b"", ""), ("odd", "")]
    found = read(Request(form(fields), pieces=pieces))
    assert found.files["pictures"] == [PictureFile(png(1), "0.png"), PictureFile(png(2), "1.png")]
    assert [file.content for file in found.files["pictures"]] == [png(1), png(2)]
    assert found.files["one"] == [PictureFile(b"", "picture 3")]
    assert found.values == {"ids": ["a", "ü/1"], "odd": [""]}
    assert found.pictures("pictures") == found.files["pictures"]
    assert (found.one("odd"), found.one("absent")) == ("", None)


def test_content_that_looks_like_a_boundary_stays_content() -> None:
    content = b"\r\n--" + BOUNDARY[:-1].encode() + b"\r\n\r\n--\r\n" * 3
    assert read(Request(form(pictures(content)))).files["pictures"][0].content == content


def test_bodies_that_are_too_large_are_not_read_into_memory() -> None:
    body = form(pictures(b"x" * 5000))
    for length in (str(len(body)), "9" * 19, "9" * 5000, "-1", "x"):
        request = Request(body, content_length=length, expect="100-continue")
        assert refused(request, Uploads(max_bytes=1000))[0] == 413
        assert request.taken == 0
    request = Request(body, content_length="0")  # as without the header
    status, detail = refused(request, Uploads(max_bytes=1000))
    assert (status, request.taken < 2000) == (413, True)
    assert "at most 1,000 bytes" in detail


def test_a_client_that_sends_too_much_can_read_the_answer() -> None:
    request = Request(form(pictures(b"x" * 5000)))
    assert refused(request, Uploads(max_bytes=3000))[0] == 413
    assert request.taken > 5000  # read to its end, and dropped
    request = Request(form(pictures(b"x" * 50_000)), pieces=100)
    assert refused(request, Uploads(max_bytes=1000))[0] == 413
    assert request.taken < 6000  # but not without end


def test_all_requests_together_are_limited() -> None:
    reader, body = Uploads(max_in_memory=1500), form(pictures(b"x" * 900))

    async def run() -> None:
        _, size = await reader.read(Request(body))
        assert size == len(body)
        with pytest.raises(Full):
            await reader.read(Request(body))
        reader.release(size)
        await reader.read(Request(body))

    asyncio.run(run())


def test_a_slow_body_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "BODY_S", 0.05)
    status, detail = refused(Request(form(pictures(png())), waits=True))
    assert status == 408
    assert "got a part of them" in detail


def test_too_many_pictures_or_values() -> None:
    assert refused(Request(form(pictures(*[b"x"] * 257))))[0] == 422
    assert len(read(Request(form(pictures(*[b"x"] * 256)))).files["pictures"]) == 256
    assert refused(Request(form([("ids", "x")] * 1025)))[0] == 422
    assert refused(Request(form([("ids", "x" * 5000)])))[0] == 422


@pytest.mark.parametrize("kind", ["", "image/png", "multipart/form-data", "multipart/mixed; boundary=x", "\x1b[2J"])
def test_what_is_no_form(kind: str) -> None:
    assert refused(Request(b"x", content_type=kind))[0] == 415


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        form(pictures(png()))[:-20],
        form(pictures(png())).replace(b'name="pictures"; ', b""),
        form(pictures(png())).replace(b"form-data", b"attachment"),
        form(pictures(png())).replace(b"\r\n\r\n", b"\r\n", 1),
        f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(),
    ],
)
def test_damaged_forms(body: bytes) -> None:
    status, detail = refused(Request(body))
    assert status == 400
    assert "it is damaged: " in detail


def test_a_boundary_that_is_too_long() -> None:
    assert refused(Request(b"x", content_type=f"multipart/form-data; boundary={'x' * 5000}"))[0] in (400, 415)


def test_names_that_are_not_utf_8() -> None:
    assert refused(Request(form([("ids", b"\xff")])))[0] == 422


def test_fields_are_checked() -> None:
    found = Form({"first": [PictureFile(b""), PictureFile(b"")]}, {"x\x1b": ["1"], "ids": ["1", "2"]})
    with pytest.raises(Rejected, match=r"Expected one picture as files in the field 'first', got 2\."):
        found.pictures("first", 1)
    with pytest.raises(Rejected, match=r"Expected at least one picture as files in the field 'second', got 0\."):
        found.pictures("second")
    with pytest.raises(Rejected, match=r"Expected the field 'ids' at most once, got it 2 times\."):
        found.one("ids")
    with pytest.raises(Rejected, match=r"Expected the fields first, ids, got '.*x.*' with text\. Leave it out\."):
        known_fields(found, ("first",), ("ids",))
    with pytest.raises(Rejected, match=r"got 'first' with a file\."):
        known_fields(found, (), ("first", "ids", "x\x1b"))
    known_fields(found, ("first",), ("ids", "x\x1b"))
