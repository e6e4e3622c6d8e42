"""Names that options and parameters accept, defined without importing torch, so that the command line starts fast."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias, get_args

AugmentName: TypeAlias = Literal["auto", "none", "affine", "crop", "photo"]
CalibrationMethod: TypeAlias = Literal["platt", "isotonic"]
ExportKind: TypeAlias = Literal["embed", "pair"]
Fit: TypeAlias = Literal["stretch", "crop", "pad"]
Negatives: TypeAlias = Literal["class", "instance"]
OnError: TypeAlias = Literal["raise", "skip"]
PrecisionName: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]
QualityGate: TypeAlias = Literal["off", "warn", "refuse"]
Resume: TypeAlias = Literal["auto", "never", "changed-images"]
Split: TypeAlias = Literal["train", "val", "test"]
Unit: TypeAlias = Literal["images", "classes"]

NEGATIVES: tuple[Negatives, ...] = get_args(Negatives)
PRECISIONS: tuple[PrecisionName, ...] = get_args(PrecisionName)

DEVICES = '"auto", "cpu", "cuda", "cuda:N" or "mps"'


def is_device_name(device: object) -> bool:
    """Whether a device is named as one of `DEVICES`, or is such a `torch.device`."""
    return re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", str(device)) is not None


def check_device_name(device: object) -> None:
    """Raise unless `is_device_name`."""
    if not is_device_name(device):
        raise ValueError(f"Expected device to be {DEVICES}, got {device!r}.")


def check_quality(quality: str) -> None:
    """Raise if a choice of what happens to pictures of poor quality is unknown."""
    if quality not in get_args(QualityGate):
        raise ValueError(f"Expected quality to be one of {', '.join(get_args(QualityGate))}, got {quality!r}.")


def check_on_error(on_error: str) -> None:
    """Raise if a choice of what happens to pictures that cannot be read is unknown."""
    if on_error not in get_args(OnError):
        raise ValueError(f"Expected on_error to be one of {', '.join(get_args(OnError))}, got {on_error!r}.")
