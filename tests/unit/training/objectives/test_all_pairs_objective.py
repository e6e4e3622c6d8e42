"""The objective "all-pairs": the loss against its definition, its options, and its memory."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pair_losses import CASES, assert_close, batch_of, outputs, pair_by_pair, projection_model
from torch import Tensor, nn
from torch.nn import functional

from pairsim import SimilarityModel, TrainConfig
from pairsim.models.embedding_net import unit_length
from pairsim.training.objectives.all_pairs_objective import EmbeddingMemory, all_pairs_loss
from pairsim.training.objectives.objective_registry import objective_for

# --- the definition ---


@pytest.mark.parametrize("with_memory", [False, True])
@pytest.mark.parametrize("hard_pairs", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("prior", [0.5, 0.1])
@pytest.mark.parametrize("block_size", [None, 1, 3, 5])
def test_is_what_the_pairs_give_one_by_one(
    block_size: int | None, prior: float, hard_pairs: float, with_memory: bool
) -> None:
    model, batch = projection_model(6.0, -2.0), batch_of(11, 3)
    memory = batch_of(9, 4, seed=1, empty=0.3) if with_memory else None
    options: dict[str, Any] = {"prior": prior, "hard_pairs": hard_pairs, "memory": memory}
    found = outputs(all_pairs_loss, model, batch, block_size=block_size, **options)
    assert_close(found, outputs(pair_by_pair, model, batch, **options), 1e-12)


@pytest.mark.parametrize("num_classes", [1, 2, 1000])
@pytest.mark.parametrize("num_images", [0, 1, 2, 7])
def test_few_images_and_few_kinds_of_pairs(num_images: int, num_classes: int) -> None:
    model, batch = projection_model(), batch_of(num_images, num_classes)
    for options in ({}, {"hard_pairs": 2.0}, {"block_size": 2}, {"block_size": 2, "hard_pairs": 2.0}):
        found = outputs(all_pairs_loss, model, batch, **options)
        options.pop("block_size", None)
        assert_close(found, outputs(pair_by_pair, model, batch, **options), 1e-12)
    if num_images < 2:
        assert found[0] == 0


@pytest.mark.parametrize("block_size", [None, 16])
def test_float32_is_close_to_float64(block_size: int | None) -> None:
    embeddings, labels = batch_of(300, 10, 128)
    exact = outputs(all_pairs_loss, projection_model(), (embeddings, labels))
    rounded = outputs(
        all_pairs_loss, projection_model(dtype=torch.float32), (embeddings.float(), labels), block_size=block_size
    )
    assert all(part.dtype == torch.float32 for part in rounded)
    assert all(part.dtype == torch.float64 for part in exact)
    assert_close(rounded, exact, 1e-5)


@pytest.mark.parametrize("with_memory", [False, True])
@pytest.mark.parametrize("block_size", [None, 3])
def test_gradients_are_those_of_the_loss(block_size: int | None, with_memory: bool) -> None:
    embeddings, labels = batch_of(7, 3, 4)
    memory = batch_of(5, 3, 4, seed=1, empty=0.3) if with_memory else None
    model = projection_model(3.0, -1.0)

    def loss(given: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        replaced = {"projection.weight": weight, "projection.bias": bias}
        with torch.nn.utils.stateless._reparametrize_module(model, replaced):
            return all_pairs_loss(model, given, labels, prior=0.3, block_size=block_size, memory=memory)

    weight, bias = (part.detach().clone().requires_grad_() for part in model.projection.parameters())
    assert torch.autograd.gradcheck(loss, (embeddings.requires_grad_(), weight, bias))


# --- meaning ---


@pytest.mark.parametrize("hard_pairs", [0.0, 2.0])
@pytest.mark.parametrize("prior", [0.1, 0.5, 0.8])
def test_pairs_that_tell_nothing_get_the_prior(prior: float, hard_pairs: float) -> None:
    """Where all embeddings coincide, the best probability is the share of positives; with hard pairs, nearer to 0.5."""
    log_odds = math.log(prior / (1 - prior))
    embeddings, labels = torch.ones(20, 1, dtype=torch.float64), torch.arange(20) % 3
    model = projection_model(0.0, log_odds)
    assert outputs(all_pairs_loss, model, (embeddings, labels), prior=prior, hard_pairs=hard_pairs)[3].item() == (
        pytest.approx(0, abs=1e-12)
    )


def test_log_odds_shrink_with_hard_pairs_as_documented() -> None:
    """Where probabilities are not 0 or 1, the best fit's log-odds are 1 / (1 + gamma) of the true ones."""
    generator = torch.Generator().manual_seed(0)
    # Two groups; a class is mostly, but not always, in one of them. Similarity is 1 within a group and 0 across.
    labels = torch.arange(400) % 2
    group = torch.where(torch.rand(400, generator=generator) < 0.95, labels, 1 - labels)
    embeddings = functional.one_hot(group).double()
    slopes = []
    for hard_pairs in (0.0, 1.0, 3.0):
        model = projection_model(2.0, -1.0)
        optimizer = torch.optim.LBFGS(model.projection.parameters(), line_search_fn=None, lr=0.5, max_iter=300)

        def closure(
            optimizer: torch.optim.Optimizer = optimizer, model: SimilarityModel = model, gamma: float = hard_pairs
        ) -> Tensor:
            optimizer.zero_grad()
            loss = all_pairs_loss(model, embeddings, labels, hard_pairs=gamma)
            loss.backward()
            return loss

        optimizer.step(closure)
        slopes.append(model.projection.weight.item())
    assert slopes[1] == pytest.approx(slopes[0] / 2, rel=0.02)
    assert slopes[2] == pytest.approx(slopes[0] / 4, rel=0.02)


