"""Preprocessing, operating point and calibration travel with weights; pixels of another kind or scale are noticed."""

from __future__ import annotations

import copy
import dataclasses
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import small_model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.transforms import v2

from pairsim import EmbeddingNet, PairDataset, SimilarityModel, TrainConfig, Trainer, calibrate, encode_dataset
from pairsim._common.choices import PrecisionName
from pairsim.audits import similarity_saliency
from pairsim.data import ImageTensors
from pairsim.errors import DataError
from pairsim.images import Preprocessing
from pairsim.training import Callback

SETTINGS = TrainConfig(epochs=1, batch_size=16, progress=False, precision="fp32", device="cpu")


def pixels(number: int = 48, seed: int = 0) -> ImageTensors:
    """Dark images of two classes: a bright stripe down or across."""
    images = torch.randint(0, 60, (number, 1, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    images[0::2, :, :, 3] = 250
    images[1::2, :, 3, :] = 250
    images[:, :, 0, 0] = 0
    images[:, :, 7, 7] = 255
    return ImageTensors(images, [0, 1] * (number // 2))


def scaled(images: Tensor, mean: float, std: float) -> Tensor:
    return (images / 255.0 - mean) / std


def net(seed: int = 0) -> EmbeddingNet:
    torch.manual_seed(seed)
    return EmbeddingNet(image_size=8, embedding_dim=8)


def trained(images: ImageTensors | None = None, **settings: object) -> SimilarityModel:
    model = SimilarityModel(net(), **settings)  # type: ignore[arg-type]
    images = pixels() if images is None else images
    Trainer(model, SETTINGS, train=images).fit()
    return model


@pytest.fixture(scope="module")
def model() -> SimilarityModel:
    own = trained()
    calibrate(own, pixels(seed=1), target_fmr=0.1)
    assert own.operating_point is not None
    return own


def saved_and_loaded(state: dict[str, object]) -> dict[str, Tensor]:
    content = io.BytesIO()
    torch.save(state, content)
    content.seek(0)
    loaded: dict[str, Tensor] = torch.load(content, weights_only=True)
    return loaded


def by_state_dict(model: SimilarityModel) -> SimilarityModel:
    copied = SimilarityModel(net(9)).eval()
    copied.load_state_dict(saved_and_loaded(model.state_dict()))
    return copied


def by_state_dict_over_another(model: SimilarityModel) -> SimilarityModel:
    copied = SimilarityModel(
        net(9), preprocessing=Preprocessing(image_size=(8, 8), channels=1, mean=(0.9,), std=(0.1,))
    )
    copied.load_state_dict(saved_and_loaded(model.state_dict()))
    return copied.eval()


def of_averaged(model: SimilarityModel) -> SimilarityModel:
    copied = SimilarityModel(net(9)).eval()
    copied.load_state_dict(AveragedModel(model).state_dict())
    return copied


def of_compiled(model: SimilarityModel) -> SimilarityModel:
    copied = SimilarityModel(net(9)).eval()
    wrapper = torch.compile(model)
    assert isinstance(wrapper, nn.Module)
    copied.load_state_dict(wrapper.state_dict())
    return copied


def of_parallel(model: SimilarityModel) -> SimilarityModel:
    copied = SimilarityModel(net(9)).eval()
    copied.load_state_dict(nn.DataParallel(model).state_dict())
    return copied


def of_average_by_hand(model: SimilarityModel) -> SimilarityModel:
    one, other = model.state_dict(), model.state_dict()
    copied = SimilarityModel(net(9)).eval()
    copied.load_state_dict({name: 0.25 * one[name] + 0.75 * other[name] for name in one})
    return copied


def averaged(model: SimilarityModel) -> SimilarityModel:
    copied = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True).module
    assert isinstance(copied, SimilarityModel)
    return copied


def pickled(model: SimilarityModel) -> SimilarityModel:
    content = io.BytesIO()
    torch.save(model, content)
    content.seek(0)
    copied: SimilarityModel = torch.load(content, weights_only=False)
    return copied


WAYS: list[Callable[[SimilarityModel], SimilarityModel]] = [
    by_state_dict, by_state_dict_over_another, of_averaged, of_compiled, of_parallel, of_average_by_hand, averaged,
    pickled, copy.deepcopy,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_model_that_is_moved_gives_the_same_figures(
    way: Callable[[SimilarityModel], SimilarityModel], model: SimilarityModel
) -> None:
    images = pixels(seed=2).images
    copied = way(model)
    assert torch.allclose(copied.encode(images), model.encode(images), atol=1e-6)
    assert copied.preprocessing == model.preprocessing
    assert copied.operating_point == model.operating_point
    verdict, expected = copied.verify(images[:1], images[1:2]), model.verify(images[:1], images[1:2])
    assert verdict.probability == pytest.approx(expected.probability, abs=1e-6)
    assert (verdict.threshold, verdict.match, verdict.fmr) == (expected.threshold, expected.match, expected.fmr)


def test_the_net_alone_keeps_the_preprocessing_of_its_training(model: SimilarityModel) -> None:
    images = pixels(seed=2).images
    again = SimilarityModel(copy.deepcopy(model.embedding_net)).eval()
    assert torch.equal(again.encode(images), model.encode(images))
    own = Preprocessing(image_size=(8, 8), channels=1, mean=(0.1,), std=(0.2,))
    assert SimilarityModel(model.embedding_net, preprocessing=own).preprocessing == own


def test_weights_without_settings_load_and_the_first_pixels_warn(model: SimilarityModel) -> None:
    weights = model.weights()
    assert set(weights) == set(model.state_dict()) - {"_extra_state"}
    images = pixels(seed=2).images
    other = SimilarityModel(net(9)).eval()
    other.calibration, other.operating_point = model.calibration, model.operating_point
    other.load_state_dict(weights, strict=True)
    assert (other.calibration, other.operating_point) == (None, None)  # of other weights
    assert model.preprocessing.mean is not None
    assert model.preprocessing.std is not None
    normalised = scaled(images, model.preprocessing.mean[0], model.preprocessing.std[0])
    assert torch.allclose(other.encode(normalised), model.encode(images), atol=1e-6)
    with pytest.warns(UserWarning, match="came without mean and standard deviation"):
        other.encode(images)
    other.encode(images)  # once
    other = SimilarityModel(net(9)).eval()
    other.load_state_dict(weights)
    other.preprocessing = model.preprocessing
    assert torch.equal(other.encode(images), model.encode(images))


def test_weights_without_settings_are_trained_on_without_a_warning(model: SimilarityModel) -> None:
    own = SimilarityModel(net(9))
    own.load_state_dict(model.weights())
    own.train().embed(pixels().images)  # a training loop of one's own
    Trainer(own, SETTINGS, train=pixels()).fit()
    assert own.preprocessing.mean == pytest.approx(model.preprocessing.mean, abs=0.02)
    with pytest.warns(UserWarning, match="of the scale of training"):
        own.encode(pixels().images / 255.0)


def test_weights_of_the_net_alone_warn_too(model: SimilarityModel) -> None:
    own = net(9)
    own.load_state_dict(model.embedding_net.state_dict())
    with pytest.warns(UserWarning, match="came without mean and standard deviation"):
        SimilarityModel(own).eval().encode(pixels(seed=2).images)


def test_an_average_that_was_begun_before_training_warns() -> None:
    class Average(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            average.update_parameters(trainer.model)

    own = SimilarityModel(net())
    average = AveragedModel(own)
    Trainer(own, SETTINGS, train=pixels(), callbacks=[Average()]).fit()
    copied = average.module
    assert isinstance(copied, SimilarityModel)
    with pytest.warns(UserWarning, match="came without mean and standard deviation"):
        copied.eval().encode(pixels().images)
    copied.preprocessing = own.preprocessing
    assert copied.encode(pixels().images).shape == (48, 8)


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"preprocessing": 3}', b"\xff\xfe"])
def test_damaged_settings(damage: bytes) -> None:
    state = small_model().state_dict()
    state["_extra_state"] = torch.tensor(list(damage), dtype=torch.uint8)
    with pytest.raises(ValueError, match="Expected the settings of SimilarityModel in _extra_state of the state dict"):
        small_model().load_state_dict(state)


SCALES = {"to_tensor": (0.0, 1.0), "half": (0.5, 0.5), "bytes": (0.0, 1 / 255), "mnist": (0.1307, 0.3081)}
OTHERS = [(own, other) for own in SCALES for other in SCALES if own != other]


@pytest.mark.parametrize("scale", ["to_tensor", "half", "bytes"])  # that of MNIST is like that of these images
def test_floats_of_another_scale_than_that_of_pixels_warn(scale: str, model: SimilarityModel) -> None:
    images = scaled(pixels(seed=2).images, *SCALES[scale])
    for ask in (
        lambda own: own.encode(images),
        lambda own: own(images[:4], images[4:8]),
        lambda own: own.get_raw_similarity(images[:4], images[4:8]),
        lambda own: own.embed(images),
        lambda own: own.verify(images[:1], images[1:2]),
        lambda own: own.predict_proba(images[:4], images[4:8]),
        lambda own: encode_dataset(own, ImageTensors(images, range(len(images)))),
    ):
        own = copy.deepcopy(model)
        with pytest.warns(UserWarning, match="Expected floating point images of the scale of training, about"):
            ask(own)
        ask(own)  # once
    with warnings.catch_warnings(action="error"):
        copy.deepcopy(model).train().embed(images)  # training looks at no values


def test_rightly_normalised_floats_do_not_warn(model: SimilarityModel) -> None:
    mean, std = model.preprocessing.mean, model.preprocessing.std
    assert mean is not None
    assert std is not None
    images = pixels(seed=2).images
    assert torch.allclose(model.encode(scaled(images, mean[0], std[0])), model.encode(images), atol=1e-6)
    model.encode(torch.zeros(2, 1, 8, 8))  # one value has no scale


@pytest.mark.parametrize(("own", "other"), OTHERS)
def test_a_model_of_floats_knows_their_scale(own: str, other: str, tmp_path: Path) -> None:
    images = pixels().images
    model = trained(ImageTensors(scaled(images, *SCALES[own]), [0, 1] * 24))
    low, high = scaled(torch.tensor([0.0, 255.0]), *SCALES[own]).tolist()
    assert model.preprocessing.float_range == pytest.approx((low, high), rel=1e-5)
    model.save_pretrained(tmp_path / "model")
    model = SimilarityModel.from_pretrained(tmp_path / "model")
    right = model.encode(scaled(images, *SCALES[own]))
    with pytest.warns(UserWarning, match=rf"about {low:.4g} to {high:.4g}".replace("+", r"\+")):
        copy.deepcopy(model).encode(scaled(images, *SCALES[other]))
    for number in range(2):
        Image.fromarray(images[number, 0].numpy()).save(tmp_path / f"{number}.png")
    paths = (tmp_path / "0.png", tmp_path / "1.png")
    if own == "to_tensor":  # pixels get this scale by default
        assert torch.allclose(model.encode(images), right, atol=1e-6)
        return
    for ask in (lambda: model.verify(*paths), lambda: model.encode(images), lambda: model(images[:2], images[2:4])):
        with pytest.raises(ValueError, match=r"Expected floating point images from .* as in training, got pixels"):
            ask()
    # the way out, with the numbers of the message
    mean, std = (-low / (high - low),), (1 / (high - low),)
    model.preprocessing = dataclasses.replace(model.preprocessing, mean=mean, std=std)
    assert torch.allclose(model.encode(images), right, atol=1e-4)
    assert model.verify(*paths).similarity == pytest.approx(float(right[0] @ right[1]), abs=1e-4)


def test_preprocessing_given_in_the_first_place_needs_nothing_else() -> None:
    given = Preprocessing(image_size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))
    images = pixels().images
    model = trained(ImageTensors(scaled(images, 0.5, 0.5), [0, 1] * 24), preprocessing=given)
    assert torch.allclose(model.encode(images), model.encode(scaled(images, 0.5, 0.5)), atol=1e-6)
    assert by_state_dict(model).preprocessing.float_range == pytest.approx((-1.0, 1.0))


@pytest.mark.parametrize("kind", ["labelled", "pairs"])
@pytest.mark.parametrize("train_is_float", [True, False])
def test_validation_images_of_another_kind_are_an_error(train_is_float: bool, kind: str) -> None:
    floats, whole = ImageTensors(pixels().images / 255.0, [0, 1] * 24), pixels(seed=1)
    train, val = (floats, whole) if train_is_float else (whole, floats)
    config = dataclasses.replace(SETTINGS, objective="pairs" if kind == "pairs" else "all-pairs")
    sets = [PairDataset(images, 64) if kind == "pairs" else images for images in (train, val)]
    with pytest.raises(
        DataError, match=r"Expected validation images as (uint8|floating point), as the training images"
    ):
        Trainer(SimilarityModel(net()), config, train=sets[0], val=sets[1])


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("count", [2, 12])
@pytest.mark.parametrize("images_dtype", [torch.uint8, *DTYPES])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_format_of_weights_takes_every_format_of_images(
    dtype: torch.dtype, images_dtype: torch.dtype, count: int, model: SimilarityModel
) -> None:
    images = pixels(seed=2).images[:count]
    expected = model.encode(images)
    own = copy.deepcopy(model).to(dtype)
    given = images
    if images_dtype != torch.uint8:
        given = model.preprocessing(images).to(images_dtype)
    rounding = max(torch.finfo(t).eps for t in (dtype, images_dtype) if t.is_floating_point)
    tolerance = 20 * rounding + 1e-5
    found = own.encode(given)
    assert found.dtype in (torch.float32, torch.float64)
    assert torch.allclose(found.float(), expected, atol=tolerance)
    with torch.no_grad():
        assert torch.allclose(own.embed(given).float(), expected, atol=tolerance)
        assert own(given, given.flip(0)).shape == own.get_raw_similarity(given, given.flip(0)).shape == (count,)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "auto"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_compute_in_their_own_format(
    dtype: torch.dtype, precision: PrecisionName, model: SimilarityModel
) -> None:
    own, images = copy.deepcopy(model), pixels(seed=2).images
    own.embedding_net.to(dtype)
    assert torch.equal(own.encode(images, precision=precision), own.encode(images))
    config = dataclasses.replace(SETTINGS, precision="bf16")
    with pytest.raises(ValueError, match=rf"Expected weights in float32 for precision bf16, got {dtype}"):
        Trainer(own, config, train=pixels())


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.bool])
def test_whole_numbers_other_than_uint8_get_a_sentence(dtype: torch.dtype, model: SimilarityModel) -> None:
    images = pixels(seed=2).images.to(dtype)
    for ask in (model.encode, model.embed, lambda images: model(images, images), lambda x: model.verify(x[:1], x[1:2])):
        with pytest.raises(ValueError, match=rf"Expected images as uint8 pixels or floating point, got {dtype}"):
            ask(images)
    with pytest.raises(ValueError, match="Expected pixels as uint8"):
        model.encode([np.zeros((8, 8), np.int64)])


def test_training_on_pixels_replaces_the_range_of_floats() -> None:
    model = trained(ImageTensors(pixels().images / 255.0, [0, 1] * 24))
    assert model.preprocessing.float_range == (0.0, 1.0)
    Trainer(model, SETTINGS, train=pixels()).fit()
    assert model.preprocessing.mean is not None
    assert model.preprocessing.to_dict().get("float_range") is None


@pytest.mark.parametrize(("scale", "said"), [(255.0, True), (1.0, False), (5.0, False)])
def test_training_says_that_pixels_in_floating_point_are_not_normalised(scale: float, said: bool) -> None:
    images = ImageTensors(pixels().images / 255.0 * scale, [0, 1] * 24)
    notes = Trainer(SimilarityModel(net()), SETTINGS, train=images).history.notes
    assert said == ("Images are floating point from 0 to 255 and used as they are" in " ".join(notes))


def test_embeddings_of_another_model_have_no_scale(recwarn: pytest.WarningsRecorder) -> None:
    own = SimilarityModel(EmbeddingNet("embeddings", in_channels=4, image_size=1, embedding_dim=8))
    vectors = ImageTensors(torch.randn(32, 4, 1, 1), [0, 1] * 16)
    Trainer(own, SETTINGS, train=vectors).fit()
    own.encode(vectors.images * 100)
    assert not recwarn.list


def test_a_sealed_state_dict_is_compared_with_its_hash() -> None:
    model = small_model(threshold=0.5)
    sealed = model.sealed_state_dict()
    assert set(sealed) == set(model.state_dict())
    other = small_model(seed=1)
    other.load_state_dict(sealed)
    assert other.threshold == 0.5
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items())
    whole = nn.ModuleDict({"a": small_model(seed=1)})
    whole.load_state_dict({f"a.{name}": value for name, value in sealed.items()})
    message = (
        r"Expected the weights and settings that the SHA-256 in _extra_state is of, found others: .*remove that key"
    )
    for name in ("projection.bias", "embedding_net.conv.1.num_batches_tracked"):
        with pytest.raises(RuntimeError, match=message):
            small_model().load_state_dict({**sealed, name: sealed[name] + 1})
    text = bytes(sealed["_extra_state"].tolist()).replace(b'"threshold": 0.5', b'"threshold": 0.7')
    with pytest.raises(RuntimeError, match=message):
        small_model().load_state_dict({**sealed, "_extra_state": torch.tensor(list(text), dtype=torch.uint8)})
    del sealed["_extra_state"]
    sealed["projection.bias"] += 1
    small_model().load_state_dict(sealed)


