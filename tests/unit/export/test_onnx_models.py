from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from exported import SIZE, isotonic, pixels, small_model
from PIL import Image

from pairsim import EmbeddingNet, SimilarityModel
from pairsim._common.choices import ExportKind
from pairsim.errors import RunError
from pairsim.export import export_onnx
from pairsim.export.description import Description
from pairsim.export.onnx_models import (
    Float32Array,
    OnnxModel,
    check_pixels,
    first_line,
    load_onnx,
    model_from_onnx,
)
from pairsim.models import OperatingPoint


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


def test_tensors_are_taken_too() -> None:
    first, second = pixels(3), pixels(3, seed=1)
    assert np.array_equal(model("embed").embed(first), model("embed").embed(first.numpy()))
    expected = model("pair").compare(first.numpy(), second.numpy())
    for found, value in zip(model("pair").compare(first, second), expected, strict=True):
        assert np.array_equal(found, value)
    with pytest.raises(ValueError, match=r"got float32 \[3, 3, 12, 10\]\. Convert them"):
        model("embed").embed(first.to(torch.bfloat16))
    with pytest.raises(ValueError, match=r"got uint8 \[3, 3, 6, 10\]\. Resize them"):
        model("embed").embed(first[:, :, ::2])


@pytest.mark.parametrize("bad", [[pixels(1)[0]], None, np.uint8(3), "a"])
def test_images_that_are_no_array(bad: Any) -> None:
    said = rf"Expected images as an array or tensor \[N, C, H, W\], got {type(bad).__name__}\. Stack them"
    with pytest.raises(TypeError, match=said):
        model("embed").embed(bad)
    with pytest.raises(TypeError, match=said):
        model("pair").compare(pixels(1), bad)


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


@pytest.mark.slow
@pytest.mark.parametrize("calibrated", [False, True])
def test_a_model_that_runs_the_file(tmp_path: Path, recwarn: pytest.WarningsRecorder, calibrated: bool) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    own = small_model(calibration=isotonic() if calibrated else None)
    own.preprocessing = replace(own.preprocessing, fit="pad", interpolation="bicubic", white=4095, central_fraction=0.6)
    own.operating_point = OperatingPoint(0.6, 0.02, 0.1, 20, 80, "a test")
    with torch.no_grad():
        own.projection.weight.fill_(7.0)
        own.projection.bias.fill_(-3.0)
    export_onnx(own, tmp_path / "embed.onnx")
    recwarn.clear()
    made = model_from_onnx(tmp_path / "embed.onnx")
    made.save_pretrained(tmp_path / "saved")
    images = pixels(5)
    for model in (made, SimilarityModel.from_pretrained(tmp_path / "saved")):
        torch.testing.assert_close(model.encode(images), own.encode(images), rtol=0, atol=1e-5)
        torch.testing.assert_close(model.encode(images[:1]), own.encode(images[:1]), rtol=0, atol=1e-5)
        scaled = images[:2].float() / 255
        torch.testing.assert_close(model.encode(scaled), own.encode(images[:2]), rtol=0, atol=1e-5)
        verdict, expected = model.verify(images[0], images[1]), own.verify(images[0], images[1])
        assert verdict.similarity == pytest.approx(expected.similarity, abs=1e-5)
        assert verdict.probability == pytest.approx(expected.probability, abs=1e-4)
        assert (verdict.match, verdict.threshold, verdict.fmr) == (expected.match, expected.threshold, expected.fmr)
        assert model.operating_point == own.operating_point
        assert model.preprocessing.central_fraction == 1  # the file cuts it out
        same = ("image_size", "channels", "fit", "interpolation", "white")
        assert [getattr(model.preprocessing, name) for name in same] == [
            getattr(own.preprocessing, name) for name in same
        ]
        picture = Image.fromarray(images[0].permute(1, 2, 0).numpy()).resize((30, 20))
        torch.testing.assert_close(model.encode(picture), own.encode(picture), rtol=0, atol=1e-5)
        assert not model.training
    assert not recwarn.list
    export_onnx(own, tmp_path / "pair.onnx", kind="pair")
    with pytest.raises(RunError, match=r"pair\.onnx to map pictures to embeddings, found one of kind pair"):
        model_from_onnx(tmp_path / "pair.onnx")


@pytest.mark.slow
def test_a_file_that_takes_embeddings_makes_no_model(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    export_onnx(SimilarityModel(EmbeddingNet("embeddings", in_channels=6, embedding_dim=4)), tmp_path / "head.onnx")
    with pytest.raises(RunError, match="found one that takes embeddings"):
        model_from_onnx(tmp_path / "head.onnx")


@pytest.mark.parametrize(
    ("message", "expected"), [("One.\nTwo.", "One"), ("", "no reason given"), (f"{SIZE}", "(12, 10)")]
)
def test_first_line(message: str, expected: str) -> None:
    assert first_line(RuntimeError(message)) == expected
