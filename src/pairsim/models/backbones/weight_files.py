"""Find files with pretrained weights on this machine, by the name of the backbone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from pairsim._common import storage
from pairsim.errors import RunError
from pairsim.models.backbones import timm_nets, torchvision_nets

TIMM = "timm/"
_ENDINGS = (".pth", ".pt", ".safetensors")
_HASHED_NAME = re.compile(r"-([0-9a-f]{8})\.pth$")
_BLOB_NAME = re.compile(r"[0-9a-f]{64}")
_HUB_PREFIX = "models--timm--"
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_READ_AT_ONCE = 2**24


def weight_folders(*data_dirs: str | os.PathLike[str] | None) -> tuple[Path, ...]:
    """Return the folders in which weights are looked for, in order.

    Args:
        data_dirs: Folders of data; weights may lie in them, or in `weights` in them. `None` is left out.

    Returns:
        Those folders, the same of `$PAIRSIM_DATA`, the cache of torchvision, and the cache of the Hugging Face Hub.
        Some may not exist.

    Example:
        >>> [str(folder) for folder in weight_folders("data")][:2]
        ['data/weights', 'data']
    """
    bases = [Path(folder) for folder in (*data_dirs, os.environ.get("PAIRSIM_DATA")) if folder]
    folders = [folder for base in bases for folder in (base / "weights", base)]
    return tuple(dict.fromkeys((*folders, Path(torch.hub.get_dir()) / "checkpoints", hub_folder())))


def hub_folder() -> Path:
    """Return the folder in which the Hugging Face Hub keeps what was downloaded."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")
    # unlike Path.expanduser it does not fail for a user without a home folder
    return Path(os.path.expanduser(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")))


def find_weights(name: str, folders: Sequence[Path] | None = None) -> Path | None:
    """Find a file with pretrained weights of a backbone.

    A file is named as torchvision names it (`mobilenet_v2-b0353104.pth`), or by the backbone (`mobilenet_v2.pth`, also
    `.pt` and `.safetensors`; `mobilenetv3_small_100.lamb_in1k.safetensors` for timm), or lies in the cache of the
    Hugging Face Hub. Of a net of timm without a tag these are the weights of its default tag. A name that both have,
    such as `resnet18.pth`, is of torchvision.

    Args:
        name: A backbone, from `backbone_names`.
        folders: By default `weight_folders()`.

    Returns:
        The first file found; `None` if there is none.

    Raises:
        RunError: If its name or that of its blob begins with a SHA-256 that is not its own.

    Example:
        >>> find_weights("resnet18", folders=[]) is None
        True
    """
    for folder in weight_folders() if folders is None else folders:
        file = _found_in(folder, name, _listed(folder))
        if file is not None:
            check_sha256(file)
            return file
    return None


def weights_on_disk(folders: Sequence[Path] | None = None) -> dict[str, Path]:
    """Return the weight files on this machine, by the names of their backbones.

    Args:
        folders: By default `weight_folders()`.

    Returns:
        Sorted by name; nets of timm only from the cache of the Hugging Face Hub, with their tags.
    """
    found: dict[str, Path] = {}
    for folder in weight_folders() if folders is None else folders:
        there = _listed(folder)
        cached = [TIMM + entry.removeprefix(_HUB_PREFIX) for entry in there if entry.startswith(_HUB_PREFIX)]
        for name in (*torchvision_nets.names(), *cached) if there else ():
            file = _found_in(folder, name, there)
            if file is not None:
                found.setdefault(name, file)
    return dict(sorted(found.items()))


def check_sha256(file: Path) -> None:
    """Check a file against the SHA-256 in its name, `NAME-xxxxxxxx.pth`, or in that of its blob in a cache.

    Raises:
        RunError: If it differs; other names have none to compare with.
    """
    hashed = _HASHED_NAME.search(file.name)
    blob = file.resolve().name
    expected = hashed[1] if hashed else blob if _BLOB_NAME.fullmatch(blob) else ""
    if not expected:
        return
    digest = hashlib.sha256()
    with storage.open_file(file) as content:
        while part := content.read(_READ_AT_ONCE):
            digest.update(part)
    if not digest.hexdigest().startswith(expected):
        raise RunError(
            f"{file} is damaged: its SHA-256 begins with {digest.hexdigest()[:8]}, expected {expected[:8]} as its "
            "name says. Delete it, or copy it again."
        )


def _listed(folder: Path) -> set[str]:
    with contextlib.suppress(OSError):
        return set(os.listdir(folder))
    return set()


def _found_in(folder: Path, name: str, there: set[str]) -> Path | None:
    """Return the weights of a backbone in a folder with these entries."""
    plain, files = name.removeprefix(TIMM), list[Path]()
    if name.startswith(TIMM):
        net = plain.partition(".")[0]
        if not any(net in entry or entry.startswith("models--") for entry in there):
            return None  # importing timm, which knows more names, takes seconds
        repository, stems = timm_nets.stored_as(plain)
        cached = f"models--{repository.replace('/', '--')}"
        if cached in there:
            files = _cached(folder / cached)
        # resnet18.pth is of torchvision
        stems = [stem for stem in stems if stem not in torchvision_nets.names()]
        names = [stem + ending for stem in stems for ending in ("", *_ENDINGS)]
    else:
        hashed = sorted(entry for entry in there if re.fullmatch(rf"{re.escape(plain)}-[0-9a-f]{{8}}\.pth", entry))
        default = [torchvision_nets.weights_file(plain)] if plain in torchvision_nets.names() else []
        names = [*default, *hashed, *(plain + ending for ending in _ENDINGS)]
    files += [folder / file for file in names if file in there]
    return next(filter(storage.is_file, files), None)


def _cached(repository: Path) -> list[Path]:
    """Return where the weights of a repository in the cache of the Hub may be: of its main revision, then of others."""
    revisions = sorted(_listed(repository / "snapshots"))
    with contextlib.suppress(OSError):
        main = (repository / "refs" / "main").read_text().strip()
        revisions.sort(key=lambda revision: revision != main)
    return [repository / "snapshots" / revision / file for revision in revisions for file in _HUB_FILES]
