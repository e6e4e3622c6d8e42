"""What an exported file says about itself: what pictures it takes, and what its numbers mean."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.models import Calibration, OperatingPoint, SimilarityModel
from pairsim.models.identity import model_sha256

Kind: TypeAlias = Literal["embed", "pair"]
KINDS: tuple[Kind, ...] = ("embed", "pair")

FORMAT, FORMAT_VERSION = "pairsim-export", 1
PREFIX = "pairsim."

_TARGET = "1 = same class, 0 = different; match = similarity >= threshold"


@dataclass(frozen=True, kw_only=True)
class Description:
    """What stands in an exported file beside the graph.

    Attributes:
        kind: `"embed"`: images in, embeddings out; `"pair"`: two images in, similarity and probability out.
        preprocessing: Size, channels and normalisation. The graph normalises; reading and resizing is left to do.
        embedding_dim: Length of an embedding.
        threshold: Similarity from which a pair counts as a match; NaN if the model has none.
        operating_point: The error rates seen at it, where they were measured.
        calibration: How the probability was fitted, or `None`: then it is the sigmoid of the projection.
        projection: Weight and bias of the logit of a similarity.
        prior: Share of positive pairs that the probability is stated for.
        model_sha256: Of the model's weights and preprocessing; it stays the same when the file is quantised.
        version: Of pairsim, which wrote the file.
        quantization: How it was made int8, or `None`.

    Example:
        >>> description = Description.of(SimilarityModel(), "pair", 128)
        >>> description.threshold, description.to_dict()["image_size"]
        (0.5, [28, 28])
    """

    kind: Kind
    preprocessing: Preprocessing
    embedding_dim: int
    threshold: float
    operating_point: OperatingPoint | None
    calibration: Calibration | None
    projection: tuple[float, float]
    prior: float
    model_sha256: str
    version: str
    quantization: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, model: SimilarityModel, kind: Kind, embedding_dim: int) -> Description:
        """Describe a model.

        Args:
            model: The one that is exported.
            kind: What the file computes.
            embedding_dim: Size of its embeddings.

        Returns:
            What a file of this model has to carry.
        """
        try:
            version = importlib.metadata.version("pairsim")
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            version = "unknown"
        return cls(
            kind=kind,
            preprocessing=model.preprocessing,
            embedding_dim=embedding_dim,
            threshold=model.threshold,
            operating_point=model.operating_point,
            calibration=model.calibration,
            projection=(model.projection.weight.item(), model.projection.bias.item()),
            prior=0.5 if model.calibration is None else model.calibration.prior,
            model_sha256=model_sha256(model),
            version=version,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the fields of `preprocessing` stand beside the others, a threshold of NaN is `None`."""
        weight, bias = self.projection
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "version": self.version,
            "kind": self.kind,
            **self.preprocessing.to_dict(),
            "embedding_dim": self.embedding_dim,
            "threshold": None if self.threshold != self.threshold else self.threshold,
            "operating_point": None if self.operating_point is None else asdict(self.operating_point),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "projection": {"weight": weight, "bias": bias},
            "prior": self.prior,
            "target": _TARGET,
            "model_sha256": self.model_sha256,
            "quantization": None if self.quantization is None else dict(self.quantization),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: object) -> Description:
        """The inverse of `to_dict`.

        Args:
            values: What was found in a file; empty if it was nothing.
            source: The file, for messages.

        Raises:
            RunError: If the file was not exported by pairsim, is of a newer format, or something is missing.
        """
        if values.get("format") != FORMAT:
            raise RunError(
                f"Expected {source} to be a file that pairsim exported, found no description of pairsim's in it. "
                "Make one with: pairsim export RUN --out FILE.onnx"
            )
        if not isinstance(values.get("format_version"), int) or values["format_version"] > FORMAT_VERSION:
            raise RunError(
                f"Expected {source} to be of format version {FORMAT_VERSION} at most, found "
                f"{values.get('format_version')}: it was made by a newer pairsim. "
                "Upgrade with: pip install --upgrade pairsim"
            )
        try:
            point, calibration = values["operating_point"], values["calibration"]
            return cls(
                kind=values["kind"],
                preprocessing=Preprocessing.from_dict(dict(values)),
                embedding_dim=values["embedding_dim"],
                threshold=float("nan") if values["threshold"] is None else values["threshold"],
                operating_point=None if point is None else OperatingPoint.from_dict(point),
                calibration=None if calibration is None else Calibration.from_dict(calibration),
                projection=(values["projection"]["weight"], values["projection"]["bias"]),
                prior=values["prior"],
                model_sha256=values["model_sha256"],
                version=values["version"],
                quantization=values["quantization"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"The description in {source} is damaged: {type(error).__name__}: {error}. Export the model again."
            ) from error

    def to_properties(self) -> dict[str, str]:
        """As the properties of an ONNX file: each name begins with `pairsim.`, each value is JSON."""
        return {
            PREFIX + name: json.dumps(value, ensure_ascii=False, allow_nan=False)
            for name, value in self.to_dict().items()
        }

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], source: object) -> Description:
        """The inverse of `to_properties`; other properties are passed over.

        Raises:
            RunError: As `from_dict`.
        """
        try:
            values = {
                name.removeprefix(PREFIX): json.loads(value)
                for name, value in properties.items()
                if name.startswith(PREFIX)
            }
        except ValueError as error:
            raise RunError(f"The description in {source} is damaged: {error}. Export the model again.") from error
        return cls.from_dict(values, source)
