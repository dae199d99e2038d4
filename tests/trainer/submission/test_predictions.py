"""Probabilities in a file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.submission.errors import SubmissionError
from trainer.submission.predictions import (
    Predictions,
    read_predictions,
    stack_predictions,
    write_predictions,
)

NAMES = ("Audi", "BMW, new", "9")


def _predictions(seed: int = 0, num_examples: int = 6, dtype: type = np.float32) -> Predictions:
    rng = np.random.default_rng(seed)
    return Predictions(
        ids=tuple(f"{number}.jpg" for number in range(num_examples)),
        class_names=NAMES,
        probabilities=rng.dirichlet(np.ones(3), num_examples).astype(dtype),
        labels=np.arange(num_examples) % 4 - 1,
    )


def _write(path: Path, predictions: Predictions) -> None:
    write_predictions(
        path,
        predictions.ids,
        predictions.class_names,
        predictions.probabilities,
        predictions.labels,
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.integers(1, 20), st.sampled_from([np.float32, np.float64]))
def test_predictions_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, num_examples: int, dtype: type
) -> None:
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv"
    written = _predictions(seed, num_examples, dtype)
    _write(path, written)
    read = read_predictions(path)
    assert (read.ids, read.class_names) == (written.ids, written.class_names)
    np.testing.assert_array_equal(read.labels, written.labels)
    np.testing.assert_array_equal(read.probabilities.astype(dtype), written.probabilities)


def test_file_names_label_and_prediction(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions(path, ["a", "b"], NAMES, [[0.5, 0.25, 0.25], [0, 0, 1]], [1, -1])
    assert path.read_text() == (
        'id,label,predicted,Audi,"BMW, new",9\na,"BMW, new",Audi,0.5,0.25,0.25\nb,,9,0.0,0.0,1.0\n'
    )


def test_members_are_brought_into_one_order() -> None:
    first, second = _predictions(1), _predictions(2)
    order = [3, 1, 5, 0, 2, 4]
    shuffled = Predictions(
        ids=tuple(second.ids[row] for row in order),
        class_names=NAMES,
        probabilities=second.probabilities[order],
        labels=second.labels[order],
    )
    np.testing.assert_array_equal(
        stack_predictions([first, shuffled]), stack_predictions([first, second])
    )


@pytest.mark.parametrize(
    "change",
    [
        {"ids": ("x.jpg", *_predictions().ids[1:])},
        {"class_names": ("Audi", "BMW", "9")},
        {"labels": np.zeros(6, np.int64)},
    ],
    ids=["ids", "classes", "labels"],
)
def test_members_of_other_data_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(SubmissionError, match="predictions 2 of 2"):
        stack_predictions([_predictions(), replace(_predictions(), **change)])  # type: ignore[arg-type]


@pytest.mark.parametrize("ids", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_rows_and_ids_must_fit(tmp_path: Path, ids: list[str]) -> None:
    with pytest.raises(SubmissionError, match="one row for each id"):
        write_predictions(tmp_path / "p.csv", ids, ["x", "y"], [[1, 0], [0, 1]])


@pytest.mark.parametrize(
    "content", [None, "", "Id,Category\n1,0\n", "id,label,predicted,a\n1,z,a,1\n"]
)
def test_other_files_are_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "predictions.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SubmissionError, match="holds no predictions"):
        read_predictions(path)
