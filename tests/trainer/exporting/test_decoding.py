"""What a SavedModel makes of files, beside Pillow."""

import struct

import numpy as np
import pytest
from PIL import Image

from tests.trainer.exporting.making import encode, make_contract, photo_of
from trainer.exporting.preparation import prepare_photo


def decode(encoded: list[bytes], resize: str = "squash") -> np.ndarray:
    """In a graph, as a SavedModel does it."""
    import tensorflow as tf

    from trainer.exporting.decoding import decode_and_prepare

    contract = make_contract(resize)

    @tf.function(autograph=False)
    def graph(files: tf.Tensor) -> tf.Tensor:
        return decode_and_prepare(files, contract.geometry, contract.image_px)

    return graph(tf.constant(encoded)).numpy().astype(int)


@pytest.mark.slow
@pytest.mark.parametrize("orientation", range(1, 9))
def test_saved_models_turn_photos_upright(orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Not larger than the canvas, so that Pillow's decoder does not shrink.
    encoded = encode(photo_of(60, 44), "JPEG", quality=95, exif=exif)
    contract = make_contract("center_crop")
    expected = prepare_photo(encoded, contract).pixels.astype(int)
    assert np.abs(decode([encoded], "center_crop")[0] - expected).mean() < 2


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [False, True])
def test_saved_models_read_palettes_of_any_depth(bits: int, transparent: bool):
    photo = Image.new("P", (40, 40), 0)
    photo.putpalette([200, 30, 10, 20, 60, 220])
    photo.paste(1, (20, 0, 40, 40))
    encoded = encode(photo, bits=bits, **({"transparency": 1} if transparent else {}))
    contract = make_contract()
    expected = prepare_photo(encoded, contract).pixels.astype(int)
    assert np.abs(decode([encoded])[0] - expected).max() <= 1


def bmp(rows: np.ndarray, bits: int, compression: int = 0, between: bytes = b"") -> bytes:
    """A BMP file of rows from the bottom up, uint8 [H, bytes of a row]; `between` stands behind the
    header: masks, or a palette."""
    height, row_bytes = rows.shape
    width, offset = row_bytes * 8 // bits, 54 + len(between)
    info = (40, width, height, 1, bits, compression, rows.size, 2835, 2835, 0, 0)
    start = struct.pack("<2sIHHI", b"BM", offset + rows.size, 0, 0, offset)
    return start + struct.pack("<IiiHHIIiiII", *info) + between + rows.tobytes()


RGB = np.asarray(photo_of(48, 32))
BGR = RGB[::-1, :, ::-1]
BGRX = np.concatenate([BGR, np.zeros((32, 48, 1), np.uint8)], axis=-1)
RGBX_MASKS = struct.pack("<III", 0xFF, 0xFF00, 0xFF0000)
BGRX_MASKS = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)


@pytest.mark.parametrize(
    "encoded",
    [
        encode(photo_of(50, 30), "BMP"),
        encode(photo_of(50, 30).convert("RGBA"), "BMP"),
        encode(photo_of(50, 30).convert("L"), "BMP"),
        bmp(BGR.reshape(32, -1), 24),
        bmp(BGRX.reshape(32, -1), 32),
        bmp(BGRX.reshape(32, -1), 32, 3, BGRX_MASKS),
    ],
    ids=["24", "32", "8, greys", "24 by hand", "32 by hand", "32 with masks"],
)
def test_saved_models_read_bmp_files(encoded: bytes):
    expected = prepare_photo(encoded, make_contract()).pixels.astype(int)
    assert np.abs(decode([encoded])[0] - expected).max() <= 2


def inverted_greys() -> bytes:
    image = photo_of(50, 30).convert("L").copy()
    image.putpalette([255 - level for level in range(256) for _ in range(3)])
    return encode(image, "BMP")


@pytest.mark.parametrize(
    ("encoded", "bits"),
    [
        (encode(photo_of(50, 30).convert("1"), "BMP"), 1),
        (encode(photo_of(50, 30).convert("P"), "BMP"), 8),
        (inverted_greys(), 8),
        (bmp(BGR[..., 0], 8, between=b"\0" * 8), 8),
        (bmp(BGRX[..., :2].reshape(32, -1), 16), 16),
        (bmp(np.ascontiguousarray(BGRX[..., [2, 1, 0, 3]]).reshape(32, -1), 32, 3, RGBX_MASKS), 32),
    ],
    ids=["1", "8", "8, inverted", "8, short palette", "16", "32, other masks"],
)
def test_bmp_files_that_tensorflow_gets_wrong_are_refused(encoded: bytes, bits: int):
    import tensorflow as tf

    right = encode(photo_of(50, 30))
    with pytest.raises(tf.errors.InvalidArgumentError, match="this is a BMP file of") as caught:
        decode([right, encoded])
    assert f"it has these bits a pixel:] [{bits}]" in str(caught.value)


@pytest.mark.parametrize("num_bytes", [2, 12, 32, 99])
def test_bmp_files_that_are_cut_off_are_refused(num_bytes: int):
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError):
        decode([encode(photo_of(50, 30), "BMP")[:num_bytes]])
