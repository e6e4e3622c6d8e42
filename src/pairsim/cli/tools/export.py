"""`pairsim export`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pairsim
from pairsim.cli.arguments import DataDir, Json, Run, check_out
from pairsim.cli.output import expect, note, print_result

if TYPE_CHECKING:
    from pairsim._common.choices import ExportKind


def export(
    run: Run,
    /,
    *,
    out: Path,
    kind: Literal["embed", "pair", "model"] = "embed",
    quantize: Literal["int8"] | None = None,
    calibration_data: str | None = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Write a run's model as an ONNX file that takes uint8 pixels, and compare it with the model.

    Args:
        out: File to write; its name ends in .onnx. With --kind model, a folder.
        kind: embed (images to embeddings), pair (two images to similarity and probability), or model: a folder that
            other commands take as RUN, and run with onnxruntime, which is faster for a few pictures on a CPU.
        quantize: int8 stores and computes layers in 8 bits, which makes the file about four times smaller.
        calibration_data: For --quantize, the data that the run was trained on: mnist, fashion-mnist, digits, or a
            folder. Ranges come from its training images; quality is compared on the images kept for validation.
    """
    from pairsim._common.storage import check_writable, is_file, is_folder
    from pairsim.export import export_onnx, model_from_onnx, quantize_onnx
    from pairsim.models.pretrained import find
    from pairsim.runs.run_data import load_labelled

    if kind == "model":
        source = find(run)
        expect(
            out.resolve() != source.resolve() and not is_file(out / "run.json"),
            f"--out as another folder than a run or its model, got {out}. Give a new one: the model would be replaced.",
        )
        check_writable(out, "a folder")
    else:
        check_out(out, ".onnx")
    if quantize is not None:
        expect(
            calibration_data is not None,
            f"--calibration-data DATA with --quantize {quantize}, found none. Give the data that the run was trained "
            "on; the ranges of activations are measured on it.",
        )
    else:
        expect(calibration_data is None, "--quantize int8 with --calibration-data, found none. Give both or neither.")
    model = pairsim.SimilarityModel.from_pretrained(run)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx" if kind == "model" else out
        graph: ExportKind = "embed" if kind == "model" else kind
        if calibration_data is None:
            written = export_onnx(model, file, kind=graph)
            values, text = {**written.to_dict(), "quantization": None}, str(written)
        else:
            images = load_labelled(run, model, calibration_data, "train", data_dir=data_dir)
            records_validation = is_file(run / "run.json") or is_folder(Path(calibration_data) / "val")
            held_out = None
            if records_validation:
                held_out = load_labelled(run, model, calibration_data, "val", data_dir=data_dir)
            if not records_validation:
                kept = f"{run} does not record which images were kept for validation"
                note(f"{kept}: only similarities are compared, not accuracy.")
            full = export_onnx(model, Path(folder) / "float32.onnx", kind=graph)
            small = quantize_onnx(full.path, file, calibration=images, held_out=held_out)
            # The figures are those of the float32 graph, the file is the quantized one.
            values = full.to_dict() | {"num_bytes": small.bytes_after, "quantization": small.to_dict()}
            text = str(small)
        if kind == "model":
            model_from_onnx(file).save_pretrained(out)
    print_result({"run": str(run), **values, "file": str(out), "kind": kind}, text.replace(str(file), str(out)), json)
