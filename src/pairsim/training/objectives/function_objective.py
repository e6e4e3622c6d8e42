"""A function as objective: any loss of embeddings and labels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pairsim.errors import TrainingError
from pairsim.models import SimilarityModel
from pairsim.training.objectives.objective import ClassBalancedObjective


@dataclass(kw_only=True)
class FunctionObjective(ClassBalancedObjective):
    """The loss of a function `(embeddings, labels) -> loss`, which does not train the projection.

    The parameters of a module, such as the proxies of a loss of pytorch-metric-learning, are trained with the model.
    """

    trains_projection = False

    def initial_state(self, model: SimilarityModel) -> nn.Module | None:
        """Return the function itself, moved to the model's device, if it is a module with parameters."""
        module = self.objective
        has_parameters = isinstance(module, nn.Module) and next(module.parameters(), None) is not None
        return module.to(model.device) if isinstance(module, nn.Module) and has_parameters else None

    def loss(self, model: SimilarityModel, embeddings: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """Compute the loss, and check that it is one number.

        Raises:
            TrainingError: If it is not a tensor of one element, or has no gradient.
        """
        assert callable(self.objective)
        loss = self.objective(embeddings, targets)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            returned = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise TrainingError(
                f"Expected the objective to return a scalar tensor, got {returned}. Take the mean of its losses."
            )
        if embeddings.requires_grad and not loss.requires_grad:
            raise TrainingError(
                "Expected a loss with a gradient from the objective, got one without. Compute it from the embeddings, "
                "without detach, numpy or no_grad."
            )
        return loss.reshape(())
