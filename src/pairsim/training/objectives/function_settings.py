"""The settings inside a function or object that a configuration holds, which its name does not show.

Imported without torch.
"""

from __future__ import annotations

import hashlib
import math
import sys
from functools import partial
from numbers import Real
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

_LISTED = 100
"""Values of a tuple that are written out; of longer ones a hash is."""


def function_settings(function: Any) -> dict[str, Any]:
    """Return the numbers and strings, and tuples and lists of them, that a function's results depend on.

    They are the attributes of an object and of its parts, the arguments of a `functools.partial`, and of a function its
    code, defaults, closure and the globals of its module that it names. Left out are `None`, as some losses fill such
    attributes in while they train, and whole numbers that are attributes, as these may count calls.

    Args:
        function: A function, module or other object that can be called.

    Returns:
        JSON values by paths. Code is a hash, which depends on the version of Python.

    Example:
        >>> function_settings(partial(print, 1, sep="-"))
        {'0': 1, 'sep': '-'}
    """
    found: dict[str, Any] = {}
    _add(found, "", function, set())
    return found


def _add(found: dict[str, Any], path: str, value: Any, seen: set[int]) -> None:
    if isinstance(value, Real | str):
        found[path] = _plain(value)
    elif isinstance(value, tuple | list) and all(isinstance(one, Real | str) for one in value):
        values = [_plain(one) for one in value]
        found[path] = values if len(values) <= _LISTED else _sha256(values)
    elif callable(value) and not isinstance(value, type) and id(value) not in seen:
        seen.add(id(value))
        for name, part in _parts(value).items():
            _add(found, f"{path}.{name}" if path else name, part, seen)


def _plain(value: Real | str) -> float | str:
    number = value if isinstance(value, int | float | str) else float(value)
    return repr(number) if isinstance(number, float) and not math.isfinite(number) else number


def _parts(value: Any) -> dict[str, Any]:
    """Return what the result of a call may depend on, by name."""
    if isinstance(value, partial):
        return {"func": value.func, **{str(k): part for k, part in enumerate(value.args)}, **value.keywords}
    if isinstance(value, MethodType):
        return {"self": value.__self__, "func": value.__func__}
    if isinstance(value, FunctionType):
        return _parts_of_function(value)
    from torch import nn

    attributes = {name: part for name, part in getattr(value, "__dict__", {}).items() if type(part) is not int}
    if not isinstance(value, nn.Module):
        return attributes
    own = vars(nn.Module())
    return {name: part for name, part in attributes.items() if name not in own} | dict(value.named_children())


def _parts_of_function(function: FunctionType) -> dict[str, Any]:
    code, names = function.__code__, function.__globals__
    if str(names.get("__name__")).startswith("torch."):  # of PyTorch itself, as is what torch.compile returns
        return {"compiled": getattr(function, "__wrapped__", None)}
    defaults = zip(reversed(code.co_varnames[: code.co_argcount]), reversed(function.__defaults__ or ()), strict=False)
    version = ".".join(map(str, sys.version_info[:2]))
    return {
        f"code in Python {version}": _code_sha256(code),
        **{name: names[name] for name in code.co_names if name in names and _belongs(names[name], names)},
        **dict(defaults),
        **(function.__kwdefaults__ or {}),
        **{name: _content(cell) for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)},
    }


def _belongs(value: Any, names: dict[str, Any]) -> bool:
    """Return whether a global is not a function of another module, such as one of a library."""
    return not isinstance(value, FunctionType) or value.__globals__ is names


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _code_sha256(code: CodeType) -> str:
    """Return a hash of a function's instructions, names and constants, but not of its place in a file."""
    constants = [_code_sha256(one) if isinstance(one, CodeType) else _ordered(one) for one in code.co_consts]
    return _sha256((code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants))


def _ordered(constant: Any) -> Any:
    return sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant


def _sha256(content: Any) -> str:
    return hashlib.sha256(repr(content).encode("utf-8", "backslashreplace")).hexdigest()[:12]
