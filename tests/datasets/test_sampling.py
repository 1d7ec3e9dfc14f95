import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.datasets.sampling import EpochSampler

steady = settings(max_examples=50, deadline=None, derandomize=True)
counts = st.integers(1, 60)


def sampler(count, **options):
    return EpochSampler(range(count), **{"shuffle": True, "seed": 0, **options})


@steady
@given(counts, st.integers(0, 9), st.integers(0, 99))
def test_every_position_comes_once_an_epoch(count, epoch, seed):
    made = sampler(count, seed=seed)
    made.set_epoch(epoch)
    assert sorted(made) == list(range(epoch * count, (epoch + 1) * count))
    assert len(made) == count


@steady
@given(counts, st.integers(1, 6), st.integers(0, 5))
def test_ranks_share_an_epoch_in_equal_parts(count, world, epoch):
    parts = []
    for rank in range(world):
        made = sampler(count, rank=rank, world_size=world)
        made.set_epoch(epoch)
        parts.append(list(made))
        assert len(parts[-1]) == len(made)
    together = [index for part in parts for index in part]
    assert len({len(part) for part in parts}) == 1
    assert set(together) == set(range(epoch * count, (epoch + 1) * count))
    assert len(together) - count < world


@steady
@given(counts, st.integers(0, 5))
def test_a_resumed_run_goes_on_with_the_same_order(count, epoch):
    whole = sampler(count)
    orders = []
    for number in range(epoch + 1):
        whole.set_epoch(number)
        orders.append(list(whole))
    resumed = sampler(count)
    resumed.set_epoch(epoch)
    assert list(resumed) == orders[-1]


def test_each_epoch_and_seed_has_an_order_of_its_own():
    made, orders = sampler(50), set()
    for epoch in range(4):
        made.set_epoch(epoch)
        orders.add(tuple(index % 50 for index in made))
    orders.add(tuple(sampler(50, seed=1)))
    assert len(orders) == 5


@pytest.mark.parametrize("epoch", [0, 3])
def test_without_shuffling_the_order_is_that_of_the_dataset(epoch):
    made = sampler(5, shuffle=False)
    made.set_epoch(epoch)
    assert list(made) == [0, 1, 2, 3, 4]


@steady
@given(counts, st.integers(1, 6))
def test_to_evaluate_each_sample_comes_once_over_all_ranks(count, world):
    parts = [sampler(count, shuffle=False, rank=rank, world_size=world) for rank in range(world)]
    assert sorted(index for part in parts for index in part) == list(range(count))
    assert all(len(part) == len(list(part)) for part in parts)


def test_an_empty_dataset_has_no_samples():
    made = sampler(0, world_size=2)
    assert list(made) == [] and len(made) == 0
