"""``geomm-package``: what a package is, whether it is whole, and packages of earlier formats."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from geomm.cli import package as command
from geomm.packaging import load_package
from geomm.packaging.archive import FORMAT, SUMS, checksums, write_archive
from geomm.packaging.show import show_package
from geomm.packaging.verify import verify_package
from tests.packaging.test_package import members, model, package, spec  # noqa: F401


def rewritten(tmp_path, package, *, sums=True, **changes):  # noqa: F811
    """Write a package again with other members, and checksums that fit unless told otherwise."""
    content = members(package)
    for name, value in changes.items():
        content[{"emd": "model.emd", "mlm": "mlm.json", "weights": "weights.safetensors"}[name]] = value
    if sums:
        content.pop(SUMS)
        content[SUMS] = checksums(content)
    return write_archive(tmp_path / "again.dlpk", content)


def wrong(path):
    return {check.name: check.problem for check in verify_package(path) if check.problem is not None}


def test_a_package_is_described_in_lines(package):  # noqa: F811
    lines = dict(line.split(None, 1) for line in show_package(package).splitlines() if line[0] != " ")
    assert lines["task"] == "segmentation"
    assert lines["model"].startswith("UNetHead over test_efficientnet, ")
    assert lines["val"] == "mIoU 0.5" and "lr 0.001" in lines["training"]
    assert f"format {FORMAT}" in lines["package"] and "weights.safetensors" in lines["members"]
    assert "2 bands (red, nir), uint16" in show_package(package)
    assert "classes: 1 a, 2 b, 3 c" in show_package(package)


def test_its_count_of_numbers_is_the_models(package, model):  # noqa: F811
    count = sum(value.numel() for value in model.state_dict().values())
    assert f"{count:,} numbers" in show_package(package)


def test_checksums_are_those_of_the_members(package, tmp_path):  # noqa: F811
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK") == len(members(package)) - 1


def test_a_whole_package_is_right_in_all_parts(package, tmp_path):  # noqa: F811
    checks = verify_package(package)
    assert [check.name for check in checks] == [
        "members", "checksums", "model.emd", "mlm.json", "weights", "model",
    ]  # fmt: skip
    assert all(check.problem is None for check in checks)
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path)
    assert wrong(tmp_path) == {}


def test_a_member_that_was_changed_is_named(package, tmp_path):  # noqa: F811
    emd = json.loads(members(package)["model.emd"]) | {"ModelName": "other"}
    path = rewritten(tmp_path, package, sums=False, emd=json.dumps(emd).encode())
    assert wrong(path) == {
        "checksums": "model.emd: changed since it was saved; copy the package again",
        "model": "not built, as it is not what was saved",
    }
    content = members(package)
    write_archive(path, {**content, "extra.py": b"x"})
    assert "extra.py: added since" in wrong(path)["checksums"]
    del content["figures/curves.png"]
    write_archive(path, content)
    assert "figures/curves.png: taken out since" in wrong(path)["checksums"]


def test_descriptions_that_do_not_hold_are_named(package, tmp_path):  # noqa: F811
    emd = json.loads(members(package)["model.emd"])
    path = rewritten(tmp_path, package, emd=json.dumps({**emd, "InferenceFunction": "gone.py"}).encode())
    assert wrong(path) == {"model.emd": "InferenceFunction names 'gone.py', which is not in the package"}
    emd.pop("MinCellSize")
    assert "no MinCellSize" in wrong(rewritten(tmp_path, package, emd=json.dumps(emd).encode()))["model.emd"]
    item = json.loads(members(package)["mlm.json"])
    item["properties"]["mlm:input"][0]["input"]["shape"] = [1]
    assert (
        "other dimensions" in wrong(rewritten(tmp_path, package, mlm=json.dumps(item).encode()))["mlm.json"]
    )
    assert "is no STAC item" in wrong(rewritten(tmp_path, package, mlm=b"[]"))["mlm.json"]


def test_weights_that_do_not_fit_are_named(package, tmp_path, model):  # noqa: F811
    from safetensors.torch import save

    state = {key: value.clone() for key, value in model.state_dict().items()}
    name = next(key for key, value in state.items() if value.ndim == 4)
    cut = {**state, name: state[name][:1].clone()}
    found = wrong(rewritten(tmp_path, package, weights=save(cut)))
    assert found["model"].startswith(f"{name}: the weights hold (1, ")
    lost = {key: value for key, value in state.items() if key != name}
    assert (
        f"{name}: the weights hold nothing"
        in wrong(rewritten(tmp_path, package, weights=save(lost)))["model"]
    )
    broken = {**state, name: torch.full_like(state[name], float("nan"))}
    assert (
        f"{name} holds values that are no numbers"
        in wrong(rewritten(tmp_path, package, weights=save(broken)))["model"]
    )
    assert "not safetensors" in wrong(rewritten(tmp_path, package, weights=b"pickle"))["weights"]


def first_format(tmp_path, package):  # noqa: F811
    """Write the package as the first format had it."""
    content = members(package)
    emd = json.loads(content["model.emd"])
    for key in ("MinCellSize", "MaxCellSize", "ImageryType", "InferenceFunction"):
        emd.pop(key)
    emd["geomm"]["format"] = 1
    for key in ("scale", "object_px", "map_space", "class_pixels", "background"):
        emd["geomm"]["spec"].pop(key)
    item = json.loads(content["mlm.json"])
    item["properties"].pop("mlm:input")
    del content[SUMS]
    content |= {"model.emd": json.dumps(emd).encode(), "mlm.json": json.dumps(item).encode()}
    return write_archive(tmp_path / "first.dlpk", content)


def test_a_package_of_the_first_format_loads_and_predicts_the_same(package, tmp_path, model):  # noqa: F811
    old = load_package(first_format(tmp_path, package))
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 9, (1, 2, 64, 64)).astype(np.int32))
    valid = torch.ones((1, 64, 64), dtype=torch.bool)
    assert torch.equal(old.model.predict_scores(pixels, valid), model.predict_scores(pixels, valid))
    assert old.spec.scale == 1 and old.spec.map_space is True


def test_a_package_of_the_first_format_is_verified_as_such(package, tmp_path):  # noqa: F811
    path = first_format(tmp_path, package)
    assert wrong(path) == {}
    said = {check.name: check.said for check in verify_package(path)}
    assert said["checksums"] == "none: packages of format 1 had none"
    assert "format 1," in show_package(path)


def test_the_command_takes_bare_words(package, capsys):  # noqa: F811
    assert command(["show", str(package)]) == 0
    assert capsys.readouterr().out.startswith("package ")
    assert command(["verify", f"model={package}"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 6 and all(line.startswith("ok  ") for line in out)


def test_what_is_wrong_ends_with_status_1(package, tmp_path, capsys):  # noqa: F811
    path = rewritten(tmp_path, package, mlm=b"[]")
    assert command(["verify", str(path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: FAIL  mlm.json")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shew", "{}"], "command: found 'shew'; did you mean 'show'?"),
        (["export", "{}"], "output: a value is required and missing; give output=FOLDER"),
        (["show", "nowhere.dlpk"], "model: 'nowhere.dlpk' does not exist"),
        (["show"], "model: a value is required and missing"),
    ],
)
def test_mistakes_end_with_status_2(package, capsys, words, said):  # noqa: F811
    assert command([word.format(package) for word in words]) == 2
    assert said in capsys.readouterr().err


def test_it_exports_as_a_package_does(package, tmp_path, capsys):  # noqa: F811
    assert command(["export", str(package), "format=torchscript", f"output={tmp_path / 'out'}"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "model.pt")
    assert (tmp_path / "out" / "labels.txt").read_text().split() == ["a", "b", "c"]


def test_help_and_show_are_light(package, root):  # noqa: F811
    code = (
        "import sys\nfrom geomm.cli import package\n"
        f"package(['--help'])\npackage(['show', {str(package)!r}])\n"
        "print('HEAVY', sorted({'torch', 'rasterio', 'geopandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stderr
    assert "geomm-package: what a model package is" in done.stdout and "\ntask " in done.stdout
