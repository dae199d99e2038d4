"""The input doctor as its user starts it, and the multiply-adds that it counts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def run_doctor(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer.input_doctor", *flags]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_it_measures_every_stage_and_writes_what_it_measured(cars: Path, tmp_path: Path) -> None:
    file = tmp_path / "host.json"
    done = run_doctor(
        f"--data={cars}",
        "--recipe=demo",
        "--accelerator=v5e-8",
        "--seconds=0.02",
        f"--json={file}",
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(file.read_text())
    assert measured["host"]["cores"] >= 1
    for stage in measured["stages"]:
        assert f"{stage['name']}, {stage['image_px']} px" in done.stdout
        assert all(value > 0 for value in stage.values() if not isinstance(value, str))
    assert "the accelerator would train about" in done.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [(("--accelerator=abacus",), "abacus"), (("--recipe=nonsense",), "nonsense")],
)
def test_mistakes_are_one_line(flags: tuple[str, ...], words: str, cars: Path) -> None:
    done = run_doctor(f"--data={cars}", "--recipe=demo", *flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_multiply_adds_are_those_of_the_paper() -> None:
    from tests.trainer.making import make_recipe, make_stage
    from trainer.input.work import stage_macs

    stage = make_stage(image_px=224, train_from="head")
    total, trained = stage_macs(make_recipe(stage, backbone="EfficientNetB0"), stage, 1000)
    # Tan and Le 2019: 0.39 billion, 1.28 million of them in the last layer.
    assert total == pytest.approx(0.39e9, rel=0.03)
    assert trained == 1280 * 1000
