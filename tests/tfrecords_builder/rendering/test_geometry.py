import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecords_builder.rendering.geometry import Camera, clip_x, round_corner


def _camera(**changes):
    settings = {
        "yaw": 0.0,
        "pitch": 0.0,
        "roll": 0.0,
        "distance": 1e9,
        "middle": (0.0, 0.0, 0.0),
        "pixels_per_metre": 10.0,
        "centre_px": (50.0, 40.0),
    }
    return Camera(**{**settings, **changes})


def test_side_view_scales_and_turns_y_down():
    assert _camera().project(np.array([(2.0, 1.0, 0.0)])) == [pytest.approx((70.0, 30.0))]


def test_middle_lands_at_the_centre_from_every_angle():
    camera = _camera(yaw=0.4, pitch=0.2, roll=-0.1, distance=8.0, middle=(1.0, 2.0, 3.0))
    assert camera.project(np.array([(1.0, 2.0, 3.0)])) == [pytest.approx((50.0, 40.0))]


def test_what_is_farther_away_is_smaller():
    camera = _camera(distance=10.0)
    (near, _), (far, _) = camera.project(np.array([(1.0, 0.0, 0.0), (1.0, 0.0, 5.0)]))
    assert near - 50.0 == pytest.approx(1.5 * (far - 50.0))


def test_clip_cuts_a_square_in_half():
    square = [(0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (0.0, 1.0)]
    assert sorted(clip_x(square, 0.0, 1.0)) == [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)]


def test_clip_beside_the_polygon_is_empty():
    assert clip_x([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)], 2.0, 3.0) == []


@given(
    st.tuples(*[st.floats(-5, 5, allow_subnormal=False)] * 6),
    st.floats(0.01, 3, allow_subnormal=False),
)
def test_rounded_corner_stays_between_its_neighbours(coordinates, radius):
    x0, y0, x1, y1, x2, y2 = coordinates
    for x, y in round_corner((x0, y0), (x1, y1), (x2, y2), radius):
        assert min(x0, x1, x2) - 1e-6 <= x <= max(x0, x1, x2) + 1e-6
        assert min(y0, y1, y2) - 1e-6 <= y <= max(y0, y1, y2) + 1e-6
