from __future__ import annotations

import concurrent.futures
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.data import ImageTensors
from pairsim.errors import ImageReadError
from pairsim.images import Preprocessing
from pairsim.models import OperatingPoint, unit_length


class NotebookModel(nn.Module):
    """The reference notebook's model, written from its description."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        fc = nn.Sequential(nn.Flatten(), nn.Linear(3136, 128), nn.BatchNorm1d(128), nn.ReLU())
        self.embedding_net = nn.ModuleDict({"conv": conv, "fc": fc})
        self.projection = nn.Linear(1, 1)

    def embed(self, images: Tensor) -> Tensor:
        return functional.normalize(self.embedding_net["fc"](self.embedding_net["conv"](images)), p=2, dim=1)

    def get_raw_similarity(self, first: Tensor, second: Tensor) -> Tensor:
        return functional.cosine_similarity(self.embed(first), self.embed(second))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        logits: Tensor = self.projection(self.get_raw_similarity(first, second).unsqueeze(1))
        return logits.squeeze(1)


def test_a_notebooks_weights_give_the_notebooks_figures() -> None:
    torch.manual_seed(3)
    notebook = NotebookModel()
    with torch.no_grad():  # some batch statistics, as after training
        notebook(torch.randn(32, 1, 28, 28), torch.randn(32, 1, 28, 28))
    model = SimilarityModel()
    model.load_state_dict(notebook.state_dict(), strict=True)
    notebook.eval()
    model.eval()
    a, b = torch.randn(64, 1, 28, 28), torch.randn(64, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(model.get_raw_similarity(a, b), notebook.get_raw_similarity(a, b), rtol=0, atol=1e-6)
        torch.testing.assert_close(model(a, b), notebook(a, b), rtol=0, atol=1e-6)


def flat_model(dim: int = 4, **settings: Any) -> SimilarityModel:
    """Embeddings are the images' own first pixels."""
    return SimilarityModel(nn.Flatten(), **settings)


def vectors(*rows: list[float]) -> Tensor:
    return torch.tensor(rows).view(len(rows), 1, 1, -1)


def test_similarity_is_the_cosine() -> None:
    a, b = torch.randn(20, 1, 1, 5), torch.randn(20, 1, 1, 5)
    expected = functional.cosine_similarity(a.flatten(1).double(), b.flatten(1).double())
    torch.testing.assert_close(flat_model().get_raw_similarity(a, b).double(), expected, rtol=0, atol=1e-6)


def test_zero_embeddings_are_safe() -> None:
    first = vectors([0.0, 0.0], [1.0, 2.0], [0.0, 0.0]).requires_grad_()
    second = vectors([1.0, 0.0], [1.0, 2.0], [0.0, 0.0])
    model = flat_model()
    similarity = model.get_raw_similarity(first, second)
    torch.testing.assert_close(similarity.detach(), torch.tensor([0.0, 1.0, 0.0]))
    model(first, second).sum().backward()
    assert first.grad is not None
    assert bool(torch.isfinite(first.grad).all())
    assert bool((first.grad[0] == 0).all())


def test_coincident_embeddings_have_finite_gradients() -> None:
    image = torch.rand(4, 1, 28, 28)
    model = SimilarityModel()
    model(image, image).sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)
    similarity = model.eval().get_raw_similarity(image, image)
    assert bool((similarity <= 1).all())


def test_unit_length_of_tiny_vectors() -> None:
    tiny = torch.full((1, 4), 1e-9, requires_grad=True)
    found = unit_length(tiny)
    assert bool((found == 0).all())
    found.sum().backward()
    assert tiny.grad is not None
    assert bool((tiny.grad == 0).all())


