"""The commands as a user starts them: real processes, real signals, one clear line on mistakes."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.trainer.making import build_cars
from tfrecords_builder.manifest import load_manifest
from trainer.engine.tensor_files import read_tensors
from trainer.recipes import recipe_names

REPOSITORY = Path(__file__).resolve().parents[2]
TINY_RUN = (
    "--recipe=demo",
    "--checkpoint_every=0s",
    "--set=stages.*.epochs=2",
    "--set=stages.*.image_px=32",
    "--set=stages.*.batch_size=12",
    "--set=stages.shapes.train_from=block4a",
    "--set=stages.*.batch_norm=frozen",
    "--set=stages.finish.train_from=top",
)


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def run(module: str, *arguments: str, code: int = 0) -> str:
    """Runs a command to its end and returns what it printed; stderr after stdout."""
    done = subprocess.run(
        command(module, *arguments), cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, (
        f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_cars(tmp_path_factory.mktemp("task") / "data"))


@pytest.fixture(scope="module")
def finished(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the CPU from start to end."""
    run_dir = tmp_path_factory.mktemp("task") / "run"
    output = run(
        "trainer.task", f"--data={data}", f"--run_dir={run_dir}", "--strategy=cpu", *TINY_RUN
    )
    assert output.startswith("OneDeviceStrategy: 1 replica on CPU")
    assert "finished in" in output
    return run_dir


def losses(run_dir: Path) -> list[tuple]:
    record = json.loads((run_dir / "run.json").read_text())
    return [
        (epoch["stage"], epoch["epoch"], epoch["train_loss"], epoch["val_loss"])
        for epoch in record["history"]
    ]


@pytest.mark.parametrize("module", ["trainer.task", "trainer.evaluate", "trainer.predict"])
def test_help_answers_without_tensorflow(module: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{module!r}, '--help']\n"
        "try:\n"
        f"    runpy.run_module({module!r}, run_name='__main__')\n"
        "finally:\n"
        "    assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert "--run_dir" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe=dmeo"], "did you mean 'demo'"),
        (["--set=stages.finish.imagepx=64"], "did you mean 'image_px'"),
        (["--set=stages.finish.image_px=99"], "not a multiple of 8"),
        (["--set=backbone=EfficientNetB9"], "backbone 'EfficientNetB9' is not known"),
        (["--weights=missing.h5"], "there is no 'missing.h5' here"),
        (["--weights=imagenet"], "there are no imagenet weights of 'Tiny'"),
        (["--set=stages.finish.train_from=block9"], "stage 'finish': train_from='block9'"),
        (["--data=nowhere"], "not a finished data folder"),
        (["--deadline=soon"], "duration 'soon'"),
        (["--strategy=fast"], "--strategy"),
        (["leftover"], "unexpected argument 'leftover'"),
    ],
)
def test_a_mistake_is_one_line_found_before_tensorflow_starts(
    arguments: list[str], message: str, data: str, tmp_path: Path
) -> None:
    all_arguments = [f"--data={data}", f"--run_dir={tmp_path / 'run'}", "--recipe=demo", *arguments]
    started = time.monotonic()
    output = run("trainer.task", *all_arguments, code=2)
    assert time.monotonic() - started < 30
    assert output.startswith("error: ")
    assert len(output.strip().splitlines()) == 1
    assert message in output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy=gpu"], "--strategy=gpu: not there"),
        (["--strategy=tpu"], "--strategy=tpu"),
        (["--strategy=multiworker"], "TF_CONFIG"),
        (["--strategy=mirrored"], "--strategy=mirrored: not there"),
        (["--num_devices=4"], "--num_devices=4 with --strategy=auto, here cpu"),
        (["--strategy=cpu", "--tpu=grpc://10.0.0.2:8470"], "--tpu=grpc://10.0.0.2:8470 with"),
        (
            ["--strategy=mirrored", "--num_devices=4", "--set=stages.finish.batch_size=2"],
            "batch_size=2 is smaller than the 4 replicas",
        ),
    ],
)
def test_devices_that_are_not_there_are_an_error(
    arguments: list[str], message: str, data: str, tmp_path: Path
) -> None:
    output = run(
        "trainer.task",
        f"--data={data}",
        f"--run_dir={tmp_path / 'run'}",
        "--recipe=demo",
        *arguments,
        code=2,
    )
    assert message in output
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_whole_job(finished: Path, data: str, tmp_path: Path) -> None:
    record = json.loads((finished / "run.json").read_text())
    assert record["finished"]
    assert [row[:2] for row in losses(finished)] == [
        ("shapes", 1),
        ("shapes", 2),
        ("finish", 0),
        ("finish", 1),
        ("finish", 2),
    ]
    assert record["settings"]["data_fingerprint"] == load_manifest(data).fingerprint

    output = run("trainer.evaluate", f"--run_dir={finished}", f"--data={data}", "--split=val")
    scores = json.loads((finished / "evaluation-val.json").read_text())
    best = min(record["history"][2:], key=lambda epoch: -epoch["val_accuracy"])
    assert scores["top_1"] == best["val_accuracy"]
    # To the last bit: the same rows at a time, the same sum.
    assert scores["log_loss"] == best["val_loss"]
    assert f"accuracy           {scores['top_1']:.4f}" in output

    out = tmp_path / "submission.csv"
    run("trainer.predict", f"--run_dir={finished}", f"--data={data}", f"--out={out}")
    with out.open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["Id", "Category"]
    assert [row[0] for row in rows[1:]] == [f"car-{index:06d}.jpg" for index in range(54, 60)]
    assert {row[1] for row in rows[1:]} <= set(record["data"]["classes"])


