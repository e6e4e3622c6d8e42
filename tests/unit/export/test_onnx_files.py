from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported import SIZE, Owned, Random, Tiny, isotonic, pixels, small_model
from PIL import Image

from pairsim import EmbeddingNet, SimilarityModel, encode_dataset
from pairsim.data import ImageFiles
from pairsim.errors import ExportError, MissingExtraError
from pairsim.export import OnnxExport, export_onnx, load_onnx
from pairsim.models import OperatingPoint

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def model() -> SimilarityModel:
    made = small_model(calibration=isotonic())
    made.operating_point = OperatingPoint(0.7, 0.01, 0.02, 10, 90, "a test", fmr_interval=(0.0, 0.1))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture(scope="module")
def embed(model: SimilarityModel, folder: Path) -> OnnxExport:
    return export_onnx(model, folder / "embed.onnx")


@pytest.fixture(scope="module")
def pair(model: SimilarityModel, folder: Path) -> OnnxExport:
    return export_onnx(model, folder / "pair.onnx", kind="pair")


@pytest.mark.parametrize("number", [1, 2, 7])
def test_embeddings(model: SimilarityModel, embed: OnnxExport, number: int) -> None:
    found = load_onnx(embed.path, threads=1).embed(pixels(number).numpy())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model.encode(pixels(number)).numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert embed.max_difference is not None
    assert embed.max_difference < 1e-5


def test_a_model_in_another_format_is_compared_in_float32(folder: Path) -> None:
    half = small_model().half()
    with torch.no_grad():
        half.projection.weight.fill_(-1.0)  # without a threshold
    made = export_onnx(half, folder / "half.onnx")
    assert "difference to the model in float32" in str(made)
    assert made.to_dict()["threshold"] is None
    assert made.max_difference is not None
    found = load_onnx(made.path).embed(pixels(5))
    in_float32 = small_model().half().float().encode(pixels(5)).numpy()
    assert np.abs(found - in_float32).max() < 1e-5
    assert made.max_difference < 1e-5 < np.abs(found - half.encode(pixels(5)).numpy()).max()


@pytest.mark.parametrize("number", [1, 2, 7])
def test_pairs(model: SimilarityModel, pair: OnnxExport, number: int) -> None:
    first, second = pixels(number), pixels(number, seed=1)
    similarity, probability = load_onnx(pair.path).compare(first.numpy(), second.numpy())
    expected = (model.encode(first) * model.encode(second)).sum(dim=1)
    np.testing.assert_allclose(similarity, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(probability, model.probability(torch.from_numpy(similarity)).numpy(), atol=1e-6)
    same = load_onnx(pair.path).compare(first.numpy(), first.numpy())[0]
    np.testing.assert_allclose(same, 1, atol=1e-5)


def test_a_picture_gives_one_embedding_whichever_way_it_goes(
    model: SimilarityModel, embed: OnnxExport, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (31, 25, 3), dtype=np.uint8)).save(path)
    files = ImageFiles([str(path) for path in paths], [0, 1, 2], image_size=SIZE, channels=3)
    as_training = encode_dataset(model, files, workers=0).numpy()
    encoded = model.encode([str(path) for path in paths]).numpy()
    loaded = load_onnx(embed.path)
    read = np.stack([loaded.description.preprocessing.read(str(path)).numpy() for path in paths])
    np.testing.assert_allclose(encoded, as_training, atol=1e-4)
    np.testing.assert_allclose(loaded.embed(read), as_training, atol=1e-4)


def test_what_the_file_says(model: SimilarityModel, embed: OnnxExport, pair: OnnxExport) -> None:
    for export, kind in ((embed, "embed"), (pair, "pair")):
        proto = onnx.load(export.path)
        onnx.checker.check_model(proto, full_check=True)
        assert [opset.version for opset in proto.opset_import if opset.domain == ""] == [18] == [export.opset]
        assert export.num_bytes == export.path.stat().st_size
        said = {p.key.removeprefix("pairsim."): json.loads(p.value) for p in proto.metadata_props}
        assert (said["format"], said["format_version"], said["kind"]) == ("pairsim-export", 1, kind)
        assert said["target"] == "1 = same class, 0 = different; match = similarity >= threshold"
        assert (said["image_size"], said["channels"], said["mean"]) == ([12, 10], 3, [0.2, 0.3, 0.4])
        assert said.items() >= model.preprocessing.to_dict().items()
        assert (said["threshold"], said["prior"], said["embedding_dim"]) == (0.7, 0.1, 8)
        assert (said["operating_point"]["fmr"], said["operating_point"]["fnmr"]) == (0.01, 0.02)
        assert said["calibration"]["evidence"] == [-4.0, -1.0, 0.0, 0.0, 3.0, 8.0]
        assert len(said["model_sha256"]) == 64
        description = load_onnx(export.path).description
        assert description == export.description
        assert (description.preprocessing, description.calibration) == (model.preprocessing, model.calibration)
        assert description.operating_point == model.operating_point