def test_learning_starts_at_once() -> None:
    model = SimilarityModel()
    found = model.probability(torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(found, torch.sigmoid(torch.tensor([-5.0, 0.0, 5.0])))
    assert model.threshold == 0.5


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (
            (28, 28),
            "Expected images to have shape [N, C, H, W], got [28, 28]. "
            "Add batch and channel dimensions: x[None, None].",
        ),
        ((1, 28, 28), "Expected images to have shape [N, C, H, W], got [1, 28, 28]. Add a batch dimension: x[None]"),
        ((2, 3, 28, 28), "Expected images with 1 channel [N, 1, H, W], got [2, 3, 28, 28]."),
        ((2, 1, 32, 32), "Expected images of 28 x 28 pixels, got [2, 1, 32, 32]."),
    ],
)
def test_wrong_shapes(shape: tuple[int, ...], said: str) -> None:
    image = torch.rand(shape)
    model = SimilarityModel()
    for call in (
        lambda: model(image, image),
        lambda: model.get_raw_similarity(image, image),
        lambda: model.embed(image),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
            call()
        assert str(caught.value).startswith(said)


def test_first_and_second_of_different_number() -> None:
    model = SimilarityModel()
    with pytest.raises(ValueError, match=r"to have one shape, got \[2, 1, 28, 28\] and \[3, 1, 28, 28\]"):
        model(torch.rand(2, 1, 28, 28), torch.rand(3, 1, 28, 28))
    with pytest.raises(ValueError, match="Expected as many first as second images, got 2 and 3"):
        model.predict_proba(torch.rand(2, 1, 28, 28), torch.rand(3, 1, 28, 28))
    with pytest.raises(TypeError, match=r"Expected images as a tensor \[N, C, H, W\], got str. Use encode for files"):
        model.embed("a.png")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Expected embedding_net to be a torch.nn.Module, got str"):
        SimilarityModel("resnet18")  # type: ignore[arg-type]


def test_encode_of_everything(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (28, 28)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "x.png")
    model = SimilarityModel(preprocessing=Preprocessing(image_size=(28, 28), channels=1, mean=(0.1,), std=(0.3,)))
    tensor = torch.from_numpy(pixels)[None]
    one = model.encode(tensor[None])
    assert one.shape == (1, 128)
    same: Any
    for same in (tmp_path / "x.png", str(tmp_path / "x.png"), picture, pixels, tensor, [pixels], [picture, tensor]):
        found = model.encode(same)
        torch.testing.assert_close(found, one.expand(len(found), -1))
    already = model.preprocessing(tensor[None])
    torch.testing.assert_close(model.encode(already), one)
    large = picture.resize((56, 56), Image.Resampling.NEAREST)
    assert model.encode([large, str(tmp_path / "x.png")], batch_size=1).shape == (2, 128)


def test_encode_is_in_eval_mode_and_leaves_the_mode_alone() -> None:
    model = SimilarityModel().train()
    model.embedding_net.eval()
    images = torch.rand(10, 1, 28, 28)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    whole, parts = model.encode(images), model.encode(images, batch_size=3)
    torch.testing.assert_close(whole, parts)
    assert model.training
    assert not model.embedding_net.training
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert not whole.requires_grad


def test_encode_of_nothing_and_of_bad_arguments() -> None:
    model = SimilarityModel()
    assert model.encode([]).shape == (0, 128)
    assert model.encode(torch.empty(0, 1, 28, 28)).shape == (0, 128)
    with pytest.raises(ValueError, match="Expected batch_size to be at least 1, got 0"):
        model.encode([], batch_size=0)
    with pytest.raises(ImageReadError, match=r"absent.png, found none"):
        model.encode(["absent.png"])


def test_similarity_matrix_and_probability() -> None:
    model = SimilarityModel().eval()
    a, b = torch.rand(3, 1, 28, 28), torch.rand(4, 1, 28, 28)
    matrix = model.similarity_matrix(a, b)
    assert matrix.shape == (3, 4)
    expected = torch.stack([model.get_raw_similarity(a, b[k : k + 1].expand_as(a)) for k in range(4)], dim=1)
    torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.similarity_matrix(a).diagonal(), torch.ones(3))
    torch.testing.assert_close(model.predict_proba(a, b[:3]), torch.sigmoid(model(a, b[:3])), rtol=0, atol=1e-5)


