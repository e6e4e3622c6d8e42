"""`EmbeddingNet` maps images to unit-length embeddings."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pairsim._common.numbers import truth_value, whole_number
from pairsim.images import Preprocessing
from pairsim.models.backbones import Backbone, channels_of, given_backbone, named_backbone
from pairsim.models.backbones.onnx_nets import OnnxNet
from pairsim.models.heads.head_modules import CLOSED_FORM, HEAD_NAMES, HeadName, embedding_dim_of, is_neutral, make_head
from pairsim.models.weight_names import PlainNamesModule, unwrapped

_EPS = 1e-6
"""Embeddings shorter than this count as zero: they have no direction, and no gradient that would point anywhere."""


_MAX_VALUES, _MAX_DIM = 2**26, 2**16


def unit_length(vectors: Tensor) -> Tensor:
    """Scale vectors to length 1 in float32; a zero vector stays zero and passes no gradient.

    Args:
        vectors: `[N, D]`.

    Returns:
        float32 (float64 stays) `[N, D]`.
    """
    vectors = vectors if vectors.dtype == torch.float64 else vectors.float()
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.masked_fill(length <= _EPS, torch.inf)


@contextlib.contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Set eval mode inside, and restore the mode of each part of the module afterwards.

    Example:
        >>> net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
        >>> with eval_mode(net):
        ...     net[0].training
        False
        >>> [part.training for part in net]
        [True, False]
    """
    training = [part for part in module.modules() if part.training]
    if training:
        module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


