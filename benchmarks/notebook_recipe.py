"""The reference notebook's recipe as it is written there, for comparison. Nothing here uses pairsim.

Kept on purpose: every image is decoded to index its label, and again each time it is drawn; positives may be an image
with itself; test pairs are drawn anew each epoch, and choose the learning rate and the best model; two forwards per
pair; four workers, pinned and persistent. Added, and outside of what is timed: a seed, and methods to go an epoch at
a time.

    python -m benchmarks.notebook_recipe --data-dir DIR --epochs 30 --out best_model.pt --seed 1
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset

from benchmarks.options import mnist_root

TRAIN_PAIRS, TEST_PAIRS, BATCH_SIZE, WORKERS, EPOCHS = 20_000, 5_000, 256, 4, 30
LEARNING_RATE, WEIGHT_DECAY, PATIENCE, FACTOR = 1e-2, 1e-5, 2, 0.5
MEAN, STD = 0.1307, 0.3081

Batch = tuple[Tensor, Tensor, Tensor]


def load_mnist(root: Path, *, train: bool) -> Dataset[tuple[Tensor, int]]:
    """MNIST as the notebook reads it: each item is decoded, scaled and normalised when it is asked for."""
    from torchvision import datasets, transforms

    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    found: Dataset[tuple[Tensor, int]] = datasets.MNIST(str(root), train=train, download=True, transform=transform)
    return found


def index_by_decoding(dataset: Any, num_images: int | None = None) -> dict[int, list[int]]:
    """The images of each class, found by decoding each image; of the first `num_images` only, where that is given."""
    images_of = defaultdict(list)
    for i in range(len(dataset) if num_images is None else num_images):
        _, label = dataset[i]
        images_of[label].append(i)
    return images_of


def draw_second(images_of: Mapping[int, Sequence[int]], label: int) -> tuple[int, float]:
    """The second image of a pair, and the target, for a first image of class `label`."""
    if random.random() < 0.5:
        return random.choice(images_of[label]), 1.0
    other = random.choice([name for name in images_of if name != label])
    return random.choice(images_of[other]), 0.0


class PairDataset(Dataset[Batch]):
    """Random pairs, whatever item is asked for."""

    def __init__(self, dataset: Any, num_pairs: int) -> None:
        self.dataset = dataset
        self.num_pairs = num_pairs
        self.images_of = index_by_decoding(dataset)

    def __len__(self) -> int:
        return self.num_pairs

    def __getitem__(self, index: int) -> Batch:
        first, label = self.dataset[random.randrange(len(self.dataset))]
        number, target = draw_second(self.images_of, label)
        second, _ = self.dataset[number]
        return first, second, torch.tensor(target, dtype=torch.float32)


class EmbeddingNet(nn.Module):
    """Two convolutional blocks and a linear layer, to unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=5, padding=2),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=5, padding=2),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.BatchNorm1d(128), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings `[N, 128]`."""
        return functional.normalize(self.fc(self.conv(images)), p=2.0, dim=1)


class SimilarityModel(nn.Module):
    """Cosine of two embeddings, and a logit from it."""

    def __init__(self, embedding_net: EmbeddingNet) -> None:
        super().__init__()
        self.embedding_net = embedding_net
        self.projection = nn.Linear(1, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits `[N]`."""
        logits: Tensor = self.projection(self.get_raw_similarity(first, second).unsqueeze(1)).squeeze(1)
        return logits

    def get_raw_similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """Cosines `[N]`."""
        return functional.cosine_similarity(self.embedding_net(first), self.embedding_net(second))


@dataclass(frozen=True)
class NotebookEpoch:
    """What the notebook prints of an epoch."""

    train_loss: float
    test_loss: float
    test_accuracy: float
    saved: bool


