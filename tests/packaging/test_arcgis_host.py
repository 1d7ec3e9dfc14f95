"""Packages' raster functions on whole scenes, called by a host as the contract says."""

import numpy as np
import pytest
import torch
from scipy.ndimage import find_objects, label

from geomm.datasets.pictures.crops import read_crop, whole_image
from geomm.packaging import save_package
from geomm.structures import ClassificationSpec, Objects
from geomm.tasks import Classification, Detection
from tests.datasets.common import write
from tests.models.common import composed, make_spec
from tests.models.objects.test_detector import LIGHT
from tests.packaging import host
from tests.packaging.test_package import model, package, spec  # noqa: F401


def save(folder, task, config, known):
    torch.manual_seed(0)
    built = task.build_model(config, known).eval()
    path = save_package(folder / "m.dlpk", model=built, config=config, spec=known, task=task, metrics={})
    return path, built


@pytest.mark.parametrize("as_text", [False, True])
def test_pixels_of_a_whole_scene(package, tmp_path, as_text):  # noqa: F811
    function, configuration = host.load(package, tmp_path, padding=32, as_text=as_text)
    # A model that looks at one pixel alone: then no tile may differ from the whole.
    function.package.model.predict_scores = lambda inputs, valid: torch.stack(
        [inputs[:, 0] - 4, inputs[:, 1] - 4, 3 - inputs[:, 0]], 1
    )
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 9, (3, 501, 333)).astype("u2")
    mask = rng.random((501, 333)) < 0.9
    values, shown = host.classify_pixels(function, configuration, scene, mask)
    whole = np.stack([scene[0] - 4.0, scene[1] - 4.0, 3.0 - scene[0]]).argmax(0) + 1
    np.testing.assert_array_equal(values, whole)
    np.testing.assert_array_equal(shown, mask)


def test_every_object_of_a_scene_is_found_once(tmp_path):
    config = composed(
        "task=detection", "head=retinanet", *LIGHT["retinanet"], "backbone=timm", "backbone.name=test_resnet"
    )
    path, _ = save(tmp_path, Detection(), config, make_spec(2))
    function, configuration = host.load(path, tmp_path / "there", padding=40, threshold="0.4")

    def detect(inputs, valid):
        """Find bright blobs, and be less sure of a second box around each."""
        blobs, _ = label(inputs[0, 0].numpy() * valid[0].numpy() > 0)
        boxes = [(s[1].start, s[0].start, s[1].stop, s[0].stop) for s in find_objects(blobs)]
        both = np.array([*boxes, *boxes], np.float32).reshape(-1, 4)
        scores = np.repeat(np.array([0.9, 0.3], np.float32), len(boxes))
        return [Objects(both, np.ones(len(both), np.int64), scores)]

    function.package.model.detect = detect
    scene, corners = np.zeros((2, 700, 450), "u2"), []
    for row in range(4, 680, 37):
        for col in range(4, 430, 41):
            scene[:, row : row + 18, col : col + 12] = 5
            corners.append((col, row, col + 12, row + 18))
    found = host.detect_objects(function, configuration, scene, np.ones((700, 450), bool))
    boxes = sorted((*outline.min(0), *outline.max(0)) for _, outline in found)
    assert boxes == sorted(corners)
    assert {attributes["Confidence"] for attributes, _ in found} == {90.0}


@pytest.fixture
def classifier(tmp_path):
    known = make_spec(3)
    known = ClassificationSpec(**{key: getattr(known, key) for key in known.__dataclass_fields__})
    config = composed("task=classification", "head=linear", "backbone=timm", "backbone.name=test_resnet")
    path, built = save(tmp_path, Classification(), config, known)
    return (*host.load(path, tmp_path / "there", batch_size=4), built, known)


def test_objects_are_named_as_geomm_does(classifier, tmp_path):
    function, configuration, built, known = classifier
    assert configuration["CropSizeFixed"] == 0 and configuration["extractBands"] == (0, 1, 2)
    rng = np.random.default_rng(0)
    sizes = [(64, 64), (128, 128), (40, 64), (64, 30), (32, 32)]
    chips = [rng.integers(0, 50, (3, *size)).astype("u1") for size in sizes]
    masks = [np.ones(chip.shape, "u1") for chip in chips]
    found = host.classify_objects(function, chips, masks)
    assert [item["OID"] for item in found] == [1, 2, 3, 4, 5]
    for number, (chip, item) in enumerate(zip(chips, found, strict=True)):
        write(tmp_path / f"{number}.tif", chip)
        sample = read_crop(whole_image(str(tmp_path / f"{number}.tif")), (1, 2, 3), 64, blackout=False)
        scores = built.predict_classes(
            torch.from_numpy(sample.image)[None], torch.from_numpy(sample.valid)[None]
        )
        best = known.classes[int(scores.argmax())]
        assert (item["Classname"], item["Classvalue"], item["Label"]) == (best.name, best.value, best.name)
        # Chips that are not resampled are the same to the last digit shown.
        same = max(chip.shape[1:]) == 64
        assert item["Confidence"] == pytest.approx(float(scores.max()) * 100, abs=0.011 if same else 2.0)


def test_what_is_masked_does_not_count(classifier):
    function, _, _, _ = classifier
    chips = [np.full((3, 64, 64), 1, "u1") for _ in range(2)]
    chips[1][:, :20] = 200
    masks = [np.ones((3, 64, 64), "u1") for _ in range(2)]
    for mask in masks:
        mask[:, :20] = 0
    one, two = host.classify_objects(function, chips, masks)
    assert {**one, "OID": 0} == {**two, "OID": 0}


@pytest.mark.parametrize("device", [-1, -2, None, "cpu"])
def test_the_hosts_numbers_of_devices(package, tmp_path, device):  # noqa: F811
    function, _ = host.load(package, tmp_path, device=device)
    assert function.device.type == ("cuda" if torch.cuda.is_available() and device == -2 else "cpu")
