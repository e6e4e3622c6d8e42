"""`torch.export` archives: a model as a graph for PyTorch, without the code that it was built from."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairsim._common import storage
from pairsim._common.choices import ExportKind
from pairsim.errors import RunError
from pairsim.export.description import Description
from pairsim.export.graphs import INPUTS, OUTPUTS, first_line, largest_difference, quiet, trace
from pairsim.models import SimilarityModel

_DESCRIPTION = "pairsim.json"


@dataclass(frozen=True, kw_only=True)
class ProgramExport:
    """An archive that was written.

    Attributes:
        path: The file.
        description: What stands in it beside the graph.
        sha256: Of the file; give it to `load_program`.
        num_bytes: Its size.
        max_difference: Largest absolute difference to the model, of a component of an embedding, or of a similarity
            or probability.
    """

    path: Path
    description: Description
    sha256: str
    num_bytes: int
    max_difference: float

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "file": str(self.path),
            "kind": self.description.kind,
            "num_bytes": self.num_bytes,
            "sha256": self.sha256,
            "max_difference": self.max_difference,
            "threshold": self.description.threshold,
            "model_sha256": self.description.model_sha256,
        }

    def __str__(self) -> str:
        kind = self.description.kind
        return (
            f"{self.path}: {self.num_bytes / 1e6:.2f} MB, {' and '.join(INPUTS[kind])} to {' and '.join(OUTPUTS[kind])}"
            f"\nLargest difference to the model, on random images: {self.max_difference:.1e}."
            f"\nSHA-256 {self.sha256}. Loading an archive can run code: load it with this checksum."
        )


@dataclass(frozen=True, kw_only=True)
class Program:
    """A loaded archive; call it with uint8 images `[N, C, H, W]`, one batch for each input.

    Attributes:
        module: The graph, on the CPU, as `torch.export` gives it.
        description: What the archive says about itself.
    """

    module: Callable[..., Any]
    description: Description

    def __call__(self, *images: Tensor) -> Any:
        """Embeddings `[N, D]`, or for pairs similarity and probability, both `[N]`."""
        inputs = INPUTS[self.description.kind]
        if len(images) != len(inputs):
            raise ValueError(f"Expected {' and '.join(inputs)}, got {len(images)} batches of images.")
        with torch.no_grad():
            return self.module(*images)


def export_program(
    model: SimilarityModel, path: str | os.PathLike[str], *, kind: ExportKind = "embed"
) -> ProgramExport:
    """Write a model as a `torch.export` archive, with the same inputs and outputs as `export_onnx`.

    Another program needs only PyTorch to run it: `torch.export.load(path).module()`. The format is PyTorch's, which
    does not promise that another version reads it; keep the run folder.

    Args:
        model: The model, which is left as it is.
        path: The file; replaced in one step if it exists.
        kind: `"embed"` or `"pair"`.

    Returns:
        What was written, with the largest difference to the model and the checksum to load it by.

    Raises:
        ExportError: If the net cannot be written as a graph, or the graph differs from the model by more than 1e-4.
            What was at `path` stays.
        RunError: If the file cannot be written.
        ValueError: If there is no such kind.
    """
    traced = trace(model, kind)
    buffer = io.BytesIO()
    with quiet():
        description = json.dumps(traced.description.to_dict(), allow_nan=False)
        torch.export.save(traced.program, buffer, extra_files={_DESCRIPTION: description})
    content = buffer.getvalue()
    # what was written is compared, not what it was written from
    loaded = _loaded(content, Path(path)).module

    def run(*images: Tensor) -> tuple[Tensor, ...]:
        found = loaded(*images)
        return (found,) if isinstance(found, Tensor) else tuple(found)

    difference = largest_difference(traced, run)
    storage.write_file(Path(path), content)
    return ProgramExport(
        path=Path(path),
        description=traced.description,
        sha256=storage.sha256(content),
        num_bytes=len(content),
        max_difference=difference,
    )


def load_program(path: str | os.PathLike[str], *, sha256: str | None) -> Program:
    """Load an archive that `export_program` wrote.

    **Loading an archive can run code that is hidden in it.** `torch.export.load` falls back to unrestricted pickle for
    example inputs, custom objects and some weights, and evaluates expressions of sizes. So the checksum that
    `export_program` gave is compared before PyTorch sees the file. Give `None` only for a file that you wrote
    yourself or trust as you would trust a program.

    Args:
        path: The file.
        sha256: Its SHA-256, kept somewhere else than beside the file; `None` to load it unchecked.

    Returns:
        The program, on the CPU.

    Raises:
        RunError: If the file cannot be read, has another checksum, or was not written by pairsim.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise RunError(f"Expected an archive at {path}, but: {error.strerror}. Check the path.") from error
    found = storage.sha256(content)
    if sha256 is not None and found != sha256.lower():
        raise RunError(
            f"Expected {path} to have SHA-256 {sha256[:12]}..., found {found[:12]}...: it is damaged or another file. "
            "It was not loaded. Copy it again, or export the model again."
        )
    return _loaded(content, Path(path))


def _loaded(content: bytes, path: Path) -> Program:
    # the description before the program, as another program's archive need not be loaded to be refused
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            name = next((name for name in archive.namelist() if name.endswith(f"extra/{_DESCRIPTION}")), None)
            values = {} if name is None else json.loads(archive.read(name))
    except (zipfile.BadZipFile, ValueError) as error:
        raise RunError(
            f"Expected {path} to be a torch.export archive, but: {error}. Export the model again."
        ) from error
    description = Description.from_dict(values, path)
    try:
        with quiet():
            program = torch.export.load(io.BytesIO(content))
    except Exception as error:  # of many kinds, for a format that changes
        raise RunError(
            f"Expected {path} to be readable by PyTorch {torch.__version__}, but: {type(error).__name__}: "
            f"{first_line(error)}. Export the model again with this version."
        ) from error
    return Program(module=program.module(), description=description)
