"""Write a model as an ONNX file, after comparing the graph with the model."""

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
from pairsim.export.graphs import INPUTS, OUTPUTS, largest_difference, quiet, trace
from pairsim.export.onnx_models import OnnxModel, first_line
from pairsim.models import SimilarityModel
from pairsim.models.backbones.onnx_nets import open_onnx
from pairsim.models.given_model import check_model

OPSET = 18
"""Opset version of exported files: of 2022, so that older runtimes can read them."""

MAX_BYTES = 2**31 - 2**20
"""The most that one ONNX file can hold."""


@dataclass(frozen=True, kw_only=True)
class OnnxExport:
    """An ONNX file that was written.

    Attributes:
        path: The file.
        description: The properties in the file.
        opset: Its opset version.
        num_bytes: Its size.
        max_difference: Largest absolute difference to the model with its weights in float32, of a component of an
            embedding, or of a similarity or probability; `None` if onnxruntime is not installed.
    """

    path: Path
    description: Description
    opset: int
    num_bytes: int
    max_difference: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "file": str(self.path),
            "kind": self.description.kind,
            "opset": self.opset,
            "num_bytes": self.num_bytes,
            "max_difference": self.max_difference,
            "threshold": self.description.to_dict()["threshold"],
            "model_sha256": self.description.model_sha256,
        }

    def __str__(self) -> str:
        dtype = "float32" if self.description.preprocessing.of_vectors else "uint8"
        inputs, outputs = INPUTS[self.description.kind], OUTPUTS[self.description.kind]
        channels, (height, width) = self.description.preprocessing.channels, self.description.preprocessing.image_size
        compared = (
            "Not compared with the model: install onnxruntime for that."
            if self.max_difference is None
            else f"Largest difference to the model in float32, on random images: {self.max_difference:.1e}."
        )
        return (
            f"{self.path}: {self.num_bytes / 1e6:.2f} MB, opset {self.opset}; {' and '.join(inputs)} as {dtype} "
            f"[N, {channels}, {height}, {width}] to {' and '.join(outputs)}\n{compared}"
        )


def export_onnx(model: SimilarityModel, path: str | os.PathLike[str], *, kind: ExportKind = "embed") -> OnnxExport:
    """Write a model as one ONNX file that takes uint8 pixels.

    The model's scaling and normalisation are inside the graph; the caller reads pictures and resizes them to the
    model's size. Graph `"embed"` maps `images` to unit-length `embeddings` `[N, D]`, whose inner products are
    similarities. Graph `"pair"` maps `first` and `second` to `similarity` `[N]` and `probability` `[N]`, by the model's
    calibration and its prior if it has one. The number of images is free. Size, threshold, error rates and calibration
    are in the file's properties; see `Description`. A model of embeddings takes float32 `[N, D, 1, 1]` in place of
    pixels.

    Before the file is written, onnxruntime runs the graph on random images in batches of 1, 2 and 5, and the outputs
    are compared with the model's. The file computes in float32, and is compared with the model in float32: one in
    another format, as after `half()`, differs from the file by the rounding of that format.

    Args:
        model: The model; it is not changed.
        path: The file; replaced in one step if it exists.
        kind: `"embed"` or `"pair"`.

    Returns:
        What was written, with the largest difference to the model.

    Raises:
        ExportError: If the net cannot be written as a graph, is above 2 GB, or the graph differs from the model by
            more than 1e-4. An existing file at `path` stays.
        MissingExtraError: If onnx or onnxscript is not installed.
        RunError: If the file cannot be written.
        TypeError: If `model` is not a `SimilarityModel`.
        ValueError: If the kind is unknown.
    """
    check_model(model)
    for module in ("onnx", "onnxscript"):
        require(module, extra="onnx", purpose="Exporting to ONNX")
    traced = trace(model, kind)
    weights = sum(value.numel() * value.element_size() for value in traced.model.state_dict().values())
    if weights > MAX_BYTES:
        raise ExportError(
            f"Expected a model below 2 GB, the most that one ONNX file can hold, got {weights / 1e9:.1f} GB. "
            "Use a smaller backbone."
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
            f"failed: {type(error).__name__}: {first_line(error)}. Replace that operation."
        ) from error
    _clean(proto)
    content = onnx_bytes(proto, traced.description)
    try:
        session = open_onnx(content, source="the exported graph")
    except MissingExtraError:
        difference = None
    else:
        difference = largest_difference(traced, OnnxModel(session, traced.description).run)
    storage.write_file(Path(path), content)
    return OnnxExport(
        path=Path(path),
        description=traced.description,
        opset=OPSET,
        num_bytes=len(content),
        max_difference=difference,
    )


def onnx_bytes(proto: Any, description: Description) -> bytes:
    """Check an ONNX model, add its description, and return the content of a file."""
    onnx = require("onnx", extra="onnx", purpose="Exporting to ONNX")
    onnx.helper.set_model_props(proto, description.to_properties())
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


def _clean(proto: Any) -> None:
    """Remove paths of this machine, and give the batch dimension one name."""
    graph = proto.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph, *proto.functions):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]  # sizes of intermediate values, which runtimes infer
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    graph.name, proto.producer_name, proto.producer_version = "pairsim", "pairsim", ""
