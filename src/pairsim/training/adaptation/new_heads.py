"""Compute the head of a net before training, if it is one in closed form that was not computed yet."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pairsim._common.choices import PrecisionName
from pairsim.data import LabelledImages, PairDataset
from pairsim.encoding.features import backbone_features
from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.models.heads.closed_form import computed_head
from pairsim.models.weight_names import unwrapped
from pairsim.training.data_setup import TrainingData


def fit_new_head(model: SimilarityModel, train: Any, data: TrainingData, *, precision: PrecisionName) -> str | None:
    """Compute the head "standardize" or "whiten" of a new net from the features of the training images.

    Args:
        model: On its device, with complete preprocessing. Its head is replaced.
        train: The training data as it was given.
        data: The same data, placed, and which images of it were held out.
        precision: Number format of the backbone.

    Returns:
        A line about it; `None` if the net has no such head.

    Raises:
        ValueError: If the training data is pairs, which have no classes.
    """
    net = unwrapped(model.embedding_net)
    if not isinstance(net, EmbeddingNet) or net.head_is_fitted:
        return None
    name = net.head_name
    assert name in ("standardize", "whiten"), "others need no fitting"
    if isinstance(train, PairDataset):
        raise ValueError(
            f'Expected labelled images to compute head "{name}" from, got pairs. Use head "linear" or "none".'
        )
    codes = LabelledImages.of(train).index.codes.astype(np.int64)
    if data.split is not None:
        codes = np.delete(codes, data.split.held_out)
    labels, features = torch.from_numpy(codes), backbone_features(model, data.loader.dataset, precision=precision)
    head, dim = computed_head(name, features, labels, net.embedding_dim)
    net.set_head(name, head.to(model.device, model.weights_dtype), dim)
    return f"Head {name}, computed from the features of {len(labels):,} training images."
