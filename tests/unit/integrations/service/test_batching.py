"""Pictures of concurrent requests go through one model in batches, and each request gets its own."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from http_forms import png
from small_models import small_model
from torch import Tensor

from pairsim import SimilarityModel
from pairsim.errors import ImageReadError
from pairsim.images import Flaw, PictureFile
from pairsim.integrations.service import batching
from pairsim.integrations.service.batching import Batcher, Full
from pairsim.models.inputs import read_pixels

FILES = [PictureFile(png(number), f"{number}.png") for number in range(24)]


class Gated(SimilarityModel):
    """A model whose batches wait until they are let through."""

    def __init__(self) -> None:
        super().__init__(small_model().embedding_net)
        self.eval()
        self.gate, self.sizes, self.fails_from = threading.Event(), list[int](), 1000

    def encode(self, images: Tensor, **_: object) -> Tensor:  # type: ignore[override]
        assert self.gate.wait(60)
        self.sizes.append(len(images))
        if len(images) >= self.fails_from:
            raise RuntimeError("too many")
        return super().encode(images)


@contextmanager
def closing(batcher: Batcher) -> Iterator[Batcher]:
    try:
        yield batcher
    finally:
        if isinstance(batcher.model, Gated):
            batcher.model.gate.set()
        batcher.close()


async def expect_full(batcher: Batcher, files: Sequence[PictureFile]) -> None:
    async with asyncio.timeout(20):  # what is accepted waits for the gate
        with pytest.raises(Full):
            await batcher.embed(files)


async def wait_until(condition: object) -> None:
    for _ in range(3000):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not get that far")


def is_decoded(batcher: Batcher) -> bool:
    return not batcher._to_decode and not batcher._decoding


def together(batcher: Batcher, parts: Sequence[Sequence[PictureFile]]) -> list[Tensor | BaseException]:
    async def run() -> list[Tensor | BaseException]:
        return await asyncio.gather(*(batcher.embed(part) for part in parts), return_exceptions=True)

    return asyncio.run(run())


def test_each_request_gets_the_embeddings_of_its_pictures_in_order() -> None:
    model = small_model()
    expected = model.encode(FILES)
    parts = [range(3), range(3, 4), range(23, 10, -1), range(4, 11)]
    with closing(Batcher(model, batch_size=8)) as batcher:
        found = together(batcher, [[FILES[number] for number in part] for part in parts])
        assert batcher.waiting == 0
    for part, rows in zip(parts, found, strict=True):
        assert isinstance(rows, Tensor)
        torch.testing.assert_close(rows, expected[list(part)], rtol=0, atol=1e-6)


def test_quality_is_measured_for_those_who_ask() -> None:
    files = [PictureFile(png(0), "a.png"), PictureFile(png(1, (1, 1)), "b.png")]
    with closing(Batcher(small_model())) as batcher:

        async def both() -> tuple[Tensor, tuple[Tensor, list[tuple[Flaw, ...]]]]:
            return await asyncio.gather(batcher.embed(files), batcher.embed_measured(files))

        plain, (embeddings, flaws) = asyncio.run(both())
    torch.testing.assert_close(embeddings, plain, rtol=0, atol=1e-6)
    assert [[flaw.kind for flaw in found] for found in flaws] == [[], ["too small", "low contrast"]]


def test_what_waits_is_joined_into_one_batch() -> None:
    model, batches = Gated(), list[int]()

    async def run() -> None:
        with closing(Batcher(model, batch_size=16, on_batch=batches.append)) as batcher:
            tasks = [asyncio.create_task(batcher.embed([file])) for file in FILES]
            await wait_until(lambda: batcher.waiting == 24 and is_decoded(batcher))  # the first hold up the model
            model.gate.set()
            await asyncio.gather(*tasks)

    asyncio.run(run())
    assert sum(model.sizes) == 24
    assert model.sizes == batches
    assert max(model.sizes) <= 16
    assert len(model.sizes) == 1 + math.ceil((24 - model.sizes[0]) / 16)


def test_an_error_is_that_of_its_request_alone() -> None:
    bad = PictureFile(b"no picture", "bad.png")
    parts = [[FILES[0]], [FILES[1], bad], [bad], [FILES[2], FILES[3]]]
    with closing(Batcher(small_model())) as batcher:
        first, second, third, fourth = together(batcher, parts)
        assert isinstance(first, Tensor)
        assert isinstance(fourth, Tensor)
        assert fourth.shape == (2, 8)
        for error in (second, third):
            assert isinstance(error, ImageReadError)
            assert "bad.png" in str(error)
        assert batcher.waiting == 0


def test_a_batch_that_fails_is_run_again_request_by_request() -> None:
    model = Gated()
    model.fails_from = 3

    async def run() -> list[Tensor | BaseException]:
        with closing(Batcher(model, batch_size=16)) as batcher:
            parts = [FILES[:1], FILES[1:3], FILES[3:7], FILES[7:8]]
            tasks = [asyncio.create_task(batcher.embed(part)) for part in parts]
            await wait_until(lambda: batcher.waiting == 8 and is_decoded(batcher))
            model.gate.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(run())
    assert [isinstance(one, Tensor) for one in found] == [True, True, False, True]
    assert isinstance(found[2], RuntimeError)


def test_no_more_waits_than_is_allowed() -> None:
    model = Gated()

    async def run() -> None:
        with closing(Batcher(model, max_waiting=5)) as batcher:
            first = asyncio.create_task(batcher.embed(FILES[:4]))
            await wait_until(lambda: batcher.waiting == 4)
            await expect_full(batcher, FILES[:2])
            second = asyncio.create_task(batcher.embed(FILES[:1]))
            await wait_until(lambda: batcher.waiting == 5)
            await expect_full(batcher, FILES[:1])
            model.gate.set()
            assert (await first).shape == (4, 8)
            assert (await second).shape == (1, 8)
            assert (await batcher.embed(FILES[:5])).shape == (5, 8)

    asyncio.run(run())


def test_closing_finishes_what_was_accepted_and_accepts_no_more() -> None:
    model = Gated()

    async def run() -> None:
        batcher = Batcher(model, batch_size=4)
        tasks = [asyncio.create_task(batcher.embed([file])) for file in FILES]
        await wait_until(lambda: batcher.waiting == 24)
        closed = asyncio.create_task(asyncio.to_thread(batcher.close))
        await wait_until(lambda: batcher._stopping)
        with pytest.raises(Full):
            await batcher.embed(FILES[:1])
        assert not closed.done()
        model.gate.set()
        await closed
        assert all(rows.shape == (1, 8) for rows in await asyncio.gather(*tasks))
        assert not any(thread.is_alive() for thread in batcher._threads)

    asyncio.run(run())


def test_a_client_that_has_gone_changes_nothing_for_others() -> None:
    model = Gated()

    async def run() -> None:
        with closing(Batcher(model)) as batcher:
            gone, stays = (asyncio.create_task(batcher.embed(FILES[:2])) for _ in range(2))
            await wait_until(lambda: batcher.waiting == 4)
            gone.cancel()
            model.gate.set()
            assert (await stays).shape == (2, 8)
            await wait_until(lambda: batcher.waiting == 0)

    asyncio.run(run())


def slowly_read(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str | None], threading.Event]:
    """Let one thread decode, and only when the event is set; the names of what it decodes are noted."""
    read, names, gate = read_pixels, list[str | None](), threading.Event()

    def noted(picture: PictureFile, *rest: Any) -> Tensor:
        names.append(picture.name)
        assert gate.wait(60)
        return read(picture, *rest)

    monkeypatch.setattr(batching, "_MAX_THREADS", 1)
    monkeypatch.setattr(batching, "read_pixels", noted)
    return names, gate


def test_a_request_with_many_pictures_does_not_hold_up_others(monkeypatch: pytest.MonkeyPatch) -> None:
    names, gate = slowly_read(monkeypatch)

    async def run() -> None:
        with closing(Batcher(small_model())) as batcher:
            tasks = [asyncio.create_task(batcher.embed(part)) for part in (FILES[:4], FILES[4:6], FILES[6:7])]
            await wait_until(lambda: batcher.waiting == 7)
            await wait_until(lambda: names)
            gate.set()
            expected = small_model().encode(FILES[:7])
            torch.testing.assert_close(torch.cat(await asyncio.gather(*tasks)), expected, rtol=0, atol=1e-6)

    asyncio.run(run())
    assert [str(name).split(".")[0] for name in names] == ["0", *"4615", "2", "3"]


def test_what_nobody_waits_for_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    names, gate = slowly_read(monkeypatch)
    batches: list[int] = []

    async def run(batcher: Batcher) -> None:
        gone = asyncio.create_task(batcher.embed(FILES[:20]))
        await wait_until(lambda: names)
        gone.cancel()
        await asyncio.sleep(0)

    batcher = Batcher(small_model(), on_batch=batches.append)
    asyncio.run(run(batcher))  # its loop is closed when the threads go on
    gate.set()
    batcher.close()
    assert (names, batches, batcher.waiting) == (["0.png"], [], 0)
    assert not any(thread.is_alive() for thread in batcher._threads)
