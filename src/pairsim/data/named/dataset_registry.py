"""Load datasets by name or folder.

To add a dataset, write a function `load(name, split, root) -> LabelledData` and add one line to `DATASETS`. This module
does not import PyTorch, so that the names can be listed quickly.
"""

from __future__ import annotations

import difflib
import os
import pkgutil
import stat
import tempfile
from collections.abc import KeysView
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pairsim._common.choices import Fit, OnError, Split, check_on_error
from pairsim._common.numbers import whole_number
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

EMBEDDING_FILES = (".npz", ".npy", ".parquet")
"""Endings of files of embeddings that another model computed."""

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
    split: Split | Literal["all"],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    fit: Fit = "stretch",
    white: int | None = None,
    preprocessing: Preprocessing | None = None,
    class_level: int = 1,
    groups: str | None = None,
    on_error: OnError = "raise",
) -> LabelledData:
    """Load one split of a dataset.

    `train` has every image that is not in `test`, and `all` has both, for `split_by_class`. The trainer splits
    validation data off `train`, unless a folder has a `val` of its own. Datasets without a test set hold out one image
    in five of each class, always the same ones.

    A folder has one sub-folder per class, or a file `metadata.csv` (or `metadata.jsonl`) with the columns `file_name`
    and `label`, and if you like `split` and `group`; it goes before sub-folders. The images of a group are held out
    together. Sub-folders may lie below `train`, `val` and `test`, in upper or lower case, or `training`, `valid`,
    `validation`, `dev`, `testing`, `eval` and `evaluation`. Pictures are found as by `pairsim.images.pictures_below`.
    What is left out is in `account` of the result.

    Args:
        data: `"mnist"`, `"fashion-mnist"`, `"digits"`, a folder, or a file of embeddings that another model computed:
            `.npz` with the arrays `embeddings` `[N, D]` and `labels` `[N]` (see `read_embeddings`).
        split: `"train"`, `"val"`, `"test"` or `"all"`.
        data_dir: Folder of named datasets (see `data_root`).
        image_size: Height and width of pictures from a folder; by default those of its first picture, at most 64.
        channels: 1 or 3 for pictures from a folder; by default 1 if the first pictures are grey.
        fit: How pictures of other proportions get `image_size`: `"stretch"`, `"crop"` or `"pad"` (see `read_image`).
        white: Value of white of samples of more than 8 bits in pictures from a folder (see `read_image`).
        preprocessing: The preprocessing of a model, to read pictures from a folder as the model does. It sets size,
            channels, fit, interpolation and white; the arguments for these are then ignored.
        class_level: Which sub-folders are classes: 1 those directly in the folder or split, 2 those in these, and so
            on. Names of classes are then such as "alphabet/character".
        groups: What puts pictures of a folder into groups, in place of the column `group`: another column of the
            metadata file, or a regular expression that is searched in the name of the class, then in the path below
            the folder. Its first group in parentheses, or else the whole match, is the name of the group.
        on_error: What happens to pictures and sub-folders of a folder that cannot be read: `"raise"`, when they are
            used, or `"skip"`, which reads all pictures once and leaves those out. They are counted in `account`. Which
            pictures are in `test` does not change.

    Returns:
        The images and their labels, which are a dataset themselves, and what is known about them.

    Raises:
        DatasetNotFoundError: If the name or folder is unknown, or the data is neither there nor can be downloaded.
        DataError: If the folder has no labelled images, or it is not clear which sub-folders are splits; its metadata
            file has a wrong row, or a picture no group; the files of a named dataset are damaged; or it does not have
            the split.
        ImageReadError: If a folder or its first picture cannot be read.
        TypeError: If `class_level` is not a whole number.
        ValueError: If there is no such split or `on_error`, `class_level` or `white` is below 1, `groups` is no regular
            expression, or other data than a folder is given `groups`, or a named dataset a `class_level` other than 1.
    """
    if split not in (*SPLITS, "all"):
        raise ValueError(f"Expected split to be one of {', '.join(SPLITS)}, all, got {split!r}.")
    check_on_error(on_error)
    name = str(os.fspath(data))  # a string of NumPy too
    if (class_level := whole_number(class_level, "class_level", 1)) > 1 and name in DATASETS:
        raise ValueError(f"Expected class_level to be 1 for the named dataset {name}, got {class_level}. Leave it out.")
    if groups is not None and (name in DATASETS or is_embedding_file(name)):
        kind = "named dataset" if name in DATASETS else "file of embeddings"
        raise ValueError(f"Expected a folder with groups, got the {kind} {name}. Leave out groups (--groups).")
    if name in DATASETS:
        if split == "val":
            raise DataError(
                f"{name} has no validation split of its own: the trainer splits one off train. Use train or test."
            )
        load, root = pkgutil.resolve_name(DATASETS[name]), data_root(data_dir)
        if split == "all":
            from pairsim.data.image_sets import joined

            return joined(load(name, "train", root), load(name, "test", root))
        loaded: LabelledData = load(name, split, root)
        return loaded
    if is_embedding_file(name):
        from pairsim.data.named import embedding_files

        return embedding_files.load(Path(name), split, preprocessing)
    if _may_be_folder(name):
        from pairsim.data.named.class_folders import load_folder

        return load_folder(
            Path(name),
            split,
            image_size,
            channels,
            preprocessing,
            class_level=class_level,
            groups=groups,
            fit=fit,
            white=white,
            on_error=on_error,
        )
    near = difflib.get_close_matches(name.lower(), NAMES, n=2, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else "Check the path."
    raise DatasetNotFoundError(
        f"Expected one of {', '.join(NAMES)}, or a folder with one sub-folder per class, or a file of embeddings "
        f"(.npz), found neither at {name!r}. {hint}"
    )


def is_embedding_file(data: str | os.PathLike[str]) -> bool:
    """Return whether data is a file of embeddings, by its ending, and not a folder of that name.

    Example:
        >>> is_embedding_file("faces.npz"), is_embedding_file("mnist")
        (True, False)
    """
    name = os.fspath(data)
    return name.lower().endswith(EMBEDDING_FILES) and not os.path.isdir(name)


def _may_be_folder(name: str) -> bool:
    """Whether there is a folder, or something that may be one, such as a folder in a folder that cannot be read."""
    try:
        return stat.S_ISDIR(os.stat(name).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
