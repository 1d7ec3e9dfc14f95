from geomm.inference.work import file_stamps, fingerprint, open_work


def test_a_folder_is_kept_for_the_same_mark_and_thrown_away_for_another(tmp_path):
    work = tmp_path / "a" / ".work"
    open_work(work, "one", resume=True)
    (work / "part").touch()
    open_work(work, "one", resume=True)
    assert (work / "part").exists()
    open_work(work, "two", resume=True)
    assert not (work / "part").exists()
    (work / "part").touch()
    open_work(work, "two", resume=False)
    assert not (work / "part").exists()


def test_a_mark_changes_with_what_it_is_made_of(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("one")
    before = fingerprint(file_stamps([file, "http://somewhere/b.tif"]), {"k": 1})
    assert before == fingerprint(file_stamps([file, "http://somewhere/b.tif"]), {"k": 1})
    file.write_text("three")
    assert before != fingerprint(file_stamps([file, "http://somewhere/b.tif"]), {"k": 1})
