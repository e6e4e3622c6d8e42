"""Embed a folder of pictures, or any pictures, in threads."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pairsim._common.choices import OnError, PrecisionName
from pairsim._common.precision import inference_dtype
from pairsim.data.random import Int64Array
from pairsim.errors import DataError, ImageReadError
from pairsim.images import PictureLike, pictures_below
from pairsim.models import SimilarityModel
from pairsim.models.inference.inference_nets import default_batch_size
from pairsim.models.inputs import QUICK_S, Images, as_pictures, read_pixels

_PICTURES_A_TASK = 256
"""At most: enough for the net to run at full speed, and few enough for the last tasks to end together."""
_FEWEST_A_TASK, _TASKS_A_WORKER = 4, 4

_MOST_WORKERS, _MOST_READERS = 8, 4
_MOST_NAMED = 10
_LONG_S = 2.0


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be read.

    Attributes:
        place: Which of those given, from 0.
        name: Its path, or `None` if it was given as pixels.
        reason: What is wrong with it, in a sentence that names the file.
    """

    place: int
    name: str | None
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedPictures:
    """Embeddings of pictures, and what became of each.

    Attributes:
        embeddings: Unit-length `[n, D]`, float32, on the model's device, in the order of the pictures.
        names: Path of each picture that was embedded, or `None` for pixels.
        places: Which of those given each is, int64 `[n]`, rising.
        skipped: Those that could not be read.
        seconds: From the first picture to the last embedding.
        decoding: Share in [0, 1] of the threads' working time that went into reading and decoding; the rest is the
            net's. Both are summed over all threads, and waiting counts for neither. At 0.9 a faster net would hardly
            help. 0 if nothing was decoded.
    """

    embeddings: Tensor
    names: tuple[str | None, ...]
    places: Int64Array
    skipped: tuple[Skipped, ...]
    seconds: float
    decoding: float

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        rate = (len(self) + len(self.skipped)) / max(self.seconds, 1e-9)
        lines = [
            f"{len(self):,} pictures embedded in {self.seconds:.3g} s, {rate:,.0f} a second",
            f"{self.decoding:.0%} of the threads' time went into reading pictures, the rest into the net",
        ]
        if self.skipped:
            given = len(self) + len(self.skipped)
            lines.append(f"{len(self.skipped):,} of {given:,} skipped as unreadable: {_named(self.skipped)}")
        return "\n".join(lines)


