"""The docstrings of all that is public say what goes in, what comes out and what is raised, and name nothing else."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pairsim
import pairsim.errors

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example", "References", "Note")
# Modules without an __all__ of which all that has no underscore counts: those that the API reference shows whole, and
# those of which `pairsim` exports a part.
PAGES = Path(__file__).parents[2] / "docs" / "api"
SHOWN = {name for page in PAGES.glob("*.rst") for name in re.findall(r"automodule:: (\S+)", page.read_text("utf-8"))}
WHOLE = SHOWN | {
    "pairsim.audits.duplicates.duplicate_search",
    "pairsim.encoding.pictures",
    "pairsim.verification.pair_verdicts",
    "pairsim.audits.saliency",
}
# A first sentence that begins with one of these says what is done, and not what is given.
VERBS = re.compile(
    "(Add|Apply|Bring|Build|Calibrate|Check|Choose|Compare|Compute|Convert|Copy|Count|Decide|Describe|Draw|Embed|Encode"
    "|Evaluate|Export|Find|Fit|Give|Hold|Import|Judge|Load|Look|Make|Map|Measure|Name|Open|Parse|Pick|Plot|Predict|Push"
    "|Rank|Read|Rebuild|Remove|Replace|Resample|Resolve|Run|Sample|Save|Scale|Search|Show|Sort|Split|Store|Take"
    r"|Tell|Train|Turn|Update|Upload|Verify|Write)\b"
)
# Where arguments and errors are those of something else that is named.
AS_ELSEWHERE = re.compile(r"(?:see|as for|as|as of|inverse of) `[\w.]+`", re.IGNORECASE)


def public_modules() -> list[str]:
    """The package and each module below it that says what it exports; the command line is no library."""
    names = ["pairsim", *(m.name for m in pkgutil.walk_packages(pairsim.__path__, "pairsim."))]
    return [
        name
        for name in names
        if not any(part.startswith("_") for part in name.split(".")) and not name.startswith("pairsim.cli")
        if name in WHOLE or hasattr(importlib.import_module(name), "__all__")
    ]


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
def documented() -> dict[str, tuple[Any, str, bool]]:
    """Each public class, function, method or property, of which kind, and whether it overrides a documented one."""
    found: dict[str, tuple[Any, str, bool]] = {}
    for module_name in public_modules():
        module = importlib.import_module(module_name)
        for name in exported(module):
            value = getattr(module, name)
            if not getattr(value, "__module__", "").startswith("pairsim"):
                continue
            if inspect.isclass(value):
                found[f"{value.__module__}.{value.__qualname__}"] = value, "class", False
                for base in value.__mro__:
                    if base.__module__.startswith("pairsim"):
                        found.update(members(base))
            elif inspect.isroutine(value):
                found[f"{value.__module__}.{value.__qualname__}"] = unwrapped(value), "function", False
    return found


def members(owner: type) -> Iterator[tuple[str, tuple[Any, str, bool]]]:
    for name, value in vars(owner).items():
        if name.startswith("_"):
            continue
        kind = "property" if isinstance(value, property | functools.cached_property) else "function"
        function = unwrapped(value)
        if inspect.isfunction(function):
            above = [base for base in owner.__mro__[1:] if base.__module__.startswith("pairsim") and name in vars(base)]
            yield f"{owner.__module__}.{owner.__qualname__}.{name}", (function, kind, bool(above))


def sections(docstring: str) -> dict[str, str]:
    """The text of each section of a Google docstring; what comes before the first is under ``""``."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):[ ]*$", docstring, flags=re.MULTILINE)
    return {"": parts[0]} | {name: textwrap.dedent(text) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def named(text: str) -> list[str]:
    """The names that a section lists: those at its left edge, before a colon; `a, b:` names two."""
    lines = re.findall(r"^(\*{0,2}[A-Za-z_][\w.]*(?:, \*{0,2}\w+)*)(?: \([^)]*\))?:", text, flags=re.MULTILINE)
    return [name.lstrip("*") for line in lines for name in line.split(", ")]


def parameters(value: Any) -> list[str]:
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value) if field.init and field.name[0] != "_"]
    if inspect.isclass(value):
        if "__init__" not in vars(value) or getattr(value, "_is_protocol", False):  # see its base
            return []
        value = vars(value)["__init__"]
    return [name for name in inspect.signature(value).parameters if name not in ("self", "cls") and name[0] != "_"]


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, but not of functions inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield child
            yield from own_nodes(child)


def nodes_of(value: Any) -> list[ast.AST]:
    """What a function is made of; for a class, what is run when one is made."""
    if inspect.isclass(value):
        made = [vars(value)[name] for name in ("__init__", "__post_init__") if name in vars(value)]
        return [node for function in made if function.__module__ == value.__module__ for node in nodes_of(function)]
    try:
        source = inspect.getsource(value)
    except OSError:  # a dataclass's __init__, which was never written
        return []
    return list(own_nodes(ast.parse(textwrap.dedent(source)).body[0]))


