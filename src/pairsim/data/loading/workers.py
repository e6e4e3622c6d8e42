"""Processes that read images: whether they can be started here, and their errors.

A process that is not forked (on Windows and macOS, and on Linux from Python 3.14 on) gets the dataset pickled, and
imports the main module again. A script that does its work there would do it again, and a class that only the
running process has is not found.
"""

from __future__ import annotations

import ast
import io
import multiprocessing
import pickle
import sys
import tokenize
from collections.abc import Iterable, Iterator
from types import FrameType, FunctionType
from typing import Any

import numpy as np
from torch import Tensor
from torch._C import _remove_worker_pids
from torch.utils.data import get_worker_info

from pairsim.errors import DataError, PairsimError

POLL_S = 1
"""Seconds after which a loader that waits for its processes looks at what they do."""
_MAX_ITEM_S, _MAX_BATCH_S = 20, 120
"""Seconds that reading one image may take, and starting a process or reading a batch at once."""
_LOST_WORKER, _WAITED = "DataLoader worker (pid", "DataLoader timed out"
_ADVICE = "Use smaller batches, fewer such processes, or none (num_workers=0, --num-workers 0)."


def why_no_workers(dataset: Any) -> str | None:
    """Return why no process that reads a dataset can be started, and what to do, as a clause; `None` if one can."""
    if multiprocessing.current_process().daemon:
        return "it is a worker of multiprocessing, which must not start others. Read the data in the main process"
    # not `get_start_method()`, after which the method could not be set any more
    if (multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]) == "fork":
        return None
    guards = _guards()
    guarded = [_lines(guard) for guard in guards or ()]
    if guards is not None and not all(any(line in lines for lines in guarded) for line in _running_lines()):
        return 'others would run the whole script again. Put what it does below `if __name__ == "__main__":`'
    names = _NamesOfMain(io.BytesIO())
    try:
        names.dump(dataset)
    except RuntimeError:  # of locks and queues, which can be passed on when a process starts
        return None
    except Exception as error:
        return (
            f"the dataset cannot be sent to others ({' '.join(str(error).split())}). Use functions and classes of a "
            "module, not lambdas and local ones"
        )
    within = {getattr(node, "name", None) for guard in guards or () for node in ast.walk(guard)}
    lost = [name for name in names.found if guards is None or name in within]
    return f"others could not import {lost[0]} from the main program. Move it to a module" if lost else None


class Watch:
    """What each process of a loader reads, in memory that they share.

    Args:
        num_workers: Number of processes.
        dataset: What they read; the names of picture files are used in messages.
    """

    def __init__(self, num_workers: int, dataset: Any) -> None:
        self._paths: list[str] | None = getattr(dataset, "paths", None)
        # for each process, how often it began or ended an item, and the number of the item + 1; 0 between items
        self._doing: Any = multiprocessing.RawArray("q", 2 * num_workers)
        self._seen: list[tuple[int, int, int]] = [(0, 0, 0)] * num_workers

    def begin(self, item: int) -> None:
        """Note, in one of the processes, that it reads an item."""
        info = get_worker_info()
        if info is not None:
            self._doing[2 * info.id] += 1
            self._doing[2 * info.id + 1] = item + 1

    def end(self) -> None:
        """Note, in one of the processes, that it reads no item."""
        self.begin(-1)

    def name(self, worker: int) -> str:
        """Return what a process reads, for messages; "" if it is between items."""
        item = self._doing[2 * worker + 1] - 1
        if item < 0:
            return ""
        return f"item {item} of the dataset" if self._paths is None else self._paths[item]

    def hanging(self) -> int | None:
        """Return a process that does nothing new; ask after each second of waiting. `None` if all work.

        Seconds are counted and not read from a clock, which goes on while a machine is asleep.
        """
        for worker, (count, item, seconds) in enumerate(self._seen):
            now = self._doing[2 * worker], self._doing[2 * worker + 1]
            self._seen[worker] = (*now, seconds + POLL_S if now == (count, item) else 0)
        over = [k for k, (_, item, seconds) in enumerate(self._seen) if item and seconds >= _MAX_ITEM_S]
        all_idle = all(item == 0 and seconds >= _MAX_BATCH_S for _, item, seconds in self._seen)
        return over[0] if over else 0 if all_idle else None


