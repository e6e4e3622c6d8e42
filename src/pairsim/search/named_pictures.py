"""The pictures of a gallery that a name stands for, as a user of the command line or of the service gives it."""

from __future__ import annotations

import shlex

from pairsim.errors import DataError, printable
from pairsim.search.gallery_ids import Id, given_name
from pairsim.search.gallery_rows import GalleryRows


def named_pictures(gallery: GalleryRows, name: str) -> list[Id]:
    """Return the ids of the pictures that a name stands for, of an identity or of a single one; none if it is neither.

    Args:
        gallery: The gallery. Where its ids or identities are whole numbers, the name is compared with their text.
        name: An identity or an id. Where it may be both, `./NAME` is the picture, and `NAME/` the identity.

    Raises:
        DataError: If the name is an identity and a picture, which is not all of this identity.
    """
    shown, alone = _of_identity(gallery, name), _alone(gallery, name)
    if shown and alone and shown != alone:
        raise DataError(
            f"Expected identities or pictures of the gallery, got {printable(name)!r}, which is both: a picture, and "
            f"an identity of {len(shown):,} pictures. Nothing was removed. Give {shlex.quote(f'./{name}')} for the "
            f"picture alone, or {shlex.quote(f'{name}/')} for the identity."
        )
    if not (shown or alone) and name.endswith("/"):
        return _of_identity(gallery, name.removesuffix("/"))
    if not (shown or alone) and name.startswith("./"):
        return _alone(gallery, name.removeprefix("./"))
    return shown or alone


def _of_identity(gallery: GalleryRows, name: str) -> list[Id]:
    return gallery.images_of(given_name(name, gallery.identities))


def _alone(gallery: GalleryRows, name: str) -> list[Id]:
    picture = given_name(name, gallery)
    return [picture] if picture in gallery else []
