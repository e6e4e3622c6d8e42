"""`Trainer`: the training loop."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pairsim._common.choices import Resume
from pairsim._common.devices import deterministic
from pairsim._common.precision import Precision
from pairsim._common.progress import progress_bar
from pairsim.data.generators import seed_generators
from pairsim.data.loading.loader import TimedBatches
from pairsim.data.random import stream_key
from pairsim.errors import TrainingError, advising_smaller_batches
from pairsim.models import SimilarityModel
from pairsim.models.given_model import check_model
from pairsim.training.callbacks import Callback
from pairsim.training.checkpointing.run_folder import RunFolder
from pairsim.training.config import TrainConfig
from pairsim.training.data_setup import TrainingData
from pairsim.training.distributed.world import World
from pairsim.training.history import EpochRecord, History
from pairsim.training.optimize.allocator import keeping_freed_memory
from pairsim.training.optimize.batch_norm import share_buffers, synchronised
from pairsim.training.optimize.optimizers import Scheduler
from pairsim.training.run_setup import RunSetup
from pairsim.training.training_state import collapse_notes, end_epoch, skip_notes

if TYPE_CHECKING:
    from tqdm import tqdm

_CHECK_EVERY = 50
"""Steps between checks that loss and weights are finite: each check waits for the device."""


class Trainer:
    """Trains a similarity model.

    The best model is chosen by validation loss and is in `model` when `fit` returns. Pairs, batches and random
    transforms are pure functions of seed, epoch and batch, so a resumed run continues as if it had not been interrupted
    (bit for bit on the same CPU, build and thread count). Parts that `config.freeze` names are frozen during training
    only.

    Started by `torchrun`, several processes train one model, each on its own GPU or all on the CPU. Batches do not
    depend on the number of processes: each process embeds a part of a batch, the loss is that of the whole batch, and
    `batch_size` is its size. Only rank 0 writes files, shows progress and calls callbacks, which must not change the
    weights; at the end all processes have the best model. A run can be resumed with another number of processes, but
    not bit for bit. What differs from one process: each draws dropout and random changes of images for its part, and
    batch norm may take its statistics of each part (see `sync_batch_norm`). Several GPUs have not been tested.

    Args:
        model: Trained in place and moved to the device.
        config: All settings; with `config.out` a run folder is written.
        train: A labelled dataset of `(image, label)`, or a `PairDataset` for objective "pairs". Images are uint8
            pixels, which the model's preprocessing normalises, or preprocessed floating point.
        val: The same kinds of data, given pairs of both kinds; by default `config.val_fraction` of the images of a
            labelled `train` is split off.
        callbacks: Called at the hooks of `Callback`.

    Attributes:
        is_main: Whether this process writes and prints: the only process, or rank 0.
        world: The processes that train together.

    Raises:
        DataError: If the data cannot be trained on, or is not the same in all processes.
        DeviceError: If the device is absent.
        TrainingError: If several processes cannot connect.
        TypeError: If `model` is not a `SimilarityModel`, data is not a map-style dataset, or a callback is
            not a `Callback`.
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
        check_model(model)
        if config is not None and not isinstance(config, TrainConfig):
            raise TypeError(f"Expected config to be a TrainConfig, got {type(config).__name__}. Give TrainConfig(...).")
        given: list[Any] = list(callbacks) if isinstance(callbacks, Iterable) else []
        wrong = [callback for callback in given if not isinstance(callback, Callback)]
        if wrong or not isinstance(callbacks, Iterable):
            found = wrong[0] if wrong else callbacks
            raise TypeError(f"Expected callbacks to be a list of Callback objects, got {found!r}.")
        self.model = model
        self._setup = setup = RunSetup(model, config or TrainConfig(), train, val)
        self.config: TrainConfig = setup.config
        self.world: World = setup.world
        self.device: torch.device = setup.world.device
        self.precision: Precision = setup.precision
        self.data: TrainingData = setup.data
        self.is_main: bool = self.world.is_main
        self.callbacks: tuple[Callback, ...] = tuple(given) if self.is_main else ()
        self.history: History = History(num_images=self.data.loader.plan.num_images, notes=setup.notes)
        self._state = setup.new_state(model, self.history)
        self.optimizer: Optimizer = self._state.training_step.optimizer
        self.scheduler: Scheduler | None = self._state.scheduler
        self._run = RunFolder(self.config.out if self.is_main else None)
        self._interrupted = False
        self._within_batches = False  # weights and `_state.next` are of different steps
        self._trainable = {value for value in model.parameters() if value.requires_grad}

    def stop(self) -> None:
        """End training after the current epoch; for callbacks."""
        self._state.stopped = True

    def interrupt(self) -> None:
        """End training after the current step, so that `fit` raises `KeyboardInterrupt`; for handlers of signals.

        With `config.out` a checkpoint is saved first: `fit` of the same settings continues from that step as if it had
        not been interrupted. A validation that has begun is completed. Several processes have to be interrupted at the
        same step.
        """
        self._interrupted = True

    def fit(self, resume: Resume = "auto") -> History:
        """Train to the end.

        Args:
            resume: "auto" continues from the newest checkpoint in `config.out`, if there is one; "never" starts again
                and removes an earlier run there. "changed-images" continues also where pixels or picture files are not
                those that the run was started with.

        Returns:
            One record for each epoch, including those before a resume.

        Raises:
            RunError: If the run folder cannot be used or written, or another training uses it.
            KeyboardInterrupt: After `interrupt`.
            TrainingError: If the loss, the weights or the state of the optimizer are not finite; if the model has other
                parameters than when the trainer was made; or if an error ended an earlier `fit` within an epoch, and
                there is no checkpoint.
            ValueError: If `resume` is unknown, or "never" after steps of this trainer: a new one starts again.
        """
        for _ in self.epochs(resume):
            pass
        return self.history

    def save_current(self, resume: Resume = "auto") -> None:
        """Save the model as it is now as the best one, its projection and threshold fitted to the validation pairs.

        Before `fit` it begins a run without epochs; after it, what was changed in the model since is saved too. If the
        run holds this model already, its files stay as they are, and the model gets the threshold and the calibration
        that are stored there.

        Args:
            resume: As for `fit`, for a run without epochs: a model of other settings, data or another net is replaced
                only with "never".

        Raises:
            RunError: If the run folder cannot be used or written.
        """
        begins = not self._state.records
        with self._locked():
            self._state.fit_current(self.data)
            if begins:
                self._start(resume, result=self.model)
            self._state.save(self._run)
            for callback in self.callbacks if begins else ():
                callback.on_fit_end(self, self.history)

    def epochs(self, resume: Resume = "auto") -> Iterator[EpochRecord]:
        """Train one epoch each time the next record is asked for; the same as `fit`, step by step.

        The run folder is locked until the last record was asked for, or the iterator is closed or dropped.

        Yields:
            The record of each epoch.
        """
        if resume not in get_args(Resume):
            raise ValueError(f"Expected resume to be one of {', '.join(get_args(Resume))}, got {resume!r}.")
        with self._locked():
            yield from self._epochs(resume)

    def _epochs(self, resume: Resume) -> Iterator[EpochRecord]:
        self._start(resume)
        state = self._state
        begun = state.step
        total, done = (epochs * self.history.num_images for epochs in (self._setup.num_epochs, state.next[0]))
        with (
            progress_bar(total, "", "images", self.config.progress, initial=done, leave=True) as bar,
            self._setup.frozen.without_gradients(self.model),
            synchronised(state.models if self._setup.syncs_batch_norm else (), skip=self._setup.frozen.holds),
        ):
            while state.next[0] < self._setup.num_epochs and not self.world.any_rank(state.stopped):
                with (
                    keeping_freed_memory(self.device),
                    deterministic(self.config.deterministic),
                    torch.random.fork_rng([self.device] if self.device.type == "cuda" else []),
                ):
                    record = self._train_epoch(bar)
                for callback in self.callbacks:
                    callback.on_epoch_end(self, record)
                if self._interrupted:
                    self._end_here()
                yield record
        state.load_best(self._run, replaces=state.step > begun)
        self.history.notes += [*skip_notes(state), *collapse_notes(state, self.data)]
        for callback in self.callbacks:
            callback.on_fit_end(self, self.history)
        self.world.destroy_at_exit()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep the run folder to this trainer; if another has it, all processes raise the same error."""
        with contextlib.ExitStack() as stack:
            self.world.call_on_main(lambda: stack.enter_context(self._run.locked()))
            yield

    def _start(self, resume: Resume, result: SimilarityModel | None = None) -> None:
        """Open the run folder, restore the newest checkpoint if there is one, and compile.

        Args:
            resume: As for `fit`.
            result: The model of a run without epochs.
        """
        if resume == "never" and self._state.step:
            raise ValueError(
                'Expected resume="auto" of a Trainer that has trained, got "never". To start again, make a new Trainer '
                "with a new model."
            )
        if any(value.requires_grad and value not in self._trainable for value in self.model.parameters()):
            raise TrainingError(
                "Expected the parameters to train that the model had when the Trainer was made, found others, which "
                "its optimizer does not have. Change the model first, then make a new Trainer."
            )
        description = self._setup.description()
        saved = self.world.call_on_main(
            lambda: self._run.start(
                description,
                self.config,
                self.data.split,
                resume=resume != "never",
                accepts_images=resume == "changed-images",
                result=result,
            )
        )
        if saved is None and self._within_batches:
            raise TrainingError(
                f"Expected a Trainer between two epochs or a checkpoint, found one that an error ended within epoch "
                f"{self._state.next[0] + 1}. Make a new Trainer with a new model."
            )
        if saved is not None:
            self._state.load_state_dict(saved)
            self._within_batches = False
            self.history.notes += saved["problems"]
            self.history.notes.append(f"Resumed in epoch {self._state.next[0] + 1} at step {self._state.step:,}.")
            self._run.write_log(self.history)
        if self.config.compile:
            self.model.embedding_net.compile()
        for callback in self.callbacks:
            callback.on_fit_start(self)

    def _train_epoch(self, bar: tqdm[Any]) -> EpochRecord:
        """Train on the batches of an epoch that are left, validate, and save a checkpoint."""
        began = time.perf_counter()
        state, images_per_target = self._state, self._state.training_step.objective.images_per_target
        epoch, first_batch = state.next
        num_batches, batch_size = self.data.loader.plan.num_batches, self.config.batch_size
        assert batch_size is not None, "the config is resolved"
        bar.set_description(f"epoch {epoch + 1}/{self._setup.num_epochs}", refresh=False)
        self.model.train()
        self._setup.frozen.set_eval(self.model)
        batches = TimedBatches(self.data.loader.epoch(epoch, start=first_batch))
        for number, (images, targets) in enumerate(batches, start=first_batch):
            self._within_batches = True
            # Dropout and other random layers depend on the step only, so that a resumed run draws the same numbers.
            seed_generators(stream_key("step", self.config.seed, epoch, number), self.device)
            is_last = number + 1 == num_batches
            update = is_last or (number + 1) % self.config.grad_accumulation == 0
            with advising_smaller_batches(batch_size, smallest=2):
                state.loss_sum += state.training_step(images, targets, update=update)
            if update:
                self._after_update()
                ends, every = self._interrupted, self.config.checkpoint_steps
                saves = ends or (every is not None and state.step % every == 0)
                if is_last or saves or state.step % _CHECK_EVERY == 0:
                    self._check_finite(epoch, number)
                if saves and not is_last:
                    state.next, self._within_batches = (epoch, number + 1), False
                    self._save_checkpoint()
                    if ends:
                        self._end_here()
            bar.update(len(targets) * images_per_target)  # of all processes
        record = end_epoch(
            state, self.data, self._setup.frozen, self._run, train_loss=float(state.loss_sum) / num_batches
        )
        kind, loss = ("train", record.train_loss) if record.val_loss is None else ("val", record.val_loss)
        if isinstance(state.scheduler, ReduceLROnPlateau):
            state.scheduler.step(loss)
        seconds = time.perf_counter() - began
        state.records.append(record)
        state.seconds.append(max(round(seconds, 3), 0.001))  # as the log has them, from which a resume reads them
        state.waiting.append(round(batches.seconds / seconds, 4))
        state.next, self._within_batches = (epoch + 1, 0), False
        state.loss_sum.zero_()
        state.skipped = 0
        patience, best = self.config.early_stopping, self.history.best
        if patience is not None and best is not None and record.epoch - best.epoch >= patience:
            state.stopped = True
        bar.set_postfix_str(f"{kind} loss {loss:.4f}", refresh=False)
        self._run.write_log(self.history)
        self._save_checkpoint()
        return record

    def _after_update(self) -> None:
        """Step the schedule, the moving average and the callbacks."""
        state, scheduler = self._state, self._state.scheduler
        state.step += 1
        skipped = state.training_step.skipped
        state.skipped += skipped
        if not (scheduler is None or isinstance(scheduler, ReduceLROnPlateau) or skipped):
            scheduler.step()
        if state.ema is not None:
            state.ema.update_parameters(self.model)
        for callback in self.callbacks:
            callback.on_step_end(self, state.step)

    def _end_here(self) -> None:
        self._interrupted = False
        epoch, batch = self._state.next
        saved = 'A checkpoint is saved: fit(resume="auto"), or the same command with --resume auto, continues from it.'
        raise KeyboardInterrupt(
            f"training ended at step {self._state.step:,}, batch {batch:,} of epoch {epoch + 1}. "
            f"{'Nothing is saved without config.out.' if self.config.out is None else saved}"
        )

    def _check_finite(self, epoch: int, number: int) -> None:
        is_finite = math.isfinite(float(self._state.loss_sum))
        found = self._state.not_finite() if is_finite else "a finite loss"
        if self.world.any_rank(found is not None):
            raise TrainingError(
                f"Expected {found or 'finite weights'}, found NaN or infinity by batch {number + 1} of epoch "
                f"{epoch + 1}. Lower learning_rate, set grad_clip=1.0, or use precision fp32. Saved checkpoints are "
                "from before."
            )

    def _save_checkpoint(self) -> None:
        share_buffers(self._state.models, self.world, skip=self._setup.frozen.holds)
        self._run.write_checkpoint(self._state)
