"""Handing in through the real client, before a stand-in that fails in every way at every step."""

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kaggle_server import KEY, SIGNATURE, TOKEN, USERNAME, Fault, KaggleServer
from trainer.submission.connection import Connection
from trainer.submission.errors import KaggleUnavailable, SubmissionError
from trainer.submission.ledger import Entry, Ledger
from trainer.submission.scores import Score
from trainer.submission.submitting import SubmissionRequest, describe, hand_in

Connect = Callable[..., Connection]
STEPS = ["ListSubmissions", "GetSubmissionLimits", "StartSubmissionUpload", "Upload"]
STEPS += ["CreateSubmission"]
SECRETS = [TOKEN, KEY, SIGNATURE]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state" / "submissions.jsonl")


@pytest.fixture
def submit(
    kaggle: KaggleServer, connect: Connect, submission: Path, ledger: Ledger, clock: Any
) -> Callable[..., Score | None]:
    """Hands the file in with a connection of its own, as a new command would."""

    def call(competition: str = "cars", **kwargs: Any) -> Score | None:
        options = {
            name: kwargs.pop(name) for name in ("dry_run", "score_timeout_secs") if name in kwargs
        }
        request = SubmissionRequest(competition=competition, file=submission, **kwargs)
        return hand_in(request, connect(competition), ledger, clock=clock, **options)

    return call


Submit = Callable[..., Score | None]


def _run_dir(tmp_path: Path) -> Path:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    best = {"is_best": True, "val_accuracy": 0.9721}
    record = {
        "run_id": "b5-1",
        "data": {"classes": ["0", "1", "2", "3", "9"]},
        "history": [{"is_best": True, "val_accuracy": 0.1}, best, {"is_best": False}],
    }
    (run_dir / "run.json").write_text(json.dumps(record))
    return run_dir


def test_score_comes_back(submit: Submit, kaggle: KaggleServer, submission: Path) -> None:
    assert submit() == Score(ref=40_000_000, public_score=0.75, private_score=None)
    assert [content for _, content in kaggle.blobs.values()] == [submission.read_bytes()]


