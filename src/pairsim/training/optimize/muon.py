"""Muon for the weight matrices of a net, and AdamW for everything else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

MUON_RATE = 5.0
"""Learning rate of matrices, as a multiple of that of the rest."""

_MOMENTUM = 0.8
"""Short runs need less than the usual 0.95."""

_ITERATIONS = 3
"""Of Newton and Schulz: training is as good with 3 as with the usual 5, which take longer."""

_MATRICES = "matrices"


class MuonAndAdamW(Optimizer):
    """Orthogonalize the updates of weight matrices by PyTorch's `Muon`, and update the rest by `AdamW`.

    Weights of convolutions count as matrices with a row for each output channel. Updates have the size of AdamW's
    (`adjust_lr_fn="match_rms_adamw"`), and `MUON_RATE` times the learning rate.

    Args:
        groups: Each with `params` and `lr`.
        weight_decay: Decoupled weight decay.
        embeddings: Matrices whose rows stand for themselves, such as class weights, which AdamW updates.
        fused: As for `AdamW`.

    Source:
        K. Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        weight_decay: float,
        embeddings: Collection[Tensor] = (),
        fused: bool | None = None,
    ) -> None:
        left_out = {id(weight) for weight in embeddings}
        parts: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for group in groups:
            for matrices, part in parts.items():
                chosen = [w for w in group["params"] if (id(w) not in left_out and _is_matrix(w)) == matrices]
                part.append({"params": chosen, "lr": group["lr"], _MATRICES: matrices})
        self._adamw = AdamW(parts[False], weight_decay=weight_decay, fused=fused)
        # its own parameters and state are set in each step, as those of this object may be replaced
        self._muon = Muon([torch.zeros(1, 1)], momentum=_MOMENTUM, ns_steps=_ITERATIONS, adjust_lr_fn="match_rms_adamw")
        super().__init__([*self._adamw.param_groups, *parts[True]], {"weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all weights that have gradients.

        Args:
            closure: Computes the loss again, with gradients.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._adamw.state = self.state
        self._adamw.param_groups = [group for group in self.param_groups if not group[_MATRICES]]
        self._adamw.step()
        for group in self.param_groups:
            if group[_MATRICES]:
                self._step_matrices(group)
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        matrices = [weight.detach().flatten(1) for weight in weights]
        state: defaultdict[Tensor, Any] = defaultdict(dict)
        for weight, matrix in zip(weights, matrices, strict=True):
            matrix.grad = weight.grad.flatten(1)
            state[matrix] = self.state[weight]
        own = {"params": matrices, "lr": MUON_RATE * float(group["lr"]), "weight_decay": group["weight_decay"]}
        self._muon.param_groups, self._muon.state = [{**self._muon.defaults, **own}], state
        self._muon.step()
        for weight, matrix in zip(weights, matrices, strict=True):
            if matrix.data_ptr() != weight.data_ptr():  # of weights that are not contiguous it is a copy
                weight.copy_(matrix.view(weight.shape))


def _is_matrix(weight: Tensor) -> bool:
    return weight.ndim > 1 and min(len(weight), weight[:1].numel()) > 1
