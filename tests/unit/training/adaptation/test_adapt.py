"""`adapt`: what it tries, keeps and writes."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick_heads import few_head_steps
from torch import Tensor, nn

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, adapt, calibrate
from pairsim.data import ClassBalancedBatches, ImageTensors, LabelledImages
from pairsim.data.splits import read_split
from pairsim.encoding.features import backbone_features
from pairsim.errors import DataError, TrainingError
from pairsim.training.adaptation import adapt as module
from pairsim.training.adaptation import head_choice, part_choice
from pairsim.training.adaptation.adapt import early_parts
from pairsim.training.adaptation.class_figures import ClassFigures, eer_and_recall
from pairsim.training.adaptation.head_choice import TrainingFeatures, choose_head


def make_images(num_classes: int = 15, each: int = 6, seed: int = 0) -> ImageTensors:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes).repeat(each)
    means = 255 * torch.rand(num_classes, 1, 12, 12, generator=generator)
    pixels = means[labels] + 60 * torch.randn(len(labels), 1, 12, 12, generator=generator)
    return ImageTensors(pixels.clamp(0, 255).to(torch.uint8), labels.numpy())


def net_of(model: SimilarityModel) -> EmbeddingNet:
    assert isinstance(model.embedding_net, EmbeddingNet)
    return model.embedding_net


def layers_of(model: SimilarityModel) -> nn.Sequential:
    backbone = net_of(model).backbone
    assert isinstance(backbone, nn.Sequential)
    return backbone


def make_model() -> SimilarityModel:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 32, 3, stride=2), nn.ReLU()
    return SimilarityModel(EmbeddingNet(nn.Sequential(*layers), in_channels=1, image_size=12))


def config(**options: Any) -> TrainConfig:
    return TrainConfig(precision="fp32", device="cpu", progress=False, **options)


def frozen(out: Path | None = None) -> TrainConfig:
    return config(freeze="backbone", out=out)


@pytest.fixture
def worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fine-tuning make the backbone worse."""
    own = Trainer.fit

    def fit(self: Trainer, resume: Any = "auto") -> Any:
        history = own(self, resume)
        with torch.no_grad():
            for layer in layers_of(self.model):
                for parameter in layer.parameters():
                    parameter.zero_()
        return history

    monkeypatch.setattr(Trainer, "fit", fit)


