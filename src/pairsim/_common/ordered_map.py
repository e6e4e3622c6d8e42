"""Apply a function to many items in threads, and get the results in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int, name: str = "pairsim"
) -> Generator[Result]:
    """Apply a function to items in threads, and yield the results in the order of the items.

    Use it for work that releases Python's lock, such as decoding, reading and hashing. Items are taken in the caller's
    thread, at most `ahead` more than results were yielded, so an endless generator is fine. An error is raised in the
    place of the result. When the generator ends or is closed, items that are not started are dropped and all threads
    have ended.

    Args:
        function: Called once for each item.
        items: Taken one by one, when a thread can start on them.
        threads: Threads that call `function`; 0 calls it in the caller's thread, one item at a time.
        ahead: Items that are worked on or done beyond the result that is asked for, at least 0.
        name: Threads get this name and a number.

    Yields:
        One result for each item.

    Example:
        >>> list(ordered_map(abs, [-1, 2, -3], threads=2, ahead=4))
        [1, 2, 3]
    """
    if threads < 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads, name) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
