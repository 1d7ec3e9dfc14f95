import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geomm.errors import DataError, MissingCRSError
from geomm.io.raster import RasterReader, read_info, same_crs
from geomm.io.raster_info import same_grid
from geomm.structures import IN_PIXELS, PixelWindow
from tests.io.common import CRS, grid, noise, write

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
WHOLE = PixelWindow(0, 0, 20, 20)


def quick(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


@st.composite
def rasters(draw):
    """Pixels, how they are written, and which of them are valid."""
    count, height, width = (draw(st.integers(1, n)) for n in (3, 23, 23))
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    pixels = rng.integers(0, 5, (count, height, width)).astype(dtype)
    valid, options = np.ones((height, width), bool), {}
    seen = rng.random((height, width)) < 0.7
    kind = draw(st.sampled_from(("all", "nodata", "alpha", "mask", "nan")))
    if kind == "nodata":
        options["nodata"] = 3
        valid = (pixels != 3).any(0)
    elif kind == "alpha":
        options["alpha"] = seen * 120
        valid = seen
    elif kind == "mask":
        options["mask"] = seen
        valid = seen
    elif kind == "nan" and dtype.startswith("float"):
        pixels[:, ~seen] = np.nan
        options["nodata"] = draw(st.sampled_from((None, np.nan)))
        valid = seen
    if draw(st.booleans()):
        options |= {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
    return pixels, valid, options


windows = st.builds(
    PixelWindow, st.integers(-30, 30), st.integers(-30, 30), st.integers(1, 40), st.integers(1, 40)
)


def cut(plane, window, fill):
    """What numpy would return of a window that may reach past the array."""
    around = np.pad(plane, [(0, 0)] * (plane.ndim - 2) + [(80, 80)] * 2, constant_values=fill)
    rows, cols = PixelWindow(window.col + 80, window.row + 80, window.width, window.height).slices
    return around[..., rows, cols]


@quick(150)
@given(raster=rasters(), where=st.lists(windows, min_size=1, max_size=4))
def test_any_window_of_any_raster_equals_numpy_slicing(tmp_path, raster, where):
    pixels, valid, options = raster
    path = write(tmp_path / "any.tif", pixels, **options)
    reader = RasterReader(path)
    for window in where:
        read, seen = reader.read(window)
        assert read.dtype == pixels.dtype
        np.testing.assert_array_equal(read, cut(pixels, window, 0))
        np.testing.assert_array_equal(seen, cut(valid, window, False))
    reader.close()


@quick(40)
@given(order=st.permutations([1, 2, 3]), count=st.integers(1, 3), window=windows)
def test_bands_come_in_the_order_asked_for(tmp_path, order, count, window):
    pixels = noise(17, 19, count=3)
    path = tmp_path / "bands.tif"
    if not path.exists():
        write(path, pixels)
    read, _ = RasterReader(path).read(window, order[:count])
    np.testing.assert_array_equal(read, cut(pixels[[b - 1 for b in order[:count]]], window, 0))


def test_one_band_with_data_makes_a_pixel_valid(tmp_path):
    pixels = noise(4, 4, count=2)
    pixels[0, 0, 0] = pixels[:, 1, 1] = 0
    reader = RasterReader(write(tmp_path / "a.tif", pixels, nodata=0))
    _, valid = reader.read(PixelWindow(0, 0, 4, 4))
    assert valid[0, 0] and not valid[1, 1]
    assert not reader.read(PixelWindow(0, 0, 4, 4), [1])[1][0, 0]


def test_a_nodata_value_that_the_dtype_cannot_hold_hides_nothing(tmp_path):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = tmp_path / "odd.vrt"
    source = write(tmp_path / "odd.tif", pixels)
    path.write_text(
        '<VRTDataset rasterXSize="16" rasterYSize="16"><VRTRasterBand dataType="Byte" band="1">'
        "<NoDataValue>-9999</NoDataValue><SimpleSource><SourceFilename>"
        f"{source}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    _, valid = RasterReader(path).read(PixelWindow(0, 0, 16, 16))
    assert valid.all()


def test_alpha_is_no_band_of_the_image(tmp_path):
    path = write(tmp_path / "a.tif", noise(5, 6, count=3), alpha=np.full((5, 6), 255))
    info = read_info(path)
    assert (info.count, info.alpha, info.image_bands) == (4, 4, (1, 2, 3))
    assert RasterReader(path).read(PixelWindow(0, 0, 6, 5))[0].shape == (3, 5, 6)


def test_the_header_says_size_names_pixel_edge_and_place(tmp_path):
    path = write(tmp_path / "a.tif", noise(5, 6, count=2, dtype="uint16"), nodata=0)
    with rasterio.open(path, "r+") as target:
        target.set_band_description(2, "nir")
    info = read_info(path)
    assert (info.width, info.height, info.dtype, info.nodata) == (6, 5, "uint16", 0)
    assert info.band_names == ("band_1", "nir") and info.gsd == 0.5
    assert same_crs(info.georeference.crs, CRS)
    assert info.georeference.transform == tuple(grid())[:6]


def test_a_file_written_again_is_read_again(tmp_path):
    path = write(tmp_path / "a.tif", noise(5, 6))
    assert read_info(path).width == 6
    path.unlink()
    write(path, noise(5, 9))
    import os

    os.utime(path, (1, 1))
    assert read_info(path).width == 9


def test_bands_are_named_or_numbered(tmp_path):
    path = write(tmp_path / "a.tif", noise(3, 3, count=3))
    with rasterio.open(path, "r+") as target:
        target.set_band_description(3, "nir")
    assert read_info(path).select_bands(["nir", 1, "2"]) == (3, 1, 2)
    assert read_info(path).select_bands(None) == (1, 2, 3)


@pytest.mark.parametrize("band", ["nri", 0, 4, -1, "9"])
def test_a_band_that_is_not_there_is_an_error_of_one_line(tmp_path, band):
    path = write(tmp_path / "a.tif", noise(3, 3, count=3))
    with rasterio.open(path, "r+") as target:
        target.set_band_description(3, "nir")
    with pytest.raises(DataError, match=f"a.tif: no band.*{band}") as caught:
        read_info(path).select_bands([band])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("band", [0, 3])
def test_reading_a_band_that_is_not_there_is_an_error_of_one_line(tmp_path, band):
    reader = RasterReader(write(tmp_path / "a.tif", noise(3, 3, count=2)))
    with pytest.raises(DataError, match=r"a\.tif.*no band") as caught:
        reader.read(PixelWindow(0, 0, 3, 3), [1, band])
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error_of_one_line(tmp_path):
    with pytest.raises(DataError, match="there is no such file") as caught:
        RasterReader(tmp_path / "none.tif")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"II*\x00", b"not a raster at all" * 20])
def test_a_file_that_is_no_raster_is_an_error_of_one_line(tmp_path, content):
    path = tmp_path / "bad.tif"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.tif cannot be opened as a raster") as caught:
        RasterReader(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compress", [None, "deflate", "lzw"])
def test_a_truncated_file_is_an_error_of_one_line(tmp_path, compress):
    path = write(tmp_path / "cut.tif", noise(300, 300), compress=compress)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut\.tif") as caught:
        RasterReader(path).read(PixelWindow(0, 0, 300, 300))
    assert "\n" not in str(caught.value)


def test_a_file_with_damaged_pixels_is_an_error_of_one_line(tmp_path):
    path = write(tmp_path / "bad.tif", noise(300, 300), compress="deflate")
    content = bytearray(path.read_bytes())
    content[20000:40000] = bytes(20000)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.tif.*damaged") as caught:
        RasterReader(path).read(PixelWindow(0, 0, 300, 300))
    assert "\n" not in str(caught.value)


def test_a_reader_is_pickled_with_its_handle_open(tmp_path):
    pixels = noise(20, 20)
    reader = RasterReader(write(tmp_path / "a.tif", pixels))
    reader.read(WHOLE)
    again = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(again.read(WHOLE)[0], pixels)


def test_threads_share_a_reader(tmp_path):
    pixels = noise(200, 200, count=2)
    reader = RasterReader(write(tmp_path / "a.tif", pixels, tiled=True, blockxsize=16, blockysize=16))
    rng = np.random.default_rng(0)
    where = [PixelWindow(int(c), int(r), 30, 30) for c, r in rng.integers(0, 170, (300, 2))]
    with ThreadPoolExecutor(8) as pool:
        for window, (read, valid) in zip(where, pool.map(reader.read, where), strict=True):
            np.testing.assert_array_equal(read, pixels[(..., *window.slices)])
            assert valid.all()


def test_a_closed_reader_opens_again(tmp_path):
    reader = RasterReader(write(tmp_path / "a.tif", noise(20, 20)))
    first, _ = reader.read(WHOLE)
    reader.close()
    np.testing.assert_array_equal(reader.read(WHOLE)[0], first)


def test_thousands_of_readers_hold_few_files_open(tmp_path, monkeypatch):
    monkeypatch.setattr("geomm.io.raster.MOST_OPEN", 5)
    source = write(tmp_path / "a.tif", noise(20, 20))
    readers = [RasterReader(source) for _ in range(40)]
    expected = readers[0].read(WHOLE)[0]
    for reader in [*readers, readers[0], readers[-1], readers[0]]:
        np.testing.assert_array_equal(reader.read(WHOLE)[0], expected)
    assert sum("dataset" in vars(reader._handles) for reader in readers) == 5


@quick(40)
@given(
    col=st.integers(-12, 12),
    row=st.integers(-12, 12),
    nodata=st.sampled_from([None, 7]),
    seed=st.integers(0, 5),
)
def test_on_a_shifted_grid_pixels_are_those_of_the_same_ground(tmp_path, col, row, nodata, seed):
    pixels = noise(20, 20, seed=seed)
    pixels[0, 3:5, 6:9] = 7
    source = write(tmp_path / "source.tif", pixels, nodata=nodata)
    like = read_info(write(tmp_path / "like.tif", noise(20, 20), transform=grid(col, row)))
    read, valid = RasterReader(source, like=like).read(WHOLE)
    expected = cut(pixels, PixelWindow(col, row, 20, 20), 0)
    known = np.ones((20, 20), bool) if nodata is None else pixels[0] != 7
    np.testing.assert_array_equal(valid, cut(known, PixelWindow(col, row, 20, 20), False))
    np.testing.assert_array_equal(read[0][valid], expected[0][valid])


def test_a_coarser_raster_is_read_by_nearest_pixel(tmp_path):
    coarse = noise(10, 10)
    source = write(tmp_path / "coarse.tif", coarse, transform=grid(gsd=1.0))
    like = read_info(write(tmp_path / "like.tif", noise(20, 20)))
    reader = RasterReader(source, like=like)
    assert (reader.info.width, reader.info.height) == (20, 20)
    read, valid = reader.read(WHOLE)
    np.testing.assert_array_equal(read[0], coarse[0].repeat(2, 0).repeat(2, 1))
    assert valid.all()


def test_a_raster_in_another_crs_is_reprojected_by_nearest_pixel(tmp_path):
    from rasterio.warp import calculate_default_transform, reproject

    blocks = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((10, 10))).astype(np.uint8)
    scene = write(tmp_path / "scene.tif", blocks)
    with rasterio.open(scene) as opened:
        transform, width, height = calculate_default_transform(
            opened.crs, "EPSG:4326", 40, 40, *opened.bounds, dst_width=90, dst_height=90
        )
    warped = np.zeros((height, width), np.uint8)
    reproject(
        blocks, warped, src_transform=grid(), src_crs=CRS, dst_transform=transform,
        dst_crs="EPSG:4326",
    )  # fmt: skip
    other = write(tmp_path / "other.tif", warped, crs="EPSG:4326", transform=transform, nodata=0)
    read, valid = RasterReader(other, like=read_info(scene)).read(PixelWindow(0, 0, 40, 40))
    assert valid[2:-2, 2:-2].all()
    assert (read[0] == blocks)[valid].mean() > 0.93
    assert set(np.unique(read[0][valid])) <= set(range(1, 17))


@pytest.mark.parametrize("kind", ["alpha", "mask"])
def test_what_alpha_or_a_mask_hides_is_hidden_on_another_grid_too(tmp_path, kind):
    seen = np.random.default_rng(1).random((20, 20)) < 0.5
    extra = {"alpha": seen * 255} if kind == "alpha" else {"mask": seen}
    source = write(tmp_path / "source.tif", noise(20, 20), **extra)
    like = read_info(write(tmp_path / "like.tif", noise(20, 20), transform=grid(3, -2)))
    _, valid = RasterReader(source, like=like).read(WHOLE)
    np.testing.assert_array_equal(valid, cut(seen, PixelWindow(3, -2, 20, 20), False))


def test_a_reader_on_another_grid_is_picklable(tmp_path):
    source = write(tmp_path / "source.tif", noise(20, 20))
    like = read_info(write(tmp_path / "like.tif", noise(20, 20), transform=grid(3, 3)))
    reader = RasterReader(source, like=like)
    first, _ = reader.read(WHOLE)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).read(WHOLE)[0], first)


