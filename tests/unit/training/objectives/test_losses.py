from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from pairsim import SimilarityModel
from pairsim.errors import TrainingError
from pairsim.models.embedding_net import unit_length
from pairsim.training.objectives.all_pairs import _softplus
from pairsim.training.objectives.losses import all_pairs_loss, function_loss, pairs_loss
from pairsim.training.optimize.embedding_memory import EmbeddingMemory

UNTIMED = settings(deadline=None, max_examples=60)  # a busy machine is no failure
Memory = tuple[Tensor, Tensor]
Batch = tuple[Tensor, Tensor]


def projecting(scale: float = 10.0, bias: float = -5.0, dtype: torch.dtype = torch.float64) -> SimilarityModel:
    """A model of which only the projection matters."""
    model = SimilarityModel(torch.nn.Identity()).to(dtype)
    with torch.no_grad():
        model.projection.weight.fill_(scale)
        model.projection.bias.fill_(bias)
    return model


def batch_of(num_images: int, num_classes: int, dim: int = 6, seed: int = 0, *, empty: float = 0.0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    embeddings = unit_length(torch.randn(num_images, dim, generator=generator, dtype=torch.float64))
    labels = torch.randint(num_classes, (num_images,), generator=generator)
    labels[torch.rand(num_images, generator=generator) < empty] = -1
    return embeddings, labels


def pair_by_pair(
    model: SimilarityModel,
    embeddings: Tensor,
    labels: Tensor,
    *,
    prior: float = 0.5,
    hard_pairs: float = 0.0,
    memory: Memory | None = None,
) -> Tensor:
    """The definition, one pair after the other."""
    size = len(labels)
    pairs = [(embeddings[j], labels[i] == labels[j], i) for i in range(size) for j in range(i)]
    if memory is not None:
        pairs += [
            (other.detach(), labels[i] == label, i)
            for i in range(size)
            for other, label in zip(*memory, strict=True)
            if label >= 0
        ]
    total = embeddings.sum() * 0 + model.projection.weight.sum() * 0 + model.projection.bias.sum() * 0
    for target, share in ((1.0, prior), (0.0, 1 - prior)):
        logits = [model.projection((embeddings[i] @ other)[None])[0] for other, same, i in pairs if same == target]
        if logits:
            stacked = torch.stack(logits)
            weights = (torch.sigmoid(stacked) - target).abs().detach() ** hard_pairs
            costs = functional.binary_cross_entropy_with_logits(
                stacked, torch.full_like(stacked, target), reduction="none"
            )
            total = total + share * (weights * costs).sum() / weights.sum()
    return total


def figures(function: Callable[..., Tensor], model: SimilarityModel, batch: Batch, **options: Any) -> list[Tensor]:
    """Loss, and its gradients in embeddings, scale and bias."""
    embeddings = batch[0].clone().requires_grad_()
    model.zero_grad()
    loss = function(model, embeddings, batch[1], **options)
    loss.backward()
    weight, bias = model.projection.weight.grad, model.projection.bias.grad
    assert embeddings.grad is not None
    assert weight is not None
    assert bias is not None
    return [loss.detach(), embeddings.grad, weight.clone(), bias.clone()]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Within `tolerance` of the largest entry of the loss and of each gradient."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        # Weights sum to 1, so that 0.1 is small for a gradient, and less than that is what cancels.
        scale = max(0.1, float(other.abs().max())) if other.numel() else 1.0
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=tolerance * scale)


# --- the definition ---


