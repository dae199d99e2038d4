"""Small photos and a contract for tests."""

import io

import numpy as np
from PIL import Image

from trainer.exporting.contract import Contract, Geometry


def make_contract(resize: str = "squash", center_fraction: float = 1.0, image_px: int = 32):
    return Contract(
        classes=("coupe", "van"),
        image_px=image_px,
        geometry=Geometry(
            resize=resize, center_fraction=center_fraction, pad_value=9, canvas_px=40
        ),
        temperature=1.25,
        views=({"mirror": False, "scale": 1.0, "anchor": "center"},),
        weights_sha256="ab",
        run_id="run",
        recipe="demo",
        backbone="Tiny",
        format="litert",
        quantization="none",
    )


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo_of(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 7, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
