"""A function is applied in threads, and its results come in order."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from pairsim._common.ordered_map import ordered_map


def threads_named(name: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("ahead", [0, 1, 8])
def test_results_come_in_the_order_of_the_items(threads: int, ahead: int) -> None:
    def slow_where_even(item: int) -> int:
        time.sleep(0.002 * (item % 2 == 0))
        return item * item

    assert list(ordered_map(slow_where_even, range(20), threads=threads, ahead=ahead)) == [k * k for k in range(20)]
    assert list(ordered_map(slow_where_even, [], threads=threads, ahead=ahead)) == []


@pytest.mark.parametrize("ahead", [0, 3])
def test_no_more_items_are_taken_than_ahead(ahead: int) -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for item in itertools.count():
            taken.append(item)
            yield item

    results = ordered_map(abs, endless(), threads=2, ahead=ahead)
    for expected in range(5):
        assert next(results) == expected
        assert len(taken) == expected + 1 + ahead


def test_an_error_is_raised_in_its_place_and_the_rest_is_dropped() -> None:
    done: list[int] = []

    def fails_at_two(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        done.append(item)
        return item

    results = ordered_map(fails_at_two, itertools.count(), threads=1, ahead=4, name="pairsim-test")
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert threads_named("pairsim-test") == []
    assert len(done) <= 6


def test_threads_end_when_it_is_closed() -> None:
    results = ordered_map(abs, itertools.count(), threads=3, ahead=6, name="pairsim-test")
    next(results)
    assert 1 <= len(threads_named("pairsim-test")) <= 3
    results.close()
    assert threads_named("pairsim-test") == []


def test_items_are_handled_in_the_threads_or_in_the_callers() -> None:
    ran: set[str] = set()

    def note(_: int) -> None:
        ran.add(threading.current_thread().name)

    list(ordered_map(note, range(50), threads=2, ahead=9, name="pairsim-test"))
    assert 1 <= len(ran) <= 2
    assert all(name.startswith("pairsim-test") for name in ran)
    ran.clear()
    list(ordered_map(note, range(3), threads=0, ahead=9))
    assert ran == {threading.current_thread().name}
