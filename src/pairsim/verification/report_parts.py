"""Parts of a verification report on how it was made: images, failures, the origin of the threshold, throughput."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from pairsim._common.environment import describe_environment
from pairsim._common.numbers import counted

Overlap = Literal["disjoint", "shared", "not known"]


@dataclass(frozen=True, kw_only=True)
class ImagesPerClass:
    """How many images the classes have.

    Attributes:
        min: Images of the smallest class.
        median: Median over classes.
        max: Images of the largest class.
    """

    min: int
    median: float
    max: int


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """Pictures that could not be read, and the error rates with them: a comparison with one is a non-match.

    Attributes:
        num_failures: Pictures that are missing or could not be read.
        failure_to_acquire: Their share of all pictures.
        generalized_fmr: FMR of all comparisons, with those of such pictures.
        generalized_fnmr: FNMR likewise.
    """

    num_failures: int = 0
    failure_to_acquire: float = 0.0
    generalized_fmr: float = math.nan
    generalized_fnmr: float = math.nan


@dataclass(frozen=True, kw_only=True)
class ThresholdOrigin:
    """Where the threshold comes from, and whether it was chosen on other data than the test.

    Attributes:
        source: The data that it was chosen on; "given" if it was an argument, "not known" if the model does not say.
        criterion: What it was chosen for.
        calibration_sha256: SHA-256 of these data, images and labels or pairs; `None` if it is not known.
        test_sha256: The same of the data of the report.
        classes: "disjoint" if no class (identity) is in both, else "shared"; "not known" without the names of both.
        num_common_classes: How many are in both; `None` if it is not known.
    """

    source: str = "not known"
    criterion: str = "not known"
    calibration_sha256: str | None = None
    test_sha256: str | None = None
    classes: Overlap = "not known"
    num_common_classes: int | None = None

    @property
    def in_words(self) -> str:
        """Whether the data of the threshold are others than those of the report."""
        if self.calibration_sha256 is not None and self.calibration_sha256 == self.test_sha256:
            return "these are the same data"
        if self.num_common_classes is None:
            return "whether it shares classes with these data is not known"
        shared = counted(self.num_common_classes, "class", "classes") if self.num_common_classes else "no class"
        return f"it shares {shared} with these data"


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Speed of this evaluation, measured once while it ran.

    Attributes:
        images_per_s: Images that were read and embedded in a second.
        comparisons_per_s: Pairs that were scored in a second, given the embeddings.
        device: The device of the model.
        hardware: Its name, and the number of threads on a CPU.
    """

    images_per_s: float
    comparisons_per_s: float
    device: str
    hardware: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is noted while pairs are scored.

    Attributes:
        device: The device of the model.
        num_images: Images that were embedded.
        num_pairs: Pairs that were scored.
        encode_s: Seconds for the images.
        compare_s: Seconds for the pairs.
        data_sha256: SHA-256 of the images and their labels or pairs; `None` for data that has no files or pixels in
            memory.
        num_failures: Pictures that could not be read and were left out.
        num_pictures: Pictures with them.
        failed_pairs: Negative and positive given pairs that were left out with them.
    """

    device: torch.device
    num_images: int
    num_pairs: int
    encode_s: float
    compare_s: float
    data_sha256: str | None = None
    num_failures: int = 0
    num_pictures: int = 0
    failed_pairs: tuple[int, int] | None = None

    @property
    def throughput(self) -> Throughput:
        """Images and comparisons in a second."""
        return Throughput(
            images_per_s=self.num_images / max(self.encode_s, 1e-9),
            comparisons_per_s=self.num_pairs / max(self.compare_s, 1e-9),
            device=str(self.device),
            hardware=hardware_name(self.device),
        )

    def acquisition(self, fmr: float, fnmr: float, num_negative: int, num_positive: int) -> Acquisition:
        """Return the failures and the error rates that include them.

        Of given pairs, those that were left out count as non-matches. Of labelled images, a pair needs two pictures,
        each of which fails with the share f of all: the FNMR becomes 1 - (1 - f)^2 (1 - FNMR), the FMR (1 - f)^2 FMR.

        Args:
            fmr: FMR of the pairs that were scored.
            fnmr: Their FNMR.
            num_negative: How many of them are negative.
            num_positive: How many are positive.
        """
        share = self.num_failures / self.num_pictures if self.num_pictures else 0.0
        if self.failed_pairs is None:
            both = (1 - share) ** 2
            generalized = both * fmr, 1 - both * (1 - fnmr)
        else:
            negative, positive = self.failed_pairs
            generalized = (
                fmr * num_negative / max(1, num_negative + negative),
                (fnmr * num_positive + positive) / max(1, num_positive + positive),
            )
        return Acquisition(
            num_failures=self.num_failures,
            failure_to_acquire=share,
            generalized_fmr=generalized[0],
            generalized_fnmr=generalized[1],
        )


def hardware_name(device: torch.device) -> str:
    """Return the name of a device; of a CPU with its instructions and the number of threads."""
    known = describe_environment(device)
    if device.type != "cpu":
        return str(known["device_name"])
    threads = known["num_threads"]
    return f"{_cpu_name()}, {known['cpu_capability']}, {counted(threads, 'thread')}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, names), platform.processor() or platform.machine())
