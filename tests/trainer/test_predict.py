"""The command: submission, probabilities and lineage, and what it says."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.trainer.folds import build_folds
from trainer.errors import DataError
from trainer.predict import parse_weights
from trainer.submission.predictions import read_predictions

REPOSITORY = Path(__file__).resolve().parents[2]


def predict(*arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "trainer.predict", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    ("text", "weights"), [("fit", "fit"), ("equal", "equal"), ("2,1", (2, 1)), ("0.5", (0.5,))]
)
def test_weights_are_words_or_numbers(text: str, weights) -> None:
    assert parse_weights(text) == weights


def test_other_words_are_refused() -> None:
    with pytest.raises(DataError, match="--ensemble_weights=best cannot be read"):
        parse_weights("best")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data=x",), "run_dir"),
        (("--run_dir=x",), "--data was given 0 times"),
        (("--run_dir=x", "--run_dir=y", "--data=d", "--ensemble_weights=1,2,3"), "for 2 runs"),
    ],
)
def test_mistake_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    output = predict(*arguments, code=2)
    assert output.startswith("error: ")
    assert len(output.splitlines()) == 1
    assert message in output


@pytest.mark.slow
def test_two_runs_write_what_a_competition_wants(tmp_path, write_run, fresh_weights) -> None:
    data = build_folds(tmp_path / "data", num_folds=2)[0]
    runs = [write_run(f"run-{s}", fresh_weights(s, data=data), data=data) for s in (0, 1)]
    out = tmp_path / "out" / "submission.csv"
    flags = [f"--run_dir={run}" for run in runs]
    output = predict(*flags, f"--data={data}", f"--out={out}", "--strategy=cpu")
    assert [row[0] for row in rows_of(out)] == ["Id", "t2.png", "t0.png", "t1.png"]
    probabilities = read_predictions(out.with_name("predictions.csv"))
    names = [
        probabilities.class_names[index] for index in probabilities.probabilities.argmax(axis=1)
    ]
    assert [row[1] for row in rows_of(out)[1:]] == names
    lineage = json.loads(out.with_name("predictions.json").read_text())
    assert [run["run_id"] for run in lineage["runs"]] == ["run-0", "run-1"]
    assert sum(run["weight"] for run in lineage["runs"]) == pytest.approx(1)
    assert "10 validation photos" in output


@pytest.mark.slow
def test_photos_of_a_folder_are_labelled_and_bad_ones_told(
    tmp_path, write_run, fresh_weights
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (40, 30), "red").save(photos / "good.png")
    (photos / "bad.jpg").write_bytes(b"no photo")
    run_dir = write_run("run", fresh_weights(0))
    out = tmp_path / "labels.csv"
    output = predict(
        f"--run_dir={run_dir}",
        f"--images={photos}",
        f"--out={out}",
        "--label_format=ids",
        "--strategy=cpu",
    )
    assert "left out bad.jpg: not an image that can be read" in output
    assert "1 predictions in" in output
    (header, (name, label)) = rows_of(out)
    assert header == ["Id", "Category"]
    assert name == "good.png"
    assert label in {str(index) for index in range(10)}
