"""Move duplicates to another folder, or replace identical files by hard links; every step can be undone.

Nothing is deleted and nothing is overwritten. A file is left where it is, with the reason, if it was changed since the
search began, if its path leads through a link, or if something else has its new path.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pairsim._common import storage
from pairsim.audits.duplicates.duplicate_report import DuplicateReport
from pairsim.audits.duplicates.moving import file_changes
from pairsim.audits.duplicates.moving.file_changes import Stamp, digest, stamp
from pairsim.audits.duplicates.moving.move_journal import Action, Journal, Step
from pairsim.errors import RunError, printable
from pairsim.training.checkpointing.run_lock import locked_folder

Stamps: TypeAlias = Mapping[str, Stamp]
"""The stamp of each file below a folder by its name, taken before the pictures are read."""

_CHANGED = "it was changed since the search began"
_KEPT_CHANGED = "the picture that is kept was changed since the search began"


@dataclass(frozen=True)
class LeftFile:
    """A duplicate that stays where it is.

    Attributes:
        file: Its name.
        reason: Why, as a clause.
    """

    file: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class MovePlan:
    """What would be done with the duplicates of a folder.

    Attributes:
        action: "move" or "link".
        folder: The folder that was searched, without links.
        target: The folder that files are moved to, without links; for links `folder`.
        files: Each file with the one that is kept; one of another folder by its whole path.
        left: Duplicates that stay where they are.
        num_bytes: Size of the files together.
    """

    action: Action
    folder: Path
    target: Path
    files: tuple[tuple[str, str], ...]
    left: tuple[LeftFile, ...]
    num_bytes: int

    def describe(self) -> str:
        """Return the plan as text."""
        verb = "move" if self.action == "move" else "replace by a hard link"
        lines = [f"Would {verb} {_files(len(self.files))}, {self.num_bytes / 1e6:,.1f} MB:"] if self.files else []
        for name, kept in self.files:
            other = os.path.join(self.target, name) if self.action == "move" else kept
            lines.append(f"  {printable(name)} -> {printable(other)}")
        lines += _left_lines(self.left)
        lines.append("Nothing was changed. To do this, add --apply." if self.files else "There is nothing to do.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return _values(self.action, [name for name, _ in self.files], self.left, None)


@dataclass(frozen=True, kw_only=True)
class MoveResult:
    """What was done.

    Attributes:
        action: "move" or "link".
        files: Names of the files that were moved or linked.
        left: Duplicates that stayed where they are.
        journal: The file that undoes it; `None` if nothing was done.
    """

    action: Action
    files: tuple[str, ...]
    left: tuple[LeftFile, ...]
    journal: Path | None

    def describe(self) -> str:
        """Return the result as text."""
        verb = "Moved" if self.action == "move" else "Replaced by a hard link:"
        lines = [f"{verb} {_files(len(self.files))}.", *_left_lines(self.left)]
        if self.journal is not None:
            lines.append(f"To undo this: pairsim duplicates --undo {printable(os.fspath(self.journal))}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return _values(self.action, self.files, self.left, self.journal)


def stamps_of(folder: Path, names: Iterable[str]) -> Stamps:
    """Return the stamp of each regular file of a folder. Take them before the pictures are read.

    Args:
        folder: The folder.
        names: Paths below it, and whole paths of pictures of another folder. What is no regular file, or cannot be
            looked at, is left out.
    """
    found = {}
    for name in names:
        one = _stamp(folder / name)
        if one is not None:
            found[name] = one
    return found


def check_target(folder: Path, target: Path) -> Path:
    """Check the folder that files are moved to, before the search.

    Returns:
        Its path without links.

    Raises:
        RunError: If one of the two folders is inside the other, or `target` cannot be written.
    """
    root, to = Path(os.path.realpath(folder)), Path(os.path.realpath(target))
    if _is_within(to, root) or _is_within(root, to):
        raise RunError(
            f"Expected to move files to a folder outside of {folder} and not above it, got {target}. Choose another "
            "one, such as one beside it."
        )
    storage.check_writable(target, "a folder")
    return to


def plan_moves(report: DuplicateReport, folder: Path, stamps: Stamps, target: Path | None) -> MovePlan:
    """Plan what happens to the duplicates of a report; nothing is changed.

    Args:
        report: Of `find_duplicates(folder)`, also with another folder as `against`. Pictures that are kept, and those
            that are only similar, always stay.
        folder: The folder that was searched.
        stamps: Of its files, from before the search.
        target: The folder to move duplicates to, which need not exist; `None` to replace identical files by hard links
            to the picture that is kept.

    Returns:
        The plan.

    Raises:
        RunError: If one of the two folders is inside the other, or `target` cannot be written.
    """
    root = Path(os.path.realpath(folder))
    to = root if target is None else check_target(folder, target)
    files, left = list[tuple[str, str]](), list[LeftFile]()
    for cluster in report.clusters:
        for member in cluster.members:
            if target is None and member.kind != "identical file":
                continue
            reason = _reason_to_stay(root, member.file, cluster.keep, stamps, linking=target is None)
            if reason is None and target is not None:
                reason = _reason_at_target(to, member.file)
            if reason is None:
                files.append((member.file, cluster.keep))
            else:
                left.append(LeftFile(member.file, reason))
    return MovePlan(
        action="link" if target is None else "move",
        folder=root,
        target=to,
        files=tuple(files),
        left=tuple(left),
        num_bytes=sum(stamps[name].size for name, _ in files),
    )


def apply_moves(plan: MovePlan, stamps: Stamps, journal: Path) -> MoveResult:
    """Do what was planned. Each step is in the journal, on disk, before it is taken.

    Args:
        plan: The plan.
        stamps: As for `plan_moves`.
        journal: Where to write the journal, a new file in `plan.target`.

    Returns:
        What was done. Files that were changed meanwhile stay where they are.

    Raises:
        RunError: If the disk is full or a file cannot be moved; the message names it. Files before it are moved, and
            the journal undoes that.
    """
    if not plan.files:
        return MoveResult(action=plan.action, files=(), left=plan.left, journal=None)
    done, left = list[str](), list(plan.left)
    names = defaultdict[tuple[int, int], list[str]](list)
    for name, one in stamps.items():
        names[one.identity].append(name)
    with locked_folder(plan.target):
        log = Journal(journal, plan.action, plan.folder, plan.target)
        try:
            for name, kept in plan.files:
                try:
                    step = _step(plan, name, kept, stamps, names[stamps[name].identity])
                    _take(plan, step, log)
                except _StaysError as reason:
                    left.append(LeftFile(name, str(reason)))
                except RunError:
                    raise
                except OSError as error:
                    raise RunError(
                        f"Could not {plan.action} {plan.folder / name}: {error.strerror or error}. {_files(len(done))} "
                        f"before it: done; pairsim duplicates --undo {journal} undoes that. Free some space or "
                        "change permissions, then run the same command again for the rest."
                    ) from error
                else:
                    done.append(name)
        finally:
            log.close()
    return MoveResult(action=plan.action, files=tuple(done), left=tuple(left), journal=journal)


class _StaysError(Exception):
    """A file is not moved or linked; the text is the reason."""


def _stamp(path: Path) -> Stamp | None:
    try:
        return stamp(path)
    except (OSError, ValueError):  # a folder that is locked; a null byte
        return None


def _is_within(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or below it, also where a mount gives it another path."""
    above = (path, *path.parents)
    return folder in above or (folder.is_dir() and any(one.is_dir() and one.samefile(folder) for one in above))


