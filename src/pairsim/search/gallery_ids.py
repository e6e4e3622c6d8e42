"""The ids of a gallery's images, all different, in order of addition, and the identity that each image shows."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Collection, Container, Iterable, Mapping, Sequence, Sized
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from torch import Tensor

from pairsim.images.folders import scan
from pairsim.models.inputs import Images, as_pictures, check_no_dataset, is_single

Id: TypeAlias = str | int
Ids: TypeAlias = Iterable[Any] | Id | os.PathLike[str]
"""One id or several; paths count as strings, NumPy's integers as ints."""
_Name = TypeVar("_Name")
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,599}")  # as str(int) prints it; Python converts no longer ones everywhere


class IdTable:
    """Ids in order, the index of each, which is computed when it is first needed, and the identity of each.

    Args:
        names: The ids `[N]`.
        identities: Their identities `[N]`; by default each image is an identity of its own, with its id.
        indices: The index of each id, if it is known.
    """

    def __init__(
        self, names: list[Id] | None = None, identities: list[Id] | None = None, indices: dict[Id, int] | None = None
    ) -> None:
        self.names: list[Id] = [] if names is None else names
        self._identities = identities
        self._indices = indices
        self._different: set[Id] | None = None

    @property
    def identities(self) -> list[Id]:
        """The identity of each image, in the order of `names`."""
        return self.names if self._identities is None else self._identities

    @property
    def has_identities(self) -> bool:
        """Whether an image has another identity than its own id."""
        return self._identities is not None

    @property
    def num_identities(self) -> int:
        """Number of different identities."""
        return len(self.names) if self._identities is None else len(self._known_identities())

    def __len__(self) -> int:
        return len(self.names)

    @property
    def indices(self) -> dict[Id, int]:
        """The index of each id."""
        if self._indices is None:  # for a million it takes half as long as loading them
            self._indices = {name: index for index, name in enumerate(self.names)}
        return self._indices

    def append(self, names: Sequence[Id], identities: Sequence[Id] | None = None) -> None:
        """Add ids, which `new` has checked, and their identities."""
        if self._indices is not None:
            self._indices.update({name: len(self.names) + row for row, name in enumerate(names)})
        if identities is not None and self._identities is None:
            self._identities = list(self.names)
        if self._identities is not None:
            self._identities += names if identities is None else identities
            if self._different is not None:
                self._different.update(names if identities is None else identities)
        self.names += names

    def shown(self, names: Sequence[Id], identities: Ids | None) -> list[Id] | None:
        """Return the identity that each of some images gets, or `None` if those that are new get their id.

        Args:
            names: Their ids, of which some may be there.
            identities: What each shows, or all.

        Raises:
            TypeError: As for `given_identities`.
            ValueError: As for `given_identities`; or if one is equal, as text, to another identity that is of another
                type, or a new id to an identity that it would join unasked.
        """
        if identities is None and not self.has_identities:
            return None
        shown = None if identities is None else given_identities(identities, len(names))
        added = dict.fromkeys([name for name in names if name not in self.indices] if shown is None else shown)
        known = self._known_identities()
        for name in added:
            if shown is None and name in known:
                raise ValueError(
                    f"Expected new ids that are no identity of the gallery, got {name!r}, which is one. Give its "
                    "identity too, to add to that one, or another id."
                )
            other = of_other_type(name)
            if other is not None and (other in added or other in known):
                raise ValueError(
                    f"Expected identities that differ as text, got {name!r} where another is {other!r}. Give both as "
                    f"{type(other).__name__}, or another name."
                )
        return shown

    def set_identities(self, indices: Sequence[int], identities: Sequence[Id]) -> None:
        """Give images another identity."""
        if self._identities is None:
            self._identities = list(self.names)
        for index, identity in zip(indices, identities, strict=True):
            self._identities[index] = identity
        self._different = None

    def _known_identities(self) -> Collection[Id]:
        if self._identities is None:
            return self.indices
        if self._different is None:
            self._different = set(self._identities)
        return self._different

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only the ids of some indices, in their order."""
        if self._identities is not None:
            self._identities = [self._identities[index] for index in indices]
        self.names = [self.names[index] for index in indices]
        self._indices = self._different = None

    def numbers(self, count: int) -> list[Id]:
        """Return the whole numbers after the largest so far, from 0."""
        start = max((name for name in self.names if isinstance(name, int)), default=-1) + 1
        return list(range(start, start + count))

    def of_one_kind(self, names: list[Id]) -> list[Id]:
        """Check that ids are of the kind of the others, and that none comes twice.

        Raises:
            ValueError: If not; names the first.
        """
        seen: set[Id] = set()
        kind = type((self.names or names or [""])[0])
        for name in names:
            if type(name) is not kind:
                raise ValueError(
                    f"Expected ids of one kind, got {name!r} where others are {'strings' if kind is str else 'ints'}. "
                    f"Give {'strings' if kind is str else 'whole numbers'} only."
                )
            if name in seen:
                raise ValueError(f"Expected each id once, got {name!r} twice. Give every image its own.")
            seen.add(name)
        return names

    def new(self, names: list[Id]) -> list[Id]:
        """Check ids as `of_one_kind` does, and that none is there already.

        Raises:
            ValueError: If not; names the first.
        """
        for name in self.of_one_kind(names):
            if name in self.indices:
                raise ValueError(
                    f"Expected ids that are not in the gallery, got {name!r}, which is. To replace its image use "
                    "gallery.update(images, ids)."
                )
        return names


def named_images(images: Images, ids: Ids | None, table: IdTable) -> tuple[Images, list[Id]]:
    """Return the images to add, of a folder its pictures, and an id for each.

    Args:
        images: A folder, or as for `SimilarityModel.encode`.
        ids: Their ids; by default paths, relative to the folder, or the numbers after the largest of a table.
        table: The ids that are there already.

    Raises:
        DataError: If the folder has no picture.
        TypeError: If `images` is a dataset or loader.
        ValueError: If only some images are paths and `ids` is not given.
    """
    if isinstance(images, str | os.PathLike) and os.path.isdir(images):
        found = scan(images)
        ids = found.names if ids is None else ids
        images = cast("Images", found.pictures)
    check_no_dataset(images)
    if ids is not None:
        return images, as_ids(ids)
    if is_single(images) or not isinstance(images, Sized):
        images = list(as_pictures(images))
    count = len(images)
    named = [] if isinstance(images, Tensor) else [item for item in images if isinstance(item, str | os.PathLike)]
    if named and len(named) != count:
        raise ValueError(
            f"Expected paths only, or no path, where ids are not given, got {len(named)} paths among "
            f"{count} images. Give ids."
        )
    return images, as_ids(named) if named else table.numbers(count)


def of_other_type(name: Id) -> Id | None:
    """Return the whole number that a text is, as `str` prints it, or the text of a whole number; `None` if it is none.

    Example:
        >>> of_other_type("3"), of_other_type(3), of_other_type("03")
        (3, '3', None)
    """
    if isinstance(name, str):
        return int(name) if _WHOLE_NUMBER.fullmatch(name) else None
    return str(name)


def given_name(name: _Name, known: Container[Any]) -> _Name | Id:
    """Return a name from outside, such as of a folder, as a gallery knows it.

    Args:
        name: A text or whole number; anything else is returned as it is.
        known: Ids or identities.

    Returns:
        The one that is equal to the name as text, if the name itself is none.

    Example:
        >>> given_name("3", [3, 4]), given_name(3, ["3"]), given_name("5", [3, 4])
        (3, '3', '5')
    """
    other = of_other_type(name) if type(name) in (str, int) else None  # type: ignore[arg-type]
    return name if other is None or name in known or other not in known else other


def as_ids(ids: Ids) -> list[Id]:
    """Convert ids to strings and ints.

    Raises:
        TypeError: If one is neither, or they are a mapping or a set, whose order is not that of images.
        ValueError: If a string is no valid text.
    """
    if isinstance(ids, Mapping | set | frozenset):
        raise TypeError(
            f"Expected ids or identities in the order of the images, got a {type(ids).__name__}. Give a list."
        )
    return [_as_id(name) for name in ([ids] if isinstance(ids, str | int | np.integer | os.PathLike) else ids)]


def given_identities(identities: Ids, num_images: int) -> list[Id]:
    """Convert the identity of each image, or one that is that of all, to strings and ints.

    Raises:
        TypeError: If one is neither.
        ValueError: If there are not as many as images, or a string is no valid text.
    """
    if isinstance(identities, str | int | np.integer | os.PathLike):
        return as_ids(identities) * num_images
    shown = as_ids(identities)
    if len(shown) != num_images:
        raise ValueError(
            f"Expected one identity per image, or one for all, got {len(shown)} for {num_images} images. Give one for "
            "each."
        )
    return shown


def _as_id(name: Any) -> Id:
    if isinstance(name, str | os.PathLike):
        text = str(os.fspath(name))
        try:
            text.encode("utf-8", "surrogateescape")  # names of files need not be UTF-8
        except UnicodeEncodeError as error:
            raise ValueError(
                f"Expected ids that are valid text, got {name!r}. Give another id, or rename it."
            ) from error
        return text
    try:
        if isinstance(name, bool | np.bool_):
            raise TypeError
        return operator.index(name)
    except TypeError as error:
        raise TypeError(
            f"Expected ids to be strings or whole numbers, got {name!r} of type {type(name).__name__}. Convert them."
        ) from error


def check_number(num_images: int | None, ids: Sequence[Id]) -> None:
    """Check that there are as many ids as images, if their number is known.

    Raises:
        ValueError: If not.
    """
    if num_images not in (None, len(ids)):
        raise ValueError(f"Expected one id per image, got {len(ids)} ids for {num_images} images. Give one for each.")
