"""The command line: its commands, their options, and how failures are told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Json, Toml

from pairsim import __version__
from pairsim.cli.judging.calibrate import calibrate
from pairsim.cli.judging.card import card
from pairsim.cli.judging.evaluate import evaluate
from pairsim.cli.judging.report import report
from pairsim.cli.output import UsageError, note
from pairsim.cli.pictures.app_page import app as web_app
from pairsim.cli.pictures.compare import compare
from pairsim.cli.pictures.duplicates import duplicates
from pairsim.cli.pictures.encode import encode
from pairsim.cli.pictures.search import search
from pairsim.cli.tools.doctor import doctor
from pairsim.cli.tools.export import export
from pairsim.cli.training.demo import demo
from pairsim.cli.training.train import train
from pairsim.errors import PairsimError

USAGE_ERROR = 2
FAILURE = 1
INTERRUPTED = 130


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a script that lets a shell complete commands, options and choices. Nothing is installed.

    For bash: pairsim completion bash > ~/.local/share/bash-completion/completions/pairsim

    For zsh: pairsim completion zsh > ~/.zfunc/_pairsim (a folder that is in fpath)

    For fish: pairsim completion fish > ~/.config/fish/completions/pairsim.fish

    Args:
        shell: bash, zsh or fish.
    """
    print(make_app().generate_completion(shell=shell))


_COMMANDS: tuple[Callable[..., None], ...] = (
    demo,
    train,
    evaluate,
    calibrate,
    compare,
    search,
    duplicates,
    encode,
    report,
    card,
    export,
    web_app,
    doctor,
    completion,
)
"""In the order of help: what a newcomer needs first."""


def make_app(config_file: Path | None = None) -> App:
    """The application, taking options that are not given from a TOML or JSON file.

    In the file, options stand below the name of their command, such as `[train]` in TOML.
    """
    sources = []
    if config_file is not None:
        kind = Json if config_file.suffix == ".json" else Toml
        sources.append(kind(config_file, must_exist=True))
    app = App(
        name="pairsim",
        help="Learn how alike two images are: train, evaluate, calibrate, compare, search, report, export.",
        version=__version__,
        help_format="markdown",
        config=sources,
        result_action="return_value",
        default_parameter=Parameter(negative_iterable=()),
    )
    for place, command in enumerate(_COMMANDS):
        app.command(command, name=command.__name__, sort_key=place)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 for a failure, 2 for wrong usage."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(tokens))


def run(tokens: Sequence[str]) -> int:
    """Run the command line.

    Args:
        tokens: The arguments after `pairsim`.

    Returns:
        The exit status.
    """
    try:
        app = make_app(_config_file(tokens))
        command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    except (CycloptsError, ValueError, TypeError, OSError) as error:
        note(f"pairsim: {_one_line(error)} See: pairsim {_command_of(tokens)}--help")
        return USAGE_ERROR
    try:
        command(*bound.args, **bound.kwargs)
    except KeyboardInterrupt:
        note("pairsim: interrupted. What was saved is whole; the same command goes on from there.")
        return INTERRUPTED
    except torch.OutOfMemoryError as error:
        note(f"pairsim: out of memory on the device ({_one_line(error)}) Use a smaller --batch-size.")
        return FAILURE
    except (PairsimError, ValueError, TypeError) as error:
        note(f"pairsim: {_one_line(error)}")
        return USAGE_ERROR if isinstance(error, UsageError) else FAILURE
    return 0


def _config_file(tokens: Sequence[str]) -> Path | None:
    """The value of --config, which must be known before the other options can be read."""
    for place, argument in enumerate(tokens):
        if argument.startswith("--config="):
            return Path(argument.partition("=")[2])
        if argument == "--config" and place + 1 < len(tokens):
            return Path(tokens[place + 1])
    return None


def _command_of(tokens: Sequence[str]) -> str:
    return f"{tokens[0]} " if tokens and tokens[0] in {command.__name__ for command in _COMMANDS} else ""


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.endswith((".", "?", "!")) else f"{text}."
