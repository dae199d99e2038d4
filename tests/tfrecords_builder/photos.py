"""Small made photos."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def encode_image(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Returns the image as a file's bytes."""
    encoded = io.BytesIO()
    image.save(encoded, format=image_format, **options)
    return encoded.getvalue()


def make_image(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """Returns a smooth random colour image, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def make_photo(seed: int, width: int = 40, height: int = 30) -> bytes:
    """Returns `make_image` as a JPEG file."""
    return encode_image(make_image(seed, width, height), "JPEG")


def write_photos(folder: Path, num_per_class: dict[str, int]) -> None:
    """Writes folder/<class>/<number>.jpg, all photos different."""
    for label, (name, num_photos) in enumerate(num_per_class.items()):
        (folder / name).mkdir(parents=True)
        for number in range(num_photos):
            path = folder / name / f"{number}.jpg"
            path.write_bytes(make_photo(1000 * label + number))
