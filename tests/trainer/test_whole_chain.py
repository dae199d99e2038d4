"""From real photos to a score: train twice, evaluate with views, ensemble, submit."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kaggle_server import TOKEN, KaggleServer, require_client

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = (
    "--recipe=demo",
    "--set=stages.*.epochs=1",
    "--set=stages.*.image_px=32",
    "--set=stages.*.batch_size=32",
    "--strategy=cpu",
)


def run(module: str, *flags: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *flags],
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{module} {flags}: {done.stdout}\n{done.stderr}"
    return done.stdout


def photos_of(folder: Path, names: Path, num: int) -> dict[str, str]:
    """The first `num` rows of a CSV of ids and labels."""
    with (folder / names).open(newline="") as file:
        return {row[0]: row[1] for row in list(csv.reader(file))[1 : num + 1]}


def write_labels(path: Path, labels: dict[str, str]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("Id", "Category"), *labels.items()])


def client_environment(home: Path, url: str) -> dict[str, str]:
    """A user with a token whose client talks to the stand-in from its first import on."""
    (home / "sitecustomize.py").write_text(
        "from kagglesdk import kaggle_env as env\n"
        f"env._env_to_endpoint[env.KaggleEnv.PROD] = {url!r}\n"
    )
    return {
        "HOME": str(home),
        "KAGGLE_API_TOKEN": TOKEN,
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join([str(home), str(REPOSITORY)]),
        "XDG_STATE_HOME": str(home / "state"),
    }


@pytest.mark.slow
def test_photos_to_score(material: Path, tmp_path: Path) -> None:
    require_client()
    cars = material / "cars"
    train = photos_of(cars, Path("train.csv"), 160)
    # The truth of these is not known; any serves to see a score come back.
    solution = dict.fromkeys(photos_of(cars, Path("sample-submission.csv"), 40), "3")
    write_labels(tmp_path / "train.csv", train)
    write_labels(tmp_path / "sample.csv", solution)
    data = tmp_path / "data"
    run(
        "tfrecords_builder",
        "--source=csv",
        f"--images={cars / 'train'}",
        f"--labels={tmp_path / 'train.csv'}",
        f"--test_images={cars / 'test_upload'}",
        f"--sample_submission={tmp_path / 'sample.csv'}",
        "--mismatches=quarantine",
        "--val_fraction=0.25",
        "--max_px=64",
        "--workers=1",
        f"--out={data}",
    )

    with KaggleServer() as server:
        server.competitions["cars"].solution = solution
        kaggle = client_environment(tmp_path, server.url)
        runs = [tmp_path / "run-0", tmp_path / "run-1"]
        run("trainer.task", f"--data={data}", f"--run_dir={runs[0]}", *RECIPE)
        output = run(
            "trainer.task",
            f"--data={data}",
            f"--run_dir={runs[1]}",
            "--seed=1",
            "--auto_submit",
            "--competition=cars",
            f"--sample_submission={tmp_path / 'sample.csv'}",
            *RECIPE,
            environment=kaggle,
        )
        assert output.splitlines()[-1].startswith("submission 40000000: public score ")

        run(
            "trainer.evaluate",
            f"--run_dir={runs[0]}",
            f"--data={data}",
            "--tta=measure",
            "--strategy=cpu",
        )
        measured = json.loads((runs[0] / "inference.json").read_text())["measured"]
        scores = json.loads((runs[0] / "evaluation-val.json").read_text())
        assert len(measured["measured"]) == 9
        assert scores["top_1"] >= measured["measured"][0]["accuracy"]

        submission = tmp_path / "submission.csv"
        run(
            "trainer.predict",
            *(f"--run_dir={folder}" for folder in runs),
            f"--data={data}",
            "--ensemble_weights=1,1",
            f"--out={submission}",
            "--strategy=cpu",
        )
        assert list(photos_of(tmp_path, Path("submission.csv"), 99)) == list(solution)

        output = run(
            "trainer.submit",
            "--competition=cars",
            f"--file={submission}",
            f"--sample_submission={tmp_path / 'sample.csv'}",
            f"--run_dir={runs[0]}",
            environment=kaggle,
        )
        write_labels(tmp_path / "solution.csv", solution)
        board = run(
            "trainer.evaluate",
            f"--submission={submission}",
            f"--labels={tmp_path / 'solution.csv'}",
        )
    (entry,) = json.loads((runs[0] / "run.json").read_text())["submissions"]
    assert f"public score {entry['public_score']:.5f}" in output.splitlines()[-1]
    # Our own board scores the file as the competition does.
    assert board.splitlines()[-1].split()[1] == f"{entry['public_score']:.5f}"