def test_settings_that_are_nested_too_deeply() -> None:
    text = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    state = {**small_model().state_dict(), "_extra_state": torch.tensor(list(text), dtype=torch.uint8)}
    with pytest.raises(ValueError, match=r"found damage \(RecursionError"):
        small_model().load_state_dict(state)


def of_centre() -> SimilarityModel:
    """A model of the central part of pixels, which are scaled to [0, 1]."""
    model = SimilarityModel(net()).eval()
    scale = {"mean": (0.0,), "std": (1.0,)}
    model.preprocessing = dataclasses.replace(model.preprocessing, central_fraction=0.6, **scale)  # type: ignore[arg-type]
    return model


WHOLE = "Expected pixels, of which the model sees the central 60%, got images in floating point"


def test_the_central_part_is_seen_whatever_a_picture_is_given_as_or_a_warning_says_so(tmp_path: Path) -> None:
    model, image = of_centre(), pixels().images[:1]
    picture = Image.fromarray(image[0, 0].numpy())
    picture.save(tmp_path / "a.png")
    expected = model.encode(tmp_path / "a.png")
    transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])  # what ToTensor does
    floats = transform(picture)
    for given in (image, picture, image[0], model.preprocessing(image)):
        torch.testing.assert_close(model.encode(given), expected, rtol=0, atol=1e-5)
    dataset = [(v2.PILToTensor()(picture), 0), (image[0], 1)]
    torch.testing.assert_close(encode_dataset(model, dataset), expected.expand(2, -1), rtol=0, atol=1e-5)
    with pytest.warns(UserWarning, match=WHOLE):
        found = model.encode(floats[None])
    assert (found @ expected.T).item() < 0.999
    model.encode(floats[None])  # once for each model
    with pytest.warns(UserWarning, match=WHOLE):
        encode_dataset(of_centre(), [(floats, 0), (floats, 1)])
    with pytest.warns(UserWarning, match=WHOLE):
        of_centre().verify(floats[None], floats[None])


