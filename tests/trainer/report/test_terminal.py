import io

import pytest
from rich.console import Console

from tests.trainer.report.observed import PLANS, epoch_record, host_call
from trainer.progress import Progress
from trainer.report.terminal import TerminalProgress


def shown(observe, *, terminal=False, **options) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=200, soft_wrap=True)
    shown_on(console, observe, **options)
    return output.getvalue()


def shown_on(console: Console, observe, **options) -> None:
    with TerminalProgress(PLANS, console=console, **options) as display:
        observe(display)


def watch(display) -> None:
    display.on_steps(PLANS[0], Progress(step=5), host_call(is_first=True))
    display.on_steps(PLANS[0], Progress(step=10), host_call())


def test_a_line_holds_what_the_call_measured():
    text = shown(watch, verbose=True)
    line = text.splitlines()[-1]
    assert "stage 1/2 head  epoch 1/2  step 10/20  loss 1.250  accuracy 0.625" in line
    assert "25 images/s  waiting for input 25%" in line


def test_a_line_tells_the_time_left_of_stage_and_run():
    assert "stage 4 s left  run about 12 s" in shown(watch, verbose=True)


def test_a_line_tells_the_deadline():
    text = shown(watch, verbose=True, secs_to_deadline=lambda: 7200.0)
    assert text.rstrip().endswith("deadline in 2 h 00 min")


def test_speed_is_not_taken_from_the_call_that_compiles():
    def only_the_first(display):
        display.on_steps(PLANS[0], Progress(step=5), host_call(is_first=True))

    assert "images/s" not in shown(only_the_first, verbose=True)


def test_an_epoch_is_one_line_with_its_scores():
    text = shown(lambda display: display.on_epoch(PLANS[0], Progress(), epoch_record()))
    assert text == (
        "[head 1/2]  train loss 1.250 accuracy 0.625  val loss 1.500 accuracy 0.500  "
        "rate 1.0e-03  4 s  *\n"
    )


def test_an_epoch_tells_how_many_updates_were_left_out():
    record = epoch_record(num_skipped=3, is_best=False)
    text = shown(lambda display: display.on_epoch(PLANS[0], Progress(), record))
    assert text.endswith("4 s  3 updates skipped (gradients not finite)\n")


def test_steps_between_epochs_are_not_printed_more_often_than_every_half_minute():
    assert shown(watch) == ""


def test_quiet_prints_nothing():
    def both(display):
        watch(display)
        display.on_epoch(PLANS[0], Progress(), epoch_record())

    assert shown(both, quiet=True) == ""


def test_the_live_lines_are_gone_at_the_end_and_the_epoch_stays():
    def both(display):
        watch(display)
        display.on_epoch(PLANS[0], Progress(), epoch_record())

    text = shown(both, terminal=True)
    assert "[head 1/2]" in text
    assert text.endswith("\x1b[2K") or "\x1b[1A\x1b[2K" in text


def test_nothing_is_coloured_where_colours_are_not_wanted(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(watch, terminal=True)
    assert "\x1b[3" not in text


def test_the_live_display_ends_with_an_error():
    def fails(display):
        watch(display)
        raise ValueError

    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with pytest.raises(ValueError):
        shown_on(console, fails)
    assert console._live_stack == []
