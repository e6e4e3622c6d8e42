"""Features of a backbone, and how they are kept."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.data import ImageTensors
from pairsim.encoding.features import backbone_features


def make_model(seed: int = 0) -> SimilarityModel:
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout())
    return SimilarityModel(EmbeddingNet(backbone, in_channels=1, image_size=10))


def net_of(model: SimilarityModel) -> EmbeddingNet:
    assert isinstance(model.embedding_net, EmbeddingNet)
    return model.embedding_net


def make_images(num: int = 9) -> ImageTensors:
    pixels = torch.randint(0, 256, (num, 10, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return ImageTensors(pixels, range(num))


def written(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/features.safetensors"))


@pytest.mark.parametrize("training", [True, False])
def test_are_what_the_head_maps_to_embeddings(training: bool) -> None:
    model, images = make_model().train(training), make_images()
    features = backbone_features(model, images, batch_size=4)
    with torch.no_grad():
        embeddings = torch.nn.functional.normalize(net_of(model).head(features), dim=1)
    torch.testing.assert_close(embeddings, model.encode(images.images), atol=1e-5, rtol=0)
    assert all(module.training == training for module in model.modules())


def test_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = make_model(), make_images()
    features = backbone_features(model, images, folder=tmp_path)
    monkeypatch.setattr(nn.Conv2d, "forward", None)  # the backbone cannot run
    assert torch.equal(backbone_features(model, images, folder=tmp_path), features)
    assert len(written(tmp_path)) == 1


@pytest.mark.parametrize("layers", [(nn.Conv2d(1, 6, 3), nn.Tanh()), (nn.Conv2d(1, 6, 3, stride=2), nn.ReLU())])
def test_of_other_layers_with_the_same_weights_are_others(tmp_path: Path, layers: tuple[nn.Module, ...]) -> None:
    plain = SimilarityModel(EmbeddingNet(nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU()), in_channels=1, image_size=10))
    other = SimilarityModel(EmbeddingNet(nn.Sequential(*layers), in_channels=1, image_size=10))
    layers[0].load_state_dict(next(iter(net_of(plain).backbone.children())).state_dict())  # type: ignore[union-attr]
    backbone_features(plain, make_images(), folder=tmp_path)
    torch.testing.assert_close(
        backbone_features(other, make_images(), folder=tmp_path), backbone_features(other, make_images())
    )


def test_of_other_weights_images_or_preprocessing_are_others(tmp_path: Path) -> None:
    backbone_features(make_model(), make_images(), folder=tmp_path)
    backbone_features(make_model(seed=1), make_images(), folder=tmp_path)
    backbone_features(make_model(), make_images(8), folder=tmp_path)
    shifted = make_model()
    shifted.preprocessing = type(shifted.preprocessing)(image_size=(10, 10), channels=1, mean=(0.5,), std=(0.5,))
    backbone_features(shifted, make_images(), folder=tmp_path)
    assert len(written(tmp_path)) == 4


def test_of_another_head_are_the_same(tmp_path: Path) -> None:
    first, second = make_model(), make_model()
    net_of(second).set_head("none", nn.Identity(), 6)
    features = backbone_features(first, make_images(), folder=tmp_path)
    assert torch.equal(backbone_features(second, make_images(), folder=tmp_path), features)
    assert len(written(tmp_path)) == 1


@pytest.mark.parametrize("cut", [False, True])
def test_damaged_ones_are_computed_again(cut: bool, tmp_path: Path) -> None:
    model, images = make_model(), make_images()
    features = backbone_features(model, images, folder=tmp_path)
    content = bytearray(written(tmp_path)[0].read_bytes())
    content[-5] ^= 1
    written(tmp_path)[0].write_bytes(content[:50] if cut else content)
    assert torch.equal(backbone_features(model, images, folder=tmp_path), features)
    assert torch.equal(backbone_features(model, images, folder=tmp_path), features)


def test_a_model_without_backbone_says_so() -> None:
    with pytest.raises(ValueError, match=r"found the reference network\. Name a backbone"):
        backbone_features(SimilarityModel(), make_images())
