import pytest

from trainer.whole_files import write_whole


def test_parts_stand_one_after_the_other_and_nothing_else_is_left(tmp_path):
    write_whole(str(tmp_path / "file"), b"one ", b"two")
    assert (tmp_path / "file").read_bytes() == b"one two"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_older_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"older")
    with pytest.raises(TypeError):
        write_whole(str(path), b"half of", object())
    assert path.read_bytes() == b"older"
