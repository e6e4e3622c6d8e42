"""The options of `pairsim train`: those of `TrainConfig`, in groups, and what only Python can give left out."""

# No postponed annotations here: the command line reads these types.

import dataclasses
import re
import typing
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter

from pairsim._common.choices import AugmentName
from pairsim.training import TrainConfig
from pairsim.training.config import ObjectiveName, OptimizerName

_GROUPS = {
    "Most used": "out objective epochs batch_size seed precision device augment",
    "Pairs and batches": "num_pairs positive_fraction negatives images_per_class prior hard_pairs memory_size",
    "Optimization": "optimizer learning_rate backbone_learning_rate freeze weight_decay momentum scheduler "
    "plateau_patience plateau_factor grad_clip grad_accumulation ema_decay batch_norm_batches sync_batch_norm",
    "Validation and checkpoints": "val_fraction early_stopping checkpoint_steps",
    "Reading images": "resident memory_budget_mb cache_dir num_workers pin_memory",
}
_REST = "Speed and display"


@dataclass(frozen=True, kw_only=True)
class TrainOptions(TrainConfig):  # noqa: D101  the docstring is set below
    objective: ObjectiveName = "all-pairs"
    optimizer: OptimizerName = "auto"
    augment: AugmentName = "none"


def _group_of(name: str) -> Group:
    for place, (title, names) in enumerate(_GROUPS.items()):
        if name in names.split():
            return Group(title, sort_key=place)
    return Group(_REST, sort_key=len(_GROUPS))


def _for_the_command_line(text: str) -> str:
    """Help without what only Python can give."""
    return re.sub(r"\s+From Python (?:it may|also)[^.]*\.(?=\s)", "", text)


assert TrainConfig.__doc__ is not None
TrainOptions.__doc__ = _for_the_command_line(TrainConfig.__doc__)
_types = typing.get_type_hints(TrainOptions)
TrainOptions.__annotations__ = {
    field.name: Annotated[_types[field.name], Parameter(group=_group_of(field.name))]
    for field in dataclasses.fields(TrainOptions)
}
