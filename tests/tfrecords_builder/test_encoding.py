"""What happens to each kind of photo."""

import csv
import io
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tfrecords_builder.photos import encode_image, make_image, make_photo
from tfrecords_builder import encoding
from tfrecords_builder.encoding import (
    CONVERTED,
    KEPT,
    EncodedPhoto,
    EncodingSettings,
    UnusablePhotoError,
    encode_photo,
)

RED, GREEN = (255, 0, 0), (0, 255, 0)


def encode(data: bytes, **settings: Any) -> EncodedPhoto:
    return encode_photo(data, EncodingSettings(**settings))


def pixels(encoded: EncodedPhoto) -> np.ndarray:
    image = Image.open(io.BytesIO(encoded.image))
    assert (image.mode, image.format) == ("RGB", "JPEG")
    assert image.size == (encoded.width, encoded.height)
    return np.asarray(image).astype(int)


def two_halves(mode: str = "RGB") -> Image.Image:
    """Left half red, right half green; 64 x 32."""
    image = Image.new("RGB", (64, 32), RED)
    image.paste(GREEN, (32, 0, 64, 32))
    return image.convert(mode)


def test_an_upright_rgb_jpeg_keeps_its_bytes() -> None:
    data = make_photo(0)
    encoded = encode(data)
    assert (encoded.image, encoded.fate, encoded.changes) == (data, KEPT, ())
    assert (encoded.width, encoded.height) == (40, 30)


@pytest.mark.parametrize("metadata", ["exif", "xmp"])
def test_no_way_to_say_rotated_escapes_the_quick_look(metadata: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/'
        b'22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        b'tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    options = {"exif": exif} if metadata == "exif" else {"xmp": xmp}
    encoded = encode(encode_image(make_image(0, 40, 30), "JPEG", **options))
    assert (encoded.width, encoded.height) == (30, 40)
    assert encoded.changes == ("EXIF orientation 6",)


def test_the_quick_look_comes_to_the_same_fate_as_the_close_one(
    material: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fates() -> list[str]:
        found = []
        for path in sorted((material / "odd_images").glob("*.*")):
            try:
                found.append(repr(encode(path.read_bytes())))
            except UnusablePhotoError as error:
                found.append(str(error))
        return found

    quick = fates()
    monkeypatch.setattr(encoding, "_keep_plain_jpeg", lambda data, settings: None)
    assert fates() == quick


def test_a_progressive_jpeg_keeps_its_bytes() -> None:
    data = encode_image(make_image(0), "JPEG", progressive=True)
    assert encode(data).fate == KEPT


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "TGA"])
def test_other_formats_become_jpeg(image_format: str) -> None:
    encoded = encode(encode_image(make_image(0), image_format))
    assert encoded.fate == CONVERTED
    assert encoded.changes[0] == f"format {image_format}"
    assert np.abs(pixels(encoded) - np.asarray(make_image(0)).astype(int)).mean() < 8


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "1", "LA", "RGBA"])
def test_other_modes_become_rgb(mode: str) -> None:
    image_format = "JPEG" if mode in ("L", "CMYK") else "PNG"
    image = two_halves(mode)
    encoded = encode(encode_image(image, image_format))
    assert f"mode {mode}" in encoded.changes
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels(encoded) - expected).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotated_photos_are_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn_back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = make_image(3, 64, 32)
    stored = upright.transpose(turn_back[orientation]) if orientation > 1 else upright
    encoded = encode(encode_image(stored, "JPEG", exif=exif, quality=95))
    assert (encoded.width, encoded.height) == (64, 32)
    assert np.abs(pixels(encoded) - np.asarray(upright).astype(int)).mean() < 6
    assert encoded.fate == (KEPT if orientation == 1 else CONVERTED)


def test_the_turned_photo_does_not_ask_to_be_turned_again() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = encode(encode_image(make_image(0), "JPEG", exif=exif))
    assert 0x0112 not in Image.open(io.BytesIO(encoded.image)).getexif()


def test_transparent_pixels_become_white() -> None:
    encoded = encode(encode_image(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "PNG"))
    assert pixels(encoded).min() == 255


def test_sixteen_bit_grey_keeps_its_brightness() -> None:
    image = Image.fromarray(np.full((8, 8), 0x8000, np.uint16))
    assert np.abs(pixels(encode(encode_image(image, "PNG"))) - 128).max() <= 1


def test_floating_point_pixels_are_refused() -> None:
    data = encode_image(Image.new("F", (8, 8), 0.5), "TIFF")
    with pytest.raises(UnusablePhotoError, match="floating point"):
        encode(data)


