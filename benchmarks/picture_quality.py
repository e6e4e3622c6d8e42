"""Pictures of poor quality: how many are named at enrolment, and what they do to identification.

- Named: share of the pictures of a set that have a flaw, as they are and after they were spoilt. The limits were chosen
  on the first half of the classes by name; the second half checks them.
- Enrolled: groceries of the first half of the classes, a frozen MobileNetV2. Of the five pictures of each product,
  each is blurred with a probability of 30 %. Blurred pictures are enrolled as they are, refused, or weighted by their
  sharpness. Half of the products have a gallery, of which half are enrolled and half are unknown; the head, where there
  is one, is fitted to the others. Queries are not blurred.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter
from torch.nn import functional

from benchmarks.identify import GROCERIES, PICTURES, WHITEN
from benchmarks.mnist_quality import SEEDS
from benchmarks.open_world import NET, fitted
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import Row
from pairsim import EmbeddingNet, SimilarityModel
from pairsim.data.named import data_root
from pairsim.images import Preprocessing, pictures_below
from pairsim.images.quality import MIN_SHARPNESS, picture_quality
from pairsim.models.backbones.weight_files import find_weights, weight_folders

SETS = {
    "groceries": "open/groceries",
    "faces": "open/lfw-people",
    "signatures": "open/signatures",
    "other photographs": "open/near-duplicates/distractors",
    "Omniglot": "omniglot",
}
SIZES, ABOUT = (224, 96, 28), 400
SIDE, BLURRED_SHARE, DRAWS, FPIR = 224, 0.3, 40, 0.1
BLURS = (2.0, 3.0, 5.0)

Floats = npt.NDArray[np.float64]


def run(options: Options) -> list[Table]:
    """Count what is named, and identify with blurred pictures enrolled."""
    root = data_root(options.data_dir)
    missing = [name for name in SETS.values() if not (root / name).is_dir()]
    if missing:
        note = f"Not measured: it needs {', '.join(missing)} in --data-dir or $PAIRSIM_DATA."
        return [Table("Pictures with a flaw", (), (note,))]
    rows = [row for size in (SIZES[-1:] if options.quick else SIZES) for row in named(root, size, options)]
    notes = (
        "Shares of every n-th picture of a half; size: side of the model's input in pixels, stretched.",
        "blur: Gaussian of a standard deviation of 3 pixels of the model's input; motion: mean of 14 such pixels along "
        "a row; tiny: enlarged 6 times; dark: 15 % of the light; flat: 8 % of the contrast.",
    )
    tables = [Table("Pictures with a flaw", rows, notes)]
    weights = find_weights(NET, weight_folders(root))
    if weights is not None:
        tables.append(enrolled(root / SETS[GROCERIES], weights, options))
    return tables


def blur(picture: Image.Image, size: int, pixels: float) -> Image.Image:
    """Blur a picture by a standard deviation in pixels of the model's input."""
    return picture.filter(ImageFilter.GaussianBlur(pixels * max(min(picture.size) / size, 1.0)))


def motion(picture: Image.Image, size: int) -> Image.Image:
    """Move a picture by 14 pixels of the model's input while it is taken."""
    length = max(round(14 * max(min(picture.size) / size, 1.0)), 1)
    pixels = np.asarray(picture, dtype=np.float64)
    sums = np.cumsum(np.pad(pixels, ((0, 0), (length, 0), (0, 0)), mode="edge"), axis=1)
    return Image.fromarray(((sums[:, length:] - sums[:, :-length]) / length).round().astype(np.uint8))


def tiny(picture: Image.Image, size: int) -> Image.Image:
    """Reduce a picture so that its shorter side is a sixth of the model's."""
    factor = size / 6 / min(picture.size)
    width, height = (max(int(side * factor), 1) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR)


SPOILT: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "as it is": lambda picture, _: picture,
    "blur": lambda picture, size: blur(picture, size, 3.0),
    "motion": motion,
    "tiny": tiny,
    "dark": lambda picture, _: picture.point(lambda x: round(x * 0.15)),
    "flat": lambda picture, _: picture.point(lambda x: round(128 + (x - 128) * 0.08)),
}


