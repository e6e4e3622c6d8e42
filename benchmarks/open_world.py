"""Photographs of classes that training never saw: frozen nets, heads, fine-tuning, and what users would pick instead.

Half of the classes are for the test, and a fifth of the others for validation, as `pairsim train --unseen 0.5` splits
them; three splits. Figures are over all pairs of the test images. The net is torchvision's MobileNetV2 with ImageNet
weights at 224 px in every arm but those of pixels and of the reference network, which is trained from scratch.

Test classes choose nothing: the recipe of fine-tuning was chosen on classes of the training half, and which model is
kept by validation classes.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from benchmarks.metric_learning import part, quiet, seeded
from benchmarks.mnist_quality import SEEDS
from benchmarks.options import Options
from benchmarks.report import Table, means
from benchmarks.timing import Row
from pairsim import Adaptation, EmbeddingNet, SimilarityModel, TrainConfig, Trainer, adapt
from pairsim._common.precision import resolve_precision
from pairsim.data import Compose, ImageTensors, RandomCrop, RandomFlip, load_data
from pairsim.data.image_sets import subset
from pairsim.data.loading.resident import make_resident
from pairsim.data.named import data_root
from pairsim.encoding.features import backbone_features
from pairsim.images import Preprocessing
from pairsim.models.backbones.automatic import PRETRAINED_SIZE
from pairsim.models.backbones.weight_files import find_weights, weight_folders
from pairsim.runs.class_splits import ClassSplit
from pairsim.training.adaptation.class_figures import ClassFigures, class_figures, eer_and_recall
from pairsim.training.adaptation.head_choice import Head, TrainingFeatures

SETS = ("groceries", "lfw-people")
NET, SIZE, UNSEEN = "mobilenet_v2", PRETRAINED_SIZE, 0.5
QUICK_CLASSES, QUICK_SIZE = 12, 32
HEADS = (
    Head(name="standardize"),
    Head(name="whiten", shrinkage=0.5),
    Head(name="linear"),
)
LOSSES = ("MultiSimilarityLoss", "SupConLoss", "ArcFaceLoss")
"""Of pytorch-metric-learning."""

HEAD_EPOCHS, HEAD_RATE, DIM = 20, 1e-3, 128
PASSES, BATCH_SIZE, RATE = 8, 64, 2e-4
"""Of fine-tuning with pytorch-metric-learning."""

PIXELS, FROZEN, TRAINED, SCRATCH = "pixels", "frozen, cosine", "pairsim train", "from scratch, reference network"


@dataclass(frozen=True)
class Parts:
    """The images of a split, in memory, and the class numbers of those of training and the test."""

    train: ImageTensors
    val: ImageTensors
    test: ImageTensors
    codes: Tensor
    test_codes: Tensor


@dataclass(frozen=True)
class Result:
    """What an arm reached: embeddings of the test images, seconds, and what was kept."""

    embeddings: Tensor
    seconds: float
    kept: str = ""


def run(options: Options) -> list[Table]:
    """Measure every arm on each set and split."""
    root, rows = data_root(options.data_dir), list[Row]()
    weights = find_weights(NET, weight_folders(root))
    missing = [name for name in SETS if not (root / "open" / name).is_dir()]
    if weights is None or missing:
        what = [f"open/{name}" for name in missing] + ([] if weights else [f"weights of {NET}"])
        return [Table("open world", (), (f"Not measured: it needs {', '.join(what)} in --data-dir or $PAIRSIM_DATA.",))]
    for name in SETS:
        for seed in SEEDS[:1] if options.quick else SEEDS:
            print(f"open-world: {name}, split {seed}", file=sys.stderr, flush=True)
            rows += measured(root / "open" / name, seed, options, weights)
    notes = (
        "eer: equal error rate over all pairs of the test images; recall_at_1: share whose nearest other image is of "
        "their class.",
        "better_by: EER of the frozen net without a head minus that of the arm, with its 95 % interval for other "
        "classes, from the same resampled classes (at most 1,000 images).",
        "seconds: without reading the images; the arms with heads share the features, whose time is in each.",
        "kept: what `pairsim train` decided by the validation classes.",
        "from scratch: random weights and pictures of at most 64 pixels, the defaults of `--backbone reference`.",
    )
    return [
        Table("Unseen classes in photographs", rows, notes),
        Table("Unseen classes in photographs, mean of splits", means(rows, ("eer", "recall_at_1"))),
    ]


def split(folder: Path, seed: int, options: Options, preprocessing: Preprocessing | None) -> Parts:
    """Read a set and split it by class, as `pairsim train --unseen 0.5 --seed` does."""
    images = load_data(folder, "all", preprocessing=preprocessing)
    if options.quick:
        images = subset(images, np.flatnonzero(images.index.codes < QUICK_CLASSES))
    parts = ClassSplit.of(images, UNSEEN, seed=seed).parts(images, folder.name)
    train, val, test = (
        make_resident(part.dataset, labels=part.index.codes.astype("int64"), preprocessing=preprocessing)
        for part in (parts["train"], parts["val"], parts["test"])
    )
    return Parts(train, val, test, *(torch.as_tensor(one.targets) for one in (train, test)))


def model_of(options: Options, weights: Path) -> SimilarityModel:
    """The pretrained net, with a random linear head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = EmbeddingNet(NET, weights=weights, image_size=QUICK_SIZE if options.quick else SIZE, embedding_dim=DIM)
    return SimilarityModel(net).to(options.device)