def test_no_hard_pairs_is_the_plain_loss_bit_for_bit() -> None:
    batch = batch_of(40, 4)
    plain, same = (
        outputs(all_pairs_loss, projection_model(), batch, **o) for o in ({}, {"hard_pairs": 0.0, "prior": 0.5})
    )
    assert all(torch.equal(a, b) for a, b in zip(plain, same, strict=True))


@pytest.mark.parametrize("block_size", [None, 2])
def test_kinds_keep_their_shares_where_every_pair_is_easy(block_size: int | None) -> None:
    """All logits are 5 on the right side, so that hardness is the same for all, and far below what float32 holds."""
    embeddings, labels = torch.eye(2)[[0, 0, 1, 1, 0]], torch.tensor([0, 0, 1, 1, 0])
    model = projection_model(dtype=torch.float32)
    plain = outputs(all_pairs_loss, model, (embeddings, labels), prior=0.3)
    hard = outputs(all_pairs_loss, model, (embeddings, labels), prior=0.3, hard_pairs=50.0, block_size=block_size)
    assert_close(hard, plain, 1e-4)


def test_hard_pairs_weigh_more_and_at_last_alone() -> None:
    model, (embeddings, labels) = projection_model(), batch_of(12, 3)
    losses = [all_pairs_loss(model, embeddings, labels, hard_pairs=g).item() for g in (0, 0.5, 1, 3, 1e9)]
    assert losses == sorted(losses)
    assert len(set(losses)) == len(losses)
    logits = (model.projection.weight.detach() * embeddings @ embeddings.T + model.projection.bias.detach()).double()
    same, other = labels[:, None] == labels, ~torch.eye(12, dtype=torch.bool)
    hardest = functional.softplus(-logits[same & other].min()) + functional.softplus(logits[~same].max())
    assert losses[-1] == pytest.approx(0.5 * hardest.item(), rel=1e-9)


@given(CASES, st.randoms(use_true_random=False))
def test_order_of_images_changes_nothing(case: tuple[int, int, int, int, int], random: Any) -> None:
    num_images, num_classes, dim, seed, _ = case
    embeddings, labels = batch_of(num_images, num_classes, dim, seed)
    order = list(range(num_images))
    random.shuffle(order)
    plain = outputs(all_pairs_loss, projection_model(), (embeddings, labels), block_size=7)
    moved = outputs(all_pairs_loss, projection_model(), (embeddings[order], labels[order]), block_size=7)
    plain[1] = plain[1][order]
    assert_close(moved, plain, 1e-12)


def test_names_of_classes_change_nothing() -> None:
    embeddings, labels = batch_of(30, 4)
    named = torch.tensor([2**53 + 1, -7, 2**53, 0])[labels]  # of which floating point cannot hold the first
    plain = outputs(all_pairs_loss, projection_model(), (embeddings, labels))
    for other in (named, labels.to(torch.uint8), labels.repeat_interleave(2)[::2]):
        found = outputs(all_pairs_loss, projection_model(), (embeddings, other))
        assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))


