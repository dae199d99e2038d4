r"""Hands a submission in to a Kaggle competition, waits for its score and writes it down.

    python -m trainer.submit --competition=sf-dl-car-classification --file=submission.csv \
        --sample_submission=sample-submission.csv --run_dir=runs/b5 --message="B5, 456 px"

The last line printed is the score. Exit codes: 0 scored (or a dry run that found nothing wrong);
2 the file must not or cannot be handed in; 69 Kaggle did not answer, or the score did not come in
time: the same command again goes on, and never hands in twice; 130 interrupted.
"""

from pathlib import Path

from absl import flags

from tfrecords_builder.command_line import run


def define_flags() -> None:
    """Defines this command's flags; not at import, so that two commands can be imported."""
    flags.DEFINE_string("competition", None, "Name in the competition's address.", required=True)
    flags.DEFINE_string("file", None, "The submission, a CSV file.", required=True)
    flags.DEFINE_string("message", "", "What the list of submissions shall say of it.")
    flags.DEFINE_string(
        "run_dir", None, "Local folder of the run that predicted it; gets the score."
    )
    flags.DEFINE_string(
        "sample_submission", None, "The competition's sample, to compare columns and ids with."
    )
    flags.DEFINE_string(
        "data", None, "Folder with built records, to check labels against; not needed with a run."
    )
    flags.DEFINE_bool("dry_run", False, "Do everything but hand the file in.")
    flags.DEFINE_string(
        "ledger",
        None,
        "File that lists all submissions; the default is in the user's state folder.",
    )
    flags.DEFINE_float("score_timeout_mins", 60, "How long to wait for the score.", lower_bound=0)


def main() -> None:
    """Submits as the flags say."""
    from tfrecords_builder.manifest import load_manifest
    from trainer.submission.connection import Connection
    from trainer.submission.ledger import Ledger, default_ledger
    from trainer.submission.submitting import SubmissionRequest, hand_in

    values = flags.FLAGS
    request = SubmissionRequest(
        competition=values.competition,
        file=Path(values.file),
        message=values.message,
        run_dir=Path(values.run_dir) if values.run_dir else None,
        sample_submission=Path(values.sample_submission) if values.sample_submission else None,
        classes=load_manifest(values.data).classes if values.data else None,
    )
    score = hand_in(
        request,
        Connection(values.competition, report=_print_line),
        Ledger(values.ledger or default_ledger()),
        dry_run=values.dry_run,
        score_timeout_secs=60 * values.score_timeout_mins,
    )
    if score is not None:
        _print_line(
            f"submission {score.ref}: public score {_shown(score.public_score)}, "
            f"private score {_shown(score.private_score)}"
        )


def _shown(score: float | None) -> str:
    return "not shown" if score is None else f"{score:.5f}"


def _print_line(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    define_flags()
    run(main)
