from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_trees import locked, touch
from PIL import Image

from pairsim.errors import DataError, DatasetNotFoundError, ImageReadError
from pairsim.images import pictures_below, read_image
from pairsim.images.folders import LeftOut, picture_endings, scan
from pairsim.images.plug_ins import register_plug_ins


def left_out(folder: Path, **options: Any) -> dict[str, tuple[int, int, tuple[str, ...]]]:
    return {one.reason: (one.files, one.folders, one.examples) for one in scan(folder, **options).left_out}


def test_pictures_of_all_sub_folders_in_order(tmp_path: Path) -> None:
    wanted = ["a.JPG", "b.png", "deep/er/c.webp", "deep-er/a.png", "é.tiff"]
    touch(tmp_path, [*wanted, "notes.txt", ".hidden.png", ".git/d.png", "deep/.kept/e.png", "png"])
    (tmp_path / "folder.png").mkdir()
    for folder in (tmp_path, str(tmp_path)):
        found = [path.relative_to(tmp_path).as_posix() for path in pictures_below(folder)]
        assert found == sorted(wanted, key=lambda name: name.split("/"))
        assert pictures_below(folder) == sorted(pictures_below(folder))


def test_a_hidden_folder_can_be_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, [".cache/a.png"])
    assert pictures_below(tmp_path / ".cache") == [tmp_path / ".cache" / "a.png"]


def test_no_folder_or_no_picture(tmp_path: Path) -> None:
    touch(tmp_path, ["file.png", "other/a.txt", "other/b.TXT", "other/film.mpg"])
    for name in ("absent", "file.png", "file.png/below"):
        with pytest.raises(DatasetNotFoundError, match=rf"^Expected a folder of pictures at .*{name}, found no such"):
            pictures_below(tmp_path / name)
    held = r"found none\. Left out: 2 files ending in \.txt \(a\.txt, b\.TXT\), 1 file ending in \.mpg \(film\.mpg\)\."
    with pytest.raises(DataError, match=f"Expected pictures in .*{held} Choose another folder"):
        pictures_below(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty, found none\. Choose another folder"):
        pictures_below(tmp_path / "empty")


@pytest.mark.parametrize(
    "ending",
    "apng avif bmp dib gif ico jfif jp2 jpe jpeg jpg j2k pbm pcx pgm png pnm ppm qoi sgi tga tif tiff webp xbm".split(),  # noqa: SIM905
)
def test_each_format_that_pillow_reads(ending: str, tmp_path: Path) -> None:
    pixels = Image.fromarray(np.full((32, 32), 200, np.uint8))
    for name in (f"a.{ending}", f"b.{ending.upper()}", f"c.{ending.title()}"):
        (pixels.convert("1") if ending == "xbm" else pixels.convert("RGB")).save(tmp_path / name)
    found = scan(tmp_path)
    assert len(found.names) == 3
    assert found.left_out == ()
    assert read_image(found.pictures[0]).shape == (3, 32, 32)


@pytest.mark.parametrize("ending", "ps eps wmf emf pdf mpg mpeg h5 hdf grib bufr fits fit iim pfm txt xyz".split())  # noqa: SIM905
def test_formats_that_are_no_pictures_are_said(ending: str, tmp_path: Path) -> None:
    touch(tmp_path, ["a.png", f"b.{ending.upper()}"])
    assert left_out(tmp_path) == {f"files ending in .{ending}": (1, 0, (f"b.{ending.upper()}",))}


def test_formats_of_plug_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Image.init()
    register_plug_ins()  # before the tables are replaced: it registers once
    monkeypatch.setattr(Image, "EXTENSION", {**Image.EXTENSION, ".xyz": "XYZ", ".save": "SAVED"})
    touch(tmp_path, ["a.xyz", "b.save"])
    with pytest.raises(DataError, match="found none"):
        scan(tmp_path)  # no plug-in opens them
    monkeypatch.setattr(Image, "OPEN", {**Image.OPEN, "XYZ": Image.OPEN["PNG"]})
    assert scan(tmp_path).names == ("a.xyz",)


def test_pictures_with_other_endings_are_said_by_ending(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    for name in ("photo", "photo.", "photo.dat", "photo.JPG~", "photo.jpg ", "photo.ending that is long"):
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
    assert left_out(tmp_path) == {
        "files ending in .dat": (1, 0, ("photo.dat",)),
        "files ending in .jpg~": (1, 0, ("photo.JPG~",)),
        "files with other endings": (2, 0, ("photo.ending that is long", "photo.jpg ")),
        "files without an ending": (2, 0, ("photo", "photo.")),
    }


def test_many_endings_stay_one_line(tmp_path: Path) -> None:
    touch(tmp_path, ["a.png", "line\nbreak.x\ny", *(f"{n}.x{n:02}" for n in range(30)), "1.y", "2.y"])
    found = scan(tmp_path)
    assert len(str(found).splitlines()) == 1
    assert str(found).startswith(
        f"{tmp_path}: 1 picture. Left out: 2 files ending in .y (1.y, 2.y), 1 file ending in .x00"
    )
    assert sum(one.files for one in found.left_out) == 33


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir/a.jpg", "#recycle/a.jpg", "#snapshot/a.jpg", "$RECYCLE.BIN/a.jpg", "System Volume Information/a.jpg",
        "__MACOSX/a.jpg", ".ipynb_checkpoints/a.jpg", "lost+found/a.jpg", ".AppleDouble/a.jpg", "__pycache__/a.jpg",
        "Thumbs.db", "desktop.ini", "._a.jpg", ".DS_Store", "@EADIR/deep/er/a.jpg", "cat/@eaDir/a.jpg", "cat/THUMBS.DB",
    ],
)  # fmt: skip
def test_what_servers_and_tools_leave(name: str, tmp_path: Path) -> None:
    touch(tmp_path, ["cat/1.png", name])
    top = name if "deep" not in name and not name.endswith("a.jpg") else name.partition("/")[0]
    shown = {"cat": "cat/@eaDir"}.get(top, top)
    assert scan(tmp_path).names == ("cat/1.png",)
    assert left_out(tmp_path) == {"hidden and system files": (1, 0, (shown,))}