@pytest.fixture
def better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the figures after fine-tuning be better."""
    own = module._best_head

    def lower(*args: Any) -> Any:
        best, figures = own(*args)
        return best, ClassFigures(figures.eer / 2, figures.recall_at_1, figures.draws - 1)

    monkeypatch.setattr(module, "_best_head", lower)


def make_centred(num_classes: int = 15, each: int = 6, seed: int = 0) -> ImageTensors:
    """Images whose classes differ in the middle, in front of noise."""
    images = make_images(num_classes, each)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, images.images.shape, dtype=torch.uint8, generator=generator)
    pixels[..., 3:9, 3:9] = images.images[..., 3:9, 3:9]
    return ImageTensors(pixels, images.targets)


def test_the_part_that_is_best_on_new_classes_is_kept_in_the_model(tmp_path: Path) -> None:
    model, images, val = make_model(), make_centred(), make_centred(seed=9)
    with few_head_steps():
        result = adapt(model, frozen(tmp_path / "run"), train=images, val=val)
    assert result.central_fraction == model.preprocessing.central_fraction < 1
    assert [one.central_fraction for one in result.parts] == [1.0, 0.8, 0.6]
    alone = make_model()
    alone.preprocessing = replace(model.preprocessing, central_fraction=1.0)
    whole = eer_and_recall(backbone_features(alone, val), torch.from_numpy(val.targets))
    assert result.baseline.eer == pytest.approx(whole["eer"], abs=1e-3)
    found = eer_and_recall(model.encode(val.images), torch.from_numpy(val.targets))
    assert result.frozen.eer == pytest.approx(found["eer"], abs=1e-3)
    loaded = SimilarityModel.from_pretrained(tmp_path / "run", embedding_net=model.embedding_net)
    assert loaded.preprocessing == model.preprocessing
    fresh = SimilarityModel(EmbeddingNet(net_of(make_model()).backbone, in_channels=1, image_size=12))
    net_of(fresh).set_head(net_of(model).head_name, net_of(model).head, net_of(model).embedding_dim)
    fresh.load_state_dict(torch.load(tmp_path / "run" / "best_model.pt", weights_only=True))
    assert fresh.preprocessing == model.preprocessing
    torch.testing.assert_close(fresh.encode(val.images), model.encode(val.images))
    for line in ("Parts of the image, cross-validated", "The model sees the central "):
        assert line in str(result)


def test_features_of_the_chosen_part_are_computed_once_for_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_choice, "_MAX_IMAGES", 150)
    computed, fitted_to = list[tuple[float, int]](), list[Tensor]()

    def counted(model: SimilarityModel, images: Any, **options: Any) -> Tensor:
        computed.append((model.preprocessing.central_fraction, len(images)))
        return backbone_features(model, images, **options)

    def noted(features: Tensor, *given: Any, **options: Any) -> Any:
        fitted_to.append(features)
        return choose_head(features, *given, **options)

    monkeypatch.setattr(module, "backbone_features", counted)
    monkeypatch.setattr(module, "choose_head", noted)
    model, images, val = make_model(), make_centred(each=12), make_centred(seed=9)
    with few_head_steps():
        part = adapt(model, frozen(), train=images, val=val).central_fraction
    rest = len(images) - 150
    assert computed == [(1.0, len(val)), (1.0, 150), (0.8, 150), (0.6, 150), (part, len(val)), (part, rest)]
    torch.testing.assert_close(fitted_to[0], backbone_features(model, images))


def test_a_resumed_run_keeps_its_part_where_the_evidence_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, val, options = make_centred(), make_centred(seed=1), config(out=tmp_path / "run", epochs=1)
    begun = adapt(make_model(), options, train=train, val=val)
    assert begun.central_fraction < 1
    monkeypatch.setattr(part_choice, "simplest", lambda figures: 0)  # as figures of another machine may say
    model = make_model()
    resumed = adapt(model, options, train=train, val=val)
    assert resumed.central_fraction == model.preprocessing.central_fraction == begun.central_fraction
    assert [str(one) for one in resumed.parts] == [str(one) for one in begun.parts]
    assert adapt(make_model(), options, train=train, val=val, resume="never").central_fraction == 1


def test_a_resumed_run_keeps_its_kind_of_head_where_the_evidence_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, options = make_images(), config(out=tmp_path / "run", epochs=1)
    chosen, own = list[str](), choose_head

    def noted(*args: Any, **more: Any) -> Any:
        found = own(*args, **more)
        chosen.append(found[0].name)
        return found

    monkeypatch.setattr(module, "choose_head", noted)
    with few_head_steps():
        for _ in range(2):
            adapt(make_model(), options, train=train)
        monkeypatch.setattr(head_choice, "simplest", lambda figures: len(figures) - 1)  # as on another machine
        adapt(make_model(), options, train=train)
        adapt(make_model(), options, train=train, resume="never")
    assert chosen[0] == chosen[1] == chosen[2] != chosen[3] == "mlp"


def test_the_part_is_not_chosen_where_it_is_given_or_the_head_is() -> None:
    model, images = make_model(), make_centred()
    assert adapt(model, frozen(), train=images, head="none").parts == ()
    assert model.preprocessing.central_fraction == 1
    model.preprocessing = replace(model.preprocessing, central_fraction=0.9)
    with few_head_steps():
        result = adapt(model, frozen(), train=images)
    assert (result.parts, result.central_fraction) == ((), 0.9)


def test_a_backbone_without_parameters_gets_a_head(tmp_path: Path) -> None:
    for head in ("none", "whiten"):
        net = EmbeddingNet(nn.AvgPool2d(4), in_channels=1, image_size=12, head="none")
        result = adapt(SimilarityModel(net), frozen(), train=make_images(), head=head)
        assert result.kept == "frozen"
        assert net.head_name == head


@pytest.mark.parametrize("fine_tuned", [False, True])
@pytest.mark.parametrize("head", ["auto", "whiten", "linear"])
def test_the_length_asked_for_is_that_of_the_embeddings(head: Any, fine_tuned: bool) -> None:
    model = make_model()
    with few_head_steps():
        settings = config(epochs=1) if fine_tuned else frozen()
        result = adapt(model, settings, train=make_images(), head=head, embedding_dim=6)
    assert model.encode(make_images().images).shape[1] == net_of(model).embedding_dim == 6
    assert not {"none", "standardize"} & {one.head.name for one in result.heads}


@pytest.mark.parametrize("asked", [None, 6])
def test_only_a_length_asked_for_limits_the_heads_after_fine_tuning(
    asked: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, lengths = module._best_head, list[int | None]()

    def noted(net: EmbeddingNet, asked: Any, data: TrainingFeatures, *args: Any) -> Any:
        lengths.append(data.dim)
        return own(net, asked, data, *args)

    monkeypatch.setattr(module, "_best_head", noted)
    with few_head_steps():
        adapt(make_model(), config(epochs=1), train=make_images(), head="linear", embedding_dim=asked)
    assert lengths == [asked]


def test_a_linear_head_is_no_longer_than_the_features() -> None:
    model = make_model()  # 32 features, and 128 numbers by default
    with few_head_steps():
        adapt(model, frozen(), train=make_images(), head="linear")
    assert net_of(model).embedding_dim in (31, 32)  # in 31 directions they vary


@pytest.mark.parametrize(
    ("head", "dim", "said"),
    [
        ("standardize", 8, 'Expected embedding_dim 32, the features of the backbone, for head "standardize", got 8'),
        ("whiten", 33, "Expected embedding_dim of at most 32, the features of the backbone, got 33. Lower it"),
        ("whiten", 0, "Expected embedding_dim to be at least 1"),
    ],
)
def test_lengths_that_a_head_cannot_have(head: Any, dim: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        adapt(make_model(), frozen(), train=make_images(), head=head, embedding_dim=dim)


def test_figures_of_the_baseline_are_those_of_the_backbone_alone() -> None:
    model, images, val = make_model(), make_images(), make_images(seed=9)
    result = adapt(model, frozen(), train=images, val=val, head="standardize")
    net_of(model).set_head("none", nn.Identity(), 32)
    expected = eer_and_recall(model.encode(val.images), torch.from_numpy(val.targets))
    assert result.baseline.eer == pytest.approx(expected["eer"], abs=1e-3)
    assert result.baseline.recall_at_1 == pytest.approx(expected["recall_at_1"])


def test_a_frozen_backbone_stays_as_it_was_but_for_its_head() -> None:
    model, images = make_model(), make_images()
    before = {name: value.clone() for name, value in layers_of(model).state_dict().items()}
    result = adapt(model, frozen(), train=images, head="whiten")
    assert all(torch.equal(value, before[name]) for name, value in layers_of(model).state_dict().items())
    assert (result.kept, result.trained, result.difference) == ("frozen", None, None)
    assert net_of(model).head_name == "whiten"
    assert model.operating_point is not None
    assert result.frozen.eer < result.baseline.eer


def test_validation_is_of_other_classes_and_recorded(tmp_path: Path) -> None:
    images = make_images()
    adapt(make_model(), frozen(tmp_path / "run"), train=images, head="none")
    split = read_split(tmp_path / "run")
    assert split is not None
    held = set(images.targets[split.held_out])
    assert len(held) == 3
    assert len(split.held_out) == sum(target in held for target in images.targets)


def test_the_saved_model_is_the_kept_one(tmp_path: Path) -> None:
    model, images = make_model(), make_images()
    adapt(model, config(out=tmp_path / "run", epochs=1), train=images, head="whiten")
    loaded = SimilarityModel.from_pretrained(tmp_path / "run", embedding_net=model.embedding_net)
    assert loaded.threshold == model.threshold
    weights = torch.load(tmp_path / "run" / "best_model.pt", weights_only=True)
    assert all(torch.equal(value, weights[name]) for name, value in model.sealed_state_dict().items())


@pytest.mark.usefixtures("worse")
def test_what_got_worse_is_not_kept(tmp_path: Path) -> None:
    model, images, val = make_model(), make_images(), make_images(seed=9)
    alone = make_model()
    expected = adapt(alone, frozen(), train=images, val=val, head="whiten")
    result = adapt(model, config(out=tmp_path / "run", epochs=1), train=images, val=val, head="whiten")
    assert result.kept == "frozen"
    assert result.trained is not None
    assert result.trained.eer > result.frozen.eer
    assert result.head == expected.head
    torch.testing.assert_close(model.encode(val.images), alone.encode(val.images))
    assert model.threshold == pytest.approx(alone.threshold, abs=1e-5)
    assert "Kept the frozen backbone" in str(result)


@pytest.mark.parametrize("kept", ["frozen", "trained"])
def test_a_run_that_is_asked_for_again_keeps_its_calibration(
    tmp_path: Path, request: pytest.FixtureRequest, kept: str
) -> None:
    request.getfixturevalue("worse" if kept == "frozen" else "better")
    models, images, val = (make_model(), make_model()), make_images(), make_images(seed=9)
    for model in models:
        result = adapt(model, config(out=tmp_path, epochs=1), train=images, val=val, head="whiten")
        assert result.kept == kept
        if model is models[0]:
            calibrate(model, val, target_fmr=0.3)
            model.save_pretrained(tmp_path / "model")
    assert models[1].calibration == models[0].calibration is not None
    loaded = SimilarityModel.from_pretrained(tmp_path, embedding_net=models[1].embedding_net)
    assert (loaded.calibration, loaded.threshold) == (models[0].calibration, models[0].threshold)


@pytest.mark.usefixtures("better")
def test_what_is_better_is_kept() -> None:
    result = adapt(make_model(), config(epochs=1), train=make_images(), head="whiten")
    assert result.kept == "trained"
    assert "Kept the fine-tuned net" in str(result)
    assert len(result.history) == 1


def kept_head(asked: Any, eers: list[float], noise: float, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Name of the head that is kept after fine-tuning, for given EERs of the heads that are compared."""
    net, images = net_of(make_model()), make_images()
    codes = torch.as_tensor(images.targets)
    data = TrainingFeatures(torch.randn(len(codes), 32, generator=torch.Generator().manual_seed(0)), codes)
    left, generator = iter(eers), np.random.default_rng(0)

    def figures(*_: Any) -> ClassFigures:
        eer = next(left)
        return ClassFigures(eer, 0.5, eer + noise * generator.standard_normal(300))

    monkeypatch.setattr(module, "_with_head", figures)
    head, kept = module._best_head(net, asked, data, data.features, codes)
    assert kept.eer in eers
    assert not list(left)
    return None if head is None else head.name