def measured(folder: Path, seed: int, options: Options, weights: Path) -> Iterator[Row]:
    """Measure every arm on a split."""
    parts = split(folder, seed, options, model_of(options, weights).preprocessing)
    frozen: ClassFigures | None = None
    for arm, measure in arms(parts, folder, seed, options, weights):
        print(f"open-world: {folder.name}, split {seed}, {arm}", file=sys.stderr, flush=True)
        result = measure()
        row: Row = {
            "arm": f"{folder.name}, {arm}",
            "split": seed,
            **eer_and_recall(result.embeddings, parts.test_codes),
        }
        figures = class_figures([(result.embeddings.cpu(), parts.test_codes)])
        if arm == FROZEN:
            frozen = figures
        if frozen is not None and arm != FROZEN:
            low, high = frozen.difference(figures)
            row |= {"better_by": frozen.eer - figures.eer, "better_low": low, "better_high": high}
        row["seconds"] = result.seconds
        yield row | ({"kept": result.kept} if result.kept else {})


def arms(
    parts: Parts, folder: Path, seed: int, options: Options, weights: Path
) -> Iterator[tuple[str, Callable[[], Result]]]:
    """The arms by name; those of pytorch-metric-learning only where it is installed."""
    model = model_of(options, weights)
    began = time.perf_counter()
    features, tests = (backbone_features(model, images, precision="auto") for images in (parts.train, parts.test))
    seconds = time.perf_counter() - began

    def with_head(fit: Callable[[], nn.Module]) -> Result:
        begun = time.perf_counter()
        head = fit()
        with torch.no_grad():
            return Result(head(tests), seconds + time.perf_counter() - begun)

    yield PIXELS, partial(Result, pixels(parts.test.images), 0.0)
    yield FROZEN, partial(with_head, nn.Identity)
    for head in HEADS:
        yield f"frozen, {head}", partial(with_head, partial(fitted, head, features, parts.codes, seed))
    yield TRAINED, partial(adapted, parts, seed, options, weights)
    yield SCRATCH, partial(from_scratch, folder, seed, options)
    if part("losses") is not None:
        for loss in LOSSES:
            fit = partial(metric_head, loss, features, parts.codes, seed)
            yield f"frozen, linear by {loss}", partial(with_head, fit)
        for loss in LOSSES[:2]:
            yield f"fine-tuned by {loss}", partial(fine_tuned, loss, parts, seed, options, weights)
        yield f"fine-tuned by its own trainer, {LOSSES[0]}", partial(own_trainer, parts, seed, options, weights)


def fitted(head: Head, features: Tensor, codes: Tensor, seed: int) -> nn.Module:
    """A head of pairsim, fitted to features."""
    return head.fitted(TrainingFeatures(features, codes, seed=seed))[0]


