"""Find pictures that a folder or list has more than once, exactly or nearly."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pairsim._common.choices import OnError
from pairsim._common.numbers import real_number
from pairsim.audits.duplicates.animations import with_later_frames
from pairsim.audits.duplicates.clusters import complete_linkage
from pairsim.audits.duplicates.copies import Copies, Group, Read, Relation, same_pixels, similar_groups
from pairsim.audits.duplicates.duplicate_report import DuplicateCluster, DuplicateReport
from pairsim.audits.duplicates.indexing import read_rows
from pairsim.audits.duplicates.listed_pictures import Listed, listed
from pairsim.audits.duplicates.matching.registered_search import related
from pairsim.audits.duplicates.model_search import found_in_gallery, near_groups
from pairsim.audits.duplicates.picture_index import Entry, PictureIndex
from pairsim.audits.duplicates.rates.error_rate import checked_target, expect_enough, measured_rates
from pairsim.encoding.pictures import Skipped
from pairsim.images import PictureLike
from pairsim.images.folders import FolderScan, LeftOut, scan
from pairsim.models import SimilarityModel
from pairsim.search.gallery import Gallery, check_not_empty
from pairsim.search.gallery_files import is_gallery

DUPLICATE_SIMILARITY = 0.8
"""Similarity from which two pictures are copies, by default."""

_UNMOVED = torch.eye(2, 3)[None]


def find_duplicates(
    pictures: str | os.PathLike[str] | Sequence[PictureLike],
    *,
    against: str | os.PathLike[str] | Gallery | None = None,
    model: SimilarityModel | None = None,
    threshold: float | None = None,
    target_false_rate: float | None = None,
    index: str | os.PathLike[str] | None = None,
    on_error: OnError = "raise",
    progress: bool | None = None,
) -> DuplicateReport:
    """Find pictures that are there more than once, exactly or nearly. Nothing is deleted.

    Identical pictures have the same decoded pixels, whatever their file formats are. Other copies may be compressed
    again, resized, brighter, darker, of other colours or grey, blurred, sharpened or noisy, mirrored, turned by
    quarters or slightly, cropped, framed by a border, and have a text or logo added. The kind of each copy names what
    was changed. Animations and files with several pages are identical if all their bytes are, and copies if pictures of
    the middle and the end match too.

    Features of the pictures (blobs and their surroundings) propose pairs. The pixels of a pair, at up to 64 x 64, are
    then registered and compared; the similarity is the geometric mean of their correlation and of the median of the
    correlations of 8 x 8 blocks, on which an added text has little effect. It is less where the pictures have little
    texture or little in common. It is at least the one that both have to each of four other pictures, so that two edits
    of one picture stay together. Pictures that match, but are skewed or tilted against each other, show the same things
    from another place; they and others that are alike but not enough are listed as similar, and not as duplicates.

    All pairs of a cluster have at least `threshold`. Clusters are made by complete linkage, so a lower threshold never
    loses a pair. The picture to keep is the one that lost least; the reason is given.

    With a model, near-duplicates are pictures whose embeddings have a cosine of at least `threshold`. The model's own
    threshold separates classes, so all pictures of a class would be duplicates. There is no default: begin at 0.999
    and look at the result.

    Each file is decoded once to find copies, even if several paths or links lead to it. From 512 files on this is done
    in processes, one for each core, up to 16. Of copies, some are decoded again to choose the one to keep and to name
    the changes. Small copies and features of the pictures are kept in a SQLite file, about 8 kB a picture, which is
    temporary if no `index` is given. Memory holds the features of all pictures and their matches, or their embeddings.

    Args:
        pictures: A folder, of which all pictures are taken, with those of its sub-folders; or a sequence of pictures
            (see `read_image`). In-memory pictures are named `#0`, `#1`, ... by their index.
        against: A second folder, whose pictures are kept: then each cluster has one of these, named by its whole path,
            and its members are the copies among `pictures`. It may have `pictures` inside of it, which are compared
            with its others, and may itself be inside. Or a gallery: then each picture is compared with its images by
            its model, and the cluster of an image has the pictures to which it is the nearest, with a cosine of at
            least `threshold`. A gallery has no pixels, so copies are of kind "near".
        model: Compares pictures by its embeddings; by default pixels are compared. A gallery has its own.
        threshold: Similarity from which pictures are duplicates: of pixels in (0, 1], 0.8 by default; of a model's
            embeddings in [-1, 1], required with a model or gallery.
        target_false_rate: Instead of a threshold, the share of the pairs of different pictures that may be duplicates
            by chance, such as 1e-7. The threshold is then chosen so that the upper end of the 95 % interval of this
            share is at most the target, on up to 1000 of these pictures. Copies at the default threshold are left out
            of them. Up to 100 pictures are edited to measure which copies are found. This takes a few minutes; see
            `DuplicateReport.rates`.
        index: SQLite file that keeps what was read of the pictures, which is made if there is none. A later search with
            it reads only new and changed files, and so does one after an interruption; what is found is the same.
            Pictures that a folder no longer has are removed from it. One process can use it at a time.
        on_error: "raise" stops at a picture or sub-folder that cannot be read; "skip" lists it in the report.
        progress: Whether to show progress bars; by default for long work on a terminal.

    Returns:
        The report, without clusters if all pictures differ or there are none. It does not depend on the order of the
        pictures.

    Raises:
        DatasetNotFoundError: If there is no such folder.
        DataError: If the folder has no pictures, too few of them for `target_false_rate` or some that are too much
            alike, `against` has no others, the model gives NaN, or a process that reads pictures ends or hangs; the
            message names the picture.
        ImageReadError: If a file or folder cannot be read, unless skipped; the message names it.
        RunError: If `index` cannot be written, is another file, is damaged, or is in use.
        ValueError: If `threshold` is missing or out of range, `target_false_rate` is out of range or given with a
            threshold or model, `index` is given with a model, a gallery is empty, given by its folder or with a model,
            or `on_error` is unknown.

    Example:
        >>> first, second = np.random.default_rng(0).integers(0, 200, (2, 40, 40, 3), dtype=np.uint8)
        >>> print(find_duplicates([first, second, first.copy(), first[:, ::-1]]))
        #0 (keep; first by name: equal in size, compression and metadata)
          #2  identical pixels
          #3  mirrored, similarity 1.0000
        <BLANKLINE>
        4 pictures compared: 2 duplicates in 1 cluster
    """
    if isinstance(against, Gallery):
        if model is not None:
            raise ValueError("Expected no model with a gallery, as its own model compares. Leave model out.")
        check_not_empty(against)  # now, and not after all pictures were embedded
        model = against.model
    elif against is not None and is_gallery(Path(against)):
        raise ValueError(
            f"Expected a loaded gallery, got its folder {os.fspath(against)}. Give Gallery.load(folder, model)."
        )
    target = None if target_false_rate is None else checked_target(target_false_rate)
    if target is not None and (threshold is not None or model is not None):
        raise ValueError(
            "Expected target_false_rate without threshold and model, as it chooses that for pixels. Give one only."
        )
    threshold = _checked_threshold(threshold, model)
    if on_error not in ("raise", "skip"):
        raise ValueError(f"Expected on_error to be 'raise' or 'skip', got {on_error!r}.")
    if index is not None and model is not None:
        raise ValueError("Expected index without model, as a model does not use what it holds. Give only one.")
    given = scan(pictures, on_error) if isinstance(pictures, str | os.PathLike) else pictures
    kept = None if against is None or isinstance(against, Gallery) else scan(against, on_error)
    everything = listed(given, kept)
    if target is not None:
        expect_enough(len(everything), target)
    left_out = tuple(one for folder in (given, kept) if isinstance(folder, FolderScan) for one in folder.left_out)
    if isinstance(against, Gallery):
        num_read, skipped, clusters = found_in_gallery(everything, against, threshold, on_error, progress)
        return _report(num_read + len(against), clusters, threshold, skipped, left_out)
    rates = None
    relations: list[Relation] = []
    with PictureIndex(index) as stored, contextlib.nullcontext() if model is not None else _one_thread():
        for folder in (given, kept):
            if isinstance(folder, FolderScan):
                stored.remove_others(folder.folder, everything)
        if model is None:
            read, skipped, groups, relations = _by_pixels(everything, stored, target, on_error, progress)
        else:
            read, skipped, groups = near_groups(everything, model, threshold, on_error, progress)
        if target is not None:
            distinct = _distinct(read, groups)
            rates = measured_rates(distinct, target, ceiling=threshold, on_error=on_error, progress=progress)
            threshold, relations = rates.threshold, []
        parts = [
            Copies(read, group, members)
            for group in groups
            for members in complete_linkage(group.similarity, threshold)
        ]
        clusters = [one for part in parts if (one := part.cluster(against=against is not None)) is not None]
        similar = similar_groups(parts, relations) if model is None and against is None else []
    return replace(
        _report(len(read), clusters, threshold, skipped, left_out),
        similar=tuple(sorted(similar, key=lambda cluster: cluster.keep)),
        rates=rates,
    )


def _report(
    num_images: int,
    clusters: Sequence[DuplicateCluster],
    threshold: float,
    skipped: Sequence[Skipped],
    left_out: tuple[LeftOut, ...],
) -> DuplicateReport:
    return DuplicateReport(
        num_images=num_images,
        clusters=tuple(sorted(clusters, key=lambda cluster: cluster.keep)),
        threshold=threshold,
        skipped=tuple(sorted(skipped, key=lambda one: str(one.name))),
        left_out=left_out,
    )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch use one thread: the pieces of work are so small that more would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _checked_threshold(threshold: float | None, model: SimilarityModel | None) -> float:
    if model is None:
        value = DUPLICATE_SIMILARITY if threshold is None else real_number(threshold, "threshold")
        if not 0.0 < value <= 1.0:  # also catches NaN
            raise ValueError(f"Expected threshold to be in (0, 1], got {value}. Use {DUPLICATE_SIMILARITY}.")
        return float(value)
    if threshold is None:
        raise ValueError(
            "Expected a threshold with a model, as the model's own separates classes, not duplicates. "
            "Begin with threshold=0.999 and look at the result."
        )
    if not -1.0 <= real_number(threshold, "threshold") <= 1.0:
        raise ValueError(f"Expected threshold to be a cosine in [-1, 1], got {threshold}. Begin with 0.999.")
    return float(threshold)


def _distinct(read: Sequence[Read], groups: Sequence[Group]) -> list[Listed]:
    """Take one picture of those that are copies at the default threshold, and all others, by name."""
    copies = set()
    for group in groups:
        for members in complete_linkage(group.similarity, DUPLICATE_SIMILARITY):
            same = [k for member in members for k in group.members[member]]
            copies.update(sorted(same, key=lambda k: (read[k].listed.name, k))[1:])
    distinct = [one.listed for k, one in enumerate(read) if k not in copies]
    return sorted(distinct, key=lambda one: (one.path is None, one.name, one.index))


def _by_pixels(
    pictures: Sequence[Listed], index: PictureIndex, target: float | None, on_error: OnError, progress: bool | None
) -> tuple[list[Read], list[Skipped], list[Group], list[Relation]]:
    entries, skipped = _indexed(pictures, index, on_error, progress)
    load = index.fingerprint
    read, rows = [], []
    for one in pictures:
        if (entry := entries.pop(one.index, None)) is not None:
            read.append(Read(one, entry.digest, entry.size, partial(load, entry.row)))
            rows.append(entry.row)
    if not read:
        return read, skipped, [], []
    same = same_pixels(read)
    if target is not None:
        expect_enough(len(same), target)  # before the search, which takes long
    first = [indices[0] for indices in same]
    different = [rows[k] for k in first]
    families, relations = related(index.frames(different), index.features(different), progress)
    alone = {k for k, copies in enumerate(same) if len(copies) > 1}.union(*(pair[:2] for pair in relations))
    alone = alone.difference(*(family.members for family in families))
    groups = []
    for family in families:
        members = [different[k] for k in family.members]
        files = [read[first[k]].listed.picture for k in family.members]
        similarity = with_later_frames(family.similarity, files, map(load, members), family.transforms)
        groups.append(Group([same[k] for k in family.members], similarity, family.likeness, family.transforms))
    groups += [Group([same[k]], np.ones((1, 1)), np.ones((1, 1)), _UNMOVED) for k in sorted(alone)]
    return read, skipped, groups, [(first[a], first[b], similarity) for a, b, similarity in relations]


def _indexed(
    pictures: Sequence[Listed], index: PictureIndex, on_error: OnError, progress: bool | None
) -> tuple[dict[int, Entry], list[Skipped]]:
    """Read the pictures that the index does not have: the entries of all by `Listed.index`, and what is skipped."""
    entries = index.find(pictures)
    skipped: list[Skipped] = []
    for one, found in read_rows([one for one in pictures if one.index not in entries], on_error, progress):
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            entries[one.index] = index.add(one, found)
    return entries, skipped
