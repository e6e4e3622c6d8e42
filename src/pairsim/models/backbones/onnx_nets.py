"""ONNX files of other programs as backbones that are not trained (extra `onnx`)."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pairsim._common import storage
from pairsim.errors import RunError, require
from pairsim.images import Preprocessing
from pairsim.models.backbones.building import first_line

ENDING: Final = ".onnx"
CPU: Final = ("CPUExecutionProvider",)

_DTYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(uint8)": torch.uint8}
_PROPERTY = "pairsim."
"""Beginning of the names of the properties in a file that pairsim exported."""
_OF_FILE = ("image_size", "channels", "mean", "std", "fit", "interpolation")
_KEYS = (*_OF_FILE, "central_fraction")
_DEFAULT_SIZE = 224


def is_onnx_file(name: str) -> bool:
    """Return whether the name of a backbone is that of an ONNX file."""
    return name.endswith(ENDING)


class OnnxNet(nn.Module):
    """Run an ONNX file on the CPU, without gradients.

    The file has one input of images, `[N, C, H, W]` or `[N, H, W, C]`, in float32, float16 or uint8; its first output
    is the features. A batch size that is fixed in the file is kept: images are run in parts of that size. It is run in
    as many threads as PyTorch has when the file is opened.

    Args:
        content: The file.
        file_name: Its name, without folders.
        in_channels: Channels of the images, where the file leaves them open.

    Attributes:
        sha256: SHA-256 of the file, which its state dict holds.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
        RunError: If onnxruntime cannot run it, or its input is not one batch of images.
    """

    def __init__(self, content: bytes, file_name: str, in_channels: int | None = None) -> None:
        super().__init__()
        self.content: bytes = content
        self.file_name: str = file_name
        self._session = _Session(content, file_name)
        inputs = self._session.run.get_inputs()
        shape = list(inputs[0].shape)
        if len(inputs) != 1 or len(shape) != 4 or inputs[0].type not in _DTYPES:
            found = "; ".join(f"{value.name} {value.type} {value.shape}" for value in inputs)
            raise RunError(
                f"Expected {file_name} to take one batch of images [N, C, H, W] or [N, H, W, C] in float32, float16 or "
                f"uint8, found {found}. Export the part of the net that maps images to features."
            )
        self.input_name: str = inputs[0].name
        self.dtype: torch.dtype = _DTYPES[inputs[0].type]
        # TensorFlow and Keras put channels last
        self.channels_last: bool = shape[1] not in (1, 3) and shape[3] in (1, 3)
        channels, *size = (shape[3], *shape[1:3]) if self.channels_last else shape[1:]
        channels = channels if isinstance(channels, int) else in_channels
        if channels is None or channels not in (1, 3, in_channels):
            raise RunError(
                f"Expected {file_name} to take images [N, C, H, W] or [N, H, W, C] of 1 or 3 channels, found "
                f"{shape}. If it leaves them open, give in_channels (--channels)."
            )
        self.in_channels: int = channels
        self.fixed_batch: int | None = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
        height, width = size
        self.fixed_size: tuple[int, int] | None = None
        if isinstance(height, int) and isinstance(width, int):
            self.fixed_size = (height, width)
        self.sha256: str = storage.sha256(content)

    def forward(self, images: Tensor) -> Tensor:
        """Compute features.

        Args:
            images: `[N, C, H, W]` in floating point; for a file that takes uint8, pixels on the scale from 0 to 1.

        Returns:
            The first output of the file, on the device and in the format of the images; channels come second.

        Raises:
            ValueError: If gradients of the images are asked for.
        """
        if images.requires_grad:
            raise ValueError(
                f"Expected images without gradients, as {self.file_name} has none. Use method='occlusion' for saliency."
            )
        features: Tensor = self._features(images)
        return features

    def _features(self, images: Tensor) -> Tensor:
        values = images.detach().cpu()
        values = (values.float() * 255.0).round().clamp(0, 255).byte() if self.dtype == torch.uint8 else values
        values = values.permute(0, 2, 3, 1) if self.channels_last else values
        array = values.to(self.dtype).contiguous().numpy()
        size = self.fixed_batch or max(len(array), 1)
        parts = [self._run(array[start : start + size], size) for start in range(0, max(len(array), 1), size)]
        features = torch.from_numpy(np.concatenate(parts))
        if self.channels_last and features.ndim == 4:
            features = features.permute(0, 3, 1, 2)
        return features.to(images.device, images.dtype)

    def _run(self, images: Any, size: int) -> Any:
        missing = size - len(images)  # in the last part of a file with a fixed batch size, and without images
        padded = np.concatenate((images, np.zeros((missing, *images.shape[1:]), images.dtype))) if missing else images
        try:
            output = self._session.run.run(None, {self.input_name: padded})[0]
        except Exception as error:  # onnxruntime's errors share no public base class
            raise ValueError(
                f"{self.file_name} does not take images {list(padded.shape)}: {first_line(error)}"
            ) from error
        return output[: len(images)]

    def get_extra_state(self) -> Tensor:
        """Return the SHA-256 for the state dict, uint8 `[32]`; it is no buffer, as those may be averaged."""
        return torch.tensor(list(bytes.fromhex(self.sha256)), dtype=torch.uint8)

    def set_extra_state(self, state: Any) -> None:
        """Do nothing: the file does not change, and `_load_from_state_dict` compares."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        other = state_dict.get(f"{prefix}_extra_state")
        if isinstance(other, Tensor) and (found := bytes(other.tolist()).hex()) != self.sha256:
            args[-1].append(
                f"Expected weights for {self.file_name} with the SHA-256 {self.sha256[:12]}, found those for a file "
                f"with {found[:12]}."
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxNet:
        copied = OnnxNet.__new__(OnnxNet)
        memo[id(self)] = copied
        vars(copied).update(vars(self))  # the session and the content are shared
        return copied

    def exported(self) -> dict[str, Any]:
        """Return the preprocessing that pairsim wrote into a file that it exported; nothing for other files."""
        properties = self._session.run.get_modelmeta().custom_metadata_map
        return {key: json.loads(properties[_PROPERTY + key]) for key in _OF_FILE if _PROPERTY + key in properties}

    def extra_repr(self) -> str:
        """Name the file."""
        return f"{self.file_name!r}, {str(self.dtype).removeprefix('torch.')}"


class _Session:
    """An `onnxruntime.InferenceSession` that another process opens again."""

    def __init__(self, content: bytes, source: str) -> None:
        self._made_of = content, source
        try:
            self.run: Any = open_onnx(content, source=source, threads=torch.get_num_threads())
        except RunError as error:
            if "external data" not in str(error).lower():
                raise
            raise RunError(
                f"Expected {source} to have its weights inside, found that they are in another file. Make one file "
                f'of them: onnx.save(onnx.load("{source}"), "one-file.onnx")'
            ) from error

    def __reduce__(self) -> tuple[type[_Session], tuple[bytes, str]]:
        return _Session, self._made_of


def open_onnx(content: bytes, *, source: object, threads: int | None = None, providers: Sequence[str] = CPU) -> Any:
    """Make an `onnxruntime.InferenceSession` that prints nothing to stderr.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
        RunError: If the content is not an ONNX model.
    """
    runtime = require("onnxruntime", extra="onnx", purpose="Running ONNX files")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(content, options, providers=list(providers))
    except Exception as error:  # onnxruntime's errors share no public base class
        raise RunError(
            f"Expected {source} to be an ONNX model that onnxruntime can run, but: {first_line(error)}."
        ) from error


def read_onnx_net(
    path: str | os.PathLike[str], *, in_channels: int | None = None, image_size: tuple[int, int] | None = None
) -> tuple[OnnxNet, Preprocessing]:
    """Read an ONNX file as a backbone, with the preprocessing of its images.

    Preprocessing is read from the properties of a file that pairsim exported, else from `NAME.json` beside `NAME.onnx`
    with the keys `image_size`, `channels`, `mean`, `std`, `fit`, `interpolation` and `central_fraction` of
    `Preprocessing`, all optional.
    What nothing states is assumed, with a warning: pixels scaled to [0, 1] and normalised as for ImageNet.

    Args:
        path: The file.
        in_channels: Channels of the images, where the file leaves them open.
        image_size: Height and width, where the file leaves them open.

    Returns:
        The net, and its preprocessing.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
        RunError: If a file cannot be read or used.
        ValueError: If the file takes images of another size or other channels.
    """
    file = Path(path)
    if not storage.is_file(file):
        raise RunError(f"Expected an ONNX file at {file}, found {storage.found_at(file)}. Check the path.")
    beside = file.with_suffix(".json")
    stated = storage.read_json(beside) if storage.is_file(beside) else {}
    if unknown := stated.keys() - set(_KEYS):
        raise RunError(f"Expected {beside} to have the keys {', '.join(_KEYS)}, found {', '.join(sorted(unknown))}.")
    net = OnnxNet(storage.read_bytes(file), file.name, in_channels or stated.get("channels"))
    try:
        return net, _preprocessing(net, file, {**stated, **net.exported()}, in_channels, image_size)
    except (TypeError, KeyError) as error:
        raise RunError(f"Expected {beside} to describe the images of {file.name}, but: {error}.") from error


def _preprocessing(
    net: OnnxNet,
    file: Path,
    stated: Mapping[str, Any],
    in_channels: int | None,
    image_size: tuple[int, int] | None,
) -> Preprocessing:
    channels, size = net.in_channels, stated.get("image_size")
    size = (size, size) if isinstance(size, int) else size
    size = net.fixed_size or image_size or size or (_DEFAULT_SIZE, _DEFAULT_SIZE)
    if image_size not in (None, size) or in_channels not in (None, channels):
        raise ValueError(
            f"Expected {channels} channels and images of {size[0]} x {size[1]} for {file.name}, got "
            f"{in_channels or channels} and {' x '.join(map(str, image_size or size))}. Leave image_size and channels "
            "out (--image-size, --channels)."
        )
    mean, std = stated.get("mean"), stated.get("std")
    if net.dtype == torch.uint8:
        mean, std = (0.0,) * channels, (1.0,) * channels  # the file scales its pixels itself
    elif mean is None or std is None:
        mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if channels == 3 else ((0.5,), (0.5,))
        warnings.warn(
            f"Nothing states how the pixels of {file.name} are scaled: assuming {'RGB' if channels == 3 else 'grey'} "
            f"from 0 to 1, minus mean {list(mean)}, by std {list(std)}. State it in {file.with_suffix('.json')}: "
            '{"mean": [...], "std": [...]}.',
            UserWarning,
            stacklevel=2,
        )
    values = {"fit": "crop", **stated, "image_size": size, "channels": channels, "mean": mean, "std": std}
    return Preprocessing.from_dict(values)
