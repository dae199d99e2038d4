"""What a submission writes into `run.json`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.submission.errors import SubmissionError
from trainer.submission.ledger import Entry
from trainer.submission.run_record import (
    load_run,
    pending_submission,
    read_run,
    write_submission_of_run,
)

ENTRY = Entry(
    time="2026-11-02T10:00:00+00:00",
    competition="cars",
    sha256="ab",
    file="/tmp/submission.csv",
    run_dir="/tmp/run",
    message="m",
    ref=7,
    status="pending",
    public_score=None,
    private_score=None,
    error="",
)


def test_score_replaces_the_entry_of_its_submission_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"stages": [1, 2], "name": "Ёлка", "submissions": [{"ref": 3}]}))
    write_submission_of_run(tmp_path, ENTRY)
    write_submission_of_run(tmp_path, replace(ENTRY, status="complete", public_score=0.5))
    document = json.loads(path.read_text())
    assert (document["stages"], document["name"]) == ([1, 2], "Ёлка")
    assert [(row["ref"], row.get("public_score")) for row in document["submissions"]] == [
        (3, None),
        (7, 0.5),
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_newest_pending_entry_of_the_competition_comes_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    for entry in (replace(ENTRY, ref=6), ENTRY, replace(ENTRY, ref=8, competition="trucks")):
        write_submission_of_run(tmp_path, entry)
    assert pending_submission(tmp_path, "cars") == replace(ENTRY, run_dir=str(tmp_path))
    assert pending_submission(tmp_path, "cars", sha256="cd") is None
    write_submission_of_run(tmp_path, replace(ENTRY, status="complete"))
    write_submission_of_run(tmp_path, replace(ENTRY, ref=6, status="error"))
    assert pending_submission(tmp_path, "cars") is None


def test_pending_entry_that_lacks_a_field_is_refused(tmp_path: Path) -> None:
    entry = {"competition": "cars", "status": "pending", "ref": 7}
    (tmp_path / "run.json").write_text(json.dumps({"submissions": [entry]}))
    with pytest.raises(SubmissionError, match=r"submission 7 .* cannot be read"):
        pending_submission(tmp_path, "cars")


@pytest.mark.parametrize("content", [None, "", "[]", "{"])
def test_folder_without_a_readable_record_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(SubmissionError, match="--run_dir"):
        read_run(tmp_path)


def test_record_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"run_id": "b5"}')
    with pytest.raises(SubmissionError, match="lacks 'data'"):
        load_run(tmp_path)


def test_bucket_is_refused() -> None:
    with pytest.raises(SubmissionError, match="local folder is needed"):
        load_run(Path("gs://bucket/run"))
