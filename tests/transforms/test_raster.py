import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.registry import TRANSFORMS
from geomm.structures import IGNORE_INDEX, Georeference, Objects, RasterSample
from geomm.transforms import (
    Compose,
    GaussianNoise,
    RandomFlip,
    RandomQuarterTurn,
    RandomRadiometry,
    RandomZoom,
)

TRANSFORMS.import_from_location()
#: Every transform of windows that geomm registers, by name; those of points have a contract of their own.
OURS = {
    name: cls
    for name, cls in TRANSFORMS.module_dict.items()
    if cls.__module__ in ("geomm.transforms.raster", "geomm.transforms.degrade")
}
#: Those that move pixels, at full strength; the others change values.
MOVING = (
    RandomFlip(probability=0.7),
    RandomFlip(probability=0.7, vertical=False),
    RandomQuarterTurn(),
    RandomZoom(probability=1.0, most=2.5),
)
CHANGING = (RandomRadiometry(gain=0.5, offset=0.5), GaussianNoise(probability=1.0, most=0.5))
steady = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)
sizes = st.integers(1, 15)


def objects(boxes, masks=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Objects(boxes, np.arange(len(boxes)), masks=masks, ignored=np.zeros(len(boxes), bool))


def located(height, width):
    """A sample each of whose planes says in its values where a pixel came from."""
    places = np.arange(height * width).reshape(height, width)
    return RasterSample(
        image=np.stack([places, places + 1000, places * 2]).astype(np.int32),
        valid=places % 3 != 0,
        mask=(places % 7).astype(np.uint8),
        georeference=Georeference("EPSG:32616", (0.5, 0, 7e5, 0, -0.5, 3e6)),
        name="made",
        extras={
            "target": places[None].astype(np.float32),
            "objects": objects([[0, 0, 1, 1], [0, 0, width, height]]),
            "id": 7,
        },
    )


def noisy(height, width, *, seed=0, dtype="uint16"):
    rng = np.random.default_rng(seed)
    image = rng.integers(1, 4000, (3, height, width)).astype(dtype)
    valid = rng.random((height, width)) < 0.7
    mask = rng.choice([0, 1, IGNORE_INDEX], (height, width)).astype(np.uint8)
    return RasterSample(image, valid, mask, name="made")


def of(transform):
    return type(transform).__name__


@steady
@pytest.mark.parametrize("transform", MOVING, ids=of)
@given(height=sizes, width=sizes, seed=seeds)
def test_image_mask_and_validity_stay_together(transform, height, width, seed):
    before = located(height, width)
    after = transform(before, np.random.default_rng(seed))
    places = after.image[0]
    assert after.image.shape == before.image.shape and after.image.dtype == before.image.dtype
    assert np.isin(places, before.image[0]).all()
    np.testing.assert_array_equal(after.image[1], places + 1000)
    np.testing.assert_array_equal(after.image[2], places * 2)
    np.testing.assert_array_equal(after.valid, places % 3 != 0)
    np.testing.assert_array_equal(after.mask, places % 7)
    np.testing.assert_array_equal(after.extras["target"][0], places)
    assert len(after.extras["objects"]) <= 2 and after.extras["id"] == 7


@steady
@pytest.mark.parametrize("transform", MOVING[:3], ids=of)
@given(height=sizes, width=sizes, seed=seeds)
def test_flips_and_turns_keep_every_pixel(transform, height, width, seed):
    before = located(height, width)
    after = transform(before, np.random.default_rng(seed))
    np.testing.assert_array_equal(np.sort(after.image[0], None), before.image[0].ravel())


@steady
@given(height=sizes, width=sizes, seed=seeds, most=st.floats(1, 4))
def test_a_zoom_is_a_part_of_the_window_in_order(height, width, seed, most):
    zoom = RandomZoom(most=most, probability=1.0)
    after = zoom(located(height, width), np.random.default_rng(seed)).image[0]
    rows, cols = np.divmod(after, width)
    assert (rows == rows[:, :1]).all() and (cols == cols[:1]).all()
    for line, size in ((rows[:, 0], height), (cols[0], width)):
        steps = np.diff(line)
        assert ((steps == 0) | (steps == 1)).all()
        assert len(np.unique(line)) >= int(size / most)


@steady
@pytest.mark.parametrize("transform", CHANGING, ids=of)
@given(height=sizes, width=sizes, seed=seeds, dtype=st.sampled_from(["uint8", "uint16", "float32"]))
def test_radiometry_leaves_labels_and_invalid_pixels_alone(transform, height, width, seed, dtype):
    before = noisy(height, width, seed=seed, dtype=dtype)
    after = transform(before, np.random.default_rng(seed))
    out = ~before.valid
    np.testing.assert_array_equal(after.image[:, out], before.image[:, out])
    np.testing.assert_array_equal(after.valid, before.valid)
    np.testing.assert_array_equal(after.mask, before.mask)
    assert after.image.shape == before.image.shape and np.isfinite(after.image).all()


@pytest.mark.parametrize("transform", CHANGING, ids=of)
def test_radiometry_changes_valid_pixels_a_little(transform):
    before = noisy(40, 40)
    after = transform(before, np.random.default_rng(3))
    change = np.abs(after.image - before.image)[:, before.valid]
    spread = before.image[:, before.valid].std()
    assert 0 < change.mean() < spread and after.image.dtype == np.float32


@pytest.mark.parametrize("transform", CHANGING, ids=of)
def test_pixels_that_are_not_a_number_do_not_spread(transform):
    sample = noisy(20, 20, dtype="float32")
    sample.image[:, ~sample.valid] = np.nan
    after = transform(sample, np.random.default_rng(0))
    assert np.isfinite(after.image[:, sample.valid]).all()
    assert np.isnan(after.image[:, ~sample.valid]).all()


@pytest.mark.parametrize("transform", (*MOVING, *CHANGING), ids=of)
def test_a_window_without_a_valid_pixel_goes_through(transform):
    sample = noisy(6, 6)
    sample.valid[:] = False
    after = transform(sample, np.random.default_rng(0))
    assert not after.valid.any() and np.isfinite(after.image).all()


def test_gain_and_offset_are_limits():
    """Contrast changes by at most a gain, level by at most an offset in standard deviations."""
    sample = noisy(60, 60)
    inside = sample.image[:, sample.valid].astype(float)
    mean, std = inside.mean(1), inside.std(1)
    for seed in range(30):
        after = RandomRadiometry(gain=0.2, offset=0.3)(sample, np.random.default_rng(seed))
        changed = after.image[:, sample.valid].astype(float)
        assert (np.abs(changed.std(1) / std - 1) <= 0.2 + 1e-4).all()
        assert (np.abs(changed.mean(1) - mean) <= 0.3 * std + 1e-2).all()


def test_a_flip_of_photos_is_never_upside_down():
    flip, before = RandomFlip(probability=1.0, vertical=False), located(4, 5)
    after = flip(before, np.random.default_rng(0))
    np.testing.assert_array_equal(after.image, before.image[..., ::-1])


def test_all_eight_orientations_come_up():
    both, before, seen = (RandomFlip(), RandomQuarterTurn()), located(3, 3), set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        seen.add(both[1](both[0](before, rng), rng).image[0].tobytes())
    assert len(seen) == 8


def test_windows_that_are_not_square_keep_their_shape():
    for seed in range(20):
        after = RandomQuarterTurn()(located(4, 6), np.random.default_rng(seed))
        assert after.image.shape == (3, 4, 6)


@steady
@pytest.mark.parametrize("transform", MOVING, ids=of)
@given(height=sizes, width=sizes, seed=seeds)
def test_the_georeference_says_where_each_pixel_lies(transform, height, width, seed):
    before = located(height, width)
    after = transform(before, np.random.default_rng(seed))
    assert after.georeference.crs == before.georeference.crs
    rows, cols = np.mgrid[:height, :width] + 0.5
    a, b, c, d, e, f = after.georeference.transform
    x, y = a * cols + b * rows + c, d * cols + e * rows + f
    a, _, c, _, e, f = before.georeference.transform
    old_cols, old_rows = np.floor((x - c) / a), np.floor((y - f) / e)
    np.testing.assert_array_equal(after.image[0], old_rows * width + old_cols)


@steady
@pytest.mark.parametrize("transform", MOVING[:3], ids=of)
@given(height=sizes, width=sizes, seed=seeds, data=st.data())
def test_a_box_stays_around_its_pixels(transform, height, width, seed, data):
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    before = located(height, width)
    inside = np.zeros((height, width), np.uint8)
    inside[top:bottom, left:right] = 1
    before.mask = inside
    before.extras["objects"] = objects([[left, top, right, bottom]], masks=inside[None] > 0)
    after = transform(before, np.random.default_rng(seed))
    moved = after.extras["objects"]
    left, top, right, bottom = moved.boxes[0].round().astype(int)
    expected = np.zeros_like(after.mask)
    expected[top:bottom, left:right] = 1
    np.testing.assert_array_equal(after.mask, expected)
    np.testing.assert_array_equal(moved.masks[0], after.mask > 0)
    assert not moved.ignored.any()


@steady
@given(height=st.integers(8, 24), width=st.integers(8, 24), seed=seeds, data=st.data())
def test_objects_that_a_zoom_pushes_out_are_ignored_or_dropped(height, width, seed, data):
    top, left = data.draw(st.integers(0, height - 3)), data.draw(st.integers(0, width - 3))
    bottom, right = data.draw(st.integers(top + 2, height)), data.draw(st.integers(left + 2, width))
    before = located(height, width)
    box = np.array([left, top, right, bottom], float)
    before.extras["objects"] = objects([box])
    after = RandomZoom(probability=1.0, most=3.0)(before, np.random.default_rng(seed))
    zoom = before.georeference.transform[0] / after.georeference.transform[0]
    corner = np.array([after.georeference.transform[2] - 7e5, 3e6 - after.georeference.transform[5]]) / 0.5
    part = np.array([*corner, *(corner + np.array([width, height]) / zoom)])
    edges = np.minimum(box[2:], part[2:]) - np.maximum(box[:2], part[:2])
    share = np.clip(edges, 0, None).prod() / (box[2:] - box[:2]).prod()
    moved = after.extras["objects"]
    if share < 1e-3:
        assert len(moved) <= 1
        return
    assert len(moved) == 1
    if abs(share - 0.5) > 1e-3:
        assert moved.ignored[0] == (share < 0.5)
    seen = (np.clip(box, np.tile(part[:2], 2), np.tile(part[2:], 2)) - np.tile(corner, 2)) * zoom
    np.testing.assert_allclose(moved.boxes[0], seen, atol=1e-3)


def test_a_zoomed_box_is_larger_by_the_zoom():
    before = located(12, 12)
    before.extras["objects"] = objects([[5.0, 5.0, 6.0, 7.0]])
    after = RandomZoom(probability=1.0, most=2.0)(before, np.random.default_rng(3))
    zoom = before.georeference.transform[0] / after.georeference.transform[0]
    left, top, right, bottom = after.extras["objects"].boxes[0]
    assert 1 < zoom <= 2
    np.testing.assert_allclose([right - left, bottom - top], [zoom, 2 * zoom], rtol=1e-5)


def test_a_sample_without_boxes_or_place_moves_too():
    before = located(4, 4)
    before.georeference, before.extras["objects"] = None, objects(np.zeros((0, 4)))
    after = RandomFlip(probability=1.0)(before, np.random.default_rng(0))
    assert after.georeference is None and after.extras["objects"].boxes.shape == (0, 4)


def build(name):
    return Compose({"one": {"type": name}}, scale=1).transforms[0]


def sample_for(name, **options):
    sample = noisy(12, 12, **options)
    if name == "JpegCompression":  # takes bytes
        sample.image = sample.image // 16
    return sample


@pytest.mark.parametrize("name", sorted(OURS))
class TestContract:
    """What the registry promises of every transform of geomm."""

    def test_it_is_built_by_name_with_its_defaults(self, name):
        (made,) = Compose({"one": {"type": name}}, scale=1).transforms
        assert type(made) is OURS[name] and OURS[name].__doc__

    @pytest.mark.parametrize("mask", [True, False])
    def test_it_returns_a_sample_of_the_same_shape(self, name, mask):
        for seed in range(8):
            sample = sample_for(name, seed=seed)
            sample.mask = sample.mask if mask else None
            after = build(name)(sample, np.random.default_rng(seed))
            assert after.image.shape == (3, 12, 12) and after.valid.shape == (12, 12)
            assert after.valid.dtype == bool and after.name == "made"
            assert (after.mask is not None) == mask
            if mask:
                assert after.mask.dtype == np.uint8 and after.mask.shape == (12, 12)

    def test_it_depends_on_the_generator_alone(self, name):
        made, samples = build(name), []
        for _ in range(2):
            np.random.seed(len(samples))
            made(sample_for(name), np.random.default_rng(1))
            samples.append(made(sample_for(name), np.random.default_rng(5)))
        np.testing.assert_array_equal(samples[0].image, samples[1].image)
        np.testing.assert_array_equal(samples[0].mask, samples[1].mask)

    def test_it_does_not_change_the_sample_it_is_given(self, name):
        for seed in range(8):
            sample = sample_for(name)
            kept = copy.deepcopy(sample)
            build(name)(sample, np.random.default_rng(seed))
            np.testing.assert_array_equal(sample.image, kept.image)
            np.testing.assert_array_equal(sample.valid, kept.valid)
            np.testing.assert_array_equal(sample.mask, kept.mask)

    def test_it_invents_no_label(self, name):
        for seed in range(8):
            sample = sample_for(name)
            after = build(name)(sample, np.random.default_rng(seed))
            assert set(np.unique(after.mask)) <= {0, 1, IGNORE_INDEX}

    def test_its_arrays_can_become_tensors(self, name):
        import torch

        for seed in range(8):
            after = build(name)(sample_for(name), np.random.default_rng(seed))
            for plane in (after.image.astype(np.float32), after.valid, after.mask):
                torch.from_numpy(plane)
