"""Embed a folder of pictures, or any pictures, in threads."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Iterable, Sequence, Sized
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from pairsim._common.choices import OnError, PrecisionName, QualityGate, check_on_error, check_quality
from pairsim._common.numbers import whole_number
from pairsim._common.precision import inference_dtype
from pairsim._common.progress import progress_bar
from pairsim.data.random import Int64Array
from pairsim.errors import DataError, ImageReadError, printable
from pairsim.images import PictureLike, Preprocessing
from pairsim.images.folders import LeftOut, scan
from pairsim.images.quality import Flaw, read_measured
from pairsim.models import SimilarityModel
from pairsim.models.given_model import check_model
from pairsim.models.inference.inference_nets import default_batch_size
from pairsim.models.inputs import Images, as_pictures, read_ahead, read_pixels

_MAX_NAMED = 10


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be read, or was refused for its quality.

    Attributes:
        index: Its index among the pictures that were given.
        name: Its path, or `None` if it was given as pixels.
        reason: The error or what is poor, in a sentence that names the file.
    """

    index: int
    name: str | None
    reason: str


@dataclass(frozen=True)
class Flawed:
    """A picture of poor quality.

    Attributes:
        index: Its index among the pictures that were given.
        name: Its path, or `None` if it was given as pixels.
        flaws: What is poor, at least one.
    """

    index: int
    name: str | None
    flaws: tuple[Flaw, ...]

    def __str__(self) -> str:
        name = f"picture {self.index}" if self.name is None else printable(self.name)
        return f"Poor quality of {name}: {' '.join(map(str, self.flaws))}"


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedPictures:
    """Embeddings of pictures, and the pictures that could not be read.

    Attributes:
        embeddings: Unit-length `[n, D]`, float32, on the model's device, in the order of the pictures.
        names: Path of each picture that was embedded, or `None` for pixels.
        indices: Index of each of them among the pictures that were given, int64 `[n]`, ascending.
        skipped: Those that could not be read or were refused.
        flawed: Those of poor quality, refused or not, where quality was measured.
        left_out: What else a folder has, which is not embedded.
        seconds: From the first picture to the last embedding.
        decoding: Share in [0, 1] of the working time that was spent on reading and decoding, summed over all threads;
            the rest is the net's. At 0.9 a faster net would hardly help. 0 if nothing was decoded.
    """

    embeddings: Tensor
    names: tuple[str | None, ...]
    indices: Int64Array
    skipped: tuple[Skipped, ...]
    seconds: float
    decoding: float
    flawed: tuple[Flawed, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        given = len(self) + len(self.skipped)
        rate = given / max(self.seconds, 1e-9)
        lines = [
            f"{len(self):,} pictures embedded in {self.seconds:.3g} s, {rate:,.0f} a second",
            f"{self.decoding:.0%} of the threads' time went into reading pictures, the rest into the net",
        ]
        if self.skipped:
            why = "unreadable or of poor quality" if self.flawed else "unreadable"
            lines.append(f"{len(self.skipped):,} of {given:,} skipped as {why}: {_named(self.skipped)}")
        if self.left_out:
            lines.append(f"{sum(one.files + one.folders for one in self.left_out):,} other files left out")
        return "\n".join(lines)


def encode_pictures(
    model: SimilarityModel,
    pictures: Images,
    *,
    on_error: OnError = "raise",
    quality: QualityGate = "off",
    batch_size: int | None = None,
    precision: PrecisionName = "fp32",
    progress: bool | None = None,
) -> EncodedPictures:
    """Embed a folder of pictures, or any pictures, and report what could not be read and where the time went.

    If the first pictures take long to read, up to 8 threads read ahead of the net. Reading small pictures is mostly
    Python's own work, which threads do not share: they are read one batch after the other. Embeddings are those of
    `SimilarityModel.encode`.

    Args:
        model: The model, on its device.
        pictures: A folder, with all of its sub-folders (see `pairsim.images.pictures_below`); or whatever
            `SimilarityModel.encode` takes: one or several paths, PIL images, arrays or tensors, or a generator.
        on_error: What happens to a picture that cannot be read: `"raise"`, or `"skip"`, which leaves it out and lists
            it in `skipped`. No other picture replaces it. A sub-folder that cannot be read is listed in `left_out`.
        quality: `"warn"` measures pictures and lists in `flawed` those that are too small, too dark, without contrast
            or blurred; `"refuse"` leaves these out and lists them in `skipped` too. `"off"` measures nothing.
        batch_size: As for `SimilarityModel.encode`.
        precision: As for `SimilarityModel.encode`.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        Embeddings, names and indices of those that were read, and the others; no pictures give `[0, D]`.

    Raises:
        DataError: If no picture can be read or all are refused, or a folder has none.
        ImageReadError: If a picture or sub-folder cannot be read and `on_error` is `"raise"`; the message names it.
        TypeError: If `pictures` is a dataset, or one is no picture.
        ValueError: If there is no such `on_error`, `quality` or precision, `batch_size` is below 1, pixels are not as
            `SimilarityModel.encode` takes them, or the quality of what is no picture should be measured.

    Example:
        >>> import torch
        >>> encoded = encode_pictures(SimilarityModel(), torch.zeros(3, 1, 28, 28, dtype=torch.uint8))
        >>> encoded.embeddings.shape, encoded.names, encoded.indices.tolist(), encoded.skipped
        (torch.Size([3, 128]), (None, None, None), [0, 1, 2], ())
    """
    check_on_error(on_error)
    check_quality(quality)
    check_model(model)
    if batch_size is not None:
        whole_number(batch_size, "batch_size", 1)
    inference_dtype(precision, model.device)  # raises before anything is read
    names: list[str | None] = []
    skipped: list[Skipped] = []
    flawed: list[Flawed] = []
    left_out: tuple[LeftOut, ...] = ()
    reading_s = net_s = 0.0

    def read(picture: PictureLike) -> tuple[str | None, Tensor | ImageReadError, tuple[Flaw, ...], float]:
        """Return the name of a picture, its pixels or the error, its flaws, and the seconds that this took."""
        began = time.perf_counter()
        name = os.fspath(picture) if isinstance(picture, str | os.PathLike) else None
        flaws: tuple[Flaw, ...] = ()
        try:
            if quality == "off":
                pixels: Tensor | ImageReadError = read_pixels(picture, model.preprocessing)
            else:
                pixels, measured = read_measured(picture, model.preprocessing)
                flaws = measured.flaws()
        except ImageReadError as error:
            pixels = error
        return name, pixels, flaws, time.perf_counter() - began

    def read_batches(given: Iterable[PictureLike], size: int) -> Generator[Tensor]:
        """Yield batches for the net; note names, errors and times."""
        nonlocal reading_s, net_s
        results = read_ahead(read, given, size)
        total = len(given) if isinstance(given, Sized) else None
        with contextlib.closing(results), progress_bar(total, "encoding", "pictures", progress) as bar:
            while some := list(islice(results, size)):
                batch = []
                for name, pixels, flaws, seconds in some:
                    reading_s += seconds
                    index = len(names) + len(skipped)
                    if flaws:
                        flawed.append(Flawed(index, name, flaws))
                    if not isinstance(pixels, Tensor):
                        if on_error == "raise":
                            raise pixels
                        skipped.append(Skipped(index, name, str(pixels)))
                    elif flaws and quality == "refuse":
                        skipped.append(Skipped(index, name, str(flawed[-1])))
                    else:
                        batch.append(pixels)
                        names.append(name)
                began = time.perf_counter()
                if batch:
                    yield torch.stack(batch)
                    if model.device.type == "cuda":  # else its time would count for nothing
                        torch.cuda.synchronize(model.device)
                net_s += time.perf_counter() - began
                bar.update(len(some))

    started = time.perf_counter()
    if quality != "off":
        _check_measurable(pictures, model.preprocessing)
    if isinstance(pictures, Tensor) and pictures.ndim == 4 and quality == "off":  # nothing to decode
        embeddings = model.encode(pictures, batch_size=batch_size, precision=precision, progress=progress)
        names += [None] * len(pictures)
    else:
        if isinstance(pictures, str | os.PathLike) and os.path.isdir(pictures):
            found = scan(pictures, on_error)
            pictures, left_out = found.pictures, found.left_out
        given = as_pictures(pictures)
        known = len(given) if isinstance(given, Sized) and on_error == "raise" and quality != "refuse" else None
        size = batch_size or default_batch_size(model.device, model.preprocessing.image_size)
        with contextlib.closing(read_batches(given, size)) as batches:
            embeddings = model.encode_batches(batches, known, precision=precision, progress=False)
    if skipped and not names:
        taken = "used" if flawed else "read"
        raise DataError(
            f"Expected pictures to embed, but none of {len(skipped):,} can be {taken}: {_named(skipped)}. "
            f"The first: {skipped[0].reason}"
        )
    return EncodedPictures(
        embeddings=embeddings,
        names=tuple(names),
        indices=np.delete(np.arange(len(names) + len(skipped)), [one.index for one in skipped]),
        skipped=tuple(skipped),
        seconds=time.perf_counter() - started,
        decoding=reading_s / (reading_s + net_s) if reading_s + net_s > 0 else 0.0,
        flawed=tuple(flawed),
        left_out=left_out,
    )


def _check_measurable(pictures: Images, preprocessing: Preprocessing) -> None:
    """Check that images are pictures, whose quality can be measured."""
    found = None
    if isinstance(pictures, Tensor | np.ndarray) and "float" in str(pictures.dtype):
        found = f"images of {pictures.dtype}"
    elif preprocessing.channels not in (1, 3) and not preprocessing.of_vectors:  # which reading a picture says
        found = f"a model of images of {preprocessing.channels} channels"
    if found:
        raise ValueError(
            f'Expected pictures in grey or colour to measure their quality, got {found}. Set quality="off".'
        )


def _named(skipped: Sequence[Skipped]) -> str:
    names = [printable(one.name or "") or f"picture {one.index}" for one in skipped[:_MAX_NAMED]]
    more = f" and {len(skipped) - _MAX_NAMED:,} more" if len(skipped) > _MAX_NAMED else ""
    return ", ".join(names) + more
