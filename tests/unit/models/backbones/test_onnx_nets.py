"""ONNX files of other programs are backbones: their features, their preprocessing, saved models with them."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backbone_nets import IMAGENET, images
from onnx_graphs import WEIGHT, write_onnx
from sealed_files import edit_text
from torch import Tensor
from torch.nn import functional

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.errors import RunError
from pairsim.models import pretrained
from pairsim.models.backbones.onnx_nets import OnnxNet, is_onnx_file, read_onnx_net
from pairsim.models.backbones.registry import is_backbone_name
from pairsim.training.adaptation.adapt import adapt

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore:Nothing states how the pixels")


def features(pixels: Tensor) -> Tensor:
    """The features of `write_onnx`, before they are averaged."""
    return functional.conv2d(pixels, torch.from_numpy(WEIGHT)).relu()


@pytest.mark.parametrize("nhwc", [False, True])
@pytest.mark.parametrize("batch", ["n", 1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_features_for_any_batch_layout_and_format(tmp_path: Path, nhwc: bool, batch: int | str, dtype: str) -> None:
    shape = (batch, 8, 8, 3) if nhwc else (batch, 3, 8, 8)
    net = OnnxNet(write_onnx(tmp_path / "net.onnx", shape=shape, nhwc=nhwc, dtype=dtype).read_bytes(), "net.onnx")
    pixels = (images(5, 8) * 255).round() / 255
    expected = features(pixels * 255 if dtype == "uint8" else pixels).mean(dim=(2, 3))
    tolerance = 1e-5 if dtype != "float16" else 5e-3
    torch.testing.assert_close(net(pixels), expected, rtol=tolerance, atol=tolerance)
    assert net(pixels[:0]).shape == (0, 6)
    assert net(pixels.half()).dtype == torch.float16


@pytest.mark.parametrize("nhwc", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_a_net_around_it_compiles(tmp_path: Path, nhwc: bool, dtype: str) -> None:
    shape = ("n", 8, 8, 3) if nhwc else ("n", 3, 8, 8)
    net = OnnxNet(write_onnx(tmp_path / "net.onnx", shape=shape, nhwc=nhwc, dtype=dtype).read_bytes(), "net.onnx")
    whole = torch.nn.Sequential(net, torch.nn.Linear(6, 2))
    compiled = torch.compile(whole, backend="eager")
    for count in (5, 3):
        pixels = images(count, 8)
        torch.testing.assert_close(compiled(pixels), whole(pixels))
    compiled(pixels).sum().backward()
    assert whole[1].weight.grad is not None


@pytest.mark.parametrize("nhwc", [False, True])
def test_features_with_height_and_width(tmp_path: Path, nhwc: bool) -> None:
    shape = ("n", "h", "w", 3) if nhwc else ("n", 3, "h", "w")
    file = write_onnx(tmp_path / "net.onnx", shape=shape, nhwc=nhwc, pooled=False)
    net = EmbeddingNet(str(file), image_size=(8, 10), embedding_dim=4)
    assert isinstance(net.backbone, OnnxNet)
    pixels = torch.rand(3, 3, 8, 10)
    torch.testing.assert_close(net.backbone(pixels), features(pixels), rtol=1e-5, atol=1e-5)
    assert net(pixels).shape == (3, 4)
    assert (net.image_size, net.backbone_name, net.pretrained) == ((8, 10), "net.onnx", True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": 2}, "to take one batch of images .*found images tensor.float.*; more tensor"),
        ({"dtype": "float64"}, "in float32, float16 or uint8, found images tensor.double."),
        ({"shape": ("n", 4, 8, 8)}, "of 1 or 3 channels, found"),
        ({"shape": ("n", "c", 8, 8)}, r"If it leaves them open, give in_channels \(--channels\)"),
    ],
)
def test_files_that_take_other_inputs(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    file = write_onnx(tmp_path / "net.onnx", **settings)
    with pytest.raises(RunError, match=f"Expected net.onnx .*{message}"):
        read_onnx_net(file)


def test_open_channels_are_given(tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "net.onnx", shape=("n", "c", 8, 8))
    assert read_onnx_net(file, in_channels=3)[0].in_channels == 3
    (tmp_path / "net.json").write_text('{"channels": 3, "mean": [0, 0, 0], "std": [1, 1, 1]}')
    assert read_onnx_net(file)[0].in_channels == 3


def test_files_that_are_no_nets(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    with pytest.raises(RunError, match=r"Expected an ONNX file at .*net\.onnx, found nothing"):
        EmbeddingNet(str(file))
    file.write_bytes(b"no graph")
    with pytest.raises(RunError, match=r"Expected net\.onnx to be an ONNX model that onnxruntime can run, but"):
        EmbeddingNet(str(file))
    onnx = pytest.importorskip("onnx")
    whole = onnx.load(write_onnx(file, weight=np.ones((600, 3, 2, 2), dtype=np.float32)))
    onnx.save(whole, file, save_as_external_data=True)
    with pytest.raises(RunError, match=r"net\.onnx to have its weights inside.*onnx\.save\(onnx\.load"):
        EmbeddingNet(str(file))


def test_names() -> None:
    assert is_onnx_file("a/b.onnx")
    assert is_backbone_name("b.onnx")
    assert not is_backbone_name("package.Net")
    with pytest.raises(ValueError, match=r"Expected no weights for b\.onnx"):
        EmbeddingNet("b.onnx", weights="pretrained")


def test_preprocessing_is_stated_beside_the_file_or_assumed(tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "net.onnx")
    with pytest.warns(UserWarning, match=r"how the pixels of net\.onnx are scaled: assuming RGB.*net\.json"):
        _, assumed = read_onnx_net(file)
    assert (assumed.image_size, assumed.channels, assumed.mean, assumed.std, assumed.fit) == (
        (8, 8),
        3,
        *IMAGENET,
        "crop",
    )
    beside = tmp_path / "net.json"
    stated = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 1], "fit": "pad", "interpolation": "bicubic", "image_size": 8}
    beside.write_text(json.dumps({**stated, "central_fraction": 0.7}))
    _, known = read_onnx_net(file)
    assert (known.mean, known.std, known.fit, known.interpolation) == ((0.5,) * 3, (0.25, 0.5, 1.0), "pad", "bicubic")
    assert known.central_fraction == 0.7
    for wrong, message in (
        ({"means": [0.5] * 3}, "to have the keys image_size, channels, mean, std, .*, central_fraction, found means"),
        ({"mean": 0.5, "std": 0.5}, "to describe the images of net.onnx, but"),
        ({"mean": [0.5], "std": [0.5]}, "to have one number for each of 3 channels"),
    ):
        beside.write_text(json.dumps(wrong))
        with pytest.raises((RunError, ValueError), match=message):
            read_onnx_net(file)


def test_open_sizes_and_fixed_ones(tmp_path: Path) -> None:
    opened = write_onnx(tmp_path / "open.onnx", shape=("n", 3, "h", "w"))
    assert read_onnx_net(opened)[1].image_size == (224, 224)
    (tmp_path / "open.json").write_text('{"image_size": [32, 16]}')
    assert read_onnx_net(opened)[1].image_size == (32, 16)
    assert read_onnx_net(opened, image_size=(64, 64))[1].image_size == (64, 64)
    fixed = write_onnx(tmp_path / "fixed.onnx")
    assert read_onnx_net(fixed, image_size=(8, 8), in_channels=3)[1].image_size == (8, 8)
    with pytest.raises(ValueError, match=r"Expected 3 channels and images of 8 x 8 for fixed\.onnx, got 3 and 16 x 16"):
        read_onnx_net(fixed, image_size=(16, 16))
    with pytest.raises(ValueError, match="got 1 and 8 x 8"):
        read_onnx_net(fixed, in_channels=1)


def test_what_pairsim_exported_states_its_preprocessing(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    pytest.importorskip("onnxscript")
    from pairsim.export import export_onnx

    model = SimilarityModel(EmbeddingNet(image_size=(8, 12), embedding_dim=6)).eval()
    model.preprocessing = replace(model.preprocessing, central_fraction=0.6)  # which the file cuts out itself
    export_onnx(model, tmp_path / "own.onnx")
    recwarn.clear()
    again = SimilarityModel(EmbeddingNet(str(tmp_path / "own.onnx")))
    assert not recwarn.list
    assert (again.preprocessing.image_size, again.preprocessing.channels) == ((8, 12), 1)
    pixels = torch.randint(0, 256, (4, 1, 8, 12), dtype=torch.uint8)
    backbone = again.embedding_net.backbone
    assert isinstance(backbone, OnnxNet)
    torch.testing.assert_close(backbone(again.preprocessing(pixels)), model.embed(pixels), rtol=0, atol=1e-5)


def test_a_trained_model_keeps_a_copy_of_the_file(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    file = write_onnx(tmp_path / "faces.onnx")
    data = ImageTensors(torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8), [number % 5 for number in range(40)])
    model = SimilarityModel(EmbeddingNet(str(file), embedding_dim=8))
    config = TrainConfig(out=tmp_path / "run", epochs=2, batch_size=16, ema_decay=0.9, progress=False)
    trainer = Trainer(model, config, train=data)
    trainer.fit()
    assert trainer.config.freeze == "backbone"
    file.unlink()
    assert sorted(path.name for path in (tmp_path / "run" / "model").iterdir()) == [
        "config.json",
        "faces.onnx",
        "model.safetensors",
    ]
    recwarn.clear()
    loaded = SimilarityModel.from_pretrained(tmp_path / "run")
    assert not recwarn.list  # the preprocessing is that of the model, nothing is assumed
    assert loaded.preprocessing == model.preprocessing
    assert torch.equal(loaded.encode(data.images), model.encode(data.images))
    loaded.load_state_dict(torch.load(tmp_path / "run" / "best_model.pt", weights_only=True))
    loaded.save_pretrained(tmp_path / "again")
    assert [*pretrained.read_files(tmp_path / "again")] == ["model.safetensors", "config.json", "faces.onnx"]
    assert pretrained.embedding_sha256(loaded) == pretrained.embedding_sha256(model)


def test_a_saved_file_that_is_damaged_or_gone(tmp_path: Path) -> None:
    SimilarityModel(EmbeddingNet(str(write_onnx(tmp_path / "net.onnx")))).save_pretrained(tmp_path / "model")
    copied = tmp_path / "model" / "net.onnx"
    write_onnx(copied, weight=WEIGHT + 1)
    with pytest.raises(RunError, match=r"net\.onnx is damaged: its SHA-256 differs"):
        SimilarityModel.from_pretrained(tmp_path / "model")
    copied.unlink()
    with pytest.raises(RunError, match=r"Expected the backbone of the model at .*, found no such file"):
        SimilarityModel.from_pretrained(tmp_path / "model")


def test_a_file_outside_of_the_model_folder_is_never_read(tmp_path: Path) -> None:
    SimilarityModel(EmbeddingNet(str(write_onnx(tmp_path / "net.onnx")))).save_pretrained(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    shutil.move(tmp_path / "model" / "net.onnx", tmp_path / "net.onnx")
    edit_text(config, '"net.onnx"', '"../net.onnx"')
    with pytest.raises(RunError, match=r"Expected the backbone of the model at .*model/net\.onnx, found no such file"):
        SimilarityModel.from_pretrained(tmp_path / "model")


def test_weights_belong_to_one_file(tmp_path: Path) -> None:
    models = [
        SimilarityModel(EmbeddingNet(str(write_onnx(tmp_path / f"{number}.onnx", weight=WEIGHT + number))))
        for number in range(2)
    ]
    assert pretrained.embedding_sha256(models[0]) != pretrained.embedding_sha256(models[1])
    with pytest.raises(RuntimeError, match=r"Expected weights for 1\.onnx with the SHA-256 \w{12}, found those for a"):
        models[1].load_state_dict(models[0].state_dict())


def test_copies_share_the_session_and_other_processes_open_it_again(tmp_path: Path) -> None:
    net = OnnxNet(write_onnx(tmp_path / "net.onnx").read_bytes(), "net.onnx")
    copied, sent = copy.deepcopy(net), pickle.loads(pickle.dumps(net))
    assert copied._session is net._session
    pixels = images(2, 8)
    assert torch.equal(copied(pixels), net(pixels))
    assert torch.equal(sent(pixels), net(pixels))
    assert copied.eval().training is False
    assert net.training is True


def test_gradients_of_images_are_refused(tmp_path: Path) -> None:
    net = OnnxNet(write_onnx(tmp_path / "net.onnx").read_bytes(), "net.onnx")
    with pytest.raises(ValueError, match=r"without gradients, as net\.onnx has none"):
        net(images(1, 8).requires_grad_())
    with pytest.raises(ValueError, match=r"net\.onnx does not take images \[1, 3, 9, 9\]"):
        net(images(1, 9))


def test_a_model_without_any_weights_but_the_file(tmp_path: Path) -> None:
    model = SimilarityModel(EmbeddingNet(str(write_onnx(tmp_path / "net.onnx")), head="none")).eval()
    model.save_pretrained(tmp_path / "model")
    loaded = SimilarityModel.from_pretrained(tmp_path / "model")
    pixels = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(loaded.encode(pixels), model.encode(pixels))


def test_adapt_does_not_fine_tune_it(tmp_path: Path) -> None:
    labels = torch.arange(12).repeat_interleave(6)
    pixels = torch.randint(0, 256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0))[labels].to(torch.uint8)
    model = SimilarityModel(EmbeddingNet(str(write_onnx(tmp_path / "net.onnx"))))
    config = TrainConfig(out=tmp_path / "run", progress=False)
    found = adapt(model, config, train=ImageTensors(pixels, labels.numpy()), head="whiten")
    assert (found.kept, found.trained, found.history.records) == ("frozen", None, [])
    loaded = SimilarityModel.from_pretrained(tmp_path / "run")
    assert torch.equal(loaded.encode(pixels), model.encode(pixels))