def test_embeddings_that_are_zero_or_coincide_pass_finite_gradients() -> None:
    raw = torch.zeros(6, 3, requires_grad=True)
    with torch.no_grad():
        raw[3:] = torch.tensor([1.0, 2.0, 3.0])
    all_pairs_loss(
        projection_model(dtype=torch.float32), unit_length(raw), torch.arange(6) % 2, hard_pairs=1.0
    ).backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("scale", [200.0, -200.0])
def test_extreme_logits_stay_finite(scale: float) -> None:
    embeddings, labels = batch_of(20, 3)
    model = projection_model(scale, 0.0, torch.float32)
    for hard_pairs in (0.0, 2.0):
        found = outputs(all_pairs_loss, model, (embeddings.float(), labels), hard_pairs=hard_pairs)
        assert all(torch.isfinite(part).all() for part in found)


def test_not_a_number_is_not_hidden() -> None:
    embeddings, labels = batch_of(20, 3)
    embeddings[3, 1] = math.nan
    assert all_pairs_loss(projection_model(), embeddings, labels, block_size=4).isnan()


# --- memory ---


def test_memory_gets_no_gradient_and_empty_slots_weigh_nothing() -> None:
    model, batch = projection_model(), batch_of(12, 3)
    plain = outputs(all_pairs_loss, model, batch)
    empty = (torch.zeros(30, 6, dtype=torch.float64), torch.full((30,), -1))
    assert_close(outputs(all_pairs_loss, model, batch, memory=empty), plain, 1e-14)
    others, labels = batch_of(8, 3, seed=5)
    outputs(all_pairs_loss, model, batch, memory=(others.requires_grad_(), labels))
    assert others.grad is None


def test_memory_is_the_concatenation_without_its_own_pairs() -> None:
    """All pairs of the joined set, summed by number, less those within the memory."""
    model, batch, memory = projection_model(), batch_of(10, 3), batch_of(14, 3, seed=2)
    joined = torch.cat((batch[0], memory[0])), torch.cat((batch[1], memory[1]))

    def sums(given: tuple[Tensor, Tensor]) -> tuple[list[float], list[int]]:
        same = given[1][:, None] == given[1]
        positive = (int(same.sum()) - len(same)) // 2
        counts = [positive, len(same) * (len(same) - 1) // 2 - positive]
        halves = [all_pairs_loss(model, *given, prior=prior).item() for prior in (0.25, 0.75)]
        means = [1.5 * halves[1] - 0.5 * halves[0], 1.5 * halves[0] - 0.5 * halves[1]]  # of positives, of negatives
        return [mean * count for mean, count in zip(means, counts, strict=True)], counts

    (all_sums, all_counts), (own_sums, own_counts) = sums(joined), sums(memory)
    means = [
        (whole - own) / (count - less)
        for whole, own, count, less in zip(all_sums, own_sums, all_counts, own_counts, strict=True)
    ]
    found = all_pairs_loss(model, *batch, memory=memory).item()
    assert found == pytest.approx(0.5 * means[0] + 0.5 * means[1], rel=1e-12)


def test_memory_keeps_no_graph_and_may_be_updated_before_the_backward_pass() -> None:
    memory, model = EmbeddingMemory(10, 6), projection_model(dtype=torch.float32)
    memory.update(*batch_of(10, 3, seed=3))
    embeddings, labels = batch_of(8, 3)
    given = embeddings.float().requires_grad_()
    loss = all_pairs_loss(model, given, labels, memory=(memory.embeddings.clone(), memory.labels.clone()))
    (expected,) = torch.autograd.grad(loss, given)
    loss = all_pairs_loss(model, given, labels, memory=(memory.embeddings, memory.labels))
    memory.update(given, labels)
    assert not memory.embeddings.requires_grad
    loss.backward()
    assert given.grad is not None
    assert torch.equal(given.grad, expected)


# --- precision, autograd and graphs ---


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"block_size": 5, "hard_pairs": 1.0}], ids=["dense", "blocks"])
def test_compiles_as_one_graph(options: dict[str, Any]) -> None:
    compiled = torch.compile(all_pairs_loss, fullgraph=True, backend="aot_eager")
    model, batch = projection_model(), batch_of(12, 3)
    assert_close(
        outputs(compiled, model, batch, **options),
        outputs(all_pairs_loss, model, batch, **options),
        1e-12,
    )


