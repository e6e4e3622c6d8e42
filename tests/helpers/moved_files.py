"""A folder with duplicates, what is in it, and an operating system that is killed or has two file systems."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pairsim.audits.duplicates.duplicate_report import Duplicate, DuplicateCluster, DuplicateReport
from pairsim.audits.duplicates.moving import moves, undo
from pairsim.audits.duplicates.moving.moves import MoveResult, apply_moves, plan_moves, stamps_of

NOT_UTF_8 = os.fsdecode(b"caf\xe9.png")
COPIES = ("sub/copy.png", "sub/deep/linked.png", "sub/linked.png", f"sub/{NOT_UTF_8}")
"""The same bytes as `a.png`, the two in the middle as one file."""
CHANGING = ("link", "unlink", "rename", "replace", "fsync", "mkdir", "rmdir", "utime", "chmod")


def write_folder(folder: Path) -> Path:
    """`a.png` with copies, `b.png` with a near-duplicate, and `c.png`, each with times and permissions of its own."""
    contents = {"a.png": b"first" * 300, "b.png": b"second", "near.png": b"like the second", "c.png": b"third"}
    contents |= dict.fromkeys(COPIES, contents["a.png"])
    for number, (name, content) in enumerate(contents.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "sub/linked.png":
            os.link(folder / "sub/deep/linked.png", path)
            continue
        path.write_bytes(content)
        path.chmod(0o600 + number)
        os.utime(path, ns=(10**18, 10**18 + 1_000_000_007 * number))
    return folder


def report_on_folder() -> DuplicateReport:
    """What a search would find in it."""
    members = tuple(Duplicate(file=name, similarity=1.0, kind="identical file") for name in COPIES)
    near = Duplicate(file="near.png", similarity=0.995, kind="near")
    similar = (DuplicateCluster(keep="b.png", members=(Duplicate(file="c.png", similarity=0.9, kind="near"),)),)
    return DuplicateReport(
        num_images=8,
        clusters=(DuplicateCluster(keep="a.png", members=members), DuplicateCluster(keep="b.png", members=(near,))),
        threshold=0.99,
        similar=similar,
    )


def names_in(folder: Path) -> list[str]:
    """Every file below a folder but journals and locks, and what a kill leaves of these, as paths."""
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
    return sorted(name for name in found if not name.startswith(("pairsim-journal", ".lock", "..lock")))


class FileState(NamedTuple):
    """What is restored of a file."""

    content: bytes
    mtime_ns: int
    mode: int
    names: tuple[str, ...]


def state(folder: Path) -> dict[str, FileState]:
    """Names, bytes, times, permissions and hard links of the files below a folder."""
    names = names_in(folder)
    links = defaultdict[int, list[str]](list)
    for name in names:
        links[(folder / name).stat().st_ino].append(name)
    found = dict[str, FileState]()
    for name in names:
        path = folder / name
        one = path.stat()
        found[name] = FileState(path.read_bytes(), one.st_mtime_ns, one.st_mode, tuple(links[one.st_ino]))
    return found


def carry_out(folder: Path, target: Path | None, report: DuplicateReport | None = None) -> MoveResult:
    """Search, plan and apply as the command does, with a journal of a known name."""
    stamps = stamps_of(folder, names_in(folder))
    plan = plan_moves(report or report_on_folder(), folder, stamps, target)
    return apply_moves(plan, stamps, plan.target / f"pairsim-journal-{len(list(plan.target.glob('*.jsonl')))}.jsonl")


class Killed(BaseException):
    """In place of a SIGKILL."""


@contextlib.contextmanager
def killed_at(number: int | None) -> Iterator[list[str]]:
    """Raise `Killed` at a call that changes the disk, and at every later one; yield the calls so far.

    Folders are not locked meanwhile, as the lock would not be released.
    """
    real: dict[str, Any] = {name: getattr(os, name) for name in CHANGING}
    calls = list[str]()

    def guarded(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            calls.append(name)
            if number is not None and len(calls) >= number:
                raise Killed
            return real[name](*arguments, **keywords)

        return call

    lock = vars(moves)["locked_folder"]
    for name in CHANGING:
        setattr(os, name, guarded(name))
    for module in (moves, undo):
        vars(module)["locked_folder"] = lambda folder: contextlib.nullcontext(folder.mkdir(exist_ok=True))
    try:
        yield calls
    finally:
        for name, function in real.items():
            setattr(os, name, function)
        for module in (moves, undo):
            vars(module)["locked_folder"] = lock


@contextlib.contextmanager
def refusing(error: int, between: Path | None = None, calls: tuple[str, ...] = ("link", "rename")) -> Iterator[None]:
    """Make calls fail: all of them, or those that cross the border of a folder, as of another file system."""
    real: dict[str, Any] = {name: getattr(os, name) for name in calls}

    def guarded(name: str) -> Callable[..., Any]:
        def call(*paths: Any, **keywords: Any) -> Any:
            if between is None or len({Path(path).is_relative_to(between) for path in paths}) > 1:
                raise OSError(error, os.strerror(error), str(paths[0]))
            return real[name](*paths, **keywords)

        return call

    for name in calls:
        setattr(os, name, guarded(name))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def two_file_systems(folder: Path) -> contextlib.AbstractContextManager[None]:
    """A folder that is on a file system of its own."""
    return refusing(errno.EXDEV, folder)