def test_a_grid_shifted_by_a_pixel_far_from_the_origin_is_another_grid(tmp_path):
    pixels = noise(20, 20)
    source = write(tmp_path / "source.tif", pixels)
    like = read_info(write(tmp_path / "like.tif", pixels, transform=grid(1, 0)))
    read, _ = RasterReader(source, like=like).read(PixelWindow(0, 0, 19, 20))
    np.testing.assert_array_equal(read, pixels[..., 1:])


def test_without_a_crs_another_grid_cannot_be_found(tmp_path):
    source = write(tmp_path / "bare.tif", noise(10, 10), crs=None, transform=rasterio.Affine.scale(2))
    like = read_info(write(tmp_path / "like.tif", noise(20, 20)))
    with pytest.raises(MissingCRSError, match=r"bare\.tif.*like\.tif.*assign one"):
        RasterReader(source, like=like)


def test_without_a_crs_a_raster_of_the_same_size_is_taken_as_it_is(tmp_path):
    pixels = noise(20, 20)
    bare = write(tmp_path / "bare.tif", pixels, crs=None, transform=rasterio.Affine.identity())
    like = read_info(write(tmp_path / "like.tif", noise(20, 20)))
    np.testing.assert_array_equal(RasterReader(bare, like=like).read(WHOLE)[0], pixels)