def test_inputs_and_outputs(embed: OnnxExport, pair: OnnxExport) -> None:
    def shapes(values: Any) -> dict[str, list[Any]]:
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    images = ["batch", 3, *SIZE]
    graph = onnx.load(embed.path).graph
    assert shapes(graph.input) == {"images": images}
    assert shapes(graph.output) == {"embeddings": ["batch", 8]}
    graph = onnx.load(pair.path).graph
    assert shapes(graph.input) == {"first": images, "second": images}
    assert shapes(graph.output) == {"similarity": ["batch"], "probability": ["batch"]}
    # folded into the layers before it
    assert "BatchNormalization" not in {node.op_type for node in graph.node}


def test_the_file_is_whole_and_says_nothing_of_this_machine(embed: OnnxExport) -> None:
    content = embed.path.read_bytes()
    assert b"graphs.py" not in content
    assert str(Path(torch.__file__).parent).encode() not in content
    assert sorted(p.name for p in embed.path.parent.glob("embed*")) == ["embed.onnx"]


def test_an_uncalibrated_model_and_one_that_embeds_in_its_own_way(tmp_path: Path) -> None:
    model = Owned(Tiny(), preprocessing=small_model().preprocessing).eval()
    export = export_onnx(model, tmp_path / "own.onnx", kind="pair")
    similarity, probability = load_onnx(export.path).compare(pixels(4).numpy(), pixels(4, seed=1).numpy())
    np.testing.assert_allclose(similarity, model.get_raw_similarity(pixels(4), pixels(4, seed=1)), atol=1e-5)
    np.testing.assert_allclose(probability, model.predict_proba(pixels(4), pixels(4, seed=1)), atol=1e-4)
    assert (export.description.calibration, export.description.prior) == (None, 0.5)
    assert export.description.threshold == pytest.approx(0.5)
    # the preprocessing's own constants are still real after they were seen by a tracer
    assert model.embed(pixels(2)).isfinite().all()


def test_what_differs_is_not_written(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"older")
    with pytest.raises(ExportError, match="found a difference of"):
        export_onnx(SimilarityModel(Random()), target)
    assert target.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [target]


def test_text_and_json(embed: OnnxExport, pair: OnnxExport) -> None:
    assert "opset 18; images as uint8 [N, 3, 12, 10] to embeddings" in str(embed)
    assert "first and second as uint8 [N, 3, 12, 10] to similarity and probability" in str(pair)
    said = json.loads(json.dumps(pair.to_dict()))
    assert (said["kind"], said["opset"], said["threshold"]) == ("pair", 18, 0.7)


@pytest.mark.parametrize("module", ["onnx", "onnxscript"])
def test_missing_packages(module: str, model: SimilarityModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"needs the package {module}.*pip install 'pairsim\[onnx\]'"):
        export_onnx(model, tmp_path / "m.onnx")


def test_without_onnxruntime(embed: OnnxExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    export = export_onnx(SimilarityModel(Tiny()), tmp_path / "m.onnx")
    assert export.max_difference is None
    assert "Not compared with the model: install onnxruntime for that." in str(export)
    with pytest.raises(MissingExtraError, match=r"Running ONNX files needs the package onnxruntime"):
        load_onnx(embed.path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchvision resnet18", "timm mobilenetv3_small_050", "timm vit_tiny_patch16_224"])
@pytest.mark.parametrize("kind", ["embed", "pair"])
def test_backbones(name: str, kind: Any, tmp_path: Path) -> None:
    library, architecture = name.split()
    if library == "timm":
        timm = pytest.importorskip("timm")
        sizes = {"img_size": 32} if "vit" in architecture else {}
        backbone = timm.create_model(architecture, num_classes=0, **sizes)
    else:
        import torchvision

        backbone = torchvision.models.get_model(architecture, weights=None)
    model = SimilarityModel(EmbeddingNet(backbone, in_channels=3, image_size=32, embedding_dim=16)).eval()
    export = export_onnx(model, tmp_path / "model.onnx", kind=kind)
    assert export.max_difference is not None
    assert export.max_difference < 1e-4
