"""`SimilarityModel`: how alike two images are, and how likely they show the same thing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from pairsim.errors import RunError
from pairsim.images import PictureLike, Preprocessing
from pairsim.models import pretrained
from pairsim.models.embedding_net import EmbeddingNet, unit_length

Images: TypeAlias = Tensor | PictureLike | Sequence[PictureLike]

_INITIAL_SCALE, _INITIAL_BIAS = 10.0, -5.0
"""Probability 0.5 at similarity 0.5, 0.0067 at 0 and 0.9933 at 1: steep enough that learning starts at once."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and the error rates that were seen at it.

    Attributes:
        threshold: Cut on similarity: a pair is a match from here on upwards.
        fmr: False match rate, the share of negative pairs at or above the threshold.
        fnmr: False non-match rate, the share of positive pairs below it.
        num_positive: Positive pairs that the rates were measured on.
        num_negative: Negative pairs likewise.
        source: Which data that was.
    """

    threshold: float
    fmr: float
    fnmr: float
    num_positive: int
    num_negative: int
    source: str


@dataclass(frozen=True)
class Verdict:
    """The answer on one pair of images.

    Attributes:
        match: Whether `similarity >= threshold`.
        similarity: Cosine of the two embeddings, in [-1, 1].
        probability: That both show the same thing, by the model's projection, in [0, 1].
        threshold: The cut that was used.
        fmr: False match rate seen at that threshold, or `None` if it was not measured there.
    """

    match: bool
    similarity: float
    probability: float
    threshold: float
    fmr: float | None


class SimilarityModel(nn.Module):
    """Two images through one embedding net; the cosine of their embeddings; a probability from it.

    Images as uint8 are pixels, which the model's preprocessing scales and normalises. Images in floating point are
    taken as they are.

    Args:
        embedding_net: An `EmbeddingNet`, or any module that gives `[N, D]` for images, which is then used as it is.
        preprocessing: What is done to pixels; by default only scaled to [0, 1]. Training on uint8 images fills in
            their mean and standard deviation.

    Raises:
        TypeError: If `embedding_net` is not a module.

    Example:
        >>> model = SimilarityModel(EmbeddingNet()).eval()
        >>> image = torch.rand(1, 1, 28, 28)
        >>> round(model.get_raw_similarity(image, image).item(), 4)
        1.0
    """

    def __init__(self, embedding_net: nn.Module | None = None, *, preprocessing: Preprocessing | None = None) -> None:
        super().__init__()
        net = EmbeddingNet() if embedding_net is None else embedding_net
        if not isinstance(net, nn.Module):
            raise TypeError(f"Expected embedding_net to be a torch.nn.Module, got {type(net).__name__}.")
        self.embedding_net = net
        self.projection: nn.Linear = nn.Linear(1, 1)
        with torch.no_grad():
            self.projection.weight.fill_(_INITIAL_SCALE)
            self.projection.bias.fill_(_INITIAL_BIAS)
        if preprocessing is None:
            size = getattr(net, "image_size", (28, 28))
            size = (size, size) if isinstance(size, int) else size  # one number in torchvision's transformers
            preprocessing = Preprocessing(image_size=size, channels=getattr(net, "in_channels", 1))
        self.preprocessing = preprocessing
        self.operating_point: OperatingPoint | None = None

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return self.projection.weight.device

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits of pairs; `torch.sigmoid` of them is the probability of target 1.

        Args:
            first: First images `[N, C, H, W]`, uint8 pixels or preprocessed floating point.
            second: Second images, of the same shape.

        Returns:
            Logits `[N]`, float32.

        Raises:
            ValueError: If shapes are wrong or differ.
        """
        return self.logits(self._cosine(first, second))

    def get_raw_similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """Cosine similarity of pairs, in [-1, 1]; 0 where an embedding is zero.

        Args:
            first: First images `[N, C, H, W]`.
            second: Second images, of the same shape.

        Returns:
            Similarities `[N]`, float32.
        """
        return self._cosine(first, second).clamp(-1.0, 1.0)

    def embed(self, images: Tensor) -> Tensor:
        """Unit-length embeddings of a batch, in the model's current mode and with gradients.

        Args:
            images: `[N, C, H, W]` on the model's device.

        Returns:
            `[N, D]`, float32.

        Raises:
            ValueError: If the images are not `[N, C, H, W]` or have other channels than the model.
        """
        self._check_images(images)
        embeddings = self.embedding_net(self.preprocessing(images))
        normalized = isinstance(self.embedding_net, EmbeddingNet) and self.embedding_net.normalize
        return embeddings if normalized else unit_length(embeddings)

    def logits(self, similarity: Tensor) -> Tensor:
        """Projected similarities: `weight * similarity + bias`, any shape, in float32."""
        weight, bias = self.projection.weight.view(()), self.projection.bias.view(())
        return similarity.float() * weight.float() + bias.float()

    def encode(self, images: Images, *, batch_size: int = 256) -> Tensor:
        """Embeddings of any number of images, in eval mode and without gradients.

        Args:
            images: A tensor `[N, C, H, W]`; or one or several of: path, PIL image, uint8 array `[H, W]` or
                `[H, W, C]`, uint8 tensor `[C, H, W]`. Pictures are resized to the model's size.
            batch_size: Images embedded at once.

        Returns:
            `[N, D]` on the model's device, float32; `N = 0` gives `[0, D]` where D is known.

        Raises:
            ImageReadError: If a file cannot be read; the message names it.
            ValueError: If `batch_size` is below 1 or shapes are wrong.
        """
        if batch_size < 1:
            raise ValueError(f"Expected batch_size to be at least 1, got {batch_size}.")
        batch = images if isinstance(images, Tensor) and images.ndim == 4 else None
        single = isinstance(images, Tensor | str | os.PathLike) or hasattr(images, "__array_interface__")
        pictures: Sequence[PictureLike] = [] if batch is not None else [images] if single else list(images)  # type: ignore[list-item, arg-type]
        size = len(batch) if batch is not None else len(pictures)
        parts = [torch.empty((0, getattr(self.embedding_net, "embedding_dim", 0)), device=self.device)]
        with self.evaluating(), torch.inference_mode():
            for start in range(0, size, batch_size):
                part = slice(start, start + batch_size)
                pixels = batch[part] if batch is not None else self.preprocessing.read_batch(pictures[part])
                parts.append(self.embed(pixels.to(self.device)))
        return torch.cat(parts[1:] or parts)

    def similarity_matrix(self, a: Images, b: Images | None = None, *, batch_size: int = 256) -> Tensor:
        """Similarity of every image of `a` to every image of `b`.

        Args:
            a: Images as for `encode`.
            b: Images as for `encode`; `a` again by default.
            batch_size: Images embedded at once.

        Returns:
            `[N, M]` in [-1, 1].
        """
        rows = self.encode(a, batch_size=batch_size)
        columns = rows if b is None else self.encode(b, batch_size=batch_size)
        return (rows @ columns.T).clamp(-1.0, 1.0)

    def predict_proba(self, first: Images, second: Images) -> Tensor:
        """Probability that pairs show the same thing, in eval mode and without gradients.

        It holds for as many positive as negative pairs, which is what training weighs alike.

        Args:
            first: Images as for `encode`.
            second: As many images.

        Returns:
            `[N]` in [0, 1].
        """
        return self.probability(self._encoded_similarity(first, second))

    def probability(self, similarity: Tensor) -> Tensor:
        """Probability for similarities, any shape, without gradients."""
        with torch.no_grad():
            return torch.sigmoid(self.logits(similarity))

    @property
    def threshold(self) -> float:
        """The similarity at which a pair counts as a match: the stored operating point, else probability one half.

        NaN if the projection does not rise with similarity, so that there is no such place.
        """
        if self.operating_point is not None:
            return self.operating_point.threshold
        weight, bias = self.projection.weight.item(), self.projection.bias.item()
        return -bias / weight if weight > 0 else float("nan")

    def verify(self, first: PictureLike, second: PictureLike, threshold: float | None = None) -> Verdict:
        """Decide whether two images show the same thing.

        Args:
            first: Path, PIL image, uint8 array, uint8 tensor `[C, H, W]`, or preprocessed tensor `[1, C, H, W]`.
            second: Likewise.
            threshold: Cut on similarity in [-1, 1]; by default the model's own.

        Returns:
            The verdict, with similarity, probability, threshold and the false match rate seen at it.

        Raises:
            ImageReadError: If a file cannot be read; the message names it.
            ValueError: If more than two images are given.
        """
        similarity = self._encoded_similarity(first, second)
        if similarity.numel() != 1:
            raise ValueError(f"Expected one pair of images, got {similarity.numel()}. Use predict_proba for several.")
        cut = self.threshold if threshold is None else float(threshold)
        own = self.operating_point is not None and cut == self.operating_point.threshold
        value = similarity.item()
        return Verdict(
            match=value >= cut,
            similarity=value,
            probability=self.probability(similarity).item(),
            threshold=cut,
            fmr=self.operating_point.fmr if own and self.operating_point is not None else None,
        )

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode inside, and each module's own mode again afterwards."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Save weights (`model.safetensors`) and everything else (`config.json`) in a folder.

        Args:
            folder: Made if needed; files of the same names are replaced.

        Raises:
            RunError: If it cannot be written; what was there stays whole.
        """
        net = self.embedding_net
        architecture = net.architecture() if isinstance(net, EmbeddingNet) else None
        pretrained.save(
            Path(folder),
            state=self.state_dict(),
            architecture=architecture or {"embedding_net": f"{type(net).__module__}.{type(net).__qualname__}"},
            preprocessing=self.preprocessing.to_dict(),
            operating_point=None if self.operating_point is None else asdict(self.operating_point),
        )

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, embedding_net: nn.Module | None = None
    ) -> SimilarityModel:
        """Load a model saved by `save_pretrained`, or the best model of a run folder.

        Args:
            folder: A model folder, or a run folder.
            embedding_net: The net that the weights are for, needed unless it is the reference network.

        Returns:
            The model on the CPU, in eval mode.

        Raises:
            RunError: If there is no model, it is damaged, is of a newer format, or its weights do not fit.
        """
        saved = pretrained.load(Path(folder))
        try:
            net = embedding_net if embedding_net is not None else _build_net(saved)
            preprocessing = Preprocessing.from_dict(saved.preprocessing)
            point = None if saved.operating_point is None else OperatingPoint(**saved.operating_point)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{saved.folder / pretrained.CONFIG} is damaged, the model cannot be built from it: "
                f"{type(error).__name__}: {error}. Copy the folder again."
            ) from error
        model = cls(net, preprocessing=preprocessing)
        pretrained.load_weights(model, saved)
        model.operating_point = point
        return model.eval()

    def _cosine(self, first: Tensor, second: Tensor) -> Tensor:
        self._check_images(first)
        self._check_images(second)
        if first.shape != second.shape:
            raise ValueError(
                f"Expected first and second to have one shape, got {list(first.shape)} and {list(second.shape)}."
            )
        if first.dtype != second.dtype:  # joined below they would be of one dtype, and pixels no longer known as such
            first, second = self.preprocessing(first), self.preprocessing(second)
        # One forward for both towers: half the calls, and one set of batch statistics.
        embeddings = self.embed(torch.cat((first, second)))
        a, b = embeddings.chunk(2)
        return (a * b).sum(dim=-1)

    def _encoded_similarity(self, first: Images, second: Images) -> Tensor:
        a, b = self.encode(first), self.encode(second)
        if a.shape != b.shape:
            raise ValueError(f"Expected as many first as second images, got {len(a)} and {len(b)}.")
        return functional.cosine_similarity(a, b).clamp(-1.0, 1.0)

    def _check_images(self, images: Tensor) -> None:
        if not isinstance(images, Tensor):
            raise TypeError(
                f"Expected images as a tensor [N, C, H, W], got {type(images).__name__}. Use encode for files."
            )
        if images.ndim != 4:
            advice = {
                2: " Add batch and channel dimensions: x[None, None].",
                3: " Add a batch dimension: x[None] (or a channel dimension, x[:, None], if it is [N, H, W]).",
            }.get(images.ndim, "")
            raise ValueError(f"Expected images to have shape [N, C, H, W], got {list(images.shape)}.{advice}")
        channels = getattr(self.embedding_net, "in_channels", images.shape[1])
        if images.shape[1] != channels:
            raise ValueError(
                f"Expected images with {channels} channel{'s' if channels != 1 else ''} [N, {channels}, H, W], "
                f"got {list(images.shape)}. Convert them, or build EmbeddingNet(in_channels={images.shape[1]})."
            )
        if isinstance(self.embedding_net, EmbeddingNet) and self.embedding_net.backbone is None:
            size = self.embedding_net.image_size
            if tuple(images.shape[2:]) != size:
                raise ValueError(
                    f"Expected images of {size[0]} x {size[1]} pixels, got {list(images.shape)}. "
                    "Resize them, or give encode a list of pictures, which it resizes."
                )


def _build_net(saved: pretrained.SavedModel) -> EmbeddingNet:
    values = dict(saved.architecture)
    backbone = values.pop("backbone", values.get("embedding_net"))
    if backbone is not None:
        raise RunError(
            f"Expected embedding_net=..., as {saved.folder} was trained with {backbone}, which is code and not saved. "
            "Build the same net and pass it."
        )
    height, width = values.pop("image_size")
    return EmbeddingNet(image_size=(height, width), **values)