def bare(path, *, left, gsd=2.0):
    transform = rasterio.Affine(gsd, 0, left, 0, -gsd, 80.0)
    return read_info(write(path, noise(20, 20), crs=None, transform=transform))


def test_world_files_alone_say_whether_grids_are_the_same(tmp_path):
    first, far = bare(tmp_path / "first.tif", left=100.0), bare(tmp_path / "far.tif", left=600.0)
    assert not same_grid(first, far) and not same_grid(far, first)
    assert not same_grid(first, bare(tmp_path / "next.tif", left=102.0))
    assert not same_grid(first, bare(tmp_path / "finer.tif", left=100.0, gsd=1.9))
    assert same_grid(first, bare(tmp_path / "again.tif", left=100.001))
    assert same_grid(first, bare(tmp_path / "middle.tif", left=101.0))
    with pytest.raises(MissingCRSError, match=r"first\.tif and .*far\.tif .* neither has a CRS"):
        RasterReader(first.path, like=far)


def test_a_plain_image_lies_where_a_raster_with_a_world_file_does(tmp_path):
    placed = bare(tmp_path / "placed.tif", left=100.0)
    path = write(tmp_path / "plain.tif", noise(20, 20), crs=None, transform=rasterio.Affine.identity())
    plain = read_info(path)
    assert plain.georeference == IN_PIXELS
    assert same_grid(placed, plain) and same_grid(plain, placed) and same_grid(plain, plain)


