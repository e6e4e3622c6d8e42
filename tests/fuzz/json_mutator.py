"""Change inputs that hold JSON so that most of them can still be parsed, which changed bytes seldom can."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

_NAMES = ("", "sha256", "../secret", "a/b", "\x1b[31m", "\ud800", "x" * 300)
_NUMBERS = (0, 1, -1, 2, 0.5, -0.5, 1e308, float("nan"), float("inf"), 2**31, 2**63, 10**12, 10**400)
_OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": None})
_LENGTH = 8
"""Bytes at the start of a safetensors file that state the length of its header."""


def mutate(content: bytes, max_size: int, seed: int, change_bytes: Callable[[bytes, int], bytes]) -> bytes:
    """Change a value of JSON, of a line of JSON, or of the header of a safetensors file; else, or at times, bytes.

    Args:
        content: The input.
        max_size: Length of the result at most.
        seed: Of the choices.
        change_bytes: Changes any input.
    """
    random = Random(seed)
    parts = (_whole, _a_line, _header)
    for part in parts if random.random() < 0.7 else ():
        before, text, after = part(content, random)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        changed = json.dumps(_changed(value, random)).encode()
        if part is _header:
            before = struct.pack("<Q", len(changed))
        return (before + changed + after)[:max_size]
    return change_bytes(content, max_size)


def _whole(content: bytes, random: Random) -> tuple[bytes, bytes, bytes]:
    return b"", content, b""


def _a_line(content: bytes, random: Random) -> tuple[bytes, bytes, bytes]:
    lines = content.splitlines(keepends=True) or [b""]
    number = random.randrange(len(lines))
    return b"".join(lines[:number]), lines[number].rstrip(), b"\n" + b"".join(lines[number + 1 :])


def _header(content: bytes, random: Random) -> tuple[bytes, bytes, bytes]:
    """Of a safetensors file."""
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    return content[:_LENGTH], content[_LENGTH:end], content[end:]


def _changed(value: Any, random: Random) -> Any:
    """Replace, remove, or repeat a value somewhere in it."""
    if not isinstance(value, dict | list) or not value or random.random() < 0.1:
        return _other(value, random)
    if isinstance(value, list):
        copies, index = list(value), random.randrange(len(value))
        match random.randrange(8):
            case 0:
                del copies[index]
            case 1:
                copies *= random.choice((2, 50))
            case _:
                copies[index] = _changed(value[index], random)
        return copies
    copy, key = dict(value), random.choice(list(value))
    match random.randrange(8):
        case 0:
            del copy[key]
        case 1:
            copy[random.choice([*_NAMES, *value])] = copy.pop(key)
        case _:
            copy[key] = _changed(value[key], random)
    return copy


def _other(value: Any, random: Random) -> Any:
    """Return another value, often of the same type."""
    if isinstance(value, str) and random.random() < 0.5:
        return random.choice([*_NAMES, value[:-1], value + "a", value.upper()])
    if isinstance(value, int | float) and random.random() < 0.7:
        return random.choice([*_NUMBERS, value + 1, -value, value * 2, float(value) if abs(value) < 1e300 else 0])
    return random.choice([*_NAMES, *_NUMBERS, *_OTHERS, [value], {"a": value}])
