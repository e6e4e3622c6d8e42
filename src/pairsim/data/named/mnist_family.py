"""MNIST and Fashion-MNIST, read and downloaded by torchvision."""

from __future__ import annotations

from pathlib import Path

from pairsim._common.choices import Split
from pairsim._common.storage import is_file
from pairsim.data.image_sets import ImageTensors, LabelledData
from pairsim.errors import DataError, DatasetNotFoundError

_CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}


def load(name: str, split: Split, root: Path) -> LabelledData:
    """Load a dataset of 28 x 28 grey images from `root` or `root/name`; it is downloaded to `root` if it is in neither.

    Raises:
        DataError: If its files are damaged.
        DatasetNotFoundError: If it is not there and cannot be downloaded.
    """
    from torchvision import datasets

    kind = getattr(datasets, _CLASSES[name])
    raw = {folder: folder / kind.__name__ / "raw" for folder in (root, root / name)}
    files = [Path(url).stem for url, _ in kind.resources]
    there = next((folder for folder in raw if all(is_file(raw[folder] / file) for file in files)), None)
    try:
        dataset = kind(str(there or root), train=split == "train", download=there is None)
    except Exception as error:  # torchvision raises many kinds, an AssertionError among them
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if there is None:
            raise DatasetNotFoundError(
                f"Expected {name} in {' or '.join(map(str, raw.values()))}, found none, and "
                f"downloading failed ({reason}). Connect to a network, or put the four IDX files "
                "there; --data-dir or PAIRSIM_DATA chooses another folder."
            ) from error
        raise DataError(
            f"Expected whole IDX files of {name} in {raw[there]}, but reading them failed ({reason}). "
            f"Remove that folder and load {name} again."
        ) from error
    return LabelledData(
        dataset=ImageTensors(dataset.data, dataset.targets),
        class_names=tuple(map(str, dataset.classes)),
        image_size=(28, 28),
        channels=1,
        source=f"{name} ({dataset.raw_folder})",
    )
