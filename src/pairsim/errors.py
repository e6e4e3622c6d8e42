"""Exceptions of pairsim.

    PairsimError
    ├── DataError             (ValueError)        labels, pairs or pixels that cannot be used
    ├── DatasetNotFoundError  (FileNotFoundError) a named dataset or folder that is missing
    ├── ImageReadError        (OSError)           a picture that is missing or cannot be decoded, or a locked folder
    ├── RunError              (OSError)           a run, a model or another path that cannot be read or written
    ├── DeviceError           (RuntimeError)      a device that the machine does not have
    ├── TrainingError         (RuntimeError)      training that cannot continue
    ├── ExportError           (RuntimeError)      a model that cannot be exported, or a wrong graph
    └── MissingExtraError     (ImportError)       an optional package that is not installed

Each is also a subclass of the built-in exception in brackets, so code that does not import pairsim can catch it. Wrong
arguments raise plain `ValueError` or `TypeError`. A message states what was expected, what was found and what to do.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from types import ModuleType

_UNSAFE = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_BREAKS = re.compile(r"\s*[\n\r\t]\s*")
_JOINERS = "\u200c\u200d"
"""Format characters that Persian, the scripts of India and emoji need; they change no other character."""

_ON_THE_CPU = ("can't allocate memory", "not enough memory: you tried to allocate")
"""What PyTorch says in a plain `RuntimeError` when memory ran out: on Linux and macOS, and on Windows."""
_PERHAPS = "could not create a primitive"
"""What its convolutions on the CPU say then; there are other causes, such as a process that may not compile code."""


def printable(text: str) -> str:
    r"""Return text on one line that a terminal and a page show as it is, for names from files.

    Control characters (C0 with line breaks, DEL and C1), marks that change the direction of text, other invisible
    characters, line separators and bytes that are not UTF-8 are written as escapes, such as `\x1b`.

    Example:
        >>> print(printable("caf\xe9\x1b[2J\n\u202egnp"))
        café\x1b[2J\n\u202egnp
    """
    if text.isprintable():
        return text
    return "".join(
        repr(letter)[1:-1] if unicodedata.category(letter) in _UNSAFE and letter not in _JOINERS else letter
        for letter in text
    )


class PairsimError(Exception):
    """Base class of the exceptions of pairsim.

    Their messages are one line of printable text, as names from files of strangers are in them.
    """

    def __str__(self) -> str:
        return printable(_BREAKS.sub(" ", super().__str__()))


class DataError(PairsimError, ValueError):
    """Labels, pairs or pixels that cannot be used."""


class DatasetNotFoundError(PairsimError, FileNotFoundError):
    """A named dataset or a folder that is missing."""


class ImageReadError(PairsimError, OSError):
    """A picture that is missing or cannot be decoded, or a folder of pictures that cannot be read."""


class RunError(PairsimError, OSError):
    """A run or model folder, or another path, that cannot be read or written."""


class DeviceError(PairsimError, RuntimeError):
    """A device that the machine does not have."""


class TrainingError(PairsimError, RuntimeError):
    """Training that cannot continue, such as a loss that is not finite."""


class ExportError(PairsimError, RuntimeError):
    """A model that cannot be exported, or a graph that does not compute what the model computes."""


class MissingExtraError(PairsimError, ImportError):
    """An optional package that is not installed."""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional module.

    Args:
        module: Name to import, such as `"matplotlib.pyplot"`.
        extra: The extra of pairsim that installs it, named in the message.
        purpose: What needs it, at the beginning of the message.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: If the package is not installed.

    Example:
        >>> require("json", extra="viz", purpose="Drawing").__name__
        'json'
    """
    package = module.partition(".")[0]
    # matplotlib cannot be imported with a backend that is not installed, such as one that a notebook passes on. None is
    # needed to draw into files.
    is_first = package == "matplotlib" and package not in sys.modules
    backend = os.environ.pop("MPLBACKEND", None) if is_first else None
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] != package:
            raise
        raise MissingExtraError(
            f"{purpose} needs the package {package}, which is not installed. "
            f"Install it with: pip install 'pairsim[{extra}]'"
        ) from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
            with contextlib.suppress(ValueError, KeyError):
                sys.modules[package].rcParams["backend"] = backend


def is_out_of_memory(error: BaseException) -> bool:
    """Recognise an error that states that memory ran out; PyTorch is not imported for it.

    Args:
        error: Any exception.

    Returns:
        Whether memory ran out, of a device or of the machine.
    """
    classes = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if isinstance(error, MemoryError) or "torch.OutOfMemoryError" in classes:
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _ON_THE_CPU)


@contextlib.contextmanager
def advising_smaller_batches(batch_size: int, smallest: int = 1) -> Iterator[None]:
    """Add a note to an error that states that memory ran out: half the batch needs about half as much.

    Args:
        batch_size: Of the work in the block.
        smallest: The smallest that is allowed.

    Yields:
        Once, to run the block.

    Example:
        >>> try:
        ...     with advising_smaller_batches(256):
        ...         raise MemoryError
        ... except MemoryError as error:
        ...     print(*error.__notes__)
        Batches of 256 need more than there is. Try --batch-size 128, or batch_size=128 in Python.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = f"Batches of {batch_size:,} need more than there is." if is_out_of_memory(error) else ""
        if _PERHAPS in str(error):
            reason = "This may be a lack of memory."
        half = max(batch_size // 2, smallest)
        advice = f"Try --batch-size {half}, or batch_size={half} in Python."
        if reason:
            error.add_note(f"{reason} {advice if half < batch_size else 'Use smaller images or a smaller net.'}")
        raise
