"""The command line: its commands, and running one of them."""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from cyclopts import App, ArgumentCollection, CycloptsError, Parameter

from pairsim import __version__
from pairsim.cli.config_file import read_config
from pairsim.cli.failures import one_line, report_failure
from pairsim.cli.judging.calibrate import calibrate
from pairsim.cli.judging.card import card
from pairsim.cli.judging.evaluate import evaluate
from pairsim.cli.judging.report import report
from pairsim.cli.option_names import begin_command
from pairsim.cli.output import UsageError, set_up_streams, settle
from pairsim.cli.pictures import galleries
from pairsim.cli.pictures.compare import compare
from pairsim.cli.pictures.duplicates import duplicates
from pairsim.cli.pictures.encode import encode
from pairsim.cli.pictures.identify import identify
from pairsim.cli.pictures.search import search
from pairsim.cli.pictures.serve import serve
from pairsim.cli.pictures.serve_app import app as web_app
from pairsim.cli.tools.completion import completion
from pairsim.cli.tools.doctor import doctor
from pairsim.cli.tools.export import export
from pairsim.cli.training.demo import demo
from pairsim.cli.training.train import train
from pairsim.errors import RunError
from pairsim.images.limits import as_limit, limited_to

COMMANDS: tuple[Callable[..., None], ...] = (
    demo,
    train,
    evaluate,
    calibrate,
    compare,
    search,
    galleries.gallery,
    identify,
    duplicates,
    encode,
    report,
    card,
    export,
    web_app,
    serve,
    doctor,
    completion,
)
"""In the order of the help: what a newcomer needs first."""

SUBCOMMANDS: dict[str, tuple[Callable[..., None], ...]] = {"gallery": galleries.COMMANDS}
"""The commands of a command that is only their first name, such as `pairsim gallery add`."""

_DEBUG, _MAX_PIXELS = "--debug", "--max-pixels"


def make_app() -> App:
    """Make the application."""
    app = App(
        name="pairsim",
        help="Learn how alike two images are: train, evaluate, calibrate, compare, search, report, export.\n\n"
        "With --debug, or PAIRSIM_DEBUG=1 in the environment, a command that fails also prints the traceback. With "
        "--max-pixels N, or PAIRSIM_MAX_PIXELS=N, pictures may have up to N pixels; others are not decoded.",
        version=__version__,
        help_format="plaintext",
        config=_fill_in,
        result_action="return_value",
        default_parameter=Parameter(negative_iterable=()),
    )
    for position, command in enumerate(COMMANDS):
        name = command.__name__
        if name in SUBCOMMANDS:
            group = App(name=name, help=command.__doc__, sort_key=position)
            for place, one in enumerate(SUBCOMMANDS[name]):
                _add(group, one, place)
            app.command(group)
        else:
            _add(app, command, position)
    return app


def _add(app: App, command: Callable[..., None], position: int) -> None:
    command.__doc__ = _unwrapped(command.__doc__ or "")
    app.command(command, name=command.__name__.rstrip("_"), sort_key=position)


def run(tokens: Sequence[str]) -> int:
    """Run the command line.

    Args:
        tokens: The arguments after `pairsim`. With `--debug` a failure prints its traceback too. `--max-pixels` holds
            for the whole command, as the environment variable does.

    Returns:
        The exit status: 0, or that of the failure.
    """
    debug = _DEBUG in tokens or os.environ.get("PAIRSIM_DEBUG", "0") not in ("", "0")
    try:
        set_up_streams()
        _check_current_folder()
        pixels, others = _max_pixels([token for token in tokens if token != _DEBUG])
        with limited_to(pixels):
            _parse(others)()
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        return report_failure(error)
    finally:
        settle(sys.stdout)
        begin_command((), ())
    return 0


def _max_pixels(tokens: Sequence[str]) -> tuple[int | None, list[str]]:
    """Return the value of --max-pixels, the last one if there are several, and the other arguments."""
    pixels, others, given = None, list[str](), iter(tokens)
    for token in given:
        option, equals, value = token.partition("=")
        if option != _MAX_PIXELS:
            others.append(token)
            continue
        try:
            pixels = as_limit(value if equals else next(given, ""), _MAX_PIXELS)
        except ValueError as error:
            raise UsageError(str(error)) from error
    return pixels, others


def _check_current_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:  # in which libraries that PyTorch loads end the process
        raise RunError("Expected a current folder, but it was deleted. Change to another one with cd.") from error


def _parse(tokens: Sequence[str]) -> Callable[[], object]:
    """The command with its arguments, ready to run."""
    name = tokens[0] if tokens and tokens[0] in {command.__name__ for command in COMMANDS} else ""
    below = {command.__name__.rstrip("_") for command in SUBCOMMANDS.get(name, ())}
    called = f"{name} {tokens[1]}" if len(tokens) > 1 and tokens[1] in below else name
    try:
        app = make_app()
        if name and list(tokens[1:]) == ["--help"]:  # parsing would collect the options of the command once more
            return partial(app.help_print, [name])
        command, bound, ignored = app.parse_args(tokens, exit_on_error=False, print_error=False)
    except PermissionError:  # of the file of --config
        raise
    except (CycloptsError, ValueError, TypeError, OSError) as error:
        raise UsageError(f"{one_line(error)} See: pairsim {called}{' ' if name else ''}--help") from error
    # The application is the one argument that is not parsed.
    return partial(command, *bound.args, **bound.kwargs, **dict.fromkeys(ignored, app))


def _unwrapped(docstring: str) -> str:
    """A docstring with each paragraph on one line, as plain text is shown without joining lines."""
    return re.sub(r"(?<=\S)\n(?: {8})?(?=\S)", " ", inspect.cleandoc(docstring))


def _fill_in(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in options that are not given from the file of --config, such as from the table `[train]` in TOML.

    Messages name the options from here on.
    """
    given = [token.value for argument in arguments for token in argument.tokens]
    begin_command([name for argument in arguments for name in argument.names], given)
    for argument in arguments:
        if argument.name == "--config" and argument.tokens:
            from cyclopts.config import Dict

            path = Path(argument.tokens[-1].value).expanduser()
            # read here, as cyclopts would wait for a pipe and read a file of any size
            Dict(read_config(path, commands[0]), source=str(path.absolute()))(app, commands, arguments)
    for argument in arguments:
        for token in argument.tokens if int in (argument.hint, *get_args(argument.hint)) else ():
            if "." in token.value:  # which cyclopts would round
                raise ValueError(f"Expected {argument.name} to be a whole number, got {token.value}.")
