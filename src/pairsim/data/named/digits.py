"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch

from pairsim._common.choices import Split
from pairsim.data.image_sets import ImageTensors, LabelledData
from pairsim.data.splits import hold_out_test
from pairsim.errors import DataError, require


def load(_name: str, split: Split, _root: Path) -> LabelledData:
    """Load 1,797 digits of 8 x 8 pixels, doubled to 16 x 16, one in five held out for `test`.

    The file of scikit-learn is read without importing scikit-learn, which takes seconds.

    Raises:
        DataError: If scikit-learn is installed without the file, or it is damaged.
        MissingExtraError: If scikit-learn is not installed.
    """
    spec = importlib.util.find_spec("sklearn")
    # Where it is not installed, `require` raises the error.
    package = require("sklearn", extra="digits", purpose="The dataset digits").__file__ if spec is None else spec.origin
    file = Path(str(package)).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # 64 pixels and the label
    except (OSError, ValueError) as error:
        raise DataError(
            f"Expected the digits of scikit-learn in {file}, but: {error}. Reinstall scikit-learn."
        ) from error
    # 17 grey levels, 0 to 16; pixels are doubled because 8 x 8 would leave nothing after two poolings
    levels = rows[:, :-1].reshape(-1, 8, 8)
    pixels = np.round(levels * (255.0 / 16.0)).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    return LabelledData(
        dataset=hold_out_test(ImageTensors(torch.from_numpy(pixels), rows[:, -1].astype(np.int64)), split),
        class_names=tuple(map(str, range(10))),
        image_size=(16, 16),
        channels=1,
        source="digits (scikit-learn, UCI optical recognition of handwritten digits)",
    )