@pytest.mark.parametrize(
    ("eers", "noise", "expected"),  # of the trained head, the features alone, a new whitening
    [
        ([0.19, 0.18, 0.2], 0.1, "whiten"),  # by less than a standard error
        ([0.19, 0.18, 0.2], 0.001, "none"),
        ([0.1, 0.3, 0.2], 0.001, None),
        ([0.2, 0.2, 0.2], 0.0, "whiten"),
    ],
)
def test_after_fine_tuning_a_new_whitening_is_kept_unless_another_head_is_clearly_better(
    eers: list[float], noise: float, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kept_head("auto", eers, noise, monkeypatch) == expected


@pytest.mark.parametrize(
    ("asked", "expected"), [("whiten", "whiten"), ("none", "none"), ("linear", None), ("mlp", None)]
)
def test_a_head_that_was_asked_for_stays_of_its_kind(
    asked: Any, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kept_head(asked, [0.2, 0.2][: 1 if expected is None else 2], 0.0, monkeypatch) == expected


def test_a_run_is_continued_with_the_same_result(tmp_path: Path) -> None:
    images = make_images()
    run, results = tmp_path / "run", []
    with few_head_steps():
        for _ in range(2):
            model = make_model()
            results.append((adapt(model, config(out=run, epochs=1), train=images).to_dict(), model))
    (first, before), (second, after) = results
    assert first == second
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())


def test_interrupted_before_the_first_epoch_it_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Trainer, resume: Any = "auto") -> Any:
        raise TrainingError("stopped")

    run, images = tmp_path / "run", make_images()
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "fit", fail)
        with pytest.raises(TrainingError, match="stopped"):
            adapt(make_model(), config(out=run, epochs=1), train=images, head="whiten")
    assert [path.name for path in run.iterdir()] == ["features"]
    adapt(make_model(), config(out=run, epochs=1), train=images, head="whiten")
    assert (run / "model").is_dir()


