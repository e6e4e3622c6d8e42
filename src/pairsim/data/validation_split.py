"""The validation images of a run, written to its folder as `split.json` and read back.

The file holds the fingerprint of the labels of the whole set, the number of validation images, and one bit per image,
1 = validation, most significant bit first, in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairsim._common import storage
from pairsim.data.class_index import ClassIndex
from pairsim.data.random import Int64Array
from pairsim.errors import RunError

FILE_NAME = "split.json"
FORMAT = "pairsim-split"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class ValidationSplit:
    """Which images of a set are held out for validation.

    Attributes:
        held_out: Numbers of the validation images, int64 `[V]`, ascending.
        data: Fingerprint of the whole set (`ClassIndex.fingerprint`).

    Example:
        >>> split = ValidationSplit.of(ClassIndex.from_labels(np.array([0, 0, 1, 1])), np.array([1, 3]))
        >>> ValidationSplit.from_dict(split.to_dict()).held_out.tolist()
        [1, 3]
    """

    held_out: Int64Array
    data: Mapping[str, Any]

    @classmethod
    def of(cls, index: ClassIndex, held_out: Int64Array) -> ValidationSplit:
        """Record the validation images of a set.

        Args:
            index: Class index of the whole set.
            held_out: Numbers of the validation images, ascending.
        """
        return cls(held_out, index.fingerprint())

    def to_dict(self) -> dict[str, Any]:
        """The split as JSON values."""
        is_held_out = np.zeros(self.data["num_images"], dtype=bool)
        is_held_out[self.held_out] = True
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **self.data,
            "num_held_out": len(self.held_out),
            "held_out": base64.b64encode(np.packbits(is_held_out).tobytes()).decode(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ValidationSplit:
        """The inverse of `to_dict`.

        Raises:
            ValueError: If the values are not those of a split, of a newer format, or damaged.
        """
        if values.get("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}, found {values.get('format')!r}")
        if values["format_version"] > FORMAT_VERSION:
            raise ValueError(f"its format version {values['format_version']} needs a newer pairsim")
        data = {name: values[name] for name in ("num_images", "num_classes", "labels")}
        packed = np.frombuffer(base64.b64decode(values["held_out"], validate=True), dtype=np.uint8)
        held_out = np.flatnonzero(np.unpackbits(packed, count=data["num_images"]))
        if len(packed) != -(-data["num_images"] // 8) or len(held_out) != values["num_held_out"]:
            raise ValueError(f"expected {values['num_held_out']} of {data['num_images']} images, found others")
        return cls(held_out, data)


def write_split(run: Path, split: ValidationSplit | None) -> None:
    """Write the split to a run folder; `None` removes the file of an earlier run.

    Raises:
        RunError: If the file cannot be written.
    """
    if split is None:
        (run / FILE_NAME).unlink(missing_ok=True)
    else:
        storage.write_file(run / FILE_NAME, storage.to_json(split.to_dict()))


def read_split(run: Path) -> ValidationSplit | None:
    """Read the split of a run folder; `None` if it has no file for it.

    Raises:
        RunError: If the file is damaged or of a newer format.
    """
    path = run / FILE_NAME
    if not path.is_file():
        return None
    values = storage.read_json(path)
    try:
        return ValidationSplit.from_dict(values)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"Expected the validation split of a run in {path}, but: {error}.") from error
