"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pairsim._common.choices import Split
from pairsim.data.image_sets import ImageTensors
from pairsim.data.labelled_images import LabelledData
from pairsim.data.splits import hold_out_test
from pairsim.errors import require


def load(_name: str, split: Split, _root: Path) -> LabelledData:
    """Load 1,797 digits of 8 x 8 pixels, doubled to 16 x 16, one in five held out for `test`."""
    sklearn_datasets = require("sklearn.datasets", extra="digits", purpose="The dataset digits")
    bunch = sklearn_datasets.load_digits()
    # 17 grey levels, 0 to 16; pixels are doubled because 8 x 8 would leave nothing after two poolings
    pixels = np.round(bunch.images * (255.0 / 16.0)).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    return LabelledData(
        dataset=hold_out_test(ImageTensors(torch.from_numpy(pixels), bunch.target), split),
        class_names=tuple(map(str, range(10))),
        image_size=(16, 16),
        channels=1,
        source="digits (scikit-learn, UCI optical recognition of handwritten digits)",
    )
