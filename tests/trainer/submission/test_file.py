"""Writing and reading submissions."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.submission.errors import SubmissionError
from trainer.submission.file import (
    insert_missing,
    read_submission,
    write_submission,
)

COLUMNS = {"id_column": "Id", "label_column": "Category"}
cells = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=8)


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(cells, cells, min_size=1, max_size=8))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("round") / "submission.csv"
    write_submission(path, list(rows), list(rows.values()), **COLUMNS)
    submission = read_submission(path)
    assert submission.header == ("Id", "Category")
    assert dict(zip(submission.ids, submission.labels, strict=True)) == rows


def test_file_has_the_bytes_the_competition_wants(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "submission.csv"
    write_submission(path, ["b.jpg", "a.jpg"], ["0", "9"], **COLUMNS)
    assert path.read_bytes() == b"Id,Category\nb.jpg,0\na.jpg,9\n"
    assert list(path.parent.iterdir()) == [path]


def test_failed_write_keeps_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "submission.csv"
    write_submission(path, ["a"], ["0"], **COLUMNS)

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_submission(path, ["b"], ["1"], **COLUMNS)
    assert read_submission(path).ids == ("a",)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("ids", "labels"), [([], []), (["a"], []), (["a", "a"], ["0", "1"])])
def test_incomplete_predictions_are_not_written(
    tmp_path: Path, ids: list[str], labels: list[str]
) -> None:
    with pytest.raises(SubmissionError, match="every id once"):
        write_submission(tmp_path / "submission.csv", ids, labels, **COLUMNS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 lines"),
        (b"Id,Category\n", "1 lines"),
        (b"Id\n1\n", "1 columns"),
        (b"Id,Category\n1,0,7\n", "row 2 has 3 cells"),
        (b"Id,Category\n1,0\n2\n", "row 3 has 1 cells"),
        (b'Id,Category\n"1,0\n', "no CSV"),
        (b"PK\x03\x04\xff\xfe", "archive"),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "submission.csv"
    path.write_bytes(content)
    with pytest.raises(SubmissionError, match=words):
        read_submission(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="not there"):
        read_submission(tmp_path / "submission.csv")


def test_byte_order_mark_and_windows_line_ends_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_bytes(b"\xef\xbb\xbfId,Category\r\n1,0\r\n\r\n")
    assert read_submission(path).header == ("Id", "Category")
    assert read_submission(path).rows == (("1", "0"),)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_rows_without_a_photo_return_to_their_place(present: list[bool]) -> None:
    sample = [f"{index}.jpg" for index in range(len(present))]
    ids = [name for name, there in zip(sample, present, strict=True) if there]
    missing = [
        (i, n) for i, (n, there) in enumerate(zip(sample, present, strict=True)) if not there
    ]
    all_ids, all_labels = insert_missing(ids, ["1"] * len(ids), missing[::-1], "0")
    assert all_ids == sample
    assert all_labels == ["1" if there else "0" for there in present]
