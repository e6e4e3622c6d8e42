"""Files with several pictures, such as animations and scanned pages: `read_image` takes the first one.

Two files whose first pictures are equal may differ in the others. They are the same only byte by byte, and copies only
if pictures of the middle and the end agree too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.choice.changes import relative
from pairsim.audits.duplicates.matching.families import similarities_in_frame
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint, fingerprint
from pairsim.audits.duplicates.matching.registration import frames
from pairsim.errors import ImageReadError
from pairsim.images import PictureFile, PictureLike, read_image
from pairsim.images.reading import undecoded

_ONE_PICTURE = (".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".ppm", ".pgm", ".pbm", ".tga")
"""Endings of formats of which a file has one picture, or smaller ones of the same."""
_BLOCK = 1 << 20
_SAMPLED = (1 / 3, 2 / 3, 1.0)
"""Places among the pictures of a file that are compared, besides the first."""


def num_frames(picture: PictureLike) -> int:
    """Count the pictures of a file, without decoding them.

    Raises:
        ImageReadError: If it cannot be read.
    """
    if not isinstance(picture, str | os.PathLike | PictureFile):
        return 1
    name = picture.name if isinstance(picture, PictureFile) else os.fspath(picture)
    if name.lower().endswith(_ONE_PICTURE):
        return 1
    with undecoded(picture) as (image, _):
        return max(1, int(getattr(image, "n_frames", 1)))


def digest_of_all(picture: PictureLike, digest: bytes) -> bytes:
    """Return a digest that is that of another file with several pictures only if both are equal byte by byte.

    Args:
        picture: A file with several pictures.
        digest: Of the pixels of the first one.

    Raises:
        ImageReadError: If the file can no longer be read.
    """
    assert isinstance(picture, str | os.PathLike | PictureFile)
    with undecoded(picture) as (_, file):
        file.seek(0)
        whole = hashlib.sha256(digest)
        while block := file.read(_BLOCK):
            whole.update(block)
        return whole.digest()


def with_later_frames(
    similarity: Float64Array, pictures: Sequence[PictureLike], prints: Iterable[Fingerprint], transforms: Tensor
) -> Float64Array:
    """Compare files with several pictures also by those of the middle and the end.

    Args:
        similarity: Of the first pictures `[m, m]`.
        pictures: The files.
        prints: Of them.
        transforms: Coordinates of one frame to those of each `[m, 2, 3]`.

    Returns:
        The least similarity of a pair, where both have several pictures; that of the first ones for all others. It is 0
        where a picture can no longer be read.
    """
    counts = {k: one.frames for k, one in enumerate(prints) if one.frames > 1}
    if len(counts) < 2:
        return similarity
    found = similarity.copy()
    later = {k: _later_frames(pictures[k], count) for k, count in counts.items()}
    for a, b in combinations(counts, 2):
        maps = torch.stack([torch.eye(2, 3), relative(transforms, a, b)])
        for one, other in zip(later[a], later[b], strict=True):
            if one is None or other is None:
                found[a, b] = 0.0
            elif one.digest != other.digest:
                both = frames([one.grey, other.grey])
                found[a, b] = min(found[a, b], similarities_in_frame(both[torch.tensor([0, 0])], both, maps)[0][0, 1])
        found[b, a] = found[a, b]
    return found


def _later_frames(picture: PictureLike, count: int) -> list[Fingerprint | None]:
    assert isinstance(picture, str | os.PathLike | PictureFile)
    try:
        with undecoded(picture) as (image, _):
            found: list[Fingerprint | None] = []
            for share in _SAMPLED:
                image.seek(round(share * (count - 1)))
                found.append(fingerprint(read_image(image.copy())))
            return found
    except ImageReadError:
        return [None] * len(_SAMPLED)
