"""Join the pictures of concurrent requests into batches for one model.

    event loop                threads that decode            thread of the model
    submit(pictures)  ---->   a picture of each in turn ---> all that are ready, in one forward
        ^                                                        |
        +---------------- one call for all of the batch ---------+

A request is answered when all of its pictures are embedded. Its error, such as a damaged picture, is its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pairsim.images import Flaw, PictureFile
from pairsim.images.quality import read_measured
from pairsim.models import SimilarityModel
from pairsim.models.inference.inference_nets import default_batch_size
from pairsim.models.inputs import QUICK_S, read_pixels

MAX_WAITING = 1024
"""Pictures that are accepted and not yet embedded; more are not accepted."""
_MAX_THREADS = 4


class Full(Exception):
    """Too much waits already, or the service is stopping; the same request may be accepted later."""


class Job:
    """The pictures of one request on their way through the threads.

    Attributes:
        pictures: What is decoded.
        pixels: What was decoded, in the same order.
        flaws: What is poor about each picture, in the same order; `None` if this is not looked at.
        begun: Pictures that a thread has taken to decode.
        missing: Pictures that are not decoded yet.
        answer: Gets the embeddings `[n, D]` on the CPU, or an exception.
    """

    __slots__ = ("answer", "begun", "error", "flaws", "missing", "pictures", "pixels", "result")

    def __init__(self, pictures: Sequence[PictureFile], answer: asyncio.Future[Tensor], *, measured: bool) -> None:
        self.pictures: Sequence[PictureFile] = pictures
        self.pixels: list[Tensor | None] = [None] * len(pictures)
        self.flaws: list[tuple[Flaw, ...]] | None = [()] * len(pictures) if measured else None
        self.begun: int = 0
        self.missing: int = len(pictures)
        self.answer: asyncio.Future[Tensor] = answer
        self.error: Exception | None = None
        self.result: Tensor | None = None


class Batcher:
    """Embeds the pictures of many requests with one model, which one thread owns.

    Args:
        model: In eval mode, on its device. Nothing else may use it meanwhile.
        batch_size: Pictures in a batch at most, unless one request has more; by default what suits the device.
        max_waiting: Pictures that are accepted and not yet embedded.
        on_batch: Called in the model's thread with the number of pictures of each batch.
    """

    def __init__(
        self,
        model: SimilarityModel,
        *,
        batch_size: int | None = None,
        max_waiting: int = MAX_WAITING,
        on_batch: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.model = model
        self.waiting: int = 0
        self._batch_size = batch_size or default_batch_size(model.device, model.preprocessing.image_size)
        self._max_waiting, self._on_batch = max_waiting, on_batch
        self._lock = threading.Lock()
        self._to_decode, self._some_to_decode = deque[Job](), threading.Condition(self._lock)
        self._ready, self._some_ready = deque[Job](), threading.Condition(self._lock)
        self._stopping, self._decoding = False, 0
        count = min(_MAX_THREADS, os.cpu_count() or 1)
        self._threads = [threading.Thread(target=self._decode, name=f"pairsim-decode-{n}") for n in range(count)]
        self._threads.append(threading.Thread(target=self._embed, name="pairsim-model"))
        for thread in self._threads:
            thread.daemon = True  # a second signal does not wait for them
            thread.start()

    async def embed(self, pictures: Sequence[PictureFile]) -> Tensor:
        """Compute embeddings, together with those of other requests: the first result of `embed_measured`."""
        return (await self._embedded(pictures, measured=False))[0]

    async def embed_measured(self, pictures: Sequence[PictureFile]) -> tuple[Tensor, list[tuple[Flaw, ...]]]:
        """Compute embeddings, together with those of other requests, and measure the quality of the pictures.

        Args:
            pictures: At least one.

        Returns:
            `[n, D]` on the CPU, float32; and for each picture what is poor about it.

        Raises:
            Full: If too many pictures wait. Nothing was done then.
            ImageReadError: If a picture cannot be read; the message names it.
        """
        return await self._embedded(pictures, measured=True)

    async def _embedded(
        self, pictures: Sequence[PictureFile], *, measured: bool
    ) -> tuple[Tensor, list[tuple[Flaw, ...]]]:
        loop = asyncio.get_running_loop()
        job = Job(pictures, loop.create_future(), measured=measured)
        with self._lock:
            if self._stopping or self.waiting + len(pictures) > self._max_waiting:
                raise Full
            self.waiting += len(pictures)
            self._to_decode.append(job)
            self._some_to_decode.notify()
        return await job.answer, job.flaws or []

    def close(self) -> None:
        """Finish what was accepted and is still waited for, and end the threads."""
        with self._lock:
            self._stopping = True
            self._some_to_decode.notify_all()
            self._some_ready.notify_all()
        for thread in self._threads:
            thread.join()

    def _decode(self) -> None:
        slow = False
        while True:
            with self._lock:
                while not self._to_decode and not self._stopping:
                    self._some_to_decode.wait()
                if not self._to_decode:
                    return
                job = self._to_decode.popleft()
                index, job.begun = job.begun, job.begun + 1
                if job.begun < len(job.pictures):
                    self._to_decode.append(job)  # in turn, so that one with many pictures does not hold up others
                self._decoding += 1
                if slow and self._to_decode:  # quick ones are mostly Python's own work, which threads do not share
                    self._some_to_decode.notify()
            began = time.thread_time()
            try:
                if job.answer.cancelled():  # nobody waits for it any more
                    pass
                elif job.error is None and job.flaws is None:
                    job.pixels[index] = read_pixels(job.pictures[index], self.model.preprocessing)
                elif job.error is None and job.flaws is not None:
                    job.pixels[index], quality = read_measured(job.pictures[index], self.model.preprocessing)
                    job.flaws[index] = quality.flaws()
            except Exception as error:
                job.error = error
            slow = time.thread_time() - began > QUICK_S
            with self._lock:
                self._decoding -= 1
                job.missing -= 1
                if not job.missing:
                    self._ready.append(job)
                    self._some_ready.notify()

    def _embed(self) -> None:
        while True:
            jobs, count = list[Job](), 0
            with self._lock:
                while not self._ready and not (self._stopping and not self._to_decode and not self._decoding):
                    self._some_ready.wait()
                while self._ready and (not jobs or count + len(self._ready[0].pictures) <= self._batch_size):
                    jobs.append(self._ready.popleft())
                    count += len(jobs[-1].pictures)
            if not jobs:
                return
            readable = [job for job in jobs if job.error is None and all(one is not None for one in job.pixels)]
            if readable:
                self._run(readable)
                self._on_batch(sum(len(job.pictures) for job in readable))
            with self._lock:
                self.waiting -= count
            for loop in {job.answer.get_loop() for job in jobs}:
                with contextlib.suppress(RuntimeError):  # a loop that is closed has cancelled its jobs
                    loop.call_soon_threadsafe(_give, [job for job in jobs if job.answer.get_loop() is loop])

    def _run(self, jobs: list[Job]) -> None:
        """Embed the pictures of jobs in one batch; if that fails, those of each job alone."""
        if not jobs:
            return
        pixels = [one for job in jobs for one in job.pixels if one is not None]
        try:
            embeddings = self.model.encode(torch.stack(pixels), batch_size=self._batch_size, progress=False).cpu()
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].error = error
                return
            for job in jobs:
                self._run([job])
            return
        for job, rows in zip(jobs, embeddings.split([len(job.pictures) for job in jobs]), strict=True):
            job.result = rows


def _give(jobs: Sequence[Job]) -> None:
    """Answer jobs, in their event loop; one whose client has gone is dropped."""
    for job in jobs:
        if job.answer.cancelled():
            continue
        if job.error is not None:
            job.answer.set_exception(job.error)
        elif job.result is not None:
            job.answer.set_result(job.result)
