import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.trainer.exporting.making import encode, make_contract, photo_of
from trainer.exporting.preparation import PhotoError, PhotoTooLargeError, prepare_photo


@settings(max_examples=12, deadline=None)
@given(
    width=st.integers(8, 200),
    height=st.integers(8, 200),
    resize=st.sampled_from(("squash", "center_crop", "pad")),
    center_fraction=st.sampled_from((1.0, 0.875, 0.6)),
)
def test_pixels_are_within_a_grey_level_of_evaluation(width, height, resize, center_fraction):
    import tensorflow as tf

    from trainer.augment.batch import evaluation_batch
    from trainer.augment.config import Augmentation
    from trainer.input.canvases import decode_canvas

    encoded = encode(photo_of(width, height))
    contract = make_contract(resize, center_fraction)
    canvas, aspect = decode_canvas(encoded, 40)
    config = Augmentation(resize=resize, center_fraction=center_fraction, pad_value=9)
    expected = evaluation_batch(
        tf.constant(canvas[None]), tf.constant([aspect], tf.float32), config, 32, kernels="matrix"
    )
    found = prepare_photo(encoded, contract).pixels.astype(np.float32)
    assert np.abs(found - expected.numpy()[0]).max() <= 1.01


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(orientation, kind):
    upright = photo_of(64, 48)
    # What a camera stores so that its tag turns it upright again.
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    turn = turns.get(orientation)
    stored = upright if turn is None else upright.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    prepared = prepare_photo(encode(stored, kind, exif=exif), make_contract())
    expected = prepare_photo(encode(upright), make_contract())
    assert (prepared.width, prepared.height) == (64, 48)
    difference = np.abs(prepared.pixels.astype(int) - expected.pixels.astype(int))
    assert difference.max() <= 1


def test_a_centre_crop_tells_its_box_in_the_photo():
    prepared = prepare_photo(encode(photo_of(80, 40)), make_contract("center_crop"))
    assert prepared.box == pytest.approx((20, 0, 60, 40))


def test_a_centre_crop_of_a_very_long_photo_is_square():
    prepared = prepare_photo(encode(photo_of(2000, 20)), make_contract("center_crop"))
    assert prepared.box == pytest.approx((990, 0, 1010, 20))


def test_transparency_lies_over_white():
    empty = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    assert (prepare_photo(encode(empty), make_contract()).pixels == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_common_formats_are_read(kind):
    prepared = prepare_photo(encode(photo_of(50, 30), kind), make_contract())
    assert prepared.pixels.shape == (32, 32, 3)
    assert prepared.pixels.dtype == np.uint8


def test_a_photo_of_too_many_pixels_is_not_decoded():
    with pytest.raises(PhotoTooLargeError, match="declares 50 x 30 pixels"):
        prepare_photo(encode(photo_of(50, 30)), make_contract(), max_pixels=1000)


@pytest.mark.parametrize(
    "data", [b"", b"<html>", encode(photo_of(50, 30))[:200], encode(photo_of(50, 30), "JPEG")[:99]]
)
def test_bytes_that_are_no_photo_are_told(data):
    with pytest.raises(PhotoError):
        prepare_photo(data, make_contract())


def test_the_bars_of_a_line_that_calls_itself_a_photo_stay_small():
    prepared = prepare_photo(encode(Image.new("RGB", (20_000, 1))), make_contract("pad"))
    assert (prepared.pixels[0] == 9).all()


def test_preparing_squares_needs_pillow_only():
    """Each decoder of a service would pay for more with memory and time to start."""
    import subprocess
    import sys

    code = (
        "import sys; from PIL import Image; import trainer.exporting.preparation as p; "
        "p.load_formats(); assert not {'tensorflow', 'numpy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
