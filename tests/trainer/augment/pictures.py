"""Made pictures with edges, gradients and fine detail, the same in every run."""

import numpy as np
from PIL import Image, ImageDraw


def make_picture(index: int, size: tuple[int, int]) -> np.ndarray:
    """A colourful scene as uint8 [H, W, 3]; `size` is (width, height)."""
    rng = np.random.default_rng(index)
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    phase = rng.uniform(0, 6, 3)
    waves = [np.sin(7 * x * (c + 1) + phase[c]) * np.cos(5 * y + c) for c in range(3)]
    pixels = np.clip(128 + 90 * np.stack(waves, -1), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        corners = rng.integers(0, size, (2, 2))
        box = (*corners.min(0).tolist(), *corners.max(0).tolist())
        color = tuple(int(value) for value in rng.integers(0, 256, 3))
        (draw.rectangle if rng.random() < 0.5 else draw.ellipse)(box, fill=color)
    noisy = np.asarray(image).astype(int) + rng.integers(-8, 9, pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def make_canvases(num: int, canvas_px: int) -> np.ndarray:
    """uint8 [num, canvas_px, canvas_px, 3]."""
    return np.stack([make_picture(index, (canvas_px, canvas_px)) for index in range(num)])
