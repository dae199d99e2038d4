"""Reading failures: waiting times, redaction, retries."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.submission.failures import (
    Failure,
    Kind,
    RetryPolicy,
    error_for,
    redact,
    retry_after_secs,
)

NOW = datetime(2026, 11, 2, 10, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("30", 30),
        ("0.5", 0.5),
        ("-3", 0),
        ("Mon, 02 Nov 2026 10:01:30 GMT", 90),
        ("Mon, 02 Nov 2026 09:00:00 GMT", 0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_secs(header, NOW) == seconds


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20))
def test_waits_grow_up_to_the_longest_and_end(max_tries: int) -> None:
    policy = RetryPolicy(max_tries=max_tries)
    delays = [policy.delay_secs(failed) for failed in range(1, max_tries)]
    assert delays == sorted(delays)  # type: ignore[type-var]
    assert all(delay is not None and 0 < delay <= policy.max_delay_secs for delay in delays)
    assert policy.delay_secs(max_tries) is None


@settings(max_examples=20, deadline=None)
@given(st.text(), st.text())
def test_redacted_text_is_one_short_line_without_the_secret(before: str, after: str) -> None:
    text = redact(f"{before} KGAT_1234 {after}", ["KGAT_1234"])
    assert "KGAT_1234" not in text
    assert len(text) <= 300
    assert len(text.splitlines()) <= 1


def test_addresses_lose_their_query() -> None:
    text = redact("PUT https://store.example/o?upload_id=abc&sig=def failed", [])
    assert text == "PUT https://store.example/o?*** failed"


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429, 500, 503])
@pytest.mark.parametrize("is_upload", [False, True])
def test_every_failure_has_an_error_in_three_parts(
    kind: Kind, status: int, is_upload: bool
) -> None:
    failure = Failure(
        kind=kind,
        step="trying",
        status=status if kind is Kind.STATUS else None,
        is_upload=is_upload,
    )
    error = error_for(failure, "cars")
    assert str(error).count(";") >= 2
    assert error.exit_code == (69 if failure.is_transient else 2)