def raised(value: Any) -> set[type[BaseException]]:
    """The exceptions for users in its own `raise` statements."""
    calls = [node.exc for node in nodes_of(value) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    known: dict[str, Any] = {"ValueError": ValueError, "TypeError": TypeError, **vars(pairsim.errors)}
    found = [known.get(ast.unparse(call.func).rpartition(".")[2]) for call in calls]
    return {kind for kind in found if isinstance(kind, type) and issubclass(kind, BaseException)}


def gives(function: Any) -> bool:
    return any(
        isinstance(node, ast.Yield | ast.YieldFrom)
        or (isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) not in ("None", "self"))
        for node in nodes_of(function)
    )


def argument_gaps(value: Any, parts: dict[str, str], text: str) -> Iterator[str]:
    wanted = parameters(value)
    if "Args" not in parts and "Attributes" not in parts:
        if not AS_ELSEWHERE.search(text):
            yield from (f"says nothing of {name}" for name in wanted if not re.search(rf"\b{name}\b", text))
        return
    args, attributes = named(parts.get("Args", "")), named(parts.get("Attributes", ""))
    yield from (f"does not list {name}" for name in wanted if name not in args + attributes)
    yield from (f"lists {name}, which is no parameter" for name in args if name not in wanted)
    if inspect.isclass(value) and dataclasses.is_dataclass(value):
        there = [field.name for field in dataclasses.fields(value)] + dir(value)
        yield from (f"lists {name}, which it does not have" for name in attributes if name not in there)


def gaps(value: Any, kind: str, *, overrides: bool = False) -> list[str]:
    """What the docstring of one public thing lacks."""
    text = inspect.cleandoc(value.__doc__ or "")
    if not text:
        return ["has no docstring"]
    parts = sections(text)
    first = text.split("\n\n")[0]
    found = [] if "\n" not in first and first.endswith(".") else [f"does not begin with one sentence: {first!r}"]
    if kind == "property" or overrides:
        return found
    found += argument_gaps(value, parts, text)
    listed = [(vars(pairsim.errors) | vars(builtins)).get(name) for name in named(parts.get("Raises", ""))]
    if not (kind == "function" and "Raises" not in parts and AS_ELSEWHERE.search(text)):
        found += [
            f"does not say when it raises {error.__name__}"
            for error in sorted(raised(value), key=lambda error: error.__name__)
            if not any(inspect.isclass(other) and issubclass(error, other) for other in listed)
        ]
    if kind == "function" and gives(value) and not {"Returns", "Yields"} & set(parts) and VERBS.match(text):
        found.append(f"says what it does and not what it returns: {first!r}")
    return found


@pytest.mark.parametrize("name", documented())
def test_docstring_says_what_goes_in_and_comes_out(name: str) -> None:
    value, kind, overrides = documented()[name]
    assert gaps(value, kind, overrides=overrides) == []


def test_all_that_is_public_is_looked_at() -> None:
    names = set(documented())
    assert {"pairsim.training.trainer.Trainer", "pairsim.training.trainer.Trainer.fit"} <= names
    assert {
        "pairsim.hub.transfer.push_to_hub",
        "pairsim.search.gallery.Gallery.search",
        "pairsim.search.gallery_rows.GalleryRows.ids",
        "pairsim.errors.DataError",
    } <= names
    assert {
        "pairsim.runs.run_records.read_run",
        "pairsim.integrations.web_app.serve",
        "pairsim.models.backbones.registry.named_backbone",
    } <= names


def whole(first: int, *, second: str = "") -> int:
    """Compute a number.

    Args:
        first: A number.
        second, third: More.
    """
    if second:
        raise ValueError("no")
    return first


def short(first: int) -> int:
    """The number
    that comes next."""
    return first


def bare(first: int) -> None: ...


@dataclasses.dataclass
class Fields:
    """Two fields.

    Attributes:
        one: The first.
        three: There is none.
    """

    one: int
    two: int


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (
            whole,
            "function",
            [
                "lists third, which is no parameter",
                "does not say when it raises ValueError",
                "says what it does and not what it returns: 'Compute a number.'",
            ],
        ),
        (
            short,
            "function",
            ["does not begin with one sentence: 'The number\\nthat comes next.'", "says nothing of first"],
        ),
        (bare, "function", ["has no docstring"]),
        (Fields, "class", ["does not list two", "lists three, which it does not have"]),
    ],
)
def test_gaps_are_found(value: Any, kind: str, expected: list[str]) -> None:
    assert gaps(value, kind) == expected