@pytest.mark.parametrize("own_val", [False, True])
def test_groups_reach_the_batches_of_fine_tuning(monkeypatch: pytest.MonkeyPatch, own_val: bool) -> None:
    tensors = make_images(16)
    groups = tensors.targets // 2
    given = LabelledImages(tensors, tensors.targets, groups=groups)
    plans = list[ClassBalancedBatches]()
    monkeypatch.setattr(Trainer, "fit", lambda self, resume="auto": plans.append(self.data.loader.plan))
    val = make_images(4, seed=1) if own_val else None
    result = adapt(make_model(), config(epochs=1, batch_size=16), train=given, val=val, head="whiten")
    (plan,) = plans
    kept = np.arange(len(groups)) if own_val else np.flatnonzero(~np.isin(tensors.targets, result.val.index.classes))
    wanted = ClassBalancedBatches(plan.index, 16, groups=groups[kept])
    assert plan.epoch_order(0).tolist() == wanted.epoch_order(0).tolist()
    assert plan.epoch_order(0).tolist() != ClassBalancedBatches(plan.index, 16).epoch_order(0).tolist()


def test_values_are_json() -> None:
    values = json.loads(json.dumps(adapt(make_model(), config(epochs=1), train=make_images(), head="whiten").to_dict()))
    assert values["kept"] in ("frozen", "trained")
    assert set(values["baseline"]) == {"eer", "recall_at_1"}
    assert all(math.isfinite(one["eer"]) for one in values["heads"])


