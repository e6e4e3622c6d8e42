from __future__ import annotations

from pathlib import Path

import pytest
from run_command import failure, here, pairsim

from pairsim import __version__
from pairsim.cli.app import COMMANDS, SUBCOMMANDS, make_app


def test_options_from_a_config_file(place: Path, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('[train]\nepochs = 3\nbatch_size = 8\nobjective = "pairs"\n')
    done = here(
        *("train", place / "data", "--out", "run", "--no-report"),
        *("--config", "my.toml", "--epochs", "1", "--json"),
        cwd=tmp_path,
    )
    assert done.status == 0, done.err
    assert done.json["epochs"] == 1  # the command line wins over the file
    assert '"objective": "pairs"' in (tmp_path / "run" / "config.json").read_text()


def test_options_from_a_json_file(tmp_path: Path) -> None:
    (tmp_path / "my.json").write_text('{"compare": {"threshold": 2.0}}')
    said = failure(here("compare", "run", "a", "b", "--config=my.json", cwd=tmp_path), 2)
    assert "--config" in said  # compare has no such option; the file is read before that is known
    (tmp_path / "my.json").write_text('{"train": {"epochs": 0}}')
    said = failure(here("train", "digits", "--config=my.json", cwd=tmp_path), 2)
    assert "Expected --epochs to be at least 1, got 0." in said


def test_help_lists_the_commands_in_order(tmp_path: Path) -> None:
    text = here("--help", cwd=tmp_path).out
    assert text.startswith("Usage: pairsim COMMAND")
    names = [command.__name__ for command in COMMANDS]
    positions = [text.index(f"│ {name} ") for name in names]
    assert positions == sorted(positions)
    assert names[:3] == ["demo", "train", "evaluate"]


CALLS = [
    *([command.__name__] for command in COMMANDS if command.__name__ not in SUBCOMMANDS),
    *([name, command.__name__.rstrip("_")] for name, commands in SUBCOMMANDS.items() for command in commands),
]


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_help_describes_every_argument(call: list[str], tmp_path: Path) -> None:
    app = make_app()
    for name in call:
        app = app[name]
    arguments = app.assemble_argument_collection(parse_docstring=True).filter_by(show=True)
    assert [argument.name for argument in arguments if not argument.parameter.help] == []
    done = here(*call, "--help", cwd=tmp_path)
    assert done.status == 0
    assert done.out.startswith(f"Usage: pairsim {' '.join(call)}")
    assert here(*call, "-h", cwd=tmp_path) == done


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_of_a_group_lists_its_commands(name: str, tmp_path: Path) -> None:
    text = here(name, "--help", cwd=tmp_path).out
    positions = [text.index(f"│ {command.__name__.rstrip('_')} ") for command in SUBCOMMANDS[name]]
    assert positions == sorted(positions)
    assert here(name, cwd=tmp_path).out == text


def test_paragraphs_of_the_help_fit_any_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = [line.rstrip() for line in here("duplicates", "--help", cwd=tmp_path).out.splitlines()]
    paragraph = lines[lines.index("Find pictures that a folder has more than once, exactly or") :]
    assert paragraph[1] == "nearly; nothing is deleted."
    assert "    pairsim duplicates photos --out duplicates.csv" in lines


def test_version(tmp_path: Path) -> None:
    assert pairsim("--version", cwd=tmp_path).out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], 'Did you mean "train"'),
        (["train", "digits", "--out", "r", "--epocs", "3"], "Did you mean --epochs"),
        (["train", "digits", "--out", "r", "--epochs", "0"], "Expected --epochs to be at least 1, got 0."),
        (
            ["train", "digits", "--out", "r", "--positive-fraction", "1.5"],
            "--positive-fraction to be in [0, 1], got 1.5.",
        ),
        (["train", "digits", "--out", "r", "--objective", "triplet"], "--objective"),
        (["train", "digits", "--out", "r", "--config", "absent.toml"], "absent.toml"),
        (["train"], "DATA"),
        (["train", "digits"], "--out"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert said in failure(here(*arguments, cwd=tmp_path), 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "mnits", "--out", "r"], "Did you mean mnist"),
        (["train", ".", "--out", "r"], "one sub-folder per class"),
        (["evaluate", "absent", "digits"], "Expected a model or run folder at absent, found no such folder"),
        (["compare", ".", "a.png", "b.png"], "Expected a model or run folder"),
    ],
)
def test_failures(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert said in failure(here(*arguments, cwd=tmp_path), 1)
