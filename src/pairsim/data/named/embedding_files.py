"""Files of embeddings that another model computed: labelled data whose images are vectors."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim._common import storage
from pairsim._common.csv_files import read_table_file
from pairsim._common.storage import open_file
from pairsim.data.class_index import ClassIndex
from pairsim.data.image_sets import ImageTensors, LabelledData
from pairsim.data.labels import read_labels
from pairsim.data.splits import hold_out_test
from pairsim.errors import DataError, DatasetNotFoundError, PairsimError, require
from pairsim.images import Preprocessing

_FORMAT = (
    "an .npz file with the arrays embeddings [N, D], labels [N] and, if you like, ids [N]; an .npy file of embeddings "
    "with NAME.csv beside it; or a .parquet file with the columns embedding, label and id"
)
_LARGE, _MAX_RATIO = 2**28, 50
"""Arrays in an archive of more bytes, and of more than this for each that is stored, are not unpacked."""
_NAMES = {"embeddings": "embedding", "labels": "label", "ids": "id"}
"""The arrays of an .npz file, and the columns of a table."""
_OF_TABLE = {name: column for name, column in _NAMES.items() if name != "embeddings"}
"""The columns of the table beside an .npy file."""
_SHOWN = 60
"""Characters of a first line in a message."""


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """The content of a file of embeddings.

    Attributes:
        images: The embeddings, scaled to length 1, as images of D channels and one pixel: float32 `[N, D, 1, 1]`.
        labels: A label for each `[N]`, text or whole numbers; `None` if the file has none.
        ids: A name for each; the row numbers if the file has none.
        source: Name of the file and the beginning of its SHA-256.
    """

    images: Tensor
    labels: npt.NDArray[Any] | None
    ids: list[str] | list[int]
    source: str


def read_embeddings(path: str | Path, dim: int | None = None) -> Embeddings:
    """Read a file of embeddings, without running code that might be in it.

    Args:
        path: `.npz` with the arrays `embeddings` `[N, D]`, `labels` `[N]` and `ids` `[N]`; `.npy` with `NAME.csv`
            beside it, whose columns are `label` and `id`; or `.parquet` with the columns `embedding`, `label` and `id`.
            Labels and ids are text or whole numbers, and may be missing.
        dim: Numbers of an embedding that a model takes, D.

    Returns:
        The embeddings, with what the file says of each.

    Raises:
        DataError: If the file has no embeddings, they are not numbers `[N, D]`, one is zero or not finite, there are
            not as many labels or ids, or D is another number than `dim`.
        DatasetNotFoundError: If there is no such file.
        MissingExtraError: If pyarrow is needed and not installed.
    """
    file = Path(path)
    if not storage.is_file(file):
        raise DatasetNotFoundError(f"Expected a file of embeddings at {file}, found {storage.found_at(file)}.")
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise DataError(f"Expected a file of embeddings, found {file}. Give {_FORMAT}.")
    columns = reader(file)
    if "embeddings" not in columns:
        raise DataError(f"Expected embeddings in {file}, found {', '.join(columns) or 'nothing'}. Give {_FORMAT}.")
    vectors = _checked(columns["embeddings"], file)
    if dim not in (None, vectors.shape[1]):
        raise DataError(
            f"Expected embeddings of {dim} numbers, as the model was trained on, found {vectors.shape[1]} in {file}. "
            "Give embeddings of the same net."
        )
    rows = range(len(vectors))
    labels = ids = None
    try:
        if "labels" in columns:
            labels = read_labels(rows, columns["labels"])
            _check_not_empty(labels)
        if "ids" in columns:
            ids = read_labels(rows, columns["ids"]).tolist()
    except PairsimError as error:
        raise DataError(f"{error} See {file}.") from error
    return Embeddings(
        images=torch.from_numpy(vectors)[:, :, None, None],
        labels=labels,
        ids=list(rows) if ids is None else ids,
        source=f"{file.name} (SHA-256 {storage.sha256(storage.read_bytes(file))[:12]})",
    )


def load(path: Path, split: str, preprocessing: Preprocessing | None) -> LabelledData:
    """Load one split of a file of embeddings with labels.

    Args:
        path: The file.
        split: `"all"`; or `"train"` and `"test"`, which has one row in five of each class.
        preprocessing: Of a model, which takes embeddings of one length; `None` for any length.

    Raises:
        DataError: If it has no labels, the split is `"val"`, or the model takes pictures; and as `read_embeddings`.
    """
    if split == "val":
        raise DataError(
            f"{path} has no validation split of its own: the trainer splits one off train. Use train or test."
        )
    if preprocessing is not None and not preprocessing.of_vectors:
        raise DataError(f"Expected pictures, as the model was trained on, found embeddings in {path}. Give pictures.")
    found = read_embeddings(path, None if preprocessing is None else preprocessing.channels)
    if found.labels is None:
        raise DataError(f"Expected labels in {path}, found none. Give {_FORMAT}.")
    dataset = ImageTensors(found.images, found.labels)
    part = dataset if split == "all" else hold_out_test(dataset, split)
    names = tuple(map(str, ClassIndex.from_labels(part.targets).classes))
    return LabelledData(
        dataset=part, class_names=names, image_size=(1, 1), channels=found.images.shape[1], source=found.source
    )


def _check_not_empty(labels: npt.NDArray[Any]) -> None:
    empty = [number for number, label in enumerate(labels.tolist()) if isinstance(label, str) and not label.strip()]
    if empty:
        raise DataError(
            f"Expected a label for each embedding, found none for {len(empty):,} of {len(labels):,}, the first in row "
            f"{empty[0]}. Fill it in, or remove the row from labels and embeddings."
        )


def _checked(values: npt.NDArray[Any], file: Path) -> npt.NDArray[np.float32]:
    """Check embeddings and scale them to length 1."""
    if values.ndim != 2 or values.dtype.kind != "f" or not values.size:
        raise DataError(f"Expected embeddings [N, D] in floating point in {file}, found {values.dtype} {values.shape}.")
    vectors = values.astype(np.float64)
    wrong: dict[str, npt.NDArray[np.bool_]] = {
        "finite numbers, found NaN or infinity": np.array(~np.isfinite(vectors).all(axis=1)),
        "embeddings with a direction, found zeros only": np.array(~vectors.any(axis=1)),
    }
    for what, bad in wrong.items():
        if bad.any():
            raise DataError(
                f"Expected {what} in {np.count_nonzero(bad):,} of {len(bad):,} rows of {file}, the first is row "
                f"{int(bad.argmax())}. Remove these rows, or compute them again."
            )
    vectors /= np.abs(vectors).max(axis=1, keepdims=True)  # so that squares neither overflow nor vanish
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def _read_npz(file: Path) -> dict[str, Any]:
    try:
        with open_file(file) as content, np.load(content, allow_pickle=False) as arrays:
            for part in arrays.zip.infolist():
                if part.file_size > _LARGE and part.file_size > _MAX_RATIO * part.compress_size:
                    raise ValueError(f"{part.filename} would have {part.file_size:,} bytes, far more than the file")
            _check_names(list(arrays), _NAMES)
            columns = {name: arrays[name] if name in _NAMES else None for name in arrays}
            for name, column in columns.items():
                if isinstance(column, bytes):  # as NumPy returns what has no header of an array
                    raise ValueError(f"{name} is not an array")
            return columns
    except Exception as error:  # whatever a damaged archive makes NumPy and zipfile raise
        raise _unreadable(file, error) from error


def _read_npy(file: Path) -> dict[str, Any]:
    try:
        with open_file(file) as content:
            columns: dict[str, Any] = {"embeddings": np.load(content, allow_pickle=False)}
            if not isinstance(columns["embeddings"], np.ndarray):
                raise ValueError("it is an archive of arrays, whose name should end in .npz")
    except Exception as error:  # likewise
        raise _unreadable(file, error) from error
    table = file.with_suffix(".csv")
    if storage.is_file(table):
        try:
            text = read_table_file(table).decode("utf-8-sig")
            lines = csv.reader(io.StringIO(text, newline=""), strict=True)
            head = [name.strip().lower() for name in next(lines, [])]
            _check_names(head, _OF_TABLE.values())
            if not set(head) & set(_OF_TABLE.values()):
                raise ValueError(f"its first line is {','.join(head)[:_SHOWN]!r}")
            rows = [dict(zip(head, (value.strip() for value in line), strict=False)) for line in lines if line]
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(
                f"Expected a table with the columns label and id at {table}, but: {error}. Save it as CSV in UTF-8, "
                "with commas."
            ) from error
        columns |= {name: [row.get(column, "") for row in rows] for name, column in _OF_TABLE.items() if column in head}
    return columns


def _read_parquet(file: Path) -> dict[str, Any]:
    parquet = require("pyarrow.parquet", extra="parquet", purpose="Reading Parquet files")
    try:
        with open_file(file) as content:
            table = parquet.read_table(content)
        _check_names(table.column_names, _NAMES.values())
        names = {column: name for name, column in _NAMES.items()}
        columns: dict[str, Any] = {
            names.get(column, column): table[column].to_pylist() if column in names else None
            for column in table.column_names
        }
        if "embeddings" in columns:
            columns["embeddings"] = np.array(columns["embeddings"], dtype=np.float32)
    except (ValueError, OSError, TypeError) as error:  # those of pyarrow are among them
        raise _unreadable(file, error) from error
    return columns


_READERS: Mapping[str, Any] = {".npz": _read_npz, ".npy": _read_npy, ".parquet": _read_parquet}


def _check_names(found: Sequence[str], expected: Iterable[str]) -> None:
    """Check that no name is there twice, or in another spelling, which would leave it out without a word.

    Raises:
        ValueError: If there is one.
    """
    for name in expected:
        alike = [other for other in found if other.strip().lower().rstrip("s") == name.rstrip("s")]
        if alike not in ([], [name]):
            raise ValueError(f"it has {' and '.join(map(repr, alike))} for {name!r}")


def _unreadable(file: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "allow_pickle" in reason or "pickled" in reason:
        reason = "it holds Python objects, which are not read; save labels and ids with np.array(values, dtype=str)"
    return DataError(f"Expected embeddings in {file}, but: {reason.rstrip('.')}. Give {_FORMAT}.")
