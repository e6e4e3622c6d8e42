"""The options of `pairsim train`, made from those of `TrainConfig`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal, TypeVar

from cyclopts import Group, Parameter

from pairsim.training import config_options
from pairsim.training.config import TrainConfig

T = TypeVar("T")

_GROUPS = {group: Group(group.value, sort_key=index) for index, group in enumerate(config_options.Group)}


def for_command_line(config_class: type[T]) -> type[T]:
    """Give the fields of a config class the types, groups and texts that cyclopts reads.

    A field with choices takes these alone, without the functions that Python may give.
    """
    config_class.__annotations__ = {
        field.name: Annotated[
            Literal[rules.names] if rules.names else field.type,
            Parameter(group=_GROUPS[rules.group], help=rules.command_line_help),
        ]
        for field in dataclasses.fields(config_class)  # type: ignore[arg-type]
        for rules in [field.metadata["option"]]
    }
    return config_class


@for_command_line
class TrainOptions(TrainConfig):
    """The options of `TrainConfig` as the command line takes them."""
