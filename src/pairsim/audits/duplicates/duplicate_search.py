"""Find pictures that a folder or list has more than once, exactly or nearly."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim._common.choices import OnError
from pairsim._common.numbers import real_number
from pairsim._common.ordered_map import ordered_map
from pairsim._common.progress import progress_bar
from pairsim.audits.duplicates.duplicate_report import Duplicate, DuplicateCluster, DuplicateReport, Kind
from pairsim.audits.picture_matching import (
    COARSE_SLACK,
    NEAR_DUPLICATE_SIMILARITY,
    Size,
    Thumbnail,
    coarse_matches,
    comparison_thumbnail,
    indices_by_key,
    mixed_correlations,
    mixed_descriptors,
    pixel_digests,
)
from pairsim.data.random import Int64Array
from pairsim.encoding.pictures import Skipped
from pairsim.errors import DataError, ImageReadError
from pairsim.images import PictureLike, Preprocessing, read_image
from pairsim.images.folders import FolderScan, scan
from pairsim.models import SimilarityModel

_ROUNDING = 1e-5
_QUERIES_AT_ONCE = 128
_READ_AT_ONCE = 128
_MAX_THREADS = 4


def find_duplicates(
    pictures: str | os.PathLike[str] | Sequence[PictureLike],
    *,
    model: SimilarityModel | None = None,
    threshold: float | None = None,
    on_error: OnError = "raise",
    progress: bool | None = None,
) -> DuplicateReport:
    """Find pictures that are there more than once, exactly or nearly. Nothing is deleted.

    Identical pictures have the same decoded pixels, whatever their file formats are. Without a model, near-duplicates
    are pictures whose pixels, at up to 32 x 32, have a correlation of at least `threshold`, in the best of nine
    positions moved by up to one of these pixels (the same comparison as in `find_leaks`). That finds copies that are
    brighter, darker, noisier, recompressed or resized. It does not find rotated, mirrored or cropped copies, copies
    moved further, pictures of one colour, or pictures less than 8 pixels wide or high (11 if their sizes differ). It
    also finds different pictures that look the same at that size, such as neighbouring frames of a film, so look at
    the pictures before you delete any.

    With a model, near-duplicates are pictures whose embeddings have a cosine of at least `threshold`. The model's own
    threshold separates classes, so all pictures of a class would be duplicates. There is no default: begin at 0.999
    and look at the result.

    Clusters are not chained: each has one picture that is kept, and all of its members are similar to that one. The
    largest picture (by its pixels, then the first by name) takes all that are similar to it, then the largest of those
    that are left, and so on. If A is similar to B and B to C, but A not to C, then B is a duplicate of A, and C stays.

    Each file is decoded once, even if several paths or links lead to it. Memory holds at most 7 KB of each picture, or
    its embedding.

    Args:
        pictures: A folder, of which all pictures are taken, with those of its sub-folders; or a sequence of pictures
            (see `read_image`). In-memory pictures are named `#0`, `#1`, ... by their index.
        model: Compares pictures by its embeddings; by default pixels are compared.
        threshold: Similarity from which pictures are near-duplicates: of pixels in (0, 1], 0.99 by default; of a
            model's embeddings in [-1, 1], required.
        on_error: "raise" stops at a picture or sub-folder that cannot be read; "skip" lists it in the report.
        progress: Whether to show progress bars; by default for long work on a terminal.

    Returns:
        The report, without clusters if all pictures differ or there are none. It does not depend on the order of the
        pictures.

    Raises:
        DatasetNotFoundError: If there is no such folder.
        DataError: If the folder has no pictures, or the model gives NaN.
        ImageReadError: If a file or folder cannot be read, unless skipped; the message names it.
        ValueError: If `threshold` is missing or out of range, or `on_error` is unknown.

    Example:
        >>> first, second = np.random.default_rng(0).integers(0, 200, (2, 40, 40), dtype=np.uint8)
        >>> print(find_duplicates([first, second, first.copy(), first // 2 + 50]))
        #0 (keep)
          #2  identical pixels
          #3  near, similarity 1.0000
        <BLANKLINE>
        4 pictures compared: 2 duplicates in 1 cluster
    """
    threshold = _checked_threshold(threshold, model)
    if on_error not in ("raise", "skip"):
        raise ValueError(f"Expected on_error to be 'raise' or 'skip', got {on_error!r}.")
    found: list[_Picture | Skipped] = []
    given = scan(pictures, on_error) if isinstance(pictures, str | os.PathLike) else pictures
    pixels = _read(
        _listed(given),
        None if model is None else model.preprocessing,
        on_error,
        found,
        progress,
    )
    if model is None:
        thumbs = list(pixels)
    else:
        batches = iter(lambda: list(islice(pixels, _READ_AT_ONCE)), [])
        embeddings = model.encode_batches(map(torch.stack, batches), progress=False).cpu()
        if not bool(torch.isfinite(embeddings).all()):
            raise DataError("Expected finite embeddings, the model gives NaN. Its weights are damaged: train it again.")

    read = [one for one in found if isinstance(one, _Picture)]
    ranked = sorted(range(len(read)), key=lambda k: read[k].rank)
    same = [[ranked[row] for row in rows] for rows in indices_by_key(read[k].digest for k in ranked).values()]
    unique = [indices[0] for indices in same]  # still by rank
    compared = [Thumbnail(thumbs[k], read[k].size) for k in unique] if model is None else embeddings[unique]
    clusters = []
    for head, near in _stars(compared, threshold, progress).items():
        copies = [read[k] for k in same[head]]
        others = [(read[k], similarity) for row, similarity in near for k in same[row]]
        if len(copies) > 1 or others:
            clusters.append(_cluster(copies, others))
    return DuplicateReport(
        num_images=len(read),
        clusters=tuple(sorted(clusters, key=lambda cluster: cluster.keep)),
        threshold=threshold,
        skipped=tuple(sorted((one for one in found if isinstance(one, Skipped)), key=lambda one: str(one.name))),
        left_out=given.left_out if isinstance(given, FolderScan) else (),
    )


def _checked_threshold(threshold: float | None, model: SimilarityModel | None) -> float:
    if model is None:
        value = NEAR_DUPLICATE_SIMILARITY if threshold is None else real_number(threshold, "threshold")
        if not 0.0 < value <= 1.0:  # also catches NaN
            raise ValueError(f"Expected threshold to be in (0, 1], a correlation of pixels, got {value}. Use 0.99.")
        return float(value)
    if threshold is None:
        raise ValueError(
            "Expected a threshold with a model, as the model's own separates classes, not duplicates. "
            "Begin with threshold=0.999 and look at the result."
        )
    if not -1.0 <= real_number(threshold, "threshold") <= 1.0:
        raise ValueError(f"Expected threshold to be a cosine in [-1, 1], got {threshold}. Begin with 0.999.")
    return float(threshold)


@dataclass(frozen=True)
class _Picture:
    """A picture, its name and, if it is a file, its path; its size and the digest of its pixels if it was read."""

    index: int
    picture: PictureLike
    name: str
    path: str | None
    size: Size = (0, 0)
    digest: bytes = b""

    @property
    def rank(self) -> tuple[int, str, int]:
        """Sort key: the largest picture first, then by name."""
        return -self.size[0] * self.size[1], "" if self.path is None else self.name, self.index


def _listed(pictures: FolderScan | Sequence[PictureLike]) -> list[_Picture]:
    """List the pictures, and each file once: a second path or a link to it is no duplicate."""
    if isinstance(pictures, FolderScan):
        named = zip(pictures.pictures, pictures.names, strict=True)
        return [_Picture(index, path, name, os.fspath(path)) for index, (path, name) in enumerate(named)]
    listed = []
    for index, picture in enumerate(pictures):
        path = os.fspath(picture) if isinstance(picture, str | os.PathLike) else None
        listed.append(_Picture(index, picture, f"#{index}" if path is None else path, path))
    unique: dict[str | int, _Picture] = {}
    for one in sorted(listed, key=lambda one: (one.path is not None and os.path.islink(one.path), one.name)):
        unique.setdefault(one.index if one.path is None else os.path.realpath(one.path), one)
    return sorted(unique.values(), key=lambda one: one.index)


def _read(
    listed: Sequence[_Picture],
    preprocessing: Preprocessing | None,
    on_error: OnError,
    found: list[_Picture | Skipped],
    progress: bool | None,
) -> Generator[Tensor]:
    """Read pictures in threads, add each to `found`, and yield of those that can be read what is compared.

    This is the input of a model, or the thumbnail without `preprocessing`.
    """

    def load(one: _Picture) -> tuple[_Picture | Skipped, Tensor | None]:
        try:
            image = read_image(one.picture, white=None if preprocessing is None else preprocessing.white)
        except ImageReadError as error:
            if on_error == "raise":
                raise
            return Skipped(one.index, one.name, str(error)), None
        pixels = comparison_thumbnail(image).pixels if preprocessing is None else preprocessing.read(image)
        return replace(one, size=(image.shape[1], image.shape[2]), digest=pixel_digests(image[None])[0]), pixels

    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    with progress_bar(len(listed), "reading pictures", "pictures", progress) as bar:
        for one, pixels in ordered_map(load, listed, threads=threads, ahead=_READ_AT_ONCE, name="pairsim-read"):
            bar.update()
            found.append(one)
            if pixels is not None:
                yield pixels


def _stars(
    pictures: Sequence[Thumbnail] | Tensor, threshold: float, progress: bool | None
) -> dict[int, list[tuple[int, float]]]:
    """Cluster pictures in order: each that is not yet taken takes the later ones similar to it.

    Args:
        pictures: Thumbnails, whose pixels are compared, or embeddings `[N, D]`.
        threshold: Similarity from which pictures are near-duplicates.
        progress: As for `find_duplicates`.

    Returns:
        For each picture that takes others, or none, their indices and similarities.
    """
    gallery = pictures[:, None] if isinstance(pictures, Tensor) else mixed_descriptors(pictures, shifted=False)
    at_least = threshold - (_ROUNDING if isinstance(pictures, Tensor) else COARSE_SLACK)
    free = np.ones(len(pictures), dtype=bool)
    stars: dict[int, list[tuple[int, float]]] = {}
    with progress_bar(len(pictures), "comparing pictures", "pictures", progress) as bar:
        for start in range(0, len(pictures), _QUERIES_AT_ONCE):
            others = start + np.flatnonzero(free[start:])
            queries = others[others < start + _QUERIES_AT_ONCE]
            if isinstance(pictures, Tensor):
                described = gallery[queries]
            else:
                described = mixed_descriptors([pictures[k] for k in queries], shifted=True)
            for rows, columns in coarse_matches(described, gallery[others], at_least):
                for row, query in enumerate(queries.tolist()):
                    if not free[query]:
                        continue
                    rest = np.sort(others[columns[rows == row]])
                    rest = rest[(rest > query) & free[rest]]
                    similarity = _similarities(pictures, query, rest)
                    near = similarity >= threshold
                    free[rest[near]] = False
                    stars[query] = list(zip(rest[near].tolist(), similarity[near].tolist(), strict=True))
            bar.update(min(_QUERIES_AT_ONCE, len(pictures) - start))
    return stars


def _similarities(pictures: Sequence[Thumbnail] | Tensor, query: int, others: Int64Array) -> Float64Array:
    if not isinstance(pictures, Tensor):
        return mixed_correlations(pictures[query], [pictures[k] for k in others])
    # pair by pair in double precision, so that the result does not depend on the order or number of the others
    cosine = (pictures[others].double() * pictures[query].double()).sum(dim=1)
    similarity: Float64Array = cosine.clamp(-1.0, 1.0).numpy()
    return similarity


def _cluster(copies: Sequence[_Picture], near: Sequence[tuple[_Picture, float]]) -> DuplicateCluster:
    """Make a cluster of pictures with the same pixels, the first of which is kept, and near-duplicates."""
    kept, *same = copies
    content = _file_digest(kept.path) if same else None
    members = [Duplicate(file=picture.name, similarity=value, kind="near") for picture, value in near]
    for copy in same:
        same_file = content is not None and _file_digest(copy.path) == content
        kind: Kind = "identical file" if same_file else "identical pixels"
        members.append(Duplicate(file=copy.name, similarity=1.0, kind=kind))
    members.sort(key=lambda member: (-member.similarity, member.kind == "near", member.file))
    return DuplicateCluster(keep=kept.name, members=tuple(members))


def _file_digest(path: str | None) -> bytes | None:
    """Hash a file; `None` if the picture is not a file, or the file no longer exists."""
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