def test_verdicts() -> None:
    model = SimilarityModel().eval()
    image, other = torch.rand(1, 1, 28, 28), torch.zeros(1, 1, 28, 28)
    verdict = model.verify(image, image)
    assert verdict.match
    assert verdict.similarity == pytest.approx(1.0, abs=1e-6)
    assert verdict.fmr is None
    assert not model.verify(image, other, threshold=1.0).match
    model.operating_point = OperatingPoint(0.25, 0.01, 0.02, 10, 90, "validation pairs")
    verdict = model.verify(image, other)
    assert (verdict.threshold, verdict.fmr) == (0.25, 0.01)
    assert model.verify(image, other, threshold=0.3).fmr is None
    with pytest.raises(ValueError, match="Expected one pair of images, got 2"):
        model.verify(torch.rand(2, 1, 28, 28), torch.rand(2, 1, 28, 28))


def test_threshold_without_a_rising_projection() -> None:
    model = SimilarityModel()
    with torch.no_grad():
        model.projection.weight.fill_(-1.0)
    assert np.isnan(model.threshold)


def test_encode_of_any_layout_order_and_source(tmp_path: Path) -> None:
    model = SimilarityModel(EmbeddingNet(in_channels=3, image_size=8, embedding_dim=5)).eval()
    images = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        expected = model.embed(images)
    sliced = torch.zeros(9, 3, 16, 16, dtype=torch.uint8)
    sliced[:, :, ::2, ::2] = images
    listed = list(images)
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    same: Any
    for same in (
        images.contiguous(memory_format=torch.channels_last),
        sliced[:, :, ::2, ::2],
        images.permute(0, 2, 3, 1).numpy(),
        listed,
        (image for image in listed),
        paths,
        (str(path) for path in paths),
        [*paths[:4], *listed[4:]],
    ):
        torch.testing.assert_close(model.encode(same, batch_size=4), expected, rtol=0, atol=1e-6)
    order = [8, 0, 0, 3, 8]
    torch.testing.assert_close(model.encode([paths[k] for k in order]), expected[order], rtol=0, atol=1e-6)
    torch.testing.assert_close(model.encode_batches(iter(images.split(2)), 9), expected, rtol=0, atol=1e-6)


def test_an_autocast_outside_does_not_count() -> None:
    model = SimilarityModel().eval()
    images = torch.rand(4, 1, 28, 28)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.encode(images)
    assert torch.equal(found, copy.deepcopy(model).encode(images))
    with torch.no_grad():
        torch.testing.assert_close(found, model.embed(images), rtol=0, atol=1e-6)


def test_embeddings_can_be_trained_on() -> None:
    head = nn.Linear(128, 2)
    model = SimilarityModel()
    images = torch.rand(4, 1, 28, 28)
    for embeddings in (model.encode(images), model.encode(list((images * 255).byte()), batch_size=3)):
        assert not embeddings.is_inference()
        head(embeddings).sum().backward()


def test_a_subclass_that_embeds_in_its_own_way_is_asked() -> None:
    class Mirrored(SimilarityModel):
        def embed(self, images: Tensor) -> Tensor:
            return unit_length(super().embed(images) + super().embed(images.flip(-1)))

    model = Mirrored()
    images = torch.rand(4, 1, 28, 28)
    found = model.encode(images)
    assert model.training
    with torch.no_grad():
        torch.testing.assert_close(found, model.eval().embed(images))
    assert model.encode(images, precision="bf16").shape == (4, 128)


