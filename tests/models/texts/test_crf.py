"""The conditional random field against enumeration of every sequence."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.models.texts.crf import LinearChainCrf, biluo_rules, log_partition
from geomm.text import biluo_tags


def make(seed, count=4, *, dense=False):
    generator = torch.Generator().manual_seed(seed)
    legal = torch.rand(count, count, generator=generator) < 0.6
    legal[0] = legal[:, 0] = True
    ends = torch.rand(2, count, generator=generator) < 0.6
    ends[:, 0] = True
    if dense:
        legal[:], ends[:] = True, True
    crf = LinearChainCrf(legal, *ends)
    for parameter in crf.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return crf


def enumerate_all(crf, emissions):
    """Score every sequence of one text by the definition."""
    transitions, start, end = crf.weights()
    scores = {}
    for path in itertools.product(range(emissions.shape[1]), repeat=len(emissions)):
        total = start[path[0]] + end[path[-1]] + sum(emissions[t, tag] for t, tag in enumerate(path))
        scores[path] = total + sum(transitions[a, b] for a, b in itertools.pairwise(path))
    return scores


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 5), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_partition_best_path_and_stretches_are_those_of_enumeration(seed, steps, scale):
    crf = make(seed)
    # Three texts of other lengths in one batch; what lies past a length must not count.
    lengths = torch.tensor([steps, max(steps - 1, 1), 1])
    emissions = scale * torch.randn(3, steps, 4, generator=torch.Generator().manual_seed(seed + 1)).double()
    partition = log_partition(emissions, *crf.weights(), lengths)
    best = crf.viterbi(emissions, lengths)
    stretches = crf.stretches(emissions, best, lengths)
    for row, length in enumerate(lengths.tolist()):
        scores = enumerate_all(crf, emissions[row, :length])
        paths, values = list(scores), torch.stack(list(scores.values()))
        assert partition[row].item() == pytest.approx(torch.logsumexp(values, 0).item(), abs=1e-8)
        found = tuple(best[row, :length].tolist())
        assert scores[found].item() == pytest.approx(values.max().item(), abs=1e-8)
        assert best[row, length:].tolist() == [0] * (steps - length)
        shares = values.softmax(0)
        for first, last in itertools.combinations_with_replacement(range(length), 2):
            same = [path[first : last + 1] == found[first : last + 1] for path in paths]
            expected = shares[torch.tensor(same)].sum().item()
            assert stretches.probability(row, first, last) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dense", [True, False])
def test_gradients_are_those_of_finite_differences(dense):
    crf = make(3, dense=dense)
    lengths = torch.tensor([4, 2, 1])
    emissions = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    weights = [w.detach().clone().requires_grad_() for w in crf.weights()]
    if dense:
        assert torch.autograd.gradcheck(lambda *args: log_partition(*args, lengths), (emissions, *weights))
    else:  # infinite weights have no finite differences
        assert torch.autograd.gradcheck(lambda e: log_partition(e, *crf.weights(), lengths), (emissions,))


def test_the_loss_is_the_negative_log_probability_of_the_truth():
    crf = make(5, dense=True)
    emissions, tags = torch.randn(1, 4, 4).double(), torch.tensor([[1, 3, 0, 2]])
    scores = enumerate_all(crf, emissions[0])
    expected = torch.logsumexp(torch.stack(list(scores.values())), 0) - scores[1, 3, 0, 2]
    assert crf.loss(emissions, tags, torch.tensor([4])).item() == pytest.approx(expected.item())


def test_a_loss_comes_down_with_finite_gradients_for_huge_emissions():
    crf = LinearChainCrf(*biluo_rules(biluo_tags(["A"])))
    emissions = torch.zeros(1, 3, 5)
    emissions[0, :, 2] = 500.0  # wants I-A throughout, which is illegal at both ends
    emissions.requires_grad_()
    loss = crf.loss(emissions, torch.tensor([[1, 2, 3]]), torch.tensor([3])).sum()
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(emissions.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in crf.parameters())


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 12))
def test_decoded_tags_are_legal_however_wild_the_emissions(seed, steps):
    tags = biluo_tags(["A", "B"])
    crf = LinearChainCrf(*biluo_rules(tags))
    emissions = 50 * torch.randn(2, steps, len(tags), generator=torch.Generator().manual_seed(seed))
    for row in crf.viterbi(emissions, torch.full((2,), steps)).tolist():
        opened = None
        for part, _, label in (tags[i].partition("-") for i in row):
            assert (part in "IL") == (opened is not None)
            assert opened in (None, label)
            opened = label if part in "BI" else None
        assert opened is None


def test_weights_are_multiplied_by_the_scale():
    crf = LinearChainCrf(torch.ones(2, 2), torch.ones(2), torch.ones(2), scale=10.0)
    crf.transitions.data[0, 1] = 0.5
    assert crf.weights()[0][0, 1] == 5.0
