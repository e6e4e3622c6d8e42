"""Make int8 files of exported ONNX files, and measure what that changes."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pairsim._common import storage
from pairsim._common.arrays import check_count
from pairsim.errors import require
from pairsim.export.description import Description
from pairsim.export.graphs import INPUTS, quiet
from pairsim.export.int8_changes import PixelSource, measure_changes
from pairsim.export.onnx_files import onnx_bytes
from pairsim.export.onnx_models import OnnxModel, Pixels, load_onnx
from pairsim.models.backbones.onnx_nets import open_onnx

_LAYERS = ["Conv", "Gemm", "MatMul"]
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """An int8 file that was written, compared with the file that it was made from.

    Attributes:
        path: The file.
        description: The properties in the file.
        num_layers: Layers with int8 weights.
        num_calibration_images: Images that the ranges of activations were measured on.
        bytes_before: Size of the float32 file.
        bytes_after: Size of the int8 file.
        num_pairs: Pairs of images that the two were compared on.
        mean_change: Mean absolute change of their similarities.
        max_change: Largest absolute change.
        balanced_accuracy_before: At the model's threshold; `None` without labels or threshold.
        balanced_accuracy_after: Of the int8 file.
    """

    path: Path
    description: Description
    num_layers: int
    num_calibration_images: int
    bytes_before: int
    bytes_after: int
    num_pairs: int
    mean_change: float
    max_change: float
    balanced_accuracy_before: float | None = None
    balanced_accuracy_after: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = {name: value for name, value in vars(self).items() if name not in ("path", "description")}
        return {"file": str(self.path), "kind": self.description.kind, "format": "int8", **values}

    def __str__(self) -> str:
        lines = [
            f"{self.path}: int8, {self.bytes_after / 1e6:.2f} MB instead of {self.bytes_before / 1e6:.2f} MB "
            f"({self.bytes_before / self.bytes_after:.1f} times smaller); {self.num_layers} layers, ranges from "
            f"{self.num_calibration_images:,} images",
            f"Similarity of {self.num_pairs:,} pairs changes by {self.mean_change:.4f} in the mean, "
            f"{self.max_change:.4f} at most.",
        ]
        before, after = self.balanced_accuracy_before, self.balanced_accuracy_after
        if before is not None and after is not None:
            lines.append(
                f"Balanced accuracy at threshold {self.description.threshold:.4f}: {after:.4%} instead of {before:.4%} "
                f"({100 * (after - before):+.4f} points)."
            )
        return "\n".join(lines)


def quantize_onnx(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    calibration: Any,
    held_out: Any = None,
    num_images: int = 512,
    float_layers: int = 0,
) -> Quantization:
    """Store the weights of an exported ONNX file in 8 bits, and compute its layers in 8 bits.

    Weights of convolutions and linear layers get one scale per channel; ranges of activations are the smallest and
    largest values on the calibration images. Weights use 7 of the 8 bits, so that sums do not overflow on processors
    without VNNI. Everything else, such as the scaling of pixels and the similarity, stays in float32. Nothing is
    trained, and no label is used.

    Args:
        source: File of `export_onnx`, of either kind.
        path: The int8 file; replaced in one step if it exists.
        calibration: Typical images, from the training set: a dataset of uint8 images or pictures, or uint8
            `[N, C, H, W]`.
        held_out: Labelled images that nothing was chosen on, to compare balanced accuracy on: on all their pairs, or
            for kind `"pair"` on as many drawn pairs as images. Without it similarities of the calibration images are
            compared.
        num_images: Calibration images to use, evenly spaced over `calibration`; at least 2.
        float_layers: Number of last layers that stay in float32, for a net that loses too much otherwise.

    Returns:
        Sizes and quality before and after.

    Raises:
        MissingExtraError: If onnx or onnxruntime is not installed.
        RunError: If `source` was not exported by pairsim, or the file cannot be written.
        ValueError: If there are fewer than two calibration images, no layer is left, `source` is int8 already, or
            images do not fit the model.

    References:
        B. Jacob et al., Quantization and training of neural networks for efficient integer-arithmetic-only inference,
        CVPR 2018.
    """
    onnx = require("onnx", extra="onnx", purpose="Quantising")
    require("onnxruntime", extra="onnx", purpose="Quantising")
    before = load_onnx(source)
    if before.description.quantization is not None:
        raise ValueError(f"Expected a file in float32, {source} is int8 already. Give the one it was made from.")
    check_count(num_images, "num_images", 2, 512)
    check_count(float_layers, "float_layers", 0, 1)
    images = PixelSource(calibration, before.description)
    if len(images) < 2:
        raise ValueError(f"Expected at least two calibration images, got {len(images)}. Give some hundred.")
    proto = onnx.load(os.fspath(source))
    constants = {value.name for value in proto.graph.initializer}
    # products of two activations stay in float32
    weighted = [node.name for node in proto.graph.node if node.op_type in _LAYERS and node.input[1] in constants]
    layers = weighted[: -float_layers or None]
    if not layers:
        raise ValueError(
            f"Expected layers to quantise besides the last {float_layers}, found none. Lower float_layers."
        )
    sample = images.sample(num_images)
    details = {
        "format": "int8",
        "layers": len(layers),
        "calibration_images": len(sample),
        "ranges": "smallest and largest value",
    }
    description = dataclasses.replace(before.description, quantization=details)
    content = onnx_bytes(_quantized(proto, layers, sample, INPUTS[description.kind]), description)
    after = OnnxModel(open_onnx(content, source="the int8 graph"), description)
    changes = measure_changes(before, after, PixelSource(sample if held_out is None else held_out, description))
    storage.write_file(Path(path), content)
    return Quantization(
        path=Path(path),
        description=description,
        num_layers=len(layers),
        num_calibration_images=len(sample),
        bytes_before=os.path.getsize(source),
        bytes_after=len(content),
        **changes,
    )


def _quantized(proto: Any, layers: list[str], images: Pixels, inputs: tuple[str, ...]) -> Any:
    import onnx
    from onnxruntime import quantization

    batches = (dict.fromkeys(inputs, images[start : start + _BATCH]) for start in range(0, len(images), _BATCH))
    # marks the model as preprocessed: constants are folded and shapes known; otherwise a warning goes to stderr
    onnx.helper.set_model_props(proto, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder, quiet():
        target = os.path.join(folder, "int8.onnx")
        quantization.quantize_static(
            proto,
            target,
            SimpleNamespace(get_next=lambda: next(batches, None)),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_LAYERS,
            nodes_to_quantize=layers,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return onnx.load(target)
