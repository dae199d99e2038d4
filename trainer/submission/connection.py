"""The official kaggle client with what it lacks: time-outs, retries, and failures that are told.

Read in kaggle 2.2.4 (2.2.3 cannot tell the tries left) and kagglesdk 0.1.37: importing the package
authenticates and prints help on stdout; no call but the download has a time-out; only some retry,
and not on 429; an upload retries ten times on its own and prints its error instead of raising it.
"""

import contextlib
import io
import logging
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from trainer.submission.errors import SubmissionError
from trainer.submission.failures import (
    Failure,
    Kind,
    RetryPolicy,
    error_for,
    failure_of_exception,
    failure_of_response,
)

T = TypeVar("T")

CONNECT_TIMEOUT_SECS = 10.0
READ_TIMEOUT_SECS = 60.0

_STEPS = {
    "IntrospectToken": "checking the token",
    "ListSubmissions": "listing the submissions",
    "GetSubmissionLimits": "asking for the tries left today",
    "StartSubmissionUpload": "starting the upload",
    "CreateSubmission": "handing in the uploaded file",
    "DownloadDataFiles": "downloading the data",
    "ListDataFiles": "listing the competition's files",
    "GetKernel": "looking for the kernel",
    "SaveKernel": "pushing the kernel",
    "GetKernelSessionStatus": "asking how the session stands",
    "ListKernelSessionOutput": "listing the session's output",
    "GetAcceleratorQuotaStatistics": "asking for the quota",
    "GetDataset": "looking for the data set",
    "GetDatasetStatus": "waiting for the data set",
    "StartBlobUpload": "starting the upload",
    "CreateDataset": "making the data set",
    "CreateDatasetVersion": "making a version of the data set",
}


