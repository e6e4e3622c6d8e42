"""Sets are those that a search along all pairs finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pairsim.audits.duplicates.matching.disjoint_sets import DisjointSets

SIZE = 8


def reached(start: int, pairs: list[tuple[int, int]]) -> set[int]:
    found = {start}
    while more := {b for pair in pairs for a, b in (pair, pair[::-1]) if a in found} - found:
        found |= more
    return found


@given(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1)), max_size=12))
def test_sets_are_those_that_pairs_connect(pairs: list[tuple[int, int]]) -> None:
    sets = DisjointSets(SIZE)
    for first, second in pairs:
        sets.join(first, second)
    expected = sorted({tuple(sorted(reached(number, pairs))) for number in range(SIZE)})
    assert sets.members(range(SIZE)) == [list(group) for group in expected]
    for a in range(SIZE):
        for b in range(SIZE):
            assert (sets.root(a) == sets.root(b)) == (b in reached(a, pairs))
