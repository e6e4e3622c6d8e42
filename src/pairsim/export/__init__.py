"""A model outside pairsim: ONNX files, with int8 weights on request, and `torch.export` archives."""

from pairsim.export.description import Description as Description
from pairsim.export.int8 import Quantization as Quantization
from pairsim.export.int8 import quantize_onnx as quantize_onnx
from pairsim.export.onnx_files import OnnxExport as OnnxExport
from pairsim.export.onnx_files import export_onnx as export_onnx
from pairsim.export.onnx_models import OnnxModel as OnnxModel
from pairsim.export.onnx_models import load_onnx as load_onnx
from pairsim.export.programs import Program as Program
from pairsim.export.programs import ProgramExport as ProgramExport
from pairsim.export.programs import export_program as export_program
from pairsim.export.programs import load_program as load_program

__all__ = [
    "Description",
    "OnnxExport",
    "OnnxModel",
    "Program",
    "ProgramExport",
    "Quantization",
    "export_onnx",
    "export_program",
    "load_onnx",
    "load_program",
    "quantize_onnx",
]
