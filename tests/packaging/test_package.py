"""The model package: a round trip, and what is refused."""

import json
import math
import zipfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from geomm.errors import PackageError
from geomm.packaging import load_package, open_archive, save_package
from geomm.packaging.archive import read_config, write_archive
from geomm.packaging.verify import verify_package
from geomm.structures import BandStatistics, RasterSpec, make_classes
from geomm.tasks import Segmentation

CONFIG = {
    "task": {"type": "Segmentation", "monitor": "mIoU"},
    "backbone": {"type": "TimmBackbone", "name": "test_efficientnet", "pretrained": False},
    "head": {"type": "UNetHead", "tasks": ["segmentation"], "channels": [8, 8, 8, 8, 8]},
    "loss": {"type": "CrossEntropyLoss"},
    "plugins": [],
}
METRICS = {"val": {"mIoU": 0.5, "IoU/a": 0.4}, "parameters": 10, "seconds": 1.0, "lr": 1e-3}


@pytest.fixture(scope="module")
def spec():
    statistics = BandStatistics((0.0,) * 2, (9.0,) * 2, (4.0, 5.0), (2.0, 3.0), 9)
    return RasterSpec(
        (1, 2), ("red", "nir"), "uint16", statistics, make_classes(["a", "b", "c"]), 64, gsd=0.5
    )


@pytest.fixture(scope="module")
def model(spec):
    torch.manual_seed(3)
    return Segmentation().build_model(CONFIG, spec).eval()


@pytest.fixture(scope="module")
def package(tmp_path_factory, spec, model):
    folder = tmp_path_factory.mktemp("package")
    (folder / "figures").mkdir()
    (folder / "figures" / "curves.png").write_bytes(b"png")
    return save_package(
        folder / "model.dlpk",
        model=model,
        config=CONFIG,
        spec=spec,
        task=Segmentation(),
        metrics=METRICS,
        figures=folder / "figures",
    )


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def changed(tmp_path, package, **changes):
    content = members(package)
    for name, value in changes.items():
        name = {"emd": "model.emd", "weights": "weights.safetensors", "config": "config.yaml"}[name]
        if value is None:
            del content[name]
        else:
            content[name] = value
    return write_archive(tmp_path / "changed.dlpk", content)


def test_a_loaded_package_predicts_the_same(package, model, spec):
    loaded = load_package(package)
    assert loaded.spec == spec
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 9, (1, 2, 40, 50)).astype(np.int32))
    valid = torch.ones((1, 40, 50), dtype=torch.bool)
    assert torch.equal(loaded.model.predict_scores(pixels, valid), model.predict_scores(pixels, valid))


def test_all_parts_are_there(package):
    names = set(members(package))
    assert {
        "model.emd",
        "weights.safetensors",
        "config.yaml",
        "mlm.json",
        "metrics.json",
        "README.md",
        "figures/curves.png",
    } <= names


def test_the_model_definition_has_what_arcgis_reads(package, spec):
    emd = json.loads(members(package)["model.emd"])
    assert emd["ModelType"] == "ImageClassification"
    assert emd["ImageHeight"] == emd["ImageWidth"] == 64
    assert emd["ExtractBands"] == [0, 1]
    assert emd["Classes"][1] == {"Value": 2, "Name": "b", "Color": list(spec.classes[1].color)}
    assert emd["NormalizationStats"]["band_mean_values"] == [4.0, 5.0]
    assert emd["IsMultispectral"] is True


def test_the_stac_item_describes_input_and_output(package):
    item = json.loads(members(package)["mlm.json"])
    assert item["type"] == "Feature"
    assert item["properties"]["mlm:tasks"] == ["semantic-segmentation"]
    assert item["properties"]["mlm:input"][0]["input"]["shape"] == [-1, 2, 64, 64]
    classes = item["properties"]["mlm:output"][0]["classification:classes"]
    assert [entry["value"] for entry in classes] == [1, 2, 3]


def test_the_same_model_gives_the_same_weights_and_definition(package, tmp_path, model, spec):
    again = save_package(
        tmp_path / "m.dlpk",
        model=model,
        config=CONFIG,
        spec=spec,
        task=Segmentation(),
        metrics=METRICS,
    )
    for name in ("weights.safetensors", "model.emd", "config.yaml"):
        assert members(again)[name] == members(package)[name]


