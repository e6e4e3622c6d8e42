from __future__ import annotations

import numpy as np
import torch
from figure_parts import misplaced, picture, texts, title
from torch import nn

from pairsim import EmbeddingNet, Gallery, SimilarityModel
from pairsim.data import ImageTensors
from pairsim.visual.nets.architecture import draw_embedding_net
from pairsim.visual.nets.model_diagram import draw_similarity_model
from pairsim.visual.nets.net_outline import outline_net
from pairsim.visual.pictures.class_ranking import draw_class_ranking
from pairsim.visual.pictures.confusions import draw_confusing_pairs
from pairsim.visual.pictures.neighbors import draw_neighbors


def pictures(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)


def test_blocks_have_the_sizes_and_parameters_of_the_net() -> None:
    net = EmbeddingNet().train()
    blocks = outline_net(net, (1, 28, 28))
    assert [block.output_shape for block in blocks] == [(32, 14, 14), (64, 7, 7), (128,)]
    assert sum(block.num_parameters for block in blocks) == sum(p.numel() for p in net.parameters())
    assert all(module.training for module in net.modules())
    figure = draw_embedding_net(net)
    assert "454,080" in title(figure)
    assert {"64 × 7 × 7", "unit length"} <= set(texts(figure))
    assert not misplaced(figure)


def test_repeated_blocks_are_one() -> None:
    layers = [nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True) for _ in range(3)]
    net = nn.Sequential(nn.Flatten(1, 2), nn.Linear(8, 8), nn.Sequential(*layers))
    assert [block.repeats for block in outline_net(net, (1, 8, 8))] == [1, 3]


def test_the_model_diagram_has_the_models_own_numbers() -> None:
    model, (a, b) = SimilarityModel().eval(), pictures(2)
    figure = draw_similarity_model(model, a, b)
    assert {"10.000 × similarity", "− 5.000"} <= set(texts(figure))
    assert any(f"probability {model.predict_proba(a[None], b[None]).item():.3f}" in text for text in texts(figure))
    boxes = {"net", "embedding", "similarity", "logit"}  # text stands in these on purpose
    assert [pair for pair in misplaced(figure) if not boxes & set(pair)] == []


def test_classes_are_ranked_by_the_models_similarity() -> None:
    model, images = SimilarityModel().eval(), pictures(5)
    figure = draw_class_ranking(model, images[0], ImageTensors(images[1:], ["a", "b", "c", "c"]), true_label="b")
    order = model.similarity_matrix(images[:1], images[1:4])[0].argsort(descending=True).tolist()
    assert [text for text in texts(figure) if text in {"a", "b", "c"}] == ["abc"[k] for k in order]
    assert np.array_equal(picture(figure, "example 0"), images[1 + order[0], 0].numpy())
    assert not misplaced(figure)


def test_neighbours_are_right_or_wrong_by_symbol() -> None:
    model, images = SimilarityModel().eval(), pictures(4)
    gallery = Gallery(model)
    gallery.add(images)
    figure = draw_neighbors(
        images[:2], gallery.search(images[:2], k=3), images, query_labels=[0, 1], gallery_labels=[0, 0, 1, 1]
    )
    assert (
        sum(text.startswith("✓ ") and text[2:3].isdigit() for text in texts(figure))
        + sum(text.startswith("✗ ") and text[2:3].isdigit() for text in texts(figure))
        == 6
    )
    assert np.array_equal(picture(figure, "neighbor 1 0"), images[1, 0].numpy())
    assert not misplaced(figure)


def test_confusing_pairs_are_counted() -> None:
    images = pictures(4)
    figure = draw_confusing_pairs(ImageTensors(images, [0, 0, 1, 1]), torch.eye(2)[[0, 1, 0, 1]], 0.5)
    assert title(figure).replace("- ", "-").endswith("2 of 2 false matches and 2 of 2 false non-matches")
    assert np.array_equal(picture(figure, "second 0"), images[2, 0].numpy())
    assert not misplaced(figure)
