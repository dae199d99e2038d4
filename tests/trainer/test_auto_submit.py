"""A training that hands its predictions in: what is checked first, and the score at the end."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.kaggle_server import Fault, KaggleServer, redirected_client, sign_in
from tests.trainer.folds import build_folds
from tfrecords_builder.manifest import load_manifest
from trainer.auto_submit import AutoSubmit, check_auto_submit, sleep_until_told, submit_run
from trainer.engine.stop import StopSignal
from trainer.errors import DataError, Preempted, RunFolderError
from trainer.inference import TrainedRun
from trainer.submission.errors import SubmissionError

if TYPE_CHECKING:
    import tensorflow as tf

WANTED = AutoSubmit(competition="cars")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_folds(tmp_path_factory.mktemp("submit"), num_folds=2)[0]


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    sign_in(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with KaggleServer() as server, redirected_client(server):
        server.competitions["cars"].solution = {f"t{index}.png": "0" for index in range(3)}
        yield server


def test_all_is_well_is_silent(data, kaggle, tmp_path, capsys) -> None:
    check_auto_submit(WANTED, str(tmp_path), load_manifest(str(data)))
    assert capsys.readouterr().out == ""


def test_what_would_stop_it_at_the_end_stops_it_at_the_start(data, kaggle, tmp_path) -> None:
    manifest = load_manifest(str(data))
    with pytest.raises(SubmissionError, match="nowhere"):
        check_auto_submit(AutoSubmit(competition="nowhere"), str(tmp_path), manifest)
    kaggle.fail("GetSubmissionLimits", Fault(status=403))
    with pytest.raises(SubmissionError, match="403"):
        check_auto_submit(WANTED, str(tmp_path), manifest)
    with pytest.raises(RunFolderError, match="cannot write the score into gs://"):
        check_auto_submit(WANTED, "gs://bucket/run", manifest)
    lost = AutoSubmit(competition="cars", sample_submission=str(tmp_path / "lost.csv"))
    with pytest.raises(DataError, match=r"lost\.csv is not there"):
        check_auto_submit(lost, str(tmp_path), manifest)


def test_records_without_a_sample_submission_are_refused(data, kaggle, tmp_path) -> None:
    import dataclasses

    manifest = dataclasses.replace(load_manifest(str(data)), submission=None)
    with pytest.raises(DataError, match="in the order of a sample submission"):
        check_auto_submit(WANTED, str(tmp_path), manifest)


def test_kaggle_out_of_reach_does_not_stop_the_training(data, kaggle, tmp_path, capsys) -> None:
    kaggle.fail("GetSubmissionLimits", Fault(status=503))
    check_auto_submit(WANTED, str(tmp_path), load_manifest(str(data)))
    assert "tried at the end all the same" in capsys.readouterr().out


@pytest.fixture
def strategy() -> "tf.distribute.Strategy":
    return pytest.importorskip("tensorflow").distribute.OneDeviceStrategy("/cpu:0")


@pytest.fixture
def run_dir(data, strategy, write_run, fresh_weights) -> str:
    """A finished run that tells the three photos of the test split apart."""
    weights = fresh_weights(0, data=data)
    logits = TrainedRun(write_run("blind", weights, data=data), strategy).logits(str(data), "test")
    # Of three photos one lies above the middle and one below: the guard wants two labels.
    middle = np.median(logits.logits[:, 0] - logits.logits[:, 1])
    weights["head_logits/bias"] = np.array([-middle, 0], np.float32)
    return write_run("run", weights, data=data)


def submissions_of(run_dir: str) -> list[dict[str, Any]]:
    return json.loads((Path(run_dir) / "run.json").read_text())["submissions"]


def test_score_comes_back_into_the_run_once(data, kaggle, run_dir, strategy, capsys) -> None:
    submit_run(WANTED, run_dir, str(data), strategy, sleep=lambda seconds: None)
    (entry,) = submissions_of(run_dir)
    rows = (Path(run_dir) / "submission.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["Id", "t2.png", "t0.png", "t1.png"]
    hits = sum(row.endswith(",0") for row in rows[1:])
    assert entry["public_score"] == pytest.approx(hits / 3, abs=1e-5)
    assert f"submission {entry['ref']}: public score" in capsys.readouterr().out

    submit_run(WANTED, run_dir, str(data), strategy, sleep=lambda seconds: None)
    assert len(kaggle.competitions["cars"].submissions) == 1
    assert "handed in before" in capsys.readouterr().out


def test_stopped_while_waiting_the_score_is_collected_on_another_machine(
    data, kaggle, run_dir, strategy, tmp_path, monkeypatch, capsys
) -> None:
    def told(seconds: float) -> None:
        raise Preempted("stopped by SIGTERM while waiting")

    with pytest.raises(Preempted):
        submit_run(WANTED, run_dir, str(data), strategy, sleep=told)
    (pending,) = submissions_of(run_dir)
    assert pending["status"] == "pending"

    # Only the run folder comes along, and nothing that could give another label.
    shutil.rmtree(tmp_path / "state")
    (Path(run_dir) / "submission.csv").unlink()
    monkeypatch.setattr("trainer.auto_submit.predict", lambda *_: pytest.fail("predicted anew"))
    submit_run(WANTED, run_dir, str(data), strategy, sleep=lambda seconds: None)
    (entry,) = submissions_of(run_dir)
    assert (entry["ref"], entry["status"]) == (pending["ref"], "complete")
    assert len(kaggle.competitions["cars"].submissions) == 1
    assert f"submission {entry['ref']}: public score" in capsys.readouterr().out


def test_what_waits_in_another_competition_stops_nothing(
    data, kaggle, run_dir, strategy, tmp_path
) -> None:
    record = json.loads((Path(run_dir) / "run.json").read_text())
    elsewhere = {"competition": "trucks", "status": "pending", "ref": 7}
    (Path(run_dir) / "run.json").write_text(json.dumps(record | {"submissions": [elsewhere]}))
    submit_run(WANTED, run_dir, str(data), strategy, sleep=lambda seconds: None)
    assert [entry["status"] for entry in submissions_of(run_dir)] == ["pending", "complete"]


def test_stop_signal_ends_the_wait() -> None:
    stop = StopSignal(deadline_secs=0)
    with pytest.raises(Preempted, match="stopped by deadline while waiting for Kaggle"):
        sleep_until_told(stop)(60)
