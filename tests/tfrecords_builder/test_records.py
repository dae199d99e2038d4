"""The record format is TensorFlow's own, and damage never goes unnoticed."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecords_builder.records import (
    Record,
    RecordError,
    frame_parts,
    framed_record,
    make_example,
    parse_example,
    read_frames,
    read_records,
    read_records_at,
)

records = st.builds(
    Record,
    id=st.text(st.characters(codec="utf-8")),
    label=st.integers(-(2**63), 2**63 - 1),
    image=st.binary(max_size=200),
)


def framed(*payloads: bytes) -> bytes:
    return b"".join(part for payload in payloads for part in frame_parts(payload))


@given(records)
def test_a_record_survives_writing_and_reading(record: Record) -> None:
    assert parse_example(make_example(record)) == record


@given(records, st.integers(0, 40_000))
def test_a_record_put_together_by_hand_is_the_one_that_protobuf_makes(
    record: Record, more_bytes: int
) -> None:
    record = dataclasses.replace(record, image=record.image + bytes(more_bytes))
    assert b"".join(framed_record(record)) == framed(make_example(record))


@pytest.fixture(scope="module")
def tf() -> Any:
    return pytest.importorskip("tensorflow")


@given(record=records)
def test_tensorflow_parses_the_example_to_the_same_values(tf: Any, record: Record) -> None:
    feature = tf.train.Example.FromString(make_example(record)).features.feature
    assert sorted(feature) == ["id", "image", "label"]
    assert list(feature["id"].bytes_list.value) == [record.id.encode()]
    assert list(feature["image"].bytes_list.value) == [record.image]
    assert list(feature["label"].int64_list.value) == [record.label]


def test_tensorflow_writes_the_same_bytes(tf: Any, tmp_path: Path) -> None:
    payloads = [b"", b"one", bytes(range(256)) * 300]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for payload in payloads:
            writer.write(payload)
    assert framed(*payloads) == (tmp_path / "theirs").read_bytes()


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_frames_come_back_with_their_offsets(payloads: list[bytes]) -> None:
    content = framed(*payloads)
    found = list(read_frames(io.BytesIO(content), "file"))
    assert [data for _, data in found] == payloads
    for offset, data in found:
        assert content[offset:].startswith(framed(data))


@given(st.data())
def test_every_flipped_bit_is_found(data: st.DataObject) -> None:
    content = bytearray(framed(b"a photo", b"another one"))
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RecordError, match=r"wrong checksum|ends inside"):
        list(read_frames(io.BytesIO(bytes(content)), "file"))


@given(st.integers(1, 26))
def test_a_file_cut_inside_a_record_is_found(num_left: int) -> None:
    content = framed(b"a photo's bytes")
    assert len(content) > num_left
    with pytest.raises(RecordError, match="ends inside"):
        list(read_frames(io.BytesIO(content[:num_left]), "file"))


def test_a_message_without_the_three_fields_is_refused() -> None:
    with pytest.raises(RecordError, match="one id, image and label"):
        parse_example(b"")


def test_records_are_read_at_their_offsets_in_any_order(tmp_path: Path) -> None:
    written = [Record(id=str(number), label=number, image=bytes(number)) for number in range(5)]
    content = framed(*(make_example(record) for record in written))
    path = tmp_path / "file"
    path.write_bytes(content)
    offsets = [offset for offset, _ in read_frames(io.BytesIO(content), "file")]
    backwards = list(read_records_at(path, offsets[::-1]))
    assert backwards == written[::-1]
    assert list(read_records(path)) == written
