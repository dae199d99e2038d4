"""Record files without TensorFlow: TFRecord framing and `tf.train.Example` messages.

The framing is documented at https://www.tensorflow.org/tutorials/load_data/tfrecord: an 8-byte
little-endian length, its masked CRC-32C, the data, their masked CRC-32C.
"""

import functools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from tfrecords_builder.errors import UserError

HEADER_BYTES = 12
FOOTER_BYTES = 4
NO_LABEL = -1

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
# Tags of length-delimited fields, and the keys of the map with theirs.
_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"
_ID_KEY, _IMAGE_KEY, _LABEL_KEY = b"\x0a\x02id", b"\x0a\x05image", b"\x0a\x05label"
_ONE_BYTE = [bytes([value]) for value in range(0x80)]


class RecordError(UserError):
    """A record file does not hold what was written into it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One example as stored."""

    id: str
    label: int
    """Index into the manifest's classes; -1 without a label."""
    image: bytes
    """Encoded photo: upright, RGB."""


def make_example(record: Record) -> bytes:
    """Returns the serialized `tf.train.Example`; equal records give equal bytes."""
    example = _example_class()()
    feature = example.features.feature
    feature["id"].bytes_list.value.append(record.id.encode())
    feature["image"].bytes_list.value.append(record.image)
    feature["label"].int64_list.value.append(record.label)
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized


def framed_record(record: Record) -> tuple[bytes, bytes, bytes]:
    """Returns the bytes of `frame_parts(make_example(record))`, the image as it is between others.

    Put together by hand (https://protobuf.dev/programming-guides/encoding), because the messages of
    protobuf would copy every photo twice. Keys stand in sorted order, as deterministic
    serialization puts them.
    """
    image = record.image
    list_start = _tag_and_length(_FIELD_1, len(image))
    feature_start = _tag_and_length(_FIELD_1, len(list_start) + len(image)) + list_start
    start = _IMAGE_KEY + _tag_and_length(_FIELD_2, len(feature_start) + len(image)) + feature_start
    before = _map_entry(_ID_KEY, _message(_FIELD_1, _message(_FIELD_1, record.id.encode())))
    before += _tag_and_length(_FIELD_1, len(start) + len(image)) + start
    label = _message(_FIELD_1, _varint(record.label & 0xFFFFFFFFFFFFFFFF))
    after = _map_entry(_LABEL_KEY, _message(_FIELD_3, label))
    size = len(before) + len(image) + len(after)
    before = _tag_and_length(_FIELD_1, size) + before
    length = _LENGTH.pack(len(before) + len(image) + len(after))
    crc = google_crc32c.extend(google_crc32c.value(before), image)
    footer = _CRC.pack(_masked(google_crc32c.extend(crc, after)))
    return length + _CRC.pack(masked_crc32c(length)) + before, image, after + footer


def _map_entry(key: bytes, feature: bytes) -> bytes:
    return _message(_FIELD_1, key + _message(_FIELD_2, feature))


def _message(tag: bytes, content: bytes) -> bytes:
    return _tag_and_length(tag, len(content)) + content


def _tag_and_length(tag: bytes, length: int) -> bytes:
    return tag + _varint(length)


def _varint(value: int) -> bytes:
    if value < 0x80:
        return _ONE_BYTE[value]
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def parse_example(serialized: bytes) -> Record:
    """Reads what `make_example` wrote.

    Raises:
      RecordError: these bytes are no Example with exactly one `id`, `image` and `label`.
    """
    example = _example_class()()
    try:
        example.ParseFromString(serialized)
        feature = example.features.feature
        (id_bytes,) = feature["id"].bytes_list.value
        (image,) = feature["image"].bytes_list.value
        (label,) = feature["label"].int64_list.value
        return Record(id=id_bytes.decode(), label=label, image=image)
    except (DecodeError, ValueError) as error:
        raise RecordError(
            f"a record is not an Example with one id, image and label ({error}); "
            "build the data again"
        ) from error


def parse_features(serialized: bytes) -> dict[str, list[bytes] | list[int] | list[float]]:
    """Returns the values of all features of any Example.

    Raises:
      RecordError: these bytes are no Example.
    """
    example = _example_class()()
    try:
        example.ParseFromString(serialized)
    except DecodeError as error:
        raise RecordError(f"a record is not an Example ({error}); give other data") from error
    values = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        values[name] = list(getattr(feature, kind).value) if kind else []
    return values