def pixels(images: Tensor) -> Tensor:
    """Grey pixels of a sixteenth of the size, less their mean."""
    grey = functional.avg_pool2d(images.float().mean(dim=1, keepdim=True), max(images.shape[-1] // 16, 1)).flatten(1)
    return grey - grey.mean(dim=1, keepdim=True)


def adapted(parts: Parts, seed: int, options: Options, weights: Path) -> Result:
    """What `pairsim train` does."""
    model, config = model_of(options, weights), TrainConfig(seed=seed, device=options.device, progress=False)
    if options.quick:
        config = dataclasses.replace(config, epochs=1)
    began = time.perf_counter()
    result = adapt(model, config, train=parts.train, val=parts.val)
    seconds = time.perf_counter() - began
    return Result(model.encode(parts.test.images, precision="auto").cpu(), seconds, what_was_kept(result))


def what_was_kept(result: Adaptation) -> str:
    """Net, head and part of the image."""
    part = "" if result.central_fraction == 1 else f", central {result.central_fraction:.0%}"
    return f"{result.kept}: {result.head}{part}"


def from_scratch(folder: Path, seed: int, options: Options) -> Result:
    """What `pairsim train --backbone reference` does: a small net with random weights, and smaller images."""
    parts = split(folder, seed, options, None)
    _, channels, *size = parts.train.images.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SimilarityModel(EmbeddingNet(in_channels=channels, image_size=(size[0], size[1])))
    config = TrainConfig(epochs=1 if options.quick else None, seed=seed, device=options.device, progress=False)
    began = time.perf_counter()
    Trainer(model, config, train=parts.train, val=parts.val).fit()
    seconds = time.perf_counter() - began
    return Result(model.encode(parts.test.images, precision="auto").cpu(), seconds)


def metric_head(loss: str, features: Tensor, codes: Tensor, seed: int) -> nn.Module:
    """A random linear head that is trained on features with a loss of pytorch-metric-learning, in its usual way.

    Adam at 1e-3, batches of 64 with 4 images of a class by its sampler, 20 passes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(features.shape[1], DIM)
        criterion = criterion_of(loss, int(codes.max()) + 1)
        optimizer = torch.optim.Adam([*head.parameters(), *criterion.parameters()], lr=HEAD_RATE)
        size = min(64, 4 * (int(codes.max()) + 1))
        sampler = part("samplers").MPerClassSampler(
            codes.tolist(), m=4, batch_size=size, length_before_new_iter=len(codes)
        )
        numbered: list[int] = list(range(len(codes)))
        batches = DataLoader(numbered, batch_size=size, sampler=sampler, drop_last=True)  # type: ignore[arg-type,var-annotated]
        for _ in range(HEAD_EPOCHS):
            for numbers in batches:
                optimizer.zero_grad()
                criterion(head(features[numbers]), codes[numbers]).backward()
                optimizer.step()
    return head


def criterion_of(loss: str, num_classes: int) -> Any:
    """A loss of pytorch-metric-learning as its documentation has it."""
    sizes = {"num_classes": num_classes, "embedding_size": DIM} if loss == "ArcFaceLoss" else {}
    return getattr(part("losses"), loss)(**sizes)


def fine_tuned(loss: str, parts: Parts, seed: int, options: Options, weights: Path) -> Result:
    """Train backbone and a random head with a loss of pytorch-metric-learning, for as many passes as pairsim does.

    All layers are trained at 2e-4 but batch norm, which stays as it is. The best epoch is chosen by validation classes.
    """
    model = model_of(options, weights)
    config = TrainConfig(
        objective=criterion_of(loss, 0),
        epochs=1 if options.quick else PASSES,
        batch_size=BATCH_SIZE,
        learning_rate=RATE,
        backbone_learning_rate=RATE,
        freeze="batch-norm",
        augment="crop",
        seed=seed,
        device=options.device,
        progress=False,
    )
    began = time.perf_counter()
    Trainer(model, config, train=parts.train, val=parts.val).fit()
    seconds = time.perf_counter() - began
    return Result(model.encode(parts.test.images, precision="auto").cpu(), seconds)


class Trunk(nn.Module):
    """The backbone of a model from raw images to features, in bf16 as pairsim trains it where the CPU has that."""

    def __init__(self, model: SimilarityModel) -> None:
        super().__init__()
        net = model.embedding_net
        assert isinstance(net, EmbeddingNet), "it was built so"
        assert net.backbone is not None, "it has pretrained weights"
        self.backbone: nn.Module = net.backbone
        self.preprocessing = model.preprocessing
        self.precision = resolve_precision("auto", model.device)

    def forward(self, images: Tensor) -> Tensor:
        """Compute features `[N, F]`."""
        with self.precision.autocast():
            features: Tensor = self.backbone(self.preprocessing(images).contiguous(memory_format=torch.channels_last))
        return features.float()


def own_trainer(parts: Parts, seed: int, options: Options, weights: Path) -> Result:
    """Train with pytorch-metric-learning's `MetricLossOnly`, its `MultiSimilarityLoss` and miner.

    It has twice the passes of `fine_tuned`, so that it computes as many gradients as `pairsim train`, which needs two
    for each step. Learning rate, crops and frozen batch norm are the same. It has no validation: the last epoch counts.
    """
    model, labels = model_of(options, weights), parts.codes.tolist()
    net = model.embedding_net
    assert isinstance(net, EmbeddingNet), "it was built so"
    models: dict[str, nn.Module] = {"trunk": Trunk(model), "embedder": net.head}
    augment = Compose((RandomCrop(), RandomFlip()))

    def augmented(items: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        images = torch.stack([image for image, _ in items])
        return augment(images, generator), torch.tensor([label for _, label in items])

    size = min(BATCH_SIZE, 4 * (int(parts.codes.max()) + 1))
    sampler = part("samplers").MPerClassSampler(labels, m=4, batch_size=size, length_before_new_iter=len(labels))
    began = time.perf_counter()
    with seeded(part("utils.common_functions"), seed), quiet():
        generator = torch.Generator().manual_seed(seed)
        trainer = part("trainers").MetricLossOnly(
            models,
            {
                f"{name}_optimizer": torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=1e-4)
                for name, module in models.items()
            },
            size,
            {"metric_loss": criterion_of(LOSSES[0], 0)},
            list(zip(parts.train.images, labels, strict=True)),
            mining_funcs={"tuple_miner": part("miners").MultiSimilarityMiner()},
            sampler=sampler,
            collate_fn=augmented,
            data_device=model.device,
            dataloader_num_workers=0,
            freeze_trunk_batchnorm=True,
        )
        trainer.train(num_epochs=1 if options.quick else 2 * PASSES)
    seconds = time.perf_counter() - began
    net.head_is_fitted = True
    return Result(model.encode(parts.test.images, precision="auto").cpu(), seconds)
