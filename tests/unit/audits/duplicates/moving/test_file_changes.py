from __future__ import annotations

import errno
import hashlib
import os
import sys
from pathlib import Path

import pytest
from moved_files import refusing

from pairsim.audits.duplicates.moving import file_changes
from pairsim.audits.duplicates.moving.file_changes import copy, digest, discard, has, move, move_copy, remove_old, stamp

CONTENT = b"content" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    path = tmp_path / "old" / "a.png"
    path.write_bytes(CONTENT)
    os.utime(path, ns=(5, 10**18 + 3))
    path.chmod(0o640)
    return path


def test_stamps(source: Path) -> None:
    first = stamp(source)
    assert first is not None
    assert (first.size, first.mtime_ns, first.mode, first.num_links) == (len(CONTENT), 10**18 + 3, 0o640, 1)
    os.link(source, source.with_name("b.png"))
    second = stamp(source)
    assert second is not None
    assert second.content == first.content
    assert second != first  # another number of links
    other = stamp(source.with_name("b.png"))
    assert other is not None
    assert other.identity == first.identity
    source.with_name("link").symlink_to(source)
    assert [stamp(source.parent / name) for name in ("link", "absent", "a.png/x", ".")] == [None] * 4
    assert (digest(source), has(source, len(CONTENT), SHA256)) == (SHA256, True)
    assert not has(source, len(CONTENT), "0" * 64)
    assert not has(source.with_name("absent"), 0, SHA256)


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_move_overwrites_nothing(source: Path, tmp_path: Path, hard_links: bool) -> None:
    target = tmp_path / "new" / "b.png"
    target.write_bytes(b"there")
    with refusing(errno.EPERM, tmp_path / "none" if hard_links else None, calls=("link",)):
        with pytest.raises(FileExistsError):
            move(source, target)
        assert (source.read_bytes(), target.read_bytes()) == (CONTENT, b"there")
        target.unlink()
        before = stamp(source)
        move(source, target)
    after = stamp(target)
    assert before is not None
    assert after is not None
    assert after.content == before.content
    assert not source.exists()


def test_other_errors_change_nothing(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "b.png"
    with refusing(errno.EXDEV), pytest.raises(OSError, match="cross-device"):
        move(source, target)
    with refusing(errno.EACCES, calls=("unlink",)), pytest.raises(PermissionError):
        move(source, target)
    assert source.read_bytes() == CONTENT


def test_an_old_name_that_cannot_be_removed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, real = tmp_path / "new" / "b.png", os.unlink

    def unlink(path: Path) -> None:
        if path == source:
            raise PermissionError(errno.EACCES, "denied")
        real(path)

    monkeypatch.setattr(os, "unlink", unlink)
    for work in (move, lambda old, new: move_copy(old, new, new.with_name("t"), sha256=SHA256, mtime_ns=1, mode=0o600)):
        with pytest.raises(PermissionError):
            work(source, target)
        assert list(target.parent.iterdir()) == []
        assert source.read_bytes() == CONTENT


def test_a_copy_has_bytes_times_and_permissions(source: Path, tmp_path: Path) -> None:
    if sys.platform == "linux":
        os.setxattr(source, "user.note", b"kept")
    target = tmp_path / "new" / "b.png"
    move_copy(source, target, target.with_name("t"), sha256=SHA256, mtime_ns=10**18 + 3, mode=0o640)
    found = stamp(target)
    assert found is not None
    assert (found.mtime_ns, found.mode, target.read_bytes()) == (10**18 + 3, 0o640, CONTENT)
    if sys.platform == "linux":
        assert os.getxattr(target, "user.note") == b"kept"
    assert not source.exists()
    assert os.listdir(target.parent) == ["b.png"]


def test_a_copy_that_differs_is_removed(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "b.png"
    with pytest.raises(OSError, match="the copy differs from what was read before"):
        move_copy(source, target, target.with_name("t"), sha256="0" * 64, mtime_ns=1, mode=0o600)
    assert list(target.parent.iterdir()) == []
    assert source.read_bytes() == CONTENT


def test_a_copy_is_on_disk_before_the_file_is_removed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = list[str]()
    fsync, unlink = os.fsync, os.unlink

    def sync(file: int) -> None:
        order.append("sync")
        fsync(file)

    def remove(path: Path) -> None:
        order.append(path.name)
        unlink(path)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "unlink", remove)
    target = tmp_path / "new" / "b.png"
    move_copy(source, target, target.with_name("t"), sha256=SHA256, mtime_ns=1, mode=0o600)
    assert order[:2] == ["sync", "sync"]  # the copy, and the folder that lists it
    assert order[-3:] == ["sync", "a.png", "sync"]


def test_a_link_replaces_in_one_step(source: Path) -> None:
    other = source.with_name("b.png")
    other.write_bytes(CONTENT)
    temporary = source.with_name("t")
    with refusing(errno.EIO, calls=("replace",)), pytest.raises(OSError, match="Input/output"):
        file_changes.replace_by_link(source, other, temporary)
    assert not temporary.exists()
    assert not other.samefile(source)
    file_changes.replace_by_link(source, other, temporary)
    assert other.samefile(source)
    assert sorted(os.listdir(source.parent)) == ["a.png", "b.png"]


def test_small_steps(source: Path, tmp_path: Path) -> None:
    discard(tmp_path / "absent")
    discard(source / "below a file")
    other = tmp_path / "new" / "b.png"
    copy(source, other, sha256=SHA256, mtime_ns=7, mode=0o600)
    with pytest.raises(FileExistsError):
        copy(source, other, sha256=SHA256, mtime_ns=7, mode=0o600)
    remove_old(source, other)
    assert not source.exists()
