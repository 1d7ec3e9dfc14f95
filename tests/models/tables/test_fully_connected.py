"""The fully connected network: shapes, what it learns, intervals, and arguments that do not hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geomm.errors import ConfigError
from geomm.models.tables.fully_connected import FullyConnected
from geomm.structures import make_classes
from geomm.transforms.columns import Column
from geomm.transforms.table import Encoded, TableSpec, Target

COLUMNS = (
    Column("a", "number", means=(0.0,), stds=(1.0,)),
    Column("b", "number", missing=True, means=(0.0,), stds=(1.0,)),
    Column("c", "category", categories=("x", "y", "z")),
)
REGRESSION = TableSpec(COLUMNS, (Target("t", "none", 10.0, 2.0), Target("u", "log", 0.0, 1.0)))
CLASSES = TableSpec(COLUMNS, (Target("t"),), make_classes(["p", "q", "r"]), (80, 15, 5))


def rows(count, seed=0):
    rng = np.random.default_rng(seed)
    return Encoded(rng.normal(size=(count, 3)).astype(np.float32), rng.integers(0, 5, (count, 1)))


def tensors(encoded):
    return torch.from_numpy(encoded.numbers), torch.from_numpy(encoded.categories)


@pytest.mark.parametrize("spec, outputs", [(REGRESSION, 2), (CLASSES, 3)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm": "batch", "dropout": [0.1, 0.0]},
        {"embedding": 3, "activation": "gelu"},
        {"members": 3, "norm": "batch", "dropout": 0.1, "embedding_dropout": 0.1},
    ],
)
def test_a_score_for_every_output(spec, outputs, options):
    model = FullyConnected(spec=spec, layers=[8, 4], **options).eval()
    assert model(*tensors(rows(7))).shape == (7, outputs)
    learnt = model.predict_learnt(rows(7))
    assert learnt.shape == (7, outputs) and learnt.dtype == np.float32
    if spec.classes:
        np.testing.assert_allclose(learnt.sum(1), 1, rtol=1e-5)
    assert model.predict_learnt(rows(0)).shape == (0, outputs)


@pytest.mark.parametrize("loss", ["mse", "huber", "mae", "cross_entropy", "focal"])
def test_every_loss_goes_down(loss):
    torch.manual_seed(0)
    spec = REGRESSION if loss in ("mse", "huber", "mae") else CLASSES
    model = FullyConnected(spec=spec, layers=[32], loss=loss, class_weight="auto" if spec.classes else None)
    numbers, categories = tensors(rows(256))
    target = (
        numbers[:, :2] if not spec.classes else (numbers[:, 0] > 0).long() + (categories[:, 0] > 3).long()
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        value = model(numbers, categories, target, mode="loss")["loss"]
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.4 * losses[0]


def one_of(model, number):
    """Return one member as a network by itself."""
    options = {"layers": [6], "norm": "batch", "embedding": 2}
    alone = FullyConnected(spec=model.spec, **options)
    linear, norm = model.layers[0], model.layers[2].norm
    state = {
        "embeddings.0.weight": model.embeddings[0].weight[:, 2 * number : 2 * number + 2],
        "layers.0.weight": linear.weight[number].T,
        "layers.0.bias": linear.bias[number, 0],
        "layers.3.weight": model.layers[3].weight[number].T,
        "layers.3.bias": model.layers[3].bias[number, 0],
    }
    for name in ("weight", "bias", "running_mean", "running_var"):
        state[f"layers.2.{name}"] = getattr(norm, name)[6 * number : 6 * number + 6]
    alone.load_state_dict(state, strict=False)
    return alone


@pytest.mark.parametrize("spec", [REGRESSION, CLASSES], ids=["regression", "classes"])
def test_members_are_networks_of_their_own_whose_answers_are_averaged(spec):
    torch.manual_seed(2)
    model = FullyConnected(spec=spec, layers=[6], norm="batch", embedding=2, members=3)
    numbers, categories = tensors(rows(32))
    target = (numbers[:, 0] > 0).long() if spec.classes else numbers[:, :2]
    alone = [one_of(model, number) for number in range(3)]
    loss = model(numbers, categories, target, mode="loss")["loss"]
    losses = [one(numbers, categories, target, mode="loss")["loss"] for one in alone]
    torch.testing.assert_close(loss, sum(losses) / 3)
    loss.backward()
    for number, own in enumerate(losses):
        own.backward()  # each learns as fast as if it were alone
        torch.testing.assert_close(model.layers[0].weight.grad[number].T, alone[number].layers[0].weight.grad)
    learnt = [one_of(model, number).eval().predict_learnt(rows(9, seed=1)) for number in range(3)]
    np.testing.assert_allclose(model.eval().predict_learnt(rows(9, seed=1)), np.mean(learnt, 0), atol=1e-5)


@pytest.mark.parametrize(("count", "members"), [(0, 1), (200, 8), (20_000, 8), (20_001, 1)])
def test_small_tables_get_several_members(count, members):
    model = FullyConnected(spec=replace(REGRESSION, rows=count), members="auto")
    assert model.members == members


def test_an_evaluation_is_in_the_targets_own_units():
    model = FullyConnected(spec=REGRESSION, layers=[4]).eval()
    encoded = rows(5)
    target = torch.zeros(5, 2)
    (found,) = model(*tensors(encoded), target, torch.arange(5), mode="predict")
    np.testing.assert_allclose(found["target"], np.tile([10.0, 1.0], (5, 1)))
    learnt = model.predict_learnt(encoded)
    own = np.stack([learnt[:, 0] * 2 + 10, np.exp(learnt[:, 1])], 1)
    np.testing.assert_allclose(found["prediction"], own, rtol=1e-5)
    np.testing.assert_allclose(found["errors"], np.abs(learnt), rtol=1e-6)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_an_interval_holds_its_share_of_new_rows(coverage):
    rng = np.random.default_rng(3)
    model = FullyConnected(spec=REGRESSION, layers=[4])
    model.learn_spread(np.abs(rng.normal(size=(1500, 2))))
    learnt = np.zeros((4000, 2), np.float32)
    low, high = model.interval(learnt, coverage)
    truth = REGRESSION.decode(rng.normal(size=(4000, 2)))
    held = ((low <= truth) & (truth <= high)).mean(0)
    np.testing.assert_allclose(held, coverage, atol=0.04)


def test_batches_of_prediction_change_nothing(monkeypatch):
    from geomm.models.tables import network as table_network

    model = FullyConnected(spec=CLASSES, layers=[8]).eval()
    whole = model.predict_learnt(rows(100))
    monkeypatch.setitem(table_network._CHUNK, "cpu", 7)
    np.testing.assert_allclose(model.predict_learnt(rows(100)), whole, atol=1e-6)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"activation": "rleu"}, "head.activation.*did you mean 'relu'"),
        ({"norm": "layer"}, "head.norm"),
        ({"loss": "cross_entropy"}, "head.loss: found 'cross_entropy' for a regression"),
        ({"layers": [8, 0]}, "head.layers: found 0"),
        ({"dropout": [0.1]}, "1 numbers for 2 layers"),
        ({"embedding": 0}, "head.embedding"),
        ({"members": 0}, "head.members: found 0, expected auto or a whole number from 1"),
    ],
)
def test_arguments_that_do_not_hold_are_named(options, said):
    with pytest.raises(ConfigError, match=said):
        FullyConnected(**{"spec": REGRESSION, "layers": [4, 4], **options})


def test_class_weights_are_counted():
    with pytest.raises(ConfigError, match="2 numbers for 3 classes"):
        FullyConnected(spec=CLASSES, class_weight=[1, 2])
    weight = FullyConnected(spec=CLASSES, class_weight="auto").class_weight
    assert weight[0] < weight[1] < weight[2] and weight.mean() == pytest.approx(1)
