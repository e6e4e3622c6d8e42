"""Small ONNX files as other programs write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

WEIGHT: npt.NDArray[np.float32] = np.random.default_rng(0).normal(size=(6, 3, 2, 2)).astype(np.float32)


def write_onnx(
    file: Path,
    *,
    shape: Sequence[int | str] = ("n", 3, 8, 8),
    dtype: str = "float32",
    nhwc: bool = False,
    pooled: bool = True,
    inputs: int = 1,
    weight: npt.NDArray[np.float32] = WEIGHT,
) -> Path:
    """Write a convolution with `weight` and a ReLU, averaged over the picture if `pooled`."""
    onnx: Any = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes, value = [], "images"

    def then(operator: str, *others: str, **settings: Any) -> None:
        nonlocal value
        nodes.append(helper.make_node(operator, [value, *others], [f"{value}.{operator}"], **settings))
        value = f"{value}.{operator}"

    then("Cast", to=onnx.TensorProto.FLOAT)
    if nhwc:
        then("Transpose", perm=(0, 3, 1, 2))
    then("Conv", "weight")
    then("Relu")
    if pooled:
        then("GlobalAveragePool")
        then("Flatten")
    elif nhwc:
        then("Transpose", perm=(0, 2, 3, 1))
    nodes[-1].output[0] = "features"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, kind, shape) for name in ("images", "more")[:inputs]],
        [helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    return file
