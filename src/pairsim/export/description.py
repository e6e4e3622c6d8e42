"""The description in an exported file: which images it takes, and what its outputs mean."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pairsim._common.choices import ExportKind
from pairsim._common.storage import parsed_json
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.models import Calibration, OperatingPoint, SimilarityModel
from pairsim.models.pretrained import check_format, model_sha256

FORMAT, FORMAT_VERSION = "pairsim-export", 1
PREFIX = "pairsim."

_PLAIN = ("version", "kind", "embedding_dim", "prior", "model_sha256", "quantization")
"""Fields that are JSON values."""
_TARGET = "1 = same class, 0 = different; match = similarity >= threshold"


@dataclass(frozen=True, kw_only=True)
class Description:
    """The properties that an exported file has besides the graph.

    Attributes:
        kind: `"embed"`: images in, embeddings out; `"pair"`: two images in, similarity and probability out.
        preprocessing: Size, channels and normalisation. The graph normalises; reading and resizing is left to do.
        embedding_dim: Length of an embedding.
        threshold: Similarity from which a pair is a match; NaN if the model has none, as with a probability that is on
            one side of 0.5 at every similarity.
        operating_point: The error rates measured at the threshold, if any.
        calibration: How the probability was fitted; `None` if it is the sigmoid of the projection.
        projection: Weight and bias of the logit of a similarity.
        prior: Share of positive pairs for which the probability holds.
        model_sha256: Of the model's weights and preprocessing; an int8 file keeps that of its source.
        version: Version of pairsim that wrote the file.
        quantization: How the file was made int8, or `None`.

    Example:
        >>> description = Description.of(SimilarityModel(), "pair", 128)
        >>> description.threshold, description.to_dict()["image_size"]
        (0.5, [28, 28])
    """

    kind: ExportKind
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
    def of(cls, model: SimilarityModel, kind: ExportKind, embedding_dim: int) -> Description:
        """Describe a model.

        Args:
            model: The model that is exported.
            kind: What the file computes.
            embedding_dim: Length of its embeddings.

        Returns:
            The description of a file of this model.
        """
        try:
            version = importlib.metadata.version("pairsim")
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            version = "unknown"
        return cls(
            kind=kind,
            preprocessing=model.preprocessing,
            embedding_dim=embedding_dim,
            threshold=model.threshold if math.isfinite(model.threshold) else math.nan,
            operating_point=model.operating_point,
            calibration=model.calibration,
            projection=(model.projection.weight.item(), model.projection.bias.item()),
            prior=0.5 if model.calibration is None else model.calibration.prior,
            model_sha256=model_sha256(model),
            version=version,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; the fields of `preprocessing` are at the top level, a threshold of NaN is `None`."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **{name: getattr(self, name) for name in _PLAIN},
            **self.preprocessing.to_dict(),
            "threshold": None if math.isnan(self.threshold) else self.threshold,
            "operating_point": None if self.operating_point is None else asdict(self.operating_point),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "projection": dict(zip(("weight", "bias"), self.projection, strict=True)),
            "target": _TARGET,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str | os.PathLike[str]) -> Description:
        """Make a description from JSON values, as `to_dict` returns them.

        Args:
            values: The values in a file; empty if it has none.
            source: The file, for messages.

        Returns:
            The description.

        Raises:
            RunError: If the file was not exported by pairsim, is of a newer format, or something is missing.
        """
        if values.get("format") != FORMAT:
            raise RunError(
                f"Expected {source} to be a file that pairsim exported, found no description of pairsim's in it. "
                "Make one with: pairsim export RUN --out FILE.onnx"
            )
        check_format(values, FORMAT, FORMAT_VERSION, Path(source))
        try:
            point, calibration = values["operating_point"], values["calibration"]
            return cls(
                **{name: values[name] for name in _PLAIN},
                preprocessing=Preprocessing.from_dict(dict(values)),
                threshold=math.nan if values["threshold"] is None else values["threshold"],
                operating_point=None if point is None else OperatingPoint.from_dict(point),
                calibration=None if calibration is None else Calibration.from_dict(calibration),
                projection=(values["projection"]["weight"], values["projection"]["bias"]),
            )
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"The description in {source} is damaged: {type(error).__name__}: {error}. Export the model again."
            ) from error

    def to_properties(self) -> dict[str, str]:
        """Return the properties of an ONNX file: each name begins with `pairsim.`, each value is JSON."""
        return {PREFIX + name: json.dumps(value, allow_nan=False) for name, value in self.to_dict().items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], source: str | os.PathLike[str]) -> Description:
        """Make a description from the properties of an ONNX file, as `to_properties` returns them.

        Args:
            properties: All properties of the file; those of other programs are ignored.
            source: The file, for messages.

        Returns:
            The description.

        Raises:
            RunError: As `from_dict`.
        """
        own = {name.removeprefix(PREFIX): text for name, text in properties.items() if name.startswith(PREFIX)}
        try:
            values = {name: parsed_json(text) for name, text in own.items()}
        except ValueError as error:
            raise RunError(f"The description in {source} is damaged: {error}. Export the model again.") from error
        return cls.from_dict(values, source)