class NotebookRun:
    """The notebook from its first cell to the end of training, an epoch at a time.

    Args:
        root: Folder for torchvision's `MNIST`.
        seed: Seeds the generators that the notebook leaves unseeded: with them initial weights, pairs and order.
        out: Where the best weights go.
        workers: Loader processes of each of the two loaders; 0 loads in this process.
        num_pairs: Training pairs of an epoch.
        num_test_pairs: Test pairs after each epoch.
        device: To train on.
        num_images: Training and test images to take, where not all are wanted.

    Attributes:
        index_s: Seconds that indexing the labels of training and test images took.
        first_slope: Slope of the projection before training, uniform in [-1, 1] by PyTorch's default. Below 0,
            probability falls with similarity, and training first has to turn it round.
    """

    def __init__(
        self,
        root: Path,
        seed: int = 1,
        *,
        out: Path = Path("best_model.pt"),
        workers: int = WORKERS,
        num_pairs: int = TRAIN_PAIRS,
        num_test_pairs: int = TEST_PAIRS,
        device: str = "cpu",
        num_images: tuple[int, int] | None = None,
    ) -> None:
        torch.manual_seed(seed)
        random.seed(seed)
        self.out = out
        self.device = torch.device(device)
        train: Any = load_mnist(root, train=True)
        test: Any = load_mnist(root, train=False)
        if num_images is not None:
            for dataset, wanted in zip((train, test), num_images, strict=True):
                dataset.data, dataset.targets = dataset.data[:wanted], dataset.targets[:wanted]
        began = time.perf_counter()
        train_pairs, test_pairs = PairDataset(train, num_pairs), PairDataset(test, num_test_pairs)
        self.index_s = time.perf_counter() - began
        self.train_loader = make_loader(train_pairs, shuffle=True, workers=workers)
        self.test_loader = make_loader(test_pairs, shuffle=False, workers=workers)
        self.model = SimilarityModel(EmbeddingNet()).to(self.device)
        self.first_slope = self.model.projection.weight.item()
        self.criterion = nn.BCEWithLogitsLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        self.scheduler = ReduceLROnPlateau(self.optimizer, patience=PATIENCE, factor=FACTOR)
        self.best_loss: float | None = None

    def train_epoch(self) -> float:
        """Train on one epoch of pairs; the mean loss of its batches."""
        self.model.train()
        total = 0.0
        for first, second, targets in batches_to(self.device, self.train_loader):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.criterion(self.model(first, second), targets)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / len(self.train_loader)

    def evaluate(self) -> tuple[float, float]:
        """Mean loss and accuracy on newly drawn test pairs."""
        self.model.eval()
        total, correct, seen = 0.0, 0, 0
        with torch.no_grad():
            for first, second, targets in batches_to(self.device, self.test_loader):
                logits = self.model(first, second)
                total += self.criterion(logits, targets).item()
                predicted = (torch.sigmoid(logits) > 0.5).float()
                correct += int((predicted == targets).sum().item())
                seen += len(targets)
        return total / len(self.test_loader), correct / seen

    def finish_epoch(self) -> tuple[float, float, bool]:
        """What follows training in an epoch: evaluate, set the learning rate, keep the best weights."""
        loss, accuracy = self.evaluate()
        self.scheduler.step(loss)
        best = self.best_loss is None or loss < self.best_loss
        if best:
            self.best_loss = loss
            torch.save(self.model.state_dict(), self.out)
        return loss, accuracy, best

    def epoch(self) -> NotebookEpoch:
        """One epoch with all that belongs to it."""
        train_loss = self.train_epoch()
        return NotebookEpoch(train_loss, *self.finish_epoch())


def batches_to(device: torch.device, loader: DataLoader[Batch]) -> Iterator[Batch]:
    """The batches of a loader, on a device."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'pin_memory' argument is set as true but no accelerator")
        batches = iter(loader)
    for first, second, targets in batches:
        yield (
            first.to(device, non_blocking=True),
            second.to(device, non_blocking=True),
            targets.to(device, non_blocking=True),
        )


def make_loader(pairs: PairDataset, *, shuffle: bool, workers: int) -> DataLoader[Batch]:
    """The notebook's loader."""
    return DataLoader(
        pairs,
        batch_size=BATCH_SIZE,
        shuffle=shuffle,
        num_workers=workers,
        pin_memory=True,
        persistent_workers=workers > 0,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the notebook does and save its `best_model.pt`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notebook_recipe", description=main.__doc__)
    parser.add_argument("--data-dir", type=Path, help="where MNIST is; $PAIRSIM_DATA by default")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=Path("best_model.pt"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--num-pairs", type=int, default=TRAIN_PAIRS, help="training pairs an epoch")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    found = parser.parse_args(arguments)
    run = NotebookRun(
        mnist_root(found.data_dir),
        found.seed,
        out=found.out,
        workers=found.workers,
        num_pairs=found.num_pairs,
        device=found.device,
    )
    print(f"indexed in {run.index_s:.1f} s; the projection starts with slope {run.first_slope:+.3f}", flush=True)
    for number in range(1, found.epochs + 1):
        began = time.perf_counter()
        epoch = run.epoch()
        print(
            f"epoch {number}/{found.epochs}: train loss {epoch.train_loss:.4f}, test loss {epoch.test_loss:.4f}, "
            f"test accuracy {epoch.test_accuracy:.4f}, {time.perf_counter() - began:.1f} s"
            f"{', saved' if epoch.saved else ''}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