def test_the_first_frame_of_an_animation_is_used_and_said() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN)]
    encoded = encode(encode_image(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert "first of several frames" in encoded.changes
    assert np.abs(pixels(encoded) - RED).max() <= 3


@pytest.mark.parametrize(("width", "height"), [(400, 100), (100, 400)])
def test_large_photos_are_shrunk_to_the_longer_side(width: int, height: int) -> None:
    encoded = encode(make_photo(0, width, height), max_px=80)
    assert max(encoded.width, encoded.height) == 80
    assert min(encoded.width, encoded.height) == 20
    assert encoded.changes == ("shrunk",)


def test_damage_is_found_while_shrinking_and_turning() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = bytearray(encode_image(make_image(0, 200, 200), "JPEG", exif=exif))
    turned[-300:-200] = bytes(100)
    for data, settings in ((damaged_scan(), {"max_px": 100}), (bytes(turned), {})):
        with pytest.raises(UnusablePhotoError, match="damaged JPEG"):
            encode(data, **settings)


def test_shrinking_looks_like_a_good_filter_of_the_whole_photo() -> None:
    large = make_image(7, 600, 400)
    encoded = encode(encode_image(large, "JPEG", quality=98), max_px=231)
    expected = large.resize((231, 154), Image.Resampling.LANCZOS)
    assert np.abs(pixels(encoded) - np.asarray(expected).astype(int)).mean() < 2


@pytest.mark.parametrize("side", [549, 619, 731, 997, 1224, 1501])
def test_shrinking_does_not_shift_the_photo(side: int) -> None:
    rows, columns = np.mgrid[:side, : side + 5]
    waves = 128 + 60 * np.sin(columns / 17) + 60 * np.sin(rows / 13)
    large = Image.fromarray(np.repeat(waves[..., None], 3, axis=2).astype(np.uint8))
    encoded = encode(encode_image(large, "JPEG", quality=98), max_px=512)
    expected = large.resize((encoded.width, encoded.height), Image.Resampling.LANCZOS)
    # What lies a third of a pixel aside differs by more.
    assert np.abs(pixels(encoded) - np.asarray(expected).astype(int)).mean() < 1


@pytest.mark.parametrize(("width", "height"), [(10, 1000), (1000, 10), (3, 999), (15, 4000)])
def test_strips_are_shrunk_like_other_photos(width: int, height: int) -> None:
    encoded = encode(make_photo(0, width, height), max_px=512)
    assert max(encoded.width, encoded.height) == 512
    assert encoded.changes == ("shrunk",)


def test_illegible_metadata_costs_no_photo() -> None:
    data = encode_image(make_image(0), "PNG", exif=b"Exif\0\0no TIFF header")
    assert encode(data).changes == ("format PNG",)


def test_photos_of_the_largest_size_keep_their_bytes() -> None:
    assert encode(make_photo(0, 80, 20), max_px=80).fate == KEPT


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((64, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    encoded = encode(encode_image(Image.fromarray(stripes), "PNG"), max_px=64)
    assert np.abs(pixels(encoded) - 128).max() <= 6


def test_quality_of_converted_photos_is_obeyed() -> None:
    data = encode_image(make_image(0, 200, 200), "PNG")
    assert len(encode(data, quality=30).image) < len(encode(data, quality=95).image)


def test_stray_bytes_in_the_header_are_cleaned_out() -> None:
    data = make_photo(0)
    position = data.index(b"\xff\xdb")
    encoded = encode(data[:position] + b"junk" + data[position:])
    assert encoded.fate == CONVERTED
    assert "damaged header" in encoded.changes[0]


def cut_in_half() -> bytes:
    data = make_photo(0, 200, 200)
    return data[: len(data) // 2]


def damaged_scan() -> bytes:
    data = bytearray(make_photo(0, 200, 200))
    data[-300:-200] = bytes(100)
    return bytes(data)


def png_declaring(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\0" * 100, "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (cut_in_half(), "Premature end"),
        (damaged_scan(), "damaged JPEG"),
        (encode_image(make_image(0, 99, 99), "PNG")[:-200], "damaged"),
        (png_declaring(60_000, 60_000), "pixels"),
        (png_declaring(12_000, 12_000), "12000 x 12000 pixels"),
    ],
)
def test_unusable_photos_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnusablePhotoError, match=reason):
        encode(data)


def test_without_the_pixel_check_the_bytes_are_believed() -> None:
    assert encode(cut_in_half(), verify_pixels=False).fate == KEPT


def test_odd_images_all_come_out_with_the_fate_they_deserve(material: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    folder = material / "odd_images"
    table = (folder / "manifest.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(table)))
    fates: Counter[str] = Counter()
    refused = {}
    for row in rows:
        try:
            encoded = encode((folder / row["name"]).read_bytes())
        except UnusablePhotoError as error:
            refused[row["name"]] = str(error)
            continue
        fates[encoded.fate] += 1
        decoded = tf.io.decode_jpeg(encoded.image)
        assert decoded.shape == (encoded.height, encoded.width, 3), row["name"]
    # Pillow loads these two whole, one of them as stripes and noise.
    loads = {row["name"] for row in rows if row["pil_load"] == "ok"}
    assert {name: refused[name][:14] for name in loads & refused.keys()} == {
        "10ct_32bit_128.tiff": "floating point",
        "hopper_bad_exif.jpg": "damaged JPEG: ",
    }
    assert fates == {"kept": 38, "converted": 102}
    assert len(refused) == 21
