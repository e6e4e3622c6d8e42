"""`Trainer`: the training loop."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from pairsim._common.devices import deterministic, resolve_device
from pairsim._common.environment import describe_environment
from pairsim._common.precision import Precision, resolve_precision
from pairsim.data.loading.loader import TimedBatches
from pairsim.data.random import stream_key
from pairsim.errors import TrainingError
from pairsim.models import OperatingPoint, SimilarityModel
from pairsim.training.callbacks import Callback
from pairsim.training.config import TrainConfig
from pairsim.training.data_setup import TrainingData, set_up_data
from pairsim.training.distributed.agreement import check_alike, read_on_main
from pairsim.training.distributed.world import World
from pairsim.training.history import EpochRecord, History
from pairsim.training.optimize.allocator import keeping_freed_memory
from pairsim.training.optimize.batch_norm import (
    processes_note,
    reestimate_batch_norm,
    share_buffers,
    synchronised,
    syncs_batch_norm,
)
from pairsim.training.optimize.optimizers import FrozenParts, Scheduler, known_backbone, make_scheduler, recipe_note
from pairsim.training.optimize.step import TrainingStep
from pairsim.training.run_folder import RunFolder
from pairsim.training.validation import Validation, fit_projection, kept_projection, validate

_CHECK_EVERY = 50  # steps between looks at the loss: each look waits for the device


class Trainer:
    """Trains a similarity model.

    The best model is chosen by validation loss and is in `model` when `fit` returns. Pairs, batches and random
    transforms are pure functions of seed, epoch and batch, so a run that is resumed goes on exactly as if it had not
    stopped (bit for bit on the same CPU, build and thread count). What `config.freeze` names is frozen while training
    goes on, and can be trained again afterwards.

    Started by `torchrun`, several processes train one model, each with a GPU of its own or all on the CPU. A batch is
    the same whatever their number, and each embeds a part of it; the loss is that of the whole batch, and `batch_size`
    its size. Only rank 0 writes, shows progress and calls callbacks, which must leave the weights alone; at the end
    the best model is in `model` everywhere. A run may be resumed with another number of processes, then not to the
    last bit the same. What differs from one process: dropout and random changes of images are drawn by each for its
    part, and batch norm's statistics (see `sync_batch_norm`). Several GPUs: not run so far.

    Args:
        model: Trained in place and moved to the device.
        config: All choices; with `config.out` a run folder is written.
        train: A labelled dataset of `(image, label)`, or a `PairDataset` for objective "pairs". Images are uint8
            pixels, which the model's preprocessing normalises, or preprocessed floating point.
        val: Likewise; by default `config.val_fraction` of the images of a labelled `train` is split off.
        callbacks: Called at the hooks of `Callback`.

    Attributes:
        is_main: Whether this process is the only one or rank 0, which is to write and print.
        world: The processes that train together.

    Raises:
        DataError: If the data cannot be trained on, or is not the same in all processes.
        DeviceError: If the device is absent.
        TrainingError: If several processes do not find each other.
        ValueError: If the images do not fit the model, or settings or models differ between processes.

    Example:
        >>> from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.randint(0, 256, (64, 16, 16), dtype=torch.uint8), [0, 1] * 32)
        >>> model = SimilarityModel(EmbeddingNet(image_size=16))
        >>> history = Trainer(model, TrainConfig(epochs=2, batch_size=16), train=images).fit()
        >>> len(history)
        2
    """

    def __init__(
        self,
        model: SimilarityModel,
        config: TrainConfig | None = None,
        *,
        train: Any,
        val: Any = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.model = model
        asked = config or TrainConfig()
        resolved = asked.resolved(len(train) if hasattr(train, "__len__") else None, backbone=known_backbone(model))
        world = World.found()
        self.is_main: bool = world.is_main
        self.callbacks: tuple[Callback, ...] = tuple(callbacks) if world.is_main else ()
        several = world.size > 1
        self.device: torch.device = resolve_device(resolved.device, local_rank=world.local_rank if several else None)
        self.precision: Precision = resolve_precision(resolved.precision, self.device)
        # what "auto" came to, so that a resume on another machine does not quietly compute something else
        place = self.device.type if several else str(self.device)
        self.config: TrainConfig = dataclasses.replace(resolved, device=place, precision=self.precision.name)
        if not world.is_main:
            self.config = dataclasses.replace(self.config, progress=False)
        self.world: World = dataclasses.replace(world, device=self.device)
        self._syncs = syncs_batch_norm(model, self.config, self.world)
        if several and self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.world.join()
        self._frozen = FrozenParts(model, self.config.freeze)
        model.to(self.device)
        if self.config.channels_last:
            model.to(memory_format=torch.channels_last)
        pin = self.config.pin_memory if self.config.pin_memory is not None else self.device.type == "cuda"
        with self.world.one_first(self.config.cache_dir is not None):  # which fills the cache
            self.data: TrainingData = set_up_data(train, val, self.config, model, pin_memory=pin, world=self.world)
        check_alike(self.world, self.data.fingerprint, self.config, model)
        self.world.take_over(itertools.chain(model.parameters(), model.buffers()))
        self.history: History = History(num_images=self.data.loader.plan.num_images, notes=list(self.data.notes))
        if known_backbone(model) is not None:
            self.history.notes.append(recipe_note(resolved))
        if several:
            self.history.notes.append(processes_note(self.world, self._syncs, model))
        self._train_step = TrainingStep(
            model, self.config, self.precision, self.device, note=self.history.notes.append, world=self.world
        )
        self.optimizer: Optimizer = self._train_step.optimizer
        self._steps_per_epoch = math.ceil(self.data.loader.plan.num_batches / self.config.grad_accumulation)
        self.scheduler: Scheduler | None = make_scheduler(
            self.config, self.optimizer, total_steps=self._num_epochs * self._steps_per_epoch
        )
        self._ema: AveragedModel | None = None
        if self.config.ema_decay is not None:
            self._ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(self.config.ema_decay), use_buffers=True)
        self._run = RunFolder(self.config.out) if self.config.out is not None and world.is_main else None
        self._best: dict[str, Tensor] | None = None
        self._best_loss = math.inf
        self._best_point: OperatingPoint | None = None
        self._next = (0, 0)  # epoch and batch to go on with
        self._loss_sum = torch.zeros((), dtype=torch.float32, device=self.device)
        self._step = 0
        self._stopped = False

    @property
    def _num_epochs(self) -> int:
        assert self.config.epochs is not None, "the config is resolved"
        return self.config.epochs

    def stop(self) -> None:
        """End training after the current epoch; for callbacks."""
        self._stopped = True

    def fit(self, resume: Literal["auto", "never"] = "auto") -> History:
        """Train to the end.

        Args:
            resume: "auto" goes on from the newest checkpoint in `config.out`, if there is one; "never" starts again
                and removes an earlier run there.

        Returns:
            One record for each epoch, those before a resume included.

        Raises:
            RunError: If the run folder cannot be used or written.
            TrainingError: If the loss is not finite.
        """
        for _ in self.epochs(resume):
            pass
        return self.history

    def epochs(self, resume: Literal["auto", "never"] = "auto") -> Iterator[EpochRecord]:
        """Train an epoch each time the next record is asked for; the same as `fit`, step by step.

        Yields:
            The record of each epoch.
        """
        if resume not in ("auto", "never"):
            raise ValueError(f'Expected resume to be "auto" or "never", got {resume!r}.')
        self._start(resume)
        if self.config.compile:
            self.model.embedding_net.compile()
        for callback in self.callbacks:
            callback.on_fit_start(self)
        with self._progress() as bar, self._frozen.without_gradients(self.model), self._synchronised():
            while self._next[0] < self._num_epochs and not self._is_stopped():
                with (
                    keeping_freed_memory(self.device),
                    deterministic(self.config.deterministic),
                    torch.random.fork_rng(self._rng_devices()),
                ):
                    record = self._epoch(bar)
                for callback in self.callbacks:
                    callback.on_epoch_end(self, record)
                yield record
        if self._best is not None:
            self.model.load_state_dict(self._best)
            self.world.take_over(self.model.state_dict().values())
        self.model.eval()
        self.model.operating_point, self.model.calibration = (
            self._best_point,
            None,
        )  # a calibration was of other weights
        if self._run is not None and self._best is not None:
            self._run.write_best(self.model)
        for callback in self.callbacks:
            callback.on_fit_end(self, self.history)
        self.world.part_in_peace()

    def _rng_devices(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []

    def _is_stopped(self) -> bool:
        """Whether training is to end, in all processes if in one."""
        self._stopped = self.world.any(self._stopped)
        return self._stopped

    def _synchronised(self) -> contextlib.AbstractContextManager[None]:
        models = [self.model] if self._ema is None else [self.model, self._validated_model()]
        return synchronised(models, skip=self._frozen.holds) if self._syncs else contextlib.nullcontext()

    def _start(self, resume: str) -> None:
        state = read_on_main(self.world, lambda: self._open_run(resume))
        if state is not None:
            self._restore(state)

    def _open_run(self, resume: str) -> dict[str, Any] | None:
        if self._run is None:
            return None
        info = {
            "data": self.data.fingerprint,
            "precision": self.precision.name,
            "environment": describe_environment(self.device, num_processes=self.world.size),
        }
        return self._run.start(info, self.config.to_dict(), resume=resume == "auto")

    def _progress(self) -> tqdm[Any]:
        plan = self.data.loader.plan
        done = self._next[0] * plan.num_images
        shown = self.config.progress
        return tqdm(
            total=self._num_epochs * plan.num_images,
            initial=done,
            unit=" images",
            unit_scale=True,
            file=sys.stderr,
            disable=None if shown is None else not shown,
            dynamic_ncols=True,
        )

    def _epoch(self, bar: tqdm[Any]) -> EpochRecord:
        began = time.perf_counter()
        epoch, first_batch = self._next
        plan = self.data.loader.plan
        bar.set_description(f"epoch {epoch + 1}/{self._num_epochs}", refresh=False)
        self.model.train()
        self._frozen.set_eval(self.model)
        batches = TimedBatches(self.data.loader.epoch(epoch, start=first_batch))
        for number, (images, extra) in enumerate(batches, start=first_batch):
            # Dropout and the like become a function of the step, so that a resumed run draws the same.
            torch.manual_seed(stream_key("step", self.config.seed, epoch, number))
            last = number + 1 == plan.num_batches
            update = last or (number + 1) % self.config.grad_accumulation == 0
            self._loss_sum += self._train_step(images, extra, update=update)
            if update:
                self._after_update()
                if self._step % _CHECK_EVERY == 0 or last:
                    self._check_loss(epoch, number)
                every = self.config.checkpoint_steps
                if every is not None and self._step % every == 0 and not last:
                    self._check_loss(epoch, number)
                    self._next = (epoch, number + 1)
                    self._save_checkpoint()
            bar.update(len(extra) * self._train_step.images_per_target)  # of all processes
        record = self._end_epoch(epoch, plan.num_batches)
        self.history.records.append(record)
        self.history.seconds.append(time.perf_counter() - began)
        self.history.waiting.append(batches.seconds / self.history.seconds[-1])
        self._next = (epoch + 1, 0)
        self._loss_sum.zero_()
        patience, best = self.config.early_stopping, self.history.best
        if patience is not None and best is not None and record.epoch - best.epoch >= patience:
            self._stopped = True
        shown = record.val_loss if record.val_loss is not None else record.train_loss
        bar.set_postfix_str(f"{'val' if record.val_loss is not None else 'train'} loss {shown:.4f}", refresh=False)
        self._save_checkpoint()
        if self._run is not None:
            self._run.write_log(self.history)
        return record

    def _after_update(self) -> None:
        """What follows an update of the weights."""
        self._step += 1
        # a step that the scaler has skipped does not count for the schedule
        skipped = self._train_step.skipped
        if self.scheduler is not None and not isinstance(self.scheduler, ReduceLROnPlateau) and not skipped:
            self.scheduler.step()
        if self._ema is not None:
            self._ema.update_parameters(self.model)
        for callback in self.callbacks:
            callback.on_step_end(self, self._step)

    def _check_loss(self, epoch: int, number: int) -> None:
        if self.world.any(not math.isfinite(float(self._loss_sum))):
            raise TrainingError(
                f"Expected a finite loss, found NaN or infinity by batch {number + 1} of epoch {epoch + 1}. "
                "Lower learning_rate, set grad_clip=1.0, or use precision fp32. Saved checkpoints are from before."
            )

    def _end_epoch(self, epoch: int, num_batches: int) -> EpochRecord:
        (train_loss,) = self.world.agreed([float(self._loss_sum) / num_batches])
        model = self._validated_model()
        self._reestimate_batch_norm(model, epoch)
        self._share_buffers()
        similarities = self._validation_similarities(model)
        validation = None if similarities is None else self._agreed(model, validate(model, similarities))
        criterion = validation.loss if validation is not None else train_loss
        learning_rate = float(self.optimizer.param_groups[0]["lr"])
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(criterion)
        best = validation is None or criterion < self._best_loss
        if best:
            self._best_loss = criterion
            if validation is None or similarities is None:
                self._keep(model, None)
            else:
                with kept_projection(model, similarities, validation) as kept:
                    self._keep(model, self._agreed(model, kept).operating_point(model))
        return EpochRecord(
            epoch=epoch + 1,
            train_loss=train_loss,
            val_loss=None if validation is None else validation.loss,
            val_balanced_accuracy=None if validation is None else validation.balanced_accuracy,
            learning_rate=learning_rate,
            best=best,
        )

    def _agreed(self, model: SimilarityModel, found: Validation) -> Validation:
        """The figures and the projection of rank 0: all decide by them, and another GPU may round otherwise."""
        self.world.take_over(model.projection.parameters())
        loss, accuracy, fmr, fnmr = self.world.agreed([found.loss, found.balanced_accuracy, found.fmr, found.fnmr])
        return dataclasses.replace(found, loss=loss, balanced_accuracy=accuracy, fmr=fmr, fnmr=fnmr)

    def _share_buffers(self) -> None:
        """What each process has seen of its own images becomes common, so that all have the model that is saved."""
        for model in (self.model,) if self._ema is None else (self.model, self._validated_model()):
            share_buffers(model, self.world, skip=self._frozen.holds)

    def _keep(self, model: SimilarityModel, point: OperatingPoint | None) -> None:
        self._best_point = model.operating_point = point
        model.calibration = None
        self._best = {name: value.detach().clone() for name, value in model.state_dict().items()}
        if self._run is not None:
            self._run.write_best(model)

    def _validated_model(self) -> SimilarityModel:
        if self._ema is None:
            return self.model
        averaged = self._ema.module
        assert isinstance(averaged, SimilarityModel)
        return averaged

    def _reestimate_batch_norm(self, model: SimilarityModel, epoch: int) -> None:
        if not self.config.batch_norm_batches:
            return
        batches = itertools.islice(self.data.loader.epoch(epoch), self.config.batch_norm_batches)
        with self.precision.autocast():
            reestimate_batch_norm(model, (images for images, _ in batches), model.embed, skip=self._frozen.holds)

    def _validation_similarities(self, model: SimilarityModel) -> list[tuple[Tensor, Tensor]] | None:
        """Similarities of positive and negative validation pairs, part by part; `None` without validation data."""
        if self.data.val_loader is None or self.data.val_pairs is None:
            return None
        parts = []
        with model.evaluating(), torch.no_grad():
            for images, _ in self.data.val_loader.epoch(0):
                with self.precision.autocast():
                    parts.append(model.embed(images))
            rows = self.data.val_rows
            own = torch.cat(parts)[: rows.stop - rows.start]
            embeddings = self.world.gathered(own, rows, self.data.num_val_images)
            similarities = self.data.val_pairs.parts(embeddings)
            if callable(self.config.objective):  # which does not train it
                fit_projection(model, similarities)
            return similarities

    def _save_checkpoint(self) -> None:
        self._share_buffers()
        if self._run is None:
            return
        self._run.write_checkpoint(
            self._step,
            {
                "next": self._next,
                "step": self._step,
                "loss_sum": self._loss_sum,
                "model": self.model.state_dict(),
                "preprocessing": self.model.preprocessing.to_dict(),
                "training_step": self._train_step.state_dict(),
                "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
                "ema": None if self._ema is None else self._ema.state_dict(),
                "best": self._best,
                "best_loss": self._best_loss,
                "best_point": None if self._best_point is None else dataclasses.asdict(self._best_point),
                "stopped": self._stopped,
                "records": [vars(record) for record in self.history.records],
                "seconds": self.history.seconds,
                "waiting": self.history.waiting,
            },
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self._next = state["next"]
        self._step = state["step"]
        self._loss_sum = state["loss_sum"].to(self.device)
        self.model.load_state_dict(state["model"])
        self.model.preprocessing = type(self.model.preprocessing).from_dict(state["preprocessing"])
        self._train_step.load_state_dict(state["training_step"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self._ema is not None:
            self._ema.load_state_dict(state["ema"])
        self._best = state["best"]
        self._best_loss = state["best_loss"]
        point = state["best_point"]
        self._best_point = None if point is None else OperatingPoint.from_dict(point)
        self._stopped = state["stopped"]
        self.history.records = [EpochRecord(**record) for record in state["records"]]
        self.history.seconds = list(state["seconds"])
        self.history.waiting = list(state["waiting"])
        self.history.notes += state["problems"]
        self.history.notes.append(f"Resumed in epoch {self._next[0] + 1} at step {self._step:,}.")
        if self._run is not None:
            self._run.write_log(self.history)
