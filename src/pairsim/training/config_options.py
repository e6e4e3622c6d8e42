"""Describe each option of a config in one place: its text, group, accepted values and resume rule.

An option is a dataclass field made by `Group.option`. Its description gives the check of the value, the `Args:` part of
the class docstring, the help of `pairsim train`, and what may change when a run is resumed.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pairsim._common.numbers import real_number, truth_value, whole_number

T = TypeVar("T")


class Group(Enum):
    """Groups of options, in the order of the help."""

    MAIN = "Most used"
    PAIRS = "Pairs and batches"
    OPTIMIZATION = "Optimization"
    VALIDATION = "Validation and checkpoints"
    READING = "Reading images"
    SPEED = "Speed and display"

    def option(self, default: T, help: str, **rules: Any) -> T:
        """Declare an option of this group as a field of a dataclass.

        Args:
            default: Default value. If it is `None`, `None` is always accepted.
            help: Description, without the accepted values.
            **rules: Further attributes of `Option`.

        Returns:
            A dataclass field, which type checkers see as its default.
        """
        field: T = dataclasses.field(default=default, metadata={"option": Option(self, help, **rules)})
        return field


@dataclass(frozen=True)
class Option:
    """What is known of an option besides its type and default.

    Attributes:
        group: Group in the help of the command line.
        help: Description, without the accepted values.
        python: What only Python can give, added to the description there. With `choices`, a callable is accepted too.
        choices: Accepted values, or a function that returns them; empty for any.
        minimum: Smallest accepted whole number.
        interval: Interval of accepted numbers, such as `"[0, 1)"` or `"(0, inf)"`.
        affects: What another value changes: the `"result"`; only its `"rounding"`; only the `"length"` of the run; or
            only its `"speed"` and what it writes.
    """

    group: Group
    help: str
    python: str = ""
    choices: tuple[str, ...] | Callable[[], tuple[str, ...]] = ()
    minimum: int | None = None
    interval: str = ""
    affects: Literal["result", "rounding", "length", "speed"] = "result"

    @property
    def may_change_on_resume(self) -> bool:
        """Whether a run may be resumed with another value."""
        return self.affects in ("length", "speed")

    @property
    def is_setting(self) -> bool:
        """Whether the value belongs to the settings of a run that model cards and reports list."""
        return self.affects in ("result", "length")

    @property
    def names(self) -> tuple[str, ...]:
        """The accepted values; empty for any."""
        return self.choices() if callable(self.choices) else self.choices

    @property
    def accepts_callables(self) -> bool:
        """Whether Python may give a function in place of a choice."""
        return bool(self.choices and self.python)

    @property
    def expected(self) -> str:
        """The accepted values in words; empty for any."""
        if self.choices:
            return f"one of {', '.join(self.names)}"
        if self.minimum is not None:
            return f"at least {self.minimum}"
        unbounded = {"": "", "(0, inf)": "positive", "[0, inf)": "at least 0"}
        return unbounded.get(self.interval, f"in {self.interval}")

    @property
    def command_line_help(self) -> str:
        """The description for the command line, which lists choices itself."""
        return self.help if self.choices or not self.expected else f"{self.help} {self.expected.capitalize()}."

    @property
    def python_help(self) -> str:
        """The description for Python."""
        accepted = ", ".join(f'"{choice}"' for choice in self.names)
        text = f"{self.help} One of {accepted}." if self.choices else self.command_line_help
        return f"{text} {self.python}".strip()

    def accepts(self, value: Any) -> bool:
        """Whether a value is accepted."""
        try:
            return self._accepts(value)
        except (TypeError, ValueError, OverflowError):  # such as text in place of a number
            return False

    def _accepts(self, value: Any) -> bool:
        if self.choices:
            return value in self.names or (self.accepts_callables and callable(value))
        if self.minimum is not None:
            return bool(value >= self.minimum and value == int(value) and not isinstance(value, bool))
        if not self.interval:
            return True
        low, high = map(float, self.interval[1:-1].split(","))
        above = low <= value if self.interval.startswith("[") else low < value
        return bool(above and (value <= high if self.interval.endswith("]") else value < high))


def options_of(config: Any) -> dict[str, Option]:
    """The options of a config or config class by name, in the order of its fields."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(config)}


_KINDS = {bool: "True or False", int: "a whole number", float: "a number", Path: "a path"}
_CONVERTERS: dict[Any, Callable[[Any, str], Any]] = {bool: truth_value, int: whole_number, float: real_number}


def check_options(config: Any) -> None:
    """Check each value of a config; numbers of other libraries become those of Python, and text a path if one is due.

    Raises:
        ValueError: If a value is not accepted.
    """
    for field in dataclasses.fields(config):
        value, rules = getattr(config, field.name), field.metadata["option"]
        if value is None and field.default is None:
            continue
        if not rules.accepts(value):
            shown = repr(value) if rules.choices or isinstance(value, str) else value
            raise ValueError(f"Expected {field.name} to be {rules.expected}, got {shown}.")
        for kind in (kind for kind in get_args(field.type) or (field.type,) if kind in _KINDS):
            object.__setattr__(config, field.name, _converted(value, kind, field.name))


def _converted(value: Any, kind: Any, name: str) -> Any:
    try:
        if kind is Path:
            return Path(value)
        return _CONVERTERS[kind](value, name)
    except TypeError as error:
        raise ValueError(f"Expected {name} to be {_KINDS[kind]}, got {value!r}.") from error


def document_options(config_class: type[T]) -> type[T]:
    """Add the options of a config class to its docstring, as an `Args:` section before `Raises:`."""
    lines = [
        textwrap.fill(f"{name}: {option.python_help}", 116, initial_indent="    ", subsequent_indent="        ")
        for name, option in options_of(config_class).items()
    ]
    before, raises, after = inspect.cleandoc(config_class.__doc__ or "").partition("Raises:\n")
    config_class.__doc__ = "\n".join([f"{before}Args:", *lines, "", f"{raises}{after}"])
    return config_class
