from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from moved_files import names_in, state
from picture_files import write_pictures
from run_command import failure, here


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of three pictures, of which one is there twice more, once with another name that is not UTF-8."""
    pictures = tmp_path / "p"
    write_pictures(pictures, ("a.png", "b.png", "c.png"), (20, 20))
    for number, name in enumerate(("sub/copy.png", os.fsdecode(b"caf\xe9.png"))):
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_bytes((pictures / "a.png").read_bytes())
        os.utime(pictures / name, ns=(1, 10**18 + number))
    return tmp_path


def test_a_dry_run_then_moves_then_back(place: Path) -> None:
    before = state(place / "p")
    done = here("duplicates", "p", "--move-to", "out", cwd=place)
    assert done.status == 0, done.err
    text = done.out.split("\n\n")[-1].rstrip().split("\n")
    assert text[0] == "Would move 2 files, 0.0 MB:"
    assert text[-1] == "Nothing was changed. To do this, add --apply."
    assert f"  sub/copy.png -> {place}/out/sub/copy.png" in text
    assert state(place / "p") == before
    assert not (place / "out").exists()

    done = here("duplicates", "p", "--move-to", "out", "--apply", "--json", cwd=place)
    assert done.status == 0, done.err
    moves = done.json["moves"]
    assert (moves["applied"], moves["action"], moves["left"]) == (True, "move", [])
    assert sorted(moves["files"]) == ["caf\udce9.png", "sub/copy.png"]
    assert f"Journal: {moves['journal']}" in done.err
    assert names_in(place / "p") == ["a.png", "b.png", "c.png"]

    done = here("duplicates", "--undo", moves["journal"], cwd=place)
    assert (done.status, done.out) == (0, "Restored 2 files.\n"), done.err
    assert state(place / "p") == before


def test_links_and_back(place: Path) -> None:
    before = state(place / "p")
    done = here("duplicates", "p", "--link", "--apply", cwd=place)
    assert done.status == 0, done.err
    lines = done.out.rstrip().split("\n")
    assert lines[-2] == "Replaced by a hard link: 2 files."
    assert (place / "p" / "a.png").stat().st_nlink == 3
    journal = lines[-1].removeprefix("To undo this: pairsim duplicates --undo ")
    done = here("duplicates", "--undo", journal, "--json", cwd=place)
    assert len(done.json["files"]) == 2
    assert state(place / "p") == before
    done = here("duplicates", "p", "--link", "--json", cwd=place)
    assert (done.json["moves"]["applied"], done.json["moves"]["journal"]) == (False, None)


@pytest.fixture
def archived(place: Path) -> Path:
    """The same place with an archive, reached by a link too, that has `a.png` and another picture."""
    write_pictures(place / "archive", ("other.png",), (30, 20))
    (place / "archive" / "sub").mkdir()
    (place / "archive" / "sub" / "a.png").write_bytes((place / "p" / "a.png").read_bytes())
    (place / "way").symlink_to(place / "archive")
    return place


@pytest.mark.parametrize("archive", ["archive", "way", "absolute"])
def test_what_an_archive_has_is_moved_and_comes_back(archived: Path, archive: str) -> None:
    before, kept_before = state(archived / "p"), state(archived / "archive")
    other = str(archived / "archive") if archive == "absolute" else archive
    options = ("p", "--against", other, "--move-to", "out")
    done = here("duplicates", *options, cwd=archived)
    assert "Would move 3 files, 0.0 MB:" in done.out, done.err
    done = here("duplicates", *options, "--apply", "--json", cwd=archived)
    assert done.status == 0, done.err
    moves = done.json["moves"]
    assert (sorted(moves["files"]), moves["left"]) == (["a.png", "caf\udce9.png", "sub/copy.png"], [])
    assert done.json["clusters"][0]["keep"] == f"{archived}/archive/sub/a.png"
    assert names_in(archived / "p") == ["b.png", "c.png"]
    assert state(archived / "archive") == kept_before
    done = here("duplicates", "--undo", moves["journal"], cwd=archived)
    assert (done.status, done.out) == (0, "Restored 3 files.\n"), done.err
    assert state(archived / "p") == before


def test_what_an_archive_has_is_linked_to_it_and_comes_back(archived: Path) -> None:
    before, kept_before = state(archived / "p"), state(archived / "archive")
    done = here("duplicates", "p", "--against", "archive", "--link", "--apply", "--json", cwd=archived)
    assert done.status == 0, done.err
    assert len(done.json["moves"]["files"]) == 3
    assert (archived / "archive" / "sub" / "a.png").stat().st_nlink == 4
    done = here("duplicates", "--undo", done.json["moves"]["journal"], cwd=archived)
    assert (done.status, done.out) == (0, "Restored 3 files.\n"), done.err
    assert (state(archived / "p"), state(archived / "archive")) == (before, kept_before)


def test_a_folder_inside_of_the_archive(place: Path) -> None:
    before = state(place / "p")
    done = here("duplicates", "p/sub", "--against", "p", "--move-to", "out", "--apply", "--json", cwd=place)
    assert (done.status, done.json["moves"]["files"]) == (0, ["copy.png"]), done.err
    assert names_in(place / "p") == ["a.png", "b.png", "c.png", "caf\udce9.png"]
    here("duplicates", "--undo", done.json["moves"]["journal"], cwd=place)
    assert state(place / "p") == before
    for options in ([], ["--link"], ["--page", "page.html"]):
        said = failure(here("duplicates", "p", "--against", f"{place}/p/sub/..", *options, cwd=place), 1)
        assert "to have pictures that are not searched, to compare with, found none: all 5 are" in said


def test_nothing_is_moved_into_the_archive(archived: Path) -> None:
    done = here("duplicates", "p", "--against", "archive", "--move-to", "archive/out", cwd=archived)
    assert "Expected to move files to a folder outside of archive and not above it" in failure(done, 1)


def test_decisions_keep_what_is_archived(archived: Path) -> None:
    kept = f"{archived}/archive/sub/a.png"
    options = ("p", "--against", "archive", "--move-to", "out", "--decisions", "decisions.json", "--json")
    values = {"format": "pairsim-decisions", "keep": [kept, "caf\udce9.png"], "go": ["a.png", "sub/copy.png"]}
    (archived / "decisions.json").write_text(json.dumps(values))
    done = here("duplicates", *options, cwd=archived)
    assert sorted(done.json["moves"]["files"]) == ["a.png", "sub/copy.png"]
    (archived / "decisions.json").write_text(json.dumps({**values, "keep": ["a.png"], "go": [kept]}))
    said = failure(here("duplicates", *options, cwd=archived), 1)
    assert f"to keep the pictures of the folder compared against, found {kept} among those that may go" in said


def test_a_page_shows_what_is_archived(archived: Path) -> None:
    done = here("duplicates", "p", "--against", "archive", "--page", "page.html", cwd=archived)
    assert done.status == 0, done.err
    page = (archived / "page.html").read_text()
    assert f"{archived}/archive/sub/a.png" in page
    assert "It can no longer be read." not in page


def test_what_is_refused_is_named_and_fails(place: Path) -> None:
    journal = here("duplicates", "p", "--move-to", "out", "--apply", "--json", cwd=place).json["moves"]["journal"]
    (place / "p" / "sub" / "copy.png").write_bytes(b"new")
    done = here("duplicates", "--undo", journal, cwd=place)
    assert done.status == 1
    assert done.out == "Restored 1 file.\n  sub/copy.png is not restored: another file is there now\n"
    assert "pairsim: Expected to restore all files, but 1 or what is at their place was changed since" in done.err


def test_decisions(place: Path) -> None:
    values = {"format": "pairsim-decisions", "keep": ["a.png", "caf\udce9.png"], "go": ["sub/copy.png"]}
    (place / "decisions.json").write_text(json.dumps(values))
    done = here("duplicates", "p", "--move-to", "out", "--decisions", "decisions.json", "--json", cwd=place)
    assert done.json["moves"]["files"] == ["sub/copy.png"]
    options = ("p", "--move-to", "out", "--decisions", "decisions.json", "--json")
    for _ in range(2):  # the same command again has nothing left to do
        done = here("duplicates", *options, "--apply", cwd=place)
        assert done.status == 0, done.err
    assert done.json["moves"]["files"] == []
    assert names_in(place / "p") == ["a.png", "b.png", "c.png", "caf\udce9.png"]
    said = failure(here("duplicates", "p/sub/..", "--link", "--decisions", "decisions.json", cwd=place), 1)
    assert "found sub/copy.png, of none of them. Make the page for this folder again" in said


def test_page(place: Path) -> None:
    done = here("duplicates", "p", "--page", "page.html", cwd=place)
    assert done.status == 0, done.err
    assert "Page written to page.html, 0.0 MB." in done.err
    assert r"caf\udce9.png" in (place / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["p", "--move-to", "out", "--link"], 2, "Expected one of --move-to and --link, got both."),
        (["p", "--apply"], 2, "Expected --move-to DIR or --link with --apply."),
        (["p", "--decisions", "x.json"], 2, "Expected --move-to DIR or --link with --decisions."),
        (["p", "--undo", "x.jsonl"], 2, "Expected --undo without FOLDER and without other options."),
        (["p", "--page", "page.pdf"], 2, "Expected --page to end in .html or .htm, got page.pdf."),
        (["p", "--move-to", "p/out"], 1, "Expected to move files to a folder outside of p and not above it"),
        (["p", "--move-to", "beside"], 1, "Could not write beside: there is a file, not a folder"),
        (["p", "--link", "--decisions", "absent.json"], 1, "Expected a readable JSON file at absent.json"),
        (["--undo", "x.jsonl"], 1, "x.jsonl"),
        ([], 2, "Expected FOLDER, or --undo JOURNAL."),
    ],
)
def test_refusals_of_moves(arguments: list[str], status: int, said: str, place: Path) -> None:
    before = state(place / "p")
    (place / "beside").write_text("a file")
    assert said in failure(here("duplicates", *arguments, cwd=place), status)
    assert state(place / "p") == before
