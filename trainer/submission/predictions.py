"""Probabilities beside labels, as a CSV file: what ensembles and error hunts start from."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.metrics.predictions import check_probabilities
from trainer.submission.errors import SubmissionError
from trainer.submission.file import write_atomically

_FIXED = ("id", "label", "predicted")


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """What one model says of a split: N photos, K classes."""

    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    probabilities: NDArray[np.floating]
    """[N, K], rows sum to 1."""
    labels: NDArray[np.int64]
    """[N], class indices; -1 where there is no label."""


def write_predictions(
    path: str | os.PathLike[str],
    ids: Sequence[str],
    class_names: Sequence[str],
    probabilities: ArrayLike,
    labels: ArrayLike | None = None,
) -> None:
    """Writes the columns id, label, predicted (names) and one of probabilities a class.

    Probabilities are written with as many digits as their dtype needs to come back unchanged.

    Raises:
      PredictionsError: No probabilities.
      SubmissionError: Lengths that do not fit, or an id twice.
    """
    checked = check_probabilities(probabilities)
    known = np.full(len(checked), -1) if labels is None else np.asarray(labels, np.int64)
    lengths = {len(ids), len(set(ids)), len(checked), len(known)}
    if len(lengths) > 1 or len(class_names) != checked.shape[1]:
        raise SubmissionError(
            f"got {len(ids)} ids ({len(set(ids))} different), {len(known)} labels, "
            f"{len(class_names)} class names and probabilities of shape {checked.shape}; one row "
            "for each id and one column for each class are needed; predict the whole split with "
            "the run's own data"
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIXED, *class_names])
    predicted = checked.argmax(axis=1)
    for name, label, guess, row in zip(
        ids, known.tolist(), predicted.tolist(), checked, strict=True
    ):
        true = class_names[label] if label >= 0 else ""
        # str of a NumPy scalar is the shortest text that reads back as the same number.
        writer.writerow([name, true, class_names[guess], *(str(value) for value in row)])
    write_atomically(Path(path), text.getvalue())


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Reads what `write_predictions` wrote; probabilities come back as float64.

    Raises:
      SubmissionError: Missing, or something else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        header, *rows = list(csv.reader(io.StringIO(text, newline="")))
        class_names = tuple(header[len(_FIXED) :])
        index = {"": -1, **{name: number for number, name in enumerate(class_names)}}
        if tuple(header[: len(_FIXED)]) != _FIXED:
            raise ValueError("other columns")
        return Predictions(
            ids=tuple(row[0] for row in rows),
            class_names=class_names,
            probabilities=np.array([row[len(_FIXED) :] for row in rows], np.float64),
            labels=np.array([index[row[1]] for row in rows], np.int64),
        )
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise SubmissionError(
            f"{path} holds no predictions ({type(error).__name__}: {error}); a file of "
            "python -m trainer.predict is needed; predict again"
        ) from None


def stack_predictions(predictions: Sequence[Predictions]) -> NDArray[np.float64]:
    """The probabilities of several models as [M, N, K], in the order of the first one's ids.

    Raises:
      SubmissionError: Other ids, classes or labels than the first one's.
    """
    first = predictions[0]
    stacked = []
    for number, each in enumerate(predictions):
        row_of = {name: row for row, name in enumerate(each.ids)}
        same = row_of.keys() == set(first.ids) and each.class_names == first.class_names
        order = [row_of[name] for name in first.ids] if same else []
        if not same or (each.labels[order] != first.labels).any():
            raise SubmissionError(
                f"predictions {number + 1} of {len(predictions)} are of other photos, classes or "
                "labels than the first; the same split of the same data is needed; predict it with "
                "every run"
            )
        stacked.append(np.asarray(each.probabilities, np.float64)[order])
    return np.stack(stacked)