@pytest.mark.slow
def test_starting_a_finished_run_again_says_so(finished: Path, data: str) -> None:
    output = run(
        "trainer.task", f"--data={data}", f"--run_dir={finished}", "--strategy=cpu", *TINY_RUN
    )
    assert "this run is finished" in output


@pytest.mark.slow
def test_another_recipe_on_the_same_folder_is_refused_by_name(finished: Path, data: str) -> None:
    arguments = (*TINY_RUN, "--set=stages.finish.learning_rate=0.5")
    output = run(
        "trainer.task",
        f"--data={data}",
        f"--run_dir={finished}",
        "--strategy=cpu",
        *arguments,
        code=2,
    )
    assert re.search(r"recipe.stages.finish.learning_rate: \S+ -> 0.5", output)


@pytest.mark.slow
def test_a_folder_with_other_things_is_refused(data: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    output = run(
        "trainer.task",
        f"--data={data}",
        f"--run_dir={tmp_path}",
        "--strategy=cpu",
        *TINY_RUN,
        code=2,
    )
    assert "holds no run, but notes.txt; need an empty or a new folder" in output
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def same_model(ours: Path, expected: Path) -> bool:
    (first, _), (second, _) = (
        read_tensors(str(folder / "model.safetensors")) for folder in (ours, expected)
    )
    return first.keys() == second.keys() and all(
        (first[name] == second[name]).all() for name in first
    )


def start_and_signal(arguments: Sequence[str], number: int, after_line: str) -> int:
    """Starts a command, sends a signal once it has printed something, returns the exit code."""
    with subprocess.Popen(
        command("trainer.task", *arguments),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if after_line in line:
                process.send_signal(number)
                break
        process.stdout.read()
        return process.wait(timeout=120)


@pytest.mark.slow
def test_killed_and_terminated_runs_end_like_an_undisturbed_one(
    finished: Path, data: str, tmp_path: Path
) -> None:
    arguments = (f"--data={data}", f"--run_dir={tmp_path / 'run'}", "--strategy=cpu", *TINY_RUN)
    assert start_and_signal(arguments, signal.SIGKILL, "[shapes 1/2]") == -signal.SIGKILL
    assert start_and_signal(arguments, signal.SIGTERM, "[shapes 2/2]") == 75
    run("trainer.task", *arguments)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["num_starts"] == 3
    assert losses(tmp_path / "run") == losses(finished)
    assert same_model(tmp_path / "run", finished)


@pytest.mark.slow
def test_four_replicas_see_the_same_losses(finished: Path, data: str, tmp_path: Path) -> None:
    arguments = (
        f"--data={data}",
        f"--run_dir={tmp_path / 'run'}",
        "--strategy=mirrored",
        "--num_devices=4",
        *TINY_RUN,
    )
    output = run("trainer.task", *arguments)
    assert "MirroredStrategy: 4 replicas" in output
    for ours, expected in zip(losses(tmp_path / "run"), losses(finished), strict=True):
        assert ours[:2] == expected[:2]
        for value, wanted in zip(ours[2:], expected[2:], strict=True):
            assert value is None if wanted is None else value == pytest.approx(wanted, rel=2e-3)


@pytest.mark.slow
def test_an_exploded_loss_can_be_replayed(data: str, tmp_path: Path) -> None:
    arguments = (
        *TINY_RUN,
        "--set=stages.shapes.learning_rate=1e6",
        "--strategy=mirrored",
        "--num_devices=2",
        "--batch_scaling=per_replica",
    )
    output = run("trainer.task", f"--data={data}", f"--run_dir={tmp_path}/run", *arguments, code=3)
    capsule = re.search(r"python -m trainer\.replay (\S+),", output)
    assert capsule is not None, output
    replayed = run("trainer.replay", capsule.group(1))
    assert re.search(r"seen again: .* after step \d+ of stage 'shapes'", replayed)
    assert "its 24 photos are the same as recorded: car-" in replayed
    assert "note:" not in replayed


def test_every_recipe_says_what_it_is_for_and_how_to_start_it() -> None:
    for name in recipe_names():
        text = (REPOSITORY / "trainer" / "recipes" / f"{name}.py").read_text()
        assert text.startswith('"""')
        assert "trainer.task" in text or "make demo" in text


@pytest.mark.slow
def test_deterministic_operations_are_enough_for_a_run(data: str, tmp_path: Path) -> None:
    arguments = (*TINY_RUN, "--strategy=cpu", "--deterministic", "--set=stages.*.epochs=1")
    output = run("trainer.task", f"--data={data}", f"--run_dir={tmp_path / 'run'}", *arguments)
    assert "finished in" in output
    spent = json.loads((tmp_path / "run" / "run.json").read_text())["seconds_total"]
    assert spent["input wait"] == 0
    assert spent["compile"] > 0
