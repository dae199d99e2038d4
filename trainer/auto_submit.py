"""From a finished run to a score without another command: predicts the test split, hands it in."""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfrecords_builder.manifest import Manifest
from trainer.engine.stop import StopSignal
from trainer.errors import DataError, Preempted, RunFolderError
from trainer.prediction import predict
from trainer.prediction_files import write_result
from trainer.prediction_request import PredictionRequest
from trainer.submission.board import Board
from trainer.submission.connection import Connection
from trainer.submission.errors import KaggleUnavailable, SubmissionError
from trainer.submission.failures import RetryPolicy
from trainer.submission.ledger import Ledger, default_ledger
from trainer.submission.run_record import pending_submission, read_run
from trainer.submission.scores import collect_score
from trainer.submission.submitting import SubmissionRequest, hand_in

if TYPE_CHECKING:
    import tensorflow as tf

SUBMISSION_FILE = "submission.csv"
_SLICE_SECS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoSubmit:
    """Where the run's predictions go."""

    competition: str
    sample_submission: str | None = None
    """CSV file to compare columns and ids with before anything is handed in."""


def check_auto_submit(wanted: AutoSubmit, run_dir: str, manifest: Manifest) -> None:
    """Finds before the first epoch what would stop the submission after the last.

    Asks Kaggle as well, for credentials, rules and the competition's name; a Kaggle that does not
    answer now stops nothing.

    Raises:
        DataError, RunFolderError, SubmissionError: it says what is missing.
    """
    test = manifest.splits.get("test")
    if test is None or test.num_examples == 0 or manifest.submission is None:
        raise DataError(
            f"--auto_submit needs a test split in the order of a sample submission; these records "
            f"hold {', '.join(manifest.splits)}; build them with --test_images and "
            "--sample_submission"
        )
    if run_dir.startswith("gs://"):
        raise RunFolderError(
            f"--auto_submit cannot write the score into {run_dir}; need a local --run_dir; or "
            "leave it out and use trainer.submit"
        )
    if wanted.sample_submission and not Path(wanted.sample_submission).is_file():
        raise DataError(
            f"--sample_submission={wanted.sample_submission} is not there; need the competition's "
            "sample; check the path or leave it out"
        )
    if importlib.util.find_spec("kaggle") is None:
        raise SubmissionError(
            "--auto_submit needs the kaggle client, which is not installed; install the extra: "
            "pip install 'staged-trainer[kaggle]'"
        )
    try:
        Board(Connection(wanted.competition, policy=RetryPolicy(max_tries=1))).tries_left()
    except KaggleUnavailable as error:
        print(f"note: {error}; the submission is tried at the end all the same")


def submit_run(
    wanted: AutoSubmit,
    run_dir: str,
    data_dir: str,
    strategy: "tf.distribute.Strategy",
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Predicts the test split with the run's model, hands it in and waits for the score.

    Follows the run's `inference.json`. Does nothing where `run.json` has the competition's score
    already. Where it names a submission that waits for one, nothing is predicted: another machine
    may give one photo another label, and that would be a second try. Must come after the last write
    of the run's record by the training.

    Args:
        wanted: where to.
        run_dir: local, of a finished run.
        data_dir: records with the test split.
        strategy: where to run.
        sleep: waits that many seconds for Kaggle, see `sleep_until_told`.

    Raises:
        SubmissionError: it was not taken, or has no score; the same command can try again.
    """
    from trainer.devices import is_chief

    folder = Path(run_dir)
    for entry in read_run(folder).get("submissions", []):
        if entry["competition"] == wanted.competition and entry["status"] == "complete":
            print(f"handed in before as {entry['ref']}: public score {entry['public_score']}")
            return
    if pending_submission(folder, wanted.competition) is not None:
        if not is_chief(strategy):
            return
        connection = Connection(wanted.competition, sleep=sleep)
        score = collect_score(folder, connection, Ledger(default_ledger()))
    else:
        # All of several workers take part in the prediction; one hands it in.
        result = predict(PredictionRequest(run_dirs=(run_dir,), data_dirs=(data_dir,)), strategy)
        if not is_chief(strategy):
            return
        file = folder / SUBMISSION_FILE
        write_result(result, file, folder / "predictions.csv", data_dir)
        request = SubmissionRequest(
            competition=wanted.competition,
            file=file,
            run_dir=folder,
            sample_submission=Path(wanted.sample_submission) if wanted.sample_submission else None,
        )
        connection = Connection(wanted.competition, sleep=sleep)
        score = hand_in(request, connection, Ledger(default_ledger()))
    if score is not None:
        public = "not shown" if score.public_score is None else f"{score.public_score:.5f}"
        print(f"submission {score.ref}: public score {public}")


def sleep_until_told(stop: StopSignal) -> Callable[[float], None]:
    """A sleep that a SIGTERM or the deadline ends.

    Raises (the returned function):
        Preempted: told to stop; the same command goes on.
    """

    def sleep(seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if reason := stop.reason(0):
                raise Preempted(
                    f"stopped by {reason} while waiting for Kaggle; the model is finished; start "
                    "the same command again to go on waiting for the score"
                )
            time.sleep(min(left, _SLICE_SECS))

    return sleep
