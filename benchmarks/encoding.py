"""Embedding a folder of pictures: reading, decoding, resizing and the net, on the processor and in all.

Two folders: Omniglot's 2,720 drawings of 105 x 105 pixels, each a small file, of which Python's own work is the greater
part; and photographs of 1024 x 768 pixels as JPEG, made up from smooth noise, which decoders work on for long without
holding up other threads. The net is the reference one with random weights, on which no time depends. All arms read
pictures with the model's preprocessing, and run the same net in fp32 with as many threads:

- a loop that reads a picture and embeds it;
- a loop that reads a batch of 256, in the main thread, and embeds it;
- a DataLoader with 2 workers that reads batches of 256, its start included, as a folder is embedded once;
- `model.encode(paths)`, whose threads read ahead of the net;
- `pairsim.encoding.pictures.encode_pictures(model, paths)`, which also names what it cannot read.

As speed must not change results, the largest difference of an embedding's values from the first arm's is given.
`decoding` is what `encode_pictures` tells of itself: the share of its threads' working time that went into reading.
"""

from __future__ import annotations

import functools
import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.options import OptionError, Options, mnist_root
from benchmarks.report import Table
from benchmarks.timing import interleave, synchronizer, timing_rows
from pairsim import EmbeddingNet, SimilarityModel
from pairsim.encoding.pictures import encode_pictures
from pairsim.images import Preprocessing, pictures_below

_BATCH_SIZE, _WORKERS = 256, 2
_PHOTO_SIZE = (1024, 768)
BY_PICTURE, BY_BATCH = "loop, one picture at a time", "loop, a batch at a time"
LOADER, ENCODE, PAIRSIM = f"DataLoader, {_WORKERS} workers", "pairsim encode", "pairsim encode_pictures"


def run(options: Options) -> list[Table]:
    """Time the arms on both folders."""
    drawings = mnist_root(options.data_dir).parent / "omniglot"
    if not drawings.is_dir():
        raise OptionError(
            f"Expected Omniglot's characters in {drawings.name} beside mnist, found none. Put them there."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = SimilarityModel(EmbeddingNet()).eval().to(options.device)
    paths = pictures_below(drawings)[: 200 if options.quick else None]
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder), 8 if options.quick else 256, options.seed)
        return [
            _table(f"{len(paths):,} drawings of Omniglot", model, paths, options),
            _table(f"{len(photos):,} photographs of {_PHOTO_SIZE[0]} x {_PHOTO_SIZE[1]}", model, photos, options),
        ]


def _table(title: str, model: SimilarityModel, paths: Sequence[Path], options: Options) -> Table:
    shares: list[float] = []

    def pictures() -> Tensor:
        found = encode_pictures(model, paths)
        shares.append(found.decoding)
        return found.embeddings

    arms: dict[str, Callable[[], Tensor]] = {
        BY_BATCH: functools.partial(by_batch, model, paths),
        BY_PICTURE: functools.partial(by_picture, model, paths),
        LOADER: functools.partial(with_loader, model, paths),
        ENCODE: functools.partial(model.encode, paths),
        PAIRSIM: pictures,
    }
    timings = interleave(
        arms,
        rounds=options.rounds or (1 if options.quick else 9),
        work=dict.fromkeys(arms, float(len(paths))),
        synchronize=synchronizer(options.device),
    )
    rows = timing_rows(timings, unit="pictures")
    expected = arms[BY_BATCH]()
    for row in rows:
        row["largest_difference"] = float((arms[row["arm"]]() - expected).abs().max())
        if row["arm"] == PAIRSIM:
            row["decoding"] = float(np.median(shares))
    return Table(title, rows, ("Ratio: pictures a second, to the loop by batch.",))


def by_picture(model: SimilarityModel, paths: Sequence[Path]) -> Tensor:
    """As a user would write it who has one picture at a time."""
    return torch.cat([model.encode(model.preprocessing.read(path)[None]) for path in paths])


def by_batch(model: SimilarityModel, paths: Sequence[Path]) -> Tensor:
    """As a user would write it who knows that a net wants batches."""
    return torch.cat(
        [
            model.encode(torch.stack([model.preprocessing.read(path) for path in paths[start : start + _BATCH_SIZE]]))
            for start in range(0, len(paths), _BATCH_SIZE)
        ]
    )


class Pictures(Dataset[Tensor]):
    """Pictures as pixels, for a loader's workers."""

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing) -> None:
        self.paths, self.preprocessing = paths, preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.preprocessing.read(self.paths[index])


def with_loader(model: SimilarityModel, paths: Sequence[Path]) -> Tensor:
    """With worker processes, forked where the system can, which is the quicker start."""
    kind = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    loader = DataLoader(
        Pictures(paths, model.preprocessing),
        batch_size=_BATCH_SIZE,
        num_workers=_WORKERS,
        multiprocessing_context=kind,
    )
    return torch.cat([model.encode(batch) for batch in loader])


def make_photos(folder: Path, count: int, seed: int) -> list[Path]:
    """JPEG files of smooth noise, some 100 kB each."""
    generator = np.random.default_rng(seed)
    paths = [folder / f"{number:04}.jpg" for number in range(count)]
    for path in paths:
        coarse = Image.fromarray(generator.integers(0, 256, (96, 128, 3), dtype=np.uint8))
        coarse.resize(_PHOTO_SIZE, Image.Resampling.BICUBIC).save(path, quality=90)
    return paths
