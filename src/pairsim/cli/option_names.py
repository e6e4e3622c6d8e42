"""Name options in messages of the library, which name arguments of Python."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_RENAMED = {"in_channels": "channels", "val": "val_pairs"}
"""Arguments of Python whose options have other names."""

PHRASES = (
    (r", or \w+=\w+ in Python", ""),
    (r'fit\(resume="auto"\), or the same command with --resume auto,', "the same command with --resume auto"),
    (r": pairsim\.images\.pictures_below lists them", ""),
    (
        r'List them with pairsim\.models\.backbones\.backbone_names\("\.\.\."\)',
        "See --backbone in: pairsim train --help",
    ),
    (r"image_size and channels out \(--image-size, --channels\)", "--image-size and --channels out"),
    (r"white=\d+ to read_image or Preprocessing, or pairsim", "pairsim"),
    (r"or build EmbeddingNet\(in_channels=(\d+)\)", r"or train a model of \1 channels"),
    (
        r"Expected embedding_net=\.\.\., as (.*) Build the same net and pass it",
        r"Only Python can load it, as \1 Use it there",
    ),
    (r"with Gallery\.save, or with:", "with:"),
    (r"calibrate_gallery\(gallery, target_fpir=0\.01\)", "pairsim gallery calibrate"),
    (r"Add some first: gallery\.add\(images\)", "Add some first: pairsim gallery add"),
    (r"To replace its image use gallery\.update\(images, ids\)", "To replace its image give --replace"),
    (r"choose another folder, or replace it by gallery\.save\(folder, replace=True\)", "or choose another folder"),
    (r"\(unknown=, or --unknown FOLDER\)", "(pairsim gallery calibrate --unknown FOLDER)"),
)
"""Calls and other wordings of Python, as regular expressions, and what commands say instead."""

_ARGUMENT = re.compile(
    r"""(?<![\w./\\"'-])(?:(?P<set>[a-z]\w*)=(?:(?P<quote>["'])(?P<text>[\w.-]+)(?P=quote)|(?P<value>\w+(?:\.\w+)?))?"""
    r"""|(?P<name>[a-z]+(?:_[a-z]+)+)|(?<=Expected )(?P<word>[a-z]+)(?= to ))(?![\w/\\=('"]|[.-]\w)"""
)
_TWICE = re.compile(r"(--[\w-]+(?: [\w.]+)?)(?: \(\1\)|, \1(?!\w))")


class _Command:
    """The options of the command that runs, by the names that Python has for them, and its arguments."""

    options: dict[str, str] = {}  # noqa: RUF012
    given: Collection[str] = ()


def begin_command(options: Iterable[str], given: Iterable[str]) -> None:
    """From now on `in_options` names these options; none, after a command.

    Args:
        options: Such as `"--batch-size"`.
        given: The arguments of the command, which stay as they are where a message repeats them.
    """
    names = {option.removeprefix("--").replace("-", "_"): option for option in options if option.startswith("--")}
    renamed = {python: names[name] for python, name in _RENAMED.items() if name in names}
    _Command.options, _Command.given = renamed | names, set(given)


def in_options(text: str) -> str:
    """Return a message with the options of the command that runs in place of arguments of Python; else as it is."""
    if not _Command.options:
        return text
    for phrase, said in PHRASES:
        text = re.sub(phrase, said, text)
    return _TWICE.sub(r"\1", _ARGUMENT.sub(_option, text))


def _option(found: re.Match[str]) -> str:
    option = _Command.options.get(found["set"] or found["name"] or found["word"])
    if option is None or found[0] in _Command.given:
        return found[0]
    value = found["text"] or found["value"]
    if value in ("True", "False"):
        return option if value == "True" else f"--no-{option.removeprefix('--')}"
    return option if value is None else f"{option} {value}"
