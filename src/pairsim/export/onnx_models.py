"""Run exported ONNX files with onnxruntime."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim._common.storage import open_file
from pairsim.errors import RunError
from pairsim.export.description import Description
from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.models.backbones.onnx_nets import CPU, open_onnx

Pixels: TypeAlias = npt.NDArray[np.uint8 | np.float32]
Float32Array: TypeAlias = npt.NDArray[np.float32]


class OnnxModel:
    """An exported ONNX file, ready to run; made by `load_onnx`.

    Attributes:
        description: The properties in the file.
        session: The `onnxruntime.InferenceSession`.
    """

    def __init__(self, session: Any, description: Description) -> None:
        self.session = session
        self.description = description

    def embed(self, images: Pixels | Tensor) -> Float32Array:
        """Embed images with a file of kind `"embed"`.

        Args:
            images: uint8 `[N, C, H, W]` of the model's size, N at least 1; an array or a tensor.

        Returns:
            Unit-length `[N, D]`.

        Raises:
            TypeError: If images are neither an array nor a tensor.
            ValueError: If the file is of another kind, or the images are of another shape or type.
        """
        self._check_kind("embed")
        return self.run(images)[0]

    def compare(self, first: Pixels | Tensor, second: Pixels | Tensor) -> tuple[Float32Array, Float32Array]:
        """Compute similarity and probability of pairs with a file of kind `"pair"`.

        Args:
            first: uint8 `[N, C, H, W]` of the model's size, N at least 1; an array or a tensor.
            second: The same number of images.

        Returns:
            Similarities in [-1, 1] and probabilities in [0, 1], both `[N]`.

        Raises:
            TypeError: If images are neither an array nor a tensor.
            ValueError: If the file is of another kind, or the images are of another shape or type.
        """
        first, second = _as_array(first), _as_array(second)
        if len(first) != len(second):
            raise ValueError(f"Expected as many first as second images, got {len(first)} and {len(second)}.")
        self._check_kind("pair")
        similarity, probability = self.run(first, second)
        return similarity, probability

    def run(self, *images: Pixels | Tensor) -> list[Float32Array]:
        """Run the graph.

        Args:
            images: uint8 `[N, C, H, W]` of the model's size, N at least 1, for each input in order; arrays or tensors.

        Returns:
            Each output in order, see `Description.kind`.

        Raises:
            TypeError: If images are neither arrays nor tensors.
            ValueError: If the images are of another shape or type.
        """
        arrays = [_as_array(batch) for batch in images]
        for batch in arrays:
            check_pixels(batch, self.description)
        names = [value.name for value in self.session.get_inputs()]
        outputs: list[Float32Array] = self.session.run(None, dict(zip(names, arrays, strict=True)))
        return outputs

    def _check_kind(self, kind: str) -> None:
        own = self.description.kind
        if own != kind:
            use = {"embed": "embed(images)", "pair": "compare(first, second)"}[own]
            raise ValueError(f'Expected a file of kind "{kind}", this one is of kind "{own}". Use {use}.')


def check_pixels(images: Pixels, description: Description) -> None:
    """Reject images that an exported file does not take.

    Raises:
        ValueError: If images are not uint8 `[N, C, H, W]` of the model's size (float32 for embeddings of another
            model), N at least 1.
    """
    shape = (description.preprocessing.channels, *description.preprocessing.image_size)
    dtype = np.dtype(np.float32 if description.preprocessing.of_vectors else np.uint8)
    if images.dtype != dtype or images.shape[1:] != shape or len(images) == 0:
        raise ValueError(
            f"Expected images as {dtype} [N, {', '.join(map(str, shape))}], N at least 1, got {images.dtype} "
            f"{list(images.shape)}. {'Resize' if images.dtype == dtype else 'Convert'} them; the file scales and "
            "normalises them itself."
        )


def _as_array(images: Pixels | Tensor) -> Pixels:
    if isinstance(images, Tensor):
        images = images.detach().cpu()
        images = (images.float() if images.is_floating_point() else images).numpy()
    if not isinstance(images, np.ndarray) or images.ndim == 0:
        raise TypeError(f"Expected images as an array or tensor [N, C, H, W], got {type(images).__name__}. Stack them.")
    return images


def load_onnx(path: str | os.PathLike[str], *, threads: int | None = None, providers: Sequence[str] = CPU) -> OnnxModel:
    """Open an ONNX file that pairsim exported.

    An ONNX file contains no code, but a runtime's parser reads it: open files of unknown origin with care.

    Args:
        path: The file.
        threads: Threads within an operation; by default onnxruntime's choice, one per core.
        providers: Execution providers of onnxruntime, in order of preference.

    Returns:
        The model.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
        RunError: If the file cannot be read or was not exported by pairsim.
    """
    try:
        with open_file(path) as file:
            content = file.read()
    except OSError as error:
        raise RunError(f"Expected an ONNX file at {path}, but: {error.strerror}. Check the path.") from error
    session = open_onnx(content, source=path, threads=threads, providers=providers)
    properties = session.get_modelmeta().custom_metadata_map
    return OnnxModel(session, Description.from_properties(properties, path))


def model_from_onnx(path: str | os.PathLike[str]) -> SimilarityModel:
    """Make a model that runs an exported file with onnxruntime in place of PyTorch, on the CPU.

    It has the threshold, error rates and calibration of the file, and does what other models do but train: `verify`,
    `encode`, `Gallery`, `evaluate`, `save_pretrained`. On a CPU it takes less time for a few pictures at once; for
    many at once, `encode(precision="auto")` of the exported model may be faster. Embeddings differ by rounding, and by
    more of an int8 file, so that a gallery belongs to one of the two models.

    Args:
        path: A file of `export_onnx` with kind `"embed"`, or of `quantize_onnx`.

    Returns:
        The model, in eval mode. Images in floating point have the scale from 0 to 1, as the file normalises them.

    Raises:
        MissingExtraError: If onnxruntime is not installed.
        RunError: If the file cannot be read, was not exported by pairsim, or does not map pictures to embeddings.
    """
    description = load_onnx(path).description
    preprocessing = description.preprocessing
    if description.kind != "embed" or preprocessing.of_vectors:
        found = f"one of kind {description.kind}" if description.kind != "embed" else "one that takes embeddings"
        raise RunError(
            f"Expected {path} to map pictures to embeddings, found {found}. Export the model with kind embed."
        )
    channels = preprocessing.channels  # the file cuts, scales and normalises
    scaled = dataclasses.replace(
        preprocessing, mean=(0.0,) * channels, std=(1.0,) * channels, float_range=None, central_fraction=1.0
    )
    model = SimilarityModel(EmbeddingNet(os.fspath(path), head="none"), preprocessing=scaled)
    weight, bias = description.projection
    with torch.no_grad():
        model.projection.weight.fill_(weight)
        model.projection.bias.fill_(bias)
    model.operating_point, model.calibration = description.operating_point, description.calibration
    return model.eval()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip() or "no reason given").splitlines()[0].rstrip(".")
