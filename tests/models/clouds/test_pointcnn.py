"""Point networks: one contract for all of them, and X-Conv against its plain definition."""

import numpy as np
import pytest
import torch

from geomm.errors import ConfigError
from geomm.models.clouds.neighbours import PyramidPlan, Search, build_pyramid
from geomm.models.clouds.ops import _Elu, _mix_at_once, _MixNeighbours
from geomm.models.clouds.pointcnn import PointCNN, XConv
from geomm.models.clouds.segmentor import PointSegmentor
from geomm.points import HEIGHT, PointSpec
from geomm.structures import IGNORE_INDEX, BandStatistics, make_classes

SMALL = {
    "PointCNN": {"out_channels": [8, 16], "P": [-1, 16], "K": [4, 4], "D": [1, 2]},
    "PointNet2": {"out_channels": [8, 16], "P": [32, 8], "K": [4, 4]},
}
SPEC = PointSpec(
    ("intensity", HEIGHT),
    BandStatistics((0.0, 0.0), (9.0, 9.0), (4.0, 2.0), (2.0, 0.0), 9),
    make_classes(["a", "b", "c"]),
    {1: 0, 2: 1, 3: 2},
    10.0,
    64,
    (1, 2, 3),
)


def batch(sizes, plan=None, seed=0):
    rng = np.random.default_rng(seed)
    xyz = [rng.uniform(-5, 5, (n, 3)).astype(np.float32) for n in sizes]
    data = {
        "xyz": torch.from_numpy(np.concatenate(xyz)),
        "features": torch.from_numpy(rng.uniform(0, 9, (sum(sizes), 2)).astype(np.float32)),
        "labels": torch.from_numpy(rng.integers(0, 3, sum(sizes))),
        "counts": list(sizes),
        "name": [""] * len(sizes),
    }
    if plan is not None:
        data["pyramid"] = build_pyramid(xyz, plan).to_dict()
    return data


def model_of(name, loss="CrossEntropyLoss"):
    torch.manual_seed(0)
    return PointSegmentor(head={"type": name, **SMALL[name]}, loss={"type": loss}, spec=SPEC)


@pytest.mark.parametrize("name", SMALL)
def test_it_learns_in_mixed_precision(name):
    losses = []
    for enabled in (True, False):
        model = model_of(name)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = sum(model(**batch((60, 40), model.plan), mode="loss").values())
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize("mixed", [False, True])
def test_neighbours_are_mixed_alike_by_tiles_and_at_once(mixed):
    """By tiles is a CPU's way, at once a GPU's."""
    rng = torch.Generator().manual_seed(0)
    shapes = (9, 4, 4), (9, 4, 3), (20, 5), (4, 8, 2)
    transform, lifted, features, kernel = (torch.randn(shape, generator=rng) for shape in shapes)
    neighbours = torch.randint(0, 20, (9, 4), generator=rng)
    results = []
    for mix in (_MixNeighbours.apply, _mix_at_once):
        leaves = [t.clone().requires_grad_() for t in (transform, lifted, features, kernel)]
        x, up, feats, weights = leaves
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            out = mix(x, up, feats.bfloat16() if mixed else feats, neighbours, weights)
        out.float().square().sum().backward()
        results.append([out.float().detach(), *(leaf.grad for leaf in leaves)])
    tolerance = {"rtol": 0.05, "atol": 0.5} if mixed else {"rtol": 1e-4, "atol": 1e-4}
    for tiled, whole in zip(*results, strict=True):
        torch.testing.assert_close(tiled, whole, **tolerance)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("sizes", [(50,), (1,), (40, 1, 9), (2, 3)])
def test_it_trains_and_predicts_whatever_the_sizes(name, sizes):
    model = model_of(name)
    data = batch(sizes, model.plan)
    loss = sum(model(**data, mode="loss").values())
    loss.backward()
    assert torch.isfinite(loss)
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads and all(torch.isfinite(g).all() for g in grads)
    model.eval()
    found = model(**data, mode="predict")
    assert [len(item["prediction"]) for item in found] == list(sizes)
    scores = model.predict_scores(data)
    torch.testing.assert_close(scores.sum(1), torch.ones(sum(sizes)))


