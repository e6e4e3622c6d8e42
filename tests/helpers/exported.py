"""A small model with everything that an exported file can say, and other nets to export."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pairsim import Calibration, EmbeddingNet, SimilarityModel
from pairsim.images import Preprocessing
from pairsim.models import OperatingPoint

SIZE = (12, 10)


def small_model(*, calibration: Calibration | None = None) -> SimilarityModel:
    torch.manual_seed(0)
    preprocessing = Preprocessing(image_size=SIZE, channels=3, mean=(0.2, 0.3, 0.4), std=(0.3, 0.2, 0.25))
    net = EmbeddingNet(in_channels=3, image_size=SIZE, embedding_dim=8)
    for module in net.modules():  # statistics as training leaves them, so that leaving them out would show
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2.0)
    model = SimilarityModel(net, preprocessing=preprocessing)
    model.calibration = calibration
    return model.eval()


def isotonic() -> Calibration:
    point = OperatingPoint(0.7, 0.01, 0.02, 10, 90, "a test", fmr_interval=(0.0, 0.1))
    return Calibration(
        method="isotonic",
        prior=0.1,
        similarities=(0.1, 0.5, 0.500001, 0.8, 0.9, 0.99),
        evidence=(-4.0, -1.0, 0.0, 0.0, 3.0, 8.0),
        operating_point=point,
    )


def pixels(number: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, 3, *SIZE), generator=generator, dtype=torch.uint8)


class Tiny(nn.Module):
    """Two numbers of an image; what a test adds goes wrong in one way or another."""

    in_channels = 3
    image_size = SIZE

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


class Random(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = super().forward(images)
        return features + torch.rand_like(features)


class Branching(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = super().forward(images)
        return features if bool(features.sum() > 0) else -features


class OfTwo(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = super().forward(images)
        return features + torch.eye(2, 3)


class Owned(SimilarityModel):
    """Embeds in a way of its own."""

    def embed(self, images: Tensor) -> Tensor:
        found = self.preprocessing(images).mean(dim=(2, 3)) + 0.5
        scaled: Tensor = found / found.norm(dim=1, keepdim=True)
        return scaled
