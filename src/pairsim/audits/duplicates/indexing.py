"""Read pictures for the index: many in processes, as Python runs one thread at a time; few in threads."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch.utils.data import DataLoader, Dataset

from pairsim._common.choices import OnError
from pairsim._common.ordered_map import ordered_map
from pairsim._common.progress import progress_bar
from pairsim.audits.duplicates.animations import digest_of_all, num_frames
from pairsim.audits.duplicates.listed_pictures import MAX_THREADS, Listed, pixels_of
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint, fingerprint
from pairsim.audits.duplicates.matching.registered_search import DESCRIBED_AT_ONCE, described, separated
from pairsim.audits.duplicates.picture_index import Row, packed
from pairsim.data.loading.workers import POLL_S, Watch, read_by_workers, why_no_workers
from pairsim.encoding.pictures import Skipped
from pairsim.errors import ImageReadError

Block: TypeAlias = list[Row | ImageReadError]

_MIN_FOR_PROCESSES = 512
"""Fewer pictures are read in threads."""
_MAX_PROCESSES = 16
_ADVICE = "Close other programs, and run the same search again: with an index it continues where it stopped."


def read_rows(
    pictures: Sequence[Listed], on_error: OnError, progress: bool | None
) -> Generator[tuple[Listed, Row | Skipped]]:
    """Read pictures, and yield what the index holds of each, or why it cannot be read.

    Args:
        pictures: In the order of the results.
        on_error: "raise" raises at the first picture that cannot be read.
        progress: Whether to show a progress bar.
    """
    blocks = [pictures[k : k + DESCRIBED_AT_ONCE] for k in range(0, len(pictures), DESCRIBED_AT_ONCE)]
    cores = _num_cores()
    many = len(pictures) >= _MIN_FOR_PROCESSES and cores > 1 and all(one.path is not None for one in pictures)
    data = _Blocks(blocks)
    if many and _can_start_processes(data):
        results = _in_processes(data, min(_MAX_PROCESSES, cores))
    else:
        threads = min(MAX_THREADS, cores)
        results = ordered_map(_read, blocks, threads=threads, ahead=threads, name="pairsim-read")
    with closing(results), progress_bar(len(pictures), "reading pictures", "pictures", progress) as bar:
        for block, found in zip(blocks, results, strict=True):
            for one, row in zip(block, found, strict=True):
                bar.update()
                if not isinstance(row, ImageReadError):
                    yield one, row
                elif on_error == "raise":
                    raise row
                else:
                    yield one, Skipped(one.index, one.name, str(row))


@dataclass(eq=False)
class _Blocks(Dataset[tuple[Block, list[str]]]):
    """What is read of each block of pictures, and the warnings meanwhile, which a process cannot give to its caller."""

    blocks: Sequence[Sequence[Listed]]
    watch: Watch | None = None

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, number: int) -> tuple[Block, list[str]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            return _read(self.blocks[number], self.watch, number * DESCRIBED_AT_ONCE), [str(w.message) for w in caught]

    @property
    def paths(self) -> list[str]:
        """Names of all pictures, for messages."""
        return [one.name for block in self.blocks for one in block]


def _can_start_processes(data: _Blocks) -> bool:
    try:
        multiprocessing.Lock()
    except OSError:  # there is no shared memory
        return False
    return why_no_workers(data) is None


def _in_processes(data: _Blocks, num_processes: int) -> Generator[Block]:
    data.watch = Watch(num_processes, data)
    loader: DataLoader[tuple[Block, list[str]]] = DataLoader(
        data,
        batch_size=None,
        collate_fn=_unchanged,
        num_workers=num_processes,
        timeout=POLL_S,
        generator=torch.Generator().manual_seed(0),  # not the caller's; nothing here is random
    )
    warned = False
    for found, texts in read_by_workers(loader, data.watch, advice=_ADVICE):
        if texts and not warned:  # the reader has one kind of warning, and gives only the first
            warnings.warn(texts[0], UserWarning, stacklevel=2)
            warned = True
        yield found


def _unchanged(item: Any) -> Any:
    return item


def _num_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(pictures: Sequence[Listed], watch: Watch | None = None, first: int = 0) -> Block:
    """Read a block of pictures.

    Args:
        pictures: Some.
        watch: Where a process notes what it reads.
        first: Number of the first of them.
    """
    found: list[Fingerprint | ImageReadError] = []
    for number, one in enumerate(pictures, start=first):
        if watch is not None:
            watch.begin(number)
        try:
            found.append(_of_file(one))
        except ImageReadError as error:
            found.append(error)
    if watch is not None:
        watch.end()
    prints = [one for one in found if isinstance(one, Fingerprint)]
    rows: Iterator[Row] = iter(())
    if prints:
        rows = map(packed, prints, separated(described(prints)))
    return [next(rows) if isinstance(one, Fingerprint) else one for one in found]


def _of_file(one: Listed) -> Fingerprint:
    """Reduce a picture, and take into account what its file has besides."""
    first, count = fingerprint(pixels_of(one, white=None)), num_frames(one.picture)
    return replace(first, digest=digest_of_all(one.picture, first.digest), frames=count) if count > 1 else first