def test_loading_fetches_and_reads_nothing_else(package, tmp_path):
    config = yaml.safe_load(members(package)["config.yaml"])
    config["backbone"] |= {"pretrained": True, "checkpoint": "/nowhere.pth"}
    load_package(changed(tmp_path, package, config=yaml.safe_dump(config).encode()))


def test_a_missing_file_names_what_is_there(package):
    with pytest.raises(PackageError, match=r"no model package at .*did you mean 'model.dlpk'"):
        load_package(package.parent / "modl.dlpk")


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    (tmp_path / "x.dlpk").write_text("hello")
    with pytest.raises(PackageError, match="not a readable model package"):
        load_package(tmp_path / "x.dlpk")


def test_a_truncated_package_is_refused(package, tmp_path):
    whole = package.read_bytes()
    (tmp_path / "x.dlpk").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PackageError, match="not a readable model package"):
        load_package(tmp_path / "x.dlpk")


def test_a_flipped_byte_is_noticed(package, tmp_path):
    whole = bytearray(package.read_bytes())
    place = whole.find(members(package)["weights.safetensors"][1000:1040])
    whole[place] ^= 1
    (tmp_path / "x.dlpk").write_bytes(whole)
    with pytest.raises(PackageError, match="damaged"):
        load_package(tmp_path / "x.dlpk")


def test_any_damaged_byte_is_one_line_or_harmless(tmp_path):
    definition = json.dumps({"geomm": {"format": 2, "task": "segmentation"}}).encode()
    content = {"model.emd": definition, "weights.safetensors": b"weights", "config.yaml": b"a: [1, 2]\n" * 4}
    path = write_archive(tmp_path / "x.dlpk", content)
    whole = path.read_bytes()
    refused = 0
    # Flipping the lowest bit makes an encrypted member of one that is not.
    for place, (bits, read) in product(range(len(whole)), ((0x01, open_archive), (0xFF, read_config))):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
        try:
            read(path)
        except PackageError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100


def test_a_member_that_was_damaged_later_is_named(package, tmp_path):
    path = tmp_path / "x.dlpk"
    path.write_bytes(package.read_bytes())
    archive = open_archive(path)
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as opened:
        start = opened.getinfo("README.md").header_offset
    whole[start + 60 : start + 80] = bytes(20)
    path.write_bytes(whole)
    with pytest.raises(PackageError, match=r"README.md cannot be read \(.*copy the package again"):
        archive.read("README.md")
    with pytest.raises(PackageError, match=r"has no nothing\.md"):
        archive.read("nothing.md")


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil", "a/../../evil", "C:\\evil", "..\\evil"])
def test_members_that_leave_the_package_are_refused(package, tmp_path, name):
    path = write_archive(tmp_path / "x.dlpk", {**members(package), name: b"x"})
    with pytest.raises(PackageError, match="points outside the package"):
        load_package(path)


@pytest.mark.parametrize("part", ["emd", "weights", "config"])
def test_a_missing_member_is_named(package, tmp_path, part):
    with pytest.raises(PackageError, match="missing "):
        load_package(changed(tmp_path, package, **{part: None}))


def test_pickles_are_refused(package, tmp_path):
    content = members(package)
    content["model.pth"] = content.pop("weights.safetensors")
    path = write_archive(tmp_path / "x.dlpk", content)
    with pytest.raises(PackageError, match="as a pickle"):
        load_package(path)


def test_pickled_bytes_under_the_weights_name_are_refused(package, tmp_path):
    import pickle

    path = changed(tmp_path, package, weights=pickle.dumps({"a": 1}))
    with pytest.raises(PackageError, match="not safetensors"):
        load_package(path)


def test_a_package_of_arcgis_learn_is_recognised(tmp_path):
    path = write_archive(tmp_path / "x.dlpk", {"unet.emd": b"{}", "unet.pth": b"x"})
    with pytest.raises(PackageError, match=r"pickle|not written by geomm"):
        load_package(path)


def test_a_newer_format_says_what_to_do(package, tmp_path):
    emd = json.loads(members(package)["model.emd"])
    emd["geomm"]["format"] = 99
    with pytest.raises(PackageError, match="upgrade"):
        open_archive(changed(tmp_path, package, emd=json.dumps(emd).encode()))


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b"\xff\xfe"])
def test_a_broken_definition_is_one_line(package, tmp_path, text):
    with pytest.raises(PackageError) as caught:
        load_package(changed(tmp_path, package, emd=text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"a: [", b"- 1", b"!!python/object/apply:os.system ['true']"])
