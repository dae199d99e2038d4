import os
import subprocess
import sys
import time
from math import isclose

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords_builder.rendering.bodies import BODIES, BODY_TYPES, sample_body
from tfrecords_builder.rendering.render import render_car


def _pixels(body_type: str, seed: int, image_px: int = 64) -> np.ndarray:
    return np.asarray(render_car(body_type, np.random.default_rng(seed), image_px))


def test_there_are_ten_body_types():
    assert len(BODY_TYPES) == 10
    assert {"sedan", "hatchback", "suv", "pickup", "van", "coupe"} <= set(BODY_TYPES)


@pytest.mark.parametrize("body_type", BODY_TYPES)
def test_same_seed_gives_the_same_pixels(body_type):
    np.testing.assert_array_equal(_pixels(body_type, 3), _pixels(body_type, 3))


_TONE_CURVES = """
import hashlib
import numpy as np
from tfrecords_builder.rendering.render import _tone_curve
exposures = np.random.default_rng(0).uniform(0.8, 1.4, (100, 3)).astype(np.float32)
curves = [_tone_curve(exposure, 0.7 + i / 250) for i, exposure in enumerate(exposures)]
print(hashlib.sha256(np.stack(curves).tobytes()).hexdigest())
"""


def test_brightness_does_not_depend_on_the_instructions_of_the_processor():
    """numpy's powers do: with AVX-512 they end in other bits than without."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    hashes = set()
    for disabled in ("", " ".join(found)):
        done = subprocess.run(
            [sys.executable, "-c", _TONE_CURVES],
            env={**os.environ, "NPY_DISABLE_CPU_FEATURES": disabled},
            capture_output=True,
            check=True,
        )
        hashes.add(done.stdout)
    assert len(hashes) == 1


def test_another_seed_gives_another_photo():
    first, second = _pixels("sedan", 1), _pixels("sedan", 2)
    assert first.shape != second.shape or (first != second).mean() > 0.5


@pytest.mark.parametrize("image_px", [16, 63, 128, 200])
def test_longer_side_is_as_asked(image_px):
    sizes = [render_car("van", np.random.default_rng(s), image_px).size for s in range(12)]
    assert {max(size) for size in sizes} == {image_px}
    assert len(set(sizes)) > 2, "the photos should differ in aspect ratio"


def test_the_body_type_changes_only_the_car_and_its_shadow():
    """The same generator state gives the same scene: colour and background cannot tell a class."""
    photos = [_pixels(body_type, 11, 96).astype(int) for body_type in BODY_TYPES]
    assert len({photo.shape for photo in photos}) == 1
    corner = np.stack([photo[:8, :8] for photo in photos])
    assert np.ptp(corner, axis=0).max() == 0
    for other in photos[1:]:
        assert 0.02 < (np.abs(other - photos[0]).max(axis=-1) > 16).mean() < 0.9


@given(seed=st.integers(0, 2**32 - 1), body_type=st.sampled_from(BODY_TYPES))
@settings(max_examples=200, deadline=None)
def test_every_sampled_body_is_a_car(seed, body_type):
    body = sample_body(body_type, np.random.default_rng(seed))
    assert 0 < body.cowl[0] < body.screen_top < body.roof_end < body.glass_end[0] < body.length
    assert 0 < body.front_axle < body.rear_axle < body.length
    assert body.clearance < body.belt < body.height
    assert body.nose <= body.height


def test_sampled_bodies_keep_the_proportions_of_their_type():
    for body_type in BODY_TYPES:
        rng = np.random.default_rng(0)
        lengths = [sample_body(body_type, rng).length for _ in range(200)]
        assert isclose(np.mean(lengths), BODIES[body_type].length, rel_tol=0.02)
        assert np.ptp(lengths) > 0.05


def test_unknown_body_type_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'tractor' is unknown; use one of .*sedan"):
        render_car("tractor", np.random.default_rng(0), 64)


def test_too_small_an_image_is_refused():
    with pytest.raises(ValueError, match="at least 16"):
        render_car("sedan", np.random.default_rng(0), 15)


def test_a_128_px_photo_takes_milliseconds():
    rng = np.random.default_rng(0)
    seconds = []
    for _ in range(30):
        start = time.process_time()
        render_car("minibus", rng, 128)
        seconds.append(time.process_time() - start)
    assert np.median(seconds) < 0.05, "about 5 ms expected; ten times that is a defect"
