"""Who is let in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.serving.admission import Admission, FullError


def make_admission(queue: int = 4) -> Admission:
    return Admission(queue=queue, max_held_bytes=100, timeout_s=10)


def test_the_queue_is_never_exceeded_and_empties():
    admission = make_admission()
    with admission.photos_inside(3):
        with pytest.raises(FullError), admission.photos_inside(2):
            pass
        with admission.photos_inside(1):
            assert admission.photos == 4
    assert admission.photos == 0


def test_the_door_closes_when_waiting_would_take_half_of_the_time_limit():
    admission = make_admission()
    admission.learn("network", 3)
    with admission.photos_inside(1), pytest.raises(FullError) as caught:
        admission.check()
    assert caught.value.retry_after == 3


def test_an_expectation_holds_until_something_is_known():
    admission = make_admission()
    admission.expect("network", 7)
    assert admission.seconds_per_photo == 7
    admission.learn("network", 0.5)
    assert admission.seconds_per_photo == 0.5


def test_an_empty_house_takes_a_slow_photo():
    admission = make_admission()
    admission.learn("network", 1000)
    admission.check(4)


@pytest.mark.parametrize("slow", ["decoders", "network"])
def test_the_slowest_stage_sets_the_pace(slow: str):
    admission = make_admission()
    for stage in ("decoders", "network"):
        admission.learn(stage, 3 if stage == slow else 0.001)
    with admission.photos_inside(1), pytest.raises(FullError):
        admission.check()


@given(st.lists(st.integers(1, 60)))
def test_bytes_that_were_refused_are_not_held(sizes: list[int]):
    admission = make_admission()
    held = 0
    for size in sizes:
        try:
            admission.hold(size)
            held += size
        except FullError:
            assert held + size > 100
    assert admission.held_bytes == held <= 100
