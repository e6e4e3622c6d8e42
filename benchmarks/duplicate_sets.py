"""Folders of pictures with known copies, for `benchmarks.duplicates`.

The folder has `pictures/`, without sub-folders, and `groups.csv`: `family,file,edit,kind` of every picture. Pictures of
a family are copies of one another, and the family of a picture without copies has it alone. Names are digests, as an
order by name would put originals first.

- The edited set: 60 photographs, each with every edit of `pairsim.audits.duplicates.rates.edits`; the other photographs
  of the same collection; and pictures of products, of which many look alike.
- The real set: copies that other projects collected for their tests, and photographs without copies.
- The made set, of any size: each tenth picture is an edited copy of the one before it.

The photographs of the edited set come from one half of the collection, those in odd places by name, which nothing was
chosen on. The other half is for development.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from benchmarks.options import OptionError
from pairsim.audits.duplicates.rates.edits import EDITS, Edit
from pairsim.images import pictures_below, read_image

Pair: TypeAlias = tuple[str, str]
"""Names of two pictures, in order."""
Half: TypeAlias = Literal["test", "development"]

ORIGINAL, SAME_PIXELS = "original", "png copy"
PHOTOGRAPHS, PRODUCTS = 60, 200
MADE_SIDE, COPIED_EACH = 256, 10
_COLUMNS = ("family", "file", "edit", "kind")
_OCTAVES = ((4, 1.0), (8, 0.6), (16, 0.36), (32, 0.22), (64, 0.13))
_NO_COPIES = "singleton"


@dataclass(frozen=True)
class PictureSet:
    """A folder of pictures with known copies.

    Attributes:
        folder: Has the pictures.
        families: The family of each picture by its name.
        edits: The edit of each picture by its name, `ORIGINAL`, or "" where it is unknown.
        kinds: What the search for duplicates should say of the edit.
    """

    folder: Path
    families: dict[str, str]
    edits: dict[str, str]
    kinds: dict[str, str]

    @cached_property
    def copies(self) -> frozenset[Pair]:
        """All pairs of pictures of the same family."""
        members: dict[str, list[str]] = {}
        for name in sorted(self.families):
            members.setdefault(self.families[name], []).append(name)
        return frozenset(pair for names in members.values() for pair in combinations(names, 2))

    @property
    def num_others(self) -> int:
        """Number of pairs of pictures of different families."""
        return len(self.families) * (len(self.families) - 1) // 2 - len(self.copies)


def read_set(place: Path) -> PictureSet:
    """Read a folder that `write_edited`, `write_real` or `write_made` wrote."""
    with open(place / "groups.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return PictureSet(
        place / "pictures",
        {row["file"]: row["family"] for row in rows},
        {row["file"]: row["edit"] for row in rows},
        {row["file"]: row["kind"] for row in rows},
    )


def write_edited(place: Path, data: Path, *, half: Half = "test", seed: int = 1, quick: bool = False) -> PictureSet:
    """Write the edited set.

    Args:
        place: An empty or absent folder.
        data: Has `open/near-duplicates` and `open/groceries`.
        half: Of the photographs, to take those from that are edited.
        seed: Of the edits.
        quick: Edit 3 photographs, with fewer others.

    Raises:
        OptionError: If the pictures are not there, or `place` has files.
    """
    everything = _photographs(data)
    products = pictures_below(_there(data / "open" / "groceries"))
    photographs = everything[1 if half == "test" else 0 :: 2][: 3 if quick else PHOTOGRAPHS]
    alone = [path for path in everything if path not in photographs]
    others = [*alone[:: 10 if quick else 1], *products[:: max(len(products) // (10 if quick else PRODUCTS), 1)]]
    rows = []
    pictures = _new(place)
    for number, path in enumerate(photographs):
        rows.append(_copied(path, pictures, path.stem, ORIGINAL))
        pixels = read_image(path)
        for edit in EDITS:
            found = edit.apply(pixels, seed + number)
            name = _name(f"{path.name} {edit.name}", found.suffix)
            (pictures / name).write_bytes(found.content)
            rows.append((path.stem, name, edit.name, edit.kind))
    rows += [_copied(path, pictures, f"{path.parent.name} {path.stem}", "") for path in others]
    return _written(place, rows)


def write_real(place: Path, data: Path, *, quick: bool = False) -> PictureSet:
    """Write the real set; see `write_edited`. Other photographs of the same room are no copies."""
    source = _there(data / "open" / "near-duplicates")
    with open(source / "groups.csv", encoding="utf-8", newline="") as file:
        groups = [row for row in csv.DictReader(file) if not (quick and row["note"].startswith(_NO_COPIES))]
    pictures = _new(place)
    rows = [_copied(source / row["path"], pictures, row["group"], "", row["path"]) for row in groups]
    rows += [_copied(path, pictures, path.stem, "") for path in _photographs(data)[:: 20 if quick else 1]]
    return _written(place, rows)


def write_made(place: Path, count: int, seed: int = 1) -> PictureSet:
    """Write pictures of 256 x 256, made up from noise that is coarser the stronger it is, as JPEG of some 10 kB."""
    pictures = _new(place)
    generator = np.random.default_rng(seed)
    rows: list[tuple[str, ...]] = []
    for number in range(count):
        edit = EDITS[number // COPIED_EACH % len(EDITS)] if number % COPIED_EACH == COPIED_EACH - 1 else None
        family = str(number if edit is None else number - 1)
        name = _name(str(number), ".jpg")
        if edit is None:
            _noise(generator).save(pictures / name, quality=85)
        else:
            name = _edited(pictures / rows[-1][1], edit, name, seed + number)
        rows.append((family, name, ORIGINAL if edit is None else edit.name, "" if edit is None else edit.kind))
    return _written(place, rows)


def data_folder(given: Path | None) -> Path:
    """The folder that has `open`: the one given, else `$PAIRSIM_DATA`.

    Raises:
        OptionError: If neither is given.
    """
    found = given if given is not None else os.environ.get("PAIRSIM_DATA")
    if found is None:
        raise OptionError("Expected a folder with open/near-duplicates. Set PAIRSIM_DATA or pass --data-dir.")
    return Path(found)


def _photographs(data: Path) -> list[Path]:
    return pictures_below(_there(data / "open" / "near-duplicates" / "distractors"))


def _there(folder: Path) -> Path:
    if not folder.is_dir():
        raise OptionError(
            f"Expected a folder of pictures at {folder}, found none. Set PAIRSIM_DATA or pass --data-dir."
        )
    return folder


def _new(place: Path) -> Path:
    if place.exists() and any(place.iterdir()):
        raise OptionError(f"Expected {place} to be empty or absent, found files. Give another folder.")
    pictures = place / "pictures"
    pictures.mkdir(parents=True)
    return pictures


def _name(what: str, suffix: str) -> str:
    return hashlib.sha256(what.encode()).hexdigest()[:12] + suffix.lower()


def _copied(path: Path, pictures: Path, family: str, edit: str, what: str | None = None) -> tuple[str, ...]:
    name = _name(what or f"{path.parent.name}/{path.name}", path.suffix)
    shutil.copyfile(path, pictures / name)
    return family, name, edit, ""


def _edited(path: Path, edit: Edit, name: str, seed: int) -> str:
    found = edit.apply(read_image(path), seed)
    file = path.with_name(name).with_suffix(found.suffix)
    file.write_bytes(found.content)
    return file.name


def _noise(generator: np.random.Generator) -> Image.Image:
    size = _OCTAVES[-1][0]
    total = np.zeros((size, size, 3), np.float32)
    for side, strength in _OCTAVES:
        for channels in (1, 3):  # of light, and of colour
            coarse = generator.normal(0, strength, (side, side, channels)).astype(np.float32)
            for channel in range(3):
                part = Image.fromarray(coarse[:, :, channel % channels]).resize((size, size), Image.Resampling.BICUBIC)
                total[:, :, channel] += np.asarray(part)
    small = np.clip(128 + 40 * total, 0, 255).astype(np.uint8)
    return Image.fromarray(small).resize((MADE_SIDE, MADE_SIDE), Image.Resampling.BICUBIC)


def _written(place: Path, rows: Sequence[tuple[str, ...]]) -> PictureSet:
    with open(place / "groups.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(rows)
    return read_set(place)


def cluster_pairs(clusters: Sequence[Sequence[str]]) -> Iterator[Pair]:
    """All pairs of pictures in the same cluster."""
    for names in clusters:
        yield from combinations(sorted(names), 2)
