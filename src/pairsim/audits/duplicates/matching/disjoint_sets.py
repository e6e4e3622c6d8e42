"""Join things to sets, pair by pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable


class DisjointSets:
    """Sets of the numbers from 0 on, each alone at first.

    Args:
        size: How many there are.

    Example:
        >>> sets = DisjointSets(4)
        >>> sets.join(3, 1)
        >>> sets.members([0, 1, 3])
        [[0], [1, 3]]
    """

    def __init__(self, size: int) -> None:
        self._parent: list[int] = list(range(size))

    def root(self, number: int) -> int:
        """Return the number that stands for the set of another one."""
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def join(self, first: int, second: int) -> None:
        """Join the sets of two numbers."""
        self._parent[self.root(first)] = self.root(second)

    def members(self, numbers: Iterable[int]) -> list[list[int]]:
        """Group numbers by their sets, in the order in which each set first appears."""
        groups = defaultdict(list)
        for number in numbers:
            groups[self.root(number)].append(number)
        return list(groups.values())
