"""The renderer's one public function: a body type and a random generator give a photo."""

from math import radians

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from tfrecords_builder.rendering.bodies import BODY_TYPES, Body, sample_body
from tfrecords_builder.rendering.car import draw_car, flank_points, profile, sample_paint
from tfrecords_builder.rendering.geometry import Camera
from tfrecords_builder.rendering.scene import Frame, draw_background, draw_foreground

_ASPECTS = (4 / 3, 4 / 3, 3 / 2, 1.0, 5 / 4, 16 / 10, 4 / 5)
"""Width over height of the photos, equally likely."""
_SUPERSAMPLING = 2


def render_car(body_type: str, rng: np.random.Generator, image_px: int) -> Image.Image:
    """Renders one photo of a made-up car.

    The body type decides the shape of the car and nothing else: colour, light, view, place,
    background, camera and the photo's aspect ratio come from `rng` alone.

    Args:
        body_type: one of `BODY_TYPES`.
        rng: the only source of chance; the same state gives the same pixels.
        image_px: pixels of the photo's longer side, at least 16.

    Returns:
        An RGB image; its sides differ from photo to photo.

    Raises:
        ValueError: unknown body type or an image too small to show a car.
    """
    if body_type not in BODY_TYPES:
        raise ValueError(f"body_type={body_type!r} is unknown; use one of {', '.join(BODY_TYPES)}")
    if image_px < 16:
        raise ValueError(f"image_px={image_px} cannot show a car; use at least 16")
    # A generator of its own for the body: the scene must not know how many numbers it took.
    body_seed, scene_seed = rng.integers(2**63, size=2)
    body = sample_body(body_type, np.random.default_rng(body_seed))
    rng = np.random.default_rng(scene_seed)
    paint = sample_paint(rng)
    frame = _sample_frame(rng, image_px * _SUPERSAMPLING)
    camera = _sample_camera(body, frame, rng)

    image = draw_background(frame, rng)
    image = _cast_shadow(image, body, camera, rng)
    draw = ImageDraw.Draw(image)
    draw_car(draw, body, paint, camera)
    draw_foreground(draw, frame, rng)
    size = (frame.width // _SUPERSAMPLING, frame.height // _SUPERSAMPLING)
    return _photograph(image.resize(size, Image.Resampling.BOX), rng)


def _sample_frame(rng: np.random.Generator, longer: int) -> Frame:
    aspect = _ASPECTS[rng.integers(len(_ASPECTS))]
    width, height = (longer, longer / aspect) if aspect >= 1 else (longer * aspect, longer)
    width, height = (max(_SUPERSAMPLING, int(side)) for side in (width, height))
    return Frame(width, height, int(height * rng.uniform(0.35, 0.6)))


def _sample_camera(body: Body, frame: Frame, rng: np.random.Generator) -> Camera:
    # The car fills a share of the *shorter* side, so that a square crop of the photo keeps it.
    shorter = min(frame.width, frame.height)
    share = rng.uniform(0.74, 0.98)
    scale = min(share * shorter / body.length, 0.8 * shorter / body.height)
    offset_x, offset_y = rng.uniform(-0.06, 0.06, size=2) * shorter
    return Camera(
        yaw=radians(rng.uniform(-24, 24)),
        pitch=radians(rng.uniform(2, 14)),
        roll=radians(rng.normal(0, 2.0)),
        distance=rng.uniform(9, 30),
        middle=(body.length / 2, body.height / 2, body.width / 2),
        pixels_per_metre=scale,
        centre_px=(frame.width / 2 + offset_x, frame.height * 0.56 + offset_y),
    )


def _cast_shadow(
    image: Image.Image, body: Body, camera: Camera, rng: np.random.Generator
) -> Image.Image:
    """Darkens the ground under the car and where the sun throws its outline."""
    mask = Image.new("L", image.size)
    draw = ImageDraw.Draw(mask)
    strength = int(rng.uniform(60, 190))
    outline = flank_points(body, profile(body).points)
    lean_x, lean_z = rng.uniform(-0.9, 0.9), rng.uniform(-0.2, 0.9)
    for side in (0.0, body.width):
        cast = outline.copy()
        cast[:, 0] += cast[:, 1] * lean_x
        cast[:, 2] = side + cast[:, 1] * lean_z
        cast[:, 1] = 0.0
        draw.polygon(camera.project(cast), fill=strength)
    length, width = body.length, body.width
    under = np.array([(0, 0, -0.1), (length, 0, -0.1), (length, 0, width), (0, 0, width)])
    draw.polygon(camera.project(under), fill=min(255, strength + 60))
    mask = mask.filter(ImageFilter.BoxBlur(max(1.0, image.width * rng.uniform(0.004, 0.02))))
    return Image.composite(Image.new("RGB", image.size, (10, 10, 14)), image, mask)


def _photograph(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Mirror, focus, exposure, white balance and sensor noise."""
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.0045) * max(image.size)))
    exposure = rng.uniform(0.9, 1.3) * rng.uniform(0.94, 1.06, size=3)
    curve = _tone_curve(exposure.astype(np.float32), float(np.float32(rng.uniform(0.7, 1.1))))
    pixels = curve[np.asarray(image), np.arange(3)]
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * rng.uniform(0.0, 0.035)
    pixels = np.clip(pixels + noise, 0.0, 1.0)
    return Image.fromarray((pixels * 255.0 + 0.5).astype(np.uint8), "RGB")


def _tone_curve(exposure: NDArray[np.float32], gamma: float) -> NDArray[np.float32]:
    """Returns the brightness [256, 3] of every level of the three channels; 1 is white.

    In Python's floats: the last bit of numpy's powers depends on the processor, and with it a
    pixel of every hundredth photo.
    """
    levels = np.arange(256, dtype=np.float32)[:, None] / 255.0 * exposure
    return np.array([[level**gamma for level in row] for row in levels.tolist()], np.float32)
