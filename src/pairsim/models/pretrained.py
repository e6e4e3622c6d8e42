"""Save and load model folders: weights in `model.safetensors`, the rest in `config.json`, and no code.

An ONNX file that is the backbone is copied into the folder under its own name.

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
from torch import Tensor, nn

from pairsim._common import storage
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.models.backbones.onnx_nets import OnnxNet
from pairsim.models.backbones.registry import is_backbone_name
from pairsim.models.embedding_net import EmbeddingNet, reference_features
from pairsim.models.weight_names import unwrapped

if TYPE_CHECKING:
    from pairsim.models.similarity_model import SimilarityModel

FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"
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
    files = {WEIGHTS: weights, CONFIG: storage.to_json(config)}
    backbone = getattr(net, "backbone", None)
    if isinstance(backbone, OnnxNet) and not _is_there(folder / backbone.file_name, backbone.content):
        files = {backbone.file_name: backbone.content, **files}
    storage.write_files(folder, files)


def _is_there(path: Path, content: bytes) -> bool:
    """Return whether a file has this content, so that a large one need not be written with each better epoch."""
    return storage.is_file(path) and path.stat().st_size == len(content) and storage.read_bytes(path) == content


def files_of(model_folder: Path) -> list[str]:
    """Return the names of the files of a saved model: weights, config, and the ONNX file of its backbone, if any."""
    architecture = storage.read_json(model_folder / CONFIG).get("architecture", {})
    return [WEIGHTS, CONFIG, *([Path(architecture["backbone"]).name] if "onnx_sha256" in architecture else [])]


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
    except safetensors.SafetensorError as error:
        raise RunError(f"{source} is damaged: {error}.") from error


def name_of_nan(tensors: Mapping[str, Tensor]) -> str | None:
    """Name the first tensor that has a NaN; `None` if none has."""
    return next((name for name, value in tensors.items() if value.isnan().any()), None)


def find(folder: Path) -> Path:
    """Return the model folder itself: `folder`, or the best model in a run folder.

    Raises:
        RunError: If there is none.
    """
    for candidate in (folder, folder / "model"):
        if storage.is_file(candidate / CONFIG) and storage.is_file(candidate / WEIGHTS):
            return candidate
    there = storage.found_at(folder)
    found = {"nothing": "no such folder", "a folder": f"no {CONFIG} and {WEIGHTS} in it"}.get(there, there)
    raise RunError(
        f"Expected a model or run folder at {folder}, found {found}. Train one with: pairsim train DATA --out RUN"
    )


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
    config = storage.read_json(folder / CONFIG)
    check_format(config, "pairsim-model", FORMAT_VERSION, folder / CONFIG)
    content = storage.read_bytes(folder / WEIGHTS)
    if storage.sha256(content) != config.get("weights_sha256"):
        raise RunError(
            f"{folder / WEIGHTS} is damaged or from another save: its SHA-256 differs from the one in {CONFIG}. "
            "Copy the folder again, or load best_model.pt."
        )
    weights = deserialize(content, folder / WEIGHTS)
    if name := name_of_nan(weights):
        raise RunError(
            f"Expected numbers in {folder / WEIGHTS}, found NaN in {name}: the training of this model failed. Train it "
            "again, with a lower learning rate."
        )
    with _damage_named(folder):
        return SavedModel(
            folder, weights, config, _build_net(config["architecture"], folder, weights) if net is None else net
        )


@contextlib.contextmanager
def _damage_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder / CONFIG} is damaged, the model cannot be built from it: {type(error).__name__}: {error}. "
            "Copy the folder again."
        ) from error


def _build_net(architecture: Mapping[str, Any], folder: Path, weights: Mapping[str, Tensor]) -> EmbeddingNet:
    values = dict(architecture)
    backbone = values.pop("backbone", values.get("embedding_net"))
    if backbone is not None and ("embedding_net" in values or not is_backbone_name(backbone)):
        raise RunError(
            f"Expected embedding_net=..., as {folder} was trained with {backbone}, which is code and not "
            "saved. Build the same net and pass it."
        )
    height, width = values.pop("image_size")
    if backbone is None:  # its last layer grows with the size of images
        stated = reference_features((height, width)) * values["embedding_dim"]
        found = sum(value.numel() for value in weights.values())
        if stated > found:
            raise ValueError(f"images of {height} x {width} need {stated:,} weights, found {found:,}")
    if (sha256 := values.pop("onnx_sha256", None)) is not None:
        backbone = _read_onnx_net(folder / Path(backbone).name, sha256, values["in_channels"])
    try:
        return EmbeddingNet(backbone, image_size=(height, width), **values)
    except ValueError as error:
        if backbone is None:
            raise
        raise RunError(f"The backbone of {folder} cannot be built here: {error}") from error


def _read_onnx_net(path: Path, sha256: str, in_channels: int) -> OnnxNet:
    if not storage.is_file(path):
        raise RunError(f"Expected the backbone of the model at {path}, found no such file. Copy the folder again.")
    content = storage.read_bytes(path)
    if storage.sha256(content) != sha256:
        raise RunError(f"{path} is damaged: its SHA-256 differs from the one in {CONFIG}. Copy the folder again.")
    return OnnxNet(content, path.name, in_channels)


def restore(model: SimilarityModel, saved: SavedModel) -> None:
    """Load saved weights and settings into a model; names and shapes have to be equal.

    Raises:
        RunError: If names or shapes differ, or the settings are damaged.
    """
    try:
        model.load_state_dict(saved.weights, strict=True)
    except RuntimeError as error:
        raise RunError(f"The weights in {saved.folder} do not fit the model: {error}") from error
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
    weights_sha256 = str(storage.read_json(path).get("weights_sha256"))
    return {"weights_sha256": weights_sha256, "config_sha256": storage.sha256(storage.read_bytes(path))}


def short(sha256: str | None) -> str:
    """Return the beginning of a SHA-256, for messages."""
    return f"SHA-256 {(sha256 or '')[:12]}"


def _sha256(weights: Mapping[str, Tensor], preprocessing: Preprocessing) -> str:
    return storage.sha256(serialize(weights) + storage.to_json(preprocessing.to_dict()))