def test_hidden_folders_count_with_all_their_files_and_only_then(tmp_path: Path) -> None:
    touch(tmp_path, ["a.png", ".git/x", ".git/objects/y", ".git/objects/z.png"])
    (tmp_path / "@eaDir").mkdir()
    assert left_out(tmp_path) == {"hidden and system files": (3, 0, (".git",))}


def link(path: Path, target: str | Path, *, is_folder: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.symlink_to(target, target_is_directory=is_folder)
    except OSError:
        pytest.skip("links are not allowed here")


def test_linked_folders_and_files_outside_are_read_once(tmp_path: Path) -> None:
    touch(tmp_path / "outside", ["a.png", "deep/b.png"])
    touch(tmp_path / "other", ["c.png"])
    touch(tmp_path / "in", ["own.png"])
    link(tmp_path / "in" / "first", tmp_path / "outside", is_folder=True)
    link(tmp_path / "in" / "second", tmp_path / "outside", is_folder=True)
    link(tmp_path / "in" / "third.png", tmp_path / "other" / "c.png")
    link(tmp_path / "in" / "fourth.png", tmp_path / "other" / "c.png")
    found = scan(tmp_path / "in")
    assert found.names == ("first/a.png", "first/deep/b.png", "fourth.png", "own.png")
    said = {one.reason: one for one in found.left_out}
    again = said.pop("links to what is there anyway or to a folder above")
    assert (again.files, again.folders, again.examples, said) == (1, 1, ("second", "third.png"), {})


@pytest.mark.parametrize("name", ["a-link", "z-link", "z/link"])
def test_a_link_to_what_is_read_anyway_is_left_out_whatever_comes_first(name: str, tmp_path: Path) -> None:
    touch(tmp_path, ["m/1.png", "m/2.png", "z/3.png"])
    link(tmp_path / name, tmp_path / "m", is_folder=True)
    link(tmp_path / f"{name}.png", tmp_path / "m" / "1.png")
    assert scan(tmp_path).names == ("m/1.png", "m/2.png", "z/3.png")
    assert left_out(tmp_path) == {
        "links to what is there anyway or to a folder above": (1, 1, (name, f"{name}.png")),
    }


@pytest.mark.parametrize("target", [".", "..", "../..", "/", "a", "/absent", "loop"])
def test_loops_end(target: str, tmp_path: Path) -> None:
    folder = touch(tmp_path / "above" / "in", ["a/1.png"])
    touch(tmp_path / "above", ["no/2.png"])
    link(folder / "loop", target, is_folder=True)
    found = scan(folder)
    assert found.names == ("a/1.png",)
    broken = target in ("loop", "/absent")
    assert [(one.reason.split()[0], one.files, one.folders) for one in found.left_out] == [
        ("broken", 1, 0) if broken else ("links", 0, 1)
    ]


def test_links_in_linked_folders(tmp_path: Path) -> None:
    touch(tmp_path, ["x/1.png", "y/2.png", "in/0.png"])
    link(tmp_path / "in" / "to-x", tmp_path / "x", is_folder=True)
    link(tmp_path / "x" / "to-y", tmp_path / "y", is_folder=True)
    link(tmp_path / "y" / "to-x", tmp_path / "x", is_folder=True)
    link(tmp_path / "y" / "to-in", tmp_path / "in", is_folder=True)
    assert scan(tmp_path / "in").names == ("0.png", "to-x/1.png", "to-x/to-y/2.png")


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path / "real", ["a.png"])
    link(tmp_path / "link", "real", is_folder=True)
    assert pictures_below(tmp_path / "link") == [tmp_path / "link" / "a.png"]


