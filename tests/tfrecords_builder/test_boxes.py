"""Boxes are believed only where they fit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecords_builder.boxes import CLIPPED, SWAPPED, BadBoxError, crop_region
from tfrecords_builder.sources.base import Box


def region(edges: tuple[float, float, float, float], margin: float = 0, repair: bool = False):
    box = Box(left=edges[0], top=edges[1], right=edges[2], bottom=edges[3])
    return crop_region(box, 100, 50, margin=margin, repair=repair)


def test_a_good_box_is_the_region() -> None:
    assert region((10, 5, 60, 45)) == ((10, 5, 60, 45), ())


def test_the_margin_is_a_share_of_each_side_and_ends_at_the_frame() -> None:
    assert region((10, 10, 60, 30), margin=0.1) == ((5, 8, 65, 32), ())
    assert region((10, 10, 60, 30), margin=1) == ((0, 0, 100, 50), ())


@pytest.mark.parametrize(
    ("edges", "expected", "repairs"),
    [
        ((60, 5, 10, 45), (10, 5, 60, 45), (SWAPPED,)),
        ((10, 45, 60, 5), (10, 5, 60, 45), (SWAPPED,)),
        ((-5, 5, 60, 45), (0, 5, 60, 45), (CLIPPED,)),
        ((10, 5, 160, 45), (10, 5, 100, 45), (CLIPPED,)),
        ((160, 5, 10, 45), (10, 5, 100, 45), (SWAPPED, CLIPPED)),
    ],
)
def test_bad_boxes_are_refused_or_repaired_and_said(
    edges: tuple[float, float, float, float],
    expected: tuple[int, int, int, int],
    repairs: tuple[str, ...],
) -> None:
    with pytest.raises(BadBoxError, match="does not fit the 100 x 50 frame"):
        region(edges)
    assert region(edges, repair=True) == (expected, repairs)


@pytest.mark.parametrize(
    "edges", [(10, 5, 10, 45), (200, 5, 300, 45), (-9, -9, -1, -1), (0, 0, math.nan, 9)]
)
def test_boxes_without_a_pixel_are_always_refused(
    edges: tuple[float, float, float, float],
) -> None:
    with pytest.raises(BadBoxError):
        region(edges, repair=True)


edge = st.floats(-300, 300)


@given(st.tuples(edge, edge, edge, edge), st.floats(0, 10))
def test_a_region_is_never_empty_and_never_outside(
    edges: tuple[float, float, float, float], margin: float
) -> None:
    try:
        (left, top, right, bottom), _ = region(edges, margin=margin, repair=True)
    except BadBoxError:
        return
    assert 0 <= left < right <= 100
    assert 0 <= top < bottom <= 50