def _reason_to_stay(root: Path, name: str, kept: str, stamps: Stamps, *, linking: bool) -> str | None:
    """Return why a file is not touched, or `None`."""
    path = root / name
    if os.path.realpath(path) != os.fspath(path):
        return "its path leads through a link"
    if name not in stamps or _stamp(path) != stamps[name]:
        return _CHANGED
    if os.path.realpath(root / kept) != os.fspath(root / kept):
        return "the path of the picture that is kept leads through a link"
    if kept not in stamps or _stamp(root / kept) != stamps[kept]:
        return _KEPT_CHANGED
    if not _may_write(path.parent):
        return "its folder may not be written to"
    if not linking:
        return None
    if stamps[kept].identity == stamps[name].identity:
        return "it is a hard link to the picture that is kept already"
    if stamps[kept].device != stamps[name].device:
        return "the picture that is kept is on another file system"
    return _reason_of_links(stamps[name], sum(one.identity == stamps[name].identity for one in stamps.values()))


def _reason_of_links(found: Stamp, num_known: int) -> str | None:
    if found.num_links > num_known:
        return "it has hard links elsewhere, which could not be restored"
    return None


def _reason_at_target(target: Path, name: str) -> str | None:
    """Return why a file cannot have its path below another folder, or `None`."""
    try:
        for folder in reversed((target / name).relative_to(target).parents):
            if os.path.realpath(target / folder) != os.fspath(target / folder):
                return f"{target / folder} is a link"
            if os.path.lexists(target / folder) and not (target / folder).is_dir():
                return f"{target / folder} is no folder"
        os.lstat(target / name)
        return f"something is at {target / name} already (of an interrupted run? then undo that one first)"
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"it cannot have the path {target / name}: {error.strerror}"


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _step(plan: MovePlan, name: str, kept: str, stamps: Stamps, known: list[str]) -> Step:
    """Look at a file once more, right before it is moved or linked."""
    path, expected = plan.folder / name, stamps[name]
    found, of_kept = _stamp(path), _stamp(plan.folder / kept)
    if found is None or found.content != expected.content or os.path.realpath(path) != os.fspath(path):
        raise _StaysError(_CHANGED)
    if of_kept is None or of_kept.content != stamps[kept].content:
        raise _StaysError(_KEPT_CHANGED)
    sha256 = digest(path)
    if _stamp(path) != found:
        raise _StaysError(_CHANGED)
    if plan.action == "link":
        if digest(plan.folder / kept) != sha256:
            raise _StaysError("its bytes differ from those of the picture that is kept")
        reason = _reason_of_links(found, len(known))
        if reason is not None:
            raise _StaysError(reason)
    return Step(
        name=name,
        kept=kept,
        temporary=f".move.{os.urandom(8).hex()}.tmp",
        size=found.size,
        content_sha256=sha256,
        mtime_ns=found.mtime_ns,
        mode=found.mode,
        inode=found.inode,
        kept_inode=of_kept.inode,
        links=tuple(one for one in known if one != name),
    )