def halves(folder: Path) -> Iterator[list[str]]:
    """The pictures of the first half of the classes by name, and of the second; without classes, of pictures."""
    paths = sorted(map(str, pictures_below(folder)))
    classes = sorted({str(Path(path).parent) for path in paths})
    names = classes if len(classes) > 1 else paths
    first = set(names[: len(names) // 2])
    for wanted in (True, False):
        yield [path for path in paths if ((path in first) or (str(Path(path).parent) in first)) == wanted]


def named(root: Path, size: int, options: Options) -> Iterator[Row]:
    """Count the pictures of each set that have a flaw."""
    preprocessing = Preprocessing(image_size=(size, size), channels=3)
    for name, place in SETS.items():
        print(f"picture-quality: {name} at {size}", file=sys.stderr, flush=True)
        for half, paths in zip(("chosen on", "checked on"), halves(root / place), strict=True):
            some = paths[:: max(len(paths) // (20 if options.quick else ABOUT), 1)]
            found = dict.fromkeys(SPOILT, 0)
            for path in some:
                with Image.open(path) as file:
                    picture = file.convert("RGB")
                for kind, spoil in SPOILT.items():
                    found[kind] += bool(picture_quality(spoil(picture, size), preprocessing).flaws())
            shares = {kind: count / len(some) for kind, count in found.items()}
            yield {"arm": f"{name}, {half}", "size": size, "pictures": len(some), **shares}


def enrolled(folder: Path, weights: Path, options: Options) -> Table:
    """Identify products of which blurred pictures are enrolled."""
    size = 32 if options.quick else SIDE
    model = SimilarityModel(EmbeddingNet(NET, weights=weights, image_size=size, head="none")).to(options.device)
    paths = next(halves(folder))
    codes = np.unique([str(Path(path).parent) for path in paths], return_inverse=True)[1]
    features, sharpness = {}, {}
    for pixels in (0.0, *(BLURS[-1:] if options.quick else BLURS)):
        print(f"picture-quality: embeddings, blur {pixels}", file=sys.stderr, flush=True)
        pictures = [blurred(path, size, pixels) for path in paths]
        features[pixels] = model.encode(pictures, progress=False).cpu()
        quality = [picture_quality(picture, model.preprocessing).sharpness for picture in pictures]
        sharpness[pixels] = np.array(quality)
    rows: list[Row] = []
    for head in ("cosine", "whitened"):
        for pixels in list(features)[1:]:
            results: dict[str, list[tuple[float, float]]] = {}
            for seed in range(2 if options.quick else DRAWS):
                both = [features[0.0], features[pixels]]
                generator = np.random.default_rng(seed)
                chosen = generator.permutation(codes.max() + 1)
                shown, rest = chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]
                if head == "whitened":
                    own = np.isin(codes, rest)
                    labels = torch.unique(torch.from_numpy(codes[own]), return_inverse=True)[1]
                    layer = fitted(WHITEN, both[0][own].float(), labels, SEEDS[0])
                    with torch.no_grad():
                        both = [layer(part.float()) for part in both]
                vectors = [functional.normalize(part.double(), dim=1).numpy() for part in both]
                measured = (sharpness[0.0], sharpness[pixels])
                for arm, found in draw(vectors, measured, codes, shown, generator):
                    results.setdefault(arm, []).append(found)
            for arm, figures in results.items():
                less = np.array(figures)[:, 1] - np.array(results["as they are"])[:, 1]
                rank_1, fnir = np.mean(figures, axis=0)
                margin = 1.96 * less.std(ddof=1) / len(less) ** 0.5
                row: Row = {
                    "arm": f"{head}, blur {pixels:g}, {arm}",
                    "rank_1": float(rank_1),
                    "fnir_at_0.1": float(fnir),
                }
                rows.append(row | {"fnir_change": float(less.mean()), "change_margin": float(margin)})
    notes = (
        f"Means of {2 if options.quick else DRAWS} draws; change: to the first arm, with the margin of 95 %.",
        f"refused: pictures with sharpness below {MIN_SHARPNESS}, unless a product has no other; weighted: from 0.05 "
        "at sharpness 0.17 to 1 at 0.5.",
    )
    return Table("Identification with blurred pictures enrolled", rows, notes)


def blurred(path: str, size: int, pixels: float) -> Image.Image:
    """Read a picture and blur it."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    return blur(picture, size, pixels) if pixels else picture


def draw(
    vectors: list[Any], sharpness: tuple[Floats, Floats], codes: Any, shown: Any, generator: np.random.Generator
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield each arm with its rank-1 accuracy and its FNIR, of one draw of products and pictures."""
    weigh: dict[str, Callable[[Floats], Floats]] = {
        "as they are": np.ones_like,
        "refused": lambda values: np.where(values < MIN_SHARPNESS, 1e-6, 1.0),
        "weighted": lambda values: np.clip((values - 0.15) / 0.35, 0.05, 1.0),
    }
    known, unknown = shown[: len(shown) // 2], shown[len(shown) // 2 :]
    templates: dict[str, list[Floats]] = {arm: [] for arm in weigh}
    queries: list[int] = []
    for product in known:
        own = generator.permutation(np.flatnonzero(codes == product))
        enrolled, is_blurred = own[:PICTURES], generator.random(PICTURES) < BLURRED_SHARE
        queries += own[PICTURES:].tolist()
        rows = np.where(is_blurred[:, None], vectors[1][enrolled], vectors[0][enrolled])
        sharp = np.where(is_blurred, sharpness[1][enrolled], sharpness[0][enrolled])
        for arm, weights in weigh.items():
            mean = (rows * weights(sharp)[:, None]).sum(axis=0)
            templates[arm].append(mean / np.linalg.norm(mean))
    others = np.flatnonzero(np.isin(codes, unknown))
    for arm, means in templates.items():
        similarities, strangers = vectors[0][queries] @ np.array(means).T, vectors[0][others] @ np.array(means).T
        right = known[similarities.argmax(axis=1)] == codes[queries]
        threshold = np.quantile(strangers.max(axis=1), 1 - FPIR)
        found = right & (similarities.max(axis=1) > threshold)
        yield arm, (float(right.mean()), float(1 - found.mean()))
