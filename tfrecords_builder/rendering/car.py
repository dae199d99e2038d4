"""Draws one car: its skin between the two flanks, the near flank, glass, lights and wheels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from tfrecords_builder.rendering.bodies import Body
from tfrecords_builder.rendering.geometry import Camera, Point, clip_x, round_corner
from tfrecords_builder.rendering.scene import Colour, shade

_CIRCLE = np.linspace(0.0, 2.0 * np.pi, 20, endpoint=False)
_TUMBLEHOME = 0.2
"""Share of the half width by which the roof is narrower than the flanks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Paint:
    """Colours and light of one car, none of them tied to its body type."""

    body: Colour
    glass: Colour
    rim: Colour
    side_light: float
    top_light: float
    end_light: float
    num_spokes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Skin:
    """The profile as a closed line, with the material of the strip that starts at each point."""

    points: list[Point]
    materials: list[str]


def sample_paint(rng: np.random.Generator) -> Paint:
    """Any colour, glass from nearly black to sky-blue, light from anywhere."""
    hue = rng.uniform(0, 2 * np.pi)
    saturation = rng.choice([0.0, 0.25, 0.8]) * rng.uniform(0.6, 1.0)
    value = rng.uniform(50, 245)
    wave = 1 - saturation * (0.5 + 0.5 * np.cos(hue + np.array([0.0, 2.094, 4.189])))
    red, green, blue = (int(value * w) for w in wave)
    glass = rng.uniform(20, 110)
    rim = int(rng.uniform(90, 225))
    return Paint(
        body=(red, green, blue),
        glass=(int(glass * 0.9), int(glass), int(glass * rng.uniform(1.0, 1.25))),
        rim=(rim, rim, rim),
        side_light=rng.uniform(0.75, 1.1),
        top_light=rng.uniform(1.1, 1.4),
        end_light=rng.uniform(0.55, 0.95),
        num_spokes=int(rng.integers(4, 9)),
    )


def profile(body: Body) -> Skin:
    """The body's side view, nose bottom first, over the roof, to the tail's bottom."""
    end = body.length
    corners: list[tuple[float, float, float, str]] = [
        (0.05, body.clearance, 0.05, "trim"),
        (0.0, body.clearance + 0.2, 0.1, "front"),
        (0.03, body.nose - 0.14, 0.05, "headlight"),
        (0.08, body.nose, 0.1, "top"),
        (*body.cowl, 0.05, "glass"),
    ]
    if body.open_top:
        corners[-1] = (*body.cowl, 0.05, "interior")
    else:
        corners += [
            (body.screen_top, body.height - 0.03, 0.25, "top"),
            ((body.screen_top + body.roof_end) / 2, body.height, 0.4, "top"),
            (body.roof_end, body.height - 0.04, 0.25, "glass"),
        ]
    corners += [
        (*body.glass_end, 0.06, "interior" if body.load_bed else "top"),
        (end - 0.04, body.tail, 0.08, "taillight"),
        (end - 0.01, body.tail - 0.18, 0.05, "rear"),
        (end, body.clearance + 0.2, 0.08, "rear"),
        (end - 0.06, body.clearance, 0.05, "under"),
    ]
    points: list[Point] = []
    materials: list[str] = []
    for index, (x, y, radius, material) in enumerate(corners):
        before, after = corners[index - 1], corners[(index + 1) % len(corners)]
        arc = round_corner(before[:2], (x, y), after[:2], radius)
        points += arc
        # An arc belongs to the strip before the corner up to its middle, then to the next one.
        materials += [before[3], before[3], material, material, material]
    return Skin(points=points, materials=materials)


