"""Google's REST interfaces over google-auth: retries where they are safe, errors with a remedy."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from tfrecords_builder.errors import UserError

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_PASSING = (408, 429, 500, 502, 503, 504)
_EXIT_UNAVAILABLE = 69
_NUM_TRIES = 6
_TIMEOUT_SECS = 60.0
_REMEDIES = {
    401: "log in with gcloud auth application-default login",
    403: "give the account the role that it lacks (roles/aiplatform.user for jobs, logging.viewer "
    "for logs, storage.objectViewer for the run's folder), and enable the service in the project",
    404: "look at project, region and name",
    409: "wait for the other request, or use another name",
    429: "wait, or ask for more quota on the page IAM & Admin > Quotas",
}


class GoogleError(UserError):
    """The service said no, or did not answer.

    Attributes:
        status: of the answer; None without one.
        may_pass: whether the same call may succeed later; the exit code is then EX_UNAVAILABLE of
            sysexits.h.
    """

    def __init__(self, message: str, *, status: int | None = None, may_pass: bool = False):
        super().__init__(message)
        self.status = status
        self.may_pass = may_pass
        self.exit_code = _EXIT_UNAVAILABLE if may_pass else UserError.exit_code


class GoogleRest:
    """Calls with application-default credentials.

    Args:
        sleep: waits between tries; seconds.

    Raises:
        GoogleError: there are no credentials.
    """

    def __init__(self, sleep: Callable[[float], None] = time.sleep):
        # Slow to import, and only this needs them.
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError
        from google.auth.transport.requests import AuthorizedSession

        try:
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        except DefaultCredentialsError as error:
            raise GoogleError(
                "found no Google credentials; need application-default ones; log in with gcloud "
                "auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS"
            ) from error
        self._session = AuthorizedSession(credentials)
        self._sleep = sleep

    def get(self, url: str, parameters: Mapping[str, str] | None = None) -> Any:
        """The JSON that a GET answers with; tried again on passing errors."""
        return self._repeated("GET", url, params=dict(parameters or {}))

    def post(self, url: str, body: Mapping[str, Any], is_repeatable: bool) -> Any:
        """The JSON that a POST answers with; tried again only where twice is the same as once."""
        if is_repeatable:
            return self._repeated("POST", url, json=dict(body))
        return self._once("POST", url, json=dict(body))

    def _repeated(self, method: str, url: str, **request: Any) -> Any:
        for number in range(1, _NUM_TRIES + 1):
            try:
                return self._once(method, url, **request)
            except GoogleError as error:
                if not error.may_pass or number == _NUM_TRIES:
                    raise
                self._sleep(min(30.0, 0.5 * 2**number))
        raise AssertionError

    def _once(self, method: str, url: str, **request: Any) -> Any:
        import requests
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            answer = self._session.request(method, url, timeout=_TIMEOUT_SECS, **request)
        except (requests.RequestException, GoogleAuthError) as error:
            if isinstance(error, GoogleAuthError) and not (
                isinstance(error, TransportError) or error.retryable
            ):
                raise GoogleError(
                    f"the Google credentials are not accepted ({error}); need valid ones; log in "
                    "with gcloud auth application-default login, or set "
                    "GOOGLE_APPLICATION_CREDENTIALS"
                ) from error
            raise GoogleError(
                f"{method} {_short(url)} got no answer ({type(error).__name__}); need a connection "
                "to Google's services; try again",
                may_pass=True,
            ) from error
        if answer.ok:
            try:
                return answer.json() if answer.content else {}
            except ValueError as error:
                raise GoogleError(
                    f"{method} {_short(url)} answered with a cut message; need a whole one; try "
                    "again",
                    may_pass=True,
                ) from error
        may_pass = answer.status_code in _PASSING
        default = "try again later" if may_pass else "correct what the service names"
        remedy = _REMEDIES.get(answer.status_code, default)
        raise GoogleError(
            f"{method} {_short(url)} answered {answer.status_code}: {_message(answer)}; {remedy}",
            status=answer.status_code,
            may_pass=may_pass,
        )


def endpoint(service: str, default: str) -> str:
    """Address of a service; gcloud's CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICE overrides it."""
    override = os.environ.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.upper()}")
    return (override or default).rstrip("/")


def _message(answer: Any) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200] or str(answer.reason)


def _short(url: str) -> str:
    return url.partition("?")[0].partition("/v1/")[2] or url
