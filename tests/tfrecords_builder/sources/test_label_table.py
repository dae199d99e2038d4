"""Tables of labels: what Kaggle and spreadsheets write is read, everything else is refused."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecords_builder.sources.label_table import LabelTable, load_label_table
from tfrecords_builder.sources.photo_files import SourceError


def load(folder: Path, content: bytes) -> LabelTable:
    path = folder / "train.csv"
    path.write_bytes(content)
    return load_label_table(str(path), id_column="Id", label_column="Category")


@pytest.mark.parametrize(
    "content",
    [
        b"Id,Category\n1.jpg,a\n2.jpg,b\n",
        b"Id,Category\r\n1.jpg,a\r\n2.jpg,b\r\n",
        b"\xef\xbb\xbfId,Category\n1.jpg,a\n2.jpg,b",
        b'"Id","Category"\n"1.jpg","a"\n"2.jpg","b"\n',
        b"category,note,id\na,x,1.jpg\nb,,2.jpg\n\n",
    ],
)
def test_all_ways_to_write_the_same_table(tmp_path: Path, content: bytes) -> None:
    table = load(tmp_path, content)
    assert (table.ids, table.labels) == (("1.jpg", "2.jpg"), ("a", "b"))


def test_quoted_commas_belong_to_the_field(tmp_path: Path) -> None:
    assert load(tmp_path, b'Id,Category\n"a, b.jpg","x ""y"""\n').labels == ('x "y"',)


def test_column_names_are_kept_as_written(tmp_path: Path) -> None:
    table = load(tmp_path, b"ID,category\n1,a\n")
    assert (table.id_column, table.label_column) == ("ID", "category")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "have no 'Id'"),
        (b"file,Category\n1,a\n", "have no 'Id'"),
        (b"Id,Class\n1,a\n", "have no 'Category'"),
        (b"Id,Category,Id\n1,a,2\n", "2 columns are called 'Id'"),
        (b"id,Category,ID\n1,a,2\n", "2 columns are called 'Id'"),
        (b"Id,Category\n", "no rows"),
        (b"Id,Category\n1,a\n2\n", "line 3: 1 fields where the header has 2"),
        (b"Id,Category\n1,a,b\n", "line 2: 3 fields"),
        (b'Id,Category\n"1,a\n2,b\n', "not CSV"),
        (b"Id,Category\n1,\n", "line 2: '' is no class name"),
        (b"Id,Category\n1," + b"9" * 5000 + b"\n", "is no class name"),
        (b"Id,Category\n1,a\n1,b\n", "duplicate ids: '1'"),
        (b"Id,Category\n\xff,a\n", "not UTF-8"),
        (b"Id,Category\n" + b"x" * 200_000 + b",a\n", "not CSV"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        load(tmp_path, content)


@pytest.mark.parametrize(
    "hostile",
    ["../x", "/etc/passwd", "a/../b", "a//b", "./a", "", "a\\b", "C:\\x", "..", "a\0b", "a\x1bb"],
)
def test_ids_that_are_no_file_names_are_refused(tmp_path: Path, hostile: str) -> None:
    content = f'Id,Category\n"{hostile}",a\n'.encode()
    with pytest.raises(SourceError, match="line 2"):
        load(tmp_path, content)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        load_label_table(str(tmp_path / "no.csv"), id_column="Id", label_column="Category")


@given(st.binary(max_size=200))
def test_any_bytes_give_a_table_or_one_clear_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        message = "one line"
        try:
            table = load(Path(folder), b"Id,Category\n" + content)
            assert len(table.ids) == len(table.labels) > 0
        except SourceError as error:
            message = str(error)
    assert "\n" not in message


def test_the_real_competition_table_is_read(material: Path) -> None:
    path = material / "sf_dl_car_classification" / "train.csv"
    table = load_label_table(str(path), id_column="Id", label_column="Category")
    assert len(table.ids) == 15_561
    assert set(table.labels) == {str(label) for label in range(10)}