def draw_car(draw: ImageDraw.ImageDraw, body: Body, paint: Paint, camera: Camera) -> None:
    """Paints the car from back to front; later strokes hide earlier ones."""
    skin = profile(body)
    for axle in (body.front_axle, body.rear_axle):
        _draw_wheel(draw, camera, body, paint, axle, z=body.width - 0.12)
    if body.open_top:
        _draw_cabin(draw, camera, body, paint)
    _draw_strips(draw, camera, body, paint, skin)
    if body.open_top:
        _draw_seats(draw, camera, body)
    _draw_flank(draw, camera, body, paint, skin)
    _draw_windows(draw, camera, body, paint)
    for axle in (body.front_axle, body.rear_axle):
        arch = _disc(axle, body.wheel_radius, body.wheel_radius * 1.17, 0.0)
        arch[:, 1] = np.maximum(arch[:, 1], body.clearance - 0.01)
        draw.polygon(camera.project(arch), fill=(16, 16, 18))
        _draw_wheel(draw, camera, body, paint, axle, z=-0.03)


def flank_points(body: Body, points: Sequence[Point]) -> NDArray[np.float64]:
    """Puts points of the side view on the near flank, [N, 3]; it leans inwards above the belt."""
    flat = np.asarray(points, dtype=np.float64)
    lean = np.clip((flat[:, 1] - body.belt) / max(0.1, body.height - body.belt), 0.0, 1.0)
    z = lean * _TUMBLEHOME * body.width / 2
    return np.column_stack([flat, z])


def _opposite(body: Body, near: NDArray[np.float64]) -> NDArray[np.float64]:
    return near * (1, 1, -1) + (0, 0, body.width)


def _draw_strips(
    draw: ImageDraw.ImageDraw, camera: Camera, body: Body, paint: Paint, skin: Skin
) -> None:
    near = flank_points(body, skin.points)
    near_px, far_px = camera.project(near), camera.project(_opposite(body, near))
    colours = {
        "trim": shade(paint.body, 0.35),
        "front": shade(paint.body, paint.end_light),
        "headlight": (236, 234, 214),
        "top": shade(paint.body, paint.top_light),
        "glass": shade(paint.glass, 1.35),
        "interior": (38, 34, 32),
        "taillight": (176, 24, 28),
        "rear": shade(paint.body, paint.end_light),
        "under": (20, 20, 22),
    }
    for index, material in enumerate(skin.materials):
        after = (index + 1) % len(near_px)
        (x0, y0), (x1, y1) = near_px[index], near_px[after]
        (x2, y2) = far_px[index]
        # Seen from outside only where the strip turns its upper face to the camera.
        if (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0) < 0:
            quad = [near_px[index], near_px[after], far_px[after], far_px[index]]
            draw.polygon(quad, fill=colours[material])


def _draw_flank(
    draw: ImageDraw.ImageDraw, camera: Camera, body: Body, paint: Paint, skin: Skin
) -> None:
    light = paint.side_light
    draw.polygon(camera.project(flank_points(body, skin.points)), fill=shade(paint.body, light))
    # Metal curves under: the lower a band, the less sky it mirrors.
    height = body.belt - body.clearance
    for level, factor in (
        (0.92, 1.1),
        (0.78, 0.97),
        (0.6, 0.9),
        (0.42, 0.82),
        (0.25, 0.72),
        (0.1, 0.5),
    ):
        limit = body.clearance + level * height
        band = [(x, min(y, limit)) for x, y in skin.points]
        draw.polygon(
            camera.project(flank_points(body, band)), fill=shade(paint.body, light * factor)
        )
    front = [(0.03, body.nose - 0.13), (0.08, body.nose - 0.02), (0.34, body.nose - 0.02)]
    draw.polygon(camera.project(flank_points(body, front)), fill=(232, 230, 212))
    x, y = body.length - 0.03, body.tail - 0.03
    rear = [(x, y), (x - 0.22, y), (x - 0.18, y - 0.14), (x + 0.02, y - 0.14)]
    draw.polygon(camera.project(flank_points(body, rear)), fill=(170, 22, 26))
    doors = [body.cowl[0] + 0.28, *body.pillars, body.window_end]
    for door in doors:
        if body.front_axle + 0.35 < door < body.rear_axle - 0.1:
            line = [(door, body.belt), (door, body.clearance + 0.12)]
            draw.line(
                camera.project(flank_points(body, line)), fill=shade(paint.body, 0.45), width=1
            )


