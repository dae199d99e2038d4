"""The last lines of a run: what was reached, and commands that work as they stand."""

import pytest

from tests.trainer.report.observed import epoch_record
from trainer.progress import Progress
from trainer.report.summary import print_summary


def summary(capsys: pytest.CaptureFixture[str], run_dir: str = "runs/a", **record: object) -> str:
    history = (epoch_record(), epoch_record(epoch=2, **record), epoch_record(is_best=False))
    progress = Progress(history=history, seconds={"head": {"step": 60.0}, "finish": {"step": 65.0}})
    print_summary(run_dir, "data", progress, 200.0)
    return capsys.readouterr().out


def test_the_best_epoch_and_the_ledger_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    lines = summary(capsys, val_accuracy=0.75, val_loss=0.5).splitlines()
    assert lines[:2] == [
        "finished in 3.3 min, validation accuracy 0.7500 (loss 0.5000)",
        "time: step 2.1 min",
    ]


def test_commands_can_be_typed_whatever_the_folder_is_called(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = summary(capsys, run_dir="my runs/a").splitlines()
    assert lines[2:] == [
        "  python -m trainer.evaluate '--run_dir=my runs/a' --data=data --split=val",
        "  python -m trainer.report '--run_dir=my runs/a' --data=data",
        "  tensorboard '--logdir=my runs/a/tensorboard'",
    ]


def test_without_validation_no_command_asks_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = summary(capsys, val_accuracy=None, val_loss=None)
    assert "validation" not in text
    assert "--split=val" not in text
    assert text.count("--split=train") == 2
