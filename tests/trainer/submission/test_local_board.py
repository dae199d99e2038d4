"""Scoring a submission against known labels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.submission.errors import SubmissionError
from trainer.submission.file import write_submission
from trainer.submission.local_board import LocalScore, score_submission

IDS = [f"{number}.jpg" for number in range(100)]


def _write(path: Path, labels: dict[str, str]) -> Path:
    write_submission(
        path, list(labels), list(labels.values()), id_column="Id", label_column="Category"
    )
    return path


def _score(
    folder: Path, predicted: dict[str, str], true: dict[str, str], **kw: object
) -> LocalScore:
    return score_submission(
        _write(folder / "submission.csv", predicted),
        _write(folder / "labels.csv", true),
        **kw,  # type: ignore[arg-type]
    )


def _some(num_right: int) -> tuple[dict[str, str], dict[str, str]]:
    true = {name: str(index % 10) for index, name in enumerate(IDS)}
    wrong = dict.fromkeys(IDS[num_right:], "x")
    return {**true, **wrong}, true


def test_score_is_the_share_of_right_labels(tmp_path: Path) -> None:
    score = _score(tmp_path, *_some(73))
    assert score.all.accuracy == 0.73
    assert score.all.interval[0] < 0.73 < score.all.interval[1]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.floats(0, 1), st.integers(0, 99))
def test_the_two_boards_share_the_photos(
    tmp_path_factory: pytest.TempPathFactory, num_right: int, public_fraction: float, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("board")
    score = _score(folder, *_some(num_right), public_fraction=public_fraction, seed=seed)
    parts = [part for part in (score.public, score.private) if part is not None]
    assert sum(part.num_photos for part in parts) == 100
    assert sum(part.num_photos * part.accuracy for part in parts) == pytest.approx(num_right)
    public = score.public.num_photos if score.public else 0
    assert public == round(public_fraction * 100)


def test_split_depends_on_the_seed_and_not_on_the_order_of_rows(tmp_path: Path) -> None:
    predicted, true = _some(50)
    order = np.random.default_rng(0).permutation(IDS).tolist()
    shuffled = {name: true[name] for name in order}
    assert _score(tmp_path, predicted, shuffled, seed=1) == _score(
        tmp_path, predicted, true, seed=1
    )
    publics = {_score(tmp_path, predicted, true, seed=seed).public for seed in range(5)}
    assert len(publics) > 1


def test_other_ids_are_refused(tmp_path: Path) -> None:
    predicted, true = _some(50)
    del predicted["3.jpg"]
    with pytest.raises(SubmissionError, match=r"lacks 1 ids of .*'3\.jpg'"):
        _score(tmp_path, predicted, true)


def test_repeated_ids_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("Id,Category\na,1\na,1\n")
    with pytest.raises(SubmissionError, match="1 different ids"):
        score_submission(path, path)


def test_score_survives_json(tmp_path: Path) -> None:
    document = _score(tmp_path, *_some(100), public_fraction=1).to_json()
    assert document["private"] is None
    low, high = document["public"].pop("interval")
    assert 0.95 < low < high == 1
    assert document["public"] == {"accuracy": 1.0, "num_photos": 100}
