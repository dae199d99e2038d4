"""What can be found wrong with a submission before it costs one of the day's tries."""

from collections import Counter
from collections.abc import Collection

from trainer.submission.errors import SubmissionError
from trainer.submission.file import SubmissionFile

_BLANKS = {"", "nan", "none", "null", "na", "n/a", "inf", "-inf"}
_REMEDY = "write the file again with python -m trainer.predict"


def check_submission(
    submission: SubmissionFile,
    sample: SubmissionFile | None = None,
    classes: Collection[str] | None = None,
) -> None:
    """Checks a submission against the competition's sample and the classes of the data.

    Args:
      submission: What is to be handed in.
      sample: The sample submission: the same header and the same ids in the same order are needed.
      classes: Names of all classes, one of which each label is; or each is the number of one, from
        0, unless a name is a number itself. None leaves the labels' range unchecked.

    Raises:
      SubmissionError: Columns, ids or their order differ; an id twice; a label that is blank, not a
        number, or no class; the same label in every row.
    """
    _check_columns(submission, sample)
    _check_ids(submission, sample)
    _check_labels(submission, classes)


def _check_columns(submission: SubmissionFile, sample: SubmissionFile | None) -> None:
    wanted = sample.header if sample else submission.header[:2]
    if submission.header != wanted:
        raise SubmissionError(
            f"{submission.path} has the columns {_listed(submission.header)}; {_listed(wanted)} "
            f"are needed; {_REMEDY}"
        )


def _check_ids(submission: SubmissionFile, sample: SubmissionFile | None) -> None:
    ids = submission.ids
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise SubmissionError(
            f"{submission.path} has {len(twice)} ids more than once ({_listed(twice)}); every id "
            f"is needed once; {_REMEDY}"
        )
    if sample is None:
        return
    present, wanted = set(ids), set(sample.ids)
    missing = [name for name in sample.ids if name not in present]
    foreign = [name for name in ids if name not in wanted]
    if missing or foreign:
        raise SubmissionError(
            f"{submission.path} lacks {len(missing)} ids of the sample ({_listed(missing)}) and "
            f"has {len(foreign)} others ({_listed(foreign)}); the ids of {sample.path} are needed; "
            "predict the test split of the data built with that sample"
        )
    for row, (got, want) in enumerate(zip(ids, sample.ids, strict=True), start=2):
        if got != want:
            raise SubmissionError(
                f"{submission.path} has {got!r} in line {row} where the sample has {want!r}; the "
                f"order of {sample.path} is needed; {_REMEDY}"
            )


def _check_labels(submission: SubmissionFile, classes: Collection[str] | None) -> None:
    known, numbers = set(classes or ()), _numbers(classes or ())
    for line, row in enumerate(submission.rows, start=2):
        for label in row[1:]:
            if label not in known and label.strip().lower() in _BLANKS:
                raise SubmissionError(
                    f"{submission.path} has the label {label!r} in line {line}; every photo needs "
                    f"a class; {_REMEDY}"
                )
    if known:
        outside = [label for label in submission.labels if label not in known]
        if outside and not numbers.issuperset(submission.labels):
            or_number = (
                f", or in all rows a number from 0 to {len(numbers) - 1}," if numbers else ""
            )
            raise SubmissionError(
                f"{submission.path} has {len(outside)} labels that are no class ("
                f"{_listed(dict.fromkeys(outside))}); one of {_listed(classes or ())}{or_number} "
                "is needed; "
                "check that the predictions belong to this competition"
            )
    first = submission.rows[0][1:]
    if len(submission.rows) > 1 and all(row[1:] == first for row in submission.rows):
        raise SubmissionError(
            f"{submission.path} says {_listed(first)} in all of its {len(submission.rows)} rows; a "
            "model that tells classes apart is needed; check its validation accuracy and the "
            "scaling of its input"
        )


def _numbers(classes: Collection[str]) -> set[str]:
    """What `trainer.predict --label_format=ids` writes; none where a name could be meant, too."""
    if any(name.isdecimal() for name in classes):
        return set()
    return {str(index) for index in range(len(classes))}


def _listed(names: Collection[str], limit: int = 5) -> str:
    """Up to `limit` names in quotes, and how many more there are."""
    shown = ", ".join(repr(name) for name in list(names)[:limit]) or "none"
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