class CallFailed(Exception):
    """A call to Kaggle that failed; for the callers inside of this package."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.step)
        self.failure = failure


class Connection:
    """The client of one user for one competition; connects at the first call.

    Args:
      competition: Name of the competition, for the error messages.
      timeouts_secs: To connect, and to wait for the next bytes of an answer.
      policy: Of the retries.
      sleep: Waits that many seconds.
      report: Takes lines for the user.
      explain: Makes the error to end with of (failure, competition, number of tries).
    """

    def __init__(
        self,
        competition: str,
        *,
        timeouts_secs: tuple[float, float] = (CONNECT_TIMEOUT_SECS, READ_TIMEOUT_SECS),
        policy: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
        report: Callable[[str], None] = print,
        explain: Callable[[Failure, str, int], SubmissionError] = error_for,
    ) -> None:
        self.clock_skew_secs: float | None = None
        """This machine's clock minus the server's, by the last answer."""
        self._explain = explain
        self.competition = competition
        self.policy = policy or RetryPolicy()
        self.sleep = sleep
        self.report = report
        self._timeouts_secs = timeouts_secs
        self._api: Any = None
        self._secrets: set[str] = set()

    def call(self, function: Callable[[Any], T]) -> T:
        """Calls `function(api)`, which must change nothing at Kaggle, until it succeeds.

        Raises:
          SubmissionError: It fails in a way that another try does not cure.
          KaggleUnavailable: It failed as often as the policy allows.
        """
        num_failed = 0
        while True:
            try:
                return self.attempt(function)
            except CallFailed as failed:
                num_failed += 1
                self.wait_after(failed.failure, num_failed)

    def wait_after(self, failure: Failure, num_failed: int, at_least_secs: float = 0) -> None:
        """Waits before the next try, as told or by the policy.

        Raises:
          SubmissionError: Another try cannot help, or is one too many.
        """
        delay = self.policy.delay_secs(num_failed, failure.retry_after_secs)
        if not failure.is_transient or delay is None:
            raise self._explain(failure, self.competition, num_failed) from None
        delay = max(delay, at_least_secs)
        what = failure.status or failure.kind.value
        self.report(f"Kaggle: {what} while {failure.step}; next try in {delay:.0f} s")
        self.sleep(delay)

    def attempt(self, function: Callable[[Any], T]) -> T:
        """Calls `function(api)` once.

        Raises:
          CallFailed: In whatever way it failed, with no secret in it.
        """
        last: list[Any] = []
        printed = io.StringIO()
        try:
            with _bounded_requests(self._timeouts_secs, last), _captured(printed):
                return function(self._client())
        except (Exception, SystemExit) as error:
            if isinstance(error, SubmissionError):
                raise
            raise CallFailed(self._describe(error, last)) from None
        finally:
            self._read_clock(last)
            for line in printed.getvalue().splitlines():
                if line.startswith("Warning"):
                    self.report(line)

    def holds_secret(self, text: str) -> bool:
        """Whether one of the user's credentials is in the text; knows them after the first call."""
        return any(secret in text for secret in self._secrets)

    def _read_clock(self, last: list[Any]) -> None:
        headers = getattr(last[-1][1], "headers", {}) if last else {}
        if date := headers.get("Date"):
            self.clock_skew_secs = time.time() - parsedate_to_datetime(date).timestamp()

    def _describe(self, error: BaseException, last: list[Any]) -> Failure:
        request = last[-1][0] if last else None
        is_upload = request is not None and request.method == "PUT"
        step = "signing in"
        if request is not None:
            name = request.path_url.split("?")[0].rsplit("/", 1)[-1]
            step = "uploading the file" if is_upload else _STEPS.get(name, "talking to it")
            if "/logs/stream/" in request.path_url:
                step = "reading the log"
        if isinstance(error, Unanswered):
            # The client swallowed the reason; the last request of the wire knows it.
            outcome = last[-1][1] if last else None
            if isinstance(outcome, Exception):
                error = outcome
            elif outcome is not None and outcome.status_code >= 400:
                return failure_of_response(outcome, step, self._secrets)
            else:
                return Failure(kind=Kind.GARBLED, step=step, message=str(error))
        failure = failure_of_exception(error, step, self._secrets, is_upload=is_upload)
        answer = last[-1][1] if last else None
        if failure.kind is Kind.CLIENT and getattr(answer, "status_code", 0) >= 400:
            # For some statuses the client raises advice of its own instead.
            return failure_of_response(answer, step, self._secrets)
        return failure

    def _client(self) -> Any:
        if self._api is None:
            try:
                from kaggle.api.kaggle_api_extended import KaggleApi
                from kagglesdk.kaggle_env import get_access_token_from_env
            except ImportError as error:
                raise SubmissionError(
                    f"the kaggle client cannot be imported (no {error.name}); it is needed to talk "
                    "to Kaggle; install it: pip install kaggle==2.2.4 six"
                ) from None
            api = KaggleApi()
            try:
                api.authenticate()
            finally:
                found = {
                    get_access_token_from_env()[0],
                    *map(api.config_values.get, ("key", "token")),
                }
                self._secrets = {secret for secret in found if secret}
            self._api = api
        return self._api


class Unanswered(Exception):
    """The client returned without an error and without what was asked for."""


@contextlib.contextmanager
def _captured(printed: io.StringIO) -> Iterator[None]:
    """Keeps the client's own prints, and the addresses that urllib3 logs, from the user."""
    logger = logging.getLogger("urllib3")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _bounded_requests(timeouts_secs: tuple[float, float], last: list[Any]) -> Iterator[None]:
    """Gives every request made inside a time-out and no retries of its own.

    `requests` has no setting for it, and the client builds its sessions where nobody can reach
    them, also while it is imported; so the one method that all of them go through is replaced for
    the time of a call. (request, response or exception) of each is appended to `last`.
    """
    try:
        import requests
        from urllib3.util.retry import Retry
    except ImportError as error:
        raise SubmissionError(
            f"{error.name} cannot be imported; the kaggle client needs it; install it: "
            "pip install kaggle==2.2.4 six"
        ) from None
    session_class: Any = requests.Session
    original = session_class.send
    sessions: set[Any] = set()

    def send(session: Any, request: Any, **kwargs: Any) -> Any:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = timeouts_secs
        sessions.add(session)
        session.get_adapter(request.url).max_retries = Retry(0, read=False)
        try:
            response = original(session, request, **kwargs)
        except Exception as error:
            last.append((request, error))
            raise
        last.append((request, response))
        return response

    session_class.send = send
    try:
        yield
    finally:
        session_class.send = original
        for session in sessions:
            # The client leaves the one of an upload open.
            session.close()
