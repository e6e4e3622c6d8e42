"""One training step: forward pass, loss, backward pass and optimizer update."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pairsim._common.precision import Precision
from pairsim.data.generators import seed_generators
from pairsim.data.random import stream_key
from pairsim.errors import TrainingError
from pairsim.models import SimilarityModel
from pairsim.models.backbones.onnx_nets import OnnxNet
from pairsim.training.config import TrainConfig
from pairsim.training.distributed.world import World
from pairsim.training.objectives.objective import Objective
from pairsim.training.optimize.frozen_norms import FrozenNorms
from pairsim.training.optimize.graphed_step import GraphedStep, GraphRecorder
from pairsim.training.optimize.optimizers import FrozenParts, make_optimizer

_TINY = 1e-12
"""Keeps the length of a gradient from being 0."""


class TrainingStep:
    """Trains a model on one batch at a time.

    With several processes each embeds its part of the batch. The embeddings are gathered, and every process computes
    the loss of the whole batch: matrix products are cheap compared with a net, any objective works as with one process,
    and the gradients of the embeddings need no communication. The gradients of the weights are then summed over the
    processes, once per update. So an update is that of the whole batch, whatever the number of processes.

    A step does not wait for the device, except in fp16, where it reads whether a gradient was infinite.

    Args:
        model: Trained in place; on its device.
        objective: Computes the loss.
        config: Resolved.
        precision: Number format of the forward pass.
        note: Called with a line about each decision.
        world: The processes that train together.

    Attributes:
        optimizer: Updates the parameters of model and objective that need gradients and are not frozen.
        skipped: Whether the gradient scaler of fp16 skipped the last update, because a gradient was not finite.
    """

    def __init__(
        self,
        model: SimilarityModel,
        objective: Objective,
        config: TrainConfig,
        precision: Precision,
        *,
        note: Callable[[str], object],
        world: World,
    ) -> None:
        self.model = model
        self.objective = objective
        self.world = world
        self.config = config
        self.precision = precision
        self.skipped: bool = False
        obstacles = {
            "cuda_graph is false": config.cuda_graph is False,
            f"the device is {model.device.type}": model.device.type != "cuda",
            "several processes train together": world.size > 1,
            "fp16 has to look at its gradients between steps, use precision bf16 or fp32": precision.scales_gradients,
            "grad_accumulation is more than 1": config.grad_accumulation > 1,
            "the optimizer is the caller's own": callable(config.optimizer),
            "the optimizer is muon, which reads its learning rate on the host": config.optimizer == "muon",
            "the backbone is an ONNX file, which runs on the CPU": any(isinstance(m, OnnxNet) for m in model.modules()),
        }
        reason = next((reason for reason, is_present in obstacles.items() if is_present), None)
        objective.state = objective.initial_state(model)
        if objective.state is not None:
            world.broadcast((*objective.state.parameters(), *objective.state.buffers()))
        self.optimizer: Optimizer = make_optimizer(config, model, objective.state, recordable=reason is None)
        self._scaler = torch.amp.GradScaler(model.device.type, enabled=precision.scales_gradients)
        self._scale: float | None = None  # of the scaler after the last update: reading it waits for the device
        self._has_gradient: list[bool] | None = None
        self._norms: FrozenNorms | None = None  # the compiler fuses them by itself
        if not config.compile:
            self._norms = FrozenNorms(model, FrozenParts(model, config.freeze))
        self._graphed: GraphedStep | None = None
        if reason is None:
            self._graphed = GraphedStep(
                self._step,
                GraphRecorder(model.device),
                before_recording=self._drop_gradients,
                note=note,
                always=bool(config.cuda_graph),
            )
        elif config.cuda_graph:
            note(f"Steps run one by one, not as a CUDA graph: {reason}.")

    def __call__(self, images: Tensor, targets: Tensor, *, update: bool) -> Tensor:
        """Train on a batch.

        Args:
            images: `[N, C, H, W]` on the device; with several processes the part of this process (`PartialBatches`).
            targets: Targets of the whole batch for the objective, on the device.
            update: Whether to update the weights with the gradients accumulated since the last update.

        Returns:
            The loss of the batch, a scalar on the device; the next call may overwrite it.

        Raises:
            TrainingError: If memory runs out; the message has a batch size that fits, found by trying.
        """
        try:
            return self._step(images, targets, update) if self._graphed is None else self._graphed(images, targets)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            batch_size = len(targets)
            if self.world.size > 1:  # trying smaller batches would leave the other processes waiting
                raise TrainingError(
                    f"Expected memory for {len(images)} of a batch of {batch_size} on {images.device}, there is not "
                    "enough. Lower batch_size, or start more processes."
                ) from error
        # outside of the handler, whose traceback keeps the tensors of the failed step alive
        fits = self._batch_size_that_fits(images, targets)
        advice = f"batch_size={fits} fits" if fits else "not even 2 fit: use smaller images or another net"
        raise TrainingError(
            f"Expected memory for a batch of {batch_size} on {images.device}, there is not enough; {advice}. "
            "For the gradients of a larger batch from smaller ones, use grad_accumulation."
        )

    def _batch_size_that_fits(self, images: Tensor, targets: Tensor) -> int | None:
        """Try a half, a quarter and so on of a batch; `None` if not even two targets fit."""
        size = len(targets) // 2
        while size >= 2:
            self._drop_gradients()
            torch.cuda.empty_cache()  # without CUDA it does nothing
            part = torch.cat([group[:size] for group in images.chunk(self.objective.images_per_target)])
            try:
                self._accumulate(part, targets[:size])
                self._drop_gradients()
                return size
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
            size //= 2
        return None

    def _step(self, images: Tensor, targets: Tensor, update: bool = True) -> Tensor:
        with self.precision.fp32_convolutions(), nullcontext() if self._norms is None else self._norms.folded(images):
            loss = self._accumulate(images, targets)
            if update and self.config.sam_rho:
                self._take_gradient_uphill(images, targets, self.config.sam_rho)
            if update:
                self._update()
        return loss

    def _take_gradient_uphill(self, images: Tensor, targets: Tensor, rho: float) -> None:
        """Replace the gradient by that at weights a step of length `rho` uphill, and put the weights back."""
        self._sum_gradients()
        gradients = [(value, value.grad) for value in self._trained() if value.grad is not None]
        changed = [*(value for value, _ in gradients), *self.model.buffers()]  # batch norm counts the batch once
        with torch.no_grad():
            before = [value.detach().clone() for value in changed]
            scale = rho / (torch.nn.utils.get_total_norm([gradient for _, gradient in gradients]) + _TINY)
            for value, gradient in gradients:
                value.add_(gradient * scale)
        self._drop_gradients()
        self._accumulate(images, targets)
        with torch.no_grad():
            for value, old in zip(changed, before, strict=True):
                value.copy_(old)

    def _trained(self) -> list[Tensor]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _accumulate(self, images: Tensor, targets: Tensor) -> Tensor:
        """Run forward and backward, and add the gradients to those of earlier batches."""
        if self.world.size > 1:
            return self._accumulate_distributed(images, targets)
        with self.precision.autocast():
            embeddings = self.model.embed(images)
        loss = self.objective.loss(self.model, embeddings, targets)
        self._scaler.scale(loss / self.config.grad_accumulation).backward()
        return loss.detach()

    def _accumulate_distributed(self, images: Tensor, targets: Tensor) -> Tensor:
        """Do the same for this process's part; the sum of all processes' gradients is that of the batch."""
        size = self.world.size
        total = len(targets) * self.objective.images_per_target
        rows = self.world.shard(total)
        # Dropout draws different numbers in each process; the objective draws the same in all.
        key = torch.initial_seed()
        seed_generators(stream_key("rank", key, self.world.rank), self.world.device)
        embeddings = self._embed_part(images, rows.stop - rows.start)
        seed_generators(key, self.world.device)
        gathered = self.world.all_gather(embeddings.detach(), rows, total).requires_grad_()
        loss = self.objective.loss(self.model, gathered, targets)
        # The sum over processes would count the gradient of weights in the loss, such as the projection's, once per
        # process: each contributes a share. The gradient of the embeddings is complete in every process.
        self._scaler.scale(loss / self.config.grad_accumulation / size).backward()
        if gathered.grad is not None and embeddings.requires_grad:
            embeddings.backward(gathered.grad[rows] * size)
        return loss.detach()

    def _embed_part(self, images: Tensor, count: int) -> Tensor:
        with self.precision.autocast():
            if count or any(isinstance(module, nn.SyncBatchNorm) for module in self.model.modules()):
                return self.model.embed(images[:count])  # also an empty batch, if others wait for its statistics
            with self.model.evaluating(), torch.no_grad():
                return self.model.embed(images)[:0]

    def _sum_gradients(self) -> None:
        """Sum the gradients of all processes.

        DistributedDataParallel does not fit: it averages where parts of one batch must be summed, and it fails with
        weights that a loss does not use and with processes without an image. It would overlap communication with
        computation, which this does not.
        """
        if self.world.size == 1:
            return
        trained = self._trained()
        if self._has_gradient is None:
            # A weight without a gradient in one process may have one in another. A weight without a gradient in all of
            # them keeps none, so that the optimizer skips it. Determined once, as it waits for the device.
            counts = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int32)
            counts = counts.to(self.world.device)
            self.world.all_reduce([counts])
            self._has_gradient = [bool(count) for count in counts.tolist()]
        for parameter, has_gradient in zip(trained, self._has_gradient, strict=True):
            if has_gradient and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            elif not has_gradient and parameter.grad is not None:
                raise TrainingError(
                    "Expected the weights that the first step trained, found a gradient for one more. With several "
                    "processes every step must use the same parts of the net; train with one."
                )
        self.world.all_reduce([parameter.grad for parameter in trained if parameter.grad is not None])

    def _update(self) -> None:
        self._sum_gradients()
        if self.config.grad_clip is not None:
            self._scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self._trained(), self.config.grad_clip)
        scale = self._scaler.get_scale() if self._scale is None else self._scale  # 1 unless fp16
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._scale = self._scaler.get_scale()
        self.skipped = self._scale < scale or self._scale == 0.0  # which half of it may be
        self._drop_gradients()

    def _drop_gradients(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def release(self) -> None:
        """Free what was recorded; later steps record again."""
        if self._graphed is not None:
            self._graphed.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer, of the gradient scaler and of the objective."""
        state = self.objective.state
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "memory": None if state is None else state.state_dict(),  # named when a memory was the only such state
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.release()
        self.optimizer.load_state_dict(state["optimizer"])
        # Kernels need the optimizer's tensors on the device and in the memory layout of their parameters.
        for parameter, values in self.optimizer.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"] = group["lr"].to(group["params"][0].device)
        self._scaler.load_state_dict(state["scaler"])
        self._scale = None
        if self.objective.state is not None:
            self.objective.state.load_state_dict(state["memory"])


def _is_out_of_memory(error: RuntimeError) -> bool:
    # the CPU's allocator raises a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