def read_by_workers(loader: Iterable[Any], watch: Watch | None = None, advice: str = _ADVICE) -> Iterator[Any]:
    """Yield the batches of a `DataLoader`, or errors in place of them.

    Args:
        loader: With processes it has the timeout `POLL_S`.
        watch: What its processes read; needed if there are any.
        advice: What to do if one of them ends.

    Raises:
        DataError: If its processes cannot be started, one ends early, or one hangs; the message names what it read. No
            process is left.
    """
    try:
        multiprocessing.Lock()  # where there can be none, PyTorch would print a traceback of its own
        batches = iter(loader)
    except OSError as error:
        raise DataError(f"Processes that read images could not be started: {error.strerror}. {advice}") from error
    if getattr(batches, "_worker_pids_set", False):
        # else PyTorch raises an error in whatever code runs when a process ends; it is found after POLL_S at most
        _remove_worker_pids(id(batches))
        batches._worker_pids_set = False  # type: ignore[attr-defined]
    try:
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if watch is None or not str(error).startswith(_WAITED):
                    raise
                if (worker := watch.hanging()) is None:
                    continue
                batches._workers[worker].kill()  # type: ignore[attr-defined]
                name = watch.name(worker)
                raise DataError(
                    f"Expected {name} to be read within {_MAX_ITEM_S} seconds, but the process that reads it hangs. "
                    f"Replace or remove it, or check the disk or the network."
                    if name
                    else f"Expected a batch of images within {_MAX_BATCH_S} seconds, but the processes that read them "
                    f"do nothing. {advice}"
                ) from None
            if isinstance(batch, PairsimError):
                _end(batches)
            yield batch
    except Exception as error:
        if not (isinstance(error, RuntimeError) and str(error).startswith(_LOST_WORKER)):
            _end(batches)
            raise
        ended = [k for k, worker in enumerate(getattr(batches, "_workers", ())) if not worker.is_alive()]
        names = [name for k in ended if watch is not None and (name := watch.name(k))]
        _end(batches)
        reason, at = " ".join(str(error).split()), f" while it read {names[0]}" if names else ""
        raise DataError(f"A process that reads images ended{at}, perhaps out of memory ({reason}). {advice}") from error


def _end(batches: Any) -> None:
    """End the processes of a loader that failed, which is then not used again.

    The garbage collector would close their queues first, and then wait 5 seconds for each of them.
    """
    getattr(batches, "_shutdown_workers", bool)()  # without workers there is none
    for worker in getattr(batches, "_workers", ()):  # one that handles the signal to end may not have ended
        worker.join(1)
        worker.kill()
        worker.join(1)


def shared(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor] | PairsimError:
    """Return a batch in the memory that a worker shares with the process that reads from it, or the error.

    PyTorch does this when it sends the batch, in a thread whose errors leave the reader waiting forever.
    """
    if get_worker_info() is not None:
        try:
            return images.share_memory_(), targets.share_memory_()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            return DataError(f"A process that reads images has no shared memory for a batch ({reason}). {_ADVICE}")
    return images, targets


class _NamesOfMain(pickle.Pickler):
    """Collects the functions and classes of the main program that an object needs; pixels are left out."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.found: list[str] = []

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor | np.ndarray):
            return int, ()
        if isinstance(value, type | FunctionType) and value.__module__ == "__main__":
            self.found.append(value.__name__)
        return NotImplemented


def _guards() -> list[ast.If] | None:
    """The statements `if __name__ == "__main__":` of the main module; `None` if others do not import it."""
    main = sys.modules["__main__"]
    file, name = getattr(main, "__file__", None), getattr(getattr(main, "__spec__", None), "name", "")
    if file is None or name.endswith("__main__"):
        return None
    try:
        with tokenize.open(file) as source:
            tree = ast.parse(source.read())
    except (OSError, ValueError, SyntaxError):
        return None
    branches = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    return [node for node in branches if any(getattr(part, "id", "") == "__name__" for part in ast.walk(node.test))]


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _running_lines() -> list[int]:
    """The lines of the main module that threads are running; none if it has ended."""
    lines, names = [], vars(sys.modules["__main__"])
    for innermost in sys._current_frames().values():
        frame: FrameType | None = innermost
        while frame is not None:
            if frame.f_globals is names and frame.f_code.co_name == "<module>":
                lines.append(frame.f_lineno)
            frame = frame.f_back
    return lines
