import pytest

from geomm.errors import DataError
from geomm.io.paths import VECTOR_ENDINGS, database_driver, expand, is_connection

DATABASES = ("PG:dbname=x", "MSSQL:server=x", "MySQL:x,tables=y", "MYSQL:x", "OCI:x/y@z", "postgresql://x")


@pytest.fixture
def folder(tmp_path):
    for name in ("b.tif", "a.TIF", "deep/c.vrt", "notes.txt", ".hidden/d.tif", "a.tif.aux.xml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def names(found):
    return [path.replace("\\", "/").rpartition("/")[2] for path in found]


def test_a_file_is_itself(folder):
    assert expand(folder / "notes.txt") == [str(folder / "notes.txt")]


def test_a_folder_is_the_rasters_below_it_sorted_without_hidden_ones(folder):
    assert names(expand(folder)) == ["a.TIF", "b.tif", "c.vrt"]


def test_a_hidden_folder_that_is_named_is_read(folder):
    assert names(expand(folder / ".hidden")) == ["d.tif"]


def test_a_glob_is_what_it_matches_without_side_files(folder):
    assert names(expand(f"{folder}/*.tif*")) == ["b.tif"]
    assert names(expand(f"{folder}/**/*.vrt")) == ["c.vrt"]


def test_a_glob_that_matches_a_folder_is_what_lies_in_it(folder):
    assert names(expand(f"{folder}/de*")) == ["c.vrt"]


def test_a_list_keeps_its_order_and_holds_each_file_once(folder):
    given = [folder / "b.tif", str(folder / "a.TIF"), f"{folder}/*.tif", folder / "b.tif"]
    assert names(expand(given)) == ["b.tif", "a.TIF"]


def test_a_file_whose_name_looks_like_a_glob_is_found(tmp_path):
    (tmp_path / "scene[1].tif").write_bytes(b"")
    assert names(expand(tmp_path / "scene[1].tif")) == ["scene[1].tif"]


@pytest.mark.parametrize("remote", ["https://there/a.tif", "/vsis3/bucket/a.tif", "s3://b/a.tif", *DATABASES])
def test_remote_files_are_taken_as_they_are(remote):
    assert is_connection(remote) and expand(remote) == [remote]
    assert (database_driver(remote) is not None) == (remote in DATABASES)


def test_a_geodatabase_is_one_input_though_it_is_a_folder(tmp_path):
    (tmp_path / "labels.gdb").mkdir()
    assert expand(tmp_path / "labels.gdb") == [str(tmp_path / "labels.gdb")]
    assert names(expand(tmp_path, VECTOR_ENDINGS)) == ["labels.gdb"]


def test_what_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"none\.tif: there is no such file, folder or match"):
        expand(tmp_path / "none.tif")
    with pytest.raises(DataError, match=r"\*\.tif: there is no"):
        expand(f"{tmp_path}/*.tif")


def test_a_folder_without_rasters_is_an_error_that_lists_endings(tmp_path):
    with pytest.raises(DataError, match=r"no file in this folder ends in \.tif"):
        expand(tmp_path)