def _take(plan: MovePlan, step: Step, journal: Journal) -> None:
    if plan.action == "move":
        reason = _reason_at_target(plan.target, step.name)
        if reason is not None:
            raise _StaysError(reason)
        for folder in _missing(plan.target, plan.target / step.name):
            journal.add(folder)
            (plan.target / folder).mkdir()
            file_changes.sync_folder((plan.target / folder).parent)
    journal.add(step)
    try:
        (_link if plan.action == "link" else _move)(plan, step)
    except (OSError, _StaysError):
        journal.withdraw()
        raise


def _link(plan: MovePlan, step: Step) -> None:
    path = plan.folder / step.name
    file_changes.replace_by_link(plan.folder / step.kept, path, path.with_name(step.temporary))


def _move(plan: MovePlan, step: Step) -> None:
    old, new = plan.folder / step.name, plan.target / step.name
    try:
        file_changes.move(old, new)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        found = stamp(old)
        reason = None if found is None else _reason_of_links(found, 1 + len(step.links))
        if reason is not None:
            raise _StaysError(reason) from error
        temporary = new.with_name(step.temporary)
        file_changes.move_copy(old, new, temporary, sha256=step.content_sha256, mtime_ns=step.mtime_ns, mode=step.mode)


def _missing(target: Path, path: Path) -> Iterator[str]:
    """Yield the folders above a path that have to be made below another, the uppermost first."""
    for folder in reversed(path.relative_to(target).parents[:-1]):
        if not os.path.lexists(target / folder):
            yield folder.as_posix()


def _values(action: Action, files: Iterable[str], left: Iterable[LeftFile], journal: Path | None) -> dict[str, Any]:
    return {
        "action": action,
        "files": list(files),
        "left": [{"file": one.file, "reason": one.reason} for one in left],
        "journal": None if journal is None else os.fspath(journal),
    }


def _files(number: int) -> str:
    return f"{number:,} file{'' if number == 1 else 's'}"


def _left_lines(left: Iterable[LeftFile]) -> list[str]:
    return [f"  {printable(one.file)} stays: {printable(one.reason)}" for one in left]