def test_hooks_on_the_net_are_called() -> None:
    model = SimilarityModel()
    calls: list[int] = []
    model.encode(torch.rand(3, 1, 28, 28))
    handle = model.embedding_net.get_submodule("conv.0").register_forward_hook(lambda *_: calls.append(1))
    model.encode(torch.rand(3, 1, 28, 28), batch_size=1)
    assert len(calls) == 3
    handle.remove()
    model.encode(torch.rand(3, 1, 28, 28))
    assert len(calls) == 3


def test_backbones_are_encoded_in_every_precision() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.LayerNorm([6, 6, 6]), nn.Conv2d(6, 6, 3))
    model = SimilarityModel(EmbeddingNet(backbone, in_channels=3, image_size=8, embedding_dim=5)).eval()
    images = torch.randn(6, 3, 8, 8)
    with torch.no_grad():
        expected = model.embed(images)
    torch.testing.assert_close(model.encode(images), expected, rtol=0, atol=1e-6)
    for precision in ("bf16", "fp16"):
        torch.testing.assert_close(model.encode(images, precision=precision), expected, rtol=0, atol=0.03)


def test_encode_from_several_threads() -> None:
    model = SimilarityModel().train()  # in which a forward of the model itself would change it
    state = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.rand(6, 1, 28, 28)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: model.encode(images, batch_size=2), range(12)))
    assert all(torch.equal(one, found[0]) for one in found)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_bad_input_of_encode() -> None:
    model = SimilarityModel()
    with pytest.raises(ValueError, match=r"Expected precision to be one of auto, fp32, bf16, fp16, got 'fp64'"):
        model.encode([], precision="fp64")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Use pairsim.encode_dataset\(model, dataset\)"):
        model.encode(ImageTensors(torch.zeros(2, 28, 28, dtype=torch.uint8), [0, 1]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Expected images with 1 channel \[N, 1, H, W\], got \[2, 3, 28, 28\]"):
        model.encode(torch.zeros(2, 3, 28, 28))
    with pytest.raises(TypeError, match=r"Expected images as a tensor \[N, C, H, W\], got list"):
        model.encode_batches([[torch.zeros(1, 28, 28)]])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="Expected 3 images in all batches, got 2"):
        model.encode_batches([torch.zeros(2, 1, 28, 28)], 3)


def test_verdict_on_files(tmp_path: Path) -> None:
    model = SimilarityModel().eval()
    pixels = np.random.default_rng(0).integers(0, 255, (2, 28, 28)).astype(np.uint8)
    for number, name in enumerate("ab"):
        Image.fromarray(pixels[number]).save(tmp_path / f"{name}.png")
    verdict = model.verify(tmp_path / "a.png", tmp_path / "b.png")
    expected = model.verify(torch.from_numpy(pixels[:1, None]), torch.from_numpy(pixels[1:, None]))
    assert verdict.similarity == pytest.approx(expected.similarity, abs=1e-6)
    assert model.verify(tmp_path / "a.png", str(tmp_path / "a.png")).similarity == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(ImageReadError, match=r"absent.png, found none"):
        model.verify(tmp_path / "a.png", tmp_path / "absent.png")


def test_the_model_takes_over_the_backbones_preprocessing() -> None:
    net = EmbeddingNet("resnet18", image_size=(40, 32))
    model = SimilarityModel(net)
    assert model.preprocessing == net.preprocessing
    assert model.preprocessing.image_size == (40, 32)
    own = Preprocessing(image_size=(40, 32), channels=3)
    assert SimilarityModel(net, preprocessing=own).preprocessing == own


def test_grey_pixels_for_a_colour_net_and_colour_for_a_grey_one() -> None:
    model = SimilarityModel(EmbeddingNet("resnet18", image_size=32)).eval()
    grey = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8)
    colour = grey.expand(-1, 3, -1, -1)
    for embed in (model.embed, model.encode):
        assert torch.equal(embed(grey), embed(colour))
    assert torch.equal(model(grey, grey.flip(0)), model(colour, colour.flip(0)))
    with pytest.raises(ValueError, match="Expected images with 3 channels"):
        model.embed(grey.float())
    with pytest.raises(ValueError, match="Expected images with 3 channels"):
        model.embed(torch.zeros(1, 2, 32, 32, dtype=torch.uint8))
    plain = SimilarityModel().eval()
    pixels = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(plain.embed(pixels.expand(-1, 3, -1, -1)), plain.embed(pixels), rtol=0, atol=0.02)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "mobilenet_v3_small",
        "timm/mobilenetv3_small_050",
        "timm/efficientnet_lite0",
        "timm/vit_tiny_patch16_224",
    ],
)
def test_encode_equals_embed(name: str) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    model = SimilarityModel(EmbeddingNet(name, image_size=32))
    with torch.no_grad():
        for module in model.modules():  # statistics as after training, so that folding has something to fold
            if (
                isinstance(module, nn.BatchNorm2d)
                and module.running_mean is not None
                and module.running_var is not None
            ):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
    model.eval()
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(pixels), model.embed(pixels), rtol=0, atol=2e-5)


