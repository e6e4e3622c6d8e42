"""Training: config, loop, checkpoints."""

from typing import TYPE_CHECKING

from pairsim._common import lazy

if TYPE_CHECKING:
    from pairsim.training.callbacks import Callback as Callback
    from pairsim.training.config import TrainConfig as TrainConfig
    from pairsim.training.history import EpochRecord as EpochRecord
    from pairsim.training.history import History as History
    from pairsim.training.trainer import Trainer as Trainer
else:
    __all__, __dir__, __getattr__ = lazy.exports(__name__)
