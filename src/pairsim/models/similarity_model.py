"""`SimilarityModel`: the similarity of two images, and the probability that they show the same thing."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from pairsim._common import unit_similarity
from pairsim._common.choices import PrecisionName
from pairsim._common.numbers import whole_number
from pairsim._common.precision import inference_dtype
from pairsim.errors import advising_smaller_batches
from pairsim.images import PictureLike, Preprocessing
from pairsim.models import pretrained
from pairsim.models.collecting import collect
from pairsim.models.embedding_net import EmbeddingNet, check_head, check_images, eval_mode, to_unit_length
from pairsim.models.inference.inference_nets import (
    MAX_WITHOUT_COPY,
    InferenceNet,
    InferenceNets,
    default_batch_size,
)
from pairsim.models.inputs import Images, check_finite, finite_images, image_batches, joined_pair
from pairsim.models.model_settings import ModelSettings
from pairsim.models.verdict import Verdict, verdict_on, warn_of_one_decision
from pairsim.models.weight_names import check_weights

_INITIAL_SCALE, _INITIAL_BIAS = 10.0, -5.0
"""Probability 0.5 at similarity 0.5, 0.0067 at 0 and 0.9933 at 1: steep enough that learning starts at once."""


class SimilarityModel(ModelSettings):
    """Embed two images with one net, and turn the cosine of their embeddings into a probability.

    Images as uint8 are pixels, which the model's preprocessing scales and normalises. Images in floating point are
    used as they are; in eval mode a warning says if they seem to be of another scale than those of training, and
    `encode` warns if the model was trained on the central part of pixels, which they may not be. The state dict also
    holds preprocessing, operating point and calibration.

    Args:
        embedding_net: An `EmbeddingNet`, or any module that maps images to `[N, D]`, which is then used as it is.
        preprocessing: How pixels are scaled; by default as the net's backbone was trained (its `preprocessing`), else
            to [0, 1]. If no mean and standard deviation are given or known, training on uint8 images sets theirs.

    Raises:
        TypeError: If `embedding_net` is not a module, or `preprocessing` no `Preprocessing`.
        ValueError: If `preprocessing` has other channels than the net's `in_channels`.

    Example:
        >>> model = SimilarityModel(EmbeddingNet()).eval()
        >>> image = torch.rand(1, 1, 28, 28)
        >>> round(model.get_raw_similarity(image, image).item(), 4)
        1.0
    """

    def __init__(self, embedding_net: nn.Module | None = None, *, preprocessing: Preprocessing | None = None) -> None:
        super().__init__(EmbeddingNet() if embedding_net is None else embedding_net, preprocessing)
        self.projection: nn.Linear = nn.Linear(1, 1)
        with torch.no_grad():
            self.projection.weight.fill_(_INITIAL_SCALE)
            self.projection.bias.fill_(_INITIAL_BIAS)
        self._inference_nets = InferenceNets()

    @property
    def device(self) -> torch.device:
        """The device of the model's parameters."""
        return self.projection.weight.device

    @property
    def weights_dtype(self) -> torch.dtype:
        """The number format of the net's weights."""
        formats = (weight.dtype for weight in self.embedding_net.parameters() if weight.is_floating_point())
        return next(formats, self.projection.weight.dtype)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Compute the logits of pairs; their `torch.sigmoid` is the probability of target 1.

        Args:
            first: First images `[N, C, H, W]`, uint8 pixels or preprocessed floating point.
            second: Second images, of the same shape.

        Returns:
            Logits `[N]`, float32.

        Raises:
            ValueError: If shapes are wrong or differ, or in eval mode the head was not computed yet.
        """
        a, b = self._embed_pairs(first, second)
        return self.logits((a * b).sum(dim=-1))

    def get_raw_similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """Compute the cosine similarity of pairs, in the model's current mode and with gradients.

        Args:
            first: First images `[N, C, H, W]`.
            second: Second images, of the same shape.

        Returns:
            Similarities `[N]` in [-1, 1], float32; 0 where an embedding is zero.

        Raises:
            ValueError: As `forward`.
        """
        return unit_similarity.similarity(*self._embed_pairs(first, second))

    def embed(self, images: Tensor) -> Tensor:
        """Compute the unit-length embeddings of a batch, in the model's current mode and with gradients.

        Args:
            images: `[N, C, H, W]` on the model's device.

        Returns:
            `[N, D]`, float32.

        Raises:
            TypeError: If the images or what the net returns are not a tensor.
            ValueError: If the images are not `[N, C, H, W]` or have other channels than the model, or the net does not
                return real `[N, D]`.
        """
        check_images(images, self.embedding_net, self.preprocessing)
        images = self.preprocessed(images, checked=not self.training and images.device.type == "cpu")
        return to_unit_length(self.embedding_net(images.to(self.weights_dtype)), self.embedding_net)

    def logits(self, similarity: Tensor) -> Tensor:
        """Project similarities of any shape: `weight * similarity + bias`, in float32."""
        weight, bias = self.projection.weight.view(()), self.projection.bias.view(())
        return similarity.float() * weight.float() + bias.float()

    def encode(
        self,
        images: Images,
        *,
        batch_size: int | None = None,
        precision: PrecisionName = "fp32",
        progress: bool | None = None,
    ) -> Tensor:
        """Compute the embeddings of any number of images, in eval mode and without gradients.

        More than two images run through a copy of the net for inference, with batch norm folded into the layers before
        it, which is kept until the weights change. Its embeddings differ from those of `embed` by rounding, by some
        1e-6 for the reference net. Files are decoded in threads ahead of the net.

        Args:
            images: A tensor `[N, C, H, W]`; or one or several of: path, PIL image, uint8 array `[H, W]` or
                `[H, W, C]`, uint8 tensor `[C, H, W]`, in a sequence, a generator or an array `[N, H, W, C]`. Pictures
                are resized to the model's size. For a labelled dataset use `pairsim.encode_dataset`.
            batch_size: Images embedded at once; by default by the device and the size of the images.
            precision: `"fp32"` computes with the weights as they are; `"bf16"` and `"fp16"` in 16 bits, which changes
                similarities by up to 0.01; `"auto"` in 16 bits if the hardware supports it. The weights stay as they
                are, and an autocast outside has no effect. Weights in another format than float32, as after `half()`,
                always compute in their own.
            progress: Whether to show a progress bar; by default for long work on a terminal.

        Returns:
            `[N, D]` on the model's device, float32 (float64 of weights in float64); `N = 0` gives `[0, D]` if D is
            known.

        Raises:
            ImageReadError: If a file cannot be read; the message names it.
            TypeError: If `images` is a dataset.
            ValueError: If `batch_size` is below 1, there is no such precision, shapes are wrong, weights, pixels or
                embeddings are NaN or infinite, or the head was not computed yet.

        Example:
            >>> SimilarityModel().encode(torch.rand(3, 1, 28, 28), precision="bf16").shape
            torch.Size([3, 128])
        """
        if batch_size is None:
            own = self.preprocessing.image_size
            size = images.shape[2:] if isinstance(images, Tensor) and images.ndim == 4 else own
            batch_size = default_batch_size(self.device, (size[0], size[1]))
        if isinstance(images, Tensor):
            self.warn_of_whole(images)
        given = image_batches(images, self.preprocessing, whole_number(batch_size, "batch_size", 1))
        with contextlib.closing(given.batches) as batches:
            embeddings = self.encode_batches(batches, given.num_images, precision=precision, progress=progress)
        return embeddings if given.indices is None else embeddings[given.indices.to(embeddings.device)]

    def encode_batches(
        self,
        batches: Iterable[Tensor],
        num_images: int | None = None,
        *,
        precision: PrecisionName = "fp32",
        progress: bool | None = None,
    ) -> Tensor:
        """Compute the embeddings of images that come in batches, as from a loader; otherwise the same as `encode`.

        Args:
            batches: Each `[n, C, H, W]`, uint8 pixels or preprocessed floating point, on any device.
            num_images: Images in all batches, N, if it is known: the result then needs no second copy.
            precision: As for `encode`.
            progress: As for `encode`.

        Returns:
            `[N, D]` on the model's device, float32.

        Raises:
            ValueError: If shapes are wrong, there are not `num_images` images, weights, pixels or embeddings are NaN or
                infinite, or the head was not computed yet.

        Example:
            >>> SimilarityModel().encode_batches(torch.rand(5, 1, 28, 28).split(2)).shape
            torch.Size([5, 128])
        """
        check_head(self.embedding_net)
        dtype, own_embed = inference_dtype(precision, self.device), type(self).embed is not SimilarityModel.embed
        if self.weights_dtype != torch.float32:
            dtype = None
        chosen = InferenceNet(net=self.embed, dtype=dtype) if own_embed else None
        few = dtype is None and num_images is not None and num_images <= MAX_WITHOUT_COPY
        finite = list[Tensor]()

        def embed(images: Tensor) -> Tensor:
            nonlocal chosen
            check_images(images, self.embedding_net, self.preprocessing)
            images = images.to(self.device)
            finite.append(finite_images(images))
            if not own_embed:
                images = self.preprocessed(images, checked=chosen is None)
            if chosen is None:  # the first batch selects the net that runs
                chosen = self._inference_nets.get(self.embedding_net, images, dtype, few=few)
            # a copy stays in eval mode, so that the model's own mode need not change, which other threads would see
            in_eval_mode = contextlib.nullcontext() if chosen.in_eval_mode else self.evaluating()
            with in_eval_mode, advising_smaller_batches(len(images)):
                embeddings = chosen(images)
            return embeddings if own_embed else to_unit_length(embeddings, self.embedding_net)

        embeddings = collect(map(embed, filter(len, batches)), num_images, progress=progress)
        if embeddings is None:
            return torch.empty((0, int(getattr(self.embedding_net, "embedding_dim", 0))), device=self.device)
        # the sum takes the least time, and a look at the weights the most
        if not (embeddings.is_meta or (math.isfinite(float(embeddings.sum())) and torch.cat(finite).all())):
            check_weights(self)
            check_finite(torch.cat(finite), embeddings)
        return embeddings

    def similarity_matrix(
        self,
        a: Images,
        b: Images | None = None,
        *,
        batch_size: int | None = None,
        precision: PrecisionName = "fp32",
        progress: bool | None = None,
    ) -> Tensor:
        """Compute the similarity of every image of `a` to every image of `b`.

        Args:
            a: Images as for `encode`.
            b: Images as for `encode`; `a` again by default.
            batch_size: As for `encode`.
            precision: As for `encode`.
            progress: As for `encode`.

        Returns:
            `[N, M]` in [-1, 1], float32.

        Raises:
            ValueError: As `encode`.
        """
        rows = self.encode(a, batch_size=batch_size, precision=precision, progress=progress)
        columns = rows if b is None else self.encode(b, batch_size=batch_size, precision=precision, progress=progress)
        return unit_similarity.similarity_matrix(rows, columns)

    def predict_proba(self, first: Images, second: Images) -> Tensor:
        """Compute the probability that pairs show the same thing, in eval mode and without gradients.

        The model's `calibration` gives it, if there is one (see `pairsim.calibrate`), for the share of positive pairs
        that it states; else the projection does, for as many positive as negative pairs, which have the same weight in
        training.

        Args:
            first: Images as for `encode`.
            second: As many images.

        Returns:
            `[N]` in [0, 1].

        Raises:
            ValueError: As `encode`, or if there are not as many first as second images.
        """
        return self.probability(self._encoded_similarity(first, second))

    def probability(self, similarity: Tensor) -> Tensor:
        """The probability for similarities of any shape, without gradients; see `predict_proba`."""
        if self.calibration is not None:
            return self.calibration.probability(similarity)
        with torch.no_grad():
            return torch.sigmoid(self.logits(similarity))

    @property
    def threshold(self) -> float:
        """The similarity of the stored operating point, else of probability 0.5; from it on, a pair is a match.

        NaN if the projection does not rise with similarity, so that no similarity separates the two.
        """
        if self.operating_point is not None:
            return self.operating_point.threshold
        if self.calibration is not None:
            return self.calibration.similarity_at(0.5)
        weight, bias = self.projection.weight.item(), self.projection.bias.item()
        return -bias / weight if weight > 0 else float("nan")

    def verify(self, first: PictureLike, second: PictureLike, threshold: float | None = None) -> Verdict:
        """Decide whether two images show the same thing.

        Args:
            first: Path, PIL image, uint8 array, uint8 tensor `[C, H, W]`, or preprocessed tensor `[1, C, H, W]`.
            second: Likewise.
            threshold: Similarity in [-1, 1] from which a pair is a match; by default the model's own. If that gives
                every pair the same decision, as after a training that collapsed, a `UserWarning` says so once.

        Returns:
            The verdict, with similarity, probability, threshold and the false match rate measured at it.

        Raises:
            ImageReadError: If a file cannot be read; the message names it.
            ValueError: If more than two images are given, or the threshold is outside [-1, 1]; and as `encode`.
        """
        similarity = self._encoded_similarity(first, second)
        if similarity.numel() != 1:
            raise ValueError(f"Expected one pair of images, got {similarity.numel()}. Use predict_proba for several.")
        if threshold is None:
            warn_of_one_decision(self)
        return verdict_on(self, similarity, threshold)

    def evaluating(self) -> contextlib.AbstractContextManager[None]:
        """Set eval mode inside, and restore each module's own mode afterwards."""
        return eval_mode(self)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Save weights (`model.safetensors`) and everything else (`config.json`) in a folder.

        Args:
            folder: Made if needed; files of the same names are replaced.

        Raises:
            RunError: If it cannot be written; what was there stays whole.
            ValueError: If the head was not computed yet.
        """
        check_head(self.embedding_net)
        pretrained.save(Path(folder), self)

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, embedding_net: nn.Module | None = None
    ) -> SimilarityModel:
        """Load a model saved by `save_pretrained`, or the best model of a run folder.

        Args:
            folder: A model folder, or a run folder.
            embedding_net: The net that the weights are for, needed unless it is the reference network or has a backbone
                that was built by its name.

        Returns:
            The model on the CPU, in eval mode.

        Raises:
            MissingExtraError: If its backbone needs timm or onnxruntime, which is not installed.
            RunError: If there is no model, it is damaged, is of a newer format, or its weights do not fit.
        """
        saved = pretrained.load(Path(folder), embedding_net)
        model = cls(saved.net)
        pretrained.restore(model, saved)
        return model.eval()

    def _embed_pairs(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            check_head(self.embedding_net)
        check_images(first, self.embedding_net, self.preprocessing)
        check_images(second, self.embedding_net, self.preprocessing)
        if first.shape != second.shape:
            raise ValueError(
                f"Expected first and second to have one shape, got {list(first.shape)} and {list(second.shape)}."
            )
        if first.dtype != second.dtype:  # joined below they would be of one dtype, and pixels no longer known as such
            first, second = self.preprocessed(first), self.preprocessed(second)
        # One forward for both: half the calls, and one set of batch statistics.
        a, b = self.embed(torch.cat((first, second))).chunk(2)
        return a, b

    def _encoded_similarity(self, first: Images, second: Images) -> Tensor:
        check_weights(self.projection)
        pair = joined_pair(first, second)
        if pair is not None:  # together, which halves the calls
            a, b = self.encode(pair).split(1)
        else:
            a, b = self.encode(first), self.encode(second)
        if a.shape != b.shape:
            raise ValueError(f"Expected as many first as second images, got {len(a)} and {len(b)}.")
        return unit_similarity.similarity(a, b)
