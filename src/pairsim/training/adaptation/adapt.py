"""`adapt`: choose image part and head for a pretrained backbone, fine-tune it, and keep what is better."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from pairsim._common.choices import Resume
from pairsim._common.numbers import whole_number
from pairsim.data import LabelledImages, split_by_class
from pairsim.data.image_sets import fetch_images, subset
from pairsim.data.splits import ValidationSplit
from pairsim.encoding.features import backbone_features
from pairsim.errors import DataError
from pairsim.images import Preprocessing
from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.models.embedding_net import unit_length
from pairsim.models.given_model import check_model
from pairsim.models.heads.closed_form import SHRINKAGE
from pairsim.models.heads.head_modules import HEAD_NAMES
from pairsim.models.weight_names import unwrapped
from pairsim.training.adaptation.adaptation_result import Adaptation, lines_of
from pairsim.training.adaptation.class_figures import ClassFigures, class_figures, judged_images
from pairsim.training.adaptation.head_choice import (
    Head,
    HeadChoiceName,
    TrainingFeatures,
    candidates,
    choose_head,
)
from pairsim.training.adaptation.part_choice import PartResult, choose_central_fraction
from pairsim.training.callbacks import Callback
from pairsim.training.checkpointing.run_folder import load_checkpoint
from pairsim.training.checkpointing.run_lock import locked
from pairsim.training.config import TrainConfig
from pairsim.training.optimize.optimizers import has_parameters
from pairsim.training.run_setup import RunSetup
from pairsim.training.trainer import Trainer
from pairsim.training.validation import all_pairs, fit_projection

_OBJECTIVE, _TEMPERATURE, _RATE, _BATCH_SIZE, _SAM_RHO = "supervised-contrastive", 0.1, 2e-4, 64, 0.05
_IMAGE_PASSES, _MIN_EPOCHS, _MAX_EPOCHS = 6_000, 3, 8
_EARLY_SHARE = 0.05
"""The first layers are not trained: as many as have this share of the parameters of the backbone."""

_VAL_SHARE, _LOOKED_AT = 0.2, 32
_STANDARD_ERROR = 0.683
"""Coverage of an interval of one standard error to either side."""


def adapt(
    model: SimilarityModel,
    config: TrainConfig | None = None,
    *,
    train: Any,
    val: Any = None,
    head: HeadChoiceName = "auto",
    embedding_dim: int | None = None,
    callbacks: Sequence[Callback] = (),
    resume: Resume = "auto",
) -> Adaptation:
    """Adapt a pretrained backbone to labelled images.

    With `head="auto"`, the part of the image that the net sees is chosen first, by cross-validation over the training
    classes: the largest of 1, 0.8 and 0.6 of height and width whose EER is within a standard error of the best; less
    than the whole only if the EER of the whole is higher with 95 % confidence. The features of the backbone are then
    computed once for each image, and the head is chosen likewise: the simplest whose EER is within a standard error of
    the best. From it the net is fine-tuned, unless `config.freeze` is `"backbone"` or the backbone is an ONNX file: its
    first layers and batch norm stay as they are, and the best epoch is chosen by the validation images. The fine-tuned
    net is kept if its EER on the validation images is lower than that of the frozen one by at least a standard error.

    The validation images should be of classes that `train` does not have. They then tell how good the model is on new
    classes, and the threshold holds for them.

    Args:
        model: Its net is an `EmbeddingNet` with a backbone, which is changed in place and moved to the device.
        config: As for `Trainer`. By default adamw with learning rate 2e-4 everywhere and `sam_rho` 0.05, batches of 64
            images, and as many passes as give 6,000 images, at least 3 and at most 8.
        train: A labelled dataset.
        val: Likewise; by default a fifth of the classes of `train`.
        head: `"auto"`, or the kind of head to use, also after fine-tuning. Of `"whiten"` the shrinkage is still chosen.
            The part of the image is chosen only with `"auto"`, and only if the model's preprocessing has no
            `central_fraction` below 1.
        embedding_dim: Length of an embedding, D; by default that of the head. `"auto"` then chooses among the heads
            that can have it: `"none"` and `"standardize"` have the number of features of the backbone.
        callbacks: As for `Trainer`.
        resume: As for `Trainer.fit`. A run that is resumed keeps the part of the image and the kind of head
            that it was begun with.

    Returns:
        What was tried and kept; the kept model is in `model`, with a threshold from the validation pairs.

    Raises:
        DataError: If there are too few classes or images.
        RunError: If the run folder cannot be used or written, or another training uses it.
        TypeError: If `embedding_dim` is not a whole number.
        ValueError: If the model has no backbone, the head is unknown or cannot have `embedding_dim`, or `adapt` runs in
            one of several processes.

    Example:
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.randint(0, 256, (60, 8, 8), dtype=torch.uint8), list(range(10)) * 6)
        >>> model = SimilarityModel(EmbeddingNet(nn.Conv2d(1, 8, 3), in_channels=1, image_size=8))
        >>> adapt(model, TrainConfig(freeze="backbone"), train=images, head="whiten").kept
        'frozen'
    """
    check_model(model)
    net = unwrapped(model.embedding_net)
    if not isinstance(net, EmbeddingNet) or net.backbone is None:
        raise ValueError("Expected a model with a backbone, found none. Build EmbeddingNet(backbone, weights=...).")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("Expected one process for adapt, got several. Use Trainer, or start it without torchrun.")
    if embedding_dim is not None:
        embedding_dim = whole_number(embedding_dim, "embedding_dim", 1)
    if head not in ("auto", *HEAD_NAMES):
        raise ValueError(f"Expected head to be one of auto, {', '.join(HEAD_NAMES)}, got {head!r}.")
    settings = config or TrainConfig()
    with locked(settings.out):
        return _adapt(
            model,
            net,
            settings,
            train=train,
            val=val,
            head=head,
            dim=embedding_dim,
            callbacks=callbacks,
            resume=resume,
        )


def _adapt(
    model: SimilarityModel,
    net: EmbeddingNet,
    settings: TrainConfig,
    *,
    train: Any,
    val: Any,
    head: HeadChoiceName,
    dim: int | None,
    callbacks: Sequence[Callback],
    resume: Resume,
) -> Adaptation:
    assert net.backbone is not None, "it was checked"
    fine_tunes = settings.freeze != "backbone" and has_parameters(model)
    train, val, split = _labelled(train, val, settings)
    fitted, net.head_is_fitted = net.head_is_fitted, True  # the head is replaced below
    try:  # this reads the images, once, and completes the preprocessing, on which features depend
        placed = RunSetup(model, settings, train, val).data
    finally:
        net.head_is_fitted = fitted
    assert placed.validation is not None, "validation images were given"
    assert placed.validation.images is not None, "they have labels"
    train = LabelledImages(placed.loader.dataset, train.targets, groups=train.groups)
    val = placed.validation.images
    features_of = partial(
        backbone_features,
        model,
        folder=None if settings.out is None else settings.out / "features",
        workers=settings.num_workers,
        precision=settings.precision,
        progress=settings.progress,
    )
    codes, val_codes = (torch.from_numpy(images.index.codes.astype("int64")) for images in (train, val))
    val_features = features_of(val)
    baseline = class_figures([(val_features, val_codes)])
    parts, known = list[PartResult](), None
    resumes = head == "auto" and fine_tunes and resume != "never"
    recorded_part, recorded_head = _recorded(settings.out if resumes else None)
    if head == "auto":
        parts, known = _choose_part(model, train, codes, features_of, seed=settings.seed, recorded=recorded_part)
    if parts and model.preprocessing.central_fraction < 1:
        val_features = features_of(val)
    features = features_of(train) if known is None else _completed(train, *known, features_of)
    length = dim
    if dim is None and head == net.head_name and head in ("linear", "mlp"):
        length = min(net.embedding_dim, net.num_features) if head == "linear" else net.embedding_dim
    heads = candidates(head, other_length=dim not in (None, net.num_features))
    chosen, results = choose_head(features, codes, heads, dim=length, seed=settings.seed, recorded=recorded_head)
    _set_head(model, chosen, *chosen.fitted(TrainingFeatures(features, codes, length, settings.seed)))
    frozen = _with_head(net.head, val_features, val_codes)
    _fit_projection_to(model, features, codes)
    before = copy.deepcopy(net.state_dict()) if fine_tunes else {}
    trainer = Trainer(
        model,
        _gentle(settings, net.backbone, train) if fine_tunes else settings,
        train=train,
        val=val,
        callbacks=callbacks,
    )
    trainer.data.split = split
    trainer.history.notes += [*lines_of("Parts of the image", parts), *lines_of("Heads", results), f"Head {chosen}."]
    kept: Literal["frozen", "trained"] = "frozen"
    trained, difference, name = None, None, str(chosen)
    if fine_tunes:
        trainer.fit(resume=resume)
        features = features_of(train, folder=None)  # nobody asks for them again
        data = TrainingFeatures(features, codes, dim, settings.seed)
        best, trained = _best_head(net, head, data, features_of(val, folder=None), val_codes)
        difference = trained.difference(frozen)
        if trained.difference(frozen, _STANDARD_ERROR)[1] < 0:
            kept, name = "trained", "as fine-tuned" if best is None else f"{best}, fitted again"
            if best is not None:
                _set_head(model, best, *best.fitted(data))
        else:
            net.load_state_dict(before)
    trainer.save_current(resume)
    return Adaptation(
        kept=kept,
        head=name,
        central_fraction=model.preprocessing.central_fraction,
        parts=tuple(parts),
        heads=tuple(results),
        baseline=baseline,
        frozen=frozen,
        trained=trained,
        difference=difference,
        history=trainer.history,
        val=val,
    )


def _recorded(run: Path | None) -> tuple[float | None, str | None]:
    """Return the part of the image that the run to resume sees, and its kind of head; `None` without a checkpoint."""
    state = None if run is None else load_checkpoint(run)[0]
    if state is None:
        return None, None
    return Preprocessing.from_dict(state["preprocessing"]).central_fraction, state.get("head")


def _choose_part(
    model: SimilarityModel,
    train: LabelledImages,
    codes: Tensor,
    features_of: Callable[[Any], Tensor],
    *,
    seed: int,
    recorded: float | None,
) -> tuple[list[PartResult], tuple[Tensor, Tensor] | None]:
    """Set the part of pixels that the model sees, unless that is set already.

    Returns:
        What was tried, and the numbers and features of the images it was tried on; `None` if nothing was tried.
    """
    given = model.preprocessing
    if given.central_fraction != 1 or given.of_vectors or given.float_range is not None:
        return [], None
    known: dict[float, tuple[Tensor, Tensor]] = {}

    def of_part(fraction: float, images: Tensor) -> Tensor:
        model.preprocessing = dataclasses.replace(given, central_fraction=fraction)
        known[fraction] = images, features_of(subset(train, images.numpy()))
        return known[fraction][1]

    chosen, results = choose_central_fraction(of_part, codes, seed=seed, recorded=recorded)
    model.preprocessing = dataclasses.replace(given, central_fraction=chosen)
    return results, known.get(chosen)


def _completed(train: LabelledImages, images: Tensor, known: Tensor, features_of: Callable[[Any], Tensor]) -> Tensor:
    """Return the features of all training images, of which those of some images are known."""
    features = known.new_empty(len(train), known.shape[1])
    features[images] = known
    others = torch.ones(len(train), dtype=torch.bool).index_fill_(0, images, False).nonzero().flatten()
    if len(others):
        features[others] = features_of(subset(train, others.numpy()))
    return features


def _labelled(
    train: Any, val: Any, config: TrainConfig
) -> tuple[LabelledImages, LabelledImages, ValidationSplit | None]:
    """Return training and validation images, and the split if classes were held out for validation."""
    train, split = LabelledImages.of(train), None
    if val is None:
        share = config.val_fraction or _VAL_SHARE
        rest, held_out = split_by_class(train.index, unseen=share, groups=train.groups, seed=config.seed)
        split = ValidationSplit(held_out, train.index.fingerprint())
        train, val = subset(train, rest), subset(train, held_out)
    val = LabelledImages.of(val)
    if train.index.counts.max() < 2 or val.index.num_classes < 2 or val.index.counts.max() < 2:
        raise DataError(
            f"Expected training images, and validation images of two classes, with two images of a class, found "
            f"{train.index.num_classes} and {val.index.num_classes} classes. Add images."
        )
    return train, val, split


def _fit_projection_to(model: SimilarityModel, features: Tensor, codes: Tensor) -> None:
    """Fit the projection to training pairs, so that fine-tuning starts from probabilities that fit the head."""
    net, kept = unwrapped(model.embedding_net), judged_images(codes)
    assert isinstance(net, EmbeddingNet), "it was checked"
    with torch.no_grad():
        embeddings = unit_length(net.head(features[kept].to(model.device, model.weights_dtype)))
        fit_projection(model, all_pairs(embeddings, codes[kept]))


def _set_head(model: SimilarityModel, head: Head, module: nn.Module, dim: int) -> None:
    net = unwrapped(model.embedding_net)
    assert isinstance(net, EmbeddingNet), "it was checked"
    net.set_head(head.name, module.to(model.device, model.weights_dtype), dim)


def _best_head(
    net: EmbeddingNet, asked: HeadChoiceName, data: TrainingFeatures, val_features: Tensor, val_codes: Tensor
) -> tuple[Head | None, ClassFigures]:
    """Return the head to keep after fine-tuning: the trained one (`None`), or one fitted again.

    With `"auto"` that is a whitening that is fitted again, unless another is better on the validation images by a
    standard error: the epoch was chosen by these images, which favours the trained head. A head that was asked for
    stays of its kind.
    """
    found: list[tuple[Head | None, ClassFigures]] = [(None, _with_head(net.head, val_features, val_codes))]
    plain = [Head(name="none")] if data.dim in (None, net.num_features) else []
    for head in (*plain, Head(name="whiten", shrinkage=SHRINKAGE)):
        if asked in ("auto", head.name):
            with suppress(ValueError):  # fine-tuning made all features equal
                found.append((head, _with_head(head.fitted(data)[0], val_features, val_codes)))
    best, preferred = min(found, key=lambda one: one[1].eer), found[-1]
    return best if best[1].difference(preferred[1], _STANDARD_ERROR)[1] < 0 else preferred


def _with_head(head: nn.Module, features: Tensor, codes: Tensor) -> ClassFigures:
    parameter = next(head.parameters(), features)
    with torch.no_grad():
        return class_figures([(head(features.to(parameter)).cpu(), codes)])


def _gentle(config: TrainConfig, backbone: nn.Module, images: LabelledImages) -> TrainConfig:
    """Fill in the open settings of fine-tuning."""
    rate = config.learning_rate or _RATE
    plain = config.grad_accumulation == 1 and not config.memory_size
    epochs = min(max(math.ceil(_IMAGE_PASSES / len(images)), _MIN_EPOCHS), _MAX_EPOCHS)
    augment = config.augment
    if augment == "auto":  # writing and drawings are not mirrored
        augment = "affine" if _is_grey(images) else "crop"
    return dataclasses.replace(
        config,
        objective=_OBJECTIVE if config.objective == "auto" else config.objective,
        epochs=config.epochs or epochs,
        batch_size=config.batch_size or _BATCH_SIZE,
        optimizer="adamw" if config.optimizer == "auto" else config.optimizer,
        learning_rate=rate,
        temperature=config.temperature or _TEMPERATURE,
        sam_rho=_SAM_RHO if config.sam_rho is None and plain else config.sam_rho,
        augment=augment,
        backbone_learning_rate=config.backbone_learning_rate or (None if callable(config.optimizer) else rate),
        freeze=",".join([*early_parts(backbone), "batch-norm"]) if config.freeze == "none" else config.freeze,
    )


def _is_grey(images: LabelledImages) -> bool:
    numbers = np.unique(np.linspace(0, len(images) - 1, _LOOKED_AT).astype(np.int64))
    pixels = fetch_images(images.dataset, numbers)
    return bool((pixels == pixels[:, :1]).all())


def early_parts(backbone: nn.Module) -> list[str]:
    """Name the first blocks of a backbone, which have at most a twentieth of its parameters together.

    Args:
        backbone: Its parameters are in the order of the layers.

    Returns:
        Prefixes of the names of their parameters.

    Example:
        >>> early_parts(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 100), nn.Linear(100, 4)))
        ['0']
    """
    sizes: dict[str, int] = {}
    for name, parameter in backbone.named_parameters():
        parts = name.split(".")
        block = next((place for place, part in enumerate(parts) if part.isdigit()), 0)
        prefix = ".".join(parts[: block + 1])
        sizes[prefix] = sizes.get(prefix, 0) + parameter.numel()
    allowed, early = sum(sizes.values()) * _EARLY_SHARE, list[str]()
    for prefix, size in sizes.items():
        allowed -= size
        if allowed < 0:
            break
        early.append(prefix)
    return early