def frame_parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns header, data and footer of one framed record, to be written one after the other."""
    length = _LENGTH.pack(len(data))
    return length + _CRC.pack(masked_crc32c(length)), data, _CRC.pack(masked_crc32c(data))


def masked_crc32c(data: bytes) -> int:
    """Returns the rotated and offset CRC-32C that TFRecord files store."""
    return _masked(google_crc32c.value(data))


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_frames(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """Yields (offset, data) of every record of an open file and checks both checksums.

    Raises:
      RecordError: a checksum is wrong or the file ends inside a record.
    """
    offset = 0
    while header := file.read(HEADER_BYTES):
        data = _read_rest_of_frame(file, header, name, offset)
        yield offset, data
        offset += HEADER_BYTES + len(data) + FOOTER_BYTES


def read_records(path: str | Path) -> Iterator[Record]:
    """Yields every record of one local file, checked.

    Raises:
      RecordError: the file is damaged.
    """
    with open(path, "rb") as file:
        for _, data in read_frames(file, str(path)):
            yield parse_example(data)


def read_records_at(path: str | Path, offsets: Sequence[int]) -> Iterator[Record]:
    """Yields the records at the given positions (`Shard.offsets`), in the order given, checked.

    Raises:
      RecordError: the file is damaged, or an offset is not the start of a record.
    """
    with open(path, "rb") as file:
        for offset in offsets:
            yield parse_example(read_frame_at(file, str(path), offset))


def read_frame_at(file: BinaryIO, name: str, offset: int) -> bytes:
    """Returns the data of the record at one position of an open file, checked.

    Raises:
      RecordError: the file is damaged, or the offset is not the start of a record.
    """
    file.seek(offset)
    return _read_rest_of_frame(file, file.read(HEADER_BYTES), name, offset)


def _read_rest_of_frame(file: BinaryIO, header: bytes, name: str, offset: int) -> bytes:
    def damaged(what: str) -> RecordError:
        return RecordError(f"{name}: {what} at byte {offset}; build the data again")

    if len(header) < HEADER_BYTES:
        raise damaged("the file ends inside a record")
    length_bytes = header[: _LENGTH.size]
    # Checked before the length is believed: a damaged one could ask for any amount of memory.
    if _CRC.unpack(header[_LENGTH.size :])[0] != masked_crc32c(length_bytes):
        raise damaged("wrong checksum of a record's length")
    length = _LENGTH.unpack(length_bytes)[0]
    data = file.read(length)
    footer = file.read(FOOTER_BYTES)
    if len(data) < length or len(footer) < FOOTER_BYTES:
        raise damaged("the file ends inside a record")
    if _CRC.unpack(footer)[0] != masked_crc32c(data):
        raise damaged("wrong checksum of a record's data")
    return data


@functools.cache
def _example_class() -> Any:
    """Returns a message class with the fields of tensorflow/core/example/{example,feature}.proto.

    It lives in a pool of its own, because TensorFlow registers the same names in the default one.
    """
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="example.proto", package="tensorflow", syntax="proto3"
    )

    def add_message(name: str, *fields: tuple[str, int, int, str | None]) -> Any:
        message = file.message_type.add(name=name)
        for number, (field_name, label, kind, type_name) in enumerate(fields, start=1):
            message.field.add(
                name=field_name, number=number, label=label, type=kind, type_name=type_name
            )
        return message

    one, many = types.LABEL_OPTIONAL, types.LABEL_REPEATED
    add_message("BytesList", ("value", many, types.TYPE_BYTES, None))
    add_message("FloatList", ("value", many, types.TYPE_FLOAT, None))
    add_message("Int64List", ("value", many, types.TYPE_INT64, None))
    feature = add_message(
        "Feature",
        ("bytes_list", one, types.TYPE_MESSAGE, ".tensorflow.BytesList"),
        ("float_list", one, types.TYPE_MESSAGE, ".tensorflow.FloatList"),
        ("int64_list", one, types.TYPE_MESSAGE, ".tensorflow.Int64List"),
    )
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = add_message(
        "Features", ("feature", many, types.TYPE_MESSAGE, ".tensorflow.Features.FeatureEntry")
    )
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=one, type=types.TYPE_STRING)
    entry.field.add(
        name="value", number=2, label=one, type=types.TYPE_MESSAGE, type_name=".tensorflow.Feature"
    )
    add_message("Example", ("features", one, types.TYPE_MESSAGE, ".tensorflow.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
