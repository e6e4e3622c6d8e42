"""`find_duplicates`: which pictures are there more than once, as they are or nearly, and which of each could go."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from pairsim._common.choices import OnError
from pairsim.audits.duplicate_report import Duplicate, DuplicateCluster, DuplicateReport
from pairsim.audits.pixel_matching import (
    coarse_matches,
    comparison_thumbnail,
    mixed_correlations,
    mixed_descriptors,
    pixel_digests,
)
from pairsim.encoding.pictures import Skipped
from pairsim.errors import DataError, ImageReadError
from pairsim.images import PictureLike, Preprocessing, read_image
from pairsim.images.folders import pictures_below
from pairsim.models import SimilarityModel

Float64Array: TypeAlias = npt.NDArray[np.float64]
Int64Array: TypeAlias = npt.NDArray[np.int64]

NEAR_DUPLICATE_SIMILARITY = 0.99
"""Correlation of pixels from which two pictures count as near-duplicates."""

_COARSE_SLACK, _ROUNDING = 0.01, 1e-5
_COMPARED_AT_ONCE = 128  # of these, all others are looked through at once
_DESCRIBED_AT_ONCE = 512
_READ_AT_ONCE = 128
_MOST_THREADS = 4


def find_duplicates(
    pictures: str | os.PathLike[str] | Sequence[PictureLike],
    *,
    model: SimilarityModel | None = None,
    threshold: float | None = None,
    on_error: OnError = "raise",
    progress: bool | None = None,
) -> DuplicateReport:
    """Find pictures that are there more than once, exactly or nearly. Nothing is deleted.

    Identical pictures have the same pixels once decoded, whatever their files are. Near-duplicates without a model are
    told by their pixels, as for `find_leaks`: their correlation at up to 32 x 32, in the best of nine positions moved
    by up to a pixel of those, reaches `threshold`. That finds copies that are brighter, darker, noisier, recompressed
    or resized. It does not find pictures that were turned, mirrored, cropped, or moved further, nor one colour, nor
    near-duplicates of pictures less than 8 pixels wide or high (12 if their sizes differ). It does find different
    pictures that look the same at that size, such as neighbouring frames of a film, so look before anything goes.

    With a model, near-duplicates are pictures whose embeddings have a cosine of at least `threshold`. The model's own
    threshold would be wrong: it tells classes apart, and all pictures of a class are alike to it. So there is none by
    default; begin at 0.999 and look.

    Clusters are not chained: each has one picture that is kept, and all of its members are like that one. The largest
    picture (by its pixels, then the first by name) takes all that are like it, then the largest of those that are
    left, and so on. Where A is like B, B like C, but A not like C, B is thus a duplicate of A, and C stays.

    Each file is decoded once, whatever number of paths lead to it. Memory holds at most 7 KB of each picture, or its
    embedding.

    Args:
        pictures: A folder, of which all pictures are taken, with those of its sub-folders; or a sequence of pictures
            (see `read_image`). In-memory pictures are named `#0`, `#1`, ... by their place.
        model: Compares pictures; by default their pixels do.
        threshold: Similarity from which pictures are near-duplicates: of pixels in (0, 1], 0.99 by default; of a
            model's embeddings in [-1, 1], to be given.
        on_error: "raise" stops at a picture that cannot be read; "skip" lists it in the report.
        progress: Whether to show progress bars; by default where there is a terminal.

    Returns:
        The report, without clusters if all pictures differ or there are none. The order of the pictures does not
        change it.

    Raises:
        DatasetNotFoundError: If there is no such folder.
        DataError: If the folder has no pictures, or the model gives NaN.
        ImageReadError: If a file cannot be read, unless skipped; the message names it.
        ValueError: If `threshold` is missing or out of range, or `on_error` is another word.

    Example:
        >>> first, second = np.random.default_rng(0).integers(0, 200, (2, 40, 40), dtype=np.uint8)
        >>> print(find_duplicates([first, second, first.copy(), first // 2 + 50]))
        #0 (keep)
          #2  identical pixels
          #3  near, similarity 1.0000
        <BLANKLINE>
        4 pictures compared: 2 duplicates in 1 cluster
    """
    level = _checked_threshold(threshold, model)
    if on_error not in ("raise", "skip"):
        raise ValueError(f"Expected on_error to be 'raise' or 'skip', got {on_error!r}.")
    sources = _sources(pictures)
    skipped: list[Skipped] = []
    scanned = _scan(sources, None if model is None else model.preprocessing, on_error, skipped, progress)
    read: list[_Picture] = []
    if model is None:
        for part in scanned:
            read += part
    else:
        embeddings = model.encode_batches(_inputs(scanned, read), progress=False).cpu()
        if not bool(torch.isfinite(embeddings).all()):
            raise DataError("Expected finite embeddings, the model gives NaN. Its weights are damaged: train it again.")

    ranked = sorted(range(len(read)), key=lambda k: read[k].rank)
    groups: dict[bytes, list[int]] = {}
    for k in ranked:
        groups.setdefault(read[k].digest, []).append(k)
    unique = [group[0] for group in groups.values()]  # still by rank
    comparison: _Comparison = (
        _PixelComparison([read[k] for k in unique], level)
        if model is None
        else _EmbeddingComparison(embeddings[unique], level)
    )
    stars = _stars(len(unique), comparison, progress)
    clusters = [_cluster(read, groups, unique, head, near) for head, near in stars.items()]
    return DuplicateReport(
        num_images=len(read),
        clusters=tuple(sorted((c for c in clusters if c.members), key=lambda cluster: cluster.keep)),
        threshold=level,
        skipped=tuple(sorted(skipped, key=lambda one: str(one.name))),
    )


def _checked_threshold(threshold: float | None, model: SimilarityModel | None) -> float:
    if model is None:
        level = NEAR_DUPLICATE_SIMILARITY if threshold is None else threshold
        if not 0.0 < level <= 1.0:  # also catches NaN
            raise ValueError(f"Expected threshold to be in (0, 1], a correlation of pixels, got {level}. Use 0.99.")
        return float(level)
    if threshold is None:
        raise ValueError(
            "Expected a threshold with a model, as the model's own tells classes apart, not duplicates. "
            "Begin with threshold=0.999 and look at what is found."
        )
    if not -1.0 <= threshold <= 1.0:
        raise ValueError(f"Expected threshold to be a cosine in [-1, 1], got {threshold}. Begin with 0.999.")
    return float(threshold)


@dataclass(frozen=True)
class _Source:
    """A picture and what it is called."""

    picture: PictureLike
    name: str
    path: str | None
    place: int


@dataclass(frozen=True)
class _Picture:
    """What is left of a picture that was read."""

    source: _Source
    size: tuple[int, int]
    digest: bytes
    pixels: Tensor

    @property
    def rank(self) -> tuple[int, str, int]:
        """Smaller stands for more: the largest picture, then the first by name."""
        name = "" if self.source.path is None else self.source.name
        return -self.size[0] * self.size[1], name, self.source.place


def _sources(pictures: str | os.PathLike[str] | Sequence[PictureLike]) -> list[_Source]:
    """The pictures by name; a file that comes twice, by another path or a link, is no duplicate that could go."""
    if isinstance(pictures, str | os.PathLike):
        folder = Path(pictures)
        named: list[tuple[PictureLike, str]] = [
            (path, path.relative_to(folder).as_posix()) for path in pictures_below(folder)
        ]
    else:
        named = [
            (picture, os.fspath(picture) if isinstance(picture, str | os.PathLike) else f"#{place}")
            for place, picture in enumerate(pictures)
        ]
    sources = [
        _Source(picture, name, os.fspath(picture) if isinstance(picture, str | os.PathLike) else None, place)
        for place, (picture, name) in enumerate(named)
    ]
    unique: dict[str | int, _Source] = {}
    for source in sorted(
        sources, key=lambda found: (found.path is not None and os.path.islink(found.path), found.name)
    ):
        unique.setdefault(source.place if source.path is None else os.path.realpath(source.path), source)
    return sorted(unique.values(), key=lambda source: source.place)


def _scan(
    sources: Sequence[_Source],
    preprocessing: Preprocessing | None,
    on_error: OnError,
    skipped: list[Skipped],
    progress: bool | None,
) -> Iterator[list[_Picture]]:
    """Read pictures in threads, some at a time; decoding leaves Python's lock."""

    def look_at(source: _Source) -> _Picture | ImageReadError:
        try:
            image = read_image(source.picture)
        except ImageReadError as error:
            return error
        kept = comparison_thumbnail(image) if preprocessing is None else preprocessing.read(image)
        return _Picture(source, (image.shape[1], image.shape[2]), pixel_digests(image[None])[0], kept)

    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="pairsim-read") as pool,
        _bar(len(sources), "reading pictures", progress) as bar,
    ):
        for start in range(0, len(sources), _READ_AT_ONCE):
            part = sources[start : start + _READ_AT_ONCE]
            read = []
            for source, found in zip(part, pool.map(look_at, part), strict=True):
                if isinstance(found, _Picture):
                    read.append(found)
                elif on_error == "raise":
                    raise found
                else:
                    skipped.append(Skipped(source.place, source.name, str(found)))
            yield read
            bar.update(len(part))


def _inputs(scanned: Iterable[list[_Picture]], read: list[_Picture]) -> Generator[Tensor]:
    """What the model takes, a batch at a time; the pictures without it are left in `read`."""
    nothing = torch.empty(0)
    for part in scanned:
        read += [_Picture(picture.source, picture.size, picture.digest, nothing) for picture in part]
        if part:
            yield torch.stack([picture.pixels for picture in part])


class _Comparison:
    """Compares the pictures that differ, numbered by rank."""

    def candidates(self, queries: Sequence[int], others: Sequence[int]) -> list[Int64Array]:
        """For each query, places among `others` that may be like it."""
        raise NotImplementedError

    def like(self, query: int, others: Sequence[int]) -> Float64Array:
        """Similarity of others to a query; -inf below the threshold."""
        raise NotImplementedError


def _matches(queries: Tensor, gallery: Tensor, level: float) -> list[Int64Array]:
    (query, place), *_ = list(coarse_matches(queries, gallery, level, most=len(gallery)))
    return np.split(place, np.searchsorted(query, np.arange(1, len(queries))))


class _PixelComparison(_Comparison):
    def __init__(self, pictures: Sequence[_Picture], level: float) -> None:
        self._thumbs = [picture.pixels for picture in pictures]
        self._sizes = [picture.size for picture in pictures]
        self._level = level
        parts = [
            mixed_descriptors(self._thumbs[start : start + _DESCRIBED_AT_ONCE], shifted=False)
            for start in range(0, len(pictures), _DESCRIBED_AT_ONCE)
        ]
        self._gallery = torch.cat(parts) if parts else torch.empty(0)

    def candidates(self, queries: Sequence[int], others: Sequence[int]) -> list[Int64Array]:
        described = mixed_descriptors([self._thumbs[k] for k in queries], shifted=True)
        return _matches(described, self._gallery[list(others)], self._level - _COARSE_SLACK)

    def like(self, query: int, others: Sequence[int]) -> Float64Array:
        found = mixed_correlations(
            self._thumbs[query], self._sizes[query], [self._thumbs[k] for k in others], [self._sizes[k] for k in others]
        )
        return np.where(found >= self._level, found, -np.inf)


class _EmbeddingComparison(_Comparison):
    def __init__(self, embeddings: Tensor, level: float) -> None:
        self._embeddings = embeddings
        self._level = level

    def candidates(self, queries: Sequence[int], others: Sequence[int]) -> list[Int64Array]:
        rows, columns = (self._embeddings[list(numbers), None] for numbers in (queries, others))
        return _matches(rows, columns, self._level - _ROUNDING)

    def like(self, query: int, others: Sequence[int]) -> Float64Array:
        # one at a time in double precision, so that neither order nor company of the others matters
        cosine = (self._embeddings[list(others)].double() * self._embeddings[query].double()).sum(dim=1)
        found: Float64Array = cosine.clamp(-1.0, 1.0).numpy()
        return np.where(found >= self._level, found, -np.inf)


def _stars(num_pictures: int, comparison: _Comparison, progress: bool | None) -> dict[int, list[tuple[int, float]]]:
    """By rank, each picture that no other has taken takes those after it that are like it, with their similarity."""
    free = np.ones(num_pictures, dtype=bool)
    stars: dict[int, list[tuple[int, float]]] = {}
    with _bar(num_pictures, "comparing pictures", progress) as bar:
        for start in range(0, num_pictures, _COMPARED_AT_ONCE):
            others = start + np.flatnonzero(free[start:])
            queries = others[others < start + _COMPARED_AT_ONCE]
            places = comparison.candidates(queries.tolist(), others.tolist()) if len(queries) else []
            for query, found in zip(queries.tolist(), places, strict=True):
                if not free[query]:
                    continue
                rest = others[found]
                rest = np.sort(rest[(rest > query) & free[rest]])
                similarity = comparison.like(query, rest.tolist()) if len(rest) else np.empty(0)
                taken = similarity > -np.inf
                free[rest[taken]] = False
                stars[query] = list(zip(rest[taken].tolist(), similarity[taken].tolist(), strict=True))
            bar.update(min(_COMPARED_AT_ONCE, num_pictures - bar.n))
    return stars


def _cluster(
    read: Sequence[_Picture],
    groups: dict[bytes, list[int]],
    unique: Sequence[int],
    head: int,
    near: Sequence[tuple[int, float]],
) -> DuplicateCluster:
    kept = read[unique[head]]
    copies = [read[k] for k in groups[kept.digest][1:]]
    content = _file_digest(kept) if copies else None
    members = [
        Duplicate(
            file=copy.source.name,
            similarity=1.0,
            kind="identical file" if content is not None and _file_digest(copy) == content else "identical pixels",
        )
        for copy in copies
    ]
    members += [
        Duplicate(file=read[k].source.name, similarity=similarity, kind="near")
        for number, similarity in near
        for k in groups[read[unique[number]].digest]
    ]
    members.sort(key=lambda member: (-member.similarity, member.kind == "near", member.file))
    return DuplicateCluster(keep=kept.source.name, members=tuple(members))


def _file_digest(picture: _Picture) -> bytes | None:
    """Hash of a picture's file; `None` if it is none, or has gone since."""
    if picture.source.path is None:
        return None
    try:
        with open(picture.source.path, "rb") as file:
            return hashlib.file_digest(file, hashlib.sha256).digest()
    except OSError:
        return None


def _bar(total: int, purpose: str, progress: bool | None) -> tqdm[Any]:
    disable = None if progress is None else not progress
    return tqdm(total=total, desc=purpose, unit=" pictures", file=sys.stderr, disable=disable, leave=False)