@pytest.mark.parametrize("with_memory", [False, True])
@pytest.mark.parametrize("hard_pairs", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("prior", [0.5, 0.1])
@pytest.mark.parametrize("block_size", [None, 1, 3, 5])
def test_is_what_the_pairs_give_one_by_one(
    block_size: int | None, prior: float, hard_pairs: float, with_memory: bool
) -> None:
    model, batch = projecting(6.0, -2.0), batch_of(11, 3)
    memory = batch_of(9, 4, seed=1, empty=0.3) if with_memory else None
    options: dict[str, Any] = {"prior": prior, "hard_pairs": hard_pairs, "memory": memory}
    found = figures(all_pairs_loss, model, batch, block_size=block_size, **options)
    assert_close(found, figures(pair_by_pair, model, batch, **options), 1e-12)


@pytest.mark.parametrize("num_classes", [1, 2, 1000])
@pytest.mark.parametrize("num_images", [0, 1, 2, 7])
def test_few_images_and_few_kinds_of_pairs(num_images: int, num_classes: int) -> None:
    model, batch = projecting(), batch_of(num_images, num_classes)
    for options in ({}, {"hard_pairs": 2.0}, {"block_size": 2}, {"block_size": 2, "hard_pairs": 2.0}):
        found = figures(all_pairs_loss, model, batch, **options)
        options.pop("block_size", None)
        assert_close(found, figures(pair_by_pair, model, batch, **options), 1e-12)
    if num_images < 2:
        assert found[0] == 0


@pytest.mark.parametrize("block_size", [None, 16])
def test_float32_is_close_to_float64(block_size: int | None) -> None:
    embeddings, labels = batch_of(300, 10, 128)
    exact = figures(all_pairs_loss, projecting(), (embeddings, labels))
    rounded = figures(
        all_pairs_loss, projecting(dtype=torch.float32), (embeddings.float(), labels), block_size=block_size
    )
    assert all(part.dtype == torch.float32 for part in rounded)
    assert all(part.dtype == torch.float64 for part in exact)
    assert_close(rounded, exact, 1e-5)


cases = st.tuples(
    st.integers(0, 40), st.sampled_from([1, 2, 5, 10_000]), st.integers(1, 5), st.integers(0, 2**31), st.integers(0, 30)
)


@UNTIMED
@given(
    cases,
    st.integers(1, 50),
    st.sampled_from([0.0, 1.0, 3.0]),
    st.sampled_from([0.02, 0.5, 0.9]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_blocks_change_nothing_but_rounding(
    case: tuple[int, int, int, int, int], block_size: int, hard_pairs: float, prior: float, dtype: torch.dtype
) -> None:
    num_images, num_classes, dim, seed, num_memory = case
    embeddings, labels = batch_of(num_images, num_classes, dim, seed)
    others, other_labels = batch_of(num_memory, num_classes, dim, seed + 1, empty=0.2)
    if num_images > 2:
        embeddings[1], embeddings[2] = embeddings[0], 0.0
    options: dict[str, Any] = {
        "prior": prior,
        "hard_pairs": hard_pairs,
        "memory": (others.to(dtype), other_labels) if num_memory else None,
    }
    model, batch = projecting(dtype=dtype), (embeddings.to(dtype), labels)
    whole = figures(all_pairs_loss, model, batch, block_size=10**4, **options)
    cut = figures(all_pairs_loss, model, batch, block_size=block_size, **options)
    assert all(torch.isfinite(part).all() for part in cut)
    assert_close(cut, whole, 1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("with_memory", [False, True])
@pytest.mark.parametrize("block_size", [None, 3])
def test_gradients_are_those_of_the_loss(block_size: int | None, with_memory: bool) -> None:
    embeddings, labels = batch_of(7, 3, 4)
    memory = batch_of(5, 3, 4, seed=1, empty=0.3) if with_memory else None
    model = projecting(3.0, -1.0)

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
    model = projecting(0.0, log_odds)
    assert figures(all_pairs_loss, model, (embeddings, labels), prior=prior, hard_pairs=hard_pairs)[3].item() == (
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
        model = projecting(2.0, -1.0)
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
    plain, same = (figures(all_pairs_loss, projecting(), batch, **o) for o in ({}, {"hard_pairs": 0.0, "prior": 0.5}))
    assert all(torch.equal(a, b) for a, b in zip(plain, same, strict=True))


@pytest.mark.parametrize("block_size", [None, 2])
def test_kinds_keep_their_shares_where_every_pair_is_easy(block_size: int | None) -> None:
    """All logits are 5 on the right side, so that hardness is the same for all, and far below what float32 holds."""
    embeddings, labels = torch.eye(2)[[0, 0, 1, 1, 0]], torch.tensor([0, 0, 1, 1, 0])
    model = projecting(dtype=torch.float32)
    plain = figures(all_pairs_loss, model, (embeddings, labels), prior=0.3)
    hard = figures(all_pairs_loss, model, (embeddings, labels), prior=0.3, hard_pairs=50.0, block_size=block_size)
    assert_close(hard, plain, 1e-4)


def test_hard_pairs_weigh_more_and_at_last_alone() -> None:
    model, (embeddings, labels) = projecting(), batch_of(12, 3)
    losses = [all_pairs_loss(model, embeddings, labels, hard_pairs=g).item() for g in (0, 0.5, 1, 3, 1e9)]
    assert losses == sorted(losses)
    assert len(set(losses)) == len(losses)
    logits = (model.projection.weight.detach() * embeddings @ embeddings.T + model.projection.bias.detach()).double()
    same, other = labels[:, None] == labels, ~torch.eye(12, dtype=torch.bool)
    hardest = functional.softplus(-logits[same & other].min()) + functional.softplus(logits[~same].max())
    assert losses[-1] == pytest.approx(0.5 * hardest.item(), rel=1e-9)


@UNTIMED
@given(cases, st.randoms(use_true_random=False))
def test_order_of_images_changes_nothing(case: tuple[int, int, int, int, int], random: Any) -> None:
    num_images, num_classes, dim, seed, _ = case
    embeddings, labels = batch_of(num_images, num_classes, dim, seed)
    order = list(range(num_images))
    random.shuffle(order)
    plain = figures(all_pairs_loss, projecting(), (embeddings, labels), block_size=7)
    moved = figures(all_pairs_loss, projecting(), (embeddings[order], labels[order]), block_size=7)
    plain[1] = plain[1][order]
    assert_close(moved, plain, 1e-12)


def test_names_of_classes_change_nothing() -> None:
    embeddings, labels = batch_of(30, 4)
    named = torch.tensor([2**53 + 1, -7, 2**53, 0])[labels]  # of which floating point cannot hold the first
    plain = figures(all_pairs_loss, projecting(), (embeddings, labels))
    for other in (named, labels.to(torch.uint8), labels.repeat_interleave(2)[::2]):
        found = figures(all_pairs_loss, projecting(), (embeddings, other))
        assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))


def test_embeddings_that_are_zero_or_coincide_pass_finite_gradients() -> None:
    raw = torch.zeros(6, 3, requires_grad=True)
    with torch.no_grad():
        raw[3:] = torch.tensor([1.0, 2.0, 3.0])
    all_pairs_loss(projecting(dtype=torch.float32), unit_length(raw), torch.arange(6) % 2, hard_pairs=1.0).backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("scale", [200.0, -200.0])
def test_extreme_logits_stay_finite(scale: float) -> None:
    embeddings, labels = batch_of(20, 3)
    model = projecting(scale, 0.0, torch.float32)
    for hard_pairs in (0.0, 2.0):
        found = figures(all_pairs_loss, model, (embeddings.float(), labels), hard_pairs=hard_pairs)
        assert all(torch.isfinite(part).all() for part in found)


def test_not_a_number_is_not_hidden() -> None:
    embeddings, labels = batch_of(20, 3)
    embeddings[3, 1] = math.nan
    assert all_pairs_loss(projecting(), embeddings, labels, block_size=4).isnan()


# --- memory ---


def test_memory_gets_no_gradient_and_empty_slots_weigh_nothing() -> None:
    model, batch = projecting(), batch_of(12, 3)
    plain = figures(all_pairs_loss, model, batch)
    empty = (torch.zeros(30, 6, dtype=torch.float64), torch.full((30,), -1))
    assert_close(figures(all_pairs_loss, model, batch, memory=empty), plain, 1e-14)
    others, labels = batch_of(8, 3, seed=5)
    figures(all_pairs_loss, model, batch, memory=(others.requires_grad_(), labels))
    assert others.grad is None


def test_memory_is_the_concatenation_without_its_own_pairs() -> None:
    """All pairs of the joined set, summed by number, less those within the memory."""
    model, batch, memory = projecting(), batch_of(10, 3), batch_of(14, 3, seed=2)
    joined = torch.cat((batch[0], memory[0])), torch.cat((batch[1], memory[1]))

    def sums(given: Batch) -> tuple[list[float], list[int]]:
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


@UNTIMED
@given(st.integers(1, 9), st.lists(st.integers(0, 12), max_size=8))
def test_ring_holds_the_newest(size: int, batches: list[int]) -> None:
    memory = EmbeddingMemory(size, 2)
    seen = 0
    for count in batches:
        numbers = torch.arange(seen, seen + count)
        memory.update(torch.stack((numbers, -numbers), dim=1).double(), numbers)
        seen += count
        held = memory.labels[memory.labels >= 0]
        assert sorted(held.tolist()) == list(range(max(0, seen - size), seen))
        filled = memory.embeddings[memory.labels >= 0]
        assert torch.equal(filled, torch.stack((held, -held), dim=1).float())
        assert int((memory.labels == -1).sum()) == size - len(held)


def test_memory_goes_on_from_its_state() -> None:
    memory = EmbeddingMemory(7, 6)
    memory.update(*batch_of(5, 3))
    resumed = EmbeddingMemory(7, 6)
    resumed.load_state_dict(copy.deepcopy(memory.state_dict()))
    for part in (memory, resumed):
        part.update(*batch_of(4, 3, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(memory.buffers(), resumed.buffers(), strict=True))
    assert sorted(memory.state_dict()) == ["cursor", "embeddings", "labels"]


def test_memory_keeps_no_graph_and_may_be_updated_before_the_backward_pass() -> None:
    memory, model = EmbeddingMemory(10, 6), projecting(dtype=torch.float32)
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


# --- what it costs, and what it leaves alone ---


class Peak(TorchDispatchMode):
    """Counts the bytes of tensors that operations make, as long as they live, and the operations' names."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self.names: set[str] = set()
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.names.add(func.overloadpacket._qualified_op_name)
        for part in out if isinstance(out, tuple | list) else [out]:
            if isinstance(part, Tensor) and part.device.type != "meta":
                self._add(part.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        key = storage._cdata
        if key in self.known:
            return
        self.known.add(key)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


@contextmanager
def _measured() -> Iterator[Peak]:
    with Peak() as peak:
        yield peak


def test_blocks_never_hold_all_pairs() -> None:
    size = 1536
    embeddings, labels = batch_of(size, 20, 16)
    model, given = projecting(dtype=torch.float32), embeddings.float().requires_grad_()

    def peak_of(**options: Any) -> int:
        given.grad = None
        with _measured() as peak:
            all_pairs_loss(model, given, labels, **options).backward()
        return peak.peak

    matrix = 4 * size * size
    dense = peak_of(block_size=size)
    assert dense > 2 * matrix, "the count misses what is there"
    assert peak_of(block_size=48) < dense / 32
    assert peak_of(block_size=48, hard_pairs=2.0) < dense / 32


def test_every_shape_follows_from_the_shapes_given() -> None:
    embeddings, labels = batch_of(20, 3)
    memory = EmbeddingMemory(30, 6)
    memory.update(*batch_of(10, 3, seed=1))
    with _measured() as peak:
        loss = all_pairs_loss(
            projecting(), embeddings.requires_grad_(), labels, hard_pairs=1.0, memory=(memory.embeddings, memory.labels)
        )
        loss.backward()
        memory.update(embeddings, labels)
    waiting = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::index", "aten::item"}
    assert peak.names
    assert not peak.names & (waiting | {name for name in peak.names if "unique" in name})


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"block_size": 5, "hard_pairs": 1.0}], ids=["dense", "blocks"])
def test_compiles_as_one_graph(options: dict[str, Any]) -> None:
    compiled = torch.compile(all_pairs_loss, fullgraph=True, backend="aot_eager")
    model, batch = projecting(), batch_of(12, 3)
    assert_close(figures(compiled, model, batch, **options), figures(all_pairs_loss, model, batch, **options), 1e-12)


def test_autocast_and_half_precision_do_not_reach_the_pairs() -> None:
    embeddings, labels = batch_of(30, 3, 16)
    model, half = projecting(dtype=torch.float32), embeddings.to(torch.bfloat16)
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
        alone = all_pairs_loss(projecting(), embeddings, labels)
    assert not alone.requires_grad
    assert torch.equal(alone, figures(all_pairs_loss, projecting(), (embeddings, labels))[0])


def test_the_loss_can_be_changed_in_place() -> None:
    batch = batch_of(30, 3)
    plain = figures(all_pairs_loss, projecting(), batch)
    twice = figures(lambda *given: all_pairs_loss(*given).mul_(2), projecting(), batch)
    assert all(torch.equal(a, 2 * b) for a, b in zip(twice, plain, strict=True))


def test_frozen_projection_leaves_the_gradient_of_embeddings() -> None:
    batch, model = batch_of(30, 3), projecting()
    expected = figures(all_pairs_loss, model, batch)[1]
    model.requires_grad_(False)
    given = batch[0].clone().requires_grad_()
    all_pairs_loss(model, given, batch[1]).backward()
    assert given.grad is not None
    assert torch.equal(given.grad, expected)


def test_second_derivative_is_refused_and_not_wrong() -> None:
    embeddings, labels = batch_of(6, 2)
    given = embeddings.requires_grad_()
    with pytest.raises(RuntimeError, match="Expected all_pairs_loss to be differentiated once, got create_graph=True"):
        torch.autograd.grad(all_pairs_loss(projecting(), given, labels), given, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softplus_keeps_its_digits(dtype: torch.dtype) -> None:
    values = torch.cat((torch.linspace(-80, 200, 20_001), torch.tensor([0.0, -0.0, 1e-30]))).to(dtype)
    exact = functional.softplus(values.double(), threshold=100)
    torch.testing.assert_close(_softplus(values).double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=0)
    ends = _softplus(torch.tensor([math.inf, -math.inf, math.nan], dtype=dtype))
    assert ends[0] == math.inf
    assert ends[1] == 0
    assert ends[2].isnan()


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"block_size": 100, "hard_pairs": 2.0}], ids=["dense", "blocks"])
def test_is_captured_in_a_cuda_graph(options: dict[str, Any]) -> None:
    batch = batch_of(300, 10, 32)
    model = projecting(dtype=torch.float32).cuda()
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
    exact = figures(all_pairs_loss, projecting(), batch, **options)
    on_gpu = figures(all_pairs_loss, model, (given.detach(), labels), **options)
    assert_close([part.cpu() for part in on_gpu], exact, 1e-4)


# --- what is refused ---


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.1, math.nan])
def test_prior_out_of_range(prior: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected prior to be in \(0, 1\), got {prior}. Give the share"):
        all_pairs_loss(projecting(), *batch_of(4, 2), prior=prior)


@pytest.mark.parametrize("hard_pairs", [-1.0, math.inf, math.nan])
def test_hard_pairs_out_of_range(hard_pairs: float) -> None:
    with pytest.raises(ValueError, match=f"Expected hard_pairs to be at least 0 and finite, got {hard_pairs}. Use"):
        all_pairs_loss(projecting(), *batch_of(4, 2), hard_pairs=hard_pairs)


@pytest.mark.parametrize("block_size", [0, -3, 2.5])
def test_block_size_out_of_range(block_size: Any) -> None:
    with pytest.raises(ValueError, match=f"Expected block_size to be a whole number of at least 1, got {block_size}."):
        all_pairs_loss(projecting(), *batch_of(4, 2), block_size=block_size)


def test_shapes_that_do_not_fit() -> None:
    model, (embeddings, labels) = projecting(), batch_of(4, 2)
    with pytest.raises(ValueError, match=r"Expected embeddings \[N, D\] with labels \[N\], got \[4, 6\] and \[3\]"):
        all_pairs_loss(model, embeddings, labels[:3])
    with pytest.raises(ValueError, match=r"Expected memory \[N, D\] with labels \[N\], got \[4, 6\] and \[3\]"):
        all_pairs_loss(model, embeddings, labels, memory=(embeddings, labels[:3]))
    with pytest.raises(ValueError, match="Expected memory of 6-dimensional embeddings, got 5"):
        all_pairs_loss(model, embeddings, labels, memory=batch_of(4, 2, 5))
    with pytest.raises(TypeError, match=r"Expected class numbers as integers for embeddings, got torch\.float32"):
        all_pairs_loss(model, embeddings, labels.float())
    with pytest.raises(ValueError, match=r"Expected embeddings \[N, 5\] with labels \[N\], got \[4, 6\] and \[4\]"):
        EmbeddingMemory(10, 5).update(embeddings, labels)
    for options in ({"size": 0, "dim": 3}, {"size": 3, "dim": 0}):
        with pytest.raises(ValueError, match="to be at least 1, got 0"):
            EmbeddingMemory(**options)


# --- the other objectives ---


def test_pairs_loss_is_the_mean_cross_entropy() -> None:
    embeddings, _ = batch_of(12, 2)
    targets = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    model = projecting(dtype=torch.float32)
    chances = torch.sigmoid(model.logits((embeddings[:6] * embeddings[6:]).sum(dim=1))).double()
    expected = -(targets * chances.log() + (1 - targets) * (1 - chances).log()).mean()
    assert pairs_loss(model, embeddings, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_function_loss_takes_one_number() -> None:
    embeddings, labels = batch_of(4, 2)
    assert function_loss(lambda e, _: e.sum()[None], embeddings, labels).shape == ()
    with pytest.raises(TrainingError, match="Expected the objective to return a scalar tensor, got float"):
        function_loss(lambda *_: 1.0, embeddings, labels)  # type: ignore[arg-type]
