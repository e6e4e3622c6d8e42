"""What a benchmark is asked for, and where its data is."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


class OptionError(ValueError):
    """Options that a benchmark cannot work with."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of all benchmarks; what is left at `None` is each benchmark's own choice.

    Attributes:
        device: `"cpu"` or `"cuda"`.
        quick: Whether to do less, to see that everything works; such figures are not for quoting.
        data_dir: Where MNIST is (see `mnist_root`).
        epochs: Epochs to train.
        rounds: Timed rounds; each round runs every arm once.
        num_pairs: Pairs to draw, in an epoch or in a run.
        images: Pictures to make up.
        workers: Worker processes of the notebook's loaders.
        runs: Where to keep run folders, and to look for them.
        results: Folder of result files to read; `benchmarks/results` by default.
        seed: Seeds everything that is random; for why it is 1, see `benchmarks.reference`.
    """

    device: str = "cpu"
    quick: bool = False
    data_dir: Path | None = None
    epochs: int | None = None
    rounds: int | None = None
    num_pairs: int | None = None
    images: int | None = None
    workers: int = 4
    runs: Path | None = None
    results: Path | None = None
    seed: int = 1

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON values, without the folders, which say nothing about the result."""
        return {name: value for name, value in asdict(self).items() if name not in ("data_dir", "runs", "results")}


def mnist_root(data_dir: Path | None) -> Path:
    """The folder to give to torchvision's `MNIST`: `data_dir`, else `$PAIRSIM_DATA`, or `mnist` in it.

    Raises:
        OptionError: If neither is given.
    """
    given = data_dir if data_dir is not None else os.environ.get("PAIRSIM_DATA")
    if given is None:
        raise OptionError("Expected a folder for MNIST. Set PAIRSIM_DATA or pass --data-dir.")
    root = Path(given)
    return root / "mnist" if (root / "mnist" / "MNIST" / "raw").is_dir() else root