def test_autocast_and_half_precision_do_not_reach_the_pairs() -> None:
    embeddings, labels = batch_of(30, 3, 16)
    model, half = projection_model(dtype=torch.float32), embeddings.to(torch.bfloat16)
    expected = all_pairs_loss(model, half.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = all_pairs_loss(model, half.requires_grad_(), labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    found.backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


def test_the_loss_alone_is_the_same() -> None:
    embeddings, labels = batch_of(30, 3)
    with torch.no_grad():
        alone = all_pairs_loss(projection_model(), embeddings, labels)
    assert not alone.requires_grad
    assert torch.equal(alone, outputs(all_pairs_loss, projection_model(), (embeddings, labels))[0])


def test_the_loss_can_be_changed_in_place() -> None:
    batch = batch_of(30, 3)
    plain = outputs(all_pairs_loss, projection_model(), batch)
    twice = outputs(lambda *given: all_pairs_loss(*given).mul_(2), projection_model(), batch)
    assert all(torch.equal(a, 2 * b) for a, b in zip(twice, plain, strict=True))


def test_frozen_projection_leaves_the_gradient_of_embeddings() -> None:
    batch, model = batch_of(30, 3), projection_model()
    expected = outputs(all_pairs_loss, model, batch)[1]
    model.requires_grad_(False)
    given = batch[0].clone().requires_grad_()
    all_pairs_loss(model, given, batch[1]).backward()
    assert given.grad is not None
    assert torch.equal(given.grad, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"block_size": 100, "hard_pairs": 2.0}], ids=["dense", "blocks"])
def test_is_captured_in_a_cuda_graph(options: dict[str, Any]) -> None:
    batch = batch_of(300, 10, 32)
    model = projection_model(dtype=torch.float32).cuda()
    given, labels = batch[0].float().cuda().requires_grad_(), batch[1].cuda()
    memory = EmbeddingMemory(500, 32).cuda()

    def step() -> Tensor:
        loss = all_pairs_loss(model, given, labels, memory=(memory.embeddings, memory.labels), **options)
        memory.update(given, labels)
        (gradient,) = torch.autograd.grad(loss, given)
        return gradient

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            expected = step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    graph.replay()
    torch.cuda.synchronize()
    torch.testing.assert_close(found, expected)
    exact = outputs(all_pairs_loss, projection_model(), batch, **options)
    on_gpu = outputs(all_pairs_loss, model, (given.detach(), labels), **options)
    assert_close([part.cpu() for part in on_gpu], exact, 1e-4)


# --- the objective ---


def test_a_memory_of_other_embeddings_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected memory of 6-dimensional embeddings, got 5"):
        all_pairs_loss(projection_model(), *batch_of(4, 2), memory=batch_of(4, 2, 5))


def net_with_dim(dim: int) -> nn.Module:
    net = nn.Identity()
    net.embedding_dim = dim  # type: ignore[assignment]
    return net


def test_options_reach_the_loss_and_the_batch_reaches_the_memory() -> None:
    objective = objective_for(TrainConfig(prior=0.3, hard_pairs=1.5, memory_size=12).resolved())
    model, first, second = SimilarityModel(net_with_dim(6)), batch_of(8, 3), batch_of(8, 3, seed=1)
    memory = objective.state = objective.initial_state(model)
    assert isinstance(memory, EmbeddingMemory)
    options: dict[str, Any] = {"prior": 0.3, "hard_pairs": 1.5}
    found = [objective.loss(model, *batch).item() for batch in (first, second)]
    assert found[0] == all_pairs_loss(model, *first, **options).item()
    remembered = first[0].float(), first[1]
    assert found[1] == pytest.approx(all_pairs_loss(model, *second, memory=remembered, **options).item(), rel=1e-6)
    assert memory.labels.tolist() == [*second[1][4:].tolist(), *first[1][4:].tolist(), *second[1][:4].tolist()]


def test_memory_needs_the_length_of_an_embedding() -> None:
    objective = objective_for(TrainConfig(memory_size=8).resolved())
    with pytest.raises(TypeError, match=r"Expected Flatten to have an attribute embedding_dim.*set memory_size=0"):
        objective.initial_state(SimilarityModel(nn.Flatten()))
    assert objective_for(TrainConfig().resolved()).initial_state(SimilarityModel(nn.Flatten())) is None
