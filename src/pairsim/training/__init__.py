"""Training: config, loop, checkpoints."""

from pairsim.training.callbacks import Callback as Callback
from pairsim.training.config import TrainConfig as TrainConfig
from pairsim.training.history import EpochRecord as EpochRecord
from pairsim.training.history import History as History
from pairsim.training.trainer import Trainer as Trainer

__all__ = ["Callback", "EpochRecord", "History", "TrainConfig", "Trainer"]