class EmbeddingNet(PlainNamesModule):
    """Maps images to embeddings.

    Without a backbone this is the reference network: two blocks of 5 x 5 convolution, batch norm, pooling and ReLU
    (`conv`), then a linear layer, batch norm and ReLU (`fc`). Its closing ReLU makes embeddings non-negative, so their
    similarities lie in [0, 1].

    With a backbone, its features are averaged over height and width, if they have them, and mapped by the head. Nets
    of torchvision and timm lose their classifier and set `preprocessing`. Any other module is used as it is, with its
    last layer; it is code, so give it again to load the model.

    Args:
        backbone: A name from `pairsim.models.backbones.backbone_names`, such as `"conv4"`, `"resnet18"` or
            `"timm/mobilenetv3_small_100"`; an ONNX file such as `"faces.onnx"`, which is not trained; `"embeddings"`,
            for embeddings of another model in place of images; or any module from `[N, C, H, W]` to features `[N, F]`
            or `[N, F, h, w]`. F is found by running it.
        weights: For a name: `None` for random weights, a file (`.safetensors`, or a state dict of `torch.save`), or
            `"pretrained"` for those on this machine, else those that torchvision or timm downloads.
        in_channels: Channels of the images, C; by default those that the backbone was trained with, else 1.
        image_size: Height and width, or one number for both; by default those that the backbone was trained with, else
            28. At least 4 without a backbone.
        head: What follows a backbone: `"linear"`, one linear layer; `"mlp"`, two; `"none"`, its features as they are;
            `"standardize"`, each feature with mean 0 and standard deviation 1; or `"whiten"`, after which images of one
            class differ equally in all directions. The last two are computed from features by `pairsim.adapt`, which
            also chooses, or when a `Trainer` is made.
        embedding_dim: Length of an embedding, D; by default 128, the number of features F for `"none"` and
            `"standardize"`, and F but at most 512 for `"whiten"`.
        normalize: Whether embeddings are scaled to unit length.

    Attributes:
        head_name: The name of the head.
        head_is_fitted: Whether the head can be used: one in closed form first has to be computed from features.
        num_features: Features of the backbone, F, or of the reference network's last convolution.
        backbone_name: The name that `backbone` was built by, or `None`.
        preprocessing: How the net, or else its backbone, was trained, with these channels and this size; `None` if that
            is not known.
        has_known_backbone: Whether the backbone is of torchvision or timm.
        takes_one_size: Whether images must have `image_size`: without a backbone, or if the backbone has an attribute
            `takes_one_size` that is true.
        pretrained: Whether `weights` were given.
        came_alone: Whether weights were loaded by `load_state_dict` of the net, and not as a part of a model.

    Raises:
        MissingExtraError: If the backbone needs timm or onnxruntime, which is not installed.
        RunError: If weights or an ONNX file cannot be read or downloaded.
        TypeError: If `backbone` is none of these, a size, `in_channels` or `embedding_dim` is not a whole number, or
            `normalize` is neither true nor false.
        ValueError: If a size is out of range, there is no such backbone or head, weights do not fit it, or it does not
            take such images or computes no such features.

    Example:
        >>> EmbeddingNet()(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 128])
        >>> EmbeddingNet("resnet18").preprocessing.image_size
        (224, 224)
    """

    def __init__(
        self,
        backbone: nn.Module | str | None = None,
        *,
        weights: str | os.PathLike[str] | None = None,
        in_channels: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        head: HeadName = "linear",
        embedding_dim: int | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        _expect_backbone(backbone)
        if head not in HEAD_NAMES:
            raise ValueError(f"Expected head to be one of {', '.join(HEAD_NAMES)}, got {head!r}.")
        size = _height_and_width(image_size, 4 if backbone is None else 1)
        in_channels, embedding_dim = (
            None if value is None else whole_number(value, name, 1)
            for name, value in (("in_channels", in_channels), ("embedding_dim", embedding_dim))
        )
        values = math.prod(size or ()) * (in_channels or 1)
        if values > _MAX_VALUES or (embedding_dim or 1) > _MAX_DIM:
            raise ValueError(
                f"Expected images of at most {_MAX_VALUES:,} values (channels x height x width) and embedding_dim "
                f"up to {_MAX_DIM:,}, got {values:,} and {embedding_dim}. Use smaller ones."
            )
        if backbone is None and head != "linear":
            raise ValueError(
                f'Expected a backbone for head "{head}": the reference network has its own last layers. Name a '
                'backbone, such as "mobilenet_v2", or leave head out.'
            )
        chosen: Backbone | None = None
        if isinstance(backbone, str):
            chosen = named_backbone(backbone, weights=weights, in_channels=in_channels, image_size=size)
        elif weights is not None:
            raise ValueError(
                f"Expected weights together with a backbone's name, got them with {type(backbone).__name__}. "
                "Load them into the module before it is given."
            )
        elif backbone is not None:
            chosen = given_backbone(backbone, in_channels=in_channels, image_size=size)
        known = None if chosen is None else chosen.preprocessing
        self.in_channels: int = in_channels or (1 if known is None else known.channels)
        height, width = size or ((28, 28) if known is None else known.image_size)
        self.image_size: tuple[int, int] = (height, width)
        self.head_name: HeadName = head
        self.head_is_fitted: bool = True
        self.normalize: bool = truth_value(normalize, "normalize")
        self.backbone_name: str | None = None if chosen is None else chosen.name
        self.preprocessing: Preprocessing | None = known
        self.has_known_backbone: bool = known is not None
        self.came_alone: bool = False
        self.pretrained: bool = chosen is not None and chosen.pretrained
        self.backbone: nn.Module | None = None if chosen is None else chosen.module
        self.takes_one_size: bool = self.backbone is None or bool(getattr(self.backbone, "takes_one_size", False))
        if self.backbone is None:
            self.conv: nn.Sequential = nn.Sequential(*_conv_block(self.in_channels, 32), *_conv_block(32, 64))
            self.num_features: int = reference_features(self.image_size)
            self.embedding_dim: int = embedding_dim or 128
            self.fc: nn.Sequential = nn.Sequential(
                nn.Flatten(),
                nn.Linear(self.num_features, self.embedding_dim),
                nn.BatchNorm1d(self.embedding_dim),
                nn.ReLU(),
            )
        else:
            self.num_features = _feature_size(self.backbone, self.in_channels, self.image_size, head)
            self.embedding_dim = embedding_dim_of(head, self.num_features, embedding_dim)
            self.head_is_fitted = head not in CLOSED_FORM
            self.head: nn.Module = make_head(head, self.num_features, self.embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Embed a batch.

        Args:
            images: Preprocessed images `[N, C, H, W]`.

        Returns:
            Embeddings `[N, D]`, float32 and of unit length if `normalize`.

        Raises:
            ValueError: If the images are pixels, not `[N, C, H, W]`, or of other channels or size than the net's.
        """
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if isinstance(images, Tensor) and not traced:
            check_images(images, self, None)
        embeddings = self.fc(self.conv(images)) if self.backbone is None else self.head(pooled(self.backbone(images)))
        return unit_length(embeddings) if self.normalize else embeddings

    def set_head(self, name: HeadName, head: nn.Module, embedding_dim: int) -> None:
        """Replace the head of a net with a backbone.

        Args:
            name: The kind of head.
            head: From `[N, F]` to `[N, embedding_dim]`.
            embedding_dim: Length of an embedding, D.
        """
        self.head_name, self.head, self.embedding_dim = name, head, embedding_dim
        self.head_is_fitted = True

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        self.came_alone = not prefix
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.head_is_fitted |= any(name.startswith(f"{prefix}head.") for name in state_dict)

    def architecture(self) -> dict[str, Any]:
        """What is needed to build the net again, as JSON values; of a backbone without a name its class only."""
        kind = None if self.backbone is None else type(self.backbone)
        return {
            "backbone": self.backbone_name or (None if kind is None else f"{kind.__module__}.{kind.__qualname__}"),
            **({"onnx_sha256": self.backbone.sha256} if isinstance(self.backbone, OnnxNet) else {}),
            "in_channels": self.in_channels,
            "image_size": list(self.image_size),
            **({} if self.head_name == "linear" else {"head": self.head_name}),
            "embedding_dim": self.embedding_dim,
            "normalize": self.normalize,
        }


def reference_features(image_size: tuple[int, int]) -> int:
    """Return the features of the reference network's last convolution, which its linear layer takes."""
    return 64 * (image_size[0] // 4) * (image_size[1] // 4)


def _expect_backbone(given: Any) -> None:
    if not isinstance(given, nn.Module | str | None):
        found = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise TypeError(f'Expected backbone to be a module, a name such as "resnet18" or None, got {found}.')


def _height_and_width(image_size: Any, smallest: int) -> tuple[int, int] | None:
    if image_size is None:
        return None
    sides = image_size if isinstance(image_size, Sequence) else (image_size, image_size)
    if isinstance(sides, str) or len(sides) != 2:
        raise TypeError(f"Expected image_size to be a whole number or (height, width), got {image_size!r}.")
    height, width = (whole_number(side, "image_size", smallest) for side in sides)
    return height, width


def to_unit_length(embeddings: Tensor, net: nn.Module) -> Tensor:
    """Scale the embeddings of a net to length 1, unless it does so itself.

    Args:
        embeddings: What the net returned.
        net: The net.

    Returns:
        `[N, D]`.

    Raises:
        TypeError: If the net returned no tensor.
        ValueError: If it is not `[N, D]`, or of complex numbers.
    """
    net = unwrapped(net)
    if not isinstance(embeddings, Tensor):
        raise TypeError(
            f"Expected {type(net).__name__} to return embeddings as a tensor [N, D], got {type(embeddings).__name__}. "
            "Return one tensor from its forward."
        )
    if embeddings.ndim != 2:
        advice = {3: "Append nn.Flatten() to it.", 4: "Append nn.AdaptiveAvgPool2d(1) and nn.Flatten() to it."}
        raise ValueError(
            f"Expected {type(net).__name__} to return embeddings [N, D], got {list(embeddings.shape)}. "
            f"{advice.get(embeddings.ndim, 'Return one row for each image from its forward.')}"
        )
    if embeddings.is_complex():
        raise ValueError(
            f"Expected {type(net).__name__} to return real numbers, got {embeddings.dtype}. "
            "Return torch.view_as_real(embeddings).flatten(1) from its forward."
        )
    return embeddings if isinstance(net, EmbeddingNet) and net.normalize else unit_length(embeddings)


def check_head(net: nn.Module) -> None:
    """Check that the head of a net can be used: one in closed form first has to be computed.

    Raises:
        ValueError: If it was not yet; names it.
    """
    net = unwrapped(net)
    if isinstance(net, EmbeddingNet) and not net.head_is_fitted and is_neutral(net.head):
        raise ValueError(
            f'Expected head "{net.head_name}" to be computed, it has its initial weights. Call pairsim.adapt, train '
            "the model with a Trainer, or load its weights."
        )


def default_preprocessing(net: nn.Module) -> Preprocessing:
    """Return a net's own `preprocessing`, or that for its size and channels which scales pixels to [0, 1]."""
    net = unwrapped(net)
    known = getattr(net, "preprocessing", None)
    if isinstance(known, Preprocessing):
        return known
    size = getattr(net, "image_size", (28, 28))
    size = (size, size) if isinstance(size, int) else size  # one number in torchvision's transformers
    return Preprocessing(image_size=size, channels=channels_of(net) or 1)


def pooled(features: Tensor) -> Tensor:
    """Average features over height and width, if they have them: `[N, F, h, w]` to `[N, F]`."""
    return features.mean(dim=(2, 3)) if features.ndim == 4 else features


def check_images(images: Tensor, net: nn.Module, preprocessing: Preprocessing | None) -> None:
    """Reject what a net cannot embed.

    Args:
        images: What was given as images.
        net: If it has `in_channels`, images need as many; if it `takes_one_size`, images have `image_size`.
        preprocessing: It converts grey and colour pixels to the channels that the net takes; `None` if none are taken.

    Raises:
        TypeError: If it is not a tensor.
        ValueError: If it is not `[N, C, H, W]`, of other channels or size than the net's, or of whole numbers other
            than uint8.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"Expected images as a tensor [N, C, H, W], got {type(images).__name__}. Use encode for files.")
    if images.ndim != 4:
        advice = {
            2: " Add batch and channel dimensions: x[None, None].",
            3: " Add a batch dimension: x[None] (or a channel dimension, x[:, None], if it is [N, H, W]).",
        }.get(images.ndim, "")
        raise ValueError(f"Expected images to have shape [N, C, H, W], got {list(images.shape)}.{advice}")
    net = unwrapped(net)
    if not images.is_floating_point() and (images.dtype != torch.uint8 or preprocessing is None):
        kinds, advice = "uint8 pixels or floating point", "Convert pixels from 0 to 255 with images.to(torch.uint8)."
        if preprocessing is None:
            kinds, advice = "preprocessed floating point", "Give pixels, as uint8, to a SimilarityModel of the net."
        raise ValueError(f"Expected images as {kinds}, got {images.dtype}. {advice}")
    channels = getattr(net, "in_channels", images.shape[1])
    converts = preprocessing is not None and preprocessing.channels == channels
    converted = converts and images.dtype == torch.uint8 and {images.shape[1], channels} == {1, 3}
    if images.shape[1] != channels and not converted:
        raise ValueError(
            f"Expected images with {channels} channel{'s' if channels != 1 else ''} [N, {channels}, H, W], "
            f"got {list(images.shape)}. Convert them, or build EmbeddingNet(in_channels={images.shape[1]})."
        )
    if isinstance(net, EmbeddingNet) and net.takes_one_size and tuple(images.shape[2:]) != net.image_size:
        height, width = net.image_size
        raise ValueError(
            f"Expected images of {height} x {width} pixels, got {list(images.shape)}. "
            "Resize them, or give encode a list of pictures, which it resizes."
        )


def _conv_block(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=5, padding=2),
        nn.BatchNorm2d(out_channels),
        # the reference applies ReLU first: values and gradients are equal, and this order computes a quarter as many
        nn.MaxPool2d(2),
        nn.ReLU(),
    ]


def _feature_size(backbone: nn.Module, in_channels: int, image_size: tuple[int, int], head: HeadName) -> int:
    """Return the feature size of a backbone, found with two blank images and without changing its state."""
    parameter = next(backbone.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    blank = torch.zeros(2, in_channels, *image_size, device=device)
    try:
        with torch.no_grad(), eval_mode(backbone):
            features = backbone(blank)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise ValueError(
            f"Expected the backbone to take images of shape {list(blank.shape)}, but it failed: {error}. "
            "Set in_channels and image_size to what it takes."
        ) from error
    if not isinstance(features, Tensor) or features.ndim not in (2, 4) or features.shape[0] != 2:
        given = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"Expected the backbone to give features [N, F] or [N, F, h, w], got {given}.")
    dtype = torch.get_default_dtype()
    if not features.is_floating_point() or (head != "none" and features.dtype != dtype):
        raise ValueError(
            f"Expected the backbone to give features in {dtype}, got {features.dtype}. Convert them at its end."
        )
    return int(features.shape[1])