def test_colour_pixels_stay_in_colour_for_ones_own_net_that_does_not_state_its_channels() -> None:
    model = SimilarityModel(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())).eval()
    assert model.preprocessing.channels == 3
    pixels = torch.randint(0, 256, (2, 3, 28, 28), dtype=torch.uint8)
    assert torch.equal(model.embed(pixels), model.embed(pixels.float() / 255))


@pytest.mark.parametrize("call", ["encode", "encode_batches", "similarity_matrix", "verify", "predict_proba"])
@pytest.mark.parametrize("part", ["embedding_net.conv.0.weight", "projection.bias"])
def test_nan_in_the_weights_is_named(call: str, part: str) -> None:
    model = SimilarityModel().eval()
    with torch.no_grad():
        model.get_parameter(part).fill_(torch.nan)
    images = torch.rand(1, 1, 28, 28)
    given: dict[str, list[Any]] = {"encode": [images], "encode_batches": [[images]], "similarity_matrix": [images]}
    if part == "projection.bias" and call in given:  # embeddings do not depend on it
        assert not getattr(model, call)(*given[call]).isnan().any()
        return
    name = part.removeprefix("projection.")
    with pytest.raises(ValueError, match=rf"^Expected finite weights of the model, found NaN or infinity in {name}: "):
        getattr(model, call)(*given.get(call, [images, images]))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("batch_size", [2, 256])
def test_pixels_that_are_not_finite_are_named(value: float, batch_size: int) -> None:
    torch.manual_seed(0)
    model, images = SimilarityModel().eval(), torch.rand(6, 1, 28, 28)
    images[3:5, 0, 4, 4] = value
    good, bad = images[:1], images[3:4]
    calls: dict[str, Callable[[], Any]] = {
        "3 and 1 more": lambda: model.encode(images, batch_size=batch_size),
        r"3 and 1 more\.": lambda: model.encode_batches([(images[:2] * 255).to(torch.uint8), images[2:]]),
        r"3 and 1 more\. ": lambda: model.similarity_matrix(good, images, batch_size=batch_size),
        r"0\.": lambda: model.verify(bad, good),
        r"1\.": lambda: model.predict_proba(good, bad),
    }
    for found, call in calls.items():
        with pytest.raises(ValueError, match=f"^Expected finite pixels, found NaN or infinity in image {found}"):
            call()


def test_a_net_that_gives_nan_for_finite_pixels_is_named() -> None:
    class Overflowing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) * 1e30 * 1e30

    images = torch.zeros(3, 1, 8, 8)
    model = SimilarityModel(Overflowing()).eval()
    assert not model.encode(images).any()
    images[2] = 1.0
    with pytest.raises(ValueError, match=r"^Expected finite embeddings, the net gives NaN for image 2, .* precision"):
        model.encode(images)
