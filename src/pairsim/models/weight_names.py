"""State dicts: names that do not depend on wrappers of modules, such as that of `torch.compile`; kinds of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pairsim.errors import RunError

_COMPILED = "_orig_mod"
_PARALLEL = "module"
_STATE = "_extra_state"  # what PyTorch calls state besides tensors
_COUNTER = "n_averaged"  # of AveragedModel; it is not a weight
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


class PlainNamesModule(nn.Module):
    """A module whose state dict has the same names with and without wrappers of modules.

    The wrappers are those of `torch.compile`, `DataParallel`, `DistributedDataParallel` and `AveragedModel`. A state
    dict that has them in its names can be loaded too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_state_dict_post_hook(_remove_wrappers)  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        given = [name for name, value in state_dict.items() if name.startswith(prefix) and value is not None]
        if not _add_wrappers(self, state_dict, prefix) and given:  # with strict=False nothing would be loaded
            args[-1].append(
                f"Expected weights of {type(self).__name__}, found none among {len(given)} names, such as {given[0]}."
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


def unwrapped(net: nn.Module) -> nn.Module:
    """Return the module inside wrappers of `torch.compile`, `DataParallel`, `DistributedDataParallel`, `AveragedModel`.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> unwrapped(nn.DataParallel(net)) is net
        True
    """
    while (inner := _inner_name(net)) is not None:
        net = net.get_submodule(inner)
    return net


def check_kinds(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], source: object) -> None:
    """Check that weights are numbers of the kind of the model's own: PyTorch converts whole and complex numbers.

    Raises:
        RunError: If one is not; the message names it.
    """
    for name, value in weights.items():
        wanted = own[name].dtype if name in own else value.dtype
        if value.dtype != wanted and not (value.is_floating_point() and wanted.is_floating_point):
            raise RunError(
                f"Expected {name} in {source} as {wanted}, found {value.dtype}. Save weights of the model unchanged."
            )


def check_weights(model: nn.Module) -> None:
    """Check that weights are finite; buffers may be infinite, as masks are, but not NaN.

    Raises:
        ValueError: If not; names the first.
    """
    bad = (name for name, value in model.named_parameters() if not _is_finite(value))
    known = (name for name, value in model.named_buffers() if value.isnan().any())
    if name := next(bad, None) or next(known, None):
        raise ValueError(
            f"Expected finite weights of the model, found NaN or infinity in {name}: its training failed. Train it "
            "again, with a lower learning rate."
        )


def _is_finite(values: Tensor) -> bool:
    return math.isfinite(values.item()) if values.numel() == 1 else bool(values.isfinite().all())


def _inner_name(module: nn.Module) -> str | None:
    """Return the attribute in which a wrapper holds its module; `None` if this is not a wrapper."""
    if isinstance(module, _WRAPPERS):
        return _PARALLEL
    return _COMPILED if _COMPILED in module._modules else None


def _names(module: nn.Module) -> list[tuple[str, str]]:
    """Return the name of each module below a module without and with wrappers; a wrapper comes before its content."""
    names, inner_names = [], list[str]()
    for name, part in module.named_modules(remove_duplicate=False):
        plain = name
        for inner in reversed(inner_names):  # the deepest first
            if f"{plain}.".startswith(f"{inner}."):
                plain = _joined(inner.rpartition(".")[0], plain[len(inner) + 1 :])
        names.append((plain, name))
        inner_name = _inner_name(part)
        if inner_name is not None:
            inner_names.append(_joined(name, inner_name))
    return names


def _remove_wrappers(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Rename the entries of a module that has wrappers inside; called at the end of its `state_dict`."""
    plain = {name: own for own, name in _names(module)}
    if any(name != own for name, own in plain.items()):
        for name in [name for name in state if name.startswith(prefix)]:
            stem, _, leaf = name[len(prefix) :].rpartition(".")
            value = state.pop(name)
            if leaf != _COUNTER or not isinstance(module.get_submodule(stem), AveragedModel):
                state[prefix + _joined(plain.get(stem, stem), leaf)] = value


def _add_wrappers(module: nn.Module, state: dict[str, Any], prefix: str) -> bool:
    """Rename entries to the names that the module has now; return whether any of them is a weight of it."""
    own, any_weight = dict(_names(module)), False
    for name in [name for name in state if name.startswith(prefix)]:
        stem, _, leaf = name[len(prefix) :].rpartition(".")
        bare = ".".join(part for part in stem.split(".") if part not in (_COMPILED, _PARALLEL))
        known = own.get(stem, own.get(bare))
        if known is not None:
            state[prefix + _joined(known, leaf)] = state.pop(name)
            part = module.get_submodule(known)
            of_a_part = leaf == _STATE and part is not module  # such as that of an ONNX file, which has no weights
            any_weight |= leaf in part._parameters or leaf in part._buffers or of_a_part
        if stem != bare:
            state.pop(f"{prefix}{_COUNTER}", None)
    for name, part in module.named_modules():
        if isinstance(part, AveragedModel):
            state[prefix + _joined(name, _COUNTER)] = part.n_averaged
    return any_weight


def _joined(*names: str) -> str:
    return ".".join(name for name in names if name)
