"""The failures that pairsim reports.

    PairsimError
    ├── DataError             (ValueError)        labels, pairs or pixels that cannot be used
    ├── DatasetNotFoundError  (FileNotFoundError) a named dataset or folder that is not there
    ├── ImageReadError        (OSError)           a picture that is missing or cannot be decoded
    ├── RunError              (OSError)           a run or model folder that cannot be read or written
    ├── DeviceError           (RuntimeError)      a device that was asked for and is absent
    ├── TrainingError         (RuntimeError)      training that cannot go on
    ├── ExportError           (RuntimeError)      a model that has no graph, or whose graph differs from it
    └── MissingExtraError     (ImportError)       an optional package that is not installed

Each is also the built-in kind in brackets, so code that knows nothing of pairsim catches it too. Wrong
arguments are plain `ValueError` or `TypeError`. A message says what was expected, what was found and what to do.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class PairsimError(Exception):
    """Base of every failure that pairsim reports by a class of its own."""


class DataError(PairsimError, ValueError):
    """Labels, pairs or pixels that cannot be used."""


class DatasetNotFoundError(PairsimError, FileNotFoundError):
    """A named dataset or a folder that is not where it was looked for."""


class ImageReadError(PairsimError, OSError):
    """A picture that is missing or cannot be decoded."""


class RunError(PairsimError, OSError):
    """A run or model folder that cannot be read or written."""


class DeviceError(PairsimError, RuntimeError):
    """A device that was asked for and is not there."""


class TrainingError(PairsimError, RuntimeError):
    """Training that cannot go on, such as a loss that is not finite."""


class ExportError(PairsimError, RuntimeError):
    """A model that cannot be written as a graph, or a graph that does not compute what the model does."""


class MissingExtraError(PairsimError, ImportError):
    """An optional package that is not installed."""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Args:
        module: Name to import, such as `"matplotlib.pyplot"`.
        extra: The extra of pairsim that installs it.
        purpose: What needs it, as the beginning of the message.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: If the package is not installed.

    Example:
        >>> require("json", extra="viz", purpose="Drawing").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != package:
            raise
        raise MissingExtraError(
            f"{purpose} needs the package {package}, which is not installed. "
            f"Install it with: pip install 'pairsim[{extra}]'"
        ) from error
