"""Load datasets by name or folder.

To add a dataset, write a function `load(name, split, root) -> LabelledData` and add one line to `DATASETS`. This module
does not import PyTorch, so that the names can be listed quickly.
"""

from __future__ import annotations

import difflib
import os
import pkgutil
import tempfile
from collections.abc import KeysView
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pairsim._common.choices import Split
from pairsim._common.storage import is_folder
from pairsim.errors import DataError, DatasetNotFoundError

if TYPE_CHECKING:
    from pairsim.data.image_sets import LabelledData
    from pairsim.images import Preprocessing

DATASETS: dict[str, str] = {
    "digits": "pairsim.data.named.digits:load",
    "fashion-mnist": "pairsim.data.named.mnist_family:load",
    "mnist": "pairsim.data.named.mnist_family:load",
}
"""The loader of each named dataset, as `module:function`; called as `load(name, split, root)`."""

SPLITS: tuple[Split, ...] = get_args(Split)
NAMES: KeysView[str] = DATASETS.keys()


def data_root(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of named datasets: `data_dir`, else `$PAIRSIM_DATA`, else the user's cache.

    A user without a home folder, such as in a container, has the cache in the folder for temporary files.
    """
    given = data_dir or os.environ.get("PAIRSIM_DATA")
    if given:
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pairsim")
    except RuntimeError:
        return Path(tempfile.gettempdir(), f"pairsim-{getattr(os, 'getuid', int)()}")


def load_data(
    data: str | os.PathLike[str],
    split: Split,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    preprocessing: Preprocessing | None = None,
) -> LabelledData:
    """Load one split of a dataset.

    `train` has every image that is not in `test`. The trainer splits validation data off it, unless a folder has a
    `val` of its own. Datasets without a test set hold out one image in five of each class, always the same ones.

    Args:
        data: `"mnist"`, `"fashion-mnist"`, `"digits"`, or a folder with one sub-folder per class, optionally below
            `train`, `val` and `test`.
        split: `"train"`, `"val"` or `"test"`.
        data_dir: Folder of named datasets (see `data_root`).
        image_size: Height and width of pictures from a folder; by default those of its first picture, at most 64.
        channels: 1 or 3 for pictures from a folder; by default 1 if the first pictures are grey.
        preprocessing: The preprocessing of a model, to read pictures from a folder as the model does. It sets size,
            channels, fit and interpolation; `image_size` and `channels` are then ignored.

    Returns:
        The images and their labels, which are a dataset themselves, and what is known about them.

    Raises:
        DatasetNotFoundError: If the name or folder is unknown, or the data is neither there nor can be downloaded.
        DataError: If the folder has no images, the files of a named dataset are damaged, or a named dataset does not
            have the split.
        ValueError: If there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"Expected split to be one of {', '.join(SPLITS)}, got {split!r}.")
    name = str(os.fspath(data))  # a string of NumPy too
    if name in DATASETS:
        if split == "val":
            raise DataError(
                f"{name} has no validation split of its own: the trainer splits one off train. Use train or test."
            )
        loaded: LabelledData = pkgutil.resolve_name(DATASETS[name])(name, split, data_root(data_dir))
        return loaded
    if is_folder(name):
        from pairsim.data.named.class_folders import load_folder

        return load_folder(Path(name), split, image_size, channels, preprocessing)
    near = difflib.get_close_matches(name.lower(), NAMES, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise DatasetNotFoundError(
        f"Expected one of {', '.join(NAMES)}, or a folder with one sub-folder per class, found neither at "
        f"{name!r}.{hint}"
    )