@pytest.mark.usefixtures("better")
def test_the_first_layers_and_batch_norm_are_not_trained() -> None:
    model = make_model()
    before = {name: value.clone() for name, value in layers_of(model).state_dict().items()}
    adapt(model, config(epochs=1), train=make_images(), head="none")
    after = layers_of(model).state_dict()
    assert [name for name in before if torch.equal(before[name], after[name])][-5:] == [
        "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
    ]  # fmt: skip


def test_early_parts_of_mobilenet() -> None:
    backbone = EmbeddingNet("mobilenet_v2", image_size=32).backbone
    assert backbone is not None
    assert early_parts(backbone) == [f"features.{number}" for number in range(8)]


def test_an_unknown_head_is_refused_before_anything_is_done() -> None:
    head: Any = "whitening"
    with pytest.raises(ValueError, match=r"head to be one of auto, none, .*, mlp, got 'whitening'"):
        adapt(make_model(), frozen(), train=make_images(), head=head)


@pytest.mark.parametrize("head", ["whiten", "linear"])
def test_a_net_in_double_precision_gets_a_head_in_double_precision(head: Any) -> None:
    model = make_model().double()
    adapt(model, frozen(), train=make_images(), head=head)
    assert {weight.dtype for weight in net_of(model).parameters()} == {torch.float64}
    assert net_of(model).head_name == head


def test_needs_a_backbone() -> None:
    with pytest.raises(ValueError, match="Expected a model with a backbone, found none"):
        adapt(SimilarityModel(), train=make_images())


def test_needs_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"one process for adapt, got several\. Use Trainer"):
        adapt(make_model(), train=make_images())


def test_needs_validation_images_of_two_classes() -> None:
    with pytest.raises(DataError, match=r"found 15 and 1 classes\. Add images"):
        adapt(make_model(), train=make_images(), val=make_images(num_classes=1))
