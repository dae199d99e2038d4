"""Encoded photos to the pixels of the contract inside of a TensorFlow graph, for SavedModels.

The same steps as `preparation.prepare_photo`: upright, RGB over white, squashed to the canvas, then
the geometry of evaluation. TensorFlow's JPEG decoder does not shrink while it decodes, so photos
much larger than the canvas come out with other fine grain; the proof measures what that means.
"""

import tensorflow as tf

from trainer.augment.batch import evaluation_batch
from trainer.augment.config import Augmentation
from trainer.exporting.contract import Geometry

_HEADER_BYTES = 2**16
_WHITE = 255.0
_BMP_REFUSED = (
    "this is a BMP file of a kind whose colours would come out wrong; need 24 or 32 bits a pixel "
    "(blue, green, red), or 8 with a palette of 256 greys; send it as PNG; it has these bits a "
    "pixel:"
)


def decode_and_prepare(encoded: tf.Tensor, geometry: Geometry, image_px: int) -> tf.Tensor:
    """uint8 [B, S, S, 3] of encoded photos, string [B]: JPEG, PNG, WebP, GIF (first frame), BMP.

    Bytes that are no photo fail the whole call with InvalidArgumentError, and so do BMP files whose
    colours TensorFlow would get wrong (`_check_bmp`).
    """
    canvas_px = geometry.canvas_px

    def decode(one: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _canvas(one, canvas_px)

    canvases, aspects = tf.map_fn(
        decode,
        encoded,
        fn_output_signature=(
            tf.TensorSpec([canvas_px, canvas_px, 3], tf.uint8),
            tf.TensorSpec([], tf.float32),
        ),
    )
    config = Augmentation(
        resize=geometry.resize,  # type: ignore[arg-type]
        center_fraction=geometry.center_fraction,
        pad_value=geometry.pad_value,
    )
    pixels = evaluation_batch(canvases, aspects, config, image_px, kernels="matrix")
    return tf.cast(tf.round(pixels), tf.uint8)


def _canvas(encoded: tf.Tensor, canvas_px: int) -> tuple[tf.Tensor, tf.Tensor]:
    photo = _decode(encoded)
    canvas = tf.image.resize(photo, [canvas_px, canvas_px], antialias=True)
    canvas = tf.cast(tf.round(tf.clip_by_value(canvas, 0.0, 255.0)), tf.uint8)
    orientation = exif_orientation(encoded)
    height, width = (tf.cast(tf.shape(photo)[axis], tf.float32) for axis in (0, 1))
    aspect = tf.where(orientation >= 5, height / width, width / height)
    canvas = tf.switch_case(
        orientation - 1,
        [
            lambda: canvas,
            lambda: tf.reverse(canvas, [1]),
            lambda: tf.reverse(canvas, [0, 1]),
            lambda: tf.reverse(canvas, [0]),
            lambda: tf.transpose(canvas, [1, 0, 2]),
            lambda: tf.reverse(tf.transpose(canvas, [1, 0, 2]), [1]),
            lambda: tf.reverse(tf.transpose(canvas, [1, 0, 2]), [0, 1]),
            lambda: tf.reverse(tf.transpose(canvas, [1, 0, 2]), [0]),
        ],
    )
    return tf.ensure_shape(canvas, [canvas_px, canvas_px, 3]), aspect


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    """float32 [H, W, 3] in 0..255, transparency over white."""
    start = tf.strings.substr(encoded, 0, 4)
    kind = tf.strings.substr(encoded, 8, 4)
    is_webp = tf.logical_and(tf.equal(start, b"RIFF"), tf.equal(kind, b"WEBP"))
    is_png = tf.equal(start, b"\x89PNG")

    def plain() -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.cast(image, tf.float32)

    def checked_bmp() -> tf.Tensor:
        with tf.control_dependencies([_check_bmp(encoded)]):
            return plain()

    is_bmp = tf.equal(tf.strings.substr(encoded, 0, 2), b"BM")
    cases = [(is_png, lambda: _decode_png(encoded)), (is_bmp, checked_bmp)]
    if hasattr(tf.image, "decode_webp"):
        cases.append((is_webp, lambda: _decode_webp(encoded)))
    photo = tf.case(cases, default=plain, exclusive=True)
    return tf.ensure_shape(photo, [None, None, 3])


def _decode_png(encoded: tf.Tensor) -> tf.Tensor:
    rgba = tf.io.decode_png(encoded, channels=4)
    # Where there is no transparency TensorFlow fills in the largest value of the file's own depth:
    # 15 of 255 with a palette of 16 colours, all but invisible.
    depth = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 24, 1), tf.uint8)[0], tf.int32)
    filled_in = tf.bitwise.left_shift(1, depth) - 1
    alpha = tf.cast(rgba[..., 3:], tf.int32)
    alpha = tf.where(tf.reduce_all(tf.equal(alpha, filled_in)), 255, alpha)
    return _over_white(tf.concat([rgba[..., :3], tf.cast(alpha, tf.uint8)], axis=-1))


