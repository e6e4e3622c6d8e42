"""Set up a training run: settings, processes, device, number format, objective, data and initial state."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch

from pairsim._common.devices import resolve_device
from pairsim._common.environment import describe_environment
from pairsim._common.precision import Precision, resolve_precision
from pairsim.data import PairDataset
from pairsim.models import SimilarityModel
from pairsim.training.adaptation.new_heads import fit_new_head
from pairsim.training.config import TrainConfig
from pairsim.training.data_setup import TrainingData, set_up_data
from pairsim.training.distributed.world import World, check_same
from pairsim.training.history import History
from pairsim.training.objectives.objective import Objective
from pairsim.training.objectives.objective_registry import objective_for
from pairsim.training.optimize.batch_norm import processes_note, syncs_batch_norm
from pairsim.training.optimize.moving_average import MovingAverage
from pairsim.training.optimize.optimizers import (
    FrozenParts,
    has_parameters,
    known_backbone,
    make_scheduler,
    recipe_note,
)
from pairsim.training.optimize.step import TrainingStep
from pairsim.training.training_state import TrainingState


class RunSetup:
    """The parts of a training run that do not change while it trains.

    Args:
        model: Moved to its device in place. All processes get the weights of rank 0.
        config: As given by the user.
        train: Training data.
        val: Validation data, or `None`.

    Attributes:
        config: Every setting, resolved.
        num_epochs: Number of epochs.
        world: The processes that train together.
        precision: Number format of the forward pass.
        frozen: Parts of the model that are not trained.
        syncs_batch_norm: Whether batch norm takes its statistics over all processes.
        objective: Plans batches and computes the loss.
        data: Batches and validation data.
        notes: Decisions, a line each.

    Raises:
        DataError: If the data cannot be trained on, or is not the same in all processes.
        DeviceError: If the device is absent.
        TrainingError: If several processes cannot connect.
        ValueError: If images or `config.freeze` do not fit the model, or settings or models differ between processes.
    """

    def __init__(self, model: SimilarityModel, config: TrainConfig, train: Any, val: Any) -> None:
        if config.objective == "auto" and isinstance(train, PairDataset):
            config = dataclasses.replace(config, objective="pairs")
        backbone = known_backbone(model)
        if backbone is not None and config.freeze == "none" and not has_parameters(model):
            config = dataclasses.replace(config, freeze="backbone")
        config = config.resolved(len(train) if hasattr(train, "__len__") else None, backbone=backbone)
        world = World.from_env()
        several = world.size > 1
        device = resolve_device(config.device, local_rank=world.local_rank if several else None)
        self.precision: Precision = resolve_precision(config.precision, device)
        if self.precision.name != "fp32" and model.weights_dtype != torch.float32:
            raise ValueError(
                f"Expected weights in float32 for precision {self.precision.name}, got {model.weights_dtype}. Convert "
                'them with model.float(), or pass precision="fp32", which computes in the format of the weights.'
            )
        # Record the resolved device and precision so that a resume cannot silently change them.
        self.config: TrainConfig = dataclasses.replace(
            config,
            device=str(device) if device.index and not several else device.type,  # "cuda" is "cuda:0"
            precision=self.precision.name,
            progress=config.progress if world.is_main else False,
        )
        config = self.config
        self.world: World = dataclasses.replace(world, device=device)
        world = self.world
        self.syncs_batch_norm: bool = syncs_batch_norm(model, config, world)
        if several and device.type == "cuda":
            torch.cuda.set_device(device)
        world.init_process_group()
        self.frozen: FrozenParts = FrozenParts(model, config.freeze)
        model.to(device)
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        self.objective: Objective = objective_for(config)
        with world.main_first(config.cache_dir is not None):  # which fills the cache
            self.data: TrainingData = set_up_data(train, val, config, self.objective, model, world=world)
        head = fit_new_head(model, train, self.data, precision=config.precision)
        images = {name: value for name, value in self.data.fingerprint.items() if not isinstance(value, dict)}
        check_same(world, images, config, model)  # each machine may have its own copy of the files
        world.broadcast((*model.parameters(), *model.buffers()))
        self.notes: list[str] = list(self.data.notes)
        if head is not None:
            self.notes.append(head)
        if backbone is not None:
            self.notes.append(recipe_note(config))
        if several:
            self.notes.append(processes_note(world, self.syncs_batch_norm, model))
        assert config.epochs is not None, "the config is resolved"
        self.num_epochs: int = config.epochs

    def description(self) -> dict[str, Any]:
        """Describe data and machine as JSON values, for `run.json`."""
        return {
            "data": self.data.fingerprint,
            "precision": self.precision.name,
            "environment": describe_environment(self.world.device, num_processes=self.world.size),
        }

    def new_state(self, model: SimilarityModel, history: History) -> TrainingState:
        """Create optimizer, schedule and moving average for the start of training.

        Args:
            model: The model that was set up.
            history: Gets notes, and shares its lists with the state.
        """
        config = self.config
        step = TrainingStep(model, self.objective, config, self.precision, note=history.notes.append, world=self.world)
        steps_per_epoch = math.ceil(self.data.loader.plan.num_batches / config.grad_accumulation)
        scheduler = make_scheduler(config, step.optimizer, total_steps=self.num_epochs * steps_per_epoch)
        ema = None if config.ema_decay is None else MovingAverage(model, config.ema_decay)
        loss_sum = torch.zeros((), dtype=torch.float32, device=model.device)
        return TrainingState(model, step, scheduler, ema, loss_sum, history.records, history.seconds, history.waiting)
