from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from exported import SIZE, pixels, small_model

from pairsim._common.choices import ExportKind
from pairsim.errors import RunError
from pairsim.export.description import Description
from pairsim.export.onnx_models import Float32Array, OnnxModel, check_pixels, first_line, load_onnx


class Session:
    """Stands for an `InferenceSession`: means of the images, or of their differences."""

    def __init__(self, *inputs: str) -> None:
        self.inputs = inputs

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name) for name in self.inputs]

    def run(self, outputs: None, images: dict[str, Any]) -> list[Float32Array]:
        assert tuple(images) == self.inputs
        means = [batch.mean(axis=(2, 3), dtype=np.float32) for batch in images.values()]
        return means if len(means) == 1 else [(means[0] - means[1]).sum(axis=1), np.ones(len(means[0]), np.float32)]


def model(kind: ExportKind) -> OnnxModel:
    session = Session("images") if kind == "embed" else Session("first", "second")
    return OnnxModel(session, Description.of(small_model(), kind, 8))


def test_outputs_are_those_of_the_session() -> None:
    first, second = pixels(3).numpy(), pixels(3, seed=1).numpy()
    means = first.mean(axis=(2, 3), dtype=np.float32)
    assert np.array_equal(model("embed").embed(first), means)
    similarity, probability = model("pair").compare(first, second)
    assert np.array_equal(similarity, (means - second.mean(axis=(2, 3), dtype=np.float32)).sum(axis=1))
    assert np.array_equal(probability, np.ones(3))


def test_wrong_images() -> None:
    good = pixels(2).numpy()
    for bad in (good.astype(np.float32), good[:, :1], good[:0], good[0]):
        with pytest.raises(ValueError, match=r"Expected images as uint8 \[N, 3, 12, 10\], N at least 1, got "):
            model("embed").embed(bad)
    with pytest.raises(ValueError, match="Expected as many first as second images, got 2 and 1"):
        model("pair").compare(good, good[:1])
    check_pixels(good, model("embed").description)


def test_a_file_of_the_other_kind() -> None:
    good = pixels(2).numpy()
    with pytest.raises(ValueError, match=r'kind "pair", this one is of kind "embed". Use embed\(images\)'):
        model("embed").compare(good, good)
    with pytest.raises(ValueError, match=r'kind "embed", this one is of kind "pair". Use compare\(first, second\)'):
        model("pair").embed(good)


def test_files_that_are_not_pairsims(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    with pytest.raises(RunError, match=r"Expected an ONNX file at .*absent\.onnx, but: No such file"):
        load_onnx(tmp_path / "absent.onnx")
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    with pytest.raises(RunError, match=r"Expected .*text\.onnx to be an ONNX model that onnxruntime can run, but: "):
        load_onnx(text)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "foreign",
        [value("x", onnx.TensorProto.FLOAT, [1])],
        [value("y", onnx.TensorProto.FLOAT, [1])],
    )
    foreign = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(RunError, match=r"foreign\.onnx to be a file that pairsim exported, found no description"):
        load_onnx(tmp_path / "foreign.onnx")


@pytest.mark.parametrize(
    ("message", "expected"), [("One.\nTwo.", "One"), ("", "no reason given"), (f"{SIZE}", "(12, 10)")]
)
def test_first_line(message: str, expected: str) -> None:
    assert first_line(RuntimeError(message)) == expected
