"""What is measured of a stage, on a clock that the test moves."""

import time

import pytest

from trainer.engine.ledger import TimeLedger
from trainer.engine.stage_times import StageTimes


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_the_first_call_is_one_step_and_its_compilation(clock: Clock) -> None:
    ledger = TimeLedger()
    times = StageTimes(ledger, preparing_since=clock.now, began=clock.now)
    times.count_call(9.0, input_wait_secs=1.0, num_steps=1)
    assert ledger.spent() == {"input wait": 1.0, "compile": 8.0}
    times.count_call(6.5, input_wait_secs=0.5, num_steps=3)
    times.count_call(4.0, input_wait_secs=0.0, num_steps=2)
    assert ledger.spent() == {"input wait": 1.5, "compile": 6.0, "step": 12.0}


def test_what_the_first_evaluation_takes_beyond_the_second_compiled(clock: Clock) -> None:
    ledger = TimeLedger()
    times = StageTimes(ledger, preparing_since=clock.now, began=clock.now)
    for seconds in (7.0, 2.0, 3.0):
        with times.evaluation():
            clock.now += seconds
    assert ledger.spent() == {"evaluate": 7.0, "compile": 5.0}


def test_the_line_of_the_first_step_adds_up(clock: Clock) -> None:
    ledger = TimeLedger()
    times = StageTimes(ledger, preparing_since=clock.now, began=clock.now)
    with ledger.prepare("build"):
        clock.now += 2.0
    with times.evaluation():
        clock.now += 1.5
    clock.now += 6.0
    told = times.to_first_step("first call", 6.0, input_wait_secs=0.5)
    assert told == "9.5 s: build 2.0 s, evaluation 1.5 s, input wait 0.5 s, first call 5.5 s"


def test_an_end_in_order_has_time_for_the_longest_of_each_and_half_as_much_again(
    clock: Clock,
) -> None:
    times = StageTimes(TimeLedger(), preparing_since=clock.now, began=clock.now)
    assert times.secs_to_finish(write_secs=0.0) == 0.0
    times.count_call(50.0, input_wait_secs=0.0, num_steps=1)  # With the compilation: not again.
    clock.now += 60.0
    times.to_first_step("first call", 50.0, input_wait_secs=0.0)
    for seconds in (1.0, 4.0, 2.0):
        times.count_call(seconds, input_wait_secs=0.0, num_steps=1)
    with times.evaluation():
        clock.now += 10.0
    assert times.secs_to_finish(write_secs=2.0) == pytest.approx(1.5 * (4 + 10 + 2))
    assert times.secs_to_begin(write_secs=2.0) == pytest.approx(1.5 * (60 + 4 + 10 + 2))