def encode_pictures(
    model: SimilarityModel,
    pictures: Images,
    *,
    on_error: OnError = "raise",
    batch_size: int | None = None,
    precision: PrecisionName = "fp32",
    progress: bool | None = None,
) -> EncodedPictures:
    """Embed a folder of pictures, or any pictures, and say what could not be read and where the time went.

    Where the first pictures take long to read, threads read some pictures and then run the net on them, each with its
    share of PyTorch's threads: as many as PyTorch uses on the CPU, up to 8; with a GPU up to 4 read, and one at a time
    runs the net. Small pictures, whose reading is mostly Python's own work, which threads do not share, are read one
    batch after the other, and the net takes all of PyTorch's threads.

    Args:
        model: The model, on its device.
        pictures: A folder, with all of its sub-folders (see `pairsim.images.pictures_below`); or whatever
            `SimilarityModel.encode` takes: one or several paths, PIL images, arrays or tensors, or a generator.
        on_error: What happens to a picture that cannot be read: `"raise"`, or `"skip"`, which leaves it out and tells
            so. Nothing ever takes its place.
        batch_size: Images embedded at once; by default at most 256, fewer where they are large.
        precision: As for `SimilarityModel.encode`.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        Embeddings, names and places of those that were read, and the others; no pictures give `[0, D]`.

    Raises:
        DataError: If no picture can be read, or a folder has none.
        ImageReadError: If a picture cannot be read and `on_error` is `"raise"`; the message names the first.
        TypeError: If `pictures` is a dataset, or one is no picture.
        ValueError: If there is no such `on_error` or precision, `batch_size` is below 1, or pixels are not as
            `SimilarityModel.encode` takes them.

    Example:
        >>> import torch
        >>> found = encode_pictures(SimilarityModel(), torch.zeros(3, 1, 28, 28, dtype=torch.uint8))
        >>> found.embeddings.shape, found.names, found.places.tolist(), found.skipped
        (torch.Size([3, 128]), (None, None, None), [0, 1, 2], ())
    """
    if on_error not in get_args(OnError):
        raise ValueError(f"Expected on_error to be one of {', '.join(get_args(OnError))}, got {on_error!r}.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"Expected batch_size to be at least 1, got {batch_size}.")
    inference_dtype(precision, model.device)  # a precision that there is not is told before anything is read
    started = time.perf_counter()
    if isinstance(pictures, Tensor) and pictures.ndim == 4:  # nothing to decode: the net takes all of the processor
        embeddings = model.encode(pictures, batch_size=batch_size, precision=precision, progress=progress)
        names: tuple[str | None, ...] = (None,) * len(pictures)
        seconds = time.perf_counter() - started
        return EncodedPictures(
            embeddings=embeddings,
            names=names,
            places=np.arange(len(names)),
            skipped=(),
            seconds=seconds,
            decoding=0.0,
        )
    if isinstance(pictures, str | os.PathLike) and os.path.isdir(pictures):
        pictures = list(pictures_below(pictures))
    given = as_pictures(pictures)
    most = batch_size or min(default_batch_size(model.device, model.preprocessing.image_size), _PICTURES_A_TASK)
    encoder = _Encoder(model, on_error, most, precision, keep_whole=batch_size is not None)
    parts: list[_Part] = []
    with (
        tqdm(
            total=len(given) if isinstance(given, Sized) else None,
            desc="encoding",
            unit=" pictures",
            file=sys.stderr,
            disable=None if progress is None else not progress,
            delay=_LONG_S if progress is None else 0.0,
            leave=False,
        ) as bar,
        contextlib.closing(encoder.parts(given)) as found,
    ):
        for part in found:
            parts.append(part)
            bar.update(len(part.places) + len(part.skipped))
    return _joined(parts, model, time.perf_counter() - started)


@dataclass(frozen=True)
class _Part:
    """What became of one task."""

    embeddings: Tensor | None
    names: list[str | None]
    places: list[int]
    skipped: list[Skipped]
    reading_s: float
    net_s: float


class _Encoder:
    """Runs tasks: some pictures are read, then embedded in the same thread."""

    def __init__(
        self, model: SimilarityModel, on_error: OnError, batch_size: int, precision: PrecisionName, *, keep_whole: bool
    ) -> None:
        self.model = model
        self.on_error = on_error
        self.batch_size = batch_size
        self.precision: PrecisionName = precision
        self.fewest = batch_size if keep_whole else _FEWEST_A_TASK
        self.on_cpu = model.device.type == "cpu"
        # a GPU does one batch after the other anyway, and two at once would need twice the memory
        self.turn: contextlib.AbstractContextManager[object] = (
            contextlib.nullcontext() if self.on_cpu else threading.Lock()
        )

    def parts(self, pictures: Iterable[PictureLike]) -> Generator[_Part]:
        """The results of all tasks, in order, some of which are being worked on ahead of the one asked for."""
        torch_threads = torch.get_num_threads()
        workers = min(torch_threads, _MOST_WORKERS) if self.on_cpu else min(os.cpu_count() or 1, _MOST_READERS)
        size = _PICTURES_A_TASK
        if isinstance(pictures, Sized):  # a few large ones are shared out too
            size = min(size, -(-len(pictures) // (workers * _TASKS_A_WORKER)))
        size = max(size, self.fewest)
        if isinstance(pictures, Sized):
            workers = min(workers, -(-len(pictures) // size))
        source = enumerate(pictures)
        tasks = iter(lambda: list(islice(source, size)), [])
        # outside of the threads, which would otherwise put the model back in its mode under each other's feet
        with self.model.evaluating():
            first = next(tasks, [])
            if not first:
                return
            part = self.encode(first)
            yield part
            if workers < 2 or part.reading_s / len(first) < QUICK_S:
                yield from map(self.encode, tasks)
                return
            share = max(torch_threads // workers, 1)
            pool = ThreadPoolExecutor(workers, "pairsim-encode", initializer=torch.set_num_threads, initargs=(share,))
            waiting: deque[Future[_Part]] = deque()
            try:
                for task in tasks:
                    waiting.append(pool.submit(self.encode, task))
                    if len(waiting) > 2 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)
                torch.set_num_threads(torch_threads)  # the pool's threads set it for those that start after them too

    def encode(self, task: list[tuple[int, PictureLike]]) -> _Part:
        """Read and embed some pictures."""
        started = time.perf_counter()
        pixels: list[Tensor] = []
        names: list[str | None] = []
        places: list[int] = []
        skipped: list[Skipped] = []
        for place, picture in task:
            name = os.fspath(picture) if isinstance(picture, str | os.PathLike) else None
            try:
                pixels.append(read_pixels(picture, self.model.preprocessing))
            except ImageReadError as error:
                if self.on_error == "raise":
                    raise
                skipped.append(Skipped(place, name, str(error)))
                continue
            names.append(name)
            places.append(place)
        batches = torch.stack(pixels).split(self.batch_size) if pixels else ()
        reading_s = time.perf_counter() - started
        embeddings, net_s = None, 0.0
        if batches:
            with self.turn:
                started = time.perf_counter()
                embeddings = self.model.encode_batches(batches, len(pixels), precision=self.precision, progress=False)
                embeddings[-1, 0].item()  # waits for the device, whose time would else count for whatever comes next
                net_s = time.perf_counter() - started
        return _Part(embeddings, names, places, skipped, reading_s, net_s)


def _joined(parts: list[_Part], model: SimilarityModel, seconds: float) -> EncodedPictures:
    skipped = tuple(one for part in parts for one in part.skipped)
    found = [part.embeddings for part in parts if part.embeddings is not None]
    if skipped and not found:
        raise DataError(
            f"Expected pictures to embed, but none of {len(skipped):,} can be read: {_named(skipped)}. "
            f"The first: {skipped[0].reason}"
        )
    reading_s = sum(part.reading_s for part in parts)
    working_s = reading_s + sum(part.net_s for part in parts)
    return EncodedPictures(
        embeddings=torch.cat(found) if found else model.encode([]),
        names=tuple(name for part in parts for name in part.names),
        places=np.array([place for part in parts for place in part.places], dtype=np.int64),
        skipped=skipped,
        seconds=seconds,
        decoding=reading_s / working_s if working_s > 0 else 0.0,
    )


def _named(skipped: Sequence[Skipped]) -> str:
    names = [one.name or f"picture {one.place}" for one in skipped[:_MOST_NAMED]]
    more = f" and {len(skipped) - _MOST_NAMED:,} more" if len(skipped) > _MOST_NAMED else ""
    return ", ".join(names) + more