def _draw_windows(draw: ImageDraw.ImageDraw, camera: Camera, body: Body, paint: Paint) -> None:
    (cowl_x, _), (rear_x, _) = body.cowl, body.glass_end
    sill, roof = body.belt + 0.03, body.height - 0.12
    if body.open_top:
        pane = [
            (cowl_x + 0.15, sill),
            (body.screen_top, body.height),
            (body.screen_top + 0.07, body.height),
        ]
        draw.polygon(
            camera.project(flank_points(body, [*pane, (cowl_x + 0.3, sill)])), fill=(24, 24, 26)
        )
        return
    outline = [
        (cowl_x + 0.16, sill),
        (body.screen_top + 0.1, roof),
        (body.roof_end - 0.04, roof),
        (rear_x - 0.16, sill),
    ]
    edges = [cowl_x, *body.pillars, max(body.window_end, cowl_x + 0.5)]
    for front, rear in pairwise(edges):
        pane = clip_x(outline, front + 0.035, rear - 0.035)
        if len(pane) < 3:
            continue
        draw.polygon(camera.project(flank_points(body, pane)), fill=paint.glass)
        glare = [(x, max(y, roof - 0.35 * (roof - sill))) for x, y in pane]
        draw.polygon(camera.project(flank_points(body, glare)), fill=shade(paint.glass, 1.3))


def _draw_cabin(draw: ImageDraw.ImageDraw, camera: Camera, body: Body, paint: Paint) -> None:
    (x, y), top = body.cowl, (body.screen_top, body.height)
    near = flank_points(body, [(x, y), top])
    quad = [*near, *_opposite(body, near)[::-1]]
    draw.polygon(camera.project(np.array(quad)), fill=shade(paint.glass, 1.5))
    draw.line(camera.project(np.array(quad[1:3])), fill=(24, 24, 26), width=2)


def _draw_seats(draw: ImageDraw.ImageDraw, camera: Camera, body: Body) -> None:
    for z in (body.width * 0.65, body.width * 0.22):
        for x in (body.screen_top + 0.45, body.glass_end[0] - 0.45):
            seat = np.array([
                (x, body.belt - 0.2, z), (x + 0.1, body.belt + 0.26, z),
                (x + 0.26, body.belt + 0.26, z), (x + 0.3, body.belt - 0.2, z),
            ])  # fmt: skip
            draw.polygon(camera.project(seat), fill=(58, 46, 40))


def _disc(x: float, y: float, radius: float, z: float) -> NDArray[np.float64]:
    ring = np.stack([x + radius * np.cos(_CIRCLE), y + radius * np.sin(_CIRCLE)], axis=1)
    return np.column_stack([ring, np.full(len(ring), z)])


def _draw_wheel(
    draw: ImageDraw.ImageDraw, camera: Camera, body: Body, paint: Paint, x: float, z: float
) -> None:
    radius = body.wheel_radius
    draw.polygon(camera.project(_disc(x, radius, radius, z)), fill=(26, 26, 28))
    draw.polygon(camera.project(_disc(x, radius, radius * 0.64, z)), fill=paint.rim)
    for angle in np.linspace(0, 2 * np.pi, paint.num_spokes, endpoint=False):
        tip = (x + 0.6 * radius * np.cos(angle), radius * (1 + 0.6 * np.sin(angle)), z)
        hub = (x + 0.2 * radius * np.cos(angle), radius * (1 + 0.2 * np.sin(angle)), z)
        draw.line(camera.project(np.array([hub, tip])), fill=shade(paint.rim, 0.4), width=2)
    draw.polygon(camera.project(_disc(x, radius, radius * 0.15, z)), fill=shade(paint.rim, 0.6))