def _decode_webp(encoded: tf.Tensor) -> tf.Tensor:
    # Of an animation the first frame. The decoder adds no channel where there is none.
    frame = tf.cast(tf.image.decode_webp(encoded)[0], tf.float32)
    opaque = tf.ones_like(frame[..., :1]) * 255.0
    return _over_white(tf.concat([frame, opaque], axis=-1)[..., :4])


def _check_bmp(encoded: tf.Tensor) -> tf.Operation:
    """Fails unless a BMP file has 24 or 32 bits a pixel in the usual order, or 8 that are greys.

    TensorFlow's decoder takes a palette's indices for greys, and reads no masks.
    """
    # Zeros behind it, so that short files have all fields too.
    header = tf.strings.join([tf.strings.substr(encoded, 0, 2048), b"\0" * 2048])
    values = tf.cast(tf.io.decode_raw(header, tf.uint8), tf.int32)
    info_bytes = values[14] + 256 * values[15]
    bits = values[28] + 256 * values[29]
    is_plain = tf.reduce_all(tf.equal(values[30:34], 0))
    has_masks = tf.reduce_all(tf.equal(values[30:34], [3, 0, 0, 0]))
    usual_masks = tf.constant([0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])
    is_usual = has_masks & tf.reduce_all(tf.equal(values[54:66], usual_masks))
    # The palette stands behind the header: blue, green, red, nothing.
    palette = values[14 + tf.clip_by_value(info_bytes, 40, 124) :][: 4 * 256]
    greys = tf.range(256)[:, tf.newaxis]
    is_grey = tf.reduce_all(tf.equal(tf.reshape(palette, [256, 4])[:, :3], greys))
    known = (
        (tf.equal(bits, 24) & is_plain)
        | (tf.equal(bits, 32) & (is_plain | is_usual))
        | (tf.equal(bits, 8) & is_plain & is_grey)
    )
    return tf.debugging.Assert(known & (info_bytes >= 40), [_BMP_REFUSED, bits])


def _over_white(rgba: tf.Tensor) -> tf.Tensor:
    values = tf.cast(rgba, tf.float32)
    share = values[..., 3:] / 255.0
    return tf.round(values[..., :3] * share + _WHITE * (1 - share))


def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """int32 scalar 1..8 of a JPEG's EXIF, 1 where there is none.

    Looks for the tag's entry (0x0112, SHORT, one value) behind "Exif" in the first 64 KiB, in
    either byte order; TIFF 6.0, section 2.
    """
    header = tf.strings.substr(encoded, 0, _HEADER_BYTES)
    is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 2), b"\xff\xd8")
    found = tf.strings.split(tf.strings.join([header, b" "]), "Exif")
    # Zeros behind it, so that a short rest has all shifts.
    rest = tf.cond(
        tf.logical_and(is_jpeg, tf.shape(found)[0] > 1),
        lambda: tf.strings.join([tf.strings.reduce_join(found[1:], separator="Exif"), b"\0" * 12]),
        lambda: tf.constant(b"\0" * 12),
    )
    values = tf.cast(tf.io.decode_raw(rest, tf.uint8), tf.int32)
    num = tf.shape(values)[0] - 9

    def first(pattern: bytes, place: int) -> tf.Tensor:
        hits = tf.ones([num], tf.bool)
        for offset, value in enumerate(pattern):
            hits = tf.logical_and(hits, tf.equal(values[offset : offset + num], value))
        index = tf.argmax(tf.cast(hits, tf.int32), output_type=tf.int32)
        return tf.where(tf.reduce_any(hits), values[index + place], 0)

    little = first(b"\x12\x01\x03\x00\x01\x00\x00\x00", 8)
    big = first(b"\x01\x12\x00\x03\x00\x00\x00\x01", 9)
    orientation = tf.maximum(little, big)
    return tf.where(tf.logical_and(orientation >= 1, orientation <= 8), orientation, 1)
