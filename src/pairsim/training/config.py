"""The configuration of a training run, checked when it is made. Imported without torch."""

# No postponed annotations here: the command line reads the types of the fields.

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from pairsim._common.choices import (
    DEVICES,
    NEGATIVES,
    PRECISIONS,
    AugmentName,
    Negatives,
    PrecisionName,
    check_device_name,
)
from pairsim.training.config_options import Group, check_options, document_options
from pairsim.training.objectives.function_settings import function_settings
from pairsim.training.objectives.objective_registry import DEFAULT_OBJECTIVE, objective_choices, objective_class

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from pairsim.data.augment import AugmentFunction

    ObjectiveFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]
    """`(embeddings [N, D], labels [N]) -> scalar loss`."""
    OptimizerFactory: TypeAlias = Callable[[Iterable[nn.Parameter]], Optimizer]
else:
    AugmentFunction = ObjectiveFunction = OptimizerFactory = Callable

OptimizerName = Literal["auto", "adam", "adamw", "muon", "sgd"]
SchedulerName = Literal["auto", "plateau", "onecycle", "cosine", "none"]

VAL_FRACTION = 0.1
"""Default share of the training images that is split off as validation data."""


_TEMPERATURE = 0.05


@document_options
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. What is left at `None` or `"auto"` follows the objective's recipe.

    The recipe of `"pairs"`: 30 epochs of 20,000 pairs (fewer for small data) in batches of 256 pairs; the learning rate
    is halved when the validation loss has not improved for 3 epochs. The recipe of `"all-pairs"`, also used for
    the other objectives: batches of 128 images, one-cycle learning rate, and as many passes over the images as give
    about 800 steps, at least 2 and at most 30 (2 for MNIST).

    Optimizer and learning rate follow the net: adam at 1e-2, also for the small nets conv4 and resnet12; with a
    backbone of torchvision or timm adamw at 1e-3; if weights were loaded into a backbone by
    `EmbeddingNet(..., weights=...)`, adamw at 1e-3 and a tenth of that for the backbone itself.

    Raises:
        ValueError: If a value is out of range or of another type; the message names it.

    Example:
        >>> TrainConfig(epochs=0)
        Traceback (most recent call last):
        ValueError: Expected epochs to be at least 1, got 0.
    """

    objective: str | ObjectiveFunction = Group.MAIN.option(
        "auto",
        '"pairs": binary cross-entropy on drawn pairs. "all-pairs": on every pair inside batches of images, '
        'positive and negative pairs weighing one half each. "supervised-contrastive": each image is told '
        'apart from all others of a batch, mostly from those that look alike. "normalized-softmax": cross-entropy of '
        'classes by their cosine to trained class weights. "auto": "supervised-contrastive" to fine-tune a chosen '
        'head, "pairs" for a list of pairs, else "all-pairs".',
        python="Also any function (embeddings, labels) -> loss.",
        choices=objective_choices,
    )
    out: Path | None = Group.MAIN.option(
        None, "Run folder.", python="Without one, nothing is written.", affects="speed"
    )
    epochs: int | None = Group.MAIN.option(None, "Passes; by default those of the recipe.", minimum=1, affects="length")
    batch_size: int | None = Group.MAIN.option(
        None,
        'Pairs ("pairs") or images ("all-pairs") in a step, of all processes together; by default 256 or 128.',
        minimum=2,
    )
    num_pairs: int | None = Group.PAIRS.option(
        None,
        'Pairs in an epoch of "pairs"; by default 20,000, or the number of images if smaller. Of given pairs, all '
        "by default.",
        minimum=1,
    )
    positive_fraction: float = Group.PAIRS.option(0.5, 'Share of positive pairs in "pairs".', interval="[0, 1]")
    negatives: Negatives = Group.PAIRS.option("class", 'Negative pairs by "class" or by "instance".', choices=NEGATIVES)
    images_per_class: int | None = Group.PAIRS.option(
        None,
        'Images of a class that are drawn together into a batch of "all-pairs"; by default 4, or more where '
        "classes are so few that a batch can hold more of each.",
        minimum=2,
    )
    prior: float = Group.PAIRS.option(
        0.5, 'Share of the weight of positive pairs in "all-pairs"; 0.5 weighs both kinds equally.', interval="(0, 1)"
    )
    hard_pairs: float = Group.PAIRS.option(
        0.0, 'In "all-pairs" a pair is weighted by its error to this power; 0 weighs all equally.', interval="[0, inf)"
    )
    temperature: float | None = Group.PAIRS.option(
        None,
        'What "supervised-contrastive" and "normalized-softmax" divide similarities by; a lower one concentrates on '
        "classes that look alike. By default 0.05, and 0.1 to fine-tune a chosen head.",
        interval="(0, inf)",
    )
    margin: float = Group.PAIRS.option(
        0.2, 'What "normalized-softmax" takes off the cosine to the own class, as CosFace does.', interval="[0, 2)"
    )
    memory_size: int = Group.PAIRS.option(
        0, 'Embeddings of earlier batches that "all-pairs" also pairs a batch with; 0 for none.', minimum=0
    )
    optimizer: OptimizerName | OptimizerFactory = Group.OPTIMIZATION.option(
        "auto",
        'Optimizer; "auto" is that of the recipe. "muon" orthogonalizes the updates of weight matrices and of '
        "convolutions, with 5 times the learning rate, and is adamw for the rest.",
        python="Also a function from parameters to an optimizer.",
        choices=get_args(OptimizerName),
    )
    learning_rate: float | None = Group.OPTIMIZATION.option(
        None, 'Peak learning rate; by default that of the recipe, and 1e-2 for "sgd".', interval="(0, inf)"
    )
    backbone_learning_rate: float | None = Group.OPTIMIZATION.option(
        None, "Peak learning rate of the backbone; by default that of the recipe.", interval="(0, inf)"
    )
    freeze: str = Group.OPTIMIZATION.option(
        "none",
        'What is not trained: "none"; "backbone"; or prefixes of parameter names of the backbone (without one, of '
        'the net), separated by commas, such as "conv1,layer1", and "batch-norm" for all batch norms. Frozen parts '
        "run in eval mode, so the statistics of their batch norms stay the same too.",
    )
    weight_decay: float = Group.OPTIMIZATION.option(1e-5, "Weight decay.", interval="[0, inf)")
    momentum: float = Group.OPTIMIZATION.option(0.9, 'Momentum of "sgd".', interval="[0, 1)")
    scheduler: SchedulerName = Group.OPTIMIZATION.option(
        "auto", 'Learning rate schedule; "auto" is that of the recipe.', choices=get_args(SchedulerName)
    )
    plateau_patience: int = Group.OPTIMIZATION.option(
        2, 'Epochs without improvement before "plateau" lowers the learning rate.', minimum=0
    )
    plateau_factor: float = Group.OPTIMIZATION.option(
        0.5, 'Factor by which "plateau" multiplies the learning rate.', interval="(0, 1)"
    )
    precision: PrecisionName = Group.MAIN.option(
        "auto",
        'Number format of the forward pass; "auto" is bf16 where the hardware computes in it, else fp16 on CUDA, '
        "else fp32.",
        choices=PRECISIONS,
    )
    device: str = Group.MAIN.option("auto", f"{DEVICES}.", affects="rounding")
    channels_last: bool = Group.SPEED.option(
        True, "Store images and weights with channels last, which is faster on nearly all hardware."
    )
    compile: bool = Group.SPEED.option(False, "Compile the net with torch.compile.")
    cuda_graph: bool | None = Group.SPEED.option(
        None, "Replay steps as a CUDA graph; by default where that is possible and measures faster.", affects="rounding"
    )
    augment: AugmentName | AugmentFunction = Group.MAIN.option(
        "auto",
        'Changes each training image at random. "auto": "crop" to fine-tune on photographs, "affine" to fine-tune on '
        'grey pictures, else "none". "affine", for drawings and writing: rotated by up to 10 degrees, scaled and '
        'shifted by up to a tenth. "crop": up to a quarter of the sides cut off, and mirrored. "photo": '
        "also brightness, contrast and saturation changed by up to a fifth, and a part covered.",
        python="Also a `RandomAffine`, any function (images, generator) -> images, or a torchvision v2 transform.",
        choices=get_args(AugmentName),
    )
    turns: bool = Group.MAIN.option(
        False,
        "For characters and other square drawings that do not occur turned: an image after a quarter turn is of a "
        "class of its own, so that training has four times the images and classes. Validation images are not turned.",
    )
    resident: bool | None = Group.READING.option(
        None,
        "Hold the images in memory on the device; by default where they fit and are the same on every read.",
        affects="speed",
    )
    memory_budget_mb: int | None = Group.READING.option(
        None,
        "Megabytes that resident images may take; by default a quarter of the free memory.",
        minimum=1,
        affects="speed",
    )
    cache_dir: Path | None = Group.READING.option(
        None,
        "Folder for decoded pictures, so that the next run need not decode them; none by default.",
        affects="speed",
    )
    num_workers: int | None = Group.READING.option(
        None, "Processes that read data that is not in memory; by default up to 4.", minimum=0, affects="speed"
    )
    pin_memory: bool | None = Group.READING.option(
        None, "Page-locked batches, for faster copies to a GPU; by default with CUDA.", affects="speed"
    )
    grad_clip: float | None = Group.OPTIMIZATION.option(
        None, "Largest norm of the gradient; not limited by default.", interval="(0, inf)"
    )
    grad_accumulation: int = Group.OPTIMIZATION.option(
        1, "Batches whose gradients are added up for one step.", minimum=1
    )
    ema_decay: float | None = Group.OPTIMIZATION.option(
        None,
        "Decay of an exponential moving average of the weights, which is then validated and saved; none by default.",
        interval="(0, 1)",
    )
    sam_rho: float | None = Group.OPTIMIZATION.option(
        None,
        "Radius of sharpness-aware minimization (Foret et al. 2021): the gradient is taken where the loss is highest "
        "near the weights, which suits few images and takes twice the time. By default 0, which is without, and 0.05 "
        "to fine-tune a chosen head.",
        interval="[0, inf)",
    )
    batch_norm_batches: int = Group.OPTIMIZATION.option(
        0,
        "Training batches from which the statistics of batch norm are estimated again before each validation; "
        "with 0 the moving averages of training are used.",
        minimum=0,
    )
    sync_batch_norm: bool | None = Group.OPTIMIZATION.option(
        None,
        "Compute the statistics of batch norm over the images of all processes, as torchrun starts them; by "
        "default on GPUs. On CPUs each process uses its own images, and averages are shared.",
    )
    early_stopping: int | None = Group.VALIDATION.option(
        None,
        "Epochs without a better validation loss after which training ends; never by default.",
        minimum=1,
        affects="length",
    )
    val_fraction: float | None = Group.VALIDATION.option(
        None,
        "Share of the training images split off as validation data if none are given, by default 0.1; with classes "
        "kept unseen on the command line, the share of the other classes, by default 0.2.",
        interval="(0, 1)",
    )
    seed: int = Group.MAIN.option(
        0, "Seed of initialisation (on the command line), pairs, batches, split and random transforms."
    )
    deterministic: bool = Group.SPEED.option(False, "Use only deterministic algorithms; fails where there is none.")
    checkpoint_steps: int | None = Group.VALIDATION.option(
        None, "Steps between checkpoints within an epoch; there is always one at its end.", minimum=1, affects="speed"
    )
    progress: bool | None = Group.SPEED.option(None, "Show a progress bar; by default on a terminal.", affects="speed")

    def __post_init__(self) -> None:
        check_options(self)
        check_device_name(self.device)
        if not isinstance(self.freeze, str) or not all(prefix.strip() for prefix in self.freeze.split(",")):
            raise ValueError(f'Expected freeze to be "none", "backbone" or names, got {self.freeze!r}.')
        if self.sam_rho and (self.grad_accumulation > 1 or self.memory_size):
            raise ValueError(
                "Expected sam_rho with grad_accumulation=1 and memory_size=0, as each batch is used twice, got "
                f"{self.grad_accumulation} and {self.memory_size}."
            )
        if self.backbone_learning_rate is not None and callable(self.optimizer):
            raise ValueError(
                "Expected no backbone_learning_rate with an optimizer function. Let the function make two groups."
            )
        if self.backbone_learning_rate is not None and self.freeze == "backbone":
            raise ValueError('Expected no backbone_learning_rate with freeze="backbone". Leave one of them out.')

    def resolved(
        self, num_images: int | None = None, *, backbone: Literal["random", "pretrained"] | None = None
    ) -> "TrainConfig":
        """A copy with the open settings filled in by the recipes of the objective and of the backbone.

        Args:
            num_images: Number of training images, for the number of epochs; without it the largest number of epochs.
            backbone: Weights of a backbone of torchvision or timm, or of one with loaded weights, if the net has one.
        """
        objective = DEFAULT_OBJECTIVE if self.objective == "auto" else self.objective
        recipe = objective_class(objective).recipe
        batch_size = self.batch_size or recipe.batch_size
        if num_images is not None and self.turns:
            num_images *= 4
        optimizer: OptimizerName = "adam" if backbone is None else "adamw"
        rate = self.learning_rate or (1e-2 if backbone is None or self.optimizer == "sgd" else 1e-3)
        trains_backbone = self.freeze != "backbone" and not callable(self.optimizer)
        slower = rate / 10 if backbone == "pretrained" and trains_backbone else None
        return dataclasses.replace(
            self,
            objective=objective,
            epochs=self.epochs or recipe.num_epochs(num_images, batch_size),
            batch_size=batch_size,
            scheduler=self.scheduler if self.scheduler != "auto" else recipe.scheduler,
            optimizer=self.optimizer if self.optimizer != "auto" else optimizer,
            learning_rate=rate,
            temperature=self.temperature or _TEMPERATURE,
            sam_rho=self.sam_rho or 0.0,
            augment="none" if self.augment == "auto" else self.augment,
            backbone_learning_rate=self.backbone_learning_rate or slower,
            val_fraction=self.val_fraction or VAL_FRACTION,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values; functions by their names."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def function_settings(self) -> dict[str, Any]:
        """The settings inside functions, as JSON values by paths such as `objective.temperature`."""
        functions = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            f"{name}.{path}": value
            for name, function in functions.items()
            if callable(function)
            for path, value in function_settings(function).items()
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if not callable(value):
        return value
    from torch import nn

    if dataclasses.is_dataclass(value) or isinstance(value, nn.Module):  # their representation has their settings
        return repr(value)
    return f"{type(value).__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
