"""Bounding boxes against the frame that they are meant for."""

import math

from tfrecords_builder.sources.base import Box

SWAPPED = "box edges swapped"
CLIPPED = "box clipped to the frame"


class BadBoxError(Exception):
    """A box cannot be used; the message says why."""


def crop_region(
    box: Box, width: int, height: int, *, margin: float, repair: bool
) -> tuple[tuple[int, int, int, int], tuple[str, ...]]:
    """Returns the pixels to crop, (left, top, right, bottom), and what was repaired.

    Args:
      box: as annotated.
      width: of the frame in pixels.
      height: of the frame in pixels.
      margin: share of the box's sides that is added on each side; the frame limits it silently.
      repair: put swapped edges in order and cut off what lies outside; else such boxes are refused.

    Raises:
      BadBoxError: no pixel of the frame is inside, or `repair` would be needed and is off.
    """
    edges = (box.left, box.top, box.right, box.bottom)
    if not all(math.isfinite(edge) for edge in edges):
        raise BadBoxError(f"box {edges} has edges that are no numbers")
    left, right = sorted((box.left, box.right))
    top, bottom = sorted((box.top, box.bottom))
    repairs = []
    if (left, top, right, bottom) != edges:
        repairs.append(SWAPPED)
    if left < 0 or top < 0 or right > width or bottom > height:
        repairs.append(CLIPPED)
    if repairs and not repair:
        raise BadBoxError(f"box {edges} does not fit the {width} x {height} frame")
    inside_width = min(right, width) - max(left, 0)
    inside_height = min(bottom, height) - max(top, 0)
    if inside_width < 1 or inside_height < 1:
        raise BadBoxError(f"box {edges} is empty in the {width} x {height} frame")
    margin_x, margin_y = margin * (right - left), margin * (bottom - top)
    region = (
        max(0, math.floor(left - margin_x)),
        max(0, math.floor(top - margin_y)),
        min(width, math.ceil(right + margin_x)),
        min(height, math.ceil(bottom + margin_y)),
    )
    return region, tuple(repairs)