def test_a_broken_config_is_one_line_and_runs_nothing(package, tmp_path, text):
    with pytest.raises(PackageError) as caught:
        load_package(changed(tmp_path, package, config=text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ("task", {"type": "pathlib.Path.touch", "self": "{here}"}),
        ("head", {"type": "pathlib.Path.touch", "self": "{here}"}),
        ("loss", {"type": "os.makedirs", "name": "{here}"}),
        ("loss", [{"type": "geomm.CrossEntropyLoss"}, {"type": "os.makedirs", "name": "{here}"}]),
        ("backbone", {"type": "os.makedirs", "name": "{here}"}),
        (
            "backbone",
            {"type": "mmseg.ResNet", "depth": 18, "norm_cfg": {"type": "os.makedirs", "name": "{here}"}},
        ),
        ("head", {"type": "mmengine.load", "file": "{pickle}"}),
        ("backbone", {"type": "mmseg.ResNet", "depth": 18, "pretrained": "{pickle}"}),
        (
            "backbone",
            {
                "type": "mmseg.ResNet",
                "depth": 18,
                "init_cfg": {"type": "Pretrained", "checkpoint": "{pickle}"},
            },
        ),
    ],
)
def test_a_config_builds_registered_classes_alone(package, tmp_path, part, what):
    """Whoever wrote the package: nothing that a name means is called, and no pickle is read."""
    import pickle

    class Touch:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "weights.pkl").write_bytes(pickle.dumps({"state_dict": Touch()}))
    text = json.dumps({**yaml.safe_load(members(package)["config.yaml"]), part: what})
    text = text.replace("{here}", str(tmp_path / "ran")).replace("{pickle}", str(tmp_path / "weights.pkl"))
    with pytest.raises(PackageError) as caught:
        load_package(changed(tmp_path, package, config=text.encode()))
    assert not (tmp_path / "ran").exists() and "\n" not in str(caught.value)
    checks = verify_package(changed(tmp_path, package, config=text.encode()))
    assert not (tmp_path / "ran").exists()
    assert [check.name for check in checks if check.problem] == ["checksums", "model"]


def test_a_detector_of_a_config_file_needs_and_runs_no_file(tmp_path, spec):
    from geomm.models.objects.wiring import published_folder
    from geomm.tasks import Detection
    from tests.models.common import composed

    pytest.importorskip("mmdet")
    file = tmp_path / "own_fcos.py"
    from mmengine.config import Config

    published = Config.fromfile(published_folder() / "fcos" / "fcos_r50-caffe_fpn_gn-head_1x_coco.py")
    file.write_text(f"model = {published.model.to_dict()!r}")
    changes = [
        "task=detection",
        "backbone=resnet18",
        "head=mmdet",
        "head.type=mmdet.FCOS",
        f"head.config={file}",
    ]
    config = composed(*changes, "dataset=geotiff", "dataset.images=a.tif", "dataset.labels=b.gpkg")
    task = Detection()
    model = task.build_model(config, spec).eval()
    kept = save_package(tmp_path / "f.dlpk", model=model, config=config, spec=spec, task=task, metrics={})
    file.write_text(f"from pathlib import Path; Path({str(tmp_path / 'ran')!r}).touch()")
    again = load_package(kept).model
    pixels = torch.rand(1, 2, 64, 64) * 9
    with torch.no_grad():
        one, other = (each(pixels, torch.ones(1, 64, 64, dtype=torch.bool)) for each in (model, again))
    assert all(torch.equal(a, b) for a, b in zip(flat(one), flat(other), strict=True)) and len(flat(one))
    run = yaml.safe_load(members(kept)["config.yaml"])
    named = yaml.safe_dump({**run, "head": {"type": "mmdet.FCOS", "config": str(file)}}).encode()
    with pytest.raises(PackageError, match="a package runs no file"):
        load_package(changed(tmp_path, kept, config=named))
    assert not (tmp_path / "ran").exists()


def flat(outputs):
    """Return the tensors in lists of lists."""
    return [outputs] if torch.is_tensor(outputs) else [tensor for part in outputs for tensor in flat(part)]


def test_what_is_let_alone_while_a_package_is_built_comes_back(package):
    import os

    from mmengine.config import Config
    from mmengine.registry import registry

    before = registry.get_object_from_string, Config.fromfile, os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    load_package(package)
    after = registry.get_object_from_string, Config.fromfile, os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    assert before == after


