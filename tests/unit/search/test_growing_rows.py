from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pairsim.search.growing_rows import GrowingRows, with_room


@given(st.lists(st.integers(0, 9), max_size=12))
def test_all_rows_in_order(sizes: list[int]) -> None:
    rows, expected = GrowingRows(), torch.empty(0, 3)
    for number, size in enumerate(sizes):
        new = torch.full((size, 3), float(number))
        rows.append(new)
        expected = torch.cat((expected, new))
        assert len(rows) == len(expected)
        if len(expected):
            assert torch.equal(rows.all, expected)


def test_single_rows_are_seldom_copied() -> None:
    rows = GrowingRows(torch.zeros(1000, 2))
    places = set()
    for _ in range(1000):
        rows.append(torch.ones(1, 2))
        places.add(rows.all.data_ptr())
    assert len(places) <= 8  # 1.125^8 > 2
    assert rows.to(torch.device("cpu")).data_ptr() == rows.all.data_ptr()


def test_room_that_is_there_is_used() -> None:
    buffer = torch.zeros(with_room(80), 2)
    rows = GrowingRows(buffer, 80)
    rows.append(torch.ones(10, 2))
    assert (len(buffer), len(rows), rows.all.data_ptr()) == (90, 90, buffer.data_ptr())
    assert buffer[80:].eq(1).all()
