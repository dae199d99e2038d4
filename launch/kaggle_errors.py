"""Refusals of Kaggle's, of calls about kernels and data sets, and what to do about them."""

import os
from collections.abc import Callable
from typing import Any

from trainer.submission.errors import SubmissionError
from trainer.submission.failures import SETTINGS_PAGE, Failure, Kind, error_for

DOCTOR = "python -m launch.kaggle doctor"
Explain = Callable[[Failure, str, int], SubmissionError]
"""Makes the error to end with of (failure, what it was about, number of tries)."""


class KaggleRefused(SubmissionError):
    """Kaggle does not take what it was given; starting again as it is does not help."""


def explain(failure: Failure, subject: str, num_tries: int = 1) -> SubmissionError:
    """The error to end with, of calls about kernels and data sets."""
    if failure.kind is Kind.NO_CREDENTIALS and os.environ.get("KAGGLE_API_TOKEN"):
        return KaggleRefused(
            "Kaggle does not accept the token in KAGGLE_API_TOKEN; a valid one is needed; make a "
            f"new one at {SETTINGS_PAGE} and put it there"
        )
    is_refusal = failure.kind is Kind.STATUS and not failure.is_transient
    if is_refusal and failure.status != 401 and not failure.is_upload:
        said = f" ({failure.message})" if failure.message else ""
        answered = f"Kaggle answered {failure.status}{said} while {failure.step}"
        remedies = {
            403: "the owner's token is needed, of an account with a verified phone number; look "
            "at https://www.kaggle.com/settings",
            404: f"{subject} and everything attached to it must exist and be visible to the "
            "account; compare the names with their addresses",
            409: "a name that nothing else of the account has is needed; give another --name",
        }
        what = remedies.get(
            failure.status or 0,
            "a request that Kaggle takes is needed; look at what was given and at Kaggle's words",
        )
        return KaggleRefused(f"{answered}; {what}")
    return error_for(failure, subject, num_tries)


def with_doctor(explain: Explain, flags: str = "") -> Explain:
    """The same errors; where the account may be the cause, they lead to the doctor.

    Args:
      explain: As of `Connection`.
      flags: Of the doctor, each behind a blank.
    """

    def explain_with_doctor(failure: Failure, subject: str, num_tries: int = 1) -> SubmissionError:
        error = explain(failure, subject, num_tries)
        is_refusal = failure.kind is Kind.STATUS and not failure.is_transient
        if failure.kind is Kind.NO_CREDENTIALS or (is_refusal and failure.status != 409):
            return type(error)(f"{error}; then check the rest of the account: {DOCTOR}{flags}")
        return error

    return explain_with_doctor


def doctor_for(metadata: dict[str, Any]) -> str:
    """The doctor's command for what a push asks for, by its kernel-metadata.json."""
    accelerator = "tpu" if metadata["enable_tpu"] else "gpu" if metadata["enable_gpu"] else "cpu"
    competitions = [f" --competition={name}" for name in metadata["competition_sources"][:1]]
    return f"{DOCTOR} --accelerator={accelerator}{''.join(competitions)}"
