"""Embed a folder of pictures, or any pictures, in threads."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Generator, Iterable, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from pairsim._common.choices import OnError, PrecisionName
from pairsim._common.ordered_map import ordered_map
from pairsim._common.precision import inference_dtype
from pairsim._common.progress import progress_bar
from pairsim.data.random import Int64Array
from pairsim.errors import DataError, ImageReadError
from pairsim.images import PictureLike, pictures_below
from pairsim.models import SimilarityModel
from pairsim.models.inference.inference_nets import default_batch_size
from pairsim.models.inputs import QUICK_S, Images, as_pictures, read_pixels

_MAX_TASK, _MIN_TASK, _TASKS_PER_WORKER = 256, 4, 4
"""Pictures in a task: enough for the net to run at full speed, and few enough for the last tasks to end together."""

_MAX_WORKERS, _MAX_READERS = 8, 4
_MAX_NAMED = 10


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be read.

    Attributes:
        index: Its index among the pictures that were given.
        name: Its path, or `None` if it was given as pixels.
        reason: The error, in a sentence that names the file.
    """

    index: int
    name: str | None
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedPictures:
    """Embeddings of pictures, and the pictures that could not be read.

    Attributes:
        embeddings: Unit-length `[n, D]`, float32, on the model's device, in the order of the pictures.
        names: Path of each picture that was embedded, or `None` for pixels.
        indices: Index of each of them among the pictures that were given, int64 `[n]`, ascending.
        skipped: Those that could not be read.
        seconds: From the first picture to the last embedding.
        decoding: Share in [0, 1] of the threads' working time that was spent on reading and decoding; the rest is the
            net's. Both are summed over all threads, without waiting. At 0.9 a faster net would hardly help. 0 if
            nothing was decoded.
    """

    embeddings: Tensor
    names: tuple[str | None, ...]
    indices: Int64Array
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
    """Embed a folder of pictures, or any pictures, and report what could not be read and where the time went.

    If the first pictures take long to read, threads read some pictures and then run the net on them, each with its
    share of PyTorch's threads: as many as PyTorch uses on the CPU, up to 8; with a GPU up to 4 read, and one at a time
    runs the net. Reading small pictures is mostly Python's own work, which threads do not share: they are read one
    batch after the other, and the net uses all of PyTorch's threads.

    Args:
        model: The model, on its device.
        pictures: A folder, with all of its sub-folders (see `pairsim.images.pictures_below`); or whatever
            `SimilarityModel.encode` takes: one or several paths, PIL images, arrays or tensors, or a generator.
        on_error: What happens to a picture that cannot be read: `"raise"`, or `"skip"`, which leaves it out and lists
            it in `skipped`. No other picture replaces it.
        batch_size: Images embedded at once; by default at most 256, fewer if they are large.
        precision: As for `SimilarityModel.encode`.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        Embeddings, names and indices of those that were read, and the others; no pictures give `[0, D]`.

    Raises:
        DataError: If no picture can be read, or a folder has none.
        ImageReadError: If a picture cannot be read and `on_error` is `"raise"`; the message names the first.
        TypeError: If `pictures` is a dataset, or one is no picture.
        ValueError: If there is no such `on_error` or precision, `batch_size` is below 1, or pixels are not as
            `SimilarityModel.encode` takes them.

    Example:
        >>> import torch
        >>> encoded = encode_pictures(SimilarityModel(), torch.zeros(3, 1, 28, 28, dtype=torch.uint8))
        >>> encoded.embeddings.shape, encoded.names, encoded.indices.tolist(), encoded.skipped
        (torch.Size([3, 128]), (None, None, None), [0, 1, 2], ())
    """
    if on_error not in get_args(OnError):
        raise ValueError(f"Expected on_error to be one of {', '.join(get_args(OnError))}, got {on_error!r}.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"Expected batch_size to be at least 1, got {batch_size}.")
    inference_dtype(precision, model.device)  # raises before anything is read
    started = time.perf_counter()
    parts: list[_Part] = []
    if isinstance(pictures, Tensor) and pictures.ndim == 4:  # nothing to decode: the net uses the whole processor
        embeddings = model.encode(pictures, batch_size=batch_size, precision=precision, progress=progress)
        parts.append(_Part(embeddings, [None] * len(pictures), list(range(len(pictures))), []))
    else:
        if isinstance(pictures, str | os.PathLike) and os.path.isdir(pictures):
            pictures = list(pictures_below(pictures))
        given = as_pictures(pictures)
        encoder = _Encoder(model, on_error, batch_size, precision)
        total = len(given) if isinstance(given, Sized) else None
        with (
            progress_bar(total, "encoding", "pictures", progress) as bar,
            contextlib.closing(encoder.parts(given)) as results,
        ):
            for part in results:
                parts.append(part)
                bar.update(len(part.indices) + len(part.skipped))
    return _joined(parts, model, time.perf_counter() - started)


@dataclass
class _Part:
    """The result of one task."""

    embeddings: Tensor | None
    names: list[str | None]
    indices: list[int]
    skipped: list[Skipped]
    reading_s: float = 0.0
    net_s: float = 0.0


class _Encoder:
    """Runs tasks: some pictures are read and then embedded in the same thread."""

    def __init__(
        self, model: SimilarityModel, on_error: OnError, batch_size: int | None, precision: PrecisionName
    ) -> None:
        self.model = model
        self.on_error = on_error
        fitting = min(default_batch_size(model.device, model.preprocessing.image_size), _MAX_TASK)
        self.batch_size = batch_size or fitting
        self.min_task = batch_size or _MIN_TASK
        self.precision: PrecisionName = precision
        self.on_cpu = model.device.type == "cpu"
        # a GPU runs one batch after the other anyway, and two at once would need twice the memory
        self.net_lock: contextlib.AbstractContextManager[object] = (
            contextlib.nullcontext() if self.on_cpu else threading.Lock()
        )

    def parts(self, pictures: Iterable[PictureLike]) -> Generator[_Part]:
        """Yield the results of all tasks in order, while threads work on later tasks."""
        torch_threads = torch.get_num_threads()
        workers = min(torch_threads, _MAX_WORKERS) if self.on_cpu else min(os.cpu_count() or 1, _MAX_READERS)
        count = len(pictures) if isinstance(pictures, Sized) else sys.maxsize
        # a few large pictures are shared out too
        size = max(min(_MAX_TASK, -(-count // (workers * _TASKS_PER_WORKER))), self.min_task)
        workers = min(workers, -(-count // size))
        source = enumerate(pictures)
        tasks = iter(lambda: list(islice(source, size)), [])
        # outside of the threads, which would otherwise change the model's mode under each other
        with self.model.evaluating():
            first = next(tasks, [])
            if not first:
                return
            part = self.encode(first)
            yield part
            threads = 0 if workers < 2 or part.reading_s < QUICK_S * len(first) else workers
            share = partial(torch.set_num_threads, max(torch_threads // max(threads, 1), 1))
            rest = ordered_map(
                self.encode, tasks, threads=threads, ahead=2 * threads, name="pairsim-encode", initializer=share
            )
            try:
                yield from rest
            finally:
                rest.close()
                torch.set_num_threads(torch_threads)  # threads that start later would take over the pool's number

    def encode(self, task: list[tuple[int, PictureLike]]) -> _Part:
        """Read and embed some pictures."""
        started = time.perf_counter()
        pixels: list[Tensor] = []
        part = _Part(None, [], [], [])
        for index, picture in task:
            name = os.fspath(picture) if isinstance(picture, str | os.PathLike) else None
            try:
                pixels.append(read_pixels(picture, self.model.preprocessing))
            except ImageReadError as error:
                if self.on_error == "raise":
                    raise
                part.skipped.append(Skipped(index, name, str(error)))
            else:
                part.names.append(name)
                part.indices.append(index)
        batches = torch.stack(pixels).split(self.batch_size) if pixels else ()
        part.reading_s = time.perf_counter() - started
        if batches:
            with self.net_lock:
                started = time.perf_counter()
                encoded = self.model.encode_batches(batches, len(pixels), precision=self.precision, progress=False)
                encoded[-1, 0].item()  # waits for the device, so that its time does not count as reading
                part.embeddings, part.net_s = encoded, time.perf_counter() - started
        return part


def _joined(parts: list[_Part], model: SimilarityModel, seconds: float) -> EncodedPictures:
    skipped = tuple(one for part in parts for one in part.skipped)
    embeddings = [part.embeddings for part in parts if part.embeddings is not None]
    if skipped and not embeddings:
        raise DataError(
            f"Expected pictures to embed, but none of {len(skipped):,} can be read: {_named(skipped)}. "
            f"The first: {skipped[0].reason}"
        )
    reading_s = sum(part.reading_s for part in parts)
    working_s = reading_s + sum(part.net_s for part in parts)
    return EncodedPictures(
        embeddings=torch.cat(embeddings) if embeddings else model.encode([]),
        names=tuple(name for part in parts for name in part.names),
        indices=np.array([index for part in parts for index in part.indices], dtype=np.int64),
        skipped=skipped,
        seconds=seconds,
        decoding=reading_s / working_s if working_s > 0 else 0.0,
    )


def _named(skipped: Sequence[Skipped]) -> str:
    names = [one.name or f"picture {one.index}" for one in skipped[:_MAX_NAMED]]
    more = f" and {len(skipped) - _MAX_NAMED:,} more" if len(skipped) > _MAX_NAMED else ""
    return ", ".join(names) + more
