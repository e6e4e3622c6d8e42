"""Messages of the library name arguments of Python; those of commands name options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_command import failure, here

import pairsim
from pairsim.cli.option_names import PHRASES, begin_command, in_options

OPTIONS = (
    *("--learning-rate", "--grad-clip", "--freeze", "--batch-size", "--resident", "--channels", "--val-pairs"),
    *("--on-error", "--class-level", "--num-workers", "--image-size", "--threshold", "--seed", "--precision"),
)


@pytest.fixture
def options() -> Iterator[None]:
    begin_command(OPTIONS, ["train", "--out", "seed=3"])
    yield
    begin_command((), ())


@pytest.mark.usefixtures("options")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Lower learning_rate, set grad_clip=1.0, or", "Lower --learning-rate, set --grad-clip 1.0, or"),
        ('Expected freeze="backbone".', "Expected --freeze backbone."),
        ("Expected freeze to name parts, got 'freeze'.", "Expected --freeze to name parts, got 'freeze'."),
        ("resident=False was asked for", "--no-resident was asked for"),
        ("do not ask for resident=True.", "do not ask for --resident."),
        ("for in_channels=3 of resnet18", "for --channels 3 of resnet18"),
        ("Pass val=.", "Pass --val-pairs."),
        ("Pass threshold=.", "Pass --threshold."),
        ("skip them with --on-error skip (on_error='skip').", "skip them with --on-error skip."),
        ("leave it out with on_error='skip' (--on-error skip)", "leave it out with --on-error skip"),
        ("; --class-level 2 (class_level=2) gives 9", "; --class-level 2 gives 9"),
        ("or none (num_workers=0, --num-workers 0).", "or none (--num-workers 0)."),
        ("give in_channels (--channels).", "give --channels."),
        ("Try --batch-size 32, or batch_size=32 in Python.", "Try --batch-size 32."),
        # what is no argument of this command, or a name that somebody gave
        ("Expected target_fmr, or prior=0.5, found none.", "Expected target_fmr, or prior=0.5, found none."),
        ("Expected a run at seed=3, found none.", "Expected a run at seed=3, found none."),
        ("/runs/learning_rate/seed=4/image_size.png", "/runs/learning_rate/seed=4/image_size.png"),
        ("seed=4/a.png and image_size.csv", "seed=4/a.png and image_size.csv"),
        ("the columns 'image_size' and \"batch_size\"", "the columns 'image_size' and \"batch_size\""),
        ("the threshold and the precision of a seed", "the threshold and the precision of a seed"),
    ],
)
def test_options_in_place_of_arguments(text: str, said: str) -> None:
    assert in_options(text) == said


def test_without_a_command_a_message_stays() -> None:
    text = "Try --batch-size 32, or batch_size=32 in Python."
    assert in_options(text) == text


def messages() -> Iterator[str]:
    """All text of the library that is no docstring, with {} for each value."""
    for file in Path(pairsim.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_phrase_is_one_of_the_library() -> None:
    found = list(messages())
    assert [phrase for phrase, _ in PHRASES if not any(re.search(phrase, text) for text in found)] == []


@pytest.mark.parametrize(
    ("call", "status", "said"),
    [
        ("train digits --out x --learning-rate -1", 2, "Expected --learning-rate to be positive, got -1.0."),
        ("train digits --out x --freeze backbone", 1, "Expected a net with a backbone for --freeze backbone, found"),
        ("train p --out x --backbone foo", 1, "Expected the name of a backbone, got 'foo'. See --backbone in: pairsim"),
        ("compare RUN p p/a/0.png", 1, "Expected an image file at p, found a folder. Give the pictures in it."),
        ("calibrate RUN digits --target-fmr 0.1 --equal-errors", 2, "one of --target-fmr, --costs and --equal-errors"),
    ],
)
def test_commands_name_options(
    call: str, status: int, said: str, trained_digits: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "p").symlink_to(pictures.parent / pictures.name)
    rows = ["first,second,target", "across/0.png,across/1.png,1", "across/0.png,down/1.png,0"]
    (tmp_path / "l.csv").write_text("\n".join(rows) + "\n")
    arguments = [str(trained_digits) if word == "RUN" else word.replace("p/a", "p/across") for word in call.split()]
    assert said in failure(here(*arguments, cwd=tmp_path), status)
