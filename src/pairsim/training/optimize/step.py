"""One training step: forward, loss, backward, and the optimizer's turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pairsim._common.precision import Precision
from pairsim.data.random import stream_key
from pairsim.errors import TrainingError
from pairsim.models import SimilarityModel
from pairsim.training.config import TrainConfig
from pairsim.training.distributed.world import World
from pairsim.training.objectives.losses import all_pairs_loss, function_loss, pairs_loss
from pairsim.training.optimize.embedding_memory import EmbeddingMemory
from pairsim.training.optimize.graphed_step import GraphedStep
from pairsim.training.optimize.optimizers import make_optimizer

_ALONE = World()


class TrainingStep:
    """Trains a model by a batch at a time.

    Of several processes each embeds its part of the batch. The embeddings are exchanged, and every process computes
    the loss of the whole batch: matrix products are cheap beside a net, an objective of the caller's own works as with
    one process, and what comes back to the embeddings needs no exchange. Then the gradients of the weights are added
    up, once an update. So an update is that of the whole batch, whatever the number of processes.

    Nothing in a step waits for the device, but for fp16, whose scaler has to know whether a gradient was infinite.

    Args:
        model: Trained in place; on its device.
        config: Resolved.
        precision: Number format of the forward pass.
        device: Where the model is.
        note: Told what was decided, a line at a time.
        world: The processes that train together.

    Attributes:
        optimizer: Of the model's parameters that need gradients and are not frozen.
        skipped: Whether the scaler of fp16 skipped the last update, because a gradient was not finite.
    """

    def __init__(
        self,
        model: SimilarityModel,
        config: TrainConfig,
        precision: Precision,
        device: torch.device,
        *,
        note: Callable[[str], object],
        world: World = _ALONE,
    ) -> None:
        self.model = model
        self.world = world
        self.config = config
        self.precision = precision
        self.skipped: bool = False
        reason = _why_not_graphed(config, precision, device, world)
        self.optimizer: Optimizer = make_optimizer(config, model, recordable=reason is None)
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision.scales_gradients)
        self._memory: EmbeddingMemory | None = None
        if config.memory_size:
            self._memory = EmbeddingMemory(config.memory_size, _embedding_dim(model)).to(device)
        self._used: list[bool] | None = None
        self._graphed: GraphedStep | None = None
        if reason is None:
            self._graphed = GraphedStep(
                self._whole, before_recording=self._drop_gradients, note=note, always=bool(config.cuda_graph)
            )
        elif config.cuda_graph:
            note(f"Steps run one by one, not as a CUDA graph: {reason}.")

    def __call__(self, images: Tensor, extra: Tensor, *, update: bool) -> Tensor:
        """Learn from a batch.

        Args:
            images: `[N, C, H, W]` on the device; of several processes, its part, as of `PartialBatches`.
            extra: What the objective needs to know of them: targets or class numbers, on the device.
            update: Whether the optimizer has its turn after it, with the gradients gathered since its last one.

        Returns:
            The loss of the batch, a scalar on the device; the next call may overwrite it.

        Raises:
            TrainingError: If memory runs out; with a batch size that fits, found by trying.
        """
        try:
            if self._graphed is not None:
                return self._graphed(images, extra)
            loss = self._gather(images, extra)
            if update:
                self._update()
            return loss
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            tried = len(extra)
            if self.world.size > 1:  # trying smaller ones would leave the other processes waiting
                raise TrainingError(
                    f"Expected memory for {len(images)} of a batch of {tried} on {images.device}, there is not enough. "
                    "Lower batch_size, or start more processes."
                ) from error
        # outside of the handler, whose traceback keeps the tensors of the failed step alive
        fits = self._batch_size_that_fits(images, extra)
        advice = f"batch_size={fits} fits" if fits else "not even 2 fit: use smaller images or another net"
        raise TrainingError(
            f"Expected memory for a batch of {tried} on {images.device}, there is not enough; {advice}. "
            "For the gradients of a larger batch from smaller ones, use grad_accumulation."
        )

    def _batch_size_that_fits(self, images: Tensor, extra: Tensor) -> int | None:
        """The largest half, quarter and so on of a batch that can be learnt from; `None` if not even two can."""
        size = len(extra) // 2
        towers = len(images) // len(extra)  # 2 for pairs: first images, then second images
        while size >= 2:
            self._drop_gradients()
            if images.device.type == "cuda":
                torch.cuda.empty_cache()
            part = torch.cat([tower[:size] for tower in images.chunk(towers)])
            try:
                self._gather(part, extra[:size])
                self._drop_gradients()
                return size
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
            size //= 2
        return None

    def _whole(self, images: Tensor, extra: Tensor) -> Tensor:
        loss = self._gather(images, extra)
        self._update()
        return loss

    def _gather(self, images: Tensor, extra: Tensor) -> Tensor:
        """Forward and backward; the gradients are added to those that are there."""
        if self.world.size > 1:
            return self._gather_together(images, extra)
        with self.precision.autocast():
            embeddings = self.model.embed(images)
        loss = self._loss(embeddings, extra)
        self._scaler.scale(loss / self.config.grad_accumulation).backward()
        return loss.detach()

    def _gather_together(self, images: Tensor, extra: Tensor) -> Tensor:
        """The same for a batch in parts; the gradients of all processes add up to those of the batch."""
        size = self.world.size
        total = len(extra) * self.images_per_target
        rows = self.world.part(total)
        # Dropout must not be the same in every part; what the objective draws must be.
        key = torch.initial_seed()
        torch.manual_seed(stream_key("rank", key, self.world.rank))
        embeddings = self._embed_part(images, rows.stop - rows.start)
        torch.manual_seed(key)
        whole = self.world.gathered(embeddings.detach(), rows, total).requires_grad_()
        loss = self._loss(whole, extra)
        # Weights that the loss itself holds, as those of the projection, get the gradient in every process: one share
        # each. The embeddings' is whole everywhere.
        self._scaler.scale(loss / self.config.grad_accumulation / size).backward()
        if whole.grad is not None and embeddings.requires_grad:
            embeddings.backward(whole.grad[rows] * size)
        return loss.detach()

    def _embed_part(self, images: Tensor, count: int) -> Tensor:
        with self.precision.autocast():
            if count or any(isinstance(module, nn.SyncBatchNorm) for module in self.model.modules()):
                return self.model.embed(images[:count])  # empty too where the others wait for its statistics
            with self.model.evaluating(), torch.no_grad():
                return self.model.embed(images)[:0]

    @property
    def images_per_target(self) -> int:
        """Images for each number that the objective gets: first and second ones for pairs."""
        return 2 if self.config.objective == "pairs" else 1

    def _loss(self, embeddings: Tensor, extra: Tensor) -> Tensor:
        config = self.config
        if config.objective == "pairs":
            return pairs_loss(self.model, embeddings, extra)
        if callable(config.objective):
            return function_loss(config.objective, embeddings, extra)
        memory = None if self._memory is None else (self._memory.embeddings, self._memory.labels)
        loss = all_pairs_loss(
            self.model, embeddings, extra, prior=config.prior, hard_pairs=config.hard_pairs, memory=memory
        )
        if self._memory is not None:
            self._memory.update(embeddings.detach(), extra)
        return loss

    def _add_up_gradients(self) -> None:
        """Sum the gradients of all processes.

        Not by DistributedDataParallel: it takes means where parts of one batch add up, and stops at weights that a
        loss leaves out and at processes without an image. What it has beyond this is that it sends while it computes.
        """
        if self.world.size == 1:
            return
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if self._used is None:
            # A weight without a gradient in one process may have one in another; one without any stays so, as the
            # optimizer passes it over then. Asked once, as the answer has to be waited for.
            held = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int32)
            held = held.to(self.world.device)
            self.world.add_up([held])
            self._used = [bool(count) for count in held.tolist()]
        for parameter, used in zip(trained, self._used, strict=True):
            if used and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            elif not used and parameter.grad is not None:
                raise TrainingError(
                    "Expected the weights that the first step trained, found a gradient for one more. With several "
                    "processes every step must use the same parts of the net; train with one."
                )
        self.world.add_up([parameter.grad for parameter in trained if parameter.grad is not None])

    def _update(self) -> None:
        self._add_up_gradients()
        if self.config.grad_clip is not None:
            self._scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        before = self._scaler.get_scale() if self.precision.scales_gradients else 1.0
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.skipped = self.precision.scales_gradients and self._scaler.get_scale() < before
        self._drop_gradients()

    def _drop_gradients(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on: the state of the optimizer, of the scaler and of the memory."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "memory": None if self._memory is None else self._memory.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._match_parameters()
        self._scaler.load_state_dict(state["scaler"])
        if self._memory is not None:
            self._memory.load_state_dict(state["memory"])

    def _match_parameters(self) -> None:
        """Put the optimizer's tensors where their parameters are, laid out likewise: kernels differ by layout."""
        for parameter, values in self.optimizer.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"] = group["lr"].to(group["params"][0].device)


def _out_of_memory(error: RuntimeError) -> bool:
    # the CPU's allocator raises a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _embedding_dim(model: SimilarityModel) -> int:
    found = getattr(model.embedding_net, "embedding_dim", None)
    if not isinstance(found, int):
        raise TypeError(
            f"Expected {type(model.embedding_net).__name__} to have an attribute embedding_dim, the length of an "
            "embedding, for memory_size > 0, found none. Add it, or set memory_size=0."
        )
    return found


def _why_not_graphed(config: TrainConfig, precision: Precision, device: torch.device, world: World) -> str | None:
    """Why steps cannot be recorded as a CUDA graph, or `None` if they can."""
    if config.cuda_graph is False:
        return "cuda_graph is false"
    if device.type != "cuda":
        return f"the device is {device.type}"
    if world.size > 1:
        return "several processes train together"
    if precision.scales_gradients:
        return "fp16 has to look at its gradients between steps, use precision bf16 or fp32"
    if config.grad_accumulation > 1:
        return "grad_accumulation is more than 1"
    if callable(config.optimizer):
        return "the optimizer is the caller's own"
    return None
