"""Export models to ONNX files, with int8 weights on request."""

from pairsim.export.description import Description as Description
from pairsim.export.int8 import Quantization as Quantization
from pairsim.export.int8 import quantize_onnx as quantize_onnx
from pairsim.export.onnx_files import OnnxExport as OnnxExport
from pairsim.export.onnx_files import export_onnx as export_onnx
from pairsim.export.onnx_models import OnnxModel as OnnxModel
from pairsim.export.onnx_models import load_onnx as load_onnx
from pairsim.export.onnx_models import model_from_onnx as model_from_onnx

__all__ = [
    "Description",
    "OnnxExport",
    "OnnxModel",
    "Quantization",
    "export_onnx",
    "load_onnx",
    "model_from_onnx",
    "quantize_onnx",
]
