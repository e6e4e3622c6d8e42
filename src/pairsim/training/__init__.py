"""Training: settings, objectives, training loop and checkpoints."""

from typing import TYPE_CHECKING

from pairsim._common import lazy

if TYPE_CHECKING:
    from pairsim.data.loading.batches import BatchPlan as BatchPlan
    from pairsim.training.adaptation.adapt import adapt as adapt
    from pairsim.training.adaptation.adaptation_result import Adaptation as Adaptation
    from pairsim.training.callbacks import Callback as Callback
    from pairsim.training.config import TrainConfig as TrainConfig
    from pairsim.training.history import EpochRecord as EpochRecord
    from pairsim.training.history import History as History
    from pairsim.training.objectives.objective import ClassBalancedObjective as ClassBalancedObjective
    from pairsim.training.objectives.objective import Objective as Objective
    from pairsim.training.objectives.objective import Recipe as Recipe
    from pairsim.training.objectives.objective_registry import register_objective as register_objective
    from pairsim.training.trainer import Trainer as Trainer
else:
    __all__, __dir__, __getattr__ = lazy.exports(__name__)
