"""Galleries of made identities, each with several embeddings around a direction."""

from __future__ import annotations

import torch
from small_models import small_model
from torch import Tensor
from torch.nn import functional

from pairsim import Gallery

DIM = 8
MODEL = small_model(dim=DIM)


def rows(num_identities: int, images: int, seed: int = 0, noise: float = 0.25) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = functional.normalize(torch.randn(num_identities, 1, DIM, generator=generator), dim=2)
    pictures = centres + noise * torch.randn(num_identities, images, DIM, generator=generator)
    return functional.normalize(pictures, dim=2).flatten(0, 1)


def filled(num_identities: int, images: int, seed: int = 0) -> Gallery:
    gallery = Gallery(MODEL)
    names = [f"p{number}" for number in range(num_identities) for _ in range(images)]
    gallery.add_embeddings(rows(num_identities, images, seed), identities=names)
    return gallery