def test_legacy_key_serves_as_well_as_a_token(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", USERNAME)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    assert submit() is not None


def test_score_and_number_are_written_into_ledger_and_run(
    submit: Submit, ledger: Ledger, tmp_path: Path
) -> None:
    run_dir = _run_dir(tmp_path)
    submit(run_dir=run_dir, message="first")
    document = json.loads((run_dir / "run.json").read_text())
    [written] = document["submissions"]
    assert (written["ref"], written["status"], written["public_score"]) == (
        40_000_000,
        "complete",
        0.75,
    )
    assert written["message"].startswith("first | run b5-1 | val 0.97210 | file ")
    assert [entry.status for entry in ledger.entries()] == ["pending", "complete"]


def test_waiting_for_a_slow_score_asks_ever_more_rarely(
    submit: Submit, kaggle: KaggleServer, clock: Any, lines: list[str]
) -> None:
    kaggle.competitions["cars"].polls_until_scored = 20
    assert submit() is not None
    assert clock.slept == sorted(clock.slept)
    assert clock.slept[-1] == 60
    assert sum("waiting for the score of 40000000" in line for line in lines) == len(clock.slept)


def test_score_that_never_comes_is_an_error_that_names_the_submission(
    submit: Submit, kaggle: KaggleServer
) -> None:
    kaggle.competitions["cars"].polls_until_scored = 10_000
    with pytest.raises(KaggleUnavailable, match="submission 40000000 has no score after"):
        submit(score_timeout_secs=600)


def test_started_again_it_goes_on_waiting_for_the_same_submission(
    submit: Submit, kaggle: KaggleServer, ledger: Ledger
) -> None:
    competition = kaggle.competitions["cars"]
    competition.polls_until_scored = 12
    with pytest.raises(KaggleUnavailable):
        submit(score_timeout_secs=30)
    assert submit() == Score(ref=40_000_000, public_score=0.75, private_score=None)
    assert len(competition.submissions) == 1
    assert ledger.entries()[-1].status == "complete"


def test_killed_before_the_ledger_was_written_it_finds_its_submission_again(
    submit: Submit, kaggle: KaggleServer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaggle.competitions["cars"].polls_until_scored = 3

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            submit()
    assert submit() is not None
    assert len(kaggle.competitions["cars"].submissions) == 1
    assert ledger.entries()[-1].public_score == 0.75


@pytest.mark.parametrize("scored_first", [False, True])
def test_score_that_the_run_waits_for_is_collected_without_the_ledger(
    submit: Submit, kaggle: KaggleServer, ledger: Ledger, tmp_path: Path, scored_first: bool
) -> None:
    run_dir = _run_dir(tmp_path)
    competition = kaggle.competitions["cars"]
    competition.polls_until_scored = 12
    with pytest.raises(KaggleUnavailable):
        submit(run_dir=run_dir, score_timeout_secs=30)
    ledger.path.unlink()
    if scored_first:
        competition.submissions[0]["polls"] = 0
    assert submit(run_dir=run_dir) == Score(ref=40_000_000, public_score=0.75, private_score=None)
    assert len(competition.submissions) == 1
    [written] = json.loads((run_dir / "run.json").read_text())["submissions"]
    assert (written["status"], written["public_score"]) == ("complete", 0.75)
    assert ledger.entries()[-1].status == "complete"
    with pytest.raises(SubmissionError, match="before as 40000000"):
        submit(run_dir=run_dir)


def test_score_that_reached_the_ledger_alone_reaches_the_run_at_the_next_start(
    submit: Submit, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = _run_dir(tmp_path)
    append = Ledger.append

    def killed_after(self: Ledger, entry: Entry) -> None:
        append(self, entry)
        if entry.status == "complete":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", killed_after)
        with pytest.raises(KeyboardInterrupt):
            submit(run_dir=run_dir)
    assert submit(run_dir=run_dir) is not None
    [written] = json.loads((run_dir / "run.json").read_text())["submissions"]
    assert written["status"] == "complete"


def test_same_file_is_not_handed_in_twice(submit: Submit, kaggle: KaggleServer) -> None:
    submit()
    with pytest.raises(SubmissionError, match=r"before as 40000000 \(public score 0\.75\)"):
        submit()
    assert len(kaggle.competitions["cars"].submissions) == 1


def test_file_of_the_ledger_is_not_handed_in_again_though_the_list_lacks_it(
    submit: Submit, kaggle: KaggleServer
) -> None:
    submit()
    kaggle.competitions["cars"].submissions.clear()
    with pytest.raises(SubmissionError, match="before as 40000000"):
        submit()


def test_same_file_from_another_machine_is_found_in_the_list(
    submit: Submit, kaggle: KaggleServer, ledger: Ledger
) -> None:
    submit()
    ledger.path.unlink()
    # Behind newer submissions, on the third page of a server that gives short ones.
    competition = kaggle.competitions["cars"]
    competition.page_size = 2
    competition.daily_limit = 99
    for number in range(5):
        newer = {**competition.submissions[0], "ref": 50_000_000 + number, "description": "other"}
        competition.submissions.append(newer)
    with pytest.raises(SubmissionError, match="before as 40000000"):
        submit()
    assert kaggle.calls.count("CreateSubmission") == 1


def test_other_competition_takes_the_same_file(submit: Submit, kaggle: KaggleServer) -> None:
    kaggle.competitions["trucks"] = kaggle.competitions["cars"].__class__(
        solution=kaggle.competitions["cars"].solution
    )
    assert submit() is not None
    assert submit("trucks") is not None


def test_dry_run_asks_everything_and_hands_in_nothing(
    submit: Submit, kaggle: KaggleServer, lines: list[str]
) -> None:
    assert submit(dry_run=True) is None
    assert "StartSubmissionUpload" not in kaggle.calls
    assert "would be handed in; tries left: 5" in lines[-1]


def test_no_tries_left_is_found_before_the_upload(submit: Submit, kaggle: KaggleServer) -> None:
    competition = kaggle.competitions["cars"]
    competition.daily_limit = 1
    competition.submissions.append({"ref": 1, "errorDescription": "", "polls": 0})
    with pytest.raises(SubmissionError, match="no tries are left today"):
        submit()
    assert "StartSubmissionUpload" not in kaggle.calls


def test_file_that_kaggle_rejects_is_an_error_with_its_words(
    submit: Submit, kaggle: KaggleServer, ledger: Ledger
) -> None:
    kaggle.competitions["cars"].solution = {"other.jpg": "1"}
    with pytest.raises(SubmissionError, match="Submission must have 1 rows"):
        submit()
    assert ledger.entries()[-1].status == "error"


def test_second_process_does_not_hand_in_at_the_same_time(submit: Submit, ledger: Ledger) -> None:
    with ledger.locked(), pytest.raises(SubmissionError, match="another process"):
        submit()


# Faults. Those that pass are survived with one submission; the others end in one clear error.

PASSING = {
    "429 with seconds": Fault(status=429, retry_after="7"),
    "429 without": Fault(status=429),
    "503": Fault(status=503),
    "500": Fault(status=500),
    "hanging": Fault(hang=True),
    "cut": Fault(cut=True),
    "garbled": Fault(garbled=True),
}


@pytest.mark.parametrize(
    ("step", "kind"),
    [pair for pair in itertools.product(STEPS, PASSING) if pair != ("Upload", "garbled")],
)
def test_passing_fault_is_survived_with_one_submission(
    submit: Submit, kaggle: KaggleServer, step: str, kind: str
) -> None:
    kaggle.fail(step, PASSING[kind])
    assert submit() == Score(ref=40_000_000, public_score=0.75, private_score=None)
    assert len(kaggle.competitions["cars"].submissions) == 1


def test_upload_that_went_astray_is_refused_by_the_next_step(
    submit: Submit, kaggle: KaggleServer
) -> None:
    # The client takes whatever answers 200 for the store.
    kaggle.fail("Upload", PASSING["garbled"])
    with pytest.raises(SubmissionError, match="was not uploaded"):
        submit()
    assert not kaggle.competitions["cars"].submissions


@pytest.mark.parametrize("kind", ["503", "hanging", "cut", "garbled"])
def test_submission_whose_answer_was_lost_is_found_and_not_repeated(
    submit: Submit, kaggle: KaggleServer, kind: str
) -> None:
    lost = Fault(**{**vars(PASSING[kind]), "after_action": True})
    kaggle.fail("CreateSubmission", lost)
    assert submit() is not None
    assert kaggle.calls.count("CreateSubmission") == 1
    assert len(kaggle.competitions["cars"].submissions) == 1


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["503", "cut"])
def test_service_that_stays_down_is_an_error_after_six_tries(
    submit: Submit, kaggle: KaggleServer, step: str, kind: str
) -> None:
    kaggle.fail(step, PASSING[kind], times=100)
    with pytest.raises(KaggleUnavailable, match=r"6 times .* same command again"):
        submit()
    assert kaggle.calls.count(step) == 6
    assert not kaggle.competitions["cars"].submissions


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("status", "words"),
    [(400, "needed; see"), (401, "valid token"), (403, "accept the rules"), (404, "is visible")],
)
def test_refusal_is_an_error_at_once_with_its_remedy(
    submit: Submit, kaggle: KaggleServer, step: str, status: int, words: str
) -> None:
    kaggle.fail(step, Fault(status=status, message="the server's reason"), times=100)
    if step == "Upload":
        # Of the store, not of the account. A link that is gone is replaced by a new one, in vain.
        words = "working service" if status == 404 else "clock of this machine"
    with pytest.raises(SubmissionError, match=rf"{status} \(the server's reason\).*{words}"):
        submit()
    assert kaggle.calls.count(step) == (6 if (step, status) == ("Upload", 404) else 1)


def test_bad_spell_while_waiting_for_the_score_is_sat_out(
    submit: Submit, kaggle: KaggleServer, clock: Any
) -> None:
    kaggle.competitions["cars"].polls_until_scored = 2
    # The first listing, of the guard, passes; the spell is longer than one call's retries.
    kaggle.fail("CreateSubmission", Fault(status=429, retry_after="1"))
    original = kaggle.next_fault

    def spell(call: str) -> Fault | None:
        waiting = kaggle.competitions["cars"].submissions
        if call == "ListSubmissions" and waiting and clock.now < 200:
            return Fault(status=503)
        return original(call)

    kaggle.next_fault = spell  # type: ignore[method-assign]
    assert submit() is not None


def test_retry_after_is_waited_for(submit: Submit, kaggle: KaggleServer, clock: Any) -> None:
    kaggle.fail("ListSubmissions", Fault(status=429, retry_after="123"))
    submit()
    assert 123 in clock.slept


def test_retry_after_that_is_too_long_is_told_instead(
    submit: Submit, kaggle: KaggleServer, clock: Any
) -> None:
    kaggle.fail("ListSubmissions", Fault(status=429, retry_after="7200"))
    with pytest.raises(KaggleUnavailable, match="asked to wait 7200 s"):
        submit()
    assert not clock.slept


def test_rules_not_accepted(submit: Submit, kaggle: KaggleServer) -> None:
    kaggle.competitions["cars"].rules_accepted = False
    with pytest.raises(SubmissionError, match="competitions/cars/rules"):
        submit()


def test_unknown_competition(submit: Submit) -> None:
    with pytest.raises(SubmissionError, match="--competition=lorries"):
        submit("lorries")


def test_offline(submit: Submit, kaggle: KaggleServer) -> None:
    kaggle.__exit__()
    with pytest.raises(KaggleUnavailable, match="connection to Kaggle failed 6 times"):
        submit()


def test_no_credentials(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    with pytest.raises(SubmissionError, match="no Kaggle credentials"):
        submit()


def test_token_that_is_refused(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", USERNAME)
    monkeypatch.setenv("KAGGLE_KEY", "wrong")
    with pytest.raises(SubmissionError, match=r"401 .* valid token"):
        submit()


@pytest.mark.parametrize("step", ["IntrospectToken", *STEPS])
@pytest.mark.parametrize("kind", ["echo", "cut"])
def test_secrets_stay_out_of_errors_and_reports(
    submit: Submit,
    kaggle: KaggleServer,
    ledger: Ledger,
    lines: list[str],
    capfd: pytest.CaptureFixture[str],
    step: str,
    kind: str,
) -> None:
    echo = f"token {TOKEN} at https://storage/x?signature={SIGNATURE}"
    fault = Fault(status=400, message=echo) if kind == "echo" else PASSING[kind]
    kaggle.fail(step, fault, times=100)
    with pytest.raises(SubmissionError) as caught:
        submit()
    assert caught.value.__suppress_context__
    written = ledger.path.read_text() if ledger.path.exists() else ""
    shown = [str(caught.value), *lines, *capfd.readouterr(), written]
    assert not [secret for secret in SECRETS for text in shown if secret in text]


def test_labels_are_checked_against_the_classes_of_the_run(submit: Submit, tmp_path: Path) -> None:
    run_dir = _run_dir(tmp_path)
    path = run_dir / "run.json"
    path.write_text(path.read_text().replace('"9"', '"4"'))
    with pytest.raises(SubmissionError, match=r"no class \('9'\)"):
        submit(run_dir=run_dir)


def test_description_is_cut_before_the_tag_that_finds_it_again() -> None:
    description = describe("long " * 200, None, "0123456789abcdef" * 4)
    assert len(description) == 400
    assert description.endswith(" | file 0123456789abcdef")


@pytest.mark.parametrize("module", ["kaggle.api.kaggle_api_extended", "requests"])
def test_client_that_is_not_installed(
    submit: Submit, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SubmissionError, match="pip install kaggle"):
        submit()
