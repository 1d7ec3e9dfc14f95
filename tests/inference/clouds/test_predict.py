"""Classified clouds: every point once, nothing else changed, whatever lies where."""

from functools import partial

import laspy
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geomm.datasets.clouds.collate import collate_points
from geomm.errors import ConfigError, DataError
from geomm.inference.clouds.predict import PointOptions, predict_clouds
from geomm.points import PointSpec
from geomm.structures import BandStatistics, make_classes
from tests.io.clouds import town, write_cloud

QUIET = {"device": "cpu", "progress": False, "preview": False, "on_error": "raise"}


def make_spec(features=("height_above_ground",), block_m=10.0, block_points=300):
    count = len(features)
    zeros, ones = (0.0,) * count, (1.0,) * count
    return PointSpec(
        features=features,
        statistics=BandStatistics(zeros, ones, zeros, ones, 10),
        classes=make_classes(["ground", "tree", "roof"], [2, 5, 6]),
        codes={2: 0, 5: 1, 6: 2},
        block_m=block_m,
        block_points=block_points,
        class_points=(5, 3, 2),
    )


def by_height(batch):
    """A pointwise model: ground below 1 m, then trees, roofs from 5.5 m."""
    height = batch["features"][:, -1]
    index = (height > 1).long() + (height > 5.5).long()
    return torch.nn.functional.one_hot(index, 3) * 0.8 + 0.2 / 3


def classify(path, folder, spec=None, score=by_height, **options):
    return predict_clouds(
        path,
        folder,
        collate=partial(collate_points),
        score=score,
        spec=spec or make_spec(),
        options=PointOptions(**{**QUIET, **options}),
        model_id="test",
    )


def same_but_codes(before, after):
    for name in before.point_format.dimension_names:
        if name != "classification":
            np.testing.assert_array_equal(np.asarray(before[name]), np.asarray(after[name]), err_msg=name)


