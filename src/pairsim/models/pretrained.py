"""Save and load model folders: weights in `model.safetensors`, the rest in `config.json`, and no code.

An ONNX file that is the backbone is copied into the folder under its own name. `config.json` states its own SHA-256 and
those of the other files. New weights are written as `new.safetensors` and get their name when `config.json` names their
SHA-256, so that a kill at any moment leaves the old model or the new one.

Checksums tell one model from another:

| value | of | stored in |
|---|---|---|
| `embedding_sha256` | the net's weights, the preprocessing | galleries, as `model_sha256` |
| `model_sha256` | all weights, the preprocessing | exported files |
| `weights_sha256` | all weights | `config.json` of a model folder, `evaluation.json` |
| `config_sha256` | the bytes of `config.json`: also threshold and calibration | `evaluation.json` |
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from pairsim._common import json_files, storage
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.models.backbones.building import first_line
from pairsim.models.backbones.onnx_nets import OnnxNet
from pairsim.models.backbones.registry import is_backbone_name
from pairsim.models.embedding_net import EmbeddingNet
from pairsim.models.weight_names import check_kinds, unwrapped

if TYPE_CHECKING:
    from pairsim.models.similarity_model import SimilarityModel

FORMAT_VERSION = 1
_ARCHITECTURE = {
    "backbone", "embedding_dim", "embedding_net", "head", "image_size", "in_channels", "normalize", "onnx_sha256",
}  # fmt: skip
WEIGHTS = "model.safetensors"
_NET = "embedding_net"
_MAX_NUMBERS = 2**26
"""Pixels times channels of an image, of which a net takes two when it is built."""
NEW_WEIGHTS = "new.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True)
class SavedModel:
    """The content of a model folder."""

    folder: Path
    weights: dict[str, Tensor]
    config: dict[str, Any]
    net: nn.Module


def save(folder: Path, model: SimilarityModel) -> None:
    """Write a model folder: the weights, and the config with their checksum."""
    net, weights = unwrapped(model.embedding_net), serialize(model.weights())
    own_code = {"embedding_net": f"{type(net).__module__}.{type(net).__qualname__}"}
    config = {
        "format": "pairsim-model",
        "format_version": FORMAT_VERSION,
        "architecture": net.architecture() if isinstance(net, EmbeddingNet) else own_code,
        **model.settings(),
        "weights_sha256": storage.sha256(weights),
    }
    files = {NEW_WEIGHTS: weights, CONFIG: json_files.sealed(config)}
    backbone = getattr(net, "backbone", None)
    if isinstance(backbone, OnnxNet) and not _is_there(folder / backbone.file_name, backbone.content):
        files = {backbone.file_name: backbone.content, **files}
    storage.write_files(folder, files)
    storage.rename(folder / NEW_WEIGHTS, folder / WEIGHTS)


def _is_there(path: Path, content: bytes) -> bool:
    """Return whether a file has this content, so that a large one need not be written with each better epoch."""
    return storage.is_file(path) and path.stat().st_size == len(content) and storage.read_bytes(path) == content


def serialize(state: Mapping[str, Tensor]) -> bytes:
    """Return tensors as the bytes of a safetensors file."""
    # clones: safetensors takes neither shared nor non-contiguous memory (channels_last weights are the latter)
    return bytes(
        safetensors.torch.save({name: value.detach().cpu().clone().contiguous() for name, value in state.items()})
    )


def deserialize(content: bytes, source: Path) -> dict[str, Tensor]:
    """Read what `serialize` returned.

    Raises:
        RunError: If the bytes are not a safetensors file; names `source`.
    """
    try:
        return dict(safetensors.torch.load(content))
    except (safetensors.SafetensorError, AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunError(f"{source} is damaged: {first_line(error)}.") from error


def name_of_nan(tensors: Mapping[str, Tensor]) -> str | None:
    """Name the first tensor that has a NaN; `None` if none has."""
    return next((name for name, value in tensors.items() if value.isnan().any()), None)


def find(folder: Path) -> Path:
    """Return the model folder itself: `folder`, or the best model in a run folder.

    Raises:
        RunError: If there is none.
    """
    for candidate in (folder, folder / "model"):
        if storage.is_file(candidate / CONFIG) and any(
            storage.is_file(candidate / name) for name in (WEIGHTS, NEW_WEIGHTS)
        ):
            return candidate
    there = storage.found_at(folder)
    found = {"nothing": "no such folder", "a folder": f"no {CONFIG} and {WEIGHTS} in it"}.get(there, there)
    advice = "Train one with: pairsim train DATA --out RUN"
    if there == "a file":
        advice = "Give its folder; weights alone are loaded in Python, with model.load_state_dict(torch.load(FILE))."
    raise RunError(f"Expected a model or run folder at {folder}, found {found}. {advice}")


def check_format(config: Mapping[str, Any], kind: str, version: int, path: Path) -> None:
    """Reject a folder of another kind or of a newer format.

    Raises:
        RunError: If it is one; the message names both.
    """
    if config.get("format") != kind:
        raise RunError(f"Expected {path} to say format {kind}, found {config.get('format')!r}. Is it the right folder?")
    stored = config.get("format_version")
    if not isinstance(stored, int) or stored > version:
        raise RunError(
            f"Expected {path} to be of format version {version} at most, found {stored}: it was made by a newer "
            "pairsim. Upgrade with: pip install --upgrade pairsim"
        )


def load(folder: Path, net: nn.Module | None) -> SavedModel:
    """Read a model folder, checking format and checksum.

    Args:
        folder: A model folder, or a run folder.
        net: The net that the weights are for; by default it is built, without its weights. A name in the folder is
            looked up, never imported.

    Raises:
        MissingExtraError: If the net's backbone needs timm or onnxruntime, which is not installed.
        RunError: If it is not a model, is damaged, has NaN or is of a newer format, or its net is code that is not
            saved or one that the installed libraries do not have.
    """
    folder = find(folder)
    config = read_config(folder)
    weights = deserialize(_read_weights(folder, config), folder / WEIGHTS)
    if name := name_of_nan(weights):
        raise RunError(
            f"Expected numbers in {folder / WEIGHTS}, found NaN in {name}: the training of this model failed. Train it "
            "again, with a lower learning rate."
        )
    with _damage_named(folder):
        if net is None:
            net = _build_net(config["architecture"], folder, weights)
        return SavedModel(folder, weights, config, net)


def read_config(model_folder: Path) -> dict[str, Any]:
    """Read the config of the folder that holds a model itself, checking format and SHA-256.

    Raises:
        RunError: If it cannot be read, is damaged, or is not of a model, or of a newer format.
    """
    path = model_folder / CONFIG
    config = json_files.read_sealed(path)
    check_format(config, "pairsim-model", FORMAT_VERSION, path)
    return config


def read_files(model_folder: Path) -> dict[str, bytes]:
    """Return the files of a saved model by their names: weights, config, and the ONNX file of its backbone, if any.

    Raises:
        RunError: If one cannot be read, or differs from its SHA-256.
    """
    config = read_config(model_folder)
    files = {WEIGHTS: _read_weights(model_folder, config), CONFIG: storage.read_bytes(model_folder / CONFIG)}
    with _damage_named(model_folder):
        architecture = config["architecture"]
        if "onnx_sha256" in architecture:
            path = model_folder / Path(architecture["backbone"]).name
            files[path.name] = _read_onnx_file(path, architecture["onnx_sha256"])
    return files


def _read_weights(folder: Path, config: Mapping[str, Any]) -> bytes:
    """Return the weights that a config is of."""
    for path in filter(storage.is_file, (folder / WEIGHTS, folder / NEW_WEIGHTS)):
        content = storage.read_bytes(path)
        if storage.sha256(content) == config.get("weights_sha256"):
            return content
    raise RunError(
        f"{folder / WEIGHTS} is damaged or from another save: its SHA-256 differs from the one in {CONFIG}. "
        "Copy the folder again, or load best_model.pt."
    )


@contextlib.contextmanager
def _damage_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except (
        ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise RunError(
            f"{folder / CONFIG} is damaged, the model cannot be built from it: {type(error).__name__}: "
            f"{first_line(error)}. Copy the folder again."
        ) from error


def _build_net(architecture: Mapping[str, Any], folder: Path, weights: Mapping[str, Tensor]) -> EmbeddingNet:
    """Build the net of a config, after a comparison of its sizes with those of the weights."""
    values = dict(architecture)
    if unknown := values.keys() - _ARCHITECTURE:
        raise ValueError(f"unknown settings of the net: {', '.join(sorted(unknown))}")
    backbone = values.pop("backbone", values.get("embedding_net"))
    if backbone is not None and ("embedding_net" in values or not is_backbone_name(backbone)):
        raise RunError(
            f"Expected embedding_net=..., as {folder} was trained with {backbone}, which is code and not "
            "saved. Build the same net and pass it."
        )
    height, width = values.pop("image_size")
    if height * width * values["in_channels"] > _MAX_NUMBERS:
        raise ValueError(f"images of {height} x {width} with {values['in_channels']} channels")
    if (sha256 := values.pop("onnx_sha256", None)) is not None:
        path = folder / Path(backbone).name
        backbone = OnnxNet(_read_onnx_file(path, sha256), path.name, values["in_channels"])
    try:
        if backbone is None:
            with torch.device("meta"):  # without memory; for nets of libraries that takes seconds
                sizes = EmbeddingNet(image_size=(height, width), **values).state_dict()
            _check_sizes(sizes, weights, folder)
        elif values.get("head") != "none" and values["embedding_dim"] not in _sizes_of_head(weights):
            raise ValueError(f"embedding_dim {values['embedding_dim']} is not that of the weights")
        return EmbeddingNet(backbone, image_size=(height, width), **values)
    except ValueError as error:
        if backbone is None:
            raise
        raise RunError(f"The backbone of {folder} cannot be built here: {error}") from error


def _sizes_of_head(weights: Mapping[str, Tensor]) -> set[int]:
    return {size for name, value in weights.items() if name.startswith(f"{_NET}.head.") for size in value.shape}


def _check_sizes(net: Mapping[str, Tensor], weights: Mapping[str, Tensor], folder: Path) -> None:
    for name, value in net.items():
        saved = weights.get(f"{_NET}.{name}")
        if saved is None or saved.shape != value.shape:
            found = "none" if saved is None else list(saved.shape)
            raise RunError(
                f"Expected {folder / WEIGHTS} to have {name} {list(value.shape)}, as {CONFIG} says, found {found}. "
                "Copy the folder again."
            )


def _read_onnx_file(path: Path, sha256: str) -> bytes:
    if not storage.is_file(path):
        raise RunError(f"Expected the backbone of the model at {path}, found no such file. Copy the folder again.")
    content = storage.read_bytes(path)
    if storage.sha256(content) != sha256:
        raise RunError(f"{path} is damaged: its SHA-256 differs from the one in {CONFIG}. Copy the folder again.")
    return content


def restore(model: SimilarityModel, saved: SavedModel) -> None:
    """Load saved weights and settings into a model; names, shapes and kinds of numbers have to be equal.

    Raises:
        RunError: If they differ, or the settings are damaged.
    """
    check_kinds(saved.weights, model.weights(), saved.folder / WEIGHTS)
    try:
        model.load_state_dict(saved.weights, strict=True)
    except RuntimeError as error:
        raise RunError(f"The weights in {saved.folder} do not fit the model: {' '.join(str(error).split())}") from error
    with _damage_named(saved.folder):
        model.load_settings(saved.config)


def embedding_sha256(model: SimilarityModel) -> str:
    """Return the SHA-256 of what embeddings depend on: the net's weights and the preprocessing."""
    return _sha256(model.embedding_net.state_dict(), model.preprocessing)


def model_sha256(model: SimilarityModel) -> str:
    """Return the SHA-256 of all weights, the projection's too, and the preprocessing."""
    return _sha256(model.weights(), model.preprocessing)


def saved_sha256(model_folder: Path) -> dict[str, str]:
    """Return `weights_sha256` and `config_sha256` of a saved model, whose weights are not read.

    Args:
        model_folder: The folder that holds the model itself.

    Raises:
        RunError: If the config cannot be read.
    """
    path = model_folder / CONFIG
    weights_sha256 = str(json_files.read_sealed(path).get("weights_sha256"))
    return {"weights_sha256": weights_sha256, "config_sha256": storage.sha256(storage.read_bytes(path))}


def short(sha256: str | None) -> str:
    """Return the beginning of a SHA-256, for messages."""
    return f"SHA-256 {(sha256 or '')[:12]}"


def _sha256(weights: Mapping[str, Tensor], preprocessing: Preprocessing) -> str:
    return storage.sha256(serialize(weights) + storage.to_json(preprocessing.to_dict()))
