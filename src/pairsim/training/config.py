"""`TrainConfig`: every choice of a training run, checked when it is made."""

# No postponed annotations here: the command line reads these types from a subclass in another module.

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn
from torch.optim import Optimizer

from pairsim._common.choices import NEGATIVES, PRECISIONS, AugmentName, Negatives, PrecisionName
from pairsim.data.augment import AugmentFunction

ObjectiveFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""`(embeddings [N, D], labels [N]) -> scalar loss`."""
OptimizerFactory: TypeAlias = Callable[[Iterable[nn.Parameter]], Optimizer]

ObjectiveName = Literal["pairs", "all-pairs"]
OptimizerName = Literal["auto", "adam", "adamw", "sgd"]
SchedulerName = Literal["auto", "plateau", "onecycle", "cosine", "none"]

_STEPS, _LEAST_EPOCHS, _MOST_EPOCHS = 800, 2, 30

_CHOICES: dict[str, tuple[str, ...]] = {
    "objective": ("pairs", "all-pairs"),
    "optimizer": ("auto", "adam", "adamw", "sgd"),
    "scheduler": ("auto", "plateau", "onecycle", "cosine", "none"),
    "precision": PRECISIONS,
    "negatives": NEGATIVES,
    "augment": ("none", "affine"),
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. What is left at `None` or `"auto"` follows the objective's recipe.

    The recipe of `"pairs"`: 30 epochs of 20,000 pairs (fewer for small data) in batches of 256 pairs, learning rate
    halved when the validation loss has not improved for 3 epochs. The recipe of `"all-pairs"`, also taken for a loss of
    your own: batches of 128 images, one-cycle learning rate, and as many passes over the images as make about 800
    steps, at least 2 and at most 30 (2 for MNIST).

    Optimizer and learning rate follow the net: adam at 1e-2; with a backbone of torchvision or timm adamw at 1e-3, and
    a tenth of that for the backbone itself if weights were loaded into it by `EmbeddingNet(..., weights=...)`.

    Args:
        objective: "pairs": binary cross-entropy on drawn pairs. "all-pairs": on every pair inside batches of images,
            positives and negatives weighing one half each. From Python also any function (embeddings, labels) -> loss.
        out: Run folder. From Python it may be left out, then nothing is written.
        epochs: Passes; by default those of the recipe.
        batch_size: Pairs ("pairs") or images ("all-pairs") in a step, of all processes together; by default 256 pairs
            or 128 images.
        num_pairs: Pairs in an epoch of "pairs"; by default 20,000, or the number of images if that is smaller.
        positive_fraction: Share of positive pairs in "pairs", in [0, 1].
        negatives: Negative pairs by "class" or by "instance".
        images_per_class: Images of a class that come together in a batch of "all-pairs", at least 2; by default 4, or
            more where the classes are so few that a batch can hold more of each.
        prior: Share of the weight that positive pairs have in "all-pairs", in (0, 1); 0.5 weighs both kinds alike.
        hard_pairs: In "all-pairs" the weight of a pair goes with its error to this power, 0 for all pairs alike.
        memory_size: Embeddings of earlier batches that "all-pairs" also pairs the batch with; 0 for none.
        optimizer: "auto" (that of the recipe), "adam", "adamw" or "sgd". From Python also a function from parameters to
            an optimizer.
        learning_rate: Peak learning rate, positive; by default that of the recipe, and 1e-2 for "sgd".
        backbone_learning_rate: Peak learning rate of the backbone, positive; by default that of the recipe.
        freeze: What is not trained: "none"; "backbone"; or the first parts of parameter names of the backbone (without
            one, of the net), with commas between them, such as "conv1,layer1". What is frozen runs in eval mode, so
            that the statistics of its batch norms stay as well.
        weight_decay: Not negative.
        momentum: Momentum of "sgd", in [0, 1).
        scheduler: "plateau", "onecycle", "cosine" or "none".
        plateau_patience: Epochs without improvement before "plateau" lowers the learning rate.
        plateau_factor: What "plateau" multiplies the learning rate by, in (0, 1).
        precision: "auto", "fp32", "bf16" or "fp16".
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        channels_last: Whether images and weights are laid out with channels last, which is faster nearly everywhere.
        compile: Whether the net is compiled with torch.compile.
        cuda_graph: Whether steps are replayed as a CUDA graph; by default where that is possible and measures faster.
        augment: "none", or "affine": each training image is turned by up to 10 degrees, scaled and shifted by up to a
            tenth. From Python also a `RandomAffine`, any function (images, generator) -> images, or a torchvision v2
            transform.
        resident: Whether the images are held in memory on the device: yes, no, or by default where they fit and are
            known to be the same every time.
        memory_budget_mb: Megabytes that images may take there; by default a quarter of what is free.
        cache_dir: Folder for decoded pictures, which the next run then need not decode; by default none are kept.
        num_workers: Reading processes for data that is not in memory; by default up to 4.
        pin_memory: Page-locked batches for faster copies to a GPU; by default with CUDA.
        grad_clip: Largest norm of the gradient, positive; not limited by default.
        grad_accumulation: Batches whose gradients are added up for one step.
        ema_decay: Decay of an exponential moving average of the weights in (0, 1), which is then what is validated
            and saved; none by default.
        batch_norm_batches: Training batches from which batch norm's statistics are estimated anew before each
            validation; by default 0, the moving averages of training are used.
        sync_batch_norm: Whether several processes, as torchrun starts them, take batch norm's statistics over all their
            images; by default on GPUs. On CPUs each takes those of its own images, and averages are shared.
        early_stopping: Epochs without a better validation loss after which training ends; never by default.
        val_fraction: Share of the training images split off as validation data if none are given, in (0, 1).
        seed: Seeds initialisation (on the command line), pairs, batches, split and random transforms.
        deterministic: Only deterministic algorithms; fails where there is none.
        checkpoint_steps: Steps between checkpoints within an epoch; there is always one at its end.
        progress: Whether to show a progress bar; by default where there is a terminal.

    Raises:
        ValueError: If a value is out of range; the message names it.

    Example:
        >>> TrainConfig(epochs=0)
        Traceback (most recent call last):
        ValueError: Expected epochs to be at least 1, got 0.
    """

    objective: ObjectiveName | ObjectiveFunction = "all-pairs"
    out: Path | None = None
    epochs: int | None = None
    batch_size: int | None = None
    num_pairs: int | None = None
    positive_fraction: float = 0.5
    negatives: Negatives = "class"
    images_per_class: int | None = None
    prior: float = 0.5
    hard_pairs: float = 0.0
    memory_size: int = 0
    optimizer: OptimizerName | OptimizerFactory = "auto"
    learning_rate: float | None = None
    backbone_learning_rate: float | None = None
    freeze: str = "none"
    weight_decay: float = 1e-5
    momentum: float = 0.9
    scheduler: SchedulerName = "auto"
    plateau_patience: int = 2
    plateau_factor: float = 0.5
    precision: PrecisionName = "auto"
    device: str = "auto"
    channels_last: bool = True
    compile: bool = False
    cuda_graph: bool | None = None
    augment: AugmentName | AugmentFunction = "none"
    resident: bool | None = None
    memory_budget_mb: int | None = None
    cache_dir: Path | None = None
    num_workers: int | None = None
    pin_memory: bool | None = None
    grad_clip: float | None = None
    grad_accumulation: int = 1
    ema_decay: float | None = None
    batch_norm_batches: int = 0
    sync_batch_norm: bool | None = None
    early_stopping: int | None = None
    val_fraction: float = 0.1
    seed: int = 0
    deterministic: bool = False
    checkpoint_steps: int | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            callable_allowed = name in ("objective", "optimizer", "augment") and callable(value)
            if value not in choices and not callable_allowed:
                raise ValueError(f"Expected {name} to be one of {', '.join(choices)}, got {value!r}.")
        for name, least in (
            ("epochs", 1),
            ("batch_size", 2),
            ("num_pairs", 1),
            ("images_per_class", 2),
            ("memory_size", 0),
            ("batch_norm_batches", 0),
            ("plateau_patience", 0),
            ("memory_budget_mb", 1),
            ("num_workers", 0),
            ("grad_accumulation", 1),
            ("early_stopping", 1),
            ("checkpoint_steps", 1),
        ):
            value = getattr(self, name)
            if value is not None and (value < least or value != int(value)):
                raise ValueError(f"Expected {name} to be at least {least}, got {value}.")
        self._check("positive_fraction", 0 <= self.positive_fraction <= 1, "in [0, 1]")
        self._check("prior", 0 < self.prior < 1, "in (0, 1)")
        self._check("hard_pairs", 0 <= self.hard_pairs < math.inf, "at least 0")
        for name in ("learning_rate", "backbone_learning_rate"):
            rate = getattr(self, name)
            self._check(name, rate is None or 0 < rate < math.inf, "positive")
        if self.backbone_learning_rate is not None and callable(self.optimizer):
            raise ValueError(
                "Expected no backbone_learning_rate with an optimizer of your own. Let your function make two groups."
            )
        if self.backbone_learning_rate is not None and self.freeze == "backbone":
            raise ValueError('Expected no backbone_learning_rate with freeze="backbone". Leave one of them out.')
        self._check("freeze", all(part.strip() for part in self.freeze.split(",")), '"none", "backbone" or names')
        self._check("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0")
        self._check("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._check("plateau_factor", 0 < self.plateau_factor < 1, "in (0, 1)")
        self._check("grad_clip", self.grad_clip is None or 0 < self.grad_clip < math.inf, "positive")
        self._check("ema_decay", self.ema_decay is None or 0 < self.ema_decay < 1, "in (0, 1)")
        self._check("val_fraction", 0 < self.val_fraction < 1, "in (0, 1)")

    def _check(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"Expected {name} to be {expected}, got {getattr(self, name)}.")

    def resolved(
        self, num_images: int | None = None, *, backbone: Literal["random", "pretrained"] | None = None
    ) -> "TrainConfig":
        """This config with what is left to the recipes filled in.

        Args:
            num_images: Training images, for the number of epochs; without it the most.
            backbone: Weights of a backbone of torchvision or timm, if the net has one.
        """
        pairs = self.objective == "pairs"
        batch_size = self.batch_size if self.batch_size is not None else (256 if pairs else 128)
        passes = _MOST_EPOCHS if num_images is None else math.ceil(_STEPS * batch_size / max(num_images, 1))
        epochs = 30 if pairs else min(max(passes, _LEAST_EPOCHS), _MOST_EPOCHS)
        scheduler: SchedulerName = "plateau" if pairs else "onecycle"
        own = callable(self.optimizer)
        optimizer: OptimizerName = "adam" if backbone is None else "adamw"
        rate, backbone_rate = self.learning_rate, self.backbone_learning_rate
        if rate is None:
            rate = 1e-2 if backbone is None or self.optimizer == "sgd" else 1e-3
        if backbone_rate is None and backbone == "pretrained" and self.freeze != "backbone" and not own:
            backbone_rate = rate / 10
        return dataclasses.replace(
            self,
            epochs=self.epochs if self.epochs is not None else epochs,
            batch_size=batch_size,
            scheduler=self.scheduler if self.scheduler != "auto" else scheduler,
            optimizer=self.optimizer if self.optimizer != "auto" else optimizer,
            learning_rate=rate,
            backbone_learning_rate=backbone_rate,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values; functions by their names."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) or isinstance(value, nn.Module):  # they say what they are made of
        return repr(value)
    if callable(value):
        return f"{type(value).__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    return value
