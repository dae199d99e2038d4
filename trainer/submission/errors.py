"""What can go wrong between a finished prediction and a score."""

from tfrecords_builder.errors import UserError


class SubmissionError(UserError):
    """A submission that cannot be written, read, handed in or scored; starting again as it is does
    not help."""


class KaggleUnavailable(SubmissionError):
    """Kaggle did not answer, or not in time; the same command may be started again.

    The exit code is EX_UNAVAILABLE of sysexits.h.
    """

    exit_code = 69
