import pytest

from trainer.report.durations import describe_seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (45.4, "45 s"),
        (150, "2.5 min"),
        (720, "12.0 min"),
        (3 * 3600 + 300, "3 h 05 min"),
    ],
)
def test_durations_are_written_for_people(seconds, text):
    assert describe_seconds(seconds) == text
