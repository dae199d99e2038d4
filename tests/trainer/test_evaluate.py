"""The command: what it prints and leaves beside the run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.making import build_cars
from tfrecords_builder.manifest import load_manifest

REPOSITORY = Path(__file__).resolve().parents[2]


def evaluate(*arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "trainer.evaluate", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_local_board_needs_no_run(tmp_path: Path) -> None:
    rows = [f"{index}.jpg,{index % 3}" for index in range(40)]
    (tmp_path / "labels.csv").write_text("\n".join(["Id,Category", *rows]) + "\n")
    (tmp_path / "mine.csv").write_text("\n".join(["Id,Category", "0.jpg,1", *rows[1:]]) + "\n")
    output = evaluate(
        f"--submission={tmp_path / 'mine.csv'}",
        f"--labels={tmp_path / 'labels.csv'}",
        "--public_fraction=0.25",
    )
    lines = [line.split() for line in output.splitlines()]
    assert [line[0] for line in lines] == ["public", "private", "all"]
    assert lines[2][1] == "0.97500"
    assert "10 photos" in output
    assert "30 photos" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--run_dir is not given"),
        (("--run_dir=x",), "--data is not given"),
        (("--submission=x.csv",), "--labels is not given"),
        (("--submission=x.csv", "--labels=y.csv"), "x.csv is not there"),
        (("--tta=some",), "tta"),
    ],
)
def test_mistake_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    output = evaluate(*arguments, code=2)
    assert output.startswith("error: ")
    assert len(output.splitlines()) == 1
    assert message in output


@pytest.mark.slow
def test_scores_stand_beside_the_run_alike_on_any_devices(
    cars: Path, write_run, fresh_weights
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_dir = Path(write_run("run", fresh_weights(0)))
    flags = (f"--run_dir={run_dir}", f"--data={cars}")
    documents = []
    for devices in (("--strategy=cpu",), ("--strategy=mirrored", "--num_devices=3")):
        output = evaluate(*flags, *devices)
        documents.append((run_dir / "evaluation-val.json").read_text())
        documents.append((run_dir / "inference.json").read_text())
    assert documents[:2] == documents[2:]
    scores = json.loads(documents[0])
    assert f"accuracy           {scores['top_1']:.4f}" in output
    assert scores["num_examples"] == 30
    assert scores["calibrated"]["log_loss"] < scores["log_loss"]

    events = EventAccumulator(str(run_dir / "tensorboard" / "evaluation-val")).Reload()
    tags = set(events.Tags()["tensors"])
    pictures = ("confusion_matrix", "reliability", "most_confident_mistakes")
    assert {"scores/accuracy", *(f"scores/{name}" for name in pictures)} <= tags
    assert len(events.Tensors("scores/accuracy")) == 1  # That of the second evaluation.


@pytest.mark.slow
def test_scores_on_other_data_stand_beside_those_on_the_own(
    cars: Path, write_run, fresh_weights, tmp_path: Path
) -> None:
    run_dir = Path(write_run("run", fresh_weights(0)))
    other = build_cars(tmp_path / "other", num_images=40)
    said = evaluate(f"--run_dir={run_dir}", f"--data={other}", "--strategy=cpu")
    assert "temperature        1.0000  (none was fitted" in said
    fingerprint = load_manifest(str(other)).fingerprint
    (path,) = run_dir.glob("evaluation-*.json")
    assert path.name == f"evaluation-val-of-{fingerprint[:8]}.json"
    assert json.loads(path.read_text())["data_fingerprint"] == fingerprint


@pytest.mark.slow
def test_weights_that_are_not_published_decide_nothing(
    cars: Path, write_run, fresh_weights
) -> None:
    run_dir = Path(write_run("run", fresh_weights(0)))
    evaluate(
        f"--run_dir={run_dir}",
        f"--data={cars}",
        "--strategy=cpu",
        "--weights_file=weights/00-first-epoch001.safetensors",
    )
    assert (run_dir / "evaluation-val-00-first-epoch001.json").is_file()
    assert not (run_dir / "inference.json").exists()
