"""What the audit sees in one photo."""

import io

import pytest
from PIL import Image

from tests.tfrecords_builder.photos import encode_image, make_image, make_photo
from tfrecords_builder.audit.inspection import PhotoFacts, inspect_photo, make_thumbnail


def inspect(data: bytes) -> PhotoFacts:
    return inspect_photo(data, photo_id="1", class_name="a", split="train")


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode_image(make_image(0, 90, 80), "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("data", "problems"),
    [
        (make_photo(0, 100, 80), ()),
        (make_photo(0, 100, 20), ("tiny",)),
        (make_photo(0, 8200, 70), ("giant",)),
        (b"", ("broken",)),
        (encode_image(make_image(0, 90, 80).convert("L"), "JPEG"), ("grey",)),
        (encode_image(make_image(0, 90, 80).convert("L").convert("RGB"), "JPEG"), ("grey",)),
        (encode_image(make_image(0, 90, 80).convert("CMYK"), "JPEG"), ("cmyk",)),
        (rotated(), ("exif-rotated",)),
        (encode_image(make_image(0, 90, 80), "PNG"), ("format",)),
    ],
)
def test_problems_are_named(data: bytes, problems: tuple[str, ...]) -> None:
    assert inspect(data).problems == problems


def test_a_broken_photo_has_a_reason_and_no_fingerprint() -> None:
    facts = inspect(b"<html>")
    assert "web page" in facts.detail
    assert facts.perceptual_hash is None


def test_a_header_that_hurts_no_pixel_stops_no_audit() -> None:
    # Pillow does not take a JFIF segment without its version for a JPEG; libjpeg does.
    data = b"\xff\xd8\xff\xe0\0\x07JFIF\0" + make_photo(0, 100, 80)[2:]
    assert inspect(data).problems == ()
    assert make_thumbnail(data) is not None


def distance(one: bytes, other: bytes) -> int:
    first, second = inspect(one).perceptual_hash, inspect(other).perceptual_hash
    assert first is not None
    assert second is not None
    return (first ^ second).bit_count()


def test_smaller_and_coarser_copies_look_the_same() -> None:
    original = make_image(5, 400, 300)
    copy = encode_image(original.resize((200, 150)), "JPEG", quality=40)
    assert distance(encode_image(original, "JPEG"), copy) <= 4


def test_other_photos_do_not() -> None:
    assert distance(make_photo(1, 200, 200), make_photo(2, 200, 200)) > 10


def test_thumbnails_are_small_and_keep_their_shape() -> None:
    thumbnail = make_thumbnail(make_photo(0, 600, 300))
    assert thumbnail is not None
    assert Image.open(io.BytesIO(thumbnail)).size == (112, 56)
    assert make_thumbnail(b"") is None


def test_a_strip_has_a_thumbnail() -> None:
    thumbnail = make_thumbnail(make_photo(0, 4000, 8))
    assert thumbnail is not None
    assert Image.open(io.BytesIO(thumbnail)).size == (112, 1)
