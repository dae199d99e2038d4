"""Decoding: what each kind of photo becomes, and how close the fast way is to Pillow's."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.input import decoding
from trainer.input.decoding import UndecodableError, decode_canvas


def encoded(width: int, height: int, mode: str = "RGB", kind: str = "PNG") -> bytes:
    gradient = np.linspace(0, 255, width * height).reshape(height, width).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(gradient).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def by_pillow(data: bytes, canvas_px: int) -> np.ndarray:
    photo = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(photo.resize((canvas_px, canvas_px), Image.Resampling.BILINEAR), np.float32)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    ("width", "height"), [(40, 20), (1, 1), (1, 10_000), (10_000, 1), (700, 500), (33, 200)]
)
def test_a_canvas_is_square_and_remembers_the_aspect(width: int, height: int, kind: str) -> None:
    data = encoded(width, height, kind=kind)
    canvas, aspect = decode_canvas(data, 32)
    assert canvas.shape == (32, 32, 3)
    assert canvas.dtype == np.uint8
    assert aspect == width / height
    assert np.abs(canvas - by_pillow(data, 32)).mean() < 3


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    canvas, _ = decode_canvas(encoded(40, 40, mode), 16)
    assert canvas.shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grey_becomes_three_equal_channels(kind: str) -> None:
    canvas, _ = decode_canvas(encoded(60, 40, "L", kind), 16)
    np.testing.assert_array_equal(canvas[..., 0], canvas[..., 1])
    np.testing.assert_array_equal(canvas[..., 0], canvas[..., 2])
    assert canvas.min() < 20
    assert canvas.max() > 235


def test_a_cmyk_jpeg_goes_through_pillow() -> None:
    data = encoded(60, 40, "CMYK", "JPEG")
    canvas, _ = decode_canvas(data, 16)
    assert np.abs(canvas - by_pillow(data, 16)).max() <= 1


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    buffer = io.BytesIO()
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(values).save(buffer, "PNG")
    canvas, _ = decode_canvas(buffer.getvalue(), 64)
    np.testing.assert_allclose(canvas[..., 0], values / 257, atol=1)


def test_transparency_is_laid_over_white() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (200, 0, 0, 0)).save(buffer, "PNG")
    assert (decode_canvas(buffer.getvalue(), 8)[0] == 255).all()


def png_that_declares(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def jpeg_that_declares(width: int, height: int) -> bytes:
    data = bytearray(encoded(16, 16, kind="JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("make", [png_that_declares, jpeg_that_declares])
def test_too_many_declared_pixels_are_refused_before_decoding(make: object) -> None:
    with pytest.raises(UndecodableError, match="pixels"):
        decode_canvas(make(20_000, 20_000), 16)


@pytest.mark.parametrize("data", [b"", b"no photo", b"\xff\xd8\xff\xe0junk"])
def test_what_is_no_photo_says_so(data: bytes) -> None:
    with pytest.raises(UndecodableError):
        decode_canvas(data, 16)


def test_half_a_jpeg_is_an_error_and_not_half_a_photo() -> None:
    data = encoded(300, 300, kind="JPEG")
    with pytest.raises(UndecodableError):
        decode_canvas(data[: len(data) // 2], 16)


def test_the_canvas_is_written_where_asked() -> None:
    rows = np.zeros((3, 32, 32, 3), np.uint8)
    for row, data in enumerate([encoded(90, 70, kind="JPEG"), encoded(90, 70)]):
        canvas, _ = decode_canvas(data, 32, rows[row])
        assert np.shares_memory(canvas, rows)
        np.testing.assert_array_equal(rows[row], decode_canvas(data, 32)[0])
    assert not rows[2].any()


@pytest.mark.parametrize("canvas_px", [256, 528])
def test_real_photos_are_close_to_pillow(
    canvas_px: int, material: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [path.read_bytes() for path in sorted((material / "cars" / "train").rglob("*.jpg"))]
    assert photos
    differences, bias = [], []
    for data in photos[:: len(photos) // 12]:
        difference = decode_canvas(data, canvas_px)[0] - by_pillow(data, canvas_px)
        differences.append(np.abs(difference).mean())
        bias.append(abs(difference.mean()))
    assert np.mean(differences) < 2.0
    assert max(differences) < 6.0
    assert max(bias) < 0.5


def test_plain_jpegs_do_not_open_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding.Image, "open", None)
    decode_canvas(encoded(300, 200, kind="JPEG"), 64)
