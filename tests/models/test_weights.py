"""Weights files: what is read, what fits, what is refused."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from geomm.errors import DataError
from geomm.models.backbones import TimmBackbone
from geomm.models.weights import adapt_bands, count_shared, load_weights, read_weights


def make_net(bands=3):
    return nn.Sequential(nn.Conv2d(bands, 4, 3), nn.Conv2d(4, 2, 1))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.body."])
def test_tensors_survive_with_prefixes_taken_off(tmp_path, suffix, prefix):
    state = make_net().state_dict()
    path = str(tmp_path / f"net.{suffix}")
    named = {prefix + name: value for name, value in state.items()}
    save_file(named, path) if suffix == "safetensors" else torch.save(named, path)
    found = read_weights(path)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_trainers_checkpoint_is_opened(tmp_path, key):
    state = make_net().state_dict()
    path = str(tmp_path / "last.pth")
    torch.save({key: state, "epoch": 3}, path)
    assert read_weights(path).keys() == state.keys()


class Trap:
    def __reduce__(self):
        return print, ("code ran",)


def write_trap(path):
    torch.save({"weight": Trap()}, path)


def write_pickle(path):
    path.write_bytes(pickle.dumps({"weight": Trap()}))


def write_half(path):
    torch.save(make_net().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("trap.pth", write_trap),
        ("trap.pkl", write_pickle),
        ("half.pth", write_half),
        ("empty.pth", lambda path: path.write_bytes(b"")),
        ("text.safetensors", lambda path: path.write_text("not weights")),
        ("list.pth", lambda path: torch.save([1, 2], path)),
        ("missing.pth", lambda path: None),
        ("missing.safetensors", lambda path: None),
    ],
)
def test_a_file_that_is_no_weights_is_refused_in_one_line_and_runs_nothing(tmp_path, capsys, name, write):
    path = tmp_path / name
    write(path)
    with pytest.raises(DataError, match=rf"^backbone\.checkpoint: .*{name}") as caught:
        read_weights(str(path))
    assert "\n" not in str(caught.value)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 7])
def test_a_first_layer_sees_grey_imagery_as_before_in_any_number_of_bands(bands):
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    grey = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(1))
    adapted = adapt_bands(weight.mean(1, keepdim=True).expand(5, 3, 3, 3), bands)
    expected = nn.functional.conv2d(grey.expand(1, 3, 9, 9), weight)
    torch.testing.assert_close(nn.functional.conv2d(grey.expand(1, bands, 9, 9), adapted), expected)


def test_the_first_bands_keep_their_filters():
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(adapt_bands(weight, 4)[:, :3] * 4 / 3, weight)


def test_only_what_fits_is_loaded_and_the_first_layer_is_adapted():
    source, target = make_net(bands=3), make_net(bands=5)
    state = {**source.state_dict(), "1.bias": torch.zeros(9), "head.weight": torch.zeros(1)}
    before = target[1].bias.clone()
    assert load_weights(target, state, in_channels=5) == 3
    torch.testing.assert_close(target[0].weight, adapt_bands(source[0].weight, 5))
    assert torch.equal(target[1].weight, source[1].weight)
    assert torch.equal(target[1].bias, before)


def test_names_count_as_the_same_with_points_or_underscores():
    net = nn.ModuleDict({"stages_0": nn.Linear(1, 1), "model": nn.Linear(1, 1)})
    state = {"stages.0.weight": torch.ones(1), "weight": torch.ones(1)}
    assert count_shared(net, state) == 2


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
@pytest.mark.parametrize("bands", [3, 5])
def test_a_backbone_starts_from_weights_in_timms_own_layout(tmp_path, name, bands):
    import timm

    torch.manual_seed(1)
    theirs = timm.create_model(name, num_classes=1000)
    path = str(tmp_path / "published.safetensors")
    save_file(theirs.state_dict(), path)
    body = TimmBackbone(in_channels=bands, name=name, checkpoint=path).body
    own = {key.removeprefix("model.").replace(".", "_"): v for key, v in body.state_dict().items()}
    same = [
        torch.equal(own[key.replace(".", "_")], value)
        for key, value in theirs.state_dict().items()
        if key.replace(".", "_") in own
    ]
    assert len(same) == len(own)
    assert same.count(False) == (0 if bands == 3 else 1)


def test_a_backbone_starts_from_another_backbones_weights(tmp_path):
    torch.manual_seed(1)
    first = TimmBackbone(in_channels=4, name="test_convnext")
    path = str(tmp_path / "mine.pth")
    torch.save({f"backbone.{key}": value for key, value in first.state_dict().items()}, path)
    second = TimmBackbone(in_channels=4, name="test_convnext", checkpoint=path)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_weights_of_another_model_are_refused(tmp_path):
    path = str(tmp_path / "other.pth")
    torch.save(make_net().state_dict(), path)
    with pytest.raises(DataError, match=r"none of the \d+ tensors"):
        TimmBackbone(in_channels=3, name="test_resnet", checkpoint=path)


def test_weights_of_a_model_with_other_widths_are_refused(tmp_path):
    state = TimmBackbone(in_channels=3, name="test_resnet").body.state_dict()
    path = str(tmp_path / "wide.pth")
    torch.save(
        {key: value.repeat_interleave(2, 0) if value.ndim else value for key, value in state.items()}, path
    )
    with pytest.raises(DataError, match="does not fit test_resnet"):
        TimmBackbone(in_channels=3, name="test_resnet", checkpoint=path)