@pytest.mark.parametrize("longest", [10, 40, 500])
def test_an_overview_keeps_the_shape_and_what_is_valid(tmp_path, longest):
    pixels = noise(100, 50, count=2)
    pixels[:, :50] = 0
    reader = RasterReader(write(tmp_path / "a.tif", pixels, nodata=0))
    read, valid = reader.read_overview(longest, [2, 1])
    high = min(longest, 100)
    assert read.shape == (2, high, high // 2) and valid.shape == (high, high // 2)
    assert not valid[: high // 2].any() and valid[high // 2 :].all()


@pytest.mark.parametrize(("longest", "off"), [(10, 0.06), (256, 0)])
def test_the_valid_share_of_a_window_is_known_from_few_pixels(tmp_path, longest, off):
    pixels = noise(100, 50)
    pixels[:, 20:40, :] = 0
    reader = RasterReader(write(tmp_path / "a.tif", pixels, nodata=0))
    for window, share in (((0, 0, 50, 100), 0.8), ((5, 20, 9, 20), 0.0), ((40, 50, 20, 10), 0.5)):
        assert abs(reader.valid_share(PixelWindow(*window), longest_px=longest) - share) <= off + 1e-9
    assert reader.valid_share(PixelWindow(60, 0, 5, 5)) == 0


def test_only_marked_or_real_pixels_can_be_gaps(tmp_path):
    seen = np.ones((20, 20), bool)
    for number, options in enumerate(({"nodata": 0}, {"alpha": seen}, {"mask": seen})):
        assert read_info(write(tmp_path / f"{number}.tif", noise(20, 20), **options)).has_gaps
    assert not read_info(write(tmp_path / "whole.tif", noise(20, 20))).has_gaps
    assert read_info(write(tmp_path / "real.tif", noise(20, 20, dtype="float32"))).has_gaps


def test_codes_and_texts_of_one_crs_are_the_same():
    from pyproj import CRS as Crs

    assert same_crs("EPSG:32616", Crs.from_epsg(32616).to_wkt())
    assert not same_crs("EPSG:32616", "EPSG:32617")