def test_broken_links_and_special_files(tmp_path: Path) -> None:
    touch(tmp_path, ["a.png"])
    link(tmp_path / "gone.png", "nothing")
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        directory = os.open(tmp_path, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{directory}/s.png")
        os.close(directory)
        assert left_out(tmp_path) == {
            "broken links": (1, 0, ("gone.png",)),
            "special files": (2, 0, ("pipe.png", "s.png")),
        }


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    folder = touch(tmp_path / "photos", ["a.png", "open/b.png", "shut/c.png", "shut/d.png"])
    scan(folder)  # imports what it needs, while it may
    return folder


@pytest.mark.parametrize("mode", [0, 0o300, 0o444])
@pytest.mark.parametrize("on_error", [None, "raise"])
def test_a_locked_sub_folder_is_an_error(open_folder: Path, mode: int, on_error: Any) -> None:
    if mode == 0o444:  # its files are listed and cannot be opened
        with locked(open_folder / "shut", mode=mode):
            assert len(scan(open_folder).names) == 4
            with pytest.raises(ImageReadError, match=r"shut/c.png, but permission was denied. Change its permissions"):
                read_image(open_folder / "shut" / "c.png")
        return
    expected = (
        r"Expected to be allowed to read the folder .*photos/shut, but permission was denied\. Change its permissions"
    )
    with locked(open_folder / "shut", mode=mode), pytest.raises(ImageReadError, match=expected) as caught:
        scan(open_folder, on_error)
    assert ("--on-error skip" in str(caught.value)) == (on_error == "raise")


def test_a_locked_sub_folder_can_be_skipped_and_is_named(open_folder: Path) -> None:
    with locked(open_folder / "shut"):
        found = scan(open_folder, "skip")
        with pytest.raises(ImageReadError, match="photos/shut, but"):
            pictures_below(open_folder)
    assert found.names == ("a.png", "open/b.png")
    assert found.left_out == (LeftOut("folders that cannot be read", 0, 1, ("shut",)),)
    assert str(found).endswith("photos: 2 pictures. Left out: 1 folder that cannot be read (shut).")


@pytest.mark.parametrize("on_error", [None, "raise", "skip"])
@pytest.mark.parametrize("name", [".", "shut"])
def test_a_locked_root_is_always_an_error(open_folder: Path, on_error: Any, name: str) -> None:
    with (
        locked(open_folder / name),
        pytest.raises(ImageReadError, match=r"allowed to read the folder .*permission was"),
    ):
        scan(open_folder / name, on_error)


def test_a_folder_in_a_locked_folder(open_folder: Path) -> None:
    (open_folder / "shut" / "in").mkdir()
    with (
        locked(open_folder / "shut"),
        pytest.raises(ImageReadError, match=r"read the folder .*shut/in, but permission"),
    ):
        scan(open_folder / "shut" / "in")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOENT])
def test_errors_of_disks_and_networks(number: int, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def failing(path: str) -> Any:
        if os.path.basename(path) == "shut":
            raise OSError(number, os.strerror(number), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    reason = "permission was denied" if number == errno.EACCES else os.strerror(number)
    with pytest.raises(ImageReadError, match=rf"the folder .*shut, but:? {reason}\. (Change|Check)"):
        scan(open_folder)
    assert left_out(open_folder, on_error="skip") == {"folders that cannot be read": (0, 1, ("shut",))}


def test_an_error_in_the_middle_of_a_folder(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Half:
        def __enter__(self) -> Iterator[Any]:
            yield from ()
            raise OSError(errno.EIO, "Input/output error")

        def __exit__(self, *error: object) -> None:
            pass

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: Half() if str(path).endswith("shut") else scandir(path))
    with pytest.raises(ImageReadError, match=r"shut, but: Input/output error. Check the disk or the network"):
        scan(open_folder)


def test_endings_are_lower_case_with_a_dot() -> None:
    endings = picture_endings()
    assert {".png", ".jpg", ".tif", ".mpo"} <= endings
    assert all(ending == ending.lower() and ending.startswith(".") for ending in endings)


def test_links_do_not_bring_hidden_folders_back(tmp_path: Path) -> None:
    touch(tmp_path, ["a.png", ".git/deep/b.png", "z.png"])
    link(tmp_path / "visible", ".git/deep", is_folder=True)
    link(tmp_path / "c.png", ".git/deep/b.png")
    assert scan(tmp_path).names == ("a.png", "c.png", "z.png")
    assert left_out(tmp_path) == {
        "hidden and system files": (1, 0, (".git",)),
        "links to what is there anyway or to a folder above": (0, 1, ("visible",)),
    }


def test_runs_are_left_out(tmp_path: Path) -> None:
    for name, content in (("run", '{"sha256": "0", "format": "pairsim-run"}'), ("other", '{"format": "my own"}')):
        (tmp_path / name / "figures").mkdir(parents=True)
        (tmp_path / name / "run.json").write_text(content)
        for picture in ("curves.png", "figures/1.png"):
            (tmp_path / name / picture).touch()
    found = scan(tmp_path)
    assert list(found.names) == ["other/curves.png", "other/figures/1.png"]
    assert left_out(tmp_path)["files of pairsim runs"] == (3, 0, ("run",))
    assert [Path(name).name for name in scan(tmp_path / "run").names] == ["curves.png", "1.png"]
