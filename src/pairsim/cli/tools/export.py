"""`pairsim export`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from pairsim._common.choices import ExportKind
from pairsim.cli.output import UsageError, note, print_result
from pairsim.export import Quantization, export_onnx, quantize_onnx
from pairsim.models import SimilarityModel
from pairsim.runs.run_data import held_out_images, load_evaluation_data


def export(
    run: Path,
    /,
    *,
    out: Path,
    kind: ExportKind = "embed",
    quantize: Literal["int8"] | None = None,
    calibration_data: str | None = None,
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a run's model as an ONNX file that takes uint8 pixels, and compare it with the model.

    Args:
        run: Run or model folder.
        out: File to write; its name ends in .onnx.
        kind: embed (images to embeddings), or pair (two images to similarity and probability).
        quantize: int8 stores and computes layers in 8 bits, which makes the file some four times smaller.
        calibration_data: For --quantize, the data that the run was trained on: mnist, fashion-mnist, digits, or a
            folder. Ranges come from its training images; quality is compared on the images kept for validation.
        data_dir: Where mnist and fashion-mnist are kept; else PAIRSIM_DATA, else the user's cache.
        json: Print one JSON object.
    """
    _check(out, quantize, calibration_data)
    model = SimilarityModel.from_pretrained(run)
    if calibration_data is None:
        written = export_onnx(model, out, kind=kind)
        print_result({"run": str(run), **written.to_dict(), "quantization": None}, str(written), as_json=json)
    else:
        images = load_evaluation_data(model, calibration_data, "train", None, data_dir).dataset
        held_out = _held_out(run, model, calibration_data, data_dir)
        with tempfile.TemporaryDirectory() as folder:
            full = export_onnx(model, Path(folder) / "float32.onnx", kind=kind)
            found = quantize_onnx(full.path, out, calibration=images, held_out=held_out)
        print_result({"run": str(run), **_joined(full.to_dict(), found)}, str(found), as_json=json)


def _check(out: Path, quantize: str | None, calibration_data: str | None) -> None:
    if out.suffix != ".onnx":
        raise UsageError(f"Expected --out to end in .onnx, got {out.name}. Name the file {out.stem}.onnx.")
    if quantize is not None and calibration_data is None:
        raise UsageError(
            f"Expected --calibration-data DATA with --quantize {quantize}, found none. Give the data that the run was "
            "trained on, from which the ranges of activations are taken."
        )
    if calibration_data is not None and quantize is None:
        raise UsageError("Expected --quantize int8 with --calibration-data, found none. Give both or neither.")


def _held_out(run: Path, model: SimilarityModel, data: str, data_dir: Path | None) -> Any:
    """Labelled images kept for validation, or `None` for a folder that does not say which those are."""
    if (run / "run.json").is_file() or (Path(data) / "val").is_dir():
        return held_out_images(run, model, data, data_dir)
    note(f"{run} does not say which images were kept for validation: similarities are compared, and not accuracy.")
    return None


def _joined(full: dict[str, Any], found: Quantization) -> dict[str, Any]:
    """The file that was written, with the figures of the graph that it was made from."""
    return full | {"file": str(found.path), "num_bytes": found.bytes_after, "quantization": found.to_dict()}