def test_images_that_were_cut_give_no_warning() -> None:
    model, (first, second) = of_centre(), pixels().images[:2].split(1)
    given = model.verify(model.preprocessing(first), model.preprocessing(second))
    assert given.similarity == pytest.approx(model.verify(first[0], second[0]).similarity, abs=1e-6)
    similarity_saliency(model, first, second)
    similarity_saliency(model, first, second, method="gradient")
    model.preprocessing = dataclasses.replace(model.preprocessing, float_range=(0.0, 1.0))  # trained on floats, whole
    model.encode(torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("preprocessing", "error", "said"),
    [
        ("x", TypeError, r"^Expected preprocessing as a Preprocessing, got str\. Give Preprocessing\("),
        (
            Preprocessing(image_size=(28, 28), channels=3),
            ValueError,
            "^Expected preprocessing with channels=1, as the net takes, got 3. .* in_channels=3",
        ),
    ],
)
def test_preprocessing_that_does_not_fit_is_rejected(preprocessing: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        SimilarityModel(EmbeddingNet(), preprocessing=preprocessing)
    model = SimilarityModel(nn.DataParallel(EmbeddingNet()))
    before = model.preprocessing
    with pytest.raises(error, match=said):
        model.preprocessing = preprocessing
    with pytest.raises(TypeError, match="got NoneType"):
        model.preprocessing = None  # type: ignore[assignment]
    assert model.preprocessing == before


def test_a_saved_model_with_other_channels_is_still_loaded(tmp_path: Path) -> None:
    model = SimilarityModel(EmbeddingNet()).eval()
    model._set_preprocessing(Preprocessing(image_size=(28, 28), channels=3))  # as earlier versions let one do
    model.save_pretrained(tmp_path)
    loaded, images = SimilarityModel.from_pretrained(tmp_path), torch.rand(2, 1, 28, 28)
    assert loaded.preprocessing == model.preprocessing
    assert torch.equal(loaded.encode(images), model.encode(images))
    SimilarityModel(EmbeddingNet()).load_state_dict(model.state_dict())