def test_json_has_no_words_that_there_are_not(tmp_path, model, spec, package):
    task, run = load_package(package).task, yaml.safe_load(members(package)["config.yaml"])
    metrics = {"val": {"mIoU": 0.5, "IoU/roof": math.nan}}
    kept = save_package(
        tmp_path / "p.dlpk",
        model=model,
        config=run,
        spec=replace(spec, nodata=math.nan),
        task=task,
        metrics=metrics,
    )

    def refuse(word):
        raise AssertionError(word)

    parsed = {
        name: json.loads(text, parse_constant=refuse)
        for name, text in members(kept).items()
        if name.endswith((".emd", ".json"))
    }
    assert parsed["metrics.json"]["val"] == {"mIoU": 0.5, "IoU/roof": None}
    assert math.isnan(load_package(kept).spec.nodata)


def test_weights_of_another_model_are_refused(package, tmp_path, spec):
    config = yaml.safe_load(members(package)["config.yaml"])
    config["head"]["channels"] = [4, 4, 4, 4, 4]
    with pytest.raises(PackageError, match="do not fit its config"):
        load_package(changed(tmp_path, package, config=yaml.safe_dump(config).encode()))


def test_an_unknown_type_names_the_plugins_it_was_trained_with(package, tmp_path):
    config = yaml.safe_load(members(package)["config.yaml"])
    config |= {"plugins": ["their_plugin"], "head": {"type": "TheirHead"}}
    with pytest.raises(PackageError, match=r"plugins=\['their_plugin'\]: give the same"):
        load_package(changed(tmp_path, package, config=yaml.safe_dump(config).encode()))


def test_an_installed_plugin_that_is_gone_is_named(package, tmp_path, monkeypatch, model, spec):
    import geomm.packaging.package as packaging
    from geomm.packaging.show import show_package

    run = yaml.safe_load(members(package)["config.yaml"])
    task = load_package(package).task
    monkeypatch.setattr(packaging, "installed_plugins", lambda: ("geomm.models", "another_plugin"))
    kept = save_package(tmp_path / "p.dlpk", model=model, config=run, spec=spec, task=task, metrics={})
    assert json.loads(members(kept)["model.emd"])["geomm"]["plugins"] == ["geomm.models"]
    assert "plugins   geomm.models\n" in show_package(kept)
    monkeypatch.setattr(packaging, "installed_plugins", lambda: ())
    config = yaml.safe_dump({**run, "head": {"type": "TheirHead"}}).encode()
    with pytest.raises(PackageError, match=r"it needs the plugin geomm\.models: install the package that"):
        load_package(changed(tmp_path, kept, config=config))


def test_a_new_process_needs_the_file_alone(package, tmp_path):
    import os
    import subprocess
    import sys

    moved = tmp_path / "elsewhere.dlpk"
    moved.write_bytes(package.read_bytes())
    code = f"import geomm; print(geomm.load({str(moved)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    assert "UNetHead over test_efficientnet" in done.stdout, done.stderr


def test_an_unknown_option_of_predict_names_the_nearest(package):
    from geomm.errors import ConfigError

    with pytest.raises(ConfigError, match=r"inference\.polygon: unknown option; did you mean 'polygons'"):
        load_package(package).predict("x.tif", output="o", polygon=True)


def test_what_a_model_needs_beside_its_weights_travels_with_it(tmp_path, package, monkeypatch):
    from geomm.models.maps.segmentor import Segmentor

    taken = []
    monkeypatch.setattr(Segmentor, "package_files", lambda self: {"words/list.txt": b"a b"}, raising=False)
    monkeypatch.setattr(
        Segmentor, "load_package_files", lambda self, files: taken.append(dict(files)), raising=False
    )
    first = load_package(package)
    again = save_package(
        tmp_path / "again.dlpk",
        model=first.model,
        config=first.config,
        spec=first.spec,
        task=first.task,
        metrics={},
    )
    second = load_package(again)
    assert taken == [{}, {"words/list.txt": b"a b"}]
    assert second.model_id != first.model_id


def test_the_options_of_inference_are_those_of_the_packages_task(package, tmp_path):
    from geomm.config.options import with_task_options

    given = [f"model={package}", "input=a.tif"]
    assert with_task_options(given) == [*given, "inference=segmentation"]
    assert with_task_options([*given, "inference=raster"]) == [*given, "inference=raster"]
    lost = [f"model={tmp_path / 'none.dlpk'}"]
    assert with_task_options(lost) == lost