@pytest.mark.parametrize("name", SMALL)
def test_samples_of_a_batch_do_not_see_each_other(name):
    model = model_of(name).eval()
    together = model.predict_scores(batch((30, 20), model.plan))
    data = batch((30, 20))
    alone = []
    for part in (slice(0, 30), slice(30, 50)):
        xyz = data["xyz"][part]
        pyramid = build_pyramid([xyz.numpy()], model.plan).to_dict()
        one = {"xyz": xyz, "features": data["features"][part], "counts": [len(xyz)], "pyramid": pyramid}
        alone.append(model.predict_scores(one))
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_it_finds_neighbours_itself_where_none_are_given(name):
    model = model_of(name).eval()
    assert model.predict_scores(batch((30, 20))).shape == (50, 3)


@pytest.mark.parametrize("name", SMALL)
def test_it_learns_a_rule_of_heights(name):
    model = model_of(name)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(60):
        data = batch((60,), model.plan, seed=step)
        data["labels"] = (data["features"][:, 1] / 3.001).long()
        optimizer.zero_grad()
        sum(model(**data, mode="loss").values()).backward()
        optimizer.step()
    data = batch((200,), model.plan, seed=999)
    truth = (data["features"][:, 1] / 3.001).long()
    assert (model.eval().predict_scores(data).argmax(1) == truth).float().mean() > 0.8


def test_unlabelled_points_do_not_count():
    model = model_of("PointCNN").eval()
    data = batch((40,), model.plan)
    data["labels"][:30] = IGNORE_INDEX
    first = model(**data, mode="loss")["loss_crossentropy"]
    scores = model(**data, mode="tensor")[30:]
    expected = torch.nn.functional.cross_entropy(scores, data["labels"][30:])
    torch.testing.assert_close(first, expected)


def test_an_x_conv_is_what_the_paper_says():
    torch.manual_seed(1)
    layer = XConv(5, 12, 4).double().eval()
    points = np.random.default_rng(0).random((20, 3)).astype(np.float32)
    neighbours = build_pyramid([points], PyramidPlan((-1,), (Search(0, 1, 4),))).neighbours[0]
    xyz, features = torch.from_numpy(points).double(), torch.randn(20, 5).double()
    found = layer(xyz, xyz, features, neighbours)
    for row in range(20):
        local = xyz[neighbours[row]] - xyz[row]
        joined = torch.cat([layer.lift(local), features[neighbours[row]]], 1)
        moved = layer.transform(local[None])[0] @ joined
        mixed = torch.einsum("kc,kcm->cm", moved, layer.depthwise).reshape(1, -1)
        torch.testing.assert_close(layer.pointwise(mixed)[0], found[row])


def test_the_fused_parts_have_the_gradients_of_their_definition(monkeypatch):
    monkeypatch.setattr("geomm.models.clouds.ops._CACHE_NUMBERS", 64)  # several tiles
    torch.manual_seed(0)
    kind = {"dtype": torch.float64, "requires_grad": True}
    parts = [torch.randn(70, 3, 3, **kind), torch.randn(70, 3, 2, **kind), torch.randn(9, 4, **kind)]
    neighbours, kernel = torch.randint(0, 9, (70, 3)), torch.randn(3, 6, 2, **kind)
    gathered = parts[2][neighbours.reshape(-1)].view(70, 3, 4)
    plain = torch.einsum("nkj,njc,kcm->ncm", parts[0], torch.cat([parts[1], gathered], 2), kernel)
    found = _MixNeighbours.apply(*parts, neighbours, kernel)
    torch.testing.assert_close(found, plain)
    weight = torch.randn_like(plain)
    inputs = [*parts, kernel]
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((plain * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    x = torch.randn(30, **kind)
    torch.testing.assert_close(_Elu.apply(x), torch.nn.functional.elu(x))
    assert torch.autograd.gradcheck(_Elu.apply, (x,))


def test_layers_of_unequal_number_are_named():
    with pytest.raises(ConfigError, match="K has 3"):
        PointCNN(in_channels=3, num_classes=2, out_channels=[8], P=[-1], K=[4, 4, 4], D=[1])
    with pytest.raises(ConfigError, match="decoder_K: found 1"):
        PointCNN(
            in_channels=3, num_classes=2, out_channels=[8, 8], P=[-1, 4], K=[4, 4], D=[1, 1], decoder_K=[3]
        )
