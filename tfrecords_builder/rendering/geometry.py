"""Plain geometry of the renderer: rounded corners, clipped panes, and the camera.

World axes: x along the car, y up, z from the near flank to the far one; metres.
"""

from dataclasses import dataclass
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]


def round_corner(before: Point, corner: Point, after: Point, radius: float) -> list[Point]:
    """Replaces a corner by a quadratic Bezier arc that starts at most `radius` before it.

    Neighbours closer than twice the radius shorten it, so that two arcs never cross.
    """
    ends = []
    for neighbour in (before, after):
        dx, dy = neighbour[0] - corner[0], neighbour[1] - corner[1]
        distance = max(1e-9, (dx * dx + dy * dy) ** 0.5)
        share = min(radius, 0.45 * distance) / distance
        ends.append((corner[0] + dx * share, corner[1] + dy * share))
    (x0, y0), (x2, y2) = ends
    arc = []
    for t in (0.0, 0.25, 0.5, 0.75, 1.0):
        a, b, c = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
        arc.append((a * x0 + b * corner[0] + c * x2, a * y0 + b * corner[1] + c * y2))
    return arc


def clip_x(polygon: list[Point], low: float, high: float) -> list[Point]:
    """The part of a convex polygon between two verticals (Sutherland-Hodgman); may be empty."""
    for limit, sign in ((low, 1.0), (high, -1.0)):
        kept: list[Point] = []
        for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            inside0, inside1 = sign * (x0 - limit) >= 0, sign * (x1 - limit) >= 0
            if inside0:
                kept.append((x0, y0))
            if inside0 != inside1:
                kept.append((limit, y0 + (limit - x0) / (x1 - x0) * (y1 - y0)))
        polygon = kept
    return polygon


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """Where the car is seen from, and where it lands in the picture."""

    yaw: float
    """Radians the car is turned out of the pure side view; positive shows its front."""
    pitch: float
    """Radians the camera looks down."""
    roll: float
    """Radians the picture is turned in its plane."""
    distance: float
    """Metres to the car; a near camera exaggerates perspective."""
    middle: tuple[float, float, float]
    """The point of the world that lands at `centre_px`."""
    pixels_per_metre: float
    centre_px: Point

    def project(self, points: NDArray[np.float64]) -> list[Point]:
        """Maps world points [N, 3] to pixels (x right, y down)."""
        x, y, z = (points - np.asarray(self.middle)).T
        right = x * cos(self.yaw) - z * sin(self.yaw)
        away = x * sin(self.yaw) + z * cos(self.yaw)
        up = y * cos(self.pitch) + away * sin(self.pitch)
        away = away * cos(self.pitch) - y * sin(self.pitch)
        scale = self.pixels_per_metre * self.distance / (self.distance + away)
        right, up = right * scale, up * scale
        across = right * cos(self.roll) - up * sin(self.roll)
        down = -(right * sin(self.roll) + up * cos(self.roll))
        pixels = np.stack([across + self.centre_px[0], down + self.centre_px[1]], axis=1)
        return list(map(tuple, pixels.tolist()))
