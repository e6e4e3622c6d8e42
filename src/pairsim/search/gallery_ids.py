"""The ids of a gallery's images: strings or whole numbers, each once, in order of addition."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

Id: TypeAlias = str | int
Ids: TypeAlias = Iterable[Any] | Id | os.PathLike[str]
"""One name or several; paths count as strings, NumPy's whole numbers as ints."""


class IdTable:
    """Ids in order, and where each stands, which is found out when it is first asked for."""

    def __init__(self, names: list[Id] | None = None) -> None:
        self.names: list[Id] = [] if names is None else names
        self._places: dict[Id, int] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def places(self) -> dict[Id, int]:
        """The place of each id."""
        if self._places is None:  # for a million it takes as long as half of loading them
            self._places = {name: place for place, name in enumerate(self.names)}
        return self._places

    def append(self, names: Sequence[Id]) -> None:
        """Add ids, which `new` has checked."""
        if self._places is not None:
            self._places.update({name: len(self.names) + row for row, name in enumerate(names)})
        self.names += names

    def keep(self, places: Sequence[int]) -> None:
        """Leave only the ids of some places, in their order."""
        self.names = [self.names[place] for place in places]
        self._places = None

    def numbers(self, count: int) -> list[Id]:
        """The whole numbers after the largest so far, from 0."""
        start = max((name for name in self.names if isinstance(name, int)), default=-1) + 1
        return list(range(start, start + count))

    def of_one_kind(self, names: list[Id]) -> list[Id]:
        """Check that ids are of the kind of the others, and none comes twice.

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
        """Check the same, and that no id is there already.

        Raises:
            ValueError: If not; names the first.
        """
        for name in self.of_one_kind(names):
            if name in self.places:
                raise ValueError(
                    f"Expected ids that are not in the gallery, got {name!r}, which is. To replace its image use "
                    "gallery.update(images, ids)."
                )
        return names


def as_ids(ids: Ids) -> list[Id]:
    """Bring ids to strings and ints.

    Raises:
        TypeError: If one is neither.
        ValueError: If a string is no valid text.
    """
    return [_as_id(name) for name in ([ids] if isinstance(ids, str | int | np.integer | os.PathLike) else ids)]


def _as_id(name: Any) -> Id:
    if isinstance(name, str | os.PathLike):
        text = str(os.fspath(name))
        try:
            text.encode()
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
