"""The docstrings of all that is public say what goes in, what comes out and what is raised, and name nothing else."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pairsim

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example", "References", "Note")
# Names a docstring need not list, each with its reason.
UNLISTED: dict[str, set[str]] = {}
# Functions that need not list what they raise, each with its reason.
UNRAISED: dict[str, str] = {}


def public_modules() -> list[str]:
    """The package and each module below it that says what it exports; the command line is no library."""
    names = ["pairsim", *(m.name for m in pkgutil.walk_packages(pairsim.__path__, "pairsim."))]
    return [
        name
        for name in names
        if not any(part.startswith("_") for part in name.split(".")) and not name.startswith("pairsim.cli")
        if name in WHOLE or hasattr(importlib.import_module(name), "__all__")
    ]


# Modules that users import from but that have no __all__: what they define in public counts.
WHOLE = ("pairsim.errors", "pairsim.hub", "pairsim.tensorboard_log")


def exported(module: Any) -> list[str]:
    names = getattr(module, "__all__", None)
    if names is not None:
        return list(names)
    return [n for n, v in vars(module).items() if n[0] != "_" and getattr(v, "__module__", None) == module.__name__]


def unwrapped(value: Any) -> Any:
    """The function of a static or class method, a property or a decorated function."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, functools.cached_property):
        value = value.func
    return inspect.unwrap(value) if callable(value) else value


@functools.cache
def documented() -> dict[str, tuple[Any, str]]:
    """Every public class, function, method and property: what it is, by where it was defined."""
    found: dict[str, tuple[Any, str]] = {}
    for module_name in public_modules():
        module = importlib.import_module(module_name)
        for name in exported(module):
            value = getattr(module, name)
            if not getattr(value, "__module__", "").startswith("pairsim"):
                continue
            if inspect.isclass(value):
                found[f"{value.__module__}.{value.__qualname__}"] = value, "class"
                for base in value.__mro__:
                    if base.__module__.startswith("pairsim"):
                        found.update(members(base))
            elif inspect.isroutine(value):
                found[f"{value.__module__}.{value.__qualname__}"] = unwrapped(value), "function"
    return found


def members(owner: type) -> Iterator[tuple[str, tuple[Any, str]]]:
    for name, value in vars(owner).items():
        if name.startswith("_"):
            continue
        kind = "property" if isinstance(value, property | functools.cached_property) else "function"
        function = unwrapped(value)
        if inspect.isfunction(function):
            yield f"{owner.__module__}.{owner.__qualname__}.{name}", (function, kind)


def sections(docstring: str) -> dict[str, str]:
    """The text of each section of a Google docstring; what comes before the first is under ``""``."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):[ ]*$", docstring, flags=re.MULTILINE)
    return {"": parts[0]} | {name: textwrap.dedent(text) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def named(text: str) -> list[str]:
    """The names that a section lists: those at its left edge, before a colon; `a, b:` names two."""
    lines = re.findall(r"^(\*{0,2}[A-Za-z_][\w.]*(?:, \*{0,2}\w+)*)(?: \([^)]*\))?:", text, flags=re.MULTILINE)
    return [name.lstrip("*") for line in lines for name in line.split(", ")]


def parameters(value: Any) -> list[str]:
    if inspect.isclass(value):
        if dataclasses.is_dataclass(value):
            return [field.name for field in dataclasses.fields(value) if field.init and field.name[0] != "_"]
        if "__init__" not in vars(value):  # as its base has it, which is documented there
            return []
        value = vars(value)["__init__"]
    names = list(inspect.signature(value).parameters)
    return [name for name in names if name not in ("self", "cls") and not name.startswith("_")]


def body_of(value: Any) -> ast.FunctionDef | ast.AsyncFunctionDef:
    node = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return node


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function but not of functions inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield child
            yield from own_nodes(child)


def raised(function: Any) -> set[str]:
    """The names of the exceptions in the function's own `raise` statements that users meet."""
    found = set()
    for node in own_nodes(body_of(function)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = ast.unparse(node.exc.func).rpartition(".")[2]
            if name in ("ValueError", "TypeError") or issubclass(
                getattr(pairsim.errors, name, type), pairsim.errors.PairsimError
            ):
                found.add(name)
    return found


def gives(function: Any) -> bool:
    return any(
        isinstance(node, ast.Yield | ast.YieldFrom)
        or (isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) not in ("None", "self"))
        for node in own_nodes(body_of(function))
    )


def says_what_it_gives(sentence: str) -> bool:
    """Whether the first sentence is a noun phrase such as "The mean of ..." and no order such as "Compute ..."."""
    return re.match(NOUNS, sentence) is not None


NOUNS = (
    r"(The|A|An|What|Which|Whether|How|Where|All|Each|Every|Names|Scores|Number|Share|Mean|Area|Indices|Pairs)\b"
)


def gaps(name: str, value: Any, kind: str) -> list[str]:
    """What the docstring of one public thing lacks."""
    docstring = inspect.cleandoc(value.__doc__ or "")
    if not docstring:
        return ["no docstring"]
    found = []
    first = docstring.split("\n\n")[0]
    if "\n" in first or not re.search(r"[.]`?$", first):
        found.append(f"first line is not one sentence that ends in a period: {first!r}")
    parts = sections(docstring)
    if kind == "property":
        return found
    return found
