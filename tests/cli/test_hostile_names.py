"""Names of files, classes and columns cannot send control characters to a terminal or a page; JSON has them exactly."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from picture_files import write_pictures
from run_command import Result, failure, here
from trained_run import train_run

NAMES = ("esc\x1b]0;owned\x07\x1b[2J.png", "c1\x9b31m.png", "bidi\u202egnp.png", "two\nFORGED\r.png")
CLASSES = ("one\x1b[8m\nFORGED", "two\u2067\x9d")


def is_safe(text: str) -> bool:
    return not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in text.replace("\n", ""))


def check(done: Result) -> Result:
    assert done.status == 0, done.err
    assert is_safe(done.out), ascii(done.out)
    assert is_safe(done.err), ascii(done.err)
    assert not [line for line in f"{done.out}{done.err}".split("\n") if line.lstrip().startswith("FORGED")]
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    train_run(folder / "run")
    for number, name in enumerate(CLASSES):
        write_pictures(folder / "data" / name, NAMES, (8, 8), brightest=90 + 160 * number)
        (folder / "data" / name / "x\x1b[2J").write_bytes(b"")  # is left out, and named
    return folder


@pytest.mark.parametrize(
    "call",
    [
        ["compare", "run", "{a}", "{b}"],
        ["compare", "run", "--pairs", "pairs.csv"],
        ["search", "run", "data", "{a}"],
        ["duplicates", "data"],
        ["encode", "run", "data", "--out", "found.csv"],
        ["evaluate", "run", "data", "--split", "train"],
        ["evaluate", "run", "data", "--split", "train", "--pairs", "kinds.csv"],
        ["calibrate", "run", "data", "--split", "train"],
        ["train", "data", "--out", "trained", "--epochs", "1", "--no-report"],
    ],
    ids=" ".join,
)
def test_commands_print_no_control_characters(place: Path, call: list[str]) -> None:
    a, b = (str(Path("data", CLASSES[k], NAMES[k])) for k in range(2))
    columns = [f"data/{CLASSES[1]}/{name}" for name in NAMES[:3]]
    (place / "pairs.csv").write_text("".join(f"{columns[0]},{other},{other is columns[0]:d}\n" for other in columns))
    pairs = [(0, 1, 0, "k\x1b[2J"), (0, 2, 1, ""), (1, 2, 0, "\u202ekind")]
    rows = [f"{columns[first]},{columns[second]},{label},{kind}" for first, second, label, kind in pairs]
    (place / "kinds.csv").write_text("first,second,label,kind\n" + "\n".join(rows).replace("data/", "") + "\n")
    words = [word.format(a=a, b=b) for word in call]
    check(here(*words, cwd=place))


def test_json_has_the_names_as_they_are(place: Path) -> None:
    a = str(Path("data", CLASSES[0], NAMES[0]))
    found = here("search", "run", "data", a, "--top", "8", "--json", cwd=place)
    assert is_safe(found.out)
    result = found.json["results"][0]
    assert result["query"] == a
    ids = {neighbor["id"] for neighbor in result["neighbors"]}
    assert ids == {f"{group}/{name}" for group in CLASSES for name in NAMES}


def test_errors_are_one_line(place: Path) -> None:
    for name in NAMES:
        said = failure(here("compare", "run", f"no {name}", f"no {name}", cwd=place), 1)
        assert is_safe(said)
        assert said.startswith("pairsim: Expected an image file at no ")
    assert r"\x1b[2J" in failure(here("compare", "run", "\x1b[2J", "x", cwd=place), 1)
    assert is_safe(here("evaluate", "run", "\x1b[2J", "--debug", cwd=place).err)
    assert is_safe(failure(here("evaluate\x1b[2J", "run", cwd=place), 2))


def test_pages_and_cards_have_none(place: Path) -> None:
    done = here("report", "run", "data", "--split", "train", "--out", "page.html", "--title", "t\u202e\x1b", cwd=place)
    check(done)
    page = (place / "page.html").read_text(encoding="utf-8")
    assert is_safe(page)
    assert r"one\x1b[8m\nFORGED" in page
    check(here("card", "run", "--overwrite", "--out", "card.md", "--title", "t\u202e\x1b", cwd=place))
    assert is_safe((place / "card.md").read_text(encoding="utf-8"))
