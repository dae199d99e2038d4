"""Failed calls to Kaggle: what happened, whether another try can help, and what to tell the user.

Nothing here talks to the network. Texts never hold what the client raised, because its messages
contain addresses with access tokens in them; they hold the status and the server's own sentence.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from trainer.submission.errors import KaggleUnavailable, SubmissionError

MAX_MESSAGE_CHARS = 300
SETTINGS_PAGE = "https://www.kaggle.com/settings/api"


class Kind(Enum):
    """How a call failed."""

    STATUS = "status"
    """An HTTP status of 400 or more."""
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    """No connection, or one that ended before the answer did."""
    GARBLED = "garbled"
    """An answer that is not the protocol's: a proxy's page, half a JSON document."""
    NO_CREDENTIALS = "no credentials"
    CLIENT = "client"
    """The kaggle package itself failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One failed call."""

    kind: Kind
    step: str
    """What was being done, continuing "Kaggle failed while ..."."""
    status: int | None = None
    message: str = ""
    """The server's own words, on one line, without secrets."""
    retry_after_secs: float | None = None
    """How long the server asked to wait."""
    is_upload: bool = False
    """The file was on its way to the blob store: an expired link is cured by a new one."""

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed later."""
        if self.kind in (Kind.TIMEOUT, Kind.CONNECTION, Kind.GARBLED):
            return True
        if self.kind is not Kind.STATUS or self.status is None:
            return False
        return (
            self.status in (408, 429)
            or self.status >= 500
            or (self.is_upload and self.status in (404, 410))
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How often a call is tried and how long to wait in between, in seconds."""

    max_tries: int = 6
    first_delay_secs: float = 2
    factor: float = 2
    max_delay_secs: float = 60
    max_retry_after_secs: float = 900
    """A server that asks for a longer wait than this ends the command instead."""

    def delay_secs(self, num_failed: int, retry_after_secs: float | None = None) -> float | None:
        """Wait after the `num_failed`-th failure (from 1); None when it is time to give up."""
        if num_failed >= self.max_tries:
            return None
        if retry_after_secs is not None:
            return retry_after_secs if retry_after_secs <= self.max_retry_after_secs else None
        return min(self.first_delay_secs * self.factor ** (num_failed - 1), self.max_delay_secs)


def retry_after_secs(value: str | None, now: datetime | None = None) -> float | None:
    """A `Retry-After` header in seconds from now, >= 0; None if absent or not understood.

    It is a number of seconds or a date (RFC 9110, section 10.2.3).
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    # NaN and infinity are numbers to float(), but no waiting time.
    return max(0.0, seconds) if seconds < float("inf") else None


def failure_of_response(response: Any, step: str, secrets: Iterable[str] = ()) -> Failure:
    """Describes a `requests.Response` with a status of 400 or more."""
    try:
        body = response.json()
        text = str(body.get("message") or body.get("error") or "")
    except (ValueError, AttributeError):
        text = ""
    return Failure(
        kind=Kind.STATUS,
        step=step,
        status=response.status_code,
        message=redact(text or response.reason or "", secrets),
        retry_after_secs=retry_after_secs(response.headers.get("Retry-After")),
        is_upload=response.request is not None and response.request.method == "PUT",
    )


def failure_of_exception(
    error: BaseException, step: str, secrets: Iterable[str] = (), *, is_upload: bool = False
) -> Failure:
    """Describes what the client raised."""
    import requests

    response = getattr(error, "response", None)
    if isinstance(error, requests.HTTPError) and response is not None:
        return failure_of_response(response, step, secrets)
    if isinstance(error, SystemExit):
        kind = Kind.NO_CREDENTIALS
    elif isinstance(error, json.JSONDecodeError):
        kind = Kind.GARBLED
    elif isinstance(error, requests.Timeout):
        kind = Kind.TIMEOUT
    elif isinstance(error, requests.RequestException | ConnectionError):
        kind = Kind.CONNECTION
    else:
        kind = Kind.CLIENT
    return Failure(kind=kind, step=step, message=type(error).__name__, is_upload=is_upload)


def redact(text: str, secrets: Iterable[str]) -> str:
    """One line of at most 300 characters without the secrets and without query strings."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = re.sub(r"(https?://[^\s?]+)\?\S+", r"\1?***", text)
    return " ".join(text.split())[:MAX_MESSAGE_CHARS]


def error_for(failure: Failure, competition: str, num_tries: int = 1) -> SubmissionError:
    """The error to end with: what happened, what is needed, what to do."""
    page = f"https://www.kaggle.com/competitions/{competition}"
    times = f" {num_tries} times" if num_tries > 1 else ""
    said = f" ({failure.message})" if failure.message else ""
    answered = f"Kaggle answered {failure.status}{said}{times} while {failure.step}"
    again = "start the same command again later, it goes on where it stopped"
    if failure.kind is Kind.NO_CREDENTIALS:
        return SubmissionError(
            f"no Kaggle credentials found; a token is needed; make one at {SETTINGS_PAGE} and put "
            "it into the variable KAGGLE_API_TOKEN or the file ~/.kaggle/access_token"
        )
    if failure.kind is Kind.CLIENT:
        return SubmissionError(
            f"the kaggle client failed with {failure.message} while {failure.step}; version 2.2.4 "
            "or a later 2 is needed; install it: pip install kaggle==2.2.4 six"
        )
    if failure.kind is Kind.TIMEOUT:
        return KaggleUnavailable(
            f"Kaggle did not answer in time{times} while {failure.step}; an answer is needed; "
            f"{again}"
        )
    if failure.kind is Kind.CONNECTION:
        return KaggleUnavailable(
            f"the connection to Kaggle failed{times} while {failure.step} ({failure.message}); a "
            f"network that reaches api.kaggle.com is needed; check it, {again}"
        )
    if failure.kind is Kind.GARBLED:
        return KaggleUnavailable(
            f"what answered{times} while {failure.step} does not speak Kaggle's protocol; a direct "
            f"connection is needed; check proxies and log-in pages of the network, {again}"
        )
    if failure.is_upload and not failure.is_transient:
        return SubmissionError(
            f"{answered}; the storage takes a file only through a link signed shortly before; "
            "check the clock of this machine and start the same command again"
        )
    if failure.status == 401:
        return SubmissionError(
            f"{answered}; a valid token is needed; make a new one at {SETTINGS_PAGE} and put it "
            "into KAGGLE_API_TOKEN or ~/.kaggle/access_token"
        )
    if failure.status == 403:
        return SubmissionError(
            f"{answered}; an account that has joined is needed; accept the rules at {page}/rules "
            "with the account of the token, verify its phone number if asked"
        )
    if failure.status == 404 and not failure.is_upload:
        return SubmissionError(
            f"{answered}; a competition that exists and is visible to the account is needed; "
            f"compare --competition={competition} with the last part of its address, {page}"
        )
    if failure.status == 429:
        wait = failure.retry_after_secs
        told = f" and asked to wait {wait:.0f} s" if wait is not None else ""
        return KaggleUnavailable(
            f"{answered}{told}; fewer requests are needed; wait at least as long, then: {again}"
        )
    if failure.is_transient:
        return KaggleUnavailable(f"{answered}; a working service is needed; {again}")
    return SubmissionError(
        f"{answered}; a submission that the competition takes is needed; see {page}/submissions "
        "for its deadline, the tries left today and the format"
    )