@pytest.mark.parametrize("ending", ["las", "laz"])
@pytest.mark.parametrize("overlap", [0, 2.5])
def test_a_pointwise_model_gives_what_it_would_without_blocks(tmp_path, ending, overlap):
    xyz, codes = town()
    path = write_cloud(tmp_path / f"town.{ending}", xyz, codes=codes, point_format=6)
    report = classify(path, tmp_path / "out", overlap_m=overlap, region_points=1500)
    after = laspy.read(report.outputs[0])
    same_but_codes(laspy.read(path), after)
    # Heights are worked out from the cloud, so that the truth is met nearly everywhere.
    assert (np.asarray(after.classification) == codes).mean() > 0.93
    whole = laspy.read(classify(path, tmp_path / "whole", region_points=10**9).outputs[0])
    np.testing.assert_array_equal(whole.classification, after.classification)
    assert not list((tmp_path / "out").glob(".*"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_point_gets_a_class_in_its_place(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    count = data.draw(st.integers(1, 60))
    extent = data.draw(st.sampled_from([0.0, 0.001, 3.0, 90.0, 10_000.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    xyz = rng.uniform(0, 1, (count, 3)) * [extent, extent, min(extent, 50)] + [4e5, 5e6, 10]
    xyz[rng.random(count) < 0.3] = xyz[0]  # duplicates
    path = write_cloud(folder / "any.las", xyz)
    overlap = data.draw(st.sampled_from([0.0, 1.7, 6.0]))

    def by_place(batch):
        score = torch.zeros(len(batch["xyz"]), 3)
        score[:, 0] = 1
        score[torch.arange(len(score)), (batch["features"][:, 0] / 1000).long() % 3] += 2
        return score / score.sum(1, keepdim=True)

    spec = make_spec(("intensity",), block_points=7)
    report = classify(path, folder / "out", spec, by_place, overlap_m=overlap, region_points=20)
    before, after = laspy.read(path), laspy.read(report.outputs[0])
    same_but_codes(before, after)
    wanted = np.array([2, 5, 6])[(np.asarray(before.intensity) // 1000) % 3]
    np.testing.assert_array_equal(np.asarray(after.classification), wanted)
    assert report.amount == count


def test_an_empty_cloud_stays_one(tmp_path):
    path = write_cloud(tmp_path / "none.las", np.zeros((0, 3)))
    report = classify(path, tmp_path / "out")
    assert len(laspy.read(report.outputs[0])) == 0


def test_votes_are_the_same_however_the_cloud_is_cut_into_regions(tmp_path):
    xyz, codes = town(1)
    path = write_cloud(tmp_path / "town.laz", xyz, codes=codes)

    def by_block(batch):
        """A model whose answer for a point depends on its block."""
        return torch.stack([torch.sigmoid(batch["xyz"][:, i] + 0.1 * i) for i in range(3)], 1)

    seen = []
    for points in (300, 2000, 10**9):
        report = classify(path, tmp_path / str(points), None, by_block, region_points=points, confidence=True)
        seen.append(laspy.read(report.outputs[0]))
    for other in seen[1:]:
        # Blocks lie on one grid, whatever the regions.
        assert (np.asarray(other.classification) == np.asarray(seen[0].classification)).mean() > 0.999
        np.testing.assert_allclose(other["confidence"], seen[0]["confidence"], atol=1e-3)


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path):
    xyz, codes = town(2)
    path = write_cloud(tmp_path / "town.laz", xyz, codes=codes)
    expected = laspy.read(classify(path, tmp_path / "once", region_points=900).outputs[0])
    calls = []

    def failing(batch):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return by_height(batch)

    with pytest.raises(KeyboardInterrupt):
        classify(path, tmp_path / "out", score=failing, region_points=900)
    assert list((tmp_path / "out").glob("*.laz")) == []
    assert list((tmp_path / "out").glob(".*/result_*.bin"))
    again = []

    def counting(batch):
        again.append(1)
        return by_height(batch)

    report = classify(path, tmp_path / "out", score=counting, region_points=900)
    total = []
    classify(path, tmp_path / "all", score=lambda b: (total.append(1), by_height(b))[1], region_points=900)
    assert len(again) < len(total)
    np.testing.assert_array_equal(laspy.read(report.outputs[0]).classification, expected.classification)


def test_only_selected_classes_are_written_and_preserved_codes_stay(tmp_path):
    xyz, codes = town(3)
    old = np.where(codes == 2, 7, 1)
    path = write_cloud(tmp_path / "town.laz", xyz, codes=old)
    report = classify(path, tmp_path / "a", classes=["roof", 2], preserve=[7], remap={1: 3})
    after = np.asarray(laspy.read(report.outputs[0]).classification)
    assert (after[old == 7] == 7).all()
    assert set(np.unique(after[old == 1])) <= {3, 6, 2}
    assert 6 in after and 5 not in after


@pytest.mark.parametrize("preserve", [2, "ground", ["ground", 7]])
def test_a_class_or_code_alone_is_named_without_a_list(tmp_path, preserve):
    xyz, codes = town(3)
    path = write_cloud(tmp_path / "town.laz", xyz, codes=np.where(codes == 2, 2, 1))
    report = classify(path, tmp_path / "a", classes="roof", preserve=preserve)
    after = np.asarray(laspy.read(report.outputs[0]).classification)
    assert (after[codes == 2] == 2).all() and set(np.unique(after)) == {1, 2, 6}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"classes": ["rof"]}, "did you mean 'roof'"),
        ({"classes": "rof"}, "did you mean 'roof'"),
        ({"preserve": ["water"]}, "found 'water', expected a classification code, 0 to 255 or one of ground"),
        ({"preserve": -1}, "inference.preserve: found -1"),
        ({"remap": {1: 256}}, "inference.remap: found 256"),
        ({"remap": {"a": 2}}, "inference.remap: found 'a'"),
        ({"remap": [1, 2]}, "expected {old code: new code, …}"),
    ],
)
def test_options_that_do_not_hold_are_named(tmp_path, options, message):
    path = write_cloud(tmp_path / "town.laz", town(edge=5)[0])
    with pytest.raises(ConfigError, match=message):
        classify(path, tmp_path / "out", **options)


def test_points_outside_a_boundary_keep_their_codes(tmp_path):
    import geopandas
    from shapely.geometry import box

    xyz, _ = town(4)
    old = np.full(len(xyz), 1)
    path = write_cloud(tmp_path / "town.laz", xyz, codes=old)
    area = geopandas.GeoSeries([box(500000, 5000000, 500020, 5000040)], crs="EPSG:32632")
    area.to_crs(4326).to_file(tmp_path / "area.gpkg")
    report = classify(path, tmp_path / "out", boundary=str(tmp_path / "area.gpkg"))
    after = laspy.read(report.outputs[0])
    inside = np.asarray(after.x) < 500020
    codes = np.asarray(after.classification)
    assert (codes[~inside] == 1).all()
    assert (codes[inside] != 1).all()


def test_neighbouring_tiles_are_context(tmp_path):
    """A tile's roof without its ground: only the neighbour tells how high it is."""
    xyz, _ = town(5)
    (tmp_path / "in").mkdir()
    write_cloud(tmp_path / "in" / "west.laz", xyz[xyz[:, 0] < 500020])
    write_cloud(tmp_path / "in" / "east.laz", xyz[xyz[:, 0] >= 500020])
    seen = []

    def counting(batch):
        seen.append(len(batch["xyz"]))
        return by_height(batch)

    report = classify(tmp_path / "in", tmp_path / "with", score=counting)
    with_context = sum(seen)
    assert report.amount == len(xyz)
    seen.clear()
    classify(tmp_path / "in", tmp_path / "without", score=counting, neighbours=False)
    assert with_context > sum(seen)


def test_one_bad_file_fails_alone_and_earlier_results_are_no_inputs(tmp_path):
    xyz, _ = town(6, edge=15)
    write_cloud(tmp_path / "good.laz", xyz)
    whole = (tmp_path / "good.laz").read_bytes()
    (tmp_path / "cut.laz").write_bytes(whole[: len(whole) // 2])
    report = classify(tmp_path, tmp_path / "out", on_error="skip")
    assert [path.name for path in report.outputs] == ["good.laz"]
    assert "cut.laz" in report.failed[0][1] and "export it again" in report.failed[0][1]
    again = classify(tmp_path, tmp_path / "out", on_error="skip", skip_existing=True)
    assert len(again.skipped) == 1
    for skip in (False, True):
        with pytest.raises(DataError, match="its own place"):
            classify(tmp_path / "good.laz", tmp_path, skip_existing=skip)


def test_a_missing_dimension_is_named(tmp_path):
    path = write_cloud(tmp_path / "plain.las", town(edge=5)[0], point_format=1)
    with pytest.raises(DataError, match="has no dimension 'red'"):
        classify(path, tmp_path / "out", make_spec(("red",)))


def test_a_code_that_the_format_cannot_hold_is_refused_before_any_work(tmp_path):
    import dataclasses

    path = write_cloud(tmp_path / "old.las", town(edge=5)[0], point_format=1)
    spec = dataclasses.replace(make_spec(), classes=make_classes(["a", "b", "c"], [2, 5, 64]))
    with pytest.raises(DataError, match="codes 0 to 31, the model writes 64"):
        classify(path, tmp_path / "out", spec)
    with pytest.raises(DataError, match=r"codes 0 to 31, inference\.remap writes 64"):
        classify(path, tmp_path / "out", remap={1: 64})


def test_a_picture_shows_before_and_after(tmp_path):
    path = write_cloud(tmp_path / "town.laz", town(7, edge=15)[0])
    report = classify(path, tmp_path / "out", preview=True)
    assert [item.suffix for item in report.outputs] == [".laz", ".png"]
    assert report.outputs[1].stat().st_size > 5000


def test_the_config_lists_the_options_with_their_defaults():
    import dataclasses

    from geomm.config.options import inference_options

    assert inference_options({}, "point_cloud") == dataclasses.asdict(PointOptions())
    with pytest.raises(ConfigError, match="did you mean 'confidence'"):
        inference_options({"confidense": True}, "point_cloud")
    with pytest.raises(ConfigError, match="expected 0 to 9"):
        PointOptions(overlap_m=9.5).blocks(make_spec())


@pytest.mark.parametrize("wrong", ["zero", "half", "continent"])
def test_a_header_with_wrong_bounds_changes_nothing(tmp_path, wrong, caplog):
    xyz, codes = town()
    path = write_cloud(tmp_path / "town.las", xyz, codes=codes, point_format=6)
    true = laspy.read(classify(path, tmp_path / "true").outputs[0])
    write_bounds(path, wrong)
    found = laspy.read(classify(path, tmp_path / "out").outputs[0])
    np.testing.assert_array_equal(found.classification, true.classification)
    assert "its header's bounds" in caplog.text
    assert (found.header.maxs == laspy.read(path).header.maxs).all()  # the header stays as it was


def write_bounds(path, wrong):
    """Change the bounds in a LAS header (LAS 1.4 R15, table 3): max x, min x, max y, min y, max z, min z."""
    data = bytearray(path.read_bytes())
    bounds = np.frombuffer(bytes(data[179:227]), "<f8").copy()
    middle = (bounds[0::2] + bounds[1::2]) / 2
    if wrong == "zero":
        bounds[:] = 0
    elif wrong == "half":
        bounds[0::2] = middle
    else:
        bounds[0::2] += 1e6
    data[179:227] = bounds.tobytes()
    path.write_bytes(data)


def test_a_resumed_run_keeps_the_bounds_that_it_measured(tmp_path):
    xyz, codes = town()
    path = write_cloud(tmp_path / "town.las", xyz, codes=codes, point_format=6)
    write_bounds(path, "half")
    whole = laspy.read(classify(path, tmp_path / "whole", region_points=500).outputs[0])
    calls = []

    def breaking(batch):
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return by_height(batch)

    with pytest.raises(KeyboardInterrupt):
        classify(path, tmp_path / "out", score=breaking, region_points=500)
    resumed = laspy.read(classify(path, tmp_path / "out", region_points=500).outputs[0])
    np.testing.assert_array_equal(resumed.classification, whole.classification)
