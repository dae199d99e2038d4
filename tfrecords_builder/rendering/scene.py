"""What stands around the car: sky, ground, houses, trees. Independent of the body type."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((88, 140, 208), (208, 226, 240)),
    ((150, 160, 172), (205, 208, 212)),
    ((70, 78, 130), (240, 170, 120)),
    ((18, 22, 42), (62, 60, 86)),
    ((196, 192, 184), (232, 228, 220)),
)
_GROUNDS: tuple[tuple[Colour, Colour], ...] = (
    ((122, 122, 124), (84, 84, 88)),
    ((168, 160, 148), (128, 118, 106)),
    ((96, 120, 70), (70, 92, 50)),
    ((150, 120, 90), (108, 86, 66)),
    ((206, 208, 212), (160, 162, 168)),
    ((60, 62, 68), (36, 36, 42)),
)


@dataclass(frozen=True, slots=True)
class Frame:
    """Size of the (supersampled) picture and where its horizon lies, in pixels."""

    width: int
    height: int
    horizon: int


def shade(colour: Colour, factor: float) -> Colour:
    """The colour in more (factor > 1) or less light, clipped to 0..255."""
    red, green, blue = (max(0, min(255, int(channel * factor))) for channel in colour)
    return red, green, blue


def draw_background(frame: Frame, rng: np.random.Generator) -> Image.Image:
    """Sky over ground, with a town, trees, hills or a plain wall between them."""
    image = Image.new("RGB", (frame.width, frame.height))
    sky = _vary(_SKIES[rng.integers(len(_SKIES))], rng)
    ground = _vary(_GROUNDS[rng.integers(len(_GROUNDS))], rng)
    image.paste(_gradient(*sky, frame.width, frame.horizon), (0, 0))
    below = frame.height - frame.horizon
    image.paste(_gradient(*ground, frame.width, below), (0, frame.horizon))
    draw = ImageDraw.Draw(image)
    backdrop = rng.choice(["town", "trees", "hills", "wall", "none"])
    if backdrop == "town":
        _draw_town(draw, frame, rng)
    elif backdrop == "trees":
        _draw_trees(draw, frame, rng)
    elif backdrop == "hills":
        _draw_hills(draw, frame, rng)
    elif backdrop == "wall":
        _draw_wall(draw, frame, rng)
    _draw_markings(draw, frame, rng)
    return image


def draw_foreground(draw: ImageDraw.ImageDraw, frame: Frame, rng: np.random.Generator) -> None:
    """Now and then a post or some grass between the camera and the car."""
    if rng.random() < 0.15:
        x = rng.uniform(0, frame.width)
        half = frame.width * rng.uniform(0.004, 0.012)
        draw.rectangle((x - half, 0, x + half, frame.height), fill=_grey(rng, 30, 180))
    if rng.random() < 0.2:
        green = shade((70, 110, 50), rng.uniform(0.5, 1.2))
        base = frame.height * rng.uniform(0.95, 1.0)
        for x in rng.uniform(0, frame.width, size=24):
            height = frame.height * rng.uniform(0.02, 0.07)
            draw.line((x, frame.height, x + height * 0.3, base - height), fill=green, width=2)


def _vary(pair: tuple[Colour, Colour], rng: np.random.Generator) -> tuple[Colour, Colour]:
    factor = rng.uniform(0.75, 1.2)
    tint = rng.uniform(0.88, 1.12, size=3)
    first, second = (
        shade((int(c[0] * tint[0]), int(c[1] * tint[1]), int(c[2] * tint[2])), factor) for c in pair
    )
    return first, second


def _grey(rng: np.random.Generator, low: int, high: int) -> Colour:
    level = int(rng.integers(low, high))
    red, green, blue = (max(0, min(255, level + int(d))) for d in rng.integers(-18, 19, size=3))
    return red, green, blue


def _gradient(top: Colour, bottom: Colour, width: int, height: int) -> Image.Image:
    rows = np.linspace(top, bottom, max(1, height)).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(rows[:, None], (len(rows), width, 3)).copy(), "RGB")


def _draw_town(draw: ImageDraw.ImageDraw, frame: Frame, rng: np.random.Generator) -> None:
    x = -rng.uniform(0, 0.2) * frame.width
    while x < frame.width:
        width = frame.width * rng.uniform(0.1, 0.32)
        top = frame.horizon * (1 - rng.uniform(0.2, 0.95))
        wall = _grey(rng, 70, 210)
        draw.rectangle((x, top, x + width, frame.horizon), fill=wall)
        pane = shade(wall, rng.uniform(0.45, 1.5))
        step = frame.width * rng.uniform(0.03, 0.06)
        for wx in np.arange(x + step * 0.4, x + width - step * 0.5, step):
            for wy in np.arange(top + step * 0.4, frame.horizon - step, step * 1.3):
                draw.rectangle((wx, wy, wx + step * 0.5, wy + step * 0.7), fill=pane)
        x += width * rng.uniform(0.9, 1.4)


def _draw_trees(draw: ImageDraw.ImageDraw, frame: Frame, rng: np.random.Generator) -> None:
    for x in rng.uniform(0, frame.width, size=rng.integers(4, 12)):
        green = shade((64, 104, 52), rng.uniform(0.5, 1.35))
        size = frame.width * rng.uniform(0.06, 0.16)
        y = frame.horizon - size * rng.uniform(0.5, 1.3)
        trunk = frame.width * 0.008
        draw.rectangle((x - trunk, y, x + trunk, frame.horizon), fill=(70, 52, 38))
        for _ in range(4):
            dx, dy = rng.normal(0, size * 0.35, size=2)
            box = (x + dx - size / 2, y + dy - size / 2, x + dx + size / 2, y + dy + size / 2)
            draw.ellipse(box, fill=shade(green, rng.uniform(0.85, 1.15)))


def _draw_hills(draw: ImageDraw.ImageDraw, frame: Frame, rng: np.random.Generator) -> None:
    for depth in range(int(rng.integers(1, 4))):
        xs = np.linspace(0, frame.width, 9)
        ys = frame.horizon - frame.horizon * rng.uniform(0.05, 0.55 - 0.12 * depth, size=9)
        colour = shade((88, 112, 92), rng.uniform(0.6, 1.3))
        ridge = list(zip(xs.tolist(), ys.tolist(), strict=True))
        draw.polygon([(0, frame.horizon), *ridge, (frame.width, frame.horizon)], fill=colour)


def _draw_wall(draw: ImageDraw.ImageDraw, frame: Frame, rng: np.random.Generator) -> None:
    colour = _grey(rng, 60, 220)
    draw.rectangle((0, 0, frame.width, frame.horizon), fill=colour)
    joint = shade(colour, rng.uniform(0.8, 0.95))
    step = frame.width * rng.uniform(0.06, 0.2)
    for x in np.arange(rng.uniform(0, step), frame.width, step):
        draw.line((x, 0, x, frame.horizon), fill=joint, width=2)
    for y in np.arange(rng.uniform(0, step), frame.horizon, step * rng.uniform(0.5, 1.5)):
        draw.line((0, y, frame.width, y), fill=joint, width=2)


def _draw_markings(draw: ImageDraw.ImageDraw, frame: Frame, rng: np.random.Generator) -> None:
    below = frame.height - frame.horizon
    if rng.random() < 0.5:
        y = frame.horizon + below * rng.uniform(0.02, 0.2)
        thick = below * rng.uniform(0.02, 0.08)
        draw.rectangle((0, y, frame.width, y + thick), fill=_grey(rng, 90, 220))
    if rng.random() < 0.5:
        y = frame.horizon + below * rng.uniform(0.75, 0.95)
        dash = frame.width * rng.uniform(0.08, 0.25)
        for x in np.arange(-rng.uniform(0, dash), frame.width, dash * 1.8):
            slant = dash * 0.2
            line = [(x, y), (x + dash, y), (x + dash - slant, y + below * 0.04)]
            draw.polygon([*line, (x - slant, y + below * 0.04)], fill=(225, 222, 210))
