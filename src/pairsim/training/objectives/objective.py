"""Objectives: batches to train on, a loss to minimize, and default settings."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import ClassVar, Self

from torch import Tensor, nn

from pairsim.data import ClassBalancedBatches, ClassIndex, LabelledImages, PairDataset
from pairsim.data.loading.batches import BatchPlan
from pairsim.errors import DataError
from pairsim.models import SimilarityModel
from pairsim.models.weight_names import unwrapped
from pairsim.training.config import ObjectiveFunction, SchedulerName, TrainConfig

_STEPS, _MIN_EPOCHS, _MAX_EPOCHS = 800, 2, 30
_IMAGES_PER_CLASS = 4
_MIN_GROUPS = 10
"""Groups of a class in a batch: with fewer, the classes of batches differ so much that batch norm suffers."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Values for settings that `TrainConfig` leaves open.

    Attributes:
        batch_size: Targets in a batch: pairs or images.
        scheduler: Learning rate schedule: "plateau", "onecycle", "cosine" or "none".
        epochs: Number of epochs; `None` for as many as make about 800 steps, at least 2 and at most 30.
    """

    batch_size: int
    scheduler: SchedulerName
    epochs: int | None = None

    def num_epochs(self, num_images: int | None, batch_size: int) -> int:
        """Number of epochs for a number of training images, which is the largest if that is unknown.

        Args:
            num_images: Training images; `None` if unknown.
            batch_size: The batch size that is used.
        """
        if self.epochs is not None:
            return self.epochs
        if num_images is None:
            return _MAX_EPOCHS
        return min(max(math.ceil(_STEPS * batch_size / max(num_images, 1)), _MIN_EPOCHS), _MAX_EPOCHS)


@dataclass(kw_only=True)
class Objective(ABC):
    """What training minimizes: batches, loss and recipe.

    A subclass is a dataclass. Its fields are its options: those that `TrainConfig` has under the same name get their
    values from there, others keep their defaults. For a loss on batches of labelled images, subclass
    `ClassBalancedObjective`. `register_objective` gives a subclass a name.

    Args:
        objective: `TrainConfig.objective`: a name or a function.
        batch_size: Targets in a batch, of all processes together.
        seed: Seed of batches.

    Attributes:
        recipe: Values for settings that `TrainConfig` leaves open; by default 128 images and a one-cycle schedule.
        images_per_target: Images for each target: 1, or 2 if targets belong to pairs.
        trains_projection: Whether the loss trains the projection from similarity to probability. If not, it is fitted
            to the validation pairs after each epoch.
        state: A module whose `state_dict` is saved in checkpoints, and whose parameters are trained together with the
            model, at `learning_rate`; `None` without state. It is not part of the saved model.
    """

    recipe: ClassVar[Recipe] = Recipe(batch_size=128, scheduler="onecycle")
    images_per_target: ClassVar[int] = 1
    trains_projection: ClassVar[bool] = True

    objective: str | ObjectiveFunction
    batch_size: int
    seed: int
    state: nn.Module | None = field(default=None, init=False)

    @classmethod
    def from_config(cls, config: TrainConfig) -> Self:
        """Create the objective with the options of a resolved config."""
        names = [option.name for option in fields(cls) if option.init and hasattr(config, option.name)]
        return cls(**{name: getattr(config, name) for name in names})

    @abstractmethod
    def batches(self, images: LabelledImages, *, note: Callable[[str], object]) -> BatchPlan:
        """Plan the batches of a labelled dataset.

        Args:
            images: The dataset, with its classes in `index`.
            note: Called with a line about each decision that the user should know of.

        Returns:
            The plan. Batches are a pure function of seed, epoch and batch number.

        Raises:
            DataError: If the data does not fit the options.
        """

    def pair_batches(self, pairs: PairDataset) -> BatchPlan:  # noqa: ARG002
        """Plan the batches of a `PairDataset`.

        Args:
            pairs: The dataset.

        Returns:
            The plan.

        Raises:
            TypeError: If the objective needs labelled images, as it does unless a subclass overrides this method.
        """
        raise TypeError(
            f"Expected a labelled dataset for objective {self.objective!r}, got a PairDataset. "
            'Pass the dataset itself, or use objective="pairs".'
        )

    def initial_state(self, model: SimilarityModel) -> nn.Module | None:  # noqa: ARG002
        """Create `state` before training.

        Args:
            model: The model to train, on its device.

        Returns:
            The state, on the same device; `None` unless a subclass overrides this method.
        """
        return None

    @abstractmethod
    def loss(self, model: SimilarityModel, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of a batch. It must not wait for the device, and may update `state`.

        Args:
            model: For its projection from similarity to logit.
            embeddings: `[N, D]`, float32, of unit length.
            targets: What the batch plan gives besides images, on the device.

        Returns:
            Scalar.
        """


