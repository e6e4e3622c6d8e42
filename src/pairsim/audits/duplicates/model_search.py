"""Find duplicates by the embeddings of a model: among pictures, and in a gallery."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from itertools import islice

import torch
from torch import Tensor

from pairsim._common.choices import OnError
from pairsim._common.unit_similarity import lowest_match
from pairsim.audits.duplicates.clusters import connected
from pairsim.audits.duplicates.copies import Group, Read, facts_of, same_pixels
from pairsim.audits.duplicates.duplicate_report import Duplicate, DuplicateCluster
from pairsim.audits.duplicates.listed_pictures import Listed, read_all
from pairsim.audits.picture_matching import Size, pixel_digests
from pairsim.encoding.pictures import Skipped
from pairsim.models import SimilarityModel
from pairsim.search import Gallery

_READ_AT_ONCE = 128


def near_groups(
    pictures: Sequence[Listed], model: SimilarityModel, threshold: float, on_error: OnError, progress: bool | None
) -> tuple[list[Read], list[Skipped], list[Group]]:
    """Embed pictures, and connect those whose embeddings have a cosine of at least the threshold."""
    read, skipped, embeddings = _embedded(pictures, model, on_error, progress)
    same = same_pixels(read)
    groups = []
    for members, similarity in connected(embeddings[[indices[0] for indices in same]], threshold):
        if len(members) > 1 or len(same[members[0]]) > 1:
            groups.append(Group([same[k] for k in members], similarity, similarity, None))
    return read, skipped, groups


def found_in_gallery(
    pictures: Sequence[Listed], gallery: Gallery, threshold: float, on_error: OnError, progress: bool | None
) -> tuple[int, list[Skipped], list[DuplicateCluster]]:
    """Find the pictures to which an image of a gallery has a cosine of at least the threshold.

    Returns:
        Pictures that were read, those that were not, and a cluster for each image that is the nearest of some.
    """
    read, skipped, embeddings = _embedded(pictures, gallery.model, on_error, progress)
    members: dict[str, list[Duplicate]] = defaultdict(list)
    if read:
        nearest = gallery.search_embeddings(embeddings, 1)
        for one, (name,), (similarity,) in zip(read, nearest.ids, nearest.similarities.tolist(), strict=True):
            if similarity >= lowest_match(threshold):
                found = Duplicate(file=one.listed.name, similarity=similarity, kind="near", facts=facts_of(one))
                members[str(name)].append(found)
    clusters = [
        DuplicateCluster(
            keep=name,
            members=tuple(sorted(found, key=lambda one: (-one.similarity, one.file))),
            reason="in the gallery",
        )
        for name, found in members.items()
    ]
    return len(read), skipped, clusters


def _embedded(
    pictures: Sequence[Listed], model: SimilarityModel, on_error: OnError, progress: bool | None
) -> tuple[list[Read], list[Skipped], Tensor]:
    read: list[Read] = []
    skipped: list[Skipped] = []
    preprocessing = model.preprocessing

    def reduced(image: Tensor) -> tuple[bytes, Size, Tensor]:
        return pixel_digests(image[None])[0], (image.shape[1], image.shape[2]), preprocessing.read(image)

    def inputs() -> Generator[Tensor]:
        results = read_all(pictures, reduced, white=preprocessing.white, on_error=on_error, progress=progress)
        for one, found in results:
            if isinstance(found, Skipped):
                skipped.append(found)
            else:
                read.append(Read(one, found[0], found[1]))
                yield found[2]

    pixels = inputs()
    batches = iter(lambda: list(islice(pixels, _READ_AT_ONCE)), [])
    embeddings = model.encode_batches(map(torch.stack, batches), progress=False).cpu()
    return read, skipped, embeddings
