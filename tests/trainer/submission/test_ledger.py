"""The list of everything that was handed in."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.submission.errors import SubmissionError
from trainer.submission.ledger import Entry, Ledger, default_ledger


def _entry(ref: int = 1, sha256: str = "ab", competition: str = "cars") -> Entry:
    return Entry(
        time="2026-11-02T10:00:00+00:00",
        competition=competition,
        sha256=sha256,
        file="/tmp/submission.csv",
        run_dir=None,
        message="m",
        ref=ref,
        status="pending",
        public_score=None,
        private_score=None,
        error="",
    )


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new" / "ledger.jsonl")
    assert ledger.entries() == []
    entries = [_entry(ref) for ref in (3, 1, 2)]
    for entry in entries:
        ledger.append(entry)
    assert ledger.entries() == entries


def test_last_entry_of_a_file_in_its_competition_holds(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for entry in (_entry(1), _entry(2), _entry(3, sha256="cd"), _entry(4, competition="x")):
        ledger.append(entry)
    assert ledger.last("cars", "ab") == _entry(2)
    assert ledger.last("cars", "ef") is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 400))
def test_crash_while_writing_loses_only_the_line_it_wrote(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("crash") / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append(_entry(1))
    ledger.append(_entry(2))
    whole = path.read_bytes()
    line = len(json.dumps(asdict(_entry(1)))) + 1
    path.write_bytes(whole[: line + cut])
    kept = [1, 2] if line + cut >= len(whole) else [1]
    assert [entry.ref for entry in ledger.entries()] == kept
    ledger.append(_entry(3))
    assert [entry.ref for entry in ledger.entries()] == [*kept, 3]


@pytest.mark.parametrize("line", ["not json", "{}", "[1]", '{"ref": 1}'])
def test_damaged_line_is_an_error_that_names_it(tmp_path: Path, line: str) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(_entry())
    ledger.path.write_text(ledger.path.read_text() + line + "\n")
    with pytest.raises(SubmissionError, match="line 2 of"):
        ledger.entries()


def test_default_ledger_is_in_the_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_ledger() == Path("/state/staged-trainer/submissions.jsonl")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/driver")
    assert default_ledger().is_relative_to("/home/driver/.local/state")