@dataclass(kw_only=True)
class ClassBalancedObjective(Objective):
    """An objective on batches of images in which classes come in small groups; targets are class numbers `[N]`.

    Classes of one group of the data come in the same batches (see `ClassBalancedBatches`).

    Args:
        objective: `TrainConfig.objective`: a name or a function.
        batch_size: Images in a batch, of all processes together.
        images_per_class: Images of a class that come together; `None` for 4, or more if there are few classes.
        seed: Seed of batches.

    Example:
        >>> from dataclasses import dataclass
        >>> from pairsim.training import Recipe, register_objective
        >>> @dataclass(kw_only=True)
        ... class SquaredError(ClassBalancedObjective):
        ...     recipe = Recipe(batch_size=64, epochs=5, scheduler="cosine")
        ...     trains_projection = False
        ...     margin: float = 0.0
        ...
        ...     def loss(self, model, embeddings, targets):
        ...         same = (targets[:, None] == targets).float()
        ...         return ((embeddings @ embeddings.T - same).abs() - self.margin).relu().square().mean()
        >>> register_objective("squared-error", SquaredError)
    """

    images_per_class: int | None

    def batches(self, images: LabelledImages, *, note: Callable[[str], object]) -> BatchPlan:
        """Plan class-balanced batches."""
        index = images.index
        if self.batch_size > index.num_images:
            note(f"batch_size {self.batch_size} is more than the {index.num_images} images: one batch an epoch.")
        return ClassBalancedBatches(
            index, self.batch_size, images_per_class=self._group_size(index), groups=images.groups, seed=self.seed
        )

    def _group_size(self, index: ClassIndex) -> int:
        """Images of a class that come together.

        Raises:
            DataError: If no class has `images_per_class` images, or a batch does not hold two such groups.
        """
        size, largest = self.images_per_class, int(index.counts.max())
        if size is None:
            of_few_classes = self.batch_size // max(index.num_classes, _MIN_GROUPS)
            return max(min(_IMAGES_PER_CLASS, self.batch_size // 2), of_few_classes)
        if size > largest:
            raise DataError(
                f"Expected images_per_class of at most {largest}, the images of the largest class, got {size}. "
                "Lower it."
            )
        if 2 * size > self.batch_size:
            raise DataError(
                f"Expected batch_size to hold two groups of images_per_class={size}, got {self.batch_size}: a batch of "
                f"one class has no negative pair. Use batch_size={2 * size} or more, or fewer images_per_class."
            )
        return size


def embedding_dim_of(model: SimilarityModel, purpose: str, instead: str) -> int:
    """Return the length of a model's embeddings.

    Raises:
        TypeError: If the net does not state it; the message has the purpose and what to do instead.
    """
    dim = getattr(unwrapped(model.embedding_net), "embedding_dim", None)
    if not isinstance(dim, int):
        raise TypeError(
            f"Expected {type(model.embedding_net).__name__} to have an attribute embedding_dim, the length of an "
            f"embedding, for {purpose}, found none. Add it, or {instead}."
        )
    return dim
