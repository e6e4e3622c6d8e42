"""Writing a model as an ONNX file, compared with the model before it takes its place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pairsim._common import storage
from pairsim._common.choices import ExportKind
from pairsim.errors import ExportError, MissingExtraError, require
from pairsim.export.description import Description
from pairsim.export.graphs import INPUTS, OUTPUTS, Traced, first_line, largest_difference, quiet, trace
from pairsim.export.onnx_models import open_onnx, run_onnx
from pairsim.models import SimilarityModel

OPSET = 18
"""Opset version of exported files: of 2022, so that runtimes of some age read them."""

MOST_BYTES = 2**31 - 2**20
"""What one ONNX file can hold."""


@dataclass(frozen=True, kw_only=True)
class OnnxExport:
    """An ONNX file that was written.

    Attributes:
        path: The file.
        description: What stands in it beside the graph.
        opset: Its opset version.
        num_bytes: Its size.
        max_difference: Largest absolute difference to the model, of a component of an embedding, or of a similarity
            or probability; `None` if onnxruntime is not installed to tell.
    """

    path: Path
    description: Description
    opset: int
    num_bytes: int
    max_difference: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "file": str(self.path),
            "kind": self.description.kind,
            "opset": self.opset,
            "num_bytes": self.num_bytes,
            "max_difference": self.max_difference,
            "threshold": self.description.threshold,
            "model_sha256": self.description.model_sha256,
        }

    def __str__(self) -> str:
        inputs, outputs = INPUTS[self.description.kind], OUTPUTS[self.description.kind]
        channels, (height, width) = self.description.preprocessing.channels, self.description.preprocessing.image_size
        compared = (
            "Not compared with the model: install onnxruntime for that."
            if self.max_difference is None
            else f"Largest difference to the model, on random images: {self.max_difference:.1e}."
        )
        return (
            f"{self.path}: {self.num_bytes / 1e6:.2f} MB, opset {self.opset}; {' and '.join(inputs)} as uint8 "
            f"[N, {channels}, {height}, {width}] to {' and '.join(outputs)}\n{compared}"
        )


def export_onnx(model: SimilarityModel, path: str | os.PathLike[str], *, kind: ExportKind = "embed") -> OnnxExport:
    """Write a model as one ONNX file that takes uint8 pixels.

    The model's scaling and normalisation are inside the graph; reading pictures and resizing them to the model's size
    is left to the caller. Graph `"embed"` maps `images` to unit-length `embeddings` `[N, D]`, whose inner products
    are similarities. Graph `"pair"` maps `first` and `second` to `similarity` `[N]` and `probability` `[N]`, by the
    model's calibration and its prior where it has one. The number of images is free. What the model knows besides
    (size, threshold, error rates, calibration) stands in the file's properties; see `Description`.

    Before it is written, the graph is run by onnxruntime on random images in batches of 1, 2 and 5, and compared with
    the model.

    Args:
        model: The model, which is left as it is.
        path: The file; replaced in one step if it exists.
        kind: `"embed"` or `"pair"`.

    Returns:
        What was written, with the largest difference to the model.

    Raises:
        ExportError: If the net cannot be written as a graph, is above 2 GB, or the graph differs from the model by
            more than 1e-4. What was at `path` stays.
        MissingExtraError: If onnx or onnxscript is not installed.
        RunError: If the file cannot be written.
        ValueError: If there is no such kind.
    """
    for module in ("onnx", "onnxscript"):
        require(module, extra="onnx", purpose="Exporting to ONNX")
    traced = trace(model, kind)
    content, difference = _onnx_bytes(traced)
    storage.write_file(Path(path), content)
    return OnnxExport(
        path=Path(path),
        description=traced.description,
        opset=OPSET,
        num_bytes=len(content),
        max_difference=difference,
    )


def _onnx_bytes(traced: Traced) -> tuple[bytes, float | None]:
    """The content of an ONNX file, and its largest difference to the model."""
    kind = traced.description.kind
    weights = sum(value.numel() * value.element_size() for value in traced.model.state_dict().values())
    if weights > MOST_BYTES:
        raise ExportError(
            f"Expected a model below 2 GB, which is what one ONNX file can hold, got {weights / 1e9:.1f} GB. "
            "Use export_program."
        )
    try:
        with quiet():
            exported = torch.onnx.export(
                traced.program,
                (),
                dynamo=True,
                input_names=INPUTS[kind],
                output_names=OUTPUTS[kind],
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
            assert exported is not None
            proto = exported.model_proto
    except Exception as error:
        raise ExportError(
            f"Expected a net of operations that ONNX has, but exporting {type(traced.model.embedding_net).__name__} "
            f"failed: {type(error).__name__}: {first_line(error)}. Use export_program."
        ) from error
    _tidy(proto)
    content = finished_bytes(proto, traced.description)
    try:
        session = open_onnx(content, source="the exported graph")
    except MissingExtraError:
        return content, None
    return content, largest_difference(
        traced, lambda *images: [torch.from_numpy(x) for x in run_onnx(session, [i.numpy() for i in images])]
    )


def finished_bytes(proto: Any, description: Description) -> bytes:
    """A checked ONNX model with its description, as the content of a file."""
    onnx = require("onnx", extra="onnx", purpose="Exporting to ONNX")
    onnx.helper.set_model_props(proto, description.to_properties())
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


def _tidy(proto: Any) -> None:
    """Take out where on this machine each node was traced, and call the free dimension by one name."""
    graph = proto.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph, *proto.functions):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]  # sizes in between, which runtimes find by themselves
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    graph.name, proto.producer_name, proto.producer_version = "pairsim", "pairsim", ""
